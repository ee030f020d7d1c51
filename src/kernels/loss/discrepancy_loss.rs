//! Energies to loss, metrics and `dL/dE`: energy discrepancy (Schroeder et al. 2023, <https://arxiv.org/abs/2307.06431>,
//! equation 11). With `z_j = E(x) - E(x_j)` of an image and its M negatives ([`crate::kernels::draw_around`]),
//! `loss = mean log(w/M + (1/M) sum exp(z_j))`. Their code leaves out the constant `-log M`.

use crate::kernels::contrastive_loss::METRICS;
use crate::kernels::draw_real::Epoch;
use crate::kernels::prelude::*;

/// Energies to loss, metrics and `dL/dE`.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscrepancyLoss {
    /// Images in a block.
    pub lanes: u32,
    /// Images in a full batch.
    pub batch: u32,
    /// Images in the data set: the last batch of an epoch may be short of some.
    pub n_images: u32,
    /// Rows of the metrics table.
    pub metric_rows: u32,
    /// Negatives of each image.
    pub negatives: u32,
    /// Weight `w` of the stabilising constant.
    pub weight: f32,
}

shader_struct! {
    /// `Params` of `shaders/loss/discrepancy_loss.wgsl`.
    Params { weight: f32 }
}

impl KernelSpec for DiscrepancyLoss {
    const SOURCE: &'static str = shader!["lib/state", "lib/epoch", "lib/sum", "loss/discrepancy_loss"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; energies; `dL/dE`; metrics.
    const ACCESS: &'static [Access] = &[Read, Read, Write, Write];
    /// Exponentials in single precision, whose error grows with their argument, against double precision.
    const TOLERANCE: Tolerance = Tolerance::of_largest(5e-6);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::PerBlock(1), Need::PerBlock(1), Need::metrics(self.metric_rows)]
    }

    fn overrides(&self) -> Overrides {
        overrides![
            LANES: self.lanes, BATCH: self.batch, N_IMAGES: self.n_images, METRIC_ROWS: self.metric_rows,
            NEGATIVES: self.negatives,
        ]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { weight: self.weight }
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, energies, grad_energies, metrics] = bound(bindings);
        let state = State::of(state.words());
        let n_real = Epoch::of(state.step, self.n_images, self.batch).n_real as usize;
        let half = (self.batch as usize).next_multiple_of(self.lanes as usize);
        let (energies, grad_energies) = (energies.floats(), grad_energies.floats_mut());
        let (n, negatives, weight) = (n_real as f64, self.negatives as usize, f64::from(self.weight));
        grad_energies[..(1 + negatives) * half].fill(0.0);
        let [mut loss, mut positive, mut negative] = [0.0_f64; 3];
        for i in 0..n_real {
            let energy = f64::from(energies[i]);
            let at = |j: usize| f64::from(energies[(1 + j) * half + i]);
            let none = if weight > 0.0 { 0.0 } else { f64::NEG_INFINITY };
            let largest = (0..negatives).map(|j| energy - at(j)).fold(none, f64::max);
            let terms = (0..negatives).map(|j| (energy - at(j) - largest).exp());
            let total = weight * (-largest).exp() + terms.clone().sum::<f64>();
            for (j, term) in terms.enumerate() {
                grad_energies[(1 + j) * half + i] = (-term / total / n) as f32;
                grad_energies[i] += (term / total / n) as f32;
                negative += at(j);
            }
            loss += largest + (total / negatives as f64).ln();
            positive += energy;
        }
        let [loss, positive, negative] =
            [loss / n, positive / n, negative / n / negatives as f64].map(|mean| mean as f32);
        let row = (state.step % self.metric_rows) as usize * METRICS;
        let row = &mut metrics.floats_mut()[row..row + METRICS];
        row[..5].copy_from_slice(&[loss, loss, 0.0, positive, negative]);
        row[6..].copy_from_slice(&[n_real as f32, 0.0]);
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (i, Batch { batch, n_images, step, n_real }) in bench.batches().into_iter().enumerate() {
            let half = batch.div_ceil(lanes) * lanes;
            let negatives = (N_BLOCKS / batch.div_ceil(lanes) - 1).min(3);
            let (state, energies) = (bench.at_step(step), bench.per_block("energies", 1));
            for j in 0..=negatives {
                bench.fill(energies, (j * half) as usize..(j * half + n_real) as usize, 3.0);
            }
            let grad_energies = bench.per_block("seeds", 1);
            let metrics = bench.flat("metrics", ROWS as usize * METRICS);
            let weight = [1.0, 0.0][i % 2];
            let kernel = Self { lanes, batch, n_images, metric_rows: ROWS, negatives, weight };
            let row = (step % ROWS) as usize * METRICS;
            let seeds = 0..((1 + negatives) * half) as usize;
            let written = [(grad_energies, vec![seeds]), (metrics, vec![row..row + 5, row + 6..row + 8])];
            bench.run_whole(kernel, &[state, energies, grad_energies, metrics], &written);
            bench.note(&format!("step {step}"));
        }
    }
}
