//! All that a run keeps in its checkpoint: names and shapes of the tensors, and the images of the replay ring.
//!
//! | tensor | shape | what |
//! | --- | --- | --- |
//! | the network's names, as in `conv1.weight` | PyTorch's | parameters |
//! | `adam.m.` and `adam.v.` + name | the parameter's | moments of Adam |
//! | `ema.` + name | the parameter's | moving average, if `ema.decay` is not 0 |
//! | `spectral.` + name | `[rows]` | u of the power iteration, of bounded weights |
//! | `replay.ring` | `[slot, height, width, channels]` | replay buffer or persistent chains |
//! | `pool.levels` | `[slot]` | level of each chain, of a pool of annealed chains |
//! | `state` | `[8]`, words | [`State`] |
//! | `guard` | `[`[`MEMORY`]`]` | running statistics of the guard |
//! | `snapshot.` + any of these | the same | the last good state, if it is not this one |

use super::container::{Archive, Tensor, Tensors};
use super::header::header_network;
use crate::data::{Images, Shape};
use crate::kernels::State;
use crate::kernels::guard::MEMORY;
use crate::network::Network;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Prefix of the weights' moving average.
pub const AVERAGE: &str = "ema.";
/// Prefix of a snapshot.
pub(crate) const SNAPSHOT: &str = "snapshot.";
const MOMENTS: [&str; 2] = ["adam.m.", "adam.v."];
const SPECTRAL: &str = "spectral.";
const REPLAY: &str = "replay.ring";
const LEVELS: &str = "pool.levels";
const STATE: &str = "state";
const GUARD: &str = "guard";

/// All that training depends on, as plain data.
#[derive(Clone, Debug)]
pub(crate) struct RunState {
    pub parameters: Vec<f32>,
    pub moments: [Vec<f32>; 2],
    pub average: Option<Vec<f32>>,
    /// u of each bounded matrix, one behind the other.
    pub spectral: Option<Vec<f32>>,
    /// `[slot][pixel][channel]`, as many slots as are filled, or more.
    pub replay: Vec<f32>,
    /// The level of each chain of a pool.
    pub levels: Option<Vec<f32>>,
    /// Words of a [`State`].
    pub state: Vec<u32>,
    pub guard: Option<Vec<f32>>,
}

/// Which parts of a [`RunState`] a run has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub average: bool,
    pub spectral: bool,
    pub guard: bool,
    /// Whether the ring is a pool of chains with levels.
    pub levels: bool,
    /// Slots of the ring.
    pub capacity: usize,
}

impl RunState {
    /// Adds the state to a file's tensors, with `prefix` before their names.
    pub(crate) fn put(self, network: &Network, prefix: &str, tensors: &mut BTreeMap<String, Tensor>) {
        let state = State::of(&self.state);
        let [first, second] = self.moments;
        let moments = [(MOMENTS[0], first), (MOMENTS[1], second)];
        let average = self.average.map(|average| (AVERAGE, average));
        for (name, values) in [("", self.parameters)].into_iter().chain(moments).chain(average) {
            for tensor in network.tensors() {
                let part = Tensor::f32(&tensor.shape, values[tensor.range()].to_vec());
                tensors.insert(format!("{prefix}{name}{}", tensor.name), part);
            }
        }
        if let Some(mut rest) = self.spectral.as_deref() {
            for (tensor, _) in network.bounded() {
                let vector;
                (vector, rest) = rest.split_at(tensor.shape[0]);
                let part = Tensor::f32(&tensor.shape[..1], vector.to_vec());
                tensors.insert(format!("{prefix}{SPECTRAL}{}", tensor.name), part);
            }
        }
        let (shape, mut replay, mut words) =
            (replay_shape(network.input, state.replay_length as usize), self.replay, self.state);
        replay.truncate(shape.iter().product());
        words.truncate(State::SAVED);
        tensors.insert(format!("{prefix}{REPLAY}"), Tensor::f32(&shape, replay));
        tensors.insert(format!("{prefix}{STATE}"), Tensor::u32(&[State::SAVED], words));
        if let Some(levels) = self.levels {
            tensors.insert(format!("{prefix}{LEVELS}"), Tensor::f32(&[levels.len()], levels));
        }
        if let Some(memory) = self.guard {
            tensors.insert(format!("{prefix}{GUARD}"), Tensor::f32(&[MEMORY], memory));
        }
    }

    /// Takes a state from a file's tensors, with `prefix` before their names.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen, or a state that can't be.
    pub(crate) fn take(
        path: &Path,
        network: &Network,
        parts: &Parts,
        prefix: &str,
        tensors: &mut Tensors,
    ) -> Result<Self> {
        let mut vector = |name: &str| take_parameters(network, tensors, &format!("{prefix}{name}"));
        let (parameters, moments) = (vector("")?, [vector(MOMENTS[0])?, vector(MOMENTS[1])?]);
        let average = parts.average.then(|| vector(AVERAGE)).transpose()?;
        let mut spectral = parts.spectral.then(Vec::new);
        if let Some(vectors) = &mut spectral {
            for (tensor, _) in network.bounded() {
                let name = format!("{prefix}{SPECTRAL}{}", tensor.name);
                vectors.extend(tensors.take_f32(&name, &tensor.shape[..1])?);
            }
        }
        let state = tensors.take_u32(&format!("{prefix}{STATE}"), &[State::SAVED])?;
        let State { replay_head, replay_length, halted, .. } = State::of(&state);
        let length = replay_length as usize;
        if !(1..=parts.capacity).contains(&length) || replay_head as usize >= parts.capacity || halted != 0 {
            return Err(Error::file(path, "its `state` contradicts its header: the file is damaged"));
        }
        let replay = tensors.take_f32(&format!("{prefix}{REPLAY}"), &replay_shape(network.input, length))?;
        let name = format!("{prefix}{LEVELS}");
        let levels = parts.levels.then(|| tensors.take_f32(&name, &[parts.capacity])).transpose()?;
        if levels.iter().flatten().any(|level| !(0.0..=1e6).contains(level)) {
            return Err(Error::file(path, "its `pool.levels` are no levels: the file is damaged"));
        }
        let name = format!("{prefix}{GUARD}");
        let has_memory = parts.guard && tensors.names().any(|other| other == name);
        let guard = has_memory.then(|| tensors.take_f32(&name, &[MEMORY])).transpose()?;
        Ok(Self { parameters, moments, average, spectral, replay, levels, state, guard })
    }

    /// The step that it is of.
    pub(crate) fn step(&self) -> u64 {
        State::of(&self.state).step.into()
    }
}

fn replay_shape(shape: Shape, slots: usize) -> [usize; 4] {
    [slots, shape.height, shape.width, shape.channels]
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
/// Those of [`Archive::open`]; a file without a ring: of weights alone, or of an objective that has no chains in training; a
/// ring that holds fewer.
pub fn replay_images(path: impl AsRef<Path>, shape: Shape, count: usize) -> Result<Images> {
    let path = path.as_ref();
    let images = stored_replay(path, shape, count)?.map_err(|why| {
        Error::file(path, format!("{why}, and there is no replay buffer to begin from; begin from noise"))
    })?;
    let length = images.count();
    if count > length {
        let text = format!("its replay buffer holds {length} images, and {count} are asked for");
        return Err(Error::file(path, text));
    }
    Ok(images)
}

/// The first `count` chains of a checkpoint's pool that are at the last noise level, as they are there: the long ones first.
///
/// # Errors
/// Those of [`Archive::open`]; a file without a pool: of weights alone, or of an objective that has none; a pool with fewer
/// chains there.
pub fn pool_images(path: impl AsRef<Path>, shape: Shape, count: usize) -> Result<Images> {
    let path = path.as_ref();
    let archive = Archive::open(path)?;
    let is_there = archive.names().iter().any(|name| name == LEVELS);
    let Some(header) = archive.header.clone().filter(|_| is_there) else {
        let text = "holds no pool of chains: only the checkpoint of a run with objective=annealed-cd does";
        return Err(Error::file(path, text));
    };
    let mut tensors = archive.read(|name, _| [LEVELS, REPLAY].contains(&name))?;
    let chains = header.config.pool.chains;
    let levels = tensors.take_f32(LEVELS, &[chains])?;
    let pool = tensors.take_f32(REPLAY, &replay_shape(shape, chains))?;
    let mut images = arrived(&pool, &levels, header.config.pool.levels, shape, count);
    if images.count() < count {
        let text = format!(
            "{} chains of its pool are at the last noise level, and {count} are asked for",
            images.count()
        );
        return Err(Error::file(path, text));
    }
    if let Some(standard) = &header_network(path, &header)?.standard {
        standard.to_data(&mut images);
    }
    Ok(images)
}

/// The first `count` chains of a pool `[slot][pixel][channel]` that are at the last level, or as many as there are.
pub(crate) fn arrived(pool: &[f32], levels: &[f32], last: usize, shape: Shape, count: usize) -> Images {
    let there = levels.iter().enumerate().filter(|(_, level)| **level >= last as f32);
    let slots: Vec<usize> = there.map(|(slot, _)| slot).take(count).collect();
    images_of(pool, &slots, shape)
}

/// The images in some slots of a ring `[slot][pixel][channel]`, as `[image][channel][pixel]`.
fn images_of(replay: &[f32], slots: &[usize], shape: Shape) -> Images {
    let pixels = shape.height * shape.width;
    let mut values = Vec::with_capacity(slots.len() * shape.len());
    for slot in slots {
        let image = &replay[slot * shape.len()..][..shape.len()];
        values.extend((0..shape.len()).map(|i| image[i % pixels * shape.channels + i / pixels]));
    }
    Images { shape, values }
}

/// [`replay_images`] of a ring that may hold fewer, or none; `None` of a file without a ring.
///
/// # Errors
/// Those of [`Archive::open`].
pub fn newest_replay_images(path: impl AsRef<Path>, shape: Shape, at_most: usize) -> Result<Option<Images>> {
    Ok(stored_replay(path.as_ref(), shape, at_most)?.ok())
}

/// The newest images of a checkpoint's ring, or why it has none.
fn stored_replay(
    path: &Path,
    shape: Shape,
    at_most: usize,
) -> Result<std::result::Result<Images, &'static str>> {
    let archive = Archive::open(path)?;
    let Some(header) = archive.header.clone().filter(|_| archive.names().iter().any(|name| name == STATE))
    else {
        return Ok(Err("holds weights alone")); // of elsewhere, or by `export`
    };
    // Its plan has one slot all the same.
    if !header.config.has_chains() {
        return Ok(Err("was trained without chains"));
    }
    if header.config.pool().is_some() {
        return Ok(Err("has a pool of chains at noise levels (`sample --from-pool` shows it)"));
    }
    let mut tensors = archive.read(|name, _| [STATE, REPLAY].contains(&name))?;
    let state = State::of(&tensors.take_u32(STATE, &[State::SAVED])?);
    let replay = tensors.take_f32(REPLAY, &replay_shape(shape, state.replay_length as usize))?;
    let mut images = newest_images(&replay, shape, &state, at_most);
    if let Some(standard) = &header_network(path, &header)?.standard {
        standard.to_data(&mut images);
    }
    Ok(Ok(images))
}

/// The newest images of a ring `[slot][pixel][channel]`, newest first, `[image][channel][pixel]`: up to `count`.
pub(crate) fn newest_images(replay: &[f32], shape: Shape, state: &State, count: usize) -> Images {
    let (head, length) = (state.replay_head as usize, state.replay_length as usize);
    let slots: Vec<usize> = (1..=count.min(length)).map(|i| (head + length - i) % length).collect();
    images_of(replay, &slots, shape)
}
