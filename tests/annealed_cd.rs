//! `annealed-cd`: contrastive divergence against denoising where both are the same, runs through all phases, and what users
//! see of it. Losses, gradients and the pool are held against PyTorch in `golden_objectives.rs`, kernels beside their shaders.

use crate::common;

use rand::RngExt;
use std::fs;
use std::path::Path;
use std::process::Command;
use thalweg::checkpoint::Checkpoint;
use thalweg::cpu::Isa;
use thalweg::data::{Examples, Shape};
use thalweg::device::{Device, Executor};
use thalweg::kernels::dynamics::Dynamics;
use thalweg::network::{Activation, LayerSpec, Network};
use thalweg::plan::{Derivatives, ExampleStorage, Phase, Target, TrainingData, training_plan};
use thalweg::random::{Philox, Stream, normal_of};
use thalweg::recipe::OnDivergence;
use thalweg::{Dataset, Recipe, Trainer};

/// Pairs of one launch, and launches: with noise of both signs, 131,072 draws a level.
const PAIRS: usize = 1024;
const LAUNCHES: usize = 64;

fn network() -> Network {
    let dense = |units, activation| LayerSpec::Dense { units, activation };
    let layers = [dense(6, Activation::Tanh), dense(5, Activation::Swish), dense(1, Activation::Identity)];
    Network::new("mlp", Shape { channels: 3, height: 1, width: 1 }, &layers).unwrap()
}

fn normals(rng: &mut Philox, n: usize) -> Vec<f32> {
    (0..n.div_ceil(4)).flat_map(|_| normal_of([0; 4].map(|_| rng.random()))).take(n).collect()
}

/// Mean parameter gradients at one noise level: of CD-1, times `2 (1 + sigma^2) / (sigma 2 h)`, and of velocity denoising.
///
/// Chains begin at the blurred data images themselves and take one Langevin step, once with its noise and once with the
/// opposite one. For small `h` the two gradients are the same (Hyvarinen 2007, "Connections between score matching,
/// contrastive divergence, and pseudolikelihood for continuous-valued variables").
fn gradients(device: &Device, target: Target, sigma: f32, h: f32) -> [Vec<f64>; 2] {
    let (network, n) = (network(), PAIRS * 3);
    let recipe = |settings: &[String]| {
        let all: Vec<&str> = settings.iter().map(String::as_str).collect();
        common::recipe(&all)
    };
    let batch = format!("train.batch={PAIRS}");
    let contrastive = recipe(&[
        "objective=annealed-cd".into(),
        batch.clone(),
        "data.noise=0".into(),
        "chain.steps=1".into(),
        "chain.form=annealed".into(),
        format!("chain.noise={}", 2.0 * sigma),
        format!("chain.noise_end={sigma}"),
        "chain.gradient_clip=0".into(),
        "chain.clamp=0".into(),
        format!("pool.chains={PAIRS}"),
        "pool.long=0".into(),
        "loss.denoising=0".into(),
        "loss.energy_l2=0".into(),
    ]);
    let denoising = recipe(&[
        "objective=denoising-score-matching".into(),
        batch,
        format!("score.sigma={sigma}"),
        "score.target=velocity".into(),
    ]);
    let data = TrainingData::new(ExampleStorage::Floats, PAIRS as u32, network.input);
    let plans = [contrastive, denoising].map(|recipe| training_plan(&network, &recipe, &data, target));
    let executors =
        plans.each_ref().map(|plan| pollster::block_on(Executor::new(device, plan.plan.clone())).unwrap());
    let [mut contrastive, mut denoising] = executors;
    let parameters = network.initial_parameters(5);
    for (executor, plan) in [&mut contrastive, &mut denoising].into_iter().zip(&plans) {
        executor.write_floats(plan.pass.parameters, &parameters);
        executor.run(plan.start).unwrap();
    }
    let read = |executor: &Executor, buffer| pollster::block_on(executor.read_floats(buffer)).unwrap();
    let (alpha, s) = (1.0 / (1.0 + sigma * sigma).sqrt(), sigma / (1.0 + sigma * sigma).sqrt());
    let dynamics = Dynamics { step_size: h, step_size_end: h, ..Dynamics::ladder(sigma, sigma, 0) };
    let step = Dynamics { stay_step_size: 0.0, ..dynamics }.at(0);
    let mut rng = Philox::new(9, Stream::Toy);
    let mut sums = [(); 2].map(|()| vec![0.0_f64; network.n_parameters]);
    let add = |sum: &mut Vec<f64>, gradient: &[f32]| {
        sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += f64::from(*g) / LAUNCHES as f64);
    };
    let score = plans[1].score.as_ref().unwrap();
    let Derivatives::Tangent { level, .. } = score.derivatives else { panic!("denoising takes tangents") };
    let [pairs, denoised] = plans.each_ref().map(|plan| &plan.plan);
    let levels = plans[0].annealed.as_ref().unwrap().levels;
    contrastive.write_floats(levels, &vec![1.0; pairs.len_of(levels)]);
    for _ in 0..LAUNCHES {
        let images: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0_f32..1.0)).collect();
        let noise = normals(&mut rng, n);
        let velocity_x: Vec<f32> = images.iter().zip(&noise).map(|(x, n)| alpha * x + s * n).collect();

        denoising.write_floats(plans[1].pass.x, &denoised.to_blocks(&images, 3, 1));
        denoising.write_floats(score.drawn.unwrap(), &denoised.to_blocks(&noise, 3, 1));
        denoising.write_floats(level, &vec![0.0; denoised.len_of(level)]);
        denoising.write_floats(plans[1].pass.parameters, &parameters);
        denoising.run(plans[1].start).unwrap();
        denoising.run(plans[1].update).unwrap();
        add(&mut sums[1], &read(&denoising, plans[1].gradient));
        // dE/dx at the blurred images comes with it.
        let slope = read(&denoising, plans[1].pass.input_gradient);
        let slope = denoised.from_blocks(&slope, PAIRS, 3, 1);

        let fresh = normals(&mut rng, n);
        for sign in [1.0, -1.0] {
            let moved: Vec<f32> = (0..n)
                .map(|i| step.keep * velocity_x[i] - step.drift * slope[i] + sign * step.noise * fresh[i])
                .collect();
            let halves = [&velocity_x, &moved].map(|images| pairs.to_blocks(images, 3, 1)).concat();
            contrastive.write_floats(plans[0].pass.x, &halves);
            contrastive.write_floats(plans[0].pass.parameters, &parameters);
            contrastive.run(plans[0].start).unwrap();
            contrastive.run(plans[0].update).unwrap();
            let gradient = read(&contrastive, plans[0].gradient);
            let weight = 0.5 * (1.0 + sigma * sigma) / (sigma * h);
            add(&mut sums[0], &gradient.iter().map(|g| weight * g).collect::<Vec<_>>());
        }
    }
    sums
}

fn error(device: &Device, target: Target, sigma: f32, h: f32) -> f64 {
    let [contrastive, denoising] = gradients(device, target, sigma, h);
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let differences = &mut contrastive.iter().zip(&denoising).map(|(a, b)| a - b);
    norm(differences) / norm(&mut denoising.iter().copied())
}

fn one_step_is_denoising(device: &Device, target: Target) {
    for sigma in [0.5, 1.0, 1.5] {
        let [small, large] = [0.02, 0.4].map(|h| error(device, target, sigma, h));
        println!(
            "{device}, sigma {sigma}: CD-1's gradient is off denoising's by {small:.4} at h = 0.02, {large:.4} at 0.4"
        );
        assert!(small < 0.1 && small < 0.5 * large, "{device}, sigma {sigma}: {small}, {large}");
    }
}

#[test]
fn one_small_step_of_contrastive_divergence_is_denoising_on_the_cpu() {
    let isa = *Isa::available().last().unwrap();
    one_step_is_denoising(&Device::Cpu(isa), Target::cpu(PAIRS, 16));
}

#[test]
fn one_small_step_of_contrastive_divergence_is_denoising_on_a_gpu() {
    one_step_is_denoising(&common::gpu(), Target::gpu(PAIRS));
}

/// Each phase has the launches that it needs, and no more.
#[test]
fn phases_have_what_they_need() {
    let recipe = common::recipe(&SMALL.map(|setting| setting.trim_start_matches("--set=")));
    let data = TrainingData::new(ExampleStorage::Floats, 36, Shape { channels: 2, height: 1, width: 1 });
    let network = recipe.network(data.shape).unwrap();
    let plan = training_plan(&network, &recipe, &data, Target::CPU);
    assert_eq!(recipe.contrast_begins(10), (8, 2));
    assert_eq!(plan.phases.iter().map(|phase| phase.0).collect::<Vec<_>>(), [0, 2, 8]);
    let names = |phase: usize| -> Vec<&str> {
        plan.plan.programs[plan.phases[phase].1.0].iter().map(|launch| launch.kernel.name()).collect()
    };
    for (phase, (what, moves, contrasts)) in
        [(Phase::Denoise, false, false), (Phase::Walk, true, false), (Phase::Contrast, true, true)]
            .into_iter()
            .enumerate()
    {
        let has = |name: &str| names(phase).contains(&name);
        assert!(has("perturb") && has("adam") && has("score_loss"), "{what:?}");
        assert_eq!([has("draw_pool"), has("langevin"), has("push_pool")], [moves; 3], "{what:?}");
        assert_eq!([has("blur_at_levels"), has("annealed_loss")], [contrasts; 2], "{what:?}");
    }
    for (step, (phase, end)) in
        [(0, (0, 2)), (1, (0, 2)), (2, (1, 8)), (8, (2, u64::MAX)), (99, (2, u64::MAX))]
    {
        assert_eq!(plan.phase(step), (plan.phases[phase].1, end), "step {step}");
    }
}

// ---- runs

/// A run in all three phases: 10 steps, chains from step 2 on, contrastive divergence from step 8.
const SMALL: [&str; 23] = [
    "--set=objective=annealed-cd",
    "--set=train.batch=16",
    "--set=train.steps=10",
    "--set=data.noise=0",
    "--set=chain.steps=2",
    "--set=chain.form=annealed",
    "--set=chain.step_size=0.05",
    "--set=chain.noise=3",
    "--set=chain.noise_end=0.5",
    "--set=chain.gradient_clip=0",
    "--set=chain.clamp=0",
    "--set=replay.start=normal",
    "--set=pool.chains=24",
    "--set=pool.long=8",
    "--set=pool.levels=6",
    "--set=loss.contrastive_from=0.8",
    "--set=loss.energy_l2=0",
    "--set=score.target=velocity",
    "--set=sample.steps=2",
    "--set=sample.step_size=0.05",
    "--set=sample.noise=3",
    "--set=sample.noise_end=0.5",
    "--set=guard.snapshot_every=3",
];

/// Wherever a run is stopped, in each of its phases, it goes on to the same bits: pool, levels and counters included.
#[test]
fn a_resumed_run_is_the_same_in_every_phase() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let mut dataset = Dataset::open("digits").unwrap();
    let Examples::Bytes(images) = &mut dataset.train else { panic!("digits are bytes") };
    images.bytes.truncate(40 * images.shape.len());
    let mut recipe = common::recipe(&SMALL.map(|setting| setting.trim_start_matches("--set=")));
    recipe.guard.on_divergence = OnDivergence::Rollback;
    pollster::block_on(async {
        for device in [Device::cpu(), common::gpu()] {
            let mut whole = Trainer::new(&device, &recipe, &dataset).await.unwrap();
            whole.submit(10).unwrap().outcome().await.unwrap();
            let wanted = common::bits(&whole.checkpoint(serde_json::Value::Null).await.unwrap());
            for stop in [1, 5, 9] {
                let mut first = Trainer::new(&device, &recipe, &dataset).await.unwrap();
                first.submit(stop).unwrap().outcome().await.unwrap();
                first.checkpoint(serde_json::Value::Null).await.unwrap().save(&path).unwrap();
                let checkpoint = Checkpoint::load(&path).unwrap();
                let mut second = Trainer::resume(&device, &path, checkpoint, &dataset).await.unwrap();
                let outcome = second.submit(10 - stop).unwrap().outcome().await.unwrap();
                let found = common::bits(&second.checkpoint(serde_json::Value::Null).await.unwrap());
                assert!(wanted == found, "{device}: stopped after step {stop}");
                // Bands are counted from the first step with contrastive divergence on.
                let pairs = outcome.chains.last().unwrap().chains.iter().sum::<f32>();
                assert!(pairs == 8.0 || pairs == 16.0, "{pairs}");
            }
        }
    });
}

fn thalweg(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_thalweg")).current_dir(folder).args(arguments).output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}");
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A run by the command line: its files, its chains as pictures and numbers, and what is refused.
#[test]
fn users_see_the_chains() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], code| thalweg(folder.path(), arguments, code);
    let train = ["train", "--preset=mnist-small", "--data=digits", "--device=cpu", "--out=run"];
    run(&[&train[..], &SMALL].concat(), 0);
    let rows = fs::read_to_string(folder.path().join("run/chains.csv")).unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    assert!(rows[0].starts_with("step,epoch,gap_high") && rows[1].starts_with("9,1,"), "{rows:?}");
    assert_eq!(rows.len(), 3, "one row a step with contrastive divergence");
    assert!(
        fs::read_dir(folder.path().join("run"))
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().starts_with("chains-0001") })
    );

    let model = "--model=run/checkpoint.safetensors";
    let pool = ["sample", model, "--from-pool", "--device=cpu", "--count=4"];
    let said = run(&[&pool[..], &["--npy=x.npy", "--out=x.png"]].concat(), 0);
    assert!(said.contains("4 samples after 0 steps from the pool"), "{said}");
    run(&[&pool[..], &["--steps=5", "--npy=y.npy", "--out=y.png"]].concat(), 0);
    let [x, y] = ["x.npy", "y.npy"].map(|name| fs::read(folder.path().join(name)).unwrap());
    assert!(x.len() == y.len() && x != y, "chains move on");
    let said = run(&["sample", model, "--init=buffer", "--device=cpu"], 2);
    assert!(said.contains("--from-pool"), "{said}");
    let said = run(&["sample", model, "--from-pool", "--device=cpu", "--count=1000"], 2);
    assert!(said.contains("of its pool are at the last noise level") && said.contains("1000"), "{said}");
    let other =
        ["train", "--preset=mnist-small", "--data=digits", "--device=cpu", "--out=other", "--steps=1"];
    run(&[&other[..], &["--set=chain.steps=1", "--set=sample.steps=1"]].concat(), 0);
    let said = run(&["sample", "--model=other/checkpoint.safetensors", "--from-pool", "--device=cpu"], 2);
    assert!(said.contains("holds no pool of chains"), "{said}");
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let refused = |settings: &[&str], part: &str| {
        let mut all: Vec<&str> = SMALL.iter().map(|setting| setting.trim_start_matches("--set=")).collect();
        all.extend(settings);
        let error = common::recipe(&all).validate().unwrap_err().to_string();
        assert!(error.contains(part), "{settings:?}: {error}");
    };
    refused(&["chain.form=theory", "sample.noise_end=0"], "chain.form");
    refused(&["chain.noise_end=3"], "chain.noise_end");
    refused(&["chain.noise_end=0"], "chain.noise_end");
    refused(&["score.target=score"], "score.target");
    refused(&["pool.chains=19"], "pool.chains");
    refused(&["pool.long=20"], "pool.chains");
    refused(&["pool.long=25", "pool.long_share=1"], "pool.long");
    refused(&["loss.denoising=0"], "loss.contrastive_from");
    refused(&["loss.smoothness=1"], "loss.smoothness");
    refused(&["augment.probability=0.5"], "augment.probability");
    refused(&["chain.step_size=0.6"], "chain.step_size");
}

/// The preset `digits` keeps its former objective's own settings.
#[test]
fn the_preset_changes_with_its_objective() {
    let mut recipe = Recipe::preset("digits").unwrap();
    recipe.set("train.batch=32").unwrap();
    recipe.set("objective=denoising-score-matching").unwrap();
    assert_eq!((recipe.train.steps, recipe.train.batch), (10_000, 32));
    assert_eq!((recipe.sample.steps, recipe.sample.stay, recipe.sample.step_size), (300, 0, 0.015));
    recipe.set("objective=annealed-cd").unwrap();
    recipe.set("train.batch=64").unwrap();
    assert_eq!(recipe, Recipe::preset("digits").unwrap());
}
