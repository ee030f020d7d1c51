//! A training step, from drawing data to the new parameters: [`training_plan`] lists its parts in order.

mod annealed;

use super::annealed_pass::{AnnealedPass, Phase};
use super::chain_pass::ChainPass;
use super::guard_pass::{CheckedStep, GuardPass};
use super::noise_pass::NoisePass;
use super::score_pass::{Batch, ScorePass};
use super::{BufferId, ChainConfig, Launch, NetworkPass, Plan, ProgramId, SpectralPlan, Target};
use crate::data::toy::Toy;
use crate::data::{Examples, Shape};
use crate::kernels::State;
use crate::kernels::adam::{Adam, Decay, LearningRateSchedule};
use crate::kernels::add_penalty::AddPenalty;
use crate::kernels::advance::Advance;
use crate::kernels::augment_starts::{AugmentStarts, Augmentation};
use crate::kernels::average_weights::AverageWeights;
use crate::kernels::clip_scale::ClipScale;
use crate::kernels::contrastive_loss::{ContrastiveLoss, METRICS};
use crate::kernels::conv_weight_gradient::Chunks;
use crate::kernels::copy_images::CopyImages;
use crate::kernels::draw_negatives::DrawNegatives;
use crate::kernels::draw_real::DrawReal;
use crate::kernels::draw_toy::DrawToy;
use crate::kernels::mean_acceptance::MeanAcceptance;
use crate::kernels::push_replay::PushReplay;
use crate::kernels::reduce_partials::ReducePartials;
use crate::kernels::smoothness::Smoothness;
use crate::kernels::sum_squares::{GROUP, SumSquares};
use crate::kernels::weight_penalty::WeightPenalty;
use crate::network::Network;
use crate::recipe::{ChainInit, EnergyL2Form, RateSchedule, Recipe, ScoreObjective};
use annealed::annealed_plan;
use std::ops::Range;

/// Rows of the resident metrics table: training steps that may be under way before the host reads it.
pub const METRIC_ROWS: u32 = 64;

/// Values of an image from which on their variance tells whether a chain ran off.
const MANY_VALUES: usize = 64;

/// Storage of a training step's data images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExampleStorage {
    /// A data set of bytes.
    #[default]
    Bytes,
    /// A data set of floats.
    Floats,
    /// None: a toy set, drawn anew at every step.
    Toy(Toy),
}

/// The part of a training step that follows from the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingData {
    /// Storage of the images.
    pub storage: ExampleStorage,
    /// Number of images in the data set, or of fresh ones per epoch.
    pub n_images: u32,
    /// Shape of the images.
    pub shape: Shape,
    /// Largest number of images per buffer; 0 for all.
    pub part: u32,
}

impl TrainingData {
    /// Describes `n_images` images of a data set in one buffer.
    pub fn new(storage: ExampleStorage, n_images: u32, shape: Shape) -> Self {
        Self { storage, n_images, shape, part: 0 }
    }

    /// Describes a training set, in buffers of up to `bytes`.
    pub fn of(examples: &Examples, bytes: u64) -> Self {
        let storage = match examples {
            Examples::Bytes(_) => ExampleStorage::Bytes,
            Examples::Floats(_) => ExampleStorage::Floats,
            Examples::Toy(toy, _) => ExampleStorage::Toy(*toy),
        };
        let data = Self::new(storage, examples.count() as u32, examples.shape());
        let of_image = data.shape.len() as u64 * if storage == ExampleStorage::Bytes { 1 } else { 4 };
        let part = u32::try_from(bytes / of_image).unwrap_or(u32::MAX) / 4 * 4; // whole words
        Self { part: if part < data.n_images { part.max(4) } else { 0 }, ..data }
    }
}

/// A training step, resident on the device.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// The plan.
    pub plan: Plan,
    /// Packs the weights: run once after parameters were written.
    pub start: ProgramId,
    /// One training step; in a run of several phases, one of the last phase.
    pub step: ProgramId,
    /// The phases of the run: the first training step of each, and its program. Most objectives have one.
    pub phases: Vec<(u64, ProgramId)>,
    /// Its second half alone: from energies of the images in `x` to new parameters.
    pub update: ProgramId,
    /// [`crate::kernels::State`].
    pub state: BufferId,
    /// The data set ([`TrainingData`]), in parts; none for fresh images.
    pub data: Vec<DataPart>,
    /// The replay buffer or the persistent chains, `[slot][pixel][channel]`.
    pub replay: BufferId,
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
    /// The network's buffers: blocks of the data images first, then as many of the chains.
    pub pass: NetworkPass,
    /// The buffers of an objective without chains.
    pub score: Option<ScorePass>,
    /// The buffers of an objective that tells data from noise.
    pub noise: Option<NoisePass>,
    /// The pool of annealed chains, of an objective that has one.
    pub annealed: Option<AnnealedPass>,
    /// The bounds of spectral norms, of networks that have some.
    pub spectral: Option<SpectralPlan>,
    /// The checks of steps, and the snapshot of the state, if steps are checked.
    pub guard: Option<GuardPass>,
    /// Blocks of each half.
    pub half_blocks: u32,
}

impl TrainingPlan {
    /// The program of a training step, and the first step that has another.
    pub fn phase(&self, step: u64) -> (ProgramId, u64) {
        let next = self.phases.iter().position(|(first, _)| *first > step).unwrap_or(self.phases.len());
        (self.phases[next.max(1) - 1].1, self.phases.get(next).map_or(u64::MAX, |(first, _)| *first))
    }
}

/// Some images of the data set, in a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct DataPart {
    /// Their indices.
    pub images: Range<u32>,
    /// The buffer.
    pub buffer: BufferId,
}

/// Plans a training step by this recipe. Objectives that fit the score have no chains and one half of blocks; those that tell
/// data from noise have as many more as each image has negatives.
pub fn training_plan(
    network: &Network,
    recipe: &Recipe,
    data: &TrainingData,
    target: Target,
) -> TrainingPlan {
    let training = Training::new(network, recipe, data, target);
    if training.annealed.is_some() {
        return annealed_plan(training);
    }
    let mut step = Vec::new();
    training.draw_data(&mut step);
    let n_sampling;
    if let Some(score) = &training.score {
        training.count_non_finite(&mut step);
        score.draw(&mut step, &training.pass, training.state, &training.positives());
        n_sampling = step.len();
        let n_partials = training.score_gradient(score, &mut step, &training.positives());
        training.reduce(&mut step, n_partials);
    } else if let Some(noise) = &training.noise {
        training.count_non_finite(&mut step);
        let (batch, negatives) = (training.numbers(), training.half_blocks..training.plan.n_blocks);
        noise.draw(&mut step, &training.pass, training.state, batch, &negatives);
        n_sampling = step.len();
        noise.loss(&mut step, &training.pass, (training.state, training.metrics), batch, &training.all());
        let n_partials = training.gradient(&mut step, &training.all(), 0);
        training.reduce(&mut step, n_partials);
    } else {
        training.start_chains(&mut step);
        training.count_non_finite(&mut step);
        training.run_chains(&mut step);
        n_sampling = step.len();
        training.loss(&mut step);
        let n_partials = training.gradient(&mut step, &training.all(), 0);
        training.reduce(&mut step, n_partials);
    }
    training.clip(&mut step);
    training.check_step(&mut step, training.checked.has_negatives);
    training.keep_chains(&mut step);
    training.optimize(&mut step);
    let update = step[n_sampling..].to_vec();
    training.finish(vec![(0, step)], update)
}

/// The data set's buffers, as few as hold it.
fn data_parts(plan: &mut Plan, data: &TrainingData) -> Vec<DataPart> {
    let n_images = data.n_images;
    let at_once = if data.part == 0 { n_images } else { data.part.min(n_images) };
    if let ExampleStorage::Toy(_) = data.storage {
        return Vec::new();
    }
    let mut part = |first: u32| {
        let images = first..n_images.min(first.saturating_add(at_once));
        let len = images.len() * data.shape.len();
        let name =
            if at_once == n_images { "data".to_owned() } else { format!("data from image {first} on") };
        let buffer = match data.storage {
            ExampleStorage::Bytes => plan.integers(name, len.div_ceil(4)),
            _ => plan.flat(name, len),
        };
        DataPart { images, buffer }
    };
    (0..n_images.max(1)).step_by(at_once.max(1) as usize).map(&mut part).collect()
}

/// The buffers of a training step, and the launches of its parts.
struct Training<'a> {
    plan: Plan,
    network: &'a Network,
    recipe: &'a Recipe,
    target: Target,
    batch: u32,
    n_images: u32,
    data_spec: &'a TrainingData,
    chain_config: ChainConfig,
    slots: u32, // of the ring
    objective: Option<ScoreObjective>,
    state: BufferId,
    data: Vec<DataPart>,
    replay: BufferId,
    metrics: BufferId,
    first_moment: BufferId,
    second_moment: BufferId,
    gradient: BufferId,
    average: Option<BufferId>,
    pass: NetworkPass,
    score: Option<ScorePass>,
    noise: Option<NoisePass>,
    spectral: Option<SpectralPlan>,
    annealed: Option<AnnealedPass>,
    guard: Option<GuardPass>,
    half_blocks: u32,
    chain: ChainPass,
    partials: BufferId,
    squares: BufferId,
    scale: BufferId,
    starts: Option<BufferId>, // before augmentation
    checked: CheckedStep,
}

impl<'a> Training<'a> {
    fn new(network: &'a Network, recipe: &'a Recipe, data_spec: &'a TrainingData, target: Target) -> Self {
        let (batch, n_images) = (recipe.train.batch as u32, data_spec.n_images);
        let objective = recipe.score_objective();
        let chain_config = recipe.training_chain(recipe.total_steps(n_images));
        let slots = recipe.replay_slots().0 as u32;
        let half_blocks = target.blocks(recipe.train.batch);
        let has_chains = recipe.has_chains();
        let noise = recipe.noise_objective();
        let parts = match (objective, noise) {
            (Some(_), _) if has_chains => 3,
            (Some(_), _) => 1,
            (None, Some(noise)) => 1 + noise.negatives(),
            (None, None) if recipe.loss.smoothness > 0.0 => 3,
            (None, None) => 2,
        };
        let mut plan = Plan::new(target.lanes, parts * half_blocks);
        let (features, n_parameters) = (network.input.len(), network.n_parameters);
        let chunks_of = |halves| target.chunks(halves * half_blocks).count();
        let n_chunks = match objective {
            Some(objective) if has_chains => objective.n_partials(chunks_of(1)) + chunks_of(2),
            Some(objective) => objective.n_partials(chunks_of(1)),
            None => chunks_of(parts),
        };
        let state = plan.integers("state", State::WORDS);
        let data = data_parts(&mut plan, data_spec);
        let replay = plan.flat("replay ring", slots as usize * features);
        let metrics = plan.flat("metrics", METRIC_ROWS as usize * METRICS);
        let first_moment = plan.flat("first moment", n_parameters);
        let second_moment = plan.flat("second moment", n_parameters);
        let gradient = plan.flat("parameter gradient", n_parameters);
        let partials = plan.flat("partial gradients", n_chunks as usize * n_parameters);
        let squares = plan.flat("sums of squares", n_parameters.div_ceil(GROUP));
        let scale = plan.flat("clip scale", 1);
        let average = (recipe.ema.decay > 0.0).then(|| plan.flat("average", n_parameters));
        let pass = NetworkPass::new(&mut plan, network, target);
        let spectral = SpectralPlan::new(&mut plan, network, state, pass.parameters);
        let score = objective.map(|objective| ScorePass::new(&mut plan, &pass, objective));
        let noise = noise.map(|noise| NoisePass::new(&mut plan, features, noise));
        let augments = recipe.augment.probability > 0.0
            && recipe.chain_init().is_some_and(|init| init != ChainInit::Data);
        let starts = augments.then(|| plan.per_block("starts", features));
        let mut chain = ChainPass::new(
            &mut plan,
            network,
            state,
            &(half_blocks..2 * half_blocks),
            batch,
            has_chains.then_some(chain_config.form),
            target,
        );
        let annealed = recipe.pool().map(|pool| AnnealedPass::new(&mut plan, pool, chain_config));
        chain.levels = annealed.as_ref().map(|annealed| annealed.levels);
        let checked = CheckedStep {
            state,
            metrics,
            energies: score.as_ref().map_or(pass.energies, |score| score.energies(&pass)),
            jet_components: objective.map_or(1, |objective| objective.jet(features).components()),
            batch,
            n_images,
            metric_rows: METRIC_ROWS,
            half_blocks,
            has_negatives: has_chains,
            annealed: annealed.is_some() && features >= MANY_VALUES,
            clamp: chain_config.clamp,
        };
        let guard = recipe.is_guarded().then(|| {
            let kept = [state, pass.parameters, first_moment, second_moment, replay];
            let vectors = spectral.as_ref().map(|spectral| spectral.vectors);
            let levels = annealed.as_ref().map(|annealed| annealed.pool_levels);
            let kept: Vec<_> = kept.into_iter().chain(average).chain(vectors).chain(levels).collect();
            let mut packs = Vec::new();
            pass.pack(&mut packs);
            chain.pack(&mut packs, &pass);
            GuardPass::new(&mut plan, &recipe.guard, &checked, features, &kept, packs)
        });
        Self {
            plan,
            network,
            recipe,
            target,
            batch,
            n_images,
            data_spec,
            chain_config,
            slots,
            objective,
            state,
            data,
            replay,
            metrics,
            first_moment,
            second_moment,
            gradient,
            average,
            pass,
            score,
            noise,
            spectral,
            annealed,
            guard,
            half_blocks,
            chain,
            partials,
            squares,
            scale,
            starts,
            checked,
        }
    }

    fn finish(self, steps: Vec<(u64, Vec<Launch>)>, update: Vec<Launch>) -> TrainingPlan {
        let mut start = Vec::new();
        self.pack(&mut start);
        let mut plan = self.plan;
        let start = plan.program(start);
        let phases: Vec<_> = steps.into_iter().map(|(first, step)| (first, plan.program(step))).collect();
        TrainingPlan {
            start,
            step: phases[phases.len() - 1].1,
            phases,
            update: plan.program(update),
            plan,
            state: self.state,
            data: self.data,
            replay: self.replay,
            metrics: self.metrics,
            first_moment: self.first_moment,
            second_moment: self.second_moment,
            gradient: self.gradient,
            average: self.average,
            pass: self.pass,
            score: self.score,
            noise: self.noise,
            annealed: self.annealed,
            spectral: self.spectral,
            guard: self.guard,
            half_blocks: self.half_blocks,
        }
    }

    fn positives(&self) -> Range<u32> {
        0..self.half_blocks
    }

    fn negatives(&self) -> Range<u32> {
        self.half_blocks..2 * self.half_blocks
    }

    /// What losses need to know of the batch.
    fn numbers(&self) -> Batch {
        Batch { batch: self.batch, n_images: self.n_images, metric_rows: METRIC_ROWS }
    }

    fn all(&self) -> Range<u32> {
        0..self.plan.n_blocks
    }

    /// Packs the weights.
    fn pack(&self, launches: &mut Vec<Launch>) {
        self.pass.pack(launches);
        self.chain.pack(launches, &self.pass);
    }

    /// Draws data images.
    fn draw_data(&self, launches: &mut Vec<Launch>) {
        let (lanes, positives, noise) = (self.target.lanes, self.positives(), self.recipe.data.noise as f32);
        if let ExampleStorage::Toy(toy) = self.data_spec.storage {
            let draw = DrawToy { lanes, toy, noise };
            launches.push(Launch::per_block(draw, &positives, &[self.state, self.pass.x]));
        }
        for part in &self.data {
            let draw = DrawReal {
                lanes,
                batch: self.batch,
                n_images: self.n_images,
                part: part.images.clone(),
                shape: self.network.input,
                data_shape: self.data_spec.shape,
                floats: self.data_spec.storage == ExampleStorage::Floats,
                noise,
            };
            launches.push(Launch::per_block(draw, &positives, &[self.state, part.buffer, self.pass.x]));
        }
    }

    /// Counts values that are not finite, for the guard, before chains move and clamp them.
    fn count_non_finite(&self, launches: &mut Vec<Launch>) {
        if let Some(guard) = &self.guard {
            guard.count_non_finite(launches, &self.plan, &self.pass, &self.checked);
        }
    }

    /// Draws the starts of the chains.
    fn start_chains(&self, launches: &mut Vec<Launch>) {
        let (lanes, shape) = (self.target.lanes, self.network.input);
        let (reinit_probability, subset) = match self.recipe.chain_init() {
            None => return,
            Some(ChainInit::Data) => return self.copy(launches, self.half_blocks, 0.0),
            Some(ChainInit::Noise) => (1.0, 0),
            Some(ChainInit::Replay { reinit_probability, .. }) => (reinit_probability, 0),
            Some(ChainInit::Persistent { reinit_probability, .. }) => (reinit_probability, self.slots),
        };
        let draw = DrawNegatives {
            lanes,
            features: shape.len(),
            reinit_probability,
            noise: self.chain_config.start,
            subset,
        };
        let to = self.starts.unwrap_or(self.pass.x);
        launches.push(Launch::per_block(draw, &self.negatives(), &[self.state, self.replay, to]));
        if let Some(starts) = self.starts {
            let a = &self.recipe.augment;
            let augment = Augmentation {
                probability: a.probability as f32,
                shift: a.shift,
                flip: a.flip as f32,
                rescale: a.rescale as f32,
            };
            let kernel = AugmentStarts { lanes, shape, augment };
            launches.push(Launch::per_block(kernel, &self.negatives(), &[self.state, starts, self.pass.x]));
        }
    }

    /// Runs the chains.
    fn run_chains(&self, launches: &mut Vec<Launch>) {
        self.chain.run(launches, &self.pass, self.network, &self.chain_config);
    }

    /// Copies the data images to the blocks from `first_block` on, with noise.
    fn copy(&self, launches: &mut Vec<Launch>, first_block: u32, noise: f32) {
        let copy = CopyImages {
            lanes: self.target.lanes,
            features: self.network.input.len(),
            batch: self.batch,
            n_images: self.n_images,
            first_block,
            noise,
        };
        launches.push(Launch::whole(copy, &[self.state, self.pass.x]));
    }

    /// Computes energies, the loss, and its derivative with respect to the energies.
    fn loss(&self, launches: &mut Vec<Launch>) {
        let Self { state, metrics, pass, half_blocks, batch, n_images, .. } = self;
        let (lanes, batch, n_images, loss) = (self.target.lanes, *batch, *n_images, &self.recipe.loss);
        if loss.smoothness > 0.0 {
            self.copy(launches, 2 * half_blocks, loss.smoothness_noise as f32);
        }
        pass.forward(launches, &self.all());
        let contrastive = ContrastiveLoss {
            lanes,
            batch,
            n_images,
            metric_rows: METRIC_ROWS,
            alpha: loss.energy_l2 as f32,
            square_of_means: loss.energy_l2_form == EnergyL2Form::SquareOfMeans,
        };
        let bindings = [*state, pass.energies, pass.grad_energies, *metrics];
        launches.push(Launch::whole(contrastive, &bindings));
        if loss.smoothness > 0.0 {
            let first_block = 2 * half_blocks;
            let (metric_rows, weight) = (METRIC_ROWS, loss.smoothness as f32);
            let penalty = Smoothness { lanes, batch, n_images, first_block, metric_rows, weight };
            launches.push(Launch::whole(penalty, &bindings));
        }
        if let Some(adjusted) = &self.chain.adjusted {
            let (first_block, steps) = (*half_blocks, self.chain_config.steps);
            let mean = MeanAcceptance { lanes, batch, first_block, steps, metric_rows: METRIC_ROWS };
            launches.push(Launch::whole(mean, &[*state, adjusted.decisions, *metrics]));
        }
    }

    /// Computes the parameter gradient of the images in `blocks`, from the derivatives with respect to their energies.
    /// Returns how many partial sums there are, with the `first_chunk` ones of others before them.
    fn gradient(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>, first_chunk: u32) -> u32 {
        let pass = &self.pass;
        let chunks =
            Chunks { first_block: blocks.start, first_chunk, ..self.target.chunks(blocks.len() as u32) };
        let noise = self.recipe.noise_objective();
        let levels = noise.map_or(self.recipe.loss.energy_l2 as f32 != 0.0, |noise| noise.sees_levels());
        pass.to_layers(launches, blocks);
        pass.to_parameters(launches, chunks, self.partials, levels);
        first_chunk + chunks.count()
    }

    /// Computes loss and parameter gradient of an objective that fits the score, of the images in `blocks`. Returns how many
    /// partial sums there are.
    fn score_gradient(&self, score: &ScorePass, launches: &mut Vec<Launch>, blocks: &Range<u32>) -> u32 {
        let chunks = Chunks { first_block: blocks.start, ..self.target.chunks(blocks.len() as u32) };
        let with = (self.state, self.metrics);
        score.run(launches, &self.pass, with, self.numbers(), (chunks, self.partials));
        self.objective.map_or(0, |score| score.n_partials(chunks.count()))
    }

    /// Sums partial gradients, and adds the penalty on weights.
    fn reduce(&self, launches: &mut Vec<Launch>, n_chunks: u32) {
        let (n_parameters, parameters) = (self.network.n_parameters, self.pass.parameters);
        let reduce = ReducePartials { n_parameters, n_chunks };
        launches.push(Launch::whole(reduce, &[self.partials, self.gradient]));
        let weight = self.recipe.loss.weight_l2 as f32;
        if weight > 0.0 {
            let (n_partials, metric_rows) = (n_parameters.div_ceil(GROUP), METRIC_ROWS);
            let derivative = WeightPenalty { n_parameters, weight };
            launches.push(Launch::whole(derivative, &[parameters, self.gradient]));
            launches.push(Launch::whole(SumSquares { n_parameters }, &[parameters, self.squares]));
            let penalty = AddPenalty { n_partials, metric_rows, weight };
            launches.push(Launch::whole(penalty, &[self.state, self.squares, self.metrics]));
        }
    }

    /// Computes the gradient's norm, and the factor that clips it.
    fn clip(&self, launches: &mut Vec<Launch>) {
        let n_parameters = self.network.n_parameters;
        launches.push(Launch::whole(SumSquares { n_parameters }, &[self.gradient, self.squares]));
        let clip = self.recipe.adam.gradient_norm_clip as f32;
        let clip = ClipScale { n_partials: n_parameters.div_ceil(GROUP), metric_rows: METRIC_ROWS, clip };
        launches.push(Launch::whole(clip, &[self.state, self.squares, self.scale, self.metrics]));
    }

    /// Checks the step for divergence and collapse.
    fn check_step(&self, launches: &mut Vec<Launch>, has_negatives: bool) {
        if let Some(guard) = &self.guard {
            let checked = CheckedStep { has_negatives, ..self.checked };
            guard.check_step(launches, &self.plan, &self.pass, &checked);
        }
    }

    /// Writes the ends of the chains to the ring.
    fn keep_chains(&self, launches: &mut Vec<Launch>) {
        if let Some(init) = self.recipe.chain_init() {
            let push = PushReplay {
                lanes: self.target.lanes,
                features: self.network.input.len(),
                batch: self.batch,
                capacity: self.slots,
                first_block: self.half_blocks,
                subset: matches!(init, ChainInit::Persistent { .. }),
            };
            launches.push(Launch::whole(push, &[self.state, self.pass.x, self.replay]));
        }
    }

    /// Updates the parameters and all that follows from them, and ends the step.
    fn optimize(&self, launches: &mut Vec<Launch>) {
        self.adam(launches);
        self.bound_norms(launches);
        self.pack(launches);
        self.average(launches);
        self.advance(launches);
    }

    /// Updates the parameters.
    fn adam(&self, launches: &mut Vec<Launch>) {
        let (recipe, adam) = (self.recipe, &self.recipe.adam);
        let decay = match recipe.schedule.learning_rate {
            RateSchedule::Constant => Decay::Constant,
            RateSchedule::Exponential => Decay::Exponential {
                factor: recipe.schedule.factor,
                epoch: recipe.steps_per_epoch(self.n_images) as u32,
            },
            RateSchedule::Cosine => {
                Decay::Cosine { training_steps: recipe.total_steps(self.n_images) as u32 }
            }
        };
        let adam = Adam {
            n_parameters: self.network.n_parameters,
            learning_rate: adam.learning_rate,
            beta1: adam.beta1,
            beta2: adam.beta2,
            epsilon: adam.epsilon,
            schedule: LearningRateSchedule { decay, warm_up: recipe.schedule.warm_up as u32 },
            gradient_clip: if adam.gradient_clip > 0.0 { adam.gradient_clip as f32 } else { f32::INFINITY },
            weight_decay: adam.weight_decay,
            retry_factor: self.guard.as_ref().map_or(1.0, |_| recipe.guard.learning_rate_factor),
        };
        let moments = [self.first_moment, self.second_moment];
        let bindings = [self.state, self.gradient, self.scale, moments[0], moments[1], self.pass.parameters];
        launches.push(Launch::whole(adam, &bindings));
    }

    /// Bounds spectral norms.
    fn bound_norms(&self, launches: &mut Vec<Launch>) {
        if let Some(spectral) = &self.spectral {
            launches.extend_from_slice(&self.plan.programs[spectral.iterate.0]);
        }
    }

    /// Updates the parameters' moving average.
    fn average(&self, launches: &mut Vec<Launch>) {
        if let Some(average) = self.average {
            let kernel =
                AverageWeights { n_parameters: self.network.n_parameters, decay: self.recipe.ema.decay };
            launches.push(Launch::whole(kernel, &[self.state, self.pass.parameters, average]));
        }
    }

    /// Ends the step. Persistent chains stay in their slots: their ring has no head.
    fn advance(&self, launches: &mut Vec<Launch>) {
        let batch = match self.recipe.chain_init() {
            None | Some(ChainInit::Persistent { .. }) => 0,
            Some(_) => self.batch,
        };
        launches.push(Launch::whole(Advance { batch, capacity: self.slots }, &[self.state]));
    }
}
