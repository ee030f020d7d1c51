//! Energies of a user's own, and the samplers over them.

use thalweg::data::Shape;
use thalweg::sampling::{Energy, HostSampler, LangevinOptions, Rule, energy_fn};
use thalweg::{Device, EnergyModel, Error, Images, Model, Sampler};

const POINT: Shape = Shape { channels: 2, height: 1, width: 1 };

fn starts(count: usize) -> Images {
    let values = (0..2 * count).map(|i| (i * 37 % 101) as f32 / 25.0 - 2.0).collect();
    Images { shape: POINT, values }
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= 2e-4 + 1e-3 * b.abs(), "value {i}: {a} and {b}");
    }
}

/// The host's chains move as the device's do: same equations, same random numbers.
#[test]
fn host_chains_are_the_devices() {
    pollster::block_on(async {
        let device = Device::open("cpu").await.unwrap();
        let (model, mut config) = Model::analytic("analytic:double-well").unwrap();
        for (form, rule) in [("theory", Rule::Unadjusted), ("mala", Rule::Metropolis)] {
            config.set(&format!("sample.form={form}")).unwrap();
            config.set("sample.step_size=0.05").unwrap();
            config.set("chain.temperature=0.7").unwrap();
            config.set("chain.gradient_clip=0").unwrap();
            config.set("chain.clamp=2.5").unwrap();
            let mut on_device = Sampler::new(&device, &model, 50, &config.sampling_chain(), 9).await.unwrap();
            on_device.start_from(&starts(50)).unwrap();
            let energy = EnergyModel::new(&device, &model).await.unwrap();
            let options = LangevinOptions { rule, step_size: 0.05, temperature: 0.7, bound: 2.5, seed: 9 };
            let mut on_host = HostSampler::new(energy, starts(50), options).await.unwrap();
            for steps in [1, 30] {
                on_device.run(steps).unwrap();
                on_host.run(steps).await.unwrap();
                close(&on_host.images().values, &on_device.images().await.unwrap().values);
                close(on_host.energies(), &on_device.energies().await.unwrap());
            }
            let acceptance = on_device.acceptance().await.unwrap();
            assert_eq!(on_host.acceptance(), acceptance, "{form}");
            assert_eq!(acceptance.is_some(), rule == Rule::Metropolis);
            assert_eq!(on_host.steps(), 31);
        }
    });
}

/// A density with a box and a temperature, of which the mean of |x| is known: exp(-|x|/T) on [-3, 3].
#[test]
fn chains_over_a_closure_have_its_density() {
    pollster::block_on(async {
        let shape = Shape { channels: 1, height: 1, width: 1 };
        let energy = energy_fn(shape, |x, gradient| {
            gradient[0] = x[0].signum();
            x[0].abs()
        });
        let start = Images { shape, values: vec![0.5; 2000] };
        let options = LangevinOptions {
            rule: Rule::Metropolis,
            step_size: 1.0,
            temperature: 1.5,
            bound: 3.0,
            ..LangevinOptions::default()
        };
        let mut sampler = HostSampler::new(energy, start, options).await.unwrap();
        sampler.run(200).await.unwrap();
        let mean = sampler.images().values.iter().map(|x| f64::from(x.abs())).sum::<f64>() / 2000.0;
        let (t, b) = (1.5_f64, 3.0_f64);
        let truth = t - b / ((b / t).exp() - 1.0);
        assert!((mean - truth).abs() < 0.08, "{mean} and {truth}");
        assert!(sampler.images().values.iter().all(|x| x.abs() <= 3.0));
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    pollster::block_on(async {
        let flat = || {
            energy_fn(POINT, |_, gradient| {
                gradient.fill(0.0);
                1.0
            })
        };
        let wrong = Images { shape: Shape { channels: 3, ..POINT }, values: vec![0.0; 3] };
        let options = LangevinOptions::default();
        let error = HostSampler::new(flat(), wrong.clone(), options).await.unwrap_err();
        assert!(
            matches!(&error, Error::Usage(text) if text.contains("3x1x1") && text.contains("2x1x1")),
            "{error}"
        );
        assert!(flat().energies(&wrong).await.is_err());
        let none = Images { shape: POINT, values: Vec::new() };
        assert!(HostSampler::new(flat(), none, options).await.is_err());
        for step_size in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let options = LangevinOptions { step_size, ..options };
            assert!(HostSampler::new(flat(), starts(3), options).await.is_err(), "{step_size}");
        }
        assert_eq!(flat().energies(&starts(3)).await.unwrap(), [1.0; 3]);
    });
}

/// Returns a number of energies and of gradients' values that has nothing to do with the examples.
#[derive(Debug)]
struct Short {
    calls_that_fit: u32,
    energies: usize,
    values: usize,
}

impl Energy for Short {
    fn shape(&self) -> Shape {
        POINT
    }

    async fn energies_and_gradients(&mut self, x: &Images) -> thalweg::Result<(Vec<f32>, Images)> {
        let fits = self.calls_that_fit > 0;
        self.calls_that_fit = self.calls_that_fit.saturating_sub(1);
        let (energies, values) =
            if fits { (x.count(), x.values.len()) } else { (self.energies, self.values) };
        Ok((vec![0.0; energies], Images { shape: POINT, values: vec![0.0; values] }))
    }
}

#[test]
fn an_energy_that_returns_too_few_or_too_many_values_is_refused() {
    pollster::block_on(async {
        for rule in [Rule::Unadjusted, Rule::Metropolis] {
            let options = LangevinOptions { rule, ..LangevinOptions::default() };
            for (energies, values) in [(2, 6), (3, 5), (0, 0), (4, 6), (3, 8)] {
                let short = |calls_that_fit| Short { calls_that_fit, energies, values };
                let error = HostSampler::new(short(0), starts(3), options).await.unwrap_err();
                assert!(matches!(&error, Error::Usage(text) if text.contains("3 examples")), "{error}");
                let mut sampler = HostSampler::new(short(2), starts(3), options).await.unwrap();
                sampler.run(1).await.unwrap();
                assert!(sampler.run(1).await.is_err(), "{energies} energies, {values} values");
            }
            let ragged = Images { values: vec![0.0; 5], ..starts(3) };
            assert!(
                HostSampler::new(Short { calls_that_fit: 9, energies: 0, values: 0 }, ragged, options)
                    .await
                    .is_err()
            );
        }
    });
}
