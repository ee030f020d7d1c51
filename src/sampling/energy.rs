//! Energies of given images, and their gradients.

use super::Composition;
use crate::data::Images;
use crate::data::standard::Standard;
use crate::device::{Device, Executor};
use crate::plan::{EnergyPlan, energy_plan_of};
use crate::{Error, Result};

/// The most images that are evaluated at a time; fewer if the device can't hold what these need.
const BATCH: usize = 256;

/// Evaluates the energies of a model, or of several ([`Composition`]), on a device; lower is more likely.
#[derive(Debug)]
pub struct EnergyModel {
    executor: Executor,
    plan: EnergyPlan,
    shape: crate::data::Shape,
    at_once: usize,
    pub(crate) standard: Option<Standard>,
    /// The sum of the models' weights.
    pub(crate) weight_sum: f64,
}

impl EnergyModel {
    /// Puts a model on a device, or several.
    ///
    /// # Errors
    /// [`crate::Error::Memory`] if the device can't hold it.
    pub async fn new(device: &Device, energy: impl Into<Composition>) -> Result<Self> {
        let (composition, target) = (energy.into(), device.target(BATCH));
        let terms = composition.plan_terms(1.0);
        let make = |at_once| energy_plan_of(&terms, at_once, target);
        let (executor, plan, at_once) =
            Executor::in_shares(device, (BATCH, target.lanes), make, |plan| &plan.plan).await?;
        let (shape, standard) = (composition.input(), composition.standard().cloned());
        let mut energy =
            Self { executor, plan, shape, at_once, standard, weight_sum: composition.weight_sum() };
        energy.write_parameters(composition.terms().iter().map(|(model, _)| &model.parameters[..]))?;
        Ok(energy)
    }

    /// The shape of one example.
    pub fn shape(&self) -> crate::data::Shape {
        self.shape
    }

    /// Replaces the parameters of the only model.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] if there are several; [`crate::Error::Device`] if the device was lost.
    pub fn set_parameters(&mut self, parameters: &[f32]) -> Result<()> {
        if self.plan.sum.terms.len() > 1 {
            let text = "parameters are of one model, and this energy is of several: make it anew";
            return Err(Error::Usage(text.to_owned()));
        }
        self.write_parameters([parameters].into_iter())
    }

    fn write_parameters<'a>(&mut self, parameters: impl Iterator<Item = &'a [f32]>) -> Result<()> {
        for (pass, parameters) in self.plan.sum.terms.iter().zip(parameters) {
            self.executor.write_floats(pass.parameters, parameters);
        }
        self.executor.run(self.plan.start)
    }

    /// `E(x)` of each image; of points, in the data's units, where the network standardises them.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] if the images have other channels than the network or are larger (smaller ones are
    /// padded with -1); [`crate::Error::Device`] if the device was lost.
    pub async fn energies(&mut self, images: &Images) -> Result<Vec<f32>> {
        let mut energies = Vec::with_capacity(images.count());
        for batch in self.batches(images)? {
            let batch = batch?;
            self.write(&batch);
            self.executor.run(self.plan.energies)?;
            let n = batch.len() / self.shape.len();
            energies.extend(&self.executor.read_floats(self.plan.sum.energies).await?[..n]);
        }
        Ok(energies)
    }

    /// `E(x)` of each image, and `dE/dx` with the shape of `images`.
    ///
    /// # Errors
    /// Those of [`Self::energies`].
    pub async fn energies_and_gradients(&mut self, images: &Images) -> Result<(Vec<f32>, Images)> {
        let (from, to) = (images.shape, self.shape);
        let (top, left) = ((to.height - from.height) / 2, (to.width - from.width) / 2);
        let mut energies = Vec::with_capacity(images.count());
        let mut values = Vec::with_capacity(images.values.len());
        for batch in self.batches(images)? {
            let batch = batch?;
            self.write(&batch);
            self.executor.run(self.plan.gradients)?;
            let n = batch.len() / to.len();
            energies.extend(&self.executor.read_floats(self.plan.sum.energies).await?[..n]);
            let blocks = self.executor.read_floats(self.plan.sum.input_gradient).await?;
            let gradient = self.executor.plan().from_blocks(&blocks, n, to.channels, to.height * to.width);
            for plane in gradient.chunks_exact(to.height * to.width) {
                for row in plane.chunks_exact(to.width).skip(top).take(from.height) {
                    values.extend(&row[left..left + from.width]);
                }
            }
        }
        let mut gradients = Images { shape: from, values };
        if let Some(standard) = &self.standard {
            standard.gradient_to_data(&mut gradients);
        }
        Ok((energies, gradients))
    }

    /// The images as the network takes them, some at a time, so that a large set is not there twice.
    fn batches<'a>(&self, images: &'a Images) -> Result<impl Iterator<Item = Result<Vec<f32>>> + use<'a>> {
        let (from, to, standard) = (images.shape, self.shape, self.standard.clone());
        // No image of that shape is enough to ask.
        Images { shape: from, values: Vec::new() }.padded_to(to)?;
        Ok(images.values.chunks((self.at_once * from.len()).max(1)).map(move |values| {
            let mut batch = Images { shape: from, values: values.to_vec() }.padded_to(to)?;
            if let Some(standard) = &standard {
                standard.to_network(&mut batch);
            }
            Ok(batch.values)
        }))
    }

    fn write(&mut self, batch: &[f32]) {
        let shape = self.shape;
        let blocks = self.executor.plan().to_blocks(batch, shape.channels, shape.height * shape.width);
        self.executor.write_floats(self.plan.pass.x, &blocks);
    }
}
