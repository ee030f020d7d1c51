//! Fast bodies of the hot kernels, generic over the SIMD register; the twins in [`crate::kernels`] say what they
//! compute. Whatever has no body here runs its twin.

#![allow(clippy::needless_range_loop, reason = "see simd.rs")]

use super::lstm;
use super::simd::{Rows, Simd, TileMut, TileRef, Window, accumulate, correlate};
use crate::kernels::activation_jet::{ActivationJet, Jet};
use crate::kernels::activation_second::ActivationSecond;
use crate::kernels::conv_forward::ConvForward;
use crate::kernels::conv_input_gradient::ConvInputGradient;
use crate::kernels::conv_weight_gradient::ConvWeightGradient;
use crate::kernels::dense_forward::DenseForward;
use crate::kernels::dense_input_gradient::DenseInputGradient;
use crate::kernels::dense_weight_gradient::DenseWeightGradient;
use crate::kernels::{Binding, Kernel, State};
use crate::network::{Activation, ConvShape};
use std::ops::Range;

/// Runs one block of a per-block kernel.
#[inline(always)]
pub fn run_block<S: Simd>(kernel: &Kernel, index: u32, bindings: &mut [Binding]) {
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
            lstm::forward::<S>(k, x.floats(), packed.floats(), parameters, trace, output);
        }
        (Kernel::LstmBackward(k), [grad_out, packed, slope, trace, carry, grad]) => {
            let (trace, carry, grad) = (trace.floats_mut(), carry.floats_mut(), grad.floats_mut());
            lstm::backward::<S>(k, grad_out.floats(), packed.floats(), slope.floats(), trace, carry, grad);
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
        (Kernel::Langevin(k), [state, gradient, x]) => {
            k.block(&State::of(state.words()), index, gradient.floats(), x.floats_mut());
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
pub fn run_part<S: Simd>(kernel: &Kernel, first: usize, bindings: &mut [Binding]) {
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
        let rows = rows_of(segment);
        let (first, count) = segment.pixels;
        macro_rules! part {
            ($n:literal) => {
                if let Ok(part) = <&mut [[S; T]; $n]>::try_from(&mut sum[first..first + count]) {
                    accumulate::<S, T, $n>(part, weights, input, rows, source.lanes, source.step * pixel);
                }
            };
        }
        if count == P {
            accumulate::<S, T, P>(&mut sum, weights, input, rows, source.lanes, source.step * pixel);
        } else {
            match count {
                1 => part!(1),
                2 => part!(2),
                3 => part!(3),
                4 => part!(4),
                5 => part!(5),
                6 => part!(6),
                _ => part!(7),
            }
        }
    }
    sum
}

/// Calls `$body` with constants for a tile's channels and pixels, by the channels that weights are packed for.
macro_rules! with_tile {
    ($s:ident, $tile:expr, $body:ident ( $($argument:expr),* )) => {
        match ($tile, $s::MANY) {
            (1, true) => $body::<$s, 1, 8>($($argument),*),
            (1, false) => $body::<$s, 1, 4>($($argument),*),
            (2, true) => $body::<$s, 2, 6>($($argument),*),
            (2, false) => $body::<$s, 2, 4>($($argument),*),
            (3, true) => $body::<$s, 3, 4>($($argument),*),
            (3, false) => $body::<$s, 3, 2>($($argument),*),
            (4, true) => $body::<$s, 4, 4>($($argument),*),
            (4, false) => $body::<$s, 4, 2>($($argument),*),
            (tile, _) => panic!("weights packed for {tile} channels are for a GPU"),
        }
    };
}

#[inline(always)]
fn conv_forward<S: Simd>(
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
                let mut sum_of_bias = [S::splat(0.0); T];
                for (sum, bias) in sum_of_bias.iter_mut().zip(bias) {
                    *sum = S::splat(*bias);
                }
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
                    let sum: [[S; T]; P] = sum_tile(sum_of_bias, &tile, source, weights, input);
                    let at = ((oy * s.out_width + ox) * s.out_channels + channel_tile * T) * lanes + lane;
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
                        let pixel = oy * s.out_width + ox + p;
                        let at = (pixel * s.out_channels + channel_tile * T) * lanes + lane;
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

#[inline(always)]
fn activate<S: Simd>(activation: Activation, z: S, output: &mut [f32], slope: &mut [f32]) {
    let (value, derivative) = activated(activation, z);
    value.write(output);
    derivative.write(slope);
}

/// The activation's value and derivative.
#[inline(always)]
fn activated<S: Simd>(activation: Activation, z: S) -> (S, S) {
    let (zero, one) = (S::splat(0.0), S::splat(1.0));
    match activation {
        Activation::Identity => (z, one),
        Activation::Swish => {
            let s = z.sigmoid();
            let y = z.multiply(s);
            // s + y (1 - s)
            (y, y.multiply_add(one.add(s.multiply(S::splat(-1.0))), s))
        }
        Activation::LeakyRelu(_) | Activation::Relu => {
            let slope = z.where_positive(one, S::splat(activation.leak()));
            (slope.multiply(z), slope)
        }
        Activation::Elu => {
            let (scale, rest) = not_below_minus_80(z.where_positive(zero, z)).exp_parts();
            let y = rest.multiply_add(scale, scale.subtract(one));
            (z.where_positive(z, y), z.where_positive(one, rest.multiply_add(scale, scale)))
        }
        Activation::Softplus => {
            let exp = not_below_minus_80(z.where_positive(zero.subtract(z), z)).exp();
            (z.where_positive(z, zero).add(exp.ln_1_plus()), z.sigmoid())
        }
        Activation::Tanh => {
            // e / (e + 2), e = exp(2 z) - 1; beyond 10 it is 1.
            let ten = S::splat(10.0);
            let low = z.subtract(ten).where_positive(ten, z);
            let low = S::splat(-10.0).subtract(low).where_positive(S::splat(-10.0), low); // NaN stays
            let e = low.add(low).exp_minus_1();
            let y = e.divide(e.add(S::splat(2.0)));
            (y, one.subtract(y.multiply(y)))
        }
    }
}

/// The activation's value and its first three derivatives: [`crate::kernels::activation_jet::curves`].
#[inline(always)]
fn curves<S: Simd>(activation: Activation, z: S) -> [S; 4] {
    let (zero, one, two) = (S::splat(0.0), S::splat(1.0), S::splat(2.0));
    let (value, slope) = activated(activation, z);
    let (second, third) = match activation {
        Activation::Identity | Activation::LeakyRelu(_) | Activation::Relu => (zero, zero),
        Activation::Swish => {
            let s = z.sigmoid();
            let b = s.multiply(one.subtract(s));
            let turn = one.subtract(s.add(s));
            let bend = one.subtract(b.multiply(S::splat(6.0)));
            let third = turn.multiply_add(S::splat(3.0), z.multiply(bend));
            (b.multiply(turn.multiply_add(z, two)), b.multiply(third))
        }
        Activation::Elu => {
            let second = z.where_positive(zero, slope);
            (second, second)
        }
        Activation::Softplus => {
            let b = slope.multiply(one.subtract(slope));
            (b, b.multiply(one.subtract(slope.add(slope))))
        }
        Activation::Tanh => {
            let twice = slope.multiply(S::splat(-2.0));
            let third = slope.subtract(two.multiply(value.multiply(value)));
            (twice.multiply(value), twice.multiply(third))
        }
    };
    [value, slope, second, third]
}

#[inline(always)]
fn activation_jet<S: Simd>(k: &ActivationJet, z: &[f32], parameters: &[f32], a: &mut [f32]) {
    let (lanes, stream) = (k.lanes as usize, k.features * k.lanes as usize);
    let Jet { directions, first_order } = k.jet;
    for at in (0..stream).step_by(S::LANES) {
        let bias = S::splat(parameters[k.bias_offset + at / lanes % k.channels]);
        let [value, slope, second, _] = curves(k.activation, S::read(&z[at..]).add(bias));
        value.write(&mut a[at..]);
        let mut squares = S::splat(0.0);
        for d in 0..directions {
            let here = at + (1 + d) * stream;
            let tangent = S::read(&z[here..]);
            slope.multiply(tangent).write(&mut a[here..]);
            if d >= first_order {
                squares = tangent.multiply_add(tangent, squares);
            }
        }
        if k.jet.has_second() {
            let last = at + (1 + directions) * stream;
            slope.multiply_add(S::read(&z[last..]), second.multiply(squares)).write(&mut a[last..]);
        }
    }
}

#[inline(always)]
fn activation_second<S: Simd>(
    k: &ActivationSecond,
    z: &mut [f32],
    parameters: &[f32],
    value: &mut [f32],
    slope: &mut [f32],
) {
    let lanes = k.lanes as usize;
    for at in (0..z.len()).step_by(S::LANES) {
        let bias = S::splat(parameters[k.bias_offset + at / lanes % k.channels]);
        let curves = curves(k.activation, S::read(&z[at..]).add(bias));
        curves[0].write(&mut value[at..]);
        curves[1].write(&mut slope[at..]);
        curves[2].write(&mut z[at..]);
    }
}

#[inline(always)]
fn activation_jet_backward<S: Simd>(k: &ActivationJet, z: &[f32], parameters: &[f32], g: &mut [f32]) {
    let (lanes, stream) = (k.lanes as usize, k.features * k.lanes as usize);
    let Jet { directions, first_order } = k.jet;
    for at in (0..stream).step_by(S::LANES) {
        let bias = S::splat(parameters[k.bias_offset + at / lanes % k.channels]);
        let [_, slope, second, third] = curves(k.activation, S::read(&z[at..]).add(bias));
        let mut sum = slope.multiply(S::read(&g[at..]));
        let mut of_second = S::splat(0.0);
        if k.jet.has_second() {
            let last = at + (1 + directions) * stream;
            of_second = S::read(&g[last..]);
            sum = of_second.multiply(second).multiply_add(S::read(&z[last..]), sum);
            of_second.multiply(slope).write(&mut g[last..]);
        }
        let bend = of_second.multiply(third);
        let bend_of_second = S::splat(2.0).multiply(of_second.multiply(second));
        for d in 0..directions {
            let here = at + (1 + d) * stream;
            let (tangent, gradient) = (S::read(&z[here..]), S::read(&g[here..]));
            sum = gradient.multiply(second).multiply_add(tangent, sum);
            let mut next = gradient.multiply(slope);
            if d >= first_order {
                sum = bend.multiply(tangent).multiply_add(tangent, sum);
                next = bend_of_second.multiply_add(tangent, next);
            }
            next.write(&mut g[here..]);
        }
        sum.write(&mut g[at..]);
    }
}

/// What exponentials are taken of: `z` below -80 stands for 0 as well as -80 does. NaN stays.
#[inline(always)]
fn not_below_minus_80<S: Simd>(z: S) -> S {
    S::splat(-80.0).subtract(z).where_positive(S::splat(-80.0), z)
}

#[inline(always)]
fn conv_input_gradient<S: Simd>(
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
                        // Hidden, or the compiler keeps a hundred addresses up to date from one tile to the next.
                        let lane = std::hint::black_box(lane);
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
                        let sum: [[S; T]; P] = sum_tile([S::splat(0.0); T], &tile, source, weights, g);
                        let at = ((iy * s.in_width + ix) * s.in_channels + channel_tile * T) * lanes + lane;
                        if pixels == P && channels == T {
                            let step = s.stride_x * s.in_channels * lanes;
                            let mut grad = TileMut::<S, T, P>::new(&mut grad[at..], step, lanes);
                            if k.has_slope {
                                let slope = TileRef::<S, T, P>::new(&slope[at..], step, lanes);
                                for p in 0..P {
                                    for t in 0..T {
                                        grad.set(p, t, sum[p][t].multiply(slope.get(p, t)));
                                    }
                                }
                            } else {
                                for p in 0..P {
                                    for t in 0..T {
                                        grad.set(p, t, sum[p][t]);
                                    }
                                }
                            }
                            continue;
                        }
                        for (p, sum) in sum.iter().enumerate().take(pixels) {
                            let pixel = iy * s.in_width + ix + p * s.stride_x;
                            let at = (pixel * s.in_channels + channel_tile * T) * lanes + lane;
                            for (t, sum) in sum.iter().enumerate().take(channels) {
                                let at = at + t * lanes;
                                let value =
                                    if k.has_slope { sum.multiply(S::read(&slope[at..])) } else { *sum };
                                value.write(&mut grad[at..]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A dense layer as a convolution of one pixel, which is all that [`sum_tile`] needs to know.
fn dense_source(
    features: usize,
    lanes: usize,
    tile: usize,
    weights: usize,
    lane: usize,
) -> (RowTile, Source) {
    let source = Source {
        rows: 1,
        weights: weights * features * tile,
        weights_step: 0,
        input: lane,
        input_step: 0,
        channels: features,
        lanes,
        step: 1,
    };
    (RowTile::new(0, 1, 1, 1, 1), source)
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
    let lanes = k.lanes as usize;
    for (tile, bias) in bias.chunks(T).enumerate() {
        for lane in (0..lanes).step_by(S::LANES) {
            let (pixel, source) = dense_source(k.shape.in_len(), lanes, T, tile, lane);
            let mut start = [S::splat(0.0); T];
            for (start, bias) in start.iter_mut().zip(bias) {
                *start = S::splat(*bias);
            }
            let sum: [[S; T]; 1] = sum_tile(start, &pixel, source, weights, input);
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
    let (s, lanes) = (&k.shape, k.lanes as usize);
    for tile in 0..s.in_channels.div_ceil(T) {
        let channels = T.min(s.in_channels - tile * T);
        for pixel in 0..s.in_pixels {
            for lane in (0..lanes).step_by(S::LANES) {
                let (one, source) = dense_source(s.units, lanes, T, tile * s.in_pixels + pixel, lane);
                let sum: [[S; T]; 1] = sum_tile([S::splat(0.0); T], &one, source, weights, g);
                for (t, sum) in sum[0].iter().enumerate().take(channels) {
                    let at = (pixel * s.in_channels + tile * T + t) * lanes + lane;
                    let value = if k.has_slope { sum.multiply(S::read(&slope[at..])) } else { *sum };
                    value.write(&mut grad[at..]);
                }
            }
        }
    }
}

/// Output channels that one piece of work on a weight gradient owns.
pub const PIECE: usize = 16;

/// The gradient of up to [`PIECE`] output channels' weights and biases over the blocks of `input` and `g`.
pub struct WeightPiece<'a> {
    /// `[oc][ic][ky][kx]` of the piece's channels.
    pub weights: &'a mut [f32],
    /// `[oc]` of the piece's channels.
    pub biases: &'a mut [f32],
    /// The first of the piece's channels.
    pub first: usize,
    /// Which of the layer's weights, where it has several: an LSTM cell's for its input, or for its state.
    pub section: usize,
}

/// The weight gradient of one piece.
#[inline(always)]
pub fn weight_piece<S: Simd>(kernel: &Kernel, piece: WeightPiece, input: &[f32], g: &[f32]) {
    match kernel {
        Kernel::ConvWeightGradient(k) => conv_weight_gradient::<S>(k, piece, input, g),
        Kernel::DenseWeightGradient(k) => dense_weight_gradient::<S>(k, piece, input, g),
        Kernel::LstmWeightGradient(k) => lstm::weight_gradient::<S>(k, piece, input, g),
        _ => panic!("{} has no weight gradient", kernel.name()),
    }
}

/// Floats of g and of input that a weight gradient's tiles may take of a first-level cache.
const NEAR: usize = 7680;
/// Floats of input that are put side by side at a time: a part of a second-level cache.
const FAR: usize = 32 << 10;
/// Channels that are put side by side at a time, if they fit: neighbours in memory.
const ABREAST: usize = 8;

/// Calls `$body` with constants for the rows and columns of a tile of a weight gradient.
macro_rules! with_weight_tile {
    ($s:ident, $body:ident ( $($argument:expr),* )) => {
        match ($s::MANY, $s::LANES) {
            (true, _) => $body::<$s, 4, 4>($($argument),*),
            (false, 4) => $body::<$s, 4, 2>($($argument),*), // products take a register, too
            (false, _) => $body::<$s, 4, 3>($($argument),*),
        }
    };
}

#[inline(always)]
fn conv_weight_gradient<S: Simd>(k: &ConvWeightGradient, piece: WeightPiece, input: &[f32], g: &[f32]) {
    with_weight_tile!(S, conv_weight_tiles(k, piece, input, g));
}

/// A tile is T output channels by Q columns; a column is a tap of an input channel. As many units as fit a near cache go
/// through all tiles together, or else one, by bands of its output rows: what a tile reads, the next reads again.
#[inline(always)]
fn conv_weight_tiles<S: Simd, const T: usize, const Q: usize>(
    k: &ConvWeightGradient,
    piece: WeightPiece,
    input: &[f32],
    g: &[f32],
) {
    let (s, lanes) = (&k.shape, k.lanes as usize);
    let WeightPiece { weights, biases, first, .. } = piece;
    biases.fill(0.0);
    let n_units = g.len() / (s.out_len() * S::LANES);
    let phases = Phases::new(s, Q.min(s.in_channels));
    let (g_len, x_len) = (s.out_height * s.out_width * T * S::LANES, phases.len() * S::LANES); // of a unit
    let (g_step, x_step) = (T * S::LANES, phases.channels * S::LANES); // of a pixel
    let near = g_len + phases.phase_len() * S::LANES;
    let at_once = (NEAR / near).clamp(1, n_units);
    let band = s.out_height.div_ceil((near * at_once).div_ceil(NEAR));
    // Input channels come in groups of up to Q, of which the last may be smaller.
    let tiles: [Vec<WeightTile<Q>>; 2] = [phases.channels, s.in_channels % phases.channels]
        .map(|channels| phases.tiles(s, channels, S::LANES));
    let (n_groups, n_rows) = (s.in_channels.div_ceil(phases.channels), biases.len().div_ceil(T));
    let (row_len, group_len) = (tiles[0].len(), n_rows * tiles[0].len());
    let abreast = (FAR / (at_once * x_len)).min(ABREAST / Q).clamp(1, n_groups);
    let mut sums = vec![[[0.0; Q]; T]; n_groups * group_len];
    let mut gs = vec![0.0; n_rows * at_once * g_len];
    let mut xs = vec![0.0; abreast * at_once * x_len]; // padding stays zero
    for start in (0..n_units).step_by(at_once) {
        let units = Units { lanes, first: start, count: at_once.min(n_units - start) };
        let (pixels, streams) = (s.out_height * s.out_width, k.streams as usize);
        units.gather_g::<S, T>(&mut gs, g, (pixels, s.out_channels), (first, biases), streams);
        for (group, sums) in sums.chunks_exact_mut(group_len).enumerate() {
            let first = group * phases.channels;
            if group % abreast == 0 {
                let channels = (abreast * phases.channels).min(s.in_channels - first);
                for i in 0..units.count {
                    let from = &units.of::<S>(i, input, s.in_len())[first * lanes..];
                    phases.gather::<S, Q>(s, &mut xs[i * x_len..], from, lanes, channels, at_once * x_len);
                }
            }
            let xs = &xs[group % abreast * at_once * x_len..];
            let tiles = &tiles[usize::from(s.in_channels - first < phases.channels)];
            for top in (0..s.out_height).step_by(band) {
                for (gs, sums) in gs.chunks_exact(at_once * g_len).zip(sums.chunks_exact_mut(row_len)) {
                    for (tile, sums) in tiles.iter().zip(sums) {
                        let rows = tile.rows.start.max(top)..tile.rows.end.min(top + band);
                        if rows.is_empty() || tile.columns.is_empty() {
                            continue;
                        }
                        let window = Window {
                            counts: [units.count, rows.len(), tile.columns.len()],
                            g_steps: [g_len, s.out_width * g_step, g_step],
                            x_steps: [x_len, phases.width * x_step, x_step],
                        };
                        let from = |steps: [usize; 3]| rows.start * steps[1] + tile.columns.start * steps[2];
                        let (g, x) = (&gs[from(window.g_steps)..], &xs[from(window.x_steps)..]);
                        let mut sum = [[S::splat(0.0); Q]; T];
                        correlate::<S, T, Q>(&mut sum, g, x, window, S::LANES, tile.offsets);
                        let sum = sum_lanes(&sum);
                        for t in 0..T {
                            for q in 0..Q {
                                sums[t][q] += sum[t][q];
                            }
                        }
                    }
                }
            }
        }
    }
    let taps = s.kernel_height * s.kernel_width;
    for (group, sums) in sums.chunks_exact(group_len).enumerate() {
        let first = group * phases.channels;
        let tiles = &tiles[usize::from(s.in_channels - first < phases.channels)];
        for (oc, row) in weights.chunks_exact_mut(s.in_channels * taps).enumerate() {
            let sums = &sums[oc / T * row_len..];
            for (tile, sums) in tiles.iter().zip(sums) {
                for q in 0..tile.count {
                    row[first * taps + tile.weights[q]] = sums[oc % T][q];
                }
            }
        }
    }
}

/// The sums of the lanes of a tile's registers.
#[inline(always)]
fn sum_lanes<S: Simd, const T: usize, const Q: usize>(tile: &[[S; Q]; T]) -> [[f32; Q]; T] {
    let mut registers = [S::splat(0.0); 16];
    for i in 0..T * Q {
        registers[i] = tile[i / Q][i % Q];
    }
    let mut flat = [0.0; 16];
    for i in (0..T * Q).step_by(S::LANES) {
        S::sums(&registers[i..i + S::LANES]).write(&mut flat[i..]);
    }
    let mut sums = [[0.0; Q]; T];
    for i in 0..T * Q {
        sums[i / Q][i % Q] = flat[i];
    }
    sums
}

/// Some of a chunk's units, and how many `lanes` a block has: a unit is as many of a block's images as a register takes.
#[derive(Clone, Copy)]
struct Units {
    lanes: usize,
    first: usize,
    count: usize,
}

impl Units {
    /// The first value of unit `i`, and what follows up to its block's end. A block has `len` values of each image.
    #[inline(always)]
    fn of<'v, S: Simd>(&self, i: usize, values: &'v [f32], len: usize) -> &'v [f32] {
        let lane = (self.first + i) * S::LANES;
        &values[lane / self.lanes * self.lanes * len..][lane % self.lanes..self.lanes * len]
    }

    /// Puts the output channels from `first` on, as many as `biases`, side by side: `[tile][unit][pixel][T]` registers, and
    /// adds up every block's first stream for their biases. Without streams there are none.
    #[inline(always)]
    fn gather_g<S: Simd, const T: usize>(
        &self,
        to: &mut [f32],
        g: &[f32],
        (pixels, channels): (usize, usize),
        (first, biases): (usize, &mut [f32]),
        streams: usize,
    ) {
        let tile_len = to.len() / biases.len().div_ceil(T);
        for (tile, (to, biases)) in to.chunks_exact_mut(tile_len).zip(biases.chunks_mut(T)).enumerate() {
            for i in 0..self.count {
                let from = &self.of::<S>(i, g, pixels * channels)[(first + tile * T) * self.lanes..];
                let to = &mut to[i * pixels * T * S::LANES..][..pixels * T * S::LANES];
                let steps = (T * S::LANES, channels * self.lanes);
                let mut sums = [S::splat(0.0); T];
                if biases.len() == T {
                    copy_pixels(to, from, steps, self.lanes, &mut sums);
                } else {
                    for c in 0..biases.len() {
                        let (to, from) = (&mut to[c * S::LANES..], &from[c * self.lanes..]);
                        let mut sum = [S::splat(0.0)];
                        copy_pixels(to, from, steps, self.lanes, &mut sum);
                        sums[c] = sum[0];
                    }
                }
                if streams > 0 && ((self.first + i) * S::LANES / self.lanes).is_multiple_of(streams) {
                    for c in 0..biases.len() {
                        biases[c] += sums[c].sum();
                    }
                }
            }
        }
    }
}

/// Puts N registers of every pixel side by side, and adds them up. Pixels lie `steps` apart, registers `lanes`.
#[inline(always)]
fn copy_pixels<S: Simd, const N: usize>(
    to: &mut [f32],
    from: &[f32],
    steps: (usize, usize),
    lanes: usize,
    sums: &mut [S; N],
) {
    let mut total = *sums;
    for (to, from) in to.chunks_mut(steps.0).zip(from.chunks(steps.1)) {
        let registers: [S; N] = copy_registers(to, from, lanes);
        for i in 0..N {
            total[i] = total[i].add(registers[i]);
        }
    }
    *sums = total;
}

/// Puts N registers, `lanes` apart, side by side.
#[inline(always)]
fn copy_registers<S: Simd, const N: usize>(to: &mut [f32], from: &[f32], lanes: usize) -> [S; N] {
    let (to, from) = (&mut to[..N * S::LANES], &from[..(N - 1) * lanes + S::LANES]);
    let mut registers = [S::splat(0.0); N];
    for i in 0..N {
        registers[i] = S::read(&from[i * lanes..]);
    }
    for i in 0..N {
        registers[i].write(&mut to[i * S::LANES..]);
    }
    registers
}

/// The input of a convolution, padded and split by what is left of its rows and columns when divided by the stride: a tap
/// walks one of these phases, pixel by pixel. `[phase][row][column][channel]` registers.
struct Phases {
    of_rows: usize,
    of_columns: usize,
    height: usize,
    width: usize,
    channels: usize,
}

impl Phases {
    fn new(s: &ConvShape, channels: usize) -> Self {
        Self {
            of_rows: s.stride_y.min(s.kernel_height),
            of_columns: s.stride_x.min(s.kernel_width),
            height: s.out_height + (s.kernel_height - 1) / s.stride_y,
            width: s.out_width + (s.kernel_width - 1) / s.stride_x,
            channels,
        }
    }

    /// Registers of a phase.
    fn phase_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Registers of all phases.
    fn len(&self) -> usize {
        self.of_rows * self.of_columns * self.phase_len()
    }

    /// Writes the first `channels` of what `from` holds into their phases, each Q of them `group_step` after the last.
    #[inline(always)]
    fn gather<S: Simd, const Q: usize>(
        &self,
        s: &ConvShape,
        to_all: &mut [f32],
        from: &[f32],
        lanes: usize,
        channels: usize,
        group_step: usize,
    ) {
        for phase in 0..self.of_rows * self.of_columns {
            let (py, px) = (phase / self.of_columns, phase % self.of_columns);
            let columns = pixels_inside(px, s.pad_left, s.stride_x, s.in_width, self.width);
            for y in pixels_inside(py, s.pad_top, s.stride_y, s.in_height, self.height) {
                let row = (y * s.stride_y + py - s.pad_top) * s.in_width;
                for x in columns.clone() {
                    let pixel = row + x * s.stride_x + px - s.pad_left;
                    let from = &from[pixel * s.in_channels * lanes..];
                    let to = ((phase * self.height + y) * self.width + x) * self.channels * S::LANES;
                    let whole = channels / Q;
                    for group in 0..whole {
                        let to = &mut to_all[group * group_step + to..];
                        copy_registers::<S, Q>(to, &from[group * Q * lanes..], lanes);
                    }
                    for c in whole * Q..channels {
                        let to = whole * group_step + to + c % Q * S::LANES;
                        S::read(&from[c * lanes..]).write(&mut to_all[to..]);
                    }
                }
            }
        }
    }

    /// The tiles of all taps of `channels`, taps of a phase next to each other.
    fn tiles<const Q: usize>(&self, s: &ConvShape, channels: usize, lanes: usize) -> Vec<WeightTile<Q>> {
        let mut tiles: Vec<WeightTile<Q>> = Vec::new();
        for phase in 0..self.of_rows * self.of_columns {
            let (py, px) = (phase / self.of_columns, phase % self.of_columns);
            for ky in (py..s.kernel_height).step_by(s.stride_y) {
                for kx in (px..s.kernel_width).step_by(s.stride_x) {
                    let rows = pixels_inside(ky, s.pad_top, s.stride_y, s.in_height, s.out_height);
                    let columns = pixels_inside(kx, s.pad_left, s.stride_x, s.in_width, s.out_width);
                    let pixel = (phase * self.height + ky / s.stride_y) * self.width + kx / s.stride_x;
                    for channel in 0..channels {
                        let offset = (pixel * self.channels + channel) * lanes;
                        let weight = (channel * s.kernel_height + ky) * s.kernel_width + kx;
                        match tiles.last_mut() {
                            Some(tile) if tile.count < Q => tile.add(offset, weight, &rows, &columns),
                            _ => tiles.push(WeightTile::new(offset, weight, &rows, &columns)),
                        }
                    }
                }
            }
        }
        tiles
    }
}

/// The pixels of `0..out` whose tap `k` reads one of `len`.
fn pixels_inside(k: usize, pad: usize, stride: usize, len: usize, out: usize) -> Range<usize> {
    let low = pad.saturating_sub(k).div_ceil(stride).min(out);
    let high = (len + pad).saturating_sub(k).div_ceil(stride).min(out);
    low..high.max(low)
}

/// Up to Q columns of a weight gradient.
struct WeightTile<const Q: usize> {
    count: usize,
    /// Where each column's input begins, from the unit's first; those beyond `count` repeat the last.
    offsets: [usize; Q],
    /// Which weights they are.
    weights: [usize; Q],
    /// Output rows that reach beyond the padding by any of them.
    rows: Range<usize>,
    /// The same of output columns.
    columns: Range<usize>,
}

impl<const Q: usize> WeightTile<Q> {
    fn new(offset: usize, weight: usize, rows: &Range<usize>, columns: &Range<usize>) -> Self {
        let (rows, columns) = (rows.clone(), columns.clone());
        Self { count: 1, offsets: [offset; Q], weights: [weight; Q], rows, columns }
    }

    fn add(&mut self, offset: usize, weight: usize, rows: &Range<usize>, columns: &Range<usize>) {
        self.offsets[self.count..].fill(offset);
        self.weights[self.count..].fill(weight);
        self.count += 1;
        self.rows = self.rows.start.min(rows.start)..self.rows.end.max(rows.end);
        self.columns = self.columns.start.min(columns.start)..self.columns.end.max(columns.end);
    }
}

#[inline(always)]
fn dense_weight_gradient<S: Simd>(k: &DenseWeightGradient, piece: WeightPiece, input: &[f32], g: &[f32]) {
    with_weight_tile!(S, dense_weight_tiles(k, piece, input, g));
}

/// A tile is T units of the layer by Q of its features, which come in the order of the weights.
#[inline(always)]
fn dense_weight_tiles<S: Simd, const T: usize, const Q: usize>(
    k: &DenseWeightGradient,
    piece: WeightPiece,
    input: &[f32],
    g: &[f32],
) {
    let (s, lanes) = (&k.shape, k.lanes as usize);
    let WeightPiece { weights, biases, first, .. } = piece;
    weights.fill(0.0);
    biases.fill(0.0);
    let n_units = g.len() / (s.units * S::LANES);
    let at_once = (NEAR / ((biases.len().next_multiple_of(T) + Q) * S::LANES)).clamp(1, n_units);
    let mut gs = vec![0.0; biases.len().div_ceil(T) * at_once * T * S::LANES];
    let mut xs = vec![0.0; at_once * Q * S::LANES];
    for start in (0..n_units).step_by(at_once) {
        let units = Units { lanes, first: start, count: at_once.min(n_units - start) };
        units.gather_g::<S, T>(&mut gs, g, (1, s.units), (first, biases), k.streams as usize);
        for feature in (0..s.in_len()).step_by(Q) {
            let count = Q.min(s.in_len() - feature);
            let mut from = [0; Q];
            for q in 0..count {
                let f = feature + q;
                from[q] = (f % s.in_pixels * s.in_channels + f / s.in_pixels) * lanes;
            }
            for i in 0..units.count {
                let x = units.of::<S>(i, input, s.in_len());
                let mut registers = [S::splat(0.0); Q];
                for q in 0..Q {
                    registers[q] = S::read(&x[from[q]..]);
                }
                for q in 0..Q {
                    registers[q].write(&mut xs[(i * Q + q) * S::LANES..]);
                }
            }
            let rows = gs.chunks_exact(at_once * T * S::LANES).zip(weights.chunks_mut(T * s.in_len()));
            for (gs, weights) in rows {
                let window = Window {
                    counts: [1, 1, units.count],
                    g_steps: [0, 0, T * S::LANES],
                    x_steps: [0, 0, Q * S::LANES],
                };
                let mut sum = [[S::splat(0.0); Q]; T];
                correlate::<S, T, Q>(
                    &mut sum,
                    gs,
                    &xs,
                    window,
                    S::LANES,
                    std::array::from_fn(|q| q * S::LANES),
                );
                let sums = sum_lanes(&sum);
                for (row, sums) in weights.chunks_exact_mut(s.in_len()).zip(&sums) {
                    for (weight, sum) in row[feature..][..count].iter_mut().zip(sums) {
                        *weight += sum;
                    }
                }
            }
        }
    }
}

/// Independent chains of [`multiply_adds`]: enough to hide an instruction's latency behind the others.
pub const CHAINS: usize = 12;

/// `turns` times [`CHAINS`] multiply-adds on registers, and something made of them.
#[inline(always)]
pub fn multiply_adds<S: Simd>(turns: usize, result: &mut f32) {
    let mut chains = [S::splat(1.0); CHAINS];
    let (factor, summand) = (S::splat(std::hint::black_box(0.999)), S::splat(std::hint::black_box(1e-3)));
    for _ in 0..turns {
        for i in 0..CHAINS {
            chains[i] = factor.multiply_add(chains[i], summand);
        }
    }
    let mut lanes = [0.0; 16 * CHAINS]; // written whole, so that the compiler keeps plain floats in registers, too
    for (chain, lanes) in chains.iter().zip(lanes.chunks_exact_mut(S::LANES)) {
        chain.write(lanes);
    }
    *result = lanes.iter().sum();
}
