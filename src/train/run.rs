//! A guarded run in a folder: it trains to the last step, saves, measures, and goes back to a snapshot when training diverges.
//!
//! An [`Observer`] watches it, may stop it, and may draw pictures of it.

use super::log::{ChainsFile, HeldOutFigures, HeldOutFile, MetricsFile, MetricsMean, StepMetrics};
use super::{Halt, Outcome, PendingMetrics, Rollback, Trainer};
use crate::checkpoint::Checkpoint;
use crate::data::toy::POINT;
use crate::data::{Dataset, Images, Shape};
use crate::evaluate::point_metrics::{POINTS, PointEvaluator, PointMetrics};
use crate::files::write_atomically;
use crate::kernels::dynamics::Form;
use crate::plan::METRIC_ROWS;
use crate::random::{Philox, Stream};
use crate::source::read_text;
use crate::{Device, EnergyModel, Error, Model, Result};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The checkpoint of a run, from which it is resumed.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// One row a training step.
pub const METRICS: &str = "metrics.csv";
/// One row an epoch: energies of held-out examples and of noise.
pub const HELD_OUT: &str = "held_out.csv";
/// The file of the figures of annealed chains, one row a training step with contrastive divergence.
pub const CHAINS: &str = "chains.csv";
/// Measures of a model of points.
pub const FIGURES: &str = "figures.json";

/// The most epochs that a run draws pictures of, and measures samples of points of.
const SHOWN: u64 = 10;
/// Samples of points that are measured at the end of an epoch but the last.
pub const MONITORED: usize = 1000;
/// The time between two checkpoints within an epoch.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// The time between two attempts at a checkpoint that can't be written.
const RETRY_SAVE: Duration = Duration::from_secs(10);
/// The time that one submission should take, so that progress is smooth.
const SUBMISSION: Duration = Duration::from_millis(250);
/// The most bytes of [`FIGURES`].
const MAX_FIGURES: u64 = 256 << 20;

/// Whether a run is to stop before its last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// Train on.
    #[default]
    No,
    /// Save, draw the pictures, and stop.
    Soon,
    /// Save and stop, without pictures.
    AtOnce,
}

/// What happens in a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Steps were submitted that no checkpoint holds yet.
    Submitted,
    /// A step is done, in an epoch counted from 1.
    Step {
        /// Steps done so far, this one included.
        step: u64,
        /// Its epoch.
        epoch: u64,
        /// Its metrics; NaN where the objective or the sampler has no such figure.
        metrics: &'a StepMetrics,
    },
    /// An epoch has ended.
    Epoch(&'a EpochFigures),
    /// The samples of a model of points were measured.
    Measured {
        /// The epoch that ended.
        epoch: u64,
        /// Samples drawn.
        samples: usize,
        /// The measures.
        figures: &'a PointMetrics,
    },
    /// Every step so far is in the checkpoint.
    Saved,
    /// The checkpoint could not be written; training continues.
    NotSaved {
        /// The step that is not saved.
        step: u64,
        /// The step of the last whole checkpoint.
        saved: u64,
        /// Why.
        error: &'a Error,
    },
    /// Rows of [`METRICS`] could not be written; the next step tries again.
    RowsNotWritten(&'a Error),
    /// Another file, without which training can do, could not be written.
    NotWritten(&'a Error),
    /// Training diverged, and continues from a snapshot.
    RolledBack(&'a Rollback),
    /// The run was stopped and is saved; the pictures are next.
    Stopping {
        /// Steps done.
        step: u64,
    },
}

/// Watches a run. Every method has a default: nothing is shown or drawn, and the run goes to its end.
#[allow(async_fn_in_trait, reason = "runs are awaited where they are made; nothing here asks for Send")]
pub trait Observer {
    /// Whether the run is to stop. Asked often.
    fn stop(&self) -> Stop {
        Stop::No
    }

    /// Takes note of an event.
    fn on(&mut self, event: Event<'_>) {
        let _ = event;
    }

    /// Draws pictures at the end of an epoch. A file that can't be written is reported as [`Event::NotWritten`].
    ///
    /// # Errors
    /// What ends the run: anything but [`Error::Io`] and [`Error::File`].
    async fn draw_epoch(&mut self, run: &mut Run, model: &Model, epoch: u64) -> Result<()> {
        let _ = (run, model, epoch);
        Ok(())
    }

    /// Draws the pictures of the run's end.
    ///
    /// # Errors
    /// Those of [`Self::draw_epoch`].
    async fn draw_end(&mut self, run: &Run, model: &Model) -> Result<()> {
        let _ = (run, model);
        Ok(())
    }

    /// Whether pictures of the end of a run without steps left are missing.
    fn misses_pictures(&self, run: &Run) -> bool {
        let _ = run;
        false
    }
}

/// Watches nothing.
impl Observer for () {}

/// The figures of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct EpochFigures {
    /// The epoch that ended, counted from 1.
    pub epoch: u64,
    /// Training steps done since the run began.
    pub step: u64,
    /// Means over the epoch's training steps.
    pub train: StepMetrics,
    /// `None` if nothing is held out.
    pub held_out: Option<HeldOutFigures>,
    /// Duration of the epoch.
    pub seconds: f64,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct End {
    /// Training steps done.
    pub step: u64,
    /// Those done before this process began.
    pub began: u64,
    /// Training steps of the whole run.
    pub total: u64,
    /// Duration of training, over all processes.
    pub seconds: f64,
    /// Whether the pictures of the end were drawn.
    pub has_drawn: bool,
    /// Whether a file could not be written that training can do without.
    pub misses_files: bool,
}

/// A training run in a folder.
#[derive(Debug)]
pub struct Run {
    trainer: Trainer,
    folder: PathBuf,
    metrics: MetricsFile,
    held_out_rows: HeldOutFile,
    chains: Option<ChainsFile>,
    held_out: Images,
    noise: Images,
    points: Images,
    evaluator: Option<PointEvaluator>,
    figures: Vec<serde_json::Value>,
    energies: EnergyModel,
    mean: MetricsMean,
    latest: StepMetrics,
    began: u64,         // steps done before this process
    saved: u64,         // the step of the checkpoint
    misses_saves: bool, // the checkpoint could not be written last time
    misses_rows: bool,  // metrics.csv could not be written last time
    misses_files: bool, // another file could not be written
    has_drawn: bool,
    diverged: Option<Rollback>,
    started: Instant,
    seconds_before: f64,
    epoch_started: Instant,
}

impl Run {
    /// Begins a run in `folder`, which is created if missing, with a checkpoint of step 0.
    ///
    /// # Errors
    /// [`Error::File`] if the folder holds a run; [`Error::Io`] if it takes no files; [`Error::Device`].
    pub async fn begin(trainer: Trainer, dataset: &Dataset, folder: &Path) -> Result<Self> {
        for path in [CHECKPOINT, METRICS].map(|name| folder.join(name)) {
            if path.exists() {
                return Err(Error::file(path, "is there already: resume that run, or choose another folder"));
            }
        }
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        trainer.checkpoint(serde_json::Value::Null).await?.save(folder.join(CHECKPOINT))?;
        Self::open(trainer, dataset, folder, false).await
    }

    /// Resumes the run in `folder` from its checkpoint. Its length may change: `total_steps` replaces `train.steps`.
    ///
    /// # Errors
    /// Those of [`Checkpoint::load`], [`Trainer::resume`] and [`MetricsFile::resume`].
    pub async fn resume(
        device: &Device,
        dataset: &Dataset,
        folder: &Path,
        total_steps: Option<u64>,
    ) -> Result<Self> {
        let path = folder.join(CHECKPOINT);
        let mut checkpoint = Checkpoint::load(&path)?;
        if let Some(steps) = total_steps {
            checkpoint.header.config.train.steps = steps;
        }
        let trainer = Trainer::resume(device, &path, checkpoint, dataset).await?;
        Self::open(trainer, dataset, folder, true).await
    }

    /// Opens the files of a run whose checkpoint is in `folder` already: new ones, or those of a run that is resumed.
    ///
    /// # Errors
    /// Those of [`MetricsFile::create`] and [`MetricsFile::resume`].
    pub async fn open(trainer: Trainer, dataset: &Dataset, folder: &Path, is_resumed: bool) -> Result<Self> {
        let (step, seed) = (trainer.step(), trainer.config().seed);
        let [metrics, held_out_rows] = [METRICS, HELD_OUT].map(|name| folder.join(name));
        let (metrics, held_out_rows) = if is_resumed {
            (MetricsFile::resume(&metrics, step)?, HeldOutFile::resume(&held_out_rows, step)?)
        } else {
            (MetricsFile::create(&metrics)?, HeldOutFile::create(&held_out_rows)?)
        };
        let path = folder.join(CHAINS);
        let chains = trainer.plan().annealed.is_some().then(|| match is_resumed {
            true => ChainsFile::resume(&path, step),
            false => ChainsFile::create(&path),
        });
        let chains = chains.transpose()?;
        let held_out = dataset.held_out.clone();
        let points = match dataset.train.shape() {
            POINT => dataset.train.to_images(),
            _ => Images { shape: POINT, values: Vec::new() },
        };
        let evaluator = PointEvaluator::new(dataset, seed);
        let noise = match &evaluator {
            Some(evaluator) => evaluator.starts(held_out.count(), !seed),
            None => uniform_noise(seed, trainer.network().input, held_out.count()),
        };
        let figures = match (&evaluator, is_resumed) {
            (Some(_), true) => read_figures(&folder.join(FIGURES), step)?,
            _ => Vec::new(),
        };
        let now = Instant::now();
        Ok(Self {
            energies: EnergyModel::new(trainer.device(), &trainer.model().await?).await?,
            mean: metrics.mean_of(step / trainer.steps_per_epoch() + 1)?,
            latest: StepMetrics::default(),
            began: step,
            saved: step,
            misses_saves: false,
            misses_rows: false,
            misses_files: false,
            has_drawn: false,
            diverged: None,
            started: now,
            seconds_before: metrics.seconds(),
            epoch_started: now,
            folder: folder.to_owned(),
            held_out,
            noise,
            points,
            evaluator,
            figures,
            trainer,
            metrics,
            held_out_rows,
            chains,
        })
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of the checkpoint.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.folder.join(CHECKPOINT)
    }

    /// The step of the last checkpoint.
    pub fn saved(&self) -> u64 {
        self.saved
    }

    /// The energies of the model at the end of the last epoch.
    pub fn energies(&mut self) -> &mut EnergyModel {
        &mut self.energies
    }

    /// The training data, if they are points of the plane; else no points.
    pub fn points(&self) -> &Images {
        &self.points
    }

    /// Examples held out.
    pub fn n_held_out(&self) -> usize {
        self.held_out.count()
    }

    /// Whether training runs chains, and so has negative examples and a replay buffer.
    pub fn has_chains(&self) -> bool {
        self.trainer.config().has_chains()
    }

    /// The rollback at which the guard gave up, after [`Error::Diverged`].
    pub fn diverged(&self) -> Option<&Rollback> {
        self.diverged.as_ref()
    }

    /// Epochs of the whole run.
    pub fn epochs(&self) -> u64 {
        self.trainer.total_steps().div_ceil(self.trainer.steps_per_epoch())
    }

    /// Whether the picture `name` of an epoch is to be drawn: of some ten epochs and the last, unless a process before this
    /// one drew it.
    pub fn misses(&self, name: &str, epoch: u64) -> bool {
        // A picture from before a step of this process is of an earlier try.
        let is_of_before = self.trainer.step() == self.began;
        self.is_shown(epoch) && !(is_of_before && self.is_newer(name))
    }

    /// Whether the file `name` exists and is newer than the checkpoint.
    pub fn is_newer(&self, name: &str) -> bool {
        let written = |name: &str| std::fs::metadata(self.folder.join(name))?.modified();
        matches!((written(name), written(CHECKPOINT)), (Ok(picture), Ok(checkpoint)) if picture >= checkpoint)
    }

    fn is_shown(&self, epoch: u64) -> bool {
        let epochs = self.epochs();
        epoch.is_multiple_of(epochs.div_ceil(SHOWN)) || epoch == epochs
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// Trains to the last step, or until the observer stops the run.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the guard's tries are used up: the checkpoint then holds the last snapshot, and
    /// [`Self::diverged`] says why. [`Error::Device`] if the device was lost, and [`Error::Io`] if the last checkpoint could
    /// not be written: the file holds step [`Self::saved`], from which the run can be resumed.
    pub async fn finish(&mut self, observer: &mut impl Observer) -> Result<End> {
        let (total, per_epoch) = (self.trainer.total_steps(), self.trainer.steps_per_epoch());
        let began = self.began;
        if began > 0 && (began.is_multiple_of(per_epoch) || began == total) {
            // The process before may have been killed before it did this.
            self.end_epoch(observer).await?;
        }
        let mut pending: VecDeque<PendingMetrics> = VecDeque::new();
        let (mut at_once, mut tried) = (1, Instant::now());
        while self.trainer.step() < total && observer.stop() == Stop::No {
            let step = self.trainer.step();
            let to_epoch_end = per_epoch - step % per_epoch;
            let n = u64::from(at_once).min(to_epoch_end).min(total - step) as u32;
            let submitted = Instant::now();
            observer.on(Event::Submitted);
            pending.push_back(self.trainer.submit(n)?);
            // Two submissions are under way at a time: the device does not wait for the host, nor run far ahead of it.
            let done = pending.len().saturating_sub(1);
            if self.take_all(&mut pending, done, observer).await? {
                continue;
            }
            let took = submitted.elapsed();
            if took < SUBMISSION / 2 {
                at_once = (at_once * 2).min(METRIC_ROWS);
            } else if took > SUBMISSION * 2 {
                at_once = (at_once / 2).max(1);
            }
            let epoch_ends = self.trainer.step().is_multiple_of(per_epoch);
            let is_last = self.trainer.step() == total;
            if epoch_ends || is_last || tried.elapsed() > SAVE_EVERY {
                if self.take_all(&mut pending, usize::MAX, observer).await? || self.check(observer).await? {
                    continue;
                }
                // Save first, then measure and draw. A checkpoint that can't be written is not tried all the time.
                if !self.misses_saves || is_last || tried.elapsed() > RETRY_SAVE {
                    tried = Instant::now();
                    self.try_to_save(observer).await?;
                }
                if (epoch_ends || is_last) && observer.stop() != Stop::AtOnce {
                    self.end_epoch(observer).await?;
                }
            }
        }
        if !self.take_all(&mut pending, usize::MAX, observer).await? {
            self.check(observer).await?;
        }
        let done = self.trainer.step();
        if self.saved != done {
            self.save(observer).await?;
        }
        observer.on(Event::Saved);
        let is_due = done > began || (done == total && observer.misses_pictures(self));
        if is_due && observer.stop() != Stop::AtOnce {
            if done < total {
                observer.on(Event::Stopping { step: done });
            }
            self.draw_end(observer).await?;
        }
        let (seconds, has_drawn, misses_files) = (self.seconds(), self.has_drawn, self.misses_files);
        Ok(End { step: done, began, total, seconds, has_drawn, misses_files })
    }

    /// Reports a file that training can do without and that could not be written; other errors stay errors.
    fn forgive(&mut self, result: Result<()>, observer: &mut impl Observer) -> Result<()> {
        match result {
            Err(error @ (Error::Io { .. } | Error::File { .. })) => {
                self.misses_files = true;
                observer.on(Event::NotWritten(&error));
                Ok(())
            }
            other => other,
        }
    }

    /// Saves, and reports a checkpoint that could not be written.
    async fn try_to_save(&mut self, observer: &mut impl Observer) -> Result<()> {
        match self.save(observer).await {
            Err(error @ Error::Io { .. }) => {
                self.misses_saves = true;
                let (step, saved) = (self.trainer.step(), self.saved);
                observer.on(Event::NotSaved { step, saved, error: &error });
                Ok(())
            }
            other => other,
        }
    }

    /// Takes in the metrics of up to `count` submissions, the oldest first. Returns whether training went back to a
    /// snapshot: the submissions that are left are void then, and dropped.
    async fn take_all(
        &mut self,
        pending: &mut VecDeque<PendingMetrics>,
        count: usize,
        observer: &mut impl Observer,
    ) -> Result<bool> {
        for _ in 0..count.min(pending.len()) {
            let Some(oldest) = pending.pop_front() else { break };
            if let Some(halt) = self.take(oldest, observer).await? {
                pending.clear();
                self.roll_back(halt, observer).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks that what is to be saved is finite, and goes back to a snapshot if not. Returns whether it did.
    async fn check(&mut self, observer: &mut impl Observer) -> Result<bool> {
        match self.trainer.check().await? {
            Some(halt) => self.roll_back(halt, observer).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Goes back to the last snapshot; or ends the run there, with a checkpoint of the snapshot.
    async fn roll_back(&mut self, halt: Halt, observer: &mut impl Observer) -> Result<()> {
        let rollback = self.trainer.roll_back(halt).await?;
        if !rollback.goes_on() {
            self.save(observer).await?;
            self.draw_end(observer).await?; // the curves show how it came about
            let error = Error::Diverged(format!(
                "training was stopped at {}. {} holds step {}, whole and finite. {}",
                rollback.halt,
                self.checkpoint_path().display(),
                rollback.to,
                rollback.halt.advice(self.trainer.config())
            ));
            self.diverged = Some(rollback);
            return Err(error);
        }
        observer.on(Event::RolledBack(&rollback));
        // A run that is killed now has this try behind it. Resuming drops the rows of later steps.
        self.try_to_save(observer).await?;
        let rewound = self.metrics.rewind(rollback.to).and_then(|()| self.held_out_rows.rewind(rollback.to));
        let rewound = rewound.and_then(|()| match &mut self.chains {
            Some(chains) => chains.rewind(rollback.to),
            None => Ok(()),
        });
        self.forgive(rewound, observer)?;
        self.figures.retain(|row| row["step"].as_u64().is_some_and(|step| step <= rollback.to));
        let epoch = rollback.to / self.trainer.steps_per_epoch() + 1;
        self.mean = self.metrics.mean_of(epoch)?;
        Ok(())
    }

    /// Takes in metrics that have arrived. Returns why training was halted, if it was.
    async fn take(&mut self, pending: PendingMetrics, observer: &mut impl Observer) -> Result<Option<Halt>> {
        let first = pending.steps().start;
        let Outcome { metrics, chains, halt } = pending.outcome().await?;
        let (contrast, _) = self.trainer.config().contrast_begins(self.trainer.total_steps());
        let contrast = if self.chains.is_some() { contrast } else { 0 };
        let has_chains = self.has_chains();
        let tells_noise = self.trainer.config().noise_objective().is_some();
        let accepts = has_chains && self.trainer.config().chain.form == Form::Mala;
        for (step, mut metrics) in (first..).zip(metrics) {
            if !accepts {
                metrics.acceptance = f32::NAN; // a column without numbers has no curve
            }
            if !has_chains && !tells_noise {
                metrics.energy_fake = f32::NAN;
            } else if step < contrast {
                (metrics.divergence, metrics.energy_fake) = (f32::NAN, f32::NAN); // it denoises so far
            }
            let epoch = step / self.trainer.steps_per_epoch() + 1;
            let (seconds, of_chains) = (self.seconds(), chains.get((step - first) as usize));
            let mut appended = self.metrics.append(step + 1, epoch, &metrics, seconds);
            if let (Some(file), Some(of_chains)) = (&mut self.chains, of_chains.filter(|_| step >= contrast))
            {
                appended = appended.and(file.append(step + 1, epoch, of_chains, seconds));
            }
            if let (Err(error), false) = (&appended, self.misses_rows) {
                observer.on(Event::RowsNotWritten(error));
            }
            self.misses_rows = appended.is_err();
            self.mean.add(&metrics);
            self.latest = metrics;
            observer.on(Event::Step { step: step + 1, epoch, metrics: &metrics });
        }
        Ok(halt)
    }

    /// Measures the epoch and has its pictures drawn, as far as no process before did.
    async fn end_epoch(&mut self, observer: &mut impl Observer) -> Result<()> {
        let step = self.trainer.step();
        let epoch = step.div_ceil(self.trainer.steps_per_epoch());
        let model = self.trainer.model().await?;
        self.energies.set_parameters(&model.parameters)?;
        if self.held_out_rows.last_step() < Some(step) {
            self.measure_epoch(epoch, observer).await?;
        }
        let drawn = observer.draw_epoch(self, &model, epoch).await;
        self.forgive(drawn, observer)?;
        self.measure_samples(&model, epoch, observer).await
    }

    /// Writes the figures of the held-out examples to their file.
    async fn measure_epoch(&mut self, epoch: u64, observer: &mut impl Observer) -> Result<()> {
        let step = self.trainer.step();
        let mut held_out = None;
        if self.held_out.count() > 0 {
            let real = self.energies.energies(&self.held_out).await?;
            let noise = self.energies.energies(&self.noise).await?;
            let mean = |values: &[f32], f: fn(f64) -> f64| {
                values.iter().map(|v| f(f64::from(*v))).sum::<f64>() / values.len() as f64
            };
            let squares = mean(&real, |e| e * e) + mean(&noise, |e| e * e);
            let (energy_real, energy_noise) = (mean(&real, |e| e), mean(&noise, |e| e));
            let divergence = energy_real - energy_noise;
            let figures = HeldOutFigures {
                loss: (divergence + self.trainer.config().loss.energy_l2 * squares) as f32,
                divergence: divergence as f32,
                energy_real: energy_real as f32,
                energy_noise: energy_noise as f32,
            };
            let appended = self.held_out_rows.append(step, epoch, &figures, self.seconds());
            self.forgive(appended, observer)?;
            held_out = Some(figures);
        }
        let seconds = self.epoch_started.elapsed().as_secs_f64();
        self.epoch_started = Instant::now();
        let mut train = self.mean.take();
        if step == self.began {
            train = self.metrics.mean_of(epoch)?.mean(); // of steps before this process
        }
        observer.on(Event::Epoch(&EpochFigures { epoch, step, train, held_out, seconds }));
        Ok(())
    }

    /// Measures the samples of a model of points: few of them in some ten epochs, more in the last.
    async fn measure_samples(
        &mut self,
        model: &Model,
        epoch: u64,
        observer: &mut impl Observer,
    ) -> Result<()> {
        let Some(evaluator) = &self.evaluator else { return Ok(()) };
        let step = self.trainer.step();
        if !self.is_shown(epoch) || self.figures.iter().any(|row| row["step"].as_u64() == Some(step)) {
            return Ok(());
        }
        let samples = if epoch == self.epochs() { POINTS } else { MONITORED };
        let config = self.trainer.config();
        let (chain_config, seed) = (config.sampling_chain(), config.seed.wrapping_add(epoch));
        let figures = evaluator.evaluate(self.trainer.device(), model, samples, &chain_config, seed).await?;
        observer.on(Event::Measured { epoch, samples, figures: &figures });
        self.figures.push(serde_json::json!({
            "epoch": epoch, "step": step, "samples": samples, "box": evaluator.limits(), "figures": figures
        }));
        let text = serde_json::to_string_pretty(&self.figures).expect("plain fields");
        let written = write_atomically(self.folder.join(FIGURES), |file| file.write_all(text.as_bytes()));
        self.forgive(written, observer)
    }

    async fn draw_end(&mut self, observer: &mut impl Observer) -> Result<()> {
        self.has_drawn = true;
        let model = self.trainer.model().await?;
        let drawn = observer.draw_end(self, &model).await;
        self.forgive(drawn, observer)
    }

    async fn save(&mut self, observer: &mut impl Observer) -> Result<()> {
        let latest = serde_json::json!({
            "loss": self.latest.loss,
            "energy_real": self.latest.energy_real,
            "energy_fake": self.latest.energy_fake, // null without chains
        });
        self.trainer.checkpoint(latest).await?.save(self.checkpoint_path())?;
        (self.saved, self.misses_saves) = (self.trainer.step(), false);
        observer.on(Event::Saved);
        Ok(())
    }
}

/// Reads the figures that a run of points wrote until `step`.
fn read_figures(path: &Path, step: u64) -> Result<Vec<serde_json::Value>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = read_text(path, MAX_FIGURES, "a list of figures")?;
    let mut rows: Vec<serde_json::Value> = serde_json::from_str(&text).map_err(|error| {
        Error::file(path, format!("is no list of figures ({error}); mend it, or move it away"))
    })?;
    rows.retain(|row| row["step"].as_u64().is_some_and(|of| of <= step));
    Ok(rows)
}

/// Uniform noise that held-out images are compared with.
fn uniform_noise(seed: u64, shape: Shape, count: usize) -> Images {
    use rand::RngExt;
    let mut rng = Philox::new(seed, Stream::HeldOutNoise);
    let values = (0..count * shape.len()).map(|_| rng.random_range(-1.0_f32..1.0)).collect();
    Images { shape, values }
}
