//! The guard: what is wrong is found in the step in which it comes up, training goes back to a snapshot and on from there,
//! on every device, bit for bit however steps are submitted and wherever a run was interrupted; and a healthy run is none
//! of its business.

use std::path::Path;
use std::sync::OnceLock;
use thalweg::checkpoint::{Checkpoint, TensorData};
use thalweg::data::Examples;
use thalweg::device::Device;
use thalweg::kernels::State;
use thalweg::kernels::guard::{Memory, Reason};
use thalweg::network::{Activation, NetworkSpec};
use thalweg::plan::BufferId;
use thalweg::train::log::StepMetrics;
use thalweg::train::{Halt, Rollback};
use thalweg::{Dataset, Error, Network, Recipe, Trainer};

use crate::common;

use common::{bits, checkpoint, steps};

fn gpu() -> Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(common::gpu).clone()
}

fn devices() -> [Device; 2] {
    [Device::cpu(), gpu()]
}

fn config(settings: &[&str]) -> Recipe {
    let mut config = Recipe { network: Some(small_network()), ..Recipe::preset("mnist-small").unwrap() };
    let tiny = ["train.batch=20", "chain.steps=2", "replay.capacity=60", "replay.initial=20", "seed=7"];
    for setting in tiny.iter().chain(settings) {
        config.set(setting).unwrap();
    }
    config.validate().unwrap();
    config
}

/// A network of one convolution, so that tests take no longer than they have to.
fn small_network() -> NetworkSpec {
    let builder = Network::builder("small", [1, 28, 28]).conv(4, 3).stride(2).activation(Activation::Swish);
    builder.dense(1).build().unwrap().spec()
}

fn digits() -> Dataset {
    let mut dataset = Dataset::open("digits").unwrap();
    let Examples::Bytes(images) = &mut dataset.train else { panic!("digits are bytes") };
    images.bytes.truncate(200 * images.shape.len());
    dataset
}

/// The same digits as floats.
fn floats() -> Dataset {
    let mut dataset = digits();
    dataset.train = Examples::Floats(dataset.train.to_images());
    dataset
}

async fn trainer(device: &Device, settings: &[&str], dataset: &Dataset) -> Trainer {
    Trainer::new(device, &config(settings), dataset).await.unwrap()
}

/// Of the recipe's own network, which is deep enough to explode.
async fn deep_trainer(device: &Device, settings: &[&str], dataset: &Dataset) -> Trainer {
    Trainer::new(device, &Recipe { network: None, ..config(settings) }, dataset).await.unwrap()
}

async fn resumed(device: &Device, path: &Path, dataset: &Dataset) -> Trainer {
    Trainer::resume(device, path, Checkpoint::load(path).unwrap(), dataset).await.unwrap()
}

/// All there is to know of a run: metrics, and where it went back.
#[derive(Debug, Default, PartialEq)]
struct Log {
    metrics: Vec<(u64, StepMetrics)>,
    rollbacks: Vec<String>,
}

/// Trains to `end` as the command does: so many steps at a time, two submissions under way.
async fn train(trainer: &mut Trainer, end: u64, at_once: u32, log: &mut Log) {
    let mut pending = std::collections::VecDeque::new();
    loop {
        if trainer.step() < end {
            let steps = (end - trainer.step()).min(at_once.into()) as u32;
            pending.push_back(trainer.submit(steps).unwrap());
        }
        if trainer.step() < end && pending.len() < 2 {
            continue;
        }
        let Some(oldest) = pending.pop_front() else { break };
        let first = oldest.steps().start;
        let outcome = oldest.outcome().await.unwrap();
        log.metrics.extend((first..).zip(outcome.metrics));
        if let Some(halt) = outcome.halt {
            pending.clear();
            go_back(trainer, halt, log).await;
        }
    }
}

async fn go_back(trainer: &mut Trainer, halt: Halt, log: &mut Log) -> Rollback {
    let rollback = trainer.roll_back(halt).await.unwrap();
    assert!(log.rollbacks.len() < 9, "{:?}", log.rollbacks);
    assert_eq!(trainer.step(), rollback.to);
    log.metrics.retain(|(step, _)| *step < rollback.to);
    log.rollbacks.push(rollback.to_string());
    rollback
}

fn assert_finite(checkpoint: &Checkpoint, what: &str) {
    for (name, tensor) in &checkpoint.tensors {
        if let TensorData::F32(values) = &tensor.data {
            assert!(values.iter().all(|v| v.is_finite()), "{what}: {name}");
        }
    }
}

/// Saves, resumes and saves again: whole, finite, and the same.
async fn assert_whole(trainer: &mut Trainer, dataset: &Dataset, what: &str) {
    assert_eq!(trainer.check().await.unwrap(), None, "{what}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let saved = checkpoint(trainer).await;
    saved.save(&path).unwrap();
    assert_finite(&saved, what);
    let again = resumed(trainer.device(), &path, dataset).await;
    assert_eq!(bits(&checkpoint(&again).await), bits(&saved), "{what}");
}

async fn state(trainer: &Trainer) -> State {
    State::of(&trainer.executor().read(trainer.plan().state).await.unwrap())
}

async fn memory(trainer: &Trainer) -> Memory {
    Memory::of(&trainer.executor().read(trainer.plan().guard.as_ref().unwrap().memory).await.unwrap())
}

const NAN: u32 = 0x7fc0_0000;

#[test]
fn a_healthy_run_is_what_it_is_without_a_guard() {
    let dataset = digits();
    let every_other = "guard.snapshot_every=2";
    pollster::block_on(async {
        for device in devices() {
            let mut ends = Vec::new();
            for settings in [
                &["guard.on_divergence=ignore", "ema.decay=0.9"][..],
                &["ema.decay=0.9"],
                &["ema.decay=0.9", every_other],
            ] {
                let mut trainer = trainer(&device, settings, &dataset).await;
                let metrics = steps(&mut trainer, &[1, 4, 2]).await;
                let mut saved = checkpoint(&trainer).await;
                // Where there is a guard, there is more in a checkpoint.
                let n = saved.tensors.len();
                saved.tensors.retain(|name, _| name != "guard" && !name.starts_with("snapshot."));
                ends.push((bits(&saved), metrics, n - saved.tensors.len()));
            }
            assert!(ends[0].0 == ends[1].0 && ends[0].0 == ends[2].0, "{device}");
            assert!(ends[0].1 == ends[1].1 && ends[0].1 == ends[2].1, "{device}");
            let snapshot = ends[0].0.len();
            assert_eq!([ends[0].2, ends[1].2, ends[2].2], [0, snapshot + 2, snapshot + 2], "{device}");
        }
    });
}

/// What is put where, before step 4 or before the first, and what the guard has to say to it.
struct Injection {
    name: &'static str,
    put: fn(&mut Trainer),
    reason: Reason,
    after: u64, // steps that are still good
}

fn fill(trainer: &mut Trainer, buffer: BufferId, word: u32) {
    let len = trainer.plan().plan.len_of(buffer);
    trainer.executor_mut().write(buffer, 0, &vec![word; len]);
}

const INJECTIONS: [Injection; 5] = [
    Injection {
        name: "a parameter",
        put: |trainer| {
            let (parameters, start) = (trainer.plan().pass.parameters, trainer.plan().start);
            trainer.executor_mut().write(parameters, 77, &[NAN]);
            trainer.executor_mut().run(start).unwrap();
        },
        reason: Reason::Energies,
        after: 0,
    },
    Injection {
        name: "the ring",
        put: |trainer| fill(trainer, trainer.plan().replay, NAN),
        reason: Reason::Images,
        after: 0,
    },
    Injection {
        name: "an infinity in the ring",
        put: |trainer| fill(trainer, trainer.plan().replay, f32::INFINITY.to_bits()),
        reason: Reason::Images,
        after: 0,
    },
    Injection {
        // The parameters become NaN in this step, which shows in the next.
        name: "a moment",
        put: |trainer| {
            let moment = trainer.plan().first_moment;
            trainer.executor_mut().write(moment, 3, &[NAN]);
        },
        reason: Reason::Energies,
        after: 1,
    },
    Injection {
        name: "all parameters far too large",
        put: |trainer| {
            let (parameters, start) = (trainer.plan().pass.parameters, trainer.plan().start);
            let mut values = trainer.network().initial_parameters(1);
            values.iter_mut().for_each(|value| *value *= 100.0);
            trainer.executor_mut().write_floats(parameters, &values);
            trainer.executor_mut().run(start).unwrap();
        },
        reason: Reason::EnergyRange,
        after: 0,
    },
];

#[test]
fn what_is_not_finite_is_found_in_its_step_and_undone() {
    let dataset = digits();
    pollster::block_on(async {
        for device in devices() {
            for injection in &INJECTIONS {
                for before in [0, 4] {
                    let what = format!("{device}, {} at step {before}", injection.name);
                    // A limit needs a step to be held against.
                    if before == 0 && injection.reason == Reason::EnergyRange {
                        continue;
                    }
                    let settings = ["guard.snapshot_every=3", "ema.decay=0.9"];
                    let mut trainer = trainer(&device, &settings, &dataset).await;
                    let mut log = Log::default();
                    train(&mut trainer, before, 4, &mut log).await;
                    assert_eq!(
                        (state(&trainer).await.step, log.rollbacks.len()),
                        (before as u32, 0),
                        "{what}"
                    );
                    (injection.put)(&mut trainer);
                    let outcome = trainer.submit(3).unwrap().outcome().await.unwrap();
                    let halt = outcome.halt.unwrap_or_else(|| panic!("{what} is not found"));
                    assert_eq!(
                        (halt.reason, halt.step),
                        (injection.reason, before + injection.after + 1),
                        "{what}"
                    );
                    assert_eq!(outcome.metrics.len() as u64, injection.after + 1, "{what}");
                    assert!(halt.to_string().starts_with(&format!("step {}: ", halt.step)), "{halt}");

                    // Nothing goes on, nothing is saved, until training has gone back.
                    let later = trainer.submit(2).unwrap();
                    assert!(
                        matches!(later.metrics().await, Err(Error::Diverged(text)) if text.contains("step"))
                    );
                    let refused = trainer.checkpoint(serde_json::Value::Null).await;
                    assert!(matches!(refused, Err(Error::Diverged(_))), "{what}");
                    let rollback = go_back(&mut trainer, halt, &mut log).await;
                    let to = if before == 0 { 0 } else { 3 };
                    assert_eq!((rollback.to, rollback.number, rollback.goes_on()), (to, 1, true), "{what}");
                    assert_eq!(rollback.learning_rate, 0.5e-4, "{what}");
                    train(&mut trainer, 8, 5, &mut log).await;
                    assert_eq!(log.rollbacks.len(), 1, "{what}: {:?}", log.rollbacks);
                    assert_eq!(trainer.step(), 8);
                    assert!(log.metrics.iter().map(|(step, _)| *step).eq(0..8) || before > 0, "{what}");
                    assert_whole(&mut trainer, &dataset, &what).await;
                }
            }
        }
    });
}

#[test]
fn a_batch_that_is_not_finite_is_found_and_undone() {
    let dataset = floats();
    pollster::block_on(async {
        for device in devices() {
            let mut trainer = trainer(&device, &["guard.snapshot_every=3"], &dataset).await;
            let mut log = Log::default();
            train(&mut trainer, 4, 1, &mut log).await;
            let data = trainer.plan().data[0].buffer;
            let Examples::Floats(images) = &dataset.train else { unreachable!() };
            // Every image has one.
            let mut values = images.values.clone();
            values.iter_mut().step_by(images.shape.len()).for_each(|value| *value = f32::NAN);
            trainer.executor_mut().write_floats(data, &values);
            let halt = trainer.submit(1).unwrap().outcome().await.unwrap().halt.unwrap();
            assert_eq!((halt.reason, halt.step, halt.value), (Reason::Images, 5, 20.0), "{device}");
            assert!(halt.to_string().contains("20 numbers"), "{halt}");
            go_back(&mut trainer, halt, &mut log).await;
            trainer.executor_mut().write_floats(data, &images.values);
            train(&mut trainer, 8, 1, &mut log).await;
            assert_eq!(log.rollbacks.len(), 1, "{device}");
            assert_whole(&mut trainer, &dataset, &device.to_string()).await;
        }
    });
}

/// A chain in the ring that is not drawn harms nobody; but no snapshot and no checkpoint may have it.
#[test]
fn what_is_stored_is_looked_at_before_it_is_kept() {
    let dataset = digits();
    pollster::block_on(async {
        for device in devices() {
            for by_snapshot in [false, true] {
                let settings = ["guard.snapshot_every=5", "replay.fresh=1"];
                let mut trainer = trainer(&device, &settings, &dataset).await;
                let mut log = Log::default();
                train(&mut trainer, 3, 1, &mut log).await;
                let replay = trainer.plan().replay;
                trainer.executor_mut().write(replay, 5, &[NAN, f32::NEG_INFINITY.to_bits()]);
                let halt = if by_snapshot {
                    let outcome = trainer.submit(4).unwrap().outcome().await.unwrap();
                    assert_eq!(outcome.metrics.len(), 2, "steps 4 and 5 are good: {device}");
                    outcome.halt.unwrap()
                } else {
                    trainer.check().await.unwrap().unwrap()
                };
                let step = if by_snapshot { 5 } else { 3 };
                assert_eq!((halt.reason, halt.step, halt.value), (Reason::Stored, step, 2.0), "{device}");
                assert_eq!(go_back(&mut trainer, halt, &mut log).await.to, 0);
                train(&mut trainer, 6, 6, &mut log).await;
                assert_whole(&mut trainer, &dataset, &device.to_string()).await;
            }
        }
    });
}

#[test]
fn a_learning_rate_far_too_high_stops_after_three_tries() {
    let dataset = digits();
    pollster::block_on(async {
        for device in devices() {
            // 1,000 times that of the recipe, and it stays.
            let settings = ["adam.learning_rate=0.1", "guard.learning_rate_factor=1"];
            let mut trainer = deep_trainer(&device, &settings, &dataset).await;
            let mut seeds = vec![state(&trainer).await.key()];
            for number in 1..=4 {
                let halt = trainer.submit(9).unwrap().outcome().await.unwrap().halt.unwrap();
                assert!([Reason::EnergyRange, Reason::GradientRange].contains(&halt.reason), "{halt}");
                assert!(halt.step <= 3, "{halt}");
                let rollback = trainer.roll_back(halt).await.unwrap();
                println!("{device}: {rollback}");
                assert_eq!((rollback.number, rollback.goes_on()), (number, number <= 3));
                assert_eq!((rollback.to, rollback.learning_rate), (0, 0.1));
                seeds.push(state(&trainer).await.key());
                assert_eq!(state(&trainer).await.retries, number as u32);
            }
            seeds.sort_unstable();
            seeds.dedup();
            assert_eq!(seeds.len(), 5, "each try has other random numbers: {seeds:?}");
            assert_whole(&mut trainer, &dataset, &device.to_string()).await;
            let header = checkpoint(&trainer).await.header;
            let [low, high] = state(&trainer).await.key().map(u64::from);
            assert_eq!((header.step, header.seed), (0, high << 32 | low));
        }
    });
}

/// Diverges by itself, long after the first snapshot: the learning rate rises to what is too much.
const RISING: [&str; 4] =
    ["adam.learning_rate=0.5", "schedule.warm_up=40", "guard.snapshot_every=4", "guard.gradient_range=30"];

#[test]
fn tries_are_the_same_however_steps_are_submitted_and_wherever_a_run_is_resumed() {
    let dataset = digits();
    let folder = tempfile::tempdir().unwrap();
    pollster::block_on(async {
        for device in [Device::cpu(), gpu()] {
            let mut ends = Vec::new();
            let is_fast = matches!(device, Device::Cpu(_));
            for at_once in if is_fast { vec![1, 3, 17] } else { vec![1, 17] } {
                let (mut trainer, mut log) = (deep_trainer(&device, &RISING, &dataset).await, Log::default());
                train(&mut trainer, 24, at_once, &mut log).await;
                println!("{device}, {at_once} at once: {:#?}", log.rollbacks);
                ends.push((bits(&checkpoint(&trainer).await), log));
            }
            let (whole, log) = &ends[0];
            assert!(!log.rollbacks.is_empty(), "{device}");
            assert!(ends.iter().all(|end| end == &ends[0]), "{device}");

            // Interrupted between a snapshot and the divergence, and on the processor after every step.
            let stops = if is_fast { vec![vec![7], (1..24).collect()] } else { vec![vec![3, 10]] };
            for stops in stops {
                let (mut trainer, mut parts) =
                    (deep_trainer(&device, &RISING, &dataset).await, Log::default());
                for stop in stops.iter().copied().chain([24]) {
                    train(&mut trainer, stop, 5, &mut parts).await;
                    assert_eq!(trainer.check().await.unwrap(), None);
                    let path = folder.path().join("c.safetensors");
                    checkpoint(&trainer).await.save(&path).unwrap();
                    trainer = resumed(&device, &path, &dataset).await;
                }
                assert_eq!(&parts, log, "{device}, stopped at {stops:?}");
                assert!(&bits(&checkpoint(&trainer).await) == whole, "{device}, stopped at {stops:?}");
            }
        }
    });
}

/// Chains that stand still, in a ring that is not left.
const STILL: [&str; 5] = [
    "chain.step_size=1e-12",
    "chain.noise=0",
    "replay.fresh=0",
    "guard.collapse_steps=12",
    "guard.snapshot_every=5",
];

#[test]
fn collapse_is_found() {
    let dataset = digits();
    let run = |device: &Device, what: &[&str], prepare: fn(&mut Trainer)| {
        pollster::block_on(async {
            let settings: Vec<&str> = STILL.iter().chain(what).copied().collect();
            let mut trainer = trainer(device, &settings, &dataset).await;
            let mut calm = 0;
            for step in 0..40 {
                if step == 10 {
                    prepare(&mut trainer);
                }
                if let Some(halt) = trainer.submit(1).unwrap().outcome().await.unwrap().halt {
                    return Some((trainer.roll_back(halt.clone()).await.unwrap().to, halt));
                }
                calm += u32::from(memory(&trainer).await.calm > 4.0);
            }
            assert!(calm > 30, "calm in {calm} steps of 40 only");
            None
        })
    };
    for device in devices() {
        // As they are: noise, different from image to image, and none of it at the bound.
        assert_eq!(run(&device, &[], |_| {}), None, "{device}");
        // All chains the same picture, of any values.
        let (to, halt) = run(&device, &[], |t| {
            let replay = t.plan().replay;
            let n = t.network().input.len();
            let values: Vec<f32> =
                (0..t.plan().plan.len_of(replay)).map(|i| (i % n) as f32 / n as f32).collect();
            t.executor_mut().write_floats(replay, &values);
        })
        .unwrap();
        assert_eq!((halt.reason, halt.step, to), (Reason::Alike, 22, 10), "{device}: {halt}");
        assert!(halt.usual > 0.1 && halt.value < 1e-6, "{halt}");
        // Chains that are different and all black or white.
        let (to, halt) = run(&device, &[], |t| {
            let replay = t.plan().replay;
            let sign = |i: usize| if (i as u32).wrapping_mul(0x9e37_79b1) >> 31 == 0 { -1.0 } else { 1.0 };
            let values: Vec<f32> = (0..t.plan().plan.len_of(replay)).map(sign).collect();
            t.executor_mut().write_floats(replay, &values);
        })
        .unwrap();
        assert_eq!((halt.reason, halt.step, to), (Reason::Saturated, 22, 10), "{device}: {halt}");
        assert!(halt.usual > 0.05 && halt.value == 0.0, "{halt}");
        // Without a clamp there is no bound to lie at.
        assert_eq!(run(&device, &["chain.clamp=0", "chain.noise=0.5"], |_| {}), None, "{device}");
        // Chains that begin at the real images and end there.
        let flat = ["objective=cd", "cd.start=data", "data.noise=0"];
        let (to, halt) = run(&device, &flat, |_| {}).unwrap();
        assert_eq!((halt.reason, halt.step, to), (Reason::Flat, 12, 0), "{device}: {halt}");
        // Nobody looks.
        let off = [&flat[..], &["guard.collapse_steps=0"]].concat();
        assert_eq!(run(&device, &off, |_| {}), None, "{device}");
    }
}

/// `--resume --on-divergence rollback` of a run without a guard: it can go back to where it was resumed.
#[test]
fn runs_resumed_with_a_guard_get_a_snapshot_of_their_start() {
    let dataset = digits();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    pollster::block_on(async {
        for device in [Device::cpu(), gpu()] {
            let mut first = trainer(&device, &["guard.on_divergence=ignore"], &dataset).await;
            steps(&mut first, &[5]).await;
            let mut old = checkpoint(&first).await;
            assert!(old.tensors.keys().all(|name| name != "guard" && !name.starts_with("snapshot.")));
            old.header.config.set("guard.on_divergence=rollback").unwrap();
            old.save(&path).unwrap();
            let mut trainer = resumed(&device, &path, &dataset).await;
            steps(&mut trainer, &[3]).await;
            (INJECTIONS[0].put)(&mut trainer);
            let halt = trainer.submit(1).unwrap().outcome().await.unwrap().halt.unwrap();
            let rollback = trainer.roll_back(halt).await.unwrap();
            assert_eq!((rollback.halt.step, rollback.to), (9, 5), "{device}");
            let mut back = checkpoint(&trainer).await;
            for name in ["guard", "state"] {
                back.tensors.remove(name);
                old.tensors.remove(name);
            }
            assert_eq!(bits(&back), bits(&old), "{device}");
        }
    });
}

#[test]
fn damaged_snapshots_are_refused() {
    let dataset = digits();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    pollster::block_on(async {
        let mut trainer = trainer(&Device::cpu(), &[], &dataset).await;
        steps(&mut trainer, &[2]).await;
        let good = checkpoint(&trainer).await;
        let refused = async |change: &dyn Fn(&mut Checkpoint), part: &str| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.save(&path).unwrap();
            let error = Trainer::resume(&Device::cpu(), &path, bad, &dataset).await.unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        };
        let word = |name: &'static str, place: usize, value: u32| {
            move |c: &mut Checkpoint| {
                let TensorData::U32(words) = &mut c.tensors.get_mut(name).unwrap().data else { panic!() };
                words[place] = value;
            }
        };
        refused(&word("snapshot.state", 0, 3), "newer than itself").await;
        refused(&word("snapshot.state", 2, 61), "contradicts").await;
        refused(&word("state", 7, 3), "contradicts").await;
        refused(&|c| drop(c.tensors.remove("snapshot.replay.ring")), "snapshot.replay.ring").await;
        refused(
            &|c| {
                let TensorData::F32(values) = &mut c.tensors.get_mut("snapshot.guard").unwrap().data else {
                    panic!()
                };
                values[1] = f32::NAN;
            },
            "NaN",
        )
        .await;
    });
}
