//! The KL term of improved contrastive divergence (Du, Li, Tenenbaum and Mordatch 2021, "Improved contrastive divergence
//! training of energy-based models", section 3.1), without its entropy: `weight * mean E(x_K)`, where only the chain's
//! last step, `x_K = clamp(x - drift clip(g(x)) + noise)` with `g = dE/dx`, depends on the parameters, and E and x do
//! not.
//!
//! Its derivative is `-weight drift / batch` times that of `v . g(x)` with respect to the parameters, where
//! `v = dE/dx(x_K)`, but 0 where the step's clip or clamp holds a value: the parameter gradient of a derivative along
//! v, which a [`crate::plan::JetPass`] takes. This kernel makes v, and the seeds.

use crate::kernels::dynamics::{Dynamics, DynamicsParams};
use crate::kernels::prelude::*;

/// From a chain's last step to the direction that the KL term is a derivative along.
#[derive(Clone, Debug, PartialEq)]
pub struct KlDirection {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Chains.
    pub batch: u32,
    /// Weight of the term.
    pub weight: f32,
    /// The last step.
    pub dynamics: Dynamics,
}

shader_struct! {
    /// `Params` of `shaders/loss/kl_direction.wgsl`.
    Params { dynamics: DynamicsParams, first_block: u32, weight: f32 }
}

impl KlDirection {
    /// The twin, in any precision, for the launch's block `index` in training step `step`. Of `streams`
    /// `[stream][feature][lane]` the first is x and stays; the second is g(x), and becomes v. `seeds` are
    /// `[stream][lane]`.
    pub fn reference<R: Real>(
        &self,
        (index, step): (u32, u32),
        gradient: &[R],
        x: &[R],
        streams: &mut [R],
        seeds: &mut [R],
    ) {
        let zero = R::from_f64(0.0);
        let (lanes, dynamics) = (self.lanes as usize, self.dynamics.params());
        let within = |value: R, limit: f32| {
            let limit = R::from_f64(limit.into());
            value < limit && zero - value < limit
        };
        let directions = &mut streams[self.features * lanes..];
        for (direction, (gradient, x)) in directions.iter_mut().zip(gradient.iter().zip(x)) {
            let moves = within(*direction, dynamics.gradient_clip) && within(*x, dynamics.bound);
            *direction = if moves { *gradient } else { zero };
        }
        let drift = R::from_f64(self.dynamics.at(step).drift.into());
        let weight = R::from_f64((self.weight / self.batch as f32).into());
        for lane in 0..lanes {
            let counts = index as usize * lanes + lane < self.batch as usize;
            seeds[lane] = zero;
            seeds[lanes + lane] = if counts { zero - weight * drift } else { zero };
        }
    }
}

impl KernelSpec for KlDirection {
    const SOURCE: &'static str = shader!["lib/state", "lib/dynamics", "loss/kl_direction"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; gradient at x_K; x_K; streams; seeds.
    const ACCESS: &'static [Access] = &[Read, Read, Read, ReadWrite, Write];
    /// Copies, and a product of a few factors.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![Need::STATE, image, image, Need::PerBlock(2 * self.features), Need::PerBlock(2)]
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features, BATCH: self.batch]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        Params {
            dynamics: self.dynamics.params(),
            first_block: blocks.start,
            weight: self.weight / self.batch as f32,
        }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, gradient, x, streams, seeds] = bound(bindings);
        let step = State::of(state.words()).step;
        let (streams, seeds) = (streams.floats_mut(), seeds.floats_mut());
        self.reference((index, step), gradient.floats(), x.floats(), streams, seeds);
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        use crate::kernels::dynamics::{Form, Interpolation};
        let lanes = bench.plan.lanes;
        for features in [1, 17, 63, 65, 257] {
            for (form, gradient_clip, bound) in [
                (Form::NoiseFirst, 0.5, 0.7),
                (Form::NoiseLast, f32::INFINITY, 0.4),
                (Form::Theory, 0.2, f32::INFINITY),
            ] {
                let state = bench.at_step(3);
                let [gradient, x, streams] =
                    [("gradient", features), ("x", features), ("streams", 2 * features)]
                        .map(|(name, features)| bench.images(name, features));
                let seeds = bench.per_block("seeds", 2);
                let dynamics = Dynamics {
                    form,
                    step_size: 0.3,
                    step_size_end: 0.1,
                    noise: 0.3,
                    noise_end: 0.03,
                    interpolation: Interpolation::Geometric,
                    levels: 9,
                    temperature: 0.7,
                    gradient_clip,
                    bound,
                };
                let kernel = Self { lanes, features, batch: lanes + 3, weight: 0.7, dynamics };
                bench.run(kernel, &[state, gradient, x, streams, seeds]);
            }
        }
    }
}
