//! Trains an energy on the thickest of the digits that ship inside and one on the most slanted, and samples their sum: thick and
//! slanted digits; and their difference: thick ones that are not slanted.
//!
//! ```sh
//! cargo run --release --example compose -- FOLDER PICTURE.png [STEPS [COUNT]]
//! ```
//!
//! Models that are in FOLDER already are taken. The program does the same with
//! `thalweg sample --model FOLDER/thick/checkpoint.safetensors --model FOLDER/slanted/checkpoint.safetensors`.

use std::path::Path;
use thalweg::data::{Examples, Images};
use thalweg::picture::{film, save_png};
use thalweg::train::run::CHECKPOINT;
use thalweg::{Composition, Dataset, Device, Error, Model, Recipe, Result, Run, Sampler, Trainer};

/// How the picture shows samples of each energy.
const ROWS: usize = 6;
const COLUMNS: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage =
        || Error::Usage("usage: compose FOLDER PICTURE.png [STEPS [COUNT]], COUNT 18 or more".to_owned());
    let [folder, picture, rest @ ..] = arguments.as_slice() else { return Err(usage()) };
    let number =
        |i: usize, default| rest.get(i).map_or(Ok(default), |text| text.parse()).map_err(|_| usage());
    let (steps, count) = (number(0, 3000)?, number(1, 128)? as usize);
    if count < ROWS * COLUMNS {
        return Err(usage());
    }
    pollster::block_on(compose(Path::new(folder), Path::new(picture), steps, count))
}

async fn compose(folder: &Path, picture: &Path, steps: u64, count: usize) -> Result<()> {
    let device = Device::open("auto").await?;
    let digits = Dataset::open("digits")?;
    let mut recipe = Recipe::preset("digits")?;
    recipe.set("objective=denoising-score-matching")?;
    recipe.train.steps = steps;
    let thick = model(&device, &recipe, &digits, &folder.join("thick"), ink).await?;
    let slanted = model(&device, &recipe, &digits, &folder.join("slanted"), slant).await?;

    let config = recipe.sampling_chain();
    let mut columns = Vec::new();
    let mut show = |name: &str, images: Images| {
        let mean = |of: fn(&[f32]) -> f64| {
            images.values.chunks(images.shape.len()).map(of).sum::<f64>() / images.count() as f64
        };
        println!("{name:<18} ink {:>6.1}, slant {:>6.3}", mean(ink), mean(slant));
        for column in 0..COLUMNS {
            let title = if column == 0 { name } else { "" };
            columns.push((title.to_owned(), images.pick(column * ROWS..(column + 1) * ROWS)));
        }
    };
    show("all digits", digits.held_out.pick(0..count));
    for (name, weights) in [
        ("thick", [1.0, 0.0]),
        ("slanted", [0.0, 1.0]),
        ("thick and slanted", [1.0, 1.0]),
        ("thick, not slanted", [1.5, -0.5]),
    ] {
        let terms =
            [(&thick, weights[0]), (&slanted, weights[1])].into_iter().filter(|(_, weight)| *weight != 0.0);
        let energy = Composition::new(terms.map(|(model, weight)| (model.clone(), weight)).collect())?;
        let mut sampler = Sampler::new(&device, &energy, count, &config, 0).await?;
        while sampler.steps() < config.steps {
            sampler.run(10.min(config.steps - sampler.steps()))?;
            sampler.energies().await?; // not too much of a queue
        }
        show(name, sampler.images().await?);
    }
    save_png(picture, &film(&columns, &[]))?;
    println!("Wrote {}.", picture.display());
    Ok(())
}

/// The model in a folder, or one that learns the three tenths of the digits that have most of something.
async fn model(
    device: &Device,
    recipe: &Recipe,
    digits: &Dataset,
    folder: &Path,
    of: fn(&[f32]) -> f64,
) -> Result<Model> {
    let checkpoint = folder.join(CHECKPOINT);
    if checkpoint.exists() {
        return Model::load(checkpoint, None);
    }
    let images = digits.train.to_images();
    let mut order: Vec<(f64, usize)> = (0..images.count()).map(|i| (of(images.image(i)), i)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let most = images.pick(order[..3 * order.len() / 10].iter().map(|(_, i)| *i));
    let dataset = Dataset { train: Examples::Floats(most), ..digits.clone() };
    let mut run = Run::begin(Trainer::new(device, recipe, &dataset).await?, &dataset, folder).await?;
    run.finish(&mut ()).await?;
    run.trainer().model().await
}

/// How much is drawn: the sum of all pixels, black 0 and white 1.
fn ink(digit: &[f32]) -> f64 {
    digit.iter().map(|v| brightness(*v)).sum()
}

/// How far strokes lean to the right: columns for each row upward, by the moments of brightness.
fn slant(digit: &[f32]) -> f64 {
    let side = digit.len().isqrt();
    let sum = |f: &dyn Fn(f64, f64) -> f64| {
        let pixels = digit.iter().enumerate();
        pixels.map(|(i, v)| brightness(*v) * f((i % side) as f64, (i / side) as f64)).sum::<f64>()
    };
    let all = sum(&|_, _| 1.0).max(1e-9);
    let (x0, y0) = (sum(&|x, _| x) / all, sum(&|_, y| y) / all);
    -sum(&|x, y| (x - x0) * (y - y0)) / sum(&|_, y| (y - y0).powi(2)).max(1e-9)
}

fn brightness(v: f32) -> f64 {
    f64::from(v.clamp(-1.0, 1.0) + 1.0) / 2.0
}
