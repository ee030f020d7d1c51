//! Draws of a model given something: the rest of an image of which a part is known, and the image under a noisy one.

use super::{Composition, Sampler};
use crate::data::Images;
use crate::device::Device;
use crate::kernels::dynamics::Form;
use crate::plan::ChainConfig;
use crate::recipe::Interpolation;
use crate::{Error, Result};

impl Sampler {
    /// Chains that complete images: `draws` of each of `images`, those of the first image first. Of each example the values
    /// that `mask` (`[channel][row][column]`, as an example has) names are known. They keep their place in every step, on the
    /// device; in [`Form::Annealed`] they are blurred to the noise level that the chain is at, with fresh noise in each step
    /// (Song et al. 2021, <https://arxiv.org/abs/2011.13456>, appendix I.2). [`Self::run`] with `chain_config.steps` moves the
    /// rest.
    ///
    /// What chains of the other forms tend to is the model's density given the known values. Annealed ones tend to it as
    /// the noise level falls to 0 and as they stay there.
    ///
    /// Images that are smaller than the model's are padded with -1, which is known.
    ///
    /// # Errors
    /// [`Error::Usage`] for no images or draws, images that do not fit the model, and a mask of another length, with
    /// nothing or everything known; those of [`Self::new`].
    pub async fn inpainting(
        device: &Device,
        energy: impl Into<Composition>,
        (images, mask): (&Images, &[bool]),
        draws: usize,
        chain_config: &ChainConfig,
        seed: u64,
    ) -> Result<Self> {
        let known = mask.iter().filter(|known| **known).count();
        let refuse = |text: String| Err(Error::Usage(text));
        if mask.len() != images.shape.len() {
            let (n, shape) = (mask.len(), images.shape);
            return refuse(format!(
                "a mask of {n} values for examples of {shape}: it has to say of each whether it is known"
            ));
        }
        if known == 0 || known == mask.len() {
            let what = if known == 0 {
                "nothing is known: `sample` draws whole examples"
            } else {
                "all is known already"
            };
            return refuse(format!("the mask leaves nothing to complete: {what}"));
        }
        let mask = mask.iter().map(|known| f32::from(u8::from(*known))).collect();
        let mask = Images { shape: images.shape, values: mask };
        let composition = energy.into();
        let repeated = repeated(images, draws).padded_to(composition.input())?;
        let count = (repeated.count(), true);
        let mut sampler = Self::build(device, &composition, count, chain_config, seed).await?;
        sampler.set_known(&repeated, &mask.padded_to(composition.input())?);
        Ok(sampler)
    }

    /// Chains that denoise: `draws` of each of `noisy`, images with normal noise of standard deviation `chain_config.noise` in
    /// each value, those of the first image first. They start at the noisy image, and [`Self::run`] with `chain_config.steps`
    /// leads them down from its noise level; [`denoising_chain`] makes such a `chain_config`. The mean of many draws is the
    /// model's estimate of the image with the least squared error.
    ///
    /// # Errors
    /// [`Error::Usage`] for no images or draws, images that do not fit the model, and a form without noise levels; those of
    /// [`Self::new`].
    pub async fn denoising(
        device: &Device,
        energy: impl Into<Composition>,
        noisy: &Images,
        draws: usize,
        chain_config: &ChainConfig,
        seed: u64,
    ) -> Result<Self> {
        check_annealed(chain_config)?;
        let composition = energy.into();
        let mut images = repeated(noisy, draws).padded_to(composition.input())?;
        if composition.standard().is_some() {
            let text = "noise of one standard deviation is denoised in images alone, and this model standardises its points";
            return Err(Error::Usage(text.to_owned()));
        }
        let alpha = 1.0 / (1.0 + chain_config.noise * chain_config.noise).sqrt();
        images.values.iter_mut().for_each(|x| *x *= alpha);
        let mut sampler = Self::new(device, composition, images.count(), chain_config, seed).await?;
        sampler.start_from(&images)?;
        Ok(sampler)
    }
}

/// The part of annealed chains from a noise level on, in which each step takes as much noise away, and adds as much anew, as
/// the reverse of blurring does (ancestral sampling, Ho et al. 2020, <https://arxiv.org/abs/2006.11239>): the chains do not
/// forget where they started, as they would with longer steps, and their ends are draws of the images under the noisy one.
///
/// With levels a factor `r` apart that is a step size of `(1 - r^2)/2`. `steps`: how many; `None` for as many as `chain_config`
/// has from that level on. A level at or below its last one takes a single step, to the estimate of the clean image.
///
/// # Errors
/// [`Error::Usage`] for a form without noise levels, a level that is not above 0, and 0 steps.
pub fn denoising_chain(chain_config: &ChainConfig, level: f32, steps: Option<u32>) -> Result<ChainConfig> {
    check_annealed(chain_config)?;
    if !(level > 0.0 && level.is_finite()) || steps == Some(0) {
        return Err(Error::Usage(format!(
            "denoising starts at a noise level above 0 and takes 1 step or more: the level is {level}{}",
            steps.map_or(String::new(), |steps| format!(", the steps are {steps}"))
        )));
    }
    let [start, end] = [chain_config.noise, chain_config.at_end().noise].map(f64::from);
    let way = (f64::from(level) / end).ln();
    let own = f64::from(chain_config.levels) * way / (start / end).ln().max(f64::MIN_POSITIVE);
    let steps = if way <= 0.0 { 1 } else { steps.unwrap_or((own.round() as u32).max(2)) };
    // A chain of one level has no last step, so its end is put a little below its start.
    let end = if steps == 1 { level * 0.999 } else { end as f32 };
    let ratio = (f64::from(end) / f64::from(level)).powf(1.0 / f64::from(steps.max(2) - 1));
    Ok(ChainConfig {
        steps,
        levels: steps,
        noise: level,
        noise_end: end,
        interpolation: Interpolation::Geometric,
        step_size: (0.5 * (1.0 - ratio * ratio)) as f32,
        step_size_end: 0.0,
        stay: Some(0),
        stay_step_size: 0.0,
        ..*chain_config
    })
}

/// The mean over each `draws` examples in turn, and their standard deviation (of these, no estimate for more of them: 0 of
/// one); both have an example for each.
pub fn mean_and_deviation(images: &Images, draws: usize) -> [Images; 2] {
    let (d, n) = (images.shape.len(), draws as f64);
    let [mut mean, mut deviation] = [(); 2].map(|()| Images { shape: images.shape, values: Vec::new() });
    for draws in images.values.chunks_exact(draws * d) {
        for value in 0..d {
            let of = || draws.iter().skip(value).step_by(d).map(|v| f64::from(*v));
            let centre = of().sum::<f64>() / n;
            mean.values.push(centre as f32);
            deviation.values.push((of().map(|v| (v - centre).powi(2)).sum::<f64>() / n).sqrt() as f32);
        }
    }
    [mean, deviation]
}

/// Each example so many times, one after the other.
fn repeated(images: &Images, draws: usize) -> Images {
    let values = images.values.chunks_exact(images.shape.len().max(1));
    let values = values.flat_map(|image| std::iter::repeat_n(image, draws).flatten().copied()).collect();
    Images { shape: images.shape, values }
}

fn check_annealed(chain_config: &ChainConfig) -> Result<()> {
    if chain_config.form == Form::Annealed {
        return Ok(());
    }
    Err(Error::Usage(
        "denoising takes a model of noise levels, whose chains are `annealed` (the preset `digits`, or any with \
         score.target=velocity), and this one is of none"
            .to_owned(),
    ))
}
