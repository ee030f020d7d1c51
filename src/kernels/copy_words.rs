//! Copies a buffer: a snapshot's way there and back.

use super::{Access, Binding, BlockParams, Describe, WORKGROUP_SIZE};
use std::ops::Range;

/// Workgroups, at most: each copies a stretch of its own, so that no buffer is too large for one launch.
const MOST_GROUPS: usize = 4096;

/// Copies a buffer, always or if [`super::check_state`] says so.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyWords {
    /// Words to copy.
    pub length: usize,
    /// Whatever the first binding says.
    pub always: bool,
}

impl CopyWords {
    fn groups(&self) -> usize {
        self.length.div_ceil(WORKGROUP_SIZE as usize).min(MOST_GROUPS)
    }
}

impl Describe for CopyWords {
    const NAME: &'static str = "copy_words";
    const SOURCE: &'static str = include_str!("../../shaders/copy_words.wgsl");
    /// What [`super::check_state`] says: 0 for no copy; words to read; words to write.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("WORKGROUP_SIZE", WORKGROUP_SIZE.into()),
            ("LENGTH", self.length as f64),
            ("GROUPS", self.groups() as f64),
            ("ALWAYS", self.always.into()),
        ]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&BlockParams { first_block: 0 }).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [self.groups() as u32, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [keep, source, copy] = bindings else { panic!("{} takes three bindings", Self::NAME) };
        if self.always || keep.floats()[0] != 0.0 {
            copy.words_mut()[..self.length].copy_from_slice(&source.words()[..self.length]);
        }
    }
}
