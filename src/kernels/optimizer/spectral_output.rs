//! The second half of a power iteration: see [`crate::kernels::spectral_input`].

use crate::kernels::prelude::*;
use crate::kernels::spectral_input::Matrix;

/// `t = W v`.
#[derive(Clone, Debug, PartialEq)]
pub struct SpectralOutput {
    /// W.
    pub matrix: Matrix,
}

impl KernelSpec for SpectralOutput {
    const SOURCE: &'static str = shader!["lib/sum", "optimizer/spectral_output"];
    block_params!();
    const PER_BLOCK: bool = false;
    /// Parameters; v; t.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Dot products over a layer's columns.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::AtLeast(self.matrix.range().end),
            Need::AtLeast(self.matrix.columns),
            Need::AtLeast(self.matrix.rows),
        ]
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = self.matrix.overrides();
        overrides.retain(|(name, _)| *name != "ROWS");
        overrides
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [self.matrix.rows as u32, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [parameters, v, t] = bound(bindings);
        let (weights, v) = (&parameters.floats()[self.matrix.range()], v.floats());
        for (t, row) in t.floats_mut().iter_mut().zip(weights.chunks_exact(self.matrix.columns)) {
            *t = row.iter().zip(v).map(|(w, v)| f64::from(w * v)).sum::<f64>() as f32;
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for (matrix, _) in Matrix::cases() {
            let parameters = bench.random_flat("parameters", matrix.range().end + 2);
            let (v, t) = (bench.random_flat("v", matrix.columns + 2), bench.flat("t", matrix.rows + 2));
            bench.run_whole(Self { matrix }, &[parameters, v, t], &[(t, vec![0..matrix.rows])]);
        }
    }
}
