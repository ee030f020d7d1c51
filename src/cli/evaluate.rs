//! `thalweg evaluate`: how good a model of images is.

use super::{check_distinct, check_output, open_model, read_fitting, say, steps_bar};
use std::path::PathBuf;
use thalweg::evaluate::{Report, Subject, outliers, samples, spread};
use thalweg::files::write_atomically;
use thalweg::model::newest_replay_images;
use thalweg::{Dataset, Device, Error, Result};

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
    /// Images of each set, at most: samples, held-out and training images are as many as are held out, if these are fewer
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=65_536))]
    count: u32,
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

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<()> {
    let json = arguments.json.as_deref();
    json.map_or(Ok(()), |path| check_output("--json", path, &["json"]))?;
    check_distinct(&[("--model", Some(&arguments.model)), ("--json", json)])?;
    let (model, recipe) =
        open_model(Some(&arguments.model), arguments.network.as_deref(), &arguments.weights)?;
    let input = model.network.input;
    if input.is_points() {
        return Err(Error::file(
            &arguments.model,
            format!("is a model of points or sequences ({input}); `evaluate` is for models of images"),
        ));
    }
    let dataset = Dataset::open(&arguments.data)?;
    if dataset.train.shape().is_points() {
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
        let others = read_fitting(path, input)?;
        outlier_sets.push((path.display().to_string(), others.pick(spread(others.count(), few))));
    }
    // Objectives that fit the score have no chains in training.
    let buffer = match recipe.score_objective() {
        Some(_) => None,
        None => newest_replay_images(&arguments.model, input, held_out.count())?,
    };
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
    let report = Report {
        network: model.network.name.clone(),
        data: dataset.name,
        device: device.to_string(),
        seed,
        samples,
        outliers: outliers::measure(&subject, &outlier_sets).await?,
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
