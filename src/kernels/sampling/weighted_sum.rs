//! Weights one per-block buffer and adds it to another: the energies of several models, and their gradients.

use crate::kernels::prelude::*;

/// `sum += weight value`, or where a sum begins `sum = weight value`: see `shaders/sampling/weighted_sum.wgsl`.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedSum {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image: 1 of energies.
    pub features: usize,
    /// The weight.
    pub weight: f32,
    /// Whether a sum begins: what the buffer held before is not read.
    pub begins: bool,
}

shader_struct! {
    /// `Params` of `shaders/sampling/weighted_sum.wgsl`.
    Params { first_block: u32, features: u32, weight: f32, begins: u32 }
}

impl WeightedSum {
    /// The twin, in any precision, for one block `[feature][lane]`.
    #[inline(always)]
    pub fn reference<R: Real>(&self, value: &[R], sum: &mut [R]) {
        let weight = R::from_f64(self.weight.into());
        for (value, sum) in value.iter().zip(sum) {
            let term = weight * *value;
            *sum = if self.begins { term } else { *sum + term };
        }
    }
}

impl KernelSpec for WeightedSum {
    const SOURCE: &'static str = shader!["sampling/weighted_sum"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// Value; sum.
    const ACCESS: &'static [Access] = &[Read, ReadWrite];
    /// A product and a sum, which a device may fuse.
    const TOLERANCE: Tolerance = Tolerance::of_largest(2e-7);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![image, image]
    }

    fn reads(&self, binding: usize) -> bool {
        binding == 0 || !self.begins
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        let (features, weight) = (self.features as u32, self.weight);
        Params { first_block: blocks.start, features, weight, begins: self.begins.into() }
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
            for (weight, begins) in [(-0.5, true), (1.75, false)] {
                let value = bench.images("value", features);
                // Where a sum begins, what is there is a guard.
                let sum =
                    if begins { bench.per_block("sum", features) } else { bench.images("sum", features) };
                bench.run(Self { lanes, features, weight, begins }, &[value, sum]);
            }
        }
    }
}
