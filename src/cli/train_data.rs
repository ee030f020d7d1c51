//! The data of `thalweg train`: which set, which preset suits it, and how its columns are scaled.

use super::given::is_built_in;
use super::{print_line, screen};
use std::path::Path;
use thalweg::checkpoint::Header;
use thalweg::data::reading::short;
use thalweg::data::standard::{Standard, unscaled};
use thalweg::data::{Examples, Shape, npz};
use thalweg::error::printable;
use thalweg::{Dataset, Error, Recipe, Result};

/// Rows and columns from which on an array of three dimensions holds images, if no preset says otherwise.
const FEWEST_PIXELS: usize = 8;
/// The data set of a run that goes on: the one that --data names, or the one that it began with.
pub(super) fn data_of(data: Option<&str>, header: &Header) -> Result<String> {
    let Header { data_source, config, .. } = header;
    match data {
        Some(data) => Ok(data.to_owned()),
        None if data_source.is_empty() => Ok(config.default_data().to_owned()),
        None => {
            let path = Path::new(data_source);
            if path.is_absolute() && !npz::split(path).0.exists() {
                let text = "the run's data were read from here, and nothing is here now: say with --data where they are";
                return Err(Error::file(path, text));
            }
            Ok(data_source.clone())
        }
    }
}

/// The name of a data set from anywhere: a built-in set's, or an absolute path.
pub(super) fn place_of(data: &str) -> String {
    match std::path::absolute(data) {
        Ok(path) if !is_built_in(data) => path.display().to_string(),
        _ => data.to_owned(),
    }
}

/// The name of the data that a recipe learns where none are named.
pub(super) fn default_data(config: &Recipe) -> Result<&'static str> {
    let input = config.known_network()?.input;
    if input.is_sequence() {
        return Err(Error::Usage(format!(
            "`{}` learns sequences, and none ship with the program: give --data FILE.npy, floats of shape [n, time, d], \
             such as [1000, {}, {}]",
            config.preset, input.width, input.channels
        )));
    }
    Ok(config.default_data())
}

/// The preset for examples of a shape. An array `[n, 28, 28]` is read as sequences where nothing says that it holds images:
/// with as many numbers at each moment as a picture has columns, images are meant.
pub(super) fn preset_of(shape: Shape) -> &'static str {
    if shape.is_sequence() && shape.channels.min(shape.width) >= FEWEST_PIXELS {
        return "digits";
    }
    match screen::kind(shape) {
        "sequences" => "sequence",
        "points" => "mlp",
        _ => "digits",
    }
}

/// Refuses data of a kind that the preset's network can't take.
pub(super) fn check_fits(config: &Recipe, dataset: &Dataset) -> Result<()> {
    let (shape, preset) = (dataset.train.shape(), config.preset.as_str());
    let is_for = match preset {
        _ if config.network.is_some() => return Ok(()),
        "mlp" | "mlp-silu" => return Ok(()), // dense layers take anything
        "sequence" => "sequences",
        _ => "images",
    };
    if is_for == screen::kind(shape) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "preset `{preset}` is for {is_for}, and {} holds {} of {shape} (channels x height x width): take `--preset {}`",
        dataset.name,
        screen::kind(shape),
        preset_of(shape)
    )))
}

/// Columns that are named in a message, at most.
const NAMED: usize = 6;

/// Says what columns are standardised by, or which ones should be.
pub(super) fn print_scaling(dataset: &Dataset, columns: &[String], standard: Option<&Standard>) {
    let Examples::Floats(points) = &dataset.train else { return };
    if !points.shape.is_single_row() || dataset.toy.is_some() {
        return;
    }
    let name = |column: usize| match columns.get(column).filter(|name| !name.is_empty()) {
        Some(name) => format!("`{name}`"),
        None => format!("{}", column + 1),
    };
    let list = |all: Vec<(usize, f64, f64)>| {
        let shown: Vec<String> = all
            .iter()
            .take(NAMED)
            .map(|(column, mean, deviation)| {
                format!("{} (mean {}, deviation {})", name(*column), short(*mean), short(*deviation))
            })
            .collect();
        let more = if all.len() > NAMED { format!(", ... {} in all", all.len()) } else { String::new() };
        printable(&format!("{}{more}", shown.join(", "))).into_owned()
    };
    if let Some(Standard { mean, deviation }) = standard {
        let all = mean.iter().zip(deviation).enumerate().map(|(column, (mean, dev))| (column, *mean, *dev));
        print_line(format_args!(
            "Standardised columns: {}. Energies are of the standardised points; samples, pictures and files keep the \
             data's units.",
            list(all.collect())
        ));
        return;
    }
    let found: Vec<_> = unscaled(points).iter().map(|c| (c.column, c.mean, c.deviation)).collect();
    if found.is_empty() {
        return;
    }
    let flat = found.iter().any(|(_, _, deviation)| *deviation == 0.0);
    print_line(format_args!(
        "Warning: column{} {} far from mean 0 and deviation 1, for which networks and chains are made, so training is likely \
         to fail: {}. Add `--set data.standardize=columns`, which standardises them for the network alone; samples and pictures stay in the data's \
         units.{}",
        if found.len() > 1 { "s" } else { "" },
        if found.len() > 1 { "are" } else { "is" },
        list(found),
        if flat { " A column of deviation 0 is the same in all rows, and is better left out." } else { "" }
    ));
}
