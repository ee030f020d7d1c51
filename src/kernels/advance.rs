//! Ends a training step: the step counter, and the replay ring's head and length.

use super::{Access, Binding, BlockParams, Describe, State};
use std::ops::Range;

/// Ends a training step.
#[derive(Clone, Debug, PartialEq)]
pub struct Advance {
    /// Images pushed in a step.
    pub batch: u32,
    /// Slots of the ring.
    pub capacity: u32,
}

impl Describe for Advance {
    const NAME: &'static str = "advance";
    const SOURCE: &'static str =
        concat!(include_str!("../../shaders/lib/state.wgsl"), include_str!("../../shaders/advance.wgsl"));
    /// State.
    const ACCESS: &'static [Access] = &[Access::ReadWrite];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("BATCH", self.batch.into()), ("CAPACITY", self.capacity.into())]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&BlockParams { first_block: 0 }).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [1, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state] = bindings else { panic!("{} takes one binding", Self::NAME) };
        let mut next = State::of(state.words());
        if next.halted != 0 {
            return;
        }
        next.step += 1;
        next.ring_head = (next.ring_head + self.batch) % self.capacity;
        next.ring_length = (next.ring_length + self.batch).min(self.capacity);
        state.words_mut()[..State::WORDS].copy_from_slice(bytemuck::cast_slice(&[next]));
    }
}
