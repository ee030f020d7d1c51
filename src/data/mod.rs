//! What is learned from: images, points and sequences, what they are in memory, and how they are read from and written
//! to files.
//!
//! A point of `d` numbers is an image of `d` channels and one pixel; a sequence, one of `d` channels, one row, and as many
//! columns as it has moments.

pub mod cifar;
mod folder;
pub mod gaussian;
pub mod idx;
pub mod npy;
pub mod npz;
pub mod picture_file;
pub mod reading;
pub mod rows;
pub mod standard;
pub mod toy;

use std::path::{Path, PathBuf};

use crate::error::Remedy;
use crate::error::nearest;
use crate::source::{Content, Known, Source};
use crate::{Error, Result};
use npz::Wanted;
use reading::{Found, Reading, Takes};
use toy::Toy;

/// 10,000 digits; `assets/README.md` says whose, and how the file was made.
static DIGITS: &[u8] = include_bytes!("../../assets/digits.idx3-ubyte.gz");
/// So many of the shipped digits, the last ones, are held out.
const DIGITS_HELD_OUT: usize = 1_000;

/// The most bytes one file's images may take: a damaged header that promises more is told by this at once.
const MAX_BYTES: u64 = 4 << 30;
const NPY_MAGIC: [u8; 6] = *b"\x93NUMPY";

/// The shape of one image: channels, height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Colour channels, 1 or 3, of images; numbers of a point, or of one moment of a sequence.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// Values in one image: `channels * height * width`.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether it has one row: a point or a sequence, whose values are no pixels.
    pub fn is_single_row(&self) -> bool {
        self.height == 1
    }

    /// Whether it is a point: one row of one moment.
    pub fn is_points(&self) -> bool {
        self.is_single_row() && self.width == 1
    }

    /// Whether it is a sequence of several moments.
    pub fn is_sequence(&self) -> bool {
        self.is_single_row() && self.width > 1
    }

    /// Whether it is an image that can be shown: grey or in colour.
    pub fn is_image(&self) -> bool {
        !self.is_single_row() && matches!(self.channels, 1 | 3)
    }

    /// True for an image with no values at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// Images as floats, nominally in [-1, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Shape of each image.
    pub shape: Shape,
    /// `[count, channels, height, width]`, row-major.
    pub values: Vec<f32>,
}

/// Images as bytes, as data sets hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteImages {
    /// Shape of each image.
    pub shape: Shape,
    /// `[count, channels, height, width]`, row-major.
    pub bytes: Vec<u8>,
}

/// What a network learns from.
#[derive(Clone, Debug, PartialEq)]
pub enum Examples {
    /// Images of bytes.
    Bytes(ByteImages),
    /// Points, sequences, or images, as floats.
    Floats(Images),
    /// Points of a toy set that are drawn anew every training step; so many count as an epoch.
    Toy(Toy, usize),
}

impl Examples {
    /// Keeps the first `n`, and no more memory than they take.
    pub fn truncate(&mut self, n: usize) {
        match self {
            Self::Bytes(ByteImages { shape, bytes }) => {
                bytes.truncate(n.saturating_mul(shape.len()));
                bytes.shrink_to_fit();
            }
            Self::Floats(Images { shape, values }) => {
                values.truncate(n.saturating_mul(shape.len()));
                values.shrink_to_fit();
            }
            Self::Toy(_, count) => *count = n.min(*count),
        }
    }

    /// How many there are, or count as an epoch.
    pub fn count(&self) -> usize {
        match self {
            Self::Bytes(images) => images.count(),
            Self::Floats(images) => images.count(),
            Self::Toy(_, count) => *count,
        }
    }

    /// The shape of each.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Bytes(images) => images.shape,
            Self::Floats(images) => images.shape,
            Self::Toy(..) => toy::POINT,
        }
    }

    /// As floats: bytes scaled to [-1, 1]; of fresh points one epoch's worth, of no training step.
    pub fn to_images(&self) -> Images {
        match self {
            Self::Bytes(images) => images.to_images(),
            Self::Floats(images) => images.clone(),
            Self::Toy(toy, count) => toy.points(*count, 0, FIXED),
        }
    }

    /// [`Self::to_images`] of what is not needed any more: floats are not copied.
    pub fn into_images(self) -> Images {
        match self {
            Self::Floats(images) => images,
            other => other.to_images(),
        }
    }

    /// Those of these numbers, as floats ([`Self::to_images`]).
    ///
    /// # Panics
    /// If there are not so many.
    pub fn pick(&self, ixs: impl IntoIterator<Item = usize>) -> Images {
        match self {
            Self::Bytes(images) => {
                let bytes = ixs.into_iter().flat_map(|ix| images.image(ix));
                Images { shape: images.shape, values: bytes.map(|byte| byte_to_value(*byte)).collect() }
            }
            Self::Floats(images) => images.pick(ixs),
            Self::Toy(..) => self.to_images().pick(ixs),
        }
    }

    /// Takes the last `n` off and returns them.
    fn split_off_last(&mut self, n: usize) -> Self {
        match self {
            Self::Bytes(images) => Self::Bytes(images.split_off_last(n)),
            Self::Floats(Images { shape, values }) => {
                let values = values.split_off(values.len() - n * shape.len());
                Self::Floats(Images { shape: *shape, values })
            }
            Self::Toy(toy, _) => Self::Toy(*toy, n),
        }
    }
}

/// The numbers of toy sets' point sets: what a fixed training set holds, and what is held out. The rest is for whoever
/// needs fresh ones.
const FIXED: u32 = 1;
const HELD_OUT: u32 = 2;

/// A data set: what is trained on, and what is held out to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What to call it in messages and checkpoints: `digits`, or the path it came from.
    pub name: String,
    /// What the network learns from.
    pub train: Examples,
    /// Examples of the same kind that it never sees in training.
    pub held_out: Images,
    /// The toy set it is of, fresh or not.
    pub toy: Option<Toy>,
    /// The class of each image, where pictures lie in a folder a class.
    pub labels: Option<Labels>,
}

/// Classes of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Names of the classes, sorted.
    pub names: Vec<String>,
    /// Which class each training image is of, as a place in `names`.
    pub train: Vec<u32>,
    /// The same of the held-out images.
    pub held_out: Vec<u32>,
}

/// A data set, and what a user should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// The data set.
    pub dataset: Dataset,
    /// Names of a table's columns, as many as a point has numbers; or none.
    pub columns: Vec<String>,
    /// How the file was understood, where that is worth a word: a sentence or two each.
    pub notes: Vec<String>,
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

    /// Those of these numbers.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn pick(&self, ixs: impl IntoIterator<Item = usize>) -> Self {
        Self { shape: self.shape, values: ixs.into_iter().flat_map(|ix| self.image(ix)).copied().collect() }
    }

    /// The images in the middle of larger ones, with -1 (black) around them. Of an odd difference, the smaller half
    /// goes above and to the left.
    ///
    /// # Errors
    /// [`Error::Usage`] if `shape` is smaller in height or width, or has other channels.
    pub fn padded_to(&self, shape: Shape) -> Result<Self> {
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

/// Reads images from an IDX file, an `.npy` or `.npz` file, a PNG or JPEG file, a CIFAR batch, or a folder as
/// [`Dataset::open`] takes it: the held-out images if it says which those are, or else the training images, by name. See
/// [`read_for`], which also says how they were understood.
///
/// # Errors
/// Those of [`read_for`].
pub fn read_images(path: impl AsRef<Path>) -> Result<Images> {
    let path = path.as_ref();
    let (images, _) = read_for(path, &Reading { takes: Takes::Images, ..Reading::default() })?;
    Ok(images)
}

/// Reads points or sequences, from a table of text (CSV) or an `.npy` or `.npz` file: `[n, d]` or `[n, time, d]`.
///
/// # Errors
/// Those of [`read_for`], and images.
pub fn read_points(path: impl AsRef<Path>) -> Result<Images> {
    let path = path.as_ref();
    let (points, _) = read_for(path, &Reading::default())?;
    if !points.shape.is_single_row() {
        return Err(Error::file(path, HOLDS_IMAGES));
    }
    Ok(points)
}

const HOLDS_IMAGES: &str =
    "holds images; points are needed: a CSV file, or .npy of floats, [n, d] or [n, time, d]";

/// Reads examples for a network: images, points or sequences, as it takes them. Gives notes for the user, on how the file
/// was understood, too. Images' values are in [-1, 1], unless the file goes beyond that and [`Reading::clamp`] allows it.
///
/// The content tells what a file is, but for CIFAR (`*.bin`).
///
/// # Errors
/// [`Error::Io`] if something can't be read; [`Error::File`] if it is none of these, a bad one, or not what the network
/// takes.
pub fn read_for(path: &Path, reading: &Reading) -> Result<(Images, Vec<String>)> {
    let takes_images = matches!(reading.takes, Takes::Images | Takes::Anything);
    let first = |mut examples: Examples| {
        if let Some(most) = reading.most {
            examples.truncate(most); // before bytes become four times as many
        }
        examples.into_images()
    };
    let images = |(examples, notes): (Examples, Vec<String>)| Ok((first(examples), notes));
    if path.is_dir() {
        if !takes_images {
            return Err(Error::file(path, HOLDS_IMAGES));
        }
        return images(folder::read(path, reading)?);
    }
    match kind_of(path)? {
        kind @ (Kind::Npy | Kind::Npz | Kind::Csv) => {
            let (found, _) = read_numbers(path, kind, Wanted::HeldOut, reading)?;
            Ok((first(found.examples), found.notes))
        }
        kind if takes_images => images(read_stored(path, kind, reading)?),
        _ => Err(Error::file(path, HOLDS_IMAGES)),
    }
}

/// Reads a file that can hold nothing but images.
fn read_stored(path: &Path, kind: Kind, reading: &Reading) -> Result<(Examples, Vec<String>)> {
    match kind {
        Kind::Picture => {
            let pictures = picture_file::read_files(&[path.to_owned()], reading.input)?;
            Ok((Examples::Bytes(pictures.images), pictures.notes))
        }
        Kind::Cifar => Ok((Examples::Bytes(cifar::read_images(&[path.to_owned()])?), Vec::new())),
        _ => idx::read_examples(path, reading).map(|(images, note)| (images, note.into_iter().collect())),
    }
}

/// Reads arrays and tables: what to train with, and what to hold out, if the file says.
fn read_numbers(
    path: &Path,
    kind: Kind,
    wanted: Wanted,
    reading: &Reading,
) -> Result<(Found, Option<Found>)> {
    if kind == Kind::Npz {
        let (file, name) = npz::split(path);
        return npz::read(&file, name.as_deref(), wanted, reading);
    }
    let mut source = Source::open(path, MAX_BYTES)?;
    if kind == Kind::Csv {
        if reading.takes == Takes::Images && !reading.trains {
            return Err(Error::file(path, "is a table (CSV): its rows are points, and images are needed"));
        }
        return Ok((rows::parse_csv(path, source)?, None));
    }
    let layout = npy::parse_header(path, &mut source)?;
    source.check_promise(layout.bytes())?;
    let available = (!source.is_packed()).then(|| source.length());
    Ok((npy::parse_elements(path, source, available, &layout, reading)?, None))
}

/// The shape of an array of `count` images, points or sequences as files have it: `[n, channels, height, width]`, `[n, d]`
/// or `[n, time, d]`.
pub fn file_dims(count: usize, shape: Shape) -> Vec<usize> {
    match (shape.is_single_row(), shape.width) {
        (true, 1) => vec![count, shape.channels],
        (true, time) => vec![count, time, shape.channels],
        (false, _) => vec![count, shape.channels, shape.height, shape.width],
    }
}

/// Writes images, points or sequences as an `.npy` file of [`file_dims`], and tells those.
///
/// # Errors
/// As [`npy::write_f32`].
pub fn write_npy(path: impl AsRef<Path>, images: &Images) -> Result<Vec<usize>> {
    let (shape, dims) = (images.shape, file_dims(images.count(), images.shape));
    if shape.is_single_row() {
        npy::write_f32(path, &dims, &npy::swap(&images.values, shape.channels, shape.width))?;
    } else {
        npy::write_f32(path, &dims, &images.values)?;
    }
    Ok(dims)
}

/// The files that [`read_images`] makes images of, one each, where `path` is a folder of picture files or of folders of
/// them; none elsewhere.
///
/// # Errors
/// [`Error::Io`] if the folder can't be read; [`Error::File`] if it holds no images.
pub fn picture_files(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let path = path.as_ref();
    if path.is_dir() { folder::picture_files(path) } else { Ok(Vec::new()) }
}

impl Dataset {
    /// Opens the data set that `spec` names:
    ///
    /// - `digits`: the first 10,000 training digits of MNIST, which ship with the program; the last 1,000 are held out;
    /// - a toy set ([`toy::TOYS`]), such as `rings`: fresh points every training step, 10,000 of which count as an epoch;
    ///   `rings:5000` is a fixed set of 5,000 points. A tenth as many others are held out;
    /// - a folder of IDX files, gzipped or not, under their usual names (`train-images-idx3-ubyte`,
    ///   `t10k-images-idx3-ubyte`, also with dots or the name of a set in front): the `t10k` or `test` images are held out,
    ///   or, without them, the last tenth;
    /// - a folder of CIFAR-10's or CIFAR-100's binary batches under their usual names; `test_batch.bin` or `test.bin` is
    ///   held out;
    /// - a folder in which torchvision has one such set (`MNIST/raw`, `cifar-10-batches-bin`);
    /// - a folder of PNG and JPEG files of one size: the last tenth (at least one) is held out; a folder with a folder of
    ///   such files for each class: the last tenth of each class (at least one in all) is held out; a folder `train` of
    ///   either kind, and `test`, `val` or `valid`, which is held out;
    /// - a CSV file of numbers, an IDX file, a CIFAR batch, or an `.npy` file (bytes, or floats in [-1, 1] of shape
    ///   `[n, channels, height, width]`, are images; other floats are points `[n, d]` or sequences `[n, time, d]`): the last
    ///   tenth (at least one) is held out.
    ///
    /// # Errors
    /// [`Error::Io`] if something can't be read; [`Error::File`] if it is not there, none of these, a bad one, or has
    /// fewer than 2 examples to share out.
    pub fn open(spec: &str) -> Result<Self> {
        Self::open_for(spec, &Reading::default()).map(|opened| opened.dataset)
    }

    /// [`Self::open`] for a network, of which `reading` tells what it takes; with what a user should know besides.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_for(spec: &str, reading: &Reading) -> Result<Opened> {
        let path = Path::new(spec);
        let plain = |dataset| Opened { dataset, columns: Vec::new(), notes: Vec::new() };
        let (mut columns, mut notes, mut labels) = (Vec::new(), Vec::new(), None);
        let (name, number) = spec.split_once(':').map_or((spec, None), |(name, n)| (name, Some(n)));
        if let Some(toy) = Toy::named(name) {
            return Self::toy(spec, toy, number).map(plain);
        }
        let (mut train, held_out) = if spec == "digits" {
            let mut digits = idx::parse_images(path, DIGITS)?;
            let held_out = digits.split_off_last(DIGITS_HELD_OUT);
            (Examples::Bytes(digits), Some(held_out.to_images()))
        } else if path.is_dir() {
            let sets = folder::open(path, reading)?;
            (labels, notes) = (sets.labels, sets.notes);
            (sets.train, sets.held_out.map(|images| images.to_images()))
        } else if matches!(npz::split(path).0.try_exists(), Ok(false)) {
            let toys = toy::TOYS.map(Toy::name);
            let known: Vec<_> = ["digits"].into_iter().chain(toys).collect();
            let hint = nearest(spec, &known).map_or(String::new(), |hint| format!("; {hint}"));
            let problem = format!(
                "there is no such file or folder{hint}. Give `digits` (ships with the program), a toy set ({}), a folder \
                 of IDX files under their usual names (train-images-idx3-ubyte.gz ...), of CIFAR's binary batches or of PNG \
                 and JPEG files (also in a folder for each class), an IDX file, an .npy or .npz file, or a CSV file",
                toys.join(", ")
            );
            return Err(Error::file(path, problem));
        } else {
            match kind_of(path)? {
                Kind::Picture => {
                    let problem = "is one picture; a data set is a folder of them, or of IDX files, an IDX or an .npy file";
                    return Err(Error::file(path, problem));
                }
                kind @ (Kind::Npy | Kind::Npz | Kind::Csv) => {
                    let (train, held_out) = read_numbers(path, kind, Wanted::Both, reading)?;
                    (columns, notes) = (train.columns, train.notes);
                    let held_out = held_out.map(|found| found.examples.into_images());
                    if let Some(images) =
                        held_out.as_ref().filter(|images| images.shape != train.examples.shape())
                    {
                        let problem = format!(
                            "its held-out array has examples of {}, and the one to train with of {}",
                            images.shape,
                            train.examples.shape()
                        );
                        return Err(Error::file(path, problem));
                    }
                    (train.examples, held_out)
                }
                kind => {
                    let (images, said) = read_stored(path, kind, reading)?;
                    notes = said;
                    (images, None)
                }
            }
        };
        let held_out = match held_out {
            Some(images) if train.count() > 0 => images,
            None if train.count() >= 2 => train.split_off_last((train.count() / 10).max(1)).into_images(),
            _ => {
                return Err(Error::file(
                    path,
                    "holds 1 example; at least 2 are needed, to train on and to hold out",
                ));
            }
        };
        let dataset = Self { name: spec.to_owned(), train, held_out, toy: None, labels };
        Ok(Opened { dataset, columns, notes })
    }

    fn toy(spec: &str, toy: Toy, number: Option<&str>) -> Result<Self> {
        let (train, count) = match number {
            None => (Examples::Toy(toy, toy::EPOCH), toy::EPOCH),
            Some(text) => {
                let Some(count) = text.parse().ok().filter(|count| (2..=1 << 24).contains(count)) else {
                    let name = toy.name();
                    return Err(Error::Usage(format!(
                        "data set `{spec}`: `{text}` is no number of points from 2 to {}; `{name}:10000` is a fixed set of \
                         10,000 points, `{name}` draws fresh ones every step",
                        1 << 24
                    )));
                };
                (Examples::Floats(toy.points(count, 0, FIXED)), count)
            }
        };
        let held_out = toy.points((count / 10).max(1), 0, HELD_OUT);
        Ok(Self { name: spec.to_owned(), train, held_out, toy: Some(toy), labels: None })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Idx,
    Npy,
    Npz,
    Picture,
    Cifar,
    Csv,
}

/// What a file is, told by its first bytes; by its name where those don't tell (CSV, CIFAR), and to say what is wrong
/// with a file that is none of these.
fn kind_of(path: &Path) -> Result<Kind> {
    if npz::split(path).1.is_some() {
        return Ok(Kind::Npz);
    }
    let source = Source::open(path, MAX_BYTES)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let problem = match source.content() {
        // A record begins with a label.
        _ if name.ends_with(".bin") && source.start().first().is_none_or(|label| *label < 20) => {
            return Ok(Kind::Cifar);
        }
        Content::Known(Known::Idx) => return Ok(Kind::Idx),
        Content::Known(Known::Npy) => return Ok(Kind::Npy),
        Content::Known(Known::Png | Known::Jpeg) => return Ok(Kind::Picture),
        Content::Known(Known::Npz) => return Ok(Kind::Npz),
        Content::Known(Known::Safetensors) => {
            let problem = "is a safetensors file of weights, and data are needed, for example as .npy";
            return Err(Error::file_with(path, problem, Remedy::LoadAsModel));
        }
        Content::Foreign(foreign) => format!("is {}; {}", foreign.what, foreign.as_data),
        Content::Empty => {
            "is empty; expected an IDX, .npy, .npz, PNG, JPEG or CSV file, or a batch of CIFAR's".to_owned()
        }
        // The parser of what the name promises says best what is wrong with it.
        _ if name.ends_with(".csv") => return Ok(Kind::Csv),
        _ if name.ends_with(".npy") => return Ok(Kind::Npy),
        _ if [".png", ".jpg", ".jpeg"].iter().any(|end| name.ends_with(end)) => return Ok(Kind::Picture),
        _ if name.ends_with("idx") || name.contains("idx3-ubyte") => return Ok(Kind::Idx),
        Content::Text => return Ok(Kind::Csv),
        _ if name.ends_with(".bin") => return Ok(Kind::Cifar),
        _ if source.start().starts_with(&[0, 0]) || name.contains("idx") => return Ok(Kind::Idx),
        Content::Unknown => format!(
            "is neither text (CSV), an IDX, an .npy, a PNG nor a JPEG file: it starts with {:02x?}; CIFAR's batches are known by \
             their names, *.bin",
            &source.start()[..source.start().len().min(8)]
        ),
    };
    Err(Error::file(path, problem))
}
