//! Bounds on log Z and on the log-likelihood of held-out images.

use super::super::{Subject, blur, last_level, wrapped};
use super::estimate::moments;
use super::{Annealing, Base, Estimate, Settings, Settling};
use crate::data::Images;
use crate::kernels::dynamics::Form;
use crate::plan::ChainConfig;
use crate::random::{Philox, Stream};
use crate::{EnergyModel, Error, Result};
use serde::Serialize;

/// Which base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BaseKind {
    /// Of [`Self::Normal`] and another that whose pilot comes to the higher log Z: it is the nearer one to the model. The
    /// other is [`Self::Uniform`] where there is a box, which flat densities are near to, as at high temperatures; and
    /// standard normal for a density with that as a factor.
    #[default]
    Nearer,
    /// [`Base::fitted`] to training images, blurred if the density is that of blurred ones.
    Normal,
    /// [`Base::uniform`] on the box that chains are clamped to.
    Uniform,
}

/// What [`measure`] is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Temperature.
    pub temperature: f64,
    /// The base.
    pub base: BaseKind,
    /// Steps from one end to the other.
    pub steps: u32,
    /// Chains.
    pub chains: usize,
    /// Leapfrog steps of a proposal.
    pub leapfrogs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { temperature: 1.0, base: BaseKind::Nearer, steps: 1000, chains: 128, leapfrogs: 1 }
    }
}

/// A model's density, but for its constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Density {
    /// Of images as they are.
    #[serde(rename = "exp(-E/T)")]
    Plain,
    /// Of images blurred as at a noise level.
    #[serde(rename = "exp(-E/T - |x|^2/2)")]
    Blurred,
}

impl std::fmt::Display for Density {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "exp(-E/T)",
            Self::Blurred => "exp(-E/T - |x|^2/2)",
        })
    }
}

/// log Z, and the log-likelihood of held-out images. All in nats.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Annealed {
    /// The density, but for its constant.
    pub density: Density,
    /// `T` in it.
    pub temperature: f64,
    /// The base.
    pub base: String,
    /// The logarithm of its constant.
    pub base_log_z: f64,
    /// Values of an image.
    pub dimensions: usize,
    /// Steps from one end to the other.
    pub steps: u32,
    /// Chains.
    pub chains: usize,
    /// Leapfrog steps of a proposal.
    pub leapfrogs: u32,
    /// Rungs of the pilot that laid the steps out: half of them is about the path's length in standard deviations of the
    /// weight.
    pub pilot_rungs: usize,
    /// Stochastic lower bound on log Z, from the base.
    pub log_z_lower: Estimate,
    /// Stochastic upper bound on log Z, from chains that started at training images: a bound if these have come to the
    /// model's distribution.
    pub log_z_upper: Estimate,
    /// How those chains came along.
    pub settling: Settling,
    /// Of held-out images.
    pub log_likelihood: LogLikelihood,
}

/// The mean log-likelihood of images, in nats an image, as a density on the values that the network sees: of images blurred
/// as for the noise level, where the density is that of a noise level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogLikelihood {
    /// Images.
    pub count: usize,
    /// How many of them lie outside of the box, where the density is 0; the rest of the figures leave them out.
    pub outside: usize,
    /// With the upper bound on log Z.
    pub lower: f64,
    /// With the lower bound on log Z.
    pub upper: f64,
    /// Standard error over images of the mean of `-E1`, which both have.
    pub standard_error: f64,
    /// `lower` in bits a value.
    pub lower_bits: f64,
    /// `upper` in bits a value.
    pub upper_bits: f64,
}

/// The temperature of the density that chains tend to in the limit of small steps: their own in the forms that have one;
/// in the others `noise^2 / (2 step_size)`, as `x - step_size g + noise n` is a step of `theory` of twice that size. A clip of
/// the gradient is not seen. Of annealed chains it is the last noise level, at which `exp(-E/T - |x|^2/2)` is the density of
/// those whose own temperature is 1. `None` where that is 0.
pub fn temperature_of(chain_config: &ChainConfig) -> Option<f64> {
    let temperature = match chain_config.form {
        Form::Theory | Form::Mala => f64::from(chain_config.temperature),
        Form::NoiseFirst | Form::NoiseLast => {
            f64::from(chain_config.noise).powi(2) / (2.0 * f64::from(chain_config.step_size))
        }
        Form::Annealed => last_level(chain_config)?.1.into(),
    };
    (temperature > 0.0 && temperature.is_finite()).then_some(temperature)
}

/// Bounds on a model's log Z, and on the log-likelihood of held-out images. The density lives in the box that the model's
/// chains are clamped to, if they are. The base is fitted to `train`, and chains of the way back start at its first images,
/// again and again if there are too few. `progress` is told what begins.
///
/// # Errors
/// Those of [`Annealing`]; [`Error::Usage`] where there is no box for a uniform base, no training image, or
/// one that does not fit the network.
pub async fn measure(
    subject: &Subject<'_>,
    train: &Images,
    options: &Options,
    mut progress: impl FnMut(&'static str),
) -> Result<Annealed> {
    let Subject { device, model, chain_config, held_out, seed } = *subject;
    let Options { temperature, steps, chains, leapfrogs, .. } = *options;
    // Blurred images do not stay in a box.
    let tilted = chain_config.form == Form::Annealed;
    let bound = if chain_config.clamp > 0.0 && !tilted { chain_config.clamp } else { f32::INFINITY };
    let (input, mut train, mut held_out) =
        (model.network.input, train.padded_to(model.network.input)?, held_out.clone());
    if train.count() == 0 {
        return Err(Error::Usage("annealed importance sampling: there are no training images".to_owned()));
    }
    if tilted {
        let mut rng = Philox::new(seed, Stream::ScoreNoise);
        for images in [&mut held_out, &mut train] {
            blur(images, temperature, &mut rng);
        }
    }
    let fitted = || Base::fitted(&train, bound);
    let bases = match options.base {
        BaseKind::Nearer if tilted => {
            let (mean, variance) = (vec![0.0; input.len()], vec![1.0; input.len()]);
            vec![fitted(), Base::normal(input, mean, variance, bound)]
        }
        BaseKind::Nearer if bound.is_finite() => vec![fitted(), Base::uniform(input, bound)],
        BaseKind::Nearer | BaseKind::Normal => vec![fitted()],
        BaseKind::Uniform if bound.is_finite() => vec![Base::uniform(input, bound)],
        BaseKind::Uniform => {
            let text = "the model's density does not live in a box, as chains that are clamped do, so no uniform density \
                        can be the base of annealed importance sampling; take the normal one";
            return Err(Error::Usage(text.to_owned()));
        }
    };
    let settings = Settings { temperature, tilted, steps, chains, leapfrogs, seed };
    progress("pilots from the base to the model");
    let mut nearest: Option<Annealing> = None;
    for base in bases {
        let annealing = Annealing::new(device, model, base, settings).await?;
        if nearest.as_ref().is_none_or(|nearest| annealing.pilot_log_z > nearest.pilot_log_z) {
            nearest = Some(annealing);
        }
    }
    let Some(mut annealing) = nearest else { unreachable!("there is a base") };
    progress("from the base to the model");
    let forward = annealing.forward().await?;
    progress("chains from training images");
    let d = train.shape.len();
    let starts: Vec<f32> =
        train.values.iter().cycle().take(chains * d).map(|x| x.clamp(-bound, bound)).collect();
    let (draws, settling) = annealing.settle(&Images { shape: train.shape, values: starts }).await?;
    progress("back to the base");
    let reverse = annealing.reverse(&draws).await?;
    let (log_z_lower, log_z_upper) = (annealing.lower(&forward), annealing.upper(&reverse));

    let energies = EnergyModel::new(device, model).await?.energies(&held_out).await?;
    let is_inside = |image: &[f32]| image.iter().all(|x| x.abs() <= bound);
    let images = held_out.values.chunks_exact(held_out.shape.len());
    let inside = energies.iter().zip(images).filter(|(_, image)| is_inside(image));
    let tilt = |image: &[f32]| match tilted {
        true => image.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 2.0,
        false => 0.0,
    };
    let logs: Vec<f64> =
        inside.map(|(energy, image)| -f64::from(*energy) / temperature - tilt(image)).collect();
    let (n, mean) = (logs.len() as f64, logs.iter().sum::<f64>() / logs.len() as f64);
    let (lower, upper) = (mean - log_z_upper.log_z, mean - log_z_lower.log_z);
    let bits = |nats: f64| nats / std::f64::consts::LN_2 / d as f64;
    let log_likelihood = LogLikelihood {
        count: energies.len(),
        outside: energies.len() - logs.len(),
        lower,
        upper,
        standard_error: moments(&logs).map_or(f64::NAN, |[_, deviation]| deviation / n.sqrt()),
        lower_bits: bits(lower),
        upper_bits: bits(upper),
    };
    Ok(Annealed {
        density: if tilted { Density::Blurred } else { Density::Plain },
        temperature,
        base: annealing.base.describe(),
        base_log_z: annealing.base.log_z(),
        dimensions: d,
        steps,
        chains,
        leapfrogs,
        pilot_rungs: annealing.pilot.len() - 1,
        log_z_lower,
        log_z_upper,
        settling,
        log_likelihood,
    })
}

impl std::fmt::Display for Annealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { density, temperature, base, dimensions, steps, chains, leapfrogs, settling, .. } = self;
        let is_blurred = *density == Density::Blurred;
        let level = if is_blurred { "noise level" } else { "temperature" };
        writeln!(f, "{density} / Z at {level} T = {temperature:.4e}, {dimensions} values;")?;
        writeln!(f, "annealed over {steps} steps of {leapfrogs} leapfrog steps, {chains} chains;")?;
        writeln!(f, "base {base}")?;
        writeln!(f, "{:26}{:>14}{:>10}{:>9}{:>10}{:>8}", "nats", "", "+-", "chains", "accepted", "least")?;
        let upper = if self.upper_holds() { "log Z, upper bound" } else { "log Z, back: NO bound" };
        let bounds = [("log Z, lower bound", &self.log_z_lower), (upper, &self.log_z_upper)];
        for (name, e) in bounds {
            let Estimate { log_z, standard_error, effective_chains, acceptance, least_acceptance } = e;
            let (mean, least) = (100.0 * acceptance, 100.0 * least_acceptance);
            writeln!(
                f,
                "{name:26}{log_z:>14.3}{standard_error:>10.3}{effective_chains:>9.1}{mean:>9.1}%{least:>7.1}%"
            )?;
        }
        let LogLikelihood { count, outside, lower, upper, standard_error, lower_bits, upper_bits } =
            &self.log_likelihood;
        if *count > 0 {
            let name = if is_blurred { "log-likelihood, blurred" } else { "log-likelihood, held out" };
            let bound = if self.upper_holds() { "lower bound" } else { "NO bound" };
            for (value, bound, bits) in [(lower, bound, lower_bits), (upper, "upper bound", upper_bits)] {
                writeln!(f, "{name:26}{value:>14.3}{standard_error:>10.3}  {bound}, {bits:.4} bits/value")?;
            }
        }
        if *outside > 0 {
            writeln!(
                f,
                "{}",
                wrapped(&format!(
                    "{outside} of {count} held-out examples lie outside of the box, and are left out."
                ))
            )?;
        }
        let Settling { steps, acceptance, first_energy, last_energy, r_hat, .. } = settling;
        let from = if *count > 0 { "training data" } else { "the model's own samples" };
        writeln!(f, "Chains from {from}, {steps} steps, {:.1} % accepted:", 100.0 * acceptance)?;
        writeln!(f, "mean exponent {first_energy:.3} to {last_energy:.3}, its R-hat is {r_hat:.3}, so that")?;
        let so = if self.upper_holds() {
            "the upper bound on log Z is one.".to_owned()
        } else {
            format!(
                "they are not the model's own, and what comes back from them is NO bound: take a higher {level}, or more \
                 steps."
            )
        };
        write!(f, "{}", wrapped(&so))
    }
}

/// R-hat of chains that have come to one distribution, at most (Gelman et al. 2013, section 11.4).
const MOST_R_HAT: f64 = 1.1;

impl Annealed {
    /// Whether the chains that the upper bound on log Z began with had come to one distribution.
    pub fn upper_holds(&self) -> bool {
        self.settling.r_hat < MOST_R_HAT // NaN is not
    }
}
