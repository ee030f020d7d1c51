//! `thalweg energy`: energies of given images, and their gradients.

use super::given::{is_built_in, read_input};
use super::options::{DeviceOption, ModelOptions};
use super::paths::OutputFile;
use super::{Summary, check_output, ends, print_line};
use std::path::{Path, PathBuf};
use std::time::Instant;
use thalweg::data::{npy, picture_files, write_npy};
use thalweg::files::write_atomically;
use thalweg::{EnergyModel, Error, Images, Result};

/// Options of `thalweg energy`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// The images: IDX, .npy or .npz (floats, or integers from 0 to 255; [n, channels, height, width], [n, height, width] or
    /// channels last; FILE.npz:NAME chooses an array), PNG, a folder of PNG files, or a folder of IDX files under MNIST's
    /// names; points and sequences: a table (CSV), .npy or .npz ([n, d] or [n, time, d]); or the name of a built-in set,
    /// `digits` or a toy set as for `train --data`, of which the held-out part is taken. Files may be gzipped. Smaller
    /// images than the network's input are padded with black
    #[arg(long, value_name = "FILE|DIR|NAME")]
    input: String,
    #[command(flatten)]
    range: super::options::RangeOption,
    /// Where the energies go: .npy (f32, [n]) or .csv (`index,energy`, and `file` for a folder of PNG files) [default:
    /// none, only their statistics are printed]
    #[arg(long, value_name = "FILE.npy|FILE.csv")]
    out: Option<OutputFile>,
    /// Where the gradient of the energy by each image's values goes: f32, [n, channels, height, width] [default: none]
    #[arg(long, value_name = "FILE.npy")]
    gradient: Option<OutputFile>,
    #[command(flatten)]
    device: DeviceOption,
}

/// Energies that are printed.
const SHOWN: usize = 8;

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let (out, gradient) = (arguments.out.as_deref(), arguments.gradient.as_deref());
    out.map_or(Ok(()), |path| check_output("--out", path, &["npy", "csv"]))?;
    gradient.map_or(Ok(()), |path| check_output("--gradient", path, &["npy"]))?;
    let path = arguments.model.path()?;
    let (model, recipe) = arguments.model.open(path.as_deref())?;
    let reading = arguments.range.reading(model.network.input, &recipe);
    let (images, what) = read_input("--input", &arguments.input, model.network.input, &reading)?;
    let device = arguments.device.open().await?;
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

    let count = energies.len();
    let kind = if images.shape.is_single_row() { "points" } else { "images" };
    print_line(format_args!("{count} {kind} of {} from {what}, on {device}, {seconds:.2} s", images.shape));
    let Summary { mean, std, min, max } = Summary::of(&energies);
    print_line(format_args!(
        "energy (low = likely): mean {mean:.6}, std {std:.6}, min {min:.6}, max {max:.6}"
    ));
    let first: Vec<_> = energies.iter().take(SHOWN).map(|e| format!("{e:.6}")).collect();
    let more = if count > SHOWN { " ..." } else { "" };
    print_line(format_args!("first: {}{more}", first.join(" ")));

    if let Some(path) = out {
        let files = match is_built_in(&arguments.input) {
            true => Vec::new(),
            false => picture_files(&arguments.input)?,
        };
        let in_folder = |file: &PathBuf| file.strip_prefix(&arguments.input).unwrap_or(file).to_owned();
        write_energies(path, &energies, &files.iter().map(in_folder).collect::<Vec<_>>())?;
        print_line(format_args!("Wrote {}: {count} energies.", path.display()));
    }
    if let (Some(path), Some(gradients)) = (gradient, &gradients) {
        let dims = write_npy(path, gradients)?;
        print_line(format_args!("Wrote {}: dE/dx, f32, shape {dims:?}.", path.display()));
    }
    check_finite(&images, &energies, gradients.as_ref())
}

/// Warns of energies and gradients that are not finite, and fails where many are not.
fn check_finite(images: &Images, energies: &[f32], gradients: Option<&Images>) -> Result<()> {
    let count = energies.len();
    let of_energies = energies.iter().filter(|e| !e.is_finite()).count();
    let is_lost = |gradient: &&[f32]| gradient.iter().any(|g| !g.is_finite());
    let of_gradients = gradients.map_or(0, |g| g.values.chunks_exact(g.shape.len()).filter(is_lost).count());
    for (what, lost) in [("energies", of_energies), ("gradients", of_gradients)] {
        if lost == 0 {
            continue;
        }
        let largest = images.values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let text = format!(
            "{lost} of {count} {what} are not finite numbers (the statistics leave them out), though the inputs are: of up to \
             {largest:e} in magnitude. Scale the inputs as what the model learned from; if they are, the model has diverged: take \
             an earlier checkpoint"
        );
        if ends::are_many(lost, count) {
            return Err(Error::Diverged(text));
        }
        ends::warn(&text);
    }
    Ok(())
}

/// Writes energies as `.npy` (f32, `[n]`) or, where the name ends so, as CSV.
pub(crate) fn write_energies(path: &Path, energies: &[f32], files: &[PathBuf]) -> Result<()> {
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) {
        write_csv(path, energies, files)
    } else {
        npy::write_f32(path, &[energies.len()], energies)
    }
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
