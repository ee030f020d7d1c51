//! Gradient with respect to a dense layer's input, times the derivative of the activation before it.

use crate::kernels::dense_forward::{dense_overrides, dense_prelude};
use crate::kernels::pack_weights::Packing;
use crate::kernels::prelude::*;
use crate::network::DenseShape;

/// Gradient with respect to a dense layer's input.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseInputGradient {
    /// Images in a block.
    pub lanes: u32,
    /// All sizes.
    pub shape: DenseShape,
    /// Input channels of one invocation; the weights are packed for them.
    pub tile_channels: usize,
    /// The derivative of the activation before.
    pub slope: Slope,
}

impl DenseInputGradient {
    /// The order of the weights.
    pub fn packing(&self) -> Packing {
        Packing::dense(self.shape, self.tile_channels, true)
    }

    /// The twin, in any precision, for one block: `g` `[unit][lane]`, packed weights, slope and gradient
    /// `[feature][lane]`. `slope` is read only if it is beside.
    pub fn reference<R: Real>(&self, g: &[R], weights: &[R], slope: &[R], grad: &mut [R]) {
        let (s, lanes, packing) = (&self.shape, self.lanes as usize, self.packing());
        for f in 0..s.in_len() {
            let mut sum = vec![R::from_f64(0.0); lanes];
            for (unit, row) in g.chunks_exact(lanes).enumerate() {
                let weight = weights[packing.index(unit, f % s.in_channels, f / s.in_channels, 0)];
                for (sum, g) in sum.iter_mut().zip(row) {
                    *sum += weight * *g;
                }
            }
            for (lane, sum) in sum.into_iter().enumerate() {
                let at = f * lanes + lane;
                grad[at] = self.slope.times(sum, slope, grad, at);
            }
        }
    }
}

impl KernelSpec for DenseInputGradient {
    const SOURCE: &'static str = shader!["layers/dense_input_gradient"];
    type Params = SlopeParams;
    const PER_BLOCK: bool = true;
    /// Gradient of the pre-activation; packed weights; slope (anything if it is not beside); gradient.
    const ACCESS: &'static [Access] = &[Read, Read, Read, ReadWrite];
    /// A dot product of n terms is off by sqrt(n) to n roundings of its terms, which are smaller than the largest output:
    /// 600 terms give 2e-6 to 4e-5, in practice the former.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);
    const PACKED_WEIGHTS: Option<usize> = Some(1);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::PerBlock(self.shape.units),
            Need::Flat(self.packing().len()),
            Need::PerBlock(if self.slope == Slope::Beside { self.shape.in_len() } else { self.shape.units }),
            Need::PerBlock(self.shape.in_len()),
        ]
    }

    /// The slope's buffer if it has one of its own, the gradient's if the slope lies there.
    fn reads(&self, binding: usize) -> bool {
        self.slope.is_read(binding, 2)
    }

    fn prelude(&self) -> String {
        dense_prelude(self.tile_channels)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = dense_overrides(&self.shape);
        overrides.extend(overrides![
            WORKGROUP_SIZE, LANES: self.lanes, CHANNELS: self.shape.in_channels,
            IN_PLACE: self.slope == Slope::InPlace,
        ]);
        overrides
    }

    fn params(&self, blocks: &Range<u32>) -> SlopeParams {
        SlopeParams::new(blocks, self.slope)
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        let items = self.shape.in_channels.div_ceil(self.tile_channels) * self.shape.in_pixels;
        [groups(items, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [g, weights, slope, grad] = bound(bindings);
        self.reference(g.floats(), weights.floats(), slope.floats(), grad.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (number, shape) in bench.own(dense_shapes()) {
            let tile_channels = tile_channels(bench.for_gpu, number);
            let kernel = Self { lanes, shape, tile_channels, slope: slope_place(number) };
            let weights = bench.packed(&kernel.packing());
            let g = bench.images("g", shape.units);
            let (slope, grad) = slope_and_gradient(bench, kernel.slope, g, shape.in_len());
            bench.run(kernel, &[g, weights, slope, grad]);
        }
    }
}
