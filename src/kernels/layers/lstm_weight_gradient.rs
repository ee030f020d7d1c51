//! Gradient of an LSTM cell's weights and biases: partial sums over chunks of blocks, added up in order by
//! [`crate::kernels::reduce_partials`].

use crate::kernels::conv_weight_gradient::Chunks;
use crate::kernels::prelude::*;
use crate::network::LstmCell;

/// Partial sums of the gradient of an LSTM cell's weights and biases.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmWeightGradient {
    /// Images in a block; also the workgroup's size.
    pub lanes: u32,
    /// The cell.
    pub cell: LstmCell,
    /// How the batch is split.
    pub chunks: Chunks,
    /// Length of the parameter vector: the stride of the partial sums.
    pub n_parameters: usize,
}

impl LstmWeightGradient {
    /// The twin, in any precision, for one chunk: `x` `[time][channel][lane]` and the trace that
    /// [`crate::kernels::lstm_backward`] leaves, of its blocks; `grad` is the cell's parameters in their order.
    pub fn reference<R: Real>(&self, x: &[R], trace: &[R], grad: &mut [R]) {
        let (cell, lanes) = (&self.cell, self.lanes as usize);
        let (hidden, n) = (cell.hidden, cell.in_channels);
        grad.fill(R::from_f64(0.0));
        let (of_input, of_hidden) = grad.split_at_mut(4 * hidden * (n + 1));
        let blocks = x.chunks_exact(cell.in_len() * lanes).zip(trace.chunks_exact(cell.trace_len() * lanes));
        for (x, trace) in blocks {
            for step in 0..cell.steps {
                let values =
                    |place: usize, len: usize, all: &'_ [R]| all[place * lanes..][..len * lanes].to_vec();
                let g = values(cell.place_of(step) * cell.kept(), 4 * hidden, trace);
                let x = values(cell.time_of(step) * n, n, x);
                let h = (step > 0)
                    .then(|| values(cell.place_of(step - 1) * cell.kept() + 5 * hidden, hidden, trace));
                for (row, g) in g.chunks_exact(lanes).enumerate() {
                    add_products(g, &x, &mut of_input[row * n..][..n]);
                    if let Some(h) = &h {
                        add_products(g, h, &mut of_hidden[row * hidden..][..hidden]);
                    }
                    for g in g {
                        of_input[4 * hidden * n + row] += *g;
                        of_hidden[4 * hidden * hidden + row] += *g;
                    }
                }
            }
        }
    }
}

/// `sums[k] += sum over lanes of g * values[k]`
fn add_products<R: Real>(g: &[R], values: &[R], sums: &mut [R]) {
    for (sum, values) in sums.iter_mut().zip(values.chunks_exact(g.len())) {
        for (g, value) in g.iter().zip(values) {
            *sum += *g * *value;
        }
    }
}

impl KernelSpec for LstmWeightGradient {
    const SOURCE: &'static str = shader!["layers/lstm_weight_gradient"];
    block_params!();
    const PER_BLOCK: bool = false;
    /// Input; trace; partial sums.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Dot products over all pixels of a chunk: some 10,000 terms of both signs, which the reference adds one by one.
    const TOLERANCE: Tolerance = Tolerance::of_largest(5e-5);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::PerBlock(self.cell.in_len()),
            Need::PerBlock(self.cell.trace_len()),
            Need::AtLeast(self.chunks.end() * self.n_parameters),
        ]
    }

    fn overrides(&self) -> Overrides {
        let cell = &self.cell;
        let mut overrides = overrides![
            LANES: self.lanes, IN_CHANNELS: cell.in_channels, HIDDEN: cell.hidden, TIME: cell.time,
            STEPS: cell.steps, REVERSE: cell.reverse, WEIGHT_OFFSET: cell.weight_offset,
            N_PARAMETERS: self.n_parameters, FIRST_CHUNK: self.chunks.first_chunk,
        ];
        overrides.extend(self.chunks.overrides());
        overrides
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        let fours = self.cell.in_channels.div_ceil(4) + self.cell.hidden.div_ceil(4);
        [self.cell.hidden as u32, fours as u32 + 1, self.chunks.count()]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [x, trace, partials] = bound(bindings);
        let (cell, lanes) = (&self.cell, self.lanes as usize);
        for (blocks, partial) in self.chunks.split(partials.floats_mut(), self.n_parameters) {
            let of = |len: usize| blocks.start as usize * len * lanes..blocks.end as usize * len * lanes;
            let (x, trace) = (&x.floats()[of(cell.in_len())], &trace.floats()[of(cell.trace_len())]);
            self.reference(x, trace, &mut partial[cell.weight_offset..][..cell.weight_len()]);
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (number, cell) in lstm_cells(bench) {
            let own = cell.weight_offset..cell.weight_offset + cell.weight_len();
            let (n_parameters, lens) = (own.end + 5, [cell.in_len(), cell.trace_len()]);
            let (chunks, bindings, written) = weight_buffers(bench, (number, 1), lens, own, n_parameters);
            let kernel = Self { lanes, cell, chunks, n_parameters };
            bench.run_whole(kernel, &bindings, &[(bindings[2], written)]);
        }
    }
}
