//! Annealed importance sampling's bases and temperatures.

use crate::common::{Failures, Rng};
use thalweg::Images;
use thalweg::data::Shape;
use thalweg::evaluate::ais::{Base, temperature_of};
use thalweg::kernels::dynamics::{Form, Interpolation};
use thalweg::plan::ChainConfig;

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
