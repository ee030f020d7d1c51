//! The logarithm of a Gaussian's density at images: what noise-contrastive estimation knows of its noise.

use crate::kernels::draw_gaussian::gaussian_len;
use crate::kernels::prelude::*;

/// Computes the logarithm of a Gaussian's density ([`crate::data::gaussian::Gaussian`]) at each image.
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianDensity {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Whether values are correlated: the factor of the covariance is a triangle then, and else a diagonal.
    pub full: bool,
}

impl KernelSpec for GaussianDensity {
    const SOURCE: &'static str = shader!["loss/gaussian_density"];
    block_params!();
    const PER_BLOCK: bool = true;
    /// Gaussian; x; logarithms of the density.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Sums of squares of sums, in order.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        let gaussian = Need::Flat(gaussian_len(self.features, self.full));
        vec![gaussian, Need::PerBlock(self.features), Need::PerBlock(1)]
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features, FULL: self.full]
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(1, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [gaussian, x, log_density] = bound(bindings);
        let (gaussian, x, n, lanes) = (gaussian.floats(), x.floats(), self.features, self.lanes as usize);
        let columns = if self.full { n } else { 1 };
        let (mean, inverse) = (&gaussian[..n], &gaussian[n + n * columns..]);
        for (lane, log) in log_density.floats_mut()[..lanes].iter_mut().enumerate() {
            let product = |i: usize, factor: f32| factor * (x[i * lanes + lane] - mean[i]);
            let mut squares = 0.0;
            for row in 0..n {
                let z: f32 = if self.full {
                    (0..=row).map(|i| product(i, inverse[row * n + i])).sum()
                } else {
                    product(row, inverse[row])
                };
                squares += z * z;
            }
            *log = -0.5 * squares - inverse[n * columns];
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (features, full) in [(1, false), (2, true), (17, true), (65, false)] {
            let gaussian = bench.random_flat("gaussian", gaussian_len(features, full));
            let x = bench.images("x", features);
            let log_density = bench.per_block("log density", 1);
            bench.run(Self { lanes, features, full }, &[gaussian, x, log_density]);
        }
    }
}
