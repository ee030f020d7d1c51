//! Moves chains to accepted proposals, and makes the next (MALA): see `shaders/mala_propose.wgsl`.

use super::dynamics::{Dynamics, DynamicsParams};
use super::{Access, Binding, Describe, State, WORKGROUP_SIZE, groups};
use crate::random::{Stream, counter, normal_of, philox};
use std::ops::Range;

/// Moves chains to accepted proposals, and makes the next.
#[derive(Clone, Debug, PartialEq)]
pub struct MalaPropose {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// The step to make proposals for; `None` at the chain's end, which leaves the chains themselves in their place.
    pub perturbs: Option<u32>,
    /// How.
    pub dynamics: Dynamics,
}

/// `Params` of `shaders/mala_propose.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// The numbers of a step.
    pub dynamics: DynamicsParams,
    /// The first block of the launch's range.
    pub first_block: u32,
    /// 1 to make proposals.
    pub perturbs: u32,
    /// The step that they are for.
    pub chain_step: u32,
    /// Unused.
    pub spare: u32,
}

impl Describe for MalaPropose {
    const NAME: &'static str = "mala_propose";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/state.wgsl"),
        include_str!("../../shaders/lib/random.wgsl"),
        include_str!("../../shaders/lib/dynamics.wgsl"),
        include_str!("../../shaders/mala_propose.wgsl")
    );
    /// State; gradient at y; decisions; y; x; gradient at x.
    const ACCESS: &'static [Access] =
        &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite, Access::ReadWrite];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("WORKGROUP_SIZE", WORKGROUP_SIZE.into()),
            ("LANES", self.lanes.into()),
            ("FEATURES", self.features as f64),
        ]
    }

    fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
        let params = Params {
            dynamics: self.dynamics.params(),
            first_block: blocks.start,
            perturbs: self.perturbs.is_some().into(),
            chain_step: self.perturbs.unwrap_or(0),
            spare: 0,
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, gradient, decisions, y, x, x_gradient] = bindings else {
            panic!("{} takes six bindings", Self::NAME)
        };
        let (state, lanes) = (State::of(state.words()), self.lanes as usize);
        let (gradient, decisions) = (gradient.floats(), decisions.floats());
        let (y, x, x_gradient) = (y.floats_mut(), x.floats_mut(), x_gradient.floats_mut());
        let (clip, now) = (self.dynamics.gradient_clip, self.dynamics.at(state.step));
        for (lane, decision) in decisions[..lanes].iter().enumerate() {
            let image = state.first_image + index * self.lanes + lane as u32;
            let mut noise = [0.0; 4];
            for feature in 0..self.features {
                if let (0, Some(step)) = (feature % 4, self.perturbs) {
                    let quad = feature as u32 / 4;
                    let at = counter(Stream::Langevin, quad, image, state.chain_base + step, state.step);
                    noise = normal_of(philox(at, state.key()));
                }
                let i = feature * lanes + lane;
                if *decision != 0.0 {
                    x[i] = y[i];
                    x_gradient[i] = gradient[i];
                }
                y[i] = x[i];
                if self.perturbs.is_some() {
                    y[i] += now.noise * noise[feature % 4] - now.drift * x_gradient[i].clamp(-clip, clip);
                }
            }
        }
    }
}
