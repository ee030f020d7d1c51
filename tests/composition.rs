//! Several energies as one, and chains of which a part is known: held against densities that are known, on the CPU and on a GPU.

use crate::common::{self, Rng, works};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use thalweg::data::toy::{POINT, Toy};
use thalweg::data::{Images, Shape};
use thalweg::device::{ChainPath, Chains, Device, Executor, compare::compare};
use thalweg::kernels::State;
use thalweg::kernels::draw_negatives::Noise;
use thalweg::kernels::dynamics::{Form, Interpolation};
use thalweg::network::{Analytic, Network};
use thalweg::plan::{ChainConfig, Target, Term, sampler_plan_of};
use thalweg::random::Distribution;
use thalweg::sampling::{denoised, denoising_chain, mean_and_deviation};
use thalweg::{Composition, EnergyModel, Model, Sampler};

fn analytic(energy: Analytic) -> Model {
    Model::analytic(&format!("analytic:{}", energy.name())).unwrap().0
}

fn composition(terms: &[(Analytic, f32)]) -> Composition {
    Composition::new(terms.iter().map(|(energy, weight)| (analytic(*energy), *weight)).collect()).unwrap()
}

/// A network of images with random weights.
fn image_model(seed: u64) -> Model {
    let network = common::odd_network();
    let parameters = network.initial_parameters(seed).iter().map(|p| 1.5 * p + 0.01).collect();
    Model { network, parameters }
}

fn chain_config(form: Form, step_size: f32) -> ChainConfig {
    let start = Noise { distribution: Distribution::Uniform, scale: 4.0, bound: f32::INFINITY };
    let base =
        ChainConfig { form, step_size, gradient_clip: 0.0, clamp: 0.0, start, ..ChainConfig::default() };
    match form {
        Form::Annealed => ChainConfig {
            noise: 3.0,
            noise_end: 0.5,
            interpolation: Interpolation::Geometric,
            levels: 9,
            stay: Some(4),
            stay_step_size: 0.1,
            ..base
        },
        _ => base,
    }
}

const FORMS: [(Form, f32); 5] = [
    (Form::NoiseFirst, 0.2),
    (Form::NoiseLast, 0.2),
    (Form::Theory, 0.1),
    (Form::Mala, 0.1),
    (Form::Annealed, 0.05),
];

fn by_layers() -> Device {
    let Device::Gpu(gpu, chains) = common::gpu() else { panic!("a GPU") };
    Device::Gpu(gpu, Chains { asked: ChainPath::Layers, ..chains })
}

/// Where chains end, with their energies.
fn ends(
    device: &Device,
    energy: &Composition,
    count: usize,
    config: &ChainConfig,
    steps: &[u32],
) -> [Vec<f32>; 2] {
    pollster::block_on(async {
        let mut sampler = Sampler::new(device, energy, count, config, 7).await.unwrap();
        steps.iter().for_each(|steps| sampler.run(*steps).unwrap());
        [sampler.images().await.unwrap().values, sampler.energies().await.unwrap()]
    })
}

// ---- densities

/// Cells of a histogram of [-6, 6]^2, each way.
const CELLS: usize = 15;
const SIDE: f64 = 6.0;

fn total_variation(points: &[f32], log_density: impl Fn([f32; 2]) -> f64) -> f64 {
    let cell = |v: f64| ((v + SIDE) / (2.0 * SIDE) * CELLS as f64) as usize;
    let (mut found, mut want) = (vec![0.0; CELLS * CELLS], vec![0.0; CELLS * CELLS]);
    let mut outside = 0.0;
    for point in points.chunks(2) {
        match [point[0], point[1]].map(f64::from) {
            [x, y] if x.abs() < SIDE && y.abs() < SIDE => found[cell(x) * CELLS + cell(y)] += 1.0,
            _ => outside += 1.0,
        }
    }
    // Midpoints of 20 by 20 squares in each cell.
    let n = 20 * CELLS;
    let at = |i: usize| (i as f64 + 0.5) / n as f64 * 2.0 * SIDE - SIDE;
    for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
        want[i / 20 * CELLS + j / 20] += log_density([at(i) as f32, at(j) as f32]).exp();
    }
    let (all, z) = (points.len() as f64 / 2.0, want.iter().sum::<f64>());
    0.5 * (outside / all + found.iter().zip(&want).map(|(n, p)| (n / all - p / z).abs()).sum::<f64>())
}

/// MALA's chains of the product, and of a quotient, of two mixtures of Gaussians.
#[test]
fn the_density_is_the_product_of_powers() {
    let [five, eight] =
        [Toy::FiveGaussians, Toy::EightGaussians].map(|toy| move |x| toy.log_density(x).unwrap());
    let config = chain_config(Form::Mala, 0.5);
    for [of_five, of_eight] in [[0.15, 0.1], [0.25, -0.1]] {
        let sum = composition(&[(Analytic::FiveGaussians, of_five), (Analytic::EightGaussians, of_eight)]);
        let [points, energies] = ends(&Device::cpu(), &sum, 50_000, &config, &[1000]);
        let [of_five, of_eight] = [of_five, of_eight].map(f64::from);
        let distance = total_variation(&points, |x| of_five * five(x) + of_eight * eight(x));
        println!("{of_five} and {of_eight}: {distance:.4}");
        assert!(distance < 0.05, "{of_five} and {of_eight}: {distance}");
        // Each alone, and half of a weight, are other densities.
        for wrong in [[of_five, 0.0], [of_five, of_eight / 2.0], [of_five, -of_eight]] {
            let distance = total_variation(&points, |x| wrong[0] * five(x) + wrong[1] * eight(x));
            assert!(distance > 0.05, "{wrong:?} passes: {distance}");
        }
        for (point, energy) in points.chunks(2).zip(energies) {
            let x = [point[0], point[1]];
            let want = -of_five * five(x) - of_eight * eight(x);
            assert!(
                (f64::from(energy) - want).abs() < 1e-4 * want.abs().max(1.0),
                "{x:?}: {energy}, not {want}"
            );
        }
    }
}

/// At a noise level the product's exponent is `W |x|^2/2 + sum_k w_k E_k(x)/sigma`, `W` the sum of the weights.
#[test]
fn the_base_of_a_noise_level_appears_with_every_weight() {
    let (sigma, n) = (0.8_f64, 10_000);
    let still = ChainConfig { noise_end: 0.0, stay_step_size: 0.0, ..chain_config(Form::Annealed, 0.01) };
    let config = ChainConfig { noise: sigma as f32, ..still };
    for weights in [[1.0_f32, 1.0], [-0.5, 1.5], [0.5, 0.25]] {
        let sum = composition(&[(Analytic::Gaussian, weights[0]), (Analytic::DoubleWell, weights[1])]);
        let [points, _] = ends(&Device::cpu(), &sum, n, &config, &[2400]);
        let [a, b] = weights.map(f64::from);
        let energies: [&dyn Fn(f64) -> f64; 2] =
            [&|x: f64| a * x * x / 2.0 + 2.0 * b * (x * x - 1.0).powi(2), &|x: f64| {
                (4.0 * a + b) * x * x / 2.0
            }];
        for (i, energy) in energies.iter().enumerate() {
            let variance = |base: f64| {
                let grid = (-4000..=4000).map(|k| f64::from(k) * 2e-3);
                let weighed = grid.map(|x| (x, (-base * x * x / 2.0 - energy(x) / sigma).exp()));
                let (z, square) = weighed.fold((0.0, 0.0), |(z, square), (x, p)| (z + p, square + p * x * x));
                square / z
            };
            let found = points[i..].iter().step_by(2).map(|x| f64::from(*x).powi(2)).sum::<f64>() / n as f64;
            let [want, once] = [a + b, 1.0].map(variance);
            println!("{weights:?} {i}: {found:.4}, {want:.4}; with the base once {once:.4}");
            assert!((found / want - 1.0).abs() < 0.06, "{weights:?}: {i}: {found}, not {want}");
            // The base of one model alone is another density.
            assert!(weights != [1.0, 1.0] || i == 0 || (once / want - 1.0).abs() > 0.12);
        }
    }
}

// ---- bits

/// A model taken as two halves is that model, whatever the form; the same seed gives the same bits, however steps are shared.
#[test]
fn halves_of_a_model_are_the_model() {
    for device in [Device::cpu(), by_layers()] {
        for (form, step_size) in FORMS {
            let config = chain_config(form, step_size);
            for model in [image_model(3), analytic(Analytic::FiveGaussians)] {
                let halves = Composition::new(vec![(model.clone(), 0.5), (model.clone(), 0.5)]).unwrap();
                let name = &model.network.name;
                let want = ends(&device, &(&model).into(), 19, &config, &[13]);
                assert!(want[0].iter().all(|x| x.is_finite()), "{name} {form:?}");
                assert_eq!(ends(&device, &halves, 19, &config, &[13]), want, "{name} {form:?} on {device}");
                assert_eq!(ends(&device, &halves, 19, &config, &[4, 9]), want, "{name} {form:?} on {device}");
                let other = Composition::new(vec![(model.clone(), 0.5), (model, 0.4)]).unwrap();
                assert_ne!(ends(&device, &other, 19, &config, &[13])[1], want[1]);
            }
        }
    }
}

/// Every launch of a plan of several networks, and with known values, is its twin's on a GPU.
#[test]
fn plans_are_the_same_on_a_gpu() {
    let (device, [a, b]) = (by_layers(), [image_model(3), image_model(4)]);
    for (form, step_size) in FORMS {
        let config = chain_config(form, step_size);
        let terms = [(&a, 1.0), (&b, -0.25)].map(|(model, weight)| Term {
            network: &model.network,
            weight,
            gradient_weight: weight,
        });
        let plan = sampler_plan_of(&terms, (19, 19), &config, (&[2], true), Target::gpu(19));
        let report = pollster::block_on(async {
            let mut executor = Executor::new(&device, plan.plan.clone()).await.unwrap();
            for (pass, model) in plan.sum.terms.iter().zip([&a, &b]) {
                executor.write_floats(pass.parameters, &model.parameters);
            }
            let known = plan.known.unwrap();
            let mask: Vec<f32> = (0..plan.plan.len_of(known.mask)).map(|f| (f % 3 / 2) as f32).collect();
            executor.write_floats(known.mask, &mask);
            let state = State { seed_low: 5, ..State::default() };
            executor.write(plan.state, 0, bytemuck::cast_slice(&[state]));
            executor.run(plan.start).unwrap();
            executor.run(plan.noise).unwrap();
            compare(&mut executor, plan.chains[0].1).await.unwrap()
        });
        assert!(report.first_mismatch().is_none(), "{form:?}: {report}");
    }
}

// ---- known values

/// With `x` known, Rosenbrock's `y` is normal around `x^2` with variance 1/200; nothing else than `x` stays.
#[test]
fn known_values_stay_and_the_others_have_the_conditional_density() {
    let starts: Vec<f32> = (0..20_000).flat_map(|i| [0.5 + (i % 4) as f32 * 0.25, 7.0]).collect();
    let known = Images { shape: POINT, values: starts };
    for (form, step_size, steps) in [(Form::Mala, 0.006, 400), (Form::Theory, 0.0005, 400)] {
        let config = chain_config(form, step_size);
        let (images, accepted) = pollster::block_on(async {
            let device = Device::cpu();
            let model = analytic(Analytic::Rosenbrock);
            let given = (&known, &[true, false][..]);
            let mut sampler = Sampler::inpainting(&device, &model, given, 1, &config, 3).await.unwrap();
            // Far from where they belong, all proposals would be rejected.
            sampler.start_from(&Images { values: vec![0.0; known.values.len()], ..known.clone() }).unwrap();
            sampler.run(steps).unwrap();
            (sampler.images().await.unwrap(), sampler.acceptance().await.unwrap())
        });
        assert_eq!(accepted.is_some(), form == Form::Mala);
        assert!(images.values.iter().step_by(2).eq(known.values.iter().step_by(2)), "{form:?}");
        for k in 0..4 {
            let x = 0.5 + 0.25 * k as f64;
            let y = images.values[2 * k + 1..].iter().step_by(8).map(|y| f64::from(*y) - x * x);
            let (mut n, mut sum, mut square) = (0.0, 0.0, 0.0);
            y.for_each(|y| (n, sum, square) = (n + 1.0, sum + y, square + y * y));
            let deviation = (1.0_f64 / 200.0).sqrt();
            assert!((sum / n).abs() < 4.5 * deviation / 5000_f64.sqrt(), "{form:?} at {x}: mean {}", sum / n);
            assert!((square / n * 200.0 - 1.0).abs() < 0.1, "{form:?} at {x}: variance {}", square / n);
        }
    }
}

/// On the way down known values are blurred to the chain's level, and at the end are what they are.
#[test]
fn known_values_are_blurred_to_the_level() {
    let model = image_model(3);
    let shape = model.network.input;
    let mut rng = Rng(5);
    let values: Vec<f32> = rng.signeds(4 * shape.len()).iter().map(|v| *v as f32).collect();
    let images = Images { shape, values };
    let mask: Vec<bool> = (0..shape.len()).map(|i| i % 3 != 0).collect();
    let config = chain_config(Form::Annealed, 0.05);
    for device in [Device::cpu(), by_layers()] {
        pollster::block_on(async {
            let draws = 40;
            let mut sampler =
                Sampler::inpainting(&device, &model, (&images, &mask), draws, &config, 3).await.unwrap();
            for (run, sigma) in [(2, 3.0 * (0.5_f64 / 3.0).powf(0.25)), (6, 0.5), (5, 0.0)] {
                sampler.run(run).unwrap();
                let found = sampler.images().await.unwrap();
                let alpha = 1.0 / (1.0 + sigma * sigma).sqrt();
                let (mut n, mut sum, mut square) = (0.0, 0.0, 0.0);
                for (i, found) in found.values.chunks(shape.len()).enumerate() {
                    let known = images.image(i / draws);
                    for j in (0..shape.len()).filter(|j| mask[*j]) {
                        let away = f64::from(found[j]) - alpha * f64::from(known[j]);
                        (n, sum, square) = (n + 1.0, sum + away, square + away * away);
                    }
                }
                let variance = (sigma * alpha).powi(2);
                assert!((sum / n).abs() <= 4.5 * (variance / n).sqrt() + 1e-7, "{sigma}: mean {}", sum / n);
                let spread = 4.5 * variance * (2.0 / n).sqrt() + 1e-12;
                assert!((square / n - variance).abs() <= spread, "{sigma}: {} for {variance}", square / n);
            }
            let [mean, deviation] = mean_and_deviation(&sampler.images().await.unwrap(), draws);
            assert_eq!((mean.count(), deviation.count()), (4, 4));
            for (j, deviation) in deviation.values.iter().enumerate() {
                assert_eq!(mask[j % shape.len()], *deviation == 0.0, "value {j}: {deviation}");
            }
        });
    }
}

// ---- denoising

/// With data of variance `v` the images under a noisy `y` are normal around `v/(v + S^2) y` with variance `v S^2/(v + S^2)`.
#[test]
fn draws_under_a_noisy_point_are_those_of_the_posterior() {
    // The energy's gradient is the mean of `alpha n - s x`, given the blurred `x`. That is no multiple of `x` that is the same
    // at every level but for one: v = 1, where it is 0. A bowl so wide that it is flat is this energy.
    let flat = Network::builder("flat", [1, 1, 1]).dense(1).build().unwrap();
    let model = Model { network: flat, parameters: vec![0.0; 2] };
    let shape = Shape { channels: 1, height: 1, width: 1 };
    let (level, draws) = (0.8_f32, 20_000);
    let noisy = Images { shape, values: vec![1.5, -0.4] };
    let base = ChainConfig { noise: 5.0, levels: 400, noise_end: 0.01, ..chain_config(Form::Annealed, 0.05) };
    let config = denoising_chain(&base, level, None).unwrap();
    assert!((config.steps as f64 - 400.0 * 80_f64.ln() / 500_f64.ln()).abs() < 1.0, "{}", config.steps);
    let images = pollster::block_on(async {
        let device = Device::cpu();
        let mut sampler = Sampler::denoising(&device, &model, &noisy, draws, &config, 1).await.unwrap();
        sampler.run(config.steps).unwrap();
        sampler.images().await.unwrap()
    });
    let [mean, deviation] = mean_and_deviation(&images, draws);
    let (square, share) = (f64::from(level).powi(2), 1.0 / (1.0 + f64::from(level).powi(2)));
    for (i, y) in noisy.values.iter().enumerate() {
        let [want, spread] = [share * f64::from(*y), (share * square).sqrt()];
        let [mean, deviation] = [&mean, &deviation].map(|of| f64::from(of.values[i]));
        assert!(
            (mean - want).abs() < 4.5 * spread / f64::from(draws as u32).sqrt() + 0.005,
            "{mean}, not {want}"
        );
        assert!((deviation / spread - 1.0).abs() < 0.03, "{deviation}, not {spread}");
    }
    // A level at the chain's end takes one step, to the estimate of the clean image.
    let single = denoising_chain(&base, 0.01, None).unwrap();
    assert_eq!(single.steps, 1);
    let (found, want) = pollster::block_on(async {
        let device = Device::cpu();
        let mut sampler = Sampler::denoising(&device, &model, &noisy, 1, &single, 1).await.unwrap();
        let start = sampler.images().await.unwrap();
        sampler.run(1).unwrap();
        let mut energies = EnergyModel::new(&device, &model).await.unwrap();
        let want = denoised(&mut energies, start, &single, 0.01).await.unwrap();
        (sampler.images().await.unwrap(), want)
    });
    common::assert_near(&found.values, &want.values, 1e-6);
}

// ---- refusals

#[test]
fn what_has_no_common_energy_is_refused() {
    let text = |error: thalweg::Error| error.to_string();
    let of = |terms| text(Composition::new(terms).unwrap_err());
    let [gaussian, image] = [analytic(Analytic::Gaussian), image_model(1)];
    assert!(of(Vec::new()).contains("0 models"));
    assert!(of(vec![(gaussian.clone(), 1.0), (image.clone(), 1.0)]).contains("model 2 takes"));
    for weight in [0.0, f32::NAN, f32::INFINITY] {
        assert!(of(vec![(gaussian.clone(), weight)]).contains("other than 0"));
    }
    let mut standardised = gaussian.clone();
    let points = Images { shape: POINT, values: vec![1.0, 2.0, 3.0, 5.0] };
    standardised.network.standard = Some(thalweg::data::standard::Standard::of(&points));
    assert!(of(vec![(gaussian.clone(), 1.0), (standardised, 1.0)]).contains("deviation 1"));

    pollster::block_on(async {
        let device = Device::cpu();
        let quotient = Composition::new(vec![(gaussian.clone(), 1.0), (gaussian.clone(), -1.0)]).unwrap();
        let annealed = chain_config(Form::Annealed, 0.05);
        let error = Sampler::new(&device, &quotient, 2, &annealed, 0).await.unwrap_err();
        assert!(text(error).contains("weights sum to 0"));
        let theory = chain_config(Form::Theory, 0.05);
        assert!(Sampler::new(&device, &quotient, 2, &theory, 0).await.is_ok());
        let mut energies = EnergyModel::new(&device, &quotient).await.unwrap();
        assert!(text(energies.set_parameters(&[]).unwrap_err()).contains("of several"));

        let images = Images { shape: image.network.input, values: vec![0.0; image.network.input.len()] };
        for (mask, word) in [(vec![true; 3], "3 values"), (vec![true; images.values.len()], "all is known")] {
            let given = (&images, &mask[..]);
            let error = Sampler::inpainting(&device, &image, given, 1, &annealed, 0).await.unwrap_err();
            assert!(text(error).contains(word), "{word}");
        }
        let error = Sampler::denoising(&device, &image, &images, 1, &theory, 0).await.unwrap_err();
        assert!(text(error).contains("noise levels"));
        for (level, steps) in [(0.0, None), (f32::NAN, None), (1.0, Some(0))] {
            assert!(text(denoising_chain(&annealed, level, steps).unwrap_err()).contains("above 0"));
        }
    });
}

// ---- commands

/// A tiny model of noise levels.
fn train_levels(folder: &Path, out: &str, seed: &str) -> Model {
    let layers = "{ conv = 4, kernel = 5, stride = 4, activation = \"swish\" }, { dense = 1 }";
    fs::write(folder.join("net.toml"), common::network_toml("[1, 28, 28]", layers)).unwrap();
    let sampling = ["--set=sample.count=2", "--set=sample.steps=4", "--set=sample.stay=2"];
    let more = ["--config=net.toml", "--steps=3", "--device=cpu", "--set=train.batch=8", "--out", out, seed];
    works(folder, &[&["train"], &more[..], &sampling].concat());
    Model::load(folder.join(out).join("checkpoint.safetensors"), None).unwrap()
}

fn images_of(path: &Path) -> Images {
    // Draws may go beyond the range that images are read in.
    Images { shape: Shape { channels: 1, height: 28, width: 28 }, values: common::read_npy(path).1 }
}

#[test]
fn commands_are_the_librarys() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let a = train_levels(folder, "a", "--seed=1");
    let b = train_levels(folder, "b", "--seed=2");
    let models = ["--model=a/checkpoint.safetensors", "--model=b/checkpoint.safetensors", "--device=cpu"];
    let weighted = |command: &str, weights: &str, more: &[&str]| {
        works(folder, &[&[command, "--weights", weights][..], &models, more].concat())
    };
    let weights = thalweg::checkpoint::Weights::Average;
    let recipe = Model::load_with_recipe(folder.join("a/checkpoint.safetensors"), None, weights).unwrap().1;
    let (config, device) = (recipe.sampling_chain(), Device::cpu());
    let sum =
        |weights: [f32; 2]| Composition::new(vec![(a.clone(), weights[0]), (b.clone(), weights[1])]).unwrap();

    let said = weighted("sample", "-0.5,1.25", &["--count=3", "--npy=s.npy", "--energies=e.csv"]);
    assert!(said.contains("-0.5 x a/checkpoint.safetensors + 1.25 x b/checkpoint.safetensors"), "{said}");
    let numbers = fs::read_to_string(folder.join("e.csv")).unwrap();
    pollster::block_on(async {
        let mut sampler = Sampler::new(&device, &sum([-0.5, 1.25]), 3, &config, 0).await.unwrap();
        sampler.run(6).unwrap();
        assert_eq!(images_of(&folder.join("s.npy")).values, sampler.images().await.unwrap().values);
        let energies = sampler.energies().await.unwrap();
        let column =
            numbers.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse::<f32>().unwrap());
        assert!(column.eq(energies));
    });

    // The left half is known.
    let mut mask = image::GrayImage::new(28, 28);
    mask.enumerate_pixels_mut().for_each(|(x, _, pixel)| pixel.0 = [if x < 14 { 255 } else { 0 }]);
    mask.save(folder.join("mask.png")).unwrap();
    let halves: Vec<f32> = (0..784).map(|i| if i % 28 < 14 { 1.0 } else { 0.0 }).collect();
    thalweg::data::npy::write_f32(folder.join("mask.npy"), &[28, 28], &halves).unwrap();
    let given = ["--input=digits", "--count=3", "--draws=2", "--mean=m.npy", "--deviation=v.npy"];
    let said = weighted("inpaint", "1,1", &[&given[..], &["--mask=mask.png", "--npy=d.npy"]].concat());
    assert!(said.contains("392 of 784 pixels are known") && said.contains("Wrote inpaint.png"), "{said}");
    let [draws, mean, deviation] = ["d.npy", "m.npy", "v.npy"].map(|name| images_of(&folder.join(name)));
    assert_eq!([draws.count(), mean.count(), deviation.count()], [6, 3, 3]);
    let digits = thalweg::Dataset::open("digits").unwrap().held_out.pick(0..3);
    for (i, draw) in draws.values.chunks(784).enumerate() {
        let known = |image: &[f32]| -> Vec<f32> {
            image.iter().zip(&halves).filter(|(_, known)| **known == 1.0).map(|(v, _)| *v).collect()
        };
        assert_eq!(known(draw), known(digits.image(i / 2)));
        assert!(known(deviation.image(i / 2)).iter().all(|v| *v == 0.0));
        assert_ne!(draw, digits.image(i / 2));
    }
    pollster::block_on(async {
        let mask: Vec<bool> = halves.iter().map(|known| *known == 1.0).collect();
        let sum = sum([1.0, 1.0]);
        let mut sampler = Sampler::inpainting(&device, &sum, (&digits, &mask), 2, &config, 0).await.unwrap();
        sampler.run(6).unwrap();
        assert_eq!(draws.values, sampler.images().await.unwrap().values);
    });
    weighted("inpaint", "1,1", &[&given[..], &["--mask=mask.npy", "--npy=again.npy"]].concat());
    assert_eq!(images_of(&folder.join("again.npy")), draws);
    assert!(folder.join("inpaint-1.png").exists());

    let said = weighted(
        "denoise",
        "0.5,0.5",
        &[&given[..], &["--noise-level=1.5", "--steps=7", "--npy=d.npy"]].concat(),
    );
    assert!(said.contains("after 7 steps") && said.contains("levels 1.5 to 0.5"), "{said}");
    pollster::block_on(async {
        let chain = denoising_chain(&config, 1.5, Some(7)).unwrap();
        let sum = sum([0.5, 0.5]);
        let mut sampler = Sampler::denoising(&device, &sum, &digits, 2, &chain, 0).await.unwrap();
        sampler.run(7).unwrap();
        let draws = sampler.images().await.unwrap();
        assert_eq!(images_of(&folder.join("d.npy")).values, draws.values);
        assert_eq!(images_of(&folder.join("m.npy")).values, mean_and_deviation(&draws, 2)[0].values);
    });
}

#[test]
fn bad_commands_are_refused() {
    let folder = common::folder_of_digits();
    let at = folder.path();
    train_levels(at, "a", "--seed=1");
    works(at, &["train", "--preset=mlp", "--steps=2", "--device=cpu", "--out=plane"]);
    let npy = |name: &str, dims: &[usize], value: fn(usize) -> f32| {
        let values: Vec<f32> = (0..dims.iter().product()).map(value).collect();
        thalweg::data::npy::write_f32(at.join(name), dims, &values).unwrap();
    };
    npy("small.npy", &[14, 14], |i| (i % 2) as f32);
    npy("all.npy", &[28, 28], |_| 1.0);
    npy("nothing.npy", &[28, 28], |_| 0.0);
    npy("two.npy", &[2, 28, 28], |i| (i % 2) as f32);
    npy("mask.npy", &[28, 28], |i| (i % 2) as f32);
    common::all_refused(at, "several models", &[("weights", common::weights())]);
}
