//! The chain rule at an activation, of first and second order: what comes from one side is multiplied by the slope, and
//! the second derivative by what came. [`crate::plan::TangentPass`] does so twice, once with the energy's gradient on its
//! way back and once with a direction on its way forward.

use super::{Access, Binding, Describe, ElementParams, Real, WORKGROUP_SIZE, groups};
use std::ops::Range;

/// `second *= value`, then `value *= slope`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainRule {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
}

impl ChainRule {
    /// The twin, in any precision, for one block `[feature][lane]`.
    #[inline(always)]
    pub fn reference<R: Real>(&self, slope: &[R], value: &mut [R], second: &mut [R]) {
        for ((slope, value), second) in slope.iter().zip(value).zip(second) {
            *second = *second * *value;
            *value = *value * *slope;
        }
    }
}

impl Describe for ChainRule {
    const NAME: &'static str = "chain_rule";
    const SOURCE: &'static str = include_str!("../../shaders/chain_rule.wgsl");
    /// Slope; value; second derivative.
    const ACCESS: &'static [Access] = &[Access::Read, Access::ReadWrite, Access::ReadWrite];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("WORKGROUP_SIZE", WORKGROUP_SIZE.into()), ("LANES", self.lanes.into())]
    }

    fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
        let (first_block, features) = (blocks.start, self.features as u32);
        bytemuck::bytes_of(&ElementParams { first_block, features }).to_vec()
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features, self.lanes / 4), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [slope, value, second] = bindings else { panic!("{} takes three bindings", Self::NAME) };
        self.reference(slope.floats(), value.floats_mut(), second.floats_mut());
    }
}
