//! Whole plans: a training step, a sampler's chain, energies of given images.

use super::cut::fused_share;
use super::guard_pass::{GuardNumbers, GuardPass, Judged};
use super::score_pass::{Batch, ScoreObjective, ScorePass};
use super::shares::{Share, shares};
use super::{BufferId, KlPass, Launch, NetworkPass, Plan, Precision, ProgramId, Target};
use crate::data::ImageShape;
use crate::data::toy::Toy;
use crate::kernels::State;
use crate::kernels::adam::{Adam, Schedule};
use crate::kernels::add_penalty::AddPenalty;
use crate::kernels::advance::Advance;
use crate::kernels::augment_starts::{Augment, AugmentStarts};
use crate::kernels::average_weights::AverageWeights;
use crate::kernels::chain::{Chain, ChainLayer, Hidden, chain_layers, pack_chain, packed_len, scratch_len};
use crate::kernels::clip_scale::ClipScale;
use crate::kernels::contrastive_loss::{ContrastiveLoss, METRICS};
use crate::kernels::conv_weight_gradient::Chunks;
use crate::kernels::copy_images::CopyImages;
use crate::kernels::draw_negatives::{DrawNegatives, Noise};
use crate::kernels::draw_real::DrawReal;
use crate::kernels::draw_toy::DrawToy;
use crate::kernels::dynamics::{Dynamics, Form, Path};
use crate::kernels::kl_direction::KlDirection;
use crate::kernels::langevin::Langevin;
use crate::kernels::mala_accept::MalaAccept;
use crate::kernels::mala_propose::MalaPropose;
use crate::kernels::mean_acceptance::MeanAcceptance;
use crate::kernels::multiply_adds::{CHAINS, MultiplyAdds, STEPS};
use crate::kernels::push_replay::PushReplay;
use crate::kernels::random::Random;
use crate::kernels::reduce_partials::ReducePartials;
use crate::kernels::smoothness::Smoothness;
use crate::kernels::spectral_bound::SpectralBound;
use crate::kernels::spectral_input::{Matrix, SpectralInput};
use crate::kernels::spectral_output::SpectralOutput;
use crate::kernels::sum_squares::{GROUP, SumSquares};
use crate::kernels::weight_penalty::WeightPenalty;
use crate::network::{Network, ParameterTensor};
use crate::random::Stream;
use std::ops::Range;

/// Rows of the resident metrics table: training steps that may be under way before the host reads it.
pub const METRIC_ROWS: u32 = 64;

/// The numbers of a Langevin chain. The default is recipe R1's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerNumbers {
    /// Langevin steps.
    pub steps: u32,
    /// What a step is.
    pub form: Form,
    /// What the clipped gradient is multiplied by.
    pub step_size: f32,
    /// Standard deviation of the noise, in the forms that have no temperature.
    pub noise: f32,
    /// Temperature, in the forms that have one.
    pub temperature: f32,
    /// Largest magnitude of a gradient element; 0 for no clip.
    pub gradient_clip: f32,
    /// Largest magnitude of a value; 0 for no clamp.
    pub clamp: f32,
    /// How step size and noise change over training, or within a chain of sampling.
    pub change: Option<SamplerChange>,
    /// What chains start from, in sampling.
    pub start: Noise,
}

/// How step size and noise change from level to level: the state's `step` is the level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerChange {
    /// The step size at the last level.
    pub step_size_end: f32,
    /// The noise at the last level.
    pub noise_end: f32,
    /// The way there.
    pub path: Path,
    /// Levels: the run's training steps in training, and what [`crate::Sampler`] divides a chain into.
    pub levels: u32,
}

impl Default for SamplerNumbers {
    fn default() -> Self {
        Self {
            steps: 100,
            form: Form::NoiseFirst,
            step_size: 10.0,
            noise: 0.005,
            temperature: 1.0,
            gradient_clip: 0.03,
            clamp: 1.0,
            change: None,
            start: Noise::UNIFORM,
        }
    }
}

impl SamplerNumbers {
    /// As kernels take them.
    fn dynamics(&self) -> Dynamics {
        let or_infinite = |limit: f32| if limit > 0.0 { limit } else { f32::INFINITY };
        let change = self.change.unwrap_or(SamplerChange {
            step_size_end: self.step_size,
            noise_end: self.noise,
            path: Path::Linear,
            levels: 0,
        });
        Dynamics {
            form: self.form,
            step_size: self.step_size,
            step_size_end: change.step_size_end,
            noise: self.noise,
            noise_end: change.noise_end,
            path: change.path,
            levels: change.levels,
            temperature: self.temperature,
            gradient_clip: or_infinite(self.gradient_clip),
            bound: or_infinite(self.clamp),
        }
    }
}

/// Where a training step's real images come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The data set, of bytes.
    #[default]
    Bytes,
    /// The data set, of floats.
    Floats,
    /// A toy set, drawn anew every step: there is no data set.
    Fresh(Toy),
}

/// The numbers of a training step. The default is recipe R1's, for no data set yet.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingNumbers {
    /// Real images, and chains, a step.
    pub batch: u32,
    /// Where real images come from.
    pub source: Source,
    /// Images in the data set; fresh ones that count as an epoch.
    pub n_images: u32,
    /// Images of the data set that one buffer holds, at most; 0 for all.
    pub data_part: u32,
    /// Shape of the data set's images.
    pub data_shape: ImageShape,
    /// Standard deviation of the noise on real images.
    pub data_noise: f32,
    /// The chain.
    pub chain: SamplerNumbers,
    /// Where chains start.
    pub starts: Starts,
    /// What fresh noise is.
    pub noise: Noise,
    /// How starts are changed on their way.
    pub augment: Augment,
    /// Slots of the ring: of the replay ring, persistent chains, or else as many as the batch has images, for the chains
    /// of the last step to be looked at.
    pub ring_capacity: u32,
    /// Probability that a chain starts from fresh noise and not from the ring.
    pub fresh: f32,
    /// Weight of the energies' L2 penalty.
    pub alpha: f32,
    /// Whether that penalty is of the mean energies' squares, and not of the squared energies' means.
    pub square_of_means: bool,
    /// Weight of the KL term through the chains' last step; 0 for none, and without effect in a [`Form`] that has none.
    pub kl: f32,
    /// Weight of the smoothness penalty; 0 for none.
    pub smoothness: f32,
    /// Standard deviation of that penalty's noise.
    pub smoothness_noise: f32,
    /// Weight of the weights' L2 penalty; 0 for none.
    pub weight_l2: f32,
    /// Adam's step length.
    pub learning_rate: f64,
    /// What it is multiplied by as training goes on.
    pub schedule: Schedule,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Adam's epsilon.
    pub epsilon: f64,
    /// Largest norm of the gradient; 0 for no clip.
    pub gradient_norm_clip: f32,
    /// Largest magnitude of the gradient's elements, after that; 0 for no clip.
    pub gradient_clip: f32,
    /// Share of itself, times the learning rate, that each parameter loses in a step.
    pub weight_decay: f64,
    /// Share of itself that the parameters' moving average keeps in a step; 0 for no average.
    pub average_decay: f64,
    /// Fit the score, without chains; `None` trains by chains.
    pub score: Option<ScoreObjective>,
    /// Judge every step and keep snapshots; `None` trains whatever happens.
    pub guard: Option<GuardNumbers>,
}

/// Where a training step's chains start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Starts {
    /// In the replay ring, drawn from with replacement, or fresh.
    #[default]
    Replay,
    /// Where persistent chains are, each at most once a step, or fresh.
    Persistent,
    /// Fresh.
    Noise,
    /// At the step's real images.
    Data,
}

impl Default for TrainingNumbers {
    fn default() -> Self {
        Self {
            batch: 128,
            source: Source::Bytes,
            n_images: 0,
            data_part: 0,
            data_shape: ImageShape { channels: 1, height: 28, width: 28 },
            data_noise: 0.005,
            chain: SamplerNumbers::default(),
            starts: Starts::Replay,
            noise: Noise::UNIFORM,
            augment: Augment::default(),
            ring_capacity: 8192,
            fresh: 0.05,
            alpha: 0.1,
            square_of_means: false,
            kl: 0.0,
            smoothness: 0.0,
            smoothness_noise: 0.01,
            weight_l2: 0.0,
            learning_rate: 1e-4,
            schedule: Schedule::default(),
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-7,
            gradient_norm_clip: 0.0,
            gradient_clip: 0.0,
            weight_decay: 0.0,
            average_decay: 0.0,
            score: None,
            guard: None,
        }
    }
}

/// Where and how a plan's chains run.
#[derive(Clone, Debug)]
struct ChainPass {
    state: BufferId,
    blocks: Range<u32>,
    n_images: u32,
    fused: Option<FusedPass>,
    adjusted: Option<AdjustedPass>,
    counts_anew: bool, // accepted proposals, with every chain
}

/// MALA's own buffers: a chain's place, beside its proposal in `x`.
#[derive(Clone, Copy, Debug)]
struct AdjustedPass {
    x: BufferId,
    gradient: BufferId,
    energies: BufferId,
    decisions: BufferId,
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
    /// Adds what a chain of `n_images`, from the first of `blocks` on, needs besides the network's pass.
    fn new(
        plan: &mut Plan,
        network: &Network,
        state: BufferId,
        blocks: &Range<u32>,
        n_images: u32,
        form: Form,
        target: Target,
    ) -> Self {
        let adjusted = (form == Form::Mala).then(|| AdjustedPass {
            x: plan.per_block("chain's x", network.input.len()),
            gradient: plan.per_block("chain's gradient", network.input.len()),
            energies: plan.per_block("chain's energies", 1),
            decisions: plan.per_block("decisions", 2),
        });
        let fuses = target.fused_steps > 0 && adjusted.is_none();
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
        Self { state, blocks: blocks.clone(), n_images, fused, adjusted, counts_anew: true }
    }

    /// Packs the weights; needed after every change of the parameters.
    fn pack(&self, launches: &mut Vec<Launch>, pass: &NetworkPass) {
        if let Some(fused) = &self.fused {
            for kernel in pack_chain(&fused.layers) {
                launches.push(Launch::whole(kernel, &[pass.parameters, fused.weights]));
            }
        }
    }

    /// Adds a chain's launches: fused, or the network's pass and [`Langevin`] in turn. With `kl` the last step is of the
    /// latter kind, and where it begins is kept.
    fn run(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        network: &Network,
        numbers: &SamplerNumbers,
        kl: Option<&KlPass>,
    ) {
        let (lanes, features) = (pass.lanes(), network.input.len());
        let dynamics = numbers.dynamics();
        let mut steps = 0..numbers.steps; // by layers
        if let Some(fused) = &self.fused {
            steps.start = if kl.is_some() { numbers.steps.saturating_sub(1) } else { numbers.steps };
            let images = (0..self.n_images).step_by(fused.images as usize);
            let first_steps = || (0..steps.start).step_by(fused.steps as usize);
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
                    n_steps: (steps.start - first_step).min(fused.steps),
                    dynamics,
                    first_block: self.blocks.start,
                };
                let bindings = [self.state, fused.weights, pass.parameters, pass.x, fused.scratch];
                launches.push(Launch::whole(kernel, &bindings));
            }
            if steps.is_empty() {
                return;
            }
        }
        let langevin = |launches: &mut Vec<Launch>, moves, perturbs| {
            let kernel = Langevin { lanes, features, moves, perturbs, dynamics };
            let bindings = [self.state, pass.input_gradient, pass.x];
            launches.push(Launch::per_block(kernel, &self.blocks, &bindings));
        };
        if let Some(adjusted) = &self.adjusted {
            self.run_adjusted(launches, pass, adjusted, &dynamics, numbers.steps);
            return;
        }
        let (noise_first, first) = (dynamics.form == Form::NoiseFirst, launches.len());
        if noise_first {
            langevin(launches, false, (!steps.is_empty()).then_some(steps.start));
        }
        for step in steps {
            pass.forward(launches, &self.blocks);
            pass.to_input(launches, &self.blocks);
            if let Some(kl) = kl.filter(|_| step + 1 == numbers.steps) {
                kl.keep(launches, pass, &self.blocks);
            }
            let next = if noise_first { step + 1 } else { step };
            langevin(launches, true, (next < numbers.steps).then_some(next));
        }
        launches[first..].iter_mut().for_each(|launch| launch.precision = Precision::Bf16);
    }

    /// Adds a MALA chain's launches: energy and gradient where it begins, then proposals, each with its energy and
    /// gradient, accepted or rejected.
    fn run_adjusted(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        own: &AdjustedPass,
        dynamics: &Dynamics,
        steps: u32,
    ) {
        let (lanes, dynamics) = (pass.lanes(), *dynamics);
        let features = pass.features();
        for proposal in 0..=steps {
            pass.forward(launches, &self.blocks);
            pass.to_input(launches, &self.blocks);
            let (step, resets) = (proposal.checked_sub(1), self.counts_anew);
            let accept = MalaAccept { lanes, features, step, resets, dynamics };
            let bindings = [
                self.state,
                pass.energies,
                pass.input_gradient,
                pass.x,
                own.x,
                own.gradient,
                own.energies,
                own.decisions,
            ];
            launches.push(Launch::per_block(accept, &self.blocks, &bindings));
            let perturbs = (proposal < steps).then_some(proposal);
            let propose = MalaPropose { lanes, features, perturbs, dynamics };
            let bindings = [self.state, pass.input_gradient, own.decisions, pass.x, own.x, own.gradient];
            launches.push(Launch::per_block(propose, &self.blocks, &bindings));
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
    /// The data set, as [`TrainingNumbers::source`] says, in parts ([`TrainingNumbers::data_part`]); none where there is none.
    pub data: Vec<DataPart>,
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
    /// The moving average of the parameters, if there is one.
    pub average: Option<BufferId>,
    /// The network's buffers: blocks of the real half first, then as many of the fake half.
    pub pass: NetworkPass,
    /// What an objective without chains needs.
    pub score: Option<ScorePass>,
    /// What the KL term needs.
    pub kl: Option<KlPass>,
    /// Of networks with bounded spectral norms.
    pub spectral: Option<SpectralPlan>,
    /// What judges steps and keeps snapshots, if anything does.
    pub guard: Option<GuardPass>,
    /// Blocks of each half.
    pub half_blocks: u32,
}

/// Some images of the data set, in a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct DataPart {
    /// Their numbers.
    pub images: Range<u32>,
    /// Where they are.
    pub buffer: BufferId,
}

/// How the spectral norms of weights are bounded.
#[derive(Clone, Debug)]
pub struct SpectralPlan {
    /// One power iteration on each matrix, and its projection: what every training step does after Adam. Run many times once
    /// after parameters were written and [`Self::vectors`] drawn, it brings them within their bounds.
    pub iterate: ProgramId,
    /// What the iterations keep: u of each matrix ([`Matrix::vector`]), which any vector may begin.
    pub vectors: BufferId,
    /// `[matrix]`: the norms that the last iteration found, before it bounded them.
    pub norms: BufferId,
    /// The matrices, as [`Network::bounded`] lists them, with their bounds.
    pub matrices: Vec<(Matrix, f32)>,
    scratch: [BufferId; 2],
}

impl SpectralPlan {
    /// Adds what a network's bounds need to a plan; nothing where it has none.
    fn new(plan: &mut Plan, network: &Network) -> Option<Self> {
        let mut vector_offset = 0;
        let of_tensor = |(tensor, bound): (ParameterTensor, f32)| {
            let (rows, columns) = tensor.matrix();
            let matrix = Matrix { rows, columns, weight_offset: tensor.offset, vector_offset };
            vector_offset = matrix.vector().end;
            (matrix, bound)
        };
        let matrices: Vec<_> = network.bounded().into_iter().map(of_tensor).collect();
        let rows = matrices.iter().map(|(matrix, _)| matrix.rows).max()?;
        let columns = matrices.iter().map(|(matrix, _)| matrix.columns).max()?;
        let vectors = plan.flat("spectral vectors", vector_offset);
        let norms = plan.flat("spectral norms", matrices.len());
        let scratch = [plan.flat("spectral inputs", columns), plan.flat("spectral outputs", rows)];
        Some(Self { iterate: ProgramId(0), vectors, norms, matrices, scratch })
    }

    fn launches(&self, state: BufferId, parameters: BufferId) -> Vec<Launch> {
        let (Self { vectors, norms, scratch: [inputs, outputs], .. }, mut launches) = (self, Vec::new());
        for (number, &(matrix, bound)) in self.matrices.iter().enumerate() {
            launches.push(Launch::whole(SpectralInput { matrix }, &[parameters, *vectors, *inputs]));
            launches.push(Launch::whole(SpectralOutput { matrix }, &[parameters, *inputs, *outputs]));
            let bindings = [state, *inputs, *outputs, parameters, *vectors, *norms];
            launches.push(Launch::whole(SpectralBound { matrix, number, bound }, &bindings));
        }
        launches
    }
}

/// Plans a training step: draw real images, draw chain starts, run the chain, energies, loss, parameter gradient, the
/// guard, push the chain into the ring, Adam. Objectives that fit the score have no chains, no ring and no fake half.
pub fn training_plan(network: &Network, numbers: &TrainingNumbers, target: Target) -> TrainingPlan {
    let training = Training::new(network, numbers, target);
    let mut start = Vec::new();
    training.pack(&mut start);
    let mut step = Vec::new();
    training.draw(&mut step);
    let n_sampling;
    if let Some(score) = &training.buffers.score {
        training.look(&mut step);
        training.draw_for_score(score, &mut step);
        n_sampling = step.len();
        training.score(score, &mut step);
    } else {
        training.chains(&mut step);
        n_sampling = step.len();
        training.loss(&mut step);
        training.gradient(&mut step);
    }
    training.update(&mut step);
    let update = step[n_sampling..].to_vec();
    let Training { mut plan, mut buffers, .. } = training;
    if let Some(guard) = &mut buffers.guard {
        guard.programs(&mut plan, buffers.state, start.clone());
    }
    let (start, step, update) = (plan.program(start), plan.program(step), plan.program(update));
    if let Some(spectral) = &mut buffers.spectral {
        spectral.iterate = plan.program(spectral.launches(buffers.state, buffers.pass.parameters));
    }
    TrainingPlan { plan, start, step, update, ..buffers }
}

/// The data set's buffers, as few as hold it.
fn data_parts(plan: &mut Plan, numbers: &TrainingNumbers) -> Vec<DataPart> {
    let n_images = numbers.n_images;
    let at_once = if numbers.data_part == 0 { n_images } else { numbers.data_part.min(n_images) };
    if let Source::Fresh(_) = numbers.source {
        return Vec::new();
    }
    let mut part = |first: u32| {
        let images = first..n_images.min(first.saturating_add(at_once));
        let len = images.len() * numbers.data_shape.len();
        let name =
            if at_once == n_images { "data".to_owned() } else { format!("data from image {first} on") };
        let buffer = match numbers.source {
            Source::Bytes => plan.integers(name, len.div_ceil(4)),
            _ => plan.flat(name, len),
        };
        DataPart { images, buffer }
    };
    (0..n_images.max(1)).step_by(at_once.max(1) as usize).map(&mut part).collect()
}

/// A training step in the making.
struct Training<'a> {
    plan: Plan,
    network: &'a Network,
    numbers: &'a TrainingNumbers,
    target: Target,
    buffers: TrainingPlan, // its plan is empty
    chain: ChainPass,
    partials: BufferId,
    squares: BufferId,
    scale: BufferId,
    starts: Option<BufferId>, // that are yet to be augmented
    judged: Judged,
}

impl<'a> Training<'a> {
    /// Settles the buffers.
    fn new(network: &'a Network, numbers: &'a TrainingNumbers, target: Target) -> Self {
        let half_blocks = target.blocks(numbers.batch as usize);
        let parts = match numbers.score {
            Some(_) => 1,
            None if numbers.smoothness > 0.0 => 3,
            None => 2,
        };
        let mut plan = Plan::new(target.lanes, parts * half_blocks);
        let (features, n_parameters) = (network.input.len(), network.n_parameters);
        let has_kl = numbers.score.is_none() && numbers.kl > 0.0 && numbers.chain.form.has_kl();
        let mut n_chunks = target.chunks(parts * half_blocks).count();
        if let Some(objective) = numbers.score {
            n_chunks = objective.n_partials(n_chunks);
        }
        if has_kl {
            n_chunks += target.chunks(half_blocks).count();
        }
        let state = plan.integers("state", State::WORDS);
        let data = data_parts(&mut plan, numbers);
        let ring = plan.flat("replay ring", numbers.ring_capacity as usize * features);
        let metrics = plan.flat("metrics", METRIC_ROWS as usize * METRICS);
        let first_moment = plan.flat("first moment", n_parameters);
        let second_moment = plan.flat("second moment", n_parameters);
        let gradient = plan.flat("parameter gradient", n_parameters);
        let partials = plan.flat("partial gradients", n_chunks as usize * n_parameters);
        let squares = plan.flat("sums of squares", n_parameters.div_ceil(GROUP));
        let scale = plan.flat("clip scale", 1);
        let average = (numbers.average_decay > 0.0).then(|| plan.flat("average", n_parameters));
        let pass = NetworkPass::new(&mut plan, network, target);
        let spectral = SpectralPlan::new(&mut plan, network);
        let score = numbers.score.map(|objective| ScorePass::new(&mut plan, &pass, objective));
        let kl = has_kl.then(|| KlPass::new(&mut plan, &pass));
        let chains = score.is_none();
        let augments = chains && numbers.augment.probability > 0.0 && numbers.starts != Starts::Data;
        let starts = augments.then(|| plan.per_block("starts", features));
        let of_chain = if chains { target } else { Target { fused_steps: 0, ..target } };
        let form = if chains { numbers.chain.form } else { Form::Theory };
        let fake = half_blocks..2 * half_blocks;
        let chain = ChainPass::new(&mut plan, network, state, &fake, numbers.batch, form, of_chain);
        let judged = Judged {
            state,
            metrics,
            energies: score.as_ref().map_or(pass.energies, |score| score.energies(&pass)),
            streams: numbers.score.map_or(1, |objective| objective.jet(features).streams()),
            batch: numbers.batch,
            n_images: numbers.n_images,
            metric_rows: METRIC_ROWS,
            half_blocks,
            has_fakes: chains,
            clamp: numbers.chain.clamp,
        };
        let guard = numbers.guard.map(|guard| {
            let kept = [state, pass.parameters, first_moment, second_moment, ring];
            let vectors = spectral.as_ref().map(|spectral| spectral.vectors);
            let kept: Vec<_> = kept.into_iter().chain(average).chain(vectors).collect();
            GuardPass::new(&mut plan, guard, &judged, features, &kept)
        });
        let none = ProgramId(0);
        let buffers = TrainingPlan {
            plan: Plan::new(target.lanes, 0),
            start: none,
            step: none,
            update: none,
            state,
            data,
            ring,
            metrics,
            first_moment,
            second_moment,
            gradient,
            average,
            pass,
            score,
            kl,
            spectral,
            guard,
            half_blocks,
        };
        Self { plan, network, numbers, target, buffers, chain, partials, squares, scale, starts, judged }
    }

    fn real(&self) -> Range<u32> {
        0..self.buffers.half_blocks
    }

    fn fake(&self) -> Range<u32> {
        self.buffers.half_blocks..2 * self.buffers.half_blocks
    }

    fn all(&self) -> Range<u32> {
        0..self.plan.n_blocks
    }

    /// Packs the weights.
    fn pack(&self, launches: &mut Vec<Launch>) {
        self.buffers.pass.pack(launches);
        self.chain.pack(launches, &self.buffers.pass);
    }

    /// Real images.
    fn draw(&self, launches: &mut Vec<Launch>) {
        let TrainingPlan { state, data, pass, .. } = &self.buffers;
        let (lanes, real, noise) = (self.target.lanes, self.real(), self.numbers.data_noise);
        if let Source::Fresh(toy) = self.numbers.source {
            launches.push(Launch::per_block(DrawToy { lanes, toy, noise }, &real, &[*state, pass.x]));
        }
        for part in data {
            let draw = DrawReal {
                lanes,
                batch: self.numbers.batch,
                n_images: self.numbers.n_images,
                part: part.images.clone(),
                shape: self.network.input,
                data_shape: self.numbers.data_shape,
                floats: self.numbers.source == Source::Floats,
                noise,
            };
            launches.push(Launch::per_block(draw, &real, &[*state, part.buffer, pass.x]));
        }
    }

    /// What the guard looks at before the chains are run.
    fn look(&self, launches: &mut Vec<Launch>) {
        if let Some(guard) = &self.buffers.guard {
            guard.look(launches, &self.plan, &self.buffers.pass, &self.judged);
        }
    }

    /// Fake images: chains from their starts on.
    fn chains(&self, launches: &mut Vec<Launch>) {
        let TrainingPlan { state, ring, pass, half_blocks, .. } = &self.buffers;
        let (lanes, features) = (self.target.lanes, self.network.input.len());
        let TrainingNumbers { starts, noise, fresh, ring_capacity, .. } = *self.numbers;
        if starts == Starts::Data {
            self.copy(launches, *half_blocks, 0.0);
        } else {
            let fresh = if starts == Starts::Noise { 1.0 } else { fresh };
            let subset = if starts == Starts::Persistent { ring_capacity } else { 0 };
            let draw = DrawNegatives { lanes, features, fresh, noise, subset };
            let to = self.starts.unwrap_or(pass.x);
            launches.push(Launch::per_block(draw, &self.fake(), &[*state, *ring, to]));
            if let Some(starts) = self.starts {
                let (shape, augment) = (self.network.input, self.numbers.augment);
                let kernel = AugmentStarts { lanes, shape, augment };
                launches.push(Launch::per_block(kernel, &self.fake(), &[*state, starts, pass.x]));
            }
        }
        self.look(launches);
        self.chain.run(launches, pass, self.network, &self.numbers.chain, self.buffers.kl.as_ref());
    }

    /// Copies the real images to the blocks from `first_block` on, with noise.
    fn copy(&self, launches: &mut Vec<Launch>, first_block: u32, noise: f32) {
        let copy = CopyImages {
            lanes: self.target.lanes,
            features: self.network.input.len(),
            batch: self.numbers.batch,
            n_images: self.numbers.n_images,
            first_block,
            noise,
        };
        launches.push(Launch::whole(copy, &[self.buffers.state, self.buffers.pass.x]));
    }

    /// Energies, the loss, and its derivative with respect to the energies.
    fn loss(&self, launches: &mut Vec<Launch>) {
        let TrainingPlan { state, metrics, pass, half_blocks, .. } = &self.buffers;
        let TrainingNumbers { batch, n_images, smoothness, chain, .. } = *self.numbers;
        let lanes = self.target.lanes;
        if smoothness > 0.0 {
            self.copy(launches, 2 * half_blocks, self.numbers.smoothness_noise);
        }
        pass.forward(launches, &self.all());
        if let Some(kl) = &self.buffers.kl {
            let (features, weight, dynamics) = (pass.features(), self.numbers.kl, chain.dynamics());
            let direction = KlDirection { lanes, features, batch, weight, dynamics };
            kl.begin(launches, pass, *state, direction, &self.fake());
        }
        let loss = ContrastiveLoss {
            lanes,
            batch,
            n_images,
            metric_rows: METRIC_ROWS,
            alpha: self.numbers.alpha,
            square_of_means: self.numbers.square_of_means,
            kl: if self.buffers.kl.is_some() { self.numbers.kl } else { 0.0 },
        };
        let bindings = [*state, pass.energies, pass.seeds, *metrics];
        launches.push(Launch::whole(loss, &bindings));
        if smoothness > 0.0 {
            let first_block = 2 * half_blocks;
            let (metric_rows, weight) = (METRIC_ROWS, smoothness);
            let penalty = Smoothness { lanes, batch, n_images, first_block, metric_rows, weight };
            launches.push(Launch::whole(penalty, &bindings));
        }
        if let Some(adjusted) = &self.chain.adjusted {
            let (first_block, steps, metric_rows) = (*half_blocks, chain.steps, METRIC_ROWS);
            let mean = MeanAcceptance { lanes, batch, first_block, steps, metric_rows };
            launches.push(Launch::whole(mean, &[*state, adjusted.decisions, *metrics]));
        }
    }

    /// The parameter gradient, from the seeds on.
    fn gradient(&self, launches: &mut Vec<Launch>) {
        let pass = &self.buffers.pass;
        let chunks = self.target.chunks(self.plan.n_blocks);
        pass.to_layers(launches, &self.all());
        pass.to_parameters(launches, chunks, self.partials, self.numbers.alpha != 0.0);
        let mut n_chunks = chunks.count();
        if let Some(kl) = &self.buffers.kl {
            let (first_block, first_chunk) = (self.fake().start, n_chunks);
            let of_fake = self.target.chunks(self.buffers.half_blocks);
            kl.gradient(launches, pass, Chunks { first_block, first_chunk, ..of_fake }, self.partials);
            n_chunks += of_fake.count();
        }
        self.reduce(launches, n_chunks);
    }

    fn reduce(&self, launches: &mut Vec<Launch>, n_chunks: u32) {
        let reduce = ReducePartials { n_parameters: self.network.n_parameters, n_chunks };
        launches.push(Launch::whole(reduce, &[self.partials, self.buffers.gradient]));
        let (n_parameters, weight) = (self.network.n_parameters, self.numbers.weight_l2);
        if weight > 0.0 {
            let TrainingPlan { state, metrics, pass, .. } = &self.buffers;
            let (n_partials, metric_rows) = (n_parameters.div_ceil(GROUP), METRIC_ROWS);
            let derivative = WeightPenalty { n_parameters, weight };
            launches.push(Launch::whole(derivative, &[pass.parameters, self.buffers.gradient]));
            launches.push(Launch::whole(SumSquares { n_parameters }, &[pass.parameters, self.squares]));
            let penalty = AddPenalty { n_partials, metric_rows, weight };
            launches.push(Launch::whole(penalty, &[*state, self.squares, *metrics]));
        }
    }

    /// What an objective that fits the score draws besides images.
    fn draw_for_score(&self, score: &ScorePass, launches: &mut Vec<Launch>) {
        score.draw(launches, &self.buffers.pass, self.buffers.state, &self.real());
    }

    /// Loss and parameter gradient of an objective that fits the score.
    fn score(&self, score: &ScorePass, launches: &mut Vec<Launch>) {
        let TrainingPlan { state, metrics, pass, .. } = &self.buffers;
        let chunks = self.target.chunks(self.plan.n_blocks);
        let TrainingNumbers { batch, n_images, .. } = *self.numbers;
        let batch = Batch { batch, n_images, metric_rows: METRIC_ROWS };
        score.run(launches, pass, (*state, *metrics), batch, (chunks, self.partials));
        self.reduce(launches, self.numbers.score.map_or(0, |score| score.n_partials(chunks.count())));
    }

    /// New parameters from the gradient, chains into the ring, and the step's end.
    fn update(&self, launches: &mut Vec<Launch>) {
        let TrainingPlan { state, metrics, gradient, first_moment, second_moment, pass, .. } = &self.buffers;
        let (numbers, n_parameters) = (self.numbers, self.network.n_parameters);
        launches.push(Launch::whole(SumSquares { n_parameters }, &[*gradient, self.squares]));
        let clip = ClipScale {
            n_partials: n_parameters.div_ceil(GROUP),
            metric_rows: METRIC_ROWS,
            clip: numbers.gradient_norm_clip,
        };
        launches.push(Launch::whole(clip, &[*state, self.squares, self.scale, *metrics]));
        if let Some(guard) = &self.buffers.guard {
            guard.judge(launches, &self.plan, pass, &self.judged);
        }
        // Persistent chains stay in their slots: the ring has no head.
        let persistent = numbers.starts == Starts::Persistent;
        let pushed = if numbers.score.is_some() || persistent { 0 } else { numbers.batch };
        if numbers.score.is_none() {
            let push = PushReplay {
                lanes: self.target.lanes,
                features: self.network.input.len(),
                batch: numbers.batch,
                capacity: numbers.ring_capacity,
                first_block: self.buffers.half_blocks,
                subset: persistent,
            };
            launches.push(Launch::whole(push, &[*state, pass.x, self.buffers.ring]));
        }
        let adam = Adam {
            n_parameters,
            learning_rate: numbers.learning_rate,
            beta1: numbers.beta1,
            beta2: numbers.beta2,
            epsilon: numbers.epsilon,
            schedule: numbers.schedule,
            gradient_clip: if numbers.gradient_clip > 0.0 { numbers.gradient_clip } else { f32::INFINITY },
            weight_decay: numbers.weight_decay,
            retry_factor: self.buffers.guard.as_ref().map_or(1.0, GuardPass::learning_rate_factor),
        };
        let bindings = [*state, *gradient, self.scale, *first_moment, *second_moment, pass.parameters];
        launches.push(Launch::whole(adam, &bindings));
        if let Some(spectral) = &self.buffers.spectral {
            launches.extend(spectral.launches(*state, pass.parameters));
        }
        self.pack(launches);
        if let Some(average) = self.buffers.average {
            let kernel = AverageWeights { n_parameters, decay: numbers.average_decay };
            launches.push(Launch::whole(kernel, &[*state, pass.parameters, average]));
        }
        let advance = Advance { batch: pushed, capacity: numbers.ring_capacity };
        launches.push(Launch::whole(advance, &[*state]));
    }
}

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
    /// The network's buffers.
    pub pass: NetworkPass,
    /// The chains that have their turn together: one share has all of [`sampler_plan`]'s.
    pub shares: Vec<Share>,
}

/// Plans a sampler of `count` chains; `lengths` are the numbers of Langevin steps that one run may do at once.
pub fn sampler_plan(
    network: &Network,
    count: usize,
    numbers: &SamplerNumbers,
    lengths: &[u32],
    target: Target,
) -> SamplerPlan {
    sampler_plan_in_shares(network, (count, count), numbers, lengths, target)
}

/// [`sampler_plan`] of `count` chains, of which only `at_once`, whole blocks of them, are worked on at a time. Each share is
/// loaded before a program of its turn, and stored after it; [`crate::kernels::State::first_image`] is its first chain.
pub fn sampler_plan_in_shares(
    network: &Network,
    (count, at_once): (usize, usize),
    numbers: &SamplerNumbers,
    lengths: &[u32],
    target: Target,
) -> SamplerPlan {
    let (all, count) = (count, count.min(at_once));
    let n_blocks = target.blocks(count);
    let mut plan = Plan::new(target.lanes, n_blocks);
    let (lanes, features, blocks) = (target.lanes, network.input.len(), 0..n_blocks);
    let state = plan.integers("state", State::WORDS);
    let pass = NetworkPass::new(&mut plan, network, target);
    let mut chain = ChainPass::new(&mut plan, network, state, &blocks, count as u32, numbers.form, target);
    chain.counts_anew = false;
    let mut start = Vec::new();
    pass.pack(&mut start);
    chain.pack(&mut start, &pass);
    let start = plan.program(start);
    let Noise { distribution, scale, bound } = numbers.start;
    let random = Random { lanes, features, stream: Stream::SamplerStart, distribution, scale, bound };
    let noise = plan.program(vec![Launch::per_block(random, &blocks, &[state, pass.x])]);
    let mut chains = Vec::new();
    for &steps in lengths {
        let mut launches = Vec::new();
        let numbers = SamplerNumbers { steps, ..*numbers };
        chain.run(&mut launches, &pass, network, &numbers, None);
        chains.push((steps, plan.program(launches)));
    }
    let mut energies = Vec::new();
    pass.forward(&mut energies, &blocks);
    let energies = plan.program(energies);
    let decisions = chain.adjusted.map(|adjusted| adjusted.decisions);
    let live: Vec<_> = [pass.x].into_iter().chain(decisions).collect();
    let shares = shares(&mut plan, all, count, state, &live);
    SamplerPlan { plan, start, noise, chains, energies, state, decisions, pass, shares }
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
