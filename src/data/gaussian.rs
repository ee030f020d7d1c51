//! A Gaussian fitted to data: the noise that noise-contrastive estimation tells data from.

use super::Images;

/// Values an example may have for their correlations to be fitted; of larger ones each value has its own variance.
pub const FULL_COVARIANCE: usize = 64;

/// A variance that a value has at least, as a share of the mean of all values' variances: pixels that are always black must
/// not make a density without room.
const LEAST_VARIANCE: f64 = 0.001;

/// A Gaussian `mean + L n`, `n` standard normal. Values are in a network's order, `[y][x][channel]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    mean: Vec<f64>,
    factor: Vec<f64>, // L by rows, a lower triangle; or its diagonal
    inverse: Vec<f64>,
}

impl Gaussian {
    /// Fits mean and covariance (above [`FULL_COVARIANCE`] values, variances alone) to images, with `noise` of this standard
    /// deviation on them; `scale` multiplies all standard deviations. Sums run in the data's order, in double precision, so
    /// the same data give the same Gaussian.
    pub fn fit(images: &Images, noise: f64, scale: f64) -> Self {
        let (d, n) = (images.shape.len(), images.count().max(1) as f64);
        let (channels, pixels) = (images.shape.channels, d / images.shape.channels);
        let is_full = d <= FULL_COVARIANCE;
        let in_order = |image: &[f32]| -> Vec<f64> {
            (0..d).map(|f| f64::from(image[f % channels * pixels + f / channels])).collect()
        };
        let mut mean = vec![0.0; d];
        for image in images.values.chunks_exact(d) {
            mean.iter_mut().zip(in_order(image)).for_each(|(mean, value)| *mean += value / n);
        }
        let columns = if is_full { d } else { 1 };
        let mut covariance = vec![0.0; d * columns];
        let diagonal = |row: usize| if is_full { row * d + row } else { row };
        for image in images.values.chunks_exact(d) {
            let off: Vec<f64> = in_order(image).iter().zip(&mean).map(|(value, mean)| value - mean).collect();
            for row in 0..d {
                let first = if is_full { 0 } else { row };
                for i in first..=row {
                    covariance[row * columns + i - first] += off[row] * off[i] / n;
                }
            }
        }
        let mean_variance = (0..d).map(|row| covariance[diagonal(row)]).sum::<f64>() / d as f64;
        let least = (LEAST_VARIANCE * mean_variance).max(1e-6);
        (0..d).for_each(|row| covariance[diagonal(row)] += noise * noise + least);
        covariance.iter_mut().for_each(|value| *value *= scale * scale);
        let factor =
            if is_full { cholesky(&covariance, d) } else { covariance.iter().map(|v| v.sqrt()).collect() };
        let inverse =
            if is_full { inverse(&factor, d) } else { factor.iter().map(|value| 1.0 / value).collect() };
        Self { mean, factor, inverse }
    }

    /// Whether values are correlated.
    pub fn is_full(&self) -> bool {
        self.mean.len() <= FULL_COVARIANCE
    }

    /// The logarithm of what `exp(-|z|^2 / 2)` is divided by, `z` being what the inverse makes of an image.
    fn log_norm(&self) -> f64 {
        let d = self.mean.len();
        let diagonal =
            |row: usize| if self.is_full() { self.factor[row * d + row] } else { self.factor[row] };
        0.5 * d as f64 * std::f64::consts::TAU.ln() + (0..d).map(|row| diagonal(row).ln()).sum::<f64>()
    }

    /// Its entropy in nats, the mean of `-log q`.
    pub fn entropy(&self) -> f64 {
        self.log_norm() + 0.5 * self.mean.len() as f64
    }

    /// As kernels have it: [`crate::kernels::draw_gaussian::gaussian_len`].
    pub fn floats(&self) -> Vec<f32> {
        let parts = self.mean.iter().chain(&self.factor).chain(&self.inverse);
        parts.copied().chain([self.log_norm()]).map(|value| value as f32).collect()
    }
}

/// The lower triangle `L` with `L L^T = a`, by rows.
fn cholesky(a: &[f64], d: usize) -> Vec<f64> {
    let mut l = vec![0.0_f64; d * d];
    for row in 0..d {
        for i in 0..=row {
            let sum: f64 = (0..i).map(|k| l[row * d + k] * l[i * d + k]).sum();
            let rest = a[row * d + i] - sum;
            // Rounding may leave nothing of a variance that others explain.
            l[row * d + i] =
                if i == row { rest.max(f64::EPSILON * a[row * d + row]).sqrt() } else { rest / l[i * d + i] };
        }
    }
    l
}

/// The inverse of a lower triangle, by rows.
fn inverse(l: &[f64], d: usize) -> Vec<f64> {
    let mut w = vec![0.0_f64; d * d];
    for row in 0..d {
        w[row * d + row] = 1.0 / l[row * d + row];
        for i in 0..row {
            let sum: f64 = (i..row).map(|k| l[row * d + k] * w[k * d + i]).sum();
            w[row * d + i] = -sum / l[row * d + row];
        }
    }
    w
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Shape;

    /// By hand: two channels of one pixel with variances 4 and 1 + 1/4 and covariance 1.
    #[test]
    fn mean_and_covariance_are_the_datas() {
        let shape = Shape { channels: 2, height: 1, width: 1 };
        let values: Vec<f32> = [[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]
            .iter()
            .flat_map(|[a, b]: &[f32; 2]| [3.0 + 2.0 * a, 0.5 * a + b])
            .collect();
        let gaussian = Gaussian::fit(&Images { shape, values }, 0.0, 1.0);
        let near = |found: &[f64], wanted: &[f64]| {
            found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 0.004) && found.len() == wanted.len()
        };
        assert!(near(&gaussian.mean, &[3.0, 0.0]), "{gaussian:?}");
        assert!(near(&gaussian.factor, &[2.0, 0.0, 0.5, 1.0]), "{gaussian:?}");
        assert!(near(&gaussian.inverse, &[0.5, 0.0, -0.25, 1.0]), "{gaussian:?}");
        // log 2 pi e + log det L.
        assert!((gaussian.entropy() - (2.837_877 + 2_f64.ln())).abs() < 0.004, "{}", gaussian.entropy());
    }

    /// Channels of a pixel lie side by side; noise and scale widen; a value that never changes has room.
    #[test]
    fn values_are_in_the_networks_order() {
        let shape = Shape { channels: 2, height: 1, width: 40 };
        let image = |k: f32| (0..80).map(move |i| if i == 1 { k } else { i as f32 });
        let images = Images { shape, values: image(0.0).chain(image(2.0)).collect() };
        let gaussian = Gaussian::fit(&images, 0.5, 2.0);
        assert!(!gaussian.is_full());
        assert_eq!(gaussian.mean[..4], [0.0, 40.0, 1.0, 41.0]); // the value that changes is channel 0's second
        assert!((gaussian.factor[2] - 2.0 * (1.0_f64 + 0.25).sqrt()).abs() < 1e-3, "{}", gaussian.factor[2]);
        assert!((gaussian.factor[0] - 2.0 * 0.5).abs() < 1e-3, "{}", gaussian.factor[0]);
    }
}
