//! `thalweg sample`: Langevin chains from noise, from a replay buffer or from given images, as pictures and numbers.

use super::chain_options::{ChainOptions, described};
use super::ends::{Ends, Names, print_accepted, warn};
use super::energy::write_energies;
use super::given::{free_picture, is_built_in, read_input};
use super::options::{ChainDeviceOptions, Models, ModelsOptions};
use super::paths::OutputFile;
use super::{Summary, check_output, print_line, real, steps_bar};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;
use thalweg::checkpoint::{pool_images, replay_images};
use thalweg::data::reading::Reading;
use thalweg::data::{Images, Shape, npz, write_npy};
use thalweg::kernels::dynamics::Form;
use thalweg::picture::plane;
use thalweg::picture::plot::{self, MAX_SEQUENCES, Square, thinned};
use thalweg::picture::run::{energy_titles, samples as picture};
use thalweg::picture::{film, save_png};
use thalweg::plan::ChainConfig;
use thalweg::sampling::{denoised, noise_level};
use thalweg::{Composition, Device, EnergyModel, Error, Result, Sampler};

/// Options of `thalweg sample`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    models: ModelsOptions,
    /// Samples to draw, 1 to 65,536
    #[arg(long, default_value = "16", value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    count: u32,
    #[command(flatten)]
    chain: ChainOptions,
    /// Where chains start: `noise` (the recipe's: uniform or normal), the newest images of the checkpoint's replay
    /// `buffer`, the first images or points of a file or folder (IDX, .npy, .npz, PNG, JPEG, CIFAR-10's .bin, CSV), or those
    /// held out of a built-in set (`digits`, or a toy set as for `train --data`)
    #[arg(long, default_value = "noise", value_name = "noise|buffer|FILE|NAME")]
    init: String,
    /// Show the chains of training's pool, of a run with objective=annealed-cd: what those at the last noise level most likely
    /// blur, the longest ones first; with --steps, after so many more steps there
    #[arg(long, conflicts_with_all = ["init", "film", "trajectory", "form", "noise"])]
    from_pool: bool,
    #[command(flatten)]
    range: super::options::RangeOption,
    /// Seed of all random numbers: same seed, same device, same samples
    #[arg(long, default_value = "0", value_name = "N", allow_negative_numbers = true)]
    seed: u64,
    #[command(flatten)]
    device: ChainDeviceOptions,
    /// Picture of all samples, each with its energy under it; of sequences, the first 100 as curves; for points in the
    /// plane, the energy landscape with them on it [default: grid.png, or of points landscape.png, in the current folder; if
    /// that is there, the next free of grid-1.png, grid-2.png, ...; none for more than 10,000 samples]. A file that is named
    /// is replaced
    #[arg(long, value_name = "FILE.png")]
    out: Option<OutputFile>,
    /// Picture of the first 8 chains on their way, from the first step to the last in nine columns; of `annealed` chains, what
    /// they most likely blur at eight noise levels, and the samples [default: none]
    #[arg(long, value_name = "FILE.png")]
    film: Option<OutputFile>,
    /// For points in the plane: picture of the first 8 chains on the energy landscape, step by step, once with each of
    /// --step-sizes [default: none]
    #[arg(long, value_name = "FILE.png")]
    trajectory: Option<OutputFile>,
    /// Step sizes of --trajectory
    #[arg(long, default_value = "0.001,0.01,0.1", value_name = "X,X,...", value_delimiter = ',', requires = "trajectory",
          allow_negative_numbers = true, value_parser = real(0.0, 1e6))]
    step_sizes: Vec<f64>,
    /// The samples as numbers: f32, [n, channels, height, width], of points [n, d], of sequences [n, time, d] [default:
    /// none]
    #[arg(long, value_name = "FILE.npy")]
    npy: Option<OutputFile>,
    /// The samples' energies: .npy (f32, [n]) or .csv (`index,energy`) [default: none]
    #[arg(long, value_name = "FILE.npy|FILE.csv")]
    energies: Option<OutputFile>,
}

/// Samples that a grid shows, at most: more make a picture that hardly any program opens.
const MAX_GRID: u32 = 10_000;
/// Points on a landscape.
const MAX_POINTS: usize = 2000;
/// Step sizes of a picture of trajectories.
const MAX_STEP_SIZES: usize = 8;
/// Chains in a film, or in a picture of trajectories.
const MAX_FILM: usize = 8;
/// Columns of a film, besides that of the samples.
const FILM_COLUMNS: u32 = 8;
/// Steps between two looks at how the chains are getting on.
const SEGMENT: u32 = 100;

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let picture_path = check(&arguments)?;
    let (count, seed) = (arguments.count, arguments.seed);
    let Models { composition, recipes, paths } = arguments.models.open()?;
    let (path, input) = (paths.first().map(PathBuf::as_path), composition.input());
    let picture_path = check_shape(&arguments, input, picture_path)?;
    let warnings: BTreeSet<String> =
        recipes.iter().flat_map(|recipe| arguments.chain.warnings(recipe)).collect();
    let reading = arguments.range.reading(input, &recipes[0]);
    let mut chain_config = arguments.chain.chain_config(recipes[0].clone())?;
    check_step_sizes(&arguments, chain_config.form)?;
    if arguments.from_pool {
        chain_config = ChainConfig { steps: arguments.chain.steps.unwrap_or(0), ..chain_config.at_end() };
    }
    let steps = chain_config.steps;
    let start = start_images(&arguments, path, input, &reading)?;
    let device = arguments.device.open().await?;
    let mut sampler = Sampler::new(&device, &composition, count as usize, &chain_config, seed).await?;
    if let Some((images, _)) = &start {
        sampler.start_from(images)?;
    }
    warnings.iter().for_each(|text| warn(text));

    let began = Instant::now();
    let bar = steps_bar(steps);
    let first_energies = sampler.energies().await?;
    let mut frames = Vec::new();
    for moment in moments(&chain_config, arguments.film.is_some()) {
        while sampler.steps() < moment {
            sampler.run(SEGMENT.min(moment - sampler.steps()))?;
            // Reading something keeps the device from being sent more than it can do in a while.
            let energies = sampler.energies().await?;
            bar.set_message(format!("mean E {:.4}", Summary::of(&energies).mean));
            bar.set_position(u64::from(sampler.steps()));
        }
        if arguments.film.is_some() {
            let mut frame = sampler.images().await?;
            frame.values.truncate(MAX_FILM * frame.shape.len());
            frames.push((moment, frame));
        }
    }
    let (mut samples, mut energies) = (sampler.images().await?, sampler.energies().await?);
    if arguments.from_pool {
        let mut energy_model = EnergyModel::new(&device, &composition).await?;
        samples = denoised(&mut energy_model, samples, &chain_config, chain_config.noise).await?;
        energies = energy_model.energies(&samples).await?;
    }
    let accepted = sampler.accepted().await?;
    let seconds = began.elapsed().as_secs_f64();
    bar.finish_and_clear();

    let from = start.as_ref().map_or("noise", |(_, what)| what);
    if composition.terms().len() > 1 {
        print_line(weighted(&composition, &paths));
    }
    print_line(format_args!("{count} samples after {steps} steps from {from}, seed {seed}, on {device}"));
    print_line(described(&chain_config));
    let Summary { mean, min, max, .. } = Summary::of(&energies);
    print_line(format_args!("energy: mean {mean:.6}, min {min:.6}, max {max:.6}"));
    if let Some(accepted) = &accepted {
        print_accepted(accepted, steps);
    }
    let rate = f64::from(count) * f64::from(steps) / seconds;
    print_line(format_args!("{seconds:.2} s, {rate:.0} image-steps/s"));

    let mut diverged = Vec::new(); // step sizes of trajectories
    if input == plane::POINT {
        let mut energy_model = EnergyModel::new(&device, &composition).await?;
        if let Some(path) = picture_path {
            let points = plane::points(&samples)?;
            let map = plane::landscape(&mut energy_model, Square::around(points)).await?;
            let name = format!("{steps} steps of {}", chain_config.step_size);
            save_png(&path, &plot::landscape(&map, &name, &[], &thinned(points, MAX_POINTS)))?;
            print_line(format_args!("Wrote {}: the samples on the energy landscape.", path.display()));
        }
        if let Some(path) = &arguments.trajectory {
            let sizes: Vec<f32> = arguments.step_sizes.iter().map(|size| *size as f32).collect();
            let n = MAX_FILM.min(count as usize);
            let start = start.map(|(mut images, _)| {
                images.values.truncate(n * images.shape.len());
                images
            });
            let chains =
                plane::trajectories(&device, &composition, n, start.as_ref(), &chain_config, &sizes, seed)
                    .await?;
            let map = plane::landscape(&mut energy_model, plot::Trajectories::square(&chains)).await?;
            save_png(path, &plot::trajectories(&map, &chains))?;
            print_line(format_args!("Wrote {}: {n} chains with {} step sizes.", path.display(), sizes.len()));
            let is_lost = |chains: &plot::Trajectories| {
                chains.frames.last().is_some_and(|end| {
                    !end.points.iter().flatten().chain(&end.energies).all(|value| value.is_finite())
                })
            };
            let lost = chains.iter().zip(&sizes).filter(|(chains, _)| is_lost(chains));
            diverged.extend(lost.map(|(_, size)| *size));
        }
    } else if let (Some(path), Some(picture)) = (picture_path, picture(&samples, &energies)) {
        save_png(&path, &picture)?;
        let shown = match samples.shape.is_sequence() && samples.count() > MAX_SEQUENCES {
            true => format!("the first {MAX_SEQUENCES}"),
            false => "all".to_owned(),
        };
        print_line(format_args!("Wrote {}: {shown} samples, and their energies.", path.display()));
    }
    if let Some(path) = &arguments.film {
        let titles = energy_titles(&energies[..energies.len().min(MAX_FILM)]);
        let frames = film_frames(&device, &composition, &chain_config, frames).await?;
        save_png(path, &film(&frames, &titles))?;
        print_line(format_args!("Wrote {}: {} chains on their way.", path.display(), titles.len()));
    }
    if let Some(path) = &arguments.npy {
        let dims = write_npy(path, &samples)?;
        print_line(format_args!("Wrote {}: f32, shape {dims:?}.", path.display()));
    }
    if let Some(path) = &arguments.energies {
        write_energies(path, &energies, &[])?;
        print_line(format_args!("Wrote {}: {count} energies.", path.display()));
    }
    if !diverged.is_empty() {
        let sizes: Vec<_> = diverged.iter().map(ToString::to_string).collect();
        let text = format!(
            "--trajectory: chains ended at values that are not finite with step size {}: give smaller ones (--step-sizes)",
            sizes.join(", ")
        );
        if diverged.len() == arguments.step_sizes.len() {
            return Err(Error::Diverged(text));
        }
        warn(&text);
    }
    let (first_energies, accepted) = (Some(&first_energies[..]), accepted.as_deref());
    let (chain_config, images, energies) = (&chain_config, &samples, &energies[..]);
    Ends { chain_config, steps, images, energies, first_energies, accepted, names: Names::Options }.check()
}

/// The energy of several models, in one line.
fn weighted(composition: &Composition, paths: &[PathBuf]) -> String {
    let terms = composition.terms().iter().zip(paths);
    let terms: Vec<_> = terms.map(|((_, weight), path)| format!("{weight} x {}", path.display())).collect();
    format!("Energy: {}.", terms.join(" + "))
}

/// The columns of a film: of annealed chains what each frame most likely blurs, under its noise level, and the samples as
/// they are; of others the chains as they are, under the step.
async fn film_frames(
    device: &Device,
    composition: &Composition,
    chain_config: &ChainConfig,
    frames: Vec<(u32, Images)>,
) -> Result<Vec<(String, Images)>> {
    let mut energy_model = EnergyModel::new(device, composition).await?;
    let mut titled = Vec::new();
    for (i, (step, images)) in frames.into_iter().enumerate() {
        titled.push(match noise_level(chain_config, step) {
            Some(_) if step == chain_config.steps => ("sample".to_owned(), images),
            Some(level) => {
                let images = denoised(&mut energy_model, images, chain_config, level).await?;
                (format!("sigma {level:.2}"), images)
            }
            None => (format!("{}{step}", if i == 0 { "step " } else { "" }), images),
        });
    }
    Ok(titled)
}

/// Refuses step sizes of trajectories that annealed chains can't have.
fn check_step_sizes(arguments: &Arguments, form: Form) -> Result<()> {
    let is_long = arguments.step_sizes.iter().any(|x| *x > 0.5);
    if form == Form::Annealed && is_long && arguments.trajectory.is_some() {
        let text = "--step-sizes: 0.5 is what renews all of an `annealed` chain's noise; take less";
        return Err(Error::Usage(text.to_owned()));
    }
    Ok(())
}

/// Refuses what can't be before any work is done; gives the path of the grid, if there is to be one.
fn check(arguments: &Arguments) -> Result<Option<PathBuf>> {
    let count = arguments.count;
    let grid_path = match &arguments.out {
        Some(path) if count > MAX_GRID => {
            return Err(Error::Usage(format!(
                "--out {}: a grid of {count} samples would be too large a picture, the most is {MAX_GRID}; leave it \
                 out and take --npy",
                path.display()
            )));
        }
        Some(path) => Some(path.to_path_buf()),
        None => (count <= MAX_GRID).then(|| free_picture("grid")),
    };
    let others = [&arguments.film, &arguments.trajectory, &arguments.npy, &arguments.energies];
    if grid_path.is_none() && others.iter().all(|path| path.is_none()) {
        let text =
            format!("--count {count}: too many for a picture, the most is {MAX_GRID}; add --npy FILE.npy");
        return Err(Error::Usage(text));
    }
    let (film, trajectory) = (arguments.film.as_deref(), arguments.trajectory.as_deref());
    let outputs = [("--out", grid_path.as_deref()), ("--film", film), ("--trajectory", trajectory)];
    for (option, path) in outputs {
        path.map_or(Ok(()), |path| check_output(option, path, &["png"]))?;
    }
    let npy = arguments.npy.as_deref();
    npy.map_or(Ok(()), |path| check_output("--npy", path, &["npy"]))?;
    let energies = arguments.energies.as_deref();
    energies.map_or(Ok(()), |path| check_output("--energies", path, &["npy", "csv"]))?;
    let n_sizes = arguments.step_sizes.len();
    if n_sizes > MAX_STEP_SIZES {
        let text = format!("--step-sizes: {n_sizes} of them; a picture shows {MAX_STEP_SIZES} at most");
        return Err(Error::Usage(text));
    }
    Ok(grid_path)
}

/// Refuses pictures that there are none of for samples of this shape; gives the path of the picture of all samples, if
/// there is to be one.
fn check_shape(arguments: &Arguments, shape: Shape, path: Option<PathBuf>) -> Result<Option<PathBuf>> {
    let is_plane = shape == plane::POINT;
    if !is_plane && arguments.trajectory.is_some() {
        plane::check(shape).map_err(|error| Error::Usage(format!("--trajectory: {error}")))?;
    }
    if !shape.is_image() && arguments.film.is_some() {
        return Err(Error::Usage(format!("--film shows images, but the model's samples are {shape}")));
    }
    if shape.is_image() || shape.is_sequence() || (is_plane && arguments.out.is_some()) {
        return Ok(path);
    }
    if is_plane {
        return Ok(path.map(|_| free_picture("landscape")));
    }
    if arguments.out.is_some() || (arguments.npy.is_none() && arguments.energies.is_none()) {
        let text =
            format!("there is no picture of samples of {shape}; leave out --out and add --npy FILE.npy");
        return Err(Error::Usage(text));
    }
    Ok(None)
}

/// The images that chains start from, and what to call them; none for noise.
fn start_images(
    arguments: &Arguments,
    path: Option<&Path>,
    input: Shape,
    reading: &Reading,
) -> Result<Option<(Images, String)>> {
    let count = arguments.count as usize;
    if arguments.from_pool {
        let Some(path) = path else {
            return Err(Error::Usage("--from-pool: an analytic energy has no pool of chains".to_owned()));
        };
        return Ok(Some((pool_images(path, input, count)?, "the pool".to_owned())));
    }
    Ok(match arguments.init.as_str() {
        "noise" => None,
        "buffer" => match path {
            Some(path) => Some((replay_images(path, input, count)?, "buffer".to_owned())),
            None => {
                return Err(Error::Usage(
                    "--init buffer: an analytic energy has no replay buffer".to_owned(),
                ));
            }
        },
        name => {
            let path = Path::new(name);
            if !is_built_in(name) && matches!(npz::split(path).0.try_exists(), Ok(false)) {
                let text = "there is no such file or folder; --init takes `noise`, `buffer`, images or points (IDX, .npy, .npz, \
                            PNG, CSV), or a built-in set (`digits`, a toy set)";
                return Err(Error::file(path, text));
            }
            let (mut images, what) = read_input("--init", name, input, reading)?;
            if images.count() < count {
                let text =
                    format!("holds {} images to start {count} chains from; lower --count", images.count());
                return Err(Error::file(path, text));
            }
            images.values.truncate(count * images.shape.len());
            Some((images, what))
        }
    })
}

/// The steps after which the chains are looked at, the last one included, ascending: for a film evenly spread. The last step
/// of annealed chains ends at what the last level most likely blurs, which so is the sample.
fn moments(chain_config: &ChainConfig, film: bool) -> Vec<u32> {
    let steps = chain_config.steps;
    let last = if chain_config.form == Form::Annealed { steps.saturating_sub(1) } else { steps };
    let at = |column: u32| (f64::from(last) * f64::from(column) / f64::from(FILM_COLUMNS)).round() as u32;
    let mut moments: Vec<u32> = if film { (0..FILM_COLUMNS).map(at).collect() } else { Vec::new() };
    moments.push(steps);
    moments.dedup();
    moments
}
