//! `thalweg evaluate`: how good a model is.

use super::chain_options::trained_levels;
use super::ends::{are_many, warn};
use super::given::{is_built_in, read_input};
use super::options::{DeviceOption, ModelOptions};
use super::paths::OutputFile;
use super::{check_output, print_line, print_notes, real, steps_bar, write_json};
use indicatif::ProgressBar;
use std::path::Path;
use std::time::Duration;
use thalweg::checkpoint::Archive;
use thalweg::checkpoint::newest_replay_images;
use thalweg::data::reading::Reading;
use thalweg::data::{Examples, Opened, npz};
use thalweg::evaluate::ais::{self, Annealed, BaseKind, temperature_of};
use thalweg::evaluate::long_run::{self, LongRun};
use thalweg::evaluate::point_metrics::{POINTS, PointEvaluator};
use thalweg::evaluate::samples::{self, Fid};
use thalweg::evaluate::{Report, Subject, outliers, points, spread};
use thalweg::kernels::dynamics::Form;
use thalweg::network::{Analytic, Operation};
use thalweg::picture::{plot, save_png};
use thalweg::recipe::Objective;
use thalweg::{Dataset, Error, Images, Model, Recipe, Result, Sampler};

/// Options of `thalweg evaluate`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// What the model was trained on: `digits`, a toy set, a folder or a file, as for `thalweg train`; the model is held
    /// against what it holds out [default: what the checkpoint says; of weights alone digits, for points in the plane
    /// five-gaussians, for a mixture with a formula the set of its name]
    #[arg(long, value_name = "NAME|DIR|FILE")]
    data: Option<String>,
    /// Images, or points, that are none of the kind, for the model to tell from held-out ones: a folder or file (IDX, .npy,
    /// PNG, JPEG, CIFAR-10's .bin, CSV) or a built-in set's name, any number of times
    #[arg(long, value_name = "DIR|FILE|NAME")]
    ood: Vec<String>,
    #[command(flatten)]
    range: super::options::RangeOption,
    /// Images of each set, at most: samples, held-out and training images are as many as are held out, if these are fewer (of points, 5,000 samples are drawn in any case)
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
    /// Temperature T of the density exp(-E/T)/Z; of a model with annealed chains a noise level that it was trained for, whose
    /// blurred images have the density exp(-E/T - |x|^2/2)/Z [default: that of the chains that it is made for: their own, or noise^2 / (2 step size),
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
    picture: Option<OutputFile>,
    /// Seed of all random numbers: same seed, same device, same figures
    #[arg(long, default_value = "0", value_name = "N", allow_negative_numbers = true)]
    seed: u64,
    #[command(flatten)]
    device: DeviceOption,
    /// Writes all figures to a JSON file, too [default: none]
    #[arg(long, value_name = "FILE.json")]
    json: Option<OutputFile>,
}

/// The density that annealed importance sampling begins with.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Base {
    Nearer,
    Normal,
    Uniform,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let json = arguments.json.as_deref();
    json.map_or(Ok(()), |path| check_output("--json", path, &["json"]))?;
    let picture = arguments.picture.as_deref();
    picture.map_or(Ok(()), |path| check_output("--picture", path, &["png"]))?;
    let path = arguments.model.path()?;
    let (model, recipe) = arguments.model.open(path.as_deref())?;
    check_level(&arguments, &recipe)?;
    if arguments.ais && model.network.standard.is_some() {
        let text = "--ais: the model standardises its columns (data.standardize), and annealed importance sampling does not map \
                    points to its units yet: standardise the columns beforehand, and train on these";
        return Err(Error::Usage(text.to_owned()));
    }
    let reading = arguments.range.reading(model.network.input, &recipe);
    let dataset = open_data(&arguments, path.as_deref(), &model, &reading)?;
    let has_images = dataset.as_ref().is_some_and(|set| !is_single_row(set));
    let report = if has_images || !model.network.input.is_single_row() {
        let dataset = dataset.ok_or_else(|| Error::Usage("--data is missing".to_owned()))?;
        of_images(&arguments, path.as_deref(), &model, &recipe, dataset).await?
    } else {
        of_points(&arguments, &model, &recipe, dataset).await?
    };
    print_line(&report);
    if let Some(path) = json {
        write_json(path, &report)?;
        print_line(format_args!("\nWrote {}: all figures.", path.display()));
    }
    check_ends(&report)
}

/// Refuses a noise level that the model was not trained for, before hours of work go into it.
fn check_level(arguments: &Arguments, recipe: &Recipe) -> Result<()> {
    let (Some(level), Some([low, high])) = (arguments.temperature, trained_levels(recipe)) else {
        return Ok(());
    };
    if recipe.own_chain().form == Form::Annealed && !(low * 0.999..=high * 1.001).contains(&level) {
        return Err(Error::Usage(format!(
            "--temperature {level}: of this model it is a noise level, and it was trained for levels from {low} to {high} \
             (score.sigma, score.sigma_max); its energy says nothing beyond them. Give one of these"
        )));
    }
    Ok(())
}

/// Whether a data set is of points or sequences; pictures of one row are pictures.
fn is_single_row(dataset: &Dataset) -> bool {
    !matches!(dataset.train, Examples::Bytes(_)) && dataset.train.shape().is_single_row()
}

/// The data that a checkpoint's model learned from, if it says so; it is said when they are no built-in set.
fn data_of(path: &Path) -> Result<Option<String>> {
    let Some(data) = Archive::open(path)?.header.map(|header| header.data_source) else { return Ok(None) };
    if data.is_empty() || is_built_in(&data) {
        return Ok(Some(data).filter(|data| !data.is_empty()));
    }
    if !npz::split(Path::new(&data)).0.exists() {
        let text =
            "the model learned from what was here, and nothing is here now: say with --data where it is";
        return Err(Error::file(&data, text));
    }
    print_line(format_args!("Data: {data}, which the model learned from (--data takes others)."));
    Ok(Some(data))
}

/// The data that the model is held against; none for an energy with a formula that no data set has.
fn open_data(
    arguments: &Arguments,
    path: Option<&Path>,
    model: &Model,
    reading: &Reading,
) -> Result<Option<Dataset>> {
    let input = model.network.input;
    let own = match (&arguments.data, path) {
        (None, Some(path)) => data_of(path)?,
        _ => None,
    };
    let analytic = match model.network.layers[0].operation {
        Operation::Analytic(energy) => Some(energy),
        _ => None,
    };
    let name = match (arguments.data.as_ref().or(own.as_ref()), analytic) {
        (Some(name), _) => name.as_str(),
        (None, Some(energy)) if energy.mixture().is_some() => Analytic::name(energy),
        (None, Some(_)) => return Ok(None),
        (None, None) if !input.is_single_row() => "digits",
        (None, None) if input == thalweg::picture::plane::POINT => "five-gaussians",
        (None, None) => {
            return Err(Error::Usage(format!(
                "--data is missing: say which points or sequences the model learned from; it takes {input}"
            )));
        }
    };
    let Opened { dataset, notes, .. } = Dataset::open_for(name, reading)?;
    print_notes(&dataset.name, &notes);
    let shape = dataset.train.shape();
    if !is_single_row(&dataset) && input.is_single_row() && dataset.held_out.padded_to(input).is_err() {
        let text = format!("--data {name}: holds images of {shape}, and the model takes points of {input}");
        return Err(Error::Usage(text));
    }
    if is_single_row(&dataset) && shape != input {
        let text = if input.is_single_row() {
            format!("--data {name}: holds points or sequences of {shape}, and the model takes {input}")
        } else {
            format!("--data {name}: holds points or sequences, and the model's input is {input}")
        };
        return Err(Error::Usage(text));
    }
    Ok(Some(dataset))
}

/// Figures of a model of images.
async fn of_images(
    arguments: &Arguments,
    path: Option<&Path>,
    model: &Model,
    recipe: &Recipe,
    dataset: Dataset,
) -> Result<Report> {
    let (input, few, seed) = (model.network.input, arguments.count as usize, arguments.seed);
    let images = dataset.held_out.pick(spread(dataset.held_out.count(), few));
    let held_out =
        images.padded_to(input).map_err(|error| Error::Usage(format!("--data {}: {error}", dataset.name)))?;
    let mut outlier_sets = outliers::made(&images, &held_out, seed);
    outlier_sets.extend(read_outliers(arguments, model, &arguments.range.reading(input, recipe))?);
    let buffer = path.map(|path| newest_replay_images(path, input, held_out.count())).transpose()?.flatten();
    let device = arguments.device.open().await?;
    let chain_config = recipe.sampling_chain();
    let held_out = &held_out;
    let subject = Subject { device: &device, model, chain_config: &chain_config, held_out, seed };
    let bar = steps_bar(0);
    let progress = |done: u32, all: u32| {
        bar.set_length(all.into());
        bar.set_position(done.into());
    };
    let buffer = buffer.as_ref().filter(|images| images.count() > 0);
    let samples = samples::measure(&subject, &dataset.train, buffer, progress).await?;
    bar.finish_and_clear();
    let annealed = match arguments.ais {
        true => Some(anneal(arguments, &subject, &dataset.train.to_images(), recipe).await?),
        false => None,
    };
    let long_run = if arguments.long_run { Some(run_long(arguments, &subject, recipe).await?) } else { None };
    Ok(Report {
        network: model.network.name.clone(),
        data: Some(dataset.name),
        device: device.to_string(),
        seed,
        samples: Some(samples),
        points: None,
        outliers: Some(outliers::measure(&subject, &outlier_sets).await?),
        annealed,
        long_run,
    })
}

/// Figures of a model of points or sequences. Without data, its own samples take the place of training data: annealed
/// chains' base is fitted to them.
async fn of_points(
    arguments: &Arguments,
    model: &Model,
    recipe: &Recipe,
    dataset: Option<Dataset>,
) -> Result<Report> {
    let (input, few, seed) = (model.network.input, arguments.count as usize, arguments.seed);
    if dataset.is_none() && !arguments.ais && !arguments.long_run {
        let text = "an energy with a formula has no data to be held against: add --ais (log Z), --long-run (how its chains \
                    mix), or --data";
        return Err(Error::Usage(text.to_owned()));
    }
    if dataset.is_none() && !arguments.ood.is_empty() {
        return Err(Error::Usage("--ood takes --data, whose points its are told from".to_owned()));
    }
    let outlier_sets = read_outliers(arguments, model, &arguments.range.reading(input, recipe))?;
    let device = arguments.device.open().await?;
    let chain_config = recipe.sampling_chain();
    let none = Images { shape: input, values: Vec::new() };
    let held_out = dataset.as_ref().map_or(none, |set| {
        let held_out = &set.held_out;
        held_out.pick(spread(held_out.count(), few))
    });
    let held_out = &held_out;
    let subject = Subject { device: &device, model, chain_config: &chain_config, held_out, seed };
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner.set_message("samples");
    let evaluator = dataset.as_ref().and_then(|set| PointEvaluator::new(set, seed));
    let figures = match &evaluator {
        Some(evaluator) => {
            let is_normalised = recipe.objective == Objective::Nce;
            Some(points::measure(&subject, evaluator, POINTS, is_normalised).await?)
        }
        None => None,
    };
    spinner.finish_and_clear();
    let annealed = if arguments.ais {
        let train = match &dataset {
            Some(set) => set.train.to_images(),
            None => {
                let mut sampler = Sampler::new(&device, model, few, &chain_config, seed).await?;
                sampler.run(chain_config.steps)?;
                sampler.images().await?
            }
        };
        Some(anneal(arguments, &subject, &train, recipe).await?)
    } else {
        None
    };
    let long_run = if arguments.long_run { Some(run_long(arguments, &subject, recipe).await?) } else { None };
    let outliers = match outlier_sets.is_empty() {
        true => None,
        false => Some(outliers::measure(&subject, &outlier_sets).await?),
    };
    Ok(Report {
        network: model.network.name.clone(),
        data: dataset.map(|set| set.name),
        device: device.to_string(),
        seed,
        samples: None,
        points: figures,
        outliers,
        annealed,
        long_run,
    })
}

/// The sets of `--ood`.
fn read_outliers(arguments: &Arguments, model: &Model, reading: &Reading) -> Result<Vec<(String, Images)>> {
    let few = arguments.count as usize;
    let read = |name: &String| {
        let (others, _) = read_input("--ood", name, model.network.input, reading)?;
        Ok((name.clone(), others.pick(spread(others.count(), few))))
    };
    arguments.ood.iter().map(read).collect()
}

/// Warns of samples and long chains that ended at what is no number, and fails where there are many.
fn check_ends(report: &Report) -> Result<()> {
    let mut faults: Vec<(String, bool)> = Vec::new();
    for set in report.samples.iter().flat_map(|samples| &samples.sets).filter(|set| set.not_finite > 0) {
        let text =
            format!("{} of {} {} hold values that are not finite", set.not_finite, set.count, set.name);
        faults.push((text, are_many(set.not_finite, set.count)));
    }
    if report.points.as_ref().is_some_and(|points| !points.is_finite()) {
        faults.push(("samples or energies are not finite".to_owned(), true));
    }
    for length in report.long_run.iter().flat_map(|run| &run.lengths) {
        let figures = length.figures;
        if figures.not_finite > 0.0 || figures.energies_not_finite > 0.0 {
            let share = figures.not_finite.max(figures.energies_not_finite);
            let text = format!(
                "{:.1} % of the values or energies of chains of {} steps are not finite",
                100.0 * share,
                length.steps
            );
            faults.push((text, are_many((1e6 * share) as usize, 1_000_000)));
        }
    }
    // Of the longest chains, as the first ones may be a step or two.
    let last = report.long_run.as_ref().and_then(|run| run.lengths.last());
    if let Some(share) = last.and_then(|length| length.unmoved).filter(|share| *share > 0.0) {
        let text =
            format!("{:.1} % of the long chains never moved, as all proposals were rejected", 100.0 * share);
        faults.push((text, are_many((1e6 * share) as usize, 1_000_000)));
    }
    if faults.is_empty() {
        return Ok(());
    }
    let texts: Vec<_> = faults.iter().map(|(text, _)| text.as_str()).collect();
    let text = format!(
        "{}. The chains' steps are too long for this energy, or the model has diverged: take an earlier checkpoint, or train \
         again with a smaller `chain.step_size` and `sample.step_size`, or with bounds (`chain.gradient_clip`, `chain.clamp`)",
        texts.join("; ")
    );
    if faults.iter().any(|(_, fails)| *fails) {
        return Err(Error::Diverged(text));
    }
    warn(&text);
    Ok(())
}

/// log Z and log-likelihood.
async fn anneal(
    arguments: &Arguments,
    subject: &Subject<'_>,
    train: &Images,
    recipe: &Recipe,
) -> Result<Annealed> {
    let chain_config = recipe.own_chain();
    let subject = Subject { chain_config: &chain_config, ..*subject };
    let of_chains = || temperature_of(&chain_config);
    let Some(temperature) = arguments.temperature.or_else(of_chains) else {
        let text = "--ais: the model's chains have no noise, so no temperature; add --temperature X";
        return Err(Error::Usage(text.to_owned()));
    };
    let options = ais::Options {
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
    let figures = ais::measure(&subject, train, &options, |stage| {
        spinner.set_message(format!("annealed importance sampling: {stage}"));
    })
    .await?;
    spinner.finish_and_clear();
    Ok(figures)
}

/// Long chains, and their picture.
async fn run_long(arguments: &Arguments, subject: &Subject<'_>, recipe: &Recipe) -> Result<LongRun> {
    let (chain_config, chains) = (recipe.own_chain(), arguments.long_run_chains as usize);
    let mut fid = Fid::new(subject, chains).await?;
    let bar = steps_bar(0);
    let progress = |done: u32, all: u32| {
        bar.set_length(all.into());
        bar.set_position(done.into());
    };
    let fid = async |images: &Images| fid.of(images).await;
    let (figures, frames) = long_run::measure(subject, &chain_config, chains, fid, progress).await?;
    bar.finish_and_clear();
    if let Some(path) = &arguments.picture {
        save_png(path, &plot::long_run(&figures, &frames))?;
        print_line(format_args!("Wrote {}: long chains.\n", path.display()));
    }
    Ok(figures)
}
