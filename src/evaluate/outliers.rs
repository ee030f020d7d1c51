//! Whether a model's energies, and the lengths of their gradients, tell held-out images from what is none of the kind.
//!
//! A model that annealed chains sample has a density of blurred images, `exp(-f)` with `f(x) = |x|^2 / 2 + E(x) / sigma` at its
//! chains' last noise level ([`super::last_level`]). An image's score is the mean of `f` over [`DRAWS`] of its blurs, and the
//! gradient's length that of `df/dx`.

use super::{Subject, blur, last_level, shortened, wrapped};
use crate::data::{Images, Shape};
use crate::evaluate::point_metrics::auc;
use crate::random::{Philox, Stream};
use crate::{EnergyModel, Result};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::Serialize;

/// Characters of a set's name that a table shows, at most.
const NAME: usize = 50;
/// Blurs that the score of an image is averaged over.
pub const DRAWS: u32 = 8;
/// Images of either side below which an AUROC is mostly chance.
const FEW: usize = 20;

/// Figures of each set of outliers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outliers {
    /// How many images are held out.
    pub held_out: usize,
    /// One for each set.
    pub sets: Vec<Outlier>,
}

/// How well a set of outliers is told from held-out images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlier {
    /// What the set is.
    pub name: String,
    /// How many images it has.
    pub count: usize,
    /// [`auc`] of held-out energies, or of `f`, against its.
    pub auroc_energy: f64,
    /// [`auc`] of the lengths of `dE/dx`, or of `df/dx`: above 0.5 if they are shorter at held-out images.
    pub auroc_gradient: f64,
}

/// Measures every set.
///
/// # Errors
/// [`crate::Error::Usage`] if a set's images do not fit the network; [`crate::Error::Device`] if the device was lost.
pub async fn measure(subject: &Subject<'_>, sets: &[(String, Images)]) -> Result<Outliers> {
    let mut model = EnergyModel::new(subject.device, subject.model).await?;
    let level = last_level(subject.chain_config).map(|(_, sigma)| f64::from(sigma));
    // Blurs are of what the network takes.
    let standard = level.and_then(|_| model.standard.take());
    let mut rng = Philox::new(subject.seed, Stream::ScoreNoise);
    let mut of = async |images: &Images| -> Result<(Vec<f64>, Vec<f64>)> {
        let mut means = vec![(0.0, 0.0); images.count()];
        let draws = if level.is_some() { DRAWS } else { 1 };
        let mut network_images = images.padded_to(model.shape())?;
        if let Some(standard) = &standard {
            standard.to_network(&mut network_images);
        }
        for _ in 0..draws {
            let mut images = network_images.clone();
            if let Some(sigma) = level {
                blur(&mut images, sigma, &mut rng);
            }
            let (energies, gradients) = model.energies_and_gradients(&images).await?;
            let d = images.shape.len();
            let pairs = images.values.chunks_exact(d).zip(gradients.values.chunks_exact(d));
            for ((mean, energy), (x, g)) in means.iter_mut().zip(energies).zip(pairs) {
                let (base, sigma) = level.map_or((0.0, 1.0), |sigma| (1.0, sigma));
                let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
                let half_square = 0.5 * square(&mut x.iter().map(|x| f64::from(*x)));
                let slopes = x.iter().zip(g).map(|(x, g)| base * f64::from(*x) + f64::from(*g) / sigma);
                mean.0 += (base * half_square + f64::from(energy) / sigma) / f64::from(draws);
                mean.1 += square(&mut { slopes }).sqrt() / f64::from(draws);
            }
        }
        Ok(means.into_iter().unzip())
    };
    let held_out = of(subject.held_out).await?;
    let mut outliers = Vec::new();
    for (name, images) in sets {
        // Gradients of all sets are of as many values.
        let (energies, lengths) = of(&images.padded_to(subject.held_out.shape)?).await?;
        outliers.push(Outlier {
            name: name.clone(),
            count: images.count(),
            auroc_energy: auc(&held_out.0, &energies),
            auroc_gradient: auc(&held_out.1, &lengths),
        });
    }
    Ok(Outliers { held_out: subject.held_out.count(), sets: outliers })
}

/// As many images of uniform noise in [-1, 1] as `like` has, and of their shape.
pub fn noise(like: &Images, seed: u64) -> Images {
    let mut rng = Philox::new(seed, Stream::HeldOutNoise);
    let values = like.values.iter().map(|_| rng.random_range(-1.0_f32..1.0)).collect();
    Images { shape: like.shape, values }
}

/// The negatives of images.
pub fn inverted(images: &Images) -> Images {
    Images { shape: images.shape, values: images.values.iter().map(|value| -value).collect() }
}

/// Images turned by 90 degrees, counterclockwise: height becomes width.
pub fn rotated(images: &Images) -> Images {
    let Shape { channels, height, width } = images.shape;
    let turned = |plane: &[f32]| -> Vec<f32> {
        (0..width).rev().flat_map(|x| (0..height).map(move |y| y * width + x)).map(|ix| plane[ix]).collect()
    };
    let values = images.values.chunks_exact(height * width).flat_map(turned).collect();
    Images { shape: Shape { channels, height: width, width: height }, values }
}

/// Images whose pixels change places, each image's in another way: the histogram stays. A pixel's channels stay together.
pub fn shuffled(images: &Images, seed: u64) -> Images {
    let mut rng = Philox::new(seed, Stream::HeldOutNoise);
    let n_pixels = images.shape.height * images.shape.width;
    let mut values = Vec::with_capacity(images.values.len());
    let mut places: Vec<usize> = (0..n_pixels).collect();
    for image in images.values.chunks_exact(images.shape.len()) {
        places.shuffle(&mut rng);
        for plane in image.chunks_exact(n_pixels) {
            values.extend(places.iter().map(|place| plane[*place]));
        }
    }
    Images { shape: images.shape, values }
}

/// The outliers that are made, and need no data: uniform noise like `padded`, and `images` changed as [`inverted`],
/// [`rotated`] (square ones) and [`shuffled`] do. `padded` are the same images, as large as the network's input.
pub fn made(images: &Images, padded: &Images, seed: u64) -> Vec<(String, Images)> {
    let mut sets = vec![("uniform noise", noise(padded, seed)), ("inverted", inverted(images))];
    if images.shape.height == images.shape.width {
        sets.push(("rotated by 90 degrees", rotated(images)));
    }
    sets.push(("shuffled pixels", shuffled(images, seed)));
    sets.into_iter().map(|(name, images)| (name.to_owned(), images)).collect()
}

impl std::fmt::Display for Outliers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |set: &Outlier| shortened(&set.name, NAME);
        let width = self.sets.iter().map(|set| name(set).chars().count()).max().unwrap_or(0).max(24);
        write!(f, "{:width$}{:>7}{:>9}{:>10}", "AUROC, held-out against", "count", "E", "|dE/dx|")?;
        for set in &self.sets {
            let Outlier { count, auroc_energy, auroc_gradient, .. } = set;
            write!(f, "\n{:width$}{count:>7}{auroc_energy:>9.4}{auroc_gradient:>10.4}", name(set))?;
        }
        if self.sets.iter().any(|set| set.auroc_energy.is_nan() || set.auroc_gradient.is_nan()) {
            write!(
                f,
                "\n{}",
                wrapped("AUROC is NaN where an energy or a gradient is NaN, or where there is no image.")
            )?;
        }
        if self.held_out < FEW || self.sets.iter().any(|set| set.count < FEW) {
            write!(f, "\nAUROC with fewer than {FEW} examples on either side is mostly chance.")?;
        }
        Ok(())
    }
}
