//! Whole plans: a training step, a sampler's chain, energies of given images.

use super::{BufferId, Launch, NetworkPass, Plan, ProgramId, Target};
use crate::data::ImageShape;
use crate::kernels::adam::Adam;
use crate::kernels::advance::Advance;
use crate::kernels::chain::{Chain, ChainLayer, chain_layers, pack_chain, packed_len, scratch_len};
use crate::kernels::clip_scale::ClipScale;
use crate::kernels::contrastive_loss::{ContrastiveLoss, METRICS};
use crate::kernels::draw_negatives::DrawNegatives;
use crate::kernels::draw_real::DrawReal;
use crate::kernels::langevin::Langevin;
use crate::kernels::multiply_adds::{CHAINS, MultiplyAdds};
use crate::kernels::push_replay::PushReplay;
use crate::kernels::random::{Distribution, Random, Stream};
use crate::kernels::reduce_partials::ReducePartials;
use crate::kernels::sum_squares::{GROUP, SumSquares};
use crate::network::Network;
use std::ops::Range;

/// Rows of the resident metrics table: training steps that may be under way before the host reads it.
pub const METRIC_ROWS: u32 = 64;

/// The numbers of a Langevin chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerNumbers {
    /// Langevin steps.
    pub steps: u32,
    /// What the clipped gradient is multiplied by.
    pub step_size: f32,
    /// Standard deviation of the noise before each gradient.
    pub noise: f32,
    /// Largest magnitude of a gradient element; 0 for no clip.
    pub gradient_clip: f32,
}

/// The numbers of a training step.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingNumbers {
    /// Real images, and chains, a step.
    pub batch: u32,
    /// Images in the data set.
    pub n_images: u32,
    /// Shape of the data set's images.
    pub data_shape: ImageShape,
    /// Standard deviation of the noise on real images.
    pub data_noise: f32,
    /// The chain.
    pub chain: SamplerNumbers,
    /// Slots of the replay ring.
    pub ring_capacity: u32,
    /// Probability that a chain starts from fresh noise.
    pub fresh: f32,
    /// Weight of the energies' L2 penalty.
    pub alpha: f32,
    /// Adam's step length.
    pub learning_rate: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Adam's epsilon.
    pub epsilon: f64,
    /// Largest norm of the gradient; 0 for no clip.
    pub gradient_norm_clip: f32,
}

/// Floating-point operations of one dispatch of the fused chain, at most: a desktop stays responsive, and a driver's
/// watchdog (about 2 s on Windows) far away, on a GPU that does 100 GFLOP/s.
const DISPATCH_FLOP: usize = 40_000_000_000;

/// Where and how a plan's chains run.
#[derive(Clone, Debug)]
struct ChainPass {
    state: BufferId,
    blocks: Range<u32>,
    n_images: u32,
    fused: Option<FusedPass>,
}

/// The fused chain's own buffers.
#[derive(Clone, Debug)]
struct FusedPass {
    steps: u32, // of one launch, at most
    layers: Vec<ChainLayer>,
    weights: BufferId,
    scratch: BufferId,
}

impl ChainPass {
    /// Adds what a chain of `n_images`, from the first of `blocks` on, needs besides the network's pass.
    fn new(
        plan: &mut Plan,
        network: &Network,
        state: BufferId,
        blocks: &Range<u32>,
        n_images: u32,
        target: Target,
    ) -> Self {
        let layers = if target.fused_steps > 0 { chain_layers(network) } else { None };
        let fused = layers.map(|layers| FusedPass {
            steps: target.fused_steps,
            weights: plan.flat("chain's packed weights", packed_len(&layers)),
            scratch: plan.flat("chain's scratch", n_images as usize * scratch_len(&layers)),
            layers,
        });
        Self { state, blocks: blocks.clone(), n_images, fused }
    }

    /// Packs the weights; needed after every change of the parameters.
    fn pack(&self, launches: &mut Vec<Launch>, pass: &NetworkPass) {
        if let Some(fused) = &self.fused {
            for kernel in pack_chain(&fused.layers) {
                launches.push(Launch::whole(kernel, &[pass.parameters, fused.weights]));
            }
        }
    }

    /// Adds a chain's launches: fused, or the network's pass and [`Langevin`] in turn.
    fn run(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        network: &Network,
        numbers: &SamplerNumbers,
    ) {
        let (lanes, features) = (pass.lanes(), network.input.len());
        let gradient_clip = if numbers.gradient_clip > 0.0 { numbers.gradient_clip } else { f32::INFINITY };
        let (step_size, noise) = (numbers.step_size, numbers.noise);
        if let Some(fused) = &self.fused {
            let flop = network.langevin_flop() * self.n_images as usize;
            let at_once = ((DISPATCH_FLOP / flop).max(1) as u32).min(fused.steps);
            for first_step in (0..numbers.steps).step_by(at_once as usize) {
                let kernel = Chain {
                    lanes,
                    n_images: self.n_images,
                    layers: fused.layers.clone(),
                    first_step,
                    n_steps: (numbers.steps - first_step).min(at_once),
                    step_size,
                    noise,
                    gradient_clip,
                    first_block: self.blocks.start,
                };
                let bindings = [self.state, fused.weights, pass.parameters, pass.x, fused.scratch];
                launches.push(Launch::whole(kernel, &bindings));
            }
            return;
        }
        for step in 0..=numbers.steps {
            let perturbs = (step < numbers.steps).then_some(step);
            let kernel =
                Langevin { lanes, features, moves: step > 0, perturbs, step_size, noise, gradient_clip };
            launches.push(Launch::per_block(
                kernel,
                &self.blocks,
                &[self.state, pass.input_gradient, pass.x],
            ));
            if step < numbers.steps {
                pass.forward(launches, &self.blocks);
                pass.to_input(launches, &self.blocks);
            }
        }
    }
}

/// A training step, resident on the device.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// The plan.
    pub plan: Plan,
    /// Packs the weights: run once after parameters were written.
    pub start: ProgramId,
    /// One training step.
    pub step: ProgramId,
    /// Its second half alone: from energies of the images in `x` to new parameters.
    pub update: ProgramId,
    /// [`crate::kernels::State`].
    pub state: BufferId,
    /// The data set, as bytes.
    pub data: BufferId,
    /// The replay ring `[slot][pixel][channel]`.
    pub ring: BufferId,
    /// [`METRIC_ROWS`] rows of [`METRICS`] floats; step `s` writes row `s mod METRIC_ROWS`.
    pub metrics: BufferId,
    /// Adam's first moment.
    pub first_moment: BufferId,
    /// Adam's second moment.
    pub second_moment: BufferId,
    /// The gradient of the last step, before clipping.
    pub gradient: BufferId,
    /// The network's buffers: blocks of the real half first, then as many of the fake half.
    pub pass: NetworkPass,
    /// Blocks of each half.
    pub half_blocks: u32,
}

/// Plans a training step: draw real images, draw chain starts, run the chain, push it into the ring, energies, loss,
/// parameter gradient, Adam.
pub fn training_plan(network: &Network, numbers: &TrainingNumbers, target: Target) -> TrainingPlan {
    let half_blocks = target.blocks(numbers.batch as usize);
    let mut plan = Plan::new(target.lanes, 2 * half_blocks);
    let (real, fake, all) = (0..half_blocks, half_blocks..2 * half_blocks, 0..2 * half_blocks);
    let (lanes, features, n_parameters) = (target.lanes, network.input.len(), network.n_parameters);
    let TrainingNumbers { batch, n_images, .. } = *numbers;
    let chunks = target.chunks(2 * half_blocks);

    let state = plan.integers("state", 8);
    let data = plan.integers("data", (n_images as usize * numbers.data_shape.len()).div_ceil(4));
    let ring = plan.flat("replay ring", numbers.ring_capacity as usize * features);
    let metrics = plan.flat("metrics", METRIC_ROWS as usize * METRICS);
    let first_moment = plan.flat("first moment", n_parameters);
    let second_moment = plan.flat("second moment", n_parameters);
    let gradient = plan.flat("parameter gradient", n_parameters);
    let partials = plan.flat("partial gradients", chunks.count() as usize * n_parameters);
    let n_partials = n_parameters.div_ceil(GROUP);
    let squares = plan.flat("sums of squares", n_partials);
    let scale = plan.flat("clip scale", 1);
    let pass = NetworkPass::new(&mut plan, network, target);

    let chain = ChainPass::new(&mut plan, network, state, &fake, batch, target);
    let mut start = Vec::new();
    pass.pack(&mut start);
    chain.pack(&mut start, &pass);

    let mut step = Vec::new();
    let draw = DrawReal {
        lanes,
        batch,
        n_images,
        shape: network.input,
        data_shape: numbers.data_shape,
        noise: numbers.data_noise,
    };
    step.push(Launch::per_block(draw, &real, &[state, data, pass.x]));
    let draw = DrawNegatives { lanes, features, fresh: numbers.fresh };
    step.push(Launch::per_block(draw, &fake, &[state, ring, pass.x]));
    chain.run(&mut step, &pass, network, &numbers.chain);
    let capacity = numbers.ring_capacity;
    let push = PushReplay { lanes, features, batch, capacity, first_block: half_blocks };
    step.push(Launch::whole(push, &[state, pass.x, ring]));

    let n_sampling = step.len();
    pass.forward(&mut step, &all);
    let loss = ContrastiveLoss { lanes, batch, n_images, metric_rows: METRIC_ROWS, alpha: numbers.alpha };
    step.push(Launch::whole(loss, &[state, pass.energies, pass.seeds, metrics]));
    pass.to_layers(&mut step, &all);
    pass.to_parameters(&mut step, chunks, partials);
    let reduce = ReducePartials { n_parameters, n_chunks: chunks.count() };
    step.push(Launch::whole(reduce, &[partials, gradient]));
    step.push(Launch::whole(SumSquares { n_parameters }, &[gradient, squares]));
    let clip = ClipScale { n_partials, metric_rows: METRIC_ROWS, clip: numbers.gradient_norm_clip };
    step.push(Launch::whole(clip, &[state, squares, scale, metrics]));
    let adam = Adam {
        n_parameters,
        learning_rate: numbers.learning_rate,
        beta1: numbers.beta1,
        beta2: numbers.beta2,
        epsilon: numbers.epsilon,
    };
    let bindings = [state, gradient, scale, first_moment, second_moment, pass.parameters];
    step.push(Launch::whole(adam, &bindings));
    pass.pack(&mut step);
    chain.pack(&mut step, &pass);
    step.push(Launch::whole(Advance { batch, capacity }, &[state]));

    let update = step[n_sampling..].to_vec();
    let (start, step, update) = (plan.program(start), plan.program(step), plan.program(update));
    TrainingPlan {
        plan,
        start,
        step,
        update,
        state,
        data,
        ring,
        metrics,
        first_moment,
        second_moment,
        gradient,
        pass,
        half_blocks,
    }
}

/// Chains from given or random images.
#[derive(Clone, Debug)]
pub struct SamplerPlan {
    /// The plan.
    pub plan: Plan,
    /// Packs the weights: run once after parameters were written.
    pub start: ProgramId,
    /// Fills `x` with uniform noise.
    pub noise: ProgramId,
    /// Langevin steps, as many as the key says, from [`crate::kernels::State::chain_base`] on.
    pub chains: Vec<(u32, ProgramId)>,
    /// Energies of `x`.
    pub energies: ProgramId,
    /// [`crate::kernels::State`].
    pub state: BufferId,
    /// The network's buffers.
    pub pass: NetworkPass,
}

/// Plans a sampler of `count` chains; `lengths` are the numbers of Langevin steps that one run may do at once.
pub fn sampler_plan(
    network: &Network,
    count: usize,
    numbers: &SamplerNumbers,
    lengths: &[u32],
    target: Target,
) -> SamplerPlan {
    let n_blocks = target.blocks(count);
    let mut plan = Plan::new(target.lanes, n_blocks);
    let (lanes, features, blocks) = (target.lanes, network.input.len(), 0..n_blocks);
    let state = plan.integers("state", 8);
    let pass = NetworkPass::new(&mut plan, network, target);
    let chain = ChainPass::new(&mut plan, network, state, &blocks, count as u32, target);
    let mut start = Vec::new();
    pass.pack(&mut start);
    chain.pack(&mut start, &pass);
    let start = plan.program(start);
    let random =
        Random { lanes, features, stream: Stream::SamplerStart, distribution: Distribution::Uniform };
    let noise = plan.program(vec![Launch::per_block(random, &blocks, &[state, pass.x])]);
    let mut chains = Vec::new();
    for &steps in lengths {
        let mut launches = Vec::new();
        let numbers = SamplerNumbers { steps, ..*numbers };
        chain.run(&mut launches, &pass, network, &numbers);
        chains.push((steps, plan.program(launches)));
    }
    let mut energies = Vec::new();
    pass.forward(&mut energies, &blocks);
    let energies = plan.program(energies);
    SamplerPlan { plan, start, noise, chains, energies, state, pass }
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
    /// The network's buffers.
    pub pass: NetworkPass,
}

/// Plans energies and input gradients of up to `count` images at a time.
pub fn energy_plan(network: &Network, count: usize, target: Target) -> EnergyPlan {
    let n_blocks = target.blocks(count);
    let mut plan = Plan::new(target.lanes, n_blocks);
    let blocks = 0..n_blocks;
    let pass = NetworkPass::new(&mut plan, network, target);
    let mut start = Vec::new();
    pass.pack(&mut start);
    let mut energies = Vec::new();
    pass.forward(&mut energies, &blocks);
    let mut gradients = energies.clone();
    pass.to_input(&mut gradients, &blocks);
    let (start, energies, gradients) = (plan.program(start), plan.program(energies), plan.program(gradients));
    EnergyPlan { plan, start, energies, gradients, pass }
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
    let (invocations, turns) = (1 << 18, 1 << 10);
    let mut plan = Plan::new(1, 1);
    let result = plan.flat("result", invocations as usize);
    let run = plan.program(vec![Launch::whole(MultiplyAdds { invocations, turns }, &[result])]);
    let flop = 2.0 * CHAINS as f64 * f64::from(invocations) * f64::from(turns);
    PeakPlan { plan, run, result, flop }
}
