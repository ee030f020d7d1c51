//! The commands, one file each, and what they share.

pub mod bench;
pub mod calibrations;
pub mod compare;
pub mod devices;
pub mod ends;
pub mod energy;
pub mod evaluate;
pub mod export;
pub mod folder;
pub mod given;
pub mod paths;
pub mod plot;
pub mod progress;
pub mod sample;
pub mod screen;
pub mod shell;
pub mod signals;
pub mod train;

pub use screen::steps_bar;
use std::path::Path;
use thalweg::checkpoint::{LoadOptions, Loaded, Weights};
use thalweg::data::reading::Reading;
use thalweg::data::{ImageShape, Images, read_for};
use thalweg::device::{ChainPath, Chains};
use thalweg::error::printable;
use thalweg::recipe::Range;
use thalweg::{Config, Device, Error, Model, Result};

/// Which weights of a checkpoint a command is to use.
#[derive(clap::Args)]
pub struct WeightsOption {
    /// Use the weights of the last training step, where the checkpoint has their moving average, too (`ema.decay`)
    #[arg(long)]
    raw_weights: bool,
    /// Of a safetensors file of weights, pass over tensors that the network does not have, such as batch normalisation:
    /// the energies are those of the network without them
    #[arg(long)]
    ignore_extra_tensors: bool,
}

impl WeightsOption {
    /// The choice.
    pub fn choice(&self) -> Weights {
        if self.raw_weights { Weights::Raw } else { Weights::Average }
    }
}

/// How a command reads images that lie in files as floats.
#[derive(clap::Args)]
pub struct RangeOption {
    /// What float images hold: values in [-1, 1] (`signed`), [0, 1] (`unit`) or [0, 255] (`bytes`), or what their lowest and
    /// highest value say (`auto`) [default: the model's recipe]
    #[arg(long, value_name = "auto|signed|unit|bytes")]
    range: Option<Range>,
}

impl RangeOption {
    /// What a file is read as, for a network with this input and recipe.
    pub fn reading(&self, input: ImageShape, recipe: &Config) -> Reading {
        let reading = Reading::for_network(input, recipe);
        Reading { range: self.range.unwrap_or(reading.range), ..reading }
    }
}

/// Prints how a file was understood.
pub fn say_notes(name: impl std::fmt::Display, notes: &[String]) {
    for note in notes {
        say(format_args!("Note: {name}: {note}."));
    }
}

/// The model of a file ([`given::model_path`]) or of `--network`, and its recipe: an analytic energy has no file.
pub fn open_model(
    path: Option<&Path>,
    network: Option<&str>,
    weights: &WeightsOption,
) -> Result<(Model, Config)> {
    match (path, network) {
        (Some(path), network) => {
            let ignore_extra_tensors = weights.ignore_extra_tensors;
            let options = LoadOptions { weights: weights.choice(), ignore_extra_tensors };
            let Loaded { model, recipe, notes } = Model::load_with(path, network, options)?;
            say_notes(path.display(), &notes);
            Ok((model, recipe))
        }
        (None, Some(network)) => Model::analytic(network),
        (None, None) => {
            let text = "--model FILE is missing; only analytic energies, as in `--network analytic:gaussian`, need none";
            Err(Error::Usage(text.to_owned()))
        }
    }
}

/// Opens the device that `--device` names, and says on stderr what there is to know of that.
pub async fn open_device(choice: &str, path: ChainPath) -> Result<Device> {
    let (calibrations, set_aside) = match path {
        ChainPath::Auto => calibrations::read(),
        _ => (Vec::new(), None),
    };
    let chains = Chains { asked: path, calibrations, set_aside, ..Chains::default() };
    let (device, notes) = Device::open_with(choice, chains).await?;
    for note in notes {
        screen::warn(format_args!("{note}."));
    }
    Ok(device)
}

/// Prints a line, or several, to stdout; with `--quiet` only what is said last.
pub fn say(text: impl std::fmt::Display) {
    screen::print(printable(&text.to_string()).into_owned());
}

/// A parser of numbers from `min` to `max`, for an option.
pub fn real(min: f64, max: f64) -> impl Fn(&str) -> std::result::Result<f64, String> + Clone {
    move |text| match text.parse::<f64>() {
        Ok(x) if min <= x && x <= max => Ok(x), // NaN is not
        _ => Err(format!("must be a number from {min} to {max}")),
    }
}

/// Finds out before any work whether what `option` names can be written: its ending is one of `endings`, its folder is
/// there and takes files.
pub fn check_output(option: &str, path: &Path, endings: &[&str]) -> Result<()> {
    let has = |ending: &&str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    if !endings.iter().any(has) {
        let endings: Vec<_> = endings.iter().map(|ending| format!(".{ending}")).collect();
        let (path, endings) = (path.display(), endings.join(" or "));
        return Err(Error::Usage(format!("{option} {path}: the name must end in {endings}")));
    }
    thalweg::files::check_writable(path)
}

/// Reads images, points or sequences that the network can take, and says how they were understood.
pub fn read_fitting(path: &Path, input: ImageShape, reading: &Reading) -> Result<Images> {
    let (images, notes) = read_for(path, reading)?;
    if input.is_points() {
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
    say_notes(path.display(), &notes);
    Ok(images)
}

/// Some energies in short.
pub struct Summary {
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
    pub fn of(energies: &[f32]) -> Self {
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
