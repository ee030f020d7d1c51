//! Adds up partial gradients, in order: the same bits every time.

use super::{Access, Binding, BlockParams, Describe, Parts, WORKGROUP_SIZE};
use std::ops::Range;

/// Adds up partial gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct ReducePartials {
    /// Length of the parameter vector.
    pub n_parameters: usize,
    /// Partial sums.
    pub n_chunks: u32,
}

impl Describe for ReducePartials {
    const NAME: &'static str = "reduce_partials";
    const SOURCE: &'static str = include_str!("../../shaders/reduce_partials.wgsl");
    /// Partial sums; gradient.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("WORKGROUP_SIZE", WORKGROUP_SIZE.into()),
            ("N_PARAMETERS", self.n_parameters as f64),
            ("N_CHUNKS", self.n_chunks.into()),
        ]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&BlockParams { first_block: 0 }).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [(self.n_parameters as u32).div_ceil(WORKGROUP_SIZE), 1, 1]
    }

    fn parts(&self) -> Option<Parts> {
        Some(Parts::parameters(self.n_parameters, 1 + self.n_chunks as usize))
    }

    #[inline(always)]
    fn run_part(&self, first: usize, bindings: &mut [Binding]) {
        let [partials, grad] = bindings else { panic!("{} takes two bindings", Self::NAME) };
        let grad = grad.floats_mut();
        grad.fill(0.0);
        for partial in partials.floats().chunks_exact(self.n_parameters) {
            for (sum, value) in grad.iter_mut().zip(&partial[first..]) {
                *sum += value;
            }
        }
    }
}
