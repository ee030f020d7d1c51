//! NumPy's `.npz`: a zip archive of `.npy` files, as Keras and MedMNIST give theirs out.
//!
//! Which arrays are taken, by their names:
//!
//! * `FILE.npz:NAME`: that one;
//! * one whose name says that it is to train with, and images or examples rather than labels: `x_train`, `train_images`,
//!   `X_train`, `train_x`, `train_data`. Its counterpart with `test` in place of `train` is held out, or else that with
//!   `val`;
//! * the only one that is left without labels: arrays of one dimension, and those called `y`, `labels`, `targets` and the
//!   like.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::npy::{self, Layout};
use super::reading::{Found, Reading};
use crate::source::check_regular;
use crate::{Error, Result};

/// Unpacked data may be larger than the packed by this factor, or have [`SMALL`] bytes.
const MAX_RATIO: u64 = 100;
const SMALL: u64 = 64 << 20;
/// Arrays in an archive.
const MAX_ARRAYS: usize = 1000;

/// `FILE.npz:NAME` apart; NAME is none where only a file is named.
pub fn split(spec: &Path) -> (PathBuf, Option<String>) {
    let whole = || (spec.to_owned(), None);
    let Some(text) = spec.to_str() else { return whole() };
    match text.rsplit_once(':') {
        Some((file, name)) if file.to_ascii_lowercase().ends_with(".npz") && !spec.exists() => {
            (PathBuf::from(file), Some(name.to_owned()))
        }
        _ => whole(),
    }
}

/// Which of the arrays of a data set are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those to train with, and those to hold out.
    Both,
    /// Those held out, or else those to train with.
    HeldOut,
}

/// Reads the arrays of an archive: those to train with, and, where [`Wanted::Both`] are, those to hold out, if there are
/// any.
///
/// # Errors
/// Those of [`npy::parse`]; [`Error::File`] for an archive that is damaged, or in which no array is the one, naming those
/// that there are.
pub fn read(
    path: &Path,
    name: Option<&str>,
    wanted: Wanted,
    reading: &Reading,
) -> Result<(Found, Option<Found>)> {
    check_regular(path)?;
    let file = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
    parse(path, file, name, wanted, reading)
}

/// [`read`] from any source; `path` is only named in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(
    path: &Path,
    source: impl Read + Seek,
    name: Option<&str>,
    wanted: Wanted,
    reading: &Reading,
) -> Result<(Found, Option<Found>)> {
    let mut archive = ZipArchive::new(source).map_err(|error| damaged(path, error))?;
    let arrays = arrays(path, &mut archive)?;
    let (train, held_out) = choose(path, &arrays, name)?;
    let mut take = |array: &Array, chosen: bool| -> Result<Found> {
        let mut found = take(path, &mut archive, array, reading)?;
        if chosen && arrays.len() > 1 {
            let others: Vec<_> =
                arrays.iter().filter(|other| other.name != array.name).map(Array::show).collect();
            found
                .notes
                .insert(0, format!("took its array `{}`; there are also {}", array.name, others.join(", ")));
        }
        Ok(found)
    };
    let is_chosen = name.is_none();
    match (wanted, held_out) {
        (_, None) => Ok((take(train, is_chosen)?, None)),
        (Wanted::HeldOut, Some(held_out)) => Ok((take(held_out, is_chosen)?, None)),
        (Wanted::Both, Some(held_out)) => {
            let mut found = take(train, false)?;
            let held = take(held_out, false)?;
            found
                .notes
                .insert(0, format!("trains on its array `{}` and holds out `{}`", train.name, held_out.name));
            Ok((found, Some(held)))
        }
    }
}

fn damaged(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::file(
        path,
        format!("is no readable .npz file (a zip archive of .npy files): {error}; copy or save it again"),
    )
}

/// An array of an archive.
struct Array {
    ix: usize,
    name: String,
    layout: std::result::Result<Layout, String>,
}

impl Array {
    fn show(&self) -> String {
        match &self.layout {
            Ok(layout) => format!("`{}` {:?}", self.name, layout.dims),
            Err(_) => format!("`{}` (not readable)", self.name),
        }
    }

    /// Whether it is labels rather than examples, by name or by having one number an example.
    fn is_labels(&self) -> bool {
        let name = self.name.to_lowercase();
        let words: Vec<&str> = name.split(['_', '-', '.', '/']).collect();
        let named = ["y", "label", "labels", "target", "targets", "class", "classes", "ids", "index"]
            .iter()
            .any(|word| words.contains(word));
        named || self.layout.as_ref().map_or(true, |layout| layout.dims.len() < 2)
    }

    /// Whether its name has one of these words.
    fn has_word(&self, wanted: &[&str]) -> bool {
        let name = self.name.to_lowercase();
        name.split(['_', '-', '.', '/']).any(|word| {
            wanted.iter().any(|w| word == *w || word == format!("x{w}") || word == format!("{w}x"))
        })
    }
}

fn arrays(path: &Path, archive: &mut ZipArchive<impl Read + Seek>) -> Result<Vec<Array>> {
    let mut arrays = Vec::new();
    for ix in 0..archive.len().min(MAX_ARRAYS) {
        let mut entry = archive.by_index(ix).map_err(|error| damaged(path, error))?;
        let name = entry.name().map(|name| name.into_owned()).unwrap_or_default();
        let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else { continue };
        let layout = npy::parse_header(path, &mut entry).map_err(|error| match error {
            Error::File { problem, .. } => problem,
            other => other.to_string(),
        });
        arrays.push(Array { ix, name, layout });
    }
    if arrays.is_empty() {
        return Err(Error::file(path, "is a zip archive without any .npy file, so no .npz file of arrays"));
    }
    Ok(arrays)
}

/// The array to train with, and the one to hold out.
fn choose<'a>(
    path: &Path,
    arrays: &'a [Array],
    name: Option<&str>,
) -> Result<(&'a Array, Option<&'a Array>)> {
    let list = || arrays.iter().map(Array::show).collect::<Vec<_>>().join(", ");
    if let Some(name) = name {
        let found = arrays.iter().find(|array| array.name == name || format!("{}.npy", array.name) == name);
        return match found {
            Some(array) => Ok((array, None)),
            None => Err(Error::file(path, format!("has no array `{name}`; there are: {}", list()))),
        };
    }
    if let [only] = arrays {
        return Ok((only, None));
    }
    let examples: Vec<&Array> = arrays.iter().filter(|array| !array.is_labels()).collect();
    let of = |words: &[&str]| {
        let mut found = examples.iter().filter(|array| array.has_word(words));
        // Several would be a guess.
        found.next().filter(|_| found.next().is_none()).copied()
    };
    let (train, test) = (of(&["train", "training"]), of(&["test", "testing"]));
    let validation = of(&["val", "valid", "validation", "dev"]);
    match (&examples[..], train) {
        (_, Some(train)) => Ok((train, test.or(validation))),
        ([only], None) => Ok((only, None)),
        ([], None) => Err(Error::file(
            path,
            format!(
                "has only arrays that look like labels: {}; choose one as {}:NAME",
                list(),
                path.display()
            ),
        )),
        (several, None) => {
            let names: Vec<_> = several.iter().map(|array| array.show()).collect();
            let (names, first) = (names.join(", "), &several[0].name);
            Err(Error::file(
                path,
                format!(
                    "has several arrays: {names}. Say which one is meant, as in `{}:{first}`",
                    path.display()
                ),
            ))
        }
    }
}

fn take(
    path: &Path,
    archive: &mut ZipArchive<impl Read + Seek>,
    array: &Array,
    reading: &Reading,
) -> Result<Found> {
    let named = |problem: &str| Error::file(path, format!("array `{}` {problem}", array.name));
    if let Err(problem) = &array.layout {
        return Err(named(problem));
    }
    let mut entry = archive.by_index(array.ix).map_err(|error| damaged(path, error))?;
    let (packed, size) = (entry.compressed_size(), entry.size());
    if size > SMALL.max(packed.saturating_mul(MAX_RATIO)) {
        return Err(named(&format!(
            "is said to unpack from {packed} to {size} bytes, more than is read from so few: if it is meant so, save it with \
             np.save"
        )));
    }
    // What unpacks to more than the archive says is cut off there. Memory grows with what comes.
    let found = npy::parse(path, (&mut entry).take(size), None, reading);
    found.map_err(|error| match error {
        Error::File { problem, .. } => named(&problem),
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::OutOfMemory => {
            Error::io("read", path)(source)
        }
        Error::Io { source, .. } => damaged(path, source),
        other => other,
    })
}
