//! `thalweg energy`: energies of given images, and their gradients.

use super::{Summary, check_distinct, check_output, open_model, read_fitting, say};
use std::path::{Path, PathBuf};
use std::time::Instant;
use thalweg::data::{npy, picture_files, write_npy};
use thalweg::files::write_atomically;
use thalweg::{Device, EnergyModel, Result};

/// Options of `thalweg energy`.
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
    /// The images: IDX, .npy or .npz (floats, or integers from 0 to 255; [n, channels, height, width], [n, height, width] or
    /// channels last; FILE.npz:NAME chooses an array), PNG, a folder of PNG files, or a folder of IDX files under MNIST's
    /// names. Smaller ones than the network's input are padded with black. Or points and sequences: a table (CSV), .npy or
    /// .npz ([n, d] or [n, time, d]). All may be gzipped
    #[arg(long, value_name = "FILE|DIR")]
    input: PathBuf,
    #[command(flatten)]
    range: super::RangeOption,
    /// Where the energies go: .npy (f32, [n]) or .csv (`index,energy`, and `file` for a folder of PNG files) [default:
    /// none, only their statistics are printed]
    #[arg(long, value_name = "FILE.npy|FILE.csv")]
    out: Option<PathBuf>,
    /// Where the gradient of the energy by each image's values goes: f32, [n, channels, height, width] [default: none]
    #[arg(long, value_name = "FILE.npy")]
    gradient: Option<PathBuf>,
    /// Where to compute: `auto` (the first GPU, else the CPU), `cpu`, an adapter's number or a part of its name
    /// (see `thalweg devices`)
    #[arg(long, default_value = "auto", value_name = "auto|cpu|NAME|INDEX")]
    device: String,
}

/// Energies that are printed.
const SHOWN: usize = 8;

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<()> {
    let (out, gradient) = (arguments.out.as_deref(), arguments.gradient.as_deref());
    out.map_or(Ok(()), |path| check_output("--out", path, &["npy", "csv"]))?;
    gradient.map_or(Ok(()), |path| check_output("--gradient", path, &["npy"]))?;
    check_distinct(&[
        ("--model", arguments.model.as_deref()),
        ("--input", Some(&arguments.input)),
        ("--out", out),
        ("--gradient", gradient),
    ])?;
    let (path, network) = (arguments.model.as_deref(), arguments.network.as_deref());
    let (model, recipe) = open_model(path, network, &arguments.weights)?;
    let reading = arguments.range.reading(model.network.input, &recipe);
    let images = read_fitting(&arguments.input, model.network.input, &reading)?;
    let device = Device::open(&arguments.device).await?;
    let mut energy_model = EnergyModel::new(&device, &model).await?;
    let began = Instant::now();
    let (energies, gradients) = match gradient {
        Some(_) => {
            let (energies, gradients) = energy_model.energies_and_gradients(&images).await?;
            (energies, Some(gradients))
        }
        None => (energy_model.energies(&images).await?, None),
    };
    let seconds = began.elapsed().as_secs_f64();

    let (count, input) = (energies.len(), arguments.input.display());
    say(format_args!("{count} images of {} from {input}, on {device}, {seconds:.2} s", images.shape));
    let Summary { mean, std, min, max } = Summary::of(&energies);
    say(format_args!("energy (low = likely): mean {mean:.6}, std {std:.6}, min {min:.6}, max {max:.6}"));
    let first: Vec<_> = energies.iter().take(SHOWN).map(|e| format!("{e:.6}")).collect();
    let more = if count > SHOWN { " ..." } else { "" };
    say(format_args!("first: {}{more}", first.join(" ")));

    if let Some(path) = out {
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) {
            let files = picture_files(&arguments.input)?;
            let in_folder = |file: &PathBuf| file.strip_prefix(&arguments.input).unwrap_or(file).to_owned();
            write_csv(path, &energies, &files.iter().map(in_folder).collect::<Vec<_>>())?;
        } else {
            npy::write_f32(path, &[count], &energies)?;
        }
        say(format_args!("Wrote {}: {count} energies.", path.display()));
    }
    if let (Some(path), Some(gradients)) = (gradient, gradients) {
        let dims = write_npy(path, &gradients)?;
        say(format_args!("Wrote {}: dE/dx, f32, shape {dims:?}.", path.display()));
    }
    Ok(())
}

/// One row an image; floats such that reading them gives the same bits. `files` is empty or has one for each image.
fn write_csv(path: &Path, energies: &[f32], files: &[PathBuf]) -> Result<()> {
    write_atomically(path, |file| {
        writeln!(file, "index,energy{}", if files.is_empty() { "" } else { ",file" })?;
        for (ix, energy) in energies.iter().enumerate() {
            write!(file, "{ix},{}", if energy.is_nan() { "nan".to_owned() } else { energy.to_string() })?;
            if let Some(name) = files.get(ix) {
                let name = name.to_string_lossy();
                let plain = !name.contains([',', '"', '\n', '\r']);
                let cell =
                    if plain { name.into_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) };
                write!(file, ",{cell}")?;
            }
            writeln!(file)?;
        }
        Ok(())
    })
}
