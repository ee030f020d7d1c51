//! Convolution (cross-correlation) and activation, fused: the pre-activation never reaches memory, but the
//! activation's derivative does, for the way back.

use crate::kernels::pack_weights::{Packing, Tile};
use crate::kernels::prelude::*;
use crate::network::{Activation, ConvShape};

/// Convolution and activation.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvForward {
    /// Images in a block.
    pub lanes: u32,
    /// All sizes.
    pub shape: ConvShape,
    /// Output channels by output pixels of one invocation; the weights are packed for its channels.
    pub tile: Tile,
    /// Where the biases lie in the parameters.
    pub bias_offset: usize,
    /// What follows.
    pub activation: Activation,
}

impl ConvForward {
    /// The order of the weights.
    pub fn packing(&self) -> Packing {
        Packing::forward(self.shape, self.tile.channels)
    }

    /// The twin, in any precision, for one block: input `[iy][ix][ic][lane]`, packed weights, biases `[oc]`,
    /// output and slope `[oy][ox][oc][lane]`.
    pub fn reference<R: Real>(
        &self,
        input: &[R],
        weights: &[R],
        bias: &[R],
        output: &mut [R],
        slope: &mut [R],
    ) {
        let (s, lanes, packing) = (&self.shape, self.lanes as usize, self.packing());
        for oy in 0..s.out_height {
            for ox in 0..s.out_width {
                for oc in 0..s.out_channels {
                    let mut z = vec![bias[oc]; lanes];
                    for ky in 0..s.kernel_height {
                        let iy = (oy * s.stride_y + ky).wrapping_sub(s.pad_top);
                        for kx in 0..s.kernel_width {
                            let ix = (ox * s.stride_x + kx).wrapping_sub(s.pad_left);
                            if iy >= s.in_height || ix >= s.in_width {
                                continue;
                            }
                            // A tap at a time: rounding errors grow with the length of a sum.
                            let mut tap = vec![R::from_f64(0.0); lanes];
                            for ic in 0..s.in_channels {
                                let weight = weights[packing.index(oc, ic, ky, kx)];
                                let from = ((iy * s.in_width + ix) * s.in_channels + ic) * lanes;
                                for (sum, x) in tap.iter_mut().zip(&input[from..from + lanes]) {
                                    *sum += weight * *x;
                                }
                            }
                            z.iter_mut().zip(tap).for_each(|(z, tap)| *z += tap);
                        }
                    }
                    let to = ((oy * s.out_width + ox) * s.out_channels + oc) * lanes;
                    for (lane, z) in z.into_iter().enumerate() {
                        (output[to + lane], slope[to + lane]) = activate(self.activation, z);
                    }
                }
            }
        }
    }
}

/// The overrides that describe a convolution.
pub(crate) fn conv_overrides(s: &ConvShape) -> Overrides {
    overrides![
        IN_CHANNELS: s.in_channels, IN_HEIGHT: s.in_height, IN_WIDTH: s.in_width,
        OUT_CHANNELS: s.out_channels, OUT_HEIGHT: s.out_height, OUT_WIDTH: s.out_width,
        KERNEL_HEIGHT: s.kernel_height, KERNEL_WIDTH: s.kernel_width, STRIDE_Y: s.stride_y,
        STRIDE_X: s.stride_x, PAD_TOP: s.pad_top, PAD_LEFT: s.pad_left,
    ]
}

impl KernelSpec for ConvForward {
    const SOURCE: &'static str = shader!["lib/activation", "lib/tile", "layers/conv_forward"];
    block_params!();
    const PER_BLOCK: bool = true;
    /// Input; packed weights; parameters; output; slope.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Write, Write];
    /// A dot product of n terms is off by sqrt(n) to n roundings of its terms, which are smaller than the largest output:
    /// 600 terms give 2e-6 to 4e-5, in practice the former. The activation adds 2e-6.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);
    const PACKED_WEIGHTS: Option<usize> = Some(1);

    fn needs(&self) -> Vec<Need> {
        let output = Need::PerBlock(self.shape.out_len());
        vec![
            Need::PerBlock(self.shape.in_len()),
            Need::Flat(self.packing().len()),
            Need::AtLeast(self.bias_offset + self.shape.out_channels),
            output,
            output,
        ]
    }

    fn prelude(&self) -> String {
        self.tile.prelude()
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = conv_overrides(&self.shape);
        overrides.extend(overrides![
            WORKGROUP_SIZE, LANES: self.lanes, BIAS_OFFSET: self.bias_offset,
            ACTIVATION: self.activation.code(), LEAK: self.activation.leak(),
        ]);
        overrides
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        let tiles = self.shape.out_height * self.shape.out_width.div_ceil(self.tile.pixels);
        let channel_tiles = self.shape.out_channels.div_ceil(self.tile.channels);
        [groups(tiles, self.lanes / 4), channel_tiles as u32, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [input, weights, parameters, output, slope] = bound(bindings);
        let bias = &parameters.floats()[self.bias_offset..];
        self.reference(input.floats(), weights.floats(), bias, output.floats_mut(), slope.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (number, shape) in bench.own(conv_shapes()) {
            // Tiles are no wider than a plan makes them.
            let pixels = (1 + number % 4).min(shape.out_width);
            let channels = tile_channels(bench.for_gpu, number);
            let tile = Tile { channels, pixels };
            let (bias_offset, activation) = (OFFSET + shape.weight_len(), activation(number));
            let kernel = Self { lanes, shape, tile, bias_offset, activation };
            let weights = bench.packed(&kernel.packing());
            let parameters = bench.flat("parameters", bias_offset + shape.out_channels + 5);
            let biases = bias_offset..bias_offset + shape.out_channels;
            fill_biases(bench, parameters, biases, shape.out_channels, number);
            let input = bench.images("input", shape.in_len());
            let [output, slope] = ["output", "slope"].map(|name| bench.per_block(name, shape.out_len()));
            bench.run(kernel, &[input, weights, parameters, output, slope]);
        }
    }
}
