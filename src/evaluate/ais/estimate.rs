//! Log Z from the weights of chains.

use super::Passage;
use serde::Serialize;

/// An estimate of log Z.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// In nats.
    pub log_z: f64,
    /// Standard error of that over chains, by the delta method; too small where few chains count.
    pub standard_error: f64,
    /// How many chains of equal weight are worth as much: `(sum w)^2 / sum w^2`.
    pub effective_chains: f64,
    /// The share of proposals that were accepted.
    pub acceptance: f64,
    /// The least such share of any part of the way.
    pub least_acceptance: f64,
}

/// Mean and standard deviation of those that are finite; `None` for fewer than two.
pub(super) fn moments(values: &[f64]) -> Option<[f64; 2]> {
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let n = finite.len() as f64;
    let mean = finite.iter().sum::<f64>() / n;
    let variance = finite.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (finite.len() > 1).then(|| [mean, variance.sqrt()])
}

/// `base_log_z` and the logarithm of the mean weight, or, of the way back, less it.
pub(super) fn estimate(base_log_z: f64, sign: f64, passage: &Passage) -> Estimate {
    let n = passage.log_weights.len() as f64;
    let largest = passage.log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Where all weights are 0, so is the mean.
    let shift = if largest.is_finite() { largest } else { 0.0 };
    let weights = passage.log_weights.iter().map(|w| (w - shift).exp());
    let (sum, squares) = weights.fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    let effective_chains = sum * sum / squares;
    Estimate {
        log_z: base_log_z + sign * (shift + (sum / n).ln()),
        // The variance of the mean over the mean's square.
        standard_error: ((n / effective_chains - 1.0).max(0.0) / (n - 1.0)).sqrt(),
        effective_chains,
        acceptance: passage.acceptance,
        least_acceptance: passage.least_acceptance,
    }
}
