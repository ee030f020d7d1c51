//! A jet's derivatives to loss, metrics and `dL/dE`: the objectives that fit the score `-dE/dx` to the data's.
//!
//! With g = dE/dx, E1 the first derivatives of E along the directions of second order, and E2 the sum of the second:
//! * score matching (Hyvarinen 2005) minimises `|g|^2 / 2 - tr(d2E/dx2)`: along the axes `sum of (E1^2 / 2) - E2`, with
//!   share 1; with Hutchinson's estimate of the trace by P probes, `residual / 2 - share E2`, share `1 / P`;
//! * sliced score matching (Song et al. 2019, <https://arxiv.org/abs/1905.07088>) minimises
//!   `share (sum of (E1^2 / 2) - E2)`, and with reduced variance `residual / 2 - share E2`, share `1 / P`;
//! * denoising score matching minimises `residual / 2`.
//!
//! The trace has the sign that belongs to the energy: the score's divergence is `-tr(d2E/dx2)`. Without it, as in some
//! accounts of score matching, the loss only asks for a flat energy.

use crate::kernels::activation_jet::Jet;
use crate::kernels::contrastive_loss::METRICS;
use crate::kernels::draw_real::Epoch;
use crate::kernels::prelude::*;

/// A jet's derivatives to loss, metrics and `dL/dE`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreLoss {
    /// Images in a block.
    pub lanes: u32,
    /// Images in a full batch.
    pub batch: u32,
    /// Images in the data set: the last batch of an epoch may be short of some.
    pub n_images: u32,
    /// Rows of the metrics table.
    pub metric_rows: u32,
    /// The components.
    pub jet: Jet,
    /// What the derivatives along a direction of second order count with.
    pub share: f32,
}

shader_struct! {
    /// `Params` of `shaders/loss/score_loss.wgsl`.
    Params { share: f32 }
}

impl KernelSpec for ScoreLoss {
    const SOURCE: &'static str = shader!["lib/state", "lib/epoch", "lib/sum", "loss/score_loss"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; the energy's components; residuals; `dL/dE`; metrics.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Write, Write];
    /// Means in single precision by a tree of 8 levels, against double precision. The error of a difference of two means
    /// is that of the means, and the largest entry of the table is well above them.
    const TOLERANCE: Tolerance = Tolerance::new(2e-6, 2e-7);

    fn needs(&self) -> Vec<Need> {
        let components = Need::PerBlock(self.jet.components());
        vec![Need::STATE, components, Need::PerBlock(1), components, Need::metrics(self.metric_rows)]
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = overrides![
            LANES: self.lanes, BATCH: self.batch, N_IMAGES: self.n_images, METRIC_ROWS: self.metric_rows,
        ];
        overrides.extend(self.jet.overrides());
        overrides
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { share: self.share }
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, energies, residual, grad_energies, metrics] = bound(bindings);
        let state = State::of(state.words());
        let n_real = Epoch::of(state.step, self.n_images, self.batch).n_real as usize;
        let (lanes, n_components) = (self.lanes as usize, self.jet.components());
        let (energies, residual) = (energies.floats(), residual.floats());
        let grad_energies = grad_energies.floats_mut();
        let Jet { directions, first_order } = self.jet;
        let (mut gradient, mut trace, mut energy) = (0.0_f64, 0.0_f64, 0.0_f64);
        let n_lanes = (self.batch as usize).next_multiple_of(lanes);
        for (image, residual) in residual.iter().enumerate().take(n_lanes) {
            let at = |component: usize| (image / lanes * n_components + component) * lanes + image % lanes;
            let weight = if image < n_real { 1.0 / n_real as f32 } else { 0.0 };
            grad_energies[at(0)] = 0.0;
            let mut squares = 0.0;
            for d in 0..directions {
                let (along, seed) = (energies[at(1 + d)], &mut grad_energies[at(1 + d)]);
                if d < first_order {
                    *seed = weight;
                } else if first_order == 0 {
                    *seed = weight * self.share * along;
                    squares += along * along;
                } else {
                    *seed = 0.0;
                }
            }
            let mut second = 0.0;
            if self.jet.has_second() {
                let at = at(1 + directions);
                second = self.share * energies[at];
                grad_energies[at] = -weight * self.share;
            }
            if image < n_real {
                gradient += f64::from(0.5 * (*residual + self.share * squares));
                trace -= f64::from(second);
                energy += f64::from(energies[at(0)]);
            }
        }
        let mean = |sum: f64| (sum / n_real as f64) as f32;
        let (gradient, trace, energy) = (mean(gradient), mean(trace), mean(energy));
        let row = (state.step % self.metric_rows) as usize * METRICS;
        let row = &mut metrics.floats_mut()[row..row + METRICS];
        row[..5].copy_from_slice(&[gradient + trace, gradient, trace, energy, 0.0]);
        row[6..].copy_from_slice(&[n_real as f32, 0.0]);
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (i, Batch { batch, n_images, step, n_real }) in bench.batches().into_iter().enumerate() {
            for jet in Jet::cases() {
                let state = bench.at_step(step);
                let [energies, grad_energies] =
                    ["energies", "seeds"].map(|name| bench.per_block(name, jet.components()));
                let residual = bench.per_block("residual", 1);
                bench.fill(residual, 0..n_real as usize, 1.0);
                let all = 0..(batch.div_ceil(lanes) * lanes) as usize * jet.components();
                // Lanes without an image hold numbers, too, which must not count.
                bench.fill(energies, all.clone(), 1.0);
                let metrics = bench.flat("metrics", ROWS as usize * METRICS);
                let kernel =
                    Self { lanes, batch, n_images, metric_rows: ROWS, jet, share: [1.0, 0.5][i % 2] };
                let row = (step % ROWS) as usize * METRICS;
                let written = [(grad_energies, vec![all]), (metrics, vec![row..row + 5, row + 6..row + 8])];
                bench.run_whole(kernel, &[state, energies, residual, grad_energies, metrics], &written);
                bench.note(&format!("step {step}"));
            }
        }
    }
}
