//! Adds up partial gradients, in order: the same bits every time.

use crate::kernels::prelude::*;

/// Adds up partial gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct ReducePartials {
    /// Length of the parameter vector.
    pub n_parameters: usize,
    /// Partial sums.
    pub n_chunks: u32,
}

impl KernelSpec for ReducePartials {
    const SOURCE: &'static str = shader!["layers/reduce_partials"];
    block_params!();
    const PER_BLOCK: bool = false;
    /// Partial sums; gradient.
    const ACCESS: &'static [Access] = &[Read, Write];
    /// The same sums in the same order.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-7);

    fn needs(&self) -> Vec<Need> {
        vec![Need::AtLeast(self.n_chunks as usize * self.n_parameters), Need::Flat(self.n_parameters)]
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, N_PARAMETERS: self.n_parameters, N_CHUNKS: self.n_chunks]
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [(self.n_parameters as u32).div_ceil(WORKGROUP_SIZE), 1, 1]
    }

    fn parts(&self) -> Option<Parts> {
        Some(Parts::parameters(self.n_parameters, 1 + self.n_chunks as usize))
    }

    #[inline(always)]
    fn run_part(&self, first: usize, bindings: &mut [Binding]) {
        let [partials, grad] = bound(bindings);
        let grad = grad.floats_mut();
        grad.fill(0.0);
        for partial in partials.floats().chunks_exact(self.n_parameters) {
            for (sum, value) in grad.iter_mut().zip(&partial[first..]) {
                *sum += value;
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for (i, n_parameters) in LENGTHS.into_iter().enumerate() {
            let n_chunks = [1, 3, 32][i % 3];
            let partials = bench.random_flat("partials", n_chunks as usize * n_parameters);
            let gradient = bench.flat("gradient", n_parameters);
            let written = [(gradient, vec![0..n_parameters])];
            bench.run_whole(Self { n_parameters, n_chunks }, &[partials, gradient], &written);
        }
    }
}
