//! An activation with its first two derivatives: what [`crate::plan::TangentPass`] keeps of a forward pass.

use crate::kernels::activation_jet::curves;
use crate::kernels::prelude::*;
use crate::network::Activation;

/// An activation with its first two derivatives.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationSecond {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Channels of those: each has a bias.
    pub channels: usize,
    /// Where the biases lie in the parameters.
    pub bias_offset: usize,
    /// What it does.
    pub activation: Activation,
}

impl ActivationSecond {
    /// The twin, in any precision, for one block `[feature][lane]` and biases `[channel]`: `z`, the pre-activation less
    /// bias, becomes the second derivative; `value` and `slope` are written.
    pub fn reference<R: Real>(&self, z: &mut [R], bias: &[R], value: &mut [R], slope: &mut [R]) {
        for (i, z) in z.iter_mut().enumerate() {
            let bias = bias[i / self.lanes as usize % self.channels];
            let curves = curves(self.activation, *z + bias);
            [value[i], slope[i], *z] = [curves[0], curves[1], curves[2]];
        }
    }
}

shader_struct! {
    /// `Params` of `shaders/second_order/activation_second.wgsl`: layers with the same activation share a pipeline.
    Params { first_block: u32, features: u32, channels: u32, bias_offset: u32 }
}

impl KernelSpec for ActivationSecond {
    const SOURCE: &'static str = shader!["lib/activation", "lib/curves", "second_order/activation_second"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// Pre-activation less bias, then second derivative; parameters; activation; slope.
    const ACCESS: &'static [Access] = &[ReadWrite, Read, Write, Write];
    /// A handful of terms. The last one's factor, a third derivative, is a difference of terms larger than itself.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![image, Need::AtLeast(self.bias_offset + self.channels), image, image]
    }

    fn overrides(&self) -> Overrides {
        overrides![
            WORKGROUP_SIZE, LANES: self.lanes, ACTIVATION: self.activation.code(),
            LEAK: self.activation.leak(),
        ]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        Params {
            first_block: blocks.start,
            features: self.features as u32,
            channels: self.channels as u32,
            bias_offset: self.bias_offset as u32,
        }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features, self.lanes / 4), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [z, parameters, value, slope] = bound(bindings);
        let bias = &parameters.floats()[self.bias_offset..][..self.channels];
        self.reference(z.floats_mut(), bias, value.floats_mut(), slope.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (i, (features, channels)) in
            [(1, 1), (17, 1), (63, 3), (65, 65), (257, 257)].into_iter().enumerate()
        {
            for j in 0..3 {
                let activation = activation(i + 3 * j);
                let parameters = jet_biases(bench, channels, activation, i + j);
                let z = bench.images("z", features);
                let [value, slope] = ["value", "slope"].map(|name| bench.per_block(name, features));
                let kernel = Self { lanes, features, channels, bias_offset: OFFSET, activation };
                bench.run(kernel, &[z, parameters, value, slope]);
            }
        }
    }
}
