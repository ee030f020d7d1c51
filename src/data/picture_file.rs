//! PNG and JPEG files as images.
//!
//! The pictures of a set are taken together: they are grey if none of them has a colour, however they are stored, and
//! what 16 bits mean is told by the values of all.

use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::{ByteImages, MAX_BYTES, Shape};
use crate::source::{Content, Known, Source};
use crate::{Error, Result};

/// Endings of the files that a folder's images are.
pub(super) const ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "jpe", "jfif"];
/// The most bytes that a picture's file may have.
const MAX_FILE: u64 = 256 << 20;
/// The most values that a picture may have where no network says how many it takes.
const MAX_VALUES: u64 = 1 << 24;

/// Deflate packs to a 1032nd at most, and so, about, does JPEG.
const MAX_RATIO: u64 = 1040;

/// Images, and what a user should know of how they were read.
#[derive(Clone, Debug, PartialEq)]
pub struct Pictures {
    /// The images.
    pub images: ByteImages,
    /// A sentence each.
    pub notes: Vec<String>,
}

/// Reads one PNG or JPEG file, whatever its name, as a set of one: see [`read_files`].
///
/// # Errors
/// As [`read_files`].
pub fn read_file(path: impl AsRef<Path>) -> Result<ByteImages> {
    read_files(&[path.as_ref().to_owned()], None).map(|pictures| pictures.images)
}

/// Reads PNG and JPEG files as a set of images of one shape.
///
/// They have 1 channel if all of them are grey, whether stored as such, as RGB or with a palette; else 3. They are turned
/// as their EXIF data says; transparency is composited over black; of an animation the first picture counts. 16 bits a
/// channel are rounded to 8, unless no value of the set is above 255: then the values are bytes already. Bytes are
/// scaled as `(v - 127.5) / 127.5` by [`ByteImages::to_images`].
///
/// `input` is what the network takes, if that is known: a larger picture is refused before it is decoded, and grey ones
/// have 3 channels if it takes colour.
///
/// # Errors
/// [`Error::Io`] if a file can't be read, [`Error::File`] if it is neither PNG nor JPEG, or a damaged one, too large, or
/// of another size than the first; and if the set's 16-bit values lie in a sliver of their range.
pub fn read_files(paths: &[PathBuf], input: Option<Shape>) -> Result<Pictures> {
    let mut set = Set::default();
    for path in paths {
        let picture = decode(path, Source::open(path, MAX_FILE)?, input)?;
        set.add(path, picture, paths.len() as u64)?;
    }
    set.finish(paths, input)
}

/// Pictures on their way to images: values of 16 bits, as 8-bit ones can't tell what those of 16 mean.
#[derive(Default)]
struct Set {
    /// Height and width of all, and which picture came first.
    size: Option<([usize; 2], PathBuf)>,
    pictures: Vec<Pixels>,
    notes: Counts,
    /// Lowest and highest value of the 16-bit pictures, and the highest of those with 8.
    deep: Option<[u16; 2]>,
    highest_byte: u8,
}

/// How many pictures something was done to.
#[derive(Default)]
struct Counts {
    turned: usize,
    transparent: usize,
    animated: usize,
    grey: usize,
    grey_as_rgb: usize,
}

/// One picture's values, `[pixel][channel]`; one channel if it is grey.
enum Pixels {
    Bytes(Vec<u8>, usize),
    Deep(Vec<u16>, usize),
}

impl Pixels {
    fn channels(&self) -> usize {
        match self {
            Self::Bytes(_, channels) | Self::Deep(_, channels) => *channels,
        }
    }
}

impl Set {
    /// Adds one of `count` pictures.
    fn add(&mut self, path: &Path, picture: Read, count: u64) -> Result<()> {
        let Read { image, is_turned, is_animated } = picture;
        let size = [image.height() as usize, image.width() as usize];
        let (first, name) = self.size.get_or_insert_with(|| (size, path.to_owned()));
        if size != *first {
            let problem = format!(
                "is {}x{} pixels (height x width), but {} is {}x{}; all pictures of a set must have one size: scale or \
                 crop them first",
                size[0],
                size[1],
                name.display(),
                first[0],
                first[1]
            );
            return Err(Error::file(path, problem));
        }
        let total = count * size[0] as u64 * size[1] as u64;
        if total > MAX_BYTES {
            let problem = format!(
                "is one of {count} pictures of {}x{}, which take more than the {} GiB a data set may have",
                size[0],
                size[1],
                MAX_BYTES >> 30
            );
            return Err(Error::file(path, problem));
        }
        let color = image.color();
        let is_rgb = color.has_color();
        let bits = color.bits_per_pixel() / u16::from(color.channel_count());
        let (pixels, is_transparent) = if bits == 16 {
            let (values, is_transparent) = over_black(image.to_rgba16().into_raw(), u16::MAX);
            let range = self.deep.get_or_insert([u16::MAX, 0]);
            for value in &values {
                *range = [range[0].min(*value), range[1].max(*value)];
            }
            let (values, channels) = without_equal_channels(values);
            (Pixels::Deep(values, channels), is_transparent)
        } else {
            let (values, is_transparent) = over_black(image.to_rgba8().into_raw(), u8::MAX);
            self.highest_byte = values.iter().copied().fold(self.highest_byte, u8::max);
            let (values, channels) = without_equal_channels(values);
            (Pixels::Bytes(values, channels), is_transparent)
        };
        self.notes.turned += usize::from(is_turned);
        self.notes.animated += usize::from(is_animated);
        self.notes.transparent += usize::from(is_transparent);
        self.notes.grey += usize::from(pixels.channels() == 1);
        self.notes.grey_as_rgb += usize::from(pixels.channels() == 1 && is_rgb);
        self.pictures.push(pixels);
        Ok(())
    }

    fn finish(self, paths: &[PathBuf], input: Option<Shape>) -> Result<Pictures> {
        let [height, width] = self.size.as_ref().map_or([0, 0], |(size, _)| *size);
        let count = self.pictures.len();
        let mut notes = Vec::new();
        let are_bytes = self.check_depth(paths, &mut notes)?;
        let Counts { turned, transparent, animated, grey, grey_as_rgb } = self.notes;
        let channels = if grey == count && input.is_none_or(|input| input.channels != 3) { 1 } else { 3 };
        if channels == 3 && grey == count {
            notes.push("the pictures are grey, and the network's three channels get the same".to_owned());
        } else if channels == 3 && grey > 0 {
            notes.push(format!("{grey} of {count} pictures are grey: their channels are equal"));
        }
        if channels == 1 && grey_as_rgb > 0 {
            notes.push(format!(
                "{grey_as_rgb} of {count} pictures are stored in colour but are grey (their channels are equal): read as grey"
            ));
        }
        for (n, what) in [
            (turned, "turned as their EXIF data says"),
            (transparent, "partly transparent: what lies behind is taken as black"),
            (animated, "animated: the first picture is taken"),
        ] {
            if n > 0 {
                notes.push(format!("{n} of {count} pictures: {what}"));
            }
        }
        let shape = Shape { channels, height, width };
        let mut bytes = Vec::new();
        let room = bytes.try_reserve_exact(count.saturating_mul(shape.len()));
        room.map_err(|_| Error::Usage(format!("{count} pictures of {shape} do not fit into memory")))?;
        for pixels in self.pictures {
            let n = pixels.channels();
            let values: Vec<u8> = match pixels {
                Pixels::Bytes(values, _) => values,
                Pixels::Deep(values, _) if are_bytes => values.into_iter().map(|value| value as u8).collect(),
                // As to_luma8 and its like round.
                Pixels::Deep(values, _) => {
                    values.into_iter().map(|v| ((u32::from(v) + 128) / 257) as u8).collect()
                }
            };
            // Files have channels last.
            (0..channels).for_each(|c| bytes.extend(values.iter().skip(c.min(n - 1)).step_by(n)));
        }
        Ok(Pictures { images: ByteImages { shape, bytes }, notes })
    }

    /// Whether values of 16 bits are bytes already.
    fn check_depth(&self, paths: &[PathBuf], notes: &mut Vec<String>) -> Result<bool> {
        let Some([lowest, highest]) = self.deep else {
            if (1..16).contains(&self.highest_byte) {
                notes.push(format!(
                    "no value of the pictures is above {} of 255, so they are all but black; if the values mean something \
                     else, such as 0 and 1, scale them to 0..255 first",
                    self.highest_byte
                ));
            }
            return Ok(false);
        };
        if highest <= 255 {
            if highest > 0 {
                notes.push(format!(
                    "the pictures have 16 bits, but no value is above {highest}: the values are taken as bytes, 0 to 255"
                ));
            }
            return Ok(true);
        }
        let span = highest - lowest;
        if (1..1 << 12).contains(&span) {
            let path = paths.first().map_or(Path::new(""), PathBuf::as_path);
            return Err(Error::file(
                path,
                format!(
                    "is one of {} pictures of 16 bits whose values all lie from {lowest} to {highest} of 65535: of 256 levels \
                     they would use {} (depth and medical images are often such). Scale them to the whole range first, \
                     in Python: `(x - {lowest}) * 65535.0 / {span}`",
                    paths.len(),
                    span / 257 + 1
                ),
            ));
        }
        if span < 1 << 14 && span > 0 {
            notes.push(format!(
                "the pictures have 16 bits, and their values lie from {lowest} to {highest} of 65535: they use {} of 256 \
                 levels. Scaled to the whole range they would have more contrast",
                span / 257 + 1
            ));
        }
        Ok(false)
    }
}

struct Read {
    image: DynamicImage,
    is_turned: bool,
    is_animated: bool,
}

/// [`read_file`] of a file's content; `path` is only named in errors.
///
/// # Errors
/// As [`read_file`].
pub fn parse_file(path: &Path, content: Vec<u8>) -> Result<ByteImages> {
    let mut set = Set::default();
    set.add(path, decode(path, Source::of_bytes(path, content, MAX_FILE)?, None)?, 1)?;
    set.finish(&[path.to_owned()], None).map(|pictures| pictures.images)
}

/// Decodes a file whose header promises no more than a network takes, nor than the file can hold.
fn decode(path: &Path, mut source: Source, input: Option<Shape>) -> Result<Read> {
    let bad = |problem: String| Err(Error::file(path, format!("is no readable PNG or JPEG: {problem}")));
    let format = match source.content() {
        Content::Known(Known::Png) => ImageFormat::Png,
        Content::Known(Known::Jpeg) => ImageFormat::Jpeg,
        Content::Known(known) => return bad(format!("it is {}", known.name())),
        Content::Foreign(foreign) => return bad(format!("it is {}; {}", foreign.what, foreign.as_data)),
        Content::Empty => return bad("it is empty".to_owned()),
        Content::Text => return bad("it is text".to_owned()),
        Content::Unknown => return bad("it begins as neither does".to_owned()),
    };
    let file = source.read_all()?;
    let is_animated = format == ImageFormat::Png && {
        let header = &file[..file.len().min(4096)];
        header.windows(4).any(|chunk| chunk == b"acTL")
    };
    let failed = |error: image::ImageError| {
        Error::file(
            path,
            format!("is no readable PNG or JPEG: {error}; it is damaged or cut off: copy it again"),
        )
    };
    let mut reader = ImageReader::with_format(std::io::Cursor::new(&file), format);
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(MAX_FILE); // for what comes before the pixels, such as colour profiles
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let values = u64::from(width) * u64::from(height);
    if let Some(input) = input {
        // EXIF may turn it.
        let [long, short] = [width.max(height) as usize, width.min(height) as usize];
        if long > input.height.max(input.width) || short > input.height.min(input.width) {
            let problem = format!(
                "is {height}x{width} pixels (height x width), and the network takes {}x{}; smaller pictures are padded \
                 with black, larger ones have to be scaled or cropped first",
                input.height, input.width
            );
            return Err(Error::file(path, problem));
        }
    }
    if values > MAX_VALUES {
        let problem = format!(
            "is {height}x{width} pixels (height x width); at most {MAX_VALUES} are read, more than any small network \
             learns from: scale or crop the pictures first"
        );
        return Err(Error::file(path, problem));
    }
    let bits = values * u64::from(decoder.original_color_type().bits_per_pixel());
    if bits / 8 > MAX_RATIO * (file.len() as u64 + 64) {
        let n = file.len();
        return bad(format!(
            "its header promises {height}x{width} pixels, which {n} bytes can't hold: it is damaged"
        ));
    }
    let turn = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(turn);
    Ok(Read { image, is_turned: turn != Orientation::NoTransforms, is_animated })
}

/// RGB of RGBA over black, rounded, and whether anything was transparent.
fn over_black<T: Copy + Into<u32> + TryFrom<u32>>(rgba: Vec<T>, opaque: T) -> (Vec<T>, bool) {
    let whole: u32 = opaque.into();
    let mut is_transparent = false;
    let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
    for pixel in rgba.chunks_exact(4) {
        let alpha: u32 = pixel[3].into();
        if alpha == whole {
            rgb.extend(&pixel[..3]);
            continue;
        }
        is_transparent = true;
        rgb.extend(pixel[..3].iter().map(|value| {
            let value: u64 = (*value).into().into();
            let over = (value * u64::from(alpha) + u64::from(whole) / 2) / u64::from(whole);
            T::try_from(over as u32).unwrap_or(opaque)
        }));
    }
    (rgb, is_transparent)
}

/// One channel of RGB whose channels are equal everywhere.
fn without_equal_channels<T: Copy + PartialEq>(rgb: Vec<T>) -> (Vec<T>, usize) {
    if rgb.chunks_exact(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]) {
        (rgb.into_iter().step_by(3).collect(), 1)
    } else {
        (rgb, 3)
    }
}
