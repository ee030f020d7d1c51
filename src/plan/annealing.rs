//! Annealed importance sampling: chains through the densities between a base and a model.

use super::shares::{Share, shares};
use super::{BufferId, Launch, NetworkPass, Plan, ProgramId, Target};
use crate::kernels::State;
use crate::kernels::anneal_accept::AnnealAccept;
use crate::kernels::anneal_propose::{Anneal, AnnealPropose, CHAIN, Part, RECORD};
use crate::network::Network;

/// The numbers of annealed chains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnnealingConfig {
    /// Temperature `T` of the model's density `exp(-E/T - tilt |x|^2 / 2)`.
    pub temperature: f64,
    /// How much of a standard normal density it has as a factor: 0 for a plain energy.
    pub tilt: f32,
    /// The densities live in the box `[-bound, bound]` of each value; infinite for none.
    pub bound: f32,
    /// Leapfrog steps of a proposal, 1 or more.
    pub leapfrogs: u32,
    /// Entries of the schedule.
    pub rungs: usize,
}

/// Chains through the densities between a base and a model.
#[derive(Clone, Debug)]
pub struct AnnealingPlan {
    /// The plan.
    pub plan: Plan,
    /// Packs the weights: run once after parameters were written.
    pub start: ProgramId,
    /// Steps, as many as the key says, from [`crate::kernels::State::chain_base`] on. Each begins at `x`, with weights and
    /// counts of 0, and leaves the chains there.
    pub steps: Vec<(u32, ProgramId)>,
    /// Energies of `x`.
    pub energies: ProgramId,
    /// [`crate::kernels::State`].
    pub state: BufferId,
    /// `[rung]` of [`crate::kernels::anneal_propose::Rung`]: step `k` goes from entry `k` to entry `k + 1`.
    pub schedule: BufferId,
    /// `[feature]` of [`crate::kernels::anneal_propose::BaseFeature`].
    pub base: BufferId,
    /// `[block][5][lane]`: see [`AnnealAccept`].
    pub record: BufferId,
    /// The network's buffers.
    pub pass: NetworkPass,
    /// The chains that have their turn together: see [`super::sampler_plan_in_shares`].
    pub shares: Vec<Share>,
}

/// Plans `count` annealed chains, of which `at_once` are worked on at a time; `lengths` are the numbers of steps that one run
/// may do at once.
pub fn annealing_plan(
    network: &Network,
    (count, at_once): (usize, usize),
    config: &AnnealingConfig,
    lengths: &[u32],
    target: Target,
) -> AnnealingPlan {
    let (all, count) = (count, count.min(at_once));
    let n_blocks = target.blocks(count);
    let mut plan = Plan::new(target.lanes, n_blocks);
    let (lanes, features, blocks) = (target.lanes, network.input.len(), 0..n_blocks);
    let state = plan.integers("state", State::WORDS);
    let schedule = plan.flat("schedule", 2 * config.rungs);
    let base = plan.flat("base", 4 * features);
    let pass = NetworkPass::new(&mut plan, network, target);
    let chain = plan.per_block("chain", CHAIN * features);
    let record = plan.per_block("record", RECORD);
    let mut start = Vec::new();
    pass.pack(&mut start);
    let start = plan.program(start);

    let inverse_temperature = (1.0 / config.temperature) as f32;
    let anneal = Anneal { inverse_temperature, tilt: config.tilt, bound: config.bound };
    let accept = |launches: &mut Vec<Launch>, step| {
        pass.forward(launches, &blocks);
        pass.to_input(launches, &blocks);
        let kernel = AnnealAccept { lanes, features, step, anneal };
        let bindings = [state, schedule, base, pass.energies, pass.input_gradient, pass.x, chain, record];
        launches.push(Launch::per_block(kernel, &blocks, &bindings));
    };
    let propose = |launches: &mut Vec<Launch>, part| {
        let kernel = AnnealPropose { lanes, features, part, anneal };
        let bindings = [state, schedule, base, pass.input_gradient, record, pass.x, chain];
        launches.push(Launch::per_block(kernel, &blocks, &bindings));
    };
    let mut steps = Vec::new();
    for &length in lengths {
        let mut launches = Vec::new();
        accept(&mut launches, None);
        for step in 0..length {
            propose(&mut launches, Part::First(step));
            for _ in 1..config.leapfrogs {
                pass.forward(&mut launches, &blocks);
                pass.to_input(&mut launches, &blocks);
                propose(&mut launches, Part::Next(step));
            }
            accept(&mut launches, Some(step));
        }
        propose(&mut launches, Part::End);
        steps.push((length, plan.program(launches)));
    }
    let mut energies = Vec::new();
    pass.forward(&mut energies, &blocks);
    let energies = plan.program(energies);
    let shares = shares(&mut plan, all, count, state, &[pass.x]);
    AnnealingPlan { plan, start, steps, energies, state, schedule, base, record, pass, shares }
}
