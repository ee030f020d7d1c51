//! Moves the chains: Langevin dynamics in recipe R1's form,
//! `x <- clamp(x + noise)`, `g = dE/dx`, `x <- clamp(x - step_size * clip(g))`.

use super::random::{Stream, counter, normal_of, philox};
use super::{Access, Binding, Describe, State, WORKGROUP_SIZE, groups};
use std::ops::Range;

/// Ends the Langevin step before it, begins the next, or both: see `shaders/langevin.wgsl`.
#[derive(Clone, Debug, PartialEq)]
pub struct Langevin {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Whether the gradient of a step has come: move down it.
    pub moves: bool,
    /// The step that begins: add its noise.
    pub perturbs: Option<u32>,
    /// What the clipped gradient is multiplied by.
    pub step_size: f32,
    /// Standard deviation of the noise.
    pub noise: f32,
    /// Largest magnitude of a gradient element; infinite for no clip.
    pub gradient_clip: f32,
}

/// `Params` of `shaders/langevin.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// The first block of the launch's range.
    pub first_block: u32,
    /// 1 to move down the gradient.
    pub moves: u32,
    /// 1 to add noise.
    pub perturbs: u32,
    /// The step that begins.
    pub chain_step: u32,
    /// What the clipped gradient is multiplied by.
    pub step_size: f32,
    /// Standard deviation of the noise.
    pub noise: f32,
    /// Largest magnitude of a gradient element.
    pub gradient_clip: f32,
}

impl Langevin {
    /// One block, for images `index * lanes` and on. Inlined into callers that allow wider SIMD instructions; all
    /// arithmetic is the twin's, so the results are its bit for bit.
    #[inline(always)]
    pub(crate) fn block(&self, state: &State, index: u32, gradient: &[f32], x: &mut [f32]) {
        if self.lanes.is_multiple_of(16) {
            self.block_in_chunks::<16>(state, index, gradient, x);
        } else {
            self.block_in_chunks::<8>(state, index, gradient, x);
        }
    }

    /// CHUNK lanes at a time, in plain loops that the compiler turns into SIMD.
    #[inline(always)]
    fn block_in_chunks<const CHUNK: usize>(
        &self,
        state: &State,
        index: u32,
        gradient: &[f32],
        x: &mut [f32],
    ) {
        let lanes = self.lanes as usize;
        for (quad, (xs, gs)) in x.chunks_mut(4 * lanes).zip(gradient.chunks(4 * lanes)).enumerate() {
            if self.moves {
                for (x, g) in xs.iter_mut().zip(gs) {
                    let g = g.clamp(-self.gradient_clip, self.gradient_clip); // a NaN stays one, and is seen
                    *x = (*x - self.step_size * g).clamp(-1.0, 1.0);
                }
            }
            let Some(step) = self.perturbs else { continue };
            for first in (0..lanes).step_by(CHUNK) {
                let mut noise = [[0.0; CHUNK]; 4];
                for i in 0..CHUNK {
                    let image = index * self.lanes + (first + i) as u32;
                    let at =
                        counter(Stream::Langevin, quad as u32, image, state.chain_base + step, state.step);
                    let normal = normal_of(philox(at, state.key()));
                    for (noise, normal) in noise.iter_mut().zip(normal) {
                        noise[i] = normal;
                    }
                }
                for (row, noise) in xs.chunks_mut(lanes).zip(&noise) {
                    let end = lanes.min(first + CHUNK);
                    for (x, noise) in row[first..end].iter_mut().zip(noise) {
                        *x = (*x + self.noise * noise).clamp(-1.0, 1.0);
                    }
                }
            }
        }
    }
}

impl Describe for Langevin {
    const NAME: &'static str = "langevin";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/state.wgsl"),
        include_str!("../../shaders/lib/random.wgsl"),
        include_str!("../../shaders/langevin.wgsl")
    );
    /// State; gradient; x.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::ReadWrite];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("WORKGROUP_SIZE", WORKGROUP_SIZE.into()),
            ("LANES", self.lanes.into()),
            ("FEATURES", self.features as f64),
        ]
    }

    fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
        let params = Params {
            first_block: blocks.start,
            moves: self.moves.into(),
            perturbs: self.perturbs.is_some().into(),
            chain_step: self.perturbs.unwrap_or(0),
            step_size: self.step_size,
            noise: self.noise,
            gradient_clip: self.gradient_clip.min(f32::MAX),
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, gradient, x] = bindings else { panic!("{} takes three bindings", Self::NAME) };
        self.block(&State::of(state.words()), index, gradient.floats(), x.floats_mut());
    }
}
