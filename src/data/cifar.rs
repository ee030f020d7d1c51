//! CIFAR-10's binary batches (<https://www.cs.toronto.edu/~kriz/cifar.html>): records of a label, 0 to 9, and 3,072 bytes,
//! 32x32 of each colour.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::{ByteImages, ImageShape, MAX_BYTES};
use crate::{Error, Result};

/// The shape of its images.
pub const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };
/// Bytes of an image with its label.
const RECORD: usize = 1 + 3072;

/// Reads the images of some batches, one batch behind the other.
///
/// # Errors
/// [`Error::Io`] if a file can't be read; [`Error::File`] if one is not whole records, or a label is not 0 to 9.
pub fn read_images(paths: &[PathBuf]) -> Result<ByteImages> {
    let mut images = ByteImages { shape: SHAPE, bytes: Vec::new() };
    for path in paths {
        let source = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
        images.bytes.extend(parse_images(path, source)?.bytes);
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
    if records.is_empty() || !records.len().is_multiple_of(RECORD) {
        let problem = format!(
            "is {} bytes long, not a multiple of the {RECORD} that a label and an image of CIFAR-10 take: it is no \
             binary batch, or cut off",
            records.len()
        );
        return Err(Error::file(path, problem));
    }
    let mut bytes = Vec::with_capacity(records.len());
    for (number, record) in records.chunks_exact(RECORD).enumerate() {
        if record[0] > 9 {
            let problem = format!(
                "has the label {} at offset {}, and CIFAR-10's are 0 to 9: it is another kind of file",
                record[0],
                number * RECORD
            );
            return Err(Error::file(path, problem));
        }
        bytes.extend(&record[1..]);
    }
    Ok(ByteImages { shape: SHAPE, bytes })
}

/// The batches that lie in a folder under their usual names: `data_batch_1.bin` to `data_batch_5.bin`, and
/// `test_batch.bin`; either may be missing.
pub fn find(folder: &Path) -> [Vec<PathBuf>; 2] {
    let there = |name: String| Some(folder.join(name)).filter(|path| path.is_file());
    let train = (1..=5).filter_map(|number| there(format!("data_batch_{number}.bin"))).collect();
    [train, there("test_batch.bin".to_owned()).into_iter().collect()]
}
