//! Draws samples of a model, with their energies, to a picture:
//!
//! ```sh
//! cargo run --release --example sample -- run/checkpoint.safetensors samples.png
//! cargo run --release --example sample -- weights.safetensors samples.png mnist-small
//! ```
//!
//! A checkpoint names its network; for weights alone the third argument does.

use std::path::Path;
use thalweg::checkpoint::Weights;
use thalweg::picture::{GridOptions, grid, save_png};
use thalweg::{Device, Error, Model, Result, Sampler};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (model, picture, network) = match arguments.as_slice() {
        [model, picture] => (model, picture, None),
        [model, picture, network] => (model, picture, Some(network.as_str())),
        _ => return Err(Error::Usage("usage: sample MODEL PICTURE.png [NETWORK]".to_owned())),
    };
    // The library waits for the device asynchronously; `pollster` blocks until it is done.
    pollster::block_on(draw(model, Path::new(picture), network))
}

async fn draw(model: &str, picture: &Path, network: Option<&str>) -> Result<()> {
    // The checkpoint's configuration says how its chains move; for weights alone, that of the network's preset does.
    let (model, recipe) = Model::load_with_recipe(model, network, Weights::Average)?;
    let chain_config = recipe.sampling_chain();
    // The first GPU, or the processor where there is none.
    let device = Device::open("auto").await?;
    let mut sampler = Sampler::new(&device, &model, 16, &chain_config, 0).await?;
    sampler.run(chain_config.steps)?;
    let (images, energies) = (sampler.images().await?, sampler.energies().await?);
    // Low energy = likely. Each picture's goes under it.
    let titles: Vec<String> = energies.iter().map(|e| format!("E = {e:.4}")).collect();
    save_png(picture, &grid(&images, &titles, &GridOptions::default()))?;
    println!("{} samples on {device}: {}", images.count(), picture.display());
    Ok(())
}
