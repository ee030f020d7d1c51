//! Trains a few steps from Rust on the digits that ship inside, and leaves a checkpoint and a picture in a folder:
//!
//! ```sh
//! cargo run --release --example train_tiny -- FOLDER
//! ```
//!
//! Without a folder they go to a temporary one. Some seconds on a processor.

use std::path::{Path, PathBuf};
use thalweg::picture::{GridOptions, grid, save_png};
use thalweg::{Config, Dataset, Device, EnergyModel, Error, Result, Trainer};

const STEPS: u64 = 40;
/// Steps between two lines of metrics: they are submitted at once, and a GPU is not waited for in between.
const AT_ONCE: u32 = 10;

fn main() -> Result<()> {
    let folder = match std::env::args().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::temp_dir().join("thalweg-train-tiny"),
    };
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    pollster::block_on(train(&folder))
}

async fn train(folder: &Path) -> Result<()> {
    // The recipe's numbers, but smaller batches, shorter chains and a higher learning rate.
    let mut config = Config::preset("mnist-small")?;
    for setting in ["train.batch=32", "chain.steps=20", "replay.capacity=512", "adam.learning_rate=3e-4"] {
        config.set(setting)?;
    }
    config.train.steps = STEPS; // every field can be set directly as well
    let dataset = Dataset::open("digits")?;
    let device = Device::open("auto").await?;
    let mut trainer = Trainer::new(&device, &config, &dataset).await?;
    println!("{} parameters on {device}", trainer.network().n_parameters);

    while trainer.step() < trainer.total_steps() {
        let pending = trainer.submit(AT_ONCE)?;
        let metrics = pending.metrics().await?; // one of each step
        if let Some(last) = metrics.last() {
            let (step, real, fake) = (trainer.step(), last.energy_real, last.energy_fake);
            println!("step {step:>3}: loss {:.4}, E real {real:.4}, E fake {fake:.4}", last.loss);
        }
    }

    // Digits that were held out, next to the model's own chains: real ones should come to lie lower.
    let mut energy_model = EnergyModel::new(&device, &trainer.model().await?).await?;
    let held_out = energy_model.energies(&dataset.held_out).await?;
    let mean = held_out.iter().map(|e| f64::from(*e)).sum::<f64>() / held_out.len() as f64;
    println!("mean energy of {} held-out digits: {mean:.4}", held_out.len());

    let chains = trainer.replay_images(16).await?;
    let energies = energy_model.energies(&chains).await?;
    let titles: Vec<String> = energies.iter().map(|e| format!("E = {e:.4}")).collect();
    save_png(&folder.join("chains.png"), &grid(&chains, &titles, &GridOptions::default()))?;
    // `thalweg train --resume` and `thalweg sample` take it; the second argument is for notes of one's own.
    trainer.checkpoint(serde_json::Value::Null).await?.save(folder.join("checkpoint.safetensors"))?;
    println!("Wrote chains.png and checkpoint.safetensors to {}.", folder.display());
    Ok(())
}
