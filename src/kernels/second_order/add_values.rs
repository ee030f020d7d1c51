//! Adds one per-block buffer to another.

use crate::kernels::prelude::*;

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

impl KernelSpec for AddValues {
    const SOURCE: &'static str = shader!["second_order/add_values"];
    type Params = ElementParams;
    const PER_BLOCK: bool = true;
    /// Value; sum.
    const ACCESS: &'static [Access] = &[Read, ReadWrite];
    /// A sum.
    const TOLERANCE: Tolerance = Tolerance::of_largest(2e-7);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![image, image]
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
        let [value, sum] = bound(bindings);
        self.reference(value.floats(), sum.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for features in [1, 17, 63, 65, 257] {
            let bindings = ["value", "sum"].map(|name| bench.images(name, features));
            bench.run(Self { lanes, features }, &bindings);
        }
    }
}
