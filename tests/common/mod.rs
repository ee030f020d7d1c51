//! What several tests share, by subject.

mod check;
mod files;
mod fixtures;
mod machines;
mod networks;
mod plain;
mod program;
mod table;

pub use check::*;
pub use files::*;
pub use fixtures::*;
pub use machines::*;
pub use networks::*;
pub use plain::*;
pub use program::*;
pub use table::*;

use thalweg::Trainer;
use thalweg::checkpoint::{Checkpoint, TensorData};
use thalweg::device::{Chains, Device};
use thalweg::gpu::{Gpu, adapters};
use thalweg::recipe::{Config, Objective, OnDivergence, ScoreObjective, ScoreTarget};
use thalweg::train::log::StepMetrics;

/// The recipe `mnist-small` with these settings; without checks of steps, unless they turn them on.
pub fn recipe(settings: &[&str]) -> Config {
    let mut recipe = Config::preset("mnist-small").unwrap();
    recipe.guard.on_divergence = OnDivergence::Ignore;
    settings.iter().for_each(|setting| recipe.set(setting).unwrap());
    recipe
}

/// The recipe with an objective that fits the score.
pub fn with_objective(mut recipe: Config, objective: ScoreObjective) -> Config {
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
        ScoreObjective::Denoising { sigma, sigma_max, levels, target, from_noise } => {
            (score.sigma, score.sigma_max) = (sigma.into(), sigma_max.into());
            (score.levels, score.target, score.from_noise) = (levels as usize, target, from_noise.into());
            Objective::DenoisingScoreMatching
        }
    };
    assert_eq!(recipe.score_objective(), Some(objective));
    recipe
}

/// Denoising score matching from `sigma` to `sigma_max`.
pub fn denoising(
    [sigma, sigma_max]: [f32; 2],
    levels: u32,
    target: ScoreTarget,
    from_noise: f32,
) -> ScoreObjective {
    ScoreObjective::Denoising { sigma, sigma_max, levels, target, from_noise }
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

/// The bits of every tensor.
pub fn bits(checkpoint: &Checkpoint) -> Vec<(String, Vec<u32>)> {
    let words = |data: &TensorData| match data {
        TensorData::F32(values) => values.iter().map(|v| v.to_bits()).collect(),
        TensorData::U32(values) => values.clone(),
    };
    checkpoint.tensors.iter().map(|(name, tensor)| (name.clone(), words(&tensor.data))).collect()
}
