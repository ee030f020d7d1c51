//! Ends a training step: the step counter, and the replay ring's head and length.

use crate::kernels::prelude::*;

/// Ends a training step.
#[derive(Clone, Debug, PartialEq)]
pub struct Advance {
    /// Images pushed in a step.
    pub batch: u32,
    /// Slots of the ring.
    pub capacity: u32,
}

impl KernelSpec for Advance {
    const SOURCE: &'static str = shader!["lib/state", "optimizer/advance"];
    block_params!();
    const PER_BLOCK: bool = false;
    /// State.
    const ACCESS: &'static [Access] = &[ReadWrite];
    /// Integers.
    const TOLERANCE: Tolerance = Tolerance::EXACT;

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE]
    }

    fn overrides(&self) -> Overrides {
        overrides![BATCH: self.batch, CAPACITY: self.capacity]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state] = bound(bindings);
        let mut next = State::of(state.words());
        if next.halted != 0 {
            return;
        }
        next.step += 1;
        next.replay_head = (next.replay_head + self.batch) % self.capacity;
        next.replay_length = (next.replay_length + self.batch).min(self.capacity);
        state.words_mut()[..State::WORDS].copy_from_slice(bytemuck::cast_slice(&[next]));
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for (batch, capacity, replay_head, replay_length) in
            [(1, 1, 0, 1), (20, 257, 250, 250), (20, 257, 3, 257), (17, 100, 40, 40)]
        {
            let state = bench.state(State { step: 9, replay_head, replay_length, ..State::default() });
            bench.run_whole(Self { batch, capacity }, &[state], &[(state, vec![0..3])]);
        }
        let state = bench.state(State::HALTED);
        bench.run_whole(Self { batch: 16, capacity: 100 }, &[state], &[(state, vec![])]);
    }
}
