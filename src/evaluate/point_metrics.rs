//! How near points are to where they should be: sliced Wasserstein distance, maximum mean discrepancy, mode coverage, and
//! how well an energy tells points from noise.
//!
//! Points are `[n, d]`, row-major; all of one call have the same `d`.

use crate::data::standard::Standard;
use crate::data::toy::{self, Mixture, Toy};
use crate::data::{Dataset, Examples, Images, Shape};
use crate::plan::ChainConfig;
use crate::random::{Philox, Stream, normal_of};
use crate::{Device, EnergyModel, Model, Result, Sampler};
use rand::{Rng, RngExt};
use rayon::prelude::*;

/// Projections of the sliced distances in [`PointMetrics`].
pub const PROJECTIONS: usize = 100;
/// Points of each set that [`PointMetrics`] are of, at most: where fewer are held out, those.
pub const POINTS: usize = 5_000;
/// Points of each set that the discrepancy in [`PointMetrics`] is of, at most: its cost grows with the square.
const MMD_POINTS: usize = 2_000;

/// Sliced Wasserstein-1 distance of two sets of points: the mean over random directions of the distance, on the line, of
/// their projections, which is the mean distance of the k-th of the one from the k-th of the other (Rabin et al. 2012,
/// Bonneel et al. 2015). It is in the points' own unit, and grows in proportion to mass that is misplaced and to how far.
/// Of the larger set only as many points count as the other has.
///
/// # Panics
/// If there are no points, or `d` does not divide their values.
pub fn sliced_wasserstein(a: &[f32], b: &[f32], d: usize, projections: usize, seed: u64) -> f64 {
    let n = (a.len() / d).min(b.len() / d);
    assert!(n > 0 && a.len().is_multiple_of(d) && b.len().is_multiple_of(d), "points of {d} numbers");
    let mut rng = Philox::new(seed, Stream::Projections);
    let directions: Vec<Vec<f64>> = (0..projections).map(|_| direction(&mut rng, d)).collect();
    let sorted = |points: &[f32], direction: &[f64]| {
        let project = |p: &[f32]| p.iter().zip(direction).map(|(x, u)| f64::from(*x) * u).sum::<f64>();
        let mut line: Vec<f64> = points.chunks_exact(d).take(n).map(project).collect();
        line.sort_unstable_by(f64::total_cmp);
        line
    };
    let distances: Vec<f64> = directions
        .par_iter()
        .map(|u| sorted(a, u).iter().zip(sorted(b, u)).map(|(x, y)| (x - y).abs()).sum::<f64>() / n as f64)
        .collect();
    distances.iter().sum::<f64>() / projections as f64
}

/// A direction, evenly distributed on the sphere.
fn direction(rng: &mut Philox, d: usize) -> Vec<f64> {
    loop {
        let normals = (0..d.div_ceil(4)).flat_map(|_| normal_of([(); 4].map(|()| rng.next_u32())));
        let normals: Vec<f64> = normals.take(d).map(f64::from).collect();
        let norm = normals.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 0.0 {
            return normals.iter().map(|v| v / norm).collect();
        }
    }
}

/// Squared maximum mean discrepancy of two sets of points, unbiased, so around 0 and as often below it where they are of
/// one distribution (Gretton et al. 2012, equation 3). The kernel is the mean of five Gaussian ones whose bandwidths are
/// 1/4, 1/2, 1, 2 and 4 times the median distance of points of both sets. NaN if a set has fewer than 2 points.
pub fn mmd(a: &[f32], b: &[f32], d: usize) -> f64 {
    let square = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
    };
    // The median of pairs at some distance in the sets: all pairs would take as long as all the rest.
    let all: Vec<&[f32]> = a.chunks_exact(d).chain(b.chunks_exact(d)).collect();
    let pairs = (1..=32).flat_map(|k| all.iter().zip(all.iter().cycle().skip(k * all.len() / 65 + 1)));
    let mut squares: Vec<f64> = pairs.map(|(x, y)| square(x, y)).collect();
    if squares.is_empty() {
        return f64::NAN;
    }
    squares.sort_unstable_by(f64::total_cmp);
    let median = squares[squares.len() / 2].max(f64::MIN_POSITIVE);
    // exp(-r^2 / 2 (4 m)^2) is the widest; halving a bandwidth takes the kernel to its fourth power.
    let kernel = |x: &[f32], y: &[f32]| {
        let widest = (-square(x, y) / (32.0 * median)).exp();
        let powers = (0..5).scan(widest, |k, _| Some(std::mem::replace(k, k.powi(4))));
        powers.sum::<f64>() / 5.0
    };
    unbiased_mmd(a, b, d, kernel)
}

/// Squared maximum mean discrepancy of two sets of points, with any kernel; see [`mmd`].
pub(crate) fn unbiased_mmd(
    a: &[f32],
    b: &[f32],
    d: usize,
    kernel: impl Fn(&[f32], &[f32]) -> f64 + Sync,
) -> f64 {
    let mean = |a: &[f32], b: &[f32], same: bool| {
        let row = |(i, x): (usize, &[f32])| -> f64 {
            let others = b.chunks_exact(d).enumerate().filter(|(j, _)| !same || i != *j);
            others.map(|(_, y)| kernel(x, y)).sum()
        };
        let (n, m) = (a.len() / d, b.len() / d);
        let rows: Vec<f64> = a.par_chunks_exact(d).enumerate().map(row).collect();
        rows.iter().sum::<f64>() / (n * if same { m.saturating_sub(1) } else { m }) as f64
    };
    mean(a, a, true) + mean(b, b, true) - 2.0 * mean(a, b, false)
}

/// Where samples of a mixture lie.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Coverage {
    /// Share of the samples that lie within 3 sigma of each centre, and of no nearer one.
    pub shares: Vec<f64>,
    /// Share of the samples that lie within 3 sigma of any: 0.989 of true samples do.
    pub within: f64,
}

/// Counts samples, `[n, 2]`, around a mixture's centres. A sample that is NaN lies nowhere.
pub fn coverage(samples: &[f32], mixture: &Mixture) -> Coverage {
    let n = (samples.len() / 2) as f64;
    let mut counts = vec![0_usize; mixture.centres.len()];
    for point in samples.chunks_exact(2) {
        let square = |c: &[f32; 2]| (point[0] - c[0]).powi(2) + (point[1] - c[1]).powi(2);
        let distances = mixture.centres.iter().map(square).enumerate();
        let (nearest, square) =
            distances.fold((0, f32::INFINITY), |best, d| if d.1 < best.1 { d } else { best });
        if square <= (3.0 * mixture.sigma).powi(2) {
            counts[nearest] += 1;
        }
    }
    let shares: Vec<f64> = counts.iter().map(|count| *count as f64 / n).collect();
    Coverage { within: shares.iter().sum(), shares }
}

/// The probability that one of `likely` is lower than one of `unlikely`, equal ones counting half: the area under the
/// receiver operating characteristic of a detector that takes low energies for data. NaN if either is empty or has a NaN.
pub fn auc(likely: &[f64], unlikely: &[f64]) -> f64 {
    if likely.iter().chain(unlikely).any(|e| e.is_nan()) {
        return f64::NAN;
    }
    let tagged = |values: &[f64], tag: bool| values.iter().map(|e| (*e, tag)).collect::<Vec<_>>();
    let mut all = [tagged(likely, true), tagged(unlikely, false)].concat();
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // For each group of equal energies: its unlikely ones lie above all likely ones before it, and half above its own.
    let (mut wins, mut before) = (0.0, 0.0);
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let n_likely = group.iter().filter(|e| e.1).count() as f64;
        wins += (group.len() as f64 - n_likely) * (before + 0.5 * n_likely);
        before += n_likely;
    }
    wins / (likely.len() as f64 * unlikely.len() as f64)
}

/// What a model of points is measured against: true points, and uniform noise on a box.
#[derive(Clone, Debug)]
pub struct PointEvaluator {
    toy: Option<Toy>,
    reference: Images,
    second: Option<Images>, // as many other true points, of a toy set
    noise: Images,
    limits: Vec<[f32; 2]>,
}

/// How good a model of points is.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct PointMetrics {
    /// [`sliced_wasserstein`] of samples and true points.
    pub sliced_wasserstein: f64,
    /// The same of two sets of true points, where there are as many as one likes.
    pub sliced_wasserstein_of_truth: Option<f64>,
    /// [`mmd`] of samples and true points.
    pub mmd: f64,
    /// Where the samples lie, of a mixture.
    pub coverage: Option<Coverage>,
    /// [`auc`] of the energies of true points against those of uniform noise.
    pub auc: f64,
    /// The same of the true density, where it is known: the most that an energy could reach, but for chance.
    pub auc_of_truth: Option<f64>,
}

impl PointEvaluator {
    /// For a data set of points or sequences; none for images.
    ///
    /// True points are fresh ones of a toy set, or those held out. The box is that of the toy sets, or reaches as far as
    /// the training data and a tenth of that further, in each coordinate.
    pub fn new(dataset: &Dataset, seed: u64) -> Option<Self> {
        let shape = dataset.train.shape();
        if matches!(dataset.train, Examples::Bytes(_)) || !shape.is_single_row() {
            return None;
        }
        let limits = match (&dataset.train, dataset.toy) {
            (Examples::Floats(points), None) => limits(points),
            _ => vec![[-toy::BOX, toy::BOX]; shape.len()],
        };
        let (reference, second) = match dataset.toy {
            Some(toy) => (toy.points(POINTS, seed, 3), Some(toy.points(POINTS, seed, 4))),
            None => {
                let mut held_out = dataset.held_out.clone();
                held_out.values.truncate(POINTS * shape.len());
                (held_out, None)
            }
        };
        let mut rng = Philox::new(seed, Stream::HeldOutNoise);
        let noise = box_noise(&mut rng, shape, &limits, reference.count());
        Some(Self { toy: dataset.toy, reference, second, noise, limits })
    }

    /// True points, whose energies [`Self::figures`] takes.
    pub fn reference(&self) -> &Images {
        &self.reference
    }

    /// Uniform noise on the box, whose energies [`Self::figures`] takes.
    pub fn noise(&self) -> &Images {
        &self.noise
    }

    /// Lowest and highest value of each coordinate in the box.
    pub fn limits(&self) -> &[[f32; 2]] {
        &self.limits
    }

    /// Uniform noise on the box for chains to start from.
    pub fn starts(&self, count: usize, seed: u64) -> Images {
        box_noise(&mut Philox::new(seed, Stream::SamplerStart), self.noise.shape, &self.limits, count)
    }

    /// Measures a model by its samples and the energies that it gives [`Self::reference`] and [`Self::noise`].
    pub fn figures(
        &self,
        samples: &Images,
        energies: &[f32],
        energies_of_noise: &[f32],
        seed: u64,
    ) -> PointMetrics {
        let d = self.reference.shape.len();
        let distance = |points: &Images| {
            sliced_wasserstein(&points.values, &self.reference.values, d, PROJECTIONS, seed)
        };
        let first = |points: &[f32]| points[..points.len().min(MMD_POINTS * d)].to_vec();
        let wide = |energies: &[f32]| energies.iter().map(|e| f64::from(*e)).collect::<Vec<_>>();
        let density = |points: &Images| -> Option<Vec<f64>> {
            let pairs = points.values.chunks_exact(2).map(|p| [p[0], p[1]]);
            let toy = self.toy?;
            pairs.map(|point| toy.log_density(point).map(|log| -log)).collect()
        };
        PointMetrics {
            sliced_wasserstein: distance(samples),
            sliced_wasserstein_of_truth: self.second.as_ref().map(distance),
            mmd: mmd(&first(&samples.values), &first(&self.reference.values), d),
            coverage: self.toy.and_then(Toy::mixture).map(|mixture| coverage(&samples.values, &mixture)),
            auc: auc(&wide(energies), &wide(energies_of_noise)),
            auc_of_truth: density(&self.reference).zip(density(&self.noise)).map(|(a, b)| auc(&a, &b)),
        }
    }
}

impl PointEvaluator {
    /// Samples a model, `count` chains of `chain_config.steps` steps from uniform noise on the box, and measures it.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device was lost; [`crate::Error::Usage`] if the model takes other points.
    pub async fn evaluate(
        &self,
        device: &Device,
        model: &Model,
        count: usize,
        chain_config: &ChainConfig,
        seed: u64,
    ) -> Result<PointMetrics> {
        let mut sampler = Sampler::new(device, model, count, chain_config, seed).await?;
        sampler.start_from(&self.starts(count, seed))?;
        sampler.run(chain_config.steps)?;
        let mut energies = EnergyModel::new(device, model).await?;
        let (real, noise) =
            (energies.energies(&self.reference).await?, energies.energies(&self.noise).await?);
        Ok(self.figures(&sampler.images().await?, &real, &noise, seed))
    }
}

/// How near an energy of points in the plane is to a normalized one: `p(x) = exp(-E(x))`, log Z = 0.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Normalisation {
    /// Logarithm of the integral of `exp(-E)` over a box half as large again as that of the figures, in each coordinate.
    pub log_z: f64,
    /// Mean of log p of the true points in nats, in the data's units, with the log Z found.
    pub log_likelihood: f64,
    /// The same of the true density, where it is known.
    pub log_likelihood_of_truth: Option<f64>,
}

impl PointEvaluator {
    /// Nodes of the quadrature in each coordinate.
    const NODES: usize = 600;

    /// Integrates `exp(-E)` by the midpoint rule; `None` for points that are not in the plane. `standard` is the network's.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device was lost; [`crate::Error::Usage`] if the model takes other points.
    pub async fn normalisation(
        &self,
        energies: &mut EnergyModel,
        standard: Option<&Standard>,
    ) -> Result<Option<Normalisation>> {
        let [x, y] = self.limits[..] else { return Ok(None) };
        if self.reference.shape != toy::POINT {
            return Ok(None);
        }
        let cell = |[low, high]: [f32; 2]| 1.5 * f64::from(high - low) / Self::NODES as f64;
        let node = |[low, high]: [f32; 2], i: usize| {
            let centre = 0.5 * f64::from(low + high);
            (centre + cell([low, high]) * (i as f64 + 0.5 - 0.5 * Self::NODES as f64)) as f32
        };
        let nodes =
            (0..Self::NODES * Self::NODES).flat_map(|i| [node(x, i % Self::NODES), node(y, i / Self::NODES)]);
        let nodes = Images { shape: toy::POINT, values: nodes.collect() };
        let logs: Vec<f64> = energies.energies(&nodes).await?.iter().map(|e| -f64::from(*e)).collect();
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
        // The network's density is of standardised points.
        let scale: f64 = standard.map_or(0.0, |s| s.deviation.iter().map(|d| d.ln()).sum());
        let log_z = largest + sum.ln() + (cell(x) * cell(y)).ln() - scale;
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let of_reference = energies.energies(&self.reference).await?;
        let log_likelihood = -mean(of_reference.iter().map(|e| f64::from(*e)).collect()) - log_z - scale;
        let points = self.reference.values.chunks_exact(2);
        let of_truth = self.toy.and_then(|toy| points.map(|p| toy.log_density([p[0], p[1]])).collect());
        Ok(Some(Normalisation { log_z, log_likelihood, log_likelihood_of_truth: of_truth.map(mean) }))
    }
}

impl std::fmt::Display for Normalisation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let truth = self.log_likelihood_of_truth;
        let truth = truth.map_or(String::new(), |truth| format!(" (true density: {truth:.3})"));
        write!(f, "log Z {:.3} by quadrature (trained to be 0), ", self.log_z)?;
        write!(f, "log-likelihood {:.3} nats{truth}", self.log_likelihood)
    }
}

impl std::fmt::Display for PointMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of_truth =
            |value: Option<f64>| value.map_or(String::new(), |value| format!(" (true points: {value:.4})"));
        write!(f, "sliced Wasserstein {:.4}", self.sliced_wasserstein)?;
        write!(f, "{}", of_truth(self.sliced_wasserstein_of_truth))?;
        let is_finite = self.sliced_wasserstein.is_finite() && self.auc.is_finite();
        match self.mmd.is_nan() && is_finite {
            true => write!(f, ", no MMD^2 (it needs 2 held-out points and 2 samples)")?,
            false => write!(f, ", MMD^2 {:.5}", self.mmd)?,
        }
        write!(f, ", AUC {:.4}{}", self.auc, of_truth(self.auc_of_truth).replace("points", "density"))?;
        if let Some(Coverage { shares, within }) = &self.coverage {
            let shares: Vec<_> = shares.iter().map(|share| format!("{:.1}", 100.0 * share)).collect();
            let percent = 100.0 * within;
            write!(f, ", {percent:.1} % within 3 sigma of a mode ({} % each)", shares.join(", "))?;
        }
        Ok(())
    }
}

/// As far as the points reach in each coordinate, and a tenth of that further.
fn limits(points: &Images) -> Vec<[f32; 2]> {
    let d = points.shape.len();
    let mut limits = vec![[f32::INFINITY, f32::NEG_INFINITY]; d];
    for point in points.values.chunks_exact(d) {
        for ([low, high], value) in limits.iter_mut().zip(point) {
            (*low, *high) = (low.min(*value), high.max(*value));
        }
    }
    // A coordinate that is always the same gets a box of its own magnitude.
    let margin = |[low, high]: [f32; 2]| if high > low { 0.1 * (high - low) } else { high.abs().max(1.0) };
    limits.into_iter().map(|l| [l[0] - margin(l), l[1] + margin(l)]).collect()
}

fn box_noise(rng: &mut Philox, shape: Shape, limits: &[[f32; 2]], count: usize) -> Images {
    let point = |rng: &mut Philox| -> Vec<f32> {
        limits.iter().map(|[low, high]| low + (high - low) * rng.random_range(0.0_f32..1.0)).collect()
    };
    Images { shape, values: (0..count).flat_map(|_| point(rng)).collect() }
}
