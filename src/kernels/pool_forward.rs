//! Global average pool: each channel's mean over its pixels.

use super::{Access, Binding, BlockParams, Describe, Real, WORKGROUP_SIZE, groups};
use crate::network::PoolShape;
use std::ops::Range;

/// Global average pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolForward {
    /// Images in a block.
    pub lanes: u32,
    /// All sizes.
    pub shape: PoolShape,
}

impl PoolForward {
    /// The twin, in any precision, for one block: input `[pixel][channel][lane]`, output and slope `[channel][lane]`.
    pub fn reference<R: Real>(&self, input: &[R], output: &mut [R], slope: &mut [R]) {
        let pixel = self.shape.channels * self.lanes as usize;
        output.fill(R::from_f64(0.0));
        for input in input.chunks_exact(pixel) {
            for (sum, x) in output.iter_mut().zip(input) {
                *sum += *x;
            }
        }
        let pixels = R::from_f64(self.shape.pixels as f64);
        output.iter_mut().for_each(|sum| *sum = *sum / pixels);
        slope.fill(R::from_f64(1.0));
    }
}

/// The overrides that describe a pool.
pub(super) fn pool_overrides(lanes: u32, s: &PoolShape) -> Vec<(&'static str, f64)> {
    vec![
        ("WORKGROUP_SIZE", WORKGROUP_SIZE.into()),
        ("LANES", lanes.into()),
        ("CHANNELS", s.channels as f64),
        ("PIXELS", s.pixels as f64),
    ]
}

impl Describe for PoolForward {
    const NAME: &'static str = "pool_forward";
    const SOURCE: &'static str = include_str!("../../shaders/pool_forward.wgsl");
    /// Input; output; slope.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write, Access::Write];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        pool_overrides(self.lanes, &self.shape)
    }

    fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&BlockParams { first_block: blocks.start }).to_vec()
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.shape.channels, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [input, output, slope] = bindings else { panic!("{} takes three bindings", Self::NAME) };
        self.reference(input.floats(), output.floats_mut(), slope.floats_mut());
    }
}
