//! An LSTM cell's way back through time: from the gradient of its output to those of its gates and of its input.

use crate::kernels::lstm_forward::{
    Params, cell_overrides, cell_uniform, cell_workgroups, steps_at_once, tanh, turns,
};
use crate::kernels::lstm_pack::LstmPacking;
use crate::kernels::prelude::*;
use crate::network::LstmCell;

/// Some steps of an LSTM cell, backward.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmBackward {
    /// Images in a block.
    pub lanes: u32,
    /// The cell.
    pub cell: LstmCell,
    /// Floats of a packed tile's row: see [`LstmPacking`].
    pub tile: usize,
    /// Steps that were walked back before, the last of the forward pass first.
    pub first_step: usize,
    /// Steps.
    pub n_steps: usize,
    /// Whether to go on to the input.
    pub to_input: bool,
    /// Whether the input's gradient is added to what is there: the other direction's.
    pub adds: bool,
    /// Whether there is an activation before the input.
    pub has_slope: bool,
}

impl LstmBackward {
    /// The launches that go back through all steps.
    pub fn all(
        lanes: u32,
        cell: LstmCell,
        tile: usize,
        to_input: bool,
        adds: bool,
        has_slope: bool,
    ) -> Vec<Self> {
        let tiles = cell.hidden.div_ceil(tile) + cell.in_channels.div_ceil(tile);
        let per_step = 4 + turns(cell.hidden, lanes) + turns(tiles, lanes) * (1 + cell.hidden);
        let at_once = steps_at_once(per_step);
        let launch = |first_step: usize| {
            let n_steps = at_once.min(cell.steps - first_step);
            Self { lanes, cell, tile, first_step, n_steps, to_input, adds, has_slope }
        };
        (0..cell.steps).step_by(at_once).map(launch).collect()
    }

    /// The order of the weights.
    pub fn packing(&self) -> LstmPacking {
        LstmPacking::new(&self.cell, self.tile)
    }

    /// The steps to walk, last first.
    pub fn steps(&self) -> impl Iterator<Item = usize> + use<> {
        let last = self.cell.steps - self.first_step;
        (last - self.n_steps..last).rev()
    }

    /// The twin, in any precision, for one block: gradient of the layer's output and packed weights; slope and gradient
    /// of the input; in `trace`, gradients of the gates before their activations take the place of the gates; `carry`
    /// `[h, c][unit][lane]` has the gradients of the states from one launch to the next. `slope` is not read where there
    /// is none, nor `grad` written where it is not wanted.
    pub fn reference<R: Real>(
        &self,
        grad_out: &[R],
        packed: &[R],
        slope: &[R],
        trace: &mut [R],
        carry: &mut [R],
        grad: &mut [R],
    ) {
        let (cell, lanes, packing) = (&self.cell, self.lanes as usize, self.packing());
        let (hidden, n) = (cell.hidden, cell.in_channels);
        let (zero, one) = (R::from_f64(0.0), R::from_f64(1.0));
        for step in self.steps() {
            let now = cell.place_of(step) * cell.kept();
            for at in 0..hidden * lanes {
                let (unit, lane) = (at / lanes, at % lanes);
                let [i, f, g, o, c] = [0, 1, 2, 3, 4].map(|part| trace[(now + part * hidden) * lanes + at]);
                let is_last = step + 1 == cell.steps;
                let (mut dh, mut dc) =
                    if is_last { (zero, zero) } else { (carry[at], carry[hidden * lanes + at]) };
                if let Some(time) = cell.out_time_of(step) {
                    dh += grad_out[(time * cell.out_channels + cell.out_offset() + unit) * lanes + lane];
                }
                let tanh_c = tanh(c);
                dc += dh * o * (one - tanh_c * tanh_c);
                let before = if step > 0 {
                    trace[(cell.place_of(step - 1) * cell.kept() + 4 * hidden) * lanes + at]
                } else {
                    zero
                };
                let gates = [
                    dc * g * i * (one - i),
                    dc * before * f * (one - f),
                    dc * i * (one - g * g),
                    dh * tanh_c * o * (one - o),
                ];
                for (gate, value) in gates.into_iter().enumerate() {
                    trace[(now + gate * hidden) * lanes + at] = value;
                }
                carry[hidden * lanes + at] = dc * f;
            }
            for k in 0..n + hidden {
                if k < n && !self.to_input || k >= n && step == 0 {
                    continue;
                }
                let mut sums = vec![zero; lanes];
                for row in 0..4 * hidden {
                    let weight = packed[packing.backward_index(row % hidden, row / hidden, k)];
                    for (sum, g) in sums.iter_mut().zip(&trace[(now + row) * lanes..]) {
                        *sum += weight * *g;
                    }
                }
                for (lane, sum) in sums.into_iter().enumerate() {
                    if k >= n {
                        carry[(k - n) * lanes + lane] = sum;
                        continue;
                    }
                    let at = (cell.time_of(step) * n + k) * lanes + lane;
                    let value = if self.has_slope { sum * slope[at] } else { sum };
                    grad[at] = if self.adds { grad[at] + value } else { value };
                }
            }
        }
    }
}

impl KernelSpec for LstmBackward {
    const SOURCE: &'static str = shader!["layers/lstm_backward"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// Gradient of the layer's output; packed weights; slope (anything where there is none); trace; gradients of the
    /// states; gradient of the input.
    const ACCESS: &'static [Access] = &[Read, Read, Read, ReadWrite, ReadWrite, ReadWrite];
    /// Dot products, whose errors go from step to step. A gate's slope is at most 1, so that they grow with the steps
    /// only if the weights make the state itself grow.
    const TOLERANCE: Tolerance = Tolerance::of_largest(2e-5);
    const PACKED_WEIGHTS: Option<usize> = Some(1);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::PerBlock(self.cell.out_len()),
            Need::Flat(self.packing().len()),
            Need::PerBlock(if self.has_slope { self.cell.in_len() } else { self.cell.out_len() }),
            Need::PerBlock(self.cell.trace_len()),
            Need::PerBlock(2 * self.cell.hidden),
            Need::PerBlock(self.cell.in_len()),
        ]
    }

    /// The slope, if there is one; the carried gradients, after the first launch; the input's gradient, to add to it.
    fn reads(&self, binding: usize) -> bool {
        match binding {
            2 => self.has_slope,
            4 => self.first_step > 0,
            5 => self.to_input && self.adds,
            _ => true,
        }
    }

    fn overrides(&self) -> Overrides {
        let flag = |flag: bool| f64::from(u8::from(flag));
        let mut overrides = cell_overrides(&self.cell, self.lanes);
        overrides.extend(overrides![
            TO_INPUT: flag(self.to_input), ADDS: flag(self.adds), HAS_SLOPE: flag(self.has_slope),
        ]);
        overrides
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        cell_uniform(blocks, self.first_step, self.n_steps)
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        cell_workgroups(self.lanes, blocks)
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [grad_out, packed, slope, trace, carry, grad] = bound(bindings);
        self.reference(
            grad_out.floats(),
            packed.floats(),
            slope.floats(),
            trace.floats_mut(),
            carry.floats_mut(),
            grad.floats_mut(),
        );
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let (lanes, tile) = (bench.plan.lanes, cell_tile(bench));
        for (number, cell) in lstm_cells(bench) {
            let parameters = cell_parameters(bench, number, &cell);
            let packed = packed_cell(bench, parameters, &cell);
            for (first_step, n_steps) in cell_steps(&cell) {
                let (has_slope, to_input, adds) = (number.is_multiple_of(3), number % 4 != 3, cell.reverse);
                let kernel = Self { lanes, cell, tile, first_step, n_steps, to_input, adds, has_slope };
                let grad_out = bench.images("grad out", cell.out_len());
                let slope = if has_slope { bench.images("slope", cell.in_len()) } else { grad_out };
                let [trace, carry, grad] =
                    [("trace", cell.trace_len()), ("carry", 2 * cell.hidden), ("grad", cell.in_len())]
                        .map(|(name, len)| bench.images(name, len));
                bench.run(kernel, &[grad_out, packed, slope, trace, carry, grad]);
            }
        }
    }
}
