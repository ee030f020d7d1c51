//! CIFAR's binary batches (<https://www.cs.toronto.edu/~kriz/cifar.html>): records of a label, 0 to 9, and 3,072 bytes,
//! 32x32 of each colour. CIFAR-100's records have two labels, 0 to 19 and 0 to 99.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{ByteImages, MAX_BYTES, Shape};
use crate::source::Source;
use crate::{Error, Result};

/// The shape of its images.
pub const SHAPE: Shape = Shape { channels: 3, height: 32, width: 32 };
/// Bytes of an image.
const IMAGE: usize = 3072;
/// How many of each label there are: of CIFAR-10, of CIFAR-100.
const LABELS: [&[u8]; 2] = [&[10], &[20, 100]];

/// Reads the images of some batches, one batch behind the other.
///
/// # Errors
/// [`Error::Io`] if a file can't be read; [`Error::File`] if one is not whole records, or a label is none.
pub fn read_images(paths: &[PathBuf]) -> Result<ByteImages> {
    let mut images = ByteImages { shape: SHAPE, bytes: Vec::new() };
    for path in paths {
        images.bytes.extend(parse_images(path, Source::open(path, MAX_BYTES)?)?.bytes);
    }
    Ok(images)
}

/// [`read_images`] of one batch from any source; `path` is only named in errors.
///
/// # Errors
/// As [`read_images`].
pub fn parse_images(path: &Path, source: impl Read) -> Result<ByteImages> {
    let mut records = Vec::new();
    source.take(MAX_BYTES).read_to_end(&mut records).map_err(Error::io("read", path))?;
    let labels_of = |counts: &[u8]| {
        let size = counts.len() + IMAGE;
        if records.is_empty() || !records.len().is_multiple_of(size) {
            return Err(format!(
                "is {} bytes long, not a multiple of the {size} that a label and an image of CIFAR-10 take (3074 for \
                 CIFAR-100): it is no binary batch, or cut off",
                records.len()
            ));
        }
        for (number, record) in records.chunks_exact(size).enumerate() {
            if let Some((label, count)) = record.iter().zip(counts).find(|(label, count)| label >= count) {
                return Err(format!(
                    "has the label {label} at offset {}, and CIFAR's are 0 to {}: it is another kind of file",
                    number * size,
                    count - 1
                ));
            }
        }
        Ok(counts.len())
    };
    let [of_10, of_100] = LABELS.map(labels_of);
    let n_labels = match of_100 {
        Ok(n) if of_10.is_err() => n,
        _ => of_10.map_err(|problem| Error::file(path, problem))?,
    };
    let bytes =
        records.chunks_exact(n_labels + IMAGE).flat_map(|record| &record[n_labels..]).copied().collect();
    Ok(ByteImages { shape: SHAPE, bytes })
}

/// The batches that lie in a folder under their usual names, for training and to be held out: `data_batch_1.bin` to
/// `data_batch_5.bin` and `test_batch.bin`, or CIFAR-100's `train.bin` and `test.bin`; any may be missing, and all may be
/// gzipped (`.gz`).
pub fn find(folder: &Path) -> [Vec<PathBuf>; 2] {
    let there = |name: &str| {
        let packed = format!("{name}.gz");
        [name, &packed].into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
    };
    let train: Vec<PathBuf> =
        (1..=5).filter_map(|number| there(&format!("data_batch_{number}.bin"))).collect();
    let test = there("test_batch.bin");
    if train.is_empty() && test.is_none() {
        return ["train.bin", "test.bin"].map(|name| there(name).into_iter().collect());
    }
    [train, test.into_iter().collect()]
}
