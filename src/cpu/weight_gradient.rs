//! Weight gradients: tiles of output channels by taps of input channels, summed over pixels, blocks and lanes.

#![allow(clippy::needless_range_loop, reason = "see simd.rs")]

use super::simd::{Simd, Window, correlate, outer_products, prefetch};
use super::weight_gradient_split::WeightSlice;
use crate::kernels::conv_weight_gradient::ConvWeightGradient;
use crate::kernels::dense_weight_gradient::DenseWeightGradient;
use crate::network::ConvShape;
use std::ops::Range;

/// Floats of g and of input that a weight gradient's tiles may take of a first-level cache.
const NEAR: usize = 7680;
/// Floats of input that are put side by side at a time: a part of a second-level cache.
const FAR: usize = 32 << 10;
/// Channels that are put side by side at a time, if they fit: neighbours in memory.
const ABREAST: usize = 8;
/// Pixels ahead of the one being put side by side that are asked for: a processor sees no pattern in what lies a pixel of all
/// channels apart.
const AHEAD: usize = 4;

/// See [`ConvWeightGradient::reference`].
#[inline(always)]
pub(super) fn conv_weight_gradient<S: Simd>(
    k: &ConvWeightGradient,
    slice: WeightSlice,
    input: &[f32],
    g: &[f32],
) {
    // By constants, so that tiles of other registers are not compiled at all.
    if const { <S::Narrow as Simd>::SUMS == 16 } {
        conv_weight_tiles::<S, 4, 4>(k, slice, input, g);
    } else if const { S::Narrow::LANES == 4 } {
        conv_weight_tiles::<S, 4, 2>(k, slice, input, g); // products take a register, too
    } else {
        conv_weight_tiles::<S, 4, 3>(k, slice, input, g);
    }
}

/// A tile is T output channels by Q columns; a column is a tap of an input channel. As many units as fit a near cache go
/// through all tiles together, or else one, by bands of its output rows: what a tile reads, the next reads again. Where
/// registers are narrower than blocks, a pixel's images are as many pixels of its row.
#[inline(always)]
fn conv_weight_tiles<S: Simd, const T: usize, const Q: usize>(
    k: &ConvWeightGradient,
    slice: WeightSlice,
    input: &[f32],
    g: &[f32],
) {
    let (s, lanes) = (&k.shape, k.lanes as usize);
    let WeightSlice { weights, biases, first, .. } = slice;
    biases.fill(0.0);
    let n_units = g.len() / (s.out_len() * S::LANES);
    let phases = Phases::new(s, Q.min(s.in_channels));
    let (g_len, x_len) = (s.out_height * s.out_width * T * S::LANES, phases.len() * S::LANES); // of a unit
    let (g_step, x_step) = (T * S::LANES, phases.channels * S::LANES); // of a pixel
    let registers = S::LANES / S::Narrow::LANES;
    let near = g_len + phases.phase_len() * S::LANES;
    let at_once = (NEAR / near).clamp(1, n_units);
    let band = s.out_height.div_ceil((near * at_once).div_ceil(NEAR));
    // Input channels come in groups of up to Q, of which the last may be smaller.
    let tiles: [Vec<WeightTile<Q>>; 2] =
        [phases.channels, s.in_channels % phases.channels].map(|channels| phases.tiles::<S, Q>(s, channels));
    let (n_groups, n_rows) = (s.in_channels.div_ceil(phases.channels), biases.len().div_ceil(T));
    let (row_len, group_len) = (tiles[0].len(), n_rows * tiles[0].len());
    let abreast = (FAR / (at_once * x_len)).min(ABREAST / Q).clamp(1, n_groups);
    let mut sums = vec![[[0.0; Q]; T]; n_groups * group_len];
    let mut gs = vec![0.0; n_rows * at_once * g_len];
    let mut xs = vec![0.0; abreast * at_once * x_len]; // padding stays zero
    for start in (0..n_units).step_by(at_once) {
        let units = Units { lanes, first: start, count: at_once.min(n_units - start) };
        let (pixels, jet_components) = (s.out_height * s.out_width, k.jet_components as usize);
        units.gather_g::<S, T>(&mut gs, g, (pixels, s.out_channels), (first, biases), jet_components);
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
                        let (g_row, x_row) = (s.out_width * g_step, phases.width * x_step);
                        let window = Window {
                            counts: [units.count, rows.len(), tile.columns.len() * registers],
                            g_steps: [g_len, g_row, T * S::Narrow::LANES],
                            x_steps: [x_len, x_row, phases.channels * S::Narrow::LANES],
                        };
                        let g = &gs[rows.start * g_row + tile.columns.start * g_step..];
                        let x = &xs[rows.start * x_row + tile.columns.start * x_step..];
                        let mut sum = [[S::Narrow::splat(0.0); Q]; T];
                        correlate(&mut sum, g, x, window, S::Narrow::LANES, tile.offsets);
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

    /// Puts the output channels from `first` on, as many as `biases`, side by side, a register of the machine each:
    /// `[tile][unit][pixel][register][T]`. Adds up every block's first component for their biases; without jet_components there are
    /// none.
    #[inline(always)]
    fn gather_g<S: Simd, const T: usize>(
        &self,
        to: &mut [f32],
        g: &[f32],
        (pixels, channels): (usize, usize),
        (first, biases): (usize, &mut [f32]),
        jet_components: usize,
    ) {
        let tile_len = to.len() / biases.len().div_ceil(T);
        for (tile, (to, biases)) in to.chunks_exact_mut(tile_len).zip(biases.chunks_mut(T)).enumerate() {
            for i in 0..self.count {
                let from = &self.of::<S>(i, g, pixels * channels)[(first + tile * T) * self.lanes..];
                let to = &mut to[i * pixels * T * S::LANES..][..pixels * T * S::LANES];
                let steps = (T * S::LANES, channels * self.lanes);
                let mut sums = [S::Narrow::splat(0.0); T];
                if biases.len() == T {
                    sums = copy_pixels::<S, T>(to, from, steps, self.lanes, T);
                } else {
                    for c in 0..biases.len() {
                        let (to, from) = (&mut to[c * S::Narrow::LANES..], &from[c * self.lanes..]);
                        [sums[c]] = copy_pixels::<S, 1>(to, from, steps, self.lanes, T);
                    }
                }
                if jet_components > 0
                    && ((self.first + i) * S::LANES / self.lanes).is_multiple_of(jet_components)
                {
                    for c in 0..biases.len() {
                        biases[c] += sums[c].sum();
                    }
                }
            }
        }
    }
}

/// Copies N channels of every pixel, and adds them up. Pixels lie `steps` apart; see [`copy_channels`].
#[inline(always)]
fn copy_pixels<S: Simd, const N: usize>(
    to: &mut [f32],
    from: &[f32],
    steps: (usize, usize),
    lanes: usize,
    abreast: usize,
) -> [S::Narrow; N] {
    let mut sums = [S::Narrow::splat(0.0); N];
    for (to, from) in to.chunks_mut(steps.0).zip(from.chunks(steps.1)) {
        prefetch(from, AHEAD * steps.1, N * lanes);
        let more = copy_channels::<S, N>(to, from, lanes, abreast);
        for c in 0..N {
            sums[c] = sums[c].add(more[c]);
        }
    }
    sums
}

/// Copies N channels, `lanes` apart, a register of the machine after the other: of each channel the first, `abreast` of them
/// side by side, then of each the second. Returns each channel's registers' sum.
#[inline(always)]
fn copy_channels<S: Simd, const N: usize>(
    to: &mut [f32],
    from: &[f32],
    lanes: usize,
    abreast: usize,
) -> [S::Narrow; N] {
    let (narrow, wide) = (S::Narrow::LANES, S::LANES);
    let to = &mut to[..(wide / narrow - 1) * abreast * narrow + N * narrow];
    let from = &from[..(N - 1) * lanes + wide];
    let mut sums = [S::Narrow::splat(0.0); N];
    for i in 0..wide / narrow {
        let mut registers = [S::Narrow::splat(0.0); N];
        for c in 0..N {
            registers[c] = S::Narrow::read(&from[c * lanes + i * narrow..]);
        }
        for c in 0..N {
            sums[c] = sums[c].add(registers[c]);
            registers[c].write(&mut to[(i * abreast + c) * narrow..]);
        }
    }
    sums
}

/// The input of a convolution, padded and split by what is left of its rows and columns when divided by the stride: a tap
/// walks one of these phases, pixel by pixel. `[phase][row][column][register][channel]`.
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
                    prefetch(from, AHEAD * s.stride_x * s.in_channels * lanes, channels * lanes);
                    let to = ((phase * self.height + y) * self.width + x) * self.channels * S::LANES;
                    let whole = channels / Q;
                    for group in 0..whole {
                        let to = &mut to_all[group * group_step + to..];
                        copy_channels::<S, Q>(to, &from[group * Q * lanes..], lanes, self.channels);
                    }
                    for c in whole * Q..channels {
                        let to = &mut to_all[whole * group_step + to + c % Q * S::Narrow::LANES..];
                        copy_channels::<S, 1>(to, &from[c * lanes..], lanes, self.channels);
                    }
                }
            }
        }
    }

    /// The tiles of all taps of `channels`, taps of a phase next to each other.
    fn tiles<S: Simd, const Q: usize>(&self, s: &ConvShape, channels: usize) -> Vec<WeightTile<Q>> {
        let mut tiles: Vec<WeightTile<Q>> = Vec::new();
        for phase in 0..self.of_rows * self.of_columns {
            let (py, px) = (phase / self.of_columns, phase % self.of_columns);
            for ky in (py..s.kernel_height).step_by(s.stride_y) {
                for kx in (px..s.kernel_width).step_by(s.stride_x) {
                    let rows = pixels_inside(ky, s.pad_top, s.stride_y, s.in_height, s.out_height);
                    let columns = pixels_inside(kx, s.pad_left, s.stride_x, s.in_width, s.out_width);
                    let pixel = (phase * self.height + ky / s.stride_y) * self.width + kx / s.stride_x;
                    for channel in 0..channels {
                        let offset = pixel * self.channels * S::LANES + channel * S::Narrow::LANES;
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

/// Units of a dense layer that a tile of its weight gradient owns.
const UNITS: usize = 16;

/// See [`DenseWeightGradient::reference`].
#[inline(always)]
pub(super) fn dense_weight_gradient<S: Simd>(
    k: &DenseWeightGradient,
    slice: WeightSlice,
    input: &[f32],
    g: &[f32],
) {
    let parts = slice.weights.chunks_mut(UNITS * k.shape.in_len()).zip(slice.biases.chunks_mut(UNITS));
    for (i, (weights, biases)) in parts.enumerate() {
        let first = slice.first + i * UNITS;
        if const { S::SUMS == 16 && S::LANES == 16 } {
            dense_weight_tiles::<S, 8, 1>(k, (first, weights, biases), input, g);
        } else if const { S::SUMS == 16 && S::LANES == 8 } {
            dense_weight_tiles::<S, 8, 2>(k, (first, weights, biases), input, g);
        } else if const { S::SUMS == 16 } {
            dense_weight_tiles::<S, 4, 4>(k, (first, weights, biases), input, g);
        } else if const { S::LANES == 8 } {
            dense_weight_tiles::<S, 6, 2>(k, (first, weights, biases), input, g);
        } else {
            dense_weight_tiles::<S, 2, 4>(k, (first, weights, biases), input, g); // products take a register, too
        }
    }
}

/// A tile is Q features, in the order of the weights, by up to [`UNITS`] units: P registers, a unit in each lane. No sum
/// is over lanes, which would take as long as the products of a batch.
#[inline(always)]
fn dense_weight_tiles<S: Simd, const Q: usize, const P: usize>(
    k: &DenseWeightGradient,
    (first, weights, biases): (usize, &mut [f32], &mut [f32]),
    input: &[f32],
    g: &[f32],
) {
    assert_eq!(P * S::LANES, UNITS);
    let (s, lanes) = (&k.shape, k.lanes as usize);
    let (n_units, n_features) = (biases.len(), s.in_len());
    let blocks = || g.chunks_exact(s.units * lanes).map(|g| &g[first * lanes..][..n_units * lanes]);
    // [image][unit], and zeros for units that there are not.
    let mut gs = vec![0.0; g.len() / s.units * UNITS];
    for (g, gs) in blocks().zip(gs.chunks_exact_mut(lanes * UNITS)) {
        for (unit, g) in g.chunks_exact(lanes).enumerate() {
            for lane in 0..lanes {
                gs[lane * UNITS + unit] = g[lane];
            }
        }
    }
    biases.fill(0.0);
    for (component, g) in blocks().enumerate() {
        if k.jet_components > 0 && component.is_multiple_of(k.jet_components as usize) {
            for (bias, g) in biases.iter_mut().zip(g.chunks_exact(lanes)) {
                let mut sum = S::splat(0.0);
                for lane in (0..lanes).step_by(S::LANES) {
                    sum = sum.add(S::read(&g[lane..]));
                }
                *bias += sum.sum();
            }
        }
    }
    for feature in (0..n_features).step_by(Q) {
        let count = Q.min(n_features - feature);
        let mut from = [0; Q]; // the last ones are not written
        for q in 0..count {
            let f = feature + q;
            from[q] = (f % s.in_pixels * s.in_channels + f / s.in_pixels) * lanes;
        }
        let mut tile = [[S::splat(0.0); P]; Q];
        for (x, gs) in input.chunks_exact(n_features * lanes).zip(gs.chunks_exact(lanes * UNITS)) {
            outer_products(&mut tile, x, from, gs, lanes);
        }
        let mut sums = [[0.0; UNITS]; Q];
        for q in 0..Q {
            for p in 0..P {
                tile[q][p].write(&mut sums[q][p * S::LANES..]);
            }
        }
        for (unit, row) in weights.chunks_exact_mut(n_features).enumerate() {
            for (q, weight) in row[feature..][..count].iter_mut().enumerate() {
                *weight = sums[q][unit];
            }
        }
    }
}
