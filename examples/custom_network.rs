//! Trains a network of one's own on points of the plane, and prints how well its energies tell data from noise:
//!
//! ```sh
//! cargo run --release --example custom_network -- [STEPS] [CHECKPOINT.safetensors]
//! ```

use thalweg::network::{Activation, Network};
use thalweg::{Dataset, Device, EnergyModel, Images, Recipe, Result, Trainer};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let steps = arguments.next().and_then(|steps| steps.parse().ok()).unwrap_or(2000);
    pollster::block_on(train(steps, arguments.next()))
}

async fn train(steps: u64, file: Option<String>) -> Result<()> {
    // Points of two coordinates; the last layer has one unit, the energy. Images are [channels, height, width], and take
    // `.conv(channels, kernel).stride(2)`. A TOML file can describe the same: see `thalweg::network`.
    let network = Network::builder("mine", [2, 1, 1])
        .dense(64)
        .activation(Activation::Swish)
        .dense(64)
        .activation(Activation::Swish)
        .dense(1)
        .build()?;

    // The recipe of a preset for such data, with the network in place of the preset's.
    let mut config = Recipe::preset("mlp")?;
    config.network = Some(network.spec());
    config.train.steps = steps;
    let dataset = Dataset::open("8-gaussians")?;
    let device = Device::open("auto").await?;
    let mut trainer = Trainer::new(&device, &config, &dataset).await?;
    println!("{} parameters on {device}", network.n_parameters);
    let mut metrics = Vec::new();
    while trainer.step() < trainer.total_steps() {
        let left = trainer.total_steps() - trainer.step();
        metrics = trainer.submit(left.min(100) as u32)?.metrics().await?; // one row a step
    }
    if let Some(last) = metrics.last() {
        println!("loss {:.4} after {} steps", last.loss, trainer.step());
    }

    // Held-out points lie lower than points anywhere in the square.
    let mut energies = EnergyModel::new(&device, &trainer.model().await?).await?;
    let grid = (0..400).flat_map(|i| [i % 20, i / 20].map(|x| (x as f32 - 9.5) / 2.5)).collect();
    let anywhere = Images { shape: dataset.held_out.shape, values: grid };
    let mean = |energies: Vec<f32>| energies.iter().sum::<f32>() / energies.len() as f32;
    let (data, anywhere) = (energies.energies(&dataset.held_out).await?, energies.energies(&anywhere).await?);
    println!("mean energy of data {:.4}, of the square {:.4}", mean(data), mean(anywhere));

    if let Some(file) = file {
        trainer.checkpoint(serde_json::Value::Null).await?.save(&file)?;
        println!("{file}");
    }
    Ok(())
}
