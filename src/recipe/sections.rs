//! Every setting, once: what it is, its default, its allowed values, and when it has an effect.
//!
//! Defaults are those of the preset `mnist-small`. A checkpoint from before a setting existed takes its default, so the
//! default has to be what was done without it.

use super::objective::{CdStart, Objective};
use super::table::Values::{Preset, Real, Whole};
use super::table::{Field, Spec, Usage, Values, choices, settings, when};
use crate::network::NetworkSpec;
use serde::{Deserialize, Serialize};

// Lower ends such as 1e-12 mean "more than 0" and stay above 0 as f32, which devices compute with; 0.9999999 stays below 1.
const POSITIVE: Values = Real(1e-12, 1e6);
const NOISE: Values = Real(0.0, 10.0);
const OPTIONAL: Values = Real(0.0, 1e6);
const DECAY: Values = Real(0.0, 0.9999999);
const SHARE: Values = Real(0.0, 1.0);
const RANGE: Values = Real(0.0, 1e30);
const CHAIN_STEPS: Values = Whole(1, 1_000_000);
const TRAINING_STEPS: Values = Whole(0, 1_000_000_000);
const BUFFER: Values = Whole(1, 1 << 24);

const OBJECTIVE: &[&str] = &["objective"];
const CHAIN_FORM: &[&str] = &["objective", "chain.form"];
const SAMPLE_FORM: &[&str] = &["sample.form", "chain.form"];
const GUARD: &[&str] = &["guard.on_divergence"];
const AUGMENT: &[&str] = &[
    "preset",
    "objective",
    "cd.start",
    "augment.probability",
    "augment.shift",
    "augment.flip",
    "augment.rescale",
];

#[rustfmt::skip]
mod usage {
    use super::*;

    pub const CHAINS: Usage = when(|c| c.has_chains(), "the chains of training: objective=replay, cd, pcd or annealed-cd", OBJECTIVE);
    pub const NOISY_CHAINS: Usage = when(
        |c| c.has_chains() && c.chain.form.has_noise(),
        "the chains of training (objective=replay, cd, pcd or annealed-cd) with chain.form=noise-first, noise-last or annealed",
        CHAIN_FORM,
    );
    pub const ANNEALED: Usage = when(|c| c.objective == Objective::AnnealedCd, "objective=annealed-cd", OBJECTIVE);
    pub const REPLAY: Usage = when(|c| c.objective == Objective::Replay, "objective=replay", OBJECTIVE);
    pub const PCD: Usage = when(|c| c.objective == Objective::Pcd, "objective=pcd", OBJECTIVE);
    pub const AUGMENTED: Usage = when(
        |c| c.augments() && c.augment.probability > 0.0,
        "augment.probability above 0, for images, with objective=replay, pcd, or cd with cd.start=noise",
        AUGMENT,
    );
    pub const SLICED: Usage =
        when(|c| c.objective == Objective::SlicedScoreMatching, "objective=sliced-score-matching", OBJECTIVE);
    pub const DENOISING: Usage =
        when(|c| c.denoises(), "objective=denoising-score-matching, or annealed-cd with loss.denoising above 0", OBJECTIVE);
    pub const DISCREPANCY: Usage = when(|c| c.objective == Objective::EnergyDiscrepancy, "objective=energy-discrepancy", OBJECTIVE);
    pub const NCE: Usage = when(|c| c.objective == Objective::Nce, "objective=nce", OBJECTIVE);
    pub const CONTRASTIVE: Usage = when(|c| c.has_chains(), "objective=replay, cd, pcd or annealed-cd", OBJECTIVE);
    pub const SMOOTH: Usage = when(|c| c.has_chains() && c.objective != Objective::AnnealedCd, "objective=replay, cd or pcd", OBJECTIVE);
    pub const GUARDED: Usage = when(|c| c.is_guarded(), "guard.on_divergence=rollback or stop", GUARD);
}
use usage::*;

settings! {
    /// A run's configuration: all that decides its results, besides the data and the device. The default is the preset
    /// `digits`, as for `thalweg train`.
    Recipe {
        /// Name of the preset: the network, and the defaults of all other settings.
        preset: String = "mnist-small".into(), in Preset;
        /// Training objective (see `docs/objectives.md`).
        objective: Objective = Objective::Replay;
        /// Seed of all random numbers.
        seed: u64 = 0, in Whole(0, u64::MAX);
    }

    /// Length of training.
    train: Train {
        /// Number of passes over the training images.
        epochs: usize = 10, in Whole(1, 1_000_000), used by when(|c| c.train.steps == 0, "runs whose train.steps is 0", &["train.steps"]);
        /// Number of data images, and of chains, per training step.
        batch: usize = 128, in Whole(1, 1 << 20);
        /// Number of training steps; 0 takes train.epochs instead.
        steps: u64 = 0, in TRAINING_STEPS;
    }

    /// Preprocessing of the data.
    data: Data {
        /// Standard deviation of the Gaussian noise added to data images, whose values lie in [-1, 1].
        noise: f64 = 0.005, in NOISE;
        /// Range of float images: [-1, 1] (`signed`), [0, 1] (`unit`) or [0, 255] (`bytes`); `auto` infers it from the
        /// lowest and highest value.
        range: Range = Range::Auto;
        /// Standardizes `columns` of points, and channels of sequences, to mean 0 and standard deviation 1 for the network.
        /// The checkpoint stores both, and all commands use the data's units.
        standardize: Standardize = Standardize::None;
    }

    /// Langevin chains of training.
    chain: Chain {
        /// Number of Langevin steps per chain and training step.
        steps: usize = 100, in CHAIN_STEPS, used by CHAINS;
        /// Update rule of a Langevin step (see `docs/objectives.md`).
        form: Form = Form::NoiseFirst, used by when(
            |c| c.has_chains() || c.sample.form == SampleForm::Chain,
            "the chains of training (objective=replay, cd, pcd or annealed-cd), and sample.form=chain",
            &["objective", "sample.form"],
        );
        /// Step size: factor of the energy's gradient in a Langevin step. `theory` and `mala` use half of it.
        step_size: f64 = 10.0, in POSITIVE, used by CHAINS;
        /// Standard deviation of the Gaussian noise in a Langevin step. `theory` and `mala` use
        /// sqrt(step_size * temperature) instead.
        noise: f64 = 0.005, in NOISE, used by NOISY_CHAINS;
        /// Temperature T of `theory`, `mala` and `annealed`: chains sample exp(-E/T).
        temperature: f64 = 1.0, in POSITIVE, used by when(
            |c| {
                c.has_chains() && c.chain.form.has_temperature()
                    || c.sample.temperature == 0.0 && c.sampling_form().has_temperature()
            },
            "chain.form=theory, mala or annealed, in training (objective=replay, cd, pcd or annealed-cd), or in sampling where \
             sample.temperature is 0",
            &["objective", "chain.form", "sample.form", "sample.temperature"],
        );
        /// Clamps each element of the energy's gradient to +- this value, in training and sampling; 0 disables it.
        gradient_clip: f64 = 0.03, in OPTIONAL;
        /// Clamps each value of a chain to +- this value, in training and sampling; 0 disables it.
        clamp: f64 = 1.0, in OPTIONAL;
        /// Step size at the last training step; 0 keeps chain.step_size.
        step_size_end: f64 = 0.0, in OPTIONAL, used by CHAINS;
        /// Noise at the last training step; 0 keeps chain.noise.
        noise_end: f64 = 0.0, in NOISE, used by NOISY_CHAINS;
        /// Step size of `annealed` chains that stay at the last level, in `annealed-cd`; 0 keeps the one that they arrive with.
        stay_step_size: f64 = 0.0, in Real(0.0, 0.5), used by ANNEALED;
        /// Interpolation of step size and noise over the run, or of `annealed` chains over the levels.
        course: Interpolation = Interpolation::Linear, used by when(
            |c| {
                c.has_chains()
                    && (c.chain.step_size_end > 0.0 || c.chain.noise_end > 0.0 && c.chain.form.has_noise())
            },
            "chain.step_size_end or chain.noise_end, with objective=replay, cd, pcd or annealed-cd",
            &["objective", "chain.step_size_end", "chain.noise_end", "chain.form"],
        );
    }

    /// Replay buffer, and the noise that chains start from.
    replay: Replay {
        /// Number of images in the replay buffer; new images replace the oldest.
        capacity: usize = 8192, in BUFFER, used by REPLAY;
        /// Probability that a chain starts from noise instead of an image of the replay buffer.
        fresh: f64 = 0.05, in SHARE, used by REPLAY;
        /// Number of noise images in the replay buffer at the start of training.
        initial: usize = 128, in BUFFER, used by REPLAY;
        /// Distribution of the noise that chains start from, also in `cd`, `pcd` and sampling: uniform in [-1, 1), or
        /// standard normal.
        start: Start = Start::Uniform;
        /// Factor of that noise, applied before chain.clamp.
        start_scale: f64 = 1.0, in POSITIVE;
    }

    /// Pool of the persistent annealed chains of `annealed-cd`. A chain begins as noise, and each of its Langevin steps takes
    /// it one noise level down, from chain.noise to chain.noise_end, where it stays until it restarts.
    pool: ChainPool {
        /// Number of chains; each training step moves train.batch of them.
        chains: usize = 448, in BUFFER, used by ANNEALED;
        /// Number of chains that never restart: they stay at the last level for the rest of training.
        long: usize = 64, in Whole(0, 1 << 24), used by ANNEALED;
        /// Share of those among the chains that a training step moves.
        long_share: f64 = 0.25, in SHARE, used by ANNEALED;
        /// Number of Langevin steps from the first noise level to the last.
        levels: usize = 300, in Whole(1, 1_000_000), used by ANNEALED;
        /// Probability that a chain at the last level restarts from noise when a training step selects it.
        restart: f64 = 0.05, in SHARE, used by ANNEALED;
    }

    /// Chains that restart at every training step.
    cd: Cd {
        /// Start of the chains: noise, or the data images of the same step.
        start: CdStart = CdStart::Noise, used by when(|c| c.objective == Objective::Cd, "objective=cd", OBJECTIVE);
    }

    /// Persistent chains.
    pcd: Pcd {
        /// Number of persistent chains; each training step advances a random train.batch of them.
        chains: usize = 1000, in BUFFER, used by PCD;
        /// Probability that a selected chain restarts from noise.
        fresh: f64 = 0.0, in SHARE, used by PCD;
    }

    /// Augmentation of chain starts (Du et al. 2021).
    augment: Augment {
        /// Probability that a chain's start, from a buffer or noise, is augmented.
        probability: f64 = 0.0, in SHARE, used by when(
            |c| c.augments() && (c.augment.shift > 0 || c.augment.flip > 0.0 || c.augment.rescale > 0.0),
            "augment.shift, flip or rescale above 0, for images, with objective=replay, pcd, or cd with cd.start=noise",
            AUGMENT,
        );
        /// Largest shift in each direction, in pixels.
        shift: u32 = 0, in Whole(0, 64), used by AUGMENTED;
        /// Probability that an augmented start is mirrored left to right.
        flip: f64 = 0.0, in SHARE, used by AUGMENTED;
        /// Largest relative change of scale: the factor lies in 1 +- this value.
        rescale: f64 = 0.0, in Real(0.0, 0.9), used by AUGMENTED;
    }

    /// Objectives that fit the score and have no chains.
    score: Score {
        /// Number of random directions per image. For images of up to 16 values `score-matching` uses all axes instead.
        probes: usize = 1, in Whole(1, 64), used by when(
            |c| matches!(c.objective, Objective::ScoreMatching | Objective::SlicedScoreMatching),
            "objective=score-matching or sliced-score-matching",
            OBJECTIVE,
        );
        /// Distribution of the directions of `sliced-score-matching`: standard normal, or random signs. `score-matching`
        /// always uses signs.
        directions: Directions = Directions::Normal, used by SLICED;
        /// Part of the squared gradient in the loss of `sliced-score-matching`: the whole norm, or the projections along
        /// the directions.
        square: Square = Square::Whole, used by SLICED;
        /// Standard deviation of the noise of `denoising-score-matching`; the smallest one if score.levels exceeds 1.
        sigma: f64 = 0.1, in Real(1e-4, 1e3), used by DENOISING;
        /// Largest standard deviation.
        sigma_max: f64 = 1.0, in Real(1e-4, 1e3), used by when(
            |c| DENOISING.holds(c) && c.score.levels > 1,
            "objective=denoising-score-matching or annealed-cd with several score.levels",
            &["objective", "score.levels"],
        );
        /// Number of standard deviations, in geometric progression; each image draws one.
        levels: usize = 1, in Whole(1, 1000), used by DENOISING;
        /// Target of dE/dx in `denoising-score-matching`: the `score` n/sigma of the blurred data, or the `velocity` of
        /// variance-preserving noise (see `docs/objectives.md`).
        target: ScoreTarget = ScoreTarget::Score, used by DENOISING;
        /// Share of the image in the `velocity` target at the highest level, which is pure noise, as at the start of
        /// sampling; 0 treats that level like the others.
        from_noise: f64 = 0.0, in SHARE, used by when(
            |c| DENOISING.holds(c) && c.score.levels > 1 && c.score.target == ScoreTarget::Velocity,
            "objective=denoising-score-matching or annealed-cd with score.target=velocity and several score.levels",
            &["objective", "score.target", "score.levels"],
        );
    }

    /// Energy discrepancy.
    discrepancy: Discrepancy {
        /// Number of negatives per data image.
        negatives: usize = 16, in Whole(1, 1024), used by DISCREPANCY;
        /// Standard deviation t of each of the two noises of a negative, x + t n + t n'.
        noise: f64 = 0.5, in Real(1e-4, 1e3), used by DISCREPANCY;
        /// Weight w of the constant that keeps the loss from falling without end; 0 for none.
        weight: f64 = 1.0, in OPTIONAL, used by DISCREPANCY;
    }

    /// Noise-contrastive estimation.
    nce: Nce {
        /// Number of draws of the Gaussian per data image.
        negatives: usize = 4, in Whole(1, 1024), used by NCE;
        /// Factor of the standard deviations of the Gaussian that is fitted to the data.
        scale: f64 = 1.0, in Real(0.1, 100.0), used by NCE;
    }

    /// Penalties of the loss.
    loss: Loss {
        /// Weight of the L2 penalty on energies.
        energy_l2: f64 = 0.1, in OPTIONAL, used by CONTRASTIVE;
        /// Form of the penalty on energies: mean(E(data)^2) + mean(E(chains)^2), or mean(E(data))^2 + mean(E(chains))^2.
        energy_l2_form: EnergyL2Form = EnergyL2Form::MeanOfSquares, used by when(
            |c| SMOOTH.holds(c) && c.loss.energy_l2 > 0.0,
            "objective=replay, cd or pcd with loss.energy_l2 above 0",
            &["objective", "loss.energy_l2"],
        );
        /// Weight of contrastive divergence in `annealed-cd`.
        contrastive: f64 = 1.0, in POSITIVE, used by ANNEALED;
        /// Share of the training steps after which contrastive divergence begins; before that, `annealed-cd` denoises alone.
        contrastive_from: f64 = 0.0, in Real(0.0, 0.999), used by ANNEALED;
        /// Highest noise level of contrastive divergence; 0 for all levels.
        contrastive_below: f64 = 0.0, in OPTIONAL, used by ANNEALED;
        /// Weight of denoising score matching in `annealed-cd`; 0 leaves contrastive divergence alone.
        denoising: f64 = 1.0, in OPTIONAL, used by ANNEALED;
        /// Weight of the sum of all squared parameters.
        weight_l2: f64 = 0.0, in OPTIONAL;
        /// Weight of the smoothness penalty, mean((E(data + noise) - E(data))^2).
        smoothness: f64 = 0.0, in OPTIONAL, used by SMOOTH;
        /// Standard deviation of the noise in the smoothness penalty.
        smoothness_noise: f64 = 0.01, in NOISE, used by when(
            |c| SMOOTH.holds(c) && c.loss.smoothness > 0.0,
            "objective=replay, cd or pcd with loss.smoothness above 0",
            &["objective", "loss.smoothness"],
        );
    }

    /// Optimizer.
    adam: Adam {
        /// Learning rate.
        learning_rate: f64 = 1e-4, in POSITIVE;
        /// Decay of the gradient's running mean, per training step.
        beta1: f64 = 0.9, in DECAY;
        /// Decay of the squared gradient's running mean, per training step.
        beta2: f64 = 0.999, in DECAY;
        /// Constant added to the root of the squared gradient's mean.
        epsilon: f64 = 1e-7, in Real(1e-30, 1.0);
        /// Largest norm of the gradient over all parameters; larger gradients are scaled down. 0 disables it.
        gradient_norm_clip: f64 = 0.0, in OPTIONAL;
        /// Clamps each element of the gradient to +- this value, after adam.gradient_norm_clip; 0 disables it.
        gradient_clip: f64 = 0.0, in OPTIONAL;
        /// Decoupled weight decay (AdamW): each training step multiplies the parameters by 1 - learning rate * this
        /// value. 0 disables it.
        weight_decay: f64 = 0.0, in OPTIONAL;
    }

    /// Learning-rate schedule.
    schedule: Schedule {
        /// Learning-rate schedule: constant, multiplied by schedule.factor after every epoch, or a cosine to 0 at the end of
        /// the run.
        learning_rate: RateSchedule = RateSchedule::Constant;
        /// Factor of the `exponential` schedule, per epoch.
        factor: f64 = 0.97, in Real(1e-6, 1.0), used by when(
            |c| c.schedule.learning_rate == RateSchedule::Exponential,
            "schedule.learning_rate=exponential",
            &["schedule.learning_rate"],
        );
        /// Number of training steps over which the learning rate rises from 0; 0 disables it.
        warm_up: u64 = 0, in TRAINING_STEPS;
    }

    /// Moving average of the weights.
    ema: Ema {
        /// Decay of the weights' exponential moving average, per training step; 0 disables it. Sampling and energies use
        /// the average if there is one.
        decay: f64 = 0.0, in DECAY;
    }

    /// Detection of divergence and collapse.
    guard: Guard {
        /// Reaction to divergence or collapse: restore the last good state and continue, restore it and stop, or ignore it.
        on_divergence: OnDivergence = OnDivergence::Rollback;
        /// Number of rollbacks before training stops; 1,000 good steps reset the count.
        tries: u64 = 3, in Whole(0, 1000), used by when(
            |c| c.guard.on_divergence == OnDivergence::Rollback,
            "guard.on_divergence=rollback",
            GUARD,
        );
        /// Factor of the learning rate at each rollback.
        learning_rate_factor: f64 = 0.5, in Real(1e-6, 1.0), used by GUARDED;
        /// Number of training steps between snapshots of the state.
        snapshot_every: u64 = 100, in Whole(1, 1_000_000), used by GUARDED;
        /// Largest spread of the energies, as a multiple of its running mean, and ten times that in the first 200 steps;
        /// 0 disables the check.
        energy_range: f64 = 100.0, in RANGE, used by GUARDED;
        /// The same limit for the gradient's norm; 0 disables the check.
        gradient_range: f64 = 100.0, in RANGE, used by GUARDED;
        /// Number of consecutive training steps with identical or saturated chains, or with a gap of zero, that count as a
        /// collapse; 0 disables the check.
        collapse_steps: u64 = 500, in Whole(0, 1_000_000), used by when(
            |c| c.is_guarded() && c.has_chains(),
            "guard.on_divergence=rollback or stop, with objective=replay, cd, pcd or annealed-cd",
            &["guard.on_divergence", "objective"],
        );
    }

    /// Chains of sampling.
    sample: Sample {
        /// Number of samples in the grid that is drawn after every epoch.
        count: usize = 16, in Whole(1, 65_536);
        /// Number of Langevin steps from noise to a sample.
        steps: usize = 500, in CHAIN_STEPS;
        /// Number of further steps that an `annealed` chain stays at the last noise level.
        stay: usize = 0, in Whole(0, 1_000_000), used by when(
            |c| c.sampling_form() == Form::Annealed,
            "sample.form=annealed",
            SAMPLE_FORM,
        );
        /// Step size of those steps; 0 keeps sample.step_size.
        stay_step_size: f64 = 0.0, in Real(0.0, 0.5), used by when(
            |c| c.sampling_form() == Form::Annealed,
            "sample.form=annealed",
            SAMPLE_FORM,
        );
        /// Noise level at the end of an `annealed` chain; 0 keeps sample.noise.
        noise_end: f64 = 0.0, in NOISE, used by when(
            |c| c.sampling_form() == Form::Annealed,
            "sample.form=annealed",
            SAMPLE_FORM,
        );
        /// Step size of sampling, as chain.step_size.
        step_size: f64 = 20.0, in POSITIVE;
        /// Standard deviation of the Gaussian noise in a Langevin step of sampling.
        noise: f64 = 0.005, in NOISE, used by when(
            |c| c.sampling_form().has_noise(),
            "sample.form=noise-first, noise-last or annealed",
            SAMPLE_FORM,
        );
        /// Update rule of a Langevin step of sampling; `chain` takes chain.form.
        form: SampleForm = SampleForm::Chain;
        /// Temperature of sampling; 0 takes chain.temperature.
        temperature: f64 = 0.0, in OPTIONAL, used by when(
            |c| c.sampling_form().has_temperature(),
            "sample.form=theory, mala or annealed",
            SAMPLE_FORM,
        );
    }
}

choices! {
    /// Range of float images.
    Range {
        /// Inferred from the lowest and highest value: [0, 1] if no value is below 0 and none above 1, [0, 255] if no value
        /// is below 0 and the largest is from 2 to 255, and [-1, 1] otherwise, or if all values are 0.
        Auto = "auto",
        /// [-1, 1].
        Signed = "signed",
        /// [0, 1].
        Unit = "unit",
        /// [0, 255].
        Bytes = "bytes",
    }

    /// What is standardized to mean 0 and standard deviation 1.
    Standardize {
        /// Nothing.
        None = "none",
        /// The columns of points, and the channels of sequences.
        Columns = "columns",
    }

    /// Update rule of a Langevin step, with `g` the clipped gradient of the energy, `n` standard normal, and a clamp to the
    /// box of allowed values.
    Form {
        /// `x <- clamp(x + noise n)`, then `x <- clamp(x - step_size g(x))`: the Keras notebooks and the UvA course.
        NoiseFirst = "noise-first",
        /// `x <- clamp(x - step_size g(x) + noise n)`.
        NoiseLast = "noise-last",
        /// `x <- clamp(x - step_size/2 g(x) + sqrt(step_size T) n)`: the Euler-Maruyama step of the Langevin equation, whose
        /// density is `exp(-E/T)` in the limit of small steps (Welling and Teh 2011,
        /// <https://www.stats.ox.ac.uk/~teh/research/compstats/WelTeh2011a.pdf>, equation 3 without data).
        Theory = "theory",
        /// The step of `Theory` as a proposal that is accepted or rejected (Metropolis-adjusted Langevin algorithm: Roberts
        /// and Tweedie 1996, <https://doi.org/10.2307/3318418>): the density is exactly `exp(-E/T)` for any step size.
        /// Proposals outside the box are rejected.
        Mala = "mala",
        /// Annealed Langevin dynamics (Song and Ermon 2019, <https://arxiv.org/abs/1907.05600>): each step belongs to a noise
        /// level `sigma`, the schedule's `noise`, and takes `x` to the next level. With `alpha = 1 / sqrt(1 + sigma^2)` and
        /// `s = sigma alpha`, images of a level are `alpha x0 + s n`, and their density is `exp(-|x|^2 / 2 - E(x) / sigma)`,
        /// as the velocity target of denoising score matching trains it. The estimate of the clean image is
        /// `x0 = alpha x - s g` and that of the noise is `e = s x + alpha g`. With `alpha'` and `s'` of the next level,
        /// `x <- alpha' x0 + s' (sqrt(1 - 2 step_size) e + sqrt(2 step_size T) n)`. If the level stays, this is a Langevin
        /// step of `step_size s^2` on that density, up to order `step_size^2`; between levels it is the step of Song et al.
        /// 2021 (<https://arxiv.org/abs/2010.02502>, equation 12). The last level's step ends at `x0`; further steps stay at
        /// that level.
        Annealed = "annealed",
    }

    /// Interpolation of a number from its start to its end.
    Interpolation {
        /// Equal differences.
        Linear = "linear",
        /// Equal factors.
        Geometric = "geometric",
    }

    /// Distribution of the noise that chains start from.
    Start {
        /// Uniform in [-1, 1).
        Uniform = "uniform",
        /// Standard normal.
        Normal = "normal",
    }

    /// Reaction to divergence or collapse.
    OnDivergence {
        /// Restores the last good state and continues with other random numbers.
        Rollback = "rollback",
        /// Restores the last good state and stops.
        Stop = "stop",
        /// Checks nothing.
        Ignore = "ignore",
    }

    /// Target of dE/dx in denoising score matching.
    ScoreTarget {
        /// n/sigma: E is -log of the blurred data's density.
        Score = "score",
        /// Images become alpha x + s n, with alpha = 1/sqrt(1 + sigma^2) and s = sigma alpha; the target is alpha n - s x.
        Velocity = "velocity",
    }

    /// Distribution of the directions of sliced score matching.
    Directions {
        /// Standard normal.
        Normal = "normal",
        /// -1 or 1.
        Signs = "signs",
    }

    /// Part of the squared gradient in the loss of sliced score matching.
    Square {
        /// The whole norm, which has less variance.
        Whole = "whole",
        /// The projections along the directions.
        Along = "along",
    }

    /// Form of the L2 penalty on energies.
    EnergyL2Form {
        /// Mean of the squared energies: keeps every energy near 0.
        MeanOfSquares = "mean-of-squares",
        /// Square of the mean energy: keeps only the means near 0.
        SquareOfMeans = "square-of-means",
    }

    /// Learning-rate schedule.
    RateSchedule {
        /// Constant.
        Constant = "constant",
        /// Multiplied by a factor after every epoch.
        Exponential = "exponential",
        /// Half a cosine to 0 at the end of the run.
        Cosine = "cosine",
    }

    /// Update rule of a Langevin step of sampling.
    SampleForm {
        /// The form of training's chains.
        Chain = "chain",
        /// [`Form::NoiseFirst`].
        NoiseFirst = "noise-first",
        /// [`Form::NoiseLast`].
        NoiseLast = "noise-last",
        /// [`Form::Theory`].
        Theory = "theory",
        /// [`Form::Mala`].
        Mala = "mala",
        /// [`Form::Annealed`].
        Annealed = "annealed",
    }
}

impl Form {
    /// Whether a step adds noise of a standard deviation that is a setting.
    pub fn has_noise(self) -> bool {
        matches!(self, Self::NoiseFirst | Self::NoiseLast | Self::Annealed)
    }

    /// Whether a step depends on a temperature.
    pub fn has_temperature(self) -> bool {
        matches!(self, Self::Theory | Self::Mala | Self::Annealed)
    }
}

impl Usage {
    fn holds(&self, config: &Recipe) -> bool {
        (self.applies)(config)
    }
}
