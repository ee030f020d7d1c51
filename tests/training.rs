//! Whole training steps: the same bits twice, after a resume, and with any number of threads; the CPU executor against
//! a GPU; nothing but submissions in a run on a GPU; the last batch of an epoch; and that something is learnt.

use std::path::Path;
use std::sync::OnceLock;
use thalweg::checkpoint::Checkpoint;
use thalweg::cpu::Isa;
use thalweg::data::{Examples, Images};
use thalweg::device::{Device, Executor};
use thalweg::gpu::Counters;
use thalweg::random::{Philox, Stream};
use thalweg::train::log::StepMetrics;
use thalweg::{Dataset, EnergyModel, Recipe, Trainer};

use crate::common;

use common::{bits, checkpoint, steps};

fn gpu() -> Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(common::gpu).clone()
}

/// Batches of 20, of 50 images: each epoch has two whole steps and one of 10 images.
const BATCH: usize = 20;
const N_IMAGES: usize = 50;

fn tiny() -> (Recipe, Dataset) {
    let mut config = Recipe::preset("mnist-small").unwrap();
    // The ring comes round in five steps.
    for setting in [
        "train.batch=20",
        "chain.steps=3",
        "replay.capacity=110",
        "replay.initial=20",
        "replay.fresh=0.3",
        "seed=7",
    ] {
        config.set(setting).unwrap();
    }
    let mut dataset = Dataset::open("digits").unwrap();
    let Examples::Bytes(images) = &mut dataset.train else { panic!("digits are bytes") };
    images.bytes.truncate(N_IMAGES * images.shape.len());
    (config, dataset)
}

fn assert_same(a: &Checkpoint, b: &Checkpoint, what: &str) {
    assert_eq!(a.header.step, b.header.step, "{what}");
    assert_eq!(a.tensors.len(), b.tensors.len(), "{what}");
    for ((name, a), (other, b)) in bits(a).iter().zip(bits(b)) {
        assert_eq!(*name, other, "{what}");
        assert!(*a == b, "{what}: {name} differs");
    }
}

fn devices() -> Vec<Device> {
    let mut devices: Vec<Device> = Isa::available().into_iter().map(Device::Cpu).collect();
    devices.push(gpu());
    devices
}

/// The device whose chains are near the others' only, where it is there.
fn bf16() -> Option<Device> {
    Isa::Bf16.is_available().then_some(Device::Cpu(Isa::Bf16))
}

async fn run_tiny(device: &Device, pieces: &[u32]) -> (Checkpoint, Vec<StepMetrics>) {
    let (config, dataset) = tiny();
    let mut trainer = Trainer::new(device, &config, &dataset).await.unwrap();
    let metrics = steps(&mut trainer, pieces).await;
    (checkpoint(&trainer).await, metrics)
}

#[test]
fn same_seed_same_bits() {
    pollster::block_on(async {
        for device in devices().into_iter().chain(bf16()) {
            let (first, metrics) = run_tiny(&device, &[1, 1, 1, 1, 1, 1, 1]).await;
            let (second, again) = run_tiny(&device, &[2, 4, 1]).await;
            assert_same(&first, &second, &format!("{device}, twice"));
            assert_eq!(metrics, again, "{device}");
            // Another seed is another run: the comparison above compares something.
            let (mut config, dataset) = tiny();
            config.seed += 1;
            let mut trainer = Trainer::new(&device, &config, &dataset).await.unwrap();
            steps(&mut trainer, &[7]).await;
            let other = checkpoint(&trainer).await;
            // But for the snapshot of the beginning, whose moments are all 0.
            for (a, b) in bits(&first).iter().zip(bits(&other)) {
                assert!(*a != b || a.0.starts_with("snapshot."), "{device}: {} depends on no seed", a.0);
            }
        }
    });
}

#[test]
fn any_number_of_threads_same_bits() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| pollster::block_on(run_tiny(&Device::cpu(), &[5])))
    };
    let (one, metrics) = on(1);
    for threads in [2, 3] {
        let (more, again) = on(threads);
        assert_same(&one, &more, &format!("1 thread and {threads}"));
        assert_eq!(metrics, again);
    }
}

#[test]
fn resumed_is_uninterrupted() {
    let folder = tempfile::tempdir().unwrap();
    pollster::block_on(async {
        for (i, device) in [Device::cpu(), gpu()].into_iter().chain(bf16()).enumerate() {
            // Stopped in the middle of the second epoch, and again just before the ring comes round.
            let (whole, metrics) = run_tiny(&device, &[1, 1, 1, 1, 1, 1, 1, 1, 1]).await;
            let (config, dataset) = tiny();
            let mut trainer = Trainer::new(&device, &config, &dataset).await.unwrap();
            let mut parts = steps(&mut trainer, &[3, 1]).await;
            for (stop, pieces) in [(4, &[1][..]), (5, &[2, 2])] {
                assert_eq!(trainer.step(), stop);
                let path = folder.path().join(format!("{i}-{stop}.safetensors"));
                checkpoint(&trainer).await.save(&path).unwrap();
                drop(trainer);
                trainer = resume(&device, &path, &dataset).await;
                parts.extend(steps(&mut trainer, pieces).await);
            }
            assert_same(&whole, &checkpoint(&trainer).await, &format!("{device}, resumed"));
            assert_eq!(metrics, parts, "{device}");
        }
    });
}

async fn resume(device: &Device, path: &Path, dataset: &Dataset) -> Trainer {
    let checkpoint = Checkpoint::load(path).unwrap();
    Trainer::resume(device, path, checkpoint, dataset).await.unwrap()
}

/// `ok = error <= tolerance`, so that NaN is not.
fn assert_close(value: f32, reference: f32, tolerance: f64, what: &str) {
    let ok = (f64::from(value) - f64::from(reference)).abs() <= tolerance;
    assert!(ok, "{what}: {value}, not {reference} (within {tolerance:.1e})");
}

/// One step from the same state. Energies of images whose chains went three steps differ by the rounding of some 30
/// layers, a few 1e-7 of their terms, which are below 1; measured are 3e-9 for energies of 6e-3.
#[test]
fn cpu_and_gpu_agree() {
    pollster::block_on(async {
        let (_, reference) = run_tiny(&Device::Cpu(Isa::Reference), &[1]).await;
        for device in devices() {
            let (_, metrics) = run_tiny(&device, &[1]).await;
            let (a, b) = (&metrics[0], &reference[0]);
            println!("{device}: {a:?}");
            assert_close(a.energy_real, b.energy_real, 1e-6, &format!("{device}: energy of real images"));
            assert_close(a.energy_fake, b.energy_fake, 1e-6, &format!("{device}: energy of fake images"));
            assert_close(a.loss, b.loss, 2e-6, &format!("{device}: loss"));
            let norm = f64::from(b.gradient_norm);
            assert_close(a.gradient_norm, b.gradient_norm, 1e-4 * norm, &format!("{device}: gradient norm"));
            assert_eq!(a.n_real, b.n_real);
        }
    });
}

#[test]
fn whole_steps_match_the_reference_launch_by_launch() {
    pollster::block_on(async {
        let (config, dataset) = tiny();
        for device in devices().into_iter().skip(1) {
            let mut trainer = Trainer::new(&device, &config, &dataset).await.unwrap();
            for step in 0..3 {
                let report = trainer.compare_step().await.unwrap();
                if step == 0 {
                    println!("{device}:\n{report}");
                }
                assert!(report.first_mismatch().is_none(), "{device}, step {step}:\n{report}");
            }
            assert_eq!(trainer.step(), 3);
            assert!(trainer.plan().plan.programs[trainer.plan().step.0].len() > 60);
        }
    });
}

#[test]
fn the_compare_command() {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .arg("compare")
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, table) = run(&["--device", "cpu", "--steps", "2", "--set", "train.batch=7"]);
    assert_eq!(code, Some(0), "{table}");
    assert!(table.contains("batch 7, 2 steps") && table.contains("No parting in 140 launches"), "{table}");
    assert!(table.contains("conv_input_gradient"), "{table}");
    assert_eq!(run(&["--device", "cpu", "--set", "chain.stepz=3"]).0, Some(2));
    assert_eq!(run(&["--device", "cpu", "--steps", "0"]).0, Some(2));
}

#[test]
fn a_step_on_the_gpu_is_one_submission() {
    pollster::block_on(async {
        let (config, dataset) = tiny();
        let mut trainer = Trainer::new(&gpu(), &config, &dataset).await.unwrap();
        let counters = |trainer: &Trainer| match trainer.executor() {
            Executor::Gpu(executor) => executor.counters(),
            Executor::Cpu(_) => panic!("a GPU was asked for"),
        };
        let before = counters(&trainer);
        assert!(before.uploads > 0 && before.uploaded_bytes > 0, "the counters count: {before:?}");
        let mut pending = Vec::new();
        for steps in [1, 1, 1, 4, 1, 10] {
            pending.push(trainer.submit(steps).unwrap());
        }
        let after = counters(&trainer);
        let expected = Counters { submissions: before.submissions + 6, ..before };
        assert_eq!(after, expected, "18 steps in 6 submissions, nothing uploaded, nothing waited for");
        for pending in pending {
            pending.metrics().await.unwrap();
        }
        let awaited = counters(&trainer);
        assert_eq!(
            awaited,
            Counters { waits: after.waits + 6, ..after },
            "metrics came with the submissions"
        );
    });
}

/// The epoch's last batch has 10 real images instead of 20: means, penalty and `dL/dE` count those alone.
#[test]
fn short_batches_count_real_images_only() {
    pollster::block_on(async {
        let (config, dataset) = tiny();
        for device in [Device::Cpu(Isa::Reference), Device::cpu(), gpu()] {
            let mut trainer = Trainer::new(&device, &config, &dataset).await.unwrap();
            let metrics = steps(&mut trainer, &[1, 1, 1]).await;
            let n_real = N_IMAGES % BATCH;
            let counted: Vec<f32> = metrics.iter().map(|m| m.n_real).collect();
            assert_eq!(counted, [BATCH as f32, BATCH as f32, n_real as f32], "{device}");

            let plan = trainer.plan();
            let half = (plan.half_blocks * plan.plan.lanes) as usize;
            let energies = trainer.executor().read_floats(plan.pass.energies).await.unwrap();
            let grad_energies = trainer.executor().read_floats(plan.pass.grad_energies).await.unwrap();
            let (positive, negative) = (&energies[..n_real], &energies[half..half + BATCH]);
            let mean = |values: &[f32], power: i32| {
                values.iter().map(|e| f64::from(*e).powi(power)).sum::<f64>() / values.len() as f64
            };
            let alpha = config.loss.energy_l2;
            let loss =
                mean(positive, 1) - mean(negative, 1) + alpha * (mean(positive, 2) + mean(negative, 2));
            assert_close(metrics[2].loss, loss as f32, 1e-6, &format!("{device}: loss"));
            assert_close(
                metrics[2].energy_real,
                mean(positive, 1) as f32,
                1e-6,
                &format!("{device}: E real"),
            );
            // Had it counted the ten empty places, the mean would be another.
            let wrong = mean(&energies[..BATCH], 1);
            assert!((wrong - mean(positive, 1)).abs() > 1e-5, "{device}: {wrong} tells nothing");
            for (i, seed) in grad_energies.iter().enumerate() {
                let (n, sign) = match i {
                    _ if i < n_real => (n_real, 1.0),
                    _ if (half..half + BATCH).contains(&i) => (BATCH, -1.0),
                    _ => (1, 0.0),
                };
                let right =
                    if sign == 0.0 { 0.0 } else { (sign + 2.0 * alpha * f64::from(energies[i])) / n as f64 };
                assert_close(*seed, right as f32, 1e-7, &format!("{device}: seed {i}"));
            }
        }
    });
}

/// The first losses of a run of recipe R1, but for a batch of 32 and 5 Langevin steps.
///
/// On x86-64 `Isa::Plain` knows nothing but single multiplications, additions, divisions and roots, which are the same
/// bits everywhere, and so are its losses. Whoever changes the order of a sum, on purpose, pins the new ones, which the
/// failure prints. The others are held against them: after ten steps, rounding has grown to 1e-8.
const PINNED: [f32; 10] = [
    0.035033796,
    0.027702091,
    0.021859631,
    0.0138576105,
    0.004181637,
    -0.0062250104,
    -0.007401413,
    -0.013775527,
    -0.022068966,
    -0.029875003,
];

#[test]
fn pinned_losses() {
    let mut config = Recipe::preset("mnist-small").unwrap();
    for setting in ["train.batch=32", "chain.steps=5"] {
        config.set(setting).unwrap();
    }
    let dataset = Dataset::open("digits").unwrap();
    let run = |device: &Device| {
        pollster::block_on(async {
            let mut trainer = Trainer::new(device, &config, &dataset).await.unwrap();
            let losses: Vec<f32> = steps(&mut trainer, &[10]).await.iter().map(|m| m.loss).collect();
            println!("{device}: {losses:?}");
            losses
        })
    };
    let all: Vec<(Device, Vec<f32>)> = devices().into_iter().map(|d| (d.clone(), run(&d))).collect();
    for (device, losses) in &all {
        if cfg!(target_arch = "x86_64") && matches!(device, Device::Cpu(Isa::Plain)) {
            assert_eq!(*losses, PINNED, "{device}");
        }
        for (step, (loss, pinned)) in losses.iter().zip(PINNED).enumerate() {
            assert_close(*loss, pinned, 3e-7, &format!("{device}, step {step}"));
        }
    }
}

/// The share of pairs (real, noise) in which the real image has the lower energy.
fn auc(positive: &[f32], noise: &[f32]) -> f64 {
    let mut lower = 0;
    for r in positive {
        lower += noise.iter().filter(|n| r < *n).count();
    }
    lower as f64 / (positive.len() * noise.len()) as f64
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64
}

#[test]
fn a_short_run_learns() {
    use rand::RngExt;
    let mut config = Recipe::preset("mnist-small").unwrap();
    for setting in ["train.batch=64", "chain.steps=20"] {
        config.set(setting).unwrap();
    }
    let dataset = Dataset::open("digits").unwrap();
    pollster::block_on(async {
        let mut trainer = Trainer::new(&Device::cpu(), &config, &dataset).await.unwrap();
        let shape = trainer.network().input;
        let held_out = dataset.held_out.clone();
        let mut rng = Philox::new(1, Stream::HeldOutNoise);
        let values = (0..held_out.count() * shape.len()).map(|_| rng.random_range(-1.0_f32..1.0)).collect();
        let noise = Images { shape, values };
        let mut energies = EnergyModel::new(trainer.device(), &trainer.model().await.unwrap()).await.unwrap();
        let mut evaluate = async |trainer: &Trainer| {
            energies.set_parameters(&trainer.model().await.unwrap().parameters).unwrap();
            let positive = energies.energies(&held_out).await.unwrap();
            let noise = energies.energies(&noise).await.unwrap();
            println!("step {}: E real {}, E noise {}", trainer.step(), mean(&positive), mean(&noise));
            (auc(&positive, &noise), mean(&noise) - mean(&positive))
        };
        let (_, gap_before) = evaluate(&trainer).await;
        let metrics = steps(&mut trainer, &[50, 50]).await;
        assert!(metrics.iter().all(|m| m.loss.is_finite()));
        let (auc, gap) = evaluate(&trainer).await;
        println!("AUC {auc}, gap {gap_before} -> {gap}");
        assert!(auc > 0.99, "held-out digits against noise: AUC {auc}");
        assert!(gap > gap_before.abs() && gap > 0.01, "E noise - E real: {gap_before} before, {gap} after");
    });
}
