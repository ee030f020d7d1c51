//! Whether a model's energies, and the lengths of their gradients, tell held-out images from what is none of the kind.

use super::Subject;
use crate::data::Images;
use crate::kernels::random::{Philox, Stream};
use crate::metrics::auc;
use crate::{EnergyModel, Result};
use rand::RngExt;
use serde::Serialize;

/// Figures of each set of outliers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outliers {
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
    /// [`auc`] of held-out energies against its.
    pub auroc_energy: f64,
    /// [`auc`] of the lengths of `dE/dx`: above 0.5 if they are shorter at held-out images.
    pub auroc_gradient: f64,
}

/// Measures every set.
///
/// # Errors
/// [`crate::Error::Usage`] if a set's images do not fit the network; [`crate::Error::Device`] if the device was lost.
pub async fn measure(subject: &Subject<'_>, sets: &[(String, Images)]) -> Result<Outliers> {
    let mut model = EnergyModel::new(subject.device, subject.model).await?;
    let mut of = async |images: &Images| -> Result<(Vec<f64>, Vec<f64>)> {
        let (energies, gradients) = model.energies_and_gradients(images).await?;
        let length = |g: &[f32]| g.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let lengths = gradients.values.chunks_exact(gradients.shape.len()).map(length).collect();
        Ok((energies.into_iter().map(f64::from).collect(), lengths))
    };
    let held_out = of(subject.held_out).await?;
    let mut outliers = Vec::new();
    for (name, images) in sets {
        let (energies, lengths) = of(images).await?;
        outliers.push(Outlier {
            name: name.clone(),
            count: images.count(),
            auroc_energy: auc(&held_out.0, &energies),
            auroc_gradient: auc(&held_out.1, &lengths),
        });
    }
    Ok(Outliers { sets: outliers })
}

/// As many images of uniform noise in [-1, 1] as `like` has, and of their shape.
pub fn noise(like: &Images, seed: u64) -> Images {
    let mut rng = Philox::new(seed, Stream::HeldOutNoise);
    let values = like.values.iter().map(|_| rng.random_range(-1.0_f32..1.0)).collect();
    Images { shape: like.shape, values }
}

impl std::fmt::Display for Outliers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:24}{:>10}{:>10}{:>10}", "AUROC, held-out against", "images", "E", "|dE/dx|")?;
        for set in &self.sets {
            let Outlier { name, count, auroc_energy, auroc_gradient } = set;
            write!(f, "\n{name:24}{count:>10}{auroc_energy:>10.4}{auroc_gradient:>10.4}")?;
        }
        Ok(())
    }
}
