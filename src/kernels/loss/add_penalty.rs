//! The weights' L2 penalty in the metrics, from the partial sums of [`crate::kernels::sum_squares`].

use crate::kernels::contrastive_loss::METRICS;
use crate::kernels::prelude::*;

/// Adds the weights' L2 penalty to loss and regularisation.
#[derive(Clone, Debug, PartialEq)]
pub struct AddPenalty {
    /// Partial sums of squares.
    pub n_partials: usize,
    /// Rows of the metrics table.
    pub metric_rows: u32,
    /// Weight of the penalty.
    pub weight: f32,
}

shader_struct! {
    /// `Params` of `shaders/loss/add_penalty.wgsl`.
    Params { weight: f32 }
}

impl KernelSpec for AddPenalty {
    const SOURCE: &'static str = shader!["lib/state", "lib/sum", "loss/add_penalty"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; partial sums of squares; metrics.
    const ACCESS: &'static [Access] = &[Read, Read, ReadWrite];
    /// Sums of squares do not cancel: 12 roundings in a row, a root, a division.
    const TOLERANCE: Tolerance = Tolerance::relative(2e-6);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::Flat(self.n_partials), Need::metrics(self.metric_rows)]
    }

    fn overrides(&self) -> Overrides {
        overrides![N_PARTIALS: self.n_partials, METRIC_ROWS: self.metric_rows]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { weight: self.weight }
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, partial, metrics] = bound(bindings);
        let sum: f64 = partial.floats().iter().map(|s| f64::from(*s)).sum();
        let row = (State::of(state.words()).step % self.metric_rows) as usize * METRICS;
        metrics.floats_mut()[row] += self.weight * sum as f32;
        metrics.floats_mut()[row + 2] += self.weight * sum as f32;
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for (n_partials, step) in [(1, 0), (5, 4), (65, 5), (257, 12), (1025, 3)] {
            let (state, partial) = (bench.at_step(step), bench.positive_flat("partial", n_partials));
            let metrics = bench.positive_flat("metrics", ROWS as usize * METRICS);
            let row = (step % ROWS) as usize * METRICS;
            let written = [(metrics, vec![row..row + 1, row + 2..row + 3])];
            bench.run_whole(
                Self { n_partials, metric_rows: ROWS, weight: 0.1 },
                &[state, partial, metrics],
                &written,
            );
        }
    }
}
