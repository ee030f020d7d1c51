//! The training run: a plan on a device, advanced step by step, saved and resumed.

use super::guard::{Halt, Rollback, retry_seed};
use super::log::{ChainMetrics, StepMetrics};
use crate::checkpoint::{Checkpoint, FORMAT, Header, Model, Tensors};
use crate::checkpoint::{Parts, RunState, SNAPSHOT, arrived, header_network, newest_images};
use crate::data::gaussian::Gaussian;
use crate::data::standard::Standard;
use crate::data::{Dataset, Examples, Images};
use crate::device::compare::{Report, compare};
use crate::device::{Device, Executor, Readback};
use crate::error::Remedy;
use crate::kernels::State;
use crate::kernels::annealed_loss::BAND_METRICS;
use crate::kernels::contrastive_loss::METRICS;
use crate::kernels::draw_negatives::Noise;
use crate::kernels::guard::{MEMORY, Memory, Reason};
use crate::network::Network;
use crate::plan::{BufferId, Cause, METRIC_ROWS, ProgramId, TrainingData, TrainingPlan, training_plan};
use crate::random::{Distribution, MAX_FEATURES, Philox, Stream, normal_of};
use crate::recipe::{Guard, NoiseObjective, Objective, OnDivergence, Recipe, Standardize};
use crate::{Error, Result};
use rand::RngExt;
use std::collections::BTreeMap;
use std::ops::Range;

/// Power iterations before the first training step: enough to find a random matrix's norm within a few hundredths.
const FIRST_ITERATIONS: usize = 100;

/// Trains a network on a device.
#[derive(Debug)]
pub struct Trainer {
    device: Device,
    config: Recipe,
    network: Network,
    data: String,
    data_source: String,
    n_images: u32,
    executor: Executor,
    plan: TrainingPlan,
    noise: Option<Gaussian>, // that data are told from
    step: u64,
}

/// Metrics of submitted steps, on their way back.
#[derive(Debug)]
pub struct PendingMetrics {
    steps: Range<u64>,
    parts: Vec<(Range<u64>, Readback)>, // of as many steps as the table of metrics has rows, at most
    has_bands: bool,
    guard: Option<u64>, // `guard.collapse_steps`, where there is a guard
}

/// What submitted steps came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The metrics, one for each step that was done, and last for the step that was halted.
    pub metrics: Vec<StepMetrics>,
    /// Figures of the annealed chains, one for each of `metrics`; none for an objective without.
    pub chains: Vec<ChainMetrics>,
    /// Why the last of them was halted, or one before them all.
    pub halt: Option<Halt>,
}

impl PendingMetrics {
    /// The steps that the metrics are of; the first step is 0.
    pub fn steps(&self) -> Range<u64> {
        self.steps.clone()
    }

    /// Whether they are there, so that awaiting them takes no time.
    pub fn is_ready(&self) -> bool {
        self.parts.iter().all(|(_, reading)| reading.is_ready())
    }

    /// The metrics, one for each step.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost; [`Error::Diverged`] if the guard has halted training:
    /// [`Trainer::roll_back`] is what to do then, for which [`Self::outcome`] has what it takes.
    pub async fn metrics(self) -> Result<Vec<StepMetrics>> {
        match self.outcome().await? {
            Outcome { halt: Some(halt), .. } => {
                Err(Error::Diverged(format!("training was halted at {halt}")))
            }
            Outcome { metrics, .. } => Ok(metrics),
        }
    }

    /// The metrics, as far as the guard let training go.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn outcome(self) -> Result<Outcome> {
        let (mut metrics, mut chains) = (Vec::new(), Vec::new());
        for (steps, reading) in self.parts {
            let words = reading.words().await?;
            let (table, of_guard) = words.split_at(METRIC_ROWS as usize * METRICS);
            let n_bands = if self.has_bands { METRIC_ROWS as usize * BAND_METRICS } else { 0 };
            let (bands, of_guard) = of_guard.split_at(n_bands);
            let halt = self.guard.and_then(|in_a_row| Halt::of(of_guard, in_a_row));
            let end = halt.as_ref().map_or(steps.end, |halt| halt.step.clamp(steps.start, steps.end));
            let rows = (steps.start..end).map(|step| (step % u64::from(METRIC_ROWS)) as usize);
            metrics.extend(rows.clone().map(|row| {
                let row: StepMetrics = row_of(table, METRICS, row);
                // Of annealed chains it is the share of those that ran off.
                if self.has_bands { StepMetrics { acceptance: 0.0, ..row } } else { row }
            }));
            if self.has_bands {
                chains.extend(rows.map(|row| row_of::<ChainMetrics>(bands, BAND_METRICS, row)));
            }
            if halt.is_some() {
                return Ok(Outcome { metrics, chains, halt });
            }
        }
        Ok(Outcome { metrics, chains, halt: None })
    }
}

/// Row `row` of a table of figures that a device computed.
fn row_of<T: bytemuck::AnyBitPattern>(table: &[u32], width: usize, row: usize) -> T {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&table[row * width..][..width]))
}

impl Trainer {
    /// Begins a run.
    ///
    /// # Errors
    /// A configuration that is not valid, a data set whose images do not fit the network, a device that can't hold it.
    pub async fn new(device: &Device, config: &Recipe, dataset: &Dataset) -> Result<Self> {
        let mut trainer = Self::empty(device, config, dataset, None).await?;
        let (seed, plan) = (trainer.config.seed, &trainer.plan);
        let (capacity, initial) = trainer.config.replay_slots();
        let mut parameters = trainer.network.initial_parameters(seed);
        if let (Some(noise), Some(last)) = (&trainer.noise, trainer.network.layers.last()) {
            // Energies begin where -log q is, on average over q, and not so far from there that it takes Adam a while.
            parameters[last.bias_offset()..][..last.bias_len].fill(noise.entropy() as f32);
        }
        trainer.executor.write_floats(plan.pass.parameters, &parameters);
        if let Some(spectral) = &plan.spectral {
            let length = plan.plan.len_of(spectral.vectors);
            trainer.executor.write_floats(spectral.vectors, &normals(seed, Stream::Spectral, length));
            for _ in 0..FIRST_ITERATIONS {
                trainer.executor.run(spectral.iterate)?;
            }
            parameters = trainer.executor.read_floats(plan.pass.parameters).await?;
        }
        if let Some(average) = plan.average {
            trainer.executor.write_floats(average, &parameters);
        }
        let n_values = initial * trainer.network.input.len();
        let replay = starts(seed, n_values, &trainer.config.start_noise());
        trainer.executor.write_floats(plan.replay, &replay);
        let state = State {
            replay_head: (initial % capacity) as u32,
            replay_length: initial as u32,
            seed_low: seed as u32,
            seed_high: (seed >> 32) as u32,
            ..State::default()
        };
        trainer.executor.write(plan.state, 0, bytemuck::cast_slice(&[state]));
        trainer.executor.run(plan.start)?;
        if let Some(guard) = &plan.guard {
            trainer.executor.run(guard.take_snapshot)?; // a guard that has seen no step yet keeps what there is
        }
        Ok(trainer)
    }

    /// Goes on where a checkpoint stopped: bit for bit what an uninterrupted run on the same device would do.
    ///
    /// # Errors
    /// Those of [`Self::new`]; another data set; a tensor that is missing or misshapen.
    pub async fn resume(
        device: &Device,
        path: impl AsRef<std::path::Path>,
        checkpoint: Checkpoint,
        dataset: &Dataset,
    ) -> Result<Self> {
        let path = path.as_ref();
        let header = checkpoint.header;
        let device = device.resumed_on(&header.device, header.chain_path);
        let of = header_network(path, &header)?;
        let mut trainer = Self::empty(&device, &header.config, dataset, of.standard.clone()).await?;
        let network = &trainer.network;
        if of.layers != network.layers || of.input != network.input {
            let text = format!("is a checkpoint of network `{}`, not of `{}`", of.name, network.name);
            return Err(Error::file(path, text));
        }
        if trainer.data != header.data {
            let (was, is) = (&header.data, &trainer.data);
            let from = match header.data_source.as_str() {
                "" => String::new(),
                source => format!(", from {source}"),
            };
            let text = format!("was trained on other data ({was}{from}) than this ({is})");
            return Err(Error::file_with(path, text, Remedy::SameData));
        }
        let mut tensors = Tensors::new(path, checkpoint.tensors);
        let parts = Parts {
            average: trainer.plan.average.is_some(),
            spectral: trainer.plan.spectral.is_some(),
            guard: trainer.plan.guard.is_some(),
            capacity: trainer.config.replay_slots().0,
            levels: trainer.plan.annealed.is_some(),
        };
        let live = RunState::take(path, network, &parts, "", &mut tensors)?;
        if live.step() != header.step {
            return Err(Error::file(path, "its `state` contradicts its header: the file is damaged"));
        }
        let has_guard = trainer.plan.guard.is_some();
        trainer.write(&live, |buffer| buffer);
        if has_guard {
            // A run without a guard so far, or at the very step of its snapshot, has none: this state becomes the snapshot.
            let has_snapshot = tensors.names().any(|name| name.starts_with(SNAPSHOT));
            let kept = match has_snapshot {
                true => RunState::take(path, &trainer.network, &parts, SNAPSHOT, &mut tensors)?,
                false => live,
            };
            if kept.step() > header.step {
                return Err(Error::file(path, "its snapshot is newer than itself: the file is damaged"));
            }
            let guard = trainer.plan.guard.clone();
            trainer.write(&kept, |buffer| guard.as_ref().map_or(buffer, |guard| guard.copy_of(buffer)));
        }
        trainer.executor.run(trainer.plan.start)?;
        trainer.step = header.step;
        Ok(trainer)
    }

    /// Writes a state to the buffers that `at` gives for those of training.
    fn write(&mut self, stored: &RunState, at: impl Fn(BufferId) -> BufferId) {
        let (plan, executor) = (&self.plan, &mut self.executor);
        let [first, second] = &stored.moments;
        let mut put = |buffer: Option<BufferId>, values: Option<&Vec<f32>>| {
            if let (Some(buffer), Some(values)) = (buffer, values) {
                executor.write_floats(at(buffer), values);
            }
        };
        put(Some(plan.pass.parameters), Some(&stored.parameters));
        put(Some(plan.first_moment), Some(first));
        put(Some(plan.second_moment), Some(second));
        put(plan.average, stored.average.as_ref());
        put(plan.spectral.as_ref().map(|spectral| spectral.vectors), stored.spectral.as_ref());
        put(Some(plan.replay), Some(&stored.replay));
        put(plan.annealed.as_ref().map(|annealed| annealed.pool_levels), stored.levels.as_ref());
        put(plan.guard.as_ref().map(|guard| guard.memory), stored.guard.as_ref());
        executor.write(at(plan.state), 0, &stored.state);
    }

    /// Reads a state from the buffers that `at` gives for those of training.
    async fn read(&self, at: impl Fn(BufferId) -> BufferId) -> Result<RunState> {
        let (plan, at) = (&self.plan, &at);
        let floats = async |buffer| self.executor.read_floats(at(buffer)).await;
        let maybe = async |buffer: Option<BufferId>| match buffer {
            Some(buffer) => floats(buffer).await.map(Some),
            None => Ok(None),
        };
        Ok(RunState {
            parameters: floats(plan.pass.parameters).await?,
            moments: [floats(plan.first_moment).await?, floats(plan.second_moment).await?],
            average: maybe(plan.average).await?,
            spectral: maybe(plan.spectral.as_ref().map(|spectral| spectral.vectors)).await?,
            replay: floats(plan.replay).await?,
            levels: maybe(plan.annealed.as_ref().map(|annealed| annealed.pool_levels)).await?,
            state: self.executor.read(at(plan.state)).await?,
            guard: maybe(plan.guard.as_ref().map(|guard| guard.memory)).await?,
        })
    }

    /// `standard` is what points were standardised by before, in a run that goes on.
    async fn empty(
        device: &Device,
        config: &Recipe,
        dataset: &Dataset,
        standard: Option<Standard>,
    ) -> Result<Self> {
        config.validate()?;
        let mut network = config.network(dataset.train.shape())?;
        let (examples, input) = (&dataset.train, network.input);
        let shape = examples.shape();
        let is_single_row = matches!(examples, Examples::Floats(_)) && shape.is_single_row();
        if shape != input && (is_single_row || input.is_single_row()) {
            return Err(Error::Network(format!(
                "`{}` takes examples of {input} (channels x height x width), and those of {} are {shape}",
                network.name, dataset.name
            )));
        }
        if shape.channels != input.channels || shape.height > input.height || shape.width > input.width {
            return Err(Error::Network(format!(
                "`{}` takes images of up to {input} (channels x height x width), and those of {} are {shape}",
                network.name, dataset.name
            )));
        }
        if config.data.standardize == Standardize::Columns {
            let Examples::Floats(points) = examples else {
                let text = "is of points and sequences, of a fixed set: leave it `none`, or give a file, or a fixed set of a \
                            toy (`rings:10000`)";
                return Err(Error::setting("data.standardize", text));
            };
            if !shape.is_single_row() {
                let text = "is of points and sequences, and these are images: leave it `none`";
                return Err(Error::setting("data.standardize", text));
            }
            network.standard = Some(standard.unwrap_or_else(|| Standard::of(points)));
        }
        if let Some(objective) = config.score_objective() {
            objective.check(&network)?;
        }
        assert!(input.len() < MAX_FEATURES);
        let n_images = u32::try_from(examples.count())
            .map_err(|_| Error::Usage(format!("{}: more than 2^32 images", dataset.name)))?;
        let target = device.chain_target(&network, config.train.batch);
        let steps = config.total_steps(n_images);
        if steps > u64::from(u32::MAX) {
            let name = if config.train.steps == 0 { "train.epochs" } else { "train.steps" };
            return Err(Error::setting(
                name,
                format!("comes to {steps} steps in all, and the most is 2^32 - 1"),
            ));
        }
        let room = device.room();
        let plan = training_plan(&network, config, &TrainingData::of(examples, room.buffer), target);
        if let Some(excess) = plan.plan.excess(&room) {
            let advice = match (excess.cause, config.objective) {
                (Cause::Replay, Objective::Replay) => "Choose a smaller `replay.capacity`",
                (Cause::Replay, Objective::Pcd) => "Choose a smaller `pcd.chains`",
                (Cause::Replay, Objective::AnnealedCd) => "Choose a smaller `pool.chains`",
                (Cause::Replay, _) => Cause::Images.advice(),
                (cause, _) => cause.advice(),
            };
            return Err(excess.error(&device.name(), advice));
        }
        let noise = match config.noise_objective() {
            Some(NoiseObjective::Contrastive { scale, .. }) => {
                Some(fit_noise(config, &network, examples, scale)?)
            }
            _ => None,
        };
        let mut trainer = Self {
            device: device.clone(),
            config: config.clone(),
            data: fingerprint(dataset),
            data_source: source(dataset),
            n_images,
            executor: Executor::new(device, plan.plan.clone()).await?,
            plan,
            network,
            noise,
            step: 0,
        };
        let buffers = trainer.plan.noise.as_ref().and_then(|noise| noise.gaussian);
        if let (Some(buffers), Some(noise)) = (buffers, &trainer.noise) {
            trainer.executor.write_floats(buffers.gaussian, &noise.floats());
        }
        for part in &trainer.plan.data {
            let values = part.images.start as usize * shape.len()..part.images.end as usize * shape.len();
            match examples {
                Examples::Bytes(images) => {
                    let mut bytes = images.bytes[values].to_vec();
                    bytes.resize(bytes.len().next_multiple_of(4), 0);
                    trainer.executor.write(part.buffer, 0, &bytemuck::pod_collect_to_vec(&bytes));
                }
                Examples::Floats(images) => match &trainer.network.standard {
                    Some(standard) => {
                        let mut points = Images { shape, values: images.values[values].to_vec() };
                        standard.to_network(&mut points);
                        trainer.executor.write_floats(part.buffer, &points.values);
                    }
                    None => trainer.executor.write_floats(part.buffer, &images.values[values]),
                },
                Examples::Toy(..) => {}
            }
        }
        Ok(trainer)
    }

    /// The device it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The configuration.
    pub fn config(&self) -> &Recipe {
        &self.config
    }

    /// What the run is likely to go wrong by, if something.
    pub fn warning(&self) -> Option<String> {
        let (batch, n_images) = (self.config.train.batch, self.n_images);
        let is_large = batch as u64 > u64::from(n_images);
        let of_batch = is_large.then(|| {
            format!(
                "train.batch is {batch}, and there are {n_images} examples: every step takes all of them, and is an epoch"
            )
        });
        let kinked = self.config.score_objective().and_then(|objective| objective.kinked(&self.network));
        let of_layer = kinked.map(|layer| {
            format!(
                "{layer}'s activation is made of straight lines, whose second derivative is 0, so that the loss lacks most \
                 of its trace term: choose a smooth activation (swish, softplus, tanh), or `denoising-score-matching`"
            )
        });
        let all: Vec<_> = of_batch.into_iter().chain(of_layer).collect();
        (!all.is_empty()).then(|| all.join(". "))
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Training steps submitted so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Training steps in one pass over the data.
    pub fn steps_per_epoch(&self) -> u64 {
        self.config.steps_per_epoch(self.n_images)
    }

    /// Training steps in the whole run.
    pub fn total_steps(&self) -> u64 {
        self.config.total_steps(self.n_images)
    }

    /// Submits some training steps, and the reading of their metrics: up to [`METRIC_ROWS`] steps at a time, and more one
    /// after the other. On a GPU these are submissions that are not waited for; the CPU executor returns when they are done.
    /// Once the guard has halted training, steps do nothing until [`Self::roll_back`].
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost; [`Error::Usage`] for more steps in all than can be counted, 2^32.
    pub fn submit(&mut self, steps: u32) -> Result<PendingMetrics> {
        let first = self.step;
        let end = first + u64::from(steps);
        if end > u64::from(u32::MAX) {
            return Err(Error::Usage(format!("{end} training steps are more than can be counted, 2^32")));
        }
        let mut parts = Vec::new();
        while self.step < end {
            let steps = self.step..end.min(self.step + u64::from(METRIC_ROWS));
            let reading = self.executor.submit(&self.programs(&steps), &self.readings())?;
            self.step = steps.end;
            parts.push((steps, reading));
        }
        let has_bands = self.plan.annealed.is_some();
        Ok(PendingMetrics { steps: first..end, parts, has_bands, guard: self.guard() })
    }

    /// What training steps run, and how many times. Snapshots are taken after the same steps, however many are submitted
    /// at once.
    fn programs(&self, steps: &Range<u64>) -> Vec<(ProgramId, u32)> {
        let interval = self.plan.guard.as_ref().map_or(u64::MAX, |_| self.config.guard.snapshot_every);
        let (mut programs, mut step) = (Vec::new(), steps.start);
        while step < steps.end {
            let (program, end) = self.plan.phase(step);
            let next = (step / interval + 1).saturating_mul(interval).min(end).min(steps.end);
            programs.push((program, (next - step) as u32));
            if let Some(guard) = self.plan.guard.as_ref().filter(|_| next.is_multiple_of(interval)) {
                programs.push((guard.take_snapshot, 1));
            }
            step = next;
        }
        programs
    }

    /// What is read after every submission: the metrics, and what the guard says.
    fn readings(&self) -> Vec<(BufferId, Range<usize>)> {
        let mut readings = vec![(self.plan.metrics, 0..METRIC_ROWS as usize * METRICS)];
        if let Some(annealed) = &self.plan.annealed {
            readings.push((annealed.bands, 0..METRIC_ROWS as usize * BAND_METRICS));
        }
        if let Some(guard) = &self.plan.guard {
            readings.extend([(self.plan.state, 0..State::WORDS), (guard.memory, 0..MEMORY)]);
        }
        readings
    }

    /// `guard.collapse_steps`, if there is a guard.
    fn guard(&self) -> Option<u64> {
        self.plan.guard.as_ref().map(|_| self.config.guard.collapse_steps)
    }

    /// Looks whether everything that training depends on is finite; a checkpoint is to be made only then. Steps find
    /// out by themselves, as soon as it matters. Without a guard, the answer is always yes (`None`).
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn check(&mut self) -> Result<Option<Halt>> {
        let Some(guard) = &self.plan.guard else { return Ok(None) };
        let reading = self.executor.submit(&[(guard.check, 1)], &self.readings())?;
        let steps = self.step..self.step;
        let pending = PendingMetrics {
            steps: steps.clone(),
            parts: vec![(steps, reading)],
            has_bands: self.plan.annealed.is_some(),
            guard: self.guard(),
        };
        Ok(pending.outcome().await?.halt)
    }

    /// Goes back to the last snapshot, with other random numbers and, by `guard.learning_rate_factor`, another learning
    /// rate. Steps submitted after the halt are forgotten. [`Rollback::goes_on`] says whether the tries are used up;
    /// the trainer itself would go on.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    ///
    /// # Panics
    /// Panics if the halt is not of a trainer with a guard.
    pub async fn roll_back(&mut self, halt: Halt) -> Result<Rollback> {
        let guard = self.plan.guard.as_ref().expect("a halt comes from a guard");
        self.executor.run(guard.restore)?;
        let mut state = State::of(&self.executor.read(self.plan.state).await?);
        let mut memory = Memory::of(&self.executor.read(guard.memory).await?);
        state.retries = halt.state.retries.saturating_add(1);
        [state.seed_low, state.seed_high] = retry_seed(self.config.seed, state.retries);
        memory = Memory { tries: halt.memory.tries + 1.0, since: 0.0, ..memory };
        self.executor.write(self.plan.state, 0, bytemuck::cast_slice(&[state]));
        self.executor.write(guard.memory, 0, bytemuck::cast_slice(&[memory]));
        self.step = state.step.into();
        let Guard { on_divergence, tries, learning_rate_factor, .. } = self.config.guard;
        let retries = i32::try_from(state.retries).unwrap_or(i32::MAX);
        Ok(Rollback {
            halt,
            to: self.step,
            number: memory.tries as u64,
            tries: if on_divergence == OnDivergence::Stop { 0 } else { tries },
            learning_rate: self.config.adam.learning_rate * learning_rate_factor.powi(retries),
        })
    }

    /// Does one training step launch by launch, next to the reference: see [`compare`].
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn compare_step(&mut self) -> Result<Report> {
        let report = compare(&mut self.executor, self.plan.step).await?;
        self.step += 1;
        Ok(report)
    }

    /// The plan with its buffers on the device, for those who look closely; [`Self::plan`] tells which is which.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The same, to change what is in the buffers.
    pub fn executor_mut(&mut self) -> &mut Executor {
        &mut self.executor
    }

    /// The plan.
    pub fn plan(&self) -> &TrainingPlan {
        &self.plan
    }

    /// Kernel launches in a training step.
    pub fn launches_per_step(&self) -> usize {
        self.plan.plan.programs[self.plan.step.0].len()
    }

    /// Does one training step launch by launch, and tells each kernel's seconds: see [`Executor::time_launches`].
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn time_step(&mut self) -> Result<Vec<(&'static str, f64)>> {
        self.step += 1;
        self.executor.time_launches(self.plan.step).await
    }

    /// The model as it is now: of the weights' moving average where there is one (`ema.decay`).
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn model(&self) -> Result<Model> {
        let parameters = self.plan.average.unwrap_or(self.plan.pass.parameters);
        let parameters = self.executor.read_floats(parameters).await?;
        Ok(Model { network: self.network.clone(), parameters })
    }

    /// The newest images of the replay ring, newest first: `count` of them, or as many as there are.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn replay_images(&self, count: usize) -> Result<Images> {
        let state = State::of(&self.executor.read(self.plan.state).await?);
        let replay = self.executor.read_floats(self.plan.replay).await?;
        let mut images = newest_images(&replay, self.network.input, &state, count);
        if let Some(standard) = &self.network.standard {
            standard.to_data(&mut images);
        }
        Ok(images)
    }

    /// The first chains of the pool that are at the last noise level, as they are there, the long ones first: `count` of them,
    /// or as many as there are; `None` if the objective has no pool.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn pool_images(&self, count: usize) -> Result<Option<Images>> {
        let Some(annealed) = &self.plan.annealed else { return Ok(None) };
        let pool = self.executor.read_floats(self.plan.replay).await?;
        let levels = self.executor.read_floats(annealed.pool_levels).await?;
        let mut images = arrived(&pool, &levels, self.config.pool.levels, self.network.input, count);
        if let Some(standard) = &self.network.standard {
            standard.to_data(&mut images);
        }
        Ok(Some(images))
    }

    /// Everything that a resumed run needs. `metrics` goes into the header as it is.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn checkpoint(&self, metrics: serde_json::Value) -> Result<Checkpoint> {
        let mut tensors = BTreeMap::new();
        let live = self.read(|buffer| buffer).await?;
        let state = State::of(&live.state);
        if let Some(reason) = Reason::of(state.halted) {
            let text = format!(
                "training is halted ({reason:?}), and nothing is saved: go back to the snapshot first"
            );
            return Err(Error::Diverged(text));
        }
        live.put(&self.network, "", &mut tensors);
        if let Some(guard) = &self.plan.guard {
            let words = self.executor.read(guard.copy_of(self.plan.state)).await?;
            // A snapshot of this very step is the same.
            if State::of(&words).step != state.step {
                let kept = self.read(|buffer| guard.copy_of(buffer)).await?;
                kept.put(&self.network, SNAPSHOT, &mut tensors);
            }
        }
        let header = Header {
            format: FORMAT.to_owned(),
            network: serde_json::to_value(self.network.spec()).expect("plain fields"),
            config: self.config.clone(),
            step: self.step,
            seed: u64::from(state.seed_low) | u64::from(state.seed_high) << 32,
            device: self.device.name(),
            chain_path: self.device.chain_path(&self.network),
            data: self.data.clone(),
            data_source: self.data_source.clone(),
            metrics,
        };
        Ok(Checkpoint { header, tensors })
    }
}

/// The Gaussian that noise-contrastive estimation tells data from, of the training data as the network takes them.
fn fit_noise(config: &Recipe, network: &Network, examples: &Examples, scale: f32) -> Result<Gaussian> {
    let mut images = examples.to_images().padded_to(network.input)?;
    if let Some(standard) = &network.standard {
        standard.to_network(&mut images);
    }
    Ok(Gaussian::fit(&images, config.data.noise, scale.into()))
}

/// What the ring begins with: `n` values.
fn starts(seed: u64, n: usize, noise: &Noise) -> Vec<f32> {
    if noise.distribution == Distribution::Uniform {
        let mut rng = Philox::new(seed, Stream::ReplayStart);
        let value = |_| (noise.scale * rng.random_range(-1.0_f32..1.0)).clamp(-noise.bound, noise.bound);
        return (0..n).map(value).collect();
    }
    let mut values = normals(seed, Stream::ReplayStart, n);
    values.iter_mut().for_each(|value| *value = (noise.scale * *value).clamp(-noise.bound, noise.bound));
    values
}

/// `n` standard normal numbers.
fn normals(seed: u64, stream: Stream, n: usize) -> Vec<f32> {
    let mut rng = Philox::new(seed, stream);
    let mut values = Vec::with_capacity(n + 3);
    while values.len() < n {
        values.extend(normal_of([0; 4].map(|_| rng.random())));
    }
    values.truncate(n);
    values
}

/// What a data set was opened by, such that it can be opened again from another folder.
fn source(dataset: &Dataset) -> String {
    let name = &dataset.name;
    if dataset.toy.is_some() || name == "digits" {
        return name.clone();
    }
    std::path::absolute(name).map_or_else(|_| name.clone(), |path| path.to_string_lossy().into_owned())
}

/// What tells one training set from another: its count, its shape, a checksum.
fn fingerprint(dataset: &Dataset) -> String {
    let mut crc = flate2::Crc::new();
    let what = match &dataset.train {
        Examples::Bytes(images) => {
            crc.update(&images.bytes);
            "images"
        }
        Examples::Floats(images) => {
            crc.update(bytemuck::cast_slice(&images.values));
            "examples"
        }
        Examples::Toy(toy, count) => return format!("fresh points of {}, {count} an epoch", toy.name()),
    };
    format!("{} {what} of {}, crc32 {:08x}", dataset.train.count(), dataset.train.shape(), crc.sum())
}
