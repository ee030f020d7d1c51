//! Puts refined chains into the replay ring, or back to the slots that they came from.

use crate::kernels::draw_real::{half_bits, permute_of};
use crate::kernels::prelude::*;
use crate::random::Stream;

/// Puts the first `batch` images of a range of blocks into the ring.
#[derive(Clone, Debug, PartialEq)]
pub struct PushReplay {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Images to push; not more than `capacity`.
    pub batch: u32,
    /// Slots of the ring.
    pub capacity: u32,
    /// The range's first block: the twin is handed all of them.
    pub first_block: u32,
    /// False: from the ring's head on. True: the ring holds persistent chains, which go back to their own slots
    /// ([`crate::kernels::draw_negatives`]).
    pub subset: bool,
}

impl KernelSpec for PushReplay {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/permute", "data/push_replay"];
    type Params = BlockParams;
    const PER_BLOCK: bool = false;
    /// State; x; ring.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Copies.
    const TOLERANCE: Tolerance = Tolerance::EXACT;

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::PerBlock(self.features), Need::Flat(self.capacity as usize * self.features)]
    }

    fn overrides(&self) -> Overrides {
        overrides![
            WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features, BATCH: self.batch,
            CAPACITY: self.capacity, SUBSET: if self.subset { self.capacity.into() } else { 0.0 },
            HALF_BITS: half_bits(self.capacity),
        ]
    }

    fn params(&self, _: &Range<u32>) -> BlockParams {
        BlockParams { first_block: self.first_block }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [groups(self.features, self.lanes), 1, self.batch.div_ceil(self.lanes)]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, x, replay] = bound(bindings);
        let (state, x, replay) = (State::of(state.words()), x.floats(), replay.floats_mut());
        if state.halted != 0 {
            return;
        }
        let lanes = self.lanes as usize;
        for image in 0..self.batch as usize {
            let slot = if self.subset {
                permute_of(Stream::Subsets, image as u32, self.capacity, state.step, state.key()) as usize
            } else {
                (state.replay_head as usize + image) % self.capacity as usize
            };
            let block = self.first_block as usize + image / lanes;
            let to = &mut replay[slot * self.features..][..self.features];
            for (feature, value) in to.iter_mut().enumerate() {
                *value = x[(block * self.features + feature) * lanes + image % lanes];
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        // Batch, capacity, head: around the end, over it, exactly to it, all of it.
        for (features, batch, capacity, head) in
            [(1, 1, 1, 0), (3, 17, 20, 15), (65, 20, 63, 43), (17, 31, 31, 30), (5, 32, 257, 0)]
        {
            let first_block = N_BLOCKS - u32::div_ceil(batch, lanes);
            let state = bench.state(State { replay_head: head, replay_length: capacity, ..State::default() });
            let x = bench.random_blocks("x", features, &(first_block..N_BLOCKS));
            let replay = bench.flat("ring", capacity as usize * features);
            let end = (head + batch).min(capacity) as usize;
            let wrapped = (head + batch) as usize - end;
            let written = vec![head as usize * features..end * features, 0..wrapped * features];
            let kernel = Self { lanes, features, batch, capacity, first_block, subset: false };
            bench.run_whole(kernel, &[state, x, replay], &[(replay, written)]);
        }
        // Persistent chains, back to their slots.
        for (features, batch, capacity) in [(3, 2 * lanes, 2 * lanes), (5, lanes, 257), (1, 1, 1)] {
            let first_block = N_BLOCKS - u32::div_ceil(batch, lanes);
            let state = bench.state(State { step: 77, replay_length: capacity, ..State::default() });
            let x = bench.random_blocks("x", features, &(first_block..N_BLOCKS));
            let replay = bench.flat("ring", capacity as usize * features);
            let key = State::of(&bench.contents[state.0]).key();
            let slots = (0..batch).map(|i| permute_of(Stream::Subsets, i, capacity, 77, key) as usize);
            let written = slots.map(|slot| slot * features..(slot + 1) * features).collect();
            let kernel = Self { lanes, features, batch, capacity, first_block, subset: true };
            bench.run_whole(kernel, &[state, x, replay], &[(replay, written)]);
        }
        for subset in [false, true] {
            let (state, x, replay) = (
                bench.state(State::HALTED),
                bench.random_blocks("x", 5, &(0..N_BLOCKS)),
                bench.random_flat("ring", 500),
            );
            let kernel = Self { lanes, features: 5, batch: lanes, capacity: 100, first_block: 1, subset };
            bench.run_whole(kernel, &[state, x, replay], &[(replay, vec![])]);
        }
    }
}
