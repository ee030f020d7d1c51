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
    const SOURCE: &'static str = shader!["lib/state", "lib/memory", "lib/sum", "guard/check_state"];
    block_params!();
    const PER_BLOCK: bool = false;
    /// State; counts; the guard's memory; 1 where a snapshot is to be kept, else 0.
    const ACCESS: &'static [Access] = &[ReadWrite, Read, ReadWrite, Write];
    /// Counts and flags are whole numbers.
    const TOLERANCE: Tolerance = Tolerance::EXACT;

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::AtLeast(self.n_counts), Need::Flat(MEMORY), Need::Flat(1)]
    }

    fn overrides(&self) -> Overrides {
        overrides![N_COUNTS: self.n_counts, INTERVAL: self.interval]
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

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let calm = Memory { steps: 300.0, calm: 100.0, tries: 2.0, ..Memory::default() };
        let n_counts = 700;
        for (wrong, at, remembered) in [
            // Not finite, state, memory.
            (0.0, State::default(), Memory::default()),
            (0.0, State::default(), calm),
            (0.0, State::default(), Memory { calm: 99.0, ..calm }),
            (3.0, State::default(), calm),
            (0.0, State::HALTED, calm),
            (3.0, State::HALTED, calm),
        ] {
            let (state, memory, keep) = (bench.state(at), bench.memory(remembered), bench.flat("keep", 1));
            let counts = bench.flat("counts", n_counts + 1);
            bench.contents[counts.0][..n_counts].fill(0);
            bench.contents[counts.0][n_counts - 1] = f32::to_bits(wrong);
            let halts = wrong > 0.0 && at.halted == 0;
            let (of_state, of_memory) = if halts { (vec![7..8], vec![11..13]) } else { (vec![], vec![]) };
            let written = [(state, of_state), (memory, of_memory), (keep, vec![0..1])];
            bench.run_whole(Self { n_counts, interval: 100 }, &[state, counts, memory, keep], &written);
            bench.note(&format!("{at:?}, {wrong}"));
        }
    }
}
