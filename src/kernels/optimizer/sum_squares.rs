//! Partial sums of squares of the gradient: the first of two fixed-order passes to its norm.

use crate::kernels::prelude::*;

/// Elements of one partial sum.
pub const GROUP: usize = 1024;
/// Groups that the twin sums side by side, as each sum, in its order, waits for one addition after the other. More of
/// them, 4 KiB apart, would push each other out of the nearest cache.
const ASIDE: usize = 4;

/// Partial sums of squares of the gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct SumSquares {
    /// Length of the gradient.
    pub n_parameters: usize,
}

impl KernelSpec for SumSquares {
    const SOURCE: &'static str = shader!["lib/sum", "optimizer/sum_squares"];
    block_params!();
    const PER_BLOCK: bool = false;
    /// Gradient; partial sums.
    const ACCESS: &'static [Access] = &[Read, Write];
    /// Sums of squares do not cancel: 12 roundings in a row, a root, a division.
    const TOLERANCE: Tolerance = Tolerance::relative(2e-6);

    fn needs(&self) -> Vec<Need> {
        vec![Need::Flat(self.n_parameters), Need::Flat(self.n_parameters.div_ceil(GROUP))]
    }

    fn overrides(&self) -> Overrides {
        overrides![N_PARAMETERS: self.n_parameters]
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [self.n_parameters.div_ceil(GROUP) as u32, 1, 1]
    }

    fn parts(&self) -> Option<Parts> {
        let items = self.n_parameters.div_ceil(GROUP);
        Some(Parts { items, words: 1, offset: 0, cost: 2 * GROUP })
    }

    #[inline(always)]
    fn run_part(&self, first: usize, bindings: &mut [Binding]) {
        let [grad, partial] = bound(bindings);
        let grads = &grad.floats()[first * GROUP..];
        for (partial, grads) in partial.floats_mut().chunks_mut(ASIDE).zip(grads.chunks(ASIDE * GROUP)) {
            let mut sums = [0.0_f64; ASIDE];
            if partial.len() == ASIDE && grads.len() == ASIDE * GROUP {
                for i in 0..GROUP {
                    for (group, sum) in sums.iter_mut().enumerate() {
                        let g = f64::from(grads[group * GROUP + i]);
                        *sum += g * g;
                    }
                }
            } else {
                for (sum, grads) in sums.iter_mut().zip(grads.chunks(GROUP)).take(partial.len()) {
                    *sum = grads.iter().map(|g| f64::from(*g) * f64::from(*g)).sum();
                }
            }
            for (partial, sum) in partial.iter_mut().zip(sums) {
                *partial = sum as f32;
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for n_parameters in LENGTHS {
            let gradient = bench.random_flat("gradient", n_parameters);
            let n_partials = n_parameters.div_ceil(GROUP);
            let squares = bench.flat("squares", n_partials);
            bench.run_whole(Self { n_parameters }, &[gradient, squares], &[(squares, vec![0..n_partials])]);
        }
    }
}
