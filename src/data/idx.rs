//! IDX, the format MNIST and its relatives come in: a big-endian header (0, 0, element type, rank, then one u32 a
//! dimension) and the elements, row-major. Gzipped or not: the content tells, not the name.

use std::io::BufRead;
use std::path::Path;

use super::reading::Reading;
use super::{ByteImages, Examples, Images, MAX_BYTES, Shape};
use crate::source::{Content, Known, Source};
use crate::{Error, Result};

/// Element types: their number, name, and size in bytes.
const TYPES: [(u8, &str, u64); 6] = [
    (0x08, "unsigned bytes", 1),
    (0x09, "signed bytes", 1),
    (0x0b, "16-bit integers", 2),
    (0x0c, "32-bit integers", 4),
    (0x0d, "32-bit floats", 4),
    (0x0e, "64-bit floats", 8),
];

/// Reads an IDX file of images, and a note for the user if there is something to say.
///
/// Images are `[count, height, width]` (`idx3-ubyte`), or in colour: `[count, height, width, 3]` or
/// `[count, 3, height, width]`. Unsigned bytes are taken as they are. Elements of other types are bytes, too, where all
/// of them are whole numbers from 0 to 255; else floats in [-1, 1], as they are, or, if none is below 0, in [0, 1] or
/// [0, 255], which are scaled to [-1, 1]. Files of EMNIST (`emnist-...`) hold their images transposed: they are put right.
///
/// # Errors
/// [`Error::Io`] if the file can't be read. [`Error::File`] if it is not such a file: another magic number (labels are
/// named as such), no or empty images, less or more data than the header promises, data after the end, broken gzip,
/// values outside those ranges; images that a network of [`Reading::input`] does not take, which are not read at all.
pub fn read_examples(path: impl AsRef<Path>, reading: &Reading) -> Result<(Examples, Option<String>)> {
    let path = path.as_ref();
    let (mut images, note) = parse(path, &mut Source::open(path, MAX_BYTES)?, reading)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let shape = images.shape();
    if !name.starts_with("emnist") || shape.height != shape.width || shape.channels != 1 {
        return Ok((images, note));
    }
    match &mut images {
        Examples::Bytes(images) => {
            images.bytes.chunks_exact_mut(shape.len()).for_each(|one| transpose(one, shape.width))
        }
        Examples::Floats(images) => {
            images.values.chunks_exact_mut(shape.len()).for_each(|one| transpose(one, shape.width))
        }
        Examples::Toy(..) => {}
    }
    Ok((images, Some("EMNIST's files hold their images transposed: they are put upright".to_owned())))
}

fn transpose<T>(image: &mut [T], n: usize) {
    for y in 0..n {
        for x in 0..y {
            image.swap(y * n + x, x * n + y);
        }
    }
}

/// [`read_examples`] of a file of bytes.
///
/// # Errors
/// As [`read_examples`], and for floats.
pub fn read_images(path: impl AsRef<Path>) -> Result<ByteImages> {
    let path = path.as_ref();
    bytes_of(path, read_examples(path, &Reading::default())?.0)
}

/// Reads an IDX file of labels, `[count]` (`idx1-ubyte`).
///
/// # Errors
/// As [`read_images`].
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    labels(path, &mut Source::open(path, MAX_BYTES)?)
}

/// [`read_images`] from any source, whatever its name; `path` is only named in errors.
///
/// # Errors
/// As [`read_images`].
pub fn parse_images(path: &Path, source: impl BufRead) -> Result<ByteImages> {
    bytes_of(path, parse(path, &mut in_memory(path, source)?, &Reading::default())?.0)
}

/// [`read_labels`] from any source; `path` is only named in errors.
///
/// # Errors
/// As [`read_images`].
pub fn parse_labels(path: &Path, source: impl BufRead) -> Result<Vec<u8>> {
    labels(path, &mut in_memory(path, source)?)
}

fn in_memory(path: &Path, mut source: impl BufRead) -> Result<Source> {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Source::of_bytes(path, bytes, MAX_BYTES)
}

fn bytes_of(path: &Path, examples: Examples) -> Result<ByteImages> {
    match examples {
        Examples::Bytes(images) => Ok(images),
        _ => Err(Error::file(path, "holds floats, and bytes are needed")),
    }
}

fn labels(path: &Path, source: &mut Source) -> Result<Vec<u8>> {
    let header = header(path, source, "labels", &[1])?;
    if header.kind != 0x08 {
        return Err(Error::file(path, "holds no labels of bytes (element type 0x08 at offset 2)"));
    }
    elements(path, source, &header, "labels")
}

fn parse(path: &Path, source: &mut Source, reading: &Reading) -> Result<(Examples, Option<String>)> {
    let what = "images";
    let header = header(path, source, what, &[3, 4])?;
    let (shape, channels_last) = match header.dims[..] {
        [_, height, width] => (Shape { channels: 1, height, width }, false),
        [_, height, width, channels @ (1 | 3)] => (Shape { channels, height, width }, true),
        [_, channels @ (1 | 3), height, width] => (Shape { channels, height, width }, false),
        _ => {
            let problem = format!(
                "has the dimensions {} at offset 4, and none of them is 1 or 3 colour channels: images are [count, \
                 height, width] or [count, height, width, 3]",
                header.shown()
            );
            return Err(Error::file(path, problem));
        }
    };
    if let Some(input) = reading.input
        && (shape.channels != input.channels || shape.height > input.height || shape.width > input.width)
    {
        let problem = format!(
            "holds images of {shape} (channels x height x width), by its header, and the network takes images of up to {input}; they can be \
             padded to a larger height and width, but neither shrunk nor given other channels"
        );
        return Err(Error::file(path, problem));
    }
    let bytes = match reading.most.filter(|most| header.kind == 0x08 && *most < header.dims[0]) {
        Some(most) => first_elements(path, source, &header, most * shape.len())?,
        None => elements(path, source, &header, what)?,
    };
    let (mut examples, note) = if header.kind == 0x08 {
        (Examples::Bytes(ByteImages { shape, bytes }), None)
    } else {
        converted(path, shape, &header, &bytes)?
    };
    if channels_last {
        match &mut examples {
            Examples::Bytes(images) => images.bytes = channels_first(&images.bytes, shape),
            Examples::Floats(images) => images.values = channels_first(&images.values, shape),
            Examples::Toy(..) => {}
        }
    }
    Ok((examples, note))
}

fn channels_first<T: Copy>(values: &[T], shape: Shape) -> Vec<T> {
    let images = values.chunks_exact(shape.len());
    images
        .flat_map(|one| (0..shape.channels).flat_map(|c| one.iter().skip(c).step_by(shape.channels)).copied())
        .collect()
}

/// Elements that are no unsigned bytes.
fn converted(path: &Path, shape: Shape, header: &Header, bytes: &[u8]) -> Result<(Examples, Option<String>)> {
    fn take<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f64) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|bytes| convert(*bytes) as f32).collect()
    }
    let mut values = match header.kind {
        0x09 => take(bytes, |[byte]| f64::from(byte as i8)),
        0x0b => take(bytes, |b| f64::from(i16::from_be_bytes(b))),
        0x0c => take(bytes, |b| f64::from(i32::from_be_bytes(b))),
        0x0d => take(bytes, |b| f64::from(f32::from_be_bytes(b))),
        _ => take(bytes, f64::from_be_bytes),
    };
    if let Some(ix) = values.iter().position(|value| !value.is_finite()) {
        let offset = header.length + ix as u64 * header.size;
        return Err(Error::file(
            path,
            format!("value {} at offset {offset} is no finite number", values[ix]),
        ));
    }
    let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    let is_float = matches!(header.kind, 0x0d | 0x0e);
    let are_whole = low >= 0.0 && high <= 255.0 && values.iter().all(|value| value.fract() == 0.0);
    if are_whole && (!is_float || high > 1.0) {
        let bytes = values.iter().map(|value| *value as u8).collect();
        return Ok((Examples::Bytes(ByteImages { shape, bytes }), None));
    }
    let scaled = |what: &str| {
        Some(format!("its floats go from {low} to {high}: they are taken as {what}, and scaled to [-1, 1]"))
    };
    let note = match (low, high) {
        _ if is_float && low >= 0.0 && high <= 1.001 => {
            values.iter_mut().for_each(|value| *value = 2.0 * *value - 1.0);
            scaled("[0, 1]")
        }
        _ if is_float && low >= -1.001 && high <= 1.001 => None,
        _ if is_float && low >= 0.0 && high <= 255.0 => {
            values.iter_mut().for_each(|value| *value = (*value - 127.5) / 127.5);
            scaled("[0, 255]")
        }
        _ => {
            let problem = format!(
                "its {} go from {low} to {high}; images are whole numbers from 0 to 255, or floats in [-1, 1] or [0, 1]: \
                 scale them",
                header.name
            );
            return Err(Error::file(path, problem));
        }
    };
    Ok((Examples::Floats(Images { shape, values }), note))
}

/// What the header says.
struct Header {
    /// The number of the element type.
    kind: u8,
    /// Its name.
    name: &'static str,
    /// Its bytes.
    size: u64,
    dims: Vec<usize>,
    /// Bytes of the header.
    length: u64,
    /// Bytes of all elements.
    promised: u64,
}

impl Header {
    fn shown(&self) -> String {
        self.dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
    }
}

fn header(path: &Path, source: &mut Source, what: &str, ranks: &[u8]) -> Result<Header> {
    let fail = |problem: String| Err(Error::file(path, problem));
    match source.content() {
        Content::Known(Known::Idx) | Content::Unknown | Content::Text | Content::Empty => {}
        Content::Known(known) => return fail(format!("is no IDX file of {what}, but {}", known.name())),
        Content::Foreign(foreign) => {
            return fail(format!("is no IDX file of {what}: it is {}; {}", foreign.what, foreign.as_data));
        }
    }
    let magic = source.read_up_to(4)?;
    let [a, b, kind, rank] = match magic[..] {
        [a, b, kind, rank] => [a, b, kind, rank],
        _ => {
            return fail(format!(
                "truncated: an IDX file starts with 4 bytes of magic number, only {} found",
                magic.len()
            ));
        }
    };
    let known = TYPES.iter().find(|(number, ..)| *number == kind);
    let (name, size) = match known {
        Some((_, name, size)) if [a, b] == [0, 0] && ranks.contains(&rank) => (*name, *size),
        _ if magic == [0, 0, 8, 1] => {
            return fail(
                "holds labels (magic 0x00000801 at offset 0), not images (0x00000803); give the file of images, \
                 usually named ...-images-idx3-ubyte"
                    .into(),
            );
        }
        _ if magic == [0, 0, 8, 3] => {
            return fail(
                "holds images (magic 0x00000803 at offset 0), not labels (0x00000801); give the file of labels, \
                 usually named ...-labels-idx1-ubyte"
                    .into(),
            );
        }
        _ if [a, b] == [0, 0] => {
            return fail(format!(
                "is an IDX file of element type 0x{kind:02x} and rank {rank}; {what} are of rank {} and of type 0x08 \
                 (bytes), 0x09, 0x0b, 0x0c (integers), 0x0d or 0x0e (floats)",
                ranks.iter().map(u8::to_string).collect::<Vec<_>>().join(" or ")
            ));
        }
        _ => {
            return fail(format!(
                "is no IDX file of {what}: magic {magic:02x?} at offset 0, expected [00, 00, 08, {:02x}]",
                ranks[0]
            ));
        }
    };
    let (n, length) = (4 * u64::from(rank), 4 + 4 * u64::from(rank));
    let sizes = source.read_up_to(n)?;
    if (sizes.len() as u64) < n {
        return fail(format!(
            "truncated: the IDX header takes {length} bytes, only {} found",
            4 + sizes.len()
        ));
    }
    let dims: Vec<u32> = sizes.as_chunks().0.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect();
    let promised = dims.iter().fold(size, |all, dim| all.saturating_mul((*dim).into()));
    let dims = dims.into_iter().map(|dim| dim as usize).collect();
    let header = Header { kind, name, size, dims, length, promised };
    let shown = header.shown();
    if promised == 0 {
        return fail(format!("holds no {what}: its header says {shown} at offset 4"));
    }
    if promised > MAX_BYTES {
        return fail(format!(
            "its header promises {shown} {name} of {what} at offset 4, more than the {} GiB a data set may have; the \
             header is damaged, or the file must be split",
            MAX_BYTES >> 30
        ));
    }
    source.check_promise(promised)?;
    Ok(header)
}

/// The first bytes that follow the header of a file of images.
fn first_elements(path: &Path, source: &mut Source, header: &Header, wanted: usize) -> Result<Vec<u8>> {
    // The length of a plain file tells without reading it whether it is whole.
    let (length, whole) = (source.length(), header.length + header.promised);
    if !source.is_packed() && length < whole {
        return Err(truncated(path, header, "images", length.saturating_sub(header.length)));
    }
    if !source.is_packed() && length > whole {
        return elements(path, source, header, "images");
    }
    let bytes = source.read_up_to(wanted as u64)?;
    if bytes.len() < wanted {
        return Err(truncated(path, header, "images", bytes.len() as u64));
    }
    Ok(bytes)
}

fn truncated(path: &Path, header: &Header, what: &str, found: u64) -> Error {
    let Header { promised, length, .. } = *header;
    let shown = header.shown();
    let problem = format!(
        "truncated: its header promises {promised} bytes of {what} ({shown}) from offset {length}, only {found} found; fetch or \
         copy the file again"
    );
    Error::file(path, problem)
}

/// What follows the header, if it is as much as that promises.
fn elements(path: &Path, source: &mut Source, header: &Header, what: &str) -> Result<Vec<u8>> {
    let Header { promised, length, .. } = *header;
    let shown = header.shown();
    // One byte more than promised tells that there is more, and makes a gzip stream check its sum at the end.
    let bytes = source.read_up_to(promised + 1)?;
    let found = bytes.len() as u64;
    if found < promised {
        return Err(truncated(path, header, what, found));
    }
    if found > promised {
        let problem = format!(
            "trailing garbage: its header promises {promised} bytes of {what} ({shown}), but there is more at offset \
             {}; the header is damaged, or something was appended",
            promised + length
        );
        return Err(Error::file(path, problem));
    }
    Ok(bytes)
}
