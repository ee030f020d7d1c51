//! Blurs data images to the noise levels that the chains of the same training step come to, so that contrastive divergence
//! compares images of one level: `x <- alpha x + s n`, with `alpha = 1 / sqrt(1 + sigma^2)` and `s = sigma alpha`.

use crate::kernels::draw_pool::Pool;
use crate::kernels::dynamics::{Dynamics, DynamicsParams};
use crate::kernels::prelude::*;
use crate::random::{Stream, counter, normal_of, philox};

/// Blurs data images to the levels of the chains.
#[derive(Clone, Debug, PartialEq)]
pub struct BlurAtLevels {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// The pool: image i of the batch is blurred to the level that its chain i comes to.
    pub pool: Pool,
    /// Langevin steps of a training step: levels that the chains are ahead at its end.
    pub steps: u32,
    /// Where the levels' sigmas come from.
    pub dynamics: Dynamics,
}

shader_struct! {
    /// `Params` of `shaders/data/blur_at_levels.wgsl`.
    Params { dynamics: DynamicsParams, first_block: u32, restart: f32, steps: u32, spare0: u32 }
}

impl KernelSpec for BlurAtLevels {
    const SOURCE: &'static str =
        shader!["lib/state", "lib/random", "lib/permute", "lib/pool", "lib/dynamics", "data/blur_at_levels"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; levels of the pool; x.
    const ACCESS: &'static [Access] = &[Read, Read, ReadWrite];
    /// Polynomials of a handful of terms of magnitude up to 6, an exponential, square roots, divisions.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::Flat(self.pool.chains as usize), Need::PerBlock(self.features)]
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features];
        overrides.extend(self.pool.overrides());
        overrides
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        let (restart, steps) = (self.pool.restart, self.steps);
        Params { dynamics: self.dynamics.params(), first_block: blocks.start, restart, steps, spare0: 0 }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, pool_levels, x] = bound(bindings);
        let (state, pool_levels, x) = (State::of(state.words()), pool_levels.floats(), x.floats_mut());
        let lanes = self.lanes as usize;
        for lane in 0..lanes {
            let image = index * self.lanes + lane as u32;
            let (_, level, _) = self.pool.begin(&state, pool_levels, image);
            let sigma = self.dynamics.sigma((level + self.steps).min(self.pool.last_level));
            let alpha = 1.0 / (1.0 + sigma * sigma).sqrt();
            let mut noise = [0.0; 4];
            for feature in 0..self.features {
                if feature % 4 == 0 {
                    let at = counter(Stream::PoolNoise, feature as u32 / 4, image, 0, state.step);
                    noise = normal_of(philox(at, state.key()));
                }
                let value = &mut x[feature * lanes + lane];
                *value = alpha * *value + sigma * alpha * noise[feature % 4];
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        use crate::kernels::draw_pool;
        let lanes = bench.plan.lanes;
        for (i, features) in [1, 6, 65].into_iter().enumerate() {
            for pool in draw_pool::cases(lanes) {
                let state = bench.at_step(5 * i as u32 + 2);
                let (_, levels) = draw_pool::of(bench, &pool, features);
                let x = bench.images("x", features);
                let dynamics = Dynamics::ladder(5.0, 0.5, pool.last_level);
                let kernel = Self { lanes, features, pool, steps: 7, dynamics };
                bench.run(kernel, &[state, levels, x]);
            }
        }
    }
}
