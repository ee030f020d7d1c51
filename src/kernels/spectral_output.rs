//! The second half of a power iteration: see [`super::spectral_input`].

use super::spectral_input::Matrix;
use super::{Access, Binding, BlockParams, Describe};
use std::ops::Range;

/// `t = W v`.
#[derive(Clone, Debug, PartialEq)]
pub struct SpectralOutput {
    /// W.
    pub matrix: Matrix,
}

impl Describe for SpectralOutput {
    const NAME: &'static str = "spectral_output";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/sum.wgsl"),
        include_str!("../../shaders/spectral_output.wgsl")
    );
    /// Parameters; v; t.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let mut overrides = self.matrix.overrides();
        overrides.retain(|(name, _)| *name != "ROWS");
        overrides
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&BlockParams { first_block: 0 }).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [self.matrix.rows as u32, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [parameters, v, t] = bindings else { panic!("{} takes three bindings", Self::NAME) };
        let (weights, v) = (&parameters.floats()[self.matrix.range()], v.floats());
        for (t, row) in t.floats_mut().iter_mut().zip(weights.chunks_exact(self.matrix.columns)) {
            *t = row.iter().zip(v).map(|(w, v)| f64::from(w * v)).sum::<f64>() as f32;
        }
    }
}
