//! Energies to loss, metrics and `dL/dE`: contrastive divergence (Hinton 2002) with an L2 penalty on energies
//! (Du and Mordatch 2019): `loss = mean E(positive) - mean E(negative) + alpha * (mean E(positive)^2 + mean E(negative)^2)`, or with the
//! squares of the means in the penalty.

use crate::kernels::draw_real::Epoch;
use crate::kernels::prelude::*;

/// Floats in one step's row of the metrics table: loss, divergence, regularisation, mean energy of positive images and of
/// negative ones, gradient norm (written by [`crate::kernels::clip_scale`]), number of positive images, share of accepted
/// proposals (0, or written by [`crate::kernels::mean_acceptance`]).
pub const METRICS: usize = 8;

/// Energies to loss, metrics and `dL/dE`.
#[derive(Clone, Debug, PartialEq)]
pub struct ContrastiveLoss {
    /// Images in a block.
    pub lanes: u32,
    /// Images in a full batch.
    pub batch: u32,
    /// Images in the data set: the last batch of an epoch may be short of positive ones.
    pub n_images: u32,
    /// Rows of the metrics table.
    pub metric_rows: u32,
    /// Weight of the energies' L2 penalty.
    pub alpha: f32,
    /// Whether the penalty is of the means' squares, and not of the squares' means.
    pub square_of_means: bool,
}

shader_struct! {
    /// `Params` of `shaders/loss/contrastive_loss.wgsl`.
    Params { alpha: f32, square_of_means: u32 }
}

impl KernelSpec for ContrastiveLoss {
    const SOURCE: &'static str = shader!["lib/state", "lib/epoch", "lib/sum", "loss/contrastive_loss"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; energies; `dL/dE`; metrics.
    const ACCESS: &'static [Access] = &[Read, Read, Write, Write];
    /// Means in single precision by a tree of 8 levels, against double precision. The error of a difference of two means
    /// is that of the means, and the largest entry of the table is well above them.
    const TOLERANCE: Tolerance = Tolerance::new(2e-6, 2e-7);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::PerBlock(1), Need::PerBlock(1), Need::metrics(self.metric_rows)]
    }

    fn overrides(&self) -> Overrides {
        overrides![
            LANES: self.lanes, BATCH: self.batch, N_IMAGES: self.n_images, METRIC_ROWS: self.metric_rows,
        ]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { alpha: self.alpha, square_of_means: self.square_of_means.into() }
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, energies, grad_energies, metrics] = bound(bindings);
        let state = State::of(state.words());
        let n_real = Epoch::of(state.step, self.n_images, self.batch).n_real as usize;
        let n_negative = self.batch as usize;
        let half = n_negative.next_multiple_of(self.lanes as usize);
        let (energies, grad_energies) = (energies.floats(), grad_energies.floats_mut());
        let mut side = |first: usize, n: usize, sign: f32| {
            let (mut sum, mut squares) = (0.0_f64, 0.0_f64);
            for e in &energies[first..first + n] {
                sum += f64::from(*e);
                squares += f64::from(e * e);
            }
            let (mean, squares) = ((sum / n as f64) as f32, (squares / n as f64) as f32);
            for i in 0..half {
                let e = if self.square_of_means { mean } else { energies[first + i] };
                let seed = (sign + 2.0 * self.alpha * e) / n as f32;
                grad_energies[first + i] = if i < n { seed } else { 0.0 };
            }
            (mean, if self.square_of_means { mean * mean } else { squares })
        };
        let (positive, positive_squares) = side(0, n_real, 1.0);
        let (negative, negative_squares) = side(half, n_negative, -1.0);
        let divergence = positive - negative;
        let regularisation = self.alpha * (positive_squares + negative_squares);
        let row = (state.step % self.metric_rows) as usize * METRICS;
        let row = &mut metrics.floats_mut()[row..row + METRICS];
        row[..5].copy_from_slice(&[
            divergence + regularisation,
            divergence,
            regularisation,
            positive,
            negative,
        ]);
        row[6..].copy_from_slice(&[n_real as f32, 0.0]);
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for Batch { batch, n_images, step, n_real } in bench.batches() {
            let half = (batch.div_ceil(lanes) * lanes) as usize;
            let (state, energies) = (bench.at_step(step), bench.per_block("energies", 1));
            bench.fill(energies, 0..n_real as usize, 1.0);
            bench.fill(energies, half..half + batch as usize, 1.0);
            let grad_energies = bench.per_block("seeds", 1);
            let metrics = bench.flat("metrics", ROWS as usize * METRICS);
            let (metric_rows, square_of_means) = (ROWS, n_images % 2 == 0);
            let kernel = Self { lanes, batch, n_images, metric_rows, alpha: 0.1, square_of_means };
            let row = (step % ROWS) as usize * METRICS;
            let written =
                [(grad_energies, vec![0..2 * half]), (metrics, vec![row..row + 5, row + 6..row + 8])];
            bench.run_whole(kernel, &[state, energies, grad_energies, metrics], &written);
            bench.note(&format!("step {step}"));
        }
    }
}
