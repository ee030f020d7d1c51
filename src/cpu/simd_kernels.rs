//! Fast bodies of the hot kernels, generic over the SIMD register; the twins in [`crate::kernels`] say what they
//! compute. Whatever has no body runs its twin. Here are the layers there and back; activations, weight gradients and LSTM
//! cells have files of their own.

#![allow(clippy::needless_range_loop, reason = "see simd.rs")]

use super::activation::{activate, activated, activation_jet, activation_jet_backward, activation_second};
use super::lstm;
use super::simd::{Rows, Simd, TileMut, TileRef, accumulate};
use super::weight_gradient::{conv_weight_gradient, dense_weight_gradient};
use super::weight_gradient_split::WeightSlice;
pub(super) use super::winograd::run_block as run_winograd;
use crate::kernels::conv_forward::ConvForward;
use crate::kernels::conv_input_gradient::ConvInputGradient;
use crate::kernels::dense_forward::DenseForward;
use crate::kernels::dense_input_gradient::DenseInputGradient;
use crate::kernels::{Binding, Kernel, Slope, State};
use std::ops::Range;

/// Runs one block of a per-block kernel.
#[inline(always)]
pub(super) fn run_block<S: Simd>(kernel: &Kernel, index: u32, bindings: &mut [Binding]) {
    match (kernel, bindings) {
        (Kernel::ConvForward(k), [input, weights, parameters, output, slope]) => {
            let bias = &parameters.floats()[k.bias_offset..][..k.shape.out_channels];
            let (output, slope) = (output.floats_mut(), slope.floats_mut());
            conv_forward::<S>(k, input.floats(), weights.floats(), bias, output, slope);
        }
        (Kernel::ConvInputGradient(k), [g, weights, slope, grad]) => {
            conv_input_gradient::<S>(k, g.floats(), weights.floats(), slope.floats(), grad.floats_mut());
        }
        (Kernel::DenseForward(k), [input, weights, parameters, output, slope]) => {
            let bias = &parameters.floats()[k.bias_offset..][..k.shape.units];
            let (output, slope) = (output.floats_mut(), slope.floats_mut());
            dense_forward::<S>(k, input.floats(), weights.floats(), bias, output, slope);
        }
        (Kernel::DenseInputGradient(k), [g, weights, slope, grad]) => {
            dense_input_gradient::<S>(k, g.floats(), weights.floats(), slope.floats(), grad.floats_mut());
        }
        (Kernel::LstmForward(k), [x, packed, parameters, trace, output]) => {
            let parameters = &parameters.floats()[k.cell.weight_offset..][..k.cell.weight_len()];
            let (trace, output) = (trace.floats_mut(), output.floats_mut());
            lstm::forward::<S::Narrow>(k, x.floats(), packed.floats(), parameters, trace, output);
        }
        (Kernel::LstmBackward(k), [grad_out, packed, slope, trace, carry, grad]) => {
            let (trace, carry, grad) = (trace.floats_mut(), carry.floats_mut(), grad.floats_mut());
            lstm::backward::<S::Narrow>(
                k,
                grad_out.floats(),
                packed.floats(),
                slope.floats(),
                trace,
                carry,
                grad,
            );
        }
        (Kernel::ActivationJet(k), [z, parameters, a]) => {
            activation_jet::<S>(k, z.floats(), parameters.floats(), a.floats_mut());
        }
        (Kernel::ActivationJetBackward(k), [z, parameters, g]) => {
            activation_jet_backward::<S>(&k.0, z.floats(), parameters.floats(), g.floats_mut());
        }
        (Kernel::ActivationSecond(k), [z, parameters, value, slope]) => {
            let (value, slope) = (value.floats_mut(), slope.floats_mut());
            activation_second::<S>(k, z.floats_mut(), parameters.floats(), value, slope);
        }
        (Kernel::ChainRule(k), [slope, value, second]) => {
            k.reference(slope.floats(), value.floats_mut(), second.floats_mut());
        }
        (Kernel::AddValues(k), [value, sum]) => k.reference(value.floats(), sum.floats_mut()),
        (Kernel::Langevin(k), [state, gradient, x, levels @ ..]) => {
            let levels = levels.first().map(Binding::floats);
            k.block(&State::of(state.words()), index, gradient.floats(), x.floats_mut(), levels);
        }
        (Kernel::DrawReal(k), [state, data, x]) => {
            k.block(&State::of(state.words()), index, data, x.floats_mut());
        }
        (Kernel::Random(k), [state, output]) => {
            k.block(&State::of(state.words()), index, output.words_mut());
        }
        (kernel, bindings) => kernel.run(index, bindings),
    }
}

/// Runs a part of a kernel that is not per block, by its twin: it only has to be compiled with the instruction set.
#[inline(always)]
pub(super) fn run_part<S: Simd>(kernel: &Kernel, first: usize, bindings: &mut [Binding]) {
    kernel.run_part(first, bindings);
}

/// Taps of one row that reach the same pixels of a tile.
#[derive(Clone, Copy, Default)]
struct Segment {
    taps: (usize, usize),   // first and count
    pixels: (usize, usize), // first and count
    column: usize,          // input column of the first tap at the first pixel
}

/// A tile of 8 pixels has 17 segments at most: each pixel's taps begin once and end once.
const MAX_SEGMENTS: usize = 32;

/// A tile of pixels in one row: which taps reach which of its pixels.
struct RowTile {
    segments: [Segment; MAX_SEGMENTS],
    n_segments: usize,
}

impl RowTile {
    /// For `pixels` pixels, `step` input columns apart; tap `j` of `taps` reads column `first + j + p * step` for
    /// pixel `p`, and there are `width` columns.
    fn new(first: isize, step: usize, taps: usize, pixels: usize, width: usize) -> Self {
        let mut tile = Self { segments: [Segment::default(); MAX_SEGMENTS], n_segments: 0 };
        for tap in 0..taps {
            let column = first + tap as isize;
            let inside = |p: &usize| (0..width as isize).contains(&(column + (p * step) as isize));
            let Some(low) = (0..pixels).find(inside) else { continue };
            let count = (low..pixels).take_while(inside).count();
            match tile.segments[..tile.n_segments].last_mut() {
                Some(s) if s.pixels == (low, count) && s.taps.0 + s.taps.1 == tap => s.taps.1 += 1,
                _ => {
                    tile.segments[tile.n_segments] = Segment {
                        taps: (tap, 1),
                        pixels: (low, count),
                        column: (column + (low * step) as isize) as usize,
                    };
                    tile.n_segments += 1;
                }
            }
        }
        tile
    }
}

/// The rows of input and weights that one row of output takes, shared by all its tiles.
#[derive(Clone, Copy)]
struct Source {
    rows: usize,
    weights: usize,
    weights_step: usize,
    input: usize, // of column 0
    input_step: isize,
    channels: usize,
    lanes: usize,
    step: usize, // input columns from one pixel of the tile to the next
}

/// The sums of a tile of T channels by up to P pixels, on top of what each channel starts with.
#[inline(always)]
fn sum_tile<S: Simd, const T: usize, const P: usize>(
    start: [S; T],
    tile: &RowTile,
    source: Source,
    weights: &[f32],
    input: &[f32],
) -> [[S; T]; P] {
    let pixel = source.channels * source.lanes;
    let rows_of = |segment: &Segment| Rows {
        count: source.rows,
        weights: source.weights + segment.taps.0 * source.channels * T,
        weights_step: source.weights_step,
        input: source.input + segment.column * pixel,
        input_step: source.input_step,
        length: segment.taps.1 * source.channels,
    };
    if tile.n_segments == 1 && tile.segments[0].pixels == (0, P) {
        // Most tiles: their sums never leave the registers.
        let mut sum = [start; P];
        let rows = rows_of(&tile.segments[0]);
        accumulate::<S, T, P>(&mut sum, weights, input, rows, source.lanes, source.step * pixel);
        return sum;
    }
    let mut sum = [start; P];
    for segment in &tile.segments[..tile.n_segments] {
        let (rows, step) = (rows_of(segment), source.step * pixel);
        let (first, count) = segment.pixels;
        macro_rules! part {
            ($n:literal) => {
                if let Ok(part) = <&mut [[S; T]; $n]>::try_from(&mut sum[first..first + count]) {
                    accumulate::<S, T, $n>(part, weights, input, rows, source.lanes, step);
                }
            };
        }
        match count {
            _ if count == P => accumulate::<S, T, P>(&mut sum, weights, input, rows, source.lanes, step),
            // One of two, by constants: a tile that numbers index has to be in memory.
            1 if const { P == 2 } => {
                for p in 0..P {
                    if p == first {
                        let part = std::array::from_mut(&mut sum[p]);
                        accumulate::<S, T, 1>(part, weights, input, rows, source.lanes, step);
                    }
                }
            }
            // Only those that there are, or half of the program would be sums that nothing takes.
            1 if const { P > 1 } => part!(1),
            2 if const { P > 2 } => part!(2),
            3 if const { P > 3 } => part!(3),
            4 if const { P > 4 } => part!(4),
            5 if const { P > 5 } => part!(5),
            6 if const { P > 6 } => part!(6),
            7 if const { P > 7 } => part!(7),
            _ => unreachable!("{count} of {P} pixels"),
        }
    }
    sum
}

/// Calls `$body` with constants for a tile's channels and pixels, by the channels that weights are packed for.
macro_rules! with_tile {
    ($s:ident, $tile:expr, $body:ident ( $($argument:expr),* )) => {
        // By constants, so that tiles of other registers are not compiled at all.
        if const { $s::SUMS == 16 } {
            with_tile!(@ $s, $tile, $body, ($($argument),*), [1 8] [2 6] [3 4] [4 4] [8 2])
        } else if const { $s::SUMS == 8 } {
            with_tile!(@ $s, $tile, $body, ($($argument),*), [1 4] [2 4] [3 2] [4 2] [8 1])
        } else if const { $s::SUMS == 4 } {
            with_tile!(@ $s, $tile, $body, ($($argument),*), [1 4] [2 2] [3 1] [4 1] [8 1])
        } else {
            with_tile!(@ $s, $tile, $body, ($($argument),*), [1 2] [2 1] [3 1] [4 1] [8 1])
        }
    };
    (@ $s:ident, $tile:expr, $body:ident, $arguments:tt, $([$t:literal $p:literal])*) => {
        match $tile {
            $($t => with_tile!(! $s, $body, $t, $p, $arguments),)*
            tile => panic!("weights packed for {tile} channels are for a GPU"),
        }
    };
    (! $s:ident, $body:ident, $t:literal, $p:literal, ($($argument:expr),*)) => {
        $body::<$s, $t, $p>($($argument),*)
    };
}

/// See [`ConvForward::reference`].
#[inline(always)]
pub(super) fn conv_forward<S: Simd>(
    k: &ConvForward,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    output: &mut [f32],
    slope: &mut [f32],
) {
    with_tile!(S, k.tile.channels, conv_forward_tiles(k, input, weights, bias, output, slope));
}

#[inline(always)]
fn conv_forward_tiles<S: Simd, const T: usize, const P: usize>(
    k: &ConvForward,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    output: &mut [f32],
    slope: &mut [f32],
) {
    let (s, lanes) = (&k.shape, k.lanes as usize);
    let row = s.kernel_width * s.in_channels * T; // packed weights of a kernel row
    let input_row = s.in_width * s.in_channels * lanes;
    for ox in (0..s.out_width).step_by(P) {
        let pixels = P.min(s.out_width - ox);
        let first = (ox * s.stride_x) as isize - s.pad_left as isize;
        let tile = RowTile::new(first, s.stride_x, s.kernel_width, pixels, s.in_width);
        for oy in 0..s.out_height {
            let top = (oy * s.stride_y) as isize - s.pad_top as isize;
            let ky = taps_inside(top, s.kernel_height, s.in_height);
            for (channel_tile, bias) in bias.chunks(T).enumerate() {
                let mut start = [0.0; T];
                start[..bias.len()].copy_from_slice(bias);
                for lane in (0..lanes).step_by(S::LANES) {
                    let source = Source {
                        rows: ky.len(),
                        weights: (channel_tile * s.kernel_height + ky.start) * row,
                        weights_step: row,
                        input: (top + ky.start as isize).max(0) as usize * input_row + lane,
                        input_step: input_row as isize,
                        channels: s.in_channels,
                        lanes,
                        step: s.stride_x,
                    };
                    let sum: [[S; T]; P] = sum_tile(S::splat_all(&start), &tile, source, weights, input);
                    let at = ((oy * s.out_width + ox) * s.out_channels + channel_tile * T) * lanes + lane;
                    let at = std::hint::black_box(at); // see conv_input_gradient_tiles
                    if pixels == P && bias.len() == T {
                        let mut output =
                            TileMut::<S, T, P>::new(&mut output[at..], s.out_channels * lanes, lanes);
                        let mut slope =
                            TileMut::<S, T, P>::new(&mut slope[at..], s.out_channels * lanes, lanes);
                        for p in 0..P {
                            for t in 0..T {
                                let (value, derivative) = activated(k.activation, sum[p][t]);
                                output.set(p, t, value);
                                slope.set(p, t, derivative);
                            }
                        }
                        continue;
                    }
                    for (p, sum) in sum.iter().enumerate().take(pixels) {
                        let at = at + p * s.out_channels * lanes;
                        for (t, z) in sum.iter().enumerate().take(bias.len()) {
                            activate(
                                k.activation,
                                *z,
                                &mut output[at + t * lanes..],
                                &mut slope[at + t * lanes..],
                            );
                        }
                    }
                }
            }
        }
    }
}

/// The taps `t` of `taps` with `first + t` in `0..len`.
fn taps_inside(first: isize, taps: usize, len: usize) -> Range<usize> {
    let start = (-first).clamp(0, taps as isize) as usize;
    let end = (len as isize - first).clamp(0, taps as isize) as usize;
    start..end.max(start)
}

/// See [`ConvInputGradient::reference`].
#[inline(always)]
pub(super) fn conv_input_gradient<S: Simd>(
    k: &ConvInputGradient,
    g: &[f32],
    weights: &[f32],
    slope: &[f32],
    grad: &mut [f32],
) {
    with_tile!(S, k.tile.channels, conv_input_gradient_tiles(k, g, weights, slope, grad));
}

#[inline(always)]
fn conv_input_gradient_tiles<S: Simd, const T: usize, const P: usize>(
    k: &ConvInputGradient,
    g: &[f32],
    weights: &[f32],
    slope: &[f32],
    grad: &mut [f32],
) {
    let (s, lanes, packing) = (&k.shape, k.lanes as usize, k.packing());
    let row = s.kernel_width * s.out_channels * T;
    let g_row = s.out_width * s.out_channels * lanes;
    for offset in 0..s.stride_x.min(s.in_width) {
        let phase = (offset + s.pad_left) % s.stride_x;
        let taps = packing.taps_of_phase(phase);
        let first_tap: usize = (0..phase).map(|p| packing.taps_of_phase(p)).sum();
        let columns = (s.in_width - offset).div_ceil(s.stride_x); // of this phase
        for tile_start in (0..columns).step_by(P) {
            let pixels = P.min(columns - tile_start);
            let ix = offset + tile_start * s.stride_x;
            // Tap t is kx = phase + (taps - 1 - t) stride, so it reads column (ix + pad - kx) / stride.
            let first = ((ix + s.pad_left - phase) / s.stride_x) as isize - taps as isize + 1;
            let tile = RowTile::new(first, 1, taps, pixels, s.out_width);
            for iy in 0..s.in_height {
                // The rows ky = phase_y + n stride read row (iy + pad - phase_y) / stride - n.
                let phase_y = (iy + s.pad_top) % s.stride_y;
                let n_rows = (s.kernel_height + s.stride_y - 1 - phase_y) / s.stride_y;
                let top = (iy + s.pad_top - phase_y) / s.stride_y;
                let start = (top + 1).saturating_sub(s.out_height).min(n_rows);
                let rows = start..n_rows.min(top + 1).max(start);
                for channel_tile in 0..s.in_channels.div_ceil(T) {
                    let channels = T.min(s.in_channels - channel_tile * T);
                    for lane in (0..lanes).step_by(S::LANES) {
                        let ky = phase_y + rows.start * s.stride_y;
                        let source = Source {
                            rows: rows.len(),
                            weights: (channel_tile * s.kernel_height + ky) * row
                                + first_tap * s.out_channels * T,
                            weights_step: s.stride_y * row,
                            input: top.wrapping_sub(rows.start).wrapping_mul(g_row).wrapping_add(lane),
                            input_step: -(g_row as isize),
                            channels: s.out_channels,
                            lanes,
                            step: 1,
                        };
                        let mut sum: [[S; T]; P] = sum_tile([S::splat(0.0); T], &tile, source, weights, g);
                        let at = ((iy * s.in_width + ix) * s.in_channels + channel_tile * T) * lanes + lane;
                        // Hidden, or the compiler keeps a hundred addresses up to date from one tile to the next.
                        let at = std::hint::black_box(at);
                        if pixels == P && channels == T {
                            let step = s.stride_x * s.in_channels * lanes;
                            if let Some(slope) = k.slope.of(slope, grad) {
                                let slope = TileRef::<S, T, P>::new(&slope[at..], step, lanes);
                                for p in 0..P {
                                    for t in 0..T {
                                        sum[p][t] = sum[p][t].multiply(slope.get(p, t));
                                    }
                                }
                            }
                            let mut grad = TileMut::<S, T, P>::new(&mut grad[at..], step, lanes);
                            for p in 0..P {
                                for t in 0..T {
                                    grad.set(p, t, sum[p][t]);
                                }
                            }
                            continue;
                        }
                        for (p, sum) in sum.iter().enumerate().take(pixels) {
                            let at = at + p * s.stride_x * s.in_channels * lanes;
                            for (t, sum) in sum.iter().enumerate().take(channels) {
                                let at = at + t * lanes;
                                times_slope(k.slope, *sum, slope, grad, at).write(&mut grad[at..]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A register of a gradient, times that of the slope.
#[inline(always)]
pub(super) fn times_slope<S: Simd>(place: Slope, sum: S, slope: &[f32], grad: &[f32], at: usize) -> S {
    match place.of(slope, grad) {
        Some(slope) => sum.multiply(S::read(&slope[at..])),
        None => sum,
    }
}

/// A dense layer as a convolution of one pixel, which is all that [`sum_tile`] needs to know: the tap that there is.
fn dense_tap() -> RowTile {
    RowTile::new(0, 1, 1, 1, 1)
}

/// What that tap takes, of the tile whose weights come after those of `weights` others.
#[inline(always)]
fn dense_source(features: usize, lanes: usize, tile: usize, weights: usize, lane: usize) -> Source {
    Source {
        rows: 1,
        weights: weights * features * tile,
        weights_step: 0,
        input: lane,
        input_step: 0,
        channels: features,
        lanes,
        step: 1,
    }
}

#[inline(always)]
fn dense_forward<S: Simd>(
    k: &DenseForward,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    output: &mut [f32],
    slope: &mut [f32],
) {
    with_tile!(S, k.tile_channels, dense_forward_tiles(k, input, weights, bias, output, slope));
}

#[inline(always)]
fn dense_forward_tiles<S: Simd, const T: usize, const P: usize>(
    k: &DenseForward,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    output: &mut [f32],
    slope: &mut [f32],
) {
    let (lanes, tap) = (k.lanes as usize, dense_tap());
    for (tile, bias) in bias.chunks(T).enumerate() {
        let mut start = [0.0; T];
        start[..bias.len()].copy_from_slice(bias);
        for lane in (0..lanes).step_by(S::LANES) {
            let source = dense_source(k.shape.in_len(), lanes, T, tile, lane);
            let sum: [[S; T]; 1] = sum_tile(S::splat_all(&start), &tap, source, weights, input);
            for (t, z) in sum[0].iter().enumerate().take(bias.len()) {
                let at = (tile * T + t) * lanes + lane;
                activate(k.activation, *z, &mut output[at..], &mut slope[at..]);
            }
        }
    }
}

#[inline(always)]
fn dense_input_gradient<S: Simd>(
    k: &DenseInputGradient,
    g: &[f32],
    weights: &[f32],
    slope: &[f32],
    grad: &mut [f32],
) {
    with_tile!(S, k.tile_channels, dense_input_gradient_tiles(k, g, weights, slope, grad));
}

#[inline(always)]
fn dense_input_gradient_tiles<S: Simd, const T: usize, const P: usize>(
    k: &DenseInputGradient,
    g: &[f32],
    weights: &[f32],
    slope: &[f32],
    grad: &mut [f32],
) {
    let (s, lanes, tap) = (&k.shape, k.lanes as usize, dense_tap());
    for tile in 0..s.in_channels.div_ceil(T) {
        let channels = T.min(s.in_channels - tile * T);
        for pixel in 0..s.in_pixels {
            for lane in (0..lanes).step_by(S::LANES) {
                let source = dense_source(s.units, lanes, T, tile * s.in_pixels + pixel, lane);
                let sum: [[S; T]; 1] = sum_tile([S::splat(0.0); T], &tap, source, weights, g);
                for (t, sum) in sum[0].iter().enumerate().take(channels) {
                    let at = (pixel * s.in_channels + tile * T + t) * lanes + lane;
                    times_slope(k.slope, *sum, slope, grad, at).write(&mut grad[at..]);
                }
            }
        }
    }
}

/// The weight gradient of one piece.
#[inline(always)]
pub(super) fn weight_slice<S: Simd>(kernel: &Kernel, slice: WeightSlice, input: &[f32], g: &[f32]) {
    match kernel {
        Kernel::ConvWeightGradient(k) => conv_weight_gradient::<S>(k, slice, input, g),
        Kernel::DenseWeightGradient(k) => dense_weight_gradient::<S::Narrow>(k, slice, input, g),
        Kernel::LstmWeightGradient(k) => lstm::weight_gradient::<S::Narrow>(k, slice, input, g),
        _ => panic!("{} has no weight gradient", kernel.name()),
    }
}

/// Independent chains of [`multiply_adds`]: enough to hide an instruction's latency behind the others.
pub(super) const CHAINS: usize = 12;

/// `turns` times [`CHAINS`] multiply-adds on registers, and something made of them.
#[inline(always)]
pub(super) fn multiply_adds<S: Simd>(turns: usize, result: &mut f32) {
    let mut chains = [S::Narrow::splat(1.0); CHAINS];
    let (factor, summand) =
        (S::Narrow::splat(std::hint::black_box(0.999)), S::Narrow::splat(std::hint::black_box(1e-3)));
    for _ in 0..turns {
        for i in 0..CHAINS {
            chains[i] = summand.add_product(factor, chains[i]);
        }
    }
    let mut lanes = [0.0; 16 * CHAINS]; // written whole, so that the compiler keeps plain floats in registers, too
    for (chain, lanes) in chains.iter().zip(lanes.chunks_exact_mut(S::Narrow::LANES)) {
        chain.write(lanes);
    }
    *result = lanes.iter().sum();
}
