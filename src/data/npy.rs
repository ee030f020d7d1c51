//! NumPy's `.npy`: a version, a header that is a Python dictionary, and the elements.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use npyz::{NpyHeader, Order};

use super::{ByteImages, Examples, ImageShape, Images, MAX_BYTES, NPY_MAGIC};
use crate::{Error, Result, files};

/// Images as an `.npy` file holds them.
#[derive(Clone, Debug, PartialEq)]
pub enum Npy {
    /// dtype `u1`: bytes, to be scaled.
    Bytes(ByteImages),
    /// dtype `f4`: already in [-1, 1].
    Floats(Images),
}

/// Longest header that is read; NumPy's own limit is 10,000 bytes.
const MAX_HEADER: usize = 10_000;
/// How far outside [-1, 1] a float may lie, for the sake of others' rounding.
const RANGE_SLACK: f32 = 1e-3;

/// Reads an `.npy` file to images: bytes are scaled as `(v - 127.5) / 127.5`, floats taken as they are.
///
/// # Errors
/// As [`read`].
pub fn read_images(path: impl AsRef<Path>) -> Result<Images> {
    Ok(match read(path)? {
        Npy::Bytes(images) => images.to_images(),
        Npy::Floats(images) => images,
    })
}

/// Reads an `.npy` file of shape `[n, channels, height, width]` or `[n, height, width]`, of bytes (`u1`) or of 32-bit
/// floats (`f4`, of either byte order) in [-1, 1].
///
/// # Errors
/// [`Error::Io`] if the file can't be read. [`Error::File`] if it has another dtype, order or shape, less or more data
/// than its header promises, a NaN, an infinity, or a value more than 0.001 outside [-1, 1].
pub fn read(path: impl AsRef<Path>) -> Result<Npy> {
    let path = path.as_ref();
    parse(path, BufReader::new(File::open(path).map_err(Error::io("read", path))?))
}

/// [`read`] from any source; `path` is only named in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, mut source: impl Read) -> Result<Npy> {
    let (header, header_len) = parse_header(path, &mut source)?;
    parse_images(path, source, &header, header_len)
}

/// Reads a data set: bytes, or floats of four dimensions, are images, as [`read`] has them. Other floats (`f4` or `f8`)
/// may be any finite numbers: rows `[n, d]` become images of `d` channels and one pixel, sequences `[n, time, d]` such of
/// `d` channels, one row and `time` columns.
///
/// # Errors
/// As [`read`], but for the range of rows and sequences.
pub fn read_examples(path: impl AsRef<Path>) -> Result<Examples> {
    let path = path.as_ref();
    parse_examples(path, BufReader::new(File::open(path).map_err(Error::io("read", path))?))
}

/// [`read_examples`] from any source; `path` is only named in errors.
///
/// # Errors
/// As [`read_examples`].
pub fn parse_examples(path: &Path, mut source: impl Read) -> Result<Examples> {
    let (header, header_len) = parse_header(path, &mut source)?;
    let descr = header.dtype().descr();
    let is_float = ["f4", "f8"].iter().any(|kind| descr.trim_matches('\'').ends_with(kind));
    if !is_float || header.shape().len() > 3 {
        return Ok(match parse_images(path, source, &header, header_len)? {
            Npy::Bytes(images) => Examples::Bytes(images),
            Npy::Floats(images) => Examples::Floats(images),
        });
    }
    let fail = |problem: String| Err(Error::file(path, problem));
    let dims = header.shape();
    let (count, time, columns) = match *dims {
        [count, columns] => (count, 1, columns),
        [count, time, columns] => (count, time, columns),
        _ => return fail(format!("has shape {dims:?}; expected rows [n, d] or sequences [n, time, d]")),
    };
    if dims.contains(&0) {
        return fail(format!("holds no rows: its shape is {dims:?}"));
    }
    let item_size = if descr.contains("f8") { 8 } else { 4 };
    let promised = count.saturating_mul(time).saturating_mul(columns).saturating_mul(item_size);
    if promised > MAX_BYTES {
        let limit = MAX_BYTES >> 30;
        return fail(format!(
            "its header promises shape {dims:?}, {promised} bytes; at most {limit} GiB are read"
        ));
    }
    let bytes = read_elements(path, source, &header, header_len, promised)?;
    let little = descr.contains('<');
    let in_file: Vec<f32> = if item_size == 4 {
        let from_bytes = if little { f32::from_le_bytes } else { f32::from_be_bytes };
        bytes.chunks_exact(4).map(|b| from_bytes([b[0], b[1], b[2], b[3]])).collect()
    } else {
        let from_bytes = if little { f64::from_le_bytes } else { f64::from_be_bytes };
        let eight = |b: &[u8]| from_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
        bytes.chunks_exact(8).map(eight).collect()
    };
    if let Some(flat_ix) = in_file.iter().position(|v| !v.is_finite()) {
        let (value, index) = (in_file[flat_ix], unravel(flat_ix, dims));
        return fail(format!("value {value} at index {index:?}; every value must be a finite 32-bit number"));
    }
    let shape = ImageShape { channels: columns as usize, height: 1, width: time as usize };
    Ok(Examples::Floats(Images { shape, values: swap(&in_file, shape.width, shape.channels) }))
}

/// Exchanges the inner two dimensions of `[n, a, b]`.
pub fn swap(values: &[f32], a: usize, b: usize) -> Vec<f32> {
    if a == 1 || b == 1 {
        return values.to_vec();
    }
    let mut swapped = Vec::with_capacity(values.len());
    for one in values.chunks_exact(a * b) {
        swapped.extend((0..a * b).map(|i| one[i % a * b + i / a]));
    }
    swapped
}

fn parse_images(path: &Path, source: impl Read, header: &NpyHeader, header_len: u64) -> Result<Npy> {
    let fail = |problem: String| Err(Error::file(path, problem));
    let descr = header.dtype().descr();
    let item_size = match descr.trim_matches('\'') {
        "|u1" | "<u1" | ">u1" => 1,
        "<f4" | ">f4" => 4,
        other => {
            return fail(format!(
                "has dtype {other}; expected f4 (in [-1, 1]) or u1 (0 to 255): save array.astype('float32')"
            ));
        }
    };
    let (shape, promised) = image_shape(path, header.shape(), item_size)?;
    let bytes = read_elements(path, source, header, header_len, promised)?;
    if item_size == 1 {
        return Ok(Npy::Bytes(ByteImages { shape, bytes }));
    }
    let from_bytes = if descr.contains('<') { f32::from_le_bytes } else { f32::from_be_bytes };
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| from_bytes([b[0], b[1], b[2], b[3]])).collect();
    // Written so that NaN fails.
    let is_good = |v: &f32| v.abs() <= 1.0 + RANGE_SLACK;
    if let Some(flat_ix) = values.iter().position(|v| !is_good(v)) {
        let value = values[flat_ix];
        let index = unravel(flat_ix, header.shape());
        return fail(if value.is_finite() {
            format!("value {value} at index {index:?} is outside [-1, 1]; scale bytes as (v - 127.5) / 127.5")
        } else {
            format!("value {value} at index {index:?}; every value must be a finite number in [-1, 1]")
        });
    }
    Ok(Npy::Floats(Images { shape, values }))
}

/// The bytes after the header, if they are as many as it promises.
fn read_elements(
    path: &Path,
    source: impl Read,
    header: &NpyHeader,
    header_len: u64,
    promised: u64,
) -> Result<Vec<u8>> {
    let fail = |problem: String| Err(Error::file(path, problem));
    let descr = header.dtype().descr();
    let mut bytes = Vec::new(); // grows with what comes, not with what the header says
    source.take(promised + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let found = bytes.len() as u64;
    if found < promised {
        return fail(format!(
            "truncated: shape {:?} and dtype {descr} promise {promised} bytes from offset {header_len}, only {found} found",
            header.shape()
        ));
    }
    if found > promised {
        return fail(format!(
            "trailing bytes: shape {:?} and dtype {descr} promise {promised} bytes, but there is more at offset {}",
            header.shape(),
            promised + header_len
        ));
    }
    Ok(bytes)
}

/// Writes `values` of shape `shape`, row-major, as an `.npy` file (version 1.0, dtype `<f4`), atomically.
///
/// # Errors
/// As [`files::write_atomically`].
///
/// # Panics
/// If `values` are not as many as `shape` says, or `shape` is too long for a version 1.0 header.
pub fn write_f32(path: impl AsRef<Path>, shape: &[usize], values: &[f32]) -> Result<()> {
    assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?}");
    let mut dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
    if shape.len() > 1 {
        dims.truncate(dims.len() - 2);
    }
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims}), }}");
    // 10 bytes before the header and a newline at its end; the data starts at a multiple of 64.
    let padding = (10 + header.len() + 1).next_multiple_of(64) - (10 + header.len() + 1);
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let header_len = u16::try_from(header.len()).expect("a header under 64 KiB");
    files::write_atomically(path, |writer| {
        writer.write_all(&NPY_MAGIC)?;
        writer.write_all(&[1, 0])?;
        writer.write_all(&header_len.to_le_bytes())?;
        writer.write_all(header.as_bytes())?;
        values.iter().try_for_each(|value| writer.write_all(&value.to_le_bytes()))
    })
}

/// The header, and the offset at which the data starts.
///
/// npyz parses the dictionary. What it would trip over is kept from it: it allocates whatever length the file names,
/// takes time exponential in the depth of nested brackets (24 of them: a minute), and multiplies the dimensions
/// unchecked.
fn parse_header(path: &Path, source: &mut impl Read) -> Result<(NpyHeader, u64)> {
    let fail = |problem: String| Err(Error::file(path, problem));
    let mut text = Vec::new();
    source.take(8).read_to_end(&mut text).map_err(Error::io("read", path))?;
    if !text.starts_with(&NPY_MAGIC[..text.len().min(6)]) {
        return fail("is no .npy file: it does not start with \\x93NUMPY".into());
    }
    let length_size = match text.get(6) {
        Some(1) => 2,
        Some(2 | 3) => 4,
        Some(version) => {
            return fail(format!("is of .npy version {version} (offset 6); versions 1 to 3 can be read"));
        }
        None => 2, // too short, as is said below
    };
    source.take(length_size).read_to_end(&mut text).map_err(Error::io("read", path))?;
    let start = 8 + length_size as usize;
    if text.len() < start {
        return fail(format!("truncated: {start} bytes come before the header, only {} found", text.len()));
    }
    let length = text[8..].iter().rev().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
    if length > MAX_HEADER {
        return fail(format!(
            "its header is said to take {length} bytes (offset 8); at most {MAX_HEADER} are read"
        ));
    }
    source.take(length as u64).read_to_end(&mut text).map_err(Error::io("read", path))?;
    let dictionary = &text[start..];
    if dictionary.len() < length {
        let found = dictionary.len();
        return fail(format!(
            "truncated: the header takes {length} bytes from offset {start}, only {found} found"
        ));
    }
    let count = |wanted: fn(&u8) -> bool| dictionary.iter().filter(|byte| wanted(byte)).count();
    if count(|byte| b"[{(".contains(byte)) > 2 {
        return fail("has a structured dtype; expected a plain array of f4 or u1".into());
    }
    // 10^18 fits 64 bits, so no product of dimensions of 18 digits in all overflows.
    if count(u8::is_ascii_digit) > 18 || count(|byte| b"xX".contains(byte)) > 0 {
        let shown = String::from_utf8_lossy(dictionary);
        return fail(format!("its header names an absurd shape: {}", shown.trim_end()));
    }
    let header = NpyHeader::from_reader(&text[..]).map_err(|error| {
        Error::file(path, format!("its header (offset {start}) is not readable: {error}"))
    })?;
    if header.order() == Order::Fortran {
        return fail(
            "is in Fortran order; save it in C order: np.save(name, np.ascontiguousarray(array))".into(),
        );
    }
    Ok((header, (start + length) as u64))
}

/// The shape of each image, and the bytes of all.
fn image_shape(path: &Path, dims: &[u64], item_size: u64) -> Result<(ImageShape, u64)> {
    let fail = |problem: String| Err(Error::file(path, problem));
    let (count, channels, height, width) = match *dims {
        [count, height, width] => (count, 1, height, width),
        [count, channels, height, width] => (count, channels, height, width),
        _ => {
            return fail(format!(
                "has shape {dims:?}; expected [n, channels, height, width] or [n, height, width]"
            ));
        }
    };
    if [count, channels, height, width].contains(&0) {
        return fail(format!("holds no images: its shape is {dims:?}"));
    }
    if channels != 1 && channels != 3 {
        let hint =
            if width == 1 || width == 3 { "; channels come second: array.transpose(0, 3, 1, 2)" } else { "" };
        return fail(format!("has shape {dims:?}, so {channels} channels; expected 1 or 3{hint}"));
    }
    let promised = dims.iter().fold(item_size, |product, dim| product.saturating_mul(*dim));
    if promised > MAX_BYTES {
        let limit = MAX_BYTES >> 30;
        return fail(format!(
            "its header promises shape {dims:?}, {promised} bytes; at most {limit} GiB are read"
        ));
    }
    let shape = ImageShape { channels: channels as usize, height: height as usize, width: width as usize };
    Ok((shape, promised))
}

/// The index in an array of shape `dims` of its `flat`-th element.
fn unravel(flat: usize, dims: &[u64]) -> Vec<u64> {
    let mut rest = flat as u64;
    let mut index = vec![0; dims.len()];
    for (ix, dim) in index.iter_mut().zip(dims).rev() {
        (*ix, rest) = (rest % dim, rest / dim);
    }
    index
}
