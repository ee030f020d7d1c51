//! `thalweg denoise`: the images under noisy ones, by a model of noise levels.

use super::chain_options::trained_levels;
use super::draws::{DrawOptions, Drawn};
use super::real;
use std::collections::BTreeSet;
use thalweg::sampling::denoising_chain;
use thalweg::{Error, Result, Sampler};

/// Options of `thalweg denoise`.
#[derive(clap::Args)]
#[command(override_usage = "thalweg denoise [OPTIONS] --input IN --noise-level S")]
pub(crate) struct Arguments {
    #[command(flatten)]
    draw: DrawOptions,
    /// The standard deviation of the noise in each value of the images, which are from -1 to 1
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = real(1e-6, 1e6))]
    noise_level: f64,
    /// Steps from that noise level down, 1 or more [default: as many as the model's recipe has from there on]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    steps: Option<u32>,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { draw, noise_level, steps } = &arguments;
    let given = draw.open("denoise")?;
    let mut warnings = BTreeSet::new();
    for recipe in &given.recipes {
        let Some([low, high]) = trained_levels(recipe) else {
            return Err(Error::Usage(
                "denoising takes a model of noise levels (the preset `digits`, or any with score.target=velocity), and this one \
                 was trained for none"
                    .to_owned(),
            ));
        };
        if *noise_level < low * 0.999 || *noise_level > high * 1.001 {
            warnings.insert(format!(
                "--noise-level {noise_level}: the model was trained for noise levels from {low} to {high}, and beyond them its \
                 energy is whatever came out"
            ));
        }
    }
    let chain_config = denoising_chain(&given.recipe.sampling_chain(), *noise_level as f32, *steps)?;
    let device = draw.device().await?;
    let (composition, draws) = (&given.composition, draw.draws as usize);
    let sampler =
        Sampler::denoising(&device, composition, &given.images, draws, &chain_config, draw.seed).await?;
    let columns = vec![("input", given.images.padded_to(composition.input())?)];
    draw.finish(sampler, &given, warnings, Drawn { chain_config, columns, lines: Vec::new() }, &device).await
}
