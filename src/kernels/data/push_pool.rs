//! Puts the chains of a training step back into their pool, each at the level that it has come to
//! ([`crate::kernels::draw_pool`]).

use crate::kernels::draw_pool::Pool;
use crate::kernels::prelude::*;

/// Puts the chains of a training step back.
#[derive(Clone, Debug, PartialEq)]
pub struct PushPool {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// The pool.
    pub pool: Pool,
    /// Langevin steps that the chains have done: levels that they are ahead.
    pub steps: u32,
    /// The range's first block: the twin is handed all of them.
    pub first_block: u32,
}

shader_struct! {
    /// `Params` of `shaders/data/push_pool.wgsl`.
    Params { first_block: u32, steps: u32 }
}

impl KernelSpec for PushPool {
    const SOURCE: &'static str =
        shader!["lib/state", "lib/random", "lib/permute", "lib/pool", "data/push_pool"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; x; levels; pool; levels of the pool.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Write, Write];
    /// Copies, and sums of small integers.
    const TOLERANCE: Tolerance = Tolerance::EXACT;

    fn needs(&self) -> Vec<Need> {
        let chains = self.pool.chains as usize;
        vec![
            Need::STATE,
            Need::PerBlock(self.features),
            Need::PerBlock(1),
            Need::Flat(chains * self.features),
            Need::Flat(chains),
        ]
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features];
        overrides.extend(self.pool.overrides());
        overrides
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { first_block: self.first_block, steps: self.steps }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [groups(self.features, self.lanes), 1, self.pool.batch.div_ceil(self.lanes)]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, x, levels, pool, pool_levels] = bound(bindings);
        let (state, x, levels) = (State::of(state.words()), x.floats(), levels.floats());
        let (pool, pool_levels) = (pool.floats_mut(), pool_levels.floats_mut());
        if state.halted != 0 {
            return;
        }
        let lanes = self.lanes as usize;
        for image in 0..self.pool.batch as usize {
            let slot = self.pool.slot(&state, image as u32) as usize;
            let block = self.first_block as usize + image / lanes;
            let level = levels[block * lanes + image % lanes] as u32 + self.steps;
            pool_levels[slot] = level.min(self.pool.last_level) as f32;
            let to = &mut pool[slot * self.features..][..self.features];
            for (feature, value) in to.iter_mut().enumerate() {
                *value = x[(block * self.features + feature) * lanes + image % lanes];
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        use crate::kernels::draw_pool;
        let lanes = bench.plan.lanes;
        for (i, features) in [1, 5, 65].into_iter().enumerate() {
            for pool in draw_pool::cases(lanes) {
                for halted in [0, 3] {
                    let state = bench.state(State { step: 77 + i as u32, halted, ..State::default() });
                    let first_block = N_BLOCKS - u32::div_ceil(pool.batch, lanes);
                    let x = bench.random_blocks("x", features, &(first_block..N_BLOCKS));
                    let levels = bench.per_block("levels", 1);
                    for (lane, word) in bench.words_of(1, &(first_block..N_BLOCKS)).enumerate() {
                        bench.contents[levels.0][word] = (lane as f32).to_bits();
                    }
                    let images = bench.flat("pool", pool.chains as usize * features);
                    let pool_levels = bench.flat("pool's levels", pool.chains as usize);
                    let of = State::of(&bench.contents[state.0]);
                    let moved = if halted == 0 { pool.batch } else { 0 };
                    let slots: Vec<_> = (0..moved).map(|image| pool.slot(&of, image) as usize).collect();
                    let written = slots.iter().map(|slot| slot * features..(slot + 1) * features).collect();
                    let levels_written = slots.iter().map(|slot| *slot..slot + 1).collect();
                    let kernel = Self { lanes, features, pool, steps: 7, first_block };
                    let written = [(images, written), (pool_levels, levels_written)];
                    bench.run_whole(kernel, &[state, x, levels, images, pool_levels], &written);
                }
            }
        }
    }
}
