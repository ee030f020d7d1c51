//! The way back through [`crate::kernels::activation_jet`]: from the gradients of a loss with respect to an
//! activation's components to those with respect to the pre-activation's.

use crate::kernels::activation_jet::{ActivationJet, Jet, curves, jet_overrides};
use crate::kernels::prelude::*;

/// The way back through an activation's jet.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationJetBackward(pub ActivationJet);

impl ActivationJetBackward {
    /// The twin, in any precision, for one block: pre-activations less bias `z` and gradients `g`, both
    /// `[component][feature][lane]`, and biases `[channel]`. `g` is of the activations before, of the pre-activations after.
    pub fn reference<R: Real>(&self, z: &[R], bias: &[R], g: &mut [R]) {
        let k = &self.0;
        let component = k.features * k.lanes as usize;
        let Jet { directions, first_order } = k.jet;
        let two = R::from_f64(2.0);
        for at in 0..component {
            let bias = bias[at / k.lanes as usize % k.channels];
            let [_, slope, second, third] = curves(k.activation, z[at] + bias);
            let mut sum = slope * g[at];
            let mut of_second = R::from_f64(0.0);
            if k.jet.has_second() {
                let at = (1 + directions) * component + at;
                of_second = g[at];
                sum += of_second * second * z[at];
                g[at] = of_second * slope;
            }
            let (bend, bend_of_second) = (of_second * third, two * of_second * second);
            for d in 0..directions {
                let (tangent, gradient) = (z[(1 + d) * component + at], &mut g[(1 + d) * component + at]);
                sum += *gradient * second * tangent;
                *gradient = *gradient * slope;
                if d >= first_order {
                    sum += bend * tangent * tangent;
                    *gradient += bend_of_second * tangent;
                }
            }
            g[at] = sum;
        }
    }
}

impl KernelSpec for ActivationJetBackward {
    const SOURCE: &'static str =
        shader!["lib/activation", "lib/curves", "lib/jet", "second_order/activation_jet_backward"];
    block_params!();
    const PER_BLOCK: bool = true;
    /// Pre-activation less bias; parameters; gradient.
    const ACCESS: &'static [Access] = &[Read, Read, ReadWrite];
    /// A handful of terms. The last one's factor, a third derivative, is a difference of terms larger than itself.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        self.0.needs()
    }

    fn overrides(&self) -> Overrides {
        jet_overrides(&self.0)
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        self.0.workgroups(blocks)
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [z, parameters, g] = bound(bindings);
        let bias = &parameters.floats()[self.0.bias_offset..][..self.0.channels];
        self.reference(z.floats(), bias, g.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for kernel in ActivationJet::cases_of(bench) {
            let n = kernel.jet.components() * kernel.features;
            let parameters = kernel.biases(bench);
            let (z, g) = (bench.images("z", n), bench.images("g", n));
            bench.run(Self(kernel), &[z, parameters, g]);
        }
    }
}
