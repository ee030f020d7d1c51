//! The plans whose pipelines `tests/shaders.rs` checks and `tools/export_shaders.rs` writes for other compilers.

use crate::common;
use std::collections::BTreeSet;
use thalweg::data::Shape;
use thalweg::data::toy::TOYS;
use thalweg::kernels::Kernel;
use thalweg::kernels::chain::Hidden;
use thalweg::kernels::dynamics::Form;
use thalweg::kernels::random::Random;
use thalweg::network::{ANALYTIC, Network};
use thalweg::plan::{
    AnnealingConfig, ChainConfig, ExampleStorage, Plan, Target, Term, TrainingData, annealing_plan,
    energy_plan, peak_plan, sampler_plan, sampler_plan_of, training_plan,
};
use thalweg::random::{Distribution, Stream};
use thalweg::recipe::presets::{PRESETS, preset};
use thalweg::recipe::{Directions, Recipe, ScoreObjective, ScoreTarget, Square};

/// The different kernels of `plans`, each with the name of the first plan that has it.
pub fn kernels(plans: &[(String, Plan)]) -> Vec<(&str, &Kernel)> {
    let mut seen = BTreeSet::new();
    let of_plans =
        plans.iter().flat_map(|(name, plan)| plan.launches().map(move |l| (name.as_str(), &l.kernel)));
    of_plans.filter(|(_, k)| seen.insert((k.name(), k.source(), format!("{:?}", k.overrides())))).collect()
}

/// Every kind of plan that a network can take.
pub fn plans(network: &Network, storage: ExampleStorage, target: Target) -> Vec<Plan> {
    let chain = ChainConfig { steps: 2, ..ChainConfig::default() };
    let smaller = Shape {
        height: network.input.height.max(2) - 1,
        width: network.input.width.max(5) - 4,
        ..network.input
    };
    let shape = if storage == ExampleStorage::Bytes { smaller } else { network.input };
    let data = TrainingData::new(storage, 1000, shape);
    let settings =
        ["train.batch=19", "chain.steps=2", "adam.gradient_norm_clip=0.1", "guard.on_divergence=rollback"];
    let recipe = |more: &[&str]| common::recipe(&[&settings[..], more].concat());
    let training = |recipe: &Recipe| training_plan(network, recipe, &data, target).plan;
    let basic = recipe(&["replay.capacity=100"]);
    let full = recipe(&["train.batch=128"]);
    let all_images = TrainingData { n_images: 60_000, ..data };
    let mala = ChainConfig { form: Form::Mala, ..chain };
    let penalties = recipe(&[
        "objective=cd",
        "cd.start=data",
        "chain.form=mala",
        "loss.smoothness=0.1",
        "loss.weight_l2=0.001",
        "ema.decay=0.99",
    ]);
    let persistent = recipe(&[
        "objective=pcd",
        "pcd.chains=100",
        "pcd.fresh=0.05",
        "replay.start=normal",
        "replay.start_scale=0.5",
        "augment.probability=0.5",
        "augment.shift=2",
        "augment.flip=0.5",
        "augment.rescale=0.1",
    ]);
    let annealed = recipe(&[
        "objective=annealed-cd",
        "chain.form=annealed",
        "chain.noise=5",
        "chain.noise_end=0.5",
        "pool.chains=100",
        "pool.long=20",
        "loss.contrastive_from=0.5",
        // LSTM layers have no derivative of the gradient.
        if (ScoreObjective::Matching { probes: 2 }).check(network).is_err() {
            "loss.denoising=0"
        } else {
            "score.target=velocity"
        },
    ]);
    let objectives = [
        ScoreObjective::Matching { probes: 2 },
        ScoreObjective::Sliced { probes: 2, directions: Directions::Signs, square: Square::Along },
        common::denoising([0.1, 1.0], 10, ScoreTarget::Score, 0.0),
    ];
    let anneal = AnnealingConfig { temperature: 0.5, tilt: 1.0, bound: 1.0, leapfrogs: 2, rungs: 11 };
    let of_score = objectives.into_iter().filter(|o| o.check(network).is_ok());
    let of_score = of_score.map(|objective| training(&common::with_objective(basic.clone(), objective)));
    let not = Term { weight: -0.5, gradient_weight: -0.5, ..Term::alone(network) };
    let sum = [Term::alone(network), not];
    let mut plans = vec![
        training(&basic),
        training(&penalties),
        training(&persistent),
        training(&annealed),
        sampler_plan(network, 10_000, &mala, &[2], target).plan,
        sampler_plan_of(&sum, (1000, 1000), &mala, (&[2], true), target).plan,
        training_plan(network, &full, &all_images, target).plan,
        sampler_plan(network, 10_000, &chain, &[1, 2], target).plan,
        energy_plan(network, 1000, target).plan,
        annealing_plan(network, (1000, 1000), &anneal, &[2], target).plan,
    ];
    plans.extend(of_score);
    plans
}

/// Every plan that is there, of networks of every kind.
pub fn all_plans() -> Vec<(String, Plan)> {
    let mut all = Vec::new();
    let presets = ["mnist-small", "conv-pool"].map(|name| preset(name).unwrap());
    let networks = presets.into_iter().chain([common::odd_network()]).chain(common::lstm_networks());
    for network in networks.collect::<Vec<_>>() {
        for images in [16, 128] {
            let fused = [(0, Hidden::Scratch), (u32::MAX, Hidden::Scratch), (u32::MAX, Hidden::Workgroup)];
            for (fused_steps, fused_hidden) in fused {
                let software = Target::software(images, 8);
                for (on, target) in [("", Target::gpu(images)), (" in software", software)] {
                    for plan in
                        plans(&network, ExampleStorage::Bytes, Target { fused_steps, fused_hidden, ..target })
                    {
                        all.push((format!("{}, {images} images{on}", network.name), plan));
                    }
                }
            }
        }
    }
    let network = common::point_network(2);
    for source in TOYS.map(ExampleStorage::Toy).into_iter().chain([ExampleStorage::Floats]) {
        for plan in plans(&network, source, Target::gpu(128)) {
            all.push((format!("points from {source:?}"), plan));
        }
    }
    for network in common::edge_networks() {
        let target = Target::gpu(16);
        all.push((network.name.clone(), energy_plan(&network, 3, target).plan));
    }
    for energy in ANALYTIC {
        let network = preset(&format!("analytic:{}", energy.name())).unwrap();
        all.push((network.name.clone(), energy_plan(&network, 128, Target::gpu(128)).plan));
    }
    all.push(("peak".to_owned(), peak_plan().plan));
    for network in [common::point_network(2), preset("mnist-small").unwrap()] {
        for objective in ["energy-discrepancy", "nce"] {
            let recipe = common::recipe(&[&format!("objective={objective}")]);
            let data = TrainingData::new(ExampleStorage::Floats, 1000, network.input);
            let plan = training_plan(&network, &recipe, &data, Target::gpu(128)).plan;
            all.push((format!("{}, {objective}", network.name), plan));
        }
    }
    all
}

/// Every plan of every preset in full size, as a GPU runs it, by each path of its chains.
pub fn preset_plans() -> Vec<(String, Plan)> {
    let mut all = Vec::new();
    for name in PRESETS {
        let network = preset(name).unwrap();
        let source = match network.input {
            Shape { height: 1, .. } => ExampleStorage::Floats,
            _ => ExampleStorage::Bytes,
        };
        for (path, target) in gpu_paths(128) {
            for plan in plans(&network, source, target) {
                all.push((format!("{name}, {path}"), plan));
            }
        }
    }
    all
}

/// What a first run takes on a GPU: `train` (which learns `digits` by denoising), `sample` and `energy`, and the same with
/// chains (`mnist-small`), by each path of theirs. `tile` is empty, or lanes, channels and pixels of another tile than
/// [`Target::gpu`]'s.
pub fn first_plans(tile: &[usize]) -> Vec<(String, Plan)> {
    let denoising = common::denoising([0.1, 5.0], 64, ScoreTarget::Velocity, 0.0);
    let mut all = Vec::new();
    for (name, score) in [("digits", Some(denoising)), ("mnist-small", None)] {
        let network = preset(name).unwrap();
        for (path, mut target) in gpu_paths(128) {
            if let [lanes, tile_channels, tile_pixels] = *tile {
                let tile_area = tile_channels * tile_pixels;
                target = Target { lanes: lanes as u32, tile_channels, tile_pixels, tile_area, ..target };
            }
            let mut recipe = common::recipe(&["ema.decay=0.999", "guard.on_divergence=rollback"]);
            if let Some(objective) = score {
                recipe = common::with_objective(recipe, objective);
            }
            let shape = Shape { channels: 1, height: 28, width: 28 };
            let data = TrainingData::new(ExampleStorage::Bytes, 60_000, shape);
            let sampling = ChainConfig { form: Form::NoiseLast, ..ChainConfig::default() };
            all.extend([
                (format!("train {name}, {path}"), training_plan(&network, &recipe, &data, target).plan),
                (
                    format!("sample {name}, {path}"),
                    sampler_plan(&network, 64, &sampling, &[1, 100], target).plan,
                ),
                (format!("energy {name}, {path}"), energy_plan(&network, 128, target).plan),
            ]);
        }
    }
    all
}

/// How a GPU may run chains.
fn gpu_paths(images: usize) -> [(&'static str, Target); 3] {
    let layers = Target::gpu(images);
    let fused = Target { fused_steps: u32::MAX, ..layers };
    [
        ("layers", layers),
        ("fused", fused),
        ("fused-workgroup", Target { fused_hidden: Hidden::Workgroup, ..fused }),
    ]
}

/// Kernels of random numbers that no plan has.
pub fn lone_kernels() -> Vec<Kernel> {
    let random = |distribution| {
        Random { lanes: 64, features: 5, stream: Stream::ReplayStart, distribution, scale: 1.0, bound: 1.0 }
            .into()
    };
    [Distribution::Bits, Distribution::Uniform, Distribution::Normal, Distribution::Signs].map(random).into()
}
