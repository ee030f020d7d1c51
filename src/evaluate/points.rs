//! Samples of points or sequences against held-out ones: the figures that training tells of them ([`crate::evaluate::point_metrics`]).

use super::{Subject, wrapped};
use crate::evaluate::point_metrics::{Normalisation, PointEvaluator, PointMetrics};
use crate::{EnergyModel, Result};
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
    /// log Z by quadrature, of an energy of points in the plane that was trained to be normalized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalisation: Option<Normalisation>,
}

/// Draws `count` samples as the model's recipe does, and measures them; and log Z of an energy that is to be normalized.
///
/// # Errors
/// Those of [`PointEvaluator::evaluate`].
pub async fn measure(
    subject: &Subject<'_>,
    evaluator: &PointEvaluator,
    count: usize,
    is_normalised: bool,
) -> Result<Points> {
    let Subject { device, model, chain_config, seed, .. } = *subject;
    let figures = evaluator.evaluate(device, model, count, chain_config, seed).await?;
    let normalisation = if is_normalised {
        let standard = model.network.standard.as_ref();
        evaluator.normalisation(&mut EnergyModel::new(device, model).await?, standard).await?
    } else {
        None
    };
    let (steps, limits) = (chain_config.steps, evaluator.limits().to_vec());
    Ok(Points { steps, count, limits, figures, normalisation })
}

impl Points {
    /// Whether samples and energies were finite, as far as figures tell.
    pub fn is_finite(&self) -> bool {
        self.figures.sliced_wasserstein.is_finite() && self.figures.auc.is_finite()
    }
}

impl std::fmt::Display for Points {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { steps, count, figures, normalisation, .. } = self;
        write!(f, "{}", wrapped(&format!("{count} samples after {steps} Langevin steps: {figures}")))?;
        normalisation.iter().try_for_each(|figures| write!(f, "\n{}", wrapped(&figures.to_string())))
    }
}
