//! The objectives that fit the score against PyTorch's double backward: `tests/golden/score.safetensors`, written by
//! `tests/golden/score.py`, holds networks, images, noise, losses and parameter gradients.

use std::collections::BTreeMap;
use thalweg::checkpoint::{Tensor, TensorData, load_tensors};
use thalweg::cpu::Isa;
use thalweg::data::ImageShape;
use thalweg::device::{Device, Machine};
use thalweg::kernels::random::Distribution;
use thalweg::network::{Activation, LayerSpec, Network, Padding};
use thalweg::plan::{ScoreObjective, Target, TrainingNumbers, training_plan};

mod common;

const N: usize = 5;

fn networks() -> [Network; 2] {
    let dense = |units, activation| LayerSpec::Dense { units, activation };
    let conv = |channels, stride, padding, activation| LayerSpec::Conv {
        channels,
        kernel: [3, 3],
        stride: [stride; 2],
        padding,
        activation,
    };
    let energy = dense(1, Activation::Identity);
    let mlp = [dense(6, Activation::Tanh), dense(5, Activation::Swish), energy];
    let behind = Padding { bottom: 1, right: 1, ..Padding::default() };
    let around = Padding { top: 1, left: 1, ..behind };
    let image = [
        conv(4, 2, behind, Activation::Swish),
        conv(3, 1, around, Activation::Softplus),
        dense(5, Activation::Elu),
        energy,
    ];
    let shape = |channels, height, width| ImageShape { channels, height, width };
    [
        Network::new("mlp", shape(3, 1, 1), &mlp).unwrap(),
        Network::new("conv", shape(2, 6, 5), &image).unwrap(),
    ]
}

fn objectives() -> [(&'static str, ScoreObjective); 6] {
    let sliced =
        |distribution, reduces_variance| ScoreObjective::Sliced { probes: 2, distribution, reduces_variance };
    let denoising =
        |sigma, sigma_max, levels, velocity| ScoreObjective::Denoising { sigma, sigma_max, levels, velocity };
    [
        ("matching", ScoreObjective::Matching { probes: 3 }),
        ("sliced", sliced(Distribution::Normal, false)),
        ("sliced-reduced", sliced(Distribution::Signs, true)),
        ("denoising", denoising(0.5, 0.5, 1, false)),
        ("denoising-ladder", denoising(0.1, 2.0, 5, false)),
        ("denoising-velocity", denoising(0.1, 2.0, 5, true)),
    ]
}

fn floats(tensor: &Tensor) -> &[f32] {
    match &tensor.data {
        TensorData::F32(values) => values,
        TensorData::U32(_) => panic!("no floats"),
    }
}

fn relative(values: &[f32], reference: &[f32]) -> f64 {
    let largest = reference.iter().fold(0.0_f64, |m, v| m.max(f64::from(v.abs())));
    let errors = values.iter().zip(reference).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    let worst = errors.fold(0.0, |m: f64, e| if e.is_nan() || m.is_nan() { f64::NAN } else { m.max(e) });
    // The energy's own bias has no gradient: nothing but 0 will do.
    if largest == 0.0 { worst } else { worst / largest }
}

fn check(device: &Device, target: Target) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/score.safetensors");
    let golden: BTreeMap<String, Tensor> = load_tensors(path).unwrap().1;
    for network in networks() {
        let get = |name: &str| floats(&golden[&format!("{}.{name}", network.name)]);
        let (shape, pixels) = (network.input, network.input.height * network.input.width);
        let mut parameters = vec![f32::NAN; network.n_parameters];
        for tensor in network.tensors() {
            parameters[tensor.range()].copy_from_slice(get(&tensor.name));
        }
        for (name, objective) in objectives() {
            let numbers = TrainingNumbers {
                batch: N as u32,
                n_images: N as u32,
                data_shape: shape,
                ring_capacity: 1,
                score: Some(objective),
                ..TrainingNumbers::default()
            };
            let plan = training_plan(&network, &numbers, target);
            let score = plan.score.as_ref().unwrap();
            let (metrics, gradient) = pollster::block_on(async {
                let mut machine = Machine::new(device, plan.plan.clone()).await.unwrap();
                let put =
                    |machine: &mut Machine, buffer, values: &[f32]| machine.write_floats(buffer, values);
                put(&mut machine, plan.pass.parameters, &parameters);
                put(&mut machine, plan.pass.x, &plan.plan.to_blocks(get("x"), shape.channels, pixels));
                if let Some(drawn) = score.drawn {
                    // `[image][probe][channel][pixel]` to `[block][probe][pixel][channel][lane]`: five images are a block.
                    let values = get(&format!("{name}.drawn"));
                    let (len, per_image) = (shape.len(), values.len() / N);
                    let mut blocks = Vec::new();
                    for probe in 0..per_image / len {
                        let of = |i: usize| &values[i * per_image + probe * len..][..len];
                        let images: Vec<f32> = (0..N).flat_map(|i| of(i).to_vec()).collect();
                        blocks.extend(plan.plan.to_blocks(&images, shape.channels, pixels));
                    }
                    put(&mut machine, drawn, &blocks);
                }
                if let Some(level) = score.level {
                    put(&mut machine, level, &plan.plan.to_blocks(get("level"), 1, 1));
                }
                machine.run(plan.start).unwrap();
                machine.run(plan.update).unwrap();
                let metrics = machine.read_floats(plan.metrics).await.unwrap();
                (metrics, machine.read_floats(plan.gradient).await.unwrap())
            });
            let name = format!("{}.{name}", network.name);
            let loss = floats(&golden[&format!("{name}.loss")]);
            let error = relative(&metrics[..3], loss);
            assert!(error <= 1e-5, "{device}, {name}: loss and its parts {:?}, not {loss:?}", &metrics[..3]);
            let mut worst: f64 = 0.0;
            for tensor in network.tensors() {
                let reference = floats(&golden[&format!("{name}.grad.{}", tensor.name)]);
                let error = relative(&gradient[tensor.range()], reference);
                assert!(error <= 1e-4, "{device}, {name}: gradient of {} is off by {error:.1e}", tensor.name);
                worst = worst.max(error);
            }
            println!("{device}, {name}: loss {error:.1e}, parameter gradient {worst:.1e}");
        }
    }
}

#[test]
fn cpu() {
    for isa in Isa::available() {
        check(&Device::Cpu(isa), Target::CPU);
        check(&Device::Cpu(isa), Target::cpu(N));
    }
}

#[test]
fn gpu() {
    check(&common::gpu(), Target::gpu(N));
}

#[test]
fn errors_are_noticed() {
    assert!(relative(&[1.0, f32::NAN], &[1.0, 1.0]).is_nan());
    assert!(relative(&[1.0, 2.0], &[1.0, 2.1]) > 1e-2);
    assert!(relative(&[1e-3], &[0.0]) > 1e-4);
}
