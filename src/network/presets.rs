//! Networks by name.

use super::describe::analytic;
use super::{ANALYTIC, Activation, Initialisation, Network, NetworkSpec, Padding};
use crate::data::ImageShape;
use crate::error::nearest;
use crate::{Error, Result};

/// The names that [`preset`] knows.
pub const PRESETS: [&str; 8] =
    ["digits", "mnist-small", "mnist-deep", "conv-pool", "image-leaky", "mlp", "mlp-silu", "sequence"];

/// What the names of analytic energies begin with.
const PREFIX: &str = "analytic:";

/// Keras `same` padding for even sizes and stride 2: nothing before, one after.
const SAME: Padding = Padding { top: 0, bottom: 1, left: 0, right: 1 };

/// The network of a preset, for the inputs that it is known for.
///
/// * `digits`: three 4x4 convolutions of stride 2 (32, 64, 128 channels) and a dense layer of 128, with swish, and the
///   energy, on 28x28 images; 312,289 parameters.
/// * `mnist-small`: four 3x3 convolutions of stride 2 (16, 32, 64, 64 channels) with swish, and a dense layer, on
///   32x32 images; 60,481 parameters. The network of the Keras deep-EBM notebooks.
/// * `mnist-deep`: a 5x5 and three 3x3 convolutions of stride 2 (16, 32, 64, 64) with swish, and two dense layers, on
///   28x28 images. The network of the UvA deep-learning course.
/// * `conv-pool`: convolutions of 64, 64, 128 and 128 channels, every other one of stride 2, with swish, a global
///   average pool and a dense layer, on 28x28 images.
/// * `image-leaky`: four convolutions (32, 64, 128, 256), the last three of stride 2, with LeakyReLU 0.2, and a dense
///   layer, on 28x28 images.
/// * `mlp`: points of two coordinates, two dense layers of 128 with LeakyReLU 0.2, and the energy.
/// * `mlp-silu`: points of two coordinates, three dense layers of 256 with swish, and the energy.
/// * `sequence`: 50 numbers, one after the other: an LSTM of two layers of 128, both ways, and the energy of its last
///   moment.
/// * `analytic:gaussian`, `analytic:double-well`, ...: an energy with a formula ([`super::Analytic`]), of points in the
///   plane, with no parameters.
///
/// Parameters begin as in the frameworks that the networks come from: Glorot's way for `mnist-small` (Keras), PyTorch's
/// for all others.
///
/// # Errors
/// [`Error::Network`] with the known names and the nearest one.
pub fn preset(name: &str) -> Result<Network> {
    let shape = match name {
        "mnist-small" => [1, 32, 32],
        "mlp" | "mlp-silu" => [2, 1, 1],
        "sequence" => [1, 1, 50],
        _ if name.starts_with(PREFIX) => [2, 1, 1],
        _ => [1, 28, 28],
    };
    build(name, shape)
}

/// The network of a preset for data of another shape: of as many channels, and as large, but that `mnist-small` takes
/// images of at least 32x32. Presets of convolutions keep their own input where the data are points.
///
/// # Errors
/// Those of [`preset`]; data that the preset's layers do not fit.
pub fn preset_for(name: &str, data: ImageShape) -> Result<Network> {
    let ImageShape { channels, height, width } = data;
    match name {
        "sequence" if !data.is_sequence() => Err(Error::Network(format!(
            "`sequence` takes sequences, an .npy file of an array [n, time, channels] (`--data FILE.npy`), and \
             the data are {} {data} (channels x height x width)",
            if data.is_points() { "points," } else { "images," }
        ))),
        // Convolutions on points: the preset's own input, which data does not fit.
        "digits" | "mnist-small" | "mnist-deep" | "conv-pool" | "image-leaky" if data.is_points() => {
            preset(name)
        }
        "mnist-small" => build(name, [channels, height.max(32), width.max(32)]),
        _ => build(name, [channels, height, width]),
    }
}

fn build(name: &str, input: [usize; 3]) -> Result<Network> {
    let network = Network::builder(name, input);
    if let Some(energy) = name.strip_prefix(PREFIX) {
        return network.analytic(analytic(energy).map_err(Error::Network)?).build();
    }
    let pytorch = || Network::builder(name, input).initialisation(Initialisation::Pytorch);
    let (swish, leaky) = (Activation::Swish, Activation::LeakyRelu(0.2));
    match name {
        "digits" => [32, 64, 128]
            .into_iter()
            .fold(network, |n, channels| n.conv(channels, 4).stride(2).padding(1).activation(swish))
            .dense(128)
            .activation(swish),
        "mnist-small" => [16, 32, 64, 64]
            .into_iter()
            .fold(network, |n, channels| n.conv(channels, 3).stride(2).padding(SAME).activation(swish)),
        "mnist-deep" => [32, 64, 64]
            .into_iter()
            .fold(pytorch().conv(16, 5).stride(2).padding(4).activation(swish), |n, channels| {
                n.conv(channels, 3).stride(2).padding(1).activation(swish)
            })
            .dense(64)
            .activation(swish),
        "conv-pool" => [64, 128]
            .into_iter()
            .fold(pytorch(), |n, channels| {
                let n = n.conv(channels, 3).padding(1).activation(swish);
                n.conv(channels, 4).stride(2).padding(1).activation(swish)
            })
            .pool(),
        "image-leaky" => [64, 128, 256]
            .into_iter()
            .fold(pytorch().conv(32, 3).padding(1).activation(leaky), |n, channels| {
                n.conv(channels, 4).stride(2).padding(1).activation(leaky)
            }),
        "mlp" => (0..2).fold(pytorch(), |n, _| n.dense(128).activation(leaky)),
        "sequence" => pytorch().lstm(128, 2, true),
        "mlp-silu" => (0..3).fold(pytorch(), |n, _| n.dense(256).activation(swish)),
        _ => {
            let analytic = ANALYTIC.map(|energy| format!("{PREFIX}{}", energy.name()));
            let names: Vec<_> = PRESETS.into_iter().chain(analytic.iter().map(String::as_str)).collect();
            let hint = nearest(name, &names).map_or(String::new(), |hint| format!(" {hint}"));
            let text = format!("no network is called `{name}`;{hint} Known: {}", names.join(", "));
            return Err(Error::Network(text));
        }
    }
    .dense(1)
    .build()
}

/// The network of a preset, or of a description in a file whose name ends in `.toml`.
///
/// # Errors
/// Those of [`preset`] and [`NetworkSpec::from_toml_file`]; [`Error::File`] for layers that do not fit together.
pub fn named(name: &str) -> Result<Network> {
    if !name.ends_with(".toml") {
        return preset(name);
    }
    NetworkSpec::from_toml_file(name)?.build().map_err(|error| Error::file(name, error.to_string()))
}
