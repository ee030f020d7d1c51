//! Presets: a network, the recipe that trains it, and one line of help, side by side. A new preset is one row of [`ALL`].

use super::sections::SETTINGS;
use super::table::unknown_preset;
use super::{
    Adam, Chain, Data, Ema, EnergyL2Form, Form, Interpolation, Loss, Objective, RateSchedule, Recipe, Replay,
    Sample, SampleForm, Schedule, Score, ScoreTarget, Start, Train,
};
use crate::data::Shape;
use crate::data::reading::Takes;
use crate::data::toy;
use crate::error::nearest;
use crate::network::{
    ANALYTIC, Activation, Analytic, Builder, Initialisation, Network, NetworkSpec, Padding,
};
use crate::{Error, Result};

/// A preset.
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// One line for lists of presets.
    pub summary: &'static str,
    /// The data that its network takes.
    pub takes: Takes,
    /// Shape of the examples that it is known for: `[channels, height, width]`.
    pub input: [usize; 3],
    /// Smallest height and width of images; smaller ones are padded.
    least: usize,
    /// Adds the layers below the energy, which is a dense layer of one unit.
    network: fn(Builder) -> Builder,
    /// Changes the defaults of all sections, which are those of `mnist-small`.
    recipe: fn(Recipe) -> Recipe,
    /// The same for other objectives that the preset has settings for: what `--set objective=...` takes.
    others: &'static [fn(Recipe) -> Recipe],
}

/// Keras `same` padding for even sizes and stride 2: nothing before, one after.
const SAME: Padding = Padding { top: 0, bottom: 1, left: 0, right: 1 };
const SWISH: Activation = Activation::Swish;
const LEAKY: Activation = Activation::LeakyRelu(0.2);

/// All presets.
pub const ALL: &[Preset] = &[
    Preset {
        name: "digits",
        summary: "28x28 images; learns to draw digits from noise in some minutes; convolutions, annealed contrastive divergence",
        takes: Takes::Images,
        input: [1, 28, 28],
        least: 0,
        network: |n| {
            let convolve = |n: Builder, channels| n.conv(channels, 4).stride(2).padding(1).activation(SWISH);
            [32, 64, 128].into_iter().fold(n, convolve).dense(128).activation(SWISH)
        },
        recipe: digits,
        others: &[digits_denoising],
    },
    // The network and recipe of the Keras deep-EBM notebooks (recipe R1), with Glorot's initialisation.
    Preset {
        name: "mnist-small",
        summary: "32x32 images; the network and recipe of the Keras notebooks; convolutions, replay buffer",
        takes: Takes::Images,
        input: [1, 32, 32],
        least: 32,
        network: |n| {
            let convolve =
                |n: Builder, channels| n.conv(channels, 3).stride(2).padding(SAME).activation(SWISH);
            [16, 32, 64, 64].into_iter().fold(n, convolve)
        },
        recipe: |base| base,
        others: &[],
    },
    // The network of the UvA deep-learning course.
    Preset {
        name: "mnist-deep",
        summary: "28x28 images; those of the UvA course notebook; convolutions, replay buffer, 60 epochs",
        takes: Takes::Images,
        input: [1, 28, 28],
        least: 0,
        network: |n| {
            let convolve = |n: Builder, channels| n.conv(channels, 3).stride(2).padding(1).activation(SWISH);
            let first = pytorch(n).conv(16, 5).stride(2).padding(4).activation(SWISH);
            [32, 64, 64].into_iter().fold(first, convolve).dense(64).activation(SWISH)
        },
        recipe: mnist_deep,
        others: &[],
    },
    Preset {
        name: "conv-pool",
        summary: "28x28 images; convolutions with a global average pool, replay buffer, 50 epochs; slow",
        takes: Takes::Images,
        input: [1, 28, 28],
        least: 0,
        network: |n| {
            let convolve = |n: Builder, channels| {
                let n = n.conv(channels, 3).padding(1).activation(SWISH);
                n.conv(channels, 4).stride(2).padding(1).activation(SWISH)
            };
            [64, 128].into_iter().fold(pytorch(n), convolve).pool()
        },
        recipe: conv_pool,
        others: &[],
    },
    Preset {
        name: "image-leaky",
        summary: "28x28 images; convolutions with LeakyReLU, ten Langevin steps from noise",
        takes: Takes::Images,
        input: [1, 28, 28],
        least: 0,
        network: |n| {
            let convolve = |n: Builder, channels| n.conv(channels, 4).stride(2).padding(1).activation(LEAKY);
            [64, 128, 256].into_iter().fold(pytorch(n).conv(32, 3).padding(1).activation(LEAKY), convolve)
        },
        recipe: image_leaky,
        others: &[],
    },
    // Dense layers take images as well as points.
    Preset {
        name: "mlp",
        summary: "points; two dense layers of 128, persistent chains",
        takes: Takes::Anything,
        input: [2, 1, 1],
        least: 0,
        network: |n| (0..2).fold(pytorch(n), |n, _| n.dense(128).activation(LEAKY)),
        recipe: |base| mlp(base, 40),
        others: &[],
    },
    Preset {
        name: "mlp-silu",
        summary: "points; three dense layers of 256, persistent chains",
        takes: Takes::Anything,
        input: [2, 1, 1],
        least: 0,
        network: |n| (0..3).fold(pytorch(n), |n, _| n.dense(256).activation(SWISH)),
        recipe: |base| mlp(base, 15),
        others: &[],
    },
    Preset {
        name: "sequence",
        summary: "sequences, of your own data as none ship; bidirectional LSTM, replay buffer",
        takes: Takes::Sequences,
        input: [1, 1, 50],
        least: 0,
        network: |n| pytorch(n).lstm(128, 2, true),
        recipe: sequence,
        others: &[],
    },
];

/// Their names.
pub const PRESETS: &[&str] = &{
    let mut names = [""; ALL.len()];
    let mut i = 0;
    while i < ALL.len() {
        names[i] = ALL[i].name;
        i += 1;
    }
    names
};

/// The preset of a name.
pub fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}

fn pytorch(network: Builder) -> Builder {
    network.initialisation(Initialisation::Pytorch)
}

/// Prefix of the names of analytic energies.
const PREFIX: &str = "analytic:";

/// The network of a preset, for the inputs that it is known for, or an energy with a formula ([`Analytic`]) of points in the
/// plane: `analytic:gaussian`, `analytic:double-well`, ...
///
/// # Errors
/// [`Error::Network`] with the known names and the nearest one.
pub fn preset(name: &str) -> Result<Network> {
    build(name, find(name).map_or([2, 1, 1], |preset| preset.input))
}

/// The network of a preset for data of another shape. Presets of convolutions keep their own input if the data are points.
///
/// # Errors
/// Those of [`preset`]; data that the preset's layers do not fit.
pub fn preset_for(name: &str, data: Shape) -> Result<Network> {
    let Shape { channels, height, width } = data;
    let Some(known) = find(name) else { return build(name, [channels, height, width]) };
    match known.takes {
        Takes::Sequences if !data.is_sequence() => Err(Error::Network(format!(
            "`{name}` takes sequences, from an .npy file of an array [n, time, channels], and the data \
             are {} {data} (channels x height x width)",
            if data.is_points() { "points," } else { "images," }
        ))),
        Takes::Images if data.is_single_row() => preset(name), // which data does not fit
        _ => build(name, [channels, height.max(known.least), width.max(known.least)]),
    }
}

fn build(name: &str, input: [usize; 3]) -> Result<Network> {
    let network = Network::builder(name, input);
    if let Some(energy) = name.strip_prefix(PREFIX) {
        return network.analytic(Analytic::parse(energy).map_err(Error::Network)?).build();
    }
    let Some(preset) = find(name) else {
        let analytic = ANALYTIC.map(|energy| format!("{PREFIX}{}", energy.name()));
        let names: Vec<_> = PRESETS.iter().copied().chain(analytic.iter().map(String::as_str)).collect();
        let hint = nearest(name, &names).map_or(String::new(), |hint| format!(" {hint}"));
        let text = format!("no network is called `{name}`;{hint} Known: {}", names.join(", "));
        return Err(Error::Network(text));
    };
    (preset.network)(network).dense(1).build()
}

/// The network of a preset, or of a description in a file whose name ends in `.toml`.
///
/// # Errors
/// Those of [`preset`] and [`NetworkSpec::from_toml_file`]; [`Error::File`] for layers that do not fit together.
pub fn named(name: &str) -> Result<Network> {
    if !name.ends_with(".toml") {
        return preset(name);
    }
    NetworkSpec::from_toml_file(name)?.build().map_err(|error| Error::file(name, error.to_string()))
}

impl Recipe {
    /// The settings of a named preset; see [`PRESETS`].
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown name.
    pub fn preset(name: &str) -> Result<Self> {
        let preset = find(name).ok_or_else(|| Error::setting("preset", unknown_preset(name)))?;
        Ok((preset.recipe)(Self { preset: name.to_owned(), ..Self::base() }))
    }

    /// Takes another objective. Settings that are still the preset's take the preset's values for that objective, if it has
    /// some.
    pub(super) fn choose_objective(&mut self, objective: Objective) {
        let of = |recipe: fn(Self) -> Self| recipe(Self { preset: self.preset.clone(), ..Self::base() });
        let Some(preset) = find(&self.preset) else { return };
        let all: Vec<Self> = [preset.recipe].iter().chain(preset.others).map(|recipe| of(*recipe)).collect();
        let now = all.iter().find(|recipe| recipe.objective == self.objective);
        if let (Some(now), Some(then)) = (now, all.iter().find(|recipe| recipe.objective == objective)) {
            for spec in SETTINGS {
                if (spec.get)(self) == (spec.get)(now) {
                    (spec.put)(self, (spec.get)(then));
                }
            }
        }
        self.objective = objective;
    }

    /// The network of the recipe, for the inputs that it is known for: the described one, or else the preset's.
    ///
    /// # Errors
    /// Those of [`preset`]; [`Error::Network`] for layers that do not fit together.
    pub fn known_network(&self) -> Result<Network> {
        self.network.as_ref().map_or_else(|| preset(&self.preset), NetworkSpec::build)
    }

    /// The shipped data set that the recipe is for: points in the plane for networks of two numbers, else digits.
    pub fn default_data(&self) -> &'static str {
        let is_of_points = self.known_network().is_ok_and(|network| network.input == toy::POINT);
        if is_of_points { "five-gaussians" } else { "digits" }
    }

    /// The recipe that samples an analytic energy: MALA, whose density is exact, from uniform starts over the region of low
    /// energy. In Rosenbrock's valley chains start in the middle, as proposals from the steep sides are all rejected.
    /// Energies whose density is unbounded get a box.
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
        let base = mlp(Self::base(), 40);
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
    /// [`Error::Network`] for layers that do not fit together, and for a network without parameters.
    pub fn network(&self, data: Shape) -> Result<Network> {
        let network =
            self.network.as_ref().map_or_else(|| preset_for(&self.preset, data), NetworkSpec::build)?;
        if network.n_parameters == 0 {
            let text =
                format!("`{}` has no parameters to train; `thalweg sample` takes it as it is", network.name);
            return Err(Error::Network(text));
        }
        Ok(network)
    }
}

/// One energy for all noise levels, trained by denoising score matching and sampled by annealed Langevin dynamics. Found by
/// experiment: docs/notes/2026-11-22-recipe-search.md.
fn digits_denoising(base: Recipe) -> Recipe {
    Recipe {
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

/// The same energy, trained by denoising first and then by contrastive divergence, too, with persistent annealed chains. Found
/// by experiment: docs/notes/2026-11-30-annealed-cd.md.
fn digits(base: Recipe) -> Recipe {
    let base = digits_denoising(base);
    Recipe {
        objective: Objective::AnnealedCd,
        train: Train { steps: 5_600, ..base.train },
        chain: Chain {
            steps: 10,
            form: Form::Annealed,
            step_size: 0.05,
            stay_step_size: 0.1,
            noise: 5.0,
            noise_end: 0.5,
            course: Interpolation::Geometric,
            ..base.chain
        },
        loss: Loss { contrastive_from: 0.7, contrastive_below: 3.2, ..base.loss },
        adam: Adam { beta1: 0.0, ..base.adam },
        sample: Sample { steps: 150, step_size: 0.05, stay: 150, stay_step_size: 0.1, ..base.sample },
        ..base
    }
}

/// Recipe R2: the book's and the UvA course's variant of R1.
fn mnist_deep(base: Recipe) -> Recipe {
    Recipe {
        train: Train { epochs: 60, ..base.train },
        chain: Chain { steps: 60, ..base.chain },
        adam: Adam { beta1: 0.0, epsilon: 1e-8, gradient_norm_clip: 0.1, ..base.adam },
        schedule: Schedule { learning_rate: RateSchedule::Exponential, factor: 0.97, ..base.schedule },
        sample: Sample { steps: 256, step_size: 10.0, ..base.sample },
        ..base
    }
}

/// Recipe R3: noise last, no clip in the chain, and a penalty on the mean energies only.
fn conv_pool(base: Recipe) -> Recipe {
    Recipe {
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

/// The common part of TorchEBM's recipes for points and images: `theory` with its step of 0.01, which is half of ours, from
/// normal noise; Adam with PyTorch's epsilon; no penalty on energies.
fn torchebm(base: Recipe) -> Recipe {
    Recipe {
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
fn image_leaky(base: Recipe) -> Recipe {
    let base = torchebm(base);
    Recipe {
        objective: Objective::Cd,
        chain: Chain { clamp: 1.0, ..base.chain },
        loss: Loss { energy_l2: 0.1, ..base.loss },
        adam: Adam { learning_rate: 1e-3, gradient_norm_clip: 1.0, ..base.adam },
        ..base
    }
}

/// Recipe R5: points in the plane, with persistent chains. Unlike the source, the learning rate of 1e-3 decays to 0 over
/// fewer epochs, so that two processors learn five Gaussians in a minute by every objective (docs/objectives.md). Chains
/// start all over the box of the toy sets; from around 0, most of them would end in one mode of five.
fn mlp(base: Recipe, epochs: usize) -> Recipe {
    let base = torchebm(base);
    Recipe {
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

/// Recipe R6: short chains, as each step passes through time twice, and the source's clip of the gradient's norm.
fn sequence(base: Recipe) -> Recipe {
    Recipe {
        train: Train { batch: 64, ..base.train },
        chain: Chain { steps: 20, ..base.chain },
        adam: Adam { epsilon: 1e-8, gradient_norm_clip: 1.0, ..base.adam },
        sample: Sample { steps: 200, step_size: 10.0, ..base.sample },
        ..base
    }
}
