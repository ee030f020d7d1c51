//! Annealed importance sampling against constants that are known: Gaussians in several dimensions, and, by quadrature in
//! the plane, a double well, a mixture, wells in a box, and a network.

use crate::common;

use common::{Failures, Rng};
use std::f64::consts::{PI, TAU};
use thalweg::data::{Images, Shape};
use thalweg::evaluate::Subject;
use thalweg::evaluate::ais::{
    Annealing, Base, BaseKind, Density, Estimate, Options, Passage, Settings, measure, temperature_of,
};
use thalweg::kernels::dynamics::{Form, Interpolation};
use thalweg::network::{Activation, Analytic, Network};
use thalweg::plan::ChainConfig;
use thalweg::{Device, Error, Model, Sampler};

fn points(d: usize) -> Shape {
    Shape { channels: d, height: 1, width: 1 }
}

fn analytic(energy: Analytic, d: usize) -> Model {
    let network = Network::builder("known", [d, 1, 1]).analytic(energy).build().unwrap();
    Model { network, parameters: Vec::new() }
}

/// A density that is known: its log Z, and how to draw from it.
struct Known<'a> {
    name: &'a str,
    model: Model,
    temperature: f64,
    tilted: bool,
    log_z: f64,
    base: Base,
    draw: Draw<'a>,
}

type Draw<'a> = Box<dyn Fn(&mut Rng) -> Vec<f64> + 'a>;

fn normal(rng: &mut Rng) -> f64 {
    let u = 1.0 - (rng.next() >> 11) as f64 / (1_u64 << 53) as f64;
    (-2.0 * u.ln()).sqrt() * (PI * rng.signed()).cos()
}

/// `sum k x^2 / 2` with k = 1, 4, 1, 4, ...: variances T / k.
fn gaussian(d: usize, temperature: f64) -> Known<'static> {
    let k = |i: usize| if i % 2 == 1 { 4.0 } else { 1.0 };
    let log_z = (0..d).map(|i| 0.5 * (TAU * temperature / k(i)).ln()).sum();
    let base = Base::normal(points(d), vec![0.7; d], vec![2.0; d], f32::INFINITY);
    Known {
        name: "Gaussian",
        model: analytic(Analytic::Gaussian, d),
        temperature,
        tilted: false,
        log_z,
        base,
        draw: Box::new(move |rng| (0..d).map(|i| normal(rng) * (temperature / k(i)).sqrt()).collect()),
    }
}

/// log Z of an energy of the plane over `[-reach, reach]^2`, by the midpoint rule, and draws from it by rejection.
fn planar<'a>(
    name: &'a str,
    model: Model,
    energy: impl Fn(f64, f64) -> f64 + 'a,
    temperature: f64,
    reach: f64,
    base: Base,
) -> Known<'a> {
    let n = 1000;
    let width = 2.0 * reach / f64::from(n);
    let at = |i: i32| -reach + (f64::from(i) + 0.5) * width;
    let weight = move |x: f64, y: f64| (-energy(x, y) / temperature).exp();
    let (mut sum, mut most) = (0.0, 0.0_f64);
    for i in 0..n {
        for j in 0..n {
            let w = weight(at(i), at(j));
            (sum, most) = (sum + w, most.max(w));
        }
    }
    let draw = move |rng: &mut Rng| loop {
        let (x, y) = (reach * rng.signed(), reach * rng.signed());
        // The grid's largest is not quite the largest.
        if (rng.signed() + 1.0) / 2.0 * 1.02 * most < weight(x, y) {
            return vec![x, y];
        }
    };
    let log_z = (sum * width * width).ln();
    Known { name, model, temperature, tilted: false, log_z, base, draw: Box::new(draw) }
}

fn double_well(x: f64, y: f64) -> f64 {
    2.0 * (x * x - 1.0).powi(2) + 0.5 * y * y
}

fn mixture(x: f64, y: f64) -> f64 {
    let centres = [(0.0, 0.0), (2.0, 2.0), (-2.0, 2.0), (2.0, -2.0), (-2.0, -2.0)];
    let (sigma, n) = (0.3_f64, centres.len() as f64);
    let one = |(a, b): (f64, f64)| (-((x - a).powi(2) + (y - b).powi(2)) / (2.0 * sigma * sigma)).exp();
    -(centres.map(one).iter().sum::<f64>() / (n * TAU * sigma * sigma)).ln()
}

fn wide(d: usize) -> Base {
    Base::normal(points(d), vec![0.3; d], vec![4.0; d], f32::INFINITY)
}

/// Chains from both ends: of the base, and of exact draws.
fn both(
    device: &Device,
    known: &Known,
    steps: u32,
    chains: usize,
    leapfrogs: u32,
) -> [(Passage, Estimate); 2] {
    pollster::block_on(async {
        let settings = Settings {
            temperature: known.temperature,
            tilted: known.tilted,
            steps,
            chains,
            leapfrogs,
            seed: 7,
        };
        let mut annealing = Annealing::new(device, &known.model, known.base.clone(), settings).await.unwrap();
        let forward = annealing.forward().await.unwrap();
        let mut rng = Rng(11);
        let values = (0..chains).flat_map(|_| (known.draw)(&mut rng)).map(|x| x as f32).collect();
        let draws = Images { shape: known.model.network.input, values };
        let reverse = annealing.reverse(&draws).await.unwrap();
        let (lower, upper) = (annealing.lower(&forward), annealing.upper(&reverse));
        [(forward, lower), (reverse, upper)]
    })
}

/// How far the bounds are on their wrong sides of the truth, in standard errors: above 0 is wrong.
fn beyond([(_, lower), (_, upper)]: &[(Passage, Estimate); 2], log_z: f64) -> [f64; 2] {
    [(lower.log_z - log_z) / lower.standard_error, (log_z - upper.log_z) / upper.standard_error]
}

trait Mean {
    /// The mean log weight.
    fn mean(&self) -> f64;
}

impl Mean for Passage {
    fn mean(&self) -> f64 {
        self.log_weights.iter().sum::<f64>() / self.log_weights.len() as f64
    }
}

/// The mean gap between log weights of both ways: it is the sum of two divergences, between what chains were and what they
/// would have been the other way round, so above 0, and falls with the steps' number (Grosse et al. 2013).
fn gap([(forward, _), (reverse, _)]: &[(Passage, Estimate); 2]) -> f64 {
    -reverse.mean() - forward.mean()
}

/// What is asked of a case: steps, few and many, how near many have to come, and what the gap falls to.
struct Asked {
    steps: [u32; 2],
    chains: usize,
    near: f64,
    gap: f64,
}

/// That few and many steps from both ends enclose the truth, that many come near to it, and that the gap shrinks.
fn check(failures: &mut Failures, device: &Device, known: &Known, asked: &Asked) {
    let name = format!("{}, d = {}, {device}", known.name, known.model.network.input.len());
    let mut gaps = Vec::new();
    for steps in asked.steps {
        let (is_many, name) = (steps == asked.steps[1], format!("{name}, {steps} steps"));
        let both = both(device, known, steps, asked.chains, 1);
        let [lower, upper] = [both[0].1, both[1].1];
        println!(
            "{name}: {:.4} to {:.4}, true {:.4}, gap {:.4}\n  {lower:?}\n  {upper:?}",
            lower.log_z,
            upper.log_z,
            known.log_z,
            gap(&both)
        );
        for (side, off) in ["lower", "upper"].into_iter().zip(beyond(&both, known.log_z)) {
            failures.check(off < 4.0, || format!("{name}: {side} is {off:.1} errors beyond"));
        }
        for e in [lower, upper] {
            let error = (e.log_z - known.log_z).abs();
            failures.check(!is_many || error < asked.near, || format!("{name}: off by {error}: {e:?}"));
            failures.check((0.4..=0.95).contains(&e.acceptance), || format!("{name}: {e:?}"));
        }
        // Means of log weights are on their sides by more than chance, where the gap is large.
        let enclosed = both[0].0.mean() < known.log_z - known.base.log_z()
            && known.log_z - known.base.log_z() < -both[1].0.mean();
        failures.check(is_many || enclosed, || format!("{name}: mean log weights"));
        gaps.push(gap(&both));
    }
    let shrinks = gaps[0] > 0.0 && gaps[1] < asked.gap * gaps[0];
    failures.check(shrinks, || format!("{name}: gaps {gaps:?} of {:?} steps", asked.steps));
}

#[test]
fn bounds_enclose_gaussians() {
    let mut failures = Failures::default();
    // The gap is in inverse proportion to the steps.
    let asked = Asked { steps: [20, 400], chains: 2000, near: 0.05, gap: 3.0 * 20.0 / 400.0 };
    for (d, temperature) in [(1, 1.0), (2, 1.0), (2, 0.01), (10, 0.5)] {
        check(&mut failures, &Device::cpu(), &gaussian(d, temperature), &asked);
    }
    let fewer = Asked { chains: 256, near: 0.2, ..asked };
    check(&mut failures, &common::gpu(), &gaussian(10, 0.5), &fewer);
    failures.assert_none();
}

#[test]
fn bounds_enclose_what_quadrature_finds() {
    let mut failures = Failures::default();
    let (well, five) = (Analytic::DoubleWell, Analytic::FiveGaussians);
    let well = |t, base, reach| planar("double well", analytic(well, 2), double_well, t, reach, base);
    let five = || planar("mixture", analytic(five, 2), mixture, 1.0, 9.0, wide(2));
    // Walls at 1.1, just beyond the wells' bottoms.
    let uniform = || well(0.5, Base::uniform(points(2), 1.1), f64::from(1.1_f32));
    let cut = Base::normal(points(2), vec![-1.0, 0.4], vec![0.3, 0.3], 1.1);
    let asked = |steps: [u32; 2]| Asked { steps, chains: 2000, near: 0.06, gap: 0.3 };
    for (known, asked) in [
        (well(1.0, wide(2), 9.0), asked([20, 400])),
        (well(0.2, wide(2), 9.0), asked([20, 400])),
        (five(), asked([40, 2000])),
        (uniform(), asked([10, 200])),
        // Most of this base lies around one of the wells.
        (well(0.5, cut, f64::from(1.1_f32)), Asked { near: 0.12, gap: 0.5, ..asked([10, 200]) }),
    ] {
        check(&mut failures, &Device::cpu(), &known, &asked);
    }
    let asked = |steps: [u32; 2]| Asked { steps, chains: 256, near: 0.2, gap: 0.4 };
    check(&mut failures, &common::gpu(), &uniform(), &asked([10, 200]));
    check(&mut failures, &common::gpu(), &five(), &asked([40, 800]));
    failures.assert_none();
}

fn standard(d: usize) -> Base {
    Base::normal(points(d), vec![0.0; d], vec![1.0; d], f32::INFINITY)
}

/// `exp(-sum k x^2 / (2 T) - tilt |x|^2 / 2)`: variances 1 / (k / T + tilt).
fn tilted_gaussian(d: usize, temperature: f64, tilt: f64) -> Known<'static> {
    let variance = move |i: usize| 1.0 / (if i % 2 == 1 { 4.0 } else { 1.0 } / temperature + tilt);
    Known {
        name: "tilted Gaussian",
        tilted: true,
        log_z: (0..d).map(|i| 0.5 * (TAU * variance(i)).ln()).sum(),
        base: standard(d),
        draw: Box::new(move |rng| (0..d).map(|i| normal(rng) * variance(i).sqrt()).collect()),
        ..gaussian(d, temperature)
    }
}

/// Densities with a standard normal one as a factor: a Gaussian, and two whose energies alone have no density, or one of
/// little curvature: a plane, and the double well.
#[test]
fn bounds_enclose_tilted_densities() {
    let mut failures = Failures::default();
    // E = b + w.x: log Z = -b / T + |w|^2 / (2 T^2) + d / 2 ln(2 pi), around -w / T.
    let network = Network::builder("plane", [6, 1, 1]).dense(1).build().unwrap();
    let (temperature, parameters) = (0.4, vec![0.3, -0.5, 0.2, 0.4, -0.1, 0.35, 0.7]);
    let w: Vec<f64> = parameters[..6].iter().map(|w| f64::from(*w)).collect();
    let square: f64 = w.iter().map(|w| w * w).sum();
    let plane = Known {
        name: "tilted plane",
        model: Model { network, parameters },
        temperature,
        tilted: true,
        log_z: -f64::from(0.7_f32) / temperature
            + square / (2.0 * temperature * temperature)
            + 3.0 * TAU.ln(),
        base: standard(6),
        draw: Box::new(move |rng| w.iter().map(|w| normal(rng) - w / temperature).collect()),
    };
    let well = |base| Known {
        tilted: true,
        ..planar(
            "tilted double well",
            analytic(Analytic::DoubleWell, 2),
            |x, y| double_well(x, y) + 0.25 * (x * x + y * y),
            0.5,
            9.0,
            base,
        )
    };
    let asked = Asked { steps: [20, 400], chains: 2000, near: 0.05, gap: 0.3 };
    for known in [tilted_gaussian(2, 0.3, 1.0), plane, well(standard(2)), well(wide(2))] {
        check(&mut failures, &Device::cpu(), &known, &asked);
    }
    let fewer = Asked { chains: 256, near: 0.2, ..asked };
    check(&mut failures, &common::gpu(), &tilted_gaussian(6, 0.3, 1.0), &fewer);
    check(&mut failures, &common::gpu(), &well(standard(2)), &fewer);
    failures.assert_none();
}

/// A test of that test: it finds a factor that is another one, or none.
#[test]
fn a_wrong_tilt_is_found() {
    let device = Device::cpu();
    for d in [2, 6] {
        let right = tilted_gaussian(d, 0.3, 1.0);
        let found = both(&device, &right, 400, 2000, 1);
        assert!(beyond(&found, right.log_z).into_iter().all(|off| off < 4.0), "{found:?}");
        for tilt in [0.0, 0.5, 2.0, 1.0 / 0.3] {
            let wrong = tilted_gaussian(d, 0.3, tilt);
            let off = beyond(&found, wrong.log_z).into_iter().fold(f64::NAN, f64::max);
            assert!(off > 4.0, "{d}, {tilt}: {off}");
        }
        // Chains without the factor, which would have to come to the density with it.
        let without = Known { tilted: false, ..tilted_gaussian(d, 0.3, 1.0) };
        let off = beyond(&both(&device, &without, 400, 2000, 1), without.log_z);
        assert!(off.into_iter().fold(f64::NAN, f64::max) > 4.0, "{off:?}");
    }
}

/// A test of these tests: annealed importance sampling written anew, for `k x^2 / 2`, whose chains take every proposal or
/// judge them. What takes every proposal does not leave the densities on the way as they are, and is found.
#[test]
fn chains_that_take_every_proposal_are_noticed() {
    let (k, base, steps, chains, size) = (9.0_f64, 1.0_f64, 60, 4000, 0.55_f64);
    let log_z = 0.5 * (TAU / k).ln();
    let off = |judges: bool| {
        let mut rng = Rng(3);
        let log_weights: Vec<f64> = (0..chains)
            .map(|_| {
                let (mut x, mut log_weight) = (normal(&mut rng) * base.sqrt(), 0.0);
                for step in 1..=steps {
                    let beta = |step: i32| f64::from(step) / f64::from(steps);
                    let curvature = beta(step) * k + (1.0 - beta(step)) / base;
                    log_weight += (beta(step - 1) - beta(step)) * 0.5 * (k - 1.0 / base) * x * x;
                    let p = normal(&mut rng);
                    let half = p - size / 2.0 * curvature * x;
                    let y = x + size * half;
                    let q = half - size / 2.0 * curvature * y;
                    let fall = 0.5 * (curvature * (x * x - y * y) + p * p - q * q);
                    if !judges || (rng.signed() + 1.0) / 2.0 < fall.exp() {
                        x = y;
                    }
                }
                log_weight
            })
            .collect();
        let weights: Vec<f64> = log_weights.iter().map(|w| w.exp()).collect();
        let mean = weights.iter().sum::<f64>() / f64::from(chains);
        let variance = weights.iter().map(|w| (w / mean - 1.0).powi(2)).sum::<f64>() / f64::from(chains);
        let found = 0.5 * (TAU * base).ln() + mean.ln();
        (found - log_z) / (variance / f64::from(chains)).sqrt()
    };
    assert!(off(true).abs() < 4.0, "{} errors off", off(true));
    assert!(off(false).abs() > 10.0, "{} errors off", off(false));
}

/// Chains that stay with the model leave exact draws what they are, at its walls, too, and with several leapfrog steps.
#[test]
fn chains_leave_exact_draws_what_they_are() {
    let (bound, temperature) = (1.1_f32, 0.7);
    let base = Base::uniform(points(2), bound);
    let known = planar(
        "boxed well",
        analytic(Analytic::DoubleWell, 2),
        double_well,
        temperature,
        f64::from(bound),
        base,
    );
    let mut failures = Failures::default();
    for (device, chains, leapfrogs) in
        [(Device::cpu(), 20_000, 1), (Device::cpu(), 20_000, 4), (common::gpu(), 2000, 2)]
    {
        let mut rng = Rng(5);
        let draws = |rng: &mut Rng| -> Vec<f32> {
            (0..chains).flat_map(|_| (known.draw)(rng)).map(|x| x as f32).collect()
        };
        let settings = Settings { temperature, tilted: false, steps: 60, chains, leapfrogs, seed: 1 };
        let (ends, settling) = pollster::block_on(async {
            let mut annealing =
                Annealing::new(&device, &known.model, known.base.clone(), settings).await.unwrap();
            let starts = Images { shape: points(2), values: draws(&mut rng) };
            annealing.settle(&starts).await.unwrap()
        });
        let name = format!("{device}, {leapfrogs} leapfrog steps");
        failures.check((0.4..0.95).contains(&settling.acceptance), || format!("{name}: {settling:?}"));
        failures.check(settling.r_hat < 1.2, || format!("{name}: {settling:?}"));
        // Against other draws: shares of the plane's parts, walls and corners among them.
        let (ends, others) = (ends.values, draws(&mut rng));
        type Part = fn(f32, f32) -> bool;
        let parts: [(&str, Part); 6] = [
            ("right", |x, _| x > 0.0),
            ("beside the wall", |x, _| x > 1.05),
            ("between", |x, _| x.abs() < 0.4),
            ("above", |_, y| y > 0.9),
            ("corner", |x, y| x < -0.8 && y < -0.6),
            ("near the axis", |_, y| y.abs() < 0.2),
        ];
        for (part, holds) in parts {
            let share = |points: &[f32]| {
                points.chunks_exact(2).filter(|p| holds(p[0], p[1])).count() as f64 / chains as f64
            };
            let [a, b] = [share(&ends), share(&others)];
            let error = (b * (1.0 - b) * 2.0 / chains as f64).sqrt();
            failures
                .check((a - b).abs() < 4.0 * error, || format!("{name}, {part}: {a}, not {b} +- {error}"));
        }
        let outside = ends.iter().filter(|x| x.abs() > bound).count();
        failures.check(outside == 0, || format!("{name}: {outside} values outside"));
    }
    failures.assert_none();
}

#[test]
fn same_seed_same_bits() {
    let known = gaussian(5, 1.0);
    for device in [Device::cpu(), common::gpu()] {
        let run = |seed| {
            pollster::block_on(async {
                let settings =
                    Settings { temperature: 1.0, tilted: false, steps: 123, chains: 19, leapfrogs: 2, seed };
                let mut annealing =
                    Annealing::new(&device, &known.model, known.base.clone(), settings).await.unwrap();
                let forward = annealing.forward().await.unwrap();
                let (ends, _) = annealing.settle(&forward.images).await.unwrap();
                (annealing.schedule().to_vec(), annealing.reverse(&ends).await.unwrap(), forward)
            })
        };
        let first = run(1);
        assert_eq!(first, run(1));
        assert_ne!(first.2, run(2).2);
        let betas: Vec<f32> = first.0.iter().map(|rung| rung.beta).collect();
        assert!(betas.len() == 124 && betas[0] == 0.0 && betas[123] == 1.0);
        assert!(betas.windows(2).all(|pair| pair[0] < pair[1]), "{betas:?}");
    }
}

/// A base's constant and draws, against sums over a grid.
#[test]
fn bases_are_what_they_say() {
    let shape = Shape { channels: 3, height: 1, width: 1 };
    let mut failures = Failures::default();
    for bound in [0.8, 2.0, f32::INFINITY] {
        let (mean, variance) = (vec![-0.8, 0.1, 0.5], vec![0.01, 0.6, 0.25]);
        let base = Base::normal(shape, mean.clone(), variance.clone(), bound);
        let draws = base.draw(40_000, 3);
        let mut log_z = 0.0;
        for (i, (mean, variance)) in mean.iter().zip(&variance).enumerate() {
            let (mean, variance) = (f64::from(*mean), f64::from(*variance));
            let reach = f64::from(bound).min(8.0);
            let x = |j: i32| (f64::from(j) + 0.5) / 50_000.0 * reach;
            let weights: Vec<(f64, f64)> = (-50_000..50_000)
                .map(|j| (x(j), (-(x(j) - mean).powi(2) / (2.0 * variance)).exp()))
                .collect();
            let sum: f64 = weights.iter().map(|(_, w)| w).sum();
            log_z += (sum * reach / 50_000.0).ln();
            let expect = |f: &dyn Fn(f64) -> f64| weights.iter().map(|(x, w)| w * f(*x)).sum::<f64>() / sum;
            let values: Vec<f64> = draws.values[i..].iter().step_by(3).map(|x| f64::from(*x)).collect();
            for power in [1, 2] {
                let want = expect(&|x| x.powi(power));
                let error = (expect(&|x| (x.powi(power) - want).powi(2)) / 40_000.0).sqrt();
                let got = values.iter().map(|x| x.powi(power)).sum::<f64>() / 40_000.0;
                failures.check((got - want).abs() < 4.5 * error, || {
                    format!("{bound}, value {i}, power {power}: {got}, not {want} +- {error}")
                });
            }
            failures
                .check(values.iter().all(|x| x.abs() <= f64::from(bound)), || format!("{bound}: outside"));
        }
        failures.close("log Z", &[base.log_z()], &[log_z], 1e-6, 1e-6);
    }
    let uniform = Base::uniform(shape, 0.5);
    assert_eq!(uniform.log_z(), 0.0);
    let draws = uniform.draw(10_000, 1).values;
    assert!(draws.iter().all(|x| (-0.5..0.5).contains(x)));
    assert!((draws.iter().sum::<f32>() / 30_000.0).abs() < 4.0 * 0.289 / 173.0);

    // Fitted: means and variances, none of them tiny.
    let mut rng = Rng(1);
    let images = Images {
        shape,
        values: (0..900).map(|i| if i % 3 == 0 { -1.0 } else { rng.signed() as f32 }).collect(),
    };
    let column = |i: usize| images.values[i..].iter().step_by(3).map(|x| f64::from(*x));
    let moments = |i: usize| {
        let mean = column(i).sum::<f64>() / 300.0;
        (mean, column(i).map(|x| (x - mean).powi(2)).sum::<f64>() / 300.0)
    };
    let variance = (0..3).map(|i| moments(i).1).sum::<f64>() / 3.0;
    let floored = |i: usize| (moments(i).0 as f32, moments(i).1.max(0.01 * variance) as f32);
    let (mean, variance) = (0..3).map(floored).unzip();
    let want = Base::normal(shape, mean, variance, 1.0).log_z();
    failures.close("fitted", &[Base::fitted(&images, 1.0).log_z()], &[want], 1e-4, 1e-4);
    failures.assert_none();
}

/// The whole way, for a network in the plane whose log Z quadrature tells, in a box, on both executors.
#[test]
fn a_networks_figures_enclose_the_truth() {
    let mut rng = Rng(9);
    let network = Network::builder("points", [2, 1, 1])
        .dense(16)
        .activation(Activation::Swish)
        .dense(16)
        .activation(Activation::Swish)
        .dense(1)
        .build()
        .unwrap();
    let parameters = (0..network.n_parameters).map(|_| 1.2 * rng.signed() as f32).collect();
    let model = Model { network, parameters };
    let square = |n: usize| {
        let at = move |i: usize| -1.0 + (i as f32 + 0.5) * 2.0 / n as f32;
        let values = (0..n * n).flat_map(|i| [at(i / n), at(i % n)]).collect();
        Images { shape: points(2), values }
    };
    let temperature = 0.05;
    let mut failures = Failures::default();
    for device in [Device::cpu(), common::gpu()] {
        pollster::block_on(async {
            let grid = square(300);
            let energies =
                thalweg::EnergyModel::new(&device, &model).await.unwrap().energies(&grid).await.unwrap();
            let sum: f64 = energies.iter().map(|e| (-f64::from(*e) / temperature).exp()).sum();
            let log_z = (sum * 4.0 / 90_000.0).ln();
            // "Training" and held-out points near the lowest energies; one held-out point lies outside.
            let lowest = energies.iter().copied().fold(f32::INFINITY, f32::min);
            let near = |most: f32| -> Vec<f32> {
                let found = grid.values.chunks_exact(2).zip(&energies).filter(|(_, e)| **e < lowest + most);
                found.flat_map(|(p, _)| p.to_vec()).collect()
            };
            let train = Images { shape: points(2), values: near(0.2) };
            let mut held_out = Images { shape: points(2), values: near(0.1) };
            let n = held_out.count();
            held_out.values.extend([0.0, 1.5]);
            let chain_config = ChainConfig { clamp: 1.0, ..ChainConfig::default() };
            let subject = Subject {
                device: &device,
                model: &model,
                chain_config: &chain_config,
                held_out: &held_out,
                seed: 2,
            };
            for base in [BaseKind::Normal, BaseKind::Uniform, BaseKind::Nearer] {
                let options = Options { temperature, base, steps: 300, chains: 200, leapfrogs: 1 };
                let found = measure(&subject, &train, &options, |_| ()).await.unwrap();
                let name = format!("{device}, {base:?}: true {log_z}, {found:?}");
                println!("{name}\n{found}");
                let (lower, upper) = (found.log_z_lower, found.log_z_upper);
                failures.check(lower.log_z < log_z + 4.0 * lower.standard_error, || name.clone());
                failures.check(upper.log_z > log_z - 4.0 * upper.standard_error, || name.clone());
                failures.check(upper.log_z - lower.log_z < 0.3, || name.clone());
                failures.check(found.upper_holds(), || name.clone());
                failures
                    .check(found.base.starts_with("uniform") == (base == BaseKind::Uniform), || name.clone());
                let likely = &found.log_likelihood;
                let mean: f64 = near(0.1)
                    .chunks_exact(2)
                    .map(|p| {
                        let i = grid.values.chunks_exact(2).position(|q| q == p).unwrap();
                        -f64::from(energies[i]) / temperature
                    })
                    .sum::<f64>()
                    / n as f64;
                failures.check((likely.count, likely.outside) == (n + 1, 1), || name.clone());
                let want = [mean - upper.log_z, mean - lower.log_z];
                failures.close("log-likelihood", &[likely.lower, likely.upper], &want, 1e-3, 1e-4);
                let bits = want.map(|nats| nats / 2.0 / 2.0_f64.ln());
                failures.close("bits", &[likely.lower_bits, likely.upper_bits], &bits, 1e-3, 1e-4);
                let json = serde_json::to_value(&found).unwrap();
                failures.check(json["log_z_lower"]["log_z"] == lower.log_z, || json.to_string());
            }
        });
    }
    failures.assert_none();
}

/// Of annealed chains the density is that of a noise level's images, and held-out images are blurred.
#[test]
fn annealed_chains_have_the_density_of_a_noise_level() {
    let (device, sigma) = (Device::cpu(), 0.5);
    let network = Network::builder("plane", [2, 1, 1]).dense(1).build().unwrap();
    let (w, b) = ([0.6, -0.3], 0.2);
    let model = Model { network, parameters: vec![w[0], w[1], b] };
    let chain_config = ChainConfig { form: Form::Annealed, clamp: 1.0, ..ChainConfig::default() };
    // Points at (1, -1) and (0.5, 0) in turn.
    let held_out = Images { shape: points(2), values: [1.0, -1.0, 0.5, 0.0].repeat(4000) };
    let subject =
        Subject { device: &device, model: &model, chain_config: &chain_config, held_out: &held_out, seed: 1 };
    let options = Options { temperature: sigma, steps: 200, chains: 500, ..Options::default() };
    let found = pollster::block_on(measure(&subject, &held_out, &options, |_| ())).unwrap();
    println!("{found}");
    let [w0, w1, b] = [w[0], w[1], b].map(f64::from);
    let log_z = -b / sigma + (w0 * w0 + w1 * w1) / (2.0 * sigma * sigma) + TAU.ln();
    assert!((found.log_z_lower.log_z - log_z).abs() < 0.05, "{log_z}: {found}");
    assert!((found.log_z_upper.log_z - log_z).abs() < 0.05, "{log_z}: {found}");
    assert!(found.upper_holds() && found.density == Density::Blurred, "{found}");
    // Blurred by sigma, variance preserved: E(alpha x) / sigma and (alpha^2 |x|^2 + 2 s^2) / 2 in the mean.
    let alpha = 1.0 / (1.0 + sigma * sigma).sqrt();
    let exponent = |x: f64, y: f64| {
        let energy = b + alpha * (w0 * x + w1 * y);
        energy / sigma + 0.5 * alpha * alpha * (x * x + y * y + 2.0 * sigma * sigma)
    };
    let want = -(exponent(1.0, -1.0) + exponent(0.5, 0.0)) / 2.0 - found.log_z_lower.log_z;
    let likely = &found.log_likelihood;
    assert!((likely.upper - want).abs() < 4.5 * likely.standard_error, "{want}: {found}");
    assert!(likely.standard_error < 0.02 && (likely.count, likely.outside) == (8000, 0), "{found}");
}

/// The energy that `score.target=velocity` asks for has the blurred data's density at the noise level, constant and all; and
/// annealed chains that stay at a level tend to it.
#[test]
fn the_density_of_a_noise_level_is_that_of_blurred_data() {
    // E = sum k x^2 / 2, k = 1 and 4. The density is to have variances v = 1 / (k / sigma + 1), so that the data's are these,
    // unblurred: v = alpha^2 c^2 + s^2.
    let (device, sigma) = (Device::cpu(), 0.2_f64);
    let (stiff, alpha) = ([1.0, 4.0], 1.0 / (1.0 + sigma * sigma).sqrt());
    let s = sigma * alpha;
    let v = stiff.map(|k: f64| 1.0 / (k / sigma + 1.0));
    let c = v.map(|v| ((v - s * s) / (alpha * alpha)).sqrt());
    let mut rng = Rng(21);
    let n = 20_000;
    let mut draw = || -> Vec<f64> { (0..2 * n).map(|i| normal(&mut rng) * c[i % 2]).collect() };
    let (train, held_out) = (draw(), draw());

    // The target's mean, given the blurred x, is dE/dx = k x: that is what the least squares' slope is.
    for i in 0..2 {
        let (mut products, mut squares) = (0.0, 0.0);
        for x in train[i..].iter().step_by(2) {
            let noise = normal(&mut rng);
            let (blurred, target) = (alpha * x + s * noise, alpha * noise - s * x);
            (products, squares) = (products + target * blurred, squares + blurred * blurred);
        }
        let slope = products / squares;
        assert!((slope / stiff[i] - 1.0).abs() < 0.05, "{slope}, not {}", stiff[i]);
    }

    let images =
        |values: &[f64]| Images { shape: points(2), values: values.iter().map(|x| *x as f32).collect() };
    let (train, held_out) = (images(&train), images(&held_out));
    let model = analytic(Analytic::Gaussian, 2);
    let chain_config = ChainConfig {
        form: Form::Annealed,
        step_size: 0.02,
        noise: sigma as f32,
        clamp: 0.0,
        gradient_clip: 0.0,
        ..ChainConfig::default()
    };
    assert!((temperature_of(&chain_config).unwrap() - sigma).abs() < 1e-6);
    pollster::block_on(async {
        let subject = Subject {
            device: &device,
            model: &model,
            chain_config: &chain_config,
            held_out: &held_out,
            seed: 4,
        };
        let options = Options { temperature: sigma, steps: 200, chains: 500, ..Options::default() };
        let found = measure(&subject, &train, &options, |_| ()).await.unwrap();
        println!("{found}");
        let log_z: f64 = v.iter().map(|v| 0.5 * (TAU * v).ln()).sum();
        for bound in [found.log_z_lower, found.log_z_upper] {
            assert!((bound.log_z - log_z).abs() < 0.03, "{log_z}: {found}");
        }
        // What blurred data have under their own density: minus its entropy.
        let (want, likely) = (-log_z - 1.0, &found.log_likelihood);
        for bound in [likely.lower, likely.upper] {
            assert!((bound - want).abs() < 0.03 + 4.0 * likely.standard_error, "{want}: {found}");
        }
        assert!(likely.standard_error < 0.01 && found.upper_holds(), "{found}");

        let mut sampler = Sampler::new(&device, &model, n, &chain_config, 5).await.unwrap();
        sampler.run(1500).unwrap();
        let ends = sampler.images().await.unwrap();
        for (i, v) in v.iter().enumerate() {
            let values = ends.values[i..].iter().step_by(2).map(|x| f64::from(*x).powi(2));
            let variance = values.sum::<f64>() / n as f64;
            assert!((variance / v - 1.0).abs() < 0.05, "{i}: variance {variance}, not {v}");
        }
    });
}

#[test]
fn temperatures_are_the_chains() {
    let chain_config = |form, step_size, noise| ChainConfig {
        form,
        step_size,
        noise,
        temperature: 0.25,
        ..ChainConfig::default()
    };
    assert_eq!(temperature_of(&chain_config(Form::Mala, 3.0, 0.0)), Some(0.25));
    assert_eq!(temperature_of(&chain_config(Form::Theory, 3.0, 0.0)), Some(0.25));
    // Steps of `theory` of size 0.02 at temperature 0.5: drift 0.01, noise sqrt(0.01).
    let found = temperature_of(&chain_config(Form::NoiseLast, 0.01, 0.1)).unwrap();
    assert!((found - 0.5).abs() < 1e-6, "{found}");
    // Annealed: the last level.
    let annealed = ChainConfig {
        noise_end: 0.25,
        interpolation: Interpolation::Geometric,
        levels: 9,
        ..chain_config(Form::Annealed, 0.02, 5.0)
    };
    assert_eq!(temperature_of(&annealed), Some(0.25));
    assert_eq!(temperature_of(&chain_config(Form::NoiseFirst, 1.0, 0.0)), None);
    assert_eq!(temperature_of(&chain_config(Form::NoiseFirst, 0.0, 0.1)), None);
}

#[test]
fn what_can_t_be_is_refused() {
    let device = Device::cpu();
    let model = analytic(Analytic::Gaussian, 2);
    let settings = Settings { temperature: 1.0, tilted: false, steps: 5, chains: 8, leapfrogs: 1, seed: 0 };
    let text = |error: Error| match error {
        Error::Usage(text) => text,
        other => panic!("{other:?}"),
    };
    let refused = |model: &Model, base: Base, settings: Settings| {
        text(pollster::block_on(Annealing::new(&device, model, base, settings)).unwrap_err())
    };
    for wrong in [
        Settings { steps: 0, ..settings },
        Settings { chains: 1, ..settings },
        Settings { leapfrogs: 0, ..settings },
    ] {
        assert!(refused(&model, wide(2), wrong).contains("at least"), "{wrong:?}");
    }
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-310] {
        let found = refused(&model, wide(2), Settings { temperature, ..settings });
        assert!(found.contains("temperature"), "{found}");
    }
    assert!(refused(&model, wide(3), settings).contains("3x1x1"));
    let network = Network::builder("points", [2, 1, 1]).dense(1).build().unwrap();
    let diverged = Model { parameters: vec![f32::NAN; network.n_parameters], network };
    assert!(refused(&diverged, wide(2), settings).contains("diverged"));

    pollster::block_on(async {
        let mut annealing = Annealing::new(&device, &model, wide(2), settings).await.unwrap();
        let seven = Images { shape: points(2), values: vec![0.0; 14] };
        assert!(text(annealing.reverse(&seven).await.unwrap_err()).contains("7 images"));

        let held_out = Images { shape: points(2), values: vec![0.0; 14] };
        let chain_config = ChainConfig { clamp: 0.0, noise: 0.0, ..ChainConfig::default() };
        let subject = Subject {
            device: &device,
            model: &model,
            chain_config: &chain_config,
            held_out: &held_out,
            seed: 0,
        };
        let of = async |options: Options, train: &Images| {
            text(measure(&subject, train, &options, |_| ()).await.unwrap_err())
        };
        let uniform = Options { base: BaseKind::Uniform, ..Options::default() };
        assert!(of(uniform, &seven).await.contains("box"));
        // Nor is there one for blurred images, whatever the chains are clamped to.
        let annealed = ChainConfig { form: Form::Annealed, clamp: 1.0, ..chain_config };
        let error = measure(&Subject { chain_config: &annealed, ..subject }, &seven, &uniform, |_| ()).await;
        assert!(text(error.unwrap_err()).contains("box"));
        let none = Images { shape: points(2), values: Vec::new() };
        assert!(of(Options::default(), &none).await.contains("no training"));
        let other = Images { shape: points(3), values: vec![0.0; 9] };
        assert!(of(Options::default(), &other).await.contains("3x1x1"));
    });
}
