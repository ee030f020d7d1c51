//! Blurs images for denoising score matching (Vincent 2011, "A Connection Between Score Matching and Denoising
//! Autoencoders"): `x~ = x + sigma n`. What the energy's gradient at `x~` is held against is `n / sigma`, because the
//! score is `-dE/dx` and the blurred density's score is the mean of `-n / sigma`.
//!
//! Sigma is one number, or each image draws its own from a geometric ladder, and then its squared error counts with the
//! weight `sigma^2` (Song and Ermon 2019, <https://arxiv.org/abs/1907.05600>, section 4.2).
//!
//! Chains begin with noise alone, where the largest sigma still lets the image shine through. So the top rung of
//! velocities may be noise alone, too, as Lin et al. 2023 (<https://arxiv.org/abs/2305.08891>, section 3.1) have it; the
//! velocity there is `-x`, of which [`Perturb::from_noise`] is asked for.

use crate::kernels::prelude::*;

/// Blurs images.
#[derive(Clone, Debug, PartialEq)]
pub struct Perturb {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Rungs of the ladder; 1 for one sigma, whose weight is 1.
    pub levels: u32,
    /// The smallest sigma.
    pub sigma: f32,
    /// The largest.
    pub sigma_max: f32,
    /// Whether images are blurred with their variance preserved, and the target is the velocity.
    pub velocity: bool,
    /// More than 0: images of the top rung become noise alone, and their target is this share of `-x`.
    pub from_noise: f32,
    /// Weight of all images.
    pub scale: f32,
}

shader_struct! {
    /// `Params` of `shaders/data/perturb.wgsl`.
    Params {
        first_block: u32,
        sigma: f32,
        /// Logarithm of the largest sigma over the smallest.
        log_ratio: f32,
        from_noise: f32,
        scale: f32,
    }
}

impl Perturb {
    /// The rung of an image whose uniform number in [-1, 1) is `level`.
    fn rung(&self, level: f32) -> u32 {
        ((0.5 * (level + 1.0) * self.levels as f32) as u32).min(self.levels - 1)
    }

    /// Sigma and its weight, of an image whose uniform number in [-1, 1) is `level`.
    fn sigma_of<R: Real>(&self, level: f32) -> (R, R) {
        if self.levels == 1 {
            return (R::from_f64(self.sigma.into()), R::from_f64(1.0));
        }
        let rung = self.rung(level);
        let share = R::from_f64(f64::from(rung)) / R::from_f64(f64::from(self.levels - 1));
        let sigma = R::from_f64(self.sigma.into()) * (share * R::from_f64(f64::from(self.log_ratio()))).exp();
        (sigma, sigma * sigma)
    }

    fn log_ratio(&self) -> f32 {
        (self.sigma_max / self.sigma).ln()
    }

    /// The twin, in any precision, for one block: uniform numbers `[lane]`, noise and images `[feature][lane]`, which
    /// become target and blurred images; weights `[lane]`.
    pub fn reference<R: Real>(&self, level: &[f32], noise: &mut [R], x: &mut [R], weight: &mut [R]) {
        let lanes = self.lanes as usize;
        let one = R::from_f64(1.0);
        let sigmas: Vec<(R, R)> = level[..lanes].iter().map(|level| self.sigma_of(*level)).collect();
        for (weight, (_, square)) in weight.iter_mut().zip(&sigmas) {
            let scale = R::from_f64(self.scale.into());
            *weight = scale * if self.velocity { one } else { *square };
        }
        // What is kept of an image, how much noise it gets, and how much of it the velocity loses.
        let shares: Vec<(R, R, R)> = level
            .iter()
            .zip(&sigmas)
            .map(|(level, &(sigma, _))| {
                if self.from_noise > 0.0 && self.rung(*level) == self.levels - 1 {
                    return (R::from_f64(0.0), one, R::from_f64(self.from_noise.into()));
                }
                let keep = one / (one + sigma * sigma).sqrt();
                (keep, sigma * keep, sigma * keep)
            })
            .collect();
        for (noise, x) in noise.chunks_exact_mut(lanes).zip(x.chunks_exact_mut(lanes)) {
            for lane in 0..lanes {
                let (image, n) = (x[lane], noise[lane]);
                if self.velocity {
                    let (keep, share, lost) = shares[lane];
                    x[lane] = keep * image + share * n;
                    noise[lane] = keep * n - lost * image;
                } else {
                    let sigma = sigmas[lane].0;
                    x[lane] = image + sigma * n;
                    noise[lane] = n / sigma;
                }
            }
        }
    }
}

impl KernelSpec for Perturb {
    const SOURCE: &'static str = shader!["data/perturb"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// Uniform numbers; noise, then target; x; weight.
    const ACCESS: &'static [Access] = &[Read, ReadWrite, ReadWrite, Write];
    /// One rounding or two, and an exponential.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![Need::PerBlock(1), image, image, Need::PerBlock(1)]
    }

    fn overrides(&self) -> Overrides {
        overrides![
            WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features, LEVELS: self.levels,
            VELOCITY: self.velocity,
        ]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        Params {
            first_block: blocks.start,
            sigma: self.sigma,
            log_ratio: self.log_ratio(),
            from_noise: self.from_noise,
            scale: self.scale,
        }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [level, noise, x, weight] = bound(bindings);
        self.reference(level.floats(), noise.floats_mut(), x.floats_mut(), weight.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for features in [1, 17, 63, 65, 257] {
            for (levels, velocity, from_noise) in [
                (1, false, 0.0),
                (2, false, 0.0),
                (10, false, 0.0),
                (1, true, 0.0),
                (10, true, 0.0),
                (2, true, 0.4),
            ] {
                let [level, noise, x] = [("level", 1), ("noise", features), ("x", features)]
                    .map(|(name, features)| bench.images(name, features));
                let weight = bench.per_block("weight", 1);
                let kernel = Self {
                    lanes,
                    features,
                    levels,
                    sigma: 0.1,
                    sigma_max: 3.0,
                    velocity,
                    from_noise,
                    scale: 0.7,
                };
                bench.run(kernel, &[level, noise, x, weight]);
            }
        }
    }
}
