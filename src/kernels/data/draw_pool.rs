//! Draws the chains that a training step moves from a pool of persistent annealed chains, each with its level.
//!
//! A chain begins as noise at level 0 and takes one level a Langevin step, up to the last one, where it stays. When it is
//! drawn there again, it restarts from noise with some probability. The first chains of the pool, the *long* ones, never
//! restart. Persistent chains: Tieleman 2008, "Training restricted Boltzmann machines using approximations to the likelihood
//! gradient"; a pool of pairs of image and level: Yang et al. 2023, <https://arxiv.org/abs/2304.10707>.

use crate::kernels::draw_negatives::Noise;
use crate::kernels::draw_real::{half_bits, permute_of};
use crate::kernels::prelude::*;
use crate::random::{Distribution, Stream, counter, philox};

/// A pool of persistent chains, and which of them a training step moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    /// Number of chains.
    pub chains: u32,
    /// Number of them that never restart: the first ones.
    pub long: u32,
    /// Number of chains that a training step moves.
    pub batch: u32,
    /// Number of long chains among those.
    pub long_batch: u32,
    /// Probability that a chain at the last level, but no long one, restarts from noise when it is drawn.
    pub restart: f32,
    /// The last level.
    pub last_level: u32,
}

impl Pool {
    /// The slot of chain `image` of the batch in the state's step: no slot is drawn twice in a step.
    pub fn slot(&self, state: &State, image: u32) -> u32 {
        let image = image % self.batch;
        let of = |image, n| permute_of(Stream::Subsets, image, n, state.step, state.key());
        match image.checked_sub(self.long_batch) {
            None => of(image, self.long),
            Some(image) => self.long + of(image, self.chains - self.long),
        }
    }

    /// The slot of chain `image`, the level that it begins the step at, and whether it restarts from noise.
    pub fn begin(&self, state: &State, levels: &[f32], image: u32) -> (u32, u32, bool) {
        let slot = self.slot(state, image);
        let level = levels[slot as usize] as u32;
        let coin = philox(counter(Stream::StartChoice, 0, image % self.batch, 0, state.step), state.key())[0];
        let restarts = slot >= self.long
            && level >= self.last_level
            && ((coin >> 8) as f32) * (1.0 / 16_777_216.0) < self.restart;
        (slot, if restarts { 0 } else { level }, restarts)
    }

    /// The `override`s that `shaders/lib/pool.wgsl` takes.
    pub(super) fn overrides(&self) -> Overrides {
        overrides![
            POOL: self.chains, LONG: self.long, POOL_BATCH: self.batch, LONG_BATCH: self.long_batch,
            POOL_HALF_BITS: half_bits((self.chains - self.long).max(1)), LONG_HALF_BITS: half_bits(self.long.max(1)),
            LAST_LEVEL: self.last_level,
        ]
    }
}

/// Draws the chains of a training step.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawPool {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// The pool.
    pub pool: Pool,
    /// What chains restart from.
    pub noise: Noise,
}

shader_struct! {
    /// `Params` of `shaders/data/draw_pool.wgsl`.
    Params { first_block: u32, restart: f32, scale: f32, bound: f32 }
}

impl KernelSpec for DrawPool {
    const SOURCE: &'static str =
        shader!["lib/state", "lib/random", "lib/permute", "lib/pool", "data/draw_pool"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; pool; levels of the pool; x; levels.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Write, Write];
    /// Of normal numbers: polynomials of a handful of terms of magnitude up to 6, a square root, a division.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-6);

    fn needs(&self) -> Vec<Need> {
        let chains = self.pool.chains as usize;
        vec![
            Need::STATE,
            Need::Flat(chains * self.features),
            Need::Flat(chains),
            Need::PerBlock(self.features),
            Need::PerBlock(1),
        ]
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = overrides![
            WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features,
            NORMAL: self.noise.distribution == Distribution::Normal,
        ];
        overrides.extend(self.pool.overrides());
        overrides
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        let Noise { scale, bound, .. } = self.noise;
        Params { first_block: blocks.start, restart: self.pool.restart, scale, bound: bound.min(f32::MAX) }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, pool, pool_levels, x, levels] = bound(bindings);
        let (state, x, levels) = (State::of(state.words()), x.floats_mut(), levels.floats_mut());
        let (pool, pool_levels) = (pool.floats(), pool_levels.floats());
        let lanes = self.lanes as usize;
        for lane in 0..lanes {
            let image = index * self.lanes + lane as u32;
            let (slot, level, restarts) = self.pool.begin(&state, pool_levels, image);
            levels[lane] = level as f32;
            let from = &pool[slot as usize * self.features..][..self.features];
            for (feature, value) in from.iter().enumerate() {
                x[feature * lanes + lane] = if restarts {
                    let at = counter(Stream::FreshStart, feature as u32 / 4, image, 0, state.step);
                    self.noise.of(philox(at, state.key()), feature % 4)
                } else {
                    *value
                };
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (i, features) in [1, 3, 17, 65].into_iter().enumerate() {
            for pool in cases(lanes) {
                let state = bench.at_step(5 * i as u32 + 2);
                let (images, levels) = of(bench, &pool, features);
                let distribution = [Distribution::Normal, Distribution::Uniform][i % 2];
                let noise = Noise { distribution, scale: 0.7, bound: 0.6 };
                let (x, own) = (bench.per_block("x", features), bench.per_block("own levels", 1));
                bench.run(Self { lanes, features, pool, noise }, &[state, images, levels, x, own]);
            }
        }
    }
}

/// Pools with long chains, without, and of those alone; of batches that do not fill their blocks.
#[cfg(test)]
pub(super) fn cases(lanes: u32) -> Vec<Pool> {
    let pool = |chains, long, batch, long_batch| Pool {
        chains,
        long,
        batch,
        long_batch,
        restart: 0.5,
        last_level: 30,
    };
    vec![
        pool(4 * lanes, lanes, 2 * lanes - 3, lanes / 4),
        pool(2 * lanes, 0, 2 * lanes, 0),
        pool(lanes, lanes, lanes - 1, lanes - 1),
    ]
}

/// A pool's images, and their levels: every other chain is at the last one.
#[cfg(test)]
pub(super) fn of(bench: &mut Bench, pool: &Pool, features: usize) -> (BufferId, BufferId) {
    let images = bench.random_flat("pool", pool.chains as usize * features);
    let levels = bench.flat("pool's levels", pool.chains as usize);
    for (slot, word) in bench.contents[levels.0].iter_mut().enumerate() {
        let level = if slot % 2 == 0 { pool.last_level } else { slot as u32 % pool.last_level };
        *word = (level as f32).to_bits();
    }
    (images, levels)
}
