//! The share of MALA's proposals that were accepted, for the metrics.

use crate::kernels::contrastive_loss::METRICS;
use crate::kernels::prelude::*;

/// Means the counts of [`crate::kernels::mala_accept`] into the metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanAcceptance {
    /// Images in a block.
    pub lanes: u32,
    /// Chains.
    pub batch: u32,
    /// The first of their blocks.
    pub first_block: u32,
    /// Proposals to each chain.
    pub steps: u32,
    /// Rows of the metrics table.
    pub metric_rows: u32,
}

shader_struct! {
    /// `Params` of `shaders/sampling/mean_acceptance.wgsl`.
    Params { first_block: u32, steps: u32 }
}

impl KernelSpec for MeanAcceptance {
    const SOURCE: &'static str = shader!["lib/state", "lib/sum", "sampling/mean_acceptance"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; decisions; metrics.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Sums of squares do not cancel: 12 roundings in a row, a root, a division.
    const TOLERANCE: Tolerance = Tolerance::relative(2e-6);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::PerBlock(2), Need::metrics(self.metric_rows)]
    }

    fn overrides(&self) -> Overrides {
        overrides![LANES: self.lanes, BATCH: self.batch, METRIC_ROWS: self.metric_rows]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { first_block: self.first_block, steps: self.steps }
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, decisions, metrics] = bound(bindings);
        let (lanes, decisions) = (self.lanes as usize, decisions.floats());
        let count =
            |i: usize| decisions[((self.first_block as usize + i / lanes) * 2 + 1) * lanes + i % lanes];
        let sum: f64 = (0..self.batch as usize).map(|i| f64::from(count(i))).sum();
        let row = (State::of(state.words()).step % self.metric_rows) as usize * METRICS;
        metrics.floats_mut()[row + 7] = (sum / (f64::from(self.batch) * f64::from(self.steps))) as f32;
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for Batch { batch, step, .. } in bench.batches() {
            let (state, blocks) = (bench.at_step(step), 1..1 + batch.div_ceil(lanes));
            let decisions = bench.random_blocks("decisions", 2, &blocks);
            let words = bench.words_of(2, &blocks);
            for word in &mut bench.contents[decisions.0][words] {
                *word &= 0x7fff_ffff; // counts are not negative
            }
            let metrics = bench.flat("metrics", ROWS as usize * METRICS);
            let at = (step % ROWS) as usize * METRICS + 7;
            let kernel = Self { lanes, batch, first_block: 1, steps: 7, metric_rows: ROWS };
            bench.run_whole(kernel, &[state, decisions, metrics], &[(metrics, vec![at..at + 1])]);
        }
    }
}
