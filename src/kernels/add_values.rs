//! Adds one per-block buffer to another.

use super::{Access, Binding, Describe, ElementParams, Real, WORKGROUP_SIZE, groups};
use std::ops::Range;

/// `sum += value`
#[derive(Clone, Debug, PartialEq)]
pub struct AddValues {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
}

impl AddValues {
    /// The twin, in any precision, for one block `[feature][lane]`.
    #[inline(always)]
    pub fn reference<R: Real>(&self, value: &[R], sum: &mut [R]) {
        for (value, sum) in value.iter().zip(sum) {
            *sum += *value;
        }
    }
}

impl Describe for AddValues {
    const NAME: &'static str = "add_values";
    const SOURCE: &'static str = include_str!("../../shaders/add_values.wgsl");
    /// Value; sum.
    const ACCESS: &'static [Access] = &[Access::Read, Access::ReadWrite];

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
        let [value, sum] = bindings else { panic!("{} takes two bindings", Self::NAME) };
        self.reference(value.floats(), sum.floats_mut());
    }
}
