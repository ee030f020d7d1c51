//! Draws the energy landscape of a model of points in the plane, with samples on it:
//!
//! ```sh
//! cargo run --release --example landscape -- MODEL PICTURE.png
//! cargo run --release --example landscape -- analytic:double-well double-well.png
//! ```
//!
//! MODEL is a checkpoint (`thalweg train --data rings`), or an energy with a formula.

use std::path::Path;
use thalweg::checkpoint::Weights;
use thalweg::picture::plot::{Square, landscape};
use thalweg::picture::{plane, save_png};
use thalweg::{Device, EnergyModel, Error, Model, Result};

const SAMPLES: usize = 500;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, picture] = arguments.as_slice() else {
        return Err(Error::Usage("usage: landscape MODEL PICTURE.png".to_owned()));
    };
    pollster::block_on(draw(model, Path::new(picture)))
}

async fn draw(name: &str, picture: &Path) -> Result<()> {
    let (model, recipe) = if name.starts_with("analytic:") {
        Model::analytic(name)?
    } else {
        Model::load_with_recipe(name, None, Weights::Average)?
    };
    let device = Device::open("auto").await?;
    // As the recipe samples: its steps, step size and temperature.
    let samples = plane::samples(&device, &model, SAMPLES, &recipe.sampling_chain(), 0).await?;
    let mut energies = EnergyModel::new(&device, &model).await?;
    let map = plane::landscape(&mut energies, Square::around(&samples)).await?;
    save_png(picture, &landscape(&map, &model.network.name, &[], &samples))?;
    println!("{SAMPLES} samples on {device}: {}", picture.display());
    Ok(())
}
