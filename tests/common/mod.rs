//! What several tests share, by subject. `tools/export_shaders.rs` takes the networks and recipes alone.

#[cfg(test)]
mod check;
#[cfg(test)]
mod executors;
#[cfg(test)]
mod files;
#[cfg(test)]
mod fixtures;
mod networks;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod program;
#[cfg(test)]
mod table;

#[cfg(test)]
pub use check::*;
#[cfg(test)]
pub use executors::*;
#[cfg(test)]
pub use files::*;
#[cfg(test)]
pub use fixtures::*;
pub use networks::*;
#[cfg(test)]
pub use plain::*;
#[cfg(test)]
pub use program::*;
#[cfg(test)]
pub use table::*;

use std::path::Path;
use std::sync::OnceLock;
use thalweg::checkpoint::{Checkpoint, TensorData};
use thalweg::cpu::Isa;
use thalweg::data::Examples;
use thalweg::device::{Chains, Device};
use thalweg::gpu::{Gpu, adapters};
use thalweg::recipe::{Objective, OnDivergence, Recipe, ScoreObjective, ScoreTarget};
use thalweg::train::log::StepMetrics;
use thalweg::{Dataset, Trainer};

/// The recipe `mnist-small` with these settings; without checks of steps, unless they turn them on.
pub fn recipe(settings: &[&str]) -> Recipe {
    let mut recipe = small(&[]);
    recipe.guard.on_divergence = OnDivergence::Ignore;
    with(recipe, settings)
}

/// The recipe with an objective that fits the score.
pub fn with_objective(mut recipe: Recipe, objective: ScoreObjective) -> Recipe {
    let score = &mut recipe.score;
    recipe.objective = match objective {
        ScoreObjective::Matching { probes } => {
            score.probes = probes;
            Objective::ScoreMatching
        }
        ScoreObjective::Sliced { probes, directions, square } => {
            (score.probes, score.directions, score.square) = (probes, directions, square);
            Objective::SlicedScoreMatching
        }
        ScoreObjective::Denoising { sigma, sigma_max, levels, target, from_noise, .. } => {
            (score.sigma, score.sigma_max) = (sigma.into(), sigma_max.into());
            (score.levels, score.target, score.from_noise) = (levels as usize, target, from_noise.into());
            Objective::DenoisingScoreMatching
        }
    };
    assert_eq!(recipe.score_objective(), Some(objective));
    recipe
}

/// A recipe with more settings.
pub fn with(mut recipe: Recipe, settings: &[&str]) -> Recipe {
    settings.iter().for_each(|setting| recipe.set(setting).unwrap());
    recipe
}

/// The preset `mnist-small` with these settings.
pub fn small(settings: &[&str]) -> Recipe {
    with(Recipe::preset("mnist-small").unwrap(), settings)
}

/// The shipped digits, the first `n` to train on.
pub fn few_digits(n: usize) -> Dataset {
    let mut dataset = Dataset::open("digits").unwrap();
    let Examples::Bytes(images) = &mut dataset.train else { panic!("digits are bytes") };
    images.bytes.truncate(n * images.shape.len());
    dataset
}

/// Denoising score matching from `sigma` to `sigma_max`.
pub fn denoising(
    [sigma, sigma_max]: [f32; 2],
    levels: u32,
    target: ScoreTarget,
    from_noise: f32,
) -> ScoreObjective {
    ScoreObjective::Denoising { sigma, sigma_max, levels, target, from_noise, weight: 1.0 }
}

/// The first adapter, be it software: tests of the GPU path never pass for want of one.
pub fn gpu() -> Device {
    pollster::block_on(async {
        let adapter = adapters().await.into_iter().next();
        let adapter =
            adapter.expect("no Vulkan, Metal or DX12 adapter: run ./test.sh, which installs a software one");
        Device::Gpu(Gpu::open(adapter).await.expect("the adapter opens"), Chains::default())
    })
}

/// The device of [`gpu`], opened once for all tests that take it from here.
pub fn shared_gpu() -> Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(gpu).clone()
}

/// The CPU with every instruction set that it has, and the first adapter.
pub fn every_device() -> Vec<Device> {
    Isa::available().into_iter().map(Device::Cpu).chain([shared_gpu()]).collect()
}

/// Bytes of a GPU's workgroup memory.
pub fn workgroup_memory(device: &Device) -> usize {
    match device {
        Device::Gpu(gpu, _) => gpu.adapter.workgroup_memory as usize,
        Device::Cpu(_) => 0,
    }
}

/// Submits some steps, as many at a time as `pieces` say, and awaits their metrics.
pub async fn steps(trainer: &mut Trainer, pieces: &[u32]) -> Vec<StepMetrics> {
    let mut metrics = Vec::new();
    for piece in pieces {
        metrics.extend(trainer.submit(*piece).unwrap().metrics().await.unwrap());
    }
    metrics
}

/// What the trainer would save.
pub async fn checkpoint(trainer: &Trainer) -> Checkpoint {
    trainer.checkpoint(serde_json::Value::Null).await.unwrap()
}

/// The trainer that goes on from a file.
pub async fn resumed(device: &Device, path: &Path, dataset: &Dataset) -> Trainer {
    Trainer::resume(device, path, Checkpoint::load(path).unwrap(), dataset).await.unwrap()
}

/// Compares three whole training steps, launch by launch, with the reference.
pub async fn assert_steps_are_the_references(
    device: &Device,
    recipe: &Recipe,
    dataset: &Dataset,
    what: &str,
) {
    let mut trainer = Trainer::new(device, recipe, dataset).await.unwrap();
    for step in 0..3 {
        let report = trainer.compare_step().await.unwrap();
        assert!(report.first_mismatch().is_none(), "{device}, {what}, step {step}:\n{report}");
    }
}

/// Asserts that seven steps are the same with a stop after four, at which the run is saved to `path` and resumed. Their
/// metrics.
pub async fn assert_resumes(
    device: &Device,
    (recipe, dataset): &(Recipe, Dataset),
    path: &Path,
    what: &str,
) -> Vec<StepMetrics> {
    let mut whole = Trainer::new(device, recipe, dataset).await.unwrap();
    let metrics = steps(&mut whole, &[7]).await;
    let mut first = Trainer::new(device, recipe, dataset).await.unwrap();
    let mut parts = steps(&mut first, &[3, 1]).await;
    checkpoint(&first).await.save(path).unwrap();
    let mut second = resumed(device, path, dataset).await;
    parts.extend(steps(&mut second, &[1, 2]).await);
    assert_eq!(metrics, parts, "{device}, {what}");
    assert!(bits(&checkpoint(&whole).await) == bits(&checkpoint(&second).await), "{device}, {what}");
    metrics
}

/// The bits of every tensor.
pub fn bits(checkpoint: &Checkpoint) -> Vec<(String, Vec<u32>)> {
    let words = |data: &TensorData| match data {
        TensorData::F32(values) => values.iter().map(|v| v.to_bits()).collect(),
        TensorData::U32(values) => values.clone(),
    };
    checkpoint.tensors.iter().map(|(name, tensor)| (name.clone(), words(&tensor.data))).collect()
}
