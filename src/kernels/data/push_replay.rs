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
    const NAME: &'static str = "push_replay";
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/permute", "data/push_replay"];
    type Params = BlockParams;
    const PER_BLOCK: bool = false;
    /// State; x; ring.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::PerBlock(self.features), Need::Flat(self.capacity as usize * self.features)]
    }

    /// Copies.
    fn tolerance(&self) -> Tolerance {
        Tolerance::EXACT
    }

    fn overrides(&self) -> Overrides {
        overrides![
            WORKGROUP_SIZE,
            LANES = self.lanes,
            FEATURES = self.features,
            BATCH = self.batch,
            CAPACITY = self.capacity,
            SUBSET = if self.subset { self.capacity.into() } else { 0.0 },
            HALF_BITS = half_bits(self.capacity)
        ]
    }

    fn params(&self, _: &Range<u32>) -> BlockParams {
        BlockParams { first_block: self.first_block }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [groups(self.features, self.lanes), 1, self.batch.div_ceil(self.lanes)]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, x, ring] = bound(bindings);
        let (state, x, ring) = (State::of(state.words()), x.floats(), ring.floats_mut());
        if state.halted != 0 {
            return;
        }
        let lanes = self.lanes as usize;
        for image in 0..self.batch as usize {
            let slot = if self.subset {
                permute_of(Stream::Subsets, image as u32, self.capacity, state.step, state.key()) as usize
            } else {
                (state.ring_head as usize + image) % self.capacity as usize
            };
            let block = self.first_block as usize + image / lanes;
            let to = &mut ring[slot * self.features..][..self.features];
            for (feature, value) in to.iter_mut().enumerate() {
                *value = x[(block * self.features + feature) * lanes + image % lanes];
            }
        }
    }
}
