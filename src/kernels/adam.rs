//! Updates the parameters: Adam (Kingma and Ba 2015, <https://arxiv.org/abs/1412.6980>, algorithm 1), with PyTorch's
//! place for epsilon.

use super::{Access, Binding, Describe, State, WORKGROUP_SIZE};
use std::ops::Range;

/// Updates the parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// Length of the parameter vector.
    pub n_parameters: usize,
    /// Step length.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

/// `Params` of `shaders/adam.wgsl`. Differences and logarithms are taken in f64, here.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Step length.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// `1 - beta1`.
    pub one_minus_beta1: f32,
    /// `1 - beta2`.
    pub one_minus_beta2: f32,
    /// `ln beta1`.
    pub log_beta1: f32,
    /// `ln beta2`.
    pub log_beta2: f32,
}

impl Adam {
    fn params(&self) -> Params {
        let log = |beta: f64| beta.ln().max(-1e30) as f32;
        Params {
            learning_rate: self.learning_rate as f32,
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            epsilon: self.epsilon as f32,
            one_minus_beta1: (1.0 - self.beta1) as f32,
            one_minus_beta2: (1.0 - self.beta2) as f32,
            log_beta1: log(self.beta1),
            log_beta2: log(self.beta2),
        }
    }
}

impl Describe for Adam {
    const NAME: &'static str = "adam";
    const SOURCE: &'static str =
        concat!(include_str!("../../shaders/lib/state.wgsl"), include_str!("../../shaders/adam.wgsl"));
    /// State; gradient; scale; first moment; second moment; parameters.
    const ACCESS: &'static [Access] =
        &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite, Access::ReadWrite];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("WORKGROUP_SIZE", WORKGROUP_SIZE.into()), ("N_PARAMETERS", self.n_parameters as f64)]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&self.params()).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [(self.n_parameters as u32).div_ceil(WORKGROUP_SIZE), 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, grad, scale, first_moment, second_moment, parameters] = bindings else {
            panic!("{} takes six bindings", Self::NAME)
        };
        let p = self.params();
        let t = f64::from(State::of(state.words()).step) + 1.0;
        let correction = |beta: f64| -(t * beta.ln()).exp_m1() as f32;
        let (correction1, correction2) = (correction(self.beta1), correction(self.beta2));
        let scale = scale.floats()[0];
        let moments = first_moment.floats_mut().iter_mut().zip(second_moment.floats_mut());
        for ((parameter, grad), (m, v)) in parameters.floats_mut().iter_mut().zip(grad.floats()).zip(moments)
        {
            let g = scale * grad;
            *m = p.beta1 * *m + p.one_minus_beta1 * g;
            *v = p.beta2 * *v + p.one_minus_beta2 * g * g;
            let (m_hat, v_hat) = (*m / correction1, *v / correction2);
            *parameter -= p.learning_rate * m_hat / (v_hat.sqrt() + p.epsilon);
        }
    }
}
