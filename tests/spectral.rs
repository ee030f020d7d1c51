//! Bounded spectral norms: the power iteration on the device against singular values in double precision, the projection,
//! and that training keeps the bounds and goes on where it stopped.

use crate::common;

use common::{Rng, bits, checkpoint, steps};
use thalweg::checkpoint::Checkpoint;
use thalweg::cpu::Isa;
use thalweg::data::{Examples, Shape};
use thalweg::device::{Device, Executor};
use thalweg::kernels::spectral_input::Matrix;
use thalweg::network::{Activation, Network};
use thalweg::plan::{ExampleStorage, SpectralPlan, TrainingData, TrainingPlan, training_plan};
use thalweg::{Dataset, Recipe, Trainer};

fn devices() -> Vec<Device> {
    Isa::available().into_iter().map(Device::Cpu).chain([common::gpu()]).collect()
}

/// Convolutions and dense layers of more rows than columns and the other way round; in each kind one without a bound.
fn of_images(bound: f32) -> Network {
    Network::builder("bounded", [3, 9, 7])
        .conv(5, 3)
        .spectral(bound)
        .activation(Activation::Swish)
        .conv(70, 2)
        .spectral(2.0 * bound)
        .conv(3, 1)
        .dense(300)
        .activation(Activation::Swish)
        .spectral(bound)
        .dense(4)
        .dense(1)
        .spectral(bound)
        .build()
        .unwrap()
}

fn of_sequences(bound: f32) -> Network {
    Network::builder("bounded", [2, 1, 5]).lstm(7, 2, true).spectral(bound).dense(1).build().unwrap()
}

fn plan(network: &Network, device: &Device) -> (TrainingPlan, SpectralPlan) {
    let recipe = common::recipe(&["train.batch=3", "replay.capacity=3"]);
    let data = TrainingData::new(ExampleStorage::Floats, 3, network.input);
    let plan = training_plan(network, &recipe, &data, device.target(3));
    let spectral = plan.spectral.clone().unwrap();
    (plan, spectral)
}

/// The largest singular value: 5,000 power iterations in double precision, from another vector.
fn singular_value(matrix: &Matrix, parameters: &[f32]) -> f64 {
    let weights: Vec<f64> = parameters[matrix.range()].iter().map(|w| f64::from(*w)).collect();
    let rows = || weights.chunks_exact(matrix.columns);
    let mut v: Vec<f64> = (0..matrix.columns).map(|i| 1.0 + (0.7 * i as f64).sin()).collect();
    let mut norm = 0.0;
    for _ in 0..5000 {
        let length = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        v.iter_mut().for_each(|v| *v /= length);
        let t: Vec<f64> = rows().map(|row| row.iter().zip(&v).map(|(w, v)| w * v).sum()).collect();
        norm = t.iter().map(|t| t * t).sum::<f64>().sqrt();
        v.fill(0.0);
        for (row, t) in rows().zip(&t) {
            v.iter_mut().zip(row).for_each(|(v, w)| *v += w * t);
        }
    }
    norm
}

/// A machine with random parameters and random vectors, after some iterations; and the parameters.
async fn iterated(device: &Device, network: &Network, times: usize) -> (Executor, TrainingPlan, Vec<f32>) {
    let (plan, spectral) = plan(network, device);
    let mut executor = Executor::new(device, plan.plan.clone()).await.unwrap();
    let mut rng = Rng(3);
    let mut random = |n: usize| -> Vec<f32> { rng.signeds(n).iter().map(|v| *v as f32).collect() };
    let parameters = random(network.n_parameters);
    executor.write_floats(plan.pass.parameters, &parameters);
    executor.write_floats(spectral.vectors, &random(plan.plan.len_of(spectral.vectors)));
    for _ in 0..times {
        executor.run(spectral.iterate).unwrap();
    }
    (executor, plan, parameters)
}

#[test]
fn norms_are_the_largest_singular_values() {
    pollster::block_on(async {
        for device in devices() {
            for (network, n_matrices) in [(of_images(1e6), 4), (of_sequences(1e6), 8)] {
                let (executor, plan, parameters) = iterated(&device, &network, 400).await;
                let spectral = plan.spectral.unwrap();
                assert_eq!(spectral.matrices.len(), n_matrices);
                let norms = executor.read_floats(spectral.norms).await.unwrap();
                for ((matrix, _), norm) in spectral.matrices.iter().zip(&norms) {
                    let want = singular_value(matrix, &parameters);
                    let error = (f64::from(*norm) - want).abs() / want;
                    assert!(error <= 1e-4, "{device}, {matrix:?}: {norm}, not {want}");
                }
                // None is beyond its bound: nothing has moved.
                assert!(executor.read_floats(plan.pass.parameters).await.unwrap() == parameters, "{device}");
            }
        }
    });
}

#[test]
fn what_is_beyond_its_bound_is_scaled_down_to_it() {
    pollster::block_on(async {
        for device in devices() {
            for network in [of_images(0.5), of_sequences(0.5)] {
                let (executor, plan, before) = iterated(&device, &network, 400).await;
                let after = executor.read_floats(plan.pass.parameters).await.unwrap();
                let mut bounded = vec![false; before.len()];
                for (matrix, bound) in &plan.spectral.unwrap().matrices {
                    bounded[matrix.range()].fill(true);
                    let (was, is) = (singular_value(matrix, &before), singular_value(matrix, &after));
                    assert!(was > f64::from(*bound), "{matrix:?}: {was} is no test");
                    assert!((is / f64::from(*bound) - 1.0).abs() <= 1e-3, "{device}, {matrix:?}: {is}");
                    let factor = (is / was) as f32;
                    for (was, is) in before[matrix.range()].iter().zip(&after[matrix.range()]) {
                        assert!((is - factor * was).abs() <= 1e-3 * factor, "{device}, {matrix:?}");
                    }
                }
                for (i, (was, is)) in before.iter().zip(&after).enumerate() {
                    assert!(bounded[i] || was == is, "{device}: parameter {i} has no bound and moved");
                }
            }
        }
    });
}

/// Weights that are all 0, that overflow and that are not a number leave the vectors as they are.
#[test]
fn what_has_no_norm_changes_nothing() {
    pollster::block_on(async {
        let network = Network::builder("one", [3, 1, 1]).dense(2).spectral(0.5).dense(1).build().unwrap();
        for device in devices() {
            for value in [0.0, 1e30, f32::INFINITY, f32::NAN] {
                let (mut executor, plan, _) = iterated(&device, &network, 3).await;
                let spectral = plan.spectral.unwrap();
                let vectors = executor.read_floats(spectral.vectors).await.unwrap();
                let parameters = vec![value; network.n_parameters];
                executor.write_floats(plan.pass.parameters, &parameters);
                executor.run(spectral.iterate).unwrap();
                let after = executor.read_floats(plan.pass.parameters).await.unwrap();
                assert!(after.iter().all(|v| v.to_bits() == value.to_bits()), "{device}: {value} moves");
                let same = executor.read_floats(spectral.vectors).await.unwrap() == vectors;
                assert!(
                    same && executor.read_floats(spectral.norms).await.unwrap() == [0.0],
                    "{device}: {value}"
                );
            }
        }
    });
}

/// Short chains and a high learning rate, on digits of 8x8.
fn run(bound: Option<f32>) -> (Recipe, Dataset) {
    let layer = |n: thalweg::network::Builder| bound.map_or(n.clone(), |bound| n.spectral(bound));
    let network =
        layer(Network::builder("bounded", [1, 28, 28]).conv(6, 5).stride(3)).activation(Activation::Swish);
    let network = layer(network.dense(12)).activation(Activation::Swish);
    let network = layer(network.dense(1)).build().unwrap();
    let mut config = Recipe { network: Some(network.spec()), ..Recipe::preset("mnist-small").unwrap() };
    for setting in ["train.batch=16", "chain.steps=3", "adam.learning_rate=0.01", "seed=5", "ema.decay=0.9"] {
        config.set(setting).unwrap();
    }
    let mut dataset = Dataset::open("digits").unwrap();
    let Examples::Bytes(images) = &mut dataset.train else { panic!("digits are bytes") };
    images.bytes.truncate(64 * images.shape.len());
    assert_eq!(images.shape, Shape { channels: 1, height: 28, width: 28 });
    (config, dataset)
}

#[test]
fn training_keeps_the_bounds() {
    const BOUND: f32 = 0.6;
    pollster::block_on(async {
        let (of_bounded, _) = run(Some(BOUND));
        let network = of_bounded.network.as_ref().unwrap().build().unwrap();
        let matrices = plan(&network, &Device::cpu()).1.matrices;
        for device in [Device::cpu(), common::gpu()] {
            let mut largest = Vec::new();
            for bound in [Some(BOUND), None] {
                let (config, dataset) = run(bound);
                let mut trainer = Trainer::new(&device, &config, &dataset).await.unwrap();
                let mut norms: Vec<f64> = Vec::new();
                for _ in 0..6 {
                    let metrics = steps(&mut trainer, &[10]).await;
                    assert!(metrics.iter().all(|m| m.loss.is_finite()));
                    // Those of the last step, and their average.
                    let buffers = [trainer.plan().pass.parameters, trainer.plan().average.unwrap()];
                    for buffer in buffers {
                        let parameters = trainer.executor().read_floats(buffer).await.unwrap();
                        norms.extend(matrices.iter().map(|(matrix, _)| singular_value(matrix, &parameters)));
                    }
                }
                largest.push(norms.into_iter().fold(0.0, f64::max));
            }
            println!("{device}: the largest norm, bounded and not: {largest:?}");
            // One iteration a step finds a little less than there is.
            assert!(largest[0] <= 1.02 * f64::from(BOUND), "{device}: {largest:?}");
            assert!(largest[1] > 1.5 * f64::from(BOUND), "{device}: without a bound {largest:?} is no test");
        }
    });
}

#[test]
fn whole_steps_match_the_reference_launch_by_launch() {
    pollster::block_on(async {
        for device in [Device::cpu(), common::gpu()] {
            let (config, dataset) = run(Some(0.6));
            let mut trainer = Trainer::new(&device, &config, &dataset).await.unwrap();
            for step in 0..3 {
                let report = trainer.compare_step().await.unwrap();
                assert!(report.first_mismatch().is_none(), "{device}, step {step}:\n{report}");
            }
        }
    });
}

#[test]
fn resumed_is_uninterrupted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    pollster::block_on(async {
        for device in [Device::cpu(), common::gpu()] {
            let (config, dataset) = run(Some(0.6));
            let mut whole = Trainer::new(&device, &config, &dataset).await.unwrap();
            let metrics = steps(&mut whole, &[7]).await;
            let mut first = Trainer::new(&device, &config, &dataset).await.unwrap();
            let mut parts = steps(&mut first, &[4]).await;
            checkpoint(&first).await.save(&path).unwrap();
            let saved = Checkpoint::load(&path).unwrap();
            let mut second = Trainer::resume(&device, &path, saved, &dataset).await.unwrap();
            parts.extend(steps(&mut second, &[3]).await);
            assert_eq!(metrics, parts, "{device}");
            assert!(bits(&checkpoint(&whole).await) == bits(&checkpoint(&second).await), "{device}");

            let mut without = Checkpoint::load(&path).unwrap();
            assert!(without.tensors.remove("spectral.dense1.weight").is_some());
            let error = Trainer::resume(&device, &path, without, &dataset).await.unwrap_err().to_string();
            assert!(error.contains("\"spectral.dense1.weight\" ([12]) is missing"), "{error}");
        }
    });
}
