//! Columns brought to mean 0 and deviation 1 for a network, and back to the data's own units.

use super::{Images, Shape};

/// Means and deviations of the columns of points, or of sequences' channels. A network that has one
/// ([`crate::network::Network::standard`]) takes `(x - mean) / deviation` of the points that it is given, and all its
/// energies are of that; [`crate::EnergyModel`] and [`crate::Sampler`] take and give points in the data's units.
#[derive(Clone, Debug, PartialEq)]
pub struct Standard {
    /// Mean of each column.
    pub mean: Vec<f64>,
    /// Standard deviation of each column, of the data itself (not an estimate for more of their kind); 1 where all values
    /// are the same.
    pub deviation: Vec<f64>,
}

impl Standard {
    /// Of points or sequences.
    pub fn of(points: &Images) -> Self {
        let Shape { channels, height, width } = points.shape;
        let pixels = (height * width).max(1);
        let n = (points.count() * pixels).max(1) as f64;
        let sums = |value: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0; channels];
            for (ix, run) in points.values.chunks_exact(pixels).enumerate() {
                let channel = ix % channels;
                sums[channel] += run.iter().map(|v| value(channel, f64::from(*v))).sum::<f64>();
            }
            sums.into_iter().map(|sum| sum / n).collect::<Vec<f64>>()
        };
        let mean = sums(&|_, v| v);
        let deviation = sums(&|channel, v| (v - mean[channel]).powi(2));
        // Rounding leaves a trace of a column that is always the same.
        let deviation = deviation.iter().zip(&mean).map(|(square, mean)| match square.sqrt() {
            deviation if deviation > 1e-9 * mean.abs().max(f64::MIN_POSITIVE) => deviation,
            _ => 1.0,
        });
        Self { deviation: deviation.collect(), mean }
    }

    /// Points in the data's units as the network takes them.
    pub fn to_network(&self, points: &mut Images) {
        self.each(points, |v, mean, deviation| (v - mean) / deviation);
    }

    /// What the network takes or gives, in the data's units.
    pub fn to_data(&self, points: &mut Images) {
        self.each(points, |v, mean, deviation| v * deviation + mean);
    }

    /// Derivatives by what the network takes, as those by the data's own numbers.
    pub fn gradient_to_data(&self, gradient: &mut Images) {
        self.each(gradient, |v, _, deviation| v / deviation);
    }

    /// Derivatives by the data's own numbers, as those by what the network takes.
    pub fn gradient_to_network(&self, gradient: &mut Images) {
        self.each(gradient, |v, _, deviation| v * deviation);
    }

    fn each(&self, points: &mut Images, change: impl Fn(f64, f64, f64) -> f64) {
        let Shape { channels, height, width } = points.shape;
        for (ix, run) in points.values.chunks_exact_mut((height * width).max(1)).enumerate() {
            let (mean, deviation) = (self.mean[ix % channels], self.deviation[ix % channels]);
            run.iter_mut().for_each(|v| *v = change(f64::from(*v), mean, deviation) as f32);
        }
    }
}

/// A column that is far from mean 0 and deviation 1, so that a network hardly learns it.
#[derive(Clone, Debug, PartialEq)]
pub struct Unscaled {
    /// Its number, from 0.
    pub column: usize,
    /// Its mean.
    pub mean: f64,
    /// Its standard deviation.
    pub deviation: f64,
}

/// The columns whose mean is beyond 2 either way, or whose deviation is below 0.1 or above 4: the toy sets, for which the
/// presets are made, are all within.
pub fn unscaled(points: &Images) -> Vec<Unscaled> {
    let Shape { channels, .. } = points.shape;
    let Standard { mean, deviation } = Standard::of(points);
    let is_same = |column: usize| {
        let run = points.shape.height * points.shape.width;
        let mut values = points.values.chunks_exact(run).skip(column).step_by(channels).flatten();
        let first = values.next();
        first.is_some_and(|first| values.all(|value| value == first))
    };
    let columns = mean.into_iter().zip(deviation).enumerate();
    columns
        .map(|(column, (mean, deviation))| Unscaled {
            column,
            mean,
            deviation: if is_same(column) { 0.0 } else { deviation },
        })
        .filter(|c| c.mean.abs() > 2.0 || !(0.1..=4.0).contains(&c.deviation))
        .collect()
}
