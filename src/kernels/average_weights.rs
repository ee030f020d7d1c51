//! The exponential moving average of the parameters.

use super::{Access, Binding, Describe, Parts, State, WORKGROUP_SIZE};
use std::ops::Range;

/// Moves the average on: `average = decay average + (1 - decay) parameter`.
#[derive(Clone, Debug, PartialEq)]
pub struct AverageWeights {
    /// Length of the parameter vector.
    pub n_parameters: usize,
    /// Share of itself that the average keeps.
    pub decay: f64,
}

/// `Params` of `shaders/average_weights.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Share of itself that the average keeps.
    pub decay: f32,
    /// `1 - decay`.
    pub one_minus_decay: f32,
}

impl Describe for AverageWeights {
    const NAME: &'static str = "average_weights";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/state.wgsl"),
        include_str!("../../shaders/average_weights.wgsl")
    );
    /// State; parameters; average.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::ReadWrite];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("WORKGROUP_SIZE", WORKGROUP_SIZE.into()), ("N_PARAMETERS", self.n_parameters as f64)]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&Params { decay: self.decay as f32, one_minus_decay: (1.0 - self.decay) as f32 })
            .to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [(self.n_parameters as u32).div_ceil(WORKGROUP_SIZE), 1, 1]
    }

    fn parts(&self) -> Option<Parts> {
        Some(Parts::parameters(self.n_parameters, 3))
    }

    #[inline(always)]
    fn run_part(&self, first: usize, bindings: &mut [Binding]) {
        let [state, parameters, average] = bindings else { panic!("{} takes three bindings", Self::NAME) };
        if State::of(state.words()).halted != 0 {
            return;
        }
        let (decay, share) = (self.decay as f32, (1.0 - self.decay) as f32);
        for (average, parameter) in average.floats_mut().iter_mut().zip(&parameters.floats()[first..]) {
            *average = decay * *average + share * parameter;
        }
    }
}
