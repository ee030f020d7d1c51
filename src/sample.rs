//! Samples: Langevin chains from noise or from given images.

use crate::data::standard::Standard;
use crate::data::{ImageShape, Images};
use crate::device::{Device, Machine};
use crate::kernels::State;
use crate::model::Model;
use crate::plan::{SamplerNumbers, SamplerPlan, sampler_plan};
use crate::{Error, Result};

/// Langevin steps that one run of a program may do: any number is a sum of these.
const LENGTHS: [u32; 3] = [1, 10, 100];

/// Chains on a device.
#[derive(Debug)]
pub struct Sampler {
    machine: Machine,
    plan: SamplerPlan,
    shape: ImageShape,
    standard: Option<Standard>,
    count: usize,
    state: State,
}

impl Sampler {
    /// Puts `count` chains on a device. `numbers.steps` is not used: [`Self::run`] says how many.
    ///
    /// The same `seed` gives the same chains, bit for bit, on the same device, however [`Self::run`]'s steps are
    /// shared out.
    ///
    /// # Errors
    /// [`Error::Usage`] for 0 chains; [`Error::Device`] if the device can't hold them.
    pub async fn new(
        device: &Device,
        model: &Model,
        count: usize,
        numbers: &SamplerNumbers,
        seed: u64,
    ) -> Result<Self> {
        if count == 0 {
            return Err(Error::Usage("0 samples are asked for; ask for 1 or more".to_owned()));
        }
        let target = device.chain_target(&model.network, count);
        let plan = sampler_plan(&model.network, count, numbers, &LENGTHS, target);
        let mut machine = Machine::new(device, plan.plan.clone()).await?;
        machine.write_floats(plan.pass.parameters, &model.parameters);
        machine.run(plan.start)?;
        let state = State { seed_low: seed as u32, seed_high: (seed >> 32) as u32, ..State::default() };
        let (shape, standard) = (model.network.input, model.network.standard.clone());
        let mut sampler = Self { machine, plan, shape, standard, count, state };
        sampler.write_state();
        sampler.machine.run(sampler.plan.noise)?;
        Ok(sampler)
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
        let blocks = self.machine.plan().to_blocks(&images.values, self.shape.channels, pixels);
        self.machine.write_floats(self.plan.pass.x, &blocks);
        if let Some(decisions) = self.plan.decisions {
            let zeros = vec![0.0; self.machine.plan().len_of(decisions)];
            self.machine.write_floats(decisions, &zeros);
        }
        self.state.chain_base = 0;
        self.write_state();
        Ok(())
    }

    /// Moves all chains on by some Langevin steps.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn run(&mut self, mut steps: u32) -> Result<()> {
        for (length, program) in self.plan.chains.clone().into_iter().rev() {
            while steps >= length {
                self.machine.run(program)?;
                self.state.chain_base += length;
                self.write_state();
                steps -= length;
            }
        }
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
        let blocks = self.machine.read_floats(self.plan.pass.x).await?;
        let (channels, pixels) = (self.shape.channels, self.shape.height * self.shape.width);
        let values = self.machine.plan().from_blocks(&blocks, self.count, channels, pixels);
        let mut images = Images { shape: self.shape, values };
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
        self.machine.run(self.plan.energies)?;
        let mut energies = self.machine.read_floats(self.plan.pass.energies).await?;
        energies.truncate(self.count);
        Ok(energies)
    }

    /// The share of proposals that were accepted so far: of MALA's chains, after a step.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn acceptance(&self) -> Result<Option<f64>> {
        let Some(decisions) = self.plan.decisions else { return Ok(None) };
        let blocks = self.machine.read_floats(decisions).await?;
        let counts = self.machine.plan().from_blocks(&blocks, self.count, 2, 1);
        let accepted: f64 = counts.chunks_exact(2).map(|image| f64::from(image[1])).sum();
        let proposals = self.count as f64 * f64::from(self.steps());
        Ok((proposals > 0.0).then(|| accepted / proposals))
    }

    fn write_state(&mut self) {
        self.machine.write(self.plan.state, 0, bytemuck::cast_slice(&[self.state]));
    }
}
