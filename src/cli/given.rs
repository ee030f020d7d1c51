//! What commands are given: the model that is there without `--model`, and inputs by name or path.

use super::{print_line, read_fitting};
use std::path::{Path, PathBuf};
use thalweg::data::reading::Reading;
use thalweg::data::toy::Toy;
use thalweg::data::{Images, Shape};
use thalweg::recipe::presets::named;
use thalweg::{Dataset, Error, Result};

/// The model that commands take where none is named: what `thalweg train` leaves.
const DEFAULT_MODEL: &str = "run/checkpoint.safetensors";

/// The model's file: the one named, or [`DEFAULT_MODEL`], which it says; `None` where `--network` is an energy with a formula,
/// which has no file.
///
/// # Errors
/// [`Error::Usage`] where there is none to take; those of [`named`] for a bad `--network`.
pub(crate) fn model_path(path: Option<&Path>, network: Option<&str>) -> Result<Option<PathBuf>> {
    if let Some(path) = path {
        return Ok(Some(path.to_owned()));
    }
    if network.map(named).transpose()?.is_some_and(|network| network.n_parameters == 0) {
        return Ok(None);
    }
    let default = PathBuf::from(DEFAULT_MODEL);
    if !default.exists() {
        return Err(Error::Usage(format!(
            "--model is missing, and there is no {DEFAULT_MODEL}, the default: train a model (`thalweg train`), name one with \
             --model FILE, or take an energy with a formula, as in `--network analytic:gaussian`"
        )));
    }
    print_line(format_args!("Model: {DEFAULT_MODEL}, the default (--model FILE takes another)."));
    Ok(Some(default))
}

/// Whether a name is that of a data set that ships with the program.
pub(crate) fn is_built_in(name: &str) -> bool {
    name == "digits" || Toy::named(name.split(':').next().unwrap_or(name)).is_some()
}

/// Images, points or sequences that the network can take, and what to call them: the held-out part of a built-in set
/// ([`is_built_in`]), or those of a file or folder.
///
/// # Errors
/// Those of [`Dataset::open`] and [`read_fitting`]; [`Error::Usage`] for a set that does not fit the network.
pub(crate) fn read_input(
    option: &str,
    name: &str,
    input: Shape,
    reading: &Reading,
) -> Result<(Images, String)> {
    if !is_built_in(name) {
        return Ok((read_fitting(Path::new(name), input, reading)?, name.to_owned()));
    }
    let set = Dataset::open(name)?.held_out;
    let what = format!("{name} (the {} held out)", set.count());
    if set.shape.is_single_row() != input.is_single_row() || (input.is_single_row() && set.shape != input) {
        let text =
            format!("{option} {name}: the built-in set holds {}, and the network takes {input}", set.shape);
        return Err(Error::Usage(text));
    }
    let none = Images { shape: set.shape, values: Vec::new() };
    none.padded_to(input).map_err(|error| Error::Usage(format!("{option} {name}: {error}")))?;
    if Path::new(name).exists() {
        super::screen::warn(format_args!(
            "`{name}` is the built-in set; write ./{name} for the file or folder of that name."
        ));
    }
    Ok((set, what))
}

/// The first of `NAME.png`, `NAME-1.png`, `NAME-2.png` ... in the current folder that is not there yet.
pub(crate) fn free_picture(name: &str) -> PathBuf {
    let numbered = (1_u32..).map(|n| PathBuf::from(format!("{name}-{n}.png")));
    let first = PathBuf::from(format!("{name}.png"));
    // A link that leads nowhere is there, too.
    let is_free = |path: &PathBuf| path.symlink_metadata().is_err();
    std::iter::once(first.clone()).chain(numbered).find(is_free).unwrap_or(first)
}
