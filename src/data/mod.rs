//! Images: what they are in memory, and how they are read from and written to files.

pub mod idx;
pub mod npy;
pub mod png;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// 10,000 digits; `assets/README.md` says whose, and how the file was made.
static DIGITS: &[u8] = include_bytes!("../../assets/digits.idx3-ubyte.gz");
/// So many of the shipped digits, the last ones, are held out.
const DIGITS_HELD_OUT: usize = 1_000;

/// The most bytes one file's images may take: a damaged header that promises more is told by this at once.
const MAX_BYTES: u64 = 4 << 30;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const NPY_MAGIC: [u8; 6] = *b"\x93NUMPY";
const PNG_MAGIC: [u8; 4] = *b"\x89PNG";

/// The shape of one image: channels, height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ImageShape {
    /// Colour channels: 1 or 3.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// Values in one image: `channels * height * width`.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// True for an image with no values at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Display for ImageShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// Images as floats, nominally in [-1, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Shape of each image.
    pub shape: ImageShape,
    /// `[count, channels, height, width]`, row-major.
    pub values: Vec<f32>,
}

/// Images as bytes, as data sets hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteImages {
    /// Shape of each image.
    pub shape: ImageShape,
    /// `[count, channels, height, width]`, row-major.
    pub bytes: Vec<u8>,
}

/// A data set: what is trained on, and what is held out to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// What to call it in messages and checkpoints: `digits`, or the path it came from.
    pub name: String,
    /// The images the network learns from.
    pub train: ByteImages,
    /// Images of the same kind that it never sees in training.
    pub held_out: ByteImages,
}

/// A byte's place in [-1, 1]: `(v - 127.5) / 127.5`.
pub fn byte_to_value(byte: u8) -> f32 {
    (f32::from(byte) - 127.5) / 127.5
}

impl ByteImages {
    /// Number of images.
    pub fn count(&self) -> usize {
        self.bytes.len().checked_div(self.shape.len()).unwrap_or(0)
    }

    /// The bytes of one image, `[channels, height, width]`.
    ///
    /// # Panics
    /// If there is no image `image_ix`.
    pub fn image(&self, image_ix: usize) -> &[u8] {
        &self.bytes[image_ix * self.shape.len()..][..self.shape.len()]
    }

    /// The same images as floats in [-1, 1], each byte scaled by [`byte_to_value`].
    pub fn to_images(&self) -> Images {
        Images { shape: self.shape, values: self.bytes.iter().map(|&byte| byte_to_value(byte)).collect() }
    }

    /// Takes the last `n` images off and returns them.
    ///
    /// # Panics
    /// If there are fewer than `n`.
    pub fn split_off_last(&mut self, n: usize) -> Self {
        let kept = self.count().checked_sub(n).expect("no more images split off than there are");
        Self { shape: self.shape, bytes: self.bytes.split_off(kept * self.shape.len()) }
    }
}

impl Images {
    /// Number of images.
    pub fn count(&self) -> usize {
        self.values.len().checked_div(self.shape.len()).unwrap_or(0)
    }

    /// The values of one image, `[channels, height, width]`.
    ///
    /// # Panics
    /// If there is no image `image_ix`.
    pub fn image(&self, image_ix: usize) -> &[f32] {
        &self.values[image_ix * self.shape.len()..][..self.shape.len()]
    }

    /// The images in the middle of larger ones, with -1 (black) around them. Of an odd difference, the smaller half
    /// goes above and to the left.
    ///
    /// # Errors
    /// [`Error::Usage`] if `shape` is smaller in height or width, or has other channels.
    pub fn padded_to(&self, shape: ImageShape) -> Result<Self> {
        let own = self.shape;
        if shape.channels != own.channels || shape.height < own.height || shape.width < own.width {
            return Err(Error::Usage(format!(
                "images are {own} (channels x height x width) and {shape} is needed; they can be padded to a larger \
                 height and width, but neither shrunk nor given other channels"
            )));
        }
        let (top, left) = ((shape.height - own.height) / 2, (shape.width - own.width) / 2);
        let mut values = vec![-1.0; self.count() * shape.len()];
        // A row of an image at a time; planes (image and channel) are counted through.
        for (row_ix, row) in self.values.chunks_exact(own.width.max(1)).enumerate() {
            let (plane, y) = (row_ix / own.height, row_ix % own.height);
            let start = (plane * shape.height + top + y) * shape.width + left;
            values[start..start + own.width].copy_from_slice(row);
        }
        Ok(Self { shape, values })
    }
}

/// Reads images from an IDX file (gzipped or not), an `.npy` file, a PNG file, a folder of IDX files under their usual
/// names (the test images if there are any, or else the training images), or a folder of PNG files, by name.
///
/// The content tells what a file is. Values are in [-1, 1].
///
/// # Errors
/// [`Error::Io`] if something can't be read; [`Error::File`] if it is none of these, or a bad one.
pub fn read_images(path: impl AsRef<Path>) -> Result<Images> {
    let path = path.as_ref();
    if path.is_dir() {
        let found = find_idx(path, "t10k").or_else(|| find_idx(path, "train"));
        return Ok(match found {
            Some(file) => idx::read_images(file)?,
            None => png::read_folder(path)?,
        }
        .to_images());
    }
    match kind_of(path)? {
        Kind::Idx => Ok(idx::read_images(path)?.to_images()),
        Kind::Npy => npy::read_images(path),
        Kind::Png => Ok(png::read_file(path)?.to_images()),
    }
}

/// The files that [`read_images`] makes images of, one each, where `path` is a folder of PNG files; none elsewhere.
///
/// # Errors
/// [`Error::Io`] if the folder can't be read.
pub fn png_files(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let path = path.as_ref();
    if !path.is_dir() || find_idx(path, "t10k").or_else(|| find_idx(path, "train")).is_some() {
        return Ok(Vec::new());
    }
    png::files(path)
}

impl Dataset {
    /// The data set that `--data` names:
    ///
    /// - `digits`: the first 10,000 training digits of MNIST, which ship with the program; the last 1,000 are held out;
    /// - a folder of IDX files, gzipped or not, under their usual names (`train-images-idx3-ubyte`,
    ///   `t10k-images-idx3-ubyte`, also with `.idx3`): the `t10k` images are held out, or, without them, the last tenth;
    /// - an IDX file, or an `.npy` file of bytes: the last tenth (at least one image) is held out.
    ///
    /// # Errors
    /// [`Error::Io`] if something can't be read; [`Error::File`] if it is not there, none of these, a bad one, or has
    /// fewer than 2 images to share out.
    pub fn open(spec: &str) -> Result<Self> {
        let path = Path::new(spec);
        let (mut train, held_out) = if spec == "digits" {
            let mut digits = idx::parse_images(path, DIGITS)?;
            let held_out = digits.split_off_last(DIGITS_HELD_OUT);
            (digits, Some(held_out))
        } else if path.is_dir() {
            let Some(train_path) = find_idx(path, "train") else {
                let names = idx_names("train").join(", ");
                return Err(Error::file(path, format!("holds no training images; looked for {names}")));
            };
            let train = idx::read_images(&train_path)?;
            let held_out =
                find_idx(path, "t10k").map(|path| Ok((idx::read_images(&path)?, path))).transpose()?;
            if let Some((images, held_out_path)) = &held_out
                && images.shape != train.shape
            {
                let problem = format!(
                    "holds images of {}, but {} of {}",
                    images.shape,
                    train_path.display(),
                    train.shape
                );
                return Err(Error::file(held_out_path, problem));
            }
            (train, held_out.map(|(images, _)| images))
        } else if matches!(path.try_exists(), Ok(false)) {
            let problem = "there is no such file or folder; give `digits` (ships with the program), a folder of IDX \
                           files under their usual names (train-images-idx3-ubyte.gz ...), an IDX file, or an .npy \
                           file of bytes";
            return Err(Error::file(path, problem));
        } else {
            let images = match kind_of(path)? {
                Kind::Idx => idx::read_images(path)?,
                Kind::Npy => match npy::read(path)? {
                    npy::Npy::Bytes(images) => images,
                    npy::Npy::Floats(_) => {
                        let problem =
                            "has dtype f4; a data set is kept as bytes: save it as dtype u1, 0 to 255";
                        return Err(Error::file(path, problem));
                    }
                },
                Kind::Png => {
                    let problem =
                        "is a PNG file; a data set is an IDX file, an .npy file, or a folder of IDX files";
                    return Err(Error::file(path, problem));
                }
            };
            (images, None)
        };
        let held_out = match held_out {
            Some(images) => images,
            None if train.count() < 2 => {
                return Err(Error::file(
                    path,
                    "holds 1 image; at least 2 are needed, to train on and to hold out",
                ));
            }
            None => train.split_off_last((train.count() / 10).max(1)),
        };
        Ok(Self { name: spec.to_owned(), train, held_out })
    }
}

enum Kind {
    Idx,
    Npy,
    Png,
}

/// What a file is, told by its first bytes; by its name only to say what is wrong with a file that is none of these.
fn kind_of(path: &Path) -> Result<Kind> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(Error::io("read", path))?;
    file.take(8).read_to_end(&mut start).map_err(Error::io("read", path))?;
    let has_extension = |wanted| path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case(wanted));
    if start.starts_with(&NPY_MAGIC) || has_extension("npy") {
        Ok(Kind::Npy)
    } else if start.starts_with(&PNG_MAGIC) || has_extension("png") {
        Ok(Kind::Png)
    } else if start.starts_with(&GZIP_MAGIC) || start.starts_with(&[0, 0]) {
        Ok(Kind::Idx)
    } else if start.is_empty() {
        Err(Error::file(path, "is empty; expected an IDX, .npy or PNG file"))
    } else {
        let problem = format!("is neither an IDX, an .npy nor a PNG file: it starts with {start:02x?}");
        Err(Error::file(path, problem))
    }
}

/// The names under which the images of a split, `train` or `t10k`, are looked for, in this order.
fn idx_names(split: &str) -> [String; 4] {
    ["-images-idx3-ubyte", "-images-idx3-ubyte.gz", "-images.idx3-ubyte", "-images.idx3-ubyte.gz"]
        .map(|end| format!("{split}{end}"))
}

fn find_idx(folder: &Path, split: &str) -> Option<PathBuf> {
    idx_names(split).into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Whether a decoder's `io::Error` is about what it decoded, not about reading it.
fn is_bad_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}
