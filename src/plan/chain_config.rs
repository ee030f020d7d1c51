//! The configuration of Langevin chains, which training, sampling and evaluation give to their plans.

use crate::kernels::draw_negatives::Noise;
use crate::kernels::dynamics::Dynamics;
use crate::random::Distribution;
use crate::recipe::{Form, Interpolation, Objective, Recipe, Start};

/// The configuration of a Langevin chain: the recipe's `chain` in training, and in sampling its `sample`, with what that
/// takes from `chain`. The default is that of the preset `mnist-small` in training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChainConfig {
    /// Number of Langevin steps.
    pub steps: u32,
    /// Update rule of a step.
    pub form: Form,
    /// Step size at the first level.
    pub step_size: f32,
    /// Step size at the last level; 0 keeps `step_size`.
    pub step_size_end: f32,
    /// Standard deviation of the noise at the first level.
    pub noise: f32,
    /// Standard deviation of the noise at the last level; 0 keeps `noise`.
    pub noise_end: f32,
    /// Interpolation between the levels.
    pub interpolation: Interpolation,
    /// Number of levels: training steps, or in [`Form::Annealed`] steps of the chain.
    pub levels: u32,
    /// In [`Form::Annealed`], the step size of steps that stay at the last level; 0 keeps `step_size_end`.
    pub stay_step_size: f32,
    /// In [`Form::Annealed`], the number of steps that stay at the last level, the last of which ends at the estimate of the
    /// clean image; `None` for a chain that stays there and never ends so.
    pub stay: Option<u32>,
    /// Temperature, in the forms that have one.
    pub temperature: f32,
    /// Largest magnitude of a gradient element; 0 for no limit.
    pub gradient_clip: f32,
    /// Largest magnitude of a value; 0 for no limit.
    pub clamp: f32,
    /// Noise that chains start from.
    pub start: Noise,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Recipe::base().training_chain(0)
    }
}

impl ChainConfig {
    /// Whether step size or noise change from level to level.
    pub fn changes(&self) -> bool {
        self.step_size_end > 0.0 || self.noise_end > 0.0
    }

    /// The chain at its last level, where it stays.
    pub fn at_end(&self) -> Self {
        let end = |start: f32, end: f32| if end > 0.0 { end } else { start };
        Self {
            step_size: end(end(self.step_size, self.step_size_end), self.stay_step_size),
            stay_step_size: 0.0,
            stay: None,
            noise: end(self.noise, self.noise_end),
            step_size_end: 0.0,
            noise_end: 0.0,
            ..*self
        }
    }

    /// The number of the step that ends at the estimate of the clean image, counted from 0; `u32::MAX` for none.
    pub fn final_step(&self) -> u32 {
        self.stay.map_or(u32::MAX, |stay| self.levels.saturating_add(stay).saturating_sub(1))
    }

    /// As kernels take it.
    pub(super) fn dynamics(&self) -> Dynamics {
        let limit = |limit: f32| if limit > 0.0 { limit } else { f32::INFINITY };
        let changes = self.changes();
        let end = Self { stay_step_size: 0.0, ..*self }.at_end();
        Dynamics {
            form: self.form,
            step_size: self.step_size,
            step_size_end: end.step_size,
            noise: self.noise,
            noise_end: end.noise,
            interpolation: if changes { self.interpolation } else { Interpolation::Linear },
            levels: if changes { self.levels } else { 0 },
            stay_step_size: self.stay_step_size,
            final_step: self.final_step(),
            temperature: self.temperature,
            gradient_clip: limit(self.gradient_clip),
            bound: limit(self.clamp),
        }
    }
}

impl Recipe {
    /// The chains of training, which has `training_steps` steps.
    pub fn training_chain(&self, training_steps: u64) -> ChainConfig {
        let c = &self.chain;
        ChainConfig {
            steps: c.steps as u32,
            form: c.form,
            step_size: c.step_size as f32,
            step_size_end: c.step_size_end as f32,
            noise: c.noise as f32,
            noise_end: c.noise_end as f32,
            interpolation: c.course,
            levels: match (c.form, self.objective) {
                (Form::Annealed, Objective::AnnealedCd) => self.pool.levels as u32 + 1,
                (Form::Annealed, _) => c.steps as u32,
                _ => u32::try_from(training_steps).unwrap_or(u32::MAX),
            },
            stay_step_size: if self.pool().is_some() { c.stay_step_size as f32 } else { 0.0 },
            stay: if self.pool().is_some() { None } else { Some(0) },
            temperature: c.temperature as f32,
            gradient_clip: c.gradient_clip as f32,
            clamp: c.clamp as f32,
            start: self.start_noise(),
        }
    }

    /// The chains of sampling.
    pub fn sampling_chain(&self) -> ChainConfig {
        let (s, form) = (&self.sample, self.sampling_form());
        let (stay, stay_step_size) =
            if form == Form::Annealed { (s.stay as u32, s.stay_step_size as f32) } else { (0, 0.0) };
        let temperature = if s.temperature > 0.0 { s.temperature } else { self.chain.temperature };
        ChainConfig {
            steps: s.steps as u32 + stay,
            form,
            step_size: s.step_size as f32,
            step_size_end: 0.0,
            noise: s.noise as f32,
            noise_end: s.noise_end as f32,
            interpolation: Interpolation::Geometric,
            levels: s.steps as u32,
            stay_step_size,
            stay: Some(stay),
            temperature: temperature as f32,
            ..self.training_chain(0)
        }
    }

    /// The chains that a model is sampled with as it was trained: those of training, or of sampling if training has none, or
    /// has chains that only move on a little in each step.
    pub fn own_chain(&self) -> ChainConfig {
        if self.has_chains() && self.objective != Objective::AnnealedCd {
            self.training_chain(0)
        } else {
            self.sampling_chain()
        }
    }

    /// The noise that chains start from.
    pub fn start_noise(&self) -> Noise {
        let distribution = match self.replay.start {
            Start::Uniform => Distribution::Uniform,
            Start::Normal => Distribution::Normal,
        };
        let bound = if self.chain.clamp > 0.0 { self.chain.clamp as f32 } else { f32::INFINITY };
        Noise { distribution, scale: self.replay.start_scale as f32, bound }
    }
}
