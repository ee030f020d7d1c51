//! A network with its parameters, and where they come from.

use super::container::Archive;
use super::header::header_network;
use super::state::{AVERAGE, take_parameters};
use crate::error::Remedy;
use crate::network::{Network, Operation};
use crate::recipe::Recipe;
use crate::recipe::presets::named;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Which weights of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// Their moving average (`ema.decay`), if there is one.
    #[default]
    Average,
    /// Those of the last training step.
    Raw,
}

/// How a model is read from a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Which weights of a checkpoint.
    pub weights: Weights,
    /// Whether tensors of weights alone that the network does not have are passed over: the energies are those of the
    /// network without them.
    pub ignore_extra_tensors: bool,
}

/// A model as it was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The model.
    pub model: Model,
    /// The configuration that it was trained with; of weights alone, that of the network's preset.
    pub recipe: Recipe,
    /// What a user should know of how the file was read, a sentence each.
    pub notes: Vec<String>,
}

/// A network with its parameters: all that is needed to tell energies and to sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The network.
    pub network: Network,
    /// The flat parameter vector.
    pub parameters: Vec<f32>,
}

impl Model {
    /// Reads a model from a checkpoint, or from a safetensors file of weights in PyTorch's naming.
    ///
    /// The parameters are those of the weights' moving average where the file has one.
    /// A checkpoint describes its network; for weights alone `network` has to: by a preset's name, or by a TOML file
    /// (see [`crate::recipe::presets::named`]). What all names of such weights have in front of the network's own, such as
    /// `module.`, is taken off.
    ///
    /// # Errors
    /// A file that can't be read or is damaged; weights alone and no `network`; a checkpoint of another network; a
    /// tensor that is missing, misshapen, of a type that is not read, or holds a number that is not finite; weights alone
    /// with a tensor that the network does not have.
    pub fn load(path: impl AsRef<Path>, network: Option<&str>) -> Result<Self> {
        Self::load_with_recipe(path, network, Weights::Average).map(|(model, _)| model)
    }

    /// An analytic energy, which needs no file, and how it is sampled ([`Recipe::analytic`]): `analytic:gaussian` and the
    /// like, or a TOML file that describes one (see [`crate::recipe::presets::named`]).
    ///
    /// # Errors
    /// Those of [`crate::recipe::presets::named`]; [`Error::Usage`] for a network with parameters.
    pub fn analytic(network: &str) -> Result<(Self, Recipe)> {
        let built = named(network)?;
        let Operation::Analytic(energy) = built.layers[0].operation else {
            let text = format!("`{network}` has parameters, and no file of them is given");
            return Err(Error::Usage(text));
        };
        Ok((Self { network: built, parameters: Vec::new() }, Recipe::analytic(energy)))
    }

    /// [`Self::load`], of the weights of choice, with the configuration that it was trained with; for weights alone, that of the network's preset.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn load_with_recipe(
        path: impl AsRef<Path>,
        network: Option<&str>,
        weights: Weights,
    ) -> Result<(Self, Recipe)> {
        let options = LoadOptions { weights, ..LoadOptions::default() };
        Self::load_with(path, network, options).map(|loaded| (loaded.model, loaded.recipe))
    }

    /// [`Self::load`], with what else there is to choose and to know.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn load_with(path: impl AsRef<Path>, network: Option<&str>, options: LoadOptions) -> Result<Loaded> {
        let path = path.as_ref();
        let archive = Archive::open(path)?;
        let header = archive.header.clone();
        let network = match (&header, network) {
            (Some(header), Some(name)) => {
                let (of, asked) = (header_network(path, header)?, named(name)?);
                if of.layers != asked.layers || of.input != asked.input {
                    let text = format!("is a checkpoint of network `{}`, not of `{name}`", of.name);
                    return Err(Error::file(path, text));
                }
                of
            }
            (Some(header), None) => header_network(path, header)?,
            (None, Some(name)) => match named(name)? {
                network if network.n_parameters == 0 => {
                    let text =
                        format!("network `{name}` has no parameters, so that there is nothing to read");
                    return Err(Error::file_with(path, text, Remedy::OmitModel));
                }
                network => network,
            },
            (None, None) => {
                let text = "holds weights alone, and does not say of which network";
                return Err(Error::file_with(path, text, Remedy::NameNetwork));
            }
        };
        let mut notes = Vec::new();
        let names = archive.names();
        let foreign = if header.is_none() { common_prefix(&names, &network) } else { String::new() };
        if !foreign.is_empty() {
            notes.push(format!("all names of tensors begin with `{foreign}`, which is left out"));
        }
        let plain: Vec<&str> = names.iter().map(|name| name.strip_prefix(&foreign).unwrap_or(name)).collect();
        let averaged =
            options.weights == Weights::Average && plain.iter().any(|name| name.starts_with(AVERAGE));
        let prefix = if averaged { AVERAGE } else { "" };
        if header.is_none() {
            let extra = extra_tensors(&plain, &network);
            if !extra.is_empty() && !options.ignore_extra_tensors {
                return Err(refuse_extra(path, &extra, &network));
            }
            if !extra.is_empty() {
                let first = extra.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
                notes.push(format!(
                    "{} tensors that network `{}` does not have are passed over: {first}{}",
                    extra.len(),
                    network.name,
                    if extra.len() > SHOWN { ", ..." } else { "" }
                ));
            }
        }
        let own = network.tensors().into_iter();
        let wanted: BTreeMap<String, Vec<usize>> =
            own.map(|tensor| (format!("{foreign}{prefix}{}", tensor.name), tensor.shape)).collect();
        let tensors = archive.read(|name, shape| wanted.get(name).is_some_and(|wanted| wanted == shape))?;
        let parameters = take_parameters(&network, &mut tensors.without_prefix(&foreign), prefix)?;
        let recipe = match header {
            Some(header) => header.config,
            None => Recipe::preset(&network.name).or_else(|_| Recipe::preset("mnist-small"))?,
        };
        Ok(Loaded { model: Self { network, parameters }, recipe, notes })
    }
}

/// Names of tensors that a message shows.
const SHOWN: usize = 8;

/// What all names of a file have in front of the network's own names: `module.` of PyTorch's parallel training,
/// `_orig_mod.` of its compiler, `model.` or `net.` of classes around a network. Empty if there is no such thing.
fn common_prefix(names: &[String], network: &Network) -> String {
    let own: Vec<String> = network.tensors().into_iter().map(|tensor| tensor.name).collect();
    let is_own = |name: &str| own.iter().any(|own| own == name.strip_prefix(AVERAGE).unwrap_or(name));
    if names.iter().any(|name| is_own(name)) {
        return String::new();
    }
    let prefixes = names.iter().flat_map(|name| {
        own.iter().filter_map(|own| name.strip_suffix(own.as_str()).filter(|prefix| prefix.ends_with('.')))
    });
    let of_all = |prefix: &&str| names.iter().all(|name| name.starts_with(prefix));
    prefixes.filter(of_all).max_by_key(|prefix| prefix.len()).unwrap_or_default().to_owned()
}

/// Names that are none of the network's tensors, nor their averages.
fn extra_tensors<'a>(names: &[&'a str], network: &Network) -> Vec<&'a str> {
    let own: BTreeSet<String> = network.tensors().into_iter().map(|tensor| tensor.name).collect();
    let mut extra: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !own.contains(name.strip_prefix(AVERAGE).unwrap_or(name)))
        .collect();
    extra.sort_unstable();
    extra
}

fn refuse_extra(path: &Path, extra: &[&str], network: &Network) -> Error {
    let own: Vec<String> = network.tensors().into_iter().map(|tensor| tensor.name).collect();
    let shown = extra.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = if extra.len() > SHOWN { ", ..." } else { "" };
    let norm = ["running_mean", "running_var", "num_batches_tracked"];
    let hint = if extra.iter().any(|name| norm.iter().any(|end| name.ends_with(end))) {
        "They look like batch normalisation, which networks here don't have: fold it into the layer before, and save again"
    } else {
        "The network of the file has other layers"
    };
    let problem = format!(
        "has {} tensors that network `{}` does not have ({shown}{more}); it takes {}{}. {hint}",
        extra.len(),
        network.name,
        own[..own.len().min(SHOWN)].join(", "),
        if own.len() > SHOWN { ", ..." } else { "" }
    );
    Error::file_with(path, problem, Remedy::MatchTensors)
}
