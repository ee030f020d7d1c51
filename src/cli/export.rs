//! `thalweg export`: a model's weights by themselves, for PyTorch and others.

use super::options::WeightsOption;
use super::paths::OutputFile;
use super::{check_output, print_line};
use std::path::PathBuf;
use thalweg::checkpoint::{AVERAGE, Weights};
use thalweg::checkpoint::{Checkpoint, Tensor};
use thalweg::{Model, Result};

/// Options of `thalweg export`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The checkpoint of a run
    #[arg(long, default_value = "run/checkpoint.safetensors", value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    weights: WeightsOption,
    /// The file to write: tensors with PyTorch's names and layouts (`conv1.weight`: [out, in, height, width]), and in its
    /// metadata the network and the recipe, so that `sample`, `energy` and `evaluate` need no --network
    #[arg(long, value_name = "FILE.safetensors")]
    out: OutputFile,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { model: path, weights, out } = arguments;
    check_output("--out", &out, &["safetensors"])?;
    let Checkpoint { header, tensors } = Checkpoint::load(&path)?;
    let (model, _) = Model::load_with_recipe(&path, None, weights.choice())?;
    let has_average = tensors.keys().any(|name| name.starts_with(AVERAGE));
    let which = match (has_average, weights.choice()) {
        (true, Weights::Average) => "moving average of the weights",
        _ => "weights",
    };
    let step = header.step;
    let tensors = model.network.tensors().into_iter().map(|tensor| {
        let values = model.parameters[tensor.range()].to_vec();
        (tensor.name, Tensor::f32(&tensor.shape, values))
    });
    let exported = Checkpoint { header, tensors: tensors.collect() };
    exported.save(&out)?;
    let (count, out) = (exported.tensors.len(), out.display());
    let (parameters, name) = (model.parameters.len(), &model.network.name);
    print_line(format_args!(
        "Wrote {out}: the {which} of `{name}` after step {step}, {parameters} numbers in {count} tensors."
    ));
    Ok(())
}
