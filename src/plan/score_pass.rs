//! The objectives that fit the energy's gradient to the data's score and need no chains: what they draw, and the way
//! from a batch to the parameter gradient.

use super::jet_pass::JetPass;
use super::{BufferId, Launch, NetworkPass, Plan, TangentPass};
use crate::kernels::activation_jet::Jet;
use crate::kernels::conv_weight_gradient::Chunks;
use crate::kernels::jet_start::{JetStart, Probes};
use crate::kernels::perturb::Perturb;
use crate::kernels::random::Random;
use crate::kernels::score_direction::ScoreDirection;
use crate::kernels::score_loss::ScoreLoss;
use crate::network::{Activation, Network};
use crate::random::{Distribution, Stream};
use crate::recipe::{Directions, ScoreObjective, ScoreTarget, Square};
use crate::{Error, Result};
use std::ops::Range;

/// Values an image may have for score matching to take the trace of its second derivatives axis by axis.
pub const EXACT_TRACE: usize = 16;

impl ScoreObjective {
    /// The components that the loss is made of, for images of `features` values. Denoising needs the energy alone: the
    /// rest is a [`TangentPass`]'s.
    pub fn jet(&self, features: usize) -> Jet {
        match *self {
            Self::Matching { .. } if features <= EXACT_TRACE => Jet { directions: features, first_order: 0 },
            Self::Matching { probes } | Self::Sliced { probes, square: Square::Whole, .. } => {
                Jet { directions: 1 + probes, first_order: 1 }
            }
            Self::Sliced { probes, .. } => Jet { directions: probes, first_order: 0 },
            Self::Denoising { .. } => Jet { directions: 0, first_order: 0 },
        }
    }

    /// Partial sums of the parameter gradient, where blocks are split into `n_chunks`.
    pub(super) fn n_partials(&self, n_chunks: u32) -> u32 {
        match self {
            Self::Denoising { .. } => 2 * n_chunks,
            _ => n_chunks,
        }
    }

    /// Whether a network can be trained so.
    ///
    /// # Errors
    /// [`Error::Network`] names an LSTM layer: it has no second derivatives here.
    pub fn check(&self, network: &Network) -> Result<()> {
        JetPass::check(network).map_err(|layer| {
            Error::Network(format!(
                "`{}`: {layer} is an LSTM, and objectives that fit the score need second derivatives, which it has not: \
                 take `replay`, `cd` or `pcd`",
                network.name
            ))
        })
    }

    /// Whether second derivatives with respect to the input count, of a network with an activation that has a kink: the
    /// name of its first layer. What is lost there is the trace, so that the loss can be made small by a flat energy
    /// that is bent at kinks alone.
    pub fn kinked<'a>(&self, network: &'a Network) -> Option<&'a str> {
        if matches!(self, Self::Denoising { .. }) {
            return None;
        }
        let kinked = |a: Activation| matches!(a, Activation::LeakyRelu(_) | Activation::Relu);
        network.layers.iter().find(|l| kinked(l.activation)).map(|l| l.name.as_str())
    }

    /// How many directions of second order are drawn, and from what.
    fn drawn(&self, features: usize) -> Option<(usize, Distribution)> {
        match *self {
            Self::Matching { probes } if features > EXACT_TRACE => Some((probes, Distribution::Signs)),
            Self::Sliced { probes, directions: Directions::Normal, .. } => {
                Some((probes, Distribution::Normal))
            }
            Self::Sliced { probes, .. } => Some((probes, Distribution::Signs)),
            _ => None,
        }
    }
}

/// The buffers of an objective, and the launches that use them.
#[derive(Clone, Debug)]
pub struct ScorePass {
    objective: ScoreObjective,
    /// How the energy's derivatives are differentiated.
    pub derivatives: Derivatives,
    /// Probes `[block][probe][feature][lane]`, or noise `[block][feature][lane]`, where the objective draws some.
    pub drawn: Option<BufferId>,
    residual: BufferId,
}

/// How the energy's derivatives with respect to images are differentiated with respect to the parameters.
#[derive(Clone, Debug)]
pub enum Derivatives {
    /// Along directions that are known beforehand, and to second order.
    Jet(JetPass),
    /// Denoising: along what dE/dx is to lose.
    Tangent {
        /// The pass.
        tangent: Box<TangentPass>,
        /// A uniform number in [-1, 1) for each image, which chooses its noise's standard deviation.
        level: BufferId,
        /// How much each image counts.
        weight: BufferId,
    },
}

/// The numbers of a batch that the loss needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub batch: u32,
    pub n_images: u32,
    pub metric_rows: u32,
}

impl ScorePass {
    /// Adds the objective's buffers to a plan.
    pub(super) fn new(plan: &mut Plan, pass: &NetworkPass, objective: ScoreObjective) -> Self {
        let features = pass.features();
        let (derivatives, drawn) = if let ScoreObjective::Denoising { .. } = objective {
            let tangent = Box::new(TangentPass::new(plan, pass));
            let drawn = plan.per_block("noise", features);
            let (level, weight) = (plan.per_block("level", 1), plan.per_block("weight", 1));
            (Derivatives::Tangent { tangent, level, weight }, Some(drawn))
        } else {
            let jet = JetPass::new(plan, pass.network(), objective.jet(features));
            let drawn = objective.drawn(features);
            let drawn = drawn.map(|(probes, _)| plan.per_block("probes", probes * features));
            (Derivatives::Jet(jet), drawn)
        };
        Self { objective, derivatives, drawn, residual: plan.per_block("residual", 1) }
    }

    /// The components of the energy.
    pub fn energies(&self, pass: &NetworkPass) -> BufferId {
        match &self.derivatives {
            Derivatives::Jet(jet) => jet.energies,
            Derivatives::Tangent { .. } => pass.energies,
        }
    }

    /// Draws noise or probes.
    pub(super) fn draw(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        state: BufferId,
        blocks: &Range<u32>,
    ) {
        let (lanes, features) = (pass.lanes(), pass.network().input.len());
        let mut random = |features, stream, distribution, to| {
            let kernel = Random { lanes, features, stream, distribution, scale: 1.0, bound: f32::INFINITY };
            launches.push(Launch::per_block(kernel, blocks, &[state, to]));
        };
        match (self.objective.drawn(features), self.drawn) {
            (Some((probes, distribution)), Some(to)) => {
                random(probes * features, Stream::ScoreProbes, distribution, to);
            }
            (None, Some(to)) => random(features, Stream::ScoreNoise, Distribution::Normal, to),
            (_, None) => {}
        }
        if let Derivatives::Tangent { level, .. } = self.derivatives {
            random(1, Stream::ScoreLevel, Distribution::Uniform, level);
        }
    }

    /// From the images in the network's `x`, and what was drawn, to partial sums of the parameter gradient, as many as
    /// [`ScoreObjective::n_partials`] says. `x` is blurred on the way where the objective denoises.
    pub(super) fn run(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        (state, metrics): (BufferId, BufferId),
        batch: Batch,
        (chunks, partials): (Chunks, BufferId),
    ) {
        let (lanes, features, blocks) = (pass.lanes(), pass.network().input.len(), 0..chunks.n_blocks);
        let Batch { batch, n_images, metric_rows } = batch;
        let share = self.objective.drawn(features).map_or(1.0, |(probes, _)| 1.0 / probes as f32);
        let jet = self.objective.jet(features);
        let loss = ScoreLoss { lanes, batch, n_images, metric_rows, jet, share };
        let loss = |grad_energies| {
            Launch::whole(loss, &[state, self.energies(pass), self.residual, grad_energies, metrics])
        };
        match (&self.derivatives, self.objective, self.drawn) {
            (
                Derivatives::Tangent { tangent, level, weight },
                ScoreObjective::Denoising { sigma, sigma_max, levels, target, from_noise },
                Some(noise),
            ) => {
                let velocity = target == ScoreTarget::Velocity;
                let kernel = Perturb { lanes, features, levels, sigma, sigma_max, velocity, from_noise };
                launches.push(Launch::per_block(kernel, &blocks, &[*level, noise, pass.x, *weight]));
                tangent.gradient(launches, &blocks);
                let kernel = ScoreDirection { lanes, features, batch, n_images };
                let bindings = [state, pass.input_gradient, noise, *weight, tangent.direction, self.residual];
                launches.push(Launch::per_block(kernel, &blocks, &bindings));
                launches.push(loss(pass.grad_energies));
                tangent.along(launches, &blocks);
                tangent.to_parameters(launches, chunks, partials);
            }
            (Derivatives::Jet(own), ..) => {
                if jet.first_order > 0 {
                    pass.forward(launches, &blocks);
                    pass.to_input(launches, &blocks);
                }
                let probes = if self.drawn.is_some() { Probes::Given } else { Probes::Axes };
                let kernel = JetStart { lanes, features, jet, probes };
                let drawn = self.drawn.unwrap_or(pass.x);
                let bindings = [pass.x, pass.input_gradient, drawn, own.x, self.residual];
                launches.push(Launch::per_block(kernel, &blocks, &bindings));
                own.forward(launches, pass, &blocks);
                launches.push(loss(own.grad_energies));
                own.backward(launches, pass, &blocks);
                own.to_parameters(launches, pass, chunks, partials);
            }
            _ => unreachable!("what denoises has noise, and nothing else a tangent"),
        }
    }
}
