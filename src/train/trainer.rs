//! The training run: a plan on a device, advanced step by step, saved and resumed.

use super::config::{CdStart, Config, EnergyL2Form, Objective, RateSchedule};
use super::metrics::StepMetrics;
use crate::checkpoint::{Checkpoint, FORMAT, Header, Tensor, Tensors};
use crate::compare::{Report, compare};
use crate::data::{Dataset, Examples, Images};
use crate::device::{Device, Machine, Reading};
use crate::kernels::State;
use crate::kernels::adam::{Decay, Schedule};
use crate::kernels::augment_starts::Augment;
use crate::kernels::contrastive_loss::METRICS;
use crate::kernels::draw_negatives::Noise;
use crate::kernels::random::{Distribution, MAX_FEATURES, Philox, Stream, normal_of};
use crate::model::{AVERAGE, Model, header_network, ring_images, take_parameters};
use crate::network::Network;
use crate::plan::{METRIC_ROWS, Source, Starts, TrainingNumbers, TrainingPlan, training_plan};
use crate::{Error, Result};
use rand::RngExt;
use std::ops::Range;

/// What the power iterations of spectral norms keep is called in files, before the weights' names.
const SPECTRAL: &str = "spectral.";

/// Power iterations before the first training step: enough to find a random matrix's norm within a few hundredths.
const FIRST_ITERATIONS: usize = 100;

/// Trains a network on a device.
#[derive(Debug)]
pub struct Trainer {
    device: Device,
    config: Config,
    network: Network,
    data: String,
    n_images: u32,
    machine: Machine,
    plan: TrainingPlan,
    step: u64,
}

/// Metrics of submitted steps, on their way back.
#[derive(Debug)]
pub struct PendingMetrics {
    steps: Range<u64>,
    reading: Reading,
}

impl PendingMetrics {
    /// The steps that the metrics are of; the first step is 0.
    pub fn steps(&self) -> Range<u64> {
        self.steps.clone()
    }

    /// Whether they are there, so that awaiting them takes no time.
    pub fn is_ready(&self) -> bool {
        self.reading.is_ready()
    }

    /// The metrics, one for each step.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn metrics(self) -> Result<Vec<StepMetrics>> {
        let table: Vec<StepMetrics> = bytemuck::cast_vec::<u32, f32>(self.reading.words().await?)
            .chunks_exact(METRICS)
            .map(|row| bytemuck::pod_read_unaligned(bytemuck::cast_slice(row)))
            .collect();
        Ok(self.steps.map(|step| table[(step % u64::from(METRIC_ROWS)) as usize]).collect())
    }
}

impl Trainer {
    /// Begins a run.
    ///
    /// # Errors
    /// A configuration that is not valid, a data set whose images do not fit the network, a device that can't hold it.
    pub async fn new(device: &Device, config: &Config, dataset: &Dataset) -> Result<Self> {
        let mut trainer = Self::empty(device, config, dataset).await?;
        let (seed, plan) = (trainer.config.seed, &trainer.plan);
        let (capacity, initial) = trainer.config.ring();
        let mut parameters = trainer.network.initial_parameters(seed);
        trainer.machine.write_floats(plan.pass.parameters, &parameters);
        if let Some(spectral) = &plan.spectral {
            let length = plan.plan.len_of(spectral.vectors);
            trainer.machine.write_floats(spectral.vectors, &normals(seed, Stream::Spectral, length));
            for _ in 0..FIRST_ITERATIONS {
                trainer.machine.run(spectral.iterate)?;
            }
            parameters = trainer.machine.read_floats(plan.pass.parameters).await?;
        }
        if let Some(average) = plan.average {
            trainer.machine.write_floats(average, &parameters);
        }
        let n_values = initial * trainer.network.input.len();
        let ring = starts(seed, n_values, &trainer.config.start_noise());
        trainer.machine.write_floats(plan.ring, &ring);
        let state = State {
            ring_head: (initial % capacity) as u32,
            ring_length: initial as u32,
            seed_low: seed as u32,
            seed_high: (seed >> 32) as u32,
            ..State::default()
        };
        trainer.machine.write(plan.state, 0, bytemuck::cast_slice(&[state]));
        trainer.machine.run(plan.start)?;
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
        let mut trainer = Self::empty(device, &header.config, dataset).await?;
        let (of, network) = (header_network(path, &header)?, &trainer.network);
        if of.layers != network.layers || of.input != network.input {
            let text = format!("is a checkpoint of network `{}`, not of `{}`", of.name, network.name);
            return Err(Error::file(path, text));
        }
        if trainer.data != header.data {
            let (was, is) = (&header.data, &trainer.data);
            let text = format!("was trained on other data ({was}) than this ({is}): give `--data` as it was");
            return Err(Error::file(path, text));
        }
        let mut tensors = Tensors::new(path, checkpoint.tensors);
        let (network, plan, machine) = (&trainer.network, &trainer.plan, &mut trainer.machine);
        for (buffer, prefix) in
            [(plan.pass.parameters, ""), (plan.first_moment, "adam.m."), (plan.second_moment, "adam.v.")]
        {
            machine.write_floats(buffer, &take_parameters(network, &mut tensors, prefix)?);
        }
        if let Some(average) = plan.average {
            machine.write_floats(average, &take_parameters(network, &mut tensors, AVERAGE)?);
        }
        if let Some(spectral) = &plan.spectral {
            let mut vectors = Vec::new();
            for (tensor, _) in network.bounded() {
                vectors.extend(tensors.take_f32(&format!("{SPECTRAL}{}", tensor.name), &tensor.shape[..1])?);
            }
            machine.write_floats(spectral.vectors, &vectors);
        }
        let words = tensors.take_u32("state", &[8])?;
        let state = State::of(&words);
        let (length, capacity) = (state.ring_length as usize, header.config.ring().0);
        let consistent = u64::from(state.step) == header.step
            && (1..=capacity).contains(&length)
            && (state.ring_head as usize) < capacity;
        if !consistent {
            return Err(Error::file(path, "its `state` contradicts its header: the file is damaged"));
        }
        let shape = network.input;
        let ring = tensors.take_f32("replay.ring", &[length, shape.height, shape.width, shape.channels])?;
        machine.write_floats(plan.ring, &ring);
        machine.write(plan.state, 0, &words);
        machine.run(plan.start)?;
        trainer.step = header.step;
        Ok(trainer)
    }

    async fn empty(device: &Device, config: &Config, dataset: &Dataset) -> Result<Self> {
        config.validate()?;
        let network = config.network(dataset.train.shape())?;
        let (examples, input) = (&dataset.train, network.input);
        let shape = examples.shape();
        let is_points = matches!(examples, Examples::Floats(_)) && shape.is_points();
        if shape != input && (is_points || input.is_points()) {
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
        if let Some(objective) = config.score_objective() {
            objective.check(&network)?;
        }
        assert!(input.len() < MAX_FEATURES);
        let n_images = u32::try_from(examples.count())
            .map_err(|_| Error::Usage(format!("{}: more than 2^32 images", dataset.name)))?;
        let target = device.chain_target(&network, config.train.batch);
        let steps = total_steps(config, n_images);
        if steps > u64::from(u32::MAX) {
            return Err(Error::setting("train.steps", format!("{steps} steps in all are more than 2^32")));
        }
        let plan = training_plan(&network, &numbers(config, examples), target);
        let mut trainer = Self {
            device: device.clone(),
            config: config.clone(),
            data: fingerprint(dataset),
            n_images,
            machine: Machine::new(device, plan.plan.clone()).await?,
            plan,
            network,
            step: 0,
        };
        if let Some(data) = trainer.plan.data {
            match examples {
                Examples::Bytes(images) => {
                    let mut bytes = images.bytes.clone();
                    bytes.resize(bytes.len().next_multiple_of(4), 0);
                    trainer.machine.write(data, 0, &bytemuck::pod_collect_to_vec(&bytes));
                }
                Examples::Floats(images) => trainer.machine.write_floats(data, &images.values),
                Examples::Fresh(..) => {}
            }
        }
        Ok(trainer)
    }

    /// The device it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the run is likely to go wrong by, if something.
    pub fn warning(&self) -> Option<String> {
        let objective = self.config.score_objective()?;
        let layer = objective.kinked(&self.network)?;
        Some(format!(
            "{layer}'s activation is made of straight lines, whose second derivative is 0, so that the loss lacks most of \
             its trace term: choose a smooth activation (swish, softplus, tanh), or `denoising-score-matching`"
        ))
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
        steps_per_epoch(&self.config, self.n_images)
    }

    /// Training steps in the whole run.
    pub fn total_steps(&self) -> u64 {
        total_steps(&self.config, self.n_images)
    }

    /// Submits some training steps, at most [`METRIC_ROWS`], and the reading of their metrics. On a GPU that is one
    /// submission, which is not waited for; the CPU executor returns when they are done.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn submit(&mut self, steps: u32) -> Result<PendingMetrics> {
        let steps = steps.clamp(1, METRIC_ROWS);
        let range = 0..METRIC_ROWS as usize * METRICS;
        let reading = self.machine.run_and_read(self.plan.step, steps, self.plan.metrics, range)?;
        let first = self.step;
        self.step += u64::from(steps);
        Ok(PendingMetrics { steps: first..self.step, reading })
    }

    /// Does one training step launch by launch, next to the reference: see [`compare`].
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn compare_step(&mut self) -> Result<Report> {
        let report = compare(&mut self.machine, self.plan.step).await?;
        self.step += 1;
        Ok(report)
    }

    /// The plan with its buffers on the device, for those who look closely; [`Self::plan`] tells which is which.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The plan.
    pub fn plan(&self) -> &TrainingPlan {
        &self.plan
    }

    /// Kernel launches in a training step.
    pub fn launches_per_step(&self) -> usize {
        self.plan.plan.programs[self.plan.step.0].len()
    }

    /// Does one training step launch by launch, and tells each kernel's seconds: see [`Machine::time_launches`].
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn time_step(&mut self) -> Result<Vec<(&'static str, f64)>> {
        self.step += 1;
        self.machine.time_launches(self.plan.step).await
    }

    /// The model as it is now: of the weights' moving average where there is one (`ema.decay`).
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn model(&self) -> Result<Model> {
        let parameters = self.plan.average.unwrap_or(self.plan.pass.parameters);
        let parameters = self.machine.read_floats(parameters).await?;
        Ok(Model { network: self.network.clone(), parameters })
    }

    /// The newest images of the replay ring, newest first: `count` of them, or as many as there are.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn replay_images(&self, count: usize) -> Result<Images> {
        let state = State::of(&self.machine.read(self.plan.state).await?);
        let ring = self.machine.read_floats(self.plan.ring).await?;
        let (head, length) = (state.ring_head as usize, state.ring_length as usize);
        let newest: Vec<usize> = (1..=count.min(length)).map(|i| (head + length - i) % length).collect();
        Ok(ring_images(&ring, self.network.input, &newest))
    }

    /// Everything that a resumed run needs. `metrics` goes into the header as it is.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn checkpoint(&self, metrics: serde_json::Value) -> Result<Checkpoint> {
        let mut tensors = std::collections::BTreeMap::new();
        let average = self.plan.average.map(|average| (average, AVERAGE));
        for (buffer, prefix) in [
            (self.plan.pass.parameters, ""),
            (self.plan.first_moment, "adam.m."),
            (self.plan.second_moment, "adam.v."),
        ]
        .into_iter()
        .chain(average)
        {
            let values = self.machine.read_floats(buffer).await?;
            for tensor in self.network.tensors() {
                let part = Tensor::f32(&tensor.shape, values[tensor.range()].to_vec());
                tensors.insert(format!("{prefix}{}", tensor.name), part);
            }
        }
        if let Some(spectral) = &self.plan.spectral {
            let vectors = self.machine.read_floats(spectral.vectors).await?;
            for ((tensor, _), (matrix, _)) in self.network.bounded().iter().zip(&spectral.matrices) {
                let part = Tensor::f32(&tensor.shape[..1], vectors[matrix.vector()].to_vec());
                tensors.insert(format!("{SPECTRAL}{}", tensor.name), part);
            }
        }
        let words = self.machine.read(self.plan.state).await?;
        let state = State::of(&words);
        let shape = self.network.input;
        let mut ring = self.machine.read_floats(self.plan.ring).await?;
        let length = state.ring_length as usize;
        ring.truncate(length * shape.len());
        let ring = Tensor::f32(&[length, shape.height, shape.width, shape.channels], ring);
        tensors.insert("replay.ring".to_owned(), ring);
        tensors.insert("state".to_owned(), Tensor::u32(&[8], words));
        let header = Header {
            format: FORMAT.to_owned(),
            network: serde_json::to_value(self.network.spec()).expect("plain fields"),
            config: self.config.clone(),
            step: self.step,
            seed: self.config.seed,
            data: self.data.clone(),
            metrics,
        };
        Ok(Checkpoint { header, tensors })
    }
}

/// What the ring begins with: `n` values.
fn starts(seed: u64, n: usize, noise: &Noise) -> Vec<f32> {
    if noise.distribution == Distribution::Uniform {
        let mut rng = Philox::new(seed, Stream::RingStart);
        let value = |_| (noise.scale * rng.random_range(-1.0_f32..1.0)).clamp(-noise.bound, noise.bound);
        return (0..n).map(value).collect();
    }
    let mut values = normals(seed, Stream::RingStart, n);
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

fn steps_per_epoch(config: &Config, n_images: u32) -> u64 {
    u64::from(n_images).div_ceil(config.train.batch as u64)
}

fn total_steps(config: &Config, n_images: u32) -> u64 {
    match config.train.steps {
        0 => config.train.epochs as u64 * steps_per_epoch(config, n_images),
        steps => steps,
    }
}

/// A run's numbers as its plan takes them.
fn numbers(config: &Config, examples: &Examples) -> TrainingNumbers {
    let n_images = examples.count() as u32;
    let training_steps = total_steps(config, n_images);
    let schedule = Schedule {
        decay: match config.schedule.learning_rate {
            RateSchedule::Constant => Decay::Constant,
            RateSchedule::Exponential => Decay::Exponential {
                factor: config.schedule.factor,
                epoch: steps_per_epoch(config, n_images) as u32,
            },
            RateSchedule::Cosine => Decay::Cosine { training_steps: training_steps as u32 },
        },
        warm_up: config.schedule.warm_up as u32,
    };
    TrainingNumbers {
        batch: config.train.batch as u32,
        source: match examples {
            Examples::Bytes(_) => Source::Bytes,
            Examples::Floats(_) => Source::Floats,
            Examples::Fresh(toy, _) => Source::Fresh(*toy),
        },
        n_images,
        data_shape: examples.shape(),
        data_noise: config.data.noise as f32,
        chain: config.chain_numbers(training_steps),
        starts: match (config.objective, config.cd.start) {
            (Objective::Replay, _) => Starts::Replay,
            (Objective::Pcd, _) => Starts::Persistent,
            (Objective::Cd, CdStart::Data) => Starts::Data,
            (_, _) => Starts::Noise,
        },
        noise: config.start_noise(),
        augment: Augment {
            probability: config.augment.probability as f32,
            shift: config.augment.shift,
            flip: config.augment.flip as f32,
            rescale: config.augment.rescale as f32,
        },
        ring_capacity: config.ring().0 as u32,
        fresh: match config.objective {
            Objective::Pcd => config.pcd.fresh as f32,
            _ => config.replay.fresh as f32,
        },
        alpha: config.loss.energy_l2 as f32,
        square_of_means: config.loss.energy_l2_form == EnergyL2Form::SquareOfMeans,
        smoothness: config.loss.smoothness as f32,
        smoothness_noise: config.loss.smoothness_noise as f32,
        weight_l2: config.loss.weight_l2 as f32,
        learning_rate: config.adam.learning_rate,
        schedule,
        beta1: config.adam.beta1,
        beta2: config.adam.beta2,
        epsilon: config.adam.epsilon,
        gradient_norm_clip: config.adam.gradient_norm_clip as f32,
        gradient_clip: config.adam.gradient_clip as f32,
        weight_decay: config.adam.weight_decay,
        average_decay: config.ema.decay,
        score: config.score_objective(),
    }
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
        Examples::Fresh(toy, count) => return format!("fresh points of {}, {count} an epoch", toy.name()),
    };
    format!("{} {what} of {}, crc32 {:08x}", dataset.train.count(), dataset.train.shape(), crc.sum())
}
