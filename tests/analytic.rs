//! Analytic energies: their formulas, and samplers held against their densities. What the samplers are held by notices a
//! wrong step size, a missing factor of the noise, a wrong temperature, and generators that are biased, of another shape or
//! dependent.

use crate::common;

use common::{Failures, Rng, largest, to_f64};
use std::f64::consts::{E, PI, TAU};
use thalweg::data::toy::{POINT, Toy};
use thalweg::data::{Images, Shape};
use thalweg::kernels::analytic_energy::AnalyticEnergy;
use thalweg::kernels::draw_negatives::Noise;
use thalweg::kernels::dynamics::Form;
use thalweg::network::{ANALYTIC, Analytic, Network};
use thalweg::plan::ChainConfig;
use thalweg::random::Distribution;
use thalweg::recipe::presets::preset;
use thalweg::{Dataset, Device, EnergyModel, Model, Recipe, Sampler, Trainer};

// ---- formulas

/// The energies as papers write them.
fn plain(energy: Analytic, x: &[f64]) -> f64 {
    let d = x.len() as f64;
    match energy {
        Analytic::Gaussian => x.iter().enumerate().map(|(i, v)| [0.5, 2.0][i % 2] * v * v).sum(),
        Analytic::DoubleWell => {
            2.0 * (x[0] * x[0] - 1.0).powi(2) + x[1..].iter().map(|v| v * v / 2.0).sum::<f64>()
        }
        Analytic::Rosenbrock => (1.0 - x[0]).powi(2) + 100.0 * (x[1] - x[0] * x[0]).powi(2),
        Analytic::Rastrigin => 10.0 * d + x.iter().map(|v| v * v - 10.0 * (TAU * v).cos()).sum::<f64>(),
        Analytic::Ackley => {
            let squares = x.iter().map(|v| v * v).sum::<f64>() / d;
            let cosines = x.iter().map(|v| (TAU * v).cos()).sum::<f64>() / d;
            -20.0 * (-0.2 * squares.sqrt()).exp() - cosines.exp() + E + 20.0
        }
        Analytic::FiveGaussians => mixture(x, Toy::FiveGaussians),
        Analytic::EightGaussians => mixture(x, Toy::EightGaussians),
        Analytic::TwentyFiveGaussians => mixture(x, Toy::TwentyFiveGaussians),
    }
}

fn mixture(x: &[f64], toy: Toy) -> f64 {
    let toy = toy.mixture().unwrap();
    let variance = f64::from(toy.sigma).powi(2);
    let one = |c: &[f32; 2]| {
        let square = (x[0] - f64::from(c[0])).powi(2) + (x[1] - f64::from(c[1])).powi(2);
        (-square / (2.0 * variance)).exp() / (TAU * variance)
    };
    -(toy.centres.iter().map(one).sum::<f64>() / toy.centres.len() as f64).ln()
}

/// Every energy, in every number of dimensions that is tried.
fn cases() -> Vec<(Analytic, usize)> {
    let dims = |energy: Analytic| if energy.is_planar() { &[2][..] } else { &[1, 2, 5] };
    ANALYTIC.into_iter().flat_map(|energy| dims(energy).iter().map(move |d| (energy, *d))).collect()
}

#[test]
fn energies_and_gradients_match_formulas_and_differences() {
    let (mut rng, mut failures) = (Rng(1), Failures::default());
    for (energy, features) in cases() {
        let name = format!("{energy:?} of {features}");
        let kernel = AnalyticEnergy { lanes: 64, features, energy };
        let scale = if energy.mixture().is_some() { 3.0 } else { 2.0 };
        let x: Vec<f64> = rng.signeds(features * 64).iter().map(|v| scale * v).collect();
        let (mut e, mut gradient) = (vec![f64::NAN; 64], vec![f64::NAN; x.len()]);
        kernel.reference(&x, &mut e, &mut gradient);
        let point = |lane: usize| -> Vec<f64> { (0..features).map(|f| x[f * 64 + lane]).collect() };
        let want: Vec<f64> = (0..64).map(|lane| plain(energy, &point(lane))).collect();
        failures.close(&name, &e, &want, 1e-12, 1e-12);
        let slope = |f: usize, lane: usize| {
            let at = |step: f64| {
                let mut p = point(lane);
                p[f] += step;
                plain(energy, &p)
            };
            let h = 1e-4;
            (8.0 * (at(h) - at(-h)) - at(2.0 * h) + at(-2.0 * h)) / (12.0 * h)
        };
        let want: Vec<f64> = (0..features).flat_map(|f| (0..64).map(move |lane| slope(f, lane))).collect();
        failures.close(&format!("{name}: dE/dx"), &gradient, &want, 1e-8, 1e-8);
        // A change of a millionth is noticed.
        let spoiled: Vec<f64> = gradient.iter().map(|g| g * (1.0 + 1e-6)).collect();
        assert!(common::difference("spoiled", &spoiled, &want, 1e-8, 1e-8).is_some());

        let x32: Vec<f32> = x.iter().map(|v| *v as f32).collect();
        let (mut e32, mut gradient32) = (vec![f32::NAN; 64], vec![f32::NAN; x.len()]);
        kernel.reference(&x32, &mut e32, &mut gradient32);
        for (got, want) in [(e32, e), (gradient32, gradient)] {
            failures.close(&format!("{name}: f32"), &to_f64(&got), &want, 1e-5 * largest(&want), 0.0);
        }
    }
    failures.assert_none();
}

/// Ackley's tip has the gradient 0, and points far off have energies and gradients that are numbers.
#[test]
fn nothing_overflows() {
    for (energy, features) in cases() {
        let kernel = AnalyticEnergy { lanes: 8, features, energy };
        for at in [0.0_f32, 40.0, -40.0] {
            let (mut e, mut gradient) = ([f32::NAN; 8], vec![f32::NAN; 8 * features]);
            kernel.reference(&vec![at; 8 * features], &mut e, &mut gradient);
            assert!(e.iter().chain(&gradient).all(|v| v.is_finite()), "{energy:?} at {at}");
            if energy == Analytic::Ackley && at == 0.0 {
                assert!(e[0].abs() < 1e-5 && gradient.iter().all(|g| *g == 0.0));
            }
        }
    }
}

/// Masses that are known in closed form: of mixtures 1.
#[test]
fn densities_have_the_mass_that_they_should() {
    let mass = |energy: Analytic, [from, to]: [[f64; 2]; 2]| {
        let n = 600;
        let step = [(to[0] - from[0]) / f64::from(n), (to[1] - from[1]) / f64::from(n)];
        let at = |i: u32, k: usize| from[k] + (f64::from(i) + 0.5) * step[k];
        let row = |i: u32| (0..n).map(|j| (-plain(energy, &[at(i, 0), at(j, 1)])).exp()).sum::<f64>();
        (0..n).map(row).sum::<f64>() * step[0] * step[1]
    };
    for energy in [Analytic::FiveGaussians, Analytic::EightGaussians, Analytic::TwentyFiveGaussians] {
        assert!((mass(energy, [[-6.0; 2], [6.0; 2]]) - 1.0).abs() < 1e-6, "{energy:?}");
    }
    assert!((mass(Analytic::Gaussian, [[-9.0; 2], [9.0; 2]]) - TAU / 2.0).abs() < 1e-6);
    let rosenbrock = mass(Analytic::Rosenbrock, [[-3.0, -1.0], [5.0, 25.0]]);
    assert!((rosenbrock - TAU * (0.5_f64 / 200.0).sqrt()).abs() < 1e-3, "{rosenbrock}");
}

// ---- networks

#[test]
fn they_are_networks_without_parameters_on_every_device() {
    let mut rng = Rng(2);
    for device in [Device::cpu(), common::gpu()] {
        for (energy, d) in cases() {
            let network = Network::builder("mine", [d, 1, 1]).analytic(energy).build().unwrap();
            assert_eq!((network.n_parameters, network.tensors().len(), network.layers.len()), (0, 0, 1));
            let shape = Shape { channels: d, height: 1, width: 1 };
            let x: Vec<f32> = rng.signeds(300 * d).iter().map(|v| 2.0 * *v as f32).collect();
            let images = Images { shape, values: x.clone() };
            let model = Model { network, parameters: Vec::new() };
            let (energies, gradients) = pollster::block_on(async {
                let mut model = EnergyModel::new(&device, &model).await.unwrap();
                let only = model.energies(&images).await.unwrap();
                let (energies, gradients) = model.energies_and_gradients(&images).await.unwrap();
                assert_eq!(only, energies);
                (energies, gradients)
            });
            let want: Vec<f64> = x.chunks(d).map(|x| plain(energy, &to_f64(x))).collect();
            let mut failures = Failures::default();
            failures.close(energy.name(), &to_f64(&energies), &want, 1e-5 * largest(&want), 0.0);
            // The last point's slopes: those of the others are the kernels' tests.
            let last = to_f64(&x[299 * d..]);
            let slope = |f: usize| {
                let at = |step: f64| {
                    let mut p = last.clone();
                    p[f] += step;
                    plain(energy, &p)
                };
                (at(1e-5) - at(-1e-5)) / 2e-5
            };
            let want: Vec<f64> = (0..d).map(slope).collect();
            let got = to_f64(gradients.image(299));
            failures.close(energy.name(), &got, &want, 1e-5 * largest(&want).max(10.0), 1e-5);
            failures.assert_none();
        }
    }
}

#[test]
fn names_and_descriptions() {
    for energy in ANALYTIC {
        let name = format!("analytic:{}", energy.name());
        let network = preset(&name).unwrap();
        assert_eq!((network.name.as_str(), network.input), (name.as_str(), POINT));
        let json = serde_json::to_value(network.spec()).unwrap();
        assert_eq!(serde_json::from_value::<thalweg::network::NetworkSpec>(json).unwrap(), network.spec());
        let (model, recipe) = Model::analytic(&name).unwrap();
        assert_eq!((model.network, model.parameters.len()), (network, 0));
        assert!(recipe.validate().is_ok() && recipe.chain.form == Form::Mala);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("five.toml");
    std::fs::write(&path, "input = [5]\nlayers = [{ analytic = \"double-well\" }]").unwrap();
    let (model, _) = Model::analytic(path.to_str().unwrap()).unwrap();
    assert_eq!(model.network.input.len(), 5);

    let text = |result: thalweg::Result<_>| match result {
        Err(error) => error.to_string(),
        Ok(()) => panic!("is not refused"),
    };
    let says =
        |text: String, parts: &[&str]| parts.iter().for_each(|p| assert!(text.contains(p), "{p}: {text}"));
    says(text(preset("analytic:gausian").map(drop)), &["gausian", "mean `gaussian`", "25-gaussians"]);
    says(text(preset("double-wel").map(drop)), &["mean `analytic:double-well`"]);
    says(text(Model::analytic("mlp").map(drop)), &["mlp", "no file"]);
    let build = |shape, energy| Network::builder("mine", shape).analytic(energy);
    says(text(build([3, 1, 1], Analytic::Rosenbrock).build().map(drop)), &["rosenbrock", "2x1x1", "3x1x1"]);
    says(text(build([1, 28, 28], Analytic::Gaussian).build().map(drop)), &["Nx1x1", "1x28x28"]);
    says(text(build([2, 1, 1], Analytic::Gaussian).dense(1).build().map(drop)), &["only layer"]);
    let after = Network::builder("mine", [2, 1, 1]).dense(2).analytic(Analytic::Ackley).build();
    says(text(after.map(drop)), &["only layer"]);

    // There is nothing to train.
    let network = Some(preset("analytic:gaussian").unwrap().spec());
    let config = Recipe { network, ..Recipe::preset("mlp").unwrap() };
    let dataset = Dataset::open("rings").unwrap();
    let trainer = pollster::block_on(Trainer::new(&Device::cpu(), &config, &dataset));
    says(text(trainer.map(drop)), &["analytic:gaussian", "no parameters to train"]);
}

// ---- samplers

/// A density on a line, by quadrature: `exp(-f)` from `-reach` to `reach`.
struct Density {
    reach: f64,
    below: Vec<f64>, // cumulative, at equal distances
    mean: f64,
    variance: f64,
    fourth: f64, // central moment
}

const BINS: usize = 50;

impl Density {
    fn new(reach: f64, f: impl Fn(f64) -> f64) -> Self {
        let n = 20_000;
        let width = 2.0 * reach / f64::from(n);
        let x = |i: i32| -reach + (f64::from(i) + 0.5) * width;
        let weights: Vec<f64> = (0..n).map(|i| (-f(x(i))).exp()).collect();
        let total: f64 = weights.iter().sum();
        let expect =
            |g: &dyn Fn(f64) -> f64| weights.iter().zip(0..n).map(|(w, i)| w / total * g(x(i))).sum::<f64>();
        let mean = expect(&|x| x);
        let variance = expect(&|x| (x - mean).powi(2));
        let fourth = expect(&|x| (x - mean).powi(4));
        let mut below = vec![0.0];
        for w in &weights {
            below.push(below[below.len() - 1] + w / total);
        }
        Self { reach, below, mean, variance, fourth }
    }

    fn normal(mean: f64, variance: f64) -> Self {
        Self::new(mean.abs() + 12.0 * variance.sqrt(), |x| (x - mean).powi(2) / (2.0 * variance))
    }

    /// The share of the density below `x`.
    fn below(&self, x: f64) -> f64 {
        let at = (x + self.reach) / (2.0 * self.reach) * (self.below.len() - 1) as f64;
        let i = (at.max(0.0) as usize).min(self.below.len() - 2);
        let t = (at - i as f64).clamp(0.0, 1.0);
        self.below[i] + t * (self.below[i + 1] - self.below[i])
    }

    /// What is wrong with independent draws, in standard deviations: mean, variance, and chi-square of a histogram whose
    /// 50 bins are equally likely. 4.5 of them come up by chance once in 100,000 times; chi-square's tail is a little
    /// longer.
    fn faults(&self, name: &str, draws: &[f64]) -> Vec<String> {
        let n = draws.len() as f64;
        let mean = draws.iter().sum::<f64>() / n;
        let variance = draws.iter().map(|x| (x - self.mean).powi(2)).sum::<f64>() / n;
        let mut counts = [0.0; BINS];
        for x in draws {
            counts[((self.below(*x) * BINS as f64) as usize).min(BINS - 1)] += 1.0;
        }
        let expected = n / BINS as f64;
        let chi_square: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
        let degrees = (BINS - 1) as f64;
        let scores = [
            ("mean", (mean - self.mean) / (self.variance / n).sqrt(), 4.5),
            (
                "variance",
                (variance - self.variance) / ((self.fourth - self.variance.powi(2)) / n).sqrt(),
                4.5,
            ),
            ("chi-square", (chi_square - degrees) / (2.0 * degrees).sqrt(), 5.5),
        ];
        let wrong = scores.into_iter().filter(|(_, score, most)| score.is_nan() || score.abs() > *most);
        wrong.map(|(what, score, _)| format!("{name}: {what} is off by {score:.1} deviations")).collect()
    }
}

/// What is wrong with draws of independent pairs: of each coordinate, and of how they hang together, within a draw and
/// from one to the next.
fn faults(densities: &[Density; 2], draws: &[[f64; 2]]) -> Vec<String> {
    let column = |k: usize| -> Vec<f64> { draws.iter().map(|x| x[k]).collect() };
    let mut all = [densities[0].faults("x", &column(0)), densities[1].faults("y", &column(1))].concat();
    let score = |a: &[f64], b: &[f64]| {
        let sum: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        sum / (a.iter().map(|a| a * a).sum::<f64>() * b.iter().map(|b| b * b).sum::<f64>() / a.len() as f64)
            .sqrt()
    };
    let centred = |k: usize| -> Vec<f64> { column(k).iter().map(|x| x - densities[k].mean).collect() };
    let (x, y) = (centred(0), centred(1));
    let n = x.len() - 1;
    for (what, score) in [
        ("x and y", score(&x, &y)),
        ("x and the next x", score(&x[..n], &x[1..])),
        ("y and the next y", score(&y[..n], &y[1..])),
        ("x and the next y", score(&x[..n], &y[1..])),
    ] {
        if score.is_nan() || score.abs() > 4.5 {
            all.push(format!("{what} hang together: {score:.1} deviations"));
        }
    }
    all
}

#[track_caller]
fn pass(what: &str, faults: Vec<String>) {
    assert!(faults.is_empty(), "{what}:\n{}", faults.join("\n"));
}

#[track_caller]
fn fail(what: &str, faults: &[String]) {
    assert!(!faults.is_empty(), "{what} passes");
}

/// What chains come to, from noise or from one point.
fn run(
    device: &Device,
    energy: Analytic,
    count: usize,
    chain_config: &ChainConfig,
    start: Option<Images>,
    seed: u64,
) -> (Vec<[f64; 2]>, Option<f64>) {
    pollster::block_on(async {
        let (model, _) = Model::analytic(&format!("analytic:{}", energy.name())).unwrap();
        let mut sampler = Sampler::new(device, &model, count, chain_config, seed).await.unwrap();
        if let Some(images) = start {
            sampler.start_from(&images).unwrap();
        }
        sampler.run(chain_config.steps).unwrap();
        let draws = sampler.images().await.unwrap().values;
        let draws = draws.chunks(2).map(|x| [f64::from(x[0]), f64::from(x[1])]).collect();
        (draws, sampler.acceptance().await.unwrap())
    })
}

fn chain_config(form: Form, steps: u32, step_size: f32, temperature: f32) -> ChainConfig {
    let start = Noise { distribution: Distribution::Uniform, scale: 2.0, bound: f32::INFINITY };
    let noise = 0.0;
    ChainConfig {
        steps,
        form,
        step_size,
        noise,
        temperature,
        gradient_clip: 0.0,
        clamp: 0.0,
        start,
        ..ChainConfig::default()
    }
}

const COUNT: usize = 60_000;
const STEP: f32 = 0.5;
const TEMPERATURE: f32 = 1.5;

/// `x <- x - (eps/2) k x + sqrt(eps T) n` has the stationary variance `T / (k (1 - eps k / 4))`: exactly, step size and all.
fn unadjusted_gaussian() -> [Density; 2] {
    [1.0, 4.0].map(|k| {
        let (eps, t) = (f64::from(STEP), f64::from(TEMPERATURE));
        Density::normal(0.0, t / (k * (1.0 - eps * k / 4.0)))
    })
}

#[test]
fn theory_on_the_gaussian_has_the_exact_variance_of_its_step_size() {
    let densities = unadjusted_gaussian();
    let of = |chain_config: &ChainConfig| {
        faults(&densities, &run(&Device::cpu(), Analytic::Gaussian, COUNT, chain_config, None, 1).0)
    };
    let right = chain_config(Form::Theory, 60, STEP, TEMPERATURE);
    pass("theory", of(&right));
    let (on_gpu, _) = run(&common::gpu(), Analytic::Gaussian, 20_000, &right, None, 2);
    pass("theory on the GPU", faults(&densities, &on_gpu));
    // The same, by numbers of one's own.
    let noise_last =
        |noise: f32| ChainConfig { form: Form::NoiseLast, step_size: STEP / 2.0, noise, ..right };
    let noise = (STEP * TEMPERATURE).sqrt();
    pass("noise-last", of(&noise_last(noise)));

    for (what, wrong) in [
        ("half the step size in the noise", noise_last((STEP / 2.0 * TEMPERATURE).sqrt())),
        ("a doubled noise factor", noise_last(2.0 * noise)),
        ("noise without its root", noise_last(STEP * TEMPERATURE)),
        ("noise 2 % too large", noise_last(1.02 * noise)),
        ("no temperature", noise_last(STEP.sqrt())),
        ("the whole step size in the drift", ChainConfig { step_size: STEP, ..noise_last(noise) }),
        ("a step size a tenth smaller", ChainConfig { step_size: 0.9 * STEP, ..right }),
        ("a temperature a twentieth too high", ChainConfig { temperature: 1.05 * TEMPERATURE, ..right }),
        ("too few steps", ChainConfig { steps: 2, ..right }),
    ] {
        fail(what, &of(&wrong));
    }
}

/// A chain of the test's own, whose generator can be wrong.
#[test]
fn biased_generators_are_noticed() {
    let densities = unadjusted_gaussian();
    let (eps, t) = (f64::from(STEP), f64::from(TEMPERATURE));
    let chains = |noise: &dyn Fn(&mut Rng, [f64; 2]) -> [f64; 2]| {
        let mut rng = Rng(3);
        let mut draws = vec![[0.0; 2]; COUNT];
        for draw in &mut draws {
            for _ in 0..30 {
                let (r, angle) =
                    ((-2.0 * (0.5 * rng.signed() + 0.5 + 1e-9).ln()).max(0.0).sqrt(), PI * rng.signed());
                let normal = [r * angle.cos(), r * angle.sin()];
                let noise = noise(&mut rng, normal);
                for (k, x) in draw.iter_mut().enumerate() {
                    *x += (eps * t).sqrt() * noise[k] - eps / 2.0 * [1.0, 4.0][k] * *x;
                }
            }
        }
        faults(&densities, &draws)
    };
    pass("normal noise", chains(&|_, n| n));
    fail("a mean of 0.02", &chains(&|_, n| n.map(|n| n + 0.02)));
    fail("a deviation of 1.02", &chains(&|_, n| n.map(|n| 1.02 * n)));
    fail(
        "uniform noise of the same variance",
        &chains(&|rng, _| [0; 2].map(|_| 3_f64.sqrt() * rng.signed())),
    );
    fail("tails that are cut at 2.5", &chains(&|_, n| n.map(|n| n.clamp(-2.5, 2.5))));
    fail("coordinates with noise in common", &chains(&|_, [a, b]| [a, 0.998 * b + 0.063 * a]));
}

fn double_well(t: f64) -> [Density; 2] {
    let along = move |x: f64| plain(Analytic::DoubleWell, &[x, 0.0]) / t;
    [Density::new(4.0, along), Density::normal(0.0, t)]
}

#[test]
fn theory_on_the_double_well_at_small_steps() {
    let densities = double_well(1.0);
    let of = |chain_config: &ChainConfig| {
        faults(&densities, &run(&Device::cpu(), Analytic::DoubleWell, 16_000, chain_config, None, 4).0)
    };
    let right = chain_config(Form::Theory, 2000, 0.004, 1.0);
    pass("theory", of(&right));
    let noise_last = |factor: f32| ChainConfig {
        form: Form::NoiseLast,
        step_size: 0.002,
        noise: factor * 0.004_f32.sqrt(),
        ..right
    };
    for (what, wrong) in [
        ("half the step size in the noise", noise_last(0.5_f32.sqrt())),
        ("a doubled noise factor", noise_last(2.0)),
        ("a temperature a tenth too high", ChainConfig { temperature: 1.1, ..right }),
        ("a large step", ChainConfig { step_size: 0.1, steps: 80, ..right }),
    ] {
        fail(what, &of(&wrong));
    }
}

/// MALA's density is exact at steps at which the unadjusted chain is far off; from one well it finds the other.
#[test]
fn mala_is_exact_at_large_steps() {
    let in_one_well = |count: usize| Some(Images { shape: POINT, values: [1.0, 0.0].repeat(count) });
    let densities = double_well(0.8);
    let of = |device: &Device, count: usize, chain_config: &ChainConfig| {
        let (draws, acceptance) =
            run(device, Analytic::DoubleWell, count, chain_config, in_one_well(count), 5);
        (faults(&densities, &draws), acceptance)
    };
    let (cpu, right) = (Device::cpu(), chain_config(Form::Mala, 600, 0.15, 0.8));
    let (wrong, acceptance) = of(&cpu, 30_000, &right);
    pass("MALA", wrong);
    let acceptance = acceptance.unwrap();
    assert!((0.3..0.9).contains(&acceptance), "{acceptance}");
    pass("MALA on the GPU", of(&common::gpu(), 8000, &right).0);
    fail("theory", &of(&cpu, 30_000, &ChainConfig { form: Form::Theory, ..right }).0);
    fail(
        "a temperature a twentieth too high",
        &of(&cpu, 30_000, &ChainConfig { temperature: 0.84, ..right }).0,
    );
    fail("too few steps", &of(&cpu, 30_000, &ChainConfig { steps: 20, ..right }).0);

    let densities = [1.0, 4.0].map(|k| Density::normal(0.0, 1.0 / k));
    let (draws, _) = run(&cpu, Analytic::Gaussian, COUNT, &chain_config(Form::Mala, 100, STEP, 1.0), None, 6);
    pass("MALA on the Gaussian", faults(&densities, &draws));
    fail("theory on the Gaussian", &{
        let (draws, _) =
            run(&cpu, Analytic::Gaussian, COUNT, &chain_config(Form::Theory, 100, STEP, 1.0), None, 6);
        faults(&densities, &draws)
    });
}

/// Rosenbrock's valley, along `x` and across it, and a mixture: MALA leaves exact draws what they are.
#[test]
fn mala_leaves_exact_draws_what_they_are() {
    let count = 20_000;
    let mut rng = Rng(7);
    let mut normal = || (0..12).map(|_| rng.signed()).sum::<f64>() / 2.0;
    let start: Vec<f32> = (0..count)
        .flat_map(|_| {
            let x = 1.0 + normal() * 0.5_f64.sqrt();
            [x as f32, (x * x + normal() / 200_f64.sqrt()) as f32]
        })
        .collect();
    let densities = [Density::normal(1.0, 0.5), Density::normal(0.0, 1.0 / 200.0)];
    let of = |temperature: f32| {
        let chain_config = chain_config(Form::Mala, 400, 0.002, temperature);
        let start = Images { shape: POINT, values: start.clone() };
        let (draws, _) = run(&Device::cpu(), Analytic::Rosenbrock, count, &chain_config, Some(start), 8);
        faults(&densities, &draws.iter().map(|[x, y]| [*x, y - x * x]).collect::<Vec<_>>())
    };
    pass("Rosenbrock", of(1.0));
    fail("Rosenbrock, a temperature a tenth too high", &of(1.1));

    let five = |x: f64| {
        let one = |c: f64, weight: f64| weight * (-(x - c).powi(2) / 0.18).exp();
        -(one(-2.0, 2.0) + one(0.0, 1.0) + one(2.0, 2.0)).ln()
    };
    let densities = [Density::new(5.0, five), Density::new(5.0, five)];
    let of = |temperature: f32| {
        let chain_config = chain_config(Form::Mala, 200, 0.05, temperature);
        let start = Toy::FiveGaussians.points(count, 9, 5);
        faults(
            &densities,
            &run(&Device::cpu(), Analytic::FiveGaussians, count, &chain_config, Some(start), 9).0,
        )
    };
    pass("five Gaussians", of(1.0));
    fail("five Gaussians, a temperature a tenth too high", &of(1.1));
}
