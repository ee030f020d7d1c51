//! Files that users give, byte by byte: IDX, NumPy, gzip, safetensors, and the shipped digits.

use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use thalweg::checkpoint::{Tensor, TensorData};
use thalweg::data::{ByteImages, Dataset, Examples, Shape};

pub fn shape(channels: usize, height: usize, width: usize) -> Shape {
    Shape { channels, height, width }
}

/// Writes a file `name` into the folder.
pub fn file(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A temporary folder and a file `name` in it.
pub fn put(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, name, bytes);
    (folder, path)
}

/// An IDX file: its magic number holds the element's type and the number of dimensions.
pub fn idx(magic: u32, dims: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = magic.to_be_bytes().to_vec();
    dims.iter().for_each(|dim| file.extend(dim.to_be_bytes()));
    file.extend(bytes);
    file
}

pub fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

/// A NumPy file of version 1; `descr` as Python writes it, with its quotes.
pub fn npy_file(descr: &str, fortran: &str, dims: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {dims}, }}\n");
    npy_raw(&[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), bytes)
}

/// The NumPy file of a table's case: type, shape and content.
pub fn npy_case(case: &str) -> Vec<u8> {
    let parts: Vec<_> = case.split(" ; ").collect();
    npy_file(parts[0], "False", parts[1], &content(parts[2]))
}

/// The content of a table's case: a number of zeros, or a list of 32-bit floats after `f`.
pub fn content(text: &str) -> Vec<u8> {
    match text.strip_prefix("f ") {
        Some(values) => le(&values.split(' ').map(|v| v.parse().unwrap()).collect::<Vec<f32>>()),
        None => vec![0; text.parse().unwrap()],
    }
}

pub fn npy_raw(version: &[u8], length: &[u8], header: &[u8], bytes: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY", version, length, header, bytes].concat()
}

/// Header and values of a NumPy file of floats that the program wrote.
pub fn read_npy(path: impl AsRef<Path>) -> (String, Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..end].to_vec()).unwrap();
    (header, bytes[end..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

pub fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A safetensors file: the length of a listing, the listing, and what follows it.
pub fn safetensors(listing: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let listing = listing.as_ref();
    [&(listing.len() as u64).to_le_bytes(), listing, data].concat()
}

/// A safetensors file of F32 tensors, without metadata.
pub fn tensors_file<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [usize], Vec<f32>)>) -> Vec<u8> {
    let (mut listing, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(le(&values));
        let info = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        listing.insert(name.to_owned(), info);
    }
    safetensors(serde_json::to_vec(&listing).unwrap(), &data)
}

pub fn floats(tensor: &Tensor) -> &[f32] {
    let TensorData::F32(values) = &tensor.data else { panic!("no floats") };
    values
}

/// The first of the digits that ship inside.
pub fn digits(count: usize) -> ByteImages {
    let Examples::Bytes(all) = Dataset::open("digits").unwrap().train else { panic!("digits are bytes") };
    ByteImages { shape: all.shape, bytes: all.bytes[..count * all.shape.len()].to_vec() }
}

/// An IDX file of the first of the digits that ship inside.
pub fn write_digits(path: impl AsRef<Path>, count: u32) {
    fs::write(path, idx(0x803, &[count, 28, 28], &digits(count as usize).bytes)).unwrap();
}

/// A network's description: `[network]`, its input and its layers.
pub fn network_toml(input: &str, layers: &str) -> String {
    format!("[network]\ninput = {input}\nlayers = [{layers}]\n")
}
