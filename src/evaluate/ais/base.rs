//! The base of annealed importance sampling: a density whose constant is known.

use crate::data::{Images, Shape};
use crate::kernels::anneal_propose::BaseFeature;
use crate::random::{Philox, Stream, normal_of, uniform_of};
use rand::Rng;
use std::f64::consts::TAU;

/// A density whose constant is known: in each value normal, or uniform, and cut to a box.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    pub(super) shape: Shape,
    pub(super) bound: f32, // infinite for no box
    mean: Vec<f32>,        // of each value, as images have them
    variance: Vec<f32>,    // infinite for uniform
}

/// A variance that a value of data has at least, as a share of the mean of all values' variances: pixels that are always
/// black must not make a base that leaves them no room.
const LEAST_VARIANCE: f32 = 0.01;

impl Base {
    /// Independent normals of these means and variances, one for each value of an image, cut to the box `[-bound, bound]`
    /// (infinite for none), in which the means must lie.
    ///
    /// # Panics
    /// If there are not as many as an image of this shape has values.
    pub fn normal(shape: Shape, mean: Vec<f32>, variance: Vec<f32>, bound: f32) -> Self {
        assert!(mean.len() == shape.len() && variance.len() == shape.len(), "one for each value of {shape}");
        Self { shape, bound, mean, variance }
    }

    /// Uniform on the box `[-bound, bound]`.
    pub fn uniform(shape: Shape, bound: f32) -> Self {
        Self { shape, bound, mean: vec![0.0; shape.len()], variance: vec![f32::INFINITY; shape.len()] }
    }

    /// [`Self::normal`], with each value's mean and variance in these images; no variance is below a hundredth of the mean
    /// variance.
    pub fn fitted(images: &Images, bound: f32) -> Self {
        let (d, n) = (images.shape.len(), images.count() as f64);
        let mut sums = vec![[0.0_f64; 2]; d];
        for image in images.values.chunks_exact(d) {
            for (sum, x) in sums.iter_mut().zip(image) {
                *sum = [sum[0] + f64::from(*x), sum[1] + f64::from(*x).powi(2)];
            }
        }
        let mean = sums.iter().map(|sum| ((sum[0] / n) as f32).clamp(-bound, bound)).collect();
        let variance: Vec<f32> =
            sums.iter().map(|sum| (sum[1] / n - (sum[0] / n).powi(2)).max(0.0) as f32).collect();
        let mean_variance = variance.iter().sum::<f32>() / d as f32;
        let least = (LEAST_VARIANCE * mean_variance).max(1e-6);
        let variance = variance.iter().map(|v| v.max(least)).collect();
        Self { shape: images.shape, bound, mean, variance }
    }

    /// The logarithm of the constant of `exp(-E0)`, `E0 = sum (x - mean)^2 / (2 variance)`, on the box.
    pub fn log_z(&self) -> f64 {
        let bound = f64::from(self.bound);
        let of_value = |(mean, variance): (&f32, &f32)| {
            let (mean, variance) = (f64::from(*mean), f64::from(*variance));
            if variance.is_infinite() {
                return (2.0 * bound).ln();
            }
            let below = |x: f64| 0.5 * libm::erf((x - mean) / (2.0 * variance).sqrt());
            0.5 * (TAU * variance).ln() + (below(bound) - below(-bound)).ln()
        };
        self.mean.iter().zip(&self.variance).map(of_value).sum()
    }

    /// Exact draws.
    pub fn draw(&self, count: usize, seed: u64) -> Images {
        let mut rng = Philox::new(seed, Stream::AnnealStart);
        let mut normals = Vec::new();
        let mut value = |(mean, variance): (&f32, &f32)| {
            if variance.is_infinite() {
                return self.bound * uniform_of(rng.next_u32());
            }
            // The mean lies in the box, and data's deviation is no more than half of it: most draws do, too.
            loop {
                let normal = normals.pop().unwrap_or_else(|| {
                    normals.extend(normal_of([(); 4].map(|()| rng.next_u32())));
                    normals.pop().unwrap_or_default()
                });
                let x = mean + variance.sqrt() * normal;
                if x.abs() <= self.bound {
                    return x;
                }
            }
        };
        let all = (0..count).flat_map(|_| self.mean.iter().zip(&self.variance));
        Images { shape: self.shape, values: all.map(&mut value).collect() }
    }

    /// As the device has it: features in their order there.
    pub(super) fn features(&self) -> Vec<BaseFeature> {
        let (channels, pixels) = (self.shape.channels, self.shape.height * self.shape.width);
        let feature = |f: usize| {
            let i = f % channels * pixels + f / channels;
            let (mean, variance) = (self.mean[i], self.variance[i]);
            BaseFeature {
                mean,
                inverse_variance: 1.0 / variance,
                scale: variance.sqrt().min(self.bound),
                spare: 0.0,
            }
        };
        (0..self.shape.len()).map(feature).collect()
    }

    pub(super) fn describe(&self) -> String {
        let what = if self.variance.iter().all(|v| v.is_infinite()) {
            "uniform"
        } else if self.variance.iter().all(|v| *v == 1.0) && self.mean.iter().all(|m| *m == 0.0) {
            "standard normal"
        } else {
            "normal"
        };
        if self.bound.is_finite() { format!("{what}, on [-{0}, {0}]", self.bound) } else { what.to_owned() }
    }
}
