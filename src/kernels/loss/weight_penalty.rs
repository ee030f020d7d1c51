//! The weights' L2 penalty, `weight * sum of parameter^2`, in the gradient.

use crate::kernels::prelude::*;

/// Adds the derivative of the weights' L2 penalty to the gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightPenalty {
    /// Length of the parameter vector.
    pub n_parameters: usize,
    /// Weight of the penalty.
    pub weight: f32,
}

shader_struct! {
    /// `Params` of `shaders/loss/weight_penalty.wgsl`.
    Params { weight: f32 }
}

impl KernelSpec for WeightPenalty {
    const SOURCE: &'static str = shader!["loss/weight_penalty"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// Parameters; gradient.
    const ACCESS: &'static [Access] = &[Read, ReadWrite];
    /// Two roundings; the terms may cancel.
    const TOLERANCE: Tolerance = Tolerance::new(3e-7, 3e-7);

    fn needs(&self) -> Vec<Need> {
        let parameters = Need::Flat(self.n_parameters);
        vec![parameters, parameters]
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, N_PARAMETERS: self.n_parameters]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { weight: self.weight }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [(self.n_parameters as u32).div_ceil(WORKGROUP_SIZE), 1, 1]
    }

    fn parts(&self) -> Option<Parts> {
        Some(Parts::parameters(self.n_parameters, 3))
    }

    #[inline(always)]
    fn run_part(&self, first: usize, bindings: &mut [Binding]) {
        let [parameters, grad] = bound(bindings);
        for (grad, parameter) in grad.floats_mut().iter_mut().zip(&parameters.floats()[first..]) {
            *grad += 2.0 * self.weight * parameter;
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for n_parameters in LENGTHS {
            let [parameters, gradient] =
                ["parameters", "gradient"].map(|name| bench.random_flat(name, n_parameters));
            let written = [(gradient, vec![0..n_parameters])];
            bench.run_whole(Self { n_parameters, weight: 0.3 }, &[parameters, gradient], &written);
        }
    }
}
