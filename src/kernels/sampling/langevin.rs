//! Moves the chains: Langevin dynamics in the forms of [`Form`](crate::kernels::dynamics::Form) that accept every step.

use crate::kernels::dynamics::{Dynamics, DynamicsParams, Move};
use crate::kernels::prelude::*;
use crate::random::{Stream, counter, normals, quads};

/// Moves down a gradient that has come, adds a step's noise, or both: see `shaders/sampling/langevin.wgsl`.
#[derive(Clone, Debug, PartialEq)]
pub struct Langevin {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Whether to move down the gradient.
    pub moves: bool,
    /// Add the noise of this step.
    pub perturbs: Option<u32>,
    /// How.
    pub dynamics: Dynamics,
    /// Whether each chain begins at a level of its own, which a buffer holds.
    pub own_levels: bool,
}

shader_struct! {
    /// `Params` of `shaders/sampling/langevin.wgsl`.
    Params {
        dynamics: DynamicsParams,
        first_block: u32,
        moves: u32,
        perturbs: u32,
        /// The step whose noise is added.
        chain_step: u32,
    }
}

impl Langevin {
    /// One block, for images `index * lanes` and on. Inlined into callers that allow wider SIMD instructions; all
    /// arithmetic is the twin's, so the results are its bit for bit.
    #[inline(always)]
    pub(crate) fn block(
        &self,
        state: &State,
        index: u32,
        gradient: &[f32],
        x: &mut [f32],
        levels: Option<&[f32]>,
    ) {
        match (levels, self.lanes.is_multiple_of(16)) {
            (None, true) => self.block_in_chunks::<16>(state, index, gradient, x),
            (None, false) => self.block_in_chunks::<8>(state, index, gradient, x),
            (Some(levels), true) => self.block_at_levels::<16>(state, index, gradient, x, levels),
            (Some(levels), false) => self.block_at_levels::<8>(state, index, gradient, x, levels),
        }
    }

    /// The same for chains at levels of their own: annealed ones, which move and then get their noise.
    #[inline(always)]
    fn block_at_levels<const CHUNK: usize>(
        &self,
        state: &State,
        index: u32,
        gradient: &[f32],
        x: &mut [f32],
        levels: &[f32],
    ) {
        let lanes = self.lanes as usize;
        let (clip, bound) = (self.dynamics.gradient_clip, self.dynamics.bound);
        let step = self.perturbs.unwrap_or(0);
        for first in (0..lanes).step_by(CHUNK) {
            let (mut keep, mut drift, mut deviation) = ([0.0; CHUNK], [0.0; CHUNK], [0.0; CHUNK]);
            for lane in 0..CHUNK.min(lanes - first) {
                let level = self.dynamics.level(state, step) + levels[first + lane] as u32;
                let now = self.dynamics.at(level);
                (keep[lane], drift[lane], deviation[lane]) = (now.keep, now.drift, now.noise);
            }
            let image = state.first_image + index * self.lanes + first as u32;
            for (quad, (xs, gs)) in x.chunks_mut(4 * lanes).zip(gradient.chunks(4 * lanes)).enumerate() {
                let at = counter(Stream::Langevin, quad as u32, image, state.chain_base + step, state.step);
                let noise = normals(&quads::<CHUNK>(at, state.key()));
                for ((xs, gs), noise) in xs.chunks_mut(lanes).zip(gs.chunks(lanes)).zip(&noise) {
                    let end = lanes.min(first + CHUNK);
                    for (lane, (x, g)) in xs[first..end].iter_mut().zip(&gs[first..end]).enumerate() {
                        let g = g.clamp(-clip, clip); // a NaN stays one, and is seen
                        *x = (keep[lane] * *x - drift[lane] * g + deviation[lane] * noise[lane])
                            .clamp(-bound, bound);
                    }
                }
            }
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
        let (clip, bound) = (self.dynamics.gradient_clip, self.dynamics.bound);
        let level = self.dynamics.level(state, self.perturbs.unwrap_or(0));
        let Move { keep, drift, noise: deviation, between } = self.dynamics.at(level);
        for (quad, (xs, gs)) in x.chunks_mut(4 * lanes).zip(gradient.chunks(4 * lanes)).enumerate() {
            if self.moves {
                for (x, g) in xs.iter_mut().zip(gs) {
                    let g = g.clamp(-clip, clip); // a NaN stays one, and is seen
                    *x = (keep * *x - drift * g).clamp(-between, between);
                }
            }
            let Some(step) = self.perturbs else { continue };
            for first in (0..lanes).step_by(CHUNK) {
                let image = state.first_image + index * self.lanes + first as u32;
                let at = counter(Stream::Langevin, quad as u32, image, state.chain_base + step, state.step);
                let noise = normals(&quads::<CHUNK>(at, state.key()));
                for (row, noise) in xs.chunks_mut(lanes).zip(&noise) {
                    let end = lanes.min(first + CHUNK);
                    for (x, noise) in row[first..end].iter_mut().zip(noise) {
                        *x = (*x + deviation * noise).clamp(-bound, bound);
                    }
                }
            }
        }
    }
}

/// Declares the levels that chains have of their own, at binding `BINDING`.
pub const OWN_LEVELS: &str = shader!["lib/own_levels"];
/// Declares that chains have none.
pub const COMMON_LEVEL: &str = shader!["lib/common_level"];

impl KernelSpec for Langevin {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/dynamics", "sampling/langevin"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; gradient; x; the chains' levels, if they have their own.
    const ACCESS: &'static [Access] = &[Read, Read, ReadWrite];
    /// Polynomials of a handful of terms of magnitude up to 6, a square root, a division.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-6);

    fn access(&self) -> &'static [Access] {
        if self.own_levels { &[Read, Read, ReadWrite, Read] } else { Self::ACCESS }
    }

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        let levels = self.own_levels.then_some(Need::PerBlock(1));
        [Need::STATE, image, image].into_iter().chain(levels).collect()
    }

    fn prelude(&self) -> String {
        if self.own_levels { OWN_LEVELS.replace("BINDING", "4") } else { COMMON_LEVEL.to_owned() }
    }

    /// Before the first move there is no gradient.
    fn reads(&self, binding: usize) -> bool {
        binding != 1 || self.moves
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        Params {
            dynamics: self.dynamics.params(),
            first_block: blocks.start,
            moves: self.moves.into(),
            perturbs: self.perturbs.is_some().into(),
            chain_step: self.perturbs.unwrap_or(0),
        }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let (levels, bindings) = match bindings {
            [rest @ .., levels] if self.own_levels => (Some(levels.floats()), rest),
            all => (None, all),
        };
        let [state, gradient, x] = bound(bindings);
        self.block(&State::of(state.words()), index, gradient.floats(), x.floats_mut(), levels);
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        use super::dynamics::{Form, Interpolation};
        let lanes = bench.plan.lanes;
        for (i, features) in [1, 3, 4, 17, 65].into_iter().enumerate() {
            let state =
                bench.state(State { step: 1000 * i as u32, chain_base: i as u32, ..State::default() });
            for (moves, perturbs, clip, form, path) in [
                (false, Some(0), 0.03, Form::NoiseFirst, Interpolation::Linear),
                (true, Some(3), 0.03, Form::NoiseFirst, Interpolation::Geometric),
                (true, None, 0.03, Form::NoiseFirst, Interpolation::Linear),
                (true, Some(7), f32::INFINITY, Form::NoiseLast, Interpolation::Linear),
                (true, Some(7), 0.05, Form::NoiseLast, Interpolation::Geometric),
                (true, Some(1), f32::INFINITY, Form::Theory, Interpolation::Linear),
                (true, Some(7), f32::INFINITY, Form::Annealed, Interpolation::Geometric),
                (true, Some(8), 0.05, Form::Annealed, Interpolation::Geometric),
                (true, Some(9), 0.05, Form::Annealed, Interpolation::Linear),
                (true, None, f32::INFINITY, Form::NoiseFirst, Interpolation::Linear),
            ] {
                let x = bench.images("x", features);
                let gradient = bench.per_block("gradient", features);
                if moves {
                    bench.fill(gradient, bench.words_of(features, &BLOCKS), 0.1);
                }
                let is_short = matches!(form, Form::Theory | Form::Annealed);
                let dynamics = Dynamics {
                    form,
                    step_size: if is_short { 0.3 } else { 10.0 },
                    step_size_end: if is_short { 0.1 } else { 7.0 },
                    noise: 0.3,
                    noise_end: 0.03,
                    interpolation: path,
                    levels: if form == Form::Annealed { i as u32 + 9 } else { 3001 }, // 8 is the last: it denoises
                    stay_step_size: 0.0,
                    final_step: i as u32 + 8,
                    temperature: 0.7,
                    gradient_clip: clip,
                    bound: if clip == 0.05 { f32::INFINITY } else { 1.0 },
                };
                let kernel = Self { lanes, features, moves, perturbs, dynamics, own_levels: false };
                bench.run(kernel, &[state, gradient, x]);
            }
            // Levels of their own: on the way, at the end, beyond it.
            let levels = bench.per_block("levels", 1);
            for (lane, word) in bench.words_of(1, &BLOCKS).enumerate() {
                bench.contents[levels.0][word] = ((lane % 12) as f32).to_bits();
            }
            let (x, gradient) = (bench.images("x", features), bench.images("gradient", features));
            let dynamics = Dynamics::ladder(5.0, 0.5, 8);
            let kernel = Self { lanes, features, moves: true, perturbs: Some(1), dynamics, own_levels: true };
            bench.run(kernel, &[state, gradient, x, levels]);
        }
    }
}
