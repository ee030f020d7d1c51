//! Partial sums of squares of the gradient: the first of two fixed-order passes to its norm.

use super::{Access, Binding, BlockParams, Describe};
use std::ops::Range;

/// Elements of one partial sum.
pub const GROUP: usize = 1024;

/// Partial sums of squares of the gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct SumSquares {
    /// Length of the gradient.
    pub n_parameters: usize,
}

impl Describe for SumSquares {
    const NAME: &'static str = "sum_squares";
    const SOURCE: &'static str =
        concat!(include_str!("../../shaders/lib/sum.wgsl"), include_str!("../../shaders/sum_squares.wgsl"));
    /// Gradient; partial sums.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("N_PARAMETERS", self.n_parameters as f64)]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&BlockParams { first_block: 0 }).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [self.n_parameters.div_ceil(GROUP) as u32, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [grad, partial] = bindings else { panic!("{} takes two bindings", Self::NAME) };
        for (sum, grads) in partial.floats_mut().iter_mut().zip(grad.floats().chunks(GROUP)) {
            *sum = grads.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>() as f32;
        }
    }
}
