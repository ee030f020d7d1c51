//! The KL term of improved contrastive divergence: see [`crate::kernels::kl_direction`].

use super::jet_pass::JetPass;
use super::{BufferId, Launch, NetworkPass, Plan};
use crate::kernels::activation_jet::Jet;
use crate::kernels::conv_weight_gradient::Chunks;
use crate::kernels::jet_start::{JetStart, Probes};
use crate::kernels::kl_direction::KlDirection;
use std::ops::Range;

/// The term's buffers, and the launches that use them.
#[derive(Clone, Debug)]
pub struct KlPass {
    /// Values, and derivatives along the gradient at the chains' ends, where the chains' last step began.
    pub jet: JetPass,
    beside: NetworkPass, // the backward pass by the layers comes after, and needs slopes
    unused: BufferId,    // a residual
}

impl KlPass {
    const JET: Jet = Jet { directions: 1, first_order: 1 };

    /// Adds the term's buffers to a plan.
    pub(super) fn new(plan: &mut Plan, pass: &NetworkPass) -> Self {
        let jet = JetPass::new(plan, pass.network(), Self::JET);
        Self { jet, beside: pass.beside(plan), unused: plan.per_block("KL residual", 1) }
    }

    /// Keeps the place where the chains' last step takes its gradient, and that gradient.
    pub(super) fn keep(&self, launches: &mut Vec<Launch>, pass: &NetworkPass, blocks: &Range<u32>) {
        let (lanes, features) = (pass.lanes(), pass.features());
        let start = JetStart { lanes, features, jet: Self::JET, probes: Probes::Axes };
        let bindings = [pass.x, pass.input_gradient, pass.x, self.jet.x, self.unused];
        launches.push(Launch::per_block(start, blocks, &bindings));
    }

    /// After a forward pass at the chains' ends: the direction to take the derivative along, and the seeds.
    pub(super) fn begin(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        state: BufferId,
        direction: KlDirection,
        blocks: &Range<u32>,
    ) {
        self.beside.to_input(launches, blocks);
        let bindings = [state, pass.input_gradient, pass.x, self.jet.x, self.jet.seeds];
        launches.push(Launch::per_block(direction, blocks, &bindings));
    }

    /// Partial sums of the parameter gradient, over the blocks of `chunks`.
    pub(super) fn gradient(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        chunks: Chunks,
        partials: BufferId,
    ) {
        let blocks = chunks.first_block..chunks.first_block + chunks.n_blocks;
        self.jet.forward(launches, pass, &blocks);
        self.jet.backward(launches, pass, &blocks);
        self.jet.to_parameters(launches, pass, chunks, partials);
    }
}
