//! `thalweg train`: a run from its first step, or from its checkpoint on, to its last.

use super::folder::{FIRST_CHECKPOINT, RECIPE, RunFolder, check_free};
use super::options::ChainDeviceOptions;
use super::paths::{OutputFolder, check_data};
use super::progress::Progress;
use super::train_data::{check_fits, data_of, default_data, place_of, preset_of, print_scaling};
use super::{print_line, print_notes, screen, shell, signals};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use thalweg::checkpoint::Checkpoint;
use thalweg::data::reading::Reading;
use thalweg::data::{Opened, Shape};
use thalweg::kernels::dynamics::Form;
use thalweg::picture::{plane, run as pictures};
use thalweg::recipe::Settings;
use thalweg::train::Rollback;
use thalweg::train::run::{CHECKPOINT, End, Event, Observer, Run, Stop};
use thalweg::{Dataset, Device, Error, Model, Recipe, Result, Trainer};

/// Options of `thalweg train`.
#[derive(clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Arguments {
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
    #[command(flatten)]
    device: ChainDeviceOptions,
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

/// Training steps below which a run says that they are few.
const FEW_STEPS: u64 = 300;
/// What follows the options in the help.
const EXIT_CODES: &str = "Exit codes: 0, all steps are done; 2, an error, which says what to do; 130, 143 or 129, Ctrl-C, \
                          SIGTERM or SIGHUP stopped the run. The first of these signals saves the run and draws its pictures; \
                          the second leaves the pictures out; the third, before the run is saved, loses the steps since the \
                          last save. --resume goes on, or draws what is missing.";

/// Runs the command: code 0 if the run is finished, 130 and the like if a signal stopped it.
///
/// Nothing is written, and nothing of an earlier run touched, before the new run can begin.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    if arguments.set.iter().any(|s| s == "help") {
        let (config, _) = configure(&arguments, shape_of_data(&arguments)?)?;
        print_line(screen::settings_help(&config, screen::width()));
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
            let data = data_of(arguments.data.as_deref(), header)?;
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
    let reading = Reading { range_option: "--set data.range=", ..Reading::for_training(&config) };
    let Opened { dataset, columns, notes } = Dataset::open_for(&data, &reading)?;
    if resumed.is_none() {
        check_fits(&config, &dataset)?;
    }
    let device = arguments.device.open().await?;
    let ran_on = resumed.as_ref().map(|checkpoint| checkpoint.header.device.clone());
    let trainer = match resumed {
        Some(checkpoint) => Trainer::resume(&device, &path, checkpoint, &dataset).await?,
        None => Trainer::new(&device, &config, &dataset).await?,
    };
    let folder = match folder {
        Some(folder) => folder,
        None => RunFolder::take(out)?,
    };
    if !arguments.resume {
        if !arguments.overwrite {
            check_free(out)?; // now that no other run can come between
        }
        begin(&trainer, &folder).await?;
    }
    let run = Run::open(trainer, &dataset, out, arguments.resume).await?;
    let trainer = run.trainer();
    if let Some(note) = note {
        print_line(note);
    }
    let recipe = folder.join(RECIPE);
    screen::write_recipe(&recipe, trainer.config(), &place_of(&data), &device.to_string())?;
    screen::print_recipe(trainer.config(), &recipe);
    print_line(format_args!(
        "{} parameters, {} {} ({} held out) from {}, on {device}",
        trainer.network().n_parameters,
        dataset.train.count(),
        screen::kind(dataset.train.shape()),
        dataset.held_out.count(),
        dataset.name
    ));
    let (found, input) = (dataset.train.shape(), trainer.network().input);
    if found != input {
        print_line(format_args!(
            "Images of {found} (channels x height x width) are padded with black to {input}."
        ));
    }
    if let (Device::Gpu(..), true) =
        (trainer.device(), run.has_chains() && trainer.config().chain.form != Form::Mala)
    {
        print_line(format_args!("Chains run {}.", trainer.device().explain_chain(trainer.network())));
    }
    if let Some(warning) = trainer.warning() {
        screen::warn(format_args!("{warning}."));
    }
    print_notes(&dataset.name, &notes);
    print_scaling(&dataset, &columns, trainer.network().standard.as_ref());
    print_few_steps(trainer, dataset.train.count());
    let left = trainer.total_steps().saturating_sub(trainer.step());
    if let Some(other) = ran_on.filter(|name| left > 0 && !name.is_empty() && *name != device.name()) {
        print_line(format_args!("It ran on {other} before: here it goes on alike, but not bit for bit."));
    }
    if arguments.resume && left > 0 {
        print_line(format_args!("Resumed at step {}; {left} steps to go.", trainer.step()));
    }
    finish(run, &arguments).await
}

/// Says that a small set makes few steps of the preset's epochs.
fn print_few_steps(trainer: &Trainer, examples: usize) {
    let (config, total) = (trainer.config(), trainer.total_steps());
    if config.train.steps == 0 && total < FEW_STEPS && trainer.step() == 0 {
        print_line(format_args!(
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
        print_line(format_args!("Moved the files of the earlier run to {}.", to.display()));
    }
    std::fs::rename(&first, &path).map_err(Error::io("write", &path))
}

/// The shape of the examples that --data names, where they are to choose the preset.
fn shape_of_data(arguments: &Arguments) -> Result<Option<Shape>> {
    let (None, Some(data)) = (&arguments.preset, &arguments.data) else { return Ok(None) };
    Ok(Some(Dataset::open(data)?.train.shape()))
}

/// The configuration of a new run: preset, then file, then options; and what there is to say about the preset. The data
/// have this shape, if they are named.
fn configure(arguments: &Arguments, data: Option<Shape>) -> Result<(Recipe, Option<String>)> {
    let preset = match (&arguments.preset, data) {
        (Some(preset), _) => preset.as_str(),
        (None, Some(shape)) => preset_of(shape),
        (None, None) => "digits",
    };
    let mut settings = Settings::of(Recipe::preset(preset)?);
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
fn override_settings(config: &mut Recipe, arguments: &Arguments) -> Result<()> {
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

/// Shows a run, and stops it on a signal.
struct Watch {
    progress: Progress,
}

impl Observer for Watch {
    fn stop(&self) -> Stop {
        match signals::first() {
            None => Stop::No,
            Some(_) if signals::is_urgent() => Stop::AtOnce,
            Some(_) => Stop::Soon,
        }
    }

    fn on(&mut self, event: Event<'_>) {
        let progress = &mut self.progress;
        match event {
            Event::Submitted => signals::saved(false),
            Event::Saved => signals::saved(true),
            Event::Step { step, epoch, metrics } => progress.update(step, epoch, metrics),
            Event::Epoch(figures) => progress.epoch(figures),
            Event::Measured { epoch, samples, figures } => {
                progress.println(format!("Epoch {epoch}, {samples} samples: {figures}"));
            }
            Event::NotSaved { step, saved, error } => progress.warn(format!(
                "Warning: step {step} is not saved: {error}. The checkpoint of step {saved} is whole; training goes on, and the \
                 next save tries again."
            )),
            Event::RowsNotWritten(error) => {
                progress.warn(format!("Warning: {error}; the next step tries again."));
            }
            Event::NotWritten(error) => progress.warn(format!("Warning: {error}.")),
            Event::RolledBack(rollback) => progress.println(format!("{rollback}.")),
            Event::Stopping { step } => {
                progress.println(format!("Saved step {step}. The pictures are next; Ctrl-C leaves them out."));
            }
            _ => {}
        }
    }

    async fn draw_epoch(&mut self, run: &mut Run, model: &Model, epoch: u64) -> Result<()> {
        pictures::draw_epoch(run, model, epoch).await
    }

    async fn draw_end(&mut self, run: &Run, model: &Model) -> Result<()> {
        pictures::draw_end(run, model).await
    }

    fn misses_pictures(&self, run: &Run) -> bool {
        pictures::misses_end(run)
    }
}

/// Trains, and prints the last lines. Returns the exit code.
async fn finish(mut run: Run, arguments: &Arguments) -> Result<ExitCode> {
    signals::listen();
    signals::saved(true);
    let trainer = run.trainer();
    let mut progress = Progress::new(trainer.total_steps(), trainer.step(), trainer.steps_per_epoch())
        .negatives(run.has_chains());
    progress.begin_table(run.n_held_out() > 0);
    let mut watch = Watch { progress };
    let end = run.finish(&mut watch).await;
    watch.progress.finish();
    let end = end.map_err(|error| explain(&run, arguments, error))?;
    Ok(print_end(&run, arguments, &end))
}

/// Prints the last lines, and returns the exit code.
fn print_end(run: &Run, arguments: &Arguments, end: &End) -> ExitCode {
    let End { step: done, began, total, seconds, .. } = *end;
    let out = run.folder().display();
    if end.misses_files {
        print_line(format_args!(
            "Some files could not be written: see the warnings. `{}` draws the pictures that are missing.",
            resume_command(arguments)
        ));
    }
    if let (true, Some(signal)) = (done < total, signals::first()) {
        let command = resume_command(arguments);
        print_line(format_args!("Stopped after step {done} of {total}. Saved; `{command}` goes on."));
        return ExitCode::from(signals::exit_code(signal));
    }
    if done == began {
        if end.has_drawn {
            print_line(format_args!("Drew what was missing of the pictures in {out}."));
        }
        print_line(format_args!(
            "All {done} steps are done already; --epochs or --steps makes the run longer."
        ));
        return ExitCode::SUCCESS;
    }
    print_line(format_args!(
        "Done: {done} steps in {seconds:.1} s. Model, metrics and pictures are in {out}."
    ));
    let absolute = |name: &str| absolute(&run.folder().join(name));
    let input = run.trainer().network().input;
    let mut command = format!("thalweg sample {}", shell::option("model", absolute(CHECKPOINT)));
    if !(input.is_image() || input.is_sequence() || input == plane::POINT) {
        command += &format!(" {}", shell::option("npy", absolute("samples.npy")));
    }
    screen::hint(format_args!("Sample it with `{command}`."));
    ExitCode::SUCCESS
}

/// A path for a command that works from anywhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The command that resumes the run, from anywhere: what is not in it is in the checkpoint.
fn resume_command(arguments: &Arguments) -> String {
    let command = format!("thalweg train --resume {}", shell::option("out", absolute(&arguments.out)));
    command + &arguments.device.repeated()
}

/// Adds to an error what is left of the run, and how it is resumed.
fn explain(run: &Run, arguments: &Arguments, error: Error) -> Error {
    let path = run.checkpoint_path();
    let goes_on = format!("{} holds step {}, whole", path.display(), run.saved());
    let command = resume_command(arguments);
    match (error, run.diverged()) {
        (Error::Diverged(_), Some(Rollback { halt, to, tries, .. })) => {
            let after = if *tries > 0 { format!(", after {tries} tries") } else { String::new() };
            Error::Diverged(format!(
                "training was stopped{after}. At {halt}. {} holds step {to}, whole and finite; `--resume` tries once more from \
                 there, with other random numbers. {}",
                path.display(),
                halt.advice(run.trainer().config())
            ))
        }
        (Error::Device(text), _) => Error::Device(format!(
            "{text}. {goes_on}; `{command}` goes on from there (after a restart, if the driver does not come back; or with \
             `--device cpu` in place of this device). If it is lost again and again, a new run with a smaller \
             `train.batch` or `chain.steps` asks less of it at a time"
        )),
        (error @ Error::Io { .. }, _) => Error::Usage(format!(
            "{error}. {goes_on}; make room there, or see to it that the folder takes files: then `{command}` goes on from \
             there"
        )),
        (error, _) => error,
    }
}
