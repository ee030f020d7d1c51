//! The smoothness penalty: neighbouring images shall have like energies,
//! `weight * mean((E(x + noise) - E(x))^2)` over the real images.

use crate::kernels::contrastive_loss::METRICS;
use crate::kernels::draw_real::Epoch;
use crate::kernels::prelude::*;

/// Adds the smoothness penalty to `dL/dE` and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Smoothness {
    /// Images in a block.
    pub lanes: u32,
    /// Images in a full batch.
    pub batch: u32,
    /// Images in the data set: the last batch of an epoch may be short of real ones.
    pub n_images: u32,
    /// The first block of the images with noise.
    pub first_block: u32,
    /// Rows of the metrics table.
    pub metric_rows: u32,
    /// Weight of the penalty.
    pub weight: f32,
}

shader_struct! {
    /// `Params` of `shaders/loss/smoothness.wgsl`.
    Params { first_block: u32, weight: f32 }
}

impl KernelSpec for Smoothness {
    const SOURCE: &'static str = shader!["lib/state", "lib/epoch", "lib/sum", "loss/smoothness"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; energies; `dL/dE`; metrics.
    const ACCESS: &'static [Access] = &[Read, Read, ReadWrite, ReadWrite];
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
        Params { first_block: self.first_block, weight: self.weight }
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, energies, grad_energies, metrics] = bound(bindings);
        let state = State::of(state.words());
        let n_real = Epoch::of(state.step, self.n_images, self.batch).n_real as usize;
        let noisy = (self.first_block * self.lanes) as usize;
        let (energies, grad_energies) = (energies.floats(), grad_energies.floats_mut());
        let mut sum = 0.0_f64;
        for i in 0..self.batch.next_multiple_of(self.lanes) as usize {
            let difference = if i < n_real { energies[noisy + i] - energies[i] } else { 0.0 };
            let seed = 2.0 * self.weight * difference / n_real as f32;
            sum += f64::from(difference) * f64::from(difference);
            grad_energies[noisy + i] = seed;
            grad_energies[i] -= seed;
        }
        let penalty = self.weight * (sum / n_real as f64) as f32;
        let row = (state.step % self.metric_rows) as usize * METRICS;
        metrics.floats_mut()[row] += penalty;
        metrics.floats_mut()[row + 2] += penalty;
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        // The penalty's part of the energies; all of the table's row is there already.
        let lanes = bench.plan.lanes;
        for Batch { batch, n_images, step, .. } in bench.batches().into_iter().filter(|b| b.batch <= lanes) {
            let state = bench.at_step(step);
            let energies = bench.random_blocks("energies", 1, &(0..N_BLOCKS));
            let grad_energies = bench.random_blocks("seeds", 1, &(0..1));
            let metrics = bench.random_flat("metrics", ROWS as usize * METRICS);
            let kernel = Self { lanes, batch, n_images, first_block: 2, metric_rows: ROWS, weight: 0.3 };
            let (block, row) = (bench.lanes(), (step % ROWS) as usize * METRICS);
            let written = [
                (grad_energies, vec![0..block, 2 * block..3 * block]),
                (metrics, vec![row..row + 1, row + 2..row + 3]),
            ];
            bench.run_whole(kernel, &[state, energies, grad_energies, metrics], &written);
            bench.note(&format!("step {step}"));
        }
    }
}
