//! The gradient's norm, and the factor that clips it (Pascanu et al. 2013): the second of two fixed-order passes.

use crate::kernels::contrastive_loss::METRICS;
use crate::kernels::prelude::*;

/// Gradient norm and the factor that clips it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipScale {
    /// Partial sums of squares.
    pub n_partials: usize,
    /// Rows of the metrics table.
    pub metric_rows: u32,
    /// Largest norm; 0 for no clip.
    pub clip: f32,
}

shader_struct! {
    /// `Params` of `shaders/optimizer/clip_scale.wgsl`.
    Params { clip: f32 }
}

impl KernelSpec for ClipScale {
    const SOURCE: &'static str = shader!["lib/state", "lib/sum", "optimizer/clip_scale"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; partial sums of squares; scale; metrics.
    const ACCESS: &'static [Access] = &[Read, Read, Write, Write];
    /// Sums of squares do not cancel: 12 roundings in a row, a root, a division.
    const TOLERANCE: Tolerance = Tolerance::relative(2e-6);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::Flat(self.n_partials), Need::Flat(1), Need::metrics(self.metric_rows)]
    }

    fn overrides(&self) -> Overrides {
        overrides![N_PARTIALS: self.n_partials, METRIC_ROWS: self.metric_rows]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { clip: self.clip }
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, partial, scale, metrics] = bound(bindings);
        let sum: f64 = partial.floats().iter().map(|s| f64::from(*s)).sum();
        let norm = sum.sqrt() as f32;
        let row = (State::of(state.words()).step % self.metric_rows) as usize;
        metrics.floats_mut()[row * METRICS + 5] = norm;
        let clips = self.clip > 0.0 && norm > self.clip;
        scale.floats_mut()[0] = if clips { self.clip / norm } else { 1.0 };
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for (n_partials, clip, step) in
            [(1, 0.0, 0), (5, 1e-3, 4), (65, 1e3, 5), (257, 0.5, 12), (1025, 0.0, 3)]
        {
            let (state, partial) = (bench.at_step(step), bench.positive_flat("partial", n_partials));
            let (scale, metrics) = (bench.flat("scale", 1), bench.flat("metrics", ROWS as usize * METRICS));
            let at = (step % ROWS) as usize * METRICS + 5;
            let written = [(scale, vec![0..1]), (metrics, vec![at..at + 1])];
            bench.run_whole(
                Self { n_partials, metric_rows: ROWS, clip },
                &[state, partial, scale, metrics],
                &written,
            );
        }
    }
}
