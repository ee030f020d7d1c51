//! Gradient of a dense layer's weights and biases: partial sums over chunks of blocks.

use crate::kernels::conv_weight_gradient::{Chunks, Params};
use crate::kernels::dense_forward::dense_overrides;
use crate::kernels::prelude::*;
use crate::network::DenseShape;

/// Partial sums of the gradient of a dense layer's weights and biases.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseWeightGradient {
    /// Images in a block; also the workgroup's size.
    pub lanes: u32,
    /// All sizes.
    pub shape: DenseShape,
    /// How the batch is split, in jet_components.
    pub chunks: Chunks,
    /// Components of a block ([`crate::plan::JetPass`]), of which only the first has a bias; 1 but for jets, and 0 where
    /// none has.
    pub jet_components: u32,
    /// Where the weights lie in the parameters; the biases follow.
    pub weight_offset: usize,
    /// Length of the parameter vector: the stride of the partial sums.
    pub n_parameters: usize,
}

impl DenseWeightGradient {
    /// The twin, in any precision, for one chunk, which begins with a block's first component: `input` and `g` hold its
    /// blocks, `grad` is the layer's `[unit][channel][pixel]` and then `[unit]`.
    pub fn reference<R: Real>(&self, input: &[R], g: &[R], grad: &mut [R]) {
        let (s, lanes) = (&self.shape, self.lanes as usize);
        grad.fill(R::from_f64(0.0));
        let (weights, biases) = grad.split_at_mut(s.in_len() * s.units);
        let blocks = input.chunks_exact(s.in_len() * lanes).zip(g.chunks_exact(s.units * lanes));
        for (component, (input, g)) in blocks.enumerate() {
            let has_bias = self.jet_components > 0 && component.is_multiple_of(self.jet_components as usize);
            for (unit, g) in g.chunks_exact(lanes).enumerate() {
                if has_bias {
                    g.iter().for_each(|g| biases[unit] += *g);
                }
                for (f, x) in input.chunks_exact(lanes).enumerate() {
                    let column = f % s.in_channels * s.in_pixels + f / s.in_channels;
                    let weight = &mut weights[unit * s.in_len() + column];
                    for (g, x) in g.iter().zip(x) {
                        *weight += *g * *x;
                    }
                }
            }
        }
    }
}

impl KernelSpec for DenseWeightGradient {
    const SOURCE: &'static str = shader!["layers/dense_weight_gradient"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// Input; gradient of the pre-activation; partial sums.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Dot products over all pixels of a chunk: some 10,000 terms of both signs, which the reference adds one by one.
    const TOLERANCE: Tolerance = Tolerance::of_largest(5e-5);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::PerBlock(self.jet_components.max(1) as usize * self.shape.in_len()),
            Need::PerBlock(self.jet_components.max(1) as usize * self.shape.units),
            Need::AtLeast(self.chunks.end() * self.n_parameters),
        ]
    }

    fn prelude(&self) -> String {
        format!("const LANES = {}u;\n", self.lanes)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = dense_overrides(&self.shape);
        overrides.extend(overrides![
            CHANNELS: self.shape.in_channels, WEIGHT_OFFSET: self.weight_offset,
            N_PARAMETERS: self.n_parameters,
        ]);
        overrides.extend(self.chunks.overrides());
        overrides
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { first_chunk: self.chunks.first_chunk, jet_components: self.jet_components }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        let features = (self.shape.in_len() + 1).div_ceil(16);
        [features as u32, self.shape.units.div_ceil(4) as u32, self.chunks.count()]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [input, g, partials] = bound(bindings);
        let (s, lanes) = (&self.shape, self.lanes as usize);
        let layer = self.weight_offset..self.weight_offset + (s.in_len() + 1) * s.units;
        for (blocks, partial) in self.chunks.split(partials.floats_mut(), self.n_parameters) {
            let of = |len: usize| blocks.start as usize * len * lanes..blocks.end as usize * len * lanes;
            let (input, g) = (&input.floats()[of(s.in_len())], &g.floats()[of(s.units)]);
            self.reference(input, g, &mut partial[layer.clone()]);
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (number, shape) in bench.own(dense_shapes()) {
            let layer = OFFSET..OFFSET + (shape.in_len() + 1) * shape.units;
            let (jet_components, n_parameters) = (jet_components(number), layer.end + 5);
            let lens = [shape.in_len(), shape.units];
            let (chunks, bindings, written) =
                weight_buffers(bench, (number, jet_components), lens, layer, n_parameters);
            let kernel = Self { lanes, shape, chunks, jet_components, weight_offset: OFFSET, n_parameters };
            bench.run_whole(kernel, &bindings, &[(bindings[2], written)]);
        }
    }
}
