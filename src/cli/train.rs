//! `thalweg train`: a run from its first step, or from its checkpoint on, to its last.

use super::plot::{draw_curves, draw_plane, draw_samples};
use super::progress::{EpochFigures, HeldOutFigures, Progress, epoch_header, epoch_row};
use super::{picture, say, say_notes};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use thalweg::checkpoint::Checkpoint;
use thalweg::data::reading::{Reading, short};
use thalweg::data::standard::{Standard, unscaled};
use thalweg::data::{Examples, ImageShape, Images, Opened};
use thalweg::device::ChainPath;
use thalweg::error::printable;
use thalweg::files::write_atomically;
use thalweg::kernels::dynamics::Form;
use thalweg::kernels::random::{Philox, Stream};
use thalweg::metrics::{Judge, POINTS};
use thalweg::picture::plot::{Square, monitor, thinned};
use thalweg::picture::save_png;
use thalweg::plan::METRIC_ROWS;
use thalweg::source::read_text;
use thalweg::train::metrics::{MetricsFile, MetricsMean, MetricsTable, StepMetrics};
use thalweg::train::{Halt, Outcome, PendingMetrics};
use thalweg::{Config, Dataset, Device, EnergyModel, Error, Model, Result, Trainer, plane};

/// Options of `thalweg train`.
#[derive(clap::Args)]
pub struct Arguments {
    /// What to learn: `digits` (10,000 MNIST digits that ship inside; the last 1,000 are held out); a folder of IDX
    /// files under MNIST's names, of CIFAR-10's binary batches, or of PNG and JPEG files; one file (IDX, .npy, CSV); or a
    /// toy set of points, fresh ones every step: `five-gaussians`, `8-gaussians`, `25-gaussians`, `rings`, `two-moons`,
    /// `swiss-roll`, `checkerboard`, `pinwheel` (`rings:5000` is a fixed set of 5,000 points)
    /// [default: what the preset is for: digits, or five-gaussians]
    #[arg(long, value_name = "digits|DIR|FILE|TOY")]
    data: Option<String>,
    /// The network and its recipe: `digits` draws what it has seen, `mnist-small` is the one of the Keras notebooks
    #[arg(long, default_value = "digits", value_name = "NAME")]
    preset: String,
    /// Passes over the data [default: 10, or what the preset or --config says]
    #[arg(long, value_name = "N", conflicts_with = "steps", allow_negative_numbers = true)]
    epochs: Option<usize>,
    /// Training steps in all, instead of --epochs
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    steps: Option<u64>,
    /// Folder for checkpoint, pictures and metrics.csv
    #[arg(long, default_value = "run", value_name = "DIR")]
    out: PathBuf,
    /// Seed of all random numbers: same seed, same device, same bits [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Where to compute: `auto` (the first GPU, else the CPU), `cpu`, an adapter's number or a part of its name
    /// (see `thalweg devices`)
    #[arg(long, default_value = "auto", value_name = "auto|cpu|NAME|INDEX")]
    device: String,
    /// How a GPU runs Langevin chains: `fused` (many steps in one dispatch), `fused-workgroup` (with hidden layers in
    /// workgroup memory), by `layers`, or what suits it
    #[arg(long, default_value = "auto", value_name = "auto|fused|fused-workgroup|layers")]
    chain_path: ChainPath,
    /// What to do when training diverges or collapses: `rollback` (to the last good state and on from there, by other
    /// random numbers and half the learning rate; after three tries the run stops), `stop` (there), or `ignore`
    /// [default: rollback, or what --config says]
    #[arg(long, value_name = "rollback|stop|ignore")]
    on_divergence: Option<String>,
    /// Go on where the checkpoint in --out stopped, bit for bit; only --epochs, --steps, --on-divergence, --data,
    /// --device and --chain-path may be given besides
    #[arg(long, conflicts_with_all = ["seed", "set", "config", "preset"])]
    resume: bool,
    /// Settings from a TOML file, on top of the preset's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, on top of everything else; `--set help` lists them all with their defaults
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Training steps below which a run says that they are few.
const FEW_STEPS: u64 = 300;
/// The file that a run is resumed from.
const CHECKPOINT: &str = "checkpoint.safetensors";
/// Replay images in the picture of the buffer.
const BUFFER_IMAGES: usize = 64;
/// Epochs after which a run shows samples, and measures those of points, at most.
const SHOWN: u64 = 10;
/// Points of a kind in a monitor.
const MONITORED: usize = 1000;
/// Between two checkpoints within an epoch.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Measures of a model of points.
const FIGURES: &str = "figures.json";
/// What one submission should take, so that progress is smooth.
const SUBMISSION: Duration = Duration::from_millis(250);

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<()> {
    if arguments.set.iter().any(|s| s == "help") {
        for (key, default, doc) in configure(&arguments)?.describe() {
            say(format_args!("{key:<26} {default:<12} {doc}"));
        }
        return Ok(());
    }
    let path = arguments.out.join(CHECKPOINT);
    let mut resumed = if arguments.resume { Some(load(&path)?) } else { None };
    if let Some(checkpoint) = &mut resumed {
        override_settings(&mut checkpoint.header.config, &arguments)?;
    }
    let config = match &resumed {
        Some(checkpoint) => checkpoint.header.config.clone(),
        None => configure(&arguments)?,
    };
    if resumed.is_none() && (path.exists() || arguments.out.join("metrics.csv").exists()) {
        return Err(Error::Usage(format!(
            "{} holds a run already. Continue it with --resume, or choose another folder with --out",
            arguments.out.display()
        )));
    }
    let name = arguments.data.as_deref().unwrap_or(config.default_data());
    let Opened { dataset, columns, notes } = Dataset::open_for(name, &Reading::for_training(&config))?;
    let device = Device::open_with(&arguments.device, arguments.chain_path).await?;
    let ran_on = resumed.as_ref().map(|checkpoint| checkpoint.header.device.clone());
    let trainer = match resumed {
        Some(checkpoint) => Trainer::resume(&device, &path, checkpoint, &dataset).await?,
        None => Trainer::new(&device, &config, &dataset).await?,
    };
    std::fs::create_dir_all(&arguments.out).map_err(Error::io("create", &arguments.out))?;
    let metrics_path = arguments.out.join("metrics.csv");
    let metrics = match arguments.resume {
        true => MetricsFile::resume(&metrics_path, trainer.step())?,
        false => {
            // A run that is killed before its first save can be resumed, too; and a folder that can't take a
            // checkpoint is found out now.
            trainer.checkpoint(serde_json::Value::Null).await?.save(&path)?;
            MetricsFile::create(&metrics_path)?
        }
    };
    say(trainer.config().to_toml().trim_end());
    say(format_args!(
        "\n{} parameters, {} images ({} held out) from {}, on {device}",
        trainer.network().n_parameters,
        dataset.train.count(),
        dataset.held_out.count(),
        dataset.name
    ));
    let (found, input) = (dataset.train.shape(), trainer.network().input);
    if found != input {
        say(format_args!("Images of {found} (channels x height x width) are padded with black to {input}."));
    }
    if let (Device::Gpu(..), true) =
        (trainer.device(), has_fakes(trainer.config()) && trainer.config().chain.form != Form::Mala)
    {
        say(format_args!("Chains run {}.", trainer.device().explain_chain(trainer.network())));
    }
    if let Some(warning) = trainer.warning() {
        say(format_args!("Warning: {warning}."));
    }
    say_notes(&dataset.name, &notes);
    say_scaling(&dataset, &columns, trainer.network().standard.as_ref());
    say_few_steps(&trainer, dataset.train.count());
    let left = trainer.total_steps().saturating_sub(trainer.step());
    if left == 0 {
        say(format_args!(
            "All {} steps are done already; --epochs or --steps makes the run longer.",
            trainer.step()
        ));
        return Ok(());
    }
    if let Some(other) = ran_on.filter(|name| !name.is_empty() && *name != device.name()) {
        say(format_args!("It ran on {other} before: here it goes on alike, but not bit for bit."));
    }
    if arguments.resume {
        say(format_args!("Resumed at step {}; {left} steps to go.", trainer.step()));
    }
    Run::new(trainer, &dataset, metrics, &arguments).await?.finish().await
}

/// Columns that are named in a message, at most.
const NAMED: usize = 6;

/// Says what columns are standardised by, or which ones should be.
fn say_scaling(dataset: &Dataset, columns: &[String], standard: Option<&Standard>) {
    let Examples::Floats(points) = &dataset.train else { return };
    if !points.shape.is_points() || dataset.toy.is_some() {
        return;
    }
    let name = |column: usize| match columns.get(column).filter(|name| !name.is_empty()) {
        Some(name) => format!("`{name}`"),
        None => format!("{}", column + 1),
    };
    let list = |all: Vec<(usize, f64, f64)>| {
        let shown: Vec<String> = all
            .iter()
            .take(NAMED)
            .map(|(column, mean, deviation)| {
                format!("{} (mean {}, deviation {})", name(*column), short(*mean), short(*deviation))
            })
            .collect();
        let more = if all.len() > NAMED { format!(", ... {} in all", all.len()) } else { String::new() };
        printable(&format!("{}{more}", shown.join(", "))).into_owned()
    };
    if let Some(Standard { mean, deviation }) = standard {
        let all = mean.iter().zip(deviation).enumerate().map(|(column, (mean, dev))| (column, *mean, *dev));
        say(format_args!(
            "Standardised columns: {}. Energies are of the standardised points; samples, pictures and files keep the \
             data's units.",
            list(all.collect())
        ));
        return;
    }
    let found: Vec<_> = unscaled(points).iter().map(|c| (c.column, c.mean, c.deviation)).collect();
    if found.is_empty() {
        return;
    }
    let flat = found.iter().any(|(_, _, deviation)| *deviation == 0.0);
    say(format_args!(
        "Warning: column{} {} far from mean 0 and deviation 1, for which networks and chains are made, so training is likely \
         to fail: {}. Add `--set data.standardize=columns`, which standardises them for the network alone; samples and pictures stay in the data's \
         units.{}",
        if found.len() > 1 { "s" } else { "" },
        if found.len() > 1 { "are" } else { "is" },
        list(found),
        if flat { " A column of deviation 0 is the same in all rows, and is better left out." } else { "" }
    ));
}

/// Says that a small set makes few steps of the preset's epochs.
fn say_few_steps(trainer: &Trainer, examples: usize) {
    let (config, total) = (trainer.config(), trainer.total_steps());
    if config.train.steps == 0 && total < FEW_STEPS && trainer.step() == 0 {
        say(format_args!(
            "Note: {} epochs of {examples} examples are {total} training steps, which is few; `--steps 2000` trains for \
             longer.",
            config.train.epochs
        ));
    }
}

fn load(path: &Path) -> Result<Checkpoint> {
    if !path.exists() {
        return Err(Error::file(
            path,
            "is not there, so there is nothing to resume: leave out --resume to begin",
        ));
    }
    Checkpoint::load(path)
}

/// The configuration of a new run: preset, then file, then options.
fn configure(arguments: &Arguments) -> Result<Config> {
    let mut config = Config::preset(&arguments.preset)?;
    if let Some(path) = &arguments.config {
        config = Config::from_toml_file(path, config)?;
    }
    for assignment in arguments.set.iter().filter(|assignment| *assignment != "help") {
        config.set(assignment)?;
    }
    if let Some(seed) = arguments.seed {
        config.seed = seed;
    }
    if arguments.steps == Some(0) {
        return Err(Error::Usage("--steps 0: a run has at least one step".to_owned()));
    }
    override_settings(&mut config, arguments)?;
    config.validate()?;
    Ok(config)
}

/// How long the run is, and what is done when it diverges, where an option says so.
fn override_settings(config: &mut Config, arguments: &Arguments) -> Result<()> {
    if let Some(epochs) = arguments.epochs {
        (config.train.epochs, config.train.steps) = (epochs, 0);
    }
    if let Some(steps) = arguments.steps {
        config.train.steps = steps;
    }
    if let Some(on_divergence) = &arguments.on_divergence {
        config.set(&format!("guard.on_divergence={on_divergence}"))?;
    }
    Ok(())
}

/// Times that Ctrl-C was pressed.
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

/// A run under way.
struct Run<'a> {
    trainer: Trainer,
    metrics: MetricsFile,
    arguments: &'a Arguments,
    progress: Progress,
    held_out: Images,
    points: Images, // the data, if they are points in the plane: for pictures
    noise: Images,
    judge: Option<Judge>,
    figures: Vec<serde_json::Value>,
    energies: EnergyModel,
    mean: MetricsMean,
    latest: StepMetrics,
    started: Instant,
    seconds_before: f64, // of the run, before it was resumed
    epoch_started: Instant,
}

impl<'a> Run<'a> {
    async fn new(
        trainer: Trainer,
        dataset: &Dataset,
        metrics: MetricsFile,
        arguments: &'a Arguments,
    ) -> Result<Self> {
        // The first press ends the run after the steps under way; the second kills it, which loses nothing saved.
        let _ = ctrlc::set_handler(|| {
            if INTERRUPTS.fetch_add(1, Ordering::SeqCst) > 0 {
                std::process::exit(130);
            }
        });
        let held_out = dataset.held_out.clone();
        let points = match dataset.train.shape() {
            plane::POINT => dataset.train.to_images(),
            _ => plane::images(&[]),
        };
        let judge = Judge::new(dataset, trainer.config().seed);
        let noise = match &judge {
            Some(judge) => judge.starts(held_out.count(), !trainer.config().seed),
            None => uniform_noise(trainer.config().seed, trainer.network().input, held_out.count()),
        };
        let figures = match (&judge, arguments.resume) {
            (Some(_), true) => read_figures(&arguments.out.join(FIGURES), trainer.step())?,
            _ => Vec::new(),
        };
        let energies = EnergyModel::new(trainer.device(), &trainer.model().await?).await?;
        let progress = Progress::new(trainer.total_steps(), trainer.step(), trainer.steps_per_epoch())
            .fakes(has_fakes(trainer.config()));
        let now = Instant::now();
        Ok(Self {
            progress,
            held_out,
            points,
            noise,
            judge,
            figures,
            energies,
            mean: MetricsMean::default(),
            latest: StepMetrics::default(),
            started: now,
            seconds_before: metrics.seconds(),
            epoch_started: now,
            trainer,
            metrics,
            arguments,
        })
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    async fn finish(mut self) -> Result<()> {
        self.progress.println(format!("\n{}", epoch_header()));
        let (total, per_epoch) = (self.trainer.total_steps(), self.trainer.steps_per_epoch());
        let mut pending: VecDeque<PendingMetrics> = VecDeque::new();
        let (mut at_once, mut saved) = (1, Instant::now());
        let began = self.trainer.step();
        while self.trainer.step() < total && INTERRUPTS.load(Ordering::SeqCst) == 0 {
            let step = self.trainer.step();
            let to_epoch_end = per_epoch - step % per_epoch;
            let n = u64::from(at_once).min(to_epoch_end).min(total - step) as u32;
            let submitted = Instant::now();
            pending.push_back(self.trainer.submit(n)?);
            // Two submissions are under way at a time: the device does not wait for the host, nor run far ahead of it.
            let done = pending.len().saturating_sub(1);
            if self.take_all(&mut pending, done).await? {
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
            if epoch_ends || is_last || saved.elapsed() > SAVE_EVERY {
                if self.take_all(&mut pending, usize::MAX).await? || self.check().await? {
                    continue;
                }
                if epoch_ends || is_last {
                    self.end_epoch().await?;
                }
                self.save().await?;
                saved = Instant::now();
            }
        }
        if !self.take_all(&mut pending, usize::MAX).await? {
            self.check().await?;
        }
        let done = self.trainer.step();
        if done > began {
            self.draw_run().await?;
        }
        let out = self.arguments.out.display();
        if done < total {
            self.save().await?;
            self.progress.finish();
            say(format_args!(
                "Stopped after step {done} of {total}. Saved; `thalweg train --resume --out {out}` goes on."
            ));
        } else {
            self.progress.finish();
            say(format_args!(
                "Done: {done} steps in {:.1} s. Model, metrics and pictures are in {out}.",
                self.seconds()
            ));
            say(format_args!(
                "Sample it with `thalweg sample --model {}`.",
                self.checkpoint_path().display()
            ));
        }
        Ok(())
    }

    /// Takes in the metrics of up to `count` submissions, the oldest first. Tells whether training went back to a
    /// snapshot: then the submissions that are left are void, and gone.
    async fn take_all(&mut self, pending: &mut VecDeque<PendingMetrics>, count: usize) -> Result<bool> {
        for _ in 0..count.min(pending.len()) {
            let Some(oldest) = pending.pop_front() else { break };
            if let Some(halt) = self.take(oldest).await? {
                pending.clear();
                self.roll_back(halt).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks whether what is to be saved is finite, and goes back to a snapshot if it is not: tells whether it did.
    async fn check(&mut self) -> Result<bool> {
        match self.trainer.check().await? {
            Some(halt) => self.roll_back(halt).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Goes back to the last snapshot, and says so; or stops the run there, with a checkpoint of the snapshot.
    async fn roll_back(&mut self, halt: Halt) -> Result<()> {
        let rollback = self.trainer.roll_back(halt).await?;
        if !rollback.goes_on() {
            self.progress.finish();
            self.save().await?;
            // The curves show how it came about.
            self.draw_run().await?;
            let (halt, tries, to) = (&rollback.halt, rollback.tries, rollback.to);
            let after = if tries > 0 { format!(", after {tries} tries") } else { String::new() };
            return Err(Error::Diverged(format!(
                "training was stopped{after}. At {halt}. {} holds step {to}, whole and finite; `--resume` tries once more \
                 from there, with other random numbers. {}",
                self.checkpoint_path().display(),
                halt.advice(self.trainer.config())
            )));
        }
        self.progress.println(format!("{rollback}."));
        self.metrics.rewind(rollback.to)?;
        self.figures.retain(|row| row["step"].as_u64().is_some_and(|step| step <= rollback.to));
        let epoch = rollback.to / self.trainer.steps_per_epoch() + 1;
        self.mean = self.metrics.mean_of(epoch)?;
        // So that a run that is killed now has this try behind it.
        self.save().await
    }

    /// Takes metrics in that have come back; and why training was halted, if it was.
    async fn take(&mut self, pending: PendingMetrics) -> Result<Option<Halt>> {
        let first = pending.steps().start;
        let Outcome { metrics, halt } = pending.outcome().await?;
        let has_fakes = has_fakes(self.trainer.config());
        let accepts = has_fakes && self.trainer.config().chain.form == Form::Mala;
        for (step, mut metrics) in (first..).zip(metrics) {
            if !accepts {
                metrics.acceptance = f32::NAN; // a column without any number: no curve is drawn
            }
            if !has_fakes {
                metrics.energy_fake = f32::NAN;
            }
            let epoch = step / self.trainer.steps_per_epoch() + 1;
            self.metrics.append(step + 1, epoch, &metrics, self.seconds())?;
            self.mean.add(&metrics);
            self.latest = metrics;
            self.progress.update(step + 1, epoch, &metrics);
        }
        Ok(halt)
    }

    /// Prints the epoch's row, and draws its pictures.
    async fn end_epoch(&mut self) -> Result<()> {
        let step = self.trainer.step();
        let epoch = step.div_ceil(self.trainer.steps_per_epoch());
        let model = self.trainer.model().await?;
        self.energies.set_parameters(&model.parameters)?;
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
            held_out = Some(HeldOutFigures {
                loss: (divergence + self.trainer.config().loss.energy_l2 * squares) as f32,
                divergence: divergence as f32,
                energy_real: energy_real as f32,
                energy_noise: energy_noise as f32,
            });
        }
        match model.network.input {
            plane::POINT if self.is_shown(epoch) => self.draw_monitor(&model, epoch).await?,
            plane::POINT => {}
            shape if (shape.is_image() || shape.is_sequence()) && self.is_shown(epoch) => {
                self.draw_samples(&model, epoch).await?;
            }
            _ => {}
        }

        let seconds = self.epoch_started.elapsed().as_secs_f64();
        self.epoch_started = Instant::now();
        let (train, has_fakes) = (self.mean.take(), has_fakes(self.trainer.config()));
        self.progress.println(epoch_row(&EpochFigures { epoch, step, train, has_fakes, held_out, seconds }));
        self.judge(&model, epoch).await
    }

    fn epochs(&self) -> u64 {
        self.trainer.total_steps().div_ceil(self.trainer.steps_per_epoch())
    }

    /// Whether an epoch is one of the [`SHOWN`]; the last is.
    fn is_shown(&self, epoch: u64) -> bool {
        let epochs = self.epochs();
        epoch.is_multiple_of(epochs.div_ceil(SHOWN)) || epoch == epochs
    }

    /// Measures a model of points, in every so-manieth epoch by fewer samples and in the last.
    async fn judge(&mut self, model: &Model, epoch: u64) -> Result<()> {
        let Some(judge) = &self.judge else { return Ok(()) };
        if !self.is_shown(epoch) {
            return Ok(());
        }
        let count = if epoch == self.epochs() { POINTS } else { MONITORED };
        let config = self.trainer.config();
        let (numbers, seed) = (config.sample_numbers(), config.seed.wrapping_add(epoch));
        let found = judge.judge(self.trainer.device(), model, count, &numbers, seed).await?;
        self.progress.println(format!("Epoch {epoch}, {count} samples: {found}"));
        let step = self.trainer.step();
        let row = serde_json::json!({"epoch": epoch, "step": step, "samples": count, "box": judge.limits(), "figures": found});
        self.figures.push(row);
        let text = serde_json::to_string_pretty(&self.figures).expect("plain fields");
        write_atomically(self.arguments.out.join(FIGURES), |file| file.write_all(text.as_bytes()))
    }

    /// Draws samples and, where training has chains, the replay buffer.
    async fn draw_samples(&mut self, model: &Model, epoch: u64) -> Result<()> {
        let (config, out) = (self.trainer.config(), &self.arguments.out);
        let (seed, path) = (config.seed.wrapping_add(epoch), out.join(format!("samples-{epoch:04}.png")));
        draw_samples(self.trainer.device(), model, config, seed, &path).await?;
        if !has_fakes(self.trainer.config()) {
            return Ok(());
        }
        let buffer = self.trainer.replay_images(BUFFER_IMAGES).await?;
        let energies = self.energies.energies(&buffer).await?;
        let picture = picture(&buffer, &energies).expect("what samples have a picture of");
        save_png(&self.arguments.out.join(format!("buffer-{epoch:04}.png")), &picture)
    }

    /// Draws data, samples and landscape.
    async fn draw_monitor(&mut self, model: &Model, epoch: u64) -> Result<()> {
        let config = self.trainer.config();
        let (numbers, seed) = (config.sample_numbers(), config.seed.wrapping_add(epoch));
        let samples = plane::samples(self.trainer.device(), model, MONITORED, &numbers, seed).await?;
        let data = plane::points(&self.points)?;
        let square = Square::around(if data.is_empty() { &samples } else { data });
        let map = plane::landscape(&mut self.energies, square).await?;
        let when = format!("epoch {epoch}, step {}", self.trainer.step());
        let picture = monitor(&map, &when, &thinned(data, MONITORED), &samples);
        save_png(&self.arguments.out.join(format!("monitor-{epoch:04}.png")), &picture)
    }

    /// Draws what a run comes to, finished or interrupted.
    async fn draw_run(&mut self) -> Result<()> {
        let out = &self.arguments.out;
        draw_curves(&MetricsTable::read(out.join("metrics.csv"))?, out)?;
        let model = self.trainer.model().await?;
        if model.network.input == plane::POINT {
            let data = plane::points(&self.points)?;
            let (config, name) =
                (self.trainer.config(), format!("Energy after {} steps", self.trainer.step()));
            draw_plane(self.trainer.device(), &model, config, data, config.seed, out, &name).await?;
        }
        Ok(())
    }

    fn checkpoint_path(&self) -> PathBuf {
        self.arguments.out.join(CHECKPOINT)
    }

    async fn save(&self) -> Result<()> {
        let latest = serde_json::json!({
            "loss": self.latest.loss,
            "energy_real": self.latest.energy_real,
            "energy_fake": self.latest.energy_fake, // null where there are no fake images
        });
        self.trainer.checkpoint(latest).await?.save(self.checkpoint_path())
    }
}

/// Whether there are chains in training, and so fake images.
fn has_fakes(config: &Config) -> bool {
    config.score_objective().is_none()
}

/// The most bytes of the file of figures.
const MAX_FIGURES: u64 = 256 << 20;

/// The figures that a run of points has written until a step.
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
fn uniform_noise(seed: u64, shape: ImageShape, count: usize) -> Images {
    use rand::RngExt;
    let mut rng = Philox::new(seed, Stream::HeldOutNoise);
    let values = (0..count * shape.len()).map(|_| rng.random_range(-1.0_f32..1.0)).collect();
    Images { shape, values }
}
