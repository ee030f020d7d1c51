//! IDX, the format MNIST and its relatives come in: a big-endian header (0, 0, element type, rank, then one u32 a
//! dimension) and the elements, row-major. Only unsigned bytes (type 8) are read, gzipped or not: the content tells,
//! not the name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::{ByteImages, GZIP_MAGIC, ImageShape, MAX_BYTES, is_bad_content};
use crate::{Error, Result};

/// Reads an IDX file of images, `[count, height, width]` (`idx3-ubyte`), to images of one channel.
///
/// # Errors
/// [`Error::Io`] if the file can't be read. [`Error::File`] if it is not such a file: another magic number (labels are
/// named as such), no or empty images, less or more data than the header promises, data after the end, broken gzip.
pub fn read_images(path: impl AsRef<Path>) -> Result<ByteImages> {
    let path = path.as_ref();
    parse_images(path, open(path)?)
}

/// Reads an IDX file of labels, `[count]` (`idx1-ubyte`).
///
/// # Errors
/// As [`read_images`].
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    parse_labels(path, open(path)?)
}

/// [`read_images`] from any source; `path` is only named in errors.
///
/// # Errors
/// As [`read_images`].
pub fn parse_images(path: &Path, source: impl BufRead) -> Result<ByteImages> {
    let ([_, height, width], bytes) = parse(path, source)?;
    Ok(ByteImages { shape: ImageShape { channels: 1, height, width }, bytes })
}

/// [`read_labels`] from any source; `path` is only named in errors.
///
/// # Errors
/// As [`read_images`].
pub fn parse_labels(path: &Path, source: impl BufRead) -> Result<Vec<u8>> {
    parse::<1>(path, source).map(|(_, bytes)| bytes)
}

fn open(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(Error::io("read", path))
}

/// Unwraps gzip if there is any, and makes sure that nothing follows it.
fn parse<const RANK: usize>(path: &Path, mut source: impl BufRead) -> Result<([usize; RANK], Vec<u8>)> {
    let start = source.fill_buf().map_err(Error::io("read", path))?;
    if !start.starts_with(&GZIP_MAGIC) {
        return parse_plain(path, source);
    }
    let mut decoder = GzDecoder::new(source);
    let parsed = parse_plain(path, &mut decoder)?;
    let rest = decoder.get_mut().fill_buf().map_err(Error::io("read", path))?;
    if !rest.is_empty() {
        let problem = "trailing garbage: the file goes on after the end of its gzip stream; cut it off, or pack the \
                       file anew as one stream (gunzip, then gzip)";
        return Err(Error::file(path, problem));
    }
    Ok(parsed)
}

fn parse_plain<const RANK: usize>(path: &Path, mut source: impl Read) -> Result<([usize; RANK], Vec<u8>)> {
    let what = if RANK == 1 { "labels" } else { "images" };
    let fail = |problem: String| Err(Error::file(path, problem));
    let magic = read_up_to(path, &mut source, 4)?;
    match magic[..] {
        [0, 0, 8, rank] if usize::from(rank) == RANK => {}
        [0, 0, 8, 1] => {
            return fail(
                "holds labels (magic 0x00000801 at offset 0), not images (0x00000803); give the file of images, \
                 usually named ...-images-idx3-ubyte"
                    .into(),
            );
        }
        [0, 0, 8, 3] => {
            return fail(
                "holds images (magic 0x00000803 at offset 0), not labels (0x00000801); give the file of labels, \
                 usually named ...-labels-idx1-ubyte"
                    .into(),
            );
        }
        [0, 0, kind, rank] => {
            return fail(format!(
                "is an IDX file of element type 0x{kind:02x} and rank {rank}; only unsigned bytes (0x08) of rank {RANK} \
                 can be read as {what}"
            ));
        }
        [..] if magic.len() < 4 => {
            return fail(format!(
                "truncated: an IDX file starts with 4 bytes of magic number, only {} found",
                magic.len()
            ));
        }
        _ => {
            return fail(format!(
                "is no IDX file of {what}: magic {magic:02x?} at offset 0, expected [00, 00, 08, {RANK:02x}]"
            ));
        }
    }
    let header_len = 4 + 4 * RANK;
    let header = read_up_to(path, &mut source, 4 * RANK as u64)?;
    if header.len() < 4 * RANK {
        let found = 4 + header.len();
        return fail(format!("truncated: the IDX header takes {header_len} bytes, only {found} found"));
    }
    let mut dims = [0_usize; RANK];
    let mut promised = 1_u64;
    for (dim, bytes) in dims.iter_mut().zip(header.chunks_exact(4)) {
        let value = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        *dim = value as usize;
        promised = promised.saturating_mul(value.into());
    }
    let shown = dims.map(|dim| dim.to_string()).join("x");
    if promised == 0 {
        return fail(format!("holds no {what}: its header says {shown} at offset 4"));
    }
    if promised > MAX_BYTES {
        return fail(format!(
            "its header promises {shown} bytes of {what} at offset 4, more than the {} GiB a data set may have; the \
             header is damaged, or the file must be split",
            MAX_BYTES >> 30
        ));
    }
    // One byte more than promised tells that there is more, and makes a gzip stream check its sum at the end.
    let bytes = read_up_to(path, &mut source, promised + 1)?;
    let found = bytes.len() as u64;
    if found < promised {
        return fail(format!(
            "truncated: its header promises {promised} bytes of {what} ({shown}) from offset {header_len}, only {found} \
             found; fetch or copy the file again"
        ));
    }
    if found > promised {
        return fail(format!(
            "trailing garbage: its header promises {promised} bytes of {what} ({shown}), but there is more at offset \
             {}; the header is damaged, or something was appended",
            promised + header_len as u64
        ));
    }
    Ok((dims, bytes))
}

/// The next `limit` bytes, or as many as there are. Memory grows with what comes, not with `limit`.
fn read_up_to(path: &Path, source: &mut impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match source.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Error::file(path, "truncated: its gzip stream breaks off; fetch or copy the file again"))
        }
        Err(error) if is_bad_content(&error) => {
            Err(Error::file(path, format!("corrupt gzip data ({error}); fetch or copy the file again")))
        }
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
