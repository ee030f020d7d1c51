//! The weights' L2 penalty, `weight * sum of parameter^2`, in the gradient.

use super::{Access, Binding, Describe, Parts, WORKGROUP_SIZE};
use std::ops::Range;

/// Adds the derivative of the weights' L2 penalty to the gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightPenalty {
    /// Length of the parameter vector.
    pub n_parameters: usize,
    /// Weight of the penalty.
    pub weight: f32,
}

/// `Params` of `shaders/weight_penalty.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Weight of the penalty.
    pub weight: f32,
}

impl Describe for WeightPenalty {
    const NAME: &'static str = "weight_penalty";
    const SOURCE: &'static str = include_str!("../../shaders/weight_penalty.wgsl");
    /// Parameters; gradient.
    const ACCESS: &'static [Access] = &[Access::Read, Access::ReadWrite];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("WORKGROUP_SIZE", WORKGROUP_SIZE.into()), ("N_PARAMETERS", self.n_parameters as f64)]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&Params { weight: self.weight }).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [(self.n_parameters as u32).div_ceil(WORKGROUP_SIZE), 1, 1]
    }

    fn parts(&self) -> Option<Parts> {
        Some(Parts::parameters(self.n_parameters, 3))
    }

    #[inline(always)]
    fn run_part(&self, first: usize, bindings: &mut [Binding]) {
        let [parameters, grad] = bindings else { panic!("{} takes two bindings", Self::NAME) };
        for (grad, parameter) in grad.floats_mut().iter_mut().zip(&parameters.floats()[first..]) {
            *grad += 2.0 * self.weight * parameter;
        }
    }
}
