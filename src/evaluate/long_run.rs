//! The long-run check: chains that go on for 10 and 100 times as long as in training.
//!
//! Training sees its chains for a few steps only, so that a model may draw well at that length and be no density of images at
//! all: its chains then walk on, to images that are saturated, all alike, or noise (Nijkamp et al. 2020,
//! <https://arxiv.org/abs/1903.12370>). Energies that settle, pixels that stay like the data's, and a split R-hat near 1 with
//! many effective draws tell that they do not.
//!
//! Annealed chains ([`Form::Annealed`]) are through with their noise levels after one length, which ends without noise, and
//! then stay at the last level. From there on, what is looked at is what their images most likely blur, energies included: that
//! compares with held-out images. Before, energies are of the images with their noise, and tell nothing of how chains mix.

use super::mixing::{effective_size, split_r_hat};
use super::{Subject, figure, last_level, wrapped};
use crate::data::Images;
use crate::kernels::dynamics::Form;
use crate::plan::ChainConfig;
use crate::sampling::denoised;
use crate::{EnergyModel, Error, Result, Sampler};
use serde::Serialize;
use std::collections::BTreeSet;

/// The lengths that chains are looked at, in lengths of training.
pub const MULTIPLES: [u32; 3] = [1, 10, 100];
/// Draws of each chain that mixing is judged by, at most: at equal distances in the second half of the length.
const DRAWS: u32 = 100;
/// A value this near to a wall of the box, in shares of the bound, is saturated.
const WALL: f32 = 1e-3;

/// Chains of several lengths.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LongRun {
    /// Chains, from noise.
    pub chains: usize,
    /// Steps of a chain in training, or else in sampling.
    pub training_steps: u32,
    /// The held-out images, to compare with; NaN where there are none.
    pub held_out: LongRunMetrics,
    /// Whether chains are clamped to a box, or are of images, so that values have a wall to be at.
    pub has_wall: bool,
    /// What chains have come to, for each of [`MULTIPLES`].
    pub lengths: Vec<Length>,
    /// The chains' energies on their way.
    pub moments: Vec<Moment>,
}

/// What some images are like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LongRunMetrics {
    /// Mean energy.
    pub energy_mean: f64,
    /// Standard deviation of the energies.
    pub energy_std: f64,
    /// Mean of all values.
    pub pixel_mean: f64,
    /// Standard deviation of all values.
    pub pixel_std: f64,
    /// Share of values that lie within a thousandth of the wall they are clamped to, or beyond; of 1 where they are not
    /// clamped.
    pub saturated: f64,
    /// Share of values that are not finite; the other figures leave these out.
    pub not_finite: f64,
    /// Share of energies that are not finite.
    pub energies_not_finite: f64,
    /// Fréchet distance of the classifier's features to the held-out images'; if there is a classifier for them. Compare it
    /// with those of as many images alone ([`super::features::frechet`]).
    pub fid: Option<f64>,
}

/// Chains of one length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Length {
    /// In lengths of training.
    pub multiple: u32,
    /// Steps.
    pub steps: u32,
    /// Where the chains are.
    #[serde(flatten)]
    pub figures: LongRunMetrics,
    /// [`split_r_hat`] of the energies in the second half of the length.
    pub r_hat: f64,
    /// [`effective_size`] of these.
    pub effective_size: f64,
    /// Share of MALA's chains that have accepted no proposal so far, and are where they started; `None` of other forms.
    pub unmoved: Option<f64>,
    /// How many draws of all chains these are of; none where annealed chains are on their way through noise levels.
    pub draws: usize,
}

/// The chains' energies at one step: quantiles of those that are finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// Steps done.
    pub step: u32,
    /// A twentieth of them is lower.
    pub low: f64,
    /// Half of them.
    pub median: f64,
    /// A twentieth of them is higher.
    pub high: f64,
}

/// Runs chains as training did, and looks at them; gives the images at each length, too. `chain_config` are those of training's
/// chains ([`crate::Recipe::training_chain`]), or of sampling's where training has none; where their step size or noise
/// changed over training, as they were at its end. `fid` tells the distance of some images to the held-out ones, or that there is none for them; `progress` is told the steps
/// done so far, and how many there will be.
///
/// # Errors
/// [`Error::Usage`] for fewer than two chains, or chains of no steps in training; those of `fid`; [`Error::Device`] if the
/// device was lost.
pub async fn measure(
    subject: &Subject<'_>,
    chain_config: &ChainConfig,
    chains: usize,
    mut fid: impl AsyncFnMut(&Images) -> Result<Option<f64>>,
    mut progress: impl FnMut(u32, u32),
) -> Result<(LongRun, Vec<(u32, Images)>)> {
    let Subject { device, model, held_out, seed, .. } = *subject;
    let training_steps = chain_config.steps;
    if chains < 2 || training_steps == 0 {
        let text = format!(
            "a long run of {chains} chains, {training_steps} steps long in training, tells nothing; it takes 2 and 1"
        );
        return Err(Error::Usage(text));
    }
    let is_annealed = chain_config.form == Form::Annealed;
    let chain_config = if is_annealed { *chain_config } else { chain_config.at_end() };
    // Chains that stay at a noise level; the last step of those that go through several takes all noise away.
    let passes_levels = chain_config.at_end().noise != chain_config.noise;
    let is_level = |step: u32| {
        let is_clean = step.checked_sub(1) == Some(chain_config.final_step());
        is_annealed && (!passes_levels || step >= chain_config.levels && !is_clean)
    };
    let bound = if chain_config.clamp > 0.0 { chain_config.clamp } else { 1.0 };
    let has_wall = chain_config.clamp > 0.0 || !model.network.input.is_single_row();
    let mut energy_model = EnergyModel::new(device, model).await?;
    let held_out = figures(held_out, &energy_model.energies(held_out).await?, bound, None);

    let mut sampler = Sampler::new(device, model, chains, &chain_config, seed).await?;
    let ends: Vec<(u32, u32)> =
        MULTIPLES.iter().map(|multiple| (*multiple, training_steps.saturating_mul(*multiple))).collect();
    let last = ends[ends.len() - 1].1;
    let seen: BTreeSet<u32> = ends.iter().flat_map(|(_, end)| draws(*end)).chain(early(last)).collect();
    let (mut lengths, mut moments, mut frames) = (Vec::new(), Vec::new(), Vec::new());
    let mut energies: Vec<(u32, Vec<f32>)> = Vec::new();
    for step in seen {
        sampler.run(step - sampler.steps())?;
        let mut images = sampler.images().await?;
        if let Some((_, level)) = last_level(&chain_config).filter(|_| is_level(step)) {
            images = denoised(&mut energy_model, images, &chain_config, level).await?;
        }
        let now = energy_model.energies(&images).await?;
        progress(step, last);
        moments.push(moment(step, &now));
        energies.push((step, now));
        let Some((multiple, _)) = ends.iter().find(|(_, end)| *end == step) else { continue };
        let now = &energies[energies.len() - 1].1;
        let drawn = if is_annealed && !is_level(step) { BTreeSet::new() } else { draws(step) };
        let of_chain = |chain: usize| -> Vec<f64> {
            let own = energies.iter().filter(|(at, _)| drawn.contains(at));
            own.map(|(_, energies)| f64::from(energies[chain])).collect()
        };
        let of_chains: Vec<Vec<f64>> = (0..chains).map(of_chain).collect();
        let accepted = sampler.accepted().await?;
        let share = |counts: Vec<u32>| counts.iter().filter(|n| **n == 0).count() as f64 / chains as f64;
        lengths.push(Length {
            multiple: *multiple,
            unmoved: accepted.map(share),
            steps: step,
            figures: figures(&images, now, bound, fid(&images).await?),
            r_hat: split_r_hat(&of_chains),
            effective_size: effective_size(&of_chains),
            draws: chains * drawn.len(),
        });
        frames.push((step, images));
    }
    Ok((LongRun { chains, training_steps, held_out, has_wall, lengths, moments }, frames))
}

/// The steps that mixing is judged by: at equal distances in the second half of a length, the last one included.
fn draws(end: u32) -> BTreeSet<u32> {
    let half = end - end / 2;
    let n = DRAWS.min(half);
    (0..n).map(|i| end - (u64::from(half) * u64::from(i) / u64::from(n)) as u32).collect()
}

/// Steps for the picture: each about a tenth further than the one before.
fn early(last: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(0_u32), |step| Some(step + step / 10 + 1))
        .take_while(move |step| *step <= last)
}

fn figures(images: &Images, energies: &[f32], bound: f32, fid: Option<f64>) -> LongRunMetrics {
    let finite = || images.values.iter().copied().filter(|x| x.is_finite());
    let n = finite().count() as f64;
    let [energy_mean, energy_std] = moments_of(energies.iter().copied().filter(|e| e.is_finite()));
    let [pixel_mean, pixel_std] = moments_of(finite());
    let saturated = finite().filter(|x| x.abs() >= bound * (1.0 - WALL)).count() as f64 / n;
    let not_finite = if n == 0.0 { 1.0 } else { 1.0 - n / images.values.len() as f64 };
    let lost = energies.iter().filter(|e| !e.is_finite()).count();
    let energies_not_finite = if lost == 0 { 0.0 } else { lost as f64 / energies.len() as f64 };
    LongRunMetrics {
        energy_mean,
        energy_std,
        pixel_mean,
        pixel_std,
        saturated,
        not_finite,
        energies_not_finite,
        fid,
    }
}

/// Mean and standard deviation of the values themselves; NaN of none.
fn moments_of(values: impl Iterator<Item = f32> + Clone) -> [f64; 2] {
    let n = values.clone().count() as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / n;
    [mean, (values.map(|v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt()]
}

fn moment(step: u32, energies: &[f32]) -> Moment {
    let mut finite: Vec<f64> = energies.iter().filter(|e| e.is_finite()).map(|e| f64::from(*e)).collect();
    finite.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let place = finite.len().saturating_sub(1) as f64 * share;
        finite.get(place.round() as usize).copied().unwrap_or(f64::NAN)
    };
    Moment { step, low: at(0.05), median: at(0.5), high: at(0.95) }
}

impl std::fmt::Display for LongRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:20}{:>9}{:>11}{:>9}{:>8}{:>8}{:>8}{:>7}",
            format!("{} chains, long", self.chains),
            "steps",
            "E",
            "std",
            "value",
            "std",
            "at wall",
            "FID"
        )?;
        let figures = |f: &mut std::fmt::Formatter<'_>, name: &str, steps: &str, of: &LongRunMetrics| {
            let LongRunMetrics { energy_mean, energy_std, pixel_mean, pixel_std, saturated, fid, .. } = of;
            write!(f, "\n{name:20}{steps:>9}{:>11}", figure(*energy_mean, 3))?;
            write!(
                f,
                "{:>9}{:>8}{:>8}",
                figure(*energy_std, 2),
                figure(*pixel_mean, 3),
                figure(*pixel_std, 3)
            )?;
            let wall = if self.has_wall { format!("{:.1}%", 100.0 * saturated) } else { "-".to_owned() };
            let fid = fid.map_or("-".to_owned(), |fid| format!("{fid:.1}"));
            write!(f, "{wall:>8}{fid:>7}")
        };
        if self.held_out.not_finite < 1.0 {
            figures(f, "held out", "-", &self.held_out)?;
        }
        let name = |length: &Length| format!("{} x the recipe's", length.multiple);
        for length in &self.lengths {
            figures(f, &name(length), &length.steps.to_string(), &length.figures)?;
        }
        write!(f, "\n\n{:20}{:>9}{:>11}{:>9}", "mixing of E", "R-hat", "ESS", "draws")?;
        for length in &self.lengths {
            let Length { r_hat, effective_size, draws, .. } = length;
            match draws {
                0 => write!(f, "\n{:20}{:>9}{:>11}{:>9}", name(length), "-", "-", "-")?,
                _ => write!(f, "\n{:20}{r_hat:>9.3}{effective_size:>11.0}{draws:>9}", name(length))?,
            }
        }
        let bad = self.lengths.iter().filter(|length| length.figures.not_finite > 0.0);
        for length in bad {
            let share = 100.0 * length.figures.not_finite;
            write!(f, "\n{}: {share:.1} % of the values are not finite, and left out.", name(length))?;
        }
        for length in &self.lengths {
            if let Some(share) = length.unmoved.filter(|share| *share > 0.0) {
                write!(f, "\n{}: {:.1} % of the chains never moved.", name(length), 100.0 * share)?;
            }
        }
        if self.lengths.iter().any(|length| length.draws > 0 && length.r_hat.is_nan()) {
            let why = "R-hat and ESS are NaN where there are fewer than 4 draws of a chain, where an energy is not finite, \
                       or where all energies are the same.";
            write!(f, "\n{}", wrapped(why))?;
        }
        Ok(())
    }
}
