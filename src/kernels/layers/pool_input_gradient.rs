//! Gradient with respect to a global average pool's input, times the derivative of the activation before it.

use crate::kernels::pool_forward::pool_overrides;
use crate::kernels::prelude::*;
use crate::network::PoolShape;

/// Gradient with respect to a global average pool's input.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolInputGradient {
    /// Images in a block.
    pub lanes: u32,
    /// All sizes.
    pub shape: PoolShape,
    /// The derivative of the activation before.
    pub slope: Slope,
}

impl PoolInputGradient {
    /// The twin, in any precision, for one block: `g` `[channel][lane]`, slope and gradient `[pixel][channel][lane]`.
    /// `slope` is read only if it is beside.
    pub fn reference<R: Real>(&self, g: &[R], slope: &[R], grad: &mut [R]) {
        let pixel = self.shape.channels * self.lanes as usize;
        let pixels = R::from_f64(self.shape.pixels as f64);
        for at in 0..grad.len() {
            grad[at] = self.slope.times(g[at % pixel] / pixels, slope, grad, at);
        }
    }
}

impl KernelSpec for PoolInputGradient {
    const SOURCE: &'static str = shader!["layers/pool_input_gradient"];
    type Params = SlopeParams;
    const PER_BLOCK: bool = true;
    /// Gradient of the output; slope (anything if it is not beside); gradient.
    const ACCESS: &'static [Access] = &[Read, Read, ReadWrite];
    /// A product, within the magnitude of the largest.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::PerBlock(self.shape.channels),
            Need::PerBlock(
                self.shape.channels * if self.slope == Slope::Beside { self.shape.pixels } else { 1 },
            ),
            Need::PerBlock(self.shape.channels * self.shape.pixels),
        ]
    }

    /// The slope's buffer if it has one of its own, the gradient's if the slope lies there.
    fn reads(&self, binding: usize) -> bool {
        self.slope.is_read(binding, 1)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = pool_overrides(self.lanes, &self.shape);
        overrides.push(("IN_PLACE", f64::from(u8::from(self.slope == Slope::InPlace))));
        overrides
    }

    fn params(&self, blocks: &Range<u32>) -> SlopeParams {
        SlopeParams::new(blocks, self.slope)
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.shape.channels, self.lanes), self.shape.pixels as u32, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [g, slope, grad] = bound(bindings);
        self.reference(g.floats(), slope.floats(), grad.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (i, shape) in pool_shapes().into_iter().enumerate() {
            let g = bench.images("g", shape.channels);
            let place = slope_place(i);
            let (slope, grad) = slope_and_gradient(bench, place, g, shape.channels * shape.pixels);
            bench.run(Self { lanes, shape, slope: place }, &[g, slope, grad]);
        }
    }
}
