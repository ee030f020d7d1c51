//! Settings as a user gives them, from files and on the command line, and which of them count.
//!
//! A preset brings a value for every setting, and most have no part in what it trains. What a user gives is meant to change
//! something: where it can't, it is refused, with what would use it.

use super::config::{CdStart, Config, Objective, OnDivergence, RateSchedule, SampleForm, ScoreTarget};
use crate::kernels::dynamics::Form;
use crate::network::preset;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A setting, for those who list them.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// `section.key`.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Its allowed values, as in "a whole number from 1 to 64".
    pub allowed: String,
    /// The names to choose from, where it is chosen by name.
    pub choices: &'static [&'static str],
    /// What it is.
    pub doc: &'static str,
    /// What uses it, as in "objective=pcd"; `None` where everything does.
    pub used_by: Option<&'static str>,
    /// Whether this configuration uses it.
    pub is_used: bool,
}

/// A configuration in the making: a preset's, with what a user changes.
#[derive(Clone, Debug)]
pub struct Settings {
    base: Config,
    config: Config,
    given: Vec<Given>,
}

/// A setting that a user gave.
#[derive(Clone, Debug)]
struct Given {
    name: String,
    file: Option<(PathBuf, usize)>, // and line
}

impl Settings {
    /// A preset's settings, or others that nobody has given yet.
    pub fn of(base: Config) -> Self {
        Self { config: base.clone(), base, given: Vec::new() }
    }

    /// Adds those of a TOML file, as [`Config::from_toml_file`] reads it.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`], which names the line.
    pub fn read(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (config, lines) = Config::read_toml(path, self.config.clone())?;
        if config.preset != self.base.preset {
            self.base = Config::preset(&config.preset)?;
            self.given.clear();
        }
        self.config = config;
        let of_file = |(name, line)| Given { name, file: Some((path.to_owned(), line)) };
        self.given.extend(lines.into_iter().map(of_file));
        Ok(())
    }

    /// Adds one, given as on the command line: `chain.steps=60`.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        self.config.set(assignment)?;
        let name = assignment.split('=').next().unwrap_or_default().trim().to_owned();
        self.given.push(Given { name, file: None });
        Ok(())
    }

    /// The configuration as it stands.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The same, to change what options stand for.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The configuration, if it is valid and uses all that was given. The order in which it was does not matter. A file
    /// may hold settings without effect at the preset's values: then it may be one that a run has written.
    ///
    /// # Errors
    /// Those of [`Config::validate`]; [`Error::Setting`], or [`Error::File`] with the line, for a setting without effect.
    pub fn finish(self) -> Result<Config> {
        self.config.validate()?;
        for Given { name, file } in &self.given {
            let Some(problem) = self.config.unused(name) else { continue };
            match file {
                Some(_) if self.config.value(name) == self.base.value(name) => {}
                Some((path, line)) => {
                    return Err(Error::file(path, format!("line {line}: setting `{name}`: {problem}")));
                }
                None => return Err(Error::setting(name, problem)),
            }
        }
        Ok(self.config)
    }
}

/// When a setting counts.
struct Use {
    names: &'static [&'static str],
    used: fn(&Config) -> bool,
    /// What uses it.
    by: &'static str,
    /// The settings that decide it.
    decided_by: &'static [&'static str],
}

const CHAINS: &str = "the chains of training: objective=replay, cd or pcd";
const OBJECTIVE: &[&str] = &["objective"];
const AUGMENT: &[&str] = &[
    "preset",
    "objective",
    "cd.start",
    "augment.probability",
    "augment.shift",
    "augment.flip",
    "augment.rescale",
];
const FORMS: &[&str] = &["objective", "chain.form"];
const SAMPLE_FORMS: &[&str] = &["sample.form", "chain.form"];

/// Settings that are not here count always.
#[rustfmt::skip]
const USES: &[Use] = &[
    Use { names: &["train.epochs"], used: |c| c.train.steps == 0, by: "runs whose train.steps is 0 (--epochs sets both)", decided_by: &["train.steps"] },
    Use { names: &["chain.steps", "chain.step_size", "chain.step_size_end"], used: has_chains, by: CHAINS, decided_by: OBJECTIVE },
    Use { names: &["chain.form"], used: |c| has_chains(c) || c.sample.form == SampleForm::Chain, by: "the chains of training (objective=replay, cd or pcd), and sample.form=chain", decided_by: &["objective", "sample.form"] },
    Use { names: &["chain.noise", "chain.noise_end"], used: |c| has_chains(c) && has_noise(c.chain.form), by: "the chains of training (objective=replay, cd or pcd) with chain.form=noise-first, noise-last or annealed", decided_by: FORMS },
    Use { names: &["chain.temperature"], used: |c| has_chains(c) && has_temperature(c.chain.form) || c.sample.temperature == 0.0 && has_temperature(sample_form(c)), by: "chain.form=theory, mala or annealed, in training (objective=replay, cd or pcd), or in sampling where sample.temperature is 0", decided_by: &["objective", "chain.form", "sample.form", "sample.temperature"] },
    Use { names: &["chain.course"], used: |c| has_chains(c) && (c.chain.step_size_end > 0.0 || c.chain.noise_end > 0.0 && has_noise(c.chain.form)), by: "chain.step_size_end or chain.noise_end, with objective=replay, cd or pcd", decided_by: &["objective", "chain.step_size_end", "chain.noise_end", "chain.form"] },
    Use { names: &["replay.capacity", "replay.fresh", "replay.initial"], used: |c| c.objective == Objective::Replay, by: "objective=replay", decided_by: OBJECTIVE },
    Use { names: &["cd.start"], used: |c| c.objective == Objective::Cd, by: "objective=cd", decided_by: OBJECTIVE },
    Use { names: &["pcd.chains", "pcd.fresh"], used: |c| c.objective == Objective::Pcd, by: "objective=pcd", decided_by: OBJECTIVE },
    Use { names: &["augment.probability"], used: |c| augments(c) && (c.augment.shift > 0 || c.augment.flip > 0.0 || c.augment.rescale > 0.0), by: "augment.shift, flip or rescale above 0, for images, with objective=replay, pcd, or cd with cd.start=noise", decided_by: AUGMENT },
    Use { names: &["augment.shift", "augment.flip", "augment.rescale"], used: |c| augments(c) && c.augment.probability > 0.0, by: "augment.probability above 0, for images, with objective=replay, pcd, or cd with cd.start=noise", decided_by: AUGMENT },
    Use { names: &["score.probes"], used: |c| c.objective == Objective::ScoreMatching || c.objective == Objective::SlicedScoreMatching, by: "objective=score-matching or sliced-score-matching", decided_by: OBJECTIVE },
    Use { names: &["score.directions", "score.square"], used: |c| c.objective == Objective::SlicedScoreMatching, by: "objective=sliced-score-matching", decided_by: OBJECTIVE },
    Use { names: &["score.sigma", "score.levels", "score.target"], used: denoises, by: "objective=denoising-score-matching", decided_by: OBJECTIVE },
    Use { names: &["score.sigma_max"], used: |c| denoises(c) && c.score.levels > 1, by: "objective=denoising-score-matching with several score.levels", decided_by: &["objective", "score.levels"] },
    Use { names: &["score.from_noise"], used: |c| denoises(c) && c.score.levels > 1 && c.score.target == ScoreTarget::Velocity, by: "objective=denoising-score-matching with score.target=velocity and several score.levels", decided_by: &["objective", "score.target", "score.levels"] },
    Use { names: &["loss.kl"], used: |c| has_chains(c) && c.chain.form.has_kl(), by: "objective=replay, cd or pcd with chain.form=noise-first, noise-last or theory", decided_by: FORMS },
    Use { names: &["loss.energy_l2", "loss.smoothness"], used: has_chains, by: "objective=replay, cd or pcd", decided_by: OBJECTIVE },
    Use { names: &["loss.energy_l2_form"], used: |c| has_chains(c) && c.loss.energy_l2 > 0.0, by: "objective=replay, cd or pcd with loss.energy_l2 above 0", decided_by: &["objective", "loss.energy_l2"] },
    Use { names: &["loss.smoothness_noise"], used: |c| has_chains(c) && c.loss.smoothness > 0.0, by: "objective=replay, cd or pcd with loss.smoothness above 0", decided_by: &["objective", "loss.smoothness"] },
    Use { names: &["schedule.factor"], used: |c| c.schedule.learning_rate == RateSchedule::Exponential, by: "schedule.learning_rate=exponential", decided_by: &["schedule.learning_rate"] },
    Use { names: &["guard.tries"], used: |c| c.guard.on_divergence == OnDivergence::Rollback, by: "guard.on_divergence=rollback", decided_by: &["guard.on_divergence"] },
    Use { names: &["guard.learning_rate_factor", "guard.snapshot_every", "guard.energy_range", "guard.gradient_range"], used: is_guarded, by: "guard.on_divergence=rollback or stop", decided_by: &["guard.on_divergence"] },
    Use { names: &["guard.collapse_steps"], used: |c| is_guarded(c) && has_chains(c), by: "guard.on_divergence=rollback or stop, with objective=replay, cd or pcd", decided_by: &["guard.on_divergence", "objective"] },
    Use { names: &["sample.noise"], used: |c| has_noise(sample_form(c)), by: "sample.form=noise-first, noise-last or annealed", decided_by: SAMPLE_FORMS },
    Use { names: &["sample.noise_end"], used: |c| sample_form(c) == Form::Annealed, by: "sample.form=annealed", decided_by: SAMPLE_FORMS },
    Use { names: &["sample.temperature"], used: |c| has_temperature(sample_form(c)), by: "sample.form=theory, mala or annealed", decided_by: SAMPLE_FORMS },
];

fn has_chains(c: &Config) -> bool {
    c.score_objective().is_none()
}

fn has_noise(form: Form) -> bool {
    matches!(form, Form::NoiseFirst | Form::NoiseLast | Form::Annealed)
}

fn has_temperature(form: Form) -> bool {
    matches!(form, Form::Theory | Form::Mala | Form::Annealed)
}

fn sample_form(c: &Config) -> Form {
    c.sample_numbers().form
}

fn augments(c: &Config) -> bool {
    has_chains(c) && !(c.objective == Objective::Cd && c.cd.start == CdStart::Data) && !is_of_points(c)
}

fn denoises(c: &Config) -> bool {
    c.objective == Objective::DenoisingScoreMatching
}

fn is_guarded(c: &Config) -> bool {
    c.guard.on_divergence != OnDivergence::Ignore
}

/// Whether examples have no neighbouring values, as far as that is known without the data.
fn is_of_points(c: &Config) -> bool {
    let network = c.network.as_ref().map_or_else(|| preset(&c.preset), crate::network::NetworkSpec::build);
    network.is_ok_and(|network| network.input.is_points() && !network.input.is_sequence())
}

impl Config {
    /// Why a setting has no effect in this configuration, in training or sampling, if so: what would use it, and what
    /// decides that.
    pub fn unused(&self, name: &str) -> Option<String> {
        let rule = USES.iter().find(|rule| rule.names.contains(&name)).filter(|rule| !(rule.used)(self))?;
        let now: Vec<_> = rule.decided_by.iter().map(|name| format!("{name}={}", self.value(name))).collect();
        Some(format!(
            "has no effect here ({}); it is used by {}: leave it out, or choose that",
            now.join(", "),
            rule.by
        ))
    }

    /// Every setting, with all that there is to tell of it.
    pub fn settings(&self) -> Vec<Setting> {
        let of_row = |(name, value, doc)| {
            let rule = USES.iter().find(|rule| rule.names.contains(&name));
            Setting {
                name,
                value,
                allowed: Self::allowed(name).unwrap_or_default(),
                choices: Self::choices(name),
                doc,
                used_by: rule.map(|rule| rule.by),
                is_used: rule.is_none_or(|rule| (rule.used)(self)),
            }
        };
        self.describe().into_iter().map(of_row).collect()
    }
}
