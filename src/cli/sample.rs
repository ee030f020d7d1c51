//! `thalweg sample`: Langevin chains from noise, from a replay buffer or from given images, as pictures and numbers.

use super::{
    Summary, check_distinct, check_output, energy_titles, open_model, picture, read_fitting, real, say,
    steps_bar,
};
use std::path::{Path, PathBuf};
use std::time::Instant;
use thalweg::data::{ImageShape, Images, write_npy};
use thalweg::device::ChainPath;
use thalweg::model::replay_images;
use thalweg::picture::plot::{self, MAX_SEQUENCES, Square, thinned};
use thalweg::picture::{film, save_png};
use thalweg::plan::SamplerNumbers;
use thalweg::train::config::SampleForm;
use thalweg::{Config, Device, EnergyModel, Error, Model, Result, Sampler, plane};

/// Options of `thalweg sample`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The model: a checkpoint, or a safetensors file of weights (then --network says of which network)
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The network: the name of its preset (`mnist-small`), a TOML file that describes it, or `analytic:gaussian` and
    /// the like, which needs no --model: double-well, rosenbrock, rastrigin, ackley, five-gaussians, 8-gaussians,
    /// 25-gaussians [default: the one that the checkpoint describes]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    #[command(flatten)]
    weights: super::WeightsOption,
    /// Samples to draw, 1 to 65,536
    #[arg(long, default_value = "16", value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    count: u32,
    /// Langevin steps; 0 shows where the chains start [default: the model's recipe, `mnist-small`: 500]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000_000))]
    steps: Option<u32>,
    /// What a step is: `noise-first`, `noise-last`, or `theory` and `mala` (accepted or rejected, so that the
    /// density is exact), which have a temperature and no --noise [default: the model's recipe, `mnist-small`:
    /// noise-first]
    #[arg(long, value_name = "FORM")]
    form: Option<String>,
    /// What the energy's gradient is multiplied by in a step, in `theory` and `mala` half of it [default: the model's recipe,
    /// `mnist-small`: 20]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(0.0, 1e6))]
    step_size: Option<f64>,
    /// Standard deviation of the Gaussian noise added in a step [default: the model's recipe, `mnist-small`: 0.005]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(0.0, 10.0))]
    noise: Option<f64>,
    /// Temperature T in `theory` and `mala`, whose chains tend to exp(-E/T) [default: the model's recipe, `mnist-small`: 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(1e-12, 1e6))]
    temperature: Option<f64>,
    /// Each element of the energy's gradient is clamped to +- this; 0 = off [default: the model's recipe,
    /// `mnist-small`: 0.03]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(0.0, 1e6))]
    gradient_clip: Option<f64>,
    /// Each value of a sample is clamped to +- this; 0 = off [default: the model's recipe, `mnist-small`: 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(0.0, 1e6))]
    clamp: Option<f64>,
    /// Where chains start: `noise` (the recipe's: uniform or normal), the newest images of the checkpoint's replay
    /// `buffer`, or the first images or points of a file or folder (IDX, .npy, PNG, JPEG, CIFAR-10's .bin, CSV)
    #[arg(long, default_value = "noise", value_name = "noise|buffer|FILE")]
    init: String,
    /// Seed of all random numbers: same seed, same device, same samples
    #[arg(long, default_value = "0", value_name = "N", allow_negative_numbers = true)]
    seed: u64,
    /// Where to compute: `auto` (the first GPU, else the CPU), `cpu`, an adapter's number or a part of its name
    /// (see `thalweg devices`)
    #[arg(long, default_value = "auto", value_name = "auto|cpu|NAME|INDEX")]
    device: String,
    /// How a GPU runs Langevin chains: `fused` (many steps in one dispatch), `fused-workgroup` (with hidden layers in
    /// workgroup memory), by `layers`, or what suits it
    #[arg(long, default_value = "auto", value_name = "auto|fused|fused-workgroup|layers")]
    chain_path: ChainPath,
    /// Picture of all samples, each with its energy under it [default: grid.png; none for more than 10,000 samples]; of
    /// sequences, the first 100 as curves; for points in the plane, the energy landscape with them on it [default:
    /// landscape.png]
    #[arg(long, value_name = "FILE.png")]
    out: Option<PathBuf>,
    /// Picture of the first 8 chains on their way, at steps 0, 1, 3, 5, 10, 30, 50, 100, 300 and the last [default:
    /// none]
    #[arg(long, value_name = "FILE.png")]
    film: Option<PathBuf>,
    /// For points in the plane: picture of the first 8 chains on the energy landscape, step by step, once with each of
    /// --step-sizes [default: none]
    #[arg(long, value_name = "FILE.png")]
    trajectory: Option<PathBuf>,
    /// Step sizes of --trajectory
    #[arg(long, default_value = "0.001,0.01,0.1", value_name = "X,X,...", value_delimiter = ',', requires = "trajectory",
          allow_negative_numbers = true, value_parser = real(0.0, 1e6))]
    step_sizes: Vec<f64>,
    /// The samples as numbers in [-1, 1]: f32, [n, channels, height, width] [default: none]
    #[arg(long, value_name = "FILE.npy")]
    npy: Option<PathBuf>,
}

/// Samples that a grid shows, at most: more make a picture that hardly any program opens.
const MAX_GRID: u32 = 10_000;
/// Points on a landscape.
const MAX_POINTS: usize = 2000;
/// Step sizes of a picture of trajectories.
const MAX_STEP_SIZES: usize = 8;
/// Chains in a film, or in a picture of trajectories.
const MAX_FILM: usize = 8;
/// When a film looks at its chains, besides the last step.
const FILM_STEPS: [u32; 9] = [0, 1, 3, 5, 10, 30, 50, 100, 300];
/// Steps between two looks at how the chains are getting on.
const SEGMENT: u32 = 100;

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<()> {
    let picture_path = check(&arguments)?;
    let count = arguments.count;
    let (path, network) = (arguments.model.as_deref(), arguments.network.as_deref());
    let (model, recipe) = open_model(path, network, &arguments.weights)?;
    let picture_path = check_shape(&arguments, model.network.input, picture_path)?;
    let numbers = numbers(&arguments, recipe)?;
    let steps = numbers.steps;
    let start = start_images(&arguments, &model)?;
    let device = Device::open_with(&arguments.device, arguments.chain_path).await?;
    let mut sampler = Sampler::new(&device, &model, count as usize, &numbers, arguments.seed).await?;
    if let Some(images) = &start {
        sampler.start_from(images)?;
    }

    let began = Instant::now();
    let bar = steps_bar(steps);
    let mut frames = Vec::new();
    for moment in moments(steps, arguments.film.is_some()) {
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
            frames.push((moment as usize, frame));
        }
    }
    let (samples, energies) = (sampler.images().await?, sampler.energies().await?);
    let seconds = began.elapsed().as_secs_f64();
    bar.finish_and_clear();

    let from = &arguments.init;
    say(format_args!(
        "{count} samples after {steps} steps from {from}, seed {}, on {device}",
        arguments.seed
    ));
    let Summary { mean, min, max, .. } = Summary::of(&energies);
    say(format_args!("energy: mean {mean:.6}, min {min:.6}, max {max:.6}"));
    if let Some(acceptance) = sampler.acceptance().await? {
        say(format_args!("{:.1} % of the proposals were accepted.", 100.0 * acceptance));
    }
    let rate = f64::from(count) * f64::from(steps) / seconds;
    say(format_args!("{seconds:.2} s, {rate:.0} image-steps/s"));

    if model.network.input == plane::POINT {
        let mut energy_model = EnergyModel::new(&device, &model).await?;
        if let Some(path) = picture_path {
            let points = plane::points(&samples)?;
            let map = plane::landscape(&mut energy_model, Square::around(points)).await?;
            let name = format!("{steps} steps of {}", numbers.step_size);
            save_png(&path, &plot::landscape(&map, &name, &[], &thinned(points, MAX_POINTS)))?;
            say(format_args!("Wrote {}: the samples on the energy landscape.", path.display()));
        }
        if let Some(path) = &arguments.trajectory {
            let sizes: Vec<f32> = arguments.step_sizes.iter().map(|size| *size as f32).collect();
            let n = MAX_FILM.min(count as usize);
            let start = start.map(|mut images| {
                images.values.truncate(n * images.shape.len());
                images
            });
            let seed = arguments.seed;
            let chains =
                plane::trajectories(&device, &model, n, start.as_ref(), &numbers, &sizes, seed).await?;
            let map = plane::landscape(&mut energy_model, plot::Trajectories::square(&chains)).await?;
            save_png(path, &plot::trajectories(&map, &chains))?;
            say(format_args!("Wrote {}: {n} chains with {} step sizes.", path.display(), sizes.len()));
        }
    } else if let (Some(path), Some(picture)) = (picture_path, picture(&samples, &energies)) {
        save_png(&path, &picture)?;
        let shown = match samples.shape.is_sequence() && samples.count() > MAX_SEQUENCES {
            true => format!("the first {MAX_SEQUENCES}"),
            false => "all".to_owned(),
        };
        say(format_args!("Wrote {}: {shown} samples, and their energies.", path.display()));
    }
    if let Some(path) = &arguments.film {
        let titles = energy_titles(&energies[..energies.len().min(MAX_FILM)]);
        save_png(path, &film(&frames, &titles))?;
        say(format_args!("Wrote {}: {} chains on their way.", path.display(), titles.len()));
    }
    if let Some(path) = &arguments.npy {
        let dims = write_npy(path, &samples)?;
        say(format_args!("Wrote {}: f32, shape {dims:?}.", path.display()));
    }
    Ok(())
}

/// The recipe's numbers for sampling, but for those that options give.
fn numbers(arguments: &Arguments, mut recipe: Config) -> Result<SamplerNumbers> {
    if let Some(form) = &arguments.form {
        recipe.set(&format!("chain.form={form}"))?;
        recipe.sample.form = SampleForm::Chain;
    }
    let (sample, chain) = (&mut recipe.sample, &mut recipe.chain);
    sample.steps = arguments.steps.map_or(sample.steps, |steps| steps as usize);
    for (option, setting) in [
        (arguments.step_size, &mut sample.step_size),
        (arguments.noise, &mut sample.noise),
        (arguments.temperature, &mut sample.temperature),
        (arguments.gradient_clip, &mut chain.gradient_clip),
        (arguments.clamp, &mut chain.clamp),
    ] {
        *setting = option.unwrap_or(*setting);
    }
    recipe.check_annealed()?;
    let given = [
        ("--noise", "sample.noise", arguments.noise.is_some()),
        ("--temperature", "sample.temperature", arguments.temperature.is_some()),
    ];
    for (option, setting, is_given) in given {
        if let Some(problem) = recipe.unused(setting).filter(|_| is_given) {
            return Err(Error::Usage(format!("{option}: {problem}")));
        }
    }
    Ok(recipe.sample_numbers())
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
        Some(path) => Some(path.clone()),
        None => (count <= MAX_GRID).then(|| PathBuf::from("grid.png")),
    };
    let others = [&arguments.film, &arguments.trajectory, &arguments.npy];
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
    check_distinct(&[
        outputs[0],
        outputs[1],
        outputs[2],
        ("--npy", npy),
        ("--model", arguments.model.as_deref()),
    ])?;
    let n_sizes = arguments.step_sizes.len();
    if n_sizes > MAX_STEP_SIZES {
        let text = format!("--step-sizes: {n_sizes} of them; a picture shows {MAX_STEP_SIZES} at most");
        return Err(Error::Usage(text));
    }
    Ok(grid_path)
}

/// Refuses pictures that there are none of for samples of this shape; gives the path of the picture of all samples, if
/// there is to be one.
fn check_shape(arguments: &Arguments, shape: ImageShape, path: Option<PathBuf>) -> Result<Option<PathBuf>> {
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
        return Ok(path.map(|_| PathBuf::from("landscape.png")));
    }
    if arguments.out.is_some() || arguments.npy.is_none() {
        let text =
            format!("there is no picture of samples of {shape}; leave out --out and add --npy FILE.npy");
        return Err(Error::Usage(text));
    }
    Ok(None)
}

/// The images that chains start from; none for noise.
fn start_images(arguments: &Arguments, model: &Model) -> Result<Option<Images>> {
    let (count, input) = (arguments.count as usize, model.network.input);
    Ok(match arguments.init.as_str() {
        "noise" => None,
        "buffer" => match &arguments.model {
            Some(path) => Some(replay_images(path, input, count)?),
            None => {
                return Err(Error::Usage(
                    "--init buffer: an analytic energy has no replay buffer".to_owned(),
                ));
            }
        },
        name => {
            let path = Path::new(name);
            if matches!(path.try_exists(), Ok(false)) {
                let text = "there is no such file or folder; --init takes `noise`, `buffer`, or images or points (IDX, .npy, PNG, CSV)";
                return Err(Error::file(path, text));
            }
            let mut images = read_fitting(path, input)?;
            if images.count() < count {
                let text =
                    format!("holds {} images to start {count} chains from; lower --count", images.count());
                return Err(Error::file(path, text));
            }
            images.values.truncate(count * images.shape.len());
            Some(images)
        }
    })
}

/// The steps after which the chains are looked at, the last one included, ascending.
fn moments(steps: u32, film: bool) -> Vec<u32> {
    let early = FILM_STEPS.into_iter().filter(|step| film && *step < steps);
    early.chain([steps]).collect()
}
