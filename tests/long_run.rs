//! How well chains mix, on chains that it is known of; and chains that run for longer than in training.

use crate::common;

use common::{Failures, Rng};
use std::f64::consts::PI;
use thalweg::data::{Images, Shape};
use thalweg::evaluate::Subject;
use thalweg::evaluate::long_run::{LongRun, LongRunMetrics, MULTIPLES, measure};
use thalweg::evaluate::mixing::{effective_size, split_r_hat};
use thalweg::kernels::draw_negatives::Noise;
use thalweg::kernels::dynamics::{Form, Interpolation};
use thalweg::network::{Activation, Analytic, Network};
use thalweg::picture::plot;
use thalweg::plan::ChainConfig;
use thalweg::random::Distribution;
use thalweg::{Device, Error, Model};

fn normal(rng: &mut Rng) -> f64 {
    let u = 1.0 - (rng.next() >> 11) as f64 / (1_u64 << 53) as f64;
    (-2.0 * u.ln()).sqrt() * (PI * rng.signed()).cos()
}

/// Chains `x <- rho x + n` around a mean each, from their stationary distribution, whose variance is 1.
fn autoregressive(rng: &mut Rng, rho: f64, n: usize, means: &[f64]) -> Vec<Vec<f64>> {
    let chain = |mean: &f64| {
        let mut x = normal(rng);
        let mut next = || {
            let now = x;
            x = rho * x + (1.0 - rho * rho).sqrt() * normal(rng);
            mean + now
        };
        (0..n).map(|_| next()).collect()
    };
    means.iter().map(chain).collect()
}

/// Of an autoregressive chain, n draws are worth n (1 - rho) / (1 + rho).
#[test]
fn the_effective_size_of_autoregressive_chains_is_known() {
    let mut failures = Failures::default();
    let (mut rng, n, means) = (Rng(1), 4000, [0.0; 8]);
    for rho in [-0.5, 0.0, 0.5, 0.8, 0.95] {
        let chains = autoregressive(&mut rng, rho, n, &means);
        let want = (n * means.len()) as f64 * (1.0 - rho) / (1.0 + rho);
        let (size, r_hat) = (effective_size(&chains), split_r_hat(&chains));
        failures.check((size / want - 1.0).abs() < 0.15, || format!("{rho}: {size}, not {want}"));
        // Its square is 1 and, about, halves over effective draws.
        let most = (1.0 + 2.0 * 16.0 / want).sqrt();
        failures.check((0.999..most).contains(&r_hat), || format!("{rho}: R-hat {r_hat}, not below {most}"));
        // Its purpose: the mean's error is that of so many independent draws.
        let error = chains.iter().flatten().sum::<f64>() / (n * means.len()) as f64 * size.sqrt();
        failures.check(error.abs() < 4.0, || format!("{rho}: the mean is {error} errors off"));
    }
    failures.assert_none();
}

#[test]
fn chains_that_do_not_mix_are_noticed() {
    let mut rng = Rng(2);
    let apart = autoregressive(&mut rng, 0.5, 400, &[0.0, 0.0, 1.5, 0.0]);
    assert!(split_r_hat(&apart) > 1.1, "{}", split_r_hat(&apart));
    assert!(effective_size(&apart) < 30.0, "{}", effective_size(&apart));
    let together = autoregressive(&mut rng, 0.5, 400, &[0.0; 4]);
    assert!(split_r_hat(&together) < 1.02, "{}", split_r_hat(&together));
    // All chains drift alike: only their halves tell.
    let drifting: Vec<Vec<f64>> =
        together.iter().map(|c| c.iter().enumerate().map(|(i, x)| x + i as f64 / 200.0).collect()).collect();
    assert!(split_r_hat(&drifting) > 1.1, "{}", split_r_hat(&drifting));
}

/// The formulas on numbers that can be followed by hand.
#[test]
fn r_hat_is_its_formula() {
    // Halves (1, 3), (2, 4), (5, 7), (6, 8): all of variance 2, means 2, 3, 6, 7, whose variance is 17/3.
    let chains = [vec![1.0, 3.0, 2.0, 4.0], vec![5.0, 7.0, 6.0, 8.0]];
    let want = ((0.5 * 2.0 + 17.0 / 3.0) / 2.0_f64).sqrt();
    assert!((split_r_hat(&chains) - want).abs() < 1e-12, "{}", split_r_hat(&chains));
    // Of an odd number of draws the middle one belongs to no half.
    let odd = [vec![1.0, 3.0, 100.0, 2.0, 4.0], vec![5.0, 7.0, -100.0, 6.0, 8.0]];
    assert_eq!(split_r_hat(&odd), split_r_hat(&chains));
    assert!(split_r_hat(&[vec![1.0; 8], vec![2.0; 8]]).is_infinite());
    for nothing in
        [vec![], vec![vec![1.0, 2.0, 3.0]], vec![vec![1.0; 8]; 2], vec![vec![f64::NAN, 1.0, 2.0, 3.0]]]
    {
        assert!(split_r_hat(&nothing).is_nan() && effective_size(&nothing).is_nan(), "{nothing:?}");
    }
    assert!(effective_size(&[vec![1.0; 8], vec![2.0; 8]]).is_nan());
}

/// ArviZ's own figures (`tests/golden/mixing.py`), of chains that mix well, badly and not at all, and of few draws.
#[test]
fn r_hat_and_effective_size_are_arvizs() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("golden/mixing.json")).unwrap();
    let mut failures = Failures::default();
    let cases = golden["cases"].as_array().unwrap();
    for case in cases {
        let chains: Vec<Vec<f64>> = serde_json::from_value(case["chains"].clone()).unwrap();
        let of = [("ess", effective_size(&chains)), ("r_hat", split_r_hat(&chains))];
        for (key, found) in of.into_iter().filter(|(key, _)| !case[key].is_null()) {
            let want = case[key].as_f64().unwrap();
            failures.check((found / want - 1.0).abs() < 1e-9, || {
                format!("{}, {key}: {found}, not {want}", case["name"])
            });
        }
    }
    assert!(cases.len() > 20);
    failures.assert_none();
}

const POINT: Shape = Shape { channels: 2, height: 1, width: 1 };

fn analytic(energy: Analytic) -> Model {
    let network = Network::builder("known", [2, 1, 1]).analytic(energy).build().unwrap();
    Model { network, parameters: Vec::new() }
}

fn chain_config(steps: u32, step_size: f32) -> ChainConfig {
    ChainConfig {
        steps,
        form: Form::Mala,
        step_size,
        gradient_clip: 0.0,
        clamp: 0.0,
        start: Noise { distribution: Distribution::Uniform, scale: 4.0, bound: f32::INFINITY },
        ..ChainConfig::default()
    }
}

fn run(
    device: &Device,
    model: &Model,
    chain_config: &ChainConfig,
    chains: usize,
) -> (LongRun, Vec<(u32, Images)>) {
    let held_out = Images { shape: model.network.input, values: vec![0.5; 6 * model.network.input.len()] };
    let subject = Subject { device, model, chain_config, held_out: &held_out, seed: 3 };
    let (mut calls, mut steps) = (0.0, Vec::new());
    let found = pollster::block_on(measure(
        &subject,
        chain_config,
        chains,
        async |images: &Images| {
            assert_eq!(images.count(), chains);
            calls += 1.0;
            Ok(Some(calls))
        },
        |done, all| steps.push((done, all)),
    ));
    let all = 100 * chain_config.steps;
    assert!(
        steps.is_sorted() && steps.iter().all(|s| s.1 == all) && steps[steps.len() - 1].0 == all,
        "{steps:?}"
    );
    found.unwrap()
}

/// Exact chains of a Gaussian: E has mean 1 and variance 1, and 10 and 100 lengths are enough to tell; what does not
/// get away from one of many deep wells is told, too.
#[test]
fn chains_that_settle_are_told_from_those_that_do_not() {
    let mut failures = Failures::default();
    // Fewer steps on the adapter, that are worth less each.
    let cases = [(Device::cpu(), 400, 40, [20, 100, 100], 0.8), (common::gpu(), 64, 10, [5, 50, 100], 0.3)];
    for (device, chains, steps, draws, least) in cases {
        let (good, frames) = run(&device, &analytic(Analytic::Gaussian), &chain_config(steps, 0.3), chains);
        println!("{good}");
        failures.check(good.lengths.iter().map(|l| l.multiple).eq(MULTIPLES), || format!("{good}"));
        failures.check(good.lengths.iter().map(|l| l.steps).eq([1, 10, 100].map(|n| n * steps)), || {
            format!("{good}")
        });
        failures.check(frames.iter().map(|f| f.0).eq([1, 10, 100].map(|n| n * steps)), || format!("{good}"));
        failures.check(good.lengths.iter().map(|l| l.figures.fid).eq([1.0, 2.0, 3.0].map(Some)), || {
            format!("{good}")
        });
        failures
            .check(good.lengths.iter().map(|l| l.draws).eq(draws.map(|n| n * chains)), || format!("{good}"));
        // Held out: six times (0.5, 0.5), of energy (0.25 + 4 * 0.25) / 2.
        let LongRunMetrics {
            energy_mean, energy_std, pixel_mean, pixel_std, saturated, not_finite, fid, ..
        } = good.held_out;
        let want = [0.625, 0.0, 0.5, 0.0, 0.0, 0.0];
        let got = [energy_mean, energy_std, pixel_mean, pixel_std, saturated, not_finite];
        failures.close("held out", &got, &want, 1e-6, 0.0);
        failures.check(fid.is_none(), || "FID of the held-out images".to_owned());
        for length in &good.lengths[1..] {
            let error = 4.5 / (chains as f64).sqrt();
            let f = length.figures;
            failures.check((f.energy_mean - 1.0).abs() < error, || format!("{good}"));
            // Of an exponential: the variance's own deviation is sqrt(8).
            failures.check((f.energy_std.powi(2) - 1.0).abs() < 8.0_f64.sqrt() * error, || format!("{good}"));
            failures.check((f.pixel_std - 0.625_f64.sqrt()).abs() < error, || format!("{good}"));
            failures.check(length.r_hat < 1.1, || format!("{good}"));
        }
        let independent = good.lengths[2].effective_size / good.lengths[2].draws as f64;
        failures.check((least..1.3).contains(&independent), || format!("{good}"));
        // The tail beyond 1, of variances 1 and 1/4.
        let beyond = f64::midpoint(0.3173, 0.0455);
        let error = 4.5 * (beyond / 2.0 / chains as f64).sqrt() + 0.001;
        failures.check((good.lengths[2].figures.saturated - beyond).abs() < error, || format!("{good}"));

        let (bad, _) = run(&device, &analytic(Analytic::Rastrigin), &chain_config(steps, 0.005), chains);
        println!("{bad}");
        failures.check(bad.lengths.iter().all(|l| l.r_hat > 1.1), || format!("{bad}"));
        failures
            .check(bad.lengths[2].effective_size < 0.1 * bad.lengths[2].draws as f64, || format!("{bad}"));
        let steps: Vec<u32> = bad.moments.iter().map(|m| m.step).collect();
        failures.check(steps.is_sorted_by(|a, b| a < b) && steps[0] == 0, || format!("{steps:?}"));
        failures.check(bad.moments.iter().all(|m| m.low <= m.median && m.median <= m.high), || {
            format!("{bad:?}")
        });
    }
    failures.assert_none();
}

/// Step sizes that changed over training stay at their end; a short chain in training is no trouble; the same seed gives the
/// same figures.
#[test]
fn chains_are_those_of_the_end_of_training() {
    let model = analytic(Analytic::DoubleWell);
    let device = Device::cpu();
    let plain = chain_config(1, 0.2);
    let changing =
        ChainConfig { step_size: 7.0, step_size_end: 0.2, noise: 0.3, noise_end: 0.1, levels: 9, ..plain };
    let (a, frames) = run(&device, &model, &plain, 5);
    let (b, _) = run(&device, &model, &changing, 5);
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
    assert_eq!(frames.len(), 3);
    assert!(a.lengths[0].r_hat.is_nan() && a.lengths[2].r_hat.is_finite());
}

/// Annealed chains are looked at without noise, at each length: those that go through levels denoise at the last one, those
/// that stay at one level never.
#[test]
fn annealed_chains_are_cleaned_of_their_last_noise() {
    // E = w sum x: x is normal around -w / sigma with variance 1, in steps of 0.1 rather 0.957, and x0 = alpha x - s w.
    let network = Network::builder("plane", [1, 4, 4]).dense(1).build().unwrap();
    let (w, sigma) = (0.1_f64, 0.5_f64);
    let model = Model { parameters: [vec![w as f32; 16], vec![0.0]].concat(), network };
    let annealed = ChainConfig {
        steps: 30,
        form: Form::Annealed,
        step_size: 0.1,
        noise: 5.0,
        noise_end: 0.5,
        interpolation: Interpolation::Geometric,
        levels: 30,
        clamp: 0.0,
        gradient_clip: 0.0,
        start: Noise { distribution: Distribution::Normal, scale: 1.0, bound: f32::INFINITY },
        ..ChainConfig::default()
    };
    let staying = ChainConfig { noise: 0.5, noise_end: 0.0, ..annealed };
    for chain_config in [annealed, staying] {
        let (found, frames) = run(&Device::cpu(), &model, &chain_config, 500);
        println!("{found}");
        assert!(frames.iter().map(|f| f.0).eq([30, 300, 3000]));
        let alpha = 1.0 / (1.0 + sigma * sigma).sqrt();
        for length in &found.lengths {
            let f = length.figures;
            assert!((f.pixel_std - alpha * 0.957_f64.sqrt()).abs() < 0.03, "{found}");
            assert!((f.energy_mean - 16.0 * w * f.pixel_mean).abs() < 1e-4, "{found}");
            // Of the same images as the picture's line.
            let seen = found.moments.iter().find(|m| m.step == length.steps).unwrap();
            assert!((seen.median - f.energy_mean).abs() < 0.05, "{seen:?} {found}");
            let mean = -alpha * w / sigma - sigma * alpha * w;
            // The first length is too short to come there.
            assert!(length.multiple == 1 || (f.pixel_mean - mean).abs() < 0.04, "{mean}: {found}");
        }
        // On the way through the levels nothing is a draw of anything.
        let through = chain_config.changes();
        let first = if through { 0 } else { 15 };
        assert!(found.lengths.iter().map(|l| l.draws).eq([first, 100, 100].map(|n| n * 500)), "{found}");
    }
}

#[test]
fn saturated_and_diverged_chains_are_counted() {
    // A plane that falls to one corner: all chains end at the walls.
    let network = Network::builder("plane", [1, 4, 4]).dense(1).build().unwrap();
    let mut parameters = vec![3.0; network.n_parameters];
    let slide = ChainConfig {
        steps: 10,
        form: Form::NoiseLast,
        step_size: 0.1,
        noise: 0.01,
        gradient_clip: 0.0,
        ..ChainConfig::default()
    };
    let device = Device::cpu();
    let (found, frames) =
        run(&device, &Model { network: network.clone(), parameters: parameters.clone() }, &slide, 6);
    let end = found.lengths[2].figures;
    assert!(end.saturated > 0.4 && end.pixel_mean < -0.98, "{found}");
    assert_eq!(found.held_out.saturated, 0.0);
    let picture = plot::long_run(&found, &frames);
    assert!(picture.width() > 900 && picture.height() > 500, "{:?}", picture.dimensions());

    parameters[0] = f32::INFINITY;
    let free = ChainConfig { clamp: 0.0, ..slide };
    let (found, frames) = run(&device, &Model { network, parameters }, &free, 6);
    assert!(found.lengths[2].figures.not_finite > 0.0, "{found:?}");
    assert!(found.to_string().contains("not finite") && found.lengths[2].r_hat.is_nan(), "{found}");
    plot::long_run(&found, &frames);
    // What is not a number is null.
    assert!(serde_json::to_value(&found).unwrap()["lengths"][2]["r_hat"].is_null());
}

#[test]
fn the_picture_shows_chains_and_held_out_images() {
    let network = Network::builder("images", [1, 8, 8])
        .conv(2, 3)
        .activation(Activation::Swish)
        .dense(1)
        .build()
        .unwrap();
    let mut rng = Rng(4);
    let parameters = (0..network.n_parameters).map(|_| 0.3 * rng.signed() as f32).collect();
    let model = Model { network, parameters };
    let (found, frames) =
        run(&Device::cpu(), &model, &ChainConfig { steps: 5, ..ChainConfig::default() }, 12);
    let picture = plot::long_run(&found, &frames);
    let count = |colour: [u8; 3]| {
        let near = |p: &&image::Rgb<u8>| p.0.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 25);
        picture.pixels().filter(near).count()
    };
    assert!(count([232, 106, 16]) > 400, "orange: {}", count([232, 106, 16]));
    assert!(count([20, 126, 214]) > 300, "blue: {}", count([20, 126, 214]));
    // Points have no rows of images.
    let (of_points, frames) = run(&Device::cpu(), &analytic(Analytic::Gaussian), &chain_config(2, 0.2), 4);
    assert!(plot::long_run(&of_points, &frames).height() + 200 < picture.height());
    assert_eq!(frames[0].1.shape, POINT);
}

#[test]
fn what_can_t_be_is_refused() {
    let model = analytic(Analytic::Gaussian);
    let held_out = Images { shape: POINT, values: vec![0.0; 4] };
    for (chains, steps) in [(1, 5), (4, 0)] {
        let (device, chain_config) = (Device::cpu(), chain_config(steps, 0.1));
        let subject = Subject {
            device: &device,
            model: &model,
            chain_config: &chain_config,
            held_out: &held_out,
            seed: 0,
        };
        let found = pollster::block_on(measure(
            &subject,
            &chain_config,
            chains,
            async |_: &Images| Ok(None),
            |_, _| (),
        ));
        assert!(matches!(found, Err(Error::Usage(text)) if text.contains(&format!("{chains} chains"))));
    }
}
