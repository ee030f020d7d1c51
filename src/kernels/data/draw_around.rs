//! Draws negatives around the data images of a batch, for energy discrepancy: `x + t n + t n'`, where the negatives of an
//! image share `n` (Schroeder et al. 2023, <https://arxiv.org/abs/2307.06431>, section 4, whose `t` is the square of ours;
//! their code's `t_noise` is ours).

use crate::kernels::draw_real::Epoch;
use crate::kernels::prelude::*;
use crate::random::{Stream, counter, normal_of, philox};

/// Draws negatives around the data images, which begin at block 0.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawAround {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Images in a full batch.
    pub batch: u32,
    /// Images in the data set: a batch that is short of some is filled with negatives of the others over again.
    pub n_images: u32,
    /// Negatives of each image. The first ones of all images follow the batch's blocks, then the second ones.
    pub negatives: u32,
    /// Standard deviation of each of the two noises.
    pub noise: f32,
}

shader_struct! {
    /// `Params` of `shaders/data/draw_around.wgsl`.
    Params { noise: f32 }
}

impl KernelSpec for DrawAround {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/epoch", "data/draw_around"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; x.
    const ACCESS: &'static [Access] = &[Read, ReadWrite];
    /// Polynomials of a handful of terms of magnitude up to 6, a square root, a division.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-6);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::PerBlock(self.features)]
    }

    /// The negatives are written only.
    fn reads(&self, binding: usize) -> bool {
        binding != 1
    }

    fn overrides(&self) -> Overrides {
        overrides![
            WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features, BATCH: self.batch,
            N_IMAGES: self.n_images,
        ]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { noise: self.noise }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        let blocks = self.negatives * self.batch.div_ceil(self.lanes);
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, x] = bound(bindings);
        let (state, x) = (State::of(state.words()), x.floats_mut());
        let (lanes, features) = (self.lanes as usize, self.features);
        let n_real = Epoch::of(state.step, self.n_images, self.batch).n_real as usize;
        let half = (self.batch as usize).next_multiple_of(lanes);
        let at = |image: usize, feature: usize| (image / lanes * features + feature) * lanes + image % lanes;
        for image in 0..half {
            for quad in 0..features.div_ceil(4) {
                let draw = |number: u32| {
                    let at = counter(Stream::AroundNoise, quad as u32, image as u32, number, state.step);
                    normal_of(philox(at, state.key()))
                };
                let shared = draw(0);
                for j in 0..self.negatives {
                    let own = draw(1 + j);
                    for feature in 4 * quad..features.min(4 * quad + 4) {
                        let noise = self.noise * (shared[feature % 4] + own[feature % 4]);
                        x[at((1 + j as usize) * half + image, feature)] =
                            x[at(image % n_real, feature)] + noise;
                    }
                }
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        // A batch may be short of data images.
        for (features, batch, n_images, step, negatives) in [
            (5, lanes, 3 * lanes, 1, 2),
            (4, 1, 9, 3, 1),
            (1, lanes, lanes + 3, 1, 3),
            (6, lanes + 1, lanes + 4, 1, 1),
        ] {
            let (state, half) = (bench.at_step(step), batch.div_ceil(lanes));
            let x = bench.random_blocks("x", features, &(0..half));
            let kernel = Self { lanes, features, batch, n_images, negatives, noise: 0.4 };
            let written = bench.words_of(features, &(half..(1 + negatives) * half));
            bench.run_whole(kernel, &[state, x], &[(x, vec![written])]);
        }
    }
}
