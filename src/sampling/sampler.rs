//! Samples: Langevin chains from noise or from given images.

use super::Composition;
use crate::data::standard::Standard;
use crate::data::{Images, Shape};
use crate::device::{Device, Executor};
use crate::kernels::State;
use crate::kernels::dynamics::Form;
use crate::plan::{ChainConfig, SamplerPlan, Share, sampler_plan_of};
use crate::{EnergyModel, Error, Result};

/// Langevin steps that one run of a program may do: any number is a sum of these.
const LENGTHS: [u32; 3] = [1, 10, 100];

/// Chains on a device.
#[derive(Debug)]
pub struct Sampler {
    executor: Executor,
    plan: SamplerPlan,
    shape: Shape,
    standard: Option<Standard>,
    count: usize,
    state: State, // of the first share
}

impl Sampler {
    /// Puts `count` chains on a device. `chain_config.steps` is not used: [`Self::run`] says how many.
    ///
    /// The same `seed` gives the same chains, bit for bit, on the same device, however [`Self::run`]'s steps are
    /// shared out. Where the device can't hold what all chains need at a time, they take turns, to the same bits.
    ///
    /// `energy` is a [`crate::Model`], or several as a [`Composition`]; chains of several run by layers.
    ///
    /// # Errors
    /// [`Error::Usage`] for 0 chains, or weights of models that annealed chains do not sample ([`Composition`]);
    /// [`Error::Memory`] if the device can't hold even a few.
    pub async fn new(
        device: &Device,
        energy: impl Into<Composition>,
        count: usize,
        chain_config: &ChainConfig,
        seed: u64,
    ) -> Result<Self> {
        Self::build(device, &energy.into(), (count, false), chain_config, seed).await
    }

    /// [`Self::new`], with a place for what is known of the images, if it is to be held.
    pub(super) async fn build(
        device: &Device,
        composition: &Composition,
        (count, holds): (usize, bool),
        chain_config: &ChainConfig,
        seed: u64,
    ) -> Result<Self> {
        if count == 0 {
            return Err(Error::Usage("0 samples are asked for; ask for 1 or more".to_owned()));
        }
        let (chain_config, scale) = composition.chains(chain_config)?;
        let terms = composition.plan_terms(scale);
        let target = match composition.alone() {
            Some(model) if !holds => device.chain_target(&model.network, count),
            _ => device.target(count),
        };
        let make =
            |at_once| sampler_plan_of(&terms, (count, at_once), &chain_config, (&LENGTHS, holds), target);
        let (mut executor, plan, _) =
            Executor::in_shares(device, (count, target.lanes), make, |plan| &plan.plan).await?;
        for (pass, (model, _)) in plan.sum.terms.iter().zip(composition.terms()) {
            executor.write_floats(pass.parameters, &model.parameters);
        }
        executor.run(plan.start)?;
        let state = State { seed_low: seed as u32, seed_high: (seed >> 32) as u32, ..State::default() };
        executor.write(plan.state, 0, bytemuck::cast_slice(&[state]));
        let (shape, standard) = (composition.input(), composition.standard().cloned());
        let mut sampler = Self { executor, plan, shape, standard, count, state };
        sampler.in_turn(|executor, plan, _, _| executor.run(plan.noise))?;
        Ok(sampler)
    }

    /// Does something with each share, which is in the plan's buffers meanwhile, with its state.
    fn in_turn(
        &mut self,
        mut work: impl FnMut(&mut Executor, &SamplerPlan, &Share, State) -> Result<()>,
    ) -> Result<()> {
        for share in &self.plan.shares {
            let state = begin_turn(&mut self.executor, &self.plan, share, self.state)?;
            work(&mut self.executor, &self.plan, share, state)?;
            if let Some(turn) = share.turn {
                self.executor.run(turn.store)?;
            }
        }
        Ok(())
    }

    /// Begins anew from given images, one for each chain; they begin from noise otherwise. Points are in the data's units,
    /// where the network standardises them.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is not one image for each chain, or they do not fit the network.
    pub fn start_from(&mut self, images: &Images) -> Result<()> {
        if images.count() != self.count {
            let (n, count) = (images.count(), self.count);
            return Err(Error::Usage(format!("{n} images to begin {count} chains from")));
        }
        let mut images = images.padded_to(self.shape)?;
        if let Some(standard) = &self.standard {
            standard.to_network(&mut images);
        }
        let pixels = self.shape.height * self.shape.width;
        for share in &self.plan.shares {
            let (plan, of_image) = (self.executor.plan(), self.shape.len());
            let values = &images.values[share.images.start * of_image..share.images.end * of_image];
            let blocks = plan.to_blocks(values, self.shape.channels, pixels);
            let decisions =
                self.plan.decisions.map(|_| (share.kept[1], vec![0.0; plan.len_of(share.kept[1])]));
            self.executor.write_floats(share.kept[0], &blocks);
            if let Some((kept, zeros)) = decisions {
                self.executor.write_floats(kept, &zeros);
            }
        }
        self.state.chain_base = 0;
        self.executor.write(self.plan.state, 0, bytemuck::cast_slice(&[self.state]));
        Ok(())
    }

    /// Sets what is known of the images, one for each chain, and of which values it is known: where `mask`, of one image, is not
    /// 0. For samplers that were built to hold it.
    pub(super) fn set_known(&mut self, images: &Images, mask: &Images) {
        let Some(known) = self.plan.known else { return };
        let mut images = images.clone();
        if let Some(standard) = &self.standard {
            standard.to_network(&mut images);
        }
        let (channels, of_image) = (self.shape.channels, self.shape.len());
        let pixels = self.shape.height * self.shape.width;
        let features = (0..of_image).map(|f| mask.values[f % channels * pixels + f / channels]);
        self.executor.write_floats(known.mask, &features.collect::<Vec<_>>());
        for share in &self.plan.shares {
            let values = &images.values[share.images.start * of_image..share.images.end * of_image];
            let blocks = self.executor.plan().to_blocks(values, channels, pixels);
            self.executor.write_floats(share.kept[share.kept.len() - 1], &blocks);
        }
    }

    /// Moves all chains on by some Langevin steps.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn run(&mut self, steps: u32) -> Result<()> {
        self.in_turn(|executor, plan, _, mut state| {
            let end = state.chain_base + steps;
            for (length, program) in plan.chains.iter().rev() {
                while end - state.chain_base >= *length {
                    executor.run(*program)?;
                    state.chain_base += length;
                    executor.write(plan.state, 0, bytemuck::cast_slice(&[state]));
                }
            }
            Ok(())
        })?;
        self.state.chain_base += steps;
        Ok(())
    }

    /// Langevin steps done so far.
    pub fn steps(&self) -> u32 {
        self.state.chain_base
    }

    /// Where the chains are; points are in the data's units, where the network standardises them.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn images(&self) -> Result<Images> {
        let (channels, pixels) = (self.shape.channels, self.shape.height * self.shape.width);
        let mut images = Images { shape: self.shape, values: self.read_kept(0, channels, pixels).await? };
        if let Some(standard) = &self.standard {
            standard.to_data(&mut images);
        }
        Ok(images)
    }

    /// The energies of where the chains are.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn energies(&mut self) -> Result<Vec<f32>> {
        let mut energies = Vec::with_capacity(self.count);
        for share in &self.plan.shares {
            begin_turn(&mut self.executor, &self.plan, share, self.state)?;
            self.executor.run(self.plan.energies)?;
            energies.extend(&self.executor.read_floats(self.plan.sum.energies).await?[..share.images.len()]);
        }
        Ok(energies)
    }

    /// The share of proposals that were accepted so far: of MALA's chains, after a step.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn acceptance(&self) -> Result<Option<f64>> {
        let Some(accepted) = self.accepted().await? else { return Ok(None) };
        let proposals = self.count as f64 * f64::from(self.steps());
        Ok((proposals > 0.0).then(|| accepted.iter().map(|n| f64::from(*n)).sum::<f64>() / proposals))
    }

    /// How many of its proposals each of MALA's chains has accepted so far. One that has accepted none is where it started,
    /// and no draw of the density, however high the mean is.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn accepted(&self) -> Result<Option<Vec<u32>>> {
        if self.plan.decisions.is_none() {
            return Ok(None);
        }
        let counts = self.read_kept(1, 2, 1).await?;
        let fresh = self.steps() == 0; // the counts are what the memory held
        Ok(Some(counts.chunks_exact(2).map(|image| if fresh { 0 } else { image[1] as u32 }).collect()))
    }

    /// Reads what shares keep, their `number`th buffer: `[image][channel][pixel]`.
    async fn read_kept(&self, number: usize, channels: usize, pixels: usize) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(self.count * channels * pixels);
        for share in &self.plan.shares {
            let blocks = self.executor.read_floats(share.kept[number]).await?;
            values.extend(self.executor.plan().from_blocks(&blocks, share.images.len(), channels, pixels));
        }
        Ok(values)
    }
}

/// Brings a share into the plan's buffers, and tells its state. Where there is one share it is there.
fn begin_turn(executor: &mut Executor, plan: &SamplerPlan, share: &Share, state: State) -> Result<State> {
    let Some(turn) = share.turn else { return Ok(state) };
    let state = State { first_image: share.images.start as u32, ..state };
    executor.write(plan.state, 0, bytemuck::cast_slice(&[state]));
    executor.run(turn.load)?;
    Ok(state)
}

/// The noise level that annealed chains ([`Form::Annealed`]) are at after so many steps, before the next; `None` of others.
pub fn noise_level(chain_config: &ChainConfig, steps: u32) -> Option<f32> {
    let (end, levels) =
        (chain_config.at_end().noise, if chain_config.changes() { chain_config.levels } else { 1 });
    let t = (f64::from(steps) / f64::from(levels.saturating_sub(1).max(1))).min(1.0);
    let level =
        f64::from(chain_config.noise) * (t * (f64::from(end) / f64::from(chain_config.noise)).ln()).exp();
    (chain_config.form == Form::Annealed).then_some(level as f32)
}

/// What images at a noise level of annealed chains most likely blur, `alpha x - s dE/dx`: see [`Form::Annealed`]. Of several
/// models the gradient is the weighted mean's. The
/// gradient and the result are clipped and clamped as the chains' are. Points come and go in the data's units; the formula holds
/// for those of the network, where it standardises them.
///
/// # Errors
/// Those of [`EnergyModel::energies_and_gradients`].
pub async fn denoised(
    model: &mut EnergyModel,
    mut images: Images,
    chain_config: &ChainConfig,
    level: f32,
) -> Result<Images> {
    let alpha = 1.0 / (1.0 + level * level).sqrt();
    let or_infinite = |limit: f32| if limit > 0.0 { limit } else { f32::INFINITY };
    let (clip, bound) = (or_infinite(chain_config.gradient_clip), or_infinite(chain_config.clamp));
    let (_, mut gradients) = model.energies_and_gradients(&images).await?;
    if let Some(standard) = &model.standard {
        standard.to_network(&mut images);
        standard.gradient_to_network(&mut gradients);
    }
    for (x, g) in images.values.iter_mut().zip(&gradients.values) {
        let g = (f64::from(*g) / model.weight_sum) as f32;
        *x = (alpha * *x - level * alpha * g.clamp(-clip, clip)).clamp(-bound, bound);
    }
    if let Some(standard) = &model.standard {
        standard.to_data(&mut images);
    }
    Ok(images)
}
