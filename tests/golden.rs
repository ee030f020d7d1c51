//! The engine against PyTorch in double precision: `tests/golden/NAME.safetensors` holds parameters of a network, images,
//! energies, input gradients, parameter gradients of the contrastive-divergence loss (alpha 0.1), and parameters after
//! one and three Adam steps. To keep the files small, those of the larger networks have a tensor `strides`: of each
//! tensor of gradients every `strides[0]`-th element only, and of each tensor after Adam every `strides[1]`-th.

use std::collections::BTreeMap;
use thalweg::checkpoint::{Tensor, TensorData, load_tensors};
use thalweg::cpu::Isa;
use thalweg::data::Shape;
use thalweg::device::{Device, Executor};
use thalweg::kernels::dynamics::Form;
use thalweg::network::Network;
use thalweg::plan::{
    ChainConfig, ExampleStorage, Target, TrainingData, energy_plan, sampler_plan, training_plan,
};
use thalweg::recipe::Recipe;
use thalweg::recipe::presets::{preset, preset_for};

use crate::common;

struct Golden {
    tensors: BTreeMap<String, Tensor>,
    network: Network,
    strides: [usize; 2], // of gradients, and of parameters after Adam
}

impl Golden {
    fn load(name: &str, network: Network) -> Self {
        let path = format!("{}/tests/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let mut tensors = load_tensors(path).unwrap().1;
        let strides = match tensors.remove("strides").map(|t| t.data) {
            Some(TensorData::U32(strides)) => [strides[0] as usize, strides[1] as usize],
            _ => [1, 1],
        };
        Self { tensors, network, strides }
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
    // An LSTM has weights whose gradient is 0: no error is small beside it.
    absolute(values, reference) / scale.max(1e-30)
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

/// Five images of each kind, no chain to speak of.
fn data(network: &Network) -> TrainingData {
    TrainingData::new(ExampleStorage::Bytes, 5, network.input)
}

fn recipe() -> Recipe {
    let mut recipe =
        common::recipe(&["train.batch=5", "replay.capacity=5", "replay.fresh=0", "chain.steps=1"]);
    (recipe.data.noise, recipe.chain.noise) = (0.0, 0.0);
    recipe
}

/// Every `stride`-th element.
fn every(stride: usize, values: &[f32]) -> Vec<f32> {
    values.iter().step_by(stride).copied().collect()
}

fn check(golden: &Golden, device: &Device, target: Target) {
    pollster::block_on(async {
        let network = &golden.network;
        let (channels, pixels) = (network.input.channels, network.input.height * network.input.width);
        // Energies and input gradients.
        let plan = energy_plan(network, 5, target);
        let mut executor = Executor::new(device, plan.plan.clone()).await.unwrap();
        executor.write_floats(plan.pass.parameters, &golden.parameters(""));
        executor.run(plan.start).unwrap();
        for set in ["real", "fake"] {
            executor.write_floats(plan.pass.x, &plan.plan.to_blocks(golden.get(set), channels, pixels));
            executor.run(plan.gradients).unwrap();
            let energies = executor.read_floats(plan.pass.energies).await.unwrap();
            let gradients = executor.read_floats(plan.pass.input_gradient).await.unwrap();
            let gradients = plan.plan.from_blocks(&gradients, 5, channels, pixels);
            let energy_error = relative(&energies[..5], golden.get(&format!("energy.{set}")));
            let gradient_error = relative(&gradients, golden.get(&format!("input_grad.{set}")));
            println!(
                "{} on {device}, {set}: energy {energy_error:.1e}, input gradient {gradient_error:.1e}",
                network.name
            );
            assert!(energy_error <= 1e-5 && gradient_error <= 1e-5, "{device} {set}");
        }
        // Loss, parameter gradients, Adam.
        let plan = training_plan(network, &recipe(), &data(network), target);
        let mut executor = Executor::new(device, plan.plan.clone()).await.unwrap();
        executor.write_floats(plan.pass.parameters, &golden.parameters(""));
        executor.run(plan.start).unwrap();
        let mut images = plan.plan.to_blocks(golden.get("real"), channels, pixels);
        images.extend(plan.plan.to_blocks(golden.get("fake"), channels, pixels));
        executor.write_floats(plan.pass.x, &images);
        for step in 1..=3 {
            executor.run(plan.update).unwrap();
            if step == 1 {
                let loss = executor.read_floats(plan.metrics).await.unwrap()[0];
                let gradient = executor.read_floats(plan.gradient).await.unwrap();
                let mut error: f64 = 0.0;
                for tensor in network.tensors() {
                    let reference = golden.get(&format!("grad.{}", tensor.name));
                    let kept = every(golden.strides[0], &gradient[tensor.range()]);
                    let one = relative(&kept, reference);
                    assert!(one <= 1e-4, "{device}: gradient of {} is off by {one:.1e}", tensor.name);
                    error = error.max(one);
                }
                println!("{device}: loss {loss}, parameter gradient {error:.1e}");
                assert!(absolute(&[loss], &golden.get("loss")[..1]) <= 1e-5, "{device}: loss {loss}");
            }
            if step != 2 {
                let parameters = executor.read_floats(plan.pass.parameters).await.unwrap();
                let mut error: f64 = 0.0;
                for tensor in network.tensors() {
                    let reference = golden.get(&format!("adam{step}.{}", tensor.name));
                    let kept = every(golden.strides[1], &parameters[tensor.range()]);
                    let one = absolute(&kept, reference);
                    assert!(one <= 1e-6, "{device}: {} after {step} Adam steps: {one:.1e}", tensor.name);
                    error = error.max(one);
                }
                println!("{device}: parameters after {step} Adam steps {error:.1e}");
            }
        }
    });
}

fn check_all(golden: &Golden) {
    for isa in Isa::available() {
        let device = Device::Cpu(isa);
        check(golden, &device, device.target(5));
        check(golden, &device, device.target(100));
    }
    let device = common::gpu();
    check(golden, &device, Target::gpu(5));
    check(golden, &device, Target::software(5, 8));
    if golden.network.langevin_flop() < 20_000_000 {
        // Wider blocks, which take llvmpipe minutes where layers are large.
        for target in [Target::gpu(128), Target::software(128, 8), Target::software(128, 16)] {
            check(golden, &device, target);
        }
    }
}

#[test]
fn presets() {
    for name in ["mnist-small", "mnist-deep", "conv-pool", "image-leaky", "mlp", "mlp-silu"] {
        check_all(&Golden::load(name, preset(name).unwrap()));
    }
}

/// dE/dx as chains of bfloat16 have it, from where a step without noise leads: so far that x is little beside it.
#[test]
fn gradients_of_chains_of_bf16() {
    if !Isa::Bf16.is_available() {
        return;
    }
    // A leaky ReLU's slope jumps where a sum's rounding takes it to the other side of 0.
    for (name, most) in
        [("mnist-small", 1e-2), ("mnist-deep", 1e-2), ("conv-pool", 1e-2), ("image-leaky", 0.15)]
    {
        let golden = Golden::load(name, preset(name).unwrap());
        let network = &golden.network;
        let (channels, pixels) = (network.input.channels, network.input.height * network.input.width);
        let gradient = golden.get("input_grad.real");
        let step_size = 1e4 / gradient.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
        let chain_config = ChainConfig {
            form: Form::NoiseFirst,
            step_size,
            noise: 0.0,
            gradient_clip: 0.0,
            clamp: 0.0,
            ..ChainConfig::default()
        };
        let device = Device::Cpu(Isa::Bf16);
        let plan = sampler_plan(network, 5, &chain_config, &[1], device.target(100));
        let blocks = pollster::block_on(async {
            let mut executor = Executor::new(&device, plan.plan.clone()).await.unwrap();
            executor.write_floats(plan.pass.parameters, &golden.parameters(""));
            executor.run(plan.start).unwrap();
            executor.write_floats(plan.pass.x, &plan.plan.to_blocks(golden.get("real"), channels, pixels));
            executor.run(plan.chains[0].1).unwrap();
            executor.read_floats(plan.pass.x).await.unwrap()
        });
        let ends = plan.plan.from_blocks(&blocks, 5, channels, pixels);
        let steps = golden.get("real").iter().zip(&ends).map(|(start, end)| (start - end) / step_size);
        let error = relative(&steps.collect::<Vec<_>>(), gradient);
        println!("{name} on {device}: input gradient of a chain {error:.1e}");
        assert!((1e-4..most).contains(&error), "{name}: {error:.1e}");
    }
}

/// Recipe R6's network (`tests/golden/sequence.py`), with an LSTM of `hidden`.
fn sequence(channels: usize, width: usize, hidden: usize) -> Network {
    Network::builder("sequence", [channels, 1, width]).lstm(hidden, 2, true).dense(1).build().unwrap()
}

#[test]
fn small_sequence() {
    check_all(&Golden::load("sequence", sequence(3, 19, 17)));
}

/// At its real size, with parameters made from their numbers.
fn check_big(golden: &Golden, device: &Device, target: Target) {
    pollster::block_on(async {
        let network = &golden.network;
        let n = network.n_parameters as u64;
        let number = |i: u64| ((i * 2_654_435_761 % (1 << 32)) >> 8) as f64 / f64::from(1 << 23) - 1.0;
        let parameters: Vec<f32> = (0..n).map(|i| (number(i) * 0.15) as f32).collect();
        let (channels, pixels) = (network.input.channels, network.input.width);
        let plan = training_plan(network, &recipe(), &data(network), target);
        let mut executor = Executor::new(device, plan.plan.clone()).await.unwrap();
        executor.write_floats(plan.pass.parameters, &parameters);
        executor.run(plan.start).unwrap();
        let mut images = plan.plan.to_blocks(golden.get("big.real"), channels, pixels);
        images.extend(plan.plan.to_blocks(golden.get("big.fake"), channels, pixels));
        executor.write_floats(plan.pass.x, &images);
        executor.run(plan.update).unwrap();
        let energies = executor.read_floats(plan.pass.energies).await.unwrap();
        let half = plan.half_blocks as usize * plan.plan.lanes as usize;
        let gradient = executor.read_floats(plan.gradient).await.unwrap();
        let gradient: Vec<f32> = gradient.into_iter().step_by(997).collect();
        let errors = [
            relative(&energies[..5], golden.get("big.energy.real")),
            relative(&energies[half..half + 5], golden.get("big.energy.fake")),
            0.1 * relative(&gradient, golden.get("big.grad")),
        ];
        let plan = energy_plan(network, 5, target);
        let mut executor = Executor::new(device, plan.plan.clone()).await.unwrap();
        executor.write_floats(plan.pass.parameters, &parameters);
        executor.run(plan.start).unwrap();
        executor.write_floats(plan.pass.x, &plan.plan.to_blocks(golden.get("big.real"), channels, pixels));
        executor.run(plan.gradients).unwrap();
        let gradients = executor.read_floats(plan.pass.input_gradient).await.unwrap();
        let gradients = plan.plan.from_blocks(&gradients, 5, channels, pixels);
        let input_error = relative(&gradients, golden.get("big.input_grad.real"));
        println!("{device}: energies, a tenth of the parameter gradient {errors:?}, input {input_error:.1e}");
        assert!(errors.iter().all(|e| *e <= 1e-5) && input_error <= 1e-5, "{device}");
    });
}

#[test]
fn sequence_of_the_recipes_size() {
    // That is the preset's, which takes any sequence.
    let input = Shape { channels: 2, height: 1, width: 50 };
    let network = preset_for("sequence", input).unwrap();
    assert_eq!(network.layers, sequence(2, 50, 128).layers);
    let golden = Golden::load("sequence", network);
    for isa in Isa::available() {
        let device = Device::Cpu(isa);
        check_big(&golden, &device, device.target(100));
    }
    check_big(&golden, &common::gpu(), Target::gpu(5));
}

#[test]
fn errors_are_noticed() {
    assert!(absolute(&[1.0, f32::NAN, 1.0], &[1.0, 1.0, 1.0]).is_nan());
    assert!(relative(&[1.0, 2.0], &[1.0, 2.1]) > 1e-2);
}
