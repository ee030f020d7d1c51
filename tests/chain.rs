//! The fused chain: against its twin, and against the chain by layers, whose kernels have tests of their own.

use crate::common;

use thalweg::data::Shape;
use thalweg::device::compare::compare;
use thalweg::device::{ChainPath, Chains, Device, Executor};
use thalweg::kernels::State;
use thalweg::kernels::chain::{Hidden, chain_layers, workgroup_memory};
use thalweg::kernels::dynamics::{Form, Interpolation};
use thalweg::network::{Activation, LayerSpec, Network, Padding};
use thalweg::plan::{ChainConfig, Target, sampler_plan};
use thalweg::recipe::presets::preset;

/// The forms that the fused chain knows, with and without a clamp.
fn chain_config(form: Form) -> ChainConfig {
    let r1 = ChainConfig { steps: 0, noise: 0.02, form, ..ChainConfig::default() };
    match form {
        Form::NoiseFirst => r1,
        Form::NoiseLast => ChainConfig { clamp: 0.3, ..r1 },
        Form::Annealed => ChainConfig {
            step_size: 0.1,
            noise: 2.0,
            gradient_clip: 0.0,
            clamp: 0.0,
            step_size_end: 0.05,
            noise_end: 0.1,
            interpolation: Interpolation::Geometric,
            levels: 9,
            ..r1
        },
        _ => ChainConfig { step_size: 0.01, temperature: 0.5, gradient_clip: 0.0, clamp: 0.0, ..r1 },
    }
}

fn conv(channels: usize, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 4]) -> LayerSpec {
    let [top, bottom, left, right] = padding;
    let padding = Padding { top, bottom, left, right };
    LayerSpec::Conv { channels, kernel, stride, padding, activation: Activation::Swish }
}

fn dense(units: usize, activation: Activation) -> LayerSpec {
    LayerSpec::Dense { units, activation }
}

/// mnist-small, and networks that are odd in what the fused chain has to get right: channels, strides, padding,
/// kernels beyond the image, dense layers before and after convolutions, more tiles than invocations and fewer.
fn networks() -> Vec<Network> {
    let energy = dense(1, Activation::Identity);
    let shape = |channels, height, width| Shape { channels, height, width };
    let new = |name, input, specs: &[LayerSpec]| Network::new(name, input, specs).unwrap();
    vec![
        preset("mnist-small").unwrap(),
        new(
            "odd",
            shape(3, 11, 9),
            &[
                conv(20, [5, 3], [2, 1], [2, 1, 0, 2]),
                conv(12, [4, 4], [3, 2], [3, 2, 1, 0]),
                conv(64, [1, 2], [1, 1], [0, 0, 1, 1]),
                dense(24, Activation::Swish),
                energy,
            ],
        ),
        new(
            "beside",
            shape(1, 4, 4),
            &[
                conv(16, [1, 1], [1, 1], [0; 4]),
                conv(16, [1, 1], [1, 1], [0, 2, 0, 1]),
                dense(12, Activation::Swish),
                energy,
            ],
        ),
        new("flat", shape(1, 1, 2), &[dense(36, Activation::Swish), dense(36, Activation::Swish), energy]),
        new("wide", shape(1, 28, 28), &[conv(32, [3, 3], [1, 1], [1, 1, 1, 1]), energy]),
        new("one layer", shape(2, 5, 5), &[energy]),
    ]
    .into_iter()
    .chain(common::ACTIVATIONS.map(|activation| {
        let padding = Padding { top: 1, bottom: 1, left: 1, right: 1 };
        let conv = LayerSpec::Conv { channels: 8, kernel: [3, 3], stride: [2, 2], padding, activation };
        new("activated", shape(1, 9, 9), &[conv, dense(12, activation), energy])
    }))
    .collect()
}

/// Chains of `steps` steps on `device`, from the seeded noise.
async fn chains(
    device: &Device,
    network: &Network,
    count: usize,
    (form, steps): (Form, u32),
    target: Target,
) -> Vec<f32> {
    let plan = sampler_plan(network, count, &chain_config(form), &[steps], target);
    let mut executor = Executor::new(device, plan.plan.clone()).await.unwrap();
    let parameters: Vec<f32> = network.initial_parameters(7).iter().map(|p| p * 1.5 + 0.01).collect();
    executor.write_floats(plan.pass.parameters, &parameters);
    executor.write(
        plan.state,
        0,
        bytemuck::cast_slice(&[State { step: 3, seed_low: 5, ..State::default() }]),
    );
    executor.run(plan.start).unwrap();
    executor.run(plan.noise).unwrap();
    if target.fused_steps > 0 {
        // Launch by launch against the twins, and then once more as a whole.
        let report = compare(&mut executor, plan.chains[0].1).await.unwrap();
        assert!(report.first_mismatch().is_none(), "{}: {report}", network.name);
        executor.run(plan.noise).unwrap();
    }
    executor.run(plan.chains[0].1).unwrap();
    let blocks = executor.read_floats(plan.pass.x).await.unwrap();
    let shape = network.input;
    plan.plan.from_blocks(&blocks, count, shape.channels, shape.height * shape.width)
}

#[test]
fn it_is_the_chain_by_layers() {
    let device = common::gpu();
    let mut failures = common::Failures::default();
    for network in networks() {
        let layers = chain_layers(&network).unwrap_or_else(|| panic!("{} does not fit", network.name));
        let takes = workgroup_memory(&layers, Hidden::Workgroup);
        // What every Metal GPU has, and lavapipe.
        assert_eq!(takes <= 32 << 10, network.name != "wide", "{}: {takes} bytes", network.name);
        for (count, form) in [
            (1, Form::NoiseFirst),
            (19, Form::NoiseFirst),
            (19, Form::NoiseLast),
            (3, Form::Theory),
            (11, Form::Annealed),
        ] {
            pollster::block_on(async {
                let target = Target::gpu(count);
                let layers = chains(&Device::cpu(), &network, count, (form, 3), Target::CPU).await;
                let one_step = chains(&device, &network, count, (form, 1), target).await;
                for fused_hidden in [Hidden::Scratch, Hidden::Workgroup] {
                    if fused_hidden == Hidden::Workgroup && takes > common::workgroup_memory(&device) {
                        continue;
                    }
                    let fused = Target { fused_steps: 3, fused_hidden, ..target };
                    let ours = chains(&device, &network, count, (form, 3), fused).await;
                    let moved = ours.iter().zip(&one_step).filter(|(a, b)| a != b).count();
                    let name = format!("{} by {count}, {form:?}, {fused_hidden:?}", network.name);
                    failures.check(moved > ours.len() / 4, || format!("{name}: the chain stands still"));
                    let doubles = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
                    failures.close(&name, &doubles(&ours), &doubles(&layers), 1e-4, 0.0);
                }
            });
        }
    }
    failures.assert_none();
}

#[test]
fn networks_that_do_not_fit_run_by_layers() {
    let energy = dense(1, Activation::Identity);
    let input = Shape { channels: 1, height: 8, width: 8 };
    let ragged = Network::new("ragged", input, &[conv(5, [3, 3], [1, 1], [0; 4]), energy]).unwrap();
    let input = Shape { channels: 3, height: 64, width: 64 };
    let large = Network::new("large", input, &[conv(8, [3, 3], [2, 2], [0; 4]), energy]).unwrap();
    for network in [ragged, large] {
        assert!(chain_layers(&network).is_none());
        let target = Target { fused_steps: 8, ..Target::gpu(4) };
        let plan = sampler_plan(&network, 4, &chain_config(Form::NoiseFirst), &[2], target);
        assert!(plan.plan.programs[plan.chains[0].1.0].len() > 2);
    }
}

/// Asked for, workgroup memory is used where there is enough of it, and else it is said that there is not.
#[test]
fn workgroup_memory_is_taken_where_it_is_enough() {
    let Device::Gpu(gpu, _) = common::gpu() else { panic!("it is a GPU") };
    let device = Device::Gpu(gpu, Chains { asked: ChainPath::FusedWorkgroup, ..Chains::default() });
    let has = common::workgroup_memory(&device);
    let mut refused = 0;
    for network in networks() {
        let layers = chain_layers(&network).unwrap();
        let (target, why) = (device.chain_target(&network, 16), device.explain_chain(&network));
        assert!(target.fused_steps > 0, "{}", network.name);
        if workgroup_memory(&layers, Hidden::Workgroup) <= has {
            assert_eq!(target.fused_hidden, Hidden::Workgroup, "{}", network.name);
            assert_eq!(why, "fused in workgroup memory, as asked for");
        } else {
            refused += 1;
            assert_eq!(target.fused_hidden, Hidden::Scratch, "{}", network.name);
            assert!(why.contains("KiB of workgroup memory, and there are"), "{why}");
        }
    }
    assert!(refused > 0 || has > 100 << 10, "`wide` takes more than any GPU has");
}

#[test]
fn launches_do_not_grow_with_steps() {
    let network = preset("mnist-small").unwrap();
    let target = Target { fused_steps: u32::MAX, ..Target::gpu(128) };
    let launches = |steps| {
        let plan = sampler_plan(&network, 128, &chain_config(Form::NoiseFirst), &[steps], target);
        plan.plan.programs[plan.chains[0].1.0].len()
    };
    assert_eq!([launches(1), launches(60), launches(100)], [1, 1, 1]);
    assert_eq!(launches(1000), 10); // the cap on one dispatch's work
}
