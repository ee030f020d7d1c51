//! The objectives that tell data images from noise of a known law and need no chains: their buffers, and the launches that use
//! them. Blocks are those of the data images, then as many of each image's first negative, its second one, and so on.

use super::score_pass::Batch;
use super::{BufferId, Launch, NetworkPass, Plan};
use crate::data::gaussian::FULL_COVARIANCE;
use crate::kernels::discrepancy_loss::DiscrepancyLoss;
use crate::kernels::draw_around::DrawAround;
use crate::kernels::draw_gaussian::{DrawGaussian, gaussian_len};
use crate::kernels::gaussian_density::GaussianDensity;
use crate::kernels::nce_loss::NceLoss;
use crate::recipe::NoiseObjective;
use std::ops::Range;

/// The buffers of an objective that tells data from noise.
#[derive(Clone, Debug)]
pub struct NoisePass {
    objective: NoiseObjective,
    /// Of noise-contrastive estimation.
    pub gaussian: Option<GaussianBuffers>,
}

/// The density that negatives are drawn from.
#[derive(Clone, Copy, Debug)]
pub struct GaussianBuffers {
    /// [`crate::data::gaussian::Gaussian::floats`].
    pub gaussian: BufferId,
    /// The logarithm of its density at each image, `[block][lane]`.
    pub log_density: BufferId,
}

impl NoisePass {
    /// Adds the objective's buffers to a plan.
    pub(super) fn new(plan: &mut Plan, features: usize, objective: NoiseObjective) -> Self {
        let gaussian = matches!(objective, NoiseObjective::Contrastive { .. }).then(|| GaussianBuffers {
            gaussian: plan.flat("gaussian", gaussian_len(features, features <= FULL_COVARIANCE)),
            log_density: plan.per_block("log density of noise", 1),
        });
        Self { objective, gaussian }
    }

    /// Draws the negatives to all blocks behind those of the data images, which are there.
    pub(super) fn draw(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        state: BufferId,
        batch: Batch,
        negative_blocks: &Range<u32>,
    ) {
        let (lanes, features) = (pass.lanes(), pass.features());
        let Batch { batch, n_images, .. } = batch;
        match (self.objective, self.gaussian) {
            (NoiseObjective::Discrepancy { negatives, noise, .. }, _) => {
                let kernel = DrawAround { lanes, features, batch, n_images, negatives, noise };
                launches.push(Launch::whole(kernel, &[state, pass.x]));
            }
            (NoiseObjective::Contrastive { .. }, Some(own)) => {
                let kernel = DrawGaussian { lanes, features, batch, full: features <= FULL_COVARIANCE };
                let bindings = [state, own.gaussian, pass.x];
                launches.push(Launch::per_block(kernel, negative_blocks, &bindings));
            }
            (NoiseObjective::Contrastive { .. }, None) => unreachable!("it has buffers"),
        }
    }

    /// From the images in the network's `x` to the loss and its gradient with respect to the energies of all `blocks`.
    pub(super) fn loss(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        (state, metrics): (BufferId, BufferId),
        batch: Batch,
        blocks: &Range<u32>,
    ) {
        let (lanes, features) = (pass.lanes(), pass.features());
        let Batch { batch, n_images, metric_rows } = batch;
        pass.forward(launches, blocks);
        match (self.objective, self.gaussian) {
            (NoiseObjective::Discrepancy { negatives, weight, .. }, _) => {
                let kernel = DiscrepancyLoss { lanes, batch, n_images, metric_rows, negatives, weight };
                let bindings = [state, pass.energies, pass.grad_energies, metrics];
                launches.push(Launch::whole(kernel, &bindings));
            }
            (NoiseObjective::Contrastive { negatives, .. }, Some(own)) => {
                let kernel = GaussianDensity { lanes, features, full: features <= FULL_COVARIANCE };
                launches.push(Launch::per_block(kernel, blocks, &[own.gaussian, pass.x, own.log_density]));
                let kernel = NceLoss { lanes, batch, n_images, metric_rows, negatives };
                let bindings = [state, pass.energies, own.log_density, pass.grad_energies, metrics];
                launches.push(Launch::whole(kernel, &bindings));
            }
            (NoiseObjective::Contrastive { .. }, None) => unreachable!("it has buffers"),
        }
    }
}
