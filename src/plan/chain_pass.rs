//! Langevin chains: layer by layer, fused into one kernel, or MALA; with known values that are held.

use super::cut::fused_share;
use super::weighted_pass::EnergyPass;
use super::{BufferId, ChainConfig, Launch, NetworkPass, Plan, Precision, Target};
use crate::kernels::chain::{Chain, ChainLayer, Hidden, chain_layers, pack_chain, packed_len, scratch_len};
use crate::kernels::dynamics::{Dynamics, Form};
use crate::kernels::hold_known::{Held, HoldKnown};
use crate::kernels::langevin::Langevin;
use crate::kernels::mala_accept::MalaAccept;
use crate::kernels::mala_propose::MalaPropose;
use crate::network::Network;
use std::ops::Range;

/// Where and how a plan's chains run.
#[derive(Clone, Debug)]
pub(super) struct ChainPass {
    state: BufferId,
    blocks: Range<u32>,
    n_images: u32,
    fused: Option<FusedPass>,
    pub adjusted: Option<AdjustedPass>,
    pub counts_anew: bool,        // accepted proposals, with every chain
    pub levels: Option<BufferId>, // where each chain begins at a level of its own
    pub known: Option<KnownPass>, // of chains by layers
}

/// What is known of the images, and held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownPass {
    /// `[feature]`, not 0 where a value is known.
    pub mask: BufferId,
    /// The images' values, `[block][feature][lane]`.
    pub values: BufferId,
}

/// MALA's own buffers: a chain's place, beside its proposal in `x`.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdjustedPass {
    x: BufferId,
    gradient: BufferId,
    energies: BufferId,
    pub decisions: BufferId,
}

/// The fused chain's own buffers.
#[derive(Clone, Debug)]
struct FusedPass {
    images: u32, // of one launch, at most
    steps: u32,
    hidden: Hidden,
    layers: Vec<ChainLayer>,
    weights: BufferId,
    scratch: BufferId,
}

impl ChainPass {
    /// Adds what a chain of `n_images`, from the first of `blocks` on, needs besides the network's pass;
    /// nothing for a plan without chains, which have no form.
    pub(super) fn new(
        plan: &mut Plan,
        network: &Network,
        state: BufferId,
        blocks: &Range<u32>,
        n_images: u32,
        form: Option<Form>,
        target: Target,
    ) -> Self {
        let adjusted = (form == Some(Form::Mala)).then(|| AdjustedPass {
            x: plan.per_block("chain's x", network.input.len()),
            gradient: plan.per_block("chain's gradient", network.input.len()),
            energies: plan.per_block("chain's energies", 1),
            decisions: plan.per_block("decisions", 2),
        });
        let fuses = target.fused_steps > 0 && form.is_some() && adjusted.is_none();
        let layers = if fuses { chain_layers(network) } else { None };
        let fused = layers.map(|layers| {
            let flop = network.langevin_flop();
            let (images, steps) = fused_share(n_images, flop, target.fused_steps, &target);
            FusedPass {
                images,
                steps,
                hidden: target.fused_hidden,
                weights: plan.flat("chain's packed weights", packed_len(&layers)),
                scratch: plan
                    .flat("chain's scratch", images as usize * scratch_len(&layers, target.fused_hidden)),
                layers,
            }
        });
        Self {
            state,
            blocks: blocks.clone(),
            n_images,
            fused,
            adjusted,
            counts_anew: true,
            levels: None,
            known: None,
        }
    }

    /// Packs the weights; needed after every change of the parameters.
    pub(super) fn pack(&self, launches: &mut Vec<Launch>, pass: &NetworkPass) {
        if let Some(fused) = &self.fused {
            for kernel in pack_chain(&fused.layers) {
                launches.push(Launch::whole(kernel, &[pass.parameters, fused.weights]));
            }
        }
    }

    /// Adds a chain's launches: fused, or the network's pass and [`Langevin`] in turn.
    pub(super) fn run(
        &self,
        launches: &mut Vec<Launch>,
        pass: &impl EnergyPass,
        network: &Network,
        config: &ChainConfig,
    ) {
        let (lanes, features) = (pass.lanes(), network.input.len());
        let dynamics = config.dynamics();
        if let Some(fused) = &self.fused {
            let images = (0..self.n_images).step_by(fused.images as usize);
            let first_steps = || (0..config.steps).step_by(fused.steps as usize);
            for (first_image, first_step) in
                images.flat_map(|image| first_steps().map(move |step| (image, step)))
            {
                let kernel = Chain {
                    lanes,
                    first_image,
                    n_images: (self.n_images - first_image).min(fused.images),
                    layers: fused.layers.clone(),
                    hidden: fused.hidden,
                    first_step,
                    n_steps: (config.steps - first_step).min(fused.steps),
                    dynamics,
                    first_block: self.blocks.start,
                    own_levels: self.levels.is_some(),
                };
                let bindings = [self.state, fused.weights, pass.parameters(), pass.x(), fused.scratch];
                let bindings: Vec<_> = bindings.into_iter().chain(self.levels).collect();
                launches.push(Launch::whole(kernel, &bindings));
            }
            return;
        }
        let langevin = |launches: &mut Vec<Launch>, moves, perturbs| {
            let own_levels = self.levels.is_some();
            let kernel = Langevin { lanes, features, moves, perturbs, dynamics, own_levels };
            let bindings = [self.state, pass.input_gradient(), pass.x()];
            let bindings: Vec<_> = bindings.into_iter().chain(self.levels).collect();
            launches.push(Launch::per_block(kernel, &self.blocks, &bindings));
        };
        if let Some(adjusted) = &self.adjusted {
            self.run_adjusted(launches, pass, (features, adjusted), &dynamics, config.steps);
            return;
        }
        let (noise_first, first) = (dynamics.form == Form::NoiseFirst, launches.len());
        let hold = |launches: &mut Vec<Launch>, done| {
            self.hold(launches, pass, features, &dynamics, Held::Images(done))
        };
        if noise_first {
            langevin(launches, false, (config.steps > 0).then_some(0));
        }
        hold(launches, 0);
        for step in 0..config.steps {
            pass.forward(launches, &self.blocks);
            pass.to_input(launches, &self.blocks);
            let next = if noise_first { step + 1 } else { step };
            langevin(launches, true, (next < config.steps).then_some(next));
            hold(launches, step + 1);
        }
        launches[first..].iter_mut().for_each(|launch| launch.precision = Precision::Bf16);
    }

    /// Adds a MALA chain's launches: energy and gradient where it begins, then proposals, each with its energy and
    /// gradient, accepted or rejected.
    fn run_adjusted(
        &self,
        launches: &mut Vec<Launch>,
        pass: &impl EnergyPass,
        (features, own): (usize, &AdjustedPass),
        dynamics: &Dynamics,
        steps: u32,
    ) {
        let (lanes, dynamics) = (pass.lanes(), *dynamics);
        let hold = |launches: &mut Vec<Launch>, what| self.hold(launches, pass, features, &dynamics, what);
        hold(launches, Held::Images(0));
        for proposal in 0..=steps {
            pass.forward(launches, &self.blocks);
            pass.to_energies(launches, &self.blocks);
            pass.to_input(launches, &self.blocks);
            hold(launches, Held::Gradient);
            let (step, resets) = (proposal.checked_sub(1), self.counts_anew);
            let accept = MalaAccept { lanes, features, step, resets, dynamics };
            let bindings = [
                self.state,
                pass.energies(),
                pass.input_gradient(),
                pass.x(),
                own.x,
                own.gradient,
                own.energies,
                own.decisions,
            ];
            launches.push(Launch::per_block(accept, &self.blocks, &bindings));
            let perturbs = (proposal < steps).then_some(proposal);
            let propose = MalaPropose { lanes, features, perturbs, dynamics };
            let bindings = [self.state, pass.input_gradient(), own.decisions, pass.x(), own.x, own.gradient];
            launches.push(Launch::per_block(propose, &self.blocks, &bindings));
            hold(launches, Held::Images(proposal));
        }
    }

    /// Holds what is known of the images, if anything is.
    fn hold(
        &self,
        launches: &mut Vec<Launch>,
        pass: &impl EnergyPass,
        features: usize,
        dynamics: &Dynamics,
        what: Held,
    ) {
        let Some(known) = self.known else { return };
        let kernel = HoldKnown { lanes: pass.lanes(), features, what, dynamics: *dynamics };
        let to = if what == Held::Gradient { pass.input_gradient() } else { pass.x() };
        let bindings = [self.state, known.mask, known.values, to];
        launches.push(Launch::per_block(kernel, &self.blocks, &bindings));
    }
}
