//! `evaluate`: every figure against one that is known, counted or reckoned by hand, and the command from outside.

use std::fs;
use tempfile::TempDir;
use thalweg::checkpoint::{Tensor, TensorData, load_tensors};
use thalweg::cpu::Isa;
use thalweg::data::{ByteImages, Examples, Shape, byte_to_value};
use thalweg::evaluate::classifier::{CLASSES, Classified, Classifier, FEATURES, INPUT};
use thalweg::evaluate::features::{Manifolds, frechet, kernel_distance};
use thalweg::evaluate::samples::{Classes, nearest};
use thalweg::evaluate::{Subject, blur, outliers, samples, spread};
use thalweg::kernels::dynamics;
use thalweg::network::{Activation, LayerSpec, Network};
use thalweg::plan::ChainConfig;
use thalweg::random::{Philox, Stream};
use thalweg::{Dataset, Device, EnergyModel, Images, Model, Sampler};

use crate::common;
use common::{Failures, GOLDEN, Rng, gpu, train_tiny, works, write_digits};

// ---- the classifier

fn golden(name: &str) -> Vec<f32> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/classifier.safetensors");
    match load_tensors(path).unwrap().1.remove(name) {
        Some(Tensor { data: TensorData::F32(values), .. }) => values,
        other => panic!("{name}: {other:?}"),
    }
}

fn on(device: &Device, images: &Images) -> Classified {
    pollster::block_on(async { Classifier::new(device).await.unwrap().classify(images).await.unwrap() })
}

/// What is largest by magnitude, and the largest error.
fn error(values: &[f32], reference: &[f32]) -> f64 {
    assert_eq!(values.len(), reference.len());
    let scale = reference.iter().fold(0.0_f64, |m, v| m.max(f64::from(v.abs())));
    let errors = values.iter().zip(reference).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    errors.fold(0.0, |m, e| if e <= m { m } else { e }) / scale
}

#[test]
fn classifier_is_pytorchs_on_every_device() {
    let images = Images { shape: INPUT, values: golden("images") };
    let (features, logits) = (golden("features"), golden("logits"));
    assert!(images.count() == 8 && features.len() == 8 * FEATURES && logits.len() == 8 * CLASSES);
    let mut failures = Failures::default();
    let cpus = Isa::available().into_iter().map(Device::Cpu);
    for device in cpus.chain([gpu()]) {
        let classified = on(&device, &images);
        for (name, values, reference) in
            [("features", &classified.features, &features), ("logits", &classified.logits, &logits)]
        {
            let error = error(values, reference);
            failures.check(error <= 2e-6, || format!("{device}: {name} are {error:.1e} off"));
        }
    }
    failures.assert_none();
    // The comparison can fail: another image's features are not these.
    let mut other = features.clone();
    other.rotate_left(FEATURES);
    assert!(error(&other, &features) > 0.1 && error(&[f32::NAN], &[1.0]).is_nan());
}

#[test]
fn classifier_knows_digits_that_it_never_saw() {
    let held_out = Dataset::open("digits").unwrap().held_out;
    let labels = golden("labels");
    assert_eq!((held_out.count(), labels.len()), (1000, 1000));
    let classified = on(&Device::cpu(), &held_out);
    let guesses = classified
        .logits
        .chunks_exact(CLASSES)
        .map(|logits| (0..CLASSES).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as f32);
    let right = guesses.zip(&labels).filter(|(guess, label)| guess == *label).count();
    assert!(right >= 985, "{right} of 1,000 are right");
    // The shares that `evaluate` tells are those of the labels, but for the mistakes.
    let classes = Classes::of(&classified);
    for (class, share) in classes.shares.iter().enumerate() {
        let of_labels = labels.iter().filter(|label| **label == class as f32).count() as f64 / 1000.0;
        assert!((share - of_labels).abs() < 0.01, "{class}: {share}, not {of_labels}");
    }
    assert!(classes.confidence > 0.97 && classes.confidence < 1.0, "{classes:?}");
}

#[test]
fn classes_are_counted() {
    // Two images of class 3, one of 7, one of 0; logits such that the probabilities are simple.
    let logits = |class: usize, odds: f32| {
        let mut logits = [100.0_f32; CLASSES];
        logits[class] = 100.0 + odds.ln(); // odds to each of nine others: odds / (odds + 9)
        logits
    };
    let logits = [logits(3, 9.0), logits(7, 91.0), logits(3, 1e30), logits(0, 27.0)].concat();
    let classes = Classes::of(&Classified { features: Vec::new(), logits });
    let confidence = (0.5 + 0.91 + 1.0 + 0.75) / 4.0;
    assert!((classes.confidence - confidence).abs() < 1e-5, "{classes:?}");
    assert_eq!(classes.shares, [0.25, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0]);
    assert!((classes.entropy - 1.5 * 2.0_f64.ln()).abs() < 1e-12 && classes.rarest == 0.0, "{classes:?}");
    let even = (0..CLASSES * CLASSES).map(|i| f32::from(u8::from(i % CLASSES == i / CLASSES))).collect();
    let even = Classes::of(&Classified { features: Vec::new(), logits: even });
    assert!((even.entropy - 10.0_f64.ln()).abs() < 1e-12 && even.rarest == 0.1, "{even:?}");
    // An image that is not finite is of no class.
    let broken = [[0.0; CLASSES], [f32::NAN; CLASSES]].concat();
    let broken = Classes::of(&Classified { features: Vec::new(), logits: broken });
    let Classes { confidence, shares, entropy, rarest } = broken;
    assert!(shares.iter().chain(&[confidence, entropy, rarest]).all(|x| x.is_nan()), "{broken:?}");
}

#[test]
fn features_are_scaled_to_one_length() {
    // Half of the features 3, half 4: mean square 12.5.
    let image: Vec<f32> = (0..FEATURES).map(|i| if i % 2 == 0 { 3.0 } else { -4.0 }).collect();
    let features = [image.clone(), image.iter().map(|f| f * 1e-3).collect(), vec![0.0; FEATURES]].concat();
    let scaled = Classified { features, logits: Vec::new() }.scaled_features();
    for (i, value) in scaled.iter().enumerate() {
        let want = if i < 2 * FEATURES { image[i % FEATURES] / 12.5_f32.sqrt() } else { 0.0 };
        assert!((value - want).abs() < 1e-6, "{i}: {value}, not {want}");
    }
}

// ---- distances of feature sets

/// Points whose mean is `mean` and whose unbiased covariance is the rotation by `angle` of diag(`variances`).
fn cross(mean: [f32; 2], variances: [f64; 2], angle: f64) -> Vec<f32> {
    let (sine, cosine) = angle.sin_cos();
    let [a, b] = variances.map(|v| (1.5 * v).sqrt()); // two of four points, over 3
    [[a, 0.0], [-a, 0.0], [0.0, b], [0.0, -b]]
        .iter()
        .flat_map(|[x, y]| [x * cosine - y * sine, x * sine + y * cosine])
        .zip([0, 1].into_iter().cycle())
        .map(|(v, axis)| v as f32 + mean[axis])
        .collect()
}

#[test]
fn frechet_distance_is_that_of_gaussians() {
    let mut failures = Failures::default();
    let mut check = |name: &str, a: &[f32], b: &[f32], d: usize, want: f64| {
        for got in [frechet(a, b, d), frechet(b, a, d)] {
            let ok = (got - want).abs() <= 1e-5 * want.max(1.0);
            failures.check(ok, || format!("{name}: {got}, not {want}"));
        }
    };
    // On a line: (1 - 4)^2 + (s_a - s_b)^2, with variances 2 and 18 over 1.
    check("line", &[0.0, 2.0], &[1.0, 7.0], 1, 9.0 + (2.0_f64.sqrt() - 18.0_f64.sqrt()).powi(2));
    // Axes in common: the difference of the standard deviations of each.
    let (a, b) = (cross([1.0, -2.0], [4.0, 9.0], 0.0), cross([0.0, 1.0], [1.0, 25.0], 0.0));
    check("axes in common", &a, &b, 2, 1.0 + 9.0 + 1.0 + 4.0);
    // Axes apart: in the plane Tr (AB)^(1/2) = (Tr AB + 2 (det A det B)^(1/2))^(1/2).
    let angle = 0.7_f64;
    let (c2, s2) = (angle.cos().powi(2), angle.sin().powi(2));
    let trace_of_product = 4.0 * (c2 + 25.0 * s2) + 9.0 * (s2 + 25.0 * c2);
    let root = (trace_of_product + 2.0 * (4.0 * 9.0 * 25.0_f64).sqrt()).sqrt();
    let b = cross([0.0, 1.0], [1.0, 25.0], angle);
    check("axes apart", &a, &b, 2, 10.0 + 13.0 + 26.0 - 2.0 * root);
    // A covariance of no full rank: fewer points than dimensions.
    let (a, b) = ([0.0, 0.0, 0.0, 3.0, 0.0, 4.0], [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    check("flat", &a, &b, 3, (0.5_f64).powi(2) + 4.0 + 12.5);
    check("same", &a, &a, 3, 0.0);
    failures.assert_none();
    assert!(frechet(&[1.0], &[1.0, 2.0], 1).is_nan() && frechet(&[1.0, f32::NAN], &[1.0, 2.0], 1).is_nan());
}

#[test]
fn kernel_distance_is_unbiased() {
    // Kernel (x y + 1)^3: within {0, 1} once 1; within {2, 3} once 343; across 1, 1, 27, 64.
    let by_hand = 1.0 + 343.0 - 2.0 * (1.0 + 1.0 + 27.0 + 64.0) / 4.0;
    assert!((kernel_distance(&[0.0, 1.0], &[2.0, 3.0], 1) - by_hand).abs() < 1e-9);
    // Over d = 2, x . y / 2 + 1 = 3, 1 and 2.
    let (a, b) = ([2.0, 0.0, 2.0, 1.0], [0.0, 2.0, 0.0, 0.0]);
    let by_hand = 27.0 + 1.0 - 2.0 * (1.0 + 1.0 + 8.0 + 1.0) / 4.0;
    assert!((kernel_distance(&a, &b, 2) - by_hand).abs() < 1e-9);
    // Of one distribution it is zero in expectation: within 4 standard errors over many small sets, where a biased one,
    // which counts each point with itself, would be far above.
    let mut rng = Rng(11);
    let (n, d, sets) = (6, 3, 4000);
    let mut draw = || -> Vec<f32> { rng.signeds(n * d).into_iter().map(|x| 2.0 * x as f32).collect() };
    let values: Vec<f64> = (0..sets).map(|_| kernel_distance(&draw(), &draw(), d)).collect();
    let mean = values.iter().sum::<f64>() / sets as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / sets as f64;
    let error = (variance / sets as f64).sqrt();
    assert!(mean.abs() < 4.0 * error && error < 0.1, "{mean} +- {error}");
    assert!(values.iter().any(|v| *v < 0.0));
    assert!(kernel_distance(&[1.0], &[1.0, 2.0], 1).is_nan());
}

#[test]
fn precision_and_recall_are_shares_of_points_in_balls() {
    // To the nearest neighbour, {0, 1, 10, 12} reaches 1, 1, 2, 2: [-1, 2] and [8, 14]. Of the generated, 2 (on the edge)
    // and 13 lie there; 5 and 30 do not. These reach 3, 3, 8, 17: [-1, 8], [5, 21], [13, 47]: 0, 1, 10 and 12 are in.
    let (real, generated) = ([0.0, 1.0, 10.0, 12.0], [2.0, 5.0, 13.0, 30.0]);
    let first = Manifolds::of(&real, &generated, 1, 1);
    assert_eq!((first.precision, first.recall), (0.5, 1.0));
    let swapped = Manifolds::of(&generated, &real, 1, 1);
    assert_eq!((swapped.precision, swapped.recall), (1.0, 0.5));
    // To the second: the real reach 10, 9, 9, 11: [-10, 23]. Only 30 is out.
    assert_eq!(Manifolds::of(&real, &generated, 1, 2).precision, 0.75);
    // In the plane: samples of one of two far clusters are all right, and miss half.
    let mut rng = Rng(5);
    let mut cluster = |x: f32| -> Vec<f32> {
        (0..50).flat_map(|_| [x + rng.signed() as f32, rng.signed() as f32]).collect()
    };
    let real = [cluster(0.0), cluster(100.0)].concat();
    let half = Manifolds::of(&real, &cluster(0.0), 2, 3);
    assert!(half.precision > 0.8 && (0.35..=0.5).contains(&half.recall), "{half:?}");
    let wrong = Manifolds::of(&real, &cluster(50.0), 2, 3);
    assert_eq!((wrong.precision, wrong.recall), (0.0, 0.0));
    assert!(Manifolds::of(&[0.0, 1.0, 2.0], &[0.0, 1.0, 2.0, 3.0], 1, 3).precision.is_nan());
    assert!(Manifolds::of(&[0.0, 1.0, f32::NAN], &[0.0, 1.0, 2.0], 1, 1).recall.is_nan());
}

// ---- pixels

#[test]
fn nearest_training_image_is_the_nearest() {
    let mut rng = Rng(3);
    let shape = Shape { channels: 3, height: 17, width: 19 }; // a row of 256 values is no divisor
    let mut draw = |count: usize, shape: Shape| -> Vec<f32> {
        rng.signeds(count * shape.len()).into_iter().map(|x| x as f32).collect()
    };
    let mut images = Images { shape, values: draw(7, shape) };
    let mut train = Images { shape, values: draw(2100, shape) }; // more than are read at a time
    // One image is near a training image of the last part, one is that image.
    let near: Vec<f32> = train.image(2099).iter().map(|v| v + 0.01).collect();
    images.values.extend(near);
    images.values.extend(train.image(2060));
    let brute = |images: &Images, train: &Images| -> Vec<f64> {
        let square = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        let least = |i: usize| {
            (0..train.count()).map(|k| square(images.image(i), train.image(k))).fold(f64::MAX, f64::min)
        };
        (0..images.count()).map(|i| least(i).sqrt()).collect()
    };
    let mut failures = Failures::default();
    let got: Vec<f64> =
        nearest(&images, &Examples::Floats(train.clone())).unwrap().into_iter().map(f64::from).collect();
    failures.close("floats", &got, &brute(&images, &train), 0.0, 1e-5);
    failures.check(got[8] == 0.0 && got[7] < 0.4 && got[0] > 5.0, || format!("{got:?}"));
    // Smaller training images lie in the middle of black.
    let small = Shape { height: 14, width: 19, ..shape };
    train = Images { shape: small, values: train.values[..50 * small.len()].to_vec() };
    let bytes: Vec<u8> = train.values.iter().map(|v| ((v + 1.0) * 127.0) as u8).collect();
    train.values = bytes.iter().map(|byte| byte_to_value(*byte)).collect();
    let train_bytes = Examples::Bytes(ByteImages { shape: small, bytes });
    let got: Vec<f64> = nearest(&images, &train_bytes).unwrap().into_iter().map(f64::from).collect();
    failures.close("bytes", &got, &brute(&images, &train.padded_to(shape).unwrap()), 0.0, 1e-5);
    failures.assert_none();
    let broken = Images { shape: small, values: vec![f32::NAN; small.len()] };
    assert!(nearest(&broken, &train_bytes).unwrap()[0].is_nan());
}

#[test]
fn outliers_are_made_as_their_names_say() {
    let shape = Shape { channels: 2, height: 2, width: 3 };
    let values: Vec<f32> = (0..24).map(|i| i as f32 / 24.0).collect();
    let images = Images { shape, values };
    let turned = outliers::rotated(&images);
    assert_eq!(turned.shape, Shape { height: 3, width: 2, ..shape });
    // 0 1 2     2 5
    // 3 4 5 ->  1 4
    //           0 3
    assert_eq!(turned.image(0)[..6], [2.0, 5.0, 1.0, 4.0, 0.0, 3.0].map(|i| i / 24.0));
    assert_eq!(turned.image(1)[6..], [20.0, 23.0, 19.0, 22.0, 18.0, 21.0].map(|i| i / 24.0));
    let back = (0..3).fold(turned, |images, _| outliers::rotated(&images));
    assert_eq!(back, images);
    let negative = outliers::inverted(&images);
    assert!(negative.values.iter().zip(&images.values).all(|(a, b)| *a == -b) && negative.shape == shape);

    let digits = Dataset::open("digits").unwrap().held_out.pick(0..20);
    let gray = outliers::shuffled(&digits, 1);
    let sorted = |image: &[f32]| {
        let mut image = image.to_vec();
        image.sort_unstable_by(f32::total_cmp);
        image
    };
    for i in 0..20 {
        assert_eq!(sorted(gray.image(i)), sorted(digits.image(i)), "image {i}");
        assert_ne!(gray.image(i), digits.image(i), "image {i}");
    }
    // Each in its own way; a pixel's channels stay together.
    let same: Vec<f32> = digits.image(0).repeat(2);
    let twice = outliers::shuffled(&Images { shape: digits.shape, values: same }, 1);
    assert_ne!(twice.image(0), twice.image(1));
    let doubled: Vec<f32> = [digits.image(0), digits.image(0)].concat();
    let two =
        outliers::shuffled(&Images { shape: Shape { channels: 2, ..digits.shape }, values: doubled }, 2);
    assert_eq!(two.values[..784], two.values[784..]);
    let noise = outliers::noise(&digits, 0);
    let mean = noise.values.iter().sum::<f32>() / noise.values.len() as f32;
    assert!(mean.abs() < 0.02 && noise.values.iter().all(|v| (-1.0..1.0).contains(v)));
    let names = |images: &Images| -> Vec<String> {
        outliers::made(images, images, 0).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&digits), ["uniform noise", "inverted", "rotated by 90 degrees", "shuffled pixels"]);
    assert_eq!(names(&images), ["uniform noise", "inverted", "shuffled pixels"]); // not square
}

#[test]
fn images_are_picked_evenly() {
    assert_eq!(spread(10, 4).collect::<Vec<_>>(), [0, 2, 5, 7]);
    assert_eq!(spread(3, 5).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(spread(0, 5).count(), 0);
}

// ---- a whole evaluation

/// A network of images of 12x12, with random parameters.
fn tiny(channels: usize, side: usize) -> Model {
    let activation = Activation::Swish;
    let specs = [
        LayerSpec::Conv { channels: 4, kernel: [3, 3], stride: [2, 2], padding: 1.into(), activation },
        LayerSpec::Dense { units: 1, activation: Activation::Identity },
    ];
    let input = Shape { channels, height: side, width: side };
    let network = Network::new("tiny", input, &specs).unwrap();
    let parameters = network.initial_parameters(7);
    Model { network, parameters }
}

/// The share of pairs whose first is less than the second; half of those that are equal.
fn share_of_pairs(first: &[f64], second: &[f64]) -> f64 {
    let mut wins = 0.0;
    for a in first {
        for b in second {
            wins += f64::from(u8::from(a < b)) + 0.5 * f64::from(u8::from(a == b));
        }
    }
    wins / (first.len() * second.len()) as f64
}

#[test]
fn figures_are_those_of_the_models_own_samples_and_energies() {
    pollster::block_on(async {
        let mut failures = Failures::default();
        let model = tiny(1, 30);
        let digits = Dataset::open("digits").unwrap();
        let train = Examples::Floats(digits.train.pick(0..40));
        let held_out = digits.held_out.pick(0..24).padded_to(model.network.input).unwrap();
        let chain_config = ChainConfig { steps: 7, step_size: 3.0, ..ChainConfig::default() };
        for device in [Device::cpu(), gpu()] {
            let subject = Subject {
                device: &device,
                model: &model,
                chain_config: &chain_config,
                held_out: &held_out,
                seed: 5,
            };
            let buffer = held_out.pick(0..11);
            let mut told = Vec::new();
            let figures =
                samples::measure(&subject, &train, Some(&buffer), |done, all| told.push((done, all)))
                    .await
                    .unwrap();
            assert_eq!(told, [(7, 14), (14, 14)]);
            let names: Vec<_> = figures.sets.iter().map(|set| set.name.as_str()).collect();
            assert_eq!(
                names,
                [
                    "held-out images",
                    "training images",
                    "samples from noise",
                    "samples from buffer",
                    "uniform noise"
                ]
            );
            assert_eq!(figures.sets.iter().map(|set| set.count).collect::<Vec<_>>(), [24, 24, 24, 11, 24]);
            // The same samples, drawn as `sample` draws them.
            for (set, start) in [(2, None), (3, Some(&buffer))] {
                let count = start.map_or(24, Images::count);
                let seed = if start.is_some() { samples::buffer_seed(5) } else { 5 };
                let mut sampler = Sampler::new(&device, &model, count, &chain_config, seed).await.unwrap();
                if let Some(images) = start {
                    sampler.start_from(images).unwrap();
                }
                sampler.run(7).unwrap();
                let images = sampler.images().await.unwrap();
                let mut classifier = Classifier::new(&device).await.unwrap();
                let (own, real) = (
                    classifier.classify(&images).await.unwrap(),
                    classifier.classify(&held_out).await.unwrap(),
                );
                let set = &figures.sets[set];
                let (distances, name) = (set.distances.unwrap(), &set.name);
                let (own_features, real) = (own.scaled_features(), real.scaled_features());
                let want = frechet(&real, &own_features, FEATURES);
                failures.check(distances.fid == want && want > 1e-3, || {
                    format!("{device}, {name}: FID {} is not {want}", distances.fid)
                });
                let want = Manifolds::of(&real, &own_features, FEATURES, 3);
                failures.check(distances.manifolds == want, || {
                    format!("{device}, {name}: {distances:?}, not {want:?}")
                });
                failures
                    .check(set.classes == Some(Classes::of(&own)), || format!("{device}, {name}: classes"));
                let mut distances = nearest(&images, &train).unwrap();
                distances.sort_unstable_by(f32::total_cmp);
                let median = f64::midpoint(distances[(count - 1) / 2].into(), distances[count / 2].into());
                let of_held_out = figures.sets[0].nearest.unwrap();
                let got = set.nearest.unwrap();
                failures.check(
                    got.distance == median
                        && got.ratio == median / of_held_out.distance
                        && of_held_out.ratio == 1.0,
                    || format!("{device}, {name}: {got:?}, not {median}"),
                );
            }
            failures.check(figures.sets[0].distances.is_none() && figures.sets[1].nearest.is_none(), || {
                "too much".to_owned()
            });
            failures.check(
                figures.sets[4].distances.unwrap().fid > figures.sets[1].distances.unwrap().fid,
                || "the ceiling is below the floor".to_owned(),
            );

            // Chains from the buffer have noise of their own: those from where chains from noise start end elsewhere.
            let starts =
                Sampler::new(&device, &model, 24, &chain_config, 5).await.unwrap().images().await.unwrap();
            let figures = samples::measure(&subject, &train, Some(&starts), |_, _| ()).await.unwrap();
            let [noise, buffer] = [2, 3].map(|set: usize| figures.sets[set].distances.unwrap().fid);
            failures
                .check(noise != buffer, || format!("{device}: the same noise from the buffer as from noise"));

            // Outliers: pairs are counted, of images as an annealed model's last noise level leaves them.
            let sets = outliers::made(&digits.held_out.pick(0..24), &held_out, 5);
            let annealed = ChainConfig {
                form: dynamics::Form::Annealed,
                noise: 5.0,
                step_size_end: 3.0,
                noise_end: 0.75,
                interpolation: dynamics::Interpolation::Geometric,
                levels: 7,
                ..chain_config
            };
            for (chain_config, sigma) in [(chain_config, None), (annealed, Some(0.75))] {
                let told = outliers::measure(&Subject { chain_config: &chain_config, ..subject }, &sets)
                    .await
                    .unwrap();
                let mut energies = EnergyModel::new(&device, &model).await.unwrap();
                let mut rng = Philox::new(subject.seed, Stream::ScoreNoise);
                // An image's mean of |x|^2 / 2 + E(x) / sigma, and of its gradient's length, over its blurs.
                let mut energies_of = async |images: &Images| {
                    let images = images.padded_to(model.network.input).unwrap();
                    let mut means = vec![[0.0; 2]; images.count()];
                    let draws = sigma.map_or(1, |_| outliers::DRAWS);
                    for _ in 0..draws {
                        let mut blurred = images.clone();
                        if let Some(sigma) = sigma {
                            blur(&mut blurred, sigma, &mut rng);
                        }
                        let (energies, gradients) = energies.energies_and_gradients(&blurred).await.unwrap();
                        for (i, mean) in means.iter_mut().enumerate() {
                            let (mut f, mut square) = (f64::from(energies[i]) / sigma.unwrap_or(1.0), 0.0);
                            for (x, g) in blurred.image(i).iter().zip(gradients.image(i)) {
                                let (x, g) = (f64::from(*x), f64::from(*g));
                                let slope = sigma.map_or(g, |sigma| x + g / sigma);
                                f += sigma.map_or(0.0, |_| x * x / 2.0);
                                square += slope * slope;
                            }
                            mean[0] += f / f64::from(draws);
                            mean[1] += square.sqrt() / f64::from(draws);
                        }
                    }
                    let column = |c: usize| means.iter().map(|mean| mean[c]).collect::<Vec<f64>>();
                    (column(0), column(1))
                };
                let real = energies_of(&held_out).await;
                for ((name, images), told) in sets.iter().zip(&told.sets) {
                    let others = energies_of(images).await;
                    let want = share_of_pairs(&real.0, &others.0);
                    failures.check(
                        (told.auroc_energy - want).abs() < 1e-12 && told.name == *name && told.count == 24,
                        || format!("{device}, {name}, {sigma:?}: {told:?}, not {want}"),
                    );
                    let want = share_of_pairs(&real.1, &others.1);
                    failures.check((told.auroc_gradient - want).abs() < 1e-12, || {
                        format!("{device}, {name}, {sigma:?}: {told:?}, not {want}")
                    });
                }
            }
        }
        failures.assert_none();
    });
}

#[test]
fn other_images_than_the_classifiers_are_measured_without_it() {
    pollster::block_on(async {
        for model in [tiny(3, 30), tiny(1, 33)] {
            let shape = model.network.input;
            let mut rng = Rng(1);
            let values: Vec<f32> = rng.signeds(6 * shape.len()).into_iter().map(|x| x as f32).collect();
            let held_out = Images { shape, values };
            let chain_config = ChainConfig { steps: 1, ..ChainConfig::default() };
            let device = Device::cpu();
            let subject = Subject {
                device: &device,
                model: &model,
                chain_config: &chain_config,
                held_out: &held_out,
                seed: 5,
            };
            let train = Examples::Floats(held_out.clone());
            let figures = samples::measure(&subject, &train, None, |_, _| ()).await.unwrap();
            assert_eq!(figures.sets.len(), 4, "there is no buffer");
            assert!(figures.sets.iter().all(|set| set.distances.is_none() && set.classes.is_none()));
            // Held-out images that are the training images: distance 0, and no ratio to it.
            assert_eq!(figures.sets[0].nearest.unwrap().distance, 0.0);
            let text = figures.to_string();
            assert_eq!(text.matches("left out").count(), 1, "{text}");
            assert!(text.contains(&shape.to_string()), "{text}");
        }
    });
}

// ---- the command

#[test]
fn command_prints_a_table_and_writes_it_all_as_json() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    write_digits(folder.join("digits.idx"), 120);
    train_tiny(folder);
    fs::create_dir(folder.join("others")).unwrap();
    write_digits(folder.join("others/t10k-images-idx3-ubyte"), 9);
    let model =
        ["evaluate", "--model", "run/checkpoint.safetensors", "--data", "digits.idx", "--device", "cpu"];
    let all = [&model[..], &["--ood", "others", "--ood", "digits.idx", "--json", "figures.json"]].concat();
    let table = works(folder, &all);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("figures.json")).unwrap()).unwrap();
    let sets = json["samples"]["sets"].as_array().unwrap();
    let names: Vec<_> = sets.iter().map(|set| set["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["held-out images", "training images", "samples from noise", "samples from buffer", "uniform noise"]
    );
    assert_eq!(json["samples"]["steps"], 2);
    for set in &sets[1..] {
        assert_eq!(set["count"], 12); // as many as are held out
        for key in ["fid", "kid", "precision", "recall"] {
            assert!(set["distances"][key].is_f64(), "{set}");
        }
        assert!(
            set["classes"]["shares"].as_array().unwrap().len() == 10 && set["classes"]["confidence"].is_f64()
        );
    }
    let outliers = json["outliers"]["sets"].as_array().unwrap();
    let names: Vec<_> = outliers.iter().map(|set| set["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["uniform noise", "inverted", "rotated by 90 degrees", "shuffled pixels", "others", "digits.idx"]
    );
    assert_eq!(
        outliers.iter().map(|set| set["count"].as_u64().unwrap()).collect::<Vec<_>>(),
        [12, 12, 12, 12, 9, 120]
    );
    // Where none are named, the data are those that the checkpoint learned from.
    let few = ["--count=4", "--device=cpu"];
    let named = works(folder, &[&model[..], &few[..1]].concat());
    let found = works(folder, &[&model[..3], &few].concat());
    let source = found.lines().find(|line| line.starts_with("Data: ")).unwrap();
    assert!(source.contains("digits.idx, which the model learned from"), "{found}");
    let figures = |text: &str| {
        text.lines().filter(|line| line.contains("samples from")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(figures(&named), figures(&found));
    assert!(!named.contains("Data: "), "{named}");
    // What is printed is what is written.
    let fid = format!("{:.3}", sets[2]["distances"]["fid"].as_f64().unwrap());
    let row = table.lines().find(|line| line.starts_with("samples from noise")).unwrap();
    assert_eq!(row.split_whitespace().nth(4), Some(fid.as_str()), "{table}");
    let auroc = format!("{:.4}", outliers[4]["auroc_energy"].as_f64().unwrap());
    let row = table.lines().find(|line| line.starts_with("others")).unwrap();
    assert_eq!(row.split_whitespace().nth(2), Some(auroc.as_str()), "{table}");
    assert!(table.lines().all(|line| line.len() <= 80), "{table}");
    // Once more, the same; with another seed, other samples.
    assert_eq!(works(folder, &all), table);
    assert_ne!(works(folder, &[&all[..], &["--seed", "1"]].concat()), table);
    let few = works(folder, &[&model[..], &["--count", "5"]].concat());
    assert!(
        few.lines()
            .any(|line| line.starts_with("held-out images") && line.split_whitespace().nth(2) == Some("5")),
        "{few}"
    );

    // Weights alone have no buffer.
    let weights = ["evaluate", "--model", GOLDEN, "--network=mnist-small", "--ignore-extra-tensors"];
    let weights = [&weights[..], &["--data=digits.idx", "--count=4", "--device=cpu"]].concat();
    let table = works(folder, &weights);
    assert!(table.contains("samples from noise") && !table.contains("samples from buffer"), "{table}");
}
