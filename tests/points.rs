//! Measures of points, against known values and brute force.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thalweg::data::standard::Standard;
use thalweg::data::toy::{POINT, Toy};
use thalweg::data::{self, Dataset, Examples, Images, Shape};
use thalweg::evaluate::point_metrics::{
    PointEvaluator, PointMetrics, auc, coverage, mmd, sliced_wasserstein,
};
use thalweg::network::{Activation, Initialisation};
use thalweg::plan::ChainConfig;
use thalweg::recipe::{Objective, RateSchedule};
use thalweg::{Device, EnergyModel, Model, Network, Recipe, Sampler, Trainer};

use crate::common;

/// Normal points (sums of 12 uniform numbers) of deviation 1.
fn normals(n: usize, d: usize, seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..n * d).map(|_| (0..12).map(|_| rng.random_range(-0.5_f32..0.5)).sum()).collect()
}

fn shifted(points: &[f32], by: &[f32]) -> Vec<f32> {
    points.chunks_exact(by.len()).flat_map(|p| p.iter().zip(by).map(|(x, b)| x + b)).collect()
}

#[test]
fn sliced_wasserstein_of_shifted_and_scaled_points() {
    let a = normals(4000, 2, 1);
    assert_eq!(sliced_wasserstein(&a, &a, 2, 100, 0), 0.0);
    // A shift moves every projection by |shift| |cos|, whose mean is 2 / pi of it in the plane, 1 / 2 in space.
    let by = [1.8, -2.4];
    let distance = sliced_wasserstein(&shifted(&a, &by), &a, 2, 4000, 5);
    assert!((distance - 3.0 * 2.0 / std::f64::consts::PI).abs() < 0.03, "{distance}");
    let a = normals(500, 3, 2);
    let distance = sliced_wasserstein(&a, &shifted(&a, &[0.0, 0.0, 4.0]), 3, 4000, 5);
    assert!((distance - 2.0).abs() < 0.04, "{distance}");
    // On the line there is one direction, and the distance is that of the sorted numbers.
    assert_eq!(sliced_wasserstein(&[3.0, 1.0, 2.0], &[2.5, 7.0, 1.0], 1, 3, 0), (0.0 + 0.5 + 4.0) / 3.0);
    // Normals of deviation 1 and 2 are mean |z| = sqrt(2 / pi) apart, in any direction.
    let (a, b) = (normals(20_000, 2, 3), normals(20_000, 2, 4));
    let twice: Vec<f32> = b.iter().map(|v| 2.0 * v).collect();
    let distance = sliced_wasserstein(&a, &twice, 2, 100, 0);
    assert!((distance - 0.798).abs() < 0.03, "{distance}");
    assert!(sliced_wasserstein(&a, &b, 2, 100, 0) < 0.03);
    // A tenth of the mass 4 away costs 0.4 times 2 / pi. Of the larger set only as many points count.
    let mut moved = a.clone();
    moved[..4000].chunks_exact_mut(2).for_each(|p| p[0] += 40.0);
    let distance = sliced_wasserstein(&moved, &[&a[..], &[1e9; 100]].concat(), 2, 4000, 0);
    assert!((distance - 4.0 * 2.0 / std::f64::consts::PI).abs() < 0.1, "{distance}");
}

#[test]
fn mmd_is_its_definition_and_unbiased() {
    let (a, b) = (normals(60, 3, 1), shifted(&normals(50, 3, 2), &[1.0, 0.0, 0.5]));
    // Brute force with the bandwidths written out; the median is that of the pairs that are looked at, so any near the
    // true one is right.
    let points = |v: &[f32]| -> Vec<[f64; 3]> {
        v.chunks_exact(3).map(|p| [p[0].into(), p[1].into(), p[2].into()]).collect()
    };
    let distance = |x: &[f64; 3], y: &[f64; 3]| (0..3).map(|i| (x[i] - y[i]).powi(2)).sum::<f64>().sqrt();
    let all = [points(&a), points(&b)].concat();
    let mut distances: Vec<f64> =
        (0..all.len()).flat_map(|i| (0..i).map(|j| distance(&all[i], &all[j])).collect::<Vec<_>>()).collect();
    distances.sort_by(f64::total_cmp);
    let by_median = |median: f64| {
        let kernel = |x: &[f64; 3], y: &[f64; 3]| {
            let of = |s: f64| (-distance(x, y).powi(2) / (2.0 * (s * median).powi(2))).exp();
            [0.25, 0.5, 1.0, 2.0, 4.0].map(of).iter().sum::<f64>() / 5.0
        };
        let mut sums = [0.0; 3];
        let (a, b) = (points(&a), points(&b));
        for (set, (x, y)) in [(&a, &a), (&b, &b), (&a, &b)].into_iter().enumerate() {
            for (i, x) in x.iter().enumerate() {
                for (j, y) in y.iter().enumerate() {
                    sums[set] += if set < 2 && i == j { 0.0 } else { kernel(x, y) };
                }
            }
        }
        sums[0] / (60.0 * 59.0) + sums[1] / (50.0 * 49.0) - 2.0 * sums[2] / (60.0 * 50.0)
    };
    let (got, median) = (mmd(&a, &b, 3), distances[distances.len() / 2]);
    let (low, high) = (by_median(median * 1.1), by_median(median * 0.9));
    assert!((low.min(high)..=low.max(high)).contains(&got), "{got}, not between {low} and {high}");
    assert!(got > 0.02, "{got}");

    // Of one distribution it is 0 on average, and of either sign.
    let same: Vec<f64> = (0..40).map(|i| mmd(&normals(50, 2, 10 + i), &normals(50, 2, 100 + i), 2)).collect();
    let mean = same.iter().sum::<f64>() / 40.0;
    assert!(mean.abs() < 0.004 && same.iter().any(|v| *v < 0.0) && same.iter().any(|v| *v > 0.0), "{same:?}");
    assert!(mmd(&[1.0, 2.0], &[1.0, 2.0], 2).is_nan(), "one point has no pairs");
    assert!(mmd(&[], &[], 2).is_nan());
}

#[test]
fn coverage_counts_samples_near_centres() {
    let mixture = Toy::FiveGaussians.mixture().unwrap();
    let truth = coverage(&Toy::FiveGaussians.points(20_000, 1, 5).values, &mixture);
    // 1 - exp(-9 / 2) of a round Gaussian lies within 3 sigma.
    assert!((truth.within - 0.98889).abs() < 0.003, "{truth:?}");
    assert!(truth.shares.iter().all(|share| (share - 0.19778).abs() < 0.012), "{truth:?}");
    assert_eq!(truth.shares.len(), 5);
    // At a centre, just inside, just outside, far away, nowhere.
    let at = |points: &[f32]| coverage(points, &mixture);
    let found = at(&[2.0, 2.0, 2.0, 2.89, 2.0, 2.91, 90.0, 0.0, f32::NAN, 0.0]);
    assert_eq!((found.within, found.shares), (0.4, vec![0.0, 0.0, 0.0, 0.4, 0.0]));
    assert_eq!(mixture.centres[3], [2.0, 2.0]);
}

#[test]
fn auc_is_the_share_of_pairs_in_order() {
    let mut rng = StdRng::seed_from_u64(1);
    for (n, m) in [(1, 1), (3, 17), (65, 30)] {
        // Few values, so that many are equal.
        let mut draw = |n: usize| -> Vec<f64> { (0..n).map(|_| f64::from(rng.random_range(0..9))).collect() };
        let (a, b) = (draw(n), draw(m));
        let pair = |x: &f64, y: &f64| {
            if x < y {
                1.0
            } else if x == y {
                0.5
            } else {
                0.0
            }
        };
        let wins: f64 = a.iter().flat_map(|x| b.iter().map(move |y| pair(x, y))).sum();
        assert!((auc(&a, &b) - wins / (n * m) as f64).abs() < 1e-12);
        assert!((auc(&a, &b) + auc(&b, &a) - 1.0).abs() < 1e-12);
    }
    assert_eq!(auc(&[-1.0, 0.0], &[0.5, f64::INFINITY]), 1.0);
    assert_eq!(auc(&[1.0], &[1.0, 1.0]), 0.5);
    assert!(auc(&[1.0, f64::NAN], &[0.0]).is_nan() && auc(&[], &[0.0]).is_nan());
    // Normals whose means are one deviation apart: Phi(1 / sqrt 2).
    let wide = |v: Vec<f32>| v.into_iter().map(f64::from).collect::<Vec<_>>();
    let (a, b) = (wide(normals(20_000, 1, 1)), wide(shifted(&normals(20_000, 1, 2), &[1.0])));
    assert!((auc(&a, &b) - 0.7602).abs() < 0.01);
}

#[test]
fn a_judge_knows_the_truth() {
    let dataset = Dataset::open("five-gaussians").unwrap();
    let evaluator = PointEvaluator::new(&dataset, 3).unwrap();
    let energy = |points: &Images| -> Vec<f32> {
        points
            .values
            .chunks_exact(2)
            .map(|p| -Toy::FiveGaussians.log_density([p[0], p[1]]).unwrap() as f32)
            .collect()
    };
    assert_eq!(evaluator.limits(), [[-4.0, 4.0]; 2]);
    assert!(evaluator.noise().values.iter().all(|v| v.abs() <= 4.0));
    // The true density and fresh true points are as good as can be.
    let samples = Toy::FiveGaussians.points(5000, 99, 1);
    let best = evaluator.figures(&samples, &energy(evaluator.reference()), &energy(evaluator.noise()), 1);
    let of_truth = best.sliced_wasserstein_of_truth.unwrap();
    println!("{best:?}");
    assert!((best.auc - best.auc_of_truth.unwrap()).abs() < 1e-5 && (0.95..0.99).contains(&best.auc));
    assert!(best.sliced_wasserstein < 2.0 * of_truth + 0.05 && (0.005..0.06).contains(&of_truth));
    assert!(best.mmd.abs() < 1e-3 && best.coverage.unwrap().within > 0.98);
    // Uniform noise is not, and a flat energy tells nothing.
    let flat = vec![0.0; 5000];
    let worst = evaluator.figures(evaluator.noise(), &flat, &flat, 1);
    assert!(worst.auc == 0.5 && worst.sliced_wasserstein > 2.0 * of_truth + 0.05, "{worst:?}");
    assert!(worst.mmd > 0.01 && worst.coverage.unwrap().within < 0.3);

    // Rows: what is held out, and a box of their reach.
    let points = Images { shape: Shape { channels: 3, height: 1, width: 1 }, values: normals(300, 3, 1) };
    let held_out = Images { values: points.values[..90].to_vec(), ..points };
    let dataset = Dataset {
        name: "rows".into(),
        train: Examples::Floats(points.clone()),
        held_out,
        toy: None,
        labels: None,
    };
    let evaluator = PointEvaluator::new(&dataset, 3).unwrap();
    for (i, [low, high]) in evaluator.limits().iter().enumerate() {
        let column: Vec<f32> = points.values.iter().skip(i).step_by(3).copied().collect();
        let (min, max) = column.iter().fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        assert!(
            (low - (min - 0.1 * (max - min))).abs() < 1e-5 && (high - (max + 0.1 * (max - min))).abs() < 1e-5
        );
    }
    assert_eq!((evaluator.reference().count(), evaluator.noise().count()), (30, 30));
    let figures = evaluator.figures(&points, &[0.0; 30], &[1.0; 30], 1);
    assert_eq!((figures.auc, figures.auc_of_truth, figures.coverage), (1.0, None, None));
    assert_eq!(figures.sliced_wasserstein_of_truth, None);
    assert!(PointEvaluator::new(&Dataset::open("digits").unwrap(), 0).is_none());
}

/// A model is judged by chains from noise on the box and by its own energies.
#[test]
fn one_held_out_point_has_no_mmd_and_the_figures_say_why() {
    let figures = PointMetrics {
        sliced_wasserstein: 0.5,
        sliced_wasserstein_of_truth: None,
        mmd: f64::NAN,
        coverage: None,
        auc: 0.75,
        auc_of_truth: None,
    };
    let text = figures.to_string();
    assert!(text.contains("no MMD^2 (it needs 2 held-out points") && !text.contains("NaN"), "{text}");
    // Lost samples are not passed over.
    let text = PointMetrics { sliced_wasserstein: f64::NAN, ..figures }.to_string();
    assert!(text.contains("MMD^2 NaN"), "{text}");
}

#[test]
fn a_model_is_judged() {
    let evaluator = PointEvaluator::new(&Dataset::open("five-gaussians").unwrap(), 3).unwrap();
    let device = Device::cpu();
    let network = common::point_network(2);
    let model = Model { parameters: network.initial_parameters(5), network };
    // Chains that do not move stay where they start, on the box; the energies are the model's.
    let still = ChainConfig { steps: 0, clamp: 0.0, ..ChainConfig::default() };
    pollster::block_on(async {
        let figures = evaluator.evaluate(&device, &model, 500, &still, 7).await.unwrap();
        let mut energies = EnergyModel::new(&device, &model).await.unwrap();
        let real = energies.energies(evaluator.reference()).await.unwrap();
        let noise = energies.energies(evaluator.noise()).await.unwrap();
        assert_eq!(figures, evaluator.figures(&evaluator.starts(500, 7), &real, &noise, 7));
        let text = figures.to_string();
        for part in
            ["sliced Wasserstein", "(true points: 0.0", "AUC", "(true density: 0.9", "% within 3 sigma"]
        {
            assert!(text.contains(part), "{text}");
        }
        // Noise that is strong moves them off it.
        let noisy = ChainConfig { steps: 3, noise: 5.0, ..still };
        let far = evaluator.evaluate(&device, &model, 500, &noisy, 7).await.unwrap();
        assert!(far.sliced_wasserstein > 2.0 * figures.sliced_wasserstein, "{far} {figures}");
    });
}

/// What samples are written as reads back as points and sequences.
#[test]
fn points_round_trip_through_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    for (channels, width, dims) in [(2, 1, vec![6, 2]), (3, 4, vec![1, 4, 3])] {
        let shape = Shape { channels, height: 1, width };
        let points = Images { shape, values: (0..12).map(|i| i as f32 * 7.0 - 30.0).collect() };
        assert_eq!(data::write_npy(&path, &points).unwrap(), dims);
        assert_eq!(data::read_points(&path).unwrap(), points);
    }
    assert_eq!(data::file_dims(9, POINT), [9, 2]);
    assert_eq!(data::file_dims(9, Shape { channels: 1, height: 28, width: 28 }), [9, 1, 28, 28]);
}

/// Trains a small smooth network on five Gaussians, and judges it: the figures, and the deviation of the samples from the
/// centre that is nearest, in one coordinate; and log Z.
fn train_small(objective: Objective) -> (PointMetrics, f64, f64) {
    let mut config = Recipe::preset("mlp").unwrap();
    let network = Network::builder("small", [2, 1, 1]).initialisation(Initialisation::Pytorch);
    let network =
        (0..2).fold(network, |n, _| n.dense(64).activation(Activation::Swish)).dense(1).build().unwrap();
    config.network = Some(network.spec());
    config.objective = objective;
    config.train.steps = if objective == Objective::Pcd { 2000 } else { 1200 };
    config.adam.learning_rate = 3e-3;
    config.schedule.learning_rate = RateSchedule::Cosine;
    config.sample.steps = 200;
    let dataset = Dataset::open("five-gaussians").unwrap();
    pollster::block_on(async {
        let device = Device::cpu();
        let mut trainer = Trainer::new(&device, &config, &dataset).await.unwrap();
        while trainer.step() < config.train.steps {
            trainer.submit(100).unwrap().metrics().await.unwrap();
        }
        let (model, chain_config) = (trainer.model().await.unwrap(), config.sampling_chain());
        let evaluator = PointEvaluator::new(&dataset, 1).unwrap();
        let figures = evaluator.evaluate(&device, &model, 1000, &chain_config, 1).await.unwrap();
        let mut energies = EnergyModel::new(&device, &model).await.unwrap();
        let log_z = evaluator.normalisation(&mut energies, None).await.unwrap().unwrap().log_z;
        let mut sampler = Sampler::new(&device, &model, 1000, &chain_config, 1).await.unwrap();
        sampler.start_from(&evaluator.starts(1000, 1)).unwrap();
        sampler.run(chain_config.steps).unwrap();
        let mixture = Toy::FiveGaussians.mixture().unwrap();
        let samples = sampler.images().await.unwrap().values;
        let square = |p: &[f32], c: &[f32; 2]| f64::from((p[0] - c[0]).powi(2) + (p[1] - c[1]).powi(2));
        let nearest = |p: &[f32]| mixture.centres.iter().map(|c| square(p, c)).fold(f64::INFINITY, f64::min);
        let mut squares: Vec<f64> = samples.chunks_exact(2).map(nearest).collect();
        squares.sort_unstable_by(f64::total_cmp);
        // The median, which no straggler moves.
        (figures, (squares[500] / (2.0 * std::f64::consts::LN_2)).sqrt(), log_z)
    })
}

/// A wrong sign, a trace that is missing or a noise of another size would show: in the energies' order, in where the samples
/// are, or in how wide the modes are.
#[test]
fn objectives_learn_five_gaussians() {
    for (objective, deviation) in [
        (Objective::ScoreMatching, 0.3),
        (Objective::SlicedScoreMatching, 0.3),
        (Objective::DenoisingScoreMatching, 0.1_f64.hypot(0.3)),
        (Objective::Pcd, 0.3),
        (Objective::EnergyDiscrepancy, 0.3),
        (Objective::Nce, 0.3),
    ] {
        let (figures, found, log_z) = train_small(objective);
        let text =
            format!("{objective:?}: {figures}; deviation {found:.3} of {deviation:.3}; log Z {log_z:.3}");
        println!("{text}");
        let coverage = figures.coverage.unwrap();
        assert!(figures.auc > 0.91 && coverage.within > 0.92, "{text}");
        assert!(coverage.shares.iter().all(|share| *share > 0.08), "{text}");
        assert!((found / deviation - 1.0).abs() < 0.12, "{text}");
        assert!(objective != Objective::Nce || log_z.abs() < 0.1, "{text}");
    }
}

/// Of a mixture, whose energy is normalised; and where a network takes standardised points.
#[test]
fn quadrature_finds_log_z() {
    pollster::block_on(async {
        let evaluator = PointEvaluator::new(&Dataset::open("five-gaussians").unwrap(), 3).unwrap();
        let (model, _) = Model::analytic("analytic:five-gaussians").unwrap();
        let mut energies = EnergyModel::new(&Device::cpu(), &model).await.unwrap();
        let found = evaluator.normalisation(&mut energies, None).await.unwrap().unwrap();
        assert!(found.log_z.abs() < 1e-3, "{found}");
        let truth = found.log_likelihood_of_truth.unwrap();
        assert!((found.log_likelihood - truth).abs() < 1e-3, "{found}");
        let standard = Standard { mean: vec![0.0; 2], deviation: vec![2.0, 0.5 * 1_f64.exp()] };
        let other = evaluator.normalisation(&mut energies, Some(&standard)).await.unwrap().unwrap();
        assert!((other.log_z - (found.log_z - 1.0)).abs() < 1e-6, "{other}");
        assert!((other.log_likelihood - found.log_likelihood).abs() < 1e-6, "{other}");
    });
}
