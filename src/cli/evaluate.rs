//! `thalweg evaluate`: how good a model of images is.

use super::{check_distinct, check_output, open_model, read_fitting, real, say, say_notes, steps_bar};
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::time::Duration;
use thalweg::data::{Examples, Opened};
use thalweg::evaluate::annealed::{self, Annealed, BaseKind, temperature_of};
use thalweg::evaluate::long_run::{self, LongRun};
use thalweg::evaluate::samples::{self, Fid};
use thalweg::evaluate::{Report, Subject, outliers, spread};
use thalweg::files::write_atomically;
use thalweg::model::newest_replay_images;
use thalweg::picture::{plot, save_png};
use thalweg::plan::SamplerNumbers;
use thalweg::{Config, Dataset, Device, Error, Images, Result};

/// Options of `thalweg evaluate`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The model: a checkpoint, or a safetensors file of weights (then --network says of which network)
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The network: the name of its preset (`mnist-small`), or a TOML file that describes it [default: the one that the
    /// checkpoint describes]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    #[command(flatten)]
    weights: super::WeightsOption,
    /// What the model was trained on: `digits`, a folder or a file, as for `thalweg train`; its held-out images are what
    /// the model is held against
    #[arg(long, default_value = "digits", value_name = "digits|DIR|FILE")]
    data: String,
    /// Images that are none of the kind, for the model to tell from held-out ones: a folder or file (IDX, .npy, PNG, JPEG,
    /// CIFAR-10's .bin), any number of times
    #[arg(long, value_name = "DIR|FILE")]
    ood: Vec<PathBuf>,
    #[command(flatten)]
    range: super::RangeOption,
    /// Images of each set, at most: samples, held-out and training images are as many as are held out, if these are fewer
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=65_536))]
    count: u32,
    /// Tells log Z, and the log-likelihood of the held-out images, by annealed importance sampling: a bound from below, by
    /// chains from a density that is known, and one from above, by chains that go back there from training images
    #[arg(long)]
    ais: bool,
    /// Steps from one end to the other: the more, the nearer the bounds
    #[arg(long, requires = "ais", default_value_t = 1000, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    ais_steps: u32,
    /// Chains from each end
    #[arg(long, requires = "ais", default_value_t = 128, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(2..=65_536))]
    ais_chains: u32,
    /// Leapfrog steps of a proposal of these chains
    #[arg(long, requires = "ais", default_value_t = 1, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    ais_leapfrogs: u32,
    /// The density that is known: `normal`, fitted to each pixel of the training images, or `uniform`, both on the box that
    /// the model's chains are clamped to; or the `nearer` one, of annealed chains out of `normal` and standard normal
    #[arg(long, requires = "ais", value_enum, default_value_t = Base::Nearer)]
    ais_base: Base,
    /// Temperature T of the density exp(-E/T)/Z; of a model with annealed chains a noise level, whose blurred images have the
    /// density exp(-E/T - |x|^2/2)/Z [default: that of the chains that it is made for: their own, or noise^2 / (2 step size),
    /// or the last noise level]
    #[arg(long, requires = "ais", value_name = "X", allow_negative_numbers = true, value_parser = real(1e-12, 1e6))]
    temperature: Option<f64>,
    /// Runs chains from noise 1, 10 and 100 times as long as in training, or in sampling where training has none: their
    /// energies and pixels, and how well they mix
    #[arg(long)]
    long_run: bool,
    /// Chains of --long-run
    #[arg(long, requires = "long_run", default_value_t = 256, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(2..=65_536))]
    long_run_chains: u32,
    /// Picture of the long chains: their energies by step, and what they look like [default: none]
    #[arg(long, requires = "long_run", value_name = "FILE.png")]
    picture: Option<PathBuf>,
    /// Seed of all random numbers: same seed, same device, same figures
    #[arg(long, default_value = "0", value_name = "N", allow_negative_numbers = true)]
    seed: u64,
    /// Where to compute: `auto` (the first GPU, else the CPU), `cpu`, an adapter's number or a part of its name
    /// (see `thalweg devices`)
    #[arg(long, default_value = "auto", value_name = "auto|cpu|NAME|INDEX")]
    device: String,
    /// Writes all figures to a JSON file, too [default: none]
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
}

/// The density that annealed importance sampling begins with.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Base {
    Nearer,
    Normal,
    Uniform,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<()> {
    let json = arguments.json.as_deref();
    json.map_or(Ok(()), |path| check_output("--json", path, &["json"]))?;
    let picture = arguments.picture.as_deref();
    picture.map_or(Ok(()), |path| check_output("--picture", path, &["png"]))?;
    check_distinct(&[("--model", Some(&arguments.model)), ("--json", json), ("--picture", picture)])?;
    let (model, recipe) =
        open_model(Some(&arguments.model), arguments.network.as_deref(), &arguments.weights)?;
    let input = model.network.input;
    if input.is_points() {
        return Err(Error::file(
            &arguments.model,
            format!("is a model of points or sequences ({input}); `evaluate` is for models of images"),
        ));
    }
    let reading = arguments.range.reading(input, &recipe);
    let Opened { dataset, notes, .. } = Dataset::open_for(&arguments.data, &reading)?;
    say_notes(&dataset.name, &notes);
    // Bytes are pictures, even of one row.
    if dataset.train.shape().is_points() && !matches!(dataset.train, Examples::Bytes(_)) {
        let text =
            format!("--data {}: holds points or sequences, and the model's input is {input}", dataset.name);
        return Err(Error::Usage(text));
    }
    let few = arguments.count as usize;
    let images = dataset.held_out.pick(spread(dataset.held_out.count(), few));
    let held_out =
        images.padded_to(input).map_err(|error| Error::Usage(format!("--data {}: {error}", dataset.name)))?;
    let mut outlier_sets = outliers::made(&images, &held_out, arguments.seed);
    for path in &arguments.ood {
        let others = read_fitting(path, input, &reading)?;
        outlier_sets.push((path.display().to_string(), others.pick(spread(others.count(), few))));
    }
    let buffer = newest_replay_images(&arguments.model, input, held_out.count())?;
    let device = Device::open(&arguments.device).await?;
    let numbers = recipe.sample_numbers();
    let (model, held_out, seed) = (&model, &held_out, arguments.seed);
    let subject = Subject { device: &device, model, numbers: &numbers, held_out, seed };
    let bar = steps_bar(0);
    let progress = |done: u32, all: u32| {
        bar.set_length(all.into());
        bar.set_position(done.into());
    };
    let buffer = buffer.as_ref().filter(|images| images.count() > 0);
    let samples = samples::measure(&subject, &dataset.train, buffer, progress).await?;
    bar.finish_and_clear();
    let annealed = if arguments.ais {
        let train = dataset.train.to_images();
        Some(anneal(&arguments, &subject, &train, &recipe).await?)
    } else {
        None
    };
    let long_run =
        if arguments.long_run { Some(run_long(&arguments, &subject, &recipe).await?) } else { None };
    let report = Report {
        network: model.network.name.clone(),
        data: dataset.name,
        device: device.to_string(),
        seed,
        samples,
        outliers: outliers::measure(&subject, &outlier_sets).await?,
        annealed,
        long_run,
    };
    say(&report);
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|e| Error::Usage(format!("the figures can't be written as JSON: {e}")))?;
        write_atomically(path, |file| file.write_all(text.as_bytes()))?;
        say(format_args!("\nWrote {}: all figures.", path.display()));
    }
    Ok(())
}

/// The chains that a model is made for: those of training, or, where that has none, those of sampling.
fn own_chains(recipe: &Config) -> SamplerNumbers {
    if recipe.score_objective().is_some() { recipe.sample_numbers() } else { recipe.chain_numbers(0) }
}

/// log Z and log-likelihood.
async fn anneal(
    arguments: &Arguments,
    subject: &Subject<'_>,
    train: &Images,
    recipe: &Config,
) -> Result<Annealed> {
    let numbers = own_chains(recipe);
    let subject = Subject { numbers: &numbers, ..*subject };
    let of_chains = || temperature_of(&numbers);
    let Some(temperature) = arguments.temperature.or_else(of_chains) else {
        let text = "--ais: the model's chains have no noise, so no temperature; add --temperature X";
        return Err(Error::Usage(text.to_owned()));
    };
    let options = annealed::Options {
        temperature,
        base: match arguments.ais_base {
            Base::Nearer => BaseKind::Nearer,
            Base::Normal => BaseKind::Normal,
            Base::Uniform => BaseKind::Uniform,
        },
        steps: arguments.ais_steps,
        chains: arguments.ais_chains as usize,
        leapfrogs: arguments.ais_leapfrogs,
    };
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(200));
    let figures = annealed::measure(&subject, train, &options, |stage| {
        spinner.set_message(format!("annealed importance sampling: {stage}"));
    })
    .await?;
    spinner.finish_and_clear();
    Ok(figures)
}

/// Long chains, and their picture.
async fn run_long(arguments: &Arguments, subject: &Subject<'_>, recipe: &Config) -> Result<LongRun> {
    let (numbers, chains) = (own_chains(recipe), arguments.long_run_chains as usize);
    let mut fid = Fid::new(subject, chains).await?;
    let bar = steps_bar(0);
    let progress = |done: u32, all: u32| {
        bar.set_length(all.into());
        bar.set_position(done.into());
    };
    let fid = async |images: &Images| fid.of(images).await;
    let (figures, frames) = long_run::measure(subject, &numbers, chains, fid, progress).await?;
    bar.finish_and_clear();
    if let Some(path) = &arguments.picture {
        save_png(path, &plot::long_run(&figures, &frames))?;
        say(format_args!("Wrote {}: long chains.\n", path.display()));
    }
    Ok(figures)
}
