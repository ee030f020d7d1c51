//! Chains of bfloat16 on the processor ([`Isa::Bf16`]): near those of floats, and nothing but chains.

use crate::common;
use thalweg::cpu::Isa;
use thalweg::device::compare::compare;
use thalweg::device::{Device, Executor};
use thalweg::kernels::State;
use thalweg::kernels::dynamics::Form;
use thalweg::network::Network;
use thalweg::plan::{ChainConfig, ExampleStorage, TrainingData, sampler_plan, training_plan};
use thalweg::recipe::presets::preset;

const IMAGES: usize = 20;

fn parameters(network: &Network) -> Vec<f32> {
    network.initial_parameters(7).iter().map(|p| p * 1.5 + 0.01).collect()
}

/// Where chains of `steps` steps begin, and where they end.
async fn chain(device: &Device, network: &Network, form: Form, steps: u32) -> [Vec<f32>; 2] {
    // Steps as large as training takes, or such that MALA accepts.
    let step_size = if form == Form::Mala { 1e-4 } else { 10.0 };
    let chain_config = ChainConfig {
        form,
        step_size,
        noise: 1e-3,
        temperature: 1e-6,
        gradient_clip: 0.0,
        clamp: 0.0,
        ..Default::default()
    };
    let plan = sampler_plan(network, IMAGES, &chain_config, &[steps], device.target(IMAGES));
    let mut executor = Executor::new(device, plan.plan.clone()).await.unwrap();
    executor.write_floats(plan.pass.parameters, &parameters(network));
    executor.write(plan.state, 0, bytemuck::cast_slice(&[State::default()]));
    executor.run(plan.start).unwrap();
    executor.run(plan.noise).unwrap();
    let start = executor.read_floats(plan.pass.x).await.unwrap();
    executor.run(plan.chains[0].1).unwrap();
    [start, executor.read_floats(plan.pass.x).await.unwrap()]
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// Their gradients, that is. MALA's proposals are accepted by energies, which have to be right: its chains are of floats.
#[test]
fn chains_are_near_those_of_floats() {
    if !Isa::Bf16.is_available() {
        return;
    }
    for name in ["mnist-small", "mnist-deep", "conv-pool", "mlp"] {
        for form in [Form::NoiseFirst, Form::Theory, Form::Mala] {
            pollster::block_on(async {
                let network = preset(name).unwrap();
                let [start, floats] = chain(&Device::Cpu(Isa::Avx512), &network, form, 3).await;
                let [same, pairs] = chain(&Device::Cpu(Isa::Bf16), &network, form, 3).await;
                assert_eq!(start, same, "{name}");
                let [_, again] = chain(&Device::Cpu(Isa::Bf16), &network, form, 3).await;
                assert_eq!(pairs, again, "{name}, twice");
                let error = distance(&floats, &pairs) / distance(&start, &floats);
                assert!(error.is_finite(), "{name}, {form:?}: no chain went anywhere");
                println!("{name}, {form:?}: {error:.1e} of the way");
                if name == "mlp" || form == Form::Mala {
                    assert_eq!(floats, pairs, "{name}, {form:?}");
                } else {
                    assert!((1e-6..1e-2).contains(&error), "{name}, {form:?}: {error:.1e}");
                }
            });
        }
    }
}

/// Energies, what a model learns from, and where it ends: to the bit, for the same samples.
#[test]
fn all_but_chains_is_of_floats() {
    if !Isa::Bf16.is_available() {
        return;
    }
    pollster::block_on(async {
        let network = preset("mnist-small").unwrap();
        let mut recipe = common::recipe(&[]);
        (recipe.train.batch, recipe.replay.capacity) = (IMAGES, IMAGES);
        let data = TrainingData::new(ExampleStorage::Bytes, IMAGES as u32, network.input);
        let mut ends = Vec::new();
        let mut layers = Vec::new();
        for isa in [Isa::Avx512, Isa::Bf16] {
            let device = Device::Cpu(isa);
            let plan = training_plan(&network, &recipe, &data, device.target(2 * IMAGES));
            let mut executor = Executor::new(&device, plan.plan.clone()).await.unwrap();
            executor.write_floats(plan.pass.parameters, &parameters(&network));
            executor.run(plan.start).unwrap();
            // In a step that has all that chains share a program with: chains' layers, and no others.
            let mut whole = recipe.clone();
            whole.loss.smoothness = 0.1;
            let whole = training_plan(&network, &whole, &data, device.target(2 * IMAGES));
            let [step, update] = [whole.step, whole.update].map(|p| whole.plan.programs[p.0].len());
            let stepping = Executor::new(&device, whole.plan.clone()).await.unwrap();
            let is_bf16: Vec<bool> = (0..step).map(|launch| stepping.is_bf16(whole.step, launch)).collect();
            let (chain, rest) = is_bf16.split_at(step - update);
            assert!(!rest.contains(&true), "{device}");
            layers.push(chain.iter().filter(|is_bf16| **is_bf16).count());
            let len = plan.plan.len_of(plan.pass.x);
            let images: Vec<f32> = (0..len).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
            executor.write_floats(plan.pass.x, &images);
            executor.run(plan.update).unwrap();
            for buffer in [plan.pass.energies, plan.gradient, plan.pass.parameters] {
                ends.push(executor.read(buffer).await.unwrap());
            }
        }
        assert!(ends[..3] == ends[3..]);
        // Four convolutions, there and back.
        assert_eq!(layers, [0, 8 * recipe.chain.steps]);
    });
}

/// `compare` allows chains' layers what eight bits of mantissa take away, and everything else what it always does.
#[test]
fn compare_knows_them() {
    if !Isa::Bf16.is_available() {
        return;
    }
    pollster::block_on(async {
        let (network, device) = (preset("mnist-small").unwrap(), Device::Cpu(Isa::Bf16));
        let chain_config = ChainConfig { steps: 2, ..Default::default() };
        let plan = sampler_plan(&network, IMAGES, &chain_config, &[2], device.target(IMAGES));
        let mut executor = Executor::new(&device, plan.plan.clone()).await.unwrap();
        executor.write_floats(plan.pass.parameters, &parameters(&network));
        executor.write(plan.state, 0, bytemuck::cast_slice(&[State::default()]));
        executor.run(plan.start).unwrap();
        executor.run(plan.noise).unwrap();
        let report = compare(&mut executor, plan.chains[0].1).await.unwrap();
        println!("{report}");
        assert!(report.first_mismatch().is_none(), "{report}");
        let layers = &report.worst["conv_forward"];
        assert!(layers.error > 1e-4 && layers.of_allowed > 0.01, "{report}");
    });
}
