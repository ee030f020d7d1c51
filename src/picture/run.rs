//! The pictures of a training run, and of a model at its end: samples, replay buffer, energy landscape, curves.

use super::plane::{self, POINT};
use super::plot::{Point, Square, curves, histograms, landscape, monitor, sequences, thinned};
use super::{GridOptions, grid, save_png};
use crate::data::Images;
use crate::train::log::MetricsTable;
use crate::train::run::{METRICS, MONITORED, Run};
use crate::{Device, EnergyModel, Model, Recipe, Result, Sampler};
use image::RgbImage;
use std::path::{Path, PathBuf};

/// Replay images in the picture of the buffer.
const BUFFER_IMAGES: usize = 64;
/// Samples in a histogram.
pub const SAMPLES: usize = 5000;
/// The most points of a kind on a landscape.
const ON_MAP: usize = 500;

/// The titles of samples: their energies.
pub fn energy_titles(energies: &[f32]) -> Vec<String> {
    energies.iter().map(|e| format!("E = {e:.4}")).collect()
}

/// Draws samples with their energies: images in a grid, sequences as curves. `None` for points and rows.
pub fn samples(samples: &Images, energies: &[f32]) -> Option<RgbImage> {
    let titles = energy_titles(energies);
    match samples.shape {
        shape if shape.is_image() => Some(grid(samples, &titles, &GridOptions::default())),
        shape if shape.is_sequence() => Some(sequences(samples, &titles)),
        _ => None,
    }
}

/// Draws an epoch of a run: `monitor-NNNN.png` of points in the plane; `samples-NNNN.png` of images and sequences and, if
/// training has chains, `buffer-NNNN.png`. Pictures that are there already are kept.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) for a picture that can't be written; [`Error::Device`](crate::Error::Device).
pub async fn draw_epoch(run: &mut Run, model: &Model, epoch: u64) -> Result<()> {
    let [shown, buffered] = match model.network.input {
        POINT => return draw_monitor(run, model, epoch).await,
        shape if shape.is_image() || shape.is_sequence() => {
            ["samples", "buffer"].map(|name| format!("{name}-{epoch:04}.png"))
        }
        _ => return Ok(()),
    };
    if run.misses(&shown, epoch) {
        let config = run.trainer().config();
        let seed = config.seed.wrapping_add(epoch);
        draw_samples(run.trainer().device(), model, config, seed, &run.folder().join(shown)).await?;
    }
    if !run.has_chains() || !run.misses(&buffered, epoch) {
        return Ok(());
    }
    let buffer = run.trainer().replay_images(BUFFER_IMAGES).await?;
    let energies = run.energies().energies(&buffer).await?;
    let picture = samples(&buffer, &energies).expect("images or sequences");
    save_png(&run.folder().join(buffered), &picture)
}

/// Draws data, samples and landscape.
async fn draw_monitor(run: &mut Run, model: &Model, epoch: u64) -> Result<()> {
    let name = format!("monitor-{epoch:04}.png");
    if !run.misses(&name, epoch) {
        return Ok(());
    }
    let config = run.trainer().config();
    let (chain_config, seed) = (config.sampling_chain(), config.seed.wrapping_add(epoch));
    let samples = plane::samples(run.trainer().device(), model, MONITORED, &chain_config, seed).await?;
    let data = plane::points(run.points())?.to_vec();
    let square = Square::around(if data.is_empty() { &samples } else { &data });
    let map = plane::landscape(run.energies(), square).await?;
    let when = format!("epoch {epoch}, step {}", run.trainer().step());
    let picture = monitor(&map, &when, &thinned(&data, MONITORED), &samples);
    save_png(&run.folder().join(name), &picture)
}

/// Draws the end of a run: `curves.png` and, of points in the plane, `landscape.png` and `histograms.png`.
///
/// # Errors
/// Those of [`draw_epoch`], after all has been tried.
pub async fn draw_end(run: &Run, model: &Model) -> Result<()> {
    let out = run.folder();
    let drawn = MetricsTable::read(out.join(METRICS)).and_then(|table| draw_curves(&table, out));
    if model.network.input == POINT {
        let (trainer, data) = (run.trainer(), plane::points(run.points())?);
        let (config, name) = (trainer.config(), format!("Energy after {} steps", trainer.step()));
        draw_plane(trainer.device(), model, config, data, config.seed, out, &name).await?;
    }
    drawn.map(drop)
}

/// Whether a picture of [`draw_end`] is missing, or older than the checkpoint.
pub fn misses_end(run: &Run) -> bool {
    let is_plane = run.trainer().network().input == POINT;
    let names: &[&str] =
        if is_plane { &["curves.png", "landscape.png", "histograms.png"] } else { &["curves.png"] };
    names.iter().any(|name| !run.is_newer(name))
}

/// Writes `curves.png` to a folder, and returns its path.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub fn draw_curves(table: &MetricsTable, out: &Path) -> Result<PathBuf> {
    let path = out.join("curves.png");
    save_png(&path, &curves(table))?;
    Ok(path)
}

/// Draws as many samples as the recipe says, as it says, to a file. Returns how many of them, or of their energies, are not
/// finite.
///
/// # Errors
/// Those of [`Sampler::new`] and [`save_png`].
///
/// # Panics
/// If the model is neither of images nor of sequences.
pub async fn draw_samples(
    device: &Device,
    model: &Model,
    config: &Recipe,
    seed: u64,
    path: &Path,
) -> Result<usize> {
    let chain_config = config.sampling_chain();
    let mut sampler = Sampler::new(device, model, config.sample.count, &chain_config, seed).await?;
    sampler.run(chain_config.steps)?;
    let (images, energies) = (sampler.images().await?, sampler.energies().await?);
    save_png(path, &samples(&images, &energies).expect("images or sequences"))?;
    let all = images.values.chunks_exact(images.shape.len()).zip(&energies);
    Ok(all.filter(|(image, e)| !(e.is_finite() && image.iter().all(|x| x.is_finite()))).count())
}

/// Writes `landscape.png` and `histograms.png` to a folder. Returns their paths, and how many of [`SAMPLES`] samples, or of
/// their energies, are not finite.
///
/// # Errors
/// Those of [`plane::samples`] and [`save_png`].
pub async fn draw_plane(
    device: &Device,
    model: &Model,
    config: &Recipe,
    data: &[Point],
    seed: u64,
    out: &Path,
    name: &str,
) -> Result<([PathBuf; 2], usize)> {
    let samples = plane::samples(device, model, SAMPLES, &config.sampling_chain(), seed).await?;
    let square = Square::around(if data.is_empty() { &samples } else { data });
    let mut energy_model = EnergyModel::new(device, model).await?;
    let map = plane::landscape(&mut energy_model, square).await?;
    let energies = energy_model.energies(&plane::images(&samples)).await?;
    let paths = ["landscape.png", "histograms.png"].map(|name| out.join(name));
    let picture = landscape(&map, name, &thinned(data, ON_MAP), &thinned(&samples, ON_MAP));
    save_png(&paths[0], &picture)?;
    save_png(&paths[1], &histograms(square, data, &samples))?;
    let is_lost = |(point, e): &(&Point, &f32)| !(e.is_finite() && point.iter().all(|x| x.is_finite()));
    Ok((paths, samples.iter().zip(&energies).filter(is_lost).count()))
}
