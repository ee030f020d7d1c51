//! Results that refactoring must not change: for each preset and objective the first ten losses, a digest of the state
//! after them and of eight samples, and digests of the plans. `tests/pins/*.txt` holds what they were.
//!
//! `THALWEG_PIN=1 cargo test --release --test main -- pins:: --include-ignored` writes the files anew. A commit that does so says why.
//! With names of new runs, `THALWEG_PIN=nce,discrepancy`, it adds those and leaves all other lines as they are.

use crate::all_plans::{first_plans, preset_plans};
use crate::common::{checkpoint, gpu, steps};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use thalweg::checkpoint::TensorData;
use thalweg::cpu::Isa;
use thalweg::data::{Examples, Images};
use thalweg::plan::{ExampleStorage, Layout, Plan, Target, TrainingData, training_plan};
use thalweg::random::{Philox, Stream};
use thalweg::recipe::PRESETS;
use thalweg::{Dataset, Device, Recipe, Sampler, Trainer};

/// Names of runs with their presets and the settings that differ; `SMALLER` holds for all.
#[rustfmt::skip]
const RUNS: &[(&str, &str, &[&str])] = &[
    ("digits", "digits", &["pool.chains=24", "pool.long=8", "pool.levels=30", "train.steps=10", "loss.contrastive_from=0.5", "sample.stay=100"]),
    ("digits-denoising", "digits", &["objective=denoising-score-matching"]),
    ("digits-score", "digits", &["objective=denoising-score-matching", "score.target=score", "score.from_noise=0"]),
    ("mnist-small", "mnist-small", &CHAINS),
    ("mnist-deep", "mnist-deep", &CHAINS),
    ("conv-pool", "conv-pool", &CHAINS),
    ("image-leaky", "image-leaky", &CHAINS),
    ("mlp", "mlp", &CHAINS),
    ("mlp-silu", "mlp-silu", &[]),
    ("sequence", "sequence", &[]),
    ("cd", "mnist-small", &["objective=cd", "chain.steps=3", "cd.start=data", "loss.smoothness=0.1"]),
    ("pcd", "mnist-small", &["objective=pcd", "chain.steps=3", "pcd.chains=20", "augment.probability=0.5", "augment.shift=2", "augment.flip=0.5"]),
    ("mala", "mlp", &["objective=cd", "chain.steps=3", "chain.form=mala", "chain.step_size=0.01"]),
    ("theory", "mlp", &["objective=pcd", "chain.steps=3", "chain.form=theory", "chain.step_size=0.01"]),
    ("score-matching", "mlp-silu", &["objective=score-matching"]),
    ("sliced", "mlp-silu", &["objective=sliced-score-matching", "score.probes=2"]),
    ("denoising", "mlp-silu", &["objective=denoising-score-matching"]),
    ("discrepancy", "mlp-silu", &["objective=energy-discrepancy"]),
    ("nce", "mlp-silu", &["objective=nce"]),
    ("average", "mnist-small", &["chain.steps=3", "replay.initial=20", "replay.capacity=40", "ema.decay=0.9", "adam.weight_decay=0.01", "schedule.warm_up=3", "loss.weight_l2=0.001"]),
];

/// The runs that slow devices do by default.
const QUICK: &[&str] = &["mnist-small", "mlp", "mala", "score-matching", "denoising"];

const CHAINS: [&str; 3] = ["chain.steps=3", "replay.initial=20", "replay.capacity=40"];
const SMALLER: [&str; 4] = ["train.batch=6", "seed=7", "sample.steps=5", "train.epochs=10"];

fn run(preset: &str, settings: &[&str]) -> (Recipe, Dataset) {
    let mut config = Recipe::preset(preset).unwrap();
    for setting in SMALLER.iter().chain(settings) {
        config.set(setting).unwrap();
    }
    let mut dataset =
        Dataset::open(if preset.starts_with("mlp") { "8-gaussians:50" } else { "digits" }).unwrap();
    if preset == "sequence" {
        let shape = thalweg::recipe::presets::preset(preset).unwrap().input;
        let images = |stream, n: usize| Images { shape, values: normals(stream, n * shape.len()) };
        dataset.train = Examples::Floats(images(Stream::Toy, 50));
        dataset.held_out = images(Stream::Projections, 10);
    } else if let Examples::Bytes(images) = &mut dataset.train {
        images.bytes.truncate(50 * images.shape.len());
    }
    (config, dataset)
}

fn normals(stream: Stream, n: usize) -> Vec<f32> {
    use rand::RngExt;
    let mut rng = Philox::new(3, stream);
    (0..n).map(|_| rng.random_range(-1.0_f32..1.0)).collect()
}

/// FNV-1a, of 64 bits.
#[derive(Clone, Copy)]
struct Digest(u64);

impl Digest {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn add_number(&mut self, number: usize) {
        self.add(&(number as u64).to_le_bytes());
    }
}

/// A digest of what the plan's programs do, whatever its buffers and programs are called and in whatever order they stand.
fn digest(plan: &Plan) -> u64 {
    let mut programs: Vec<u64> = plan
        .programs
        .iter()
        .map(|launches| {
            let mut names = BTreeMap::new();
            let mut digest = Digest::new();
            for launch in launches {
                digest.add(launch.kernel.name().as_bytes());
                for (name, value) in launch.kernel.overrides() {
                    digest.add(name.as_bytes());
                    digest.add(&value.to_le_bytes());
                }
                let blocks = launch.flat_blocks();
                digest.add(&launch.kernel.uniform(&blocks));
                launch.kernel.workgroups(&blocks).iter().for_each(|n| digest.add_number(*n as usize));
                for id in [launch.blocks.start, launch.blocks.end] {
                    digest.add_number(id as usize);
                }
                for buffer in &launch.bindings {
                    let n = names.len();
                    digest.add_number(*names.entry(*buffer).or_insert(n));
                    let (kind, len) = match plan.buffers[buffer.0].layout {
                        Layout::PerBlock(features) => (1, features),
                        Layout::Flat(len) => (2, len),
                    };
                    digest.add_number(kind);
                    digest.add_number(len);
                }
            }
            digest.0
        })
        .collect();
    programs.sort_unstable();
    let mut digest = Digest::new();
    programs.into_iter().for_each(|program| digest.add(&program.to_le_bytes()));
    digest.0
}

/// What a device makes of a run, as lines of text.
async fn line(device: &Device, name: &str, preset: &str, settings: &[&str]) -> String {
    let (config, dataset) = run(preset, settings);
    let mut trainer = Trainer::new(device, &config, &dataset).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut text = format!("{name} plan {:016x}\n{name} losses", digest(trainer.executor().plan()));
    for metrics in steps(&mut trainer, &[4, 6]).await {
        write!(text, " {:08x}", metrics.loss.to_bits()).unwrap();
    }
    let mut state = Digest::new();
    for (tensor, values) in &checkpoint(&trainer).await.tensors {
        state.add(tensor.as_bytes());
        match &values.data {
            TensorData::F32(values) => state.add(bytemuck::cast_slice(values)),
            TensorData::U32(values) => state.add(bytemuck::cast_slice(values)),
        }
    }
    write!(text, "\n{name} state {:016x}\n", state.0).unwrap();
    let chain_config = config.sampling_chain();
    let mut sampler =
        Sampler::new(device, &trainer.model().await.unwrap(), 8, &chain_config, 0).await.unwrap();
    sampler.run(chain_config.steps).unwrap();
    let mut samples = Digest::new();
    samples.add(bytemuck::cast_slice(&sampler.images().await.unwrap().values));
    writeln!(text, "{name} samples {:016x}", samples.0).unwrap();
    text
}

/// Holds `text` against what was pinned, or pins it; `all` says that it is all of the file.
fn check(file: &str, text: &str, tolerance: Option<f32>, all: bool) {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pins")).join(file);
    if let Ok(names) = std::env::var("THALWEG_PIN") {
        if all && (names == "1" || file != "plans.txt") {
            let pinned = std::fs::read_to_string(&path).unwrap_or_default();
            let is_kept = |line: &&str| {
                names != "1" && !names.split(',').any(|name| line.starts_with(&format!("{name} ")))
            };
            let kept: String = pinned.lines().filter(is_kept).map(|line| format!("{line}\n")).collect();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, kept + text).unwrap();
        }
        return;
    }
    let Ok(pinned) = std::fs::read_to_string(&path) else { return println!("nothing is pinned in {file}") };
    let head = |line: &str| line.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
    let wanted: BTreeMap<_, _> = pinned.lines().map(|line| (head(line), line)).collect();
    let mut wrong = Vec::new();
    for got in text.lines() {
        let want = wanted.get(&head(got)).copied().unwrap_or("nothing");
        if got != want && !tolerance.is_some_and(|tolerance| is_near(got, want, tolerance)) {
            wrong.push(format!("{got}\n  pinned: {want}"));
        }
    }
    assert!(wrong.is_empty(), "{file}:\n{}", wrong.join("\n"));
    assert!(!all || text.lines().count() == wanted.len(), "{file} has {} lines", wanted.len());
}

/// Whether a line's losses are those that were pinned, within a tolerance; digests of results tell nothing then.
fn is_near(got: &str, want: &str, tolerance: f32) -> bool {
    let parts = |line: &str| -> (String, String, Vec<f32>) {
        let mut words = line.split(' ').map(str::to_owned);
        let (name, what) = (words.next().unwrap(), words.next().unwrap());
        let values = words.map(|w| u32::from_str_radix(&w, 16).map_or(0.0, f32::from_bits)).collect();
        (name, what, values)
    };
    let (got, want) = (parts(got), parts(want));
    (&got.0, &got.1) == (&want.0, &want.1)
        && match got.1.as_str() {
            "losses" => {
                got.2.len() == want.2.len()
                    && got.2.iter().zip(&want.2).all(|(a, b)| (a - b).abs() <= tolerance * b.abs().max(1.0))
            }
            "state" | "samples" => true,
            _ => false,
        }
}

/// Every device of this machine: its file, how near losses have to be, and whether its runs take seconds each.
fn devices() -> Vec<(Device, String, Option<f32>, bool)> {
    let sets = Isa::available().into_iter().chain(Isa::Bf16.is_available().then_some(Isa::Bf16));
    let mut devices: Vec<_> = sets
        .map(|isa| (Device::Cpu(isa), format!("{isa:?}.txt").to_lowercase(), None, isa == Isa::Reference))
        .collect();
    let device = gpu();
    let name = device.name();
    if name.contains("llvmpipe") {
        // Which instructions LLVM takes depends on the processor: the same driver on another one may round otherwise.
        let width = name.split(", ").nth(1).and_then(|w| w.split(' ').next()).unwrap_or("unknown").to_owned();
        devices.push((device, format!("lavapipe-{width}.txt"), Some(0.02), true));
    }
    devices
}

/// Holds runs on every device against what was pinned: all of them, or those that take little time there.
fn check_devices(all: bool) {
    for (device, file, tolerance, is_slow) in devices() {
        let pinned = std::env::var("THALWEG_PIN").unwrap_or("1".to_owned());
        let is_pinned = |name: &str| pinned == "1" || pinned.split(',').any(|pinned| pinned == name);
        let runs = RUNS.iter().filter(|(name, ..)| all || !is_slow || QUICK.contains(name));
        let runs = runs.filter(|(name, ..)| is_pinned(name));
        let text: String = runs
            .map(|(name, preset, settings)| pollster::block_on(line(&device, name, preset, settings)))
            .collect();
        check(&file, &text, tolerance, all);
    }
}

#[test]
fn ten_losses_are_pinned() {
    check_devices(false);
}

#[test]
#[ignore = "every run on slow devices too: minutes"]
fn ten_losses_of_every_run_are_pinned() {
    check_devices(true);
}

#[test]
fn plans_are_pinned() {
    let mut text = String::new();
    for (i, (name, plan)) in first_plans(&[]).iter().chain(&preset_plans()).enumerate() {
        writeln!(text, "{i}-{} plan {:016x}", name.replace(", ", "-").replace(' ', "-"), digest(plan))
            .unwrap();
    }
    check("plans.txt", &text, None, true);
}

/// Every preset's training step as `thalweg plan` lists it: the order of its launches, and their buffers.
#[test]
fn training_steps_are_listed() {
    for preset in PRESETS {
        let recipe = Recipe::preset(preset).unwrap();
        let network = recipe.known_network().unwrap();
        let data = TrainingData::new(ExampleStorage::Floats, 1000, network.input);
        let target = Target { fused_steps: u32::MAX, ..Target::gpu(32) };
        let plan = training_plan(&network, &recipe, &data, target);
        let path = format!("{}/tests/pins/step-{preset}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = plan.plan.list(plan.step);
        if std::env::var_os("THALWEG_PIN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let pinned = std::fs::read_to_string(&path).unwrap_or_default();
        let first = text.lines().zip(pinned.lines()).find(|(new, old)| new != old);
        assert!(text == pinned, "{path}: {first:?}");
    }
}

#[test]
fn a_changed_loss_is_found() {
    assert!(is_near("a losses 3f800000 40000000", "a losses 3f800001 40000000", 0.01));
    assert!(!is_near("a losses 3f900000 40000000", "a losses 3f800001 40000000", 0.01));
    assert!(!is_near("a plan 3f900000", "a plan 3f800001", 0.01));
    let mut plans = first_plans(&[]);
    let before = digest(&plans[0].1);
    plans[0].1.programs[1].swap(0, 1);
    assert_ne!(before, digest(&plans[0].1));
}
