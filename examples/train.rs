//! Trains a model of the digits that ship inside, in a folder that the command line can use as well:
//!
//! ```sh
//! cargo run --release --example train -- FOLDER [SETTING=VALUE ...]
//! ```
//!
//! A second call with the same folder resumes the run. The guard rolls a run back that diverges.

use std::path::Path;
use thalweg::train::run::{CHECKPOINT, Event, Observer};
use thalweg::{Dataset, Device, Error, Recipe, Result, Run, Trainer};

/// Prints what happens in a run. An observer can also stop a run, and draw pictures.
struct Print;

impl Observer for Print {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Step { step, metrics, .. } if step % 10 == 0 => {
                println!(
                    "step {step:>4}: E real {:.4}, E fake {:.4}",
                    metrics.energy_real, metrics.energy_fake
                );
            }
            Event::Epoch(figures) => println!("epoch {}: loss {:.4}", figures.epoch, figures.train.loss),
            Event::RolledBack(rollback) => println!("{rollback}"),
            Event::NotSaved { error, .. } | Event::NotWritten(error) => eprintln!("{error}"),
            _ => {}
        }
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        return Err(Error::Usage("usage: train FOLDER [SETTING=VALUE ...]".to_owned()));
    };
    let settings: Vec<String> = arguments.collect();
    // The library waits for the device asynchronously; `pollster` blocks until it is done.
    pollster::block_on(train(Path::new(&folder), &settings))
}

async fn train(folder: &Path, settings: &[String]) -> Result<()> {
    let dataset = Dataset::open("digits")?;
    let device = Device::open("auto").await?; // the first GPU, else the CPU
    let mut run = if folder.join(CHECKPOINT).exists() {
        Run::resume(&device, &dataset, folder, None).await?
    } else {
        let mut config = Recipe::preset("mnist-small")?;
        config.train.steps = 200; // every field can be set directly, too
        for setting in settings {
            config.set(setting)?;
        }
        Run::begin(Trainer::new(&device, &config, &dataset).await?, &dataset, folder).await?
    };
    let end = run.finish(&mut Print).await?;
    println!("{} steps on {device} in {:.1} s: {}", end.step, end.seconds, run.checkpoint_path().display());
    Ok(())
}
