//! An LSTM's part of a network's pass: its cells one after the other, there and back.

use super::{BufferId, Launch, Plan, Target};
use crate::kernels::conv_weight_gradient::Chunks;
use crate::kernels::lstm_backward::LstmBackward;
use crate::kernels::lstm_forward::LstmForward;
use crate::kernels::lstm_pack::{CPU_TILE, GPU_TILE, LstmPack, LstmPacking};
use crate::kernels::lstm_weight_gradient::LstmWeightGradient;
use crate::network::{Layer, LstmCell, LstmShape};
use std::ops::Range;

/// The buffers of one LSTM, and the launches that use them.
#[derive(Clone, Debug)]
pub(super) struct LstmPass {
    lanes: u32,
    tile: usize,
    cells: Vec<CellBuffers>,
    levels: Vec<LevelBuffers>,
}

#[derive(Clone, Debug)]
struct CellBuffers {
    cell: LstmCell,
    packed: BufferId,
    trace: BufferId, // gates and states of all steps; on the way back, the gates' gradients
    carry: BufferId, // gradients of the states from one launch to the next
}

/// What lies between two layers of the stack, or above the top one.
#[derive(Clone, Copy, Debug)]
struct LevelBuffers {
    output: BufferId,
    gradient: BufferId,
}

/// What a backward pass goes on to.
#[derive(Clone, Copy, Debug)]
pub(super) struct LstmInput {
    /// The gradient of the LSTM's input.
    pub gradient: BufferId,
    /// Whether it is wanted.
    pub to_input: bool,
    /// The slope of the activation before, if there is one.
    pub slope: Option<BufferId>,
}

impl LstmPass {
    /// Adds the buffers to a plan; `output` and `gradient` are the network's own.
    pub(super) fn new(
        plan: &mut Plan,
        layer: &Layer,
        shape: &LstmShape,
        target: Target,
        output: BufferId,
        gradient: BufferId,
    ) -> Self {
        let (tile, name) = (if target.fours { GPU_TILE } else { CPU_TILE }, &layer.name);
        let mut cells = Vec::new();
        for cell in shape.cells(layer.weight_offset) {
            let name = format!("{name} l{}{}", cell.layer, if cell.reverse { " reverse" } else { "" });
            cells.push(CellBuffers {
                cell,
                packed: plan.flat(format!("{name} packed weights"), LstmPacking::new(&cell, tile).len()),
                trace: plan.per_block(format!("{name} trace"), cell.trace_len()),
                carry: plan.per_block(format!("{name} carry"), 2 * cell.hidden),
            });
        }
        let mut levels = Vec::new();
        for level in 0..shape.layers - 1 {
            let len = shape.time * shape.out_len();
            levels.push(LevelBuffers {
                output: plan.per_block(format!("{name} l{level} output"), len),
                gradient: plan.per_block(format!("{name} l{level} gradient"), len),
            });
        }
        levels.push(LevelBuffers { output, gradient });
        Self { lanes: target.lanes, tile, cells, levels }
    }

    /// What a cell reads: the output of the layer below it.
    fn input(&self, cell: &LstmCell, input: BufferId) -> BufferId {
        if cell.layer == 0 { input } else { self.levels[cell.layer - 1].output }
    }

    pub(super) fn pack(&self, launches: &mut Vec<Launch>, parameters: BufferId) {
        for buffers in &self.cells {
            let kernel = LstmPack { cell: buffers.cell, tile: self.tile };
            launches.push(Launch::whole(kernel, &[parameters, buffers.packed]));
        }
    }

    pub(super) fn forward(
        &self,
        launches: &mut Vec<Launch>,
        blocks: &Range<u32>,
        input: BufferId,
        parameters: BufferId,
    ) {
        for CellBuffers { cell, packed, trace, .. } in &self.cells {
            let bindings =
                [self.input(cell, input), *packed, parameters, *trace, self.levels[cell.layer].output];
            for kernel in LstmForward::all(self.lanes, *cell, self.tile) {
                launches.push(Launch::per_block(kernel, blocks, &bindings));
            }
        }
    }

    /// From the gradient of the output to those of all gates, and of the input if it is wanted.
    pub(super) fn backward(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>, input: LstmInput) {
        // The top layer first, and in each the forward direction first: the reverse one adds to what it left.
        let mut cells: Vec<_> = self.cells.iter().collect();
        cells.sort_by_key(|buffers| std::cmp::Reverse(buffers.cell.layer));
        for CellBuffers { cell, packed, trace, carry } in cells {
            let above = self.levels[cell.layer].gradient;
            let to = if cell.layer == 0 {
                input
            } else {
                LstmInput { gradient: self.levels[cell.layer - 1].gradient, to_input: true, slope: None }
            };
            let has_slope = to.slope.is_some();
            let bindings = [above, *packed, to.slope.unwrap_or(above), *trace, *carry, to.gradient];
            for kernel in
                LstmBackward::all(self.lanes, *cell, self.tile, to.to_input, cell.reverse, has_slope)
            {
                launches.push(Launch::per_block(kernel, blocks, &bindings));
            }
        }
    }

    pub(super) fn to_parameters(
        &self,
        launches: &mut Vec<Launch>,
        input: BufferId,
        chunks: Chunks,
        n_parameters: usize,
        partials: BufferId,
    ) {
        for CellBuffers { cell, trace, .. } in &self.cells {
            let kernel = LstmWeightGradient { lanes: self.lanes, cell: *cell, chunks, n_parameters };
            launches.push(Launch::whole(kernel, &[self.input(cell, input), *trace, partials]));
        }
    }
}
