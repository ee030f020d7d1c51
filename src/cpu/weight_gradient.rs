//! Weight gradients: tiles of output channels by taps of input channels, summed over pixels, blocks and lanes.

#![allow(clippy::needless_range_loop, reason = "see simd.rs")]

use super::simd::{Simd, Window, correlate};
use crate::kernels::conv_weight_gradient::ConvWeightGradient;
use crate::kernels::dense_weight_gradient::DenseWeightGradient;
use crate::network::ConvShape;
use std::ops::Range;

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

/// Floats of g and of input that a weight gradient's tiles may take of a first-level cache.
const NEAR: usize = 7680;
/// Floats of input that are put side by side at a time: a part of a second-level cache.
const FAR: usize = 32 << 10;
/// Channels that are put side by side at a time, if they fit: neighbours in memory.
const ABREAST: usize = 8;

/// Calls `$body` with constants for the rows and columns of a tile of a weight gradient.
macro_rules! with_weight_tile {
    ($s:ident, $body:ident ( $($argument:expr),* )) => {
        match ($s::SUMS, $s::LANES) {
            (16, _) => $body::<$s, 4, 4>($($argument),*),
            (_, 4) => $body::<$s, 4, 2>($($argument),*), // products take a register, too
            (_, _) => $body::<$s, 4, 3>($($argument),*),
        }
    };
}

/// See [`ConvWeightGradient::reference`].
#[inline(always)]
pub fn conv_weight_gradient<S: Simd>(k: &ConvWeightGradient, piece: WeightPiece, input: &[f32], g: &[f32]) {
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

/// See [`DenseWeightGradient::reference`].
#[inline(always)]
pub fn dense_weight_gradient<S: Simd>(k: &DenseWeightGradient, piece: WeightPiece, input: &[f32], g: &[f32]) {
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
