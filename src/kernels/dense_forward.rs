//! Dense layer and activation, fused.

use super::pack_weights::{Packing, Tile};
use super::{Access, Binding, BlockParams, Describe, Real, WORKGROUP_SIZE, activate, groups};
use crate::network::{Activation, DenseShape};
use std::ops::Range;

/// Dense layer and activation.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseForward {
    /// Images in a block.
    pub lanes: u32,
    /// All sizes.
    pub shape: DenseShape,
    /// Units of one invocation; the weights are packed for them.
    pub tile_channels: usize,
    /// Where the biases lie in the parameters.
    pub bias_offset: usize,
    /// What follows.
    pub activation: Activation,
}

impl DenseForward {
    /// The order of the weights.
    pub fn packing(&self) -> Packing {
        Packing::dense(self.shape, self.tile_channels, false)
    }

    /// The twin, in any precision, for one block: input `[feature][lane]`, packed weights, biases `[unit]`, output and
    /// slope `[unit][lane]`.
    pub fn reference<R: Real>(
        &self,
        input: &[R],
        weights: &[R],
        bias: &[R],
        output: &mut [R],
        slope: &mut [R],
    ) {
        let (s, lanes, packing) = (&self.shape, self.lanes as usize, self.packing());
        for unit in 0..s.units {
            let mut z = vec![bias[unit]; lanes];
            for (f, row) in input.chunks_exact(lanes).enumerate() {
                let weight = weights[packing.index(unit, f % s.in_channels, f / s.in_channels, 0)];
                for (z, x) in z.iter_mut().zip(row) {
                    *z += weight * *x;
                }
            }
            for (lane, z) in z.into_iter().enumerate() {
                let at = unit * lanes + lane;
                (output[at], slope[at]) = activate(self.activation, z);
            }
        }
    }
}

/// The overrides that describe a dense layer.
pub(super) fn dense_overrides(s: &DenseShape) -> Vec<(&'static str, f64)> {
    vec![("FEATURES", s.in_len() as f64), ("UNITS", s.units as f64)]
}

/// The prelude of a tile of one pixel.
pub(super) fn dense_prelude(tile_channels: usize) -> String {
    Tile { channels: tile_channels, pixels: 1, depth: 1, int64: false }.sizes()
}

impl Describe for DenseForward {
    const NAME: &'static str = "dense_forward";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/activation.wgsl"),
        include_str!("../../shaders/dense_forward.wgsl")
    );
    /// Input; packed weights; parameters; output; slope.
    const ACCESS: &'static [Access] =
        &[Access::Read, Access::Read, Access::Read, Access::Write, Access::Write];

    fn prelude(&self) -> String {
        dense_prelude(self.tile_channels)
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let mut overrides = dense_overrides(&self.shape);
        overrides.extend([
            ("WORKGROUP_SIZE", WORKGROUP_SIZE.into()),
            ("LANES", self.lanes.into()),
            ("BIAS_OFFSET", self.bias_offset as f64),
            ("ACTIVATION", self.activation.code().into()),
            ("LEAK", self.activation.leak().into()),
        ]);
        overrides
    }

    fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&BlockParams { first_block: blocks.start }).to_vec()
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.shape.units.div_ceil(self.tile_channels), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [input, weights, parameters, output, slope] = bindings else {
            panic!("{} takes five bindings", Self::NAME)
        };
        let bias = &parameters.floats()[self.bias_offset..];
        self.reference(input.floats(), weights.floats(), bias, output.floats_mut(), slope.floats_mut());
    }
}
