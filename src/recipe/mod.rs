//! The run configuration ([`Config`]): every setting of a recipe, as plain data.
//!
//! A setting is named `section.key`, on the command line (`--set chain.steps=60`), in a TOML file (`[chain]`,
//! `steps = 60`) and in messages. `sections.rs` defines each one in one place; [`Config::settings`] lists them all.
//! `presets.rs` holds the presets, and a configuration that lacks a setting takes that of `mnist-small`.

mod objective;
pub mod presets;
mod sections;
mod settings;
mod table;
mod text;

pub use objective::{CdStart, ChainInit, Objective, ScoreObjective};
pub use presets::PRESETS;
pub use sections::*;
pub use settings::{Setting, Settings};

use crate::{Error, Result};

impl Default for Config {
    fn default() -> Self {
        Self::preset("digits").expect("a preset")
    }
}

impl Config {
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
        let is_of_points = network.is_ok_and(|n| n.input.is_points() && !n.input.is_sequence());
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
        let geometric = self.chain.course == Interpolation::Geometric && self.chain.noise_end > 0.0;
        if geometric && self.chain.noise == 0.0 {
            return Err(Error::setting(
                "chain.course",
                "is `geometric`, but no factor leads from chain.noise = 0 to chain.noise_end: take `linear`",
            ));
        }
        self.check_annealed()?;
        if let Some(network) = &self.network {
            network.build()?;
        }
        if self.score.levels > 1 && self.score.sigma_max <= self.score.sigma {
            let problem =
                format!("must be more than score.sigma, {}, where score.levels is not 1", self.score.sigma);
            return Err(Error::setting("score.sigma_max", problem));
        }
        let has_top = self.score.levels > 1 && self.score.target == ScoreTarget::Velocity;
        if self.score.from_noise > 0.0 && !has_top {
            let problem =
                "has a part in score.target=velocity with several score.levels only: set it to 0, too";
            return Err(Error::setting("score.from_noise", problem));
        }
        for (name, range) in [
            ("guard.energy_range", self.guard.energy_range),
            ("guard.gradient_range", self.guard.gradient_range),
        ] {
            if range > 0.0 && range < 2.0 {
                let problem =
                    format!("is {range} times the usual, which any step may be: at least 2, or 0 = no limit");
                return Err(Error::setting(name, problem));
            }
        }
        if !self.has_chains() {
            let unused = [
                ("loss.smoothness", self.loss.smoothness),
                ("loss.kl", self.loss.kl),
                ("augment.probability", self.augment.probability),
            ];
            if let Some((name, _)) = unused.into_iter().find(|(_, value)| *value > 0.0) {
                let problem = "has no part in an objective that fits the score: leave it 0, or choose another objective";
                return Err(Error::setting(name, problem));
            }
        }
        if self.loss.kl > 0.0 && !self.chain.form.has_kl() {
            return Err(Error::setting(
                "loss.kl",
                "has no part in chains that reject steps or are annealed: leave it 0, or choose another chain.form",
            ));
        }
        let batch = ("train.batch", self.train.batch);
        let initial = ("replay.initial", self.replay.initial);
        let (slots, most, counts) = match self.objective {
            Objective::Replay => ("replay.capacity", self.replay.capacity, &[batch, initial][..]),
            Objective::Pcd => ("pcd.chains", self.pcd.chains, &[batch][..]),
            _ => ("", 0, &[][..]),
        };
        for (name, count) in counts {
            if *count > most {
                let problem = format!("is {count}, but can't be more than {slots}, which is {most}");
                return Err(Error::setting(*name, problem));
            }
        }
        Ok(())
    }

    /// Checks the numbers of `annealed` chains, where there are some.
    ///
    /// # Errors
    /// [`Error::Setting`] for a step size above 0.5, a start without noise, or an end of noise in another form.
    pub fn check_annealed(&self) -> Result<()> {
        let (c, s) = (&self.chain, &self.sample);
        let samples = self.sampling_form() == Form::Annealed;
        let trains = c.form == Form::Annealed && self.has_chains();
        if s.noise_end > 0.0 && !samples {
            return Err(Error::setting(
                "sample.noise_end",
                "has a part in sample.form=annealed only: leave it 0",
            ));
        }
        for (is_annealed, name, step_size, noise) in
            [(samples, "sample", s.step_size, s.noise), (trains, "chain", c.step_size, c.noise)]
        {
            if is_annealed && noise == 0.0 {
                let problem = "is 0, but is the standard deviation that `annealed` chains start from";
                return Err(Error::setting(format!("{name}.noise"), problem));
            }
            if is_annealed && step_size > 0.5 {
                let problem = format!(
                    "is {step_size}, but 0.5 is what renews all of an `annealed` chain's noise: take less"
                );
                return Err(Error::setting(format!("{name}.step_size"), problem));
            }
        }
        Ok(())
    }
}
