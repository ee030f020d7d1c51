//! `thalweg plot`: the pictures of a run, drawn anew from its files.

use super::ends::{Names, check_lost};
use super::options::{DeviceOption, ModelOptions};
use super::paths::{OutputFolder, writes};
use super::{print_line, print_notes};
use std::path::{Path, PathBuf};
use thalweg::data::reading::Reading;
use thalweg::data::{Images, Opened};
use thalweg::picture::plane;
use thalweg::picture::run::{SAMPLES, draw_curves, draw_plane, draw_samples};
use thalweg::train::log::MetricsTable;
use thalweg::train::run::METRICS;
use thalweg::{Dataset, Error, Result};

/// Options of `thalweg plot`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// The run's metrics, to draw curves of [default: metrics.csv beside the model, if it is there]
    #[arg(long, value_name = "FILE.csv")]
    metrics: Option<PathBuf>,
    /// Points to draw beside samples, for a model of points in the plane: a data set's name or file [default: none]
    #[arg(long, value_name = "NAME|FILE")]
    data: Option<String>,
    /// Folder for the pictures [default: the model's]
    #[arg(long, value_name = "DIR")]
    out: Option<OutputFolder>,
    /// Seed of the samples
    #[arg(long, default_value = "0", value_name = "N", allow_negative_numbers = true)]
    seed: u64,
    #[command(flatten)]
    device: DeviceOption,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let Some(path) = arguments.model.path()? else {
        let text = "an energy with a formula has no run to draw; `thalweg sample` draws its landscape";
        return Err(Error::Usage(text.to_owned()));
    };
    let path = path.as_path();
    let (model, recipe) = arguments.model.open(Some(path))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = folder.join(METRICS);
    let metrics = arguments.metrics.clone().or_else(|| beside.exists().then_some(beside));
    let table = metrics.map(MetricsTable::read).transpose()?;
    let (input, is_plane) = (model.network.input, model.network.input == plane::POINT);
    if !is_plane && (arguments.data.is_some() || (table.is_none() && !input.is_sequence())) {
        let problem = match plane::check(input) {
            Err(error) if arguments.data.is_some() => format!("--data has no use: {error}"),
            _ => "there is no metrics.csv beside it to draw curves of; name one with --metrics".to_owned(),
        };
        return Err(Error::file(path, problem));
    }
    let reading = Reading::for_network(input, &recipe);
    let data = arguments.data.as_deref().map(|name| read_points(name, &reading)).transpose()?;
    let out = arguments.out.as_deref().unwrap_or(folder);
    if arguments.out.is_none() && !folder.join(METRICS).exists() {
        check_no_pictures(folder)?;
    }
    let device = if input.is_sequence() || is_plane { Some(arguments.device.open().await?) } else { None };
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    if let Some(table) = table {
        let path = draw_curves(&table, out)?;
        let steps = table.column("step").map_or(0, <[f64]>::len);
        print_line(format_args!("Wrote {}: {steps} steps.", path.display()));
    }
    let chain_config = recipe.sampling_chain();
    if let (Some(device), true) = (&device, input.is_sequence()) {
        let path = out.join("samples.png");
        let lost = draw_samples(device, &model, &recipe, arguments.seed, &path).await?;
        print_line(format_args!("Wrote {}: {} samples.", path.display(), recipe.sample.count));
        check_lost(lost, recipe.sample.count, &chain_config, Names::Sample)?;
    }
    if let (Some(device), true) = (&device, is_plane) {
        let data = data.as_ref().map(plane::points).transpose()?.unwrap_or_default();
        let drawn = draw_plane(device, &model, &recipe, data, arguments.seed, out, &model.network.name);
        let (paths, lost) = drawn.await?;
        for path in paths {
            print_line(format_args!("Wrote {}.", path.display()));
        }
        check_lost(lost, SAMPLES, &chain_config, Names::Sample)?;
    }
    Ok(())
}

/// Refuses to write over pictures in a folder that is no run's and that nobody has named.
fn check_no_pictures(folder: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let found = entries.find(|entry| entry.file_name().to_str().is_some_and(|name| writes("plot", name)));
    found.map_or(Ok(()), |entry| {
        let problem =
            "is there already, in a folder that is no run's; to write over it, name the folder with --out";
        Err(Error::file(entry.path(), problem))
    })
}

/// The points of a data set.
fn read_points(name: &str, reading: &Reading) -> Result<Images> {
    let Opened { dataset, notes, .. } = Dataset::open_for(name, reading)?;
    print_notes(name, &notes);
    let images = dataset.train.into_images();
    plane::check(images.shape).map_err(|error| Error::file(name, error.to_string()))?;
    Ok(images)
}
