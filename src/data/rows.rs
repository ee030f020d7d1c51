//! CSV files of numbers: one row a point. The first line may be a header: it is one if none of its cells is a number.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::{ImageShape, Images, MAX_BYTES};
use crate::{Error, Result};

/// Reads a CSV file, comma-separated, to points of as many channels as it has columns (one row and one column of
/// pixels). Empty lines don't count, nor does white space around numbers.
///
/// # Errors
/// [`Error::Io`] if the file can't be read. [`Error::File`] with line and column where a row has more or fewer cells than
/// the first, or a cell is not a finite number; and if there are no rows of numbers at all.
pub fn read_csv(path: impl AsRef<Path>) -> Result<Images> {
    let path = path.as_ref();
    parse_csv(path, BufReader::new(File::open(path).map_err(Error::io("read", path))?))
}

/// [`read_csv`] from any source; `path` is only named in errors.
///
/// # Errors
/// As [`read_csv`].
pub fn parse_csv(path: &Path, source: impl Read) -> Result<Images> {
    let mut text = Vec::new();
    source.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(Error::io("read", path))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::file(
            path,
            format!("is larger than {} GiB, the most that is read", MAX_BYTES >> 30),
        ));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text); // the mark that some editors begin with
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text);
    let mut values: Vec<f32> = Vec::new();
    let mut n_columns = 0;
    let mut record = csv::ByteRecord::new();
    while reader
        .read_byte_record(&mut record)
        .map_err(|error| Error::file(path, format!("is no readable CSV file: {error}")))?
    {
        // A record's position is before the empty lines that it comes after.
        let Some(position) = record.position() else { continue };
        let skipped = text[position.byte() as usize..].iter().take_while(|byte| b"\r\n".contains(byte));
        let line = position.line() as usize + skipped.filter(|byte| **byte == b'\n').count();
        let cells = record
            .iter()
            .map(|cell| std::str::from_utf8(cell).ok().and_then(|text| text.trim().parse::<f32>().ok()));
        if n_columns == 0 {
            n_columns = record.len();
            if cells.clone().all(|cell| cell.is_none()) {
                continue; // the header
            }
        }
        let fail = |problem: String| Err(Error::file(path, format!("line {line}{problem}")));
        if record.len() != n_columns {
            let n = record.len();
            return fail(format!(
                ": has {n} cells, but the first line has {n_columns}; all rows must have as many"
            ));
        }
        for (column, cell) in cells.enumerate() {
            let text = || String::from_utf8_lossy(&record[column]).chars().take(40).collect::<String>();
            match cell {
                Some(value) if value.is_finite() => values.push(value),
                Some(_) => {
                    return fail(format!(
                        ", column {}: `{}` is not a finite 32-bit number; leave out or fill in such rows",
                        column + 1,
                        text()
                    ));
                }
                None if record[column].is_empty() => {
                    return fail(format!(
                        ", column {}: the cell is empty; leave out or fill in such rows",
                        column + 1
                    ));
                }
                None => {
                    return fail(format!(
                        ", column {}: `{}` is not a number; commas separate cells, and only the first line may be names",
                        column + 1,
                        text()
                    ));
                }
            }
        }
    }
    if values.is_empty() {
        return Err(Error::file(
            path,
            "holds no rows of numbers; a row is a point, commas between its coordinates",
        ));
    }
    Ok(Images { shape: ImageShape { channels: n_columns, height: 1, width: 1 }, values })
}
