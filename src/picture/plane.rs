//! What a model of points in the plane does: its energies over a square, its samples, its chains step by step.
//!
//! A point is an image of 2 channels and 1 pixel: channel 0 is x, channel 1 is y.

use crate::data::{Images, Shape};
use crate::picture::plot::{Frame, Landscape, Point, Square, Trajectories};
use crate::plan::ChainConfig;
use crate::{Composition, Device, EnergyModel, Error, Model, Result, Sampler};

pub use crate::data::toy::POINT;

/// Moments that a trajectory shows, at most, besides its last one.
const MOMENTS: u32 = 1000;

/// The points that images of shape [`POINT`] are.
///
/// # Errors
/// [`Error::Usage`] if they are of another shape.
pub fn points(images: &Images) -> Result<&[Point]> {
    check(images.shape)?;
    Ok(bytemuck::cast_slice(&images.values))
}

/// Points as images.
pub fn images(points: &[Point]) -> Images {
    Images { shape: POINT, values: bytemuck::cast_slice(points).to_vec() }
}

/// Refuses all shapes but [`POINT`].
///
/// # Errors
/// [`Error::Usage`] says what is needed.
pub fn check(shape: Shape) -> Result<()> {
    if shape == POINT {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "landscapes, histograms and trajectories are drawn of points in the plane, {POINT} (channels x height x width), \
         not of {shape}"
    )))
}

/// The model's energies over a square, on a grid of 100 by 100.
///
/// # Errors
/// [`Error::Usage`] if its input is not a [`POINT`]; [`Error::Device`] if the device was lost.
pub async fn landscape(energies: &mut EnergyModel, square: Square) -> Result<Landscape> {
    let nodes = Landscape::nodes(square, Landscape::SIDE);
    Ok(Landscape::new(square, energies.energies(&images(&nodes)).await?))
}

/// `count` samples, after `chain_config.steps` Langevin steps from the sampler's own starts.
///
/// # Errors
/// Those of [`landscape`] and of [`Sampler::new`].
pub async fn samples(
    device: &Device,
    model: &Model,
    count: usize,
    chain_config: &ChainConfig,
    seed: u64,
) -> Result<Vec<Point>> {
    check(model.network.input)?;
    let mut sampler = Sampler::new(device, model, count, chain_config, seed).await?;
    sampler.run(chain_config.steps)?;
    Ok(points(&sampler.images().await?)?.to_vec())
}

/// Chains of `chain_config.steps` Langevin steps, once with each of `step_sizes`, from the same starts and with the same
/// noise: the images of `start`, or `count` of the sampler's own. Every step is a frame, or, of more than 1,000,
/// every so-manieth and the last.
///
/// # Errors
/// Those of [`samples`].
pub async fn trajectories(
    device: &Device,
    energy: impl Into<Composition>,
    count: usize,
    start: Option<&Images>,
    chain_config: &ChainConfig,
    step_sizes: &[f32],
    seed: u64,
) -> Result<Vec<Trajectories>> {
    let composition = energy.into();
    check(composition.input())?;
    let mut all = Vec::with_capacity(step_sizes.len());
    for &step_size in step_sizes {
        let chain_config = ChainConfig { step_size, ..*chain_config };
        let mut sampler = Sampler::new(device, &composition, count, &chain_config, seed).await?;
        if let Some(images) = start {
            sampler.start_from(images)?;
        }
        let mut frames = Vec::new();
        loop {
            let (images, energies) = (sampler.images().await?, sampler.energies().await?);
            frames.push(Frame { step: sampler.steps(), points: points(&images)?.to_vec(), energies });
            let left = chain_config.steps - sampler.steps();
            if left == 0 {
                break;
            }
            sampler.run(chain_config.steps.div_ceil(MOMENTS).min(left))?;
        }
        all.push(Trajectories { name: format!("Step size {step_size}"), frames });
    }
    Ok(all)
}
