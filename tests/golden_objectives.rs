//! Every objective against PyTorch's autograd: `tests/golden/objectives.safetensors`, written by
//! `tests/golden/objectives.py`, holds networks, images, noise, losses and parameter gradients. Of the objectives with chains
//! a whole training step is held against it, which draws its own noise, as the script does.

use std::collections::BTreeMap;
use thalweg::checkpoint::{Tensor, TensorData, load_tensors};
use thalweg::cpu::Isa;
use thalweg::data::Shape;
use thalweg::device::{Device, Executor};
use thalweg::kernels::State;
use thalweg::kernels::annealed_loss::{BAND_METRICS, DENOISING};
use thalweg::kernels::contrastive_loss::METRICS;
use thalweg::network::{Activation, LayerSpec, Network, Padding};
use thalweg::plan::{Derivatives, ExampleStorage, Target, TrainingData, training_plan};
use thalweg::recipe::{ChainInit, Directions, Recipe, ScoreObjective, ScoreTarget, Square};

use crate::common;

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
    let shape = |channels, height, width| Shape { channels, height, width };
    [
        Network::new("mlp", shape(3, 1, 1), &mlp).unwrap(),
        Network::new("conv", shape(2, 6, 5), &image).unwrap(),
    ]
}

fn objectives() -> [(&'static str, ScoreObjective); 6] {
    let sliced = |directions, square| ScoreObjective::Sliced { probes: 2, directions, square };
    let denoising = |sigma, sigma_max, levels, target| ScoreObjective::Denoising {
        sigma,
        sigma_max,
        levels,
        target,
        from_noise: 0.0,
        weight: 1.0,
    };
    [
        ("matching", ScoreObjective::Matching { probes: 3 }),
        ("sliced", sliced(Directions::Normal, Square::Along)),
        ("sliced-reduced", sliced(Directions::Signs, Square::Whole)),
        ("denoising", denoising(0.5, 0.5, 1, ScoreTarget::Score)),
        ("denoising-ladder", denoising(0.1, 2.0, 5, ScoreTarget::Score)),
        ("denoising-velocity", denoising(0.1, 2.0, 5, ScoreTarget::Velocity)),
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

fn golden() -> BTreeMap<String, Tensor> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/objectives.safetensors");
    load_tensors(path).unwrap().1
}

fn parameters(golden: &BTreeMap<String, Tensor>, network: &Network) -> Vec<f32> {
    let mut parameters = vec![f32::NAN; network.n_parameters];
    for tensor in network.tensors() {
        let values = floats(&golden[&format!("{}.{}", network.name, tensor.name)]);
        parameters[tensor.range()].copy_from_slice(values);
    }
    parameters
}

/// The largest error of a tensor of the parameter gradient, none of which may be off by more than 1e-4. Of contrastive
/// objectives the gradient of the energy's own bias is a sum of numbers around 1 and -1 that cancel: it may be off by 1e-6.
fn check_gradient(
    name: &str,
    golden: &BTreeMap<String, Tensor>,
    (network, objective): (&Network, &str),
    gradient: &[f32],
) -> f64 {
    let has_chains =
        objective.starts_with("annealed") || contrastive().iter().any(|(name, _)| *name == objective);
    let mut worst: f64 = 0.0;
    for tensor in network.tensors() {
        let reference = floats(&golden[&format!("{}.{objective}.grad.{}", network.name, tensor.name)]);
        let (values, is_last) = (&gradient[tensor.range()], tensor.range().end == network.n_parameters);
        let error = match has_chains && is_last {
            true => f64::from((values[0] - reference[0]).abs()) * 1e2,
            false => relative(values, reference),
        };
        assert!(error <= 1e-4, "{name}: gradient of {} is off by {error:.1e}", tensor.name);
        worst = worst.max(error);
    }
    worst
}

fn check(device: &Device, target: Target) {
    let golden = golden();
    for network in networks() {
        let get = |name: &str| floats(&golden[&format!("{}.{name}", network.name)]);
        let (shape, pixels) = (network.input, network.input.height * network.input.width);
        let parameters = parameters(&golden, &network);
        for (objective, numbers) in objectives() {
            let recipe = common::with_objective(common::recipe(&[&format!("train.batch={N}")]), numbers);
            let data = TrainingData::new(ExampleStorage::Bytes, N as u32, shape);
            let plan = training_plan(&network, &recipe, &data, target);
            let score = plan.score.as_ref().unwrap();
            let (metrics, gradient) = pollster::block_on(async {
                let mut executor = Executor::new(device, plan.plan.clone()).await.unwrap();
                let put =
                    |executor: &mut Executor, buffer, values: &[f32]| executor.write_floats(buffer, values);
                put(&mut executor, plan.pass.parameters, &parameters);
                put(&mut executor, plan.pass.x, &plan.plan.to_blocks(get("x"), shape.channels, pixels));
                if let Some(drawn) = score.drawn {
                    // `[image][probe][channel][pixel]` to `[block][probe][pixel][channel][lane]`: five images are a block.
                    let values = get(&format!("{objective}.drawn"));
                    let (len, per_image) = (shape.len(), values.len() / N);
                    let mut blocks = Vec::new();
                    for probe in 0..per_image / len {
                        let of = |i: usize| &values[i * per_image + probe * len..][..len];
                        let images: Vec<f32> = (0..N).flat_map(|i| of(i).to_vec()).collect();
                        blocks.extend(plan.plan.to_blocks(&images, shape.channels, pixels));
                    }
                    put(&mut executor, drawn, &blocks);
                }
                if let Derivatives::Tangent { level, .. } = score.derivatives {
                    put(&mut executor, level, &plan.plan.to_blocks(get("level"), 1, 1));
                }
                executor.run(plan.start).unwrap();
                executor.run(plan.update).unwrap();
                let metrics = executor.read_floats(plan.metrics).await.unwrap();
                (metrics, executor.read_floats(plan.gradient).await.unwrap())
            });
            let name = format!("{device}, {}.{objective}", network.name);
            let loss = get(&format!("{objective}.loss"));
            let error = relative(&metrics[..3], loss);
            assert!(error <= 1e-5, "{name}: loss and its parts {:?}, not {loss:?}", &metrics[..3]);
            let worst = check_gradient(&name, &golden, (&network, objective), &gradient);
            println!("{name}: loss {error:.1e}, parameter gradient {worst:.1e}");
        }
    }
}

// ---- a training step with chains

/// As in the script: the second and last step of an epoch of 8 images, so that 3 of a batch of 5 are real.
const STATE: State = State {
    step: 3,
    replay_head: 4,
    replay_length: REPLAY as u32,
    seed_low: 0x89AB_CDEF,
    seed_high: 0x0123_4567,
    chain_base: 0,
    retries: 0,
    halted: 0,
    first_image: 0,
};
const REPLAY: usize = 7;

fn contrastive() -> [(&'static str, Recipe); 7] {
    let base = [
        "train.batch=5",
        "data.noise=0.05",
        "chain.steps=3",
        "chain.form=noise-last",
        "chain.step_size=0.2",
        "chain.noise=0.05",
        "chain.temperature=0.5",
        "chain.gradient_clip=0",
        "chain.clamp=0",
        "replay.capacity=7",
        "replay.fresh=0.3",
        "pcd.chains=7",
        "loss.smoothness_noise=0.1",
    ];
    let of = |settings: &str| {
        let settings: Vec<_> = base.into_iter().chain(settings.split(' ')).collect();
        common::recipe(&settings)
    };
    [
        ("replay", of("chain.form=noise-first chain.step_size=2 chain.gradient_clip=0.1 chain.clamp=1")),
        ("replay-square", of("chain.clamp=1 loss.energy_l2=0.01 loss.energy_l2_form=square-of-means")),
        (
            "cd",
            of("objective=cd replay.start=normal replay.start_scale=0.5 chain.form=theory loss.energy_l2=0 \
                loss.weight_l2=0.01"),
        ),
        (
            "cd-data",
            of("objective=cd cd.start=data chain.form=noise-first chain.gradient_clip=0.3 chain.clamp=0.9"),
        ),
        ("pcd", of("objective=pcd pcd.fresh=0.2 chain.form=theory loss.smoothness=20")),
        (
            "pcd-mala",
            of(
                "objective=pcd chain.form=mala chain.step_size=0.5 chain.temperature=0.02 chain.gradient_clip=0.3 \
                chain.clamp=1.2",
            ),
        ),
        (
            "all",
            of(
                "chain.gradient_clip=0.3 chain.clamp=1 loss.energy_l2_form=square-of-means loss.smoothness=20 \
                loss.weight_l2=0.01",
            ),
        ),
    ]
}

/// Images `[image][channel][pixel]` as the ring has them, `[slot][pixel][channel]`.
fn to_slots(images: &[f32], shape: Shape) -> Vec<f32> {
    let pixels = shape.height * shape.width;
    let one = |image: &[f32]| -> Vec<f32> {
        (0..shape.len()).map(|i| image[i % shape.channels * pixels + i / shape.channels]).collect()
    };
    images.chunks_exact(shape.len()).flat_map(one).collect()
}

fn check_step(device: &Device, target: Target) {
    let golden = golden();
    for network in networks() {
        let (shape, pixels) = (network.input, network.input.height * network.input.width);
        let get = |name: &str| floats(&golden[&format!("{}.{name}", network.name)]);
        for (objective, recipe) in contrastive() {
            let slots = recipe.replay_slots().0;
            let replay = &to_slots(get("ring"), shape)[..slots * shape.len()];
            let data = TrainingData::new(ExampleStorage::Floats, 8, shape);
            let plan = training_plan(&network, &recipe, &data, target);
            let (metrics, gradient, x, new_replay) = pollster::block_on(async {
                let mut executor = Executor::new(device, plan.plan.clone()).await.unwrap();
                executor.write_floats(plan.pass.parameters, &parameters(&golden, &network));
                executor.write_floats(plan.data[0].buffer, get("data"));
                executor.write_floats(plan.replay, replay);
                executor.write(plan.state, 0, bytemuck::cast_slice(&[STATE]));
                executor.run(plan.start).unwrap();
                executor.run(plan.step).unwrap();
                let [metrics, gradient, x, replay] = [plan.metrics, plan.gradient, plan.pass.x, plan.replay]
                    .map(|buffer| pollster::block_on(executor.read_floats(buffer)).unwrap());
                (metrics[STATE.step as usize * METRICS..][..METRICS].to_vec(), gradient, x, replay)
            });
            let name = format!("{device}, {}.{objective}", network.name);
            let result = |part: &str| get(&format!("{objective}.{part}"));
            // Between them are the gradient's norm, which Adam's clip takes, and the number of real images.
            let found = [&metrics[..5], &metrics[7..]].concat();
            let loss = relative(&found, result("loss"));
            assert!(loss <= 1e-5, "{name}: {found:?}, not {:?}", result("loss"));
            assert_eq!(metrics[6], 3.0, "{name}");
            let half = plan.half_blocks as usize * target.lanes as usize * shape.len();
            let negative = plan.plan.from_blocks(&x[half..2 * half], N, shape.channels, pixels);
            let ends = relative(&negative, result("ends"));
            assert!(ends <= 1e-5, "{name}: the chains' ends are off by {ends:.1e}");
            let worst = check_gradient(&name, &golden, (&network, objective), &gradient);
            println!("{name}: loss {loss:.1e}, chains {ends:.1e}, parameter gradient {worst:.1e}");

            // Where the chains are kept: at the ring's head, or each in its own slot.
            let ends = to_slots(&negative, shape);
            let chains: Vec<_> = ends.chunks_exact(shape.len()).collect();
            let kept: Vec<_> = new_replay.chunks_exact(shape.len()).collect();
            let old: Vec<_> = replay.chunks_exact(shape.len()).collect();
            let slot = |chain: usize| match recipe.chain_init() {
                Some(ChainInit::Persistent { .. }) => {
                    kept.iter().position(|image| *image == chains[chain]).unwrap()
                }
                _ => (4 + chain) % slots,
            };
            let used: Vec<usize> = (0..N).map(slot).collect();
            for (i, image) in kept.iter().enumerate() {
                let chain = used.iter().position(|slot| *slot == i);
                assert!(*image == chain.map_or(old[i], |chain| chains[chain]), "{name}: slot {i}");
            }
        }
    }
}

// ---- a training step that tells data from noise

fn check_noise(device: &Device, target: Target) {
    let golden = golden();
    for network in networks() {
        let get = |name: &str| floats(&golden[&format!("{}.{name}", network.name)]);
        for (objective, settings) in [
            ("discrepancy", "objective=energy-discrepancy discrepancy.negatives=3 discrepancy.noise=0.4"),
            (
                "discrepancy-bare",
                "objective=energy-discrepancy discrepancy.negatives=2 discrepancy.noise=0.4 discrepancy.weight=0",
            ),
            ("nce", "objective=nce nce.negatives=3"),
        ] {
            let settings: Vec<_> =
                ["train.batch=5", "data.noise=0.05"].into_iter().chain(settings.split(' ')).collect();
            let data = TrainingData::new(ExampleStorage::Floats, 8, network.input);
            let plan = training_plan(&network, &common::recipe(&settings), &data, target);
            let mut executor = pollster::block_on(Executor::new(device, plan.plan.clone())).unwrap();
            executor.write_floats(plan.pass.parameters, &parameters(&golden, &network));
            executor.write_floats(plan.data[0].buffer, get("data"));
            if let Some(own) = plan.noise.as_ref().unwrap().gaussian {
                executor.write_floats(own.gaussian, get("gaussian"));
            }
            executor.write(plan.state, 0, bytemuck::cast_slice(&[STATE]));
            executor.run(plan.start).unwrap();
            executor.run(plan.step).unwrap();
            let read = |buffer| pollster::block_on(executor.read_floats(buffer)).unwrap();
            let name = format!("{device}, {}.{objective}", network.name);
            let row = &read(plan.metrics)[STATE.step as usize * METRICS..][..METRICS];
            let loss = get(&format!("{objective}.loss"));
            let error = relative(&row[..5], loss);
            assert!(error <= 1e-5, "{name}: {row:?}, not {loss:?}");
            assert_eq!(row[6], 3.0, "{name}");
            let worst = check_gradient(&name, &golden, (&network, objective), &read(plan.gradient));
            println!("{name}: loss {error:.1e}, parameter gradient {worst:.1e}");
        }
    }
}

// ---- training steps with a pool of annealed chains

const POOL: usize = 9;

fn annealed() -> Recipe {
    common::recipe(&[
        "objective=annealed-cd",
        "train.batch=5",
        "data.noise=0",
        "chain.steps=3",
        "chain.form=annealed",
        "chain.step_size=0.05",
        "chain.stay_step_size=0.1",
        "chain.noise=3",
        "chain.noise_end=0.5",
        "chain.course=geometric",
        "chain.gradient_clip=0",
        "chain.clamp=0",
        "replay.start=normal",
        "pool.chains=9",
        "pool.long=2",
        "pool.long_share=0.2",
        "pool.levels=6",
        "pool.restart=0.6",
        "loss.contrastive=0.7",
        "loss.contrastive_below=2",
        "loss.denoising=0.5",
        "loss.energy_l2=0.01",
        "score.sigma=0.25",
        "score.sigma_max=3",
        "score.levels=5",
        "score.target=velocity",
        "score.from_noise=0.4",
        "adam.learning_rate=1e-3",
        "adam.beta1=0",
        "adam.beta2=0.99",
        "adam.epsilon=1e-8",
        "adam.weight_decay=0.07",
    ])
}

/// Three training steps: losses, gradients, and the pool after each.
fn check_annealed(device: &Device, target: Target) {
    let golden = golden();
    for network in networks() {
        let shape = network.input;
        let data = TrainingData::new(ExampleStorage::Floats, 8, shape);
        let plan = training_plan(&network, &annealed(), &data, target);
        let pool = plan.annealed.as_ref().unwrap();
        let get = |name: &str| floats(&golden[&format!("{}.{name}", network.name)]);
        let mut executor = pollster::block_on(Executor::new(device, plan.plan.clone())).unwrap();
        executor.write_floats(plan.pass.parameters, &parameters(&golden, &network));
        executor.write_floats(plan.data[0].buffer, get("data"));
        executor.write_floats(plan.replay, &to_slots(get("pool"), shape));
        executor.write_floats(pool.pool_levels, &[6.0, 2.0, 0.0, 3.0, 6.0, 6.0, 1.0, 5.0, 6.0]);
        let state = State { replay_length: POOL as u32, replay_head: 0, ..STATE };
        executor.write(plan.state, 0, bytemuck::cast_slice(&[state]));
        executor.run(plan.start).unwrap();
        for step in 3..6 {
            executor.run(plan.step).unwrap();
            let read = |buffer| pollster::block_on(executor.read_floats(buffer)).unwrap();
            let name = format!("{device}, {}.annealed, step {step}", network.name);
            let result = |part: &str| get(&format!("annealed.{step}.{part}"));
            let row = &read(plan.metrics)[step * METRICS..][..METRICS];
            let denoising = read(pool.bands)[step * BAND_METRICS + DENOISING];
            let found = [&row[..5], &[denoising]].concat();
            let loss = relative(&found, result("loss"));
            assert!(loss <= 3e-5, "{name}: {found:?}, not {:?}", result("loss"));
            assert_eq!(read(pool.pool_levels), result("levels"), "{name}: levels");
            let kept = relative(&read(plan.replay), &to_slots(result("pool"), shape));
            assert!(kept <= 3e-5, "{name}: the pool is off by {kept:.1e}");
            let gradient = read(plan.gradient);
            let objective = format!("annealed.{step}");
            let worst = check_gradient(&name, &golden, (&network, &objective), &gradient);
            println!("{name}: loss {loss:.1e}, pool {kept:.1e}, parameter gradient {worst:.1e}");
        }
    }
}

#[test]
fn cpu() {
    for isa in Isa::available() {
        let device = Device::Cpu(isa);
        for target in [device.target(N), device.target(100)] {
            check(&device, target);
            check_step(&device, target);
            check_noise(&device, target);
            check_annealed(&device, target);
        }
    }
}

#[test]
fn gpu() {
    check(&common::gpu(), Target::gpu(N));
    check_step(&common::gpu(), Target::gpu(N));
    check_noise(&common::gpu(), Target::gpu(N));
    check_annealed(&common::gpu(), Target::gpu(N));
    // The fused chain, with a level for each image.
    check_annealed(&common::gpu(), Target { fused_steps: 2, ..Target::gpu(N) });
}

#[test]
fn errors_are_noticed() {
    assert!(relative(&[1.0, f32::NAN], &[1.0, 1.0]).is_nan());
    assert!(relative(&[1.0, 2.0], &[1.0, 2.1]) > 1e-2);
    assert!(relative(&[1e-3], &[0.0]) > 1e-4);
}
