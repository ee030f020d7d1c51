//! Energies to loss, metrics and `dL/dE`: noise-contrastive estimation (Gutmann and Hyvarinen 2010, "Noise-contrastive
//! estimation: A new estimation principle for unnormalized statistical models", equation 3; 2012 for M negatives to a data
//! image). A logistic regression tells data images from draws of a density `q` by `z = -E(x) - log q(x) - log M`:
//! `loss = mean over data log(1 + exp(-z)) + M mean over draws log(1 + exp(z))`. It is smallest where `exp(-E)` is the data's
//! density, normalised: `log Z` is 0, by the bias of the energy's last layer.

use crate::kernels::contrastive_loss::METRICS;
use crate::kernels::draw_real::Epoch;
use crate::kernels::prelude::*;

/// Energies to loss, metrics and `dL/dE`.
#[derive(Clone, Debug, PartialEq)]
pub struct NceLoss {
    /// Images in a block.
    pub lanes: u32,
    /// Images in a full batch.
    pub batch: u32,
    /// Images in the data set: the last batch of an epoch may be short of some, and as many negatives do not count.
    pub n_images: u32,
    /// Rows of the metrics table.
    pub metric_rows: u32,
    /// Negatives for each data image.
    pub negatives: u32,
}

shader_struct! {
    /// `Params` of `shaders/loss/nce_loss.wgsl`.
    Params { log_negatives: f32 }
}

impl KernelSpec for NceLoss {
    const SOURCE: &'static str = shader!["lib/state", "lib/epoch", "lib/sum", "loss/nce_loss"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; energies; log q; `dL/dE`; metrics.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Write, Write];
    /// Exponentials in single precision, whose error grows with their argument, against double precision.
    const TOLERANCE: Tolerance = Tolerance::of_largest(5e-6);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(1);
        vec![Need::STATE, image, image, image, Need::metrics(self.metric_rows)]
    }

    fn overrides(&self) -> Overrides {
        overrides![
            LANES: self.lanes, BATCH: self.batch, N_IMAGES: self.n_images, METRIC_ROWS: self.metric_rows,
            NEGATIVES: self.negatives,
        ]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { log_negatives: (self.negatives as f32).ln() }
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, energies, log_noise, grad_energies, metrics] = bound(bindings);
        let state = State::of(state.words());
        let n_real = Epoch::of(state.step, self.n_images, self.batch).n_real as usize;
        let half = (self.batch as usize).next_multiple_of(self.lanes as usize);
        let (energies, log_noise) = (energies.floats(), log_noise.floats());
        let grad_energies = grad_energies.floats_mut();
        let (n, negatives) = (n_real as f64, f64::from(self.negatives));
        let (mut loss, mut means) = (0.0_f64, [0.0_f64; 2]);
        for j in 0..=self.negatives as usize {
            let (sign, share) = if j == 0 { (-1.0, 1.0 / n) } else { (1.0, 1.0 / n / negatives) };
            for i in 0..half {
                let at = j * half + i;
                if i >= n_real {
                    grad_energies[at] = 0.0;
                    continue;
                }
                let energy = f64::from(energies[at]);
                let wrong = sign * (-energy - f64::from(log_noise[at]) - negatives.ln());
                loss += (wrong.max(0.0) + (-wrong.abs()).exp().ln_1p()) / n;
                grad_energies[at] = (-sign / (1.0 + (-wrong).exp()) / n) as f32;
                means[j.min(1)] += share * energy;
            }
        }
        let row = (state.step % self.metric_rows) as usize * METRICS;
        let row = &mut metrics.floats_mut()[row..row + METRICS];
        row[..5].copy_from_slice(&[loss as f32, loss as f32, 0.0, means[0] as f32, means[1] as f32]);
        row[6..].copy_from_slice(&[n_real as f32, 0.0]);
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for Batch { batch, n_images, step, n_real } in bench.batches() {
            let half = batch.div_ceil(lanes) * lanes;
            let negatives = (N_BLOCKS / batch.div_ceil(lanes) - 1).min(3);
            let state = bench.at_step(step);
            let [energies, log_noise, grad_energies] =
                ["energies", "log q", "seeds"].map(|name| bench.per_block(name, 1));
            for j in 0..=negatives {
                let words = (j * half) as usize..(j * half + n_real) as usize;
                bench.fill(energies, words.clone(), 8.0);
                bench.fill(log_noise, words, 3.0);
            }
            let metrics = bench.flat("metrics", ROWS as usize * METRICS);
            let kernel = Self { lanes, batch, n_images, metric_rows: ROWS, negatives };
            let row = (step % ROWS) as usize * METRICS;
            let seeds = 0..((1 + negatives) * half) as usize;
            let written = [(grad_energies, vec![seeds]), (metrics, vec![row..row + 5, row + 6..row + 8])];
            bench.run_whole(kernel, &[state, energies, log_noise, grad_energies, metrics], &written);
            bench.note(&format!("step {step}"));
        }
    }
}
