//! How chains ended: what is said of it, and when a command fails for it.

use super::print_line;
use thalweg::kernels::dynamics::Form;
use thalweg::plan::ChainConfig;
use thalweg::{Error, Images, Result};

/// The share of chains from which on a command fails. Fewer are warned of.
const MANY: f64 = 0.05;
/// The share of MALA's chains that never moved from which on it is warned of, beyond what luck explains.
const UNMOVED: f64 = 0.001;
/// Proposals below which chains that never moved are only warned of: it may be bad luck.
const PROPOSALS: u32 = 10;
/// A value this near to a wall of the box, in shares of the bound, is at it.
const WALL: f32 = 1e-3;

/// What settings are called in advice.
#[derive(Clone, Copy)]
pub(crate) enum Names {
    /// Options of the command: `--step-size`.
    Options,
    /// Settings of a recipe of sampling: `sample.step_size`.
    Sample,
}

impl Names {
    fn of(self, setting: &str) -> String {
        let section = match (self, setting) {
            (Self::Options, _) => return format!("--{}", setting.replace('_', "-")),
            (_, "gradient_clip" | "clamp") => "chain",
            (Self::Sample, _) => "sample",
        };
        format!("`{section}.{setting}`")
    }
}

/// Chains that have come to their end.
pub(crate) struct Ends<'a> {
    /// The numbers of their steps.
    pub chain_config: &'a ChainConfig,
    /// Steps done.
    pub steps: u32,
    /// Where they are.
    pub images: &'a Images,
    /// Their energies there.
    pub energies: &'a [f32],
    /// The energies where they started, if somebody looked.
    pub first_energies: Option<&'a [f32]>,
    /// Of MALA's chains: how many proposals each has accepted.
    pub accepted: Option<&'a [u32]>,
    /// What settings are called.
    pub names: Names,
}

impl Ends<'_> {
    /// Warns of what is wrong with some of the chains, on stderr, and fails where it is wrong with many: to be called when
    /// all files are written.
    ///
    /// # Errors
    /// [`Error::Diverged`] says what is wrong and what to change.
    pub(crate) fn check(&self) -> Result<()> {
        let mut faults = vec![self.not_finite()];
        if self.steps > 0 {
            faults.extend([self.unmoved(), self.at_wall()]);
        }
        let mut failure = None;
        for (share, text) in faults.into_iter().flatten() {
            if share > MANY && failure.is_none() {
                failure = Some(text);
            } else {
                warn(&text);
            }
        }
        if failure.is_none() && self.steps > 0 && self.are_alike() {
            warn("all samples are the same: the chains have no noise, or fall into one point");
        }
        failure.map_or(Ok(()), |text| Err(Error::Diverged(text)))
    }

    fn count(&self) -> usize {
        self.images.count()
    }

    fn not_finite(&self) -> Option<(f64, String)> {
        let images = self.images.values.chunks_exact(self.images.shape.len());
        let is_lost = |(image, e): &(&[f32], &f32)| !e.is_finite() || image.iter().any(|x| !x.is_finite());
        let lost = images.zip(self.energies).filter(is_lost).count();
        if lost == 0 {
            return None;
        }
        let starts = self.first_energies.map_or(0, |e| e.iter().filter(|e| !e.is_finite()).count());
        let text = format!(
            "{lost} of {} chains ended at values or energies that are not finite numbers; {}",
            self.count(),
            if starts >= lost {
                advice_on_starts(starts)
            } else {
                advice_on_steps(self.chain_config, self.names)
            }
        );
        Some((lost as f64 / self.count() as f64, text))
    }

    fn unmoved(&self) -> Option<(f64, String)> {
        let accepted = self.accepted?;
        let unmoved = accepted.iter().filter(|n| **n == 0).count();
        let share = unmoved as f64 / self.count() as f64;
        // Of chains that accept as many as those that moved, so many would have moved by no proposal.
        let moved = (accepted.len() - unmoved) as f64 * f64::from(self.steps);
        let rate = accepted.iter().map(|n| f64::from(*n)).sum::<f64>() / moved.max(1.0);
        let luck = if unmoved == accepted.len() { 0.0 } else { (1.0 - rate).powf(f64::from(self.steps)) };
        let step_size = self.names.of("step_size");
        let text = format!(
            "{unmoved} of {} chains ({:.1} %) never moved: all of their proposals were rejected, so they are still where they \
             started, and no draws of the density. Lower {step_size} (it is {}; try {}), or start nearer to where the energy \
             is low (--init)",
            self.count(),
            100.0 * share,
            short(self.chain_config.step_size),
            short(self.chain_config.step_size / 4.0),
        );
        let weight = if self.steps < PROPOSALS { 0.0 } else { share };
        (share > UNMOVED + 2.0 * luck).then_some((weight, text))
    }

    /// Never more than a warning: it may be right.
    fn at_wall(&self) -> Option<(f64, String)> {
        let clamp = self.chain_config.clamp;
        let edge = clamp * (1.0 - WALL);
        let images = self.images.values.chunks_exact(self.images.shape.len());
        let at_wall = images.filter(|image| image.iter().all(|x| x.abs() >= edge)).count();
        let share = at_wall as f64 / self.count() as f64;
        if clamp <= 0.0 || share <= MANY {
            return None;
        }
        let text = format!(
            "{at_wall} of {} chains ended with every value at +-{clamp}, where they are clamped: the energy falls outwards, or \
             the steps are too long. Lower {} (it is {}), or raise {}",
            self.count(),
            self.names.of("step_size"),
            short(self.chain_config.step_size),
            self.names.of("clamp"),
        );
        Some((0.0, text))
    }

    fn are_alike(&self) -> bool {
        let len = self.images.shape.len();
        let first = &self.images.values[..len.min(self.images.values.len())];
        let near = |(x, y): (&f32, &f32)| (x - y).abs() <= 1e-5 * x.abs().max(1.0);
        self.count() > 1
            && self.images.values.chunks_exact(len).all(|image| image.iter().zip(first).all(near))
    }
}

/// Warns of samples that are not finite, or fails where there are many.
///
/// # Errors
/// [`Error::Diverged`] says what to change.
pub(crate) fn check_lost(lost: usize, count: usize, chain_config: &ChainConfig, names: Names) -> Result<()> {
    let text = format!(
        "{lost} of {count} samples are at values or energies that are not finite numbers; {}",
        advice_on_steps(chain_config, names)
    );
    if are_many(lost, count) {
        return Err(Error::Diverged(text));
    }
    if lost > 0 {
        warn(&text);
    }
    Ok(())
}

fn advice_on_starts(starts: usize) -> String {
    format!(
        "{starts} had no finite energy where they started: these starts are too far out, or the model has diverged. Start \
         elsewhere (--init), or take an earlier checkpoint"
    )
}

fn advice_on_steps(n: &ChainConfig, names: Names) -> String {
    let [step_size, noise, temperature, clip, clamp] =
        ["step_size", "noise", "temperature", "gradient_clip", "clamp"].map(|name| names.of(name));
    let lower = format!("lower {step_size} by tens (it is {})", short(n.step_size));
    match n.form {
        Form::Mala => format!("{lower}, or start where the energy is finite (--init)"),
        Form::Annealed => format!(
            "the model has diverged, or was not trained for these noise levels: check {noise} (it is {}), or bound the \
             values with {clamp}",
            short(n.noise)
        ),
        Form::Theory => format!(
            "the steps are too long for this energy: {lower} or {temperature}, bound the steps with {clip} or the values \
             with {clamp}, or take --form mala, which rejects such steps"
        ),
        Form::NoiseFirst | Form::NoiseLast => format!(
            "the steps are too long for this energy: {lower}, or bound the steps with {clip} or the values with {clamp}"
        ),
    }
}

/// Says how many proposals MALA's chains accepted.
pub(crate) fn print_accepted(accepted: &[u32], steps: u32) {
    let proposals = accepted.len() as f64 * f64::from(steps);
    if proposals > 0.0 {
        let sum = accepted.iter().map(|n| f64::from(*n)).sum::<f64>();
        let unmoved = accepted.iter().filter(|n| **n == 0).count() as f64 / accepted.len() as f64;
        print_line(format_args!(
            "{:.1} % of the proposals were accepted; {:.1} % of the chains never moved.",
            100.0 * sum / proposals,
            100.0 * unmoved
        ));
    }
}

/// A number without a row of zeros.
pub(crate) fn short(x: f32) -> String {
    if x != 0.0 && !(1e-4..1e6).contains(&x.abs()) { format!("{x:e}") } else { x.to_string() }
}

/// Whether so many of all are more than a few, so that a command fails for them.
pub(crate) fn are_many(n: usize, all: usize) -> bool {
    n as f64 > MANY * all as f64
}

/// Prints a warning to stderr.
pub(crate) fn warn(text: &str) {
    super::screen::warn(format_args!("{text}."));
}
