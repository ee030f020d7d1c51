//! Tables of numbers as text: one row a point, as CSV and its dialects.
//!
//! * **Text**: UTF-8 or UTF-16 by its mark; lines end in LF, CRLF or CR. Blank lines don't count, nor do comments: lines
//!   that begin with `#` or `%`.
//! * **Separators**: commas, semicolons, tabs, `|` or blanks, whichever makes the most cells of the first lines numbers.
//!   Numbers may have a decimal comma where cells are separated by something else. A separator at the end of every line
//!   is passed over.
//! * **Header**: the first row, if none of its cells is a number, and not all of them are empty or stand for missing values
//!   (`NA`, `NaN`, `null`, `-`, `?`). A row of numbers is a header in two cases. It counts 0, 1, 2 ... (or on from any whole
//!   number), which pandas writes for columns without names, and below it stand numbers with decimals, or at least three
//!   columns, or nothing near it. Or all its numbers are whole and differ, as years do, and no number below it is whole.
//! * **Index**: a first column without a name (or `Unnamed: 0`) is left out where its values are all different whole
//!   numbers, or text: pandas writes one (names that count, after such a first one, are a header, too). So is the first column if the header has a name less than there are cells, as R
//!   writes it.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use super::reading::Found;
use super::{Examples, Images, MAX_BYTES, Shape};
use crate::{Error, Result};

/// Rows by which the separator is chosen.
const SNIFFED: usize = 100;
/// What stands for a value that is not there, in small letters.
const MISSING: &[&str] =
    &["", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "nil", "-", "--", "?", ".", "missing", "<na>"];

/// Reads a table of numbers to points of as many channels as it has columns (one row and one column of pixels); see the
/// module's text. `path` is only named in errors.
///
/// # Errors
/// [`Error::Io`] if `source` can't be read. [`Error::File`] with line and column where a row has more or fewer cells than
/// the first, or a cell is not a finite number; if there are no rows of numbers at all; for numbers with separators of
/// thousands; and for text that is none.
pub fn parse_csv(path: &Path, source: impl Read) -> Result<Found> {
    let mut bytes = Vec::new();
    source.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_BYTES {
        let limit = MAX_BYTES >> 30;
        return Err(Error::file(path, format!("is larger than {limit} GiB, the most that is read")));
    }
    let mut text = decode(path, bytes)?;
    clean(&mut text);
    let separator = sniff(&text);
    if separator == b' ' {
        blanks_to_tabs(&mut text);
    }
    Table::parse(path, &text, separator)?.found(path)
}

/// The text in UTF-8, or in whatever eight-bit code it is: numbers are the same in all.
fn decode(path: &Path, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    let wide = |bytes: &[u8], from: fn([u8; 2]) -> u16| -> Vec<u8> {
        let units = bytes.chunks_exact(2).map(|pair| from([pair[0], pair[1]]));
        let text: String =
            char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        text.into_bytes()
    };
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        bytes = wide(rest, u16::from_le_bytes);
    } else if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        bytes = wide(rest, u16::from_be_bytes);
    } else if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => {
            let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            let problem = format!(
                "line {line}: has a NUL byte, so it is no text of UTF-8, or of UTF-16 with its mark; save it as CSV, UTF-8"
            );
            Err(Error::file(path, problem))
        }
        None => Ok(bytes),
    }
}

/// Makes all ends of lines LF, and empties lines of comments.
fn clean(text: &mut Vec<u8>) {
    let (mut to, mut from) = (0, 0);
    while from < text.len() {
        let byte = text[from];
        from += 1;
        text[to] = byte;
        if byte == b'\r' {
            text[to] = b'\n';
            from += usize::from(text.get(from) == Some(&b'\n'));
        }
        to += 1;
    }
    text.truncate(to);
    let (mut to, mut from) = (0, 0);
    while from < text.len() {
        let end = text[from..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |n| from + n + 1);
        let line = &text[from..end];
        let is_comment = matches!(line.trim_ascii_start().first(), Some(b'#' | b'%' | b'\n') | None);
        if is_comment && line.ends_with(b"\n") {
            (text[to], to) = (b'\n', to + 1);
        } else if !is_comment {
            text.copy_within(from..end, to);
            to += end - from;
        }
        from = end;
    }
    text.truncate(to);
}

/// A line's blanks and tabs at both ends go, each run within becomes one tab.
fn blanks_to_tabs(text: &mut Vec<u8>) {
    let (mut to, mut in_quotes, mut waiting) = (0, false, false);
    for from in 0..text.len() {
        let byte = text[from];
        if !in_quotes && matches!(byte, b' ' | b'\t') {
            waiting = to > 0 && text[to - 1] != b'\n';
            continue;
        }
        if waiting && byte != b'\n' {
            (text[to], to) = (b'\t', to + 1);
        }
        waiting = false;
        in_quotes ^= byte == b'"';
        (text[to], to) = (byte, to + 1);
    }
    text.truncate(to);
}

/// The separator that makes the largest share of cells numbers, of the first rows but the very first, which may be names.
fn sniff(text: &[u8]) -> u8 {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let lines: Vec<Cow<'_, str>> = lines.take(SNIFFED).map(String::from_utf8_lossy).collect();
    let lines = if lines.len() > 1 { &lines[1..] } else { &lines[..] };
    let share = |separator: u8| {
        let (mut numbers, mut cells, mut all_have) = (0, 0, true);
        for line in lines {
            let line = line.trim();
            let parts: Vec<&str> = match separator {
                b' ' => line.split_ascii_whitespace().collect(),
                _ => line.split(char::from(separator)).collect(),
            };
            all_have &= parts.len() > 1;
            for part in parts {
                let part = part.trim().trim_matches('"').trim();
                if !part.is_empty() {
                    cells += 1;
                    let is_number = !matches!(parse_number(part, separator), Cell::Text);
                    numbers += usize::from(is_number || is_missing(part));
                }
            }
        }
        (f64::from(numbers as u32) / f64::from(cells.max(1) as u32), all_have)
    };
    // A comma in all rows wins if it leaves numbers alone; what else is in all rows is tried first otherwise.
    let shares = [b';', b'\t', b'|', b',', b' '].map(|separator| (separator, share(separator)));
    if shares[3].1 == (1.0, true) {
        return b',';
    }
    let best = shares.iter().map(|(_, (share, _))| *share).fold(0.0, f64::max);
    let among = |all_have: bool| {
        shares.iter().find(|(_, (share, all))| *share == best && (*all || !all_have)).map(|found| found.0)
    };
    among(true).unwrap_or(b',')
}

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    Number(f64),
    /// A number with one comma in it, read as a decimal comma; whether it may be a separator of thousands.
    Comma(f64, bool),
    /// A number with separators of thousands.
    Thousands,
    Text,
}

fn parse_number(text: &str, separator: u8) -> Cell {
    let plain = |text: &str| text.strip_prefix('+').unwrap_or(text).parse::<f64>().ok();
    if let Some(number) = plain(text) {
        return Cell::Number(number);
    }
    // The minus sign of typesetters.
    if let Some(number) = text.strip_prefix('\u{2212}').and_then(plain) {
        return Cell::Number(-number);
    }
    let digits = text.strip_prefix(['+', '-', '\u{2212}']).unwrap_or(text);
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // 1,234,567.8 and its like, by any of the marks that are in use.
    let grouped = |mark: char, decimal: char| {
        let (whole, fraction) = digits.split_once(decimal).unwrap_or((digits, "0"));
        let mut groups = whole.split(mark);
        let first = groups.next().is_some_and(|group| group.len() <= 3 && is_plain(group));
        let rest: Vec<&str> = groups.collect();
        let good = first && !rest.is_empty() && rest.iter().all(|group| group.len() == 3 && is_plain(group));
        (good && (fraction.is_empty() || is_plain(fraction))).then_some(rest.len())
    };
    let one_comma = digits.bytes().filter(|byte| *byte == b',').count() == 1 && !digits.contains('.');
    if one_comma && let Some(number) = plain(&text.replacen(',', ".", 1).replace('\u{2212}', "-")) {
        let looks_grouped = grouped(',', '.').is_some() && !digits.starts_with('0');
        return if separator == b',' { Cell::Thousands } else { Cell::Comma(number, looks_grouped) };
    }
    let marks =
        [(',', '.'), ('.', ','), (' ', '.'), (' ', ','), ('\'', '.'), ('\u{2019}', '.'), ('\u{a0}', '.')];
    let marks = marks.into_iter().chain([('\u{a0}', ','), ('\u{202f}', ','), ('\u{202f}', '.'), ('_', '.')]);
    if marks.into_iter().any(|(mark, decimal)| grouped(mark, decimal).is_some()) {
        return Cell::Thousands;
    }
    Cell::Text
}

fn is_missing(text: &str) -> bool {
    MISSING.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Whether a number is written as a whole one.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A first row of numbers, kept until the rows below tell what it is.
struct FirstRow {
    line: usize,
    cells: Vec<String>,
}

/// A table as it is read.
#[derive(Default)]
struct Table {
    names: Vec<String>,
    /// Rows of numbers, `[row][column]`; the first row is not among them if it is a header.
    values: Vec<f32>,
    columns: usize,
    notes: Vec<String>,
}

/// What is known of a column's cells below the first row.
#[derive(Clone, Default)]
struct Column {
    rows: usize,
    whole: usize,
    lowest: f64,
    highest: f64,
    decimal_comma: bool,
    maybe_thousands: Option<(usize, String)>,
    short: bool,
}

impl Table {
    fn parse(path: &Path, text: &[u8], separator: u8) -> Result<Self> {
        let delimiter = if separator == b' ' { b'\t' } else { separator };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .trim(csv::Trim::All)
            .from_reader(text);
        let mut record = csv::ByteRecord::new();
        let mut rows = Rows::new(path, separator);
        while reader
            .read_byte_record(&mut record)
            .map_err(|error| Error::file(path, format!("is no readable table: {error}")))?
        {
            // A record's position is before the empty lines that it comes after.
            let Some(position) = record.position() else { continue };
            let skipped = text[position.byte() as usize..].iter().take_while(|byte| **byte == b'\n').count();
            rows.add(position.line() as usize + skipped, &record)?;
        }
        rows.end()
    }

    fn found(self, path: &Path) -> Result<Found> {
        if self.values.is_empty() {
            return Err(Error::file(
                path,
                "holds no rows of numbers; a row is a point, its coordinates separated by commas, semicolons, tabs or blanks",
            ));
        }
        let shape = Shape { channels: self.columns, height: 1, width: 1 };
        let examples = Examples::Floats(Images { shape, values: self.values });
        Ok(Found { examples, columns: self.names, notes: self.notes })
    }
}

/// Takes rows in, one after the other.
struct Rows<'a> {
    path: &'a Path,
    separator: u8,
    first: Option<FirstRow>,
    /// Whether the first row has text that makes it names.
    has_names: bool,
    /// Cells of a row, without those of trailing separators.
    width: usize,
    /// Whether a separator ends every row.
    trailing: bool,
    /// Whether the first column is an index: it is not read as numbers then.
    index: Option<Index>,
    columns: Vec<Column>,
    values: Vec<f32>,
    n_rows: usize,
}

/// A column that counts rows.
#[derive(Default)]
struct Index {
    seen: std::collections::HashSet<String>,
    is_index: bool,
    values: Vec<f32>,
}

impl<'a> Rows<'a> {
    fn new(path: &'a Path, separator: u8) -> Self {
        Self {
            path,
            separator,
            first: None,
            has_names: false,
            width: 0,
            trailing: false,
            index: None,
            columns: Vec::new(),
            values: Vec::new(),
            n_rows: 0,
        }
    }

    fn fail<T>(&self, line: usize, problem: impl std::fmt::Display) -> Result<T> {
        Err(Error::file(self.path, format!("line {line}{problem}")))
    }

    fn add(&mut self, line: usize, record: &csv::ByteRecord) -> Result<()> {
        let cells: Vec<Cow<'_, str>> = record.iter().map(|cell| String::from_utf8_lossy(cell)).collect();
        let cells: Vec<&str> = cells.iter().map(|cell| cell.trim()).collect();
        let Some(first) = &self.first else {
            return self.add_first(line, &cells);
        };
        if self.n_rows == 0 {
            // The first row below the first tells how wide the table is, and whether rows end in a separator.
            let names = first.cells.len();
            let ends = cells.len() > 1 && cells.last() == Some(&"");
            self.trailing = ends
                && (names == cells.len() && first.cells[names - 1].is_empty() || names + 1 == cells.len());
            self.width = cells.len() - usize::from(self.trailing);
            if self.has_names {
                let named = names - usize::from(names == cells.len() && self.trailing);
                let unnamed = named == self.width
                    && named > 1
                    && (first.cells[0].is_empty() || first.cells[0].starts_with("Unnamed: "));
                if unnamed || named + 1 == self.width {
                    self.index = Some(Index { is_index: true, ..Index::default() });
                } else if named != self.width {
                    return self.fail(line, wrong_width(cells.len(), names, first.line));
                }
            } else if names != self.width && !(self.trailing && names == cells.len()) {
                return self.fail(line, wrong_width(cells.len(), names, first.line));
            }
            let n = self.width - usize::from(self.index.is_some());
            self.columns = vec![Column::default(); n];
        }
        let has_end = self.trailing && cells.len() == self.width + 1 && cells[self.width].is_empty();
        let cells = if has_end { &cells[..self.width] } else { &cells[..] };
        if cells.len() != self.width {
            let all = self.width + usize::from(self.trailing);
            return self.fail(line, wrong_width(cells.len(), all, first.line));
        }
        self.n_rows += 1;
        let mut cells = cells;
        if let Some(index) = &mut self.index {
            let cell = cells[0];
            index.is_index &= index.seen.insert(cell.to_owned());
            index.is_index &= !is_missing(cell) && (is_whole(cell) || cell.parse::<f32>().is_err());
            index.values.push(cell.parse().unwrap_or(f32::NAN));
            cells = &cells[1..];
        }
        self.values.try_reserve(cells.len()).map_err(|e| Error::io("read", self.path)(e.into()))?;
        for (ix, cell) in cells.iter().enumerate() {
            let value = self.number(line, ix, cell)?;
            let column = &mut self.columns[ix];
            column.lowest = if column.rows == 0 { value } else { column.lowest.min(value) };
            column.highest = if column.rows == 0 { value } else { column.highest.max(value) };
            column.rows += 1;
            column.whole += usize::from(is_whole(cell));
            match parse_number(cell, self.separator) {
                Cell::Comma(_, true) => {
                    column.maybe_thousands.get_or_insert_with(|| (line, (*cell).to_owned()));
                }
                Cell::Comma(_, false) => column.decimal_comma = true,
                _ => column.short |= is_whole(cell),
            }
            self.values.push(value as f32);
        }
        Ok(())
    }

    fn add_first(&mut self, line: usize, cells: &[&str]) -> Result<()> {
        let filled = cells.iter().filter(|cell| !is_missing(cell));
        let numbers = filled.clone().filter(|cell| parse_number(cell, self.separator) != Cell::Text).count();
        let texts = filled.count() - numbers;
        self.has_names = texts > 0 && numbers == 0;
        // The name of an index, or none, before names that are numbers: 0, 1, 2 or years.
        let numbers: Option<Vec<i64>> = cells[1..].iter().map(|cell| cell.parse().ok()).collect();
        let counts = numbers.is_some_and(|n| {
            n.windows(2).all(|pair| pair[1] == pair[0].saturating_add(1)) && (n.len() > 1 || n == [0])
        });
        let is_number = parse_number(cells[0], self.separator) != Cell::Text || is_missing(cells[0]);
        self.has_names |= counts && (cells[0].is_empty() || !is_number);
        self.first = Some(FirstRow { line, cells: cells.iter().map(|cell| (*cell).to_owned()).collect() });
        self.width = cells.len();
        if !self.has_names {
            // A row of numbers: what is no number in it is wrong, unless it ends the row.
            let ends = cells.len() > 1 && cells.last() == Some(&"");
            let cells = if ends { &cells[..cells.len() - 1] } else { cells };
            for (ix, cell) in cells.iter().enumerate() {
                self.number(line, ix, cell)?;
            }
        }
        Ok(())
    }

    /// A cell's number, which 32 bits hold.
    fn number(&self, line: usize, ix: usize, cell: &str) -> Result<f64> {
        let shown: String = cell.chars().take(40).collect();
        let offset = usize::from(self.index.is_some());
        let name = match &self.first {
            Some(first) if self.has_names => {
                let names = first.cells.len() + usize::from(first.cells.len() < self.width);
                let name = first.cells.get((ix + offset).saturating_sub(names - first.cells.len()));
                name.filter(|name| !name.is_empty()).map_or(String::new(), |name| format!(" (`{name}`)"))
            }
            _ => String::new(),
        };
        let place = format!(", column {}{name}: ", ix + offset + 1);
        match parse_number(cell, self.separator) {
            Cell::Number(value) | Cell::Comma(value, _) if (value as f32).is_finite() => Ok(value),
            _ if !cell.is_empty() && is_missing(cell) => self.fail(
                line,
                format!("{place}`{shown}` stands for a missing value, so it is not a number; leave out or fill in such rows"),
            ),
            Cell::Number(_) | Cell::Comma(..) => self.fail(
                line,
                format!("{place}`{shown}` is not a finite 32-bit number; leave out or fill in such rows"),
            ),
            _ if cell.is_empty() => {
                self.fail(line, format!("{place}the cell is empty; leave out or fill in such rows"))
            }
            Cell::Thousands => self.fail(
                line,
                format!(
                    "{place}`{shown}` has a separator of thousands, or a decimal comma in a table separated by commas; \
                     write numbers as in 1234.5"
                ),
            ),
            Cell::Text => {
                let separator = match self.separator {
                    b',' => "commas",
                    b';' => "semicolons",
                    b'\t' => "tabs",
                    b'|' => "`|`",
                    _ => "blanks",
                };
                self.fail(
                    line,
                    format!(
                        "{place}`{shown}` is not a number; {separator} separate cells here, and only the first line may be \
                         names. Leave out columns of text"
                    ),
                )
            }
        }
    }

    fn end(mut self) -> Result<Table> {
        let Some(first) = self.first.take() else { return Ok(Table::default()) };
        let mut notes = Vec::new();
        for column in &self.columns {
            if let (Some((line, cell)), false, true) =
                (&column.maybe_thousands, column.decimal_comma, column.short)
            {
                let problem = format!(
                    ": `{cell}` may have a separator of thousands or a decimal comma; write numbers as in 1234.5"
                );
                return self.fail(*line, problem);
            }
        }
        let mut names: Vec<String> = Vec::new();
        if self.has_names {
            names = first.cells.clone();
            if self.trailing && names.len() == self.width + 1 {
                names.pop();
            }
        } else if self.is_numeric_header(&first) {
            names = first.cells.iter().take(self.width).cloned().collect();
            let shown = list(&names);
            notes.push(format!(
                "the first line, {shown}, was taken for the columns' names, not for a point; if it is one, write names \
                 above it"
            ));
        } else {
            // A point after all.
            let cells = if first.cells.len() > 1 && first.cells.last().is_some_and(String::is_empty) {
                if self.n_rows > 0 && !self.trailing {
                    let ix = first.cells.len() - 1;
                    return self.number(first.line, ix, "").map(|_| Table::default());
                }
                &first.cells[..first.cells.len() - 1]
            } else {
                &first.cells[..]
            };
            self.width = cells.len();
            let mut values = Vec::new();
            values
                .try_reserve_exact(self.values.len() + cells.len())
                .map_err(|e| Error::io("read", self.path)(e.into()))?;
            for (ix, cell) in cells.iter().enumerate() {
                values.push(self.number(first.line, ix, cell)? as f32);
            }
            values.append(&mut self.values);
            (self.values, self.n_rows) = (values, self.n_rows + 1);
        }
        if let Some(index) = self.index.take() {
            let names_index = names.len() == self.width;
            if index.is_index || !names_index {
                let name = if names_index { names.remove(0) } else { String::new() };
                let what =
                    if name.is_empty() { "has no name".to_owned() } else { format!("is called `{name}`") };
                notes.push(format!(
                    "its first column {what} and counts or names the rows, so it was left out; give it a name if it is a \
                     coordinate"
                ));
                self.width -= 1;
            } else if index.values.iter().all(|value| value.is_finite()) {
                // Numbers that repeat or are not whole: a coordinate that has no name.
                let width = self.width - 1;
                let mut values = Vec::with_capacity(self.values.len() + index.values.len());
                for (row, value) in self.values.chunks_exact(width.max(1)).zip(&index.values) {
                    values.push(*value);
                    values.extend(row);
                }
                self.values = values;
                notes.push("its first column has no name; it was taken for a coordinate".to_owned());
            } else {
                let row = index.values.iter().position(|value| !value.is_finite()).unwrap_or(0);
                return Err(Error::file(
                    self.path,
                    format!(
                        "row {} below the names, column 1: is not a number, and the column, which has no name, repeats \
                         itself, so it is no index; leave it out",
                        row + 1
                    ),
                ));
            }
        } else if counts_rows(&self.values, self.width) {
            let name = names.first().map_or("its first column".to_owned(), |name| format!("column `{name}`"));
            notes.push(format!(
                "{name} counts the rows (it goes up by 1 from row to row), and was taken for a coordinate all the same; \
                 leave it out if it is none"
            ));
        }
        if self.columns.iter().any(|column| column.decimal_comma || column.maybe_thousands.is_some()) {
            notes.push("its numbers were read with decimal commas".to_owned());
        }
        Ok(Table { names, values: self.values, columns: self.width, notes })
    }

    /// Whether the first row, all numbers, is names.
    fn is_numeric_header(&self, first: &FirstRow) -> bool {
        let cells = &first.cells[..self.width.min(first.cells.len())];
        let numbers: Option<Vec<f64>> = cells.iter().map(|cell| cell.parse().ok()).collect();
        let Some(numbers) = numbers.filter(|_| self.n_rows > 0 && cells.len() == self.width) else {
            return false;
        };
        let all_whole = cells.iter().all(|cell| is_whole(cell));
        let counts =
            numbers.iter().all(|x| x.fract() == 0.0) && numbers.windows(2).all(|w| w[1] == w[0] + 1.0);
        let differ = numbers.iter().enumerate().all(|(i, x)| !numbers[..i].contains(x));
        let none_whole = self.columns.iter().all(|column| column.whole == 0);
        let some_not_whole = self.columns.iter().any(|column| 2 * column.whole < column.rows);
        let far = self.columns.iter().zip(&numbers).all(|(column, x)| {
            let spread = 10.0 * (column.highest - column.lowest).max(1.0);
            *x > column.highest + spread || *x < column.lowest - spread
        });
        let (from_0, n) = (counts && matches!(numbers[0], 0.0 | 1.0), numbers.len());
        // Decimals below whole numbers; one column needs more than a single row of them.
        (all_whole && differ && none_whole && (n > 1 || from_0 && self.n_rows > 1))
            || (from_0 && n > 1 && some_not_whole)
            || (counts && n > 2 && some_not_whole)
            || (from_0 && n > 4)
            || (counts && n > 1 && self.n_rows > 1 && far)
    }
}

/// Names, in short.
fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(6).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > 6 { format!(" ... ({} in all)", names.len()) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Whether the first column goes up by 1 from row to row, from 0 or 1, in a table of some rows.
fn counts_rows(values: &[f32], columns: usize) -> bool {
    let column = || values.iter().step_by(columns.max(1));
    let first = values.first().copied().unwrap_or(0.5);
    columns > 1
        && values.len() / columns >= 5
        && (first == 0.0 || first == 1.0)
        && column().enumerate().all(|(i, value)| *value == first + i as f32)
}

fn wrong_width(found: usize, expected: usize, first: usize) -> String {
    format!(
        ": has {found} cells, but the first line (line {first}) has {expected}; all rows must have as many"
    )
}
