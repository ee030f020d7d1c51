//! Measures what a model of noise levels makes of digits that it never saw: of their left halves, and of noisy ones.
//!
//! ```sh
//! cargo run --release --example posterior -- run/checkpoint.safetensors [COUNT] [LABELS]
//! ```
//!
//! Halves: how often the classifier that ships with the program finds the right class in what was completed, and in the halves
//! alone. Noise: the squared error of each pixel, for values from -1 to 1. COUNT digits are taken, 200 if it is not given. LABELS
//! is MNIST's `train-labels-idx1-ubyte`; without it the class is what the classifier says of the whole digit.

use thalweg::checkpoint::Weights;
use thalweg::data::{Images, idx};
use thalweg::evaluate::classifier::Classifier;
use thalweg::random::{Philox, Stream};
use thalweg::sampling::{denoised, denoising_chain, mean_and_deviation};
use thalweg::{Dataset, Device, EnergyModel, Error, Model, Recipe, Result, Sampler};

/// Draws of each image.
const DRAWS: usize = 8;
/// Where the held-out digits begin among MNIST's training digits.
const FIRST: usize = 9000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || Error::Usage("usage: posterior MODEL [COUNT] [LABELS]".to_owned());
    let [model, rest @ ..] = arguments.as_slice() else { return Err(usage()) };
    let count = rest.first().map_or(Ok(200), |count| count.parse()).map_err(|_| usage())?;
    let (model, recipe) = Model::load_with_recipe(model, None, Weights::Average)?;
    let digits = Dataset::open("digits")?.held_out.pick(0..count);
    let labels = rest.get(1).map(idx::read_labels).transpose()?;
    pollster::block_on(async {
        let device = Device::open("auto").await?;
        println!("{count} held-out digits, {DRAWS} draws of each, on {device}");
        let labels = match labels.as_deref().and_then(|labels| labels.get(FIRST..FIRST + count)) {
            Some(labels) => labels.iter().map(|label| usize::from(*label)).collect(),
            None => classes(&mut Classifier::new(&device).await?, &digits, 1).await?,
        };
        halves(&device, &model, &recipe, &digits, &labels).await?;
        noise(&device, &model, &recipe, &digits).await
    })
}

/// The likeliest class of each image, or of each `n` in turn, by the mean of their probabilities.
async fn classes(classifier: &mut Classifier, images: &Images, n: usize) -> Result<Vec<usize>> {
    let probabilities: Vec<_> = classifier.classify(images).await?.probabilities().collect();
    let likeliest = |of: &[[f64; 10]]| {
        let sum = |class: usize| of.iter().map(|p| p[class]).sum::<f64>();
        (0..10).max_by(|a, b| sum(*a).total_cmp(&sum(*b))).unwrap_or(0)
    };
    Ok(probabilities.chunks(n).map(likeliest).collect())
}

async fn halves(
    device: &Device,
    model: &Model,
    recipe: &Recipe,
    digits: &Images,
    labels: &[usize],
) -> Result<()> {
    let (config, width) = (recipe.sampling_chain(), digits.shape.width);
    let mask: Vec<bool> = (0..digits.shape.len()).map(|i| i % width < width / 2).collect();
    let mut sampler = Sampler::inpainting(device, model, (digits, &mask), DRAWS, &config, 1).await?;
    while sampler.steps() < config.steps {
        sampler.run(10.min(config.steps - sampler.steps()))?;
        sampler.energies().await?; // not too much of a queue
    }
    let draws = sampler.images().await?;
    let mut alone = digits.clone();
    alone
        .values
        .iter_mut()
        .zip(mask.iter().cycle())
        .for_each(|(v, known)| *v = if *known { *v } else { -1.0 });
    let mut classifier = Classifier::new(device).await?;
    println!("share of the classes that are right:");
    for (name, images, n, each) in [
        ("whole digits", digits, 1, 1),
        ("left halves, right ones black", &alone, 1, 1),
        ("left halves completed, a draw", &draws, 1, DRAWS),
        ("all draws of a digit together", &draws, DRAWS, 1),
    ] {
        let found = classes(&mut classifier, images, n).await?;
        let right = found.iter().enumerate().filter(|(i, class)| **class == labels[i / each]).count();
        println!("  {name:<30} {:.3}", right as f64 / found.len() as f64);
    }
    Ok(())
}

async fn noise(device: &Device, model: &Model, recipe: &Recipe, digits: &Images) -> Result<()> {
    let error = |images: &Images| {
        let squares = images.values.iter().zip(&digits.values).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>() / digits.values.len() as f64
    };
    let mut energies = EnergyModel::new(device, model).await?;
    println!(
        "squared error of a pixel:\n  noise    noisy  median 3  median 5  one step   a draw  mean of draws"
    );
    for level in [0.25_f32, 0.5, 1.0, 2.0] {
        let mut rng = Philox::new(1, Stream::DataNoise);
        let noisy = digits.values.iter().map(|v| v + level * normal(&mut rng)).collect();
        let noisy = Images { shape: digits.shape, values: noisy };
        let config = denoising_chain(&recipe.sampling_chain(), level, None)?;
        let mut sampler = Sampler::denoising(device, model, &noisy, DRAWS, &config, 1).await?;
        let start = sampler.images().await?.pick((0..digits.count()).map(|i| i * DRAWS));
        let one_step = denoised(&mut energies, start, &config, level).await?;
        while sampler.steps() < config.steps {
            sampler.run(10.min(config.steps - sampler.steps()))?;
            sampler.energies().await?;
        }
        let draws = sampler.images().await?;
        let first = draws.pick((0..digits.count()).map(|i| i * DRAWS));
        let [mean, _] = mean_and_deviation(&draws, DRAWS);
        let [small, large] = [1, 2].map(|reach| error(&median(&noisy, reach)));
        println!(
            "  {level:<5} {:>8.4} {small:>9.4} {large:>9.4} {:>9.4} {:>8.4} {:>14.4}",
            error(&noisy),
            error(&one_step),
            error(&first),
            error(&mean)
        );
    }
    Ok(())
}

/// A standard normal number.
fn normal(rng: &mut Philox) -> f32 {
    use rand::RngExt;
    let [u, v]: [f64; 2] = [rng.random(), rng.random()];
    ((-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

/// The median over the pixels up to `reach` away in each direction; beyond the edge there is black.
fn median(images: &Images, reach: isize) -> Images {
    let (height, width) = (images.shape.height as isize, images.shape.width as isize);
    let mut values = Vec::with_capacity(images.values.len());
    for image in images.values.chunks((height * width) as usize) {
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
            let near = (row - reach..=row + reach)
                .flat_map(|y| (column - reach..=column + reach).map(move |x| (y, x)))
                .map(|(y, x)| match (0..height).contains(&y) && (0..width).contains(&x) {
                    true => image[(y * width + x) as usize],
                    false => -1.0,
                });
            let mut near: Vec<f32> = near.collect();
            near.sort_by(f32::total_cmp);
            values.push(near[near.len() / 2]);
        }
    }
    Images { shape: images.shape, values }
}
