//! The run configuration: every number of a recipe, by name.
//!
//! A setting is named `section.key`, on the command line (`--set chain.steps=60`), in a TOML file (`[chain]`,
//! `steps = 60`) and in messages. [`Config::describe`] lists them all.
//!
//! A file that lacks a setting takes that of `mnist-small`. That is also how a checkpoint from before a setting existed is
//! read: what `mnist-small` has of a new setting has to be what was done without it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use crate::data::{ImageShape, toy};
use crate::error::nearest;
use crate::kernels::draw_negatives::Noise;
use crate::kernels::dynamics::{Form, Path as Course};
use crate::network::{Analytic, Fault, MAX_TOML, Network, NetworkSpec, preset, preset_for};
use crate::plan::{GuardNumbers, SamplerChange, SamplerNumbers, ScoreObjective};
use crate::random::Distribution;
use crate::source::read_text;
use crate::{Error, Result};

/// Everything that decides what a run computes, besides the data and the device. The default is the preset `digits`, as it
/// is of `thalweg train`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default = "mnist_small", deny_unknown_fields)]
pub struct Config {
    /// The network and its recipe, by name; it decides the defaults of all other settings.
    pub preset: String,
    /// What is trained for (see `docs/objectives.md`).
    pub objective: Objective,
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
    /// Chains that start anew in every step.
    pub cd: Cd,
    /// Persistent chains.
    pub pcd: Pcd,
    /// Changes of chain starts.
    pub augment: Augment,
    /// The objectives that fit the score and have no chains.
    pub score: Score,
    /// The loss.
    pub loss: Loss,
    /// The optimiser.
    pub adam: Adam,
    /// How the learning rate goes on.
    pub schedule: Schedule,
    /// The moving average of the weights.
    pub ema: Ema,
    /// What is done when training diverges or collapses.
    pub guard: Guard,
    /// The sample grid drawn after every epoch.
    pub sample: Sample,
    /// The network, where it is not the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkSpec>,
}

/// What is trained for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Contrastive divergence; chains start from a replay buffer.
    #[default]
    Replay,
    /// Contrastive divergence; chains start from noise or from the data in every step.
    Cd,
    /// Contrastive divergence; persistent chains.
    Pcd,
    /// [`ScoreObjective::Matching`].
    ScoreMatching,
    /// [`ScoreObjective::Sliced`].
    SlicedScoreMatching,
    /// [`ScoreObjective::Denoising`].
    DenoisingScoreMatching,
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
    /// What float images hold: values in [-1, 1], [0, 1] or [0, 255]; `auto` = what their lowest and highest value say.
    pub range: Range,
    /// Whether the columns of points, and the channels of sequences, are brought to mean 0 and deviation 1 for the network; the checkpoint keeps both, and all commands speak the data's units.
    pub standardize: Standardize,
}

/// What float images hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Range {
    /// What their lowest and highest value say: [0, 1] if no value is below 0 and none above 1, [0, 255] if no value is below
    /// 0 and the largest is from 2 to 255, and [-1, 1] otherwise, or where all are 0.
    #[default]
    Auto,
    /// Values in [-1, 1].
    Signed,
    /// Values in [0, 1].
    Unit,
    /// Values in [0, 255].
    Bytes,
}

impl Range {
    /// The names of all.
    pub const NAMES: &[&str] = &["auto", "signed", "unit", "bytes"];
}

impl std::str::FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let all = [Self::Auto, Self::Signed, Self::Unit, Self::Bytes];
        let found = Self::NAMES.iter().position(|name| *name == text);
        found.map(|ix| all[ix]).ok_or_else(|| format!("must be one of {}", Self::NAMES.join(", ")))
    }
}

/// What is brought to mean 0 and deviation 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standardize {
    /// Nothing.
    #[default]
    None,
    /// The columns of points, and the channels of sequences.
    Columns,
}

/// The Langevin chains of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chain {
    /// Langevin steps that refine each chain in a training step.
    pub steps: usize,
    /// What a Langevin step is (see `docs/objectives.md`).
    pub form: Form,
    /// What the energy's gradient is multiplied by in a Langevin step; in `theory` and `mala` half of it.
    pub step_size: f64,
    /// Standard deviation of the Gaussian noise added in a Langevin step; `theory` and `mala` have their own, sqrt(step_size * temperature).
    pub noise: f64,
    /// Temperature T in `theory` and `mala`: chains tend to exp(-E/T).
    pub temperature: f64,
    /// Each element of the energy's gradient is clamped to +- this; 0 = off.
    pub gradient_clip: f64,
    /// Each value of a chain is clamped to +- this, in sampling too; 0 = off.
    pub clamp: f64,
    /// The step size in the run's last training step; 0 = no change.
    pub step_size_end: f64,
    /// The noise in the run's last training step; 0 = no change.
    pub noise_end: f64,
    /// How step size and noise change over the run.
    pub course: Course,
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
    /// What all fresh starts are drawn from, in `cd`, `pcd` and sampling too: uniform in [-1, 1) or standard normal.
    pub start: Start,
    /// What fresh starts are multiplied by, before they are clamped to +- chain.clamp.
    pub start_scale: f64,
}

/// What fresh starts of chains are drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Uniform in [-1, 1).
    #[default]
    Uniform,
    /// Standard normal.
    Normal,
}

/// Chains that start anew in every step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cd {
    /// Where the chains of objective `cd` start: from fresh noise, or from the step's real images.
    pub start: CdStart,
}

/// Where the chains of objective `cd` start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CdStart {
    /// From fresh noise.
    #[default]
    Noise,
    /// From the real images of the step.
    Data,
}

/// Persistent chains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pcd {
    /// Persistent chains of objective `pcd`; each step moves a random train.batch of them.
    pub chains: usize,
    /// Probability that a persistent chain starts anew when it is its turn.
    pub fresh: f64,
}

/// Changes of chain starts (Du et al. 2021).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Probability that a chain's start, of a buffer or noise, is changed as follows.
    pub probability: f64,
    /// It is shifted by up to so many pixels either way.
    pub shift: u32,
    /// Probability that it is flipped from left to right then.
    pub flip: f64,
    /// It is rescaled by 1 +- up to this.
    pub rescale: f64,
}

/// The moving average of the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ema {
    /// Share of itself that the weights' moving average keeps in a step, which samples and energies are then of; 0 = off.
    pub decay: f64,
}

/// What is done when training diverges or collapses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// What is done when training diverges or collapses: back to the last good state and on from there, back and stop, or nothing.
    pub on_divergence: OnDivergence,
    /// How often training goes back and on before it stops; what lies 1,000 good steps behind does not count.
    pub tries: u64,
    /// What the learning rate is multiplied by each time; 1 = it stays.
    pub learning_rate_factor: f64,
    /// Training steps from one good state that is kept to the next.
    pub snapshot_every: u64,
    /// How many times its usual the energies' spread may be, and ten times as many in the first 200 steps; 0 = no limit.
    pub energy_range: f64,
    /// The same for the gradient's norm.
    pub gradient_range: f64,
    /// Training steps in a row with chains all alike, saturated, or a gap of zero that are a collapse; 0 = none are.
    pub collapse_steps: u64,
}

/// What is done when training diverges or collapses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDivergence {
    /// Back to the last good state, and on from there with other random numbers.
    #[default]
    Rollback,
    /// Back to the last good state, and stop.
    Stop,
    /// Nothing: no step is judged.
    Ignore,
}

/// The objectives that fit the score and have no chains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Score {
    /// Random directions of each image; `score-matching` of up to 16 values an image takes the axes instead.
    pub probes: usize,
    /// What the directions of `sliced-score-matching` are: standard normal, or -1 and 1; those of `score-matching` are signs.
    pub directions: Directions,
    /// What `sliced-score-matching` takes of the gradient's square: all of it, or that along its directions.
    pub square: Square,
    /// Standard deviation of the noise of `denoising-score-matching`, the smallest where there are several.
    pub sigma: f64,
    /// The largest of several standard deviations.
    pub sigma_max: f64,
    /// Standard deviations, from one to the other in equal factors; each image draws one.
    pub levels: usize,
    /// What `denoising-score-matching` holds dE/dx against: the blurred data's `score`, n/sigma, or the `velocity` of images that keep their variance (see `docs/objectives.md`).
    pub target: ScoreTarget,
    /// Where the target is the `velocity`, how much of the image is asked for at the highest level, which is noise alone then, as what chains begin with; 0 = a level like the others.
    pub from_noise: f64,
}

/// What denoising score matching holds dE/dx against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreTarget {
    /// n/sigma: E is -log of the blurred data's density.
    #[default]
    Score,
    /// Images become alpha x + s n, with alpha = 1/sqrt(1 + sigma^2) and s = sigma alpha, and the target is alpha n - s x.
    Velocity,
}

/// What the directions of sliced score matching are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Directions {
    /// Standard normal.
    #[default]
    Normal,
    /// -1 or 1.
    Signs,
}

/// What sliced score matching takes of the gradient's square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Square {
    /// All of it, whose variance is smaller.
    #[default]
    Whole,
    /// What lies along the directions.
    Along,
}

/// The loss: contrastive divergence and a penalty that keeps energies near 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loss {
    /// Weight (alpha) of the energies' L2 penalty in the loss.
    pub energy_l2: f64,
    /// What that penalty is of: mean(E(real)^2) + mean(E(fake)^2), or mean(E(real))^2 + mean(E(fake))^2.
    pub energy_l2_form: EnergyL2Form,
    /// Weight of mean E(chains' ends) as a function of the chains' last step: improved contrastive divergence's KL term.
    pub kl: f64,
    /// Weight of the sum of all squared parameters in the loss.
    pub weight_l2: f64,
    /// Weight of mean((E(real + noise) - E(real))^2) in the loss.
    pub smoothness: f64,
    /// Standard deviation of the noise in that penalty.
    pub smoothness_noise: f64,
}

/// What the energies' L2 penalty is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnergyL2Form {
    /// The mean of the squared energies: keeps every energy near 0.
    #[default]
    MeanOfSquares,
    /// The square of the mean energy: keeps only the means near 0.
    SquareOfMeans,
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
    /// Each element of the parameters' gradient is clamped to +- this, after the clip of its norm; 0 = off.
    pub gradient_clip: f64,
    /// Each parameter loses this share of itself, times the learning rate, in a step (AdamW); 0 = off.
    pub weight_decay: f64,
}

/// How the learning rate goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// How adam.learning_rate goes on: not at all, times schedule.factor every epoch, or to 0 at the run's end.
    pub learning_rate: RateSchedule,
    /// What an `exponential` learning rate is multiplied by after every epoch.
    pub factor: f64,
    /// Training steps over which the learning rate rises from 0 at first; 0 = none.
    pub warm_up: u64,
}

/// How the learning rate goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateSchedule {
    /// It stays.
    #[default]
    Constant,
    /// Times a factor every epoch.
    Exponential,
    /// Along half a cosine to 0 at the run's end.
    Cosine,
}

/// The sample grid drawn after every epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Images in the grid.
    pub count: usize,
    /// Langevin steps from uniform noise to a sample.
    pub steps: usize,
    /// The standard deviation that `annealed` chains of sampling end at; 0 = no change.
    pub noise_end: f64,
    /// What the energy's gradient is multiplied by in a Langevin step of sampling.
    pub step_size: f64,
    /// Standard deviation of the Gaussian noise added in a Langevin step of sampling.
    pub noise: f64,
    /// What a Langevin step of sampling is; `chain` = as chain.form.
    pub form: SampleForm,
    /// Temperature in sampling; 0 = chain.temperature.
    pub temperature: f64,
}

/// What a Langevin step of sampling is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SampleForm {
    /// What it is in training.
    #[default]
    Chain,
    /// [`Form::NoiseFirst`].
    NoiseFirst,
    /// [`Form::NoiseLast`].
    NoiseLast,
    /// [`Form::Theory`].
    Theory,
    /// [`Form::Mala`].
    Mala,
    /// [`Form::Annealed`].
    Annealed,
}

impl Default for Config {
    fn default() -> Self {
        digits(Self { preset: "digits".into(), ..mnist_small() })
    }
}

/// Recipe R1, which the others are told from. All sections' defaults are its.
fn mnist_small() -> Config {
    Config {
        preset: "mnist-small".into(),
        objective: Objective::Replay,
        seed: 0,
        train: Train::default(),
        data: Data::default(),
        chain: Chain::default(),
        replay: Replay::default(),
        cd: Cd::default(),
        pcd: Pcd::default(),
        augment: Augment::default(),
        score: Score::default(),
        loss: Loss::default(),
        adam: Adam::default(),
        schedule: Schedule::default(),
        ema: Ema::default(),
        guard: Guard::default(),
        sample: Sample::default(),
        network: None,
    }
}

impl Default for Train {
    fn default() -> Self {
        Self { epochs: 10, batch: 128, steps: 0 }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self { noise: 0.005, range: Range::Auto, standardize: Standardize::None }
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            steps: 100,
            form: Form::NoiseFirst,
            step_size: 10.0,
            noise: 0.005,
            temperature: 1.0,
            gradient_clip: 0.03,
            clamp: 1.0,
            step_size_end: 0.0,
            noise_end: 0.0,
            course: Course::Linear,
        }
    }
}

impl Default for Replay {
    fn default() -> Self {
        Self { capacity: 8192, fresh: 0.05, initial: 128, start: Start::Uniform, start_scale: 1.0 }
    }
}

impl Default for Cd {
    fn default() -> Self {
        Self { start: CdStart::Noise }
    }
}

impl Default for Pcd {
    fn default() -> Self {
        Self { chains: 1000, fresh: 0.0 }
    }
}

impl Default for Ema {
    fn default() -> Self {
        Self { decay: 0.0 }
    }
}

impl Default for Guard {
    fn default() -> Self {
        let numbers = GuardNumbers::default();
        Self {
            on_divergence: OnDivergence::Rollback,
            tries: 3,
            learning_rate_factor: numbers.learning_rate_factor,
            snapshot_every: numbers.interval.into(),
            energy_range: numbers.energy_range.into(),
            gradient_range: numbers.gradient_range.into(),
            collapse_steps: numbers.collapse_steps.into(),
        }
    }
}

impl Default for Score {
    fn default() -> Self {
        Self {
            probes: 1,
            directions: Directions::Normal,
            square: Square::Whole,
            sigma: 0.1,
            sigma_max: 1.0,
            levels: 1,
            target: ScoreTarget::Score,
            from_noise: 0.0,
        }
    }
}

impl Default for Loss {
    fn default() -> Self {
        Self {
            energy_l2: 0.1,
            energy_l2_form: EnergyL2Form::MeanOfSquares,
            kl: 0.0,
            weight_l2: 0.0,
            smoothness: 0.0,
            smoothness_noise: 0.01,
        }
    }
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-7,
            gradient_norm_clip: 0.0,
            gradient_clip: 0.0,
            weight_decay: 0.0,
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self { learning_rate: RateSchedule::Constant, factor: 0.97, warm_up: 0 }
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            count: 16,
            steps: 500,
            noise_end: 0.0,
            step_size: 20.0,
            noise: 0.005,
            form: SampleForm::Chain,
            temperature: 0.0,
        }
    }
}

/// The values that a setting can have. Both ends are allowed.
#[derive(Clone, Copy)]
enum Values {
    Preset,
    Choice(&'static [&'static str]),
    Whole(u64, u64),
    Real(f64, f64),
}

impl std::fmt::Display for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Values::Preset => write!(f, "the name of a preset ({})", PRESETS.join(", ")),
            Values::Choice(names) => write!(f, "one of {}", names.join(", ")),
            Values::Whole(min, max) => write!(f, "a whole number from {min} to {max}"),
            Values::Real(min, max) => write!(f, "a number from {} to {}", short(*min), short(*max)),
        }
    }
}

/// Whether a number is 0 on devices, which would take it for `off` where that is what 0 means.
fn vanishes(value: f64) -> bool {
    value != 0.0 && value.abs() < f64::from(f32::MIN_POSITIVE)
}

const VANISHES: &str = "must be 0, or large enough for single precision (1.2e-38)";

/// `1e-12` rather than `0.000000000001`.
fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-4 { format!("{value:e}") } else { value.to_string() }
}

use Values::{Choice, Preset, Real, Whole};

/// The names that [`Config::preset`] knows.
pub const PRESETS: &[&str] =
    &["digits", "mnist-small", "mnist-deep", "conv-pool", "image-leaky", "mlp", "mlp-silu", "sequence"];

// Lower ends such as 1e-12 stand for "more than 0" and stay above 0 as f32, which is what devices compute with; 0.9999999
// stays below 1.
const POSITIVE: Values = Real(1e-12, 1e6);
const NOISE: Values = Real(0.0, 10.0);
const CLIP: Values = Real(0.0, 1e6);
const DECAY: Values = Real(0.0, 0.9999999);
const RANGE: Values = Real(0.0, 1e30);
const CHAIN_STEPS: Values = Whole(1, 1_000_000);
const BUFFER: Values = Whole(1, 1 << 24);
const FORM: Values = Choice(&["noise-first", "noise-last", "theory", "mala", "annealed"]);

/// Name, allowed values, description (the field's own doc comment).
type Setting = (&'static str, Values, &'static str);

#[rustfmt::skip]
const SETTINGS: &[Setting] = &[
    ("preset", Preset, "The network and its recipe, by name; it decides the defaults of all other settings."),
    ("objective", Choice(&["replay", "cd", "pcd", "score-matching", "sliced-score-matching", "denoising-score-matching"]), "What is trained for (see `docs/objectives.md`)."),
    ("seed", Whole(0, u64::MAX), "Where all random numbers of the run come from."),
    ("train.epochs", Whole(1, 1_000_000), "Passes over the training images."),
    ("train.batch", Whole(1, 1 << 20), "Real images, and chains, in a training step."),
    ("train.steps", Whole(0, 1_000_000_000), "Training steps in all, whatever `train.epochs` says; 0 = by epochs."),
    ("data.noise", NOISE, "Standard deviation of the Gaussian noise added to real images, whose values lie in [-1, 1]."),
    ("data.range", Choice(Range::NAMES), "What float images hold: values in [-1, 1], [0, 1] or [0, 255]; `auto` = what their lowest and highest value say."),
    ("data.standardize", Choice(&["none", "columns"]), "Whether the columns of points, and the channels of sequences, are brought to mean 0 and deviation 1 for the network; the checkpoint keeps both, and all commands speak the data's units."),
    ("chain.steps", CHAIN_STEPS, "Langevin steps that refine each chain in a training step."),
    ("chain.form", FORM, "What a Langevin step is (see `docs/objectives.md`)."),
    ("chain.step_size", POSITIVE, "What the energy's gradient is multiplied by in a Langevin step; in `theory` and `mala` half of it."),
    ("chain.noise", NOISE, "Standard deviation of the Gaussian noise added in a Langevin step; `theory` and `mala` have their own, sqrt(step_size * temperature)."),
    ("chain.temperature", POSITIVE, "Temperature T in `theory` and `mala`: chains tend to exp(-E/T)."),
    ("chain.gradient_clip", CLIP, "Each element of the energy's gradient is clamped to +- this; 0 = off."),
    ("chain.clamp", CLIP, "Each value of a chain is clamped to +- this, in sampling too; 0 = off."),
    ("chain.step_size_end", CLIP, "The step size in the run's last training step; 0 = no change."),
    ("chain.noise_end", NOISE, "The noise in the run's last training step; 0 = no change."),
    ("chain.course", Choice(&["linear", "geometric"]), "How step size and noise change over the run."),
    ("replay.capacity", BUFFER, "Images the replay buffer holds; the oldest make room."),
    ("replay.fresh", Real(0.0, 1.0), "Probability that a chain starts from uniform noise and not from the replay buffer."),
    ("replay.initial", BUFFER, "Uniform-noise images in the replay buffer when training begins."),
    ("replay.start", Choice(&["uniform", "normal"]), "What all fresh starts are drawn from, in `cd`, `pcd` and sampling too: uniform in [-1, 1) or standard normal."),
    ("replay.start_scale", POSITIVE, "What fresh starts are multiplied by, before they are clamped to +- chain.clamp."),
    ("cd.start", Choice(&["noise", "data"]), "Where the chains of objective `cd` start: from fresh noise, or from the step's real images."),
    ("pcd.chains", BUFFER, "Persistent chains of objective `pcd`; each step moves a random train.batch of them."),
    ("pcd.fresh", Real(0.0, 1.0), "Probability that a persistent chain starts anew when it is its turn."),
    ("augment.probability", Real(0.0, 1.0), "Probability that a chain's start, of a buffer or noise, is changed as follows."),
    ("augment.shift", Whole(0, 64), "It is shifted by up to so many pixels either way."),
    ("augment.flip", Real(0.0, 1.0), "Probability that it is flipped from left to right then."),
    ("augment.rescale", Real(0.0, 0.9), "It is rescaled by 1 +- up to this."),
    ("score.probes", Whole(1, 64), "Random directions of each image; `score-matching` of up to 16 values an image takes the axes instead."),
    ("score.directions", Choice(&["normal", "signs"]), "What the directions of `sliced-score-matching` are: standard normal, or -1 and 1; those of `score-matching` are signs."),
    ("score.square", Choice(&["whole", "along"]), "What `sliced-score-matching` takes of the gradient's square: all of it, or that along its directions."),
    ("score.sigma", Real(1e-4, 1e3), "Standard deviation of the noise of `denoising-score-matching`, the smallest where there are several."),
    ("score.sigma_max", Real(1e-4, 1e3), "The largest of several standard deviations."),
    ("score.target", Choice(&["score", "velocity"]), "What `denoising-score-matching` holds dE/dx against: the blurred data's `score`, n/sigma, or the `velocity` of images that keep their variance (see `docs/objectives.md`)."),
    ("score.from_noise", Real(0.0, 1.0), "Where the target is the `velocity`, how much of the image is asked for at the highest level, which is noise alone then, as what chains begin with; 0 = a level like the others."),
    ("score.levels", Whole(1, 1000), "Standard deviations, from one to the other in equal factors; each image draws one."),
    ("loss.energy_l2", Real(0.0, 1e6), "Weight (alpha) of the energies' L2 penalty in the loss."),
    ("loss.energy_l2_form", Choice(&["mean-of-squares", "square-of-means"]), "What that penalty is of: mean(E(real)^2) + mean(E(fake)^2), or mean(E(real))^2 + mean(E(fake))^2."),
    ("loss.kl", CLIP, "Weight of mean E(chains' ends) as a function of the chains' last step: improved contrastive divergence's KL term."),
    ("loss.weight_l2", CLIP, "Weight of the sum of all squared parameters in the loss."),
    ("loss.smoothness", CLIP, "Weight of mean((E(real + noise) - E(real))^2) in the loss."),
    ("loss.smoothness_noise", NOISE, "Standard deviation of the noise in that penalty."),
    ("adam.learning_rate", POSITIVE, "Adam's learning rate."),
    ("adam.beta1", DECAY, "Decay of Adam's mean of gradients, per step."),
    ("adam.beta2", DECAY, "Decay of Adam's mean of squared gradients, per step."),
    ("adam.epsilon", Real(1e-30, 1.0), "Added to the root of the squared mean, against division by 0."),
    ("adam.gradient_norm_clip", CLIP, "Gradients whose norm over all parameters is larger are scaled down to it; 0 = off."),
    ("adam.gradient_clip", CLIP, "Each element of the parameters' gradient is clamped to +- this, after the clip of its norm; 0 = off."),
    ("adam.weight_decay", CLIP, "Each parameter loses this share of itself, times the learning rate, in a step (AdamW); 0 = off."),
    ("schedule.learning_rate", Choice(&["constant", "exponential", "cosine"]), "How adam.learning_rate goes on: not at all, times schedule.factor every epoch, or to 0 at the run's end."),
    ("schedule.factor", Real(1e-6, 1.0), "What an `exponential` learning rate is multiplied by after every epoch."),
    ("schedule.warm_up", Whole(0, 1_000_000_000), "Training steps over which the learning rate rises from 0 at first; 0 = none."),
    ("ema.decay", DECAY, "Share of itself that the weights' moving average keeps in a step, which samples and energies are then of; 0 = off."),
    ("guard.on_divergence", Choice(&["rollback", "stop", "ignore"]), "What is done when training diverges or collapses: back to the last good state and on from there, back and stop, or nothing."),
    ("guard.tries", Whole(0, 1000), "How often training goes back and on before it stops; what lies 1,000 good steps behind does not count."),
    ("guard.learning_rate_factor", Real(1e-6, 1.0), "What the learning rate is multiplied by each time; 1 = it stays."),
    ("guard.snapshot_every", Whole(1, 1_000_000), "Training steps from one good state that is kept to the next."),
    ("guard.energy_range", RANGE, "How many times its usual the energies' spread may be, and ten times as many in the first 200 steps; 0 = no limit."),
    ("guard.gradient_range", RANGE, "The same for the gradient's norm."),
    ("guard.collapse_steps", Whole(0, 1_000_000), "Training steps in a row with chains all alike, saturated, or a gap of zero that are a collapse; 0 = none are."),
    ("sample.count", Whole(1, 65_536), "Images in the grid."),
    ("sample.steps", CHAIN_STEPS, "Langevin steps from uniform noise to a sample."),
    ("sample.noise_end", NOISE, "The standard deviation that `annealed` chains of sampling end at; 0 = no change."),
    ("sample.step_size", POSITIVE, "What the energy's gradient is multiplied by in a Langevin step of sampling."),
    ("sample.noise", NOISE, "Standard deviation of the Gaussian noise added in a Langevin step of sampling."),
    ("sample.form", Choice(&["chain", "noise-first", "noise-last", "theory", "mala", "annealed"]), "What a Langevin step of sampling is; `chain` = as chain.form."),
    ("sample.temperature", Real(0.0, 1e6), "Temperature in sampling; 0 = chain.temperature."),
];

impl Config {
    /// The settings of a named recipe; see [`PRESETS`].
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none of that name.
    pub fn preset(name: &str) -> Result<Self> {
        let base = Self { preset: name.to_owned(), ..mnist_small() };
        Ok(match name {
            "digits" => digits(base),
            "mnist-small" => base,
            "mnist-deep" => mnist_deep(base),
            "conv-pool" => conv_pool(base),
            "image-leaky" => image_leaky(base),
            "mlp" => mlp(base, 40),
            "mlp-silu" => mlp(base, 15),
            "sequence" => sequence(base),
            _ => return Err(Error::setting("preset", unknown_preset(name))),
        })
    }

    /// The data set that the recipe is for, where one ships: points in the plane for networks of two numbers, else digits.
    pub fn default_data(&self) -> &'static str {
        let input = match &self.network {
            Some(spec) => spec.build(),
            None => preset(&self.preset),
        };
        if input.is_ok_and(|network| network.input == crate::data::toy::POINT) {
            "five-gaussians"
        } else {
            "digits"
        }
    }

    /// How an analytic energy is sampled: with MALA, whose density is exact, from uniform starts all over the place where
    /// the energy is low; in Rosenbrock's valley, from its middle, as proposals from the steep sides are all rejected.
    /// Energies whose density has no bounds to speak of get a box.
    pub fn analytic(energy: Analytic) -> Self {
        // Step sizes at which three quarters of the proposals are accepted, or more.
        let (step_size, start_scale, clamp) = match energy {
            Analytic::Gaussian => (0.25, 2.0, 0.0),
            Analytic::DoubleWell => (0.1, 2.0, 0.0),
            Analytic::Rosenbrock => (0.002, 0.1, 0.0),
            Analytic::Rastrigin => (0.002, 5.0, 5.12),
            Analytic::Ackley => (0.05, 5.0, 5.0),
            Analytic::FiveGaussians | Analytic::EightGaussians => (0.05, 4.0, 0.0),
            Analytic::TwentyFiveGaussians => (0.01, 4.0, 0.0),
        };
        let steps = if energy == Analytic::Rosenbrock { 5000 } else { 1000 };
        let base = mlp(mnist_small(), 40);
        Self {
            chain: Chain { form: Form::Mala, step_size, clamp, ..base.chain },
            replay: Replay { start: Start::Uniform, start_scale, ..base.replay },
            sample: Sample { step_size, steps, ..base.sample },
            ..base
        }
    }

    /// The network of a run on data of this shape: the one described, or else the preset's.
    ///
    /// # Errors
    /// [`Error::Network`] for layers that do not fit together, and for a network that has nothing to train.
    pub fn network(&self, data: ImageShape) -> Result<Network> {
        let network =
            self.network.as_ref().map_or_else(|| preset_for(&self.preset, data), NetworkSpec::build)?;
        if network.n_parameters == 0 {
            let text =
                format!("`{}` has no parameters to train; `thalweg sample` takes it as it is", network.name);
            return Err(Error::Network(text));
        }
        Ok(network)
    }

    /// `base` with the settings of a TOML file on top; the file needs to name only what it changes. A section `[network]`
    /// describes a network that takes the place of the preset's (see [`crate::network::NetworkSpec`]). A `preset` in the
    /// file that is not the base's takes its place first. Values are checked one by one, so call
    /// [`validate`](Self::validate) at the end.
    pub fn from_toml_file(path: impl AsRef<Path>, base: Self) -> Result<Self> {
        Ok(Self::read_toml(path.as_ref(), base)?.0)
    }

    /// The same, with the names of the settings in the file and their lines.
    pub(super) fn read_toml(path: &Path, base: Self) -> Result<(Self, Vec<(String, usize)>)> {
        let text = read_text(path, MAX_TOML, "a TOML file of settings")?;
        let line = |offset: usize| text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1;
        let fault =
            |offset: usize, problem: String| Error::file(path, format!("line {}: {problem}", line(offset)));
        let table = DeTable::parse(&text)
            .map_err(|e| fault(e.span().map_or(0, |span| span.start), e.message().replace('\n', ", ")))?;
        let network = described_network(&text, table.get_ref())
            .map_err(|(offset, problem)| fault(offset, format!("network: {problem}")))?;
        let mut entries = Vec::new();
        flatten("", table.get_ref(), &mut entries);
        entries.retain(|(name, ..)| name != "network" && !name.starts_with("network."));
        entries.sort_by_key(|(name, offset, _)| (name != "preset", *offset));
        let (mut config, mut lines) = (base, Vec::new());
        for (name, offset, value) in entries {
            let result = match value {
                DeValue::String(preset) if name == "preset" && *preset != *config.preset => {
                    Self::preset(preset).map(|c| config = c).map_err(|_| unknown_preset(preset))
                }
                _ => toml_text(&name, value).and_then(|text| config.assign(&name, &text)),
            };
            result.map_err(|problem| fault(offset, format!("setting `{name}`: {problem}")))?;
            lines.push((name, line(offset)));
        }
        config.network = network.or(config.network);
        Ok((config, lines))
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
        let value = match find(name)?.1 {
            Preset if !PRESETS.contains(&text) => return Err(unknown_preset(text)),
            Preset if text != self.preset => {
                return Err(
                    "is chosen before all others, as it decides their defaults; use `--preset`".into()
                );
            }
            Preset => Value::from(text),
            Choice(names) if !names.contains(&text) => {
                let hint = nearest(text, names).map_or(String::new(), |hint| format!("; {hint}"));
                return Err(wrong(Choice(names)) + &hint);
            }
            Choice(_) => Value::from(text),
            values @ Whole(min, max) => match text.parse::<u64>() {
                Ok(n) if min <= n && n <= max => Value::from(n),
                _ => return Err(wrong(values)),
            },
            values @ Real(min, max) => match text.parse::<f64>() {
                Ok(x) if min <= x && x <= max && vanishes(x) => {
                    return Err(format!("{VANISHES}, not `{text}`"));
                }
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
        for &(name, values, _) in SETTINGS {
            let value = tree.pointer(&pointer(name)).expect("SETTINGS has the fields' names");
            let ok = match values {
                Preset => PRESETS.contains(&self.preset.as_str()),
                Choice(names) => value.as_str().is_some_and(|name| names.contains(&name)),
                Whole(min, max) => value.as_u64().is_some_and(|n| min <= n && n <= max),
                Real(min, max) => value.as_f64().is_some_and(|x| min <= x && x <= max),
            };
            if !ok {
                return Err(Error::setting(name, format!("must be {values}, not {value}")));
            }
            if value.as_f64().is_some_and(vanishes) {
                return Err(Error::setting(name, format!("{VANISHES}, not {value}")));
            }
        }
        let geometric = self.chain.course == Course::Geometric && self.chain.noise_end > 0.0;
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
        if self.score_objective().is_some() {
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
        let samples =
            s.form == SampleForm::Annealed || (s.form == SampleForm::Chain && c.form == Form::Annealed);
        let trains = c.form == Form::Annealed && self.score_objective().is_none();
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

    /// The whole configuration as TOML, readable by [`from_toml_file`](Self::from_toml_file).
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("plain fields")
    }

    /// Every setting: name, value, description.
    pub fn describe(&self) -> Vec<(&'static str, String, &'static str)> {
        let tree = serde_json::to_value(self).expect("plain fields");
        SETTINGS.iter().map(|&(name, _, doc)| (name, text_of(&tree, name), doc)).collect()
    }

    /// A setting's value as it would stand on the command line; empty for a name that is none.
    pub fn value(&self, name: &str) -> String {
        text_of(&serde_json::to_value(self).expect("plain fields"), name)
    }

    /// The values that a setting can have: a range, or names to choose from. `None` if there is no such setting.
    pub fn allowed(name: &str) -> Option<String> {
        find(name).ok().map(|(_, values, _)| values.to_string())
    }

    /// The names that a setting is chosen from; none of a number.
    pub fn choices(name: &str) -> &'static [&'static str] {
        match find(name) {
            Ok((_, Preset, _)) => PRESETS,
            Ok((_, Choice(names), _)) => names,
            _ => &[],
        }
    }

    /// The objective, if it is one that fits the score.
    pub fn score_objective(&self) -> Option<ScoreObjective> {
        let s = &self.score;
        Some(match self.objective {
            Objective::Replay | Objective::Cd | Objective::Pcd => return None,
            Objective::ScoreMatching => ScoreObjective::Matching { probes: s.probes },
            Objective::SlicedScoreMatching => ScoreObjective::Sliced {
                probes: s.probes,
                distribution: match s.directions {
                    Directions::Normal => Distribution::Normal,
                    Directions::Signs => Distribution::Signs,
                },
                reduces_variance: s.square == Square::Whole,
            },
            Objective::DenoisingScoreMatching => ScoreObjective::Denoising {
                sigma: s.sigma as f32,
                sigma_max: s.sigma_max as f32,
                levels: s.levels as u32,
                velocity: s.target == ScoreTarget::Velocity,
                from_noise: s.from_noise as f32,
            },
        })
    }

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

    /// Slots of the ring that chains start from and end in, and how many are filled when training begins.
    pub fn ring(&self) -> (usize, usize) {
        match self.objective {
            Objective::Replay => (self.replay.capacity, self.replay.initial),
            Objective::Pcd => (self.pcd.chains, self.pcd.chains),
            Objective::Cd => (self.train.batch, self.train.batch),
            _ => (1, 1),
        }
    }

    /// The chains of sampling, as a plan takes them.
    pub fn sample_numbers(&self) -> SamplerNumbers {
        let s = &self.sample;
        let temperature = if s.temperature > 0.0 { s.temperature } else { self.chain.temperature };
        SamplerNumbers {
            steps: s.steps as u32,
            form: match s.form {
                SampleForm::Chain => self.chain.form,
                SampleForm::NoiseFirst => Form::NoiseFirst,
                SampleForm::NoiseLast => Form::NoiseLast,
                SampleForm::Theory => Form::Theory,
                SampleForm::Mala => Form::Mala,
                SampleForm::Annealed => Form::Annealed,
            },
            step_size: s.step_size as f32,
            noise: s.noise as f32,
            temperature: temperature as f32,
            gradient_clip: self.chain.gradient_clip as f32,
            clamp: self.chain.clamp as f32,
            change: (s.noise_end > 0.0).then_some(SamplerChange {
                step_size_end: s.step_size as f32,
                noise_end: s.noise_end as f32,
                path: Course::Geometric,
                levels: s.steps as u32,
            }),
            start: self.start_noise(),
        }
    }
}

/// What draws digits: one energy of all noise levels, by denoising score matching, sampled by annealed Langevin dynamics.
/// Found by experiment: docs/recipe-search.md.
fn digits(base: Config) -> Config {
    Config {
        objective: Objective::DenoisingScoreMatching,
        train: Train { steps: 10_000, batch: 64, ..base.train },
        data: Data { noise: 0.0, ..base.data },
        chain: Chain { gradient_clip: 0.0, clamp: 0.0, ..base.chain },
        replay: Replay { start: Start::Normal, ..base.replay },
        score: Score {
            sigma: 0.25,
            sigma_max: 5.0,
            levels: 100,
            target: ScoreTarget::Velocity,
            from_noise: 0.4,
            ..base.score
        },
        loss: Loss { energy_l2: 0.0, ..base.loss },
        adam: Adam { learning_rate: 6e-3, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.07, ..base.adam },
        schedule: Schedule { learning_rate: RateSchedule::Cosine, warm_up: 100, ..base.schedule },
        ema: Ema { decay: 0.998 },
        sample: Sample {
            count: 64,
            form: SampleForm::Annealed,
            steps: 300,
            step_size: 0.015,
            noise: 5.0,
            noise_end: 0.5,
            ..base.sample
        },
        ..base
    }
}

/// Recipe R2: the book's and the UvA course's variant of R1.
fn mnist_deep(base: Config) -> Config {
    Config {
        train: Train { epochs: 60, ..base.train },
        chain: Chain { steps: 60, ..base.chain },
        adam: Adam { beta1: 0.0, epsilon: 1e-8, gradient_norm_clip: 0.1, ..base.adam },
        schedule: Schedule { learning_rate: RateSchedule::Exponential, factor: 0.97, ..base.schedule },
        sample: Sample { steps: 256, step_size: 10.0, ..base.sample },
        ..base
    }
}

/// Recipe R3: noise last, no clip in the chain, and a penalty on the mean energies only.
fn conv_pool(base: Config) -> Config {
    Config {
        train: Train { epochs: 50, ..base.train },
        chain: Chain { steps: 60, form: Form::NoiseLast, step_size: 0.01, gradient_clip: 0.0, ..base.chain },
        data: Data { noise: 0.0, ..base.data },
        replay: Replay { capacity: 10_000, ..base.replay },
        loss: Loss { energy_l2: 0.01, energy_l2_form: EnergyL2Form::SquareOfMeans, ..base.loss },
        adam: Adam { epsilon: 1e-8, gradient_norm_clip: 1.0, ..base.adam },
        sample: Sample { steps: 200, step_size: 0.01, ..base.sample },
        ..base
    }
}

/// What TorchEBM's guide has in common for points and images: `theory` with its step of 0.01, which is half of ours, from
/// normal noise; Adam with PyTorch's epsilon; no penalty on energies.
fn torchebm(base: Config) -> Config {
    Config {
        chain: Chain {
            steps: 10,
            form: Form::Theory,
            step_size: 0.02,
            gradient_clip: 0.0,
            clamp: 0.0,
            ..base.chain
        },
        data: Data { noise: 0.0, ..base.data },
        replay: Replay { start: Start::Normal, ..base.replay },
        loss: Loss { energy_l2: 0.0, ..base.loss },
        adam: Adam { epsilon: 1e-8, ..base.adam },
        sample: Sample { steps: 1000, step_size: 0.02, ..base.sample },
        ..base
    }
}

/// Recipe R4: ten steps from noise, on images.
fn image_leaky(base: Config) -> Config {
    let base = torchebm(base);
    Config {
        objective: Objective::Cd,
        chain: Chain { clamp: 1.0, ..base.chain },
        loss: Loss { energy_l2: 0.1, ..base.loss },
        adam: Adam { learning_rate: 1e-3, gradient_norm_clip: 1.0, ..base.adam },
        ..base
    }
}

/// Recipe R5: points in the plane, with persistent chains; but with a learning rate of 1e-3 that falls to 0 and fewer
/// epochs, as two processors learn five Gaussians in a minute so, by every objective (docs/objectives.md), and with chains
/// that start all over the box of the toy sets, not around 0, where one mode of five then has most of them.
fn mlp(base: Config, epochs: usize) -> Config {
    let base = torchebm(base);
    Config {
        objective: Objective::Pcd,
        train: Train { epochs, ..base.train },
        replay: Replay {
            start: Start::Uniform,
            start_scale: f64::from(toy::BOX),
            initial: 8192,
            ..base.replay
        },
        adam: Adam { learning_rate: 1e-3, ..base.adam },
        schedule: Schedule { learning_rate: RateSchedule::Cosine, ..base.schedule },
        sample: Sample { count: 5000, steps: 200, ..base.sample },
        ..base
    }
}

/// Recipe R6: short chains, as each step goes through time twice, and the clip of the gradient's norm of its source.
fn sequence(base: Config) -> Config {
    Config {
        train: Train { batch: 64, ..base.train },
        chain: Chain { steps: 20, ..base.chain },
        adam: Adam { epsilon: 1e-8, gradient_norm_clip: 1.0, ..base.adam },
        sample: Sample { steps: 200, step_size: 10.0, ..base.sample },
        ..base
    }
}

/// The end of a number that stays where its end is 0.
fn end(start: f64, end: f64) -> f32 {
    if end > 0.0 { end as f32 } else { start as f32 }
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

/// The section `[network]` of a TOML file, or the offset and the description of what is wrong in it.
fn described_network(
    text: &str,
    table: &DeTable<'_>,
) -> std::result::Result<Option<NetworkSpec>, (usize, String)> {
    let Some((key, section)) = table.get_key_value("network") else { return Ok(None) };
    let at_key = |problem: String| (key.span().start, problem);
    let mut values: serde_json::Map<String, serde_json::Value> =
        toml::from_str(text).map_err(|e| at_key(e.message().to_owned()))?;
    let value = values.remove("network").unwrap_or_default();
    NetworkSpec::from_value(&value).map(Some).map_err(|fault: Fault| {
        let layers = section.get_ref().get("layers").and_then(|layers| layers.get_ref().as_array());
        let layer = fault.layer.and_then(|layer| layers?.get(layer));
        layer.map_or(at_key(fault.to_string()), |layer| (layer.span().start, fault.to_string()))
    })
}

/// A TOML value as it would stand on the command line, if it is of the setting's type.
fn toml_text(name: &str, value: &DeValue<'_>) -> std::result::Result<String, String> {
    match (find(name)?.1, value) {
        (Preset | Choice(_), DeValue::String(text)) => Ok(text.to_string()),
        (Whole(..) | Real(..), DeValue::Integer(n)) => match i128::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Ok(n.to_string()),
            Err(_) => Ok(n.as_str().to_owned()),
        },
        (Whole(..) | Real(..), DeValue::Float(x)) => Ok(x.as_str().to_owned()),
        (values, other) => Err(format!("must be {values}, not a TOML {}", other.type_str())),
    }
}

/// The value of a setting in a configuration's tree.
fn text_of(tree: &serde_json::Value, name: &str) -> String {
    match tree.pointer(&pointer(name)) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) if value.is_f64() => short(value.as_f64().unwrap_or(f64::NAN)),
        value => value.map_or(String::new(), ToString::to_string),
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
