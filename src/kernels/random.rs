//! Fills a per-block buffer with random numbers ([`crate::random`]).

use super::{Access, Binding, Describe, State, WORKGROUP_SIZE, groups};
use crate::random::{Distribution, Stream, counter, normals, quads, uniform_of};
use std::ops::Range;

/// Fills a per-block buffer with random numbers: a sampler's starts, and tests of the generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Random {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// The stream.
    pub stream: Stream,
    /// What to write.
    pub distribution: Distribution,
    /// What uniform and normal numbers are multiplied by.
    pub scale: f32,
    /// Largest magnitude of those; infinite for no clamp.
    pub bound: f32,
}

/// `Params` of `shaders/random.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// The first block of the launch's range.
    pub first_block: u32,
    /// [`Stream`].
    pub stream: u32,
    /// [`Distribution`].
    pub distribution: u32,
    /// What numbers are multiplied by.
    pub scale: f32,
    /// Largest magnitude.
    pub bound: f32,
}

impl Describe for Random {
    const NAME: &'static str = "random";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/state.wgsl"),
        include_str!("../../shaders/lib/random.wgsl"),
        include_str!("../../shaders/random.wgsl")
    );
    /// State; output.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("WORKGROUP_SIZE", WORKGROUP_SIZE.into()),
            ("LANES", self.lanes.into()),
            ("FEATURES", self.features as f64),
        ]
    }

    fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
        let distribution = self.distribution as u32;
        let params = Params {
            first_block: blocks.start,
            stream: self.stream as u32,
            distribution,
            scale: self.scale,
            bound: self.bound.min(f32::MAX),
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, output] = bindings else { panic!("{} takes two bindings", Self::NAME) };
        self.block(&State::of(state.words()), index, output.words_mut());
    }
}

impl Random {
    /// One block; inlined into callers that allow wider SIMD instructions.
    #[inline(always)]
    pub(crate) fn block(&self, state: &State, index: u32, output: &mut [u32]) {
        if self.lanes.is_multiple_of(16) {
            self.block_in_chunks::<16>(state, index, output);
        } else {
            self.block_in_chunks::<8>(state, index, output);
        }
    }

    #[inline(always)]
    fn block_in_chunks<const CHUNK: usize>(&self, state: &State, index: u32, output: &mut [u32]) {
        let lanes = self.lanes as usize;
        for (quad, rows) in output.chunks_mut(4 * lanes).enumerate() {
            for first in (0..lanes).step_by(CHUNK) {
                let image = state.first_image + index * self.lanes + first as u32;
                let at = counter(self.stream, quad as u32, image, state.chain_base, state.step);
                let mut words = quads::<CHUNK>(at, state.key());
                match self.distribution {
                    Distribution::Bits => {}
                    Distribution::Uniform => {
                        for row in &mut words {
                            for word in row {
                                *word = self.scaled(uniform_of(*word));
                            }
                        }
                    }
                    Distribution::Normal => {
                        let normals = normals(&words);
                        for (row, normals) in words.iter_mut().zip(&normals) {
                            for (word, normal) in row.iter_mut().zip(normals) {
                                *word = self.scaled(*normal);
                            }
                        }
                    }
                    Distribution::Signs => {
                        for row in &mut words {
                            for word in row {
                                *word = *word & 0x8000_0000 | 0x3f80_0000;
                            }
                        }
                    }
                }
                let end = lanes.min(first + CHUNK);
                for (row, words) in rows.chunks_mut(lanes).zip(&words) {
                    row[first..end].copy_from_slice(&words[..end - first]);
                }
            }
        }
    }

    #[inline(always)]
    fn scaled(&self, value: f32) -> u32 {
        (self.scale * value).clamp(-self.bound, self.bound).to_bits()
    }
}
