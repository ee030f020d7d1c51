//! Draws a Gaussian: the noise of noise-contrastive estimation.

use crate::kernels::prelude::*;
use crate::random::{Stream, counter, normal_of, philox};

/// Draws a Gaussian ([`crate::data::gaussian::Gaussian`]).
#[derive(Clone, Debug, PartialEq)]
pub struct DrawGaussian {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Images in a full batch: its first negatives come in the first blocks of a launch, then its second ones, and so on.
    pub batch: u32,
    /// Whether values are correlated: the factor of the covariance is a triangle then, and else a diagonal.
    pub full: bool,
}

impl KernelSpec for DrawGaussian {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "data/draw_gaussian"];
    block_params!();
    const PER_BLOCK: bool = true;
    /// State; Gaussian; x.
    const ACCESS: &'static [Access] = &[Read, Read, ReadWrite];
    /// Sums of as many products as an image has values.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::Flat(gaussian_len(self.features, self.full)), Need::PerBlock(self.features)]
    }

    /// What it reads of x it has written.
    fn reads(&self, binding: usize) -> bool {
        binding != 2
    }

    fn overrides(&self) -> Overrides {
        overrides![
            WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features, BATCH: self.batch, FULL: self.full,
        ]
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(1, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, gaussian, x] = bound(bindings);
        let state = State::of(state.words());
        let (gaussian, x, n, lanes) = (gaussian.floats(), x.floats_mut(), self.features, self.lanes as usize);
        let half_blocks = self.batch.div_ceil(self.lanes);
        for lane in 0..lanes {
            let (image, negative) = (index % half_blocks * self.lanes + lane as u32, index / half_blocks);
            let quad = |quad: u32| {
                let at = counter(Stream::ContrastNoise, quad, image, negative, state.step);
                normal_of(philox(at, state.key()))
            };
            let normals: Vec<f32> = (0..n.div_ceil(4) as u32).flat_map(quad).collect();
            for row in 0..n {
                let sum: f32 = if self.full {
                    (0..=row).map(|i| gaussian[n + row * n + i] * normals[i]).sum()
                } else {
                    gaussian[n + row] * normals[row]
                };
                x[row * lanes + lane] = gaussian[row] + sum;
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (features, batch, full) in
            [(1, 1, false), (2, lanes, true), (17, lanes + 1, true), (65, 5, false)]
        {
            let state = bench.at_step(3);
            let gaussian = bench.random_flat("gaussian", gaussian_len(features, full));
            let x = bench.per_block("x", features);
            bench.run(Self { lanes, features, batch, full }, &[state, gaussian, x]);
        }
    }
}

/// Floats of a Gaussian on a device: the mean, the factor of the covariance and its inverse, each a square matrix by rows or a
/// diagonal, and the logarithm of the density's norm.
pub fn gaussian_len(features: usize, full: bool) -> usize {
    features + 2 * features * if full { features } else { 1 } + 1
}
