//! `thalweg train`: a run from its first step, or from its checkpoint on, to its last.

use super::folder::{
    CHECKPOINT, FIGURES, FIRST_CHECKPOINT, HELD_OUT, METRICS, RECIPE, RunFolder, check_free,
};
use super::given::is_built_in;
use super::paths::{OutputFolder, check_data};
use super::plot::{draw_curves, draw_plane, draw_samples};
use super::progress::{EpochFigures, Progress};
use super::{picture, say, say_notes, screen, shell, signals};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use thalweg::checkpoint::{Checkpoint, Header};
use thalweg::data::reading::{Reading, short};
use thalweg::data::standard::{Standard, unscaled};
use thalweg::data::{Examples, ImageShape, Images, Opened, npz};
use thalweg::device::ChainPath;
use thalweg::error::printable;
use thalweg::evaluate::point_metrics::{Judge, POINTS};
use thalweg::files::write_atomically;
use thalweg::kernels::dynamics::Form;
use thalweg::picture::plane;
use thalweg::picture::plot::{Square, monitor, thinned};
use thalweg::picture::save_png;
use thalweg::plan::METRIC_ROWS;
use thalweg::random::{Philox, Stream};
use thalweg::recipe::Settings;
use thalweg::source::read_text;
use thalweg::train::log::{HeldOutFigures, HeldOutFile, MetricsFile, MetricsMean, MetricsTable, StepMetrics};
use thalweg::train::{Halt, Outcome, PendingMetrics};
use thalweg::{Config, Dataset, Device, EnergyModel, Error, Model, Result, Trainer};

/// Options of `thalweg train`.
#[derive(clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to learn: `digits` (10,000 MNIST digits that ship inside; the last 1,000 are held out); a folder of IDX
    /// files under MNIST's names, of CIFAR-10's binary batches, or of PNG and JPEG files; one file (IDX, .npy, CSV); or a
    /// toy set of points, fresh ones every step: `five-gaussians`, `8-gaussians`, `25-gaussians`, `rings`, `two-moons`,
    /// `swiss-roll`, `checkerboard`, `pinwheel` (`rings:5000` is a fixed set of 5,000 points)
    /// [default: what the preset is for: digits, or five-gaussians]
    #[arg(long, value_name = "digits|DIR|FILE|TOY")]
    data: Option<String>,
    /// The network and its recipe: `digits` draws what it has seen, `mnist-small` is the one of the Keras notebooks; where
    /// --data has points it is `mlp` if none is named, and `sequence` where it has sequences [default: digits]
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Passes over the data [default: 10, or what the preset or --config says]
    #[arg(long, value_name = "N", conflicts_with = "steps", allow_negative_numbers = true)]
    epochs: Option<usize>,
    /// Training steps in all, instead of --epochs
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    steps: Option<u64>,
    /// Folder for checkpoint, pictures, metrics.csv and held_out.csv. One that holds a run is refused, but with --resume or
    /// --overwrite
    #[arg(long, default_value = "run", value_name = "DIR")]
    out: OutputFolder,
    /// Begin anew in a folder that holds a run: its files move to the folder previous-1 in it (previous-2 ...), once the
    /// new run can begin
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
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
    /// Go on where the checkpoint in --out stopped, bit for bit; only --epochs, --steps, --on-divergence, --data (if the
    /// data were moved), --device and --chain-path may be given besides
    #[arg(long, conflicts_with_all = ["seed", "set", "config", "preset"])]
    resume: bool,
    /// Settings from a TOML file, on top of the preset's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, on top of everything else; `--set help` lists them all with their defaults
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Rows and columns from which on an array of three dimensions holds images, if no preset says otherwise.
const FEWEST_PIXELS: usize = 8;
/// Training steps below which a run says that they are few.
const FEW_STEPS: u64 = 300;
/// What follows the options in the help.
const EXIT_CODES: &str = "Exit codes: 0, all steps are done; 2, an error, which says what to do; 130, 143 or 129, Ctrl-C, \
                          SIGTERM or SIGHUP stopped the run. The first of these signals saves the run and draws its pictures; \
                          the second leaves the pictures out; the third, before the run is saved, loses the steps since the \
                          last save. --resume goes on, or draws what is missing.";

/// Replay images in the picture of the buffer.
const BUFFER_IMAGES: usize = 64;
/// Epochs after which a run shows samples, and measures those of points, at most.
const SHOWN: u64 = 10;
/// Points of a kind in a monitor.
const MONITORED: usize = 1000;
/// Between two checkpoints within an epoch.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Between two attempts at a checkpoint that can't be written.
const RETRY_SAVE: Duration = Duration::from_secs(10);
/// What one submission should take, so that progress is smooth.
const SUBMISSION: Duration = Duration::from_millis(250);

/// Runs the command: code 0 if the run is finished, 130 and the like if a signal stopped it.
///
/// Nothing is written, and nothing of an earlier run touched, before the new run can begin.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    if arguments.set.iter().any(|s| s == "help") {
        let (config, _) = configure(&arguments, shape_of_data(&arguments)?)?;
        say(screen::settings_help(&config, screen::width()));
        return Ok(ExitCode::SUCCESS);
    }
    let out: &Path = &arguments.out;
    let path = out.join(CHECKPOINT);
    if arguments.resume && !path.exists() {
        let text = "is not there, so there is nothing to resume: leave out --resume to begin";
        return Err(Error::file(path, text));
    }
    if !arguments.resume && !arguments.overwrite {
        check_free(out)?;
    }
    // A folder that is not there yet is made when everything else has been found to be right.
    let folder = out.exists().then(|| RunFolder::take(out)).transpose()?;
    let mut resumed = if arguments.resume { Some(Checkpoint::load(&path)?) } else { None };
    let (config, data, note) = match &mut resumed {
        Some(Checkpoint { header, .. }) => {
            override_settings(&mut header.config, &arguments)?;
            let data = data_of(&arguments, header)?;
            check_data("train", &data, out)?;
            (header.config.clone(), data, None)
        }
        None => {
            let (config, note) = configure(&arguments, shape_of_data(&arguments)?)?;
            let data = match &arguments.data {
                Some(data) => data.clone(),
                None => default_data(&config)?.to_owned(),
            };
            (config, data, note)
        }
    };
    let Opened { dataset, columns, notes } = Dataset::open_for(&data, &Reading::for_training(&config))?;
    if resumed.is_none() {
        check_fits(&config, &dataset)?;
    }
    let device = super::open_device(&arguments.device, arguments.chain_path).await?;
    let ran_on = resumed.as_ref().map(|checkpoint| checkpoint.header.device.clone());
    let trainer = match resumed {
        Some(checkpoint) => Trainer::resume(&device, &path, checkpoint, &dataset).await?,
        None => Trainer::new(&device, &config, &dataset).await?,
    };
    let folder = match folder {
        Some(folder) => folder,
        None => RunFolder::take(out)?,
    };
    let (metrics, held_out) = if arguments.resume {
        let metrics = MetricsFile::resume(&folder.join(METRICS), trainer.step())?;
        (metrics, HeldOutFile::resume(&folder.join(HELD_OUT), trainer.step())?)
    } else {
        if !arguments.overwrite {
            check_free(out)?; // now that no other run can come between
        }
        begin(&trainer, &folder).await?;
        (MetricsFile::create(&folder.join(METRICS))?, HeldOutFile::create(&folder.join(HELD_OUT))?)
    };
    if let Some(note) = note {
        say(note);
    }
    let recipe = folder.join(RECIPE);
    screen::write_recipe(&recipe, trainer.config(), &place_of(&data), &device.to_string())?;
    screen::say_recipe(trainer.config(), &recipe);
    say(format_args!(
        "{} parameters, {} {} ({} held out) from {}, on {device}",
        trainer.network().n_parameters,
        dataset.train.count(),
        screen::kind(dataset.train.shape()),
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
        screen::warn(format_args!("{warning}."));
    }
    say_notes(&dataset.name, &notes);
    say_scaling(&dataset, &columns, trainer.network().standard.as_ref());
    say_few_steps(&trainer, dataset.train.count());
    let left = trainer.total_steps().saturating_sub(trainer.step());
    if let Some(other) = ran_on.filter(|name| left > 0 && !name.is_empty() && *name != device.name()) {
        say(format_args!("It ran on {other} before: here it goes on alike, but not bit for bit."));
    }
    if arguments.resume && left > 0 {
        say(format_args!("Resumed at step {}; {left} steps to go.", trainer.step()));
    }
    let mut run = Run::new(trainer, &dataset, metrics, held_out, &arguments).await?;
    match run.finish().await {
        Err(error @ (Error::Device(_) | Error::Io { .. })) => Err(run.explain(error)),
        other => other,
    }
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

/// Writes the first checkpoint, so that a run that is killed before its first save can be resumed, and a folder that can't
/// take a checkpoint is found out. An earlier run's files are moved away only when it is written.
async fn begin(trainer: &Trainer, folder: &RunFolder) -> Result<()> {
    let (path, first) = (folder.join(CHECKPOINT), folder.join(FIRST_CHECKPOINT));
    // What can't be written is the checkpoint, whatever it is called for now.
    trainer.checkpoint(serde_json::Value::Null).await?.save(&first).map_err(|error| match error {
        Error::Io { action, source, .. } => Error::Io { action, path: path.clone(), source },
        other => other,
    })?;
    if let Some(to) = folder.set_aside()? {
        say(format_args!("Moved the files of the earlier run to {}.", to.display()));
    }
    std::fs::rename(&first, &path).map_err(Error::io("write", &path))
}

/// The data set of a run that goes on: the one that --data names, or the one that it began with.
fn data_of(arguments: &Arguments, header: &Header) -> Result<String> {
    let Header { data_source, config, .. } = header;
    match &arguments.data {
        Some(data) => Ok(data.clone()),
        None if data_source.is_empty() => Ok(config.default_data().to_owned()),
        None => {
            let path = Path::new(data_source);
            if path.is_absolute() && !npz::split(path).0.exists() {
                let text = "the run's data were read from here, and nothing is here now: say with --data where they are";
                return Err(Error::file(path, text));
            }
            Ok(data_source.clone())
        }
    }
}

/// The name of a data set from anywhere: a built-in set's, or an absolute path.
fn place_of(data: &str) -> String {
    match std::path::absolute(data) {
        Ok(path) if !is_built_in(data) => path.display().to_string(),
        _ => data.to_owned(),
    }
}

/// The shape of the examples that --data names, where they are to choose the preset.
fn shape_of_data(arguments: &Arguments) -> Result<Option<ImageShape>> {
    let (None, Some(data)) = (&arguments.preset, &arguments.data) else { return Ok(None) };
    Ok(Some(Dataset::open(data)?.train.shape()))
}

/// The name of the data that a recipe learns where none are named.
fn default_data(config: &Config) -> Result<&'static str> {
    let input = config.known_network()?.input;
    if input.is_sequence() {
        return Err(Error::Usage(format!(
            "`{}` learns sequences, and none ship with the program: give --data FILE.npy, floats of shape [n, time, d], \
             such as [1000, {}, {}]",
            config.preset, input.width, input.channels
        )));
    }
    Ok(config.default_data())
}

/// The preset for examples of a shape. An array `[n, 28, 28]` is read as sequences where nothing says that it holds images:
/// with as many numbers at each moment as a picture has columns, images are meant.
fn preset_of(shape: ImageShape) -> &'static str {
    if shape.is_sequence() && shape.channels.min(shape.width) >= FEWEST_PIXELS {
        return "digits";
    }
    match screen::kind(shape) {
        "sequences" => "sequence",
        "points" => "mlp",
        _ => "digits",
    }
}

/// Refuses data of a kind that the preset's network can't take.
fn check_fits(config: &Config, dataset: &Dataset) -> Result<()> {
    let (shape, preset) = (dataset.train.shape(), config.preset.as_str());
    let is_for = match preset {
        _ if config.network.is_some() => return Ok(()),
        "mlp" | "mlp-silu" => return Ok(()), // dense layers take anything
        "sequence" => "sequences",
        _ => "images",
    };
    if is_for == screen::kind(shape) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "preset `{preset}` is for {is_for}, and {} holds {} of {shape} (channels x height x width): take `--preset {}`",
        dataset.name,
        screen::kind(shape),
        preset_of(shape)
    )))
}

/// The configuration of a new run: preset, then file, then options; and what there is to say about the preset. The data
/// have this shape, if they are named.
fn configure(arguments: &Arguments, data: Option<ImageShape>) -> Result<(Config, Option<String>)> {
    let preset = match (&arguments.preset, data) {
        (Some(preset), _) => preset.as_str(),
        (None, Some(shape)) => preset_of(shape),
        (None, None) => "digits",
    };
    let mut settings = Settings::of(Config::preset(preset)?);
    if let Some(path) = &arguments.config {
        settings.read(path)?;
    }
    for assignment in arguments.set.iter().filter(|assignment| *assignment != "help") {
        settings.set(assignment)?;
    }
    if let Some(seed) = arguments.seed {
        settings.config_mut().seed = seed;
    }
    if arguments.steps == Some(0) {
        return Err(Error::Usage("--steps 0: a run has at least one step".to_owned()));
    }
    override_settings(settings.config_mut(), arguments)?;
    let config = settings.finish()?;
    let is_chosen = arguments.preset.is_none() && config.preset == preset;
    let note = data.filter(|_| is_chosen).and_then(|shape| match (preset, screen::kind(shape)) {
        ("digits", "images") => None,
        ("digits", _) => Some(format!(
            "The data are read as images of {} x {}: `--preset sequence` reads them as sequences.",
            shape.width, shape.channels
        )),
        (_, kind) => Some(format!("The data are {kind}: the preset is `{preset}`, as none is named.")),
    });
    Ok((config, note))
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

/// A run under way.
struct Run<'a> {
    trainer: Trainer,
    metrics: MetricsFile,
    held_out_rows: HeldOutFile,
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
    began: u64,            // the step after which this process began
    saved: u64,            // the step of the checkpoint
    misses_saves: bool,    // it could not be written last time
    misses_rows: bool,     // metrics.csv can't be written just now
    misses_pictures: bool, // or other files that training can do without
    has_drawn: bool,
    started: Instant,
    seconds_before: f64, // of the run, before it was resumed
    epoch_started: Instant,
}

impl<'a> Run<'a> {
    async fn new(
        trainer: Trainer,
        dataset: &Dataset,
        metrics: MetricsFile,
        held_out_rows: HeldOutFile,
        arguments: &'a Arguments,
    ) -> Result<Self> {
        signals::listen();
        signals::saved(true);
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
        let epoch = trainer.step() / trainer.steps_per_epoch() + 1;
        Ok(Self {
            progress,
            held_out,
            points,
            noise,
            judge,
            figures,
            energies,
            mean: metrics.mean_of(epoch)?,
            latest: StepMetrics::default(),
            began: trainer.step(),
            saved: trainer.step(),
            misses_saves: false,
            misses_rows: false,
            misses_pictures: false,
            has_drawn: false,
            started: now,
            seconds_before: metrics.seconds(),
            epoch_started: now,
            trainer,
            metrics,
            held_out_rows,
            arguments,
        })
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    async fn finish(&mut self) -> Result<ExitCode> {
        let (total, per_epoch) = (self.trainer.total_steps(), self.trainer.steps_per_epoch());
        let began = self.began;
        self.progress.begin_table(self.held_out.count() > 0);
        if began > 0 && (began.is_multiple_of(per_epoch) || began == total) {
            // Whatever of it a kill has come before; without that, nothing.
            self.end_epoch().await?;
        }
        let mut pending: VecDeque<PendingMetrics> = VecDeque::new();
        let (mut at_once, mut tried) = (1, Instant::now());
        while self.trainer.step() < total && signals::first().is_none() {
            let step = self.trainer.step();
            let to_epoch_end = per_epoch - step % per_epoch;
            let n = u64::from(at_once).min(to_epoch_end).min(total - step) as u32;
            let submitted = Instant::now();
            signals::saved(false);
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
            if epoch_ends || is_last || tried.elapsed() > SAVE_EVERY {
                if self.take_all(&mut pending, usize::MAX).await? || self.check().await? {
                    continue;
                }
                // First what was learned, then what it looks like. Where there is no room, it is not tried all the time.
                if !self.misses_saves || is_last || tried.elapsed() > RETRY_SAVE {
                    tried = Instant::now();
                    if let Err(error) = self.save().await {
                        self.warn_of_save(error)?;
                    }
                }
                if (epoch_ends || is_last) && !signals::is_urgent() {
                    self.end_epoch().await?;
                }
            }
        }
        if !self.take_all(&mut pending, usize::MAX).await? {
            self.check().await?;
        }
        let done = self.trainer.step();
        if self.saved != done {
            self.save().await?;
        }
        signals::saved(true);
        let is_due = done > began || (done == total && self.misses_last_pictures());
        if is_due && !signals::is_urgent() {
            if done < total {
                let text = format!("Saved step {done}. The pictures are next; Ctrl-C leaves them out.");
                self.progress.println(text);
            }
            self.draw_run().await?;
        }
        self.progress.finish();
        self.say_the_end()
    }

    /// The last lines, and the exit code.
    fn say_the_end(&self) -> Result<ExitCode> {
        let (done, total) = (self.trainer.step(), self.trainer.total_steps());
        let out = self.arguments.out.display();
        if self.misses_pictures {
            say(format_args!(
                "Some files could not be written: see the warnings. `{}` draws the pictures that are missing.",
                self.resume_command()
            ));
        }
        if let (true, Some(signal)) = (done < total, signals::first()) {
            say(format_args!(
                "Stopped after step {done} of {total}. Saved; `{}` goes on.",
                self.resume_command()
            ));
            return Ok(ExitCode::from(signals::exit_code(signal)));
        }
        if done == self.began {
            if self.has_drawn {
                say(format_args!("Drew what was missing of the pictures in {out}."));
            }
            say(format_args!("All {done} steps are done already; --epochs or --steps makes the run longer."));
            return Ok(ExitCode::SUCCESS);
        }
        say(format_args!(
            "Done: {done} steps in {:.1} s. Model, metrics and pictures are in {out}.",
            self.seconds()
        ));
        let input = self.trainer.network().input;
        let mut command = format!("thalweg sample {}", shell::option("model", self.absolute(CHECKPOINT)));
        if !(input.is_image() || input.is_sequence() || input == plane::POINT) {
            command += &format!(" {}", shell::option("npy", self.absolute("samples.npy")));
        }
        screen::hint(format_args!("Sample it with `{command}`."));
        Ok(ExitCode::SUCCESS)
    }

    /// The path of one of the run's files, for a command that works from anywhere.
    fn absolute(&self, name: &str) -> PathBuf {
        let path = self.arguments.out.join(name);
        std::path::absolute(&path).unwrap_or(path)
    }

    /// The command that goes on with the run, from anywhere: what is not in it is in the checkpoint.
    fn resume_command(&self) -> String {
        let out =
            std::path::absolute(&*self.arguments.out).unwrap_or_else(|_| self.arguments.out.to_path_buf());
        let mut command = format!("thalweg train --resume {}", shell::option("out", out));
        if self.arguments.device != "auto" {
            command += &format!(" {}", shell::option("device", &self.arguments.device));
        }
        if self.arguments.chain_path != ChainPath::Auto {
            let path = serde_json::to_value(self.arguments.chain_path).unwrap_or_default();
            command += &format!(" {}", shell::option("chain-path", path.as_str().unwrap_or("auto")));
        }
        command
    }

    /// What ended the run, what is left of it, and how it goes on.
    fn explain(&self, error: Error) -> Error {
        let (saved, path) = (self.saved, self.checkpoint_path());
        let goes_on = format!("{} holds step {saved}, whole", path.display());
        let command = self.resume_command();
        match error {
            Error::Device(text) => Error::Device(format!(
                "{text}. {goes_on}; `{command}` goes on from there (after a restart, if the driver does not come back; or with \
                 `--device cpu` in place of this device). If it is lost again and again, a new run with a smaller \
                 `train.batch` or `chain.steps` asks less of it at a time"
            )),
            error @ Error::Io { .. } => Error::Usage(format!(
                "{error}. {goes_on}; make room there, or see to it that the folder takes files: then `{command}` goes on from \
                 there"
            )),
            other => other,
        }
    }

    /// Says that a file which training can do without could not be written; other errors stay errors.
    fn forgive(&mut self, result: Result<()>) -> Result<()> {
        match result {
            Err(error @ (Error::Io { .. } | Error::File { .. })) => {
                self.misses_pictures = true;
                self.progress.warn(format!("Warning: {error}."));
                Ok(())
            }
            other => other,
        }
    }

    /// Says that the checkpoint could not be written.
    fn warn_of_save(&mut self, error: Error) -> Result<()> {
        let Error::Io { .. } = error else { return Err(error) };
        let (step, saved) = (self.trainer.step(), self.saved);
        self.misses_saves = true;
        self.progress.warn(format!(
            "Warning: step {step} is not saved: {error}. The checkpoint of step {saved} is whole; training goes on, and the \
             next save tries again."
        ));
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
        // So that a run that is killed now has this try behind it; rows of later steps are dropped by who resumes.
        if let Err(error) = self.save().await {
            self.warn_of_save(error)?;
        }
        let rewound = self.metrics.rewind(rollback.to).and_then(|()| self.held_out_rows.rewind(rollback.to));
        self.forgive(rewound)?;
        self.figures.retain(|row| row["step"].as_u64().is_some_and(|step| step <= rollback.to));
        let epoch = rollback.to / self.trainer.steps_per_epoch() + 1;
        self.mean = self.metrics.mean_of(epoch)?;
        Ok(())
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
            let appended = self.metrics.append(step + 1, epoch, &metrics, self.seconds());
            if let (Err(error), false) = (&appended, self.misses_rows) {
                self.progress.warn(format!("Warning: {error}; the next step tries again."));
            }
            self.misses_rows = appended.is_err();
            self.mean.add(&metrics);
            self.latest = metrics;
            self.progress.update(step + 1, epoch, &metrics);
        }
        Ok(halt)
    }

    /// Measures the epoch, prints its row, and draws its pictures: as far as that was not done before the run was resumed.
    async fn end_epoch(&mut self) -> Result<()> {
        let step = self.trainer.step();
        let epoch = step.div_ceil(self.trainer.steps_per_epoch());
        let model = self.trainer.model().await?;
        self.energies.set_parameters(&model.parameters)?;
        if self.held_out_rows.last_step() < Some(step) {
            self.measure_epoch(epoch).await?;
        }
        let drawn = match model.network.input {
            plane::POINT if self.misses(&format!("monitor-{epoch:04}.png"), epoch) => {
                self.draw_monitor(&model, epoch).await
            }
            shape if (shape.is_image() || shape.is_sequence()) => self.draw_samples(&model, epoch).await,
            _ => Ok(()),
        };
        self.forgive(drawn)?;
        self.judge(&model, epoch).await
    }

    /// Whether a picture of an epoch is to be drawn.
    fn misses(&self, name: &str, epoch: u64) -> bool {
        // What lies there from before steps that were done now is of an earlier try.
        let is_of_before = self.trainer.step() == self.began;
        self.is_shown(epoch) && !(is_of_before && self.is_newer(name))
    }

    /// Whether a picture is there, and newer than the checkpoint.
    fn is_newer(&self, name: &str) -> bool {
        let written = |name: &str| std::fs::metadata(self.arguments.out.join(name))?.modified();
        matches!((written(name), written(CHECKPOINT)), (Ok(picture), Ok(checkpoint)) if picture >= checkpoint)
    }

    /// Writes the figures of the held-out images to their file, and the epoch's row to the screen.
    async fn measure_epoch(&mut self, epoch: u64) -> Result<()> {
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
            self.forgive(appended)?;
            held_out = Some(figures);
        }
        let seconds = self.epoch_started.elapsed().as_secs_f64();
        self.epoch_started = Instant::now();
        let mut mean = self.mean.take();
        if step == self.began {
            mean = self.metrics.mean_of(epoch)?.mean(); // of steps that were done before the run was resumed
        }
        self.progress.epoch(&EpochFigures { epoch, step, train: mean, held_out, seconds });
        Ok(())
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
        let step = self.trainer.step();
        if !self.is_shown(epoch) || self.figures.iter().any(|row| row["step"].as_u64() == Some(step)) {
            return Ok(());
        }
        let count = if epoch == self.epochs() { POINTS } else { MONITORED };
        let config = self.trainer.config();
        let (numbers, seed) = (config.sampling_chain(), config.seed.wrapping_add(epoch));
        let found = judge.judge(self.trainer.device(), model, count, &numbers, seed).await?;
        self.progress.println(format!("Epoch {epoch}, {count} samples: {found}"));
        let row = serde_json::json!({"epoch": epoch, "step": step, "samples": count, "box": judge.limits(), "figures": found});
        self.figures.push(row);
        let text = serde_json::to_string_pretty(&self.figures).expect("plain fields");
        let written =
            write_atomically(self.arguments.out.join(FIGURES), |file| file.write_all(text.as_bytes()));
        self.forgive(written)
    }

    /// Draws samples and, where training has chains, the replay buffer.
    async fn draw_samples(&mut self, model: &Model, epoch: u64) -> Result<()> {
        let (config, out) = (self.trainer.config(), &self.arguments.out);
        let (samples, buffered) = (format!("samples-{epoch:04}.png"), format!("buffer-{epoch:04}.png"));
        if self.misses(&samples, epoch) {
            let seed = config.seed.wrapping_add(epoch);
            draw_samples(self.trainer.device(), model, config, seed, &out.join(samples)).await?;
        }
        if !has_fakes(self.trainer.config()) || !self.misses(&buffered, epoch) {
            return Ok(());
        }
        let buffer = self.trainer.replay_images(BUFFER_IMAGES).await?;
        let energies = self.energies.energies(&buffer).await?;
        let picture = picture(&buffer, &energies).expect("what samples have a picture of");
        save_png(&self.arguments.out.join(buffered), &picture)
    }

    /// Draws data, samples and landscape.
    async fn draw_monitor(&mut self, model: &Model, epoch: u64) -> Result<()> {
        let config = self.trainer.config();
        let (numbers, seed) = (config.sampling_chain(), config.seed.wrapping_add(epoch));
        let samples = plane::samples(self.trainer.device(), model, MONITORED, &numbers, seed).await?;
        let data = plane::points(&self.points)?;
        let square = Square::around(if data.is_empty() { &samples } else { data });
        let map = plane::landscape(&mut self.energies, square).await?;
        let when = format!("epoch {epoch}, step {}", self.trainer.step());
        let picture = monitor(&map, &when, &thinned(data, MONITORED), &samples);
        save_png(&self.arguments.out.join(format!("monitor-{epoch:04}.png")), &picture)
    }

    /// Whether the pictures of the run's end are missing, or are those of an earlier end.
    fn misses_last_pictures(&self) -> bool {
        let of_plane = ["landscape.png", "histograms.png"];
        let is_plane = self.trainer.network().input == plane::POINT;
        let mut names = ["curves.png"].into_iter().chain(of_plane.into_iter().filter(|_| is_plane));
        names.any(|name| !self.is_newer(name))
    }

    /// Draws what a run comes to, finished or interrupted.
    async fn draw_run(&mut self) -> Result<()> {
        let out: &Path = &self.arguments.out;
        self.has_drawn = true;
        let drawn =
            MetricsTable::read(out.join(METRICS)).and_then(|table| draw_curves(&table, out)).map(drop);
        self.forgive(drawn)?;
        let model = self.trainer.model().await?;
        if model.network.input == plane::POINT {
            let data = plane::points(&self.points)?;
            let (config, name) =
                (self.trainer.config(), format!("Energy after {} steps", self.trainer.step()));
            let drawn =
                draw_plane(self.trainer.device(), &model, config, data, config.seed, out, &name).await;
            self.forgive(drawn.map(drop))?;
        }
        Ok(())
    }

    fn checkpoint_path(&self) -> PathBuf {
        self.arguments.out.join(CHECKPOINT)
    }

    async fn save(&mut self) -> Result<()> {
        let latest = serde_json::json!({
            "loss": self.latest.loss,
            "energy_real": self.latest.energy_real,
            "energy_fake": self.latest.energy_fake, // null where there are no fake images
        });
        self.trainer.checkpoint(latest).await?.save(self.checkpoint_path())?;
        (self.saved, self.misses_saves) = (self.trainer.step(), false);
        signals::saved(true);
        Ok(())
    }
}

/// Whether there are chains in training, and so fake images.
fn has_fakes(config: &Config) -> bool {
    config.has_chains()
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
