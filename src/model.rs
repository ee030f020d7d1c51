//! A network with its parameters, and where they come from.

use crate::checkpoint::{Header, Tensors, load_tensors};
use crate::data::{ImageShape, Images};
use crate::network::{Network, NetworkSpec, Operation, named, preset};
use crate::train::Config;
use crate::{Error, Result};
use std::path::Path;

/// What the tensors of the weights' moving average are called in files, before their own names.
pub(crate) const AVERAGE: &str = "ema.";

/// Which weights of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// Their moving average (`ema.decay`), if there is one.
    #[default]
    Average,
    /// Those of the last training step.
    Raw,
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
    /// (see [`crate::network::named`]). Tensors that the network does not have are ignored.
    ///
    /// # Errors
    /// A file that can't be read or is damaged; weights alone and no `network`; a checkpoint of another network; a
    /// tensor that is missing, misshapen, or holds a number that is not finite.
    pub fn load(path: impl AsRef<Path>, network: Option<&str>) -> Result<Self> {
        Self::load_with_recipe(path, network, Weights::Average).map(|(model, _)| model)
    }

    /// An analytic energy, which needs no file, and how it is sampled ([`Config::analytic`]): `analytic:gaussian` and the
    /// like, or a TOML file that describes one (see [`crate::network::named`]).
    ///
    /// # Errors
    /// Those of [`crate::network::named`]; [`Error::Usage`] for a network with parameters.
    pub fn analytic(network: &str) -> Result<(Self, Config)> {
        let built = named(network)?;
        let Operation::Analytic(energy) = built.layers[0].operation else {
            let text = format!("`{network}` has parameters: --model FILE has to say where they are");
            return Err(Error::Usage(text));
        };
        Ok((Self { network: built, parameters: Vec::new() }, Config::analytic(energy)))
    }

    /// [`Self::load`], of the weights of choice, with the configuration that it was trained with; for weights alone, that of the network's preset.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn load_with_recipe(
        path: impl AsRef<Path>,
        network: Option<&str>,
        weights: Weights,
    ) -> Result<(Self, Config)> {
        let path = path.as_ref();
        let (header, tensors) = load_tensors(path)?;
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
                    let text = format!(
                        "network `{name}` has no parameters, so that there is nothing to read; leave out --model"
                    );
                    return Err(Error::file(path, text));
                }
                network => network,
            },
            (None, None) => {
                let text = "holds weights alone, and does not say of which network: name it with `--network`, \
                            for example `--network mnist-small`, or describe it in a TOML file";
                return Err(Error::file(path, text));
            }
        };
        let averaged = weights == Weights::Average && tensors.keys().any(|name| name.starts_with(AVERAGE));
        let prefix = if averaged { AVERAGE } else { "" };
        let parameters = take_parameters(&network, &mut Tensors::new(path, tensors), prefix)?;
        let config = match header {
            Some(header) => header.config,
            None => Config::preset(&network.name).unwrap_or_default(),
        };
        Ok((Self { network, parameters }, config))
    }
}

/// The network of a checkpoint: described in its header, or, before there were descriptions, a preset's name there.
pub(crate) fn header_network(path: &Path, header: &Header) -> Result<Network> {
    let built = match &header.network {
        serde_json::Value::String(name) => preset(name),
        value => NetworkSpec::from_value(value)
            .map_err(|fault| Error::Network(fault.to_string()))
            .and_then(|spec| spec.build()),
    };
    built.map_err(|error| Error::file(path, error.to_string()))
}

/// Puts the tensors called `prefix` + their name together to a flat parameter vector.
pub(crate) fn take_parameters(network: &Network, tensors: &mut Tensors, prefix: &str) -> Result<Vec<f32>> {
    let mut parameters = Vec::with_capacity(network.n_parameters);
    for tensor in network.tensors() {
        parameters.extend(tensors.take_f32(&format!("{prefix}{}", tensor.name), &tensor.shape)?);
    }
    Ok(parameters)
}

/// The newest `count` images of a checkpoint's replay ring, newest first.
///
/// # Errors
/// Those of [`load_tensors`]; a file without a ring: of weights alone, or of an objective that has no chains in training; a
/// ring that holds fewer.
pub fn replay_images(path: impl AsRef<Path>, shape: ImageShape, count: usize) -> Result<Images> {
    let path = path.as_ref();
    let images = ring_of(path, shape, count)?.map_err(|why| {
        Error::file(path, format!("{why}, and there is no replay buffer to begin from; begin from noise"))
    })?;
    let length = images.count();
    if count > length {
        let text = format!("its replay buffer holds {length} images, and {count} are asked for");
        return Err(Error::file(path, text));
    }
    Ok(images)
}

/// [`replay_images`] of a ring that may hold fewer, or none; `None` of a file without a ring.
///
/// # Errors
/// Those of [`load_tensors`].
pub fn newest_replay_images(
    path: impl AsRef<Path>,
    shape: ImageShape,
    at_most: usize,
) -> Result<Option<Images>> {
    Ok(ring_of(path.as_ref(), shape, at_most)?.ok())
}

/// The newest images of a checkpoint's ring, or why it has none.
fn ring_of(
    path: &Path,
    shape: ImageShape,
    at_most: usize,
) -> Result<std::result::Result<Images, &'static str>> {
    let (header, tensors) = load_tensors(path)?;
    let Some(header) = header else {
        return Ok(Err("holds weights alone"));
    };
    // Its plan has one slot all the same.
    if header.config.score_objective().is_some() {
        return Ok(Err("was trained for the score, without chains"));
    }
    let mut tensors = Tensors::new(path, tensors);
    let state = tensors.take_u32("state", &[8])?;
    let (head, length) = (state[1] as usize, state[2] as usize);
    let ring = tensors.take_f32("replay.ring", &[length, shape.height, shape.width, shape.channels])?;
    let newest: Vec<usize> = (1..=at_most.min(length)).map(|i| (head + length - i) % length).collect();
    let mut images = ring_images(&ring, shape, &newest);
    if let Some(standard) = &header_network(path, &header)?.standard {
        standard.to_data(&mut images);
    }
    Ok(Ok(images))
}

/// Slots of a ring `[slot][pixel][channel]` as images `[image][channel][pixel]`.
pub(crate) fn ring_images(ring: &[f32], shape: ImageShape, slots: &[usize]) -> Images {
    let pixels = shape.height * shape.width;
    let mut values = Vec::with_capacity(slots.len() * shape.len());
    for slot in slots {
        let image = &ring[slot * shape.len()..][..shape.len()];
        values.extend((0..shape.len()).map(|i| image[i % pixels * shape.channels + i / pixels]));
    }
    Images { shape, values }
}
