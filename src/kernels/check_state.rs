//! Whether the state of training is one to go back to: the first part of a snapshot.

use super::guard::{Memory, Reason};
use super::{Access, Binding, BlockParams, Describe, State};
use std::ops::Range;

/// Halts training where anything that a snapshot is of is not finite, and decides whether a snapshot is to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckState {
    /// Counts of [`super::count_non_finite`].
    pub n_counts: usize,
    /// Steps in a row about which the guard had no doubt, for a snapshot to be kept.
    pub interval: u32,
}

impl Describe for CheckState {
    const NAME: &'static str = "check_state";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/state.wgsl"),
        include_str!("../../shaders/lib/memory.wgsl"),
        include_str!("../../shaders/lib/sum.wgsl"),
        include_str!("../../shaders/check_state.wgsl")
    );
    /// State; counts; the guard's memory; 1 where a snapshot is to be kept, else 0.
    const ACCESS: &'static [Access] = &[Access::ReadWrite, Access::Read, Access::ReadWrite, Access::Write];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("N_COUNTS", self.n_counts as f64), ("INTERVAL", self.interval.into())]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&BlockParams { first_block: 0 }).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [1, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, counts, memory, keep] = bindings else { panic!("{} takes four bindings", Self::NAME) };
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
