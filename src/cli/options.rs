//! Options that several commands share, each said once.

use super::given::model_path;
use super::{calibrations, print_notes, real, screen, shell};
use std::path::{Path, PathBuf};
use thalweg::checkpoint::{LoadOptions, Loaded, Weights};
use thalweg::data::Shape;
use thalweg::data::reading::Reading;
use thalweg::device::{ChainPath, Chains};
use thalweg::recipe::Range;
use thalweg::{Composition, Device, Error, Model, Recipe, Result};

/// The device of a command.
#[derive(clap::Args)]
pub(crate) struct DeviceOption {
    /// Where to compute: `auto` (the first GPU, else the CPU), `cpu` (`cpu:avx2` and the like force its instructions), an
    /// adapter's number or a part of its name (see `thalweg devices`)
    #[arg(long = "device", default_value = "auto", value_name = "auto|cpu|NAME|INDEX")]
    pub device: String,
}

impl DeviceOption {
    /// Opens the device, and warns on stderr about the choice where necessary.
    pub(crate) async fn open(&self) -> Result<Device> {
        self.open_for(ChainPath::Auto).await
    }

    async fn open_for(&self, asked: ChainPath) -> Result<Device> {
        let (calibrations, set_aside) = match asked {
            ChainPath::Auto => calibrations::read(),
            _ => (Vec::new(), None),
        };
        let chains = Chains { asked, calibrations, set_aside, ..Chains::default() };
        let (device, notes) = Device::open_with(&self.device, chains).await?;
        for note in notes {
            screen::warn(format_args!("{note}."));
        }
        Ok(device)
    }
}

/// The device of a command that runs chains.
#[derive(clap::Args)]
pub(crate) struct ChainDeviceOptions {
    #[command(flatten)]
    pub on: DeviceOption,
    /// How a GPU runs Langevin chains: `fused` (many steps in one dispatch), `fused-workgroup` (with hidden layers in
    /// workgroup memory), by `layers`, or what suits it
    #[arg(long, default_value = "auto", value_name = "auto|fused|fused-workgroup|layers")]
    chain_path: ChainPath,
}

impl ChainDeviceOptions {
    /// [`DeviceOption::open`].
    pub(crate) async fn open(&self) -> Result<Device> {
        self.on.open_for(self.chain_path).await
    }

    /// The options as they were given, for a command line.
    pub(crate) fn repeated(&self) -> String {
        let mut options = String::new();
        if self.on.device != "auto" {
            options += &format!(" {}", shell::option("device", &self.on.device));
        }
        if self.chain_path != ChainPath::Auto {
            let path = serde_json::to_value(self.chain_path).unwrap_or_default();
            options += &format!(" {}", shell::option("chain-path", path.as_str().unwrap_or("auto")));
        }
        options
    }
}

/// The model of a command.
#[derive(clap::Args)]
pub(crate) struct ModelOptions {
    /// The model: a checkpoint, or a safetensors file of weights (then --network says of which network) [default:
    /// run/checkpoint.safetensors, which `thalweg train` leaves]
    #[arg(id = "model", long = "model", value_name = "FILE")]
    file: Option<PathBuf>,
    /// The network: the name of its preset (`mnist-small`), a TOML file that describes it, or `analytic:gaussian` and
    /// the like, which needs no --model: double-well, rosenbrock, rastrigin, ackley, five-gaussians, 8-gaussians,
    /// 25-gaussians [default: the one that the checkpoint describes]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    #[command(flatten)]
    weights: WeightsOption,
}

impl ModelOptions {
    /// The model's file: see [`model_path`].
    pub(crate) fn path(&self) -> Result<Option<PathBuf>> {
        model_path(self.file.as_deref(), self.network.as_deref())
    }

    /// Reads the model and its recipe from the file at [`Self::path`], or builds the analytic energy that `--network` names.
    pub(crate) fn open(&self, path: Option<&Path>) -> Result<(Model, Recipe)> {
        open(path, self.network.as_deref(), &self.weights)
    }
}

fn open(path: Option<&Path>, network: Option<&str>, weights: &WeightsOption) -> Result<(Model, Recipe)> {
    match (path, network) {
        (Some(path), network) => {
            let ignore_extra_tensors = weights.ignore_extra_tensors;
            let options = LoadOptions { weights: weights.choice(), ignore_extra_tensors };
            let Loaded { model, recipe, notes } = Model::load_with(path, network, options)?;
            print_notes(path.display(), &notes);
            Ok((model, recipe))
        }
        (None, Some(network)) => Model::analytic(network),
        (None, None) => {
            let text = "--model FILE is missing; only analytic energies, as in `--network analytic:gaussian`, need none";
            Err(Error::Usage(text.to_owned()))
        }
    }
}

/// The models of a command that takes several.
#[derive(clap::Args)]
pub(crate) struct ModelsOptions {
    /// The model: a checkpoint, or a safetensors file of weights (then --network says of which network) [default:
    /// run/checkpoint.safetensors, which `thalweg train` leaves]. Named several times, chains go by the weighted sum of the
    /// models' energies (--weights); how they move is the first one's recipe, if no option says so
    #[arg(id = "model", long = "model", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The weight of each model's energy, a number for each --model: the density is the product of theirs, each to the power of
    /// its weight; a negative one is for "not" [default: 1 for each]
    #[arg(long, value_name = "X,X,...", value_delimiter = ',', allow_hyphen_values = true, value_parser = real(-1e6, 1e6))]
    weights: Vec<f64>,
    /// The network: the name of its preset (`mnist-small`), a TOML file that describes it, or `analytic:gaussian` and
    /// the like, which needs no --model: double-well, rosenbrock, rastrigin, ackley, five-gaussians, 8-gaussians,
    /// 25-gaussians [default: the one that the checkpoint describes]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    #[command(flatten)]
    which: WeightsOption,
}

/// Models as they were read.
pub(crate) struct Models {
    /// All of them, with their weights.
    pub composition: Composition,
    /// How each was trained.
    pub recipes: Vec<Recipe>,
    /// Their files; none of an energy with a formula.
    pub paths: Vec<PathBuf>,
}

impl ModelsOptions {
    /// Reads the models.
    ///
    /// # Errors
    /// Those of [`ModelOptions::open`] and [`Composition::new`]; [`Error::Usage`] for another number of weights than of models.
    pub(crate) fn open(&self) -> Result<Models> {
        let paths = match &self.files[..] {
            [] => model_path(None, self.network.as_deref())?.into_iter().collect(),
            files => files.to_vec(),
        };
        let files: Vec<_> = if paths.is_empty() {
            vec![None]
        } else {
            paths.iter().map(|path| Some(path.as_path())).collect()
        };
        let (n_weights, n) = (self.weights.len(), files.len());
        if n_weights != 0 && n_weights != n {
            return Err(Error::Usage(format!(
                "--weights: {n_weights} weights for {n} model{}; give one for each --model, as in --weights 1,-0.5",
                if n == 1 { "" } else { "s" }
            )));
        }
        let (mut terms, mut recipes) = (Vec::new(), Vec::new());
        for (ix, path) in files.into_iter().enumerate() {
            let (model, recipe) = open(path, self.network.as_deref(), &self.which)?;
            terms.push((model, self.weights.get(ix).map_or(1.0, |weight| *weight as f32)));
            recipes.push(recipe);
        }
        Ok(Models { composition: Composition::new(terms)?, recipes, paths })
    }
}

/// Which weights of a checkpoint a command is to use.
#[derive(clap::Args)]
pub(crate) struct WeightsOption {
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
    pub(crate) fn choice(&self) -> Weights {
        if self.raw_weights { Weights::Raw } else { Weights::Average }
    }
}

/// How a command reads images that lie in files as floats.
#[derive(clap::Args)]
pub(crate) struct RangeOption {
    /// What float images hold: values in [-1, 1] (`signed`), [0, 1] (`unit`) or [0, 255] (`bytes`), or what their lowest and
    /// highest value say (`auto`) [default: the model's recipe]
    #[arg(long, value_name = "auto|signed|unit|bytes")]
    range: Option<Range>,
}

impl RangeOption {
    /// What a file is read as, for a network with this input and recipe.
    pub(crate) fn reading(&self, input: Shape, recipe: &Recipe) -> Reading {
        let reading = Reading::for_network(input, recipe);
        Reading { range: self.range.unwrap_or(reading.range), range_option: "--range ", ..reading }
    }
}
