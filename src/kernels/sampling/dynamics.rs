//! The numbers of a Langevin step, and how they change from level to level (`shaders/lib/dynamics.wgsl`).

use crate::kernels::prelude::*;

/// How a Langevin step moves `x`, with `g` the clipped gradient of the energy, `n` standard normal, and a clamp to the
/// box of allowed values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u32)]
pub enum Form {
    /// `x <- clamp(x + noise n)`, then `x <- clamp(x - step_size g(x))`: the Keras notebooks and the UvA course.
    #[default]
    NoiseFirst = 0,
    /// `x <- clamp(x - step_size g(x) + noise n)`.
    NoiseLast = 1,
    /// `x <- clamp(x - step_size/2 g(x) + sqrt(step_size T) n)`: the Euler-Maruyama step of the Langevin equation, whose
    /// density is `exp(-E/T)` in the limit of small steps (Welling and Teh 2011,
    /// <https://www.stats.ox.ac.uk/~teh/research/compstats/WelTeh2011a.pdf>, equation 3 without data).
    Theory = 2,
    /// The step of `Theory` as a proposal that is accepted or rejected (Metropolis-adjusted Langevin algorithm: Roberts
    /// and Tweedie 1996, <https://doi.org/10.2307/3318418>): the density is exactly `exp(-E/T)`, whatever the step size.
    /// A proposal beyond the box is rejected.
    Mala = 3,
    /// Annealed Langevin dynamics (Song and Ermon 2019, <https://arxiv.org/abs/1907.05600>): a step is one at its own
    /// noise level `sigma`, the schedule's `noise`, and takes `x` to the next. With `alpha = 1 / sqrt(1 + sigma^2)` and
    /// `s = sigma alpha`, images of a level are `alpha x0 + s n`, and their density is `exp(-|x|^2 / 2 - E(x) /
    /// sigma)`, as [`crate::kernels::perturb`]'s velocity trains it. So what `x` most likely blurs is `x0 = alpha x -
    /// s g`, by the noise `e = s x + alpha g`, and with `alpha'` and `s'` of the next level
    /// `x <- alpha' x0 + s' (sqrt(1 - 2 step_size) e + sqrt(2 step_size T) n)`. Where the level stays, that is a Langevin
    /// step of `step_size s^2` down that density (up to its square); between levels it is that of Song et al. 2021
    /// (<https://arxiv.org/abs/2010.02502>, equation 12). The last level's step ends at `x0`; those beyond stay at the
    /// level.
    Annealed = 4,
}

impl Form {
    /// Whether [`crate::kernels::kl_direction`] knows the derivative of a step: where no step is rejected or of a
    /// level of its own.
    pub fn has_kl(self) -> bool {
        matches!(self, Self::NoiseFirst | Self::NoiseLast | Self::Theory)
    }
}

/// How a number goes from its start to its end from level to level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// By the same difference each step.
    #[default]
    Linear,
    /// By the same factor each step.
    Geometric,
}

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
    /// The way from start to end.
    pub path: Path,
    /// Levels: training steps, or in the form [`Form::Annealed`] the chain's own. 0 or 1 for no change.
    pub levels: u32,
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
        last_level: u32, temperature: f32, gradient_clip: f32, bound: f32, spare0: u32, spare1: u32,
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
        let geometric = self.path == Path::Geometric;
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
            spare0: 0,
            spare1: 0,
        }
    }

    /// The level of a step of a chain: see [`Self::levels`].
    pub fn level(&self, state: &State, chain_step: u32) -> u32 {
        if self.form == Form::Annealed { state.chain_base + chain_step } else { state.step }
    }

    /// The numbers at a level, counted from 0.
    pub fn at(&self, level: u32) -> Move {
        let p = self.params();
        let scheduled = |start: f32, change: f32, level: u32| {
            if change == 0.0 || p.last_level == 0 {
                return start;
            }
            let t = (f64::from(level) / f64::from(p.last_level)).min(1.0);
            let (start, change) = (f64::from(start), f64::from(change));
            (if p.geometric != 0 { start * (t * change).exp() } else { start + t * change }) as f32
        };
        let step_size = scheduled(p.step_size, p.step_size_change, level);
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
                let next = if level == p.last_level && p.noise_change != 0.0 {
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
