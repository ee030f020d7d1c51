//! NumPy's `.npy`: a version, a header that is a Python dictionary, and the elements.
//!
//! What an array is follows from its dimensions and from what the network takes ([`Reading`]):
//!
//! | shape | examples |
//! | --- | --- |
//! | `[n, d]` | points |
//! | `[n, time, d]` | sequences, where the network takes sequences, or where that isn't known and they are floats |
//! | `[n, height, width]` | grey images otherwise |
//! | `[n, channels, height, width]` | images; `[n, height, width, channels]`, too, where 1 or 3 can only be the channels |
//!
//! Elements are floats of 16, 32 or 64 bits, integers or booleans, of either byte order, and lie in C or Fortran order.

use std::io::{self, Read};
use std::path::Path;

use npyz::{NpyHeader, Order};

use super::reading::{Found, Reading, Takes};
use super::{ByteImages, Examples, Images, MAX_BYTES, NPY_MAGIC, Shape};
use crate::{Error, Result, files};

/// Longest header that is read; NumPy's own limit is 10,000 bytes.
const MAX_HEADER: usize = 10_000;
/// So many bytes are converted at a time; a multiple of every element's size.
const PIECE: usize = 1 << 16;

/// What the header says.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Length of each dimension, as NumPy prints them.
    pub dims: Vec<usize>,
    element: Element,
    fortran: bool,
    start: u64, // offset of the elements
}

impl Layout {
    /// Bytes of all elements.
    pub fn bytes(&self) -> u64 {
        self.dims.iter().fold(self.element.size as u64, |all, dim| all.saturating_mul(*dim as u64))
    }

    fn dtype(&self) -> &str {
        &self.element.name
    }
}

/// The type of an element.
#[derive(Clone, Debug, PartialEq)]
struct Element {
    name: String, // as in the header: `<f4`
    kind: u8,     // b, i, u, f
    size: usize,
    big_endian: bool,
}

impl Element {
    /// Reads a dtype, or says what to do about it.
    fn of(descr: &str) -> std::result::Result<Self, String> {
        let name = descr.trim_matches('\'');
        let order = name.chars().next().filter(|c| "<>|=".contains(*c));
        let rest = &name[order.map_or(0, char::len_utf8)..];
        let (kind, size) = (rest.bytes().next().unwrap_or(b'?'), rest.get(1..).unwrap_or_default());
        let element = |size| Ok(Self { name: name.to_owned(), kind, size, big_endian: order == Some('>') });
        let advice = match (kind, size) {
            (b'b' | b'i' | b'u', "1") => return element(1),
            (b'f' | b'i' | b'u', "2") => return element(2),
            (b'f' | b'i' | b'u', "4") => return element(4),
            (b'f' | b'i' | b'u', "8") => return element(8),
            (b'f', _) => "save array.astype('float64')",
            (b'c', _) => {
                "it is complex; save its real and imaginary parts as numbers of their own: np.stack([array.real, \
                 array.imag], axis=1)"
            }
            (b'O', _) => {
                "it holds Python objects, which are not read: make an array of numbers, as in np.stack(list).astype('float32'), \
                 and save that"
            }
            (b'U' | b'S' | b'a', _) => "it holds text; if that is numbers, save array.astype('float32')",
            (b'M' | b'm', _) => {
                "it holds dates or times; save them as numbers, as in (array - array.min()) / np.timedelta64(1, 's')"
            }
            (b'V', "2") => {
                "it holds raw bytes of two, perhaps bfloat16, which NumPy has not: save array.astype('float32')"
            }
            _ => "save array.astype('float32')",
        };
        Err(format!(
            "has dtype {name}; expected floats (f2, f4, f8), integers (i1 to i8, u1 to u8) or booleans: {advice}"
        ))
    }

    fn is_float(&self) -> bool {
        self.kind == b'f'
    }

    /// Every element of some whole ones' bytes. All integers but the largest of 64 bits are exact.
    fn each(&self, bytes: &[u8], mut take: impl FnMut(f64)) {
        macro_rules! numbers {
            ($type:ty, $value:expr) => {
                for chunk in bytes.chunks_exact(size_of::<$type>()) {
                    let chunk = chunk.try_into().expect("as many bytes");
                    let number = if self.big_endian {
                        <$type>::from_be_bytes(chunk)
                    } else {
                        <$type>::from_le_bytes(chunk)
                    };
                    take($value(number));
                }
            };
        }
        match (self.kind, self.size) {
            (b'b', _) => bytes.iter().for_each(|byte| take(f64::from(u8::from(*byte != 0)))),
            (b'u', 1) => bytes.iter().for_each(|byte| take(f64::from(*byte))),
            (b'u', 2) => numbers!(u16, f64::from),
            (b'u', 4) => numbers!(u32, f64::from),
            (b'u', _) => numbers!(u64, |number| number as f64),
            (b'i', 1) => numbers!(i8, f64::from),
            (b'i', 2) => numbers!(i16, f64::from),
            (b'i', 4) => numbers!(i32, f64::from),
            (b'i', _) => numbers!(i64, |number| number as f64),
            (_, 2) => numbers!(half::f16, f64::from),
            (_, 4) => numbers!(f32, f64::from),
            _ => numbers!(f64, |number| number),
        }
    }
}

/// Reads an array. `available` is how many bytes `source` has, if that is known: a header that promises more is found out
/// before there is memory taken for it. `path` is only named in errors.
///
/// Bytes, and integers from 0 to 255 of any other type, are pixels where they are images; 0 and 1 alone are black and white.
/// Float images are brought to [-1, 1] as [`Reading::range`](super::reading::Reading) says. Points and sequences are taken
/// as they are.
///
/// # Errors
/// [`Error::Io`] if `source` can't be read, or there is no memory. [`Error::File`] for other dtypes and shapes than the
/// module's text lists, less or more data than the header promises, a NaN, an infinity, a number that 32 bits can't hold,
/// and images out of range.
pub fn parse(path: &Path, mut source: impl Read, available: Option<u64>, reading: &Reading) -> Result<Found> {
    let layout = parse_header(path, &mut source)?;
    parse_elements(path, source, available, &layout, reading)
}

/// The rest of [`parse`], after [`parse_header`].
///
/// # Errors
/// As [`parse`].
pub fn parse_elements(
    path: &Path,
    source: impl Read,
    available: Option<u64>,
    layout: &Layout,
    reading: &Reading,
) -> Result<Found> {
    let meaning = Meaning::of(layout, reading).map_err(|problem| Error::file(path, problem))?;
    let promised = layout.bytes();
    let in_memory = if meaning.is_images && !layout.element.is_float() { 1_u64 } else { 4 };
    let memory = layout.dims.iter().fold(in_memory, |all, dim| all.saturating_mul(*dim as u64));
    if promised.max(memory) > MAX_BYTES {
        let (limit, dims) = (MAX_BYTES >> 30, &layout.dims);
        return Err(Error::file(
            path,
            format!("its header promises shape {dims:?}, {promised} bytes; at most {limit} GiB are read"),
        ));
    }
    if let Some(available) = available.filter(|available| *available < promised + layout.start) {
        return Err(truncated(path, layout, available.saturating_sub(layout.start)));
    }
    // Points and sequences are taken as they are, so that the first ones do not depend on the others.
    let is_whole = available.is_none_or(|available| available == promised + layout.start);
    let most = reading.most.filter(|most| *most < layout.dims[0]);
    let first = most.filter(|_| is_whole && !meaning.is_images && !layout.fortran).map(|most| {
        let dims = [&[most], &layout.dims[1..]].concat();
        Layout { dims, ..layout.clone() }
    });
    let source = source.take(first.as_ref().map_or(u64::MAX, Layout::bytes));
    let layout = first.as_ref().unwrap_or(layout);
    let mut notes: Vec<String> = meaning.note.into_iter().collect();
    let examples = if meaning.is_images && !layout.element.is_float() {
        let mut pixels: Vec<u8> = Vec::new();
        let mut extremes = Extremes::default();
        read_elements(path, source, available.is_some(), layout, &mut pixels, |value| {
            extremes.add(value);
            value as i64 as u8
        })?;
        arrange(path, layout, &meaning.shape, &meaning.strides, &mut pixels)?;
        if extremes.lowest >= -1.0 && extremes.lowest < 0.0 && extremes.highest <= 1.0 {
            // Spins: -1 wrapped around to 255.
            let values = pixels.iter().map(|pixel| f32::from(*pixel as i8)).collect();
            Examples::Floats(Images { shape: meaning.shape, values })
        } else if extremes.lowest < 0.0 || extremes.highest > 255.0 {
            let (value, at) =
                if extremes.lowest < 0.0 { extremes.lowest_at() } else { extremes.highest_at() };
            let index = layout.index(at);
            return Err(Error::file(
                path,
                format!(
                    "value {value} at index {index:?}: integer images are pixels from 0 to 255; scale them by the largest \
                     value that they can have: (array / MAX * 255).astype('uint8')"
                ),
            ));
        } else {
            if extremes.highest == 1.0 {
                pixels.iter_mut().for_each(|pixel| *pixel *= 255);
                notes.push("its integers are all 0 and 1, and were taken as black and white".to_owned());
            }
            Examples::Bytes(ByteImages { shape: meaning.shape, bytes: pixels })
        }
    } else {
        let mut values: Vec<f32> = Vec::new();
        let (mut extremes, mut bad) = (Extremes::default(), None);
        read_elements(path, source, available.is_some(), layout, &mut values, |value| {
            if bad.is_none() && !(value as f32).is_finite() {
                bad = Some((value, extremes.count));
            }
            extremes.add(value);
            value as f32
        })?;
        if let Some((value, at)) = bad {
            let index = layout.index(at);
            let problem = if value.is_finite() {
                "is too large for a 32-bit number, whose limit is 3.4e38: scale or mend it"
            } else {
                "is no finite number: leave out or mend such examples"
            };
            return Err(Error::file(path, format!("value {} at index {index:?} {problem}", show(value))));
        }
        arrange(path, layout, &meaning.shape, &meaning.strides, &mut values)?;
        if meaning.is_images {
            let noted = reading.scale(&mut values, extremes.lowest, extremes.highest).map_err(|problem| {
                let (value, at) = if extremes.highest.abs() >= extremes.lowest.abs() {
                    extremes.highest_at()
                } else {
                    extremes.lowest_at()
                };
                let index = layout.index(at);
                match problem.starts_with("is ") {
                    true => Error::file(path, format!("value {} at index {index:?} {problem}", show(value))),
                    false => Error::file(path, problem),
                }
            })?;
            notes.extend(noted);
        }
        Examples::Floats(Images { shape: meaning.shape, values })
    };
    Ok(Found { notes, ..Found::new(examples) })
}

/// A value as Python would write it.
fn show(value: f64) -> String {
    let text = format!("{value:?}");
    // 0.1 of 32 bits is a long number of 64; so it is shown as what it was.
    if f64::from(value as f32) == value { format!("{:?}", value as f32) } else { text }
}

/// Lowest and highest value, and where they came first.
struct Extremes {
    lowest: f64,
    highest: f64,
    at: [usize; 2],
    count: usize,
}

impl Default for Extremes {
    fn default() -> Self {
        Self { lowest: f64::INFINITY, highest: f64::NEG_INFINITY, at: [0; 2], count: 0 }
    }
}

impl Extremes {
    fn add(&mut self, value: f64) {
        if value < self.lowest {
            (self.lowest, self.at[0]) = (value, self.count);
        }
        if value > self.highest {
            (self.highest, self.at[1]) = (value, self.count);
        }
        self.count += 1;
    }

    fn lowest_at(&self) -> (f64, usize) {
        (self.lowest, self.at[0])
    }

    fn highest_at(&self) -> (f64, usize) {
        (self.highest, self.at[1])
    }
}

/// What an array is.
struct Meaning {
    is_images: bool,
    shape: Shape,
    /// How far apart, in memory, neighbours along each dimension but the first are.
    strides: Vec<usize>,
    note: Option<String>,
}

impl Meaning {
    fn of(layout: &Layout, reading: &Reading) -> std::result::Result<Self, String> {
        let (dims, takes, is_float) = (&layout.dims, reading.takes, layout.element.is_float());
        let expected = match takes {
            Takes::Images => {
                "[n, channels, height, width] or [n, height, width], as the network takes images"
            }
            Takes::Sequences => "[n, time, d], as the network takes sequences",
            Takes::Points => "[n, d], as the network takes points",
            Takes::Anything => "points [n, d], sequences [n, time, d] or images [n, channels, height, width]",
        };
        let wrong = |advice: &str| Err(format!("has shape {dims:?}; expected {expected}{advice}"));
        if dims.contains(&0) {
            let what = if takes == Takes::Images || dims.len() == 4 { "images" } else { "rows" };
            return Err(format!("holds no {what}: its shape is {dims:?}"));
        }
        let points = |time: usize, d: usize| Self {
            is_images: false,
            shape: Shape { channels: d, height: 1, width: time },
            strides: if dims.len() == 2 { vec![1] } else { vec![1, time] },
            note: None,
        };
        let meaning = match **dims {
            [] => return wrong("; it is a single number"),
            [n] => {
                return match takes {
                    Takes::Images | Takes::Sequences => wrong("; it is a single row of numbers"),
                    _ => wrong(&format!(
                        "; np.reshape(array, ({n}, 1)) makes {n} points of one number of it, and (1, {n}) one point"
                    )),
                };
            }
            [n, d] => match (takes, reading.input) {
                (Takes::Images, Some(input)) if d == input.len() => {
                    let Shape { channels, height, width } = input;
                    return wrong(&format!(
                        "; images that lie flat have to be told their sides: array.reshape({n}, {channels}, {height}, \
                         {width})"
                    ));
                }
                // 28 x 28 and the like; fewer numbers are points, for which another network has to be chosen.
                (Takes::Images, _) if !reading.trains || d >= 256 && d.isqrt().pow(2) == d => {
                    let side = d.isqrt();
                    return wrong(&match side * side == d && side > 1 {
                        true => format!(
                            "; if these are images that lie flat: array.reshape({n}, 1, {side}, {side}). For rows that \
                             are points, choose the preset `mlp`"
                        ),
                        false => {
                            "; for rows that are points, take a network of points, such as that of the preset `mlp`"
                                .to_owned()
                        }
                    });
                }
                (Takes::Sequences, _) => {
                    return wrong("; if each row is a sequence of single numbers: array[:, :, None]");
                }
                _ => points(1, d),
            },
            [_, a, b] => match takes {
                Takes::Sequences => points(a, b),
                Takes::Anything if is_float => Self {
                    note: Some(format!(
                        "its shape {dims:?} was understood as sequences [n, time, d]; if they are grey images, save \
                         array[:, None]"
                    )),
                    ..points(a, b)
                },
                Takes::Points => {
                    return wrong("; array.reshape(len(array), -1) makes a point of each example");
                }
                Takes::Images | Takes::Anything => Self {
                    is_images: true,
                    shape: Shape { channels: 1, height: a, width: b },
                    strides: vec![b, 1],
                    note: None,
                },
            },
            [_, a, b, c] if matches!(takes, Takes::Images | Takes::Anything) => {
                Self::images([a, b, c], reading)
                    .map_err(|problem| format!("has shape {dims:?}, {problem}"))?
            }
            [_, _, _, _] => return wrong("; these look like images, for which the network is not made"),
            _ => return wrong(""),
        };
        meaning.check(layout, reading)?;
        Ok(meaning)
    }

    /// Of images, either way round.
    fn images([a, b, c]: [usize; 3], reading: &Reading) -> std::result::Result<Self, String> {
        let first = Self {
            is_images: true,
            shape: Shape { channels: a, height: b, width: c },
            strides: vec![b * c, c, 1],
            note: None,
        };
        let last = Self {
            is_images: true,
            shape: Shape { channels: c, height: a, width: b },
            strides: vec![b, 1, a * b],
            note: Some("its channels come last, as [n, height, width, channels]".to_owned()),
        };
        let usual = |channels: usize| matches!(channels, 1 | 3);
        let possible = |channels: usize| channels <= 4;
        let advice =
            "; expected [n, channels, height, width]: array.transpose(0, 3, 1, 2), if the channels come last";
        match reading.input.map(|input| input.channels) {
            Some(channels) if a == channels => Ok(first),
            Some(channels) if c == channels => Ok(last),
            Some(_) => {
                let (shape, input) = (first.shape, reading.input.unwrap_or(first.shape));
                Err(format!(
                    "images of {shape} (channels x height x width), and the network takes {input}{advice}"
                ))
            }
            None if usual(a) => Ok(first),
            None if usual(c) => Ok(last),
            None if possible(a) => Ok(first),
            None if possible(c) => Ok(last),
            None => Err(format!("so {a} channels; at most 4 are read{advice}")),
        }
    }

    /// Refuses what the network can't take before any of it is read.
    fn check(&self, layout: &Layout, reading: &Reading) -> std::result::Result<(), String> {
        let Some(input) = reading.input else { return Ok(()) };
        let (own, dims) = (self.shape, &layout.dims);
        let is_larger =
            own.channels != input.channels || own.height > input.height || own.width > input.width;
        if self.is_images && is_larger {
            return Err(format!(
                "has shape {dims:?}, images of {own} (channels x height x width), and the network takes {input}; images \
                 can be padded to a larger height and width, but neither shrunk nor given other channels"
            ));
        }
        if !self.is_images && own != input {
            return Err(format!(
                "holds points of {own} (numbers x 1 x moments), by its shape {dims:?}, and the network takes {input}"
            ));
        }
        Ok(())
    }
}

impl Layout {
    /// The index, as NumPy has it, of the element that is `at` in the file.
    fn index(&self, at: usize) -> Vec<usize> {
        let mut rest = at;
        let mut index = vec![0; self.dims.len()];
        let mut divide = |axis: usize| {
            (index[axis], rest) = (rest % self.dims[axis], rest / self.dims[axis]);
        };
        match self.fortran {
            true => (0..self.dims.len()).for_each(&mut divide),
            false => (0..self.dims.len()).rev().for_each(&mut divide),
        }
        index
    }
}

/// Puts elements from the file's order into that of memory.
fn arrange<T: Copy + Default>(
    path: &Path,
    layout: &Layout,
    shape: &Shape,
    strides: &[usize],
    values: &mut Vec<T>,
) -> Result<()> {
    let no_memory = |error| Error::io("read", path)(io::Error::from(error));
    let (dims, length) = (&layout.dims, shape.len());
    // Where an example's elements go, in C order.
    let places = |dims: &[usize]| -> Vec<usize> {
        dims.iter().zip(strides).fold(vec![0], |places, (dim, stride)| {
            places.iter().flat_map(|place| (0..*dim).map(move |i| place + i * stride)).collect()
        })
    };
    let places = places(&dims[1..]);
    if !layout.fortran {
        if places.iter().enumerate().all(|(i, place)| i == *place) {
            return Ok(());
        }
        let mut one = vec![T::default(); length];
        for example in values.chunks_exact_mut(length) {
            places.iter().zip(&*example).for_each(|(place, value)| one[*place] = *value);
            example.copy_from_slice(&one);
        }
        return Ok(());
    }
    let mut arranged = Vec::new();
    arranged.try_reserve_exact(values.len()).map_err(no_memory)?;
    arranged.resize(values.len(), T::default());
    // The first index of the file is the fastest, the last one the slowest: an example's elements lie `count` apart, and
    // in the order of the reversed dimensions.
    let count = dims[0];
    let mut index = vec![0_usize; dims.len() - 1];
    for group in values.chunks_exact(count) {
        let place: usize = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
        for (example, value) in group.iter().enumerate() {
            arranged[example * length + place] = *value;
        }
        for (i, dim) in index.iter_mut().zip(&dims[1..]) {
            *i += 1;
            if *i < *dim {
                break;
            }
            *i = 0;
        }
    }
    *values = arranged;
    Ok(())
}

fn truncated(path: &Path, layout: &Layout, found: u64) -> Error {
    let (dims, dtype, promised, start) = (&layout.dims, layout.dtype(), layout.bytes(), layout.start);
    Error::file(
        path,
        format!(
            "truncated: shape {dims:?} and dtype {dtype} promise {promised} bytes from offset {start}, only {found} found; \
             copy or save the file again"
        ),
    )
}

/// Converts all elements as they come. Memory is taken at once where the source is known to have them all, and grows with
/// what comes otherwise.
fn read_elements<T>(
    path: &Path,
    mut source: impl Read,
    at_once: bool,
    layout: &Layout,
    values: &mut Vec<T>,
    mut convert: impl FnMut(f64) -> T,
) -> Result<()> {
    let failed = || Error::io("read", path);
    let no_memory = |error| failed()(io::Error::from(error));
    let (promised, size) = (layout.bytes(), layout.element.size);
    if at_once {
        values.try_reserve_exact((promised / size as u64) as usize).map_err(no_memory)?;
    }
    let mut piece = vec![0_u8; PIECE];
    let mut done = 0;
    while done < promised {
        let wanted = (promised - done).min(PIECE as u64) as usize;
        let mut filled = 0;
        while filled < wanted {
            match source.read(&mut piece[filled..wanted]) {
                Ok(0) => return Err(truncated(path, layout, done + filled as u64)),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed()(error)),
            }
        }
        values.try_reserve(wanted / size).map_err(no_memory)?;
        layout.element.each(&piece[..wanted], |value| values.push(convert(value)));
        done += wanted as u64;
    }
    if source.read(&mut piece[..1]).map_err(failed())? > 0 {
        let (dims, dtype) = (&layout.dims, layout.dtype());
        return Err(Error::file(
            path,
            format!(
                "trailing bytes: shape {dims:?} and dtype {dtype} promise {promised} bytes, but there is more at offset {}",
                promised + layout.start
            ),
        ));
    }
    Ok(())
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

/// Reads the header.
///
/// npyz parses the dictionary. What it would trip over is kept from it: it allocates whatever length the file names,
/// takes time exponential in the depth of nested brackets (24 of them: a minute), multiplies the dimensions unchecked, and
/// does not know Python 2's long integers, `(12L, 2L)`.
///
/// # Errors
/// [`Error::Io`] if `source` can't be read; [`Error::File`] if it holds no readable header, or a dtype of no plain numbers.
pub fn parse_header(path: &Path, source: &mut impl Read) -> Result<Layout> {
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
    let mut dictionary = text.split_off(start);
    if dictionary.len() < length {
        let found = dictionary.len();
        return fail(format!(
            "truncated: the header takes {length} bytes from offset {start}, only {found} found"
        ));
    }
    let count = |wanted: fn(&u8) -> bool| dictionary.iter().filter(|byte| wanted(byte)).count();
    // A unit of time has brackets of its own: `<M8[ns]`.
    let has_unit = dictionary.windows(3).any(|three| matches!(three, [b'm' | b'M', b'8', b'[']));
    if count(|byte| b"[{(".contains(byte)) > 2 + usize::from(has_unit) {
        return fail(
            "has a structured dtype (an array of records with named fields); expected plain numbers: save \
             numpy.lib.recfunctions.structured_to_unstructured(array)"
                .into(),
        );
    }
    // 10^18 fits 64 bits, so no product of dimensions of 18 digits in all overflows.
    if count(u8::is_ascii_digit) > 18 || count(|byte| b"xX".contains(byte)) > 0 {
        let shown = String::from_utf8_lossy(&dictionary);
        return fail(format!("its header names an absurd shape: {}", shown.trim_end()));
    }
    // Python 2's `12L`. The blank keeps the header's length.
    for ix in 1..dictionary.len() {
        if dictionary[ix] == b'L' && dictionary[ix - 1].is_ascii_digit() {
            dictionary[ix] = b' ';
        }
    }
    text.extend(&dictionary);
    let header = NpyHeader::from_reader(&text[..]).map_err(|_| {
        let shown: String = String::from_utf8_lossy(&dictionary).trim_end().chars().take(120).collect();
        Error::file(
            path,
            format!(
                "its header (offset {start}) is not readable: `{shown}`; expected {{'descr': '<f4', 'fortran_order': False, \
                 'shape': (2, 3), }}. Save the array again with np.save"
            ),
        )
    })?;
    let element = Element::of(&header.dtype().descr()).map_err(|problem| Error::file(path, problem))?;
    Ok(Layout {
        dims: header.shape().iter().map(|dim| *dim as usize).collect(),
        element,
        fortran: header.order() == Order::Fortran,
        start: (start + length) as u64,
    })
}
