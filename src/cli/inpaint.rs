//! `thalweg inpaint`: images of which a part is known, completed by a model.

use super::chain_options::ChainOptions;
use super::draws::{DrawOptions, Drawn};
use std::path::{Path, PathBuf};
use thalweg::data::reading::{Reading, Takes};
use thalweg::data::{Shape, read_for};
use thalweg::{Error, Images, Result, Sampler};

/// Options of `thalweg inpaint`.
#[derive(clap::Args)]
#[command(override_usage = "thalweg inpaint [OPTIONS] --input IN --mask FILE")]
pub(crate) struct Arguments {
    #[command(flatten)]
    draw: DrawOptions,
    /// What is known of the images: a picture or .npy array of their height and width, white (or 1, or True) where pixels are
    /// known and are kept, black (or 0, or False) where they are drawn anew
    #[arg(long, value_name = "FILE")]
    mask: PathBuf,
    #[command(flatten)]
    chain: ChainOptions,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { draw, mask, chain } = &arguments;
    let given = draw.open("inpaint")?;
    let chain_config = chain.chain_config(given.recipe.clone())?;
    let warnings = given.recipes.iter().flat_map(|recipe| chain.warnings(recipe)).collect();
    let shape = given.images.shape;
    let pixels = read_mask(mask, shape)?;
    let n_known = pixels.iter().filter(|known| **known).count();
    let mask = pixels.repeat(shape.channels);
    let device = draw.device().await?;
    let (composition, images, draws) = (&given.composition, &given.images, draw.draws as usize);
    let sampler =
        Sampler::inpainting(&device, composition, (images, &mask), draws, &chain_config, draw.seed).await?;

    let input = images.padded_to(composition.input())?;
    let mut known = images.clone();
    for (value, known) in known.values.iter_mut().zip(mask.iter().cycle()) {
        *value = if *known { *value } else { 0.0 };
    }
    let known = known.padded_to(composition.input())?;
    let lines = vec![format!("{n_known} of {} pixels are known, and stay.", pixels.len())];
    let columns = vec![("input", input), ("known", known)];
    draw.finish(sampler, &given, warnings, Drawn { chain_config, columns, lines }, &device).await
}

/// Reads which pixels are known: those nearer to the mask's largest value than to its smallest.
fn read_mask(path: &Path, images: Shape) -> Result<Vec<bool>> {
    let as_numbers = || read_for(path, &Reading::default()).ok().filter(|(rows, _)| rows.shape.is_points());
    let of_images = Reading { takes: Takes::Images, ..Reading::default() };
    let mask = match read_for(path, &of_images) {
        Ok((mask, _)) => mask,
        // An array or table of numbers, a row of them for each of pixels.
        Err(error) => match as_numbers() {
            Some((rows, _)) => {
                let shape = Shape { channels: 1, height: rows.count(), width: rows.shape.channels };
                Images { shape, values: rows.values }
            }
            None => return Err(error),
        },
    };
    let Shape { channels, height, width } = mask.shape;
    let refuse = |text: String| Err(Error::file(path, text));
    if mask.count() != 1 || channels != 1 {
        let n = mask.count();
        return refuse(format!(
            "holds {n} image{} of {channels} channel{}; a mask is one grey picture, or an array [height, width]",
            if n == 1 { "" } else { "s" },
            if channels == 1 { "" } else { "s" }
        ));
    }
    if (height, width) != (images.height, images.width) {
        return refuse(format!(
            "is a mask of {height}x{width} pixels (height x width), but the images have {}x{}: make it their size",
            images.height, images.width
        ));
    }
    let [low, high] = [f32::min, f32::max].map(|f| mask.values.iter().copied().fold(mask.values[0], f));
    if low == high {
        let what = if low > 0.0 {
            "known, so that nothing is left to draw"
        } else {
            "unknown: `sample` draws whole images"
        };
        return refuse(format!(
            "is the same everywhere, so that all pixels are {what}. White (1) is for pixels that are known, black (0) for those \
             to draw"
        ));
    }
    Ok(mask.values.iter().map(|value| 2.0 * value > low + high).collect())
}
