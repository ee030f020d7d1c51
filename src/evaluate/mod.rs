//! How good a model is: what `thalweg evaluate` measures.
//!
//! What goes where:
//!
//! * [`outliers`]: whether energies, and gradients, tell data from what is none;
//! * [`classifier`]: features and classes of images, by a small network that ships with the program;
//! * [`features`]: how alike two sets of features are;
//! * [`points`]: samples of points and sequences against held-out ones;
//! * [`samples`]: samples against held-out images, in the classifier's features and in pixels;
//! * [`ais`]: log Z and log-likelihood by annealed importance sampling;
//! * [`long_run`]: chains that go on for longer than in training;
//! * [`mixing`]: how well chains mix.
//!
//! Each measures a [`Subject`] and returns figures that serialise to JSON and have a table ([`std::fmt::Display`]) of
//! their own; [`Report`] holds them all, one field each, and the command prints it and writes it.

pub mod ais;
pub mod classifier;
pub mod features;
pub mod long_run;
pub mod mixing;
pub mod outliers;
pub mod point_metrics;
pub mod points;
pub mod samples;

use crate::data::Images;
use crate::kernels::dynamics::Form;
use crate::plan::ChainConfig;
use crate::random::{Philox, normal_of};
use crate::{Device, Model};
use ais::Annealed;
use long_run::LongRun;
use outliers::Outliers;
use points::Points;
use rand::Rng;
use samples::Samples;
use serde::Serialize;

/// What is measured, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Where everything is computed.
    pub device: &'a Device,
    /// The model.
    pub model: &'a Model,
    /// How it is sampled ([`crate::Recipe::sampling_chain`]).
    pub chain_config: &'a ChainConfig,
    /// Images, or points, of its kind that it never saw in training, of the shape of its input; none where there are no data.
    pub held_out: &'a Images,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// All figures of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The network's name.
    pub network: String,
    /// The data set's name; `None` of an energy with a formula and no data.
    pub data: Option<String>,
    /// What computed it.
    pub device: String,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Samples against held-out images; of models of images.
    pub samples: Option<Samples>,
    /// Samples against held-out points or sequences; of models of these.
    pub points: Option<Points>,
    /// Whether energies and gradients tell held-out images, or points, from others.
    pub outliers: Option<Outliers>,
    /// log Z, and log-likelihoods; if asked for.
    pub annealed: Option<Annealed>,
    /// Chains that go on for longer than in training; if asked for.
    pub long_run: Option<LongRun>,
}

/// What annealed chains ([`Form::Annealed`]) multiply an image by at their last noise level, `1 / sqrt(1 + sigma^2)`, with that
/// level; `None` of others. A model that they sample learned its energy of such images, blurred besides.
pub fn last_level(chain_config: &ChainConfig) -> Option<(f32, f32)> {
    let sigma = chain_config.at_end().noise;
    (chain_config.form == Form::Annealed).then(|| (1.0 / (1.0 + sigma * sigma).sqrt(), sigma))
}

/// Images at a noise level: `(x + sigma n) / sqrt(1 + sigma^2)`, as in training ([`crate::kernels::perturb`]).
pub fn blur(images: &mut Images, sigma: f64, rng: &mut Philox) {
    let alpha = 1.0 / (1.0 + sigma * sigma).sqrt();
    for values in images.values.chunks_mut(4) {
        let noise = normal_of([(); 4].map(|()| rng.next_u32()));
        for (x, n) in values.iter_mut().zip(noise) {
            *x = (alpha * (f64::from(*x) + sigma * f64::from(n))) as f32;
        }
    }
}

/// The numbers of `count` out of `all`, or of as many as there are, evenly spread: data may come in an order.
pub fn spread(all: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(all);
    (0..count).map(move |i| i * all / count)
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { network, data, device, seed, samples, points, outliers, annealed, long_run } = self;
        let against = data.as_ref().map_or("no data".to_owned(), |data| format!("held-out data of {data}"));
        let title = format!("`{network}` against {against}, seed {seed}, on {device}");
        write!(f, "{}", wrapped(&title))?;
        let parts: [Option<&dyn std::fmt::Display>; 5] = [
            samples.as_ref().map(|part| part as _),
            points.as_ref().map(|part| part as _),
            outliers.as_ref().map(|part| part as _),
            annealed.as_ref().map(|part| part as _),
            long_run.as_ref().map(|part| part as _),
        ];
        parts.into_iter().flatten().try_for_each(|part| write!(f, "\n\n{part}"))
    }
}

/// Text in lines of 80 characters at most, but for words that are longer.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.len() - 1;
        match lines[line].chars().count() {
            0 => lines[line] += word,
            n if n + 1 + word.chars().count() <= 80 => lines[line] += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A number with so many decimals, or in powers of ten where it would not fit a table.
fn figure(value: f64, decimals: usize) -> String {
    if value.is_finite() && value.abs() >= 1e6 {
        format!("{value:.2e}")
    } else {
        format!("{value:.decimals$}")
    }
}

/// A name in so many characters at most: its end, as folders say less than the file.
fn shortened(name: &str, most: usize) -> String {
    let n = name.chars().count();
    if n <= most {
        name.to_owned()
    } else {
        format!("...{}", name.chars().skip(n - most + 3).collect::<String>())
    }
}
