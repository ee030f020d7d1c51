//! The run configuration: every number of a recipe, by name.
//!
//! A setting is named `section.key`, on the command line (`--set chain.steps=60`), in a TOML file (`[chain]`,
//! `steps = 60`) and in messages. [`Config::describe`] lists them all.
//!
//! A file that lacks a setting takes its default. That is also how a checkpoint from before a setting existed is read:
//! the default of a new setting has to be what was done without it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use crate::{Error, Result};

/// Everything that decides what a run computes, besides the data and the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The network and its recipe, by name; it decides the defaults of all other settings.
    pub preset: String,
    /// Where all random numbers of the run come from.
    pub seed: u64,
    /// How long to train.
    pub train: Train,
    /// What is done to real images.
    pub data: Data,
    /// The Langevin chains of training.
    pub chain: Chain,
    /// The replay buffer, where chains start.
    pub replay: Replay,
    /// The loss.
    pub loss: Loss,
    /// The optimiser.
    pub adam: Adam,
    /// The sample grid drawn after every epoch.
    pub sample: Sample,
}

/// How long to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Passes over the training images.
    pub epochs: usize,
    /// Real images, and chains, in a training step.
    pub batch: usize,
    /// Training steps in all, whatever `train.epochs` says; 0 = by epochs.
    pub steps: u64,
}

/// What is done to real images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Standard deviation of the Gaussian noise added to real images, whose values lie in [-1, 1].
    pub noise: f64,
}

/// The Langevin chains of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chain {
    /// Langevin steps that refine each chain in a training step.
    pub steps: usize,
    /// What the energy's gradient is multiplied by in a Langevin step.
    pub step_size: f64,
    /// Standard deviation of the Gaussian noise added in a Langevin step.
    pub noise: f64,
    /// Each element of the energy's gradient is clamped to +- this; 0 = off.
    pub gradient_clip: f64,
}

/// The replay buffer, where chains start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replay {
    /// Images the replay buffer holds; the oldest make room.
    pub capacity: usize,
    /// Probability that a chain starts from uniform noise and not from the replay buffer.
    pub fresh: f64,
    /// Uniform-noise images in the replay buffer when training begins.
    pub initial: usize,
}

/// The loss: contrastive divergence and a penalty that keeps energies near 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loss {
    /// Weight (alpha) of mean(E(real)^2 + E(fake)^2) in the loss.
    pub energy_l2: f64,
}

/// The optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Decay of Adam's mean of gradients, per step.
    pub beta1: f64,
    /// Decay of Adam's mean of squared gradients, per step.
    pub beta2: f64,
    /// Added to the root of the squared mean, against division by 0.
    pub epsilon: f64,
    /// Gradients whose norm over all parameters is larger are scaled down to it; 0 = off.
    pub gradient_norm_clip: f64,
}

/// The sample grid drawn after every epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Images in the grid.
    pub count: usize,
    /// Langevin steps from uniform noise to a sample.
    pub steps: usize,
    /// What the energy's gradient is multiplied by in a Langevin step of sampling.
    pub step_size: f64,
    /// Standard deviation of the Gaussian noise added in a Langevin step of sampling.
    pub noise: f64,
}

// Recipe R1 of docs/recipes.md, `mnist-small`.
impl Default for Config {
    fn default() -> Self {
        Self {
            preset: "mnist-small".into(),
            seed: 0,
            train: Train::default(),
            data: Data::default(),
            chain: Chain::default(),
            replay: Replay::default(),
            loss: Loss::default(),
            adam: Adam::default(),
            sample: Sample::default(),
        }
    }
}

impl Default for Train {
    fn default() -> Self {
        Self { epochs: 10, batch: 128, steps: 0 }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self { noise: 0.005 }
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self { steps: 100, step_size: 10.0, noise: 0.005, gradient_clip: 0.03 }
    }
}

impl Default for Replay {
    fn default() -> Self {
        Self { capacity: 8192, fresh: 0.05, initial: 128 }
    }
}

impl Default for Loss {
    fn default() -> Self {
        Self { energy_l2: 0.1 }
    }
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 1e-4, beta1: 0.9, beta2: 0.999, epsilon: 1e-7, gradient_norm_clip: 0.0 }
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self { count: 16, steps: 500, step_size: 20.0, noise: 0.005 }
    }
}

/// The values that a setting can have. Both ends are allowed.
#[derive(Clone, Copy)]
enum Values {
    Preset,
    Whole(u64, u64),
    Real(f64, f64),
}

impl std::fmt::Display for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Values::Preset => write!(f, "the name of a preset ({})", PRESETS.join(", ")),
            Values::Whole(min, max) => write!(f, "a whole number from {min} to {max}"),
            Values::Real(min, max) => write!(f, "a number from {} to {}", short(*min), short(*max)),
        }
    }
}

/// `1e-12` rather than `0.000000000001`.
fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-4 { format!("{value:e}") } else { value.to_string() }
}

use Values::{Preset, Real, Whole};

/// The names that [`Config::preset`] knows.
pub const PRESETS: &[&str] = &["mnist-small"];

// Lower ends such as 1e-12 stand for "more than 0" and stay above 0 as f32, which is what devices compute with; 0.9999999
// stays below 1.
const POSITIVE: Values = Real(1e-12, 1e6);
const NOISE: Values = Real(0.0, 10.0);
const CLIP: Values = Real(0.0, 1e6);
const DECAY: Values = Real(0.0, 0.9999999);
const CHAIN_STEPS: Values = Whole(1, 1_000_000);
const BUFFER: Values = Whole(1, 1 << 24);

/// Name, default of `mnist-small`, allowed values, description (the field's own doc comment).
type Setting = (&'static str, &'static str, Values, &'static str);

#[rustfmt::skip]
const SETTINGS: &[Setting] = &[
    ("preset", "mnist-small", Preset, "The network and its recipe, by name; it decides the defaults of all other settings."),
    ("seed", "0", Whole(0, u64::MAX), "Where all random numbers of the run come from."),
    ("train.epochs", "10", Whole(1, 1_000_000), "Passes over the training images."),
    ("train.batch", "128", Whole(1, 1 << 20), "Real images, and chains, in a training step."),
    ("train.steps", "0", Whole(0, 1_000_000_000), "Training steps in all, whatever `train.epochs` says; 0 = by epochs."),
    ("data.noise", "0.005", NOISE, "Standard deviation of the Gaussian noise added to real images, whose values lie in [-1, 1]."),
    ("chain.steps", "100", CHAIN_STEPS, "Langevin steps that refine each chain in a training step."),
    ("chain.step_size", "10", POSITIVE, "What the energy's gradient is multiplied by in a Langevin step."),
    ("chain.noise", "0.005", NOISE, "Standard deviation of the Gaussian noise added in a Langevin step."),
    ("chain.gradient_clip", "0.03", CLIP, "Each element of the energy's gradient is clamped to +- this; 0 = off."),
    ("replay.capacity", "8192", BUFFER, "Images the replay buffer holds; the oldest make room."),
    ("replay.fresh", "0.05", Real(0.0, 1.0), "Probability that a chain starts from uniform noise and not from the replay buffer."),
    ("replay.initial", "128", BUFFER, "Uniform-noise images in the replay buffer when training begins."),
    ("loss.energy_l2", "0.1", Real(0.0, 1e6), "Weight (alpha) of mean(E(real)^2 + E(fake)^2) in the loss."),
    ("adam.learning_rate", "0.0001", POSITIVE, "Adam's learning rate."),
    ("adam.beta1", "0.9", DECAY, "Decay of Adam's mean of gradients, per step."),
    ("adam.beta2", "0.999", DECAY, "Decay of Adam's mean of squared gradients, per step."),
    ("adam.epsilon", "1e-7", Real(1e-30, 1.0), "Added to the root of the squared mean, against division by 0."),
    ("adam.gradient_norm_clip", "0", CLIP, "Gradients whose norm over all parameters is larger are scaled down to it; 0 = off."),
    ("sample.count", "16", Whole(1, 65_536), "Images in the grid."),
    ("sample.steps", "500", CHAIN_STEPS, "Langevin steps from uniform noise to a sample."),
    ("sample.step_size", "20", POSITIVE, "What the energy's gradient is multiplied by in a Langevin step of sampling."),
    ("sample.noise", "0.005", NOISE, "Standard deviation of the Gaussian noise added in a Langevin step of sampling."),
];

impl Config {
    /// The settings of a named recipe; see [`PRESETS`].
    pub fn preset(name: &str) -> Result<Self> {
        if !PRESETS.contains(&name) {
            return Err(Error::setting("preset", unknown_preset(name)));
        }
        Ok(Self::default())
    }

    /// `base` with the settings of a TOML file on top; the file needs to name only what it changes. A `preset` in the
    /// file that is not the base's takes its place first. Values are checked one by one, so call
    /// [`validate`](Self::validate) at the end.
    pub fn from_toml_file(path: impl AsRef<Path>, base: Self) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let fault = |offset: usize, problem: String| {
            let line = text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1;
            Error::file(path, format!("line {line}: {problem}"))
        };
        let table = DeTable::parse(&text)
            .map_err(|e| fault(e.span().map_or(0, |span| span.start), e.message().replace('\n', ", ")))?;
        let mut entries = Vec::new();
        flatten("", table.get_ref(), &mut entries);
        entries.sort_by_key(|(name, offset, _)| (name != "preset", *offset));
        let mut config = base;
        for (name, offset, value) in entries {
            let result = match value {
                DeValue::String(preset) if name == "preset" && *preset != *config.preset => {
                    Self::preset(preset).map(|c| config = c).map_err(|_| unknown_preset(preset))
                }
                _ => toml_text(&name, value).and_then(|text| config.assign(&name, &text)),
            };
            result.map_err(|problem| fault(offset, format!("setting `{name}`: {problem}")))?;
        }
        Ok(config)
    }

    /// Changes one setting, given as on the command line: `chain.steps=60`.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(Error::setting(assignment, "has no value; write it as in `chain.steps=60`"));
        };
        let name = name.trim();
        self.assign(name, value.trim()).map_err(|problem| Error::setting(name, problem))
    }

    /// Gives one setting a value; the error says what is wrong without the setting's name.
    fn assign(&mut self, name: &str, text: &str) -> std::result::Result<(), String> {
        use serde_json::Value;
        let wrong = |values| format!("must be {values}, not `{text}`");
        let value = match find(name)?.2 {
            Preset if !PRESETS.contains(&text) => return Err(unknown_preset(text)),
            Preset if text != self.preset => {
                return Err(
                    "is chosen before all others, as it decides their defaults; use `--preset`".into()
                );
            }
            Preset => Value::from(text),
            values @ Whole(min, max) => match text.parse::<u64>() {
                Ok(n) if min <= n && n <= max => Value::from(n),
                _ => return Err(wrong(values)),
            },
            values @ Real(min, max) => match text.parse::<f64>() {
                Ok(x) if min <= x && x <= max => Value::from(x),
                _ => return Err(wrong(values)),
            },
        };
        let mut tree = serde_json::to_value(&*self).expect("plain fields");
        *tree.pointer_mut(&pointer(name)).expect("SETTINGS has the fields' names") = value;
        *self = serde_json::from_value(tree).map_err(|e| e.to_string())?;
        Ok(())
    }

    /// Checks each setting and those that depend on each other. A trainer can rely on a valid configuration.
    pub fn validate(&self) -> Result<()> {
        let tree = serde_json::to_value(self).expect("plain fields");
        for &(name, _, values, _) in SETTINGS {
            let value = tree.pointer(&pointer(name)).expect("SETTINGS has the fields' names");
            let ok = match values {
                Preset => PRESETS.contains(&self.preset.as_str()),
                Whole(min, max) => value.as_u64().is_some_and(|n| min <= n && n <= max),
                Real(min, max) => value.as_f64().is_some_and(|x| min <= x && x <= max),
            };
            if !ok {
                return Err(Error::setting(name, format!("must be {values}, not {value}")));
            }
        }
        let capacity = self.replay.capacity;
        for (name, count) in [("train.batch", self.train.batch), ("replay.initial", self.replay.initial)] {
            if count > capacity {
                let problem =
                    format!("is {count}, but can't be more than replay.capacity, which is {capacity}");
                return Err(Error::setting(name, problem));
            }
        }
        Ok(())
    }

    /// The whole configuration as TOML, readable by [`from_toml_file`](Self::from_toml_file).
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("plain fields")
    }

    /// Every setting: name, default (of `mnist-small`), description.
    pub fn describe() -> Vec<(&'static str, &'static str, &'static str)> {
        SETTINGS.iter().map(|&(name, default, _, doc)| (name, default, doc)).collect()
    }
}

/// Every `section.key = value` of a TOML file, with the offset of its key.
fn flatten<'a>(prefix: &str, table: &'a DeTable<'_>, entries: &mut Vec<(String, usize, &'a DeValue<'a>)>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        let is_section = || SETTINGS.iter().any(|s| s.0.starts_with(&format!("{name}.")));
        match value.get_ref() {
            DeValue::Table(inner) if prefix.is_empty() && (!inner.is_empty() || is_section()) => {
                flatten(&format!("{name}."), inner, entries);
            }
            other => entries.push((name, key.span().start, other)),
        }
    }
}

/// A TOML value as it would stand on the command line, if it is of the setting's type.
fn toml_text(name: &str, value: &DeValue<'_>) -> std::result::Result<String, String> {
    match (find(name)?.2, value) {
        (Preset, DeValue::String(text)) => Ok(text.to_string()),
        (Whole(..) | Real(..), DeValue::Integer(n)) => match i128::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Ok(n.to_string()),
            Err(_) => Ok(n.as_str().to_owned()),
        },
        (Whole(..) | Real(..), DeValue::Float(x)) => Ok(x.as_str().to_owned()),
        (values, other) => Err(format!("must be {values}, not a TOML {}", other.type_str())),
    }
}

/// `/chain/steps` for `chain.steps`.
fn pointer(name: &str) -> String {
    format!("/{}", name.replace('.', "/"))
}

fn find(name: &str) -> std::result::Result<&'static Setting, String> {
    SETTINGS.iter().find(|s| s.0 == name).ok_or_else(|| {
        let names: Vec<_> = SETTINGS.iter().map(|s| s.0).collect();
        let hint = nearest(name, &names).unwrap_or_else(|| format!("there are: {}", names.join(", ")));
        format!("there is no such setting; {hint}")
    })
}

fn unknown_preset(name: &str) -> String {
    let hint = nearest(name, PRESETS).map_or(String::new(), |hint| format!(" {hint}"));
    format!("there is no preset `{name}`;{hint} The presets are: {}", PRESETS.join(", "))
}

/// "did you mean `a` or `b`?": the names nearest to a word that is none of them, or `None` where nothing is near. The
/// last part of a dotted name counts for the whole.
pub(crate) fn nearest(word: &str, names: &[&str]) -> Option<String> {
    let plain = |s: &str| s.to_lowercase().replace('-', "_");
    let word = plain(word);
    let score = |name: &str| {
        let name = plain(name);
        let last = name.rsplit('.').next().unwrap_or(&name);
        strsim::jaro_winkler(&word, &name).max(strsim::jaro_winkler(&word, last))
    };
    let best = names.iter().map(|name| score(name)).fold(0.0, f64::max);
    let near: Vec<_> =
        names.iter().filter(|name| score(name) == best).map(|name| format!("`{name}`")).collect();
    (best >= 0.75).then(|| format!("did you mean {}?", near.join(" or ")))
}
