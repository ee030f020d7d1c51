//! The numbers of Langevin chains, of training and of sampling.

use super::{GuardNumbers, SamplerChange, SamplerNumbers};
use crate::kernels::draw_negatives::Noise;
use crate::kernels::random::Distribution;
use crate::recipe::{Config, Form, Interpolation, OnDivergence, Start};

impl Config {
    /// How steps are judged, as a plan takes it, unless nothing is done about it.
    pub fn guard_numbers(&self) -> Option<GuardNumbers> {
        let g = &self.guard;
        (g.on_divergence != OnDivergence::Ignore).then_some(GuardNumbers {
            energy_range: g.energy_range as f32,
            gradient_range: g.gradient_range as f32,
            collapse_steps: g.collapse_steps as u32,
            interval: g.snapshot_every as u32,
            learning_rate_factor: g.learning_rate_factor,
        })
    }

    /// The chains of training, `training_steps` steps long, as a plan takes them.
    pub fn chain_numbers(&self, training_steps: u64) -> SamplerNumbers {
        let c = &self.chain;
        SamplerNumbers {
            steps: c.steps as u32,
            form: c.form,
            step_size: c.step_size as f32,
            noise: c.noise as f32,
            temperature: c.temperature as f32,
            gradient_clip: c.gradient_clip as f32,
            clamp: c.clamp as f32,
            change: (c.step_size_end > 0.0 || c.noise_end > 0.0).then(|| SamplerChange {
                step_size_end: end(c.step_size, c.step_size_end),
                noise_end: end(c.noise, c.noise_end),
                path: c.course,
                levels: match c.form {
                    Form::Annealed => c.steps as u32,
                    _ => u32::try_from(training_steps).unwrap_or(u32::MAX),
                },
            }),
            start: self.start_noise(),
        }
    }

    /// What fresh starts of chains are.
    pub fn start_noise(&self) -> Noise {
        let bound = if self.chain.clamp > 0.0 { self.chain.clamp as f32 } else { f32::INFINITY };
        let distribution = match self.replay.start {
            Start::Uniform => Distribution::Uniform,
            Start::Normal => Distribution::Normal,
        };
        Noise { distribution, scale: self.replay.start_scale as f32, bound }
    }

    /// The chains of sampling, as a plan takes them.
    pub fn sample_numbers(&self) -> SamplerNumbers {
        let s = &self.sample;
        let temperature = if s.temperature > 0.0 { s.temperature } else { self.chain.temperature };
        SamplerNumbers {
            steps: s.steps as u32,
            form: self.sampling_form(),
            step_size: s.step_size as f32,
            noise: s.noise as f32,
            temperature: temperature as f32,
            gradient_clip: self.chain.gradient_clip as f32,
            clamp: self.chain.clamp as f32,
            change: (s.noise_end > 0.0).then_some(SamplerChange {
                step_size_end: s.step_size as f32,
                noise_end: s.noise_end as f32,
                path: Interpolation::Geometric,
                levels: s.steps as u32,
            }),
            start: self.start_noise(),
        }
    }
}

/// The end of a number that stays where its end is 0.
fn end(start: f64, end: f64) -> f32 {
    if end > 0.0 { end as f32 } else { start as f32 }
}
