//! Gradient with respect to a convolution's input, times the derivative of the activation before it: from the
//! gradient of one layer's pre-activation to that of the layer before.

use crate::kernels::conv_forward::conv_overrides;
use crate::kernels::pack_weights::{Packing, Tile};
use crate::kernels::prelude::*;
use crate::network::ConvShape;

/// Gradient with respect to a convolution's input.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvInputGradient {
    /// Images in a block.
    pub lanes: u32,
    /// All sizes of the forward convolution.
    pub shape: ConvShape,
    /// Input channels by input pixels of one invocation; the weights are packed for its channels.
    pub tile: Tile,
    /// The derivative of the activation before.
    pub slope: Slope,
}

impl ConvInputGradient {
    /// The order of the weights.
    pub fn packing(&self) -> Packing {
        Packing::backward(self.shape, self.tile.channels)
    }

    /// Whether a shader's tile has phases (pixels that different taps reach) in place of channels: where there is one
    /// channel, which would leave the rest of a tile's four idle.
    fn folded(&self) -> bool {
        self.shape.in_channels == 1 && (2..=4).contains(&(self.shape.stride_y * self.shape.stride_x))
    }

    /// The twin, in any precision, for one block: `g` `[oy][ox][oc][lane]`, packed weights, slope and gradient
    /// `[iy][ix][ic][lane]`. `slope` is read only if it is beside.
    pub fn reference<R: Real>(&self, g: &[R], weights: &[R], slope: &[R], grad: &mut [R]) {
        let (s, lanes, packing) = (&self.shape, self.lanes as usize, self.packing());
        for iy in 0..s.in_height {
            for ix in 0..s.in_width {
                for ic in 0..s.in_channels {
                    let mut sum = vec![R::from_f64(0.0); lanes];
                    for ky in 0..s.kernel_height {
                        let y = (iy + s.pad_top).wrapping_sub(ky);
                        for kx in 0..s.kernel_width {
                            let x = (ix + s.pad_left).wrapping_sub(kx);
                            if !y.is_multiple_of(s.stride_y)
                                || !x.is_multiple_of(s.stride_x)
                                || y / s.stride_y >= s.out_height
                                || x / s.stride_x >= s.out_width
                            {
                                continue;
                            }
                            // A tap at a time: rounding errors grow with the length of a sum.
                            let mut tap = vec![R::from_f64(0.0); lanes];
                            for oc in 0..s.out_channels {
                                let weight = weights[packing.index(oc, ic, ky, kx)];
                                let pixel = y / s.stride_y * s.out_width + x / s.stride_x;
                                let from = (pixel * s.out_channels + oc) * lanes;
                                for (sum, g) in tap.iter_mut().zip(&g[from..from + lanes]) {
                                    *sum += weight * *g;
                                }
                            }
                            sum.iter_mut().zip(tap).for_each(|(sum, tap)| *sum += tap);
                        }
                    }
                    let to = ((iy * s.in_width + ix) * s.in_channels + ic) * lanes;
                    for (lane, sum) in sum.into_iter().enumerate() {
                        grad[to + lane] = self.slope.times(sum, slope, grad, to + lane);
                    }
                }
            }
        }
    }
}

impl KernelSpec for ConvInputGradient {
    const SOURCE: &'static str = shader!["lib/tile", "layers/conv_input_gradient"];
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
            Need::PerBlock(self.shape.out_len()),
            Need::Flat(self.packing().len()),
            Need::PerBlock(if self.slope == Slope::Beside {
                self.shape.in_len()
            } else {
                self.shape.out_len()
            }),
            Need::PerBlock(self.shape.in_len()),
        ]
    }

    /// The slope's buffer if it has one of its own, the gradient's if the slope lies there.
    fn reads(&self, binding: usize) -> bool {
        self.slope.is_read(binding, 2)
    }

    fn prelude(&self) -> String {
        self.tile.prelude()
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = conv_overrides(&self.shape);
        overrides.extend(overrides![
            WORKGROUP_SIZE, LANES: self.lanes, IN_PLACE: self.slope == Slope::InPlace,
            HAS_SLOPE: self.slope != Slope::None || !self.folded(), FOLDED: self.folded(),
        ]);
        overrides
    }

    fn params(&self, blocks: &Range<u32>) -> SlopeParams {
        SlopeParams::new(blocks, self.slope)
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        let s = &self.shape;
        let tiles = s.in_height.div_ceil(s.stride_y) * s.in_width.div_ceil(s.stride_x * self.tile.pixels);
        let phases = if self.folded() { 1 } else { s.stride_y * s.stride_x };
        let sets = s.in_channels.div_ceil(self.tile.channels) * phases;
        [groups(tiles, self.lanes / 4), sets as u32, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [g, weights, slope, grad] = bound(bindings);
        self.reference(g.floats(), weights.floats(), slope.floats(), grad.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (number, shape) in bench.own(conv_shapes()) {
            let pixels = (1 + number % 3).min(shape.in_width.div_ceil(shape.stride_x));
            let channels = tile_channels(bench.for_gpu, number / 2);
            let tile = Tile { channels, pixels };
            let kernel = Self { lanes, shape, tile, slope: slope_place(number) };
            let weights = bench.packed(&kernel.packing());
            let g = bench.images("g", shape.out_len());
            let (slope, grad) = slope_and_gradient(bench, kernel.slope, g, shape.in_len());
            bench.run(kernel, &[g, weights, slope, grad]);
        }
    }
}
