//! The variance of each image's values: a chain that has run off has more of it, or less, than images of its level.

use crate::kernels::prelude::*;

/// Computes the variance of each image's values.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageVariance {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
}

impl KernelSpec for ImageVariance {
    const SOURCE: &'static str = shader!["guard/image_variance"];
    block_params!();
    const PER_BLOCK: bool = true;
    /// x; variances.
    const ACCESS: &'static [Access] = &[Read, Write];
    /// Sums of squares in single precision, in order.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        vec![Need::PerBlock(self.features), Need::PerBlock(1)]
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features]
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(1, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [x, variance] = bound(bindings);
        let (x, variance, lanes) = (x.floats(), variance.floats_mut(), self.lanes as usize);
        let mut means = vec![0.0_f32; lanes];
        for row in x.chunks_exact(lanes) {
            means.iter_mut().zip(row).for_each(|(mean, value)| *mean += value);
        }
        means.iter_mut().for_each(|mean| *mean /= self.features as f32);
        variance.fill(0.0);
        for row in x.chunks_exact(lanes) {
            for ((variance, value), mean) in variance.iter_mut().zip(row).zip(&means) {
                *variance += (value - mean) * (value - mean);
            }
        }
        variance.iter_mut().for_each(|variance| *variance /= self.features as f32);
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for features in [1, 3, 64, 785] {
            let x = bench.images("x", features);
            let variance = bench.per_block("variance", 1);
            bench.run(Self { lanes, features }, &[x, variance]);
        }
    }
}
