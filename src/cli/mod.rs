//! The commands, one file each, and what they share.

pub(crate) mod bench;
pub(crate) mod calibrations;
pub(crate) mod chain_options;
pub(crate) mod compare;
pub(crate) mod denoise;
pub(crate) mod devices;
pub(crate) mod draws;
pub(crate) mod ends;
pub(crate) mod energy;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod folder;
pub(crate) mod given;
pub(crate) mod inpaint;
pub(crate) mod options;
pub(crate) mod paths;
pub(crate) mod plan;
pub(crate) mod plot;
pub(crate) mod progress;
pub(crate) mod sample;
pub(crate) mod screen;
pub(crate) mod shell;
pub(crate) mod signals;
pub(crate) mod train;
mod train_data;

pub(crate) use screen::steps_bar;
use std::path::Path;
use thalweg::data::reading::Reading;
use thalweg::data::{Images, Shape, read_for};
use thalweg::error::printable;
use thalweg::{Error, Result};

/// Prints how a file was understood.
pub(crate) fn print_notes(name: impl std::fmt::Display, notes: &[String]) {
    for note in notes {
        print_line(format_args!("Note: {name}: {note}."));
    }
}

/// Prints a line, or several, to stdout; with `--quiet` only what is said last.
pub(crate) fn print_line(text: impl std::fmt::Display) {
    screen::print(printable(&text.to_string()).into_owned());
}

/// A parser of numbers from `min` to `max`, for an option.
pub(crate) fn real(min: f64, max: f64) -> impl Fn(&str) -> std::result::Result<f64, String> + Clone {
    move |text| match text.parse::<f64>() {
        Ok(x) if min <= x && x <= max => Ok(x), // NaN is not
        _ => Err(format!("must be a number from {min} to {max}")),
    }
}

/// Finds out before any work whether what `option` names can be written: its ending is one of `endings`, its folder is
/// there and takes files.
pub(crate) fn check_output(option: &str, path: &Path, endings: &[&str]) -> Result<()> {
    let has = |ending: &&str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    if !endings.iter().any(has) {
        let endings: Vec<_> = endings.iter().map(|ending| format!(".{ending}")).collect();
        let (path, endings) = (path.display(), endings.join(" or "));
        return Err(Error::Usage(format!("{option} {path}: the name must end in {endings}")));
    }
    thalweg::files::check_writable(path)
}

/// Writes figures to a JSON file.
pub(crate) fn write_json(path: &Path, figures: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)
        .map_err(|error| Error::Usage(format!("the figures can't be written as JSON: {error}")))?;
    thalweg::files::write_atomically(path, |file| file.write_all(text.as_bytes()))
}

/// Reads images, points or sequences that the network can take, and says how they were understood.
pub(crate) fn read_fitting(path: &Path, input: Shape, reading: &Reading) -> Result<Images> {
    let (images, notes) = read_for(path, reading)?;
    if input.is_single_row() {
        if images.shape != input {
            let problem = format!(
                "holds points of {} (numbers x 1 x moments), and the network takes {input}",
                images.shape
            );
            return Err(Error::file(path, problem));
        }
    } else {
        // No image of that shape is enough to ask.
        let none = Images { shape: images.shape, values: Vec::new() };
        none.padded_to(input).map_err(|error| Error::file(path, error.to_string()))?;
    }
    print_notes(path.display(), &notes);
    Ok(images)
}

/// Some energies in short.
pub(crate) struct Summary {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the energies themselves (not an estimate for more of their kind).
    pub std: f64,
    /// Lowest.
    pub min: f32,
    /// Highest.
    pub max: f32,
}

impl Summary {
    /// Of the energies that are finite; NaN where none is.
    pub(crate) fn of(energies: &[f32]) -> Self {
        let energies: Vec<f32> = energies.iter().copied().filter(|e| e.is_finite()).collect();
        let mean_of = |f: &dyn Fn(f64) -> f64| {
            energies.iter().map(|e| f(f64::from(*e))).sum::<f64>() / energies.len() as f64
        };
        let mean = mean_of(&|e| e);
        Self {
            mean,
            std: mean_of(&|e| (e - mean) * (e - mean)).sqrt(),
            min: energies.iter().copied().fold(f32::NAN, f32::min),
            max: energies.iter().copied().fold(f32::NAN, f32::max),
        }
    }
}
