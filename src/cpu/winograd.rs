//! Convolutions and input gradients with fewer products than taps: Winograd's minimal filtering.
//!
//! `m` neighbouring sums of `r` taps are the middle of a product of polynomials, which `n = m + r - 1` points tell: for each
//! point one product, of what the input and the weights are there, where the taps would take `m r`. Rows and columns
//! multiply, so that 3 x 3 outputs of 2 x 2 taps take 16 products for 36. The points 0, 1, -1 and infinity lose next to
//! nothing by rounding: all that is multiplied by is 1, -1 and, once an update, 1/2. Over channels the products are a
//! matrix product, as taps are, and what an input or output is transformed by is shared by all channels of the other side.
//!
//! A convolution with a stride is a sum over phases, the pixels that lie a stride apart, of convolutions without. Its input
//! gradient is one for each phase of the input. Kernels of two or three strides are taken, so that all phases have as many
//! taps.
//!
//! S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast Algorithms for Convolutional
//! Neural Networks, 2015, <https://arxiv.org/abs/1509.09308>.

#![allow(clippy::needless_range_loop, reason = "see simd.rs")]

use super::activation::activate;
use super::simd::{Simd, Sources, Targets, TileMut, sum_products};
use super::simd_kernels::times_slope;
use super::{Line, SCRATCH};
use crate::kernels::conv_forward::ConvForward;
use crate::kernels::conv_input_gradient::ConvInputGradient;
use crate::kernels::pack_weights::Packing;
use crate::kernels::{Binding, Kernel, Slope};
use crate::network::{Activation, ConvShape};
use rayon::prelude::*;
use std::array;
use std::slice::ChunksExactMut;

/// Points that there are: 0, 1, -1 and infinity.
const POINTS: usize = 4;
/// Floats of transformed input that are worked on at a time: a part of a second-level cache.
const NEAR_INPUT: usize = 48 << 10;
/// Floats of sums that wait to be transformed: a part of a second-level cache.
const NEAR_SUMS: usize = 64 << 10;
/// Floats between positions, so that those of one input do not all fall to the same few lines of a cache.
const APART: usize = 16;
/// What transforming a value costs, in products: four cycles and a half were measured (AVX2, Zen 3).
const TRANSFORM: usize = 9;

/// How one convolution, or one input gradient, is done.
#[derive(Debug)]
pub(super) struct Winograd {
    parts: Vec<Part>,
    /// The weights' order before they are transformed.
    packing: Packing,
    from: Extent,
    to: Extent,
    weights_len: usize,
    /// Products that the taps would take.
    by_taps: usize,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    channels: usize,
    height: usize,
    width: usize,
}

/// Outputs a step apart, both ways.
#[derive(Debug)]
struct Part {
    first: [usize; 2],
    step: [usize; 2],
    phases: Vec<Phase>,
    classes: Vec<Class>,
}

/// What tap `j` of output `o` reads, both ways: input `first + (o + j) step`, times the weight `kernel[j]`.
#[derive(Clone, Debug)]
struct Phase {
    first: [isize; 2],
    step: [usize; 2],
    kernel: [Vec<usize>; 2],
}

/// Tiles of one size.
#[derive(Debug)]
struct Class {
    outputs: [usize; 2],
    points: [usize; 2],
    /// The first output of each.
    tiles: Vec<[usize; 2]>,
    /// Where its weights begin: `[row's point][column's point][channel tile][phase][channel][channel in tile]`.
    weights: usize,
}

/// Tiles of an axis: the first output and how many. As few points as can be, and no tile of one output and two taps, which
/// saves nothing, but where there is one output.
fn tiles(len: usize, taps: usize) -> Vec<(usize, usize)> {
    let most = POINTS + 1 - taps;
    let mut tiles = Vec::new();
    let mut first = 0;
    while first < len {
        let left = len - first;
        let outputs = if left == 4 { 2 } else { left }.min(most);
        tiles.push((first, outputs));
        first += outputs;
    }
    tiles
}

impl Part {
    /// Of `len` outputs each way, and as many taps.
    fn new(
        (first, step): ([usize; 2], [usize; 2]),
        len: [usize; 2],
        taps: [usize; 2],
        phases: Vec<Phase>,
    ) -> Self {
        let mut classes: Vec<Class> = Vec::new();
        for (oy, rows) in tiles(len[0], taps[0]) {
            for (ox, columns) in tiles(len[1], taps[1]) {
                let outputs = [rows, columns];
                let points = [rows + taps[0] - 1, columns + taps[1] - 1];
                match classes.iter_mut().find(|class| class.outputs == outputs) {
                    Some(class) => class.tiles.push([oy, ox]),
                    None => classes.push(Class { outputs, points, tiles: vec![[oy, ox]], weights: 0 }),
                }
            }
        }
        Self { first, step, phases, classes }
    }
}

impl Class {
    fn n_points(&self) -> usize {
        self.points[0] * self.points[1]
    }
}

impl Winograd {
    /// For a layer forward, where its kernel and its tiles fit.
    pub(super) fn forward(k: &ConvForward) -> Option<Self> {
        let s = &k.shape;
        let taps = taps(s)?;
        let (strides, pads) = ([s.stride_y, s.stride_x], [s.pad_top, s.pad_left]);
        let phase = |p: [usize; 2]| Phase {
            first: [0, 1].map(|axis| p[axis] as isize - pads[axis] as isize),
            step: strides,
            kernel: [0, 1].map(|axis| (0..taps[axis]).map(|j| p[axis] + j * strides[axis]).collect()),
        };
        let phases = phases(s).map(phase).collect();
        let part = Part::new(([0; 2], [1; 2]), [s.out_height, s.out_width], taps, phases);
        Self::new(vec![part], s, k.packing())
    }

    /// For a layer's input gradient, where the kernel and the tiles fit.
    pub(super) fn input_gradient(k: &ConvInputGradient) -> Option<Self> {
        let s = &k.shape;
        let taps = taps(s)?;
        let (strides, pads) = ([s.stride_y, s.stride_x], [s.pad_top, s.pad_left]);
        let lens = [s.in_height, s.in_width];
        let part = |p: [usize; 2]| {
            // Input `i stride + phase - pad`, from the first that there is.
            let i = [0, 1].map(|axis| pads[axis].saturating_sub(p[axis]).div_ceil(strides[axis]));
            let first = [0, 1].map(|axis| i[axis] * strides[axis] + p[axis] - pads[axis]);
            let len = [0, 1].map(|axis| lens[axis].saturating_sub(first[axis]).div_ceil(strides[axis]));
            let phase = Phase {
                first: [0, 1].map(|axis| (i[axis] + 1) as isize - taps[axis] as isize),
                step: [1; 2],
                kernel: [0, 1]
                    .map(|axis| (0..taps[axis]).rev().map(|j| p[axis] + j * strides[axis]).collect()),
            };
            Part::new((first, strides), len, taps, vec![phase])
        };
        Self::new(phases(s).map(part).collect(), s, k.packing())
    }

    fn new(mut parts: Vec<Part>, s: &ConvShape, packing: Packing) -> Option<Self> {
        let x = Extent { channels: s.in_channels, height: s.in_height, width: s.in_width };
        let z = Extent { channels: s.out_channels, height: s.out_height, width: s.out_width };
        let (from, to) = if packing.backward { (z, x) } else { (x, z) };
        let few = parts.iter().flat_map(|part| &part.classes).any(|class| class.points.contains(&2));
        if few || ![2, 4, 8].contains(&packing.tile) {
            return None;
        }
        let by_taps = taps_inside(s, 0) * taps_inside(s, 1) * from.channels * to.channels;
        let channels = to.channels.next_multiple_of(packing.tile) * from.channels;
        let mut weights_len = 0;
        for part in &mut parts {
            for class in &mut part.classes {
                class.weights = weights_len;
                weights_len += class.n_points() * part.phases.len() * channels;
            }
        }
        Some(Self { parts, packing, from, to, weights_len, by_taps })
    }

    /// Whether it is faster than by taps: by a tenth at least, as this is a guess.
    pub(super) fn pays(&self) -> bool {
        let mut cost = 0;
        for part in &self.parts {
            for class in &part.classes {
                let (from, to) = (part.phases.len() * self.from.channels, self.to.channels);
                let tile = class.n_points() * (from * to + TRANSFORM * (from + to));
                cost += class.tiles.len() * tile;
            }
        }
        cost * 10 < self.by_taps * 9
    }

    /// Transforms packed weights.
    pub(super) fn transform_weights(&self, packed: &[f32], transformed: &mut Vec<f32>) {
        transformed.resize(self.weights_len, 0.0);
        let p = &self.packing;
        let row = self.from.channels * p.tile; // of a tap
        let n_tiles = self.to.channels.div_ceil(p.tile);
        let mut rest = transformed.as_mut_slice();
        for part in &self.parts {
            let len = n_tiles * part.phases.len() * row; // of a position
            for class in &part.classes {
                let (weights, after) = rest.split_at_mut(class.n_points() * len);
                rest = after;
                weights.par_chunks_exact_mut(row).enumerate().for_each(|(i, weights)| {
                    let (position, tile) = (i * row / len, i * row % len / row / part.phases.len());
                    let kernel = &part.phases[i % part.phases.len()].kernel;
                    let at = [position / class.points[1], position % class.points[1]];
                    weights.fill(0.0);
                    for (j, ky) in kernel[0].iter().enumerate() {
                        let y = coefficient(at[0], class.points[0], class.outputs[0], j);
                        for (i, kx) in kernel[1].iter().enumerate() {
                            let factor = y * coefficient(at[1], class.points[1], class.outputs[1], i);
                            if factor != 0.0 {
                                let from =
                                    ((tile * p.kernel_height + ky) * p.kernel_width + p.column(*kx)) * row;
                                let taps = &packed[from..from + row];
                                weights.iter_mut().zip(taps).for_each(|(w, tap)| *w += factor * tap);
                            }
                        }
                    }
                });
            }
        }
    }
}

/// What tap `j` counts for at a point of `n`, of a tile of `m` outputs.
fn coefficient(point: usize, n: usize, m: usize, j: usize) -> f32 {
    let last = n - m; // taps - 1
    match (n, point) {
        (_, 0) => f32::from(u8::from(j == 0)),
        (_, _) if point == n - 1 => f32::from(u8::from(j == last)),
        (4, 1) => 0.5,
        (4, _) => [0.5, -0.5][j % 2],
        (_, _) => 1.0,
    }
}

/// Taps of a phase, both ways; none where phases have different ones, or other numbers than the points are for.
fn taps(s: &ConvShape) -> Option<[usize; 2]> {
    let taps = [s.kernel_height / s.stride_y, s.kernel_width / s.stride_x];
    let even = s.kernel_height.is_multiple_of(s.stride_y) && s.kernel_width.is_multiple_of(s.stride_x);
    (even && taps.iter().all(|taps| (2..POINTS).contains(taps))).then_some(taps)
}

/// The phases of a convolution's taps.
fn phases(s: &ConvShape) -> impl Iterator<Item = [usize; 2]> {
    let columns = s.stride_x;
    (0..s.stride_y * columns).map(move |p| [p / columns, p % columns])
}

/// Pairs of an output and a tap that reads an input, along an axis.
fn taps_inside(s: &ConvShape, axis: usize) -> usize {
    let [len, out, taps, stride, pad] = [
        [s.in_height, s.out_height, s.kernel_height, s.stride_y, s.pad_top],
        [s.in_width, s.out_width, s.kernel_width, s.stride_x, s.pad_left],
    ][axis];
    let inside = |o: usize| (0..taps).filter(|k| (pad..len + pad).contains(&(o * stride + k))).count();
    (0..out).map(inside).sum()
}

/// Values at the points, of a tile's input.
#[inline(always)]
fn to_points<S: Simd, const N: usize>(x: [S; N]) -> [S; N] {
    let mut v = x;
    if const { N == 3 } {
        v[0] = x[0].subtract(x[1]);
        v[2] = x[2].subtract(x[1]);
    } else {
        v[0] = x[0].subtract(x[2]);
        v[1] = x[1].add(x[2]);
        v[2] = x[2].subtract(x[1]);
        v[3] = x[3].subtract(x[1]);
    }
    v
}

/// The first `count` outputs of a tile, from the products at its points.
#[inline(always)]
fn from_points<S: Simd, const N: usize>(m: [S; N], count: usize) -> [S; 3] {
    let mut z = [m[0]; 3];
    if const { N == 3 } {
        z[0] = m[0].add(m[1]);
        z[1] = m[1].add(m[2]);
        if count == 1 {
            z[0] = z[0].add(m[2]);
        }
    } else {
        let (sum, difference) = (m[1].add(m[2]), m[1].subtract(m[2]));
        z[0] = m[0].add(sum);
        z[1] = difference;
        z[2] = sum.add(m[3]);
        if count == 2 {
            z[1] = difference.add(m[3]);
        }
    }
    z
}

/// Calls `$body` with constants for the points of rows and columns.
macro_rules! with_points {
    ($s:ident, $points:expr, $body:ident ( $($argument:expr),* )) => {
        with_points!(@ $s, $points, $body, ($($argument),*), [3 3] [3 4] [4 3] [4 4])
    };
    (@ $s:ident, $points:expr, $body:ident, $arguments:tt, $([$y:literal $x:literal])*) => {
        match $points {
            $([$y, $x] => with_points!(! $s, $body, $y, $x, $arguments),)*
            points => unreachable!("{points:?}: `new` lets no such tiles through"),
        }
    };
    (! $s:ident, $body:ident, $y:literal, $x:literal, ($($argument:expr),*)) => {
        $body::<$s, $y, $x>($($argument),*)
    };
}

/// What becomes of a layer's sums.
enum Finish<'a> {
    Activated { activation: Activation, bias: &'a [f32], output: &'a mut [f32], slope: &'a mut [f32] },
    TimesSlope { place: Slope, slope: &'a [f32], grad: &'a mut [f32] },
}

/// Runs one block of a kernel with transformed weights.
#[inline(always)]
pub(super) fn run_block<S: Simd>(
    winograd: &Winograd,
    weights: &[f32],
    kernel: &Kernel,
    bindings: &mut [Binding],
) {
    let (input, lanes, mut finish) = match (kernel, bindings) {
        (Kernel::ConvForward(k), [input, _, parameters, output, slope]) => {
            let bias = &parameters.floats()[k.bias_offset..][..k.shape.out_channels];
            let (output, slope) = (output.floats_mut(), slope.floats_mut());
            let finish = Finish::Activated { activation: k.activation, bias, output, slope };
            (input.floats(), k.lanes as usize, finish)
        }
        (Kernel::ConvInputGradient(k), [g, _, slope, grad]) => {
            let (slope, grad) = (slope.floats(), grad.floats_mut());
            (g.floats(), k.lanes as usize, Finish::TimesSlope { place: k.slope, slope, grad })
        }
        (kernel, _) => panic!("{} has no points", kernel.name()),
    };
    let mut scratch = SCRATCH.take();
    for part in &winograd.parts {
        for class in &part.classes {
            let len = class.n_points() * part.phases.len() * winograd.from.channels * lanes;
            // As many as a tile of sums has pixels, at most 8, or a multiple.
            let at_once = (NEAR_INPUT / len).max(1);
            for tiles in class.tiles.chunks(if at_once > 8 { at_once / 8 * 8 } else { at_once }) {
                let group = Group { winograd, part, class, tiles, lanes };
                convolve::<S>(group, weights, input, &mut scratch, &mut finish);
            }
        }
    }
    SCRATCH.set(scratch);
}

/// Tiles that are worked on together, of one class.
#[derive(Clone, Copy)]
struct Group<'a> {
    winograd: &'a Winograd,
    part: &'a Part,
    class: &'a Class,
    tiles: &'a [[usize; 2]],
    lanes: usize,
}

impl Group<'_> {
    /// Floats of the input at one position, of all tiles and phases.
    fn position_len(&self) -> usize {
        self.tiles.len() * self.part.phases.len() * self.winograd.from.channels * self.lanes + APART
    }
}

#[inline(always)]
fn convolve<S: Simd>(
    group: Group,
    weights: &[f32],
    input: &[f32],
    scratch: &mut Vec<Line>,
    finish: &mut Finish,
) {
    let Group { winograd, class, tiles, lanes, .. } = group;
    let tile_channels = winograd.packing.tile;
    let n_rows = winograd.to.channels.div_ceil(tile_channels);
    let sums_len = class.n_points() * tiles.len() * tile_channels * lanes; // of a tile of channels
    let at_once = (NEAR_SUMS / sums_len).clamp(1, n_rows);
    let input_len = class.n_points() * group.position_len();
    let lines = (input_len + at_once * sums_len).div_ceil(16);
    if scratch.len() < lines {
        scratch.resize(lines, Line([0; 16]));
    }
    let (v, sums) = bytemuck::cast_slice_mut(scratch).split_at_mut(input_len);
    transform_input::<S>(group, input, v);
    for first in (0..n_rows).step_by(at_once) {
        let sums = &mut sums[..at_once.min(n_rows - first) * sums_len];
        if const { S::SUMS == 16 } {
            match tile_channels {
                8 => multiply::<S, 8, 2>(group, weights, v, first, sums),
                4 => multiply::<S, 4, 4>(group, weights, v, first, sums),
                _ => multiply::<S, 2, 4>(group, weights, v, first, sums),
            }
        } else if const { S::SUMS == 8 } {
            match tile_channels {
                8 => multiply::<S, 8, 1>(group, weights, v, first, sums),
                4 => multiply::<S, 4, 2>(group, weights, v, first, sums),
                _ => multiply::<S, 2, 4>(group, weights, v, first, sums),
            }
        } else {
            match tile_channels {
                8 => multiply::<S, 8, 1>(group, weights, v, first, sums),
                4 => multiply::<S, 4, 1>(group, weights, v, first, sums),
                _ => multiply::<S, 2, 1>(group, weights, v, first, sums),
            }
        }
        with_points!(S, class.points, transform_sums(group, sums));
        finish_sums::<S>(group, first, sums, finish);
    }
}

/// Writes a group's input at all positions: `[position][tile][phase][channel][lane]`, and [`APART`] after each.
#[inline(always)]
fn transform_input<S: Simd>(group: Group, input: &[f32], v: &mut [f32]) {
    let Group { winograd, part, class, tiles, lanes } = group;
    let Extent { channels, height, width } = winograd.from;
    let pixel = channels * lanes;
    let zeros = vec![0.0; pixel]; // of pixels outside
    for (t, tile) in tiles.iter().enumerate() {
        for (p, phase) in part.phases.iter().enumerate() {
            let mut from = [[zeros.as_slice(); POINTS]; POINTS];
            for j in 0..class.points[0] {
                for i in 0..class.points[1] {
                    let y = phase.first[0] + ((tile[0] + j) * phase.step[0]) as isize;
                    let x = phase.first[1] + ((tile[1] + i) * phase.step[1]) as isize;
                    if (0..height as isize).contains(&y) && (0..width as isize).contains(&x) {
                        from[j][i] = &input[(y as usize * width + x as usize) * pixel..];
                    }
                }
            }
            let from = [0, 1, 2, 3].map(|j| Sources::new(from[j], pixel));
            let mut positions = v.chunks_exact_mut(group.position_len());
            let at = (t * part.phases.len() + p) * pixel;
            with_points!(S, class.points, transform_tile(from, &mut positions, at, pixel));
        }
    }
}

/// Writes a tile's input at all positions.
#[inline(always)]
fn transform_tile<S: Simd, const NY: usize, const NX: usize>(
    from: [Sources<POINTS>; POINTS],
    positions: &mut ChunksExactMut<f32>,
    start: usize,
    len: usize,
) {
    let mut next = || positions.next().map_or(&mut [][..], |position| &mut position[start..]);
    let to: [[&mut [f32]; NX]; NY] = array::from_fn(|_| array::from_fn(|_| next()));
    let mut to = to.map(|row| Targets::new(row, len));
    for at in (0..len).step_by(S::LANES) {
        let mut rows = [[S::splat(0.0); NX]; NY];
        for j in 0..NY {
            let mut x = [S::splat(0.0); NX];
            for i in 0..NX {
                x[i] = from[j].get(i, at);
            }
            rows[j] = to_points(x);
        }
        for i in 0..NX {
            let mut column = [S::splat(0.0); NY];
            for j in 0..NY {
                column[j] = rows[j][i];
            }
            let column = to_points(column);
            for j in 0..NY {
                to[j].set(i, at, column[j]);
            }
        }
    }
}

/// The products of some tiles of channels, from `first` on: `[channel tile][tile][position][channel in tile][lane]`.
#[inline(always)]
fn multiply<S: Simd, const T: usize, const P: usize>(
    group: Group,
    weights: &[f32],
    v: &[f32],
    first: usize,
    sums: &mut [f32],
) {
    let Group { winograd, part, class, tiles, lanes } = group;
    let (n_positions, length) = (class.n_points(), part.phases.len() * winograd.from.channels);
    let row_len = tiles.len() * n_positions * T * lanes;
    let position_len = winograd.to.channels.div_ceil(T) * length * T;
    for (n, v) in v.chunks_exact(group.position_len()).enumerate() {
        let weights = &weights[class.weights + n * position_len + first * length * T..];
        for (sums, weights) in sums.chunks_exact_mut(row_len).zip(weights.chunks_exact(length * T)) {
            let mut tile = 0;
            while tile + P <= tiles.len() {
                multiply_tiles::<S, T, P>(weights, v, (tile, lanes), &mut sums[n * T * lanes..], n_positions);
                tile += P;
            }
            while tile < tiles.len() {
                multiply_tiles::<S, T, 1>(weights, v, (tile, lanes), &mut sums[n * T * lanes..], n_positions);
                tile += 1;
            }
        }
    }
}

/// The products of T channels by P tiles, from `tile` on, at one position.
#[inline(always)]
fn multiply_tiles<S: Simd, const T: usize, const P: usize>(
    weights: &[f32],
    v: &[f32],
    (tile, lanes): (usize, usize),
    sums: &mut [f32],
    n_positions: usize,
) {
    let step = weights.len() / T * lanes;
    for lane in (0..lanes).step_by(S::LANES) {
        let sum: [[S; T]; P] = sum_products(weights, &v[tile * step + lane..], lanes, step);
        let to = &mut sums[tile * n_positions * T * lanes + lane..];
        let mut to = TileMut::<S, T, P>::new(to, n_positions * T * lanes, lanes);
        for p in 0..P {
            for t in 0..T {
                to.set(p, t, sum[p][t]);
            }
        }
    }
}

/// Makes sums over taps of what [`multiply`] wrote, in its place: an output's lies where its position's did.
#[inline(always)]
fn transform_sums<S: Simd, const NY: usize, const NX: usize>(group: Group, sums: &mut [f32]) {
    let Group { winograd, class, lanes, .. } = group;
    let step = winograd.packing.tile * lanes; // of a position
    let outputs = class.outputs;
    for sums in sums.chunks_exact_mut(NY * NX * step) {
        for lane in (0..step).step_by(S::LANES) {
            let mut rows = [[S::splat(0.0); NX]; 3];
            for x in 0..NX {
                let mut column = [S::splat(0.0); NY];
                for y in 0..NY {
                    column[y] = S::read(&sums[(y * NX + x) * step + lane..]);
                }
                let column = from_points(column, outputs[0]);
                for y in 0..3 {
                    rows[y][x] = column[y];
                }
            }
            for y in 0..outputs[0] {
                let row = from_points(rows[y], outputs[1]);
                for x in 0..outputs[1] {
                    row[x].write(&mut sums[(y * NX + x) * step + lane..]);
                }
            }
        }
    }
}

/// Makes outputs of sums over taps.
#[inline(always)]
fn finish_sums<S: Simd>(group: Group, first: usize, sums: &[f32], finish: &mut Finish) {
    let Group { winograd, part, class, tiles, lanes } = group;
    let (Extent { channels, width, .. }, tile_channels) = (winograd.to, winograd.packing.tile);
    let step = tile_channels * lanes; // of a position
    for (i, sums) in sums.chunks_exact(class.n_points() * step).enumerate() {
        let (row, tile) = (first + i / tiles.len(), tiles[i % tiles.len()]);
        let channel = row * tile_channels;
        let len = tile_channels.min(channels - channel) * lanes;
        for y in 0..class.outputs[0] {
            for x in 0..class.outputs[1] {
                let oy = part.first[0] + (tile[0] + y) * part.step[0];
                let ox = part.first[1] + (tile[1] + x) * part.step[1];
                let to = ((oy * width + ox) * channels + channel) * lanes;
                let sums = &sums[(y * class.points[1] + x) * step..][..len];
                match finish {
                    Finish::Activated { activation, bias, output, slope } => {
                        for at in (0..len).step_by(S::LANES) {
                            let z = S::read(&sums[at..]).add(S::splat(bias[channel + at / lanes]));
                            activate(*activation, z, &mut output[to + at..], &mut slope[to + at..]);
                        }
                    }
                    Finish::TimesSlope { place, slope, grad } => {
                        for at in (0..len).step_by(S::LANES) {
                            let sum = S::read(&sums[at..]);
                            times_slope(*place, sum, slope, grad, to + at).write(&mut grad[to + at..]);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{ConvDims, assert_near, double, packed, shape, uniform};
    use crate::cpu::{Isa, run_winograd};
    use crate::kernels::pack_weights::Tile;
    use rand::{SeedableRng, rngs::StdRng};

    const SHAPES: [ConvDims; 8] = [
        ([3, 14, 14], 8, [4, 4], [2, 2], [1, 1], [1, 1]), // `digits`
        ([8, 7, 7], 12, [4, 4], [2, 2], [1, 1], [1, 1]),
        ([8, 9, 10], 4, [3, 3], [1, 1], [1, 1], [1, 1]), // `conv-pool`
        ([4, 8, 6], 8, [6, 4], [2, 2], [0, 0], [3, 1]),
        ([8, 6, 5], 8, [2, 3], [1, 1], [0, 2], [0, 2]),
        ([4, 9, 12], 8, [6, 3], [3, 1], [4, 0], [4, 0]),
        ([4, 3, 4], 4, [3, 2], [1, 1], [0, 0], [0, 0]), // a row of one output, of three taps
        ([40, 4, 5], 44, [3, 4], [1, 2], [0, 1], [1, 1]), // more products than a stretch
    ];

    fn tile_of(channels: usize, isa: Isa) -> Tile {
        let channels = if isa.width() == 16 && channels.is_multiple_of(8) { 8 } else { 4 - channels % 4 };
        Tile { channels, pixels: 1 }
    }

    /// Runs `check` for every shape, block and instruction set.
    fn each(check: impl Fn(&str, ConvShape, usize, Isa, &mut StdRng)) {
        for (i, s) in SHAPES.into_iter().enumerate() {
            for isa in Isa::available().into_iter().filter(|isa| *isa != Isa::Reference) {
                for lanes in [8, 16] {
                    let mut rng = StdRng::seed_from_u64(i as u64);
                    check(&format!("{s:?}, {isa}, {lanes} lanes"), shape(s), lanes, isa, &mut rng);
                }
            }
        }
    }

    #[test]
    fn layers_are_what_their_twins_are() {
        each(|what, shape, lanes, isa, rng| {
            let tile = tile_of(shape.out_channels, isa);
            let activation = Activation::Swish;
            let k = ConvForward { lanes: lanes as u32, shape, tile, bias_offset: 3, activation };
            let winograd = Winograd::forward(&k).expect(what);
            let mut packed = packed(k.packing(), rng);
            let mut weights = Vec::new();
            winograd.transform_weights(&packed, &mut weights);
            let mut input = uniform(rng, shape.in_len() * lanes);
            let mut parameters = uniform(rng, 3 + shape.out_channels);
            let [mut output, mut slope] = [0; 2].map(|_| vec![f32::NAN; shape.out_len() * lanes]);
            let bindings = &mut [&mut input, &mut packed, &mut parameters, &mut output, &mut slope]
                .map(|values| Binding::Write(bytemuck::cast_slice_mut(values)));
            run_winograd(isa, lanes as u32, &winograd, &weights, &k.clone().into(), bindings);
            let [mut twin, mut twin_slope] = [0; 2].map(|_| vec![0.0; output.len()]);
            let bias = double(&parameters[3..]);
            k.reference(&double(&input), &double(&packed), &bias, &mut twin, &mut twin_slope);
            assert_near(&format!("output of {what}"), &output, &twin, 2e-6);
            assert_near(&format!("slope of {what}"), &slope, &twin_slope, 2e-6);
        });
    }

    #[test]
    fn input_gradients_are_what_their_twins_are() {
        each(|what, shape, lanes, isa, rng| {
            for slope in [Slope::None, Slope::Beside, Slope::InPlace] {
                let tile = tile_of(shape.in_channels, isa);
                let k = ConvInputGradient { lanes: lanes as u32, shape, tile, slope };
                let Some(winograd) = Winograd::input_gradient(&k) else {
                    assert!(![2, 4, 8].contains(&tile.channels), "{what}");
                    continue;
                };
                let mut packed = packed(k.packing(), rng);
                let mut weights = Vec::new();
                winograd.transform_weights(&packed, &mut weights);
                let mut g = uniform(rng, shape.out_len() * lanes);
                let mut beside = uniform(rng, shape.in_len() * lanes);
                let mut grad = uniform(rng, shape.in_len() * lanes);
                let (before, mut twin) = (double(&beside), double(&grad));
                let bindings = &mut [&mut g, &mut packed, &mut beside, &mut grad]
                    .map(|values| Binding::Write(bytemuck::cast_slice_mut(values)));
                run_winograd(isa, lanes as u32, &winograd, &weights, &k.clone().into(), bindings);
                k.reference(&double(&g), &double(&packed), &before, &mut twin);
                assert_near(&format!("{slope:?}, {what}"), &grad, &twin, 2e-6);
            }
        });
    }
}
