//! Layers of Langevin chains, there and back, by products of bfloat16 ([`super::Isa::Bf16`]): a float's upper half, of which an
//! instruction takes two in each lane where it would take one float, and adds both products up as floats.
//!
//! What a layer reads is rounded and paired, two neighbouring channels a lane; its weights are, once an update. From there on
//! the layer is that of half as many channels. An odd number of them is paired with the next column's, where the stride is
//! even. Sums, activations, slopes and what becomes of them stay floats, and so does all that a model learns from.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no register has pairs"))]

use super::simd::Paired;
use super::simd_kernels::{conv_forward, conv_input_gradient};
use super::{Line, SCRATCH};
use crate::kernels::conv_forward::ConvForward;
use crate::kernels::conv_input_gradient::ConvInputGradient;
use crate::kernels::{Binding, Kernel};
use crate::network::ConvShape;

/// How a layer, or its input gradient, is done by pairs.
#[derive(Debug)]
pub(super) struct Bf16Conv {
    /// The layer of pairs.
    shape: ConvShape,
    /// Channels of a tile of packed weights.
    tile: usize,
    /// Values of a row of weights and pairs made of them; a row of the kernel where columns are merged.
    weights: (usize, usize),
    /// The same of a row of the input.
    input: (usize, usize),
    /// Values outside the input that come before a row's first.
    before: usize,
}

impl Bf16Conv {
    /// Of a kernel whose blocks are a register wide, where its sums are over an even number of channels; forward, of an odd
    /// one, too, if two columns can be taken for one of twice the channels.
    pub(super) fn new(kernel: &Kernel) -> Option<Self> {
        let halves = |channels: usize| channels.is_multiple_of(2).then_some(channels / 2);
        let (lanes, tile, shape) = match kernel {
            Kernel::ConvForward(k) => {
                let Some(in_channels) = halves(k.shape.in_channels) else {
                    return Self::merged(k).filter(|_| k.lanes.is_multiple_of(16));
                };
                (k.lanes, k.tile, ConvShape { in_channels, ..k.shape })
            }
            Kernel::ConvInputGradient(k) => {
                let out_channels = halves(k.shape.out_channels)?;
                (k.lanes, k.tile, ConvShape { out_channels, ..k.shape })
            }
            _ => return None,
        };
        let pairs = Self { shape, tile: tile.channels, weights: (2, 1), input: (2, 1), before: 0 };
        lanes.is_multiple_of(16).then_some(pairs)
    }

    /// Columns by twos, where the stride is even: the first that a tap reads is then always the first of two.
    fn merged(k: &ConvForward) -> Option<Self> {
        let s = &k.shape;
        let before = s.pad_left % 2;
        let shape = ConvShape {
            in_width: (before + s.in_width).div_ceil(2),
            kernel_width: s.kernel_width.div_ceil(2),
            stride_x: s.stride_x / 2,
            pad_left: s.pad_left / 2,
            ..*s
        };
        let pairs = Self {
            weights: (s.kernel_width * s.in_channels, shape.kernel_width * s.in_channels),
            input: (s.in_width * s.in_channels, shape.in_width * s.in_channels),
            before: before * s.in_channels,
            tile: k.tile.channels,
            shape,
        };
        s.stride_x.is_multiple_of(2).then_some(pairs)
    }

    /// Pairs packed weights.
    pub(super) fn pair_weights(&self, packed: &[f32], paired: &mut Vec<f32>) {
        let (values, pairs) = self.weights;
        paired.clear();
        for row in packed.chunks_exact(values * self.tile) {
            let value = |i: usize| row.get(i).map_or(0, |value| u32::from(rounded(*value)));
            for i in 0..pairs * self.tile {
                let low = i / self.tile * 2 * self.tile + i % self.tile;
                paired.push(f32::from_bits(value(low + self.tile) << 16 | value(low)));
            }
        }
    }

    /// Rounds and pairs what a layer reads: `[row][value][lane]` becomes `[row][pair][lane]`.
    #[inline(always)]
    fn pair_input<'s, S: Paired>(
        &self,
        input: &[f32],
        lanes: usize,
        scratch: &'s mut Vec<Line>,
    ) -> &'s [f32] {
        let (values, pairs) = self.input;
        let len = input.len() / values * pairs;
        if scratch.len() * 16 < len {
            scratch.resize(len.div_ceil(16), Line([0; 16]));
        }
        let paired = &mut bytemuck::cast_slice_mut(scratch)[..len];
        if self.input == (2, 1) {
            for (two, pair) in input.chunks_exact(2 * lanes).zip(paired.chunks_exact_mut(lanes)) {
                let (low, high) = two.split_at(lanes);
                pair_values::<S>(Some(low), Some(high), pair);
            }
            return paired;
        }
        for (row, paired) in input.chunks_exact(values * lanes).zip(paired.chunks_exact_mut(pairs * lanes)) {
            for (i, pair) in paired.chunks_exact_mut(lanes).enumerate() {
                let value = |i: usize| match i.checked_sub(self.before) {
                    Some(i) if i < values => Some(&row[i * lanes..][..lanes]),
                    _ => None,
                };
                pair_values::<S>(value(2 * i), value(2 * i + 1), pair);
            }
        }
        paired
    }

    /// Runs one block of its launch, with paired weights.
    #[inline(always)]
    pub(super) fn run_block<S: Paired>(&self, weights: &[f32], kernel: &Kernel, bindings: &mut [Binding]) {
        let mut scratch = SCRATCH.take();
        match (kernel, bindings) {
            (Kernel::ConvForward(k), [input, _, parameters, output, slope]) => {
                let bias = &parameters.floats()[k.bias_offset..][..k.shape.out_channels];
                let (output, slope) = (output.floats_mut(), slope.floats_mut());
                let input = self.pair_input::<S>(input.floats(), k.lanes as usize, &mut scratch);
                let k = ConvForward { shape: self.shape, ..k.clone() };
                conv_forward::<S>(&k, input, weights, bias, output, slope);
            }
            (Kernel::ConvInputGradient(k), [g, _, slope, grad]) => {
                let g = self.pair_input::<S>(g.floats(), k.lanes as usize, &mut scratch);
                let (slope, grad) = (slope.floats(), grad.floats_mut());
                let k = ConvInputGradient { shape: self.shape, ..k.clone() };
                conv_input_gradient::<S>(&k, g, weights, slope, grad);
            }
            (kernel, _) => panic!("{} has no pairs", kernel.name()),
        }
        SCRATCH.set(scratch);
    }
}

/// Pairs two values of all lanes: 0 for those that there are not.
#[inline(always)]
fn pair_values<S: Paired>(low: Option<&[f32]>, high: Option<&[f32]>, pair: &mut [f32]) {
    for lane in (0..pair.len()).step_by(S::LANES) {
        let (mut lows, mut highs) = (S::splat(0.0), S::splat(0.0));
        if let Some(low) = low {
            lows = S::read(&low[lane..]);
        }
        if let Some(high) = high {
            highs = S::read(&high[lane..]);
        }
        S::pair(lows, highs).write(&mut pair[lane..]);
    }
}

/// The upper half of a float's bits, rounded to the nearest, to even where it is a tie; NaN stays NaN. [`Paired::pair`] does
/// the same to numbers that are not below 1e-38.
fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{ConvDims, assert_near, double, packed, shape, uniform};
    use crate::cpu::{Isa, run_bf16};
    use crate::kernels::Slope;
    use crate::kernels::pack_weights::{Packing, Tile};
    use crate::network::Activation;
    use rand::{SeedableRng, rngs::StdRng};

    const LANES: usize = 16;

    /// Layers that can be done by pairs, and whether their input gradients can.
    const SHAPES: [(ConvDims, bool); 8] = [
        (([16, 8, 8], 8, [3, 3], [2, 2], [1, 1], [1, 1]), true),
        (([2, 5, 7], 12, [2, 3], [1, 2], [0, 2], [1, 1]), true),
        (([40, 4, 5], 3, [3, 4], [1, 1], [0, 1], [1, 1]), false),
        (([1, 28, 28], 16, [5, 5], [2, 2], [4, 4], [4, 4]), true), // `mnist-small`
        (([1, 9, 12], 4, [4, 4], [2, 2], [1, 1], [1, 1]), true),   // `digits`
        (([3, 6, 11], 8, [3, 3], [1, 2], [1, 0], [1, 2]), true),
        (([5, 4, 7], 2, [1, 1], [2, 4], [0, 3], [0, 2]), true),
        (([1, 3, 1], 2, [2, 3], [1, 2], [1, 1], [0, 1]), true),
    ];

    /// The number that [`rounded`] keeps of each.
    fn kept(values: &[f32]) -> Vec<f64> {
        values.iter().map(|v| f64::from(f32::from_bits(u32::from(rounded(*v)) << 16))).collect()
    }

    fn tile(channels: usize) -> Tile {
        let channels = if channels.is_multiple_of(8) { 8 } else { 4 - channels % 4 };
        Tile { channels, pixels: 1 }
    }

    fn weights(kernel: &Kernel, packing: Packing, rng: &mut StdRng) -> (Bf16Conv, Vec<f32>, Vec<f32>) {
        let pairs = Bf16Conv::new(kernel).unwrap_or_else(|| panic!("no pairs for {kernel:?}"));
        let (packed, mut paired) = (packed(packing, rng), Vec::new());
        pairs.pair_weights(&packed, &mut paired);
        (pairs, packed, paired)
    }

    #[test]
    fn layers_are_what_their_twins_are_of_rounded_numbers() {
        if !Isa::Bf16.is_available() {
            return;
        }
        for (i, (shape_of, _)) in SHAPES.into_iter().enumerate() {
            // The exponential of a chain's activations is rough.
            for (activation, allowed) in [(Activation::Identity, 2e-6), (Activation::Swish, 3e-4)] {
                let rng = &mut StdRng::seed_from_u64(i as u64);
                let shape = shape(shape_of);
                let tile = tile(shape.out_channels);
                let k = ConvForward { lanes: LANES as u32, shape, tile, bias_offset: 3, activation };
                let (pairs, mut packed, paired) = weights(&k.clone().into(), k.packing(), rng);
                let mut input = uniform(rng, shape.in_len() * LANES);
                let mut parameters = uniform(rng, 3 + shape.out_channels);
                let [mut output, mut slope] = [0; 2].map(|_| vec![f32::NAN; shape.out_len() * LANES]);
                let bindings = &mut [&mut input, &mut packed, &mut parameters, &mut output, &mut slope]
                    .map(|values| Binding::Write(bytemuck::cast_slice_mut(values)));
                run_bf16(&pairs, &paired, &k.clone().into(), bindings);
                let [mut twin, mut twin_slope] = [0; 2].map(|_| vec![0.0; output.len()]);
                let bias = double(&parameters[3..]);
                k.reference(&kept(&input), &kept(&packed), &bias, &mut twin, &mut twin_slope);
                assert_near(&format!("output of {shape_of:?}"), &output, &twin, allowed);
                assert_near(&format!("slope of {shape_of:?}"), &slope, &twin_slope, allowed);
            }
        }
    }

    #[test]
    fn input_gradients_are_what_their_twins_are_of_rounded_numbers() {
        if !Isa::Bf16.is_available() {
            return;
        }
        for (i, (shape_of, can)) in SHAPES.into_iter().enumerate() {
            for slope in [Slope::None, Slope::Beside, Slope::InPlace] {
                let rng = &mut StdRng::seed_from_u64(i as u64);
                let shape = shape(shape_of);
                let k =
                    ConvInputGradient { lanes: LANES as u32, shape, tile: tile(shape.in_channels), slope };
                if !can {
                    assert!(Bf16Conv::new(&k.into()).is_none(), "{shape_of:?}");
                    continue;
                }
                let (pairs, mut packed, paired) = weights(&k.clone().into(), k.packing(), rng);
                let mut g = uniform(rng, shape.out_len() * LANES);
                let mut beside = uniform(rng, shape.in_len() * LANES);
                let mut grad = uniform(rng, shape.in_len() * LANES);
                let (before, mut twin) = (double(&beside), double(&grad));
                let bindings = &mut [&mut g, &mut packed, &mut beside, &mut grad]
                    .map(|values| Binding::Write(bytemuck::cast_slice_mut(values)));
                run_bf16(&pairs, &paired, &k.clone().into(), bindings);
                k.reference(&kept(&g), &kept(&packed), &before, &mut twin);
                assert_near(&format!("{slope:?}, {shape_of:?}"), &grad, &twin, 2e-6);
            }
        }
    }

    /// Ties, numbers next to them, and the largest that there are, through a layer that only copies.
    #[test]
    fn numbers_are_rounded_to_even() {
        let halves = [0x3f80_8000_u32, 0x3f81_8000, 0x3f80_8001, 0x3f80_7fff, 0xbf81_8000, 0x7f7f_0000, 0];
        let right = [0x3f80_u16, 0x3f82, 0x3f81, 0x3f80, 0xbf82, 0x7f7f, 0];
        assert_eq!(halves.map(|bits| rounded(f32::from_bits(bits))), right);
        assert!(f32::from_bits(u32::from(rounded(f32::from_bits(0x7f80_0001))) << 16).is_nan());
        if !Isa::Bf16.is_available() {
            return;
        }
        let shape = shape(([2, 1, 1], 2, [1, 1], [1, 1], [0, 0], [0, 0]));
        let (tile, activation) = (tile(2), Activation::Identity);
        let k = ConvForward { lanes: LANES as u32, shape, tile, bias_offset: 0, activation };
        let pairs = Bf16Conv::new(&k.clone().into()).unwrap();
        let mut packed = vec![0.0; k.packing().len()];
        (0..2).for_each(|c| packed[k.packing().index(c, c, 0, 0)] = 1.0);
        let mut paired = Vec::new();
        pairs.pair_weights(&packed, &mut paired);
        let mut input = vec![0.0; 2 * LANES];
        for (i, bits) in halves.into_iter().enumerate() {
            (input[i], input[LANES + 7 + i]) = (f32::from_bits(bits), f32::from_bits(bits));
        }
        let (mut parameters, mut output, mut slope) = (vec![0.0; 2], input.clone(), input.clone());
        let bindings = &mut [&mut input, &mut packed, &mut parameters, &mut output, &mut slope]
            .map(|values| Binding::Write(bytemuck::cast_slice_mut(values)));
        run_bf16(&pairs, &paired, &k.into(), bindings);
        for (value, kept) in output.iter().zip(kept(&input)) {
            assert_eq!(f64::from(*value), kept);
        }
    }
}
