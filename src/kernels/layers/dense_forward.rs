//! Dense layer and activation, fused.

use crate::kernels::pack_weights::{Packing, Tile};
use crate::kernels::prelude::*;
use crate::network::{Activation, DenseShape};

/// Dense layer and activation.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseForward {
    /// Images in a block.
    pub lanes: u32,
    /// All sizes.
    pub shape: DenseShape,
    /// Units of one invocation; the weights are packed for them.
    pub tile_channels: usize,
    /// Where the biases lie in the parameters.
    pub bias_offset: usize,
    /// What follows.
    pub activation: Activation,
}

impl DenseForward {
    /// The order of the weights.
    pub fn packing(&self) -> Packing {
        Packing::dense(self.shape, self.tile_channels, false)
    }

    /// The twin, in any precision, for one block: input `[feature][lane]`, packed weights, biases `[unit]`, output and
    /// slope `[unit][lane]`.
    pub fn reference<R: Real>(
        &self,
        input: &[R],
        weights: &[R],
        bias: &[R],
        output: &mut [R],
        slope: &mut [R],
    ) {
        let (s, lanes, packing) = (&self.shape, self.lanes as usize, self.packing());
        for unit in 0..s.units {
            let mut z = vec![bias[unit]; lanes];
            for (f, row) in input.chunks_exact(lanes).enumerate() {
                let weight = weights[packing.index(unit, f % s.in_channels, f / s.in_channels, 0)];
                for (z, x) in z.iter_mut().zip(row) {
                    *z += weight * *x;
                }
            }
            for (lane, z) in z.into_iter().enumerate() {
                let at = unit * lanes + lane;
                (output[at], slope[at]) = activate(self.activation, z);
            }
        }
    }
}

/// The overrides that describe a dense layer.
pub(crate) fn dense_overrides(s: &DenseShape) -> Overrides {
    overrides![FEATURES: s.in_len(), UNITS: s.units]
}

/// The prelude of a tile of one pixel.
pub(crate) fn dense_prelude(tile_channels: usize) -> String {
    Tile { channels: tile_channels, pixels: 1 }.prelude()
}

impl KernelSpec for DenseForward {
    const SOURCE: &'static str = shader!["lib/activation", "layers/dense_forward"];
    block_params!();
    const PER_BLOCK: bool = true;
    /// Input; packed weights; parameters; output; slope.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Write, Write];
    /// A dot product of n terms is off by sqrt(n) to n roundings of its terms, which are smaller than the largest output:
    /// 600 terms give 2e-6 to 4e-5, in practice the former. The activation adds 2e-6.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);
    const PACKED_WEIGHTS: Option<usize> = Some(1);

    fn needs(&self) -> Vec<Need> {
        let output = Need::PerBlock(self.shape.units);
        vec![
            Need::PerBlock(self.shape.in_len()),
            Need::Flat(self.packing().len()),
            Need::AtLeast(self.bias_offset + self.shape.units),
            output,
            output,
        ]
    }

    fn prelude(&self) -> String {
        dense_prelude(self.tile_channels)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = dense_overrides(&self.shape);
        overrides.extend(overrides![
            WORKGROUP_SIZE, LANES: self.lanes, BIAS_OFFSET: self.bias_offset,
            ACTIVATION: self.activation.code(), LEAK: self.activation.leak(),
        ]);
        overrides
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.shape.units.div_ceil(self.tile_channels), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [input, weights, parameters, output, slope] = bound(bindings);
        let bias = &parameters.floats()[self.bias_offset..];
        self.reference(input.floats(), weights.floats(), bias, output.floats_mut(), slope.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (number, shape) in bench.own(dense_shapes()) {
            let bias_offset = OFFSET + shape.in_len() * shape.units;
            let (tile_channels, activation) = (tile_channels(bench.for_gpu, number), activation(number));
            let kernel = Self { lanes, shape, tile_channels, bias_offset, activation };
            let weights = bench.packed(&kernel.packing());
            let parameters = bench.flat("parameters", bias_offset + shape.units + 5);
            fill_biases(bench, parameters, bias_offset..bias_offset + shape.units, shape.units, number);
            let input = bench.images("input", shape.in_len());
            let [output, slope] = ["output", "slope"].map(|name| bench.per_block(name, shape.units));
            bench.run(kernel, &[input, weights, parameters, output, slope]);
        }
    }
}
