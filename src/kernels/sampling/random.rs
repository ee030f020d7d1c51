//! Fills a per-block buffer with random numbers ([`crate::random`]).

use crate::kernels::prelude::*;
use crate::random::{Distribution, Stream, counter, normals, quads, uniform_of};

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

shader_struct! {
    /// `Params` of `shaders/sampling/random.wgsl`.
    Params { first_block: u32, stream: u32, distribution: u32, scale: f32, bound: f32 }
}

impl KernelSpec for Random {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "sampling/random"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; output.
    const ACCESS: &'static [Access] = &[Read, Write];
    /// Of normal numbers: polynomials of a handful of terms of magnitude up to 6, a square root, a division.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-6);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::PerBlock(self.features)]
    }

    /// Bits, signs and uniform numbers are exact.
    fn tolerance(&self) -> Tolerance {
        if self.distribution == Distribution::Normal { Self::TOLERANCE } else { Tolerance::EXACT }
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        let distribution = self.distribution as u32;
        Params {
            first_block: blocks.start,
            stream: self.stream as u32,
            distribution,
            scale: self.scale,
            bound: self.bound.min(f32::MAX),
        }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, output] = bound(bindings);
        self.block(&State::of(state.words()), index, output.words_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (i, features) in [1, 3, 4, 17, 65].into_iter().enumerate() {
            let state =
                bench.state(State { step: 1000 * i as u32, chain_base: i as u32, ..State::default() });
            for (distribution, scale) in [
                (Distribution::Bits, 2.0),
                (Distribution::Uniform, 1.5),
                (Distribution::Normal, 0.7),
                (Distribution::Signs, 1.0),
            ] {
                let words = if distribution == Distribution::Bits { Words::Integers } else { Words::Floats };
                let output = bench.add("output", Layout::PerBlock(features), words);
                let kernel =
                    Self { lanes, features, stream: Stream::Langevin, distribution, scale, bound: 0.9 };
                bench.run(kernel, &[state, output]);
            }
        }
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
