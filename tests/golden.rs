//! The engine against PyTorch in double precision: `tests/golden/mnist-small.safetensors` holds parameters, images,
//! energies, input gradients, parameter gradients of the contrastive-divergence loss (alpha 0.1), and parameters after
//! one and three Adam steps.

use std::collections::BTreeMap;
use thalweg::checkpoint::{Tensor, TensorData, load_tensors};
use thalweg::cpu::Isa;
use thalweg::device::{Device, Machine};
use thalweg::network::{Network, preset};
use thalweg::plan::{SamplerNumbers, Target, TrainingNumbers, energy_plan, training_plan};

mod common;

struct Golden {
    tensors: BTreeMap<String, Tensor>,
    network: Network,
}

impl Golden {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mnist-small.safetensors");
        Self { tensors: load_tensors(path).unwrap().1, network: preset("mnist-small").unwrap() }
    }

    fn get(&self, name: &str) -> &[f32] {
        match &self.tensors[name].data {
            TensorData::F32(values) => values,
            TensorData::U32(_) => panic!("{name} holds no floats"),
        }
    }

    /// The flat parameter vector whose tensors are called `prefix` + name.
    fn parameters(&self, prefix: &str) -> Vec<f32> {
        let mut flat = vec![f32::NAN; self.network.n_parameters];
        for tensor in self.network.tensors() {
            flat[tensor.range()].copy_from_slice(self.get(&format!("{prefix}{}", tensor.name)));
        }
        flat
    }
}

/// The largest error, as a share of the reference's largest magnitude. NaN anywhere gives NaN.
fn relative(values: &[f32], reference: &[f32]) -> f64 {
    assert_eq!(values.len(), reference.len());
    let scale = reference.iter().fold(0.0_f64, |m, v| m.max(f64::from(v.abs())));
    absolute(values, reference) / scale
}

fn absolute(values: &[f32], reference: &[f32]) -> f64 {
    let errors = values.iter().zip(reference).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    errors.fold(0.0, |m, e| {
        if m >= e {
            m
        } else if e.is_nan() {
            f64::NAN
        } else if m.is_nan() {
            m
        } else {
            e
        }
    })
}

fn check(golden: &Golden, device: &Device, target: Target) {
    pollster::block_on(async {
        let network = &golden.network;
        let (channels, pixels) = (1, network.input.len());
        // Energies and input gradients.
        let plan = energy_plan(network, 5, target);
        let mut machine = Machine::new(device, plan.plan.clone()).await.unwrap();
        machine.write_floats(plan.pass.parameters, &golden.parameters(""));
        machine.run(plan.start).unwrap();
        for set in ["real", "fake"] {
            machine.write_floats(plan.pass.x, &plan.plan.to_blocks(golden.get(set), channels, pixels));
            machine.run(plan.gradients).unwrap();
            let energies = machine.read_floats(plan.pass.energies).await.unwrap();
            let gradients = machine.read_floats(plan.pass.input_gradient).await.unwrap();
            let gradients = plan.plan.from_blocks(&gradients, 5, channels, pixels);
            let energy_error = relative(&energies[..5], golden.get(&format!("energy.{set}")));
            let gradient_error = relative(&gradients, golden.get(&format!("input_grad.{set}")));
            println!("{device} {set}: energy {energy_error:.1e}, input gradient {gradient_error:.1e}");
            assert!(energy_error <= 1e-5 && gradient_error <= 1e-5, "{device} {set}");
        }
        // Loss, parameter gradients, Adam.
        let numbers = TrainingNumbers {
            batch: 5,
            n_images: 5,
            data_shape: network.input,
            data_noise: 0.0,
            chain: SamplerNumbers { steps: 1, noise: 0.0, ..SamplerNumbers::default() },
            ring_capacity: 5,
            fresh: 0.0,
            alpha: 0.1,
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-7,
            gradient_norm_clip: 0.0,
            ..TrainingNumbers::default()
        };
        let plan = training_plan(network, &numbers, target);
        let mut machine = Machine::new(device, plan.plan.clone()).await.unwrap();
        machine.write_floats(plan.pass.parameters, &golden.parameters(""));
        machine.run(plan.start).unwrap();
        let mut images = plan.plan.to_blocks(golden.get("real"), channels, pixels);
        images.extend(plan.plan.to_blocks(golden.get("fake"), channels, pixels));
        machine.write_floats(plan.pass.x, &images);
        for step in 1..=3 {
            machine.run(plan.update).unwrap();
            if step == 1 {
                let loss = machine.read_floats(plan.metrics).await.unwrap()[0];
                let gradient = machine.read_floats(plan.gradient).await.unwrap();
                let mut error: f64 = 0.0;
                for tensor in network.tensors() {
                    let reference = golden.get(&format!("grad.{}", tensor.name));
                    let one = relative(&gradient[tensor.range()], reference);
                    assert!(one <= 1e-4, "{device}: gradient of {} is off by {one:.1e}", tensor.name);
                    error = error.max(one);
                }
                println!("{device}: loss {loss}, parameter gradient {error:.1e}");
                assert!(absolute(&[loss], &golden.get("loss")[..1]) <= 1e-5, "{device}: loss {loss}");
            }
            if step != 2 {
                let parameters = machine.read_floats(plan.pass.parameters).await.unwrap();
                let error = absolute(&parameters, &golden.parameters(&format!("adam{step}.")));
                println!("{device}: parameters after {step} Adam steps {error:.1e}");
                assert!(error <= 1e-6, "{device}: parameters after {step} Adam steps are off by {error:.1e}");
            }
        }
    });
}

#[test]
fn cpu() {
    let golden = Golden::load();
    for isa in Isa::available() {
        check(&golden, &Device::Cpu(isa), Target::CPU);
    }
}

#[test]
fn gpu() {
    let golden = Golden::load();
    let device = common::gpu();
    check(&golden, &device, Target::gpu(5));
    check(&golden, &device, Target::gpu(128));
}

#[test]
fn errors_are_noticed() {
    assert!(absolute(&[1.0, f32::NAN, 1.0], &[1.0, 1.0, 1.0]).is_nan());
    assert!(relative(&[1.0, 2.0], &[1.0, 2.1]) > 1e-2);
}
