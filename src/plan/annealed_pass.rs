//! Contrastive divergence with a pool of persistent annealed chains: its buffers, and the launches that use them.

use super::{BufferId, ChainConfig, Launch, METRIC_ROWS, NetworkPass, Plan};
use crate::kernels::annealed_loss::{AnnealedLoss, BAND_METRICS};
use crate::kernels::blur_at_levels::BlurAtLevels;
use crate::kernels::draw_pool::{DrawPool, Pool};
use crate::kernels::image_variance::ImageVariance;
use crate::kernels::push_pool::PushPool;
use crate::recipe::Loss;
use std::ops::Range;

/// What a training step of `annealed-cd` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Denoises.
    Denoise,
    /// Denoises, and moves the chains of the pool, for them to arrive at their levels.
    Walk,
    /// Moves the chains and lowers the contrastive divergence, beside denoising.
    Contrast,
}

/// The pool's buffers.
#[derive(Clone, Debug)]
pub struct AnnealedPass {
    pool: Pool,
    config: ChainConfig,
    /// The level of each chain of the pool, `[slot]`.
    pub pool_levels: BufferId,
    /// The level that each chain of the batch begins the step at, `[block][lane]`.
    pub levels: BufferId,
    variances: BufferId,
    /// Rows of [`BAND_METRICS`] floats; step `s` writes row `s mod METRIC_ROWS`.
    pub bands: BufferId,
}

impl AnnealedPass {
    /// Adds the buffers to a plan.
    pub(super) fn new(plan: &mut Plan, pool: Pool, config: ChainConfig) -> Self {
        Self {
            pool,
            config,
            pool_levels: plan.flat("pool's levels", pool.chains as usize),
            levels: plan.per_block("levels", 1),
            variances: plan.per_block("variances", 1),
            bands: plan.flat("bands", METRIC_ROWS as usize * BAND_METRICS),
        }
    }

    /// Draws the chains that the step moves, to `blocks` of the network's `x`.
    pub(super) fn draw(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        (state, images): (BufferId, BufferId),
        blocks: &Range<u32>,
    ) {
        let (lanes, features) = (pass.lanes(), pass.features());
        let kernel = DrawPool { lanes, features, pool: self.pool, noise: self.config.start };
        let bindings = [state, images, self.pool_levels, pass.x, self.levels];
        launches.push(Launch::per_block(kernel, blocks, &bindings));
    }

    /// Blurs the data images in `blocks` to the levels that the chains come to.
    pub(super) fn blur(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        state: BufferId,
        blocks: &Range<u32>,
    ) {
        let kernel = BlurAtLevels {
            lanes: pass.lanes(),
            features: pass.features(),
            pool: self.pool,
            steps: self.config.steps,
            dynamics: self.config.dynamics(),
        };
        launches.push(Launch::per_block(kernel, blocks, &[state, self.pool_levels, pass.x]));
    }

    /// Computes the loss and the gradient with respect to the energies of `blocks`: data images, then chains.
    pub(super) fn loss(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        (state, metrics): (BufferId, BufferId),
        (loss, n_images, denoises): (&Loss, u32, bool),
        blocks: &Range<u32>,
    ) {
        let (lanes, features) = (pass.lanes(), pass.features());
        pass.forward(launches, blocks);
        let variance = ImageVariance { lanes, features };
        launches.push(Launch::per_block(variance, blocks, &[pass.x, self.variances]));
        let kernel = AnnealedLoss {
            lanes,
            n_images,
            metric_rows: METRIC_ROWS,
            pool: self.pool,
            steps: self.config.steps,
            dynamics: self.config.dynamics(),
            weight: loss.contrastive as f32,
            alpha: loss.energy_l2 as f32,
            sigma_max: if loss.contrastive_below > 0.0 { loss.contrastive_below as f32 } else { f32::MAX },
            denoises,
        };
        let of_pass = [state, pass.energies, self.levels, self.variances, pass.grad_energies];
        let bindings: Vec<_> = of_pass.into_iter().chain([metrics, self.bands]).collect();
        launches.push(Launch::whole(kernel, &bindings));
    }

    /// Puts the chains in the blocks from `first_block` on back into the pool.
    pub(super) fn push(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        (state, images): (BufferId, BufferId),
        first_block: u32,
    ) {
        let (lanes, features, steps) = (pass.lanes(), pass.features(), self.config.steps);
        let kernel = PushPool { lanes, features, pool: self.pool, steps, first_block };
        let bindings = [state, pass.x, self.levels, images, self.pool_levels];
        launches.push(Launch::whole(kernel, &bindings));
    }
}
