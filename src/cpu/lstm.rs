//! Fast bodies of the LSTM's kernels: a lane is an image, and a tile's sums are two units' gates, or eight inputs.

#![allow(clippy::needless_range_loop, reason = "see simd.rs")]

use super::simd::{Rows, Simd, Window, accumulate, correlate};
use super::weight_gradient_split::WeightSlice;
use crate::kernels::lstm_backward::LstmBackward;
use crate::kernels::lstm_forward::LstmForward;
use crate::kernels::lstm_pack::CPU_TILE as TILE;
use crate::kernels::lstm_weight_gradient::LstmWeightGradient;

/// `2 sigmoid(2 z) - 1`
#[inline(always)]
fn tanh<S: Simd>(z: S) -> S {
    z.add(z).sigmoid().multiply_add(S::splat(2.0), S::splat(-1.0))
}

/// `1 - z`
#[inline(always)]
fn one_minus<S: Simd>(z: S) -> S {
    z.multiply_add(S::splat(-1.0), S::splat(1.0))
}

/// Adds `length` rows of packed weights, times as many rows of lanes, to a tile's sums.
#[inline(always)]
fn add_rows<S: Simd>(
    sum: &mut [[S; TILE]; 1],
    weights: &[f32],
    weights_at: usize,
    input: &[f32],
    input_at: usize,
    length: usize,
    lanes: usize,
) {
    let rows =
        Rows { count: 1, weights: weights_at, weights_step: 0, input: input_at, input_step: 0, length };
    accumulate::<S, TILE, 1>(sum, weights, input, rows, lanes, 0);
}

/// See [`LstmForward::reference`].
#[inline(always)]
pub(super) fn forward<S: Simd>(
    k: &LstmForward,
    x: &[f32],
    packed: &[f32],
    parameters: &[f32],
    trace: &mut [f32],
    output: &mut [f32],
) {
    let (cell, lanes, packing) = (&k.cell, k.lanes as usize, k.packing());
    let (hidden, n) = (cell.hidden, cell.in_channels);
    assert_eq!(k.tile, TILE, "weights packed for a GPU");
    let bias_ih = &parameters[4 * hidden * n..];
    let bias_hh = &bias_ih[4 * hidden * (1 + hidden)..];
    for step in k.first_step..k.first_step + k.n_steps {
        let now = cell.place_of(step) * cell.kept();
        let before = if step > 0 { cell.place_of(step - 1) * cell.kept() } else { 0 };
        let out = cell.out_time_of(step).map(|time| time * cell.out_channels + cell.out_offset());
        for tile in 0..hidden.div_ceil(TILE / 4) {
            let units = (hidden - tile * (TILE / 4)).min(TILE / 4);
            let weights = packing.forward(tile);
            let mut bias = [S::splat(0.0); TILE];
            for u in 0..units {
                for gate in 0..4 {
                    let row = gate * hidden + tile * (TILE / 4) + u;
                    bias[u * 4 + gate] = S::splat(bias_ih[row] + bias_hh[row]);
                }
            }
            for lane in (0..lanes).step_by(S::LANES) {
                let mut z = [bias];
                let from_x = cell.time_of(step) * n * lanes + lane;
                add_rows(&mut z, packed, weights, x, from_x, n, lanes);
                if step > 0 {
                    let of_h = (before + 5 * hidden) * lanes + lane;
                    let weights = weights + packing.in_rows() * TILE;
                    add_rows(&mut z, packed, weights, trace, of_h, hidden, lanes);
                }
                for u in 0..units {
                    let unit = tile * (TILE / 4) + u;
                    let i = z[0][u * 4].sigmoid();
                    let f = z[0][u * 4 + 1].sigmoid();
                    let g = tanh(z[0][u * 4 + 2]);
                    let o = z[0][u * 4 + 3].sigmoid();
                    let mut c = i.multiply(g);
                    if step > 0 {
                        c = f.multiply_add(S::read(&trace[(before + 4 * hidden + unit) * lanes + lane..]), c);
                    }
                    let h = o.multiply(tanh(c));
                    let parts = [i, f, g, o, c, h];
                    for part in 0..6 {
                        parts[part].write(&mut trace[(now + part * hidden + unit) * lanes + lane..]);
                    }
                    if let Some(out) = out {
                        h.write(&mut output[(out + unit) * lanes + lane..]);
                    }
                }
            }
        }
    }
}

/// See [`LstmBackward::reference`].
#[inline(always)]
pub(super) fn backward<S: Simd>(
    k: &LstmBackward,
    grad_out: &[f32],
    packed: &[f32],
    slope: &[f32],
    trace: &mut [f32],
    carry: &mut [f32],
    grad: &mut [f32],
) {
    let (cell, lanes, packing) = (&k.cell, k.lanes as usize, k.packing());
    let (hidden, n) = (cell.hidden, cell.in_channels);
    assert_eq!(k.tile, TILE, "weights packed for a GPU");
    let part = hidden * lanes;
    let last = cell.steps - k.first_step;
    for step in (last - k.n_steps..last).rev() {
        let now = cell.place_of(step) * cell.kept() * lanes;
        let before = if step > 0 { cell.place_of(step - 1) * cell.kept() * lanes } else { 0 };
        let is_last = step + 1 == cell.steps;
        let out = cell.out_time_of(step).map(|time| (time * cell.out_channels + cell.out_offset()) * lanes);
        for at in (0..part).step_by(S::LANES) {
            let i = S::read(&trace[now + at..]);
            let f = S::read(&trace[now + part + at..]);
            let g = S::read(&trace[now + 2 * part + at..]);
            let o = S::read(&trace[now + 3 * part + at..]);
            let tanh_c = tanh(S::read(&trace[now + 4 * part + at..]));
            let (mut dh, mut dc) = (S::splat(0.0), S::splat(0.0));
            if !is_last {
                (dh, dc) = (S::read(&carry[at..]), S::read(&carry[part + at..]));
            }
            if let Some(out) = out {
                dh = dh.add(S::read(&grad_out[out + at..]));
            }
            let of_o = dh.multiply(o);
            dc = of_o.multiply_add(one_minus(tanh_c.multiply(tanh_c)), dc);
            let mut c_before = S::splat(0.0);
            if step > 0 {
                c_before = S::read(&trace[before + 4 * part + at..]);
            }
            let of_i = dc.multiply(i);
            let of_f = dc.multiply(f);
            of_i.multiply(g).multiply(one_minus(i)).write(&mut trace[now + at..]);
            of_f.multiply(c_before).multiply(one_minus(f)).write(&mut trace[now + part + at..]);
            of_i.multiply(one_minus(g.multiply(g))).write(&mut trace[now + 2 * part + at..]);
            of_o.multiply(tanh_c).multiply(one_minus(o)).write(&mut trace[now + 3 * part + at..]);
            of_f.write(&mut carry[part + at..]);
        }
        let from_x = cell.time_of(step) * n * lanes;
        if k.to_input {
            for tile in 0..n.div_ceil(TILE) {
                for lane in (0..lanes).step_by(S::LANES) {
                    let mut sum = [[S::splat(0.0); TILE]];
                    let weights = packing.backward_in(tile);
                    add_rows(&mut sum, packed, weights, trace, now + lane, 4 * hidden, lanes);
                    for t in 0..TILE.min(n - tile * TILE) {
                        let at = from_x + (tile * TILE + t) * lanes + lane;
                        let mut value = sum[0][t];
                        if k.has_slope {
                            value = value.multiply(S::read(&slope[at..]));
                        }
                        if k.adds {
                            value = value.add(S::read(&grad[at..]));
                        }
                        value.write(&mut grad[at..]);
                    }
                }
            }
        }
        if step > 0 {
            for tile in 0..hidden.div_ceil(TILE) {
                for lane in (0..lanes).step_by(S::LANES) {
                    let mut sum = [[S::splat(0.0); TILE]];
                    let weights = packing.backward_hidden(tile);
                    add_rows(&mut sum, packed, weights, trace, now + lane, 4 * hidden, lanes);
                    for t in 0..TILE.min(hidden - tile * TILE) {
                        sum[0][t].write(&mut carry[(tile * TILE + t) * lanes + lane..]);
                    }
                }
            }
        }
    }
}

/// The weight gradient of some rows: of `weight_ih` and `bias_ih` in section 0, of `weight_hh` and `bias_hh` in section
/// 1. See [`LstmWeightGradient::reference`].
#[inline(always)]
pub(super) fn weight_gradient<S: Simd>(k: &LstmWeightGradient, slice: WeightSlice, x: &[f32], trace: &[f32]) {
    let (cell, lanes) = (&k.cell, k.lanes as usize);
    let WeightSlice { weights, biases, first, section } = slice;
    weights.fill(0.0);
    biases.fill(0.0);
    let (step_g, n_rows) = (cell.kept() * lanes, biases.len());
    let blocks = || x.chunks_exact(cell.in_len() * lanes).zip(trace.chunks_exact(cell.trace_len() * lanes));
    for (_, trace) in blocks() {
        for row in 0..n_rows {
            let mut sum = S::splat(0.0);
            for place in 0..cell.steps {
                for lane in (0..lanes).step_by(S::LANES) {
                    sum = sum.add(S::read(&trace[place * step_g + (first + row) * lanes + lane..]));
                }
            }
            biases[row] += sum.sum();
        }
    }
    // What goes with the first of `count` places of dz, and how far it is from there to the next.
    let of_hidden = section == 1;
    let (columns, count, step_x) = if of_hidden {
        (cell.hidden, cell.steps - 1, step_g)
    } else {
        (cell.in_channels, cell.steps, cell.in_channels * lanes)
    };
    let (from_g, from_x) = match (of_hidden, cell.reverse) {
        (false, _) => (0, (cell.time - cell.steps) * step_x),
        (true, false) => (step_g, 5 * cell.hidden * lanes),
        (true, true) => (0, step_g + 5 * cell.hidden * lanes),
    };
    if count == 0 {
        return;
    }
    for (x, trace) in blocks() {
        let values = if of_hidden { trace } else { x };
        let tile = Tile { count, from_g: from_g + first * lanes, step_g, from_x, step_x, lanes };
        // Rows come in fours, as gates do. The columns' values stay in a near cache while all rows go by.
        let width = S::SUMS / 4;
        for column in (0..columns).step_by(width) {
            for row in (0..n_rows).step_by(4) {
                let mut put = |t: usize, q: usize, sum: f32| weights[(row + t) * columns + column + q] += sum;
                match (columns - column, width) {
                    (4.., 4) => tile.sum::<S, 4>(trace, values, row, column, &mut put),
                    (2.., 2) => tile.sum::<S, 2>(trace, values, row, column, &mut put),
                    (rest, _) => {
                        for q in 0..rest {
                            tile.sum::<S, 1>(trace, values, row, column + q, &mut |t, _, sum| put(t, q, sum));
                        }
                    }
                }
            }
        }
    }
}

/// Where four rows of dz and some columns of values begin, and how they go on through time.
#[derive(Clone, Copy)]
struct Tile {
    count: usize,
    from_g: usize,
    step_g: usize,
    from_x: usize,
    step_x: usize,
    lanes: usize,
}

impl Tile {
    #[inline(always)]
    fn sum<S: Simd, const Q: usize>(
        &self,
        trace: &[f32],
        values: &[f32],
        row: usize,
        column: usize,
        put: &mut impl FnMut(usize, usize, f32),
    ) {
        let mut sum = [[S::splat(0.0); Q]; 4];
        for lane in (0..self.lanes).step_by(S::LANES) {
            correlate::<S, 4, Q>(
                &mut sum,
                &trace[self.from_g + row * self.lanes + lane..],
                &values[self.from_x + column * self.lanes + lane..],
                Window {
                    counts: [1, 1, self.count],
                    g_steps: [0, 0, self.step_g],
                    x_steps: [0, 0, self.step_x],
                },
                self.lanes,
                std::array::from_fn(|q| q * self.lanes),
            );
        }
        for t in 0..4 {
            for q in 0..Q {
                put(t, q, sum[t][q].sum());
            }
        }
    }
}
