//! A guarded run as a library user has it: observed, stopped, resumed, rolled back, refused.

use std::path::Path;
use tempfile::TempDir;
use thalweg::checkpoint::Checkpoint;
use thalweg::data::Examples;
use thalweg::network::Activation;
use thalweg::train::run::{CHECKPOINT, End, Event, METRICS, Observer, Stop};
use thalweg::{Dataset, Device, Error, Network, Recipe, Run, Trainer};

/// Counts what happens, and stops after so many steps.
#[derive(Default)]
struct Count {
    stop_after: Option<u64>,
    step: u64,
    epochs: usize,
    rollbacks: usize,
    saves: usize,
}

impl Observer for Count {
    fn stop(&self) -> Stop {
        if self.stop_after.is_some_and(|last| self.step >= last) { Stop::AtOnce } else { Stop::No }
    }

    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Step { step, .. } => self.step = step,
            Event::Epoch(_) => self.epochs += 1,
            Event::RolledBack(_) => self.rollbacks += 1,
            Event::Saved => self.saves += 1,
            _ => {}
        }
    }
}

fn digits() -> Dataset {
    let mut dataset = Dataset::open("digits").unwrap();
    let Examples::Bytes(images) = &mut dataset.train else { panic!("digits are bytes") };
    images.bytes.truncate(200 * images.shape.len());
    dataset
}

fn trainer(settings: &[&str]) -> Trainer {
    let network = Network::builder("small", [1, 28, 28]).conv(4, 3).stride(2).activation(Activation::Swish);
    let network = network.dense(1).build().unwrap().spec();
    let mut config = Recipe { network: Some(network), ..Recipe::preset("mnist-small").unwrap() };
    let tiny =
        ["train.batch=20", "train.steps=25", "chain.steps=2", "replay.capacity=60", "replay.initial=20"];
    for setting in tiny.iter().chain(settings) {
        config.set(setting).unwrap();
    }
    pollster::block_on(Trainer::new(&Device::cpu(), &config, &digits())).unwrap()
}

fn begin(settings: &[&str], folder: &Path) -> thalweg::Result<Run> {
    pollster::block_on(Run::begin(trainer(settings), &digits(), folder))
}

fn resume(folder: &Path, steps: Option<u64>) -> End {
    pollster::block_on(async {
        let mut run = Run::resume(&Device::cpu(), &digits(), folder, steps).await.unwrap();
        run.finish(&mut ()).await.unwrap()
    })
}

/// Figures of each step, without the clock.
fn rows(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(METRICS)).unwrap();
    text.lines().skip(1).map(|row| row.rsplit_once(',').unwrap().0.to_owned()).collect()
}

#[test]
fn a_run_that_is_stopped_and_resumed_is_the_same_run() {
    let folder = TempDir::new().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let mut count = Count::default();
    let end = pollster::block_on(begin(&[], &whole).unwrap().finish(&mut count)).unwrap();
    assert_eq!((end.step, end.began, end.total, count.step), (25, 0, 25, 25));
    assert_eq!((count.epochs, count.rollbacks), (3, 0)); // of 10 steps each, and the last
    assert!(count.saves > 0 && !end.misses_files && rows(&whole).len() == 25);

    let mut count = Count { stop_after: Some(7), ..Count::default() };
    let end = pollster::block_on(begin(&[], &parts).unwrap().finish(&mut count)).unwrap();
    assert!((7..25).contains(&end.step), "{end:?}");
    let end = resume(&parts, None);
    assert_eq!(end.step, 25);
    assert_eq!(rows(&parts), rows(&whole));
    let load = |folder: &Path| Checkpoint::load(folder.join(CHECKPOINT)).unwrap();
    assert!(load(&parts) == load(&whole));

    // A longer run, from there on.
    let end = resume(&parts, Some(30));
    assert_eq!((end.began, end.step), (25, 30));
}

#[test]
fn a_folder_that_holds_a_run_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    drop(begin(&[], folder.path()).unwrap());
    let before = std::fs::read(folder.path().join(CHECKPOINT)).unwrap();
    let error = begin(&["seed=9"], folder.path()).err().unwrap();
    assert!(matches!(error, Error::File { .. }) && error.to_string().contains("resume"), "{error}");
    assert_eq!(std::fs::read(folder.path().join(CHECKPOINT)).unwrap(), before);
}

#[test]
fn a_run_that_always_diverges_is_rolled_back_and_then_stopped() {
    let folder = TempDir::new().unwrap();
    let settings = ["adam.learning_rate=100", "guard.learning_rate_factor=1"];
    let mut run = begin(&settings, folder.path()).unwrap();
    let mut count = Count::default();
    let error = pollster::block_on(run.finish(&mut count)).unwrap_err();
    assert!(matches!(&error, Error::Diverged(text) if text.contains("adam.learning_rate")), "{error}");
    assert_eq!(count.rollbacks, 3);
    let diverged = run.diverged().unwrap();
    assert!(!diverged.goes_on());
    let checkpoint = Checkpoint::load(folder.path().join(CHECKPOINT)).unwrap();
    assert_eq!(checkpoint.header.step, diverged.to);
}
