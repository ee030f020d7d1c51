//! Samples of points or sequences against held-out ones: the figures that training tells of them ([`crate::evaluate::point_metrics`]).

use super::{Subject, wrapped};
use crate::Result;
use crate::evaluate::point_metrics::{PointEvaluator, PointMetrics};
use serde::Serialize;

/// Figures of a model of points or sequences.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Points {
    /// Langevin steps of each chain, from uniform noise on the box.
    pub steps: u32,
    /// Samples.
    pub count: usize,
    /// Lowest and highest value of each coordinate in the box.
    pub limits: Vec<[f32; 2]>,
    /// The figures.
    #[serde(flatten)]
    pub figures: PointMetrics,
}

/// Draws `count` samples as the model's recipe does, and measures them.
///
/// # Errors
/// Those of [`PointEvaluator::evaluate`].
pub async fn measure(subject: &Subject<'_>, evaluator: &PointEvaluator, count: usize) -> Result<Points> {
    let Subject { device, model, chain_config, seed, .. } = *subject;
    let figures = evaluator.evaluate(device, model, count, chain_config, seed).await?;
    Ok(Points { steps: chain_config.steps, count, limits: evaluator.limits().to_vec(), figures })
}

impl Points {
    /// Whether samples and energies were finite, as far as figures tell.
    pub fn is_finite(&self) -> bool {
        self.figures.sliced_wasserstein.is_finite() && self.figures.auc.is_finite()
    }
}

impl std::fmt::Display for Points {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { steps, count, figures, .. } = self;
        write!(f, "{}", wrapped(&format!("{count} samples after {steps} Langevin steps: {figures}")))
    }
}
