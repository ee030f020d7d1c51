//! An LSTM cell, step after step through time: gates, states, and what the way back needs.

use crate::kernels::lstm_pack::LstmPacking;
use crate::kernels::prelude::*;
use crate::network::LstmCell;

/// Invocations of a workgroup.
const SIZE: u32 = 256;
/// Images that a workgroup owns; the others of their block belong to other workgroups.
const GROUP_LANES: u32 = 8;
/// Turns that an invocation's loops take in one launch, at most: llvmpipe ends them all after 65,535.
const TURNS: usize = 60_000;

/// Some steps of an LSTM cell.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmForward {
    /// Images in a block.
    pub lanes: u32,
    /// The cell.
    pub cell: LstmCell,
    /// Floats of a packed tile's row: see [`LstmPacking`].
    pub tile: usize,
    /// The first step.
    pub first_step: usize,
    /// Steps.
    pub n_steps: usize,
}

shader_struct! {
    /// `Params` of `shaders/layers/lstm_forward.wgsl` and `shaders/layers/lstm_backward.wgsl`.
    Params { first_block: u32, first_step: u32, n_steps: u32 }
}

/// The logistic function.
pub(crate) fn sigmoid<R: Real>(z: R) -> R {
    let one = R::from_f64(1.0);
    one / (one + (R::from_f64(0.0) - z).exp())
}

/// `2 sigmoid(2 z) - 1`
pub(crate) fn tanh<R: Real>(z: R) -> R {
    let s = sigmoid(z + z);
    s + s - R::from_f64(1.0)
}

/// Images that a workgroup owns, of blocks of `lanes`.
pub(crate) fn group_lanes(lanes: u32) -> u32 {
    GROUP_LANES.min(lanes)
}

/// Turns that an invocation's outer loop takes, of a workgroup that has `items` for each of its images.
pub(crate) fn turns(items: usize, lanes: u32) -> usize {
    (items * group_lanes(lanes) as usize).div_ceil(SIZE as usize)
}

/// Steps of one launch, at most, of which each takes an invocation `turns`.
pub(crate) fn steps_at_once(turns: usize) -> usize {
    (TURNS / turns).max(1)
}

/// The overrides that describe a cell.
pub(crate) fn cell_overrides(cell: &LstmCell, lanes: u32) -> Overrides {
    overrides![
        SIZE, LANES: lanes, GROUP_LANES: group_lanes(lanes), IN_CHANNELS: cell.in_channels,
        HIDDEN: cell.hidden, TIME: cell.time, STEPS: cell.steps, REVERSE: cell.reverse,
        OUT_TIME: cell.out_time, OUT_CHANNELS: cell.out_channels,
    ]
}

/// The groups of a cell's launch.
pub(crate) fn cell_workgroups(lanes: u32, blocks: &Range<u32>) -> [u32; 3] {
    [lanes.div_ceil(group_lanes(lanes)), 1, blocks.len() as u32]
}

/// The uniform struct of some steps.
pub(crate) fn cell_uniform(blocks: &Range<u32>, first_step: usize, n_steps: usize) -> Params {
    let (first_step, n_steps) = (first_step as u32, n_steps as u32);
    Params { first_block: blocks.start, first_step, n_steps }
}

impl LstmForward {
    /// The launches that go through all steps.
    pub fn all(lanes: u32, cell: LstmCell, tile: usize) -> Vec<Self> {
        let packing = LstmPacking::new(&cell, tile);
        let at_once = steps_at_once(2 + turns(cell.hidden, lanes) * (3 + packing.rows() / 4));
        let launch = |first_step: usize| {
            let n_steps = at_once.min(cell.steps - first_step);
            Self { lanes, cell, tile, first_step, n_steps }
        };
        (0..cell.steps).step_by(at_once).map(launch).collect()
    }

    /// The order of the weights.
    pub fn packing(&self) -> LstmPacking {
        LstmPacking::new(&self.cell, self.tile)
    }

    /// The twin, in any precision, for one block: `x` `[time][channel][lane]`, packed weights, the cell's parameters
    /// (for the biases), `trace` `[place][gate, c or h][unit][lane]`, `output` `[time][channel][lane]`.
    pub fn reference<R: Real>(
        &self,
        x: &[R],
        packed: &[R],
        parameters: &[R],
        trace: &mut [R],
        output: &mut [R],
    ) {
        let (cell, lanes, packing) = (&self.cell, self.lanes as usize, self.packing());
        let (hidden, n) = (cell.hidden, cell.in_channels);
        let bias =
            |row: usize| parameters[4 * hidden * n + row] + parameters[4 * hidden * (n + 1 + hidden) + row];
        for step in self.first_step..self.first_step + self.n_steps {
            let now = cell.place_of(step) * cell.kept();
            let before = (step > 0).then(|| cell.place_of(step - 1) * cell.kept());
            for unit in 0..hidden {
                let mut z = [0, 1, 2, 3].map(|gate| vec![bias(gate * hidden + unit); lanes]);
                for k in 0..n + hidden {
                    let values = if k < n {
                        &x[(cell.time_of(step) * n + k) * lanes..][..lanes]
                    } else if let Some(before) = before {
                        &trace[(before + 5 * hidden + k - n) * lanes..][..lanes]
                    } else {
                        break;
                    };
                    for (gate, z) in z.iter_mut().enumerate() {
                        let weight = packed[packing.forward_index(unit, gate, k)];
                        for (z, value) in z.iter_mut().zip(values) {
                            *z += weight * *value;
                        }
                    }
                }
                for lane in 0..lanes {
                    let z = [0, 1, 2, 3].map(|gate: usize| z[gate][lane]);
                    let [i, f, g, o] = [sigmoid(z[0]), sigmoid(z[1]), tanh(z[2]), sigmoid(z[3])];
                    let mut c = i * g;
                    if let Some(before) = before {
                        c += f * trace[(before + 4 * hidden + unit) * lanes + lane];
                    }
                    let h = o * tanh(c);
                    for (part, value) in [i, f, g, o, c, h].into_iter().enumerate() {
                        trace[(now + part * hidden + unit) * lanes + lane] = value;
                    }
                    if let Some(time) = cell.out_time_of(step) {
                        output[(time * cell.out_channels + cell.out_offset() + unit) * lanes + lane] = h;
                    }
                }
            }
        }
    }
}

impl KernelSpec for LstmForward {
    const SOURCE: &'static str = shader!["layers/lstm_forward"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// Input; packed weights; parameters; trace; the layer's output.
    const ACCESS: &'static [Access] = &[Read, Read, Read, ReadWrite, Write];
    /// Dot products, whose errors go from step to step. A gate's slope is at most 1, so that they grow with the steps
    /// only if the weights make the state itself grow.
    const TOLERANCE: Tolerance = Tolerance::of_largest(2e-5);
    const PACKED_WEIGHTS: Option<usize> = Some(1);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::PerBlock(self.cell.in_len()),
            Need::Flat(self.packing().len()),
            Need::AtLeast(self.cell.weight_offset + self.cell.weight_len()),
            Need::PerBlock(self.cell.trace_len()),
            Need::PerBlock(self.cell.out_len()),
        ]
    }

    /// Before the first step there are no states.
    fn reads(&self, binding: usize) -> bool {
        binding != 3 || self.first_step > 0
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = cell_overrides(&self.cell, self.lanes);
        overrides.push(("WEIGHT_OFFSET", self.cell.weight_offset as f64));
        overrides
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        cell_uniform(blocks, self.first_step, self.n_steps)
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        cell_workgroups(self.lanes, blocks)
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [x, packed, parameters, trace, output] = bound(bindings);
        let parameters = &parameters.floats()[self.cell.weight_offset..][..self.cell.weight_len()];
        self.reference(x.floats(), packed.floats(), parameters, trace.floats_mut(), output.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let (lanes, tile) = (bench.plan.lanes, cell_tile(bench));
        for (number, cell) in lstm_cells(bench) {
            let parameters = cell_parameters(bench, number, &cell);
            let packed = packed_cell(bench, parameters, &cell);
            let x = bench.images("x", cell.in_len());
            for (first_step, n_steps) in cell_steps(&cell) {
                let kernel = Self { lanes, cell, tile, first_step, n_steps };
                let [trace, output] = [("trace", cell.trace_len()), ("output", cell.out_len())]
                    .map(|(name, len)| bench.images(name, len));
                bench.run(kernel, &[x, packed, parameters, trace, output]);
            }
        }
    }
}
