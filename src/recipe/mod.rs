//! The run configuration ([`Recipe`]): every setting of a recipe, as plain data.
//!
//! A setting is named `section.key`, in an assignment (`chain.steps=60`), in a TOML file (`[chain]`,
//! `steps = 60`) and in messages. `sections.rs` defines each one in one place; [`Recipe::settings`] lists them all.
//! `presets.rs` holds the presets, and a configuration that lacks a setting takes that of `mnist-small`.

mod objective;
pub mod presets;
#[allow(unreachable_pub, reason = "its macros write `pub` wherever they stand")]
mod sections;
mod settings;
mod table;
mod text;

pub use objective::{CdStart, ChainInit, NoiseObjective, Objective, ScoreObjective};
pub use presets::PRESETS;
pub use sections::*;
pub use settings::{Setting, Settings};

use crate::{Error, Result};

impl Default for Recipe {
    fn default() -> Self {
        Self::preset("digits").expect("a preset")
    }
}

impl Recipe {
    /// The form of sampling's chains.
    pub fn sampling_form(&self) -> Form {
        match self.sample.form {
            SampleForm::Chain => self.chain.form,
            SampleForm::NoiseFirst => Form::NoiseFirst,
            SampleForm::NoiseLast => Form::NoiseLast,
            SampleForm::Theory => Form::Theory,
            SampleForm::Mala => Form::Mala,
            SampleForm::Annealed => Form::Annealed,
        }
    }

    /// Number of training steps per pass over `n_images`.
    pub fn steps_per_epoch(&self, n_images: u32) -> u64 {
        u64::from(n_images).div_ceil(self.train.batch as u64)
    }

    /// Number of training steps.
    pub fn total_steps(&self, n_images: u32) -> u64 {
        match self.train.steps {
            0 => self.train.epochs as u64 * self.steps_per_epoch(n_images),
            steps => steps,
        }
    }

    /// Whether steps are checked for divergence and collapse.
    pub fn is_guarded(&self) -> bool {
        self.guard.on_divergence != OnDivergence::Ignore
    }

    /// Whether chain starts can be augmented: those of images, unless the starts are data.
    fn augments(&self) -> bool {
        let network = self.known_network();
        let is_of_points = network.is_ok_and(|n| n.input.is_points());
        self.chain_init().is_some_and(|init| init != ChainInit::Data) && !is_of_points
    }

    /// Checks each setting, and those that depend on each other. A trainer relies on a valid configuration.
    ///
    /// # Errors
    /// [`Error::Setting`]; [`Error::Network`] for a network whose layers do not fit together.
    pub fn validate(&self) -> Result<()> {
        for spec in sections::SETTINGS {
            let value = (spec.get)(self);
            let result = spec.values.check(&value, &value.to_string());
            result.map_err(|problem| Error::setting(spec.name, problem))?;
        }
        self.check_annealed()?;
        if let Some(network) = &self.network {
            network.build()?;
        }
        let refuse = |name: &str, problem: String| Err(Error::setting(name, problem));
        let (chain, score, guard, loss) = (&self.chain, &self.score, &self.guard, &self.loss);
        if chain.course == Interpolation::Geometric && chain.noise_end > 0.0 && chain.noise == 0.0 {
            let text = "is `geometric`, but no factor leads from chain.noise = 0 to chain.noise_end: choose `linear`";
            return refuse("chain.course", text.into());
        }
        if score.levels > 1 && score.sigma_max <= score.sigma {
            let text =
                format!("must exceed score.sigma, which is {}, if score.levels is above 1", score.sigma);
            return refuse("score.sigma_max", text);
        }
        if score.from_noise > 0.0 && (score.levels == 1 || score.target != ScoreTarget::Velocity) {
            let text = "needs score.target=velocity and score.levels above 1: set it to 0, or choose those";
            return refuse("score.from_noise", text.into());
        }
        let ranges =
            [("guard.energy_range", guard.energy_range), ("guard.gradient_range", guard.gradient_range)];
        for (name, range) in ranges {
            if range > 0.0 && range < 2.0 {
                let text = format!(
                    "is {range}, which normal steps exceed: set it to 2 or more, or to 0 for no limit"
                );
                return refuse(name, text);
            }
        }
        self.check_pool()?;
        let contrastive =
            [("loss.smoothness", loss.smoothness), ("augment.probability", self.augment.probability)];
        if let Some((name, _)) =
            contrastive.into_iter().find(|(_, value)| *value > 0.0 && self.chain_init().is_none())
        {
            let text = "has no effect here; it is used by objective=replay, cd or pcd: set it to 0, or choose one of these";
            return refuse(name, text.into());
        }
        let (slots, most) = match self.objective {
            Objective::Replay => ("replay.capacity", self.replay.capacity),
            Objective::Pcd => ("pcd.chains", self.pcd.chains),
            _ => return Ok(()),
        };
        let initial = if self.objective == Objective::Replay { self.replay.initial } else { 0 };
        for (name, count) in [("train.batch", self.train.batch), ("replay.initial", initial)] {
            if count > most {
                return refuse(name, format!("is {count}, but can't exceed {slots}, which is {most}"));
            }
        }
        Ok(())
    }

    /// Checks the settings of the pool of `annealed-cd`, if that is the objective.
    fn check_pool(&self) -> Result<()> {
        let Some(pool) = self.pool() else { return Ok(()) };
        let refuse = |name: &str, problem: String| Err(Error::setting(name, problem));
        let (chain, batch) = (&self.chain, self.train.batch);
        if chain.form != Form::Annealed {
            return refuse("chain.form", "must be `annealed` with objective=annealed-cd".into());
        }
        if !(chain.noise_end > 0.0 && chain.noise_end < chain.noise) {
            let text = format!(
                "must lie above 0 and below chain.noise, which is {}, with objective=annealed-cd",
                chain.noise
            );
            return refuse("chain.noise_end", text);
        }
        if self.denoises() && self.score.target != ScoreTarget::Velocity {
            return refuse("score.target", "must be `velocity` with objective=annealed-cd".into());
        }
        if pool.long > pool.chains {
            let text = format!("is {}, but can't exceed pool.chains, which is {}", pool.long, pool.chains);
            return refuse("pool.long", text);
        }
        let room = pool.chains - pool.long;
        if pool.batch - pool.long_batch > room {
            let text = format!(
                "is {}, of which pool.long = {} never restart: a training step moves {} of the others (train.batch = \
                 {batch}, pool.long_share), and there are {room}",
                pool.chains,
                pool.long,
                pool.batch - pool.long_batch
            );
            return refuse("pool.chains", text);
        }
        if self.loss.contrastive_from > 0.0 && !self.denoises() {
            let text = "is above 0, but nothing is trained before: set it to 0, or loss.denoising above 0";
            return refuse("loss.contrastive_from", text.into());
        }
        Ok(())
    }

    /// Checks the settings of `annealed` chains, if there are any.
    ///
    /// # Errors
    /// [`Error::Setting`] for a step size above 0.5, a start without noise, and `sample.noise_end` in another form.
    pub fn check_annealed(&self) -> Result<()> {
        let (c, s) = (&self.chain, &self.sample);
        let samples = self.sampling_form() == Form::Annealed;
        let trains = c.form == Form::Annealed && self.has_chains();
        if s.noise_end > 0.0 && !samples {
            return Err(Error::setting(
                "sample.noise_end",
                "needs sample.form=annealed: set it to 0, or choose that",
            ));
        }
        for (is_annealed, name, step_size, noise) in
            [(samples, "sample", s.step_size, s.noise), (trains, "chain", c.step_size, c.noise)]
        {
            if is_annealed && noise == 0.0 {
                let text = "is 0, but `annealed` chains start at this noise level: set it above 0";
                return Err(Error::setting(format!("{name}.noise"), text));
            }
            if is_annealed && step_size > 0.5 {
                let text = format!(
                    "is {step_size}, but an `annealed` step of 0.5 replaces all noise: set it to 0.5 or less"
                );
                return Err(Error::setting(format!("{name}.step_size"), text));
            }
        }
        Ok(())
    }
}
