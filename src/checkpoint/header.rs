//! The header of a checkpoint: everything that is not a tensor.

use crate::device::ChainPath;
use crate::network::{Network, NetworkSpec};
use crate::recipe::Recipe;
use crate::{Error, Result};
use std::path::Path;

/// What [`Header::format`] says in the files that this version reads and writes.
pub const FORMAT: &str = "thalweg-1";

/// What a checkpoint says besides its tensors.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// The network, as its own module describes it.
    pub network: serde_json::Value,
    /// The effective configuration of the run.
    #[serde(deserialize_with = "read_config")]
    pub config: Recipe,
    /// Training steps done.
    pub step: u64,
    /// Seed of the random numbers, now: a rollback may have changed it from `config.seed`.
    pub seed: u64,
    /// What it ran on: [`crate::Device::name`].
    pub device: String,
    /// The way its chains ran there.
    pub chain_path: ChainPath,
    /// The data set: its name and a fingerprint, to notice when a run is resumed on another one.
    pub data: String,
    /// Where the data set was read from, as [`crate::Dataset::open`] takes it, a path from the root on: a hint, `data`
    /// decides. Empty for data that the program was given in memory.
    pub data_source: String,
    /// Recent means of the metrics, to be shown before new ones are there.
    pub metrics: serde_json::Value,
}

/// Parses a header; the error says what is wrong with the file.
pub(super) fn parse_header(json: &str) -> std::result::Result<Header, String> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: String,
        #[serde(default)]
        config: serde_json::Value,
    }
    let damaged = |e| format!("has a damaged Thalweg header: {e}");
    let Format { format, config } = serde_json::from_str(json).map_err(damaged)?;
    if format != FORMAT {
        return Err(format!("has the format {format:?}, but this version of thalweg reads {FORMAT:?}"));
    }
    let kl = config.pointer("/loss/kl").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
    if kl != 0.0 {
        return Err(format!(
            "was trained with `loss.kl` = {kl}, a setting that this version of thalweg no longer has: use version 0.1, or \
             train a model anew without it"
        ));
    }
    let header: Header = serde_json::from_str(json).map_err(damaged)?;
    header.config.validate().map_err(|e| format!("has a configuration that can't be: {e}"))?;
    Ok(header)
}

/// Reads a configuration, without `loss.kl`, a setting of version 0.1 whose default was 0.
fn read_config<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Recipe, D::Error> {
    use serde::Deserialize;
    let mut config = serde_json::Value::deserialize(deserializer)?;
    if let Some(loss) = config.pointer_mut("/loss").and_then(serde_json::Value::as_object_mut) {
        loss.remove("kl");
    }
    Recipe::deserialize(config).map_err(serde::de::Error::custom)
}

/// Builds the network that a checkpoint's header describes.
pub(crate) fn header_network(path: &Path, header: &Header) -> Result<Network> {
    let spec = NetworkSpec::from_value(&header.network).map_err(|fault| Error::Network(fault.to_string()));
    spec.and_then(|spec| spec.build()).map_err(|error| Error::file(path, error.to_string()))
}
