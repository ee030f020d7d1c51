//! The chain rule at an activation, of first and second order: what comes from one side is multiplied by the slope, and
//! the second derivative by what came. [`crate::plan::TangentPass`] does so twice, once with the energy's gradient on its
//! way back and once with a direction on its way forward.

use crate::kernels::prelude::*;

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

impl KernelSpec for ChainRule {
    const SOURCE: &'static str = shader!["second_order/chain_rule"];
    type Params = ElementParams;
    const PER_BLOCK: bool = true;
    /// Slope; value; second derivative.
    const ACCESS: &'static [Access] = &[Read, ReadWrite, ReadWrite];
    /// Products.
    const TOLERANCE: Tolerance = Tolerance::of_largest(2e-7);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![image, image, image]
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes]
    }

    fn params(&self, blocks: &Range<u32>) -> ElementParams {
        let (first_block, features) = (blocks.start, self.features as u32);
        ElementParams { first_block, features }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features, self.lanes / 4), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [slope, value, second] = bound(bindings);
        self.reference(slope.floats(), value.floats_mut(), second.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for features in [1, 17, 63, 65, 257] {
            let bindings = ["slope", "value", "second"].map(|name| bench.images(name, features));
            bench.run(Self { lanes, features }, &bindings);
        }
    }
}
