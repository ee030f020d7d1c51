//! Whether the state of training is one to go back to: the first part of a snapshot.

use crate::kernels::guard::{MEMORY, Memory, Reason};
use crate::kernels::prelude::*;

/// Halts training where anything that a snapshot is of is not finite, and decides whether a snapshot is to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckState {
    /// Counts of [`crate::kernels::count_non_finite`].
    pub n_counts: usize,
    /// Steps in a row about which the guard had no doubt, for a snapshot to be kept.
    pub interval: u32,
}

impl KernelSpec for CheckState {
    const NAME: &'static str = "check_state";
    const SOURCE: &'static str = shader!["lib/state", "lib/memory", "lib/sum", "guard/check_state"];
    type Params = BlockParams;
    const PER_BLOCK: bool = false;
    /// State; counts; the guard's memory; 1 where a snapshot is to be kept, else 0.
    const ACCESS: &'static [Access] = &[Access::ReadWrite, Access::Read, Access::ReadWrite, Access::Write];

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::AtLeast(self.n_counts), Need::Flat(MEMORY), Need::Flat(1)]
    }

    /// Counts and flags are whole numbers.
    fn tolerance(&self) -> Tolerance {
        Tolerance::EXACT
    }

    fn overrides(&self) -> Overrides {
        overrides![N_COUNTS = self.n_counts, INTERVAL = self.interval]
    }

    fn params(&self, blocks: &Range<u32>) -> BlockParams {
        BlockParams::of(blocks)
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, counts, memory, keep] = bound(bindings);
        let mut now = State::of(state.words());
        let mut remembered = Memory::of(memory.words());
        let total: f32 = counts.floats()[..self.n_counts].iter().sum();
        if now.halted == 0 && total > 0.0 {
            now.halted = Reason::Stored as u32;
            (remembered.value, remembered.usual) = (total, 0.0);
            state.words_mut()[..State::WORDS].copy_from_slice(bytemuck::cast_slice(&[now]));
            memory.floats_mut().copy_from_slice(bytemuck::cast_slice(&[remembered]));
        }
        let is_good = remembered.steps == 0.0 || remembered.calm >= self.interval as f32;
        keep.floats_mut()[0] = f32::from(u8::from(now.halted == 0 && is_good));
    }
}
