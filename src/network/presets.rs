//! Networks by name.

use super::{Activation, LayerSpec, Network, Padding};
use crate::data::ImageShape;
use crate::{Error, Result};

/// The names that [`preset`] knows.
pub const PRESETS: [&str; 1] = ["mnist-small"];

/// Keras `same` padding for even sizes and stride 2: nothing before, one after.
const SAME: Padding = Padding { top: 0, bottom: 1, left: 0, right: 1 };

/// The network of a preset.
///
/// `mnist-small`: four 3x3 convolutions of stride 2 (16, 32, 64, 64 channels) with swish, and a dense layer, on
/// 32x32 images; 60,481 parameters. The network of the Keras deep-EBM notebooks.
///
/// # Errors
/// [`Error::Network`] with the known names and the nearest one.
pub fn preset(name: &str) -> Result<Network> {
    match name {
        "mnist-small" => {
            let conv = |channels| LayerSpec::Conv {
                channels,
                kernel: [3, 3],
                stride: [2, 2],
                padding: SAME,
                activation: Activation::Swish,
            };
            let dense = LayerSpec::Dense { units: 1, activation: Activation::Identity };
            Network::new(
                name,
                ImageShape { channels: 1, height: 32, width: 32 },
                &[conv(16), conv(32), conv(64), conv(64), dense],
            )
        }
        _ => {
            let nearest = PRESETS
                .iter()
                .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)))
                .unwrap_or(&"");
            Err(Error::Network(format!(
                "no network is called `{name}`; did you mean `{nearest}`? Known: {}",
                PRESETS.join(", ")
            )))
        }
    }
}
