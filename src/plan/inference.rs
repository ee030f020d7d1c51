//! Plans that do not train: samplers, energies, features.

use super::chain_pass::{ChainPass, KnownPass};
use super::shares::{Share, shares};
use super::weighted_pass::EnergyPass;
use super::{BufferId, ChainConfig, Launch, NetworkPass, Plan, ProgramId, Target, Term, WeightedPass};
use crate::kernels::State;
use crate::kernels::draw_negatives::Noise;
use crate::kernels::multiply_adds::{CHAINS, MultiplyAdds, STEPS};
use crate::kernels::random::Random;
use crate::network::Network;
use crate::random::Stream;

/// Chains from given or random images.
#[derive(Clone, Debug)]
pub struct SamplerPlan {
    /// The plan.
    pub plan: Plan,
    /// Packs the weights: run once after parameters were written.
    pub start: ProgramId,
    /// Fills `x` with noise.
    pub noise: ProgramId,
    /// Langevin steps, as many as the key says, from [`crate::kernels::State::chain_base`] on.
    pub chains: Vec<(u32, ProgramId)>,
    /// Energies of `x`.
    pub energies: ProgramId,
    /// [`crate::kernels::State`].
    pub state: BufferId,
    /// In MALA, `[block][2][lane]`: the last decision on each chain's proposal, and how many were accepted so far.
    pub decisions: Option<BufferId>,
    /// What is held, if anything is.
    pub known: Option<KnownPass>,
    /// The first network's buffers.
    pub pass: NetworkPass,
    /// The buffers of all networks, and of their sum.
    pub sum: WeightedPass,
    /// The chains that have their turn together: one share has all of [`sampler_plan`]'s. A share keeps `x`, the decisions if
    /// there are any, and what is known if anything is.
    pub shares: Vec<Share>,
}

/// Plans a sampler of `count` chains; `lengths` are the numbers of Langevin steps that one run may do at once.
pub fn sampler_plan(
    network: &Network,
    count: usize,
    config: &ChainConfig,
    lengths: &[u32],
    target: Target,
) -> SamplerPlan {
    sampler_plan_in_shares(network, (count, count), config, lengths, target)
}

/// [`sampler_plan`] of `count` chains, of which only `at_once`, whole blocks of them, are worked on at a time. Each share is
/// loaded before a program of its turn, and stored after it; [`crate::kernels::State::first_image`] is its first chain.
pub fn sampler_plan_in_shares(
    network: &Network,
    counts: (usize, usize),
    config: &ChainConfig,
    lengths: &[u32],
    target: Target,
) -> SamplerPlan {
    sampler_plan_of(&[Term::alone(network)], counts, config, (lengths, false), target)
}

/// [`sampler_plan_in_shares`] for the weighted sum of several networks' energies, `terms`, of which there is one at least; where
/// `holds`, known values keep their place, or that of their noise level. Such chains run by layers.
///
/// # Panics
/// If there is no term, or networks take images of different shapes.
pub fn sampler_plan_of(
    terms: &[Term],
    (count, at_once): (usize, usize),
    config: &ChainConfig,
    (lengths, holds): (&[u32], bool),
    target: Target,
) -> SamplerPlan {
    let network = terms[0].network;
    let (all, count) = (count, count.min(at_once));
    let n_blocks = target.blocks(count);
    let mut plan = Plan::new(target.lanes, n_blocks);
    let (lanes, features, blocks) = (target.lanes, network.input.len(), 0..n_blocks);
    let state = plan.integers("state", State::WORDS);
    let sum = WeightedPass::new(&mut plan, terms, target);
    let pass = sum.terms[0].clone();
    let fused_steps = if sum.is_plain() && !holds { target.fused_steps } else { 0 };
    let target = Target { fused_steps, ..target };
    let mut chain =
        ChainPass::new(&mut plan, network, state, &blocks, count as u32, Some(config.form), target);
    chain.counts_anew = false;
    chain.known = holds.then(|| KnownPass {
        mask: plan.flat("mask", features),
        values: plan.per_block("known values", features),
    });
    let mut start = Vec::new();
    sum.pack(&mut start);
    chain.pack(&mut start, &pass);
    let start = plan.program(start);
    let Noise { distribution, scale, bound } = config.start;
    let random = Random { lanes, features, stream: Stream::SamplerStart, distribution, scale, bound };
    let noise = plan.program(vec![Launch::per_block(random, &blocks, &[state, pass.x])]);
    let mut chains = Vec::new();
    for &steps in lengths {
        let mut launches = Vec::new();
        let config = ChainConfig { steps, ..*config };
        chain.run(&mut launches, &sum, network, &config);
        chains.push((steps, plan.program(launches)));
    }
    let mut energies = Vec::new();
    sum.forward(&mut energies, &blocks);
    sum.to_energies(&mut energies, &blocks);
    let energies = plan.program(energies);
    let (decisions, known) = (chain.adjusted.map(|adjusted| adjusted.decisions), chain.known);
    let live: Vec<_> = [pass.x].into_iter().chain(decisions).chain(known.map(|known| known.values)).collect();
    let shares = shares(&mut plan, all, count, state, &live);
    SamplerPlan { plan, start, noise, chains, energies, state, decisions, known, pass, sum, shares }
}

/// Energies and input gradients of given images.
#[derive(Clone, Debug)]
pub struct EnergyPlan {
    /// The plan.
    pub plan: Plan,
    /// Packs the weights: run once after parameters were written.
    pub start: ProgramId,
    /// Energies of `x`.
    pub energies: ProgramId,
    /// Energies and input gradients of `x`.
    pub gradients: ProgramId,
    /// The first network's buffers.
    pub pass: NetworkPass,
    /// The buffers of all networks, and of their sum.
    pub sum: WeightedPass,
}

/// Plans energies and input gradients of up to `count` images at a time.
pub fn energy_plan(network: &Network, count: usize, target: Target) -> EnergyPlan {
    energy_plan_of(&[Term::alone(network)], count, target)
}

/// [`energy_plan`] for the weighted sum of several networks' energies, `terms`, of which there is one at least.
///
/// # Panics
/// If there is no term, or networks take images of different shapes.
pub fn energy_plan_of(terms: &[Term], count: usize, target: Target) -> EnergyPlan {
    let n_blocks = target.blocks(count);
    let mut plan = Plan::new(target.lanes, n_blocks);
    let blocks = 0..n_blocks;
    let sum = WeightedPass::new(&mut plan, terms, target);
    let mut start = Vec::new();
    sum.pack(&mut start);
    let mut energies = Vec::new();
    sum.forward(&mut energies, &blocks);
    sum.to_energies(&mut energies, &blocks);
    let mut gradients = energies.clone();
    sum.to_input(&mut gradients, &blocks);
    let (start, energies, gradients) = (plan.program(start), plan.program(energies), plan.program(gradients));
    EnergyPlan { plan, start, energies, gradients, pass: sum.terms[0].clone(), sum }
}

/// What a network's layers make of given images.
#[derive(Clone, Debug)]
pub struct FeaturesPlan {
    /// The plan.
    pub plan: Plan,
    /// Packs the weights: run once after parameters were written.
    pub start: ProgramId,
    /// From `x` to every layer's output ([`NetworkPass::output`]).
    pub forward: ProgramId,
    /// The network's buffers.
    pub pass: NetworkPass,
}

/// Plans forward passes of up to `count` images at a time, through a network that ends in any number of values
/// ([`Network::with_outputs`]).
pub fn features_plan(network: &Network, count: usize, target: Target) -> FeaturesPlan {
    let n_blocks = target.blocks(count);
    let mut plan = Plan::new(target.lanes, n_blocks);
    let pass = NetworkPass::new(&mut plan, network, target);
    let (mut start, mut forward) = (Vec::new(), Vec::new());
    pass.pack(&mut start);
    pass.forward(&mut forward, &(0..n_blocks));
    let (start, forward) = (plan.program(start), plan.program(forward));
    FeaturesPlan { plan, start, forward, pass }
}

/// Multiply-adds and nothing else.
#[derive(Clone, Debug)]
pub struct PeakPlan {
    /// The plan.
    pub plan: Plan,
    /// Does the multiply-adds.
    pub run: ProgramId,
    /// What they come to.
    pub result: BufferId,
    /// Floating-point operations of one run: 2 a multiply-add.
    pub flop: f64,
}

/// Plans a measurement of what a GPU can do on registers: 17 GFLOP a run, in one dispatch of enough invocations to fill
/// the largest.
pub fn peak_plan() -> PeakPlan {
    let (invocations, turns) = (1 << 18, 1 << 6);
    let mut plan = Plan::new(1, 1);
    let result = plan.flat("result", invocations as usize);
    let run = plan.program(vec![Launch::whole(MultiplyAdds { invocations, turns }, &[result])]);
    let flop = 2.0 * CHAINS as f64 * f64::from(invocations) * f64::from(turns * STEPS);
    PeakPlan { plan, run, result, flop }
}
