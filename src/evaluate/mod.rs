//! How good a model of images is: what `thalweg evaluate` measures.
//!
//! What goes where:
//!
//! * [`outliers`]: whether energies, and gradients, tell data from what is none;
//! * [`classifier`]: features and classes of images, by a small network that ships with the program;
//! * [`features`]: how alike two sets of features are;
//! * [`samples`]: samples against held-out images, in the classifier's features and in pixels;
//! * [`annealed`]: log Z and log-likelihood by annealed importance sampling;
//! * [`long_run`]: chains that go on for longer than in training;
//! * [`mixing`]: how well chains mix.
//!
//! Each measures a [`Subject`] and returns figures that serialise to JSON and have a table ([`std::fmt::Display`]) of
//! their own; [`Report`] holds them all, one field each, and the command prints it and writes it.

pub mod annealed;
pub mod classifier;
pub mod features;
pub mod long_run;
pub mod mixing;
pub mod outliers;
pub mod samples;

use crate::data::Images;
use crate::kernels::dynamics::Form;
use crate::plan::SamplerNumbers;
use crate::{Device, Model};
use annealed::Annealed;
use long_run::LongRun;
use outliers::Outliers;
use samples::Samples;
use serde::Serialize;

/// What is measured, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Where everything is computed.
    pub device: &'a Device,
    /// The model; its input is images.
    pub model: &'a Model,
    /// How it is sampled ([`crate::Config::sample_numbers`]).
    pub numbers: &'a SamplerNumbers,
    /// Images of its kind that it never saw in training, of the shape of its input.
    pub held_out: &'a Images,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// All figures of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The network's name.
    pub network: String,
    /// The data set's name.
    pub data: String,
    /// What computed it.
    pub device: String,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Samples against held-out images.
    pub samples: Samples,
    /// Whether energies and gradients tell held-out images from others.
    pub outliers: Outliers,
    /// log Z, and log-likelihoods; if asked for.
    pub annealed: Option<Annealed>,
    /// Chains that go on for longer than in training; if asked for.
    pub long_run: Option<LongRun>,
}

/// What annealed chains ([`Form::Annealed`]) multiply an image by at their last noise level, `1 / sqrt(1 + sigma^2)`, with that
/// level; `None` of others. A model that they sample learned its energy of such images, blurred besides.
pub fn last_level(numbers: &SamplerNumbers) -> Option<(f32, f32)> {
    let sigma = numbers.change.map_or(numbers.noise, |change| change.noise_end);
    (numbers.form == Form::Annealed).then(|| (1.0 / (1.0 + sigma * sigma).sqrt(), sigma))
}

/// The numbers of `count` out of `all`, or of as many as there are, evenly spread: data may come in an order.
pub fn spread(all: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(all);
    (0..count).map(move |i| i * all / count)
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { network, data, device, seed, samples, outliers, annealed, long_run } = self;
        write!(
            f,
            "`{network}` against held-out images of {data}, seed {seed}, on {device}\n\n{samples}\n\n{outliers}"
        )?;
        annealed.as_ref().map_or(Ok(()), |annealed| write!(f, "\n\n{annealed}"))?;
        long_run.as_ref().map_or(Ok(()), |long_run| write!(f, "\n\n{long_run}"))
    }
}
