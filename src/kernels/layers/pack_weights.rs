//! Rearranges a layer's weights for the kernels that read them, once an update.
//!
//! Files and the optimiser keep PyTorch's `[out][in][ky][kx]`. A kernel that owns a tile of channels wants them next to
//! each other, and its taps in the order in which it walks its input.

use crate::kernels::prelude::*;
use crate::network::{ConvShape, DenseShape};
use std::slice::ChunksExactMut;

/// Channels by pixels that one invocation owns in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Channels: on a GPU a multiple of 4, 32 at most (`shaders/lib/tile.wgsl`).
    pub channels: usize,
    /// Neighbouring pixels of one row: 4 at most.
    pub pixels: usize,
}

impl Tile {
    /// The prelude of kernels that use it: its sizes, as constants of the shader.
    pub(crate) fn prelude(&self) -> String {
        let Self { channels, pixels } = self;
        debug_assert!(*channels <= 32 && *pixels <= 4, "{self:?}: more than the shaders have");
        let sizes = [("PIXELS", *pixels), ("VECTORS", channels / 4)];
        sizes.map(|(name, size)| format!("const TILE_{name} = {size}u;\n")).concat()
    }
}

/// The order of a layer's packed weights.
///
/// Forward: `[out tile][ky][kx][in][out in tile]`. Backward: `[in tile][ky][tap][out][in in tile]`, with the columns
/// `kx` sorted by `kx mod stride_x`, and descending within: for one input pixel, the taps that reach it then lie side
/// by side, in the order of the output pixels that they come from. Tiles are filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packing {
    /// Outputs of the layer.
    pub out_channels: usize,
    /// Inputs of the layer.
    pub in_channels: usize,
    /// Kernel rows.
    pub kernel_height: usize,
    /// Kernel columns.
    pub kernel_width: usize,
    /// Columns that the kernel moves by.
    pub stride_x: usize,
    /// Channels of a tile: output channels forward, input channels backward.
    pub tile: usize,
    /// False forward, true backward.
    pub backward: bool,
    /// Pixels that the input channels are made of: a flattened input comes as `[pixel][channel]` and has weights for
    /// `[channel][pixel]`. 1 where nothing is flattened.
    pub flattened: usize,
}

impl Packing {
    /// For [`crate::kernels::conv_forward`].
    pub fn forward(s: ConvShape, tile: usize) -> Self {
        Self {
            out_channels: s.out_channels,
            in_channels: s.in_channels,
            kernel_height: s.kernel_height,
            kernel_width: s.kernel_width,
            stride_x: s.stride_x,
            tile,
            backward: false,
            flattened: 1,
        }
    }

    /// For [`crate::kernels::conv_input_gradient`].
    pub fn backward(s: ConvShape, tile: usize) -> Self {
        Self { backward: true, ..Self::forward(s, tile) }
    }

    /// For the dense kernels: a kernel of one column and a row for each pixel of the flattened input, so that
    /// features come in the device's order `[pixel][channel]`.
    pub fn dense(s: DenseShape, tile: usize, backward: bool) -> Self {
        Self {
            out_channels: s.units,
            in_channels: s.in_channels,
            kernel_height: s.in_pixels,
            kernel_width: 1,
            stride_x: 1,
            tile,
            backward,
            flattened: 1,
        }
    }

    /// Weights.
    pub fn weight_len(&self) -> usize {
        self.in_channels * self.out_channels * self.kernel_height * self.kernel_width
    }

    /// Floats, padding included.
    pub fn len(&self) -> usize {
        let (tiled, other) = self.tiled();
        tiled.div_ceil(self.tile) * self.tile * other * self.kernel_height * self.kernel_width
    }

    /// True where there is nothing to pack.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tiled(&self) -> (usize, usize) {
        if self.backward {
            (self.in_channels, self.out_channels)
        } else {
            (self.out_channels, self.in_channels)
        }
    }

    /// Columns `kx` with `kx mod stride_x == phase`.
    pub fn taps_of_phase(&self, phase: usize) -> usize {
        (self.kernel_width + self.stride_x - 1 - phase) / self.stride_x
    }

    /// The place of column `kx` among the kernel's columns.
    pub fn column(&self, kx: usize) -> usize {
        if !self.backward {
            return kx;
        }
        let phase = kx % self.stride_x;
        let before: usize = (0..phase).map(|p| self.taps_of_phase(p)).sum();
        before + self.taps_of_phase(phase) - 1 - kx / self.stride_x
    }

    /// Where the weight from input channel `ic` to output channel `oc` at tap (`ky`, `kx`) lies.
    pub fn index(&self, oc: usize, ic: usize, ky: usize, kx: usize) -> usize {
        let (tiled, other) = if self.backward { (ic, oc) } else { (oc, ic) };
        let (_, others) = self.tiled();
        let row = (tiled / self.tile * self.kernel_height + ky) * self.kernel_width + self.column(kx);
        (row * others + other) * self.tile + tiled % self.tile
    }
}

/// Channels across the tiles that the twin packs at a time.
const PACKET: usize = 8;

/// Packs a tap's weights of a whole tile of N channels.
#[inline(always)]
fn pack_whole<const N: usize>(
    packed: ChunksExactMut<f32>,
    weights: &[f32],
    tiled: &[usize],
    others: &[usize],
) {
    let mut columns = [weights; N];
    for (column, tiled) in columns.iter_mut().zip(tiled) {
        *column = &weights[*tiled..];
    }
    for (packed, &other) in packed.zip(others) {
        let mut tile = [0.0; N];
        for (value, column) in tile.iter_mut().zip(&columns) {
            *value = column[other];
        }
        packed.copy_from_slice(&tile);
    }
}

/// Packs one layer's weights one way.
#[derive(Clone, Debug, PartialEq)]
pub struct PackWeights {
    /// The order.
    pub packing: Packing,
    /// Where the weights lie in the parameters.
    pub weight_offset: usize,
    /// Where the packed weights begin in their buffer.
    pub packed_offset: usize,
}

impl KernelSpec for PackWeights {
    const SOURCE: &'static str = shader!["layers/pack_weights"];
    block_params!();
    const PER_BLOCK: bool = false;
    /// Parameters; packed weights.
    const ACCESS: &'static [Access] = &[Read, Write];
    /// Copies.
    const TOLERANCE: Tolerance = Tolerance::EXACT;

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::AtLeast(self.weight_offset + self.packing.weight_len()),
            Need::AtLeast(self.packed_offset + self.packing.len()),
        ]
    }

    fn overrides(&self) -> Overrides {
        let p = &self.packing;
        overrides![
            WORKGROUP_SIZE, OUT_CHANNELS: p.out_channels, IN_CHANNELS: p.in_channels,
            KERNEL_HEIGHT: p.kernel_height, KERNEL_WIDTH: p.kernel_width, STRIDE_X: p.stride_x,
            TILE: p.tile, BACKWARD: p.backward, FLATTENED: p.flattened, WEIGHT_OFFSET: self.weight_offset,
            PACKED_OFFSET: self.packed_offset,
        ]
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        let p = &self.packing;
        let (tiled, other) = p.tiled();
        let columns = tiled.div_ceil(p.tile) * p.tile * other;
        [(columns as u32).div_ceil(WORKGROUP_SIZE), (p.kernel_height * p.kernel_width) as u32, 1]
    }

    fn parts(&self) -> Option<Parts> {
        let p = &self.packing;
        let (tiled, _) = p.tiled();
        let (items, offset) = (tiled.div_ceil(p.tile), self.packed_offset);
        let words = p.len() / items.max(1);
        Some(Parts { items, words, offset, cost: 4 * words })
    }

    #[inline(always)]
    fn run_part(&self, first: usize, bindings: &mut [Binding]) {
        let [parameters, packed] = bound(bindings);
        let p = &self.packing;
        let weights = &parameters.floats()[self.weight_offset..];
        let packed = packed.floats_mut();
        let taps = p.kernel_height * p.kernel_width;
        // Where the weights of a channel begin: that of an output, and on top of it that of an input.
        let channels = p.in_channels / p.flattened;
        let column = |ic: usize| ic % channels * p.flattened + ic / channels;
        let outs: Vec<usize> = (0..p.out_channels).map(|oc| oc * p.in_channels * taps).collect();
        let ins: Vec<usize> = (0..p.in_channels).map(|ic| column(ic) * taps).collect();
        let (tiled, others) = if p.backward { (&ins, &outs) } else { (&outs, &ins) };
        // Where the weights of a tap go.
        let row = others.len() * p.tile;
        let place = |tap: usize| (tap - tap % p.kernel_width + p.column(tap % p.kernel_width)) * row;
        let places: Vec<usize> = (0..taps).map(place).collect();
        for (packed, tiled) in packed.chunks_exact_mut(taps * row).zip(tiled.chunks(p.tile).skip(first)) {
            // The padding; and the rest because whole lines in a row come to the cache sooner than those of all taps.
            packed.fill(0.0);
            // A few at a time, whose weights stay in the nearest cache for all taps.
            for (packet, others) in others.chunks(PACKET).enumerate() {
                for (tap, place) in places.iter().enumerate() {
                    let packed = packed[place + packet * PACKET * p.tile..].chunks_exact_mut(p.tile);
                    let weights = &weights[tap..];
                    match p.tile {
                        // As below, for the tiles that plans for the CPU have.
                        4 if tiled.len() == 4 => pack_whole::<4>(packed, weights, tiled, others),
                        8 if tiled.len() == 8 => pack_whole::<8>(packed, weights, tiled, others),
                        _ => {
                            for (packed, other) in packed.zip(others) {
                                for (packed, tiled) in packed.iter_mut().zip(tiled) {
                                    *packed = weights[tiled + other];
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let convs = bench.own(conv_shapes()).into_iter().flat_map(|(number, shape)| {
            let channels = tile_channels(bench.for_gpu, number / 2);
            [Packing::forward(shape, channels), Packing::backward(shape, channels)]
        });
        let denses = bench.own(dense_shapes()).into_iter().flat_map(|(number, shape)| {
            [false, true]
                .map(|backward| Packing::dense(shape, tile_channels(bench.for_gpu, number), backward))
        });
        for packing in convs.chain(denses).collect::<Vec<_>>() {
            let (weight_len, packed_offset) = (packing.weight_len(), 5);
            let parameters = bench.flat("parameters", OFFSET + weight_len + 3);
            bench.fill(parameters, OFFSET..OFFSET + weight_len, 1.0);
            let packed = bench.flat("packed", packed_offset + packing.len() + 2);
            let all = packed_offset..packed_offset + packing.len();
            let kernel = Self { packing, weight_offset: OFFSET, packed_offset };
            bench.run_whole(kernel, &[parameters, packed], &[(packed, vec![all])]);
        }
    }
}
