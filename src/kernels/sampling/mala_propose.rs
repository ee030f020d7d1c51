//! Moves chains to accepted proposals, and makes the next (MALA): see `shaders/sampling/mala_propose.wgsl`.

use crate::kernels::dynamics::{Dynamics, DynamicsParams};
use crate::kernels::prelude::*;
use crate::random::{Stream, counter, normal_of, philox};

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

shader_struct! {
    /// `Params` of `shaders/sampling/mala_propose.wgsl`.
    Params {
        dynamics: DynamicsParams,
        first_block: u32,
        perturbs: u32,
        /// The step that they are for.
        chain_step: u32,
        spare: u32,
    }
}

impl KernelSpec for MalaPropose {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/dynamics", "sampling/mala_propose"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; gradient at y; decisions; y; x; gradient at x.
    const ACCESS: &'static [Access] = &[Read, Read, Read, ReadWrite, ReadWrite, ReadWrite];
    /// Polynomials of a handful of terms of magnitude up to 6, a square root, a division.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-6);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![Need::STATE, image, Need::PerBlock(2), image, image, image]
    }

    /// Where a chain begins everything is accepted, so that nothing keeps its place.
    fn reads(&self, binding: usize) -> bool {
        self.perturbs != Some(0) || binding < 4
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        Params {
            dynamics: self.dynamics.params(),
            first_block: blocks.start,
            perturbs: self.perturbs.is_some().into(),
            chain_step: self.perturbs.unwrap_or(0),
            spare: 0,
        }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, gradient, decisions, y, x, x_gradient] = bound(bindings);
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

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (i, features) in [1, 3, 4, 17, 65].into_iter().enumerate() {
            let state =
                bench.state(State { step: 1000 * i as u32, chain_base: i as u32, ..State::default() });
            for (step, _, dynamics) in Dynamics::mala_cases() {
                let bindings = [
                    ("gradient", features),
                    ("decisions", 2),
                    ("y", features),
                    ("x", features),
                    ("x gradient", features),
                ]
                .map(|(name, features)| bench.images(name, features));
                let bindings = [&[state][..], &bindings].concat();
                bench.run(Self { lanes, features, perturbs: step, dynamics }, &bindings);
            }
        }
    }
}
