//! The numbers of a Langevin step, and how they change from level to level (`shaders/lib/dynamics.wgsl`).

use crate::kernels::prelude::*;
pub use crate::recipe::{Form, Interpolation};

/// The numbers of a Langevin step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dynamics {
    /// The form.
    pub form: Form,
    /// What the clipped gradient is multiplied by (half of it in the forms [`Form::Theory`] and [`Form::Mala`]).
    pub step_size: f32,
    /// What it is at the last level.
    pub step_size_end: f32,
    /// Standard deviation of the noise; the forms [`Form::Theory`] and [`Form::Mala`] have their own.
    pub noise: f32,
    /// What it is at the last level.
    pub noise_end: f32,
    /// The interpolation between them.
    pub interpolation: Interpolation,
    /// Levels: training steps, or in the form [`Form::Annealed`] the chain's own. 0 or 1 for no change.
    pub levels: u32,
    /// In the form [`Form::Annealed`], the step size of steps that stay at the last level; 0 for `step_size_end`.
    pub stay_step_size: f32,
    /// In the form [`Form::Annealed`], the step that ends at the estimate of the clean image, counted as levels are;
    /// `u32::MAX` for none.
    pub final_step: u32,
    /// Temperature `T` of the forms that have one.
    pub temperature: f32,
    /// Largest magnitude of a gradient element; infinite for no clip.
    pub gradient_clip: f32,
    /// Largest magnitude of a value; infinite for no clamp.
    pub bound: f32,
}

shader_struct! {
    /// `Dynamics` of `shaders/lib/dynamics.wgsl`. Differences and logarithms are taken in f64, here.
    DynamicsParams {
        form: u32, step_size: f32, step_size_change: f32, noise: f32, noise_change: f32, geometric: u32,
        last_level: u32, temperature: f32, gradient_clip: f32, bound: f32, stay_step_size: f32, final_step: u32,
    }
}

/// What one Langevin step does: `x <- clamp(between(keep x - drift g) + noise n)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Move {
    /// What `x` is multiplied by.
    pub keep: f32,
    /// What the clipped gradient is multiplied by.
    pub drift: f32,
    /// Standard deviation of the noise.
    pub noise: f32,
    /// Largest magnitude after the move and before the noise.
    pub between: f32,
}

impl Dynamics {
    /// The uniform struct.
    pub fn params(&self) -> DynamicsParams {
        let geometric = self.interpolation == Interpolation::Geometric;
        let change = |start: f32, end: f32| {
            let (start, end) = (f64::from(start), f64::from(end));
            let change = if start == end {
                0.0
            } else if geometric {
                (end / start).ln()
            } else {
                end - start
            };
            change as f32
        };
        DynamicsParams {
            form: self.form as u32,
            step_size: self.step_size,
            step_size_change: change(self.step_size, self.step_size_end),
            noise: self.noise,
            noise_change: change(self.noise, self.noise_end),
            geometric: geometric.into(),
            last_level: self.levels.saturating_sub(1),
            temperature: self.temperature,
            gradient_clip: self.gradient_clip.min(f32::MAX),
            bound: self.bound.min(f32::MAX),
            stay_step_size: if self.form == Form::Annealed { self.stay_step_size } else { 0.0 },
            final_step: if self.form == Form::Annealed { self.final_step } else { 0 },
        }
    }

    /// The level of a step of a chain: see [`Self::levels`].
    pub fn level(&self, state: &State, chain_step: u32) -> u32 {
        if self.form == Form::Annealed { state.chain_base + chain_step } else { state.step }
    }

    /// Annealed dynamics whose levels fall from `noise` to `noise_end` in `steps` equal factors, and stay there, without a
    /// step to the clean image.
    pub fn ladder(noise: f32, noise_end: f32, steps: u32) -> Self {
        Self {
            form: Form::Annealed,
            step_size: 0.05,
            step_size_end: 0.05,
            noise,
            noise_end,
            interpolation: Interpolation::Geometric,
            levels: steps + 1,
            stay_step_size: 0.1,
            final_step: u32::MAX,
            temperature: 1.0,
            gradient_clip: f32::INFINITY,
            bound: f32::INFINITY,
        }
    }

    /// The noise level sigma of a level, in the form [`Form::Annealed`].
    pub fn sigma(&self, level: u32) -> f32 {
        let p = self.params();
        scheduled(p.noise, p.noise_change, &p, level)
    }

    /// The numbers at a level, counted from 0.
    pub fn at(&self, level: u32) -> Move {
        let p = self.params();
        let scheduled = |start, change, level| scheduled(start, change, &p, level);
        let stays = p.stay_step_size > 0.0 && level >= p.last_level;
        let step_size =
            if stays { p.stay_step_size } else { scheduled(p.step_size, p.step_size_change, level) };
        let noise = scheduled(p.noise, p.noise_change, level);
        match self.form {
            Form::NoiseFirst => Move { keep: 1.0, drift: step_size, noise, between: self.bound },
            Form::NoiseLast => Move { keep: 1.0, drift: step_size, noise, between: f32::INFINITY },
            Form::Theory | Form::Mala => Move {
                keep: 1.0,
                drift: 0.5 * step_size,
                noise: (step_size * p.temperature).sqrt(),
                between: f32::INFINITY,
            },
            Form::Annealed => {
                let next = if level == p.final_step && p.noise_change != 0.0 {
                    0.0
                } else {
                    scheduled(p.noise, p.noise_change, level.saturating_add(1))
                };
                let [alpha, next_alpha] = [noise, next].map(|sigma| 1.0 / (1.0 + sigma * sigma).sqrt());
                let (share, next_share) = (noise * alpha, next * next_alpha);
                let old = (1.0 - 2.0 * step_size).max(0.0).sqrt();
                Move {
                    keep: next_alpha * alpha + next_share * old * share,
                    drift: next_alpha * share - next_share * old * alpha,
                    noise: next_share * (2.0 * step_size * p.temperature).sqrt(),
                    between: f32::INFINITY,
                }
            }
        }
    }
}

/// A number at a level, on its way from `start` by `change`.
fn scheduled(start: f32, change: f32, p: &DynamicsParams, level: u32) -> f32 {
    if change == 0.0 || p.last_level == 0 {
        return start;
    }
    let t = (f64::from(level) / f64::from(p.last_level)).min(1.0);
    let (start, change) = (f64::from(start), f64::from(change));
    (if p.geometric != 0 { start * (t * change).exp() } else { start + t * change }) as f32
}
