//! Checkpoint files: safetensors, with everything that is not a tensor as one JSON string in the file's metadata.
//!
//! ```text
//! 8 bytes         length n of the listing, little-endian
//! n bytes         {"__metadata__": {"thalweg": HEADER}, NAME: {"dtype", "shape", "data_offsets"}, ...}
//! to the end      the tensors, little-endian, in the order of their offsets, without gaps
//! ```
//!
//! Nothing that a file says about itself is believed before it has been held against the file's true length, and each
//! tensor is read straight into its own memory: loading costs what the tensors cost, saving next to nothing.
//! Format: <https://github.com/huggingface/safetensors#format>.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::header::{Header, parse_header};
use crate::error::Remedy;
use crate::source::{Content, Known, Source};
use crate::{Error, Result, files};

const METADATA_KEY: &str = "thalweg";
const MAX_LISTING: u64 = 4 << 20; // some 40,000 tensors; parsed it can take 50 times that
const MAX_NAME: usize = 512;

const _: () = assert!(cfg!(target_endian = "little"), "tensors go to and from files as they lie in memory");

/// The numbers of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Floats.
    F32(Vec<f32>),
    /// Words: counters, positions.
    U32(Vec<u32>),
}

/// Numbers and their shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Length of each dimension; their product is the length of `data`. Empty for a single number.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: TensorData,
}

impl Tensor {
    /// A tensor of floats. Panics if there are not as many as `shape` says.
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Self {
        assert_eq!(data.len(), shape.iter().product::<usize>(), "{shape:?}");
        Self { shape: shape.to_vec(), data: TensorData::F32(data) }
    }

    /// A tensor of words. Panics if there are not as many as `shape` says.
    pub fn u32(shape: &[usize], data: Vec<u32>) -> Self {
        assert_eq!(data.len(), shape.iter().product::<usize>(), "{shape:?}");
        Self { shape: shape.to_vec(), data: TensorData::U32(data) }
    }

    fn dtype(&self) -> Dtype {
        match self.data {
            TensorData::F32(_) => Dtype::F32,
            TensorData::U32(_) => Dtype::U32,
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.data {
            TensorData::F32(values) => bytemuck::cast_slice(values),
            TensorData::U32(values) => bytemuck::cast_slice(values),
        }
    }
}

/// A whole training state.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// All but the tensors.
    pub header: Header,
    /// By name: parameters as PyTorch names them (`conv1.weight`), `adam.m.conv1.weight`, `replay.ring`, ...
    pub tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Writes the file whole or not at all; equal checkpoints give equal bytes. Panics if a tensor's shape does not fit
    /// its data or a name is not allowed.
    ///
    /// # Errors
    /// A configuration that is not valid; anything the system refuses.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.header.config.validate()?;
        let (mut infos, mut end) = (Vec::new(), 0);
        for (name, tensor) in &self.tensors {
            check_name(name).unwrap_or_else(|problem| panic!("{problem}"));
            let start = end;
            end += tensor.bytes().len();
            let (dtype, shape) = (tensor.dtype(), tensor.shape.clone());
            infos.push((name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) }));
        }
        let header = serde_json::to_string(&self.header).expect("plain fields");
        let metadata = Metadata::new(Some([(METADATA_KEY.to_owned(), header)].into_iter().collect()), infos)
            .expect("each tensor's shape fits its data");
        let mut listing = serde_json::to_vec(&metadata).expect("plain fields");
        listing.resize(listing.len().next_multiple_of(8), b' '); // so that the tensors are aligned
        assert!(listing.len() as u64 <= MAX_LISTING, "a listing of {} bytes", listing.len());
        files::write_atomically(path, |file| {
            file.write_all(&(listing.len() as u64).to_le_bytes())?;
            file.write_all(&listing)?;
            self.tensors.values().try_for_each(|tensor| file.write_all(tensor.bytes()))
        })
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Those of [`load_tensors`], and a file that has no Thalweg header.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (header, tensors) = load_tensors(path)?;
        let problem = "has tensors but no Thalweg header, so it is weights alone and no checkpoint";
        let header = header.ok_or_else(|| Error::file_with(path, problem, Remedy::NameNetwork))?;
        Ok(Self { header, tensors })
    }
}

/// Reads a checkpoint, or any safetensors file: then there is no [`Header`]. F64, F16 and BF16 tensors become F32, those
/// of other types than these, F32 and U32 are left out.
///
/// # Errors
/// A file that can't be read, is damaged, or was written by a version with another [`FORMAT`](super::FORMAT).
pub fn load_tensors(path: impl AsRef<Path>) -> Result<(Option<Header>, BTreeMap<String, Tensor>)> {
    let archive = Archive::open(path)?;
    let header = archive.header.clone();
    Ok((header, archive.read(|_, _| true)?.tensors))
}

/// [`load_tensors`] for a file that is somewhere else, such as in memory: `source` gives its `length` bytes, `path` is
/// what to call it in messages.
///
/// # Errors
/// As [`load_tensors`].
pub fn read_tensors(
    source: impl Read,
    length: u64,
    path: &Path,
) -> Result<(Option<Header>, BTreeMap<String, Tensor>)> {
    let archive = Archive::new(source, length, path)?;
    let header = archive.header.clone();
    Ok((header, archive.read(|_, _| true)?.tensors))
}

/// An open safetensors file, of which the listing has been read and checked, but no tensor yet.
pub struct Archive<R> {
    path: PathBuf,
    source: BufReader<R>,
    /// What a checkpoint says besides its tensors; none of weights alone.
    pub header: Option<Header>,
    metadata: Metadata,
}

impl Archive<Box<dyn Read>> {
    /// Opens a file; gzip is unpacked.
    ///
    /// # Errors
    /// As [`load_tensors`]: a file of another kind is named as what it is, with what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut source = Source::open(path, u64::MAX)?;
        let bad = |problem: String| Err(Error::file(path, problem));
        let needed = "weights are read from safetensors files (a checkpoint of `thalweg train`, or save_file of the Python \
                      package safetensors)";
        match source.content() {
            Content::Known(Known::Safetensors) | Content::Unknown => {}
            Content::Known(known) => return bad(format!("is {}, and {needed}", known.name())),
            Content::Foreign(foreign) => return bad(format!("is {}; {}", foreign.what, foreign.as_weights)),
            Content::Text if source.start().len() < 8 => {}
            Content::Text => return bad(format!("is a text file, and {needed}")),
            Content::Empty => return bad(format!("is empty, and {needed}")),
        }
        if source.is_packed() {
            let bytes = source.read_all()?;
            let length = bytes.len() as u64;
            return Self::new(Box::new(io::Cursor::new(bytes)), length, path);
        }
        let length = source.length();
        Self::new(Box::new(source), length, path)
    }
}

impl<R: Read> Archive<R> {
    /// [`Archive::open`] of what `source` gives, `length` bytes.
    ///
    /// # Errors
    /// As [`read_tensors`].
    pub fn new(source: R, length: u64, path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::file(path, problem);
        let mut source = BufReader::new(source);
        let mut prefix = [0; 8];
        if length < 8 {
            return Err(bad(format!("is {length} bytes long, too short for a safetensors file")));
        }
        source.read_exact(&mut prefix).map_err(Error::io("read", path))?;
        let listing_length = u64::from_le_bytes(prefix);
        if listing_length > length - 8 {
            return Err(bad(format!(
                "is truncated or no safetensors file: it promises a header of {listing_length} bytes, but {} follow",
                length - 8
            )));
        }
        if listing_length > MAX_LISTING {
            return Err(bad(format!("has a header of {listing_length} bytes; the most is {MAX_LISTING}")));
        }
        let listing: Vec<u8> =
            read_values(&mut source, listing_length as usize).map_err(Error::io("read", path))?;
        let listing = std::str::from_utf8(&listing)
            .map_err(|e| bad(format!("has a header that is not UTF-8, at byte {}", 8 + e.valid_up_to())))?;
        let listing: Listing =
            serde_json::from_str(listing).map_err(|e| bad(format!("has a damaged header: {e}")))?;
        let header =
            listing.metadata.get(METADATA_KEY).map(|json| parse_header(json)).transpose().map_err(bad)?;

        let mut infos: Vec<_> = listing.tensors.into_iter().collect();
        infos.sort_by_key(|(_, info)| info.data_offsets);
        // Checks that the tensors lie one behind the other, each as long as its shape says.
        let metadata = Metadata::new(None, infos).map_err(|e| bad(format!("has a lying header: {e}")))?;
        let data_length = length - 8 - listing_length;
        if metadata.data_len() as u64 != data_length {
            return Err(bad(format!(
                "is damaged or truncated: its header lists {} bytes of tensors, but it has {data_length}",
                metadata.data_len()
            )));
        }
        Ok(Self { path: path.to_owned(), source, header, metadata })
    }

    /// The names of all tensors.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Reads those tensors that are wanted, by name and shape. Of the others it is only known that they are there, and so
    /// of tensors of a type that is not read.
    ///
    /// # Errors
    /// What the system refuses, memory included.
    pub fn read(mut self, wanted: impl Fn(&str, &[usize]) -> bool) -> Result<Tensors> {
        let mut tensors = Tensors::new(&self.path, BTreeMap::new());
        let infos: Vec<(String, TensorInfo)> = self
            .metadata
            .offset_keys()
            .into_iter()
            .filter_map(|name| self.metadata.info(&name).cloned().map(|info| (name, info)))
            .collect();
        let last = infos.iter().rposition(|(name, info)| wanted(name, &info.shape));
        for (ix, (name, info)) in infos.into_iter().enumerate() {
            let data = match last {
                Some(last) if ix <= last && wanted(&name, &info.shape) => read_data(&mut self.source, &info),
                Some(last) if ix < last => skip_data(&mut self.source, &info),
                _ => Ok(None),
            };
            match data.map_err(Error::io("read", &self.path))? {
                Some(data) => {
                    tensors.tensors.insert(name, Tensor { shape: info.shape, data });
                }
                None => {
                    tensors.unread.insert(name, (info.shape, info.dtype));
                }
            }
        }
        Ok(tensors)
    }
}

/// The next tensor of the file, or `None` if its type is of no use here.
fn read_data(source: &mut impl Read, info: &TensorInfo) -> io::Result<Option<TensorData>> {
    let bytes = info.data_offsets.1 - info.data_offsets.0;
    Ok(Some(match info.dtype {
        Dtype::F32 => TensorData::F32(read_values(source, bytes / 4)?),
        Dtype::U32 => TensorData::U32(read_values(source, bytes / 4)?),
        Dtype::F64 => TensorData::F32(read_converted(source, bytes / 8, |b| f64::from_le_bytes(b) as f32)?),
        Dtype::F16 => {
            TensorData::F32(read_converted(source, bytes / 2, |b| f16_to_f32(u16::from_le_bytes(b)))?)
        }
        Dtype::BF16 => TensorData::F32(read_converted(source, bytes / 2, |[low, high]| {
            f32::from_le_bytes([0, 0, low, high])
        })?),
        _ => return skip_data(source, info),
    }))
}

/// Leaves the next tensor out.
fn skip_data(source: &mut impl Read, info: &TensorInfo) -> io::Result<Option<TensorData>> {
    let bytes = (info.data_offsets.1 - info.data_offsets.0) as u64;
    if io::copy(&mut source.take(bytes), &mut io::sink())? < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(None)
}

/// The next `count` little-endian values. More than there is memory for is an error, not an abort.
fn read_values<T: bytemuck::Pod>(source: &mut impl Read, count: usize) -> io::Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count)?;
    values.resize(count, T::zeroed());
    source.read_exact(bytemuck::cast_slice_mut(&mut values))?;
    Ok(values)
}

fn read_converted<const N: usize>(
    source: &mut impl Read,
    count: usize,
    convert: impl Fn([u8; N]) -> f32,
) -> io::Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count)?;
    for _ in 0..count {
        let mut bytes = [0; N];
        source.read_exact(&mut bytes)?;
        values.push(convert(bytes));
    }
    Ok(values)
}

/// IEEE 754 half precision: 1 sign, 5 exponent, 10 fraction bits.
fn f16_to_f32(half: u16) -> f32 {
    let sign = if half >> 15 == 0 { 1.0 } else { -1.0 };
    let fraction = f32::from(half & 0x3FF);
    match (half >> 10) & 0x1F {
        0 => sign * fraction * 2f32.powi(-24),
        0x1F if fraction == 0.0 => sign * f32::INFINITY,
        0x1F => f32::NAN,
        exponent => sign * (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    }
}

fn check_name(name: &str) -> std::result::Result<(), String> {
    if name.len() > MAX_NAME {
        return Err(format!("a tensor's name has {} bytes; the most is {MAX_NAME}", name.len()));
    }
    if name == "__metadata__" || name.chars().any(char::is_control) {
        return Err(format!("a tensor can't have the name {name:?}"));
    }
    Ok(())
}

/// The JSON object at the start of a safetensors file. Unlike the safetensors crate it refuses a name that stands twice.
#[derive(Default)]
struct Listing {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl<'de> Deserialize<'de> for Listing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct ListingVisitor;
        impl<'de> Visitor<'de> for ListingVisitor {
            type Value = Listing;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Listing, A::Error> {
                let (mut listing, mut has_metadata) = (Listing::default(), false);
                while let Some(name) = map.next_key::<String>()? {
                    let is_new = if name == "__metadata__" {
                        listing.metadata = map.next_value::<UniqueStrings>()?.0;
                        !std::mem::replace(&mut has_metadata, true)
                    } else {
                        check_name(&name).map_err(A::Error::custom)?;
                        listing.tensors.insert(name.clone(), map.next_value()?).is_none()
                    };
                    if !is_new {
                        return Err(A::Error::custom(format!("{name:?} stands twice")));
                    }
                }
                Ok(listing)
            }
        }
        deserializer.deserialize_map(ListingVisitor)
    }
}

/// `__metadata__`.
struct UniqueStrings(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for UniqueStrings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct StringsVisitor;
        impl<'de> Visitor<'de> for StringsVisitor {
            type Value = UniqueStrings;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<UniqueStrings, A::Error> {
                let mut strings = BTreeMap::new();
                while let Some((name, text)) = map.next_entry::<String, String>()? {
                    if strings.insert(name, text).is_some() {
                        return Err(A::Error::custom("a name in __metadata__ stands twice"));
                    }
                }
                Ok(UniqueStrings(strings))
            }
        }
        deserializer.deserialize_map(StringsVisitor)
    }
}

/// The tensors of a file, to be taken out one by one by those who know what they should be.
#[derive(Clone, Debug)]
pub struct Tensors {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    /// Those that are there, but were not read: they are of another type or shape.
    unread: BTreeMap<String, (Vec<usize>, Dtype)>,
}

impl Tensors {
    /// `path` is where they come from, for messages.
    pub fn new(path: impl AsRef<Path>, tensors: BTreeMap<String, Tensor>) -> Self {
        Self { path: path.as_ref().to_owned(), tensors, unread: BTreeMap::new() }
    }

    /// The names that have not been taken, read or not, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> =
            self.tensors.keys().chain(self.unread.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.into_iter()
    }

    /// Takes what all names begin with off them.
    pub(crate) fn without_prefix(self, prefix: &str) -> Self {
        fn cut<T>(map: BTreeMap<String, T>, prefix: &str) -> BTreeMap<String, T> {
            map.into_iter()
                .map(|(name, value)| (name.strip_prefix(prefix).unwrap_or(&name).to_owned(), value))
                .collect()
        }
        Self { path: self.path, tensors: cut(self.tensors, prefix), unread: cut(self.unread, prefix) }
    }

    /// Takes a tensor of finite floats, row-major.
    ///
    /// # Errors
    /// It isn't there, isn't of floats, has another shape, or an element is NaN or infinite.
    pub fn take_f32(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let TensorData::F32(values) = self.take(name, shape)? else {
            return Err(self.bad(format!("tensor {name:?} holds U32, not F32")));
        };
        match values.iter().position(|v| !v.is_finite()) {
            Some(ix) => {
                Err(self.bad(format!("tensor {name:?} has {} at {:?}", values[ix], coordinates(ix, shape))))
            }
            None => Ok(values),
        }
    }

    /// Takes a tensor of words, row-major.
    ///
    /// # Errors
    /// It isn't there, isn't of words, or has another shape.
    pub fn take_u32(&mut self, name: &str, shape: &[usize]) -> Result<Vec<u32>> {
        match self.take(name, shape)? {
            TensorData::U32(values) => Ok(values),
            TensorData::F32(_) => Err(self.bad(format!("tensor {name:?} holds F32, not U32"))),
        }
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<TensorData> {
        if let Some((found, dtype)) = self.unread.get(name) {
            let problem = if found == shape {
                format!(
                    "tensor {name:?} is of type {dtype:?}, which is not read: save it as F32 (`tensor.float()`; quantised \
                     weights have to be dequantised first)"
                )
            } else {
                format!("tensor {name:?} has the shape {found:?}, not {shape:?}")
            };
            return Err(self.bad(problem));
        }
        let Some(tensor) = self.tensors.remove(name) else {
            // PyTorch keeps such weights in parts.
            let parametrised = ["_orig", "_g", "_v"]
                .iter()
                .any(|end| self.names().any(|other| other == format!("{name}{end}")));
            if parametrised {
                let problem = format!(
                    "tensor {name:?} is missing; it is there in parts (spectral_norm or weight_norm of PyTorch): call \
                     torch.nn.utils.remove_spectral_norm or remove_weight_norm before saving"
                );
                return Err(self.bad(problem));
            }
            let mut names: Vec<_> = self.names().collect();
            names.sort_by(|a, b| strsim::jaro_winkler(name, b).total_cmp(&strsim::jaro_winkler(name, a)));
            names.truncate(5);
            let there = match self.tensors.len() + self.unread.len() {
                0 => "the file has no tensor that can be used".to_owned(),
                n => format!("of the {n} there, these are nearest in name: {}", names.join(", ")),
            };
            return Err(self.bad(format!("tensor {name:?} ({shape:?}) is missing; {there}")));
        };
        if tensor.shape != shape {
            return Err(self.bad(format!("tensor {name:?} has the shape {:?}, not {shape:?}", tensor.shape)));
        }
        Ok(tensor.data)
    }

    fn bad(&self, problem: String) -> Error {
        Error::file(&self.path, problem)
    }
}

/// Where the element number `ix` of a tensor lies: its index in each dimension.
fn coordinates(mut ix: usize, shape: &[usize]) -> Vec<usize> {
    let mut coordinates = vec![0; shape.len()];
    for (coordinate, n) in coordinates.iter_mut().zip(shape).rev() {
        *coordinate = ix % n;
        ix /= n;
    }
    coordinates
}
