//! Global average pool: each channel's mean over its pixels.

use crate::kernels::prelude::*;
use crate::network::PoolShape;

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
pub(crate) fn pool_overrides(lanes: u32, s: &PoolShape) -> Overrides {
    overrides![WORKGROUP_SIZE, LANES: lanes, CHANNELS: s.channels, PIXELS: s.pixels]
}

impl KernelSpec for PoolForward {
    const SOURCE: &'static str = shader!["layers/pool_forward"];
    block_params!();
    const PER_BLOCK: bool = true;
    /// Input; output; slope.
    const ACCESS: &'static [Access] = &[Read, Write, Write];
    /// A dot product of n terms is off by sqrt(n) to n roundings of its terms, which are smaller than the largest output:
    /// 600 terms give 2e-6 to 4e-5, in practice the former.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        let channels = Need::PerBlock(self.shape.channels);
        vec![Need::PerBlock(self.shape.channels * self.shape.pixels), channels, channels]
    }

    fn overrides(&self) -> Overrides {
        pool_overrides(self.lanes, &self.shape)
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.shape.channels, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [input, output, slope] = bound(bindings);
        self.reference(input.floats(), output.floats_mut(), slope.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for shape in pool_shapes() {
            let input = bench.images("input", shape.channels * shape.pixels);
            let [output, slope] = ["output", "slope"].map(|name| bench.per_block(name, shape.channels));
            bench.run(Self { lanes, shape }, &[input, output, slope]);
        }
    }
}
