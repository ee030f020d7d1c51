//! Copies the real images of a batch to other blocks, with noise: starts of chains, and neighbours for the smoothness
//! penalty.

use crate::kernels::draw_real::Epoch;
use crate::kernels::prelude::*;
use crate::random::{Stream, counter, normal_of, philox};

/// Copies the real images, which begin at block 0.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyImages {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Images in a full batch.
    pub batch: u32,
    /// Images in the data set: a batch that is short of real images is filled with theirs over again.
    pub n_images: u32,
    /// The first block of the copies: the twin is handed all of them.
    pub first_block: u32,
    /// Standard deviation of the noise.
    pub noise: f32,
}

shader_struct! {
    /// `Params` of `shaders/data/copy_images.wgsl`.
    Params { first_block: u32, noise: f32 }
}

impl KernelSpec for CopyImages {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/epoch", "data/copy_images"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; x.
    const ACCESS: &'static [Access] = &[Read, ReadWrite];
    /// Polynomials of a handful of terms of magnitude up to 6, a square root, a division.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-6);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::PerBlock(self.features)]
    }

    /// The copies are written only.
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
        Params { first_block: self.first_block, noise: self.noise }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, self.batch.div_ceil(self.lanes)]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, x] = bound(bindings);
        let (state, x) = (State::of(state.words()), x.floats_mut());
        let (lanes, features) = (self.lanes as usize, self.features);
        let n_real = Epoch::of(state.step, self.n_images, self.batch).n_real as usize;
        for image in 0..(self.batch as usize).next_multiple_of(lanes) {
            let source = image % n_real;
            let mut noise = [0.0; 4];
            for feature in 0..features {
                if feature % 4 == 0 && self.noise > 0.0 {
                    let at = counter(Stream::CopyNoise, feature as u32 / 4, image as u32, 0, state.step);
                    noise = normal_of(philox(at, state.key()));
                }
                let block = self.first_block as usize + image / lanes;
                let from = x[(source / lanes * features + feature) * lanes + source % lanes];
                x[(block * features + feature) * lanes + image % lanes] =
                    from + self.noise * noise[feature % 4];
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        // A batch may be short of real images.
        for (features, batch, n_images, step) in
            [(5, 2 * lanes, 3 * lanes, 1), (4, 1, 9, 3), (1, lanes, 50, 0)]
        {
            let state = bench.at_step(step);
            let x = bench.random_blocks("x", features, &(0..batch.div_ceil(lanes)));
            let kernel = Self { lanes, features, batch, n_images, first_block: 2, noise: 0.1 };
            let written = bench.words_of(features, &(2..2 + batch.div_ceil(lanes)));
            bench.run_whole(kernel, &[state, x], &[(x, vec![written])]);
        }
    }
}
