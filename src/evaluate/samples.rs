//! Samples against held-out images: in a classifier's features, by the classes that it takes them for, and by how near
//! they come to training images.
//!
//! Beside the samples stand training images, the floor that no model gets below but by chance, and uniform noise, the
//! ceiling.

use super::classifier::{CLASSES, Classified, Classifier, FEATURES, INPUT};
use super::features::{Manifolds, NEIGHBOURS, frechet, kernel_distance};
use super::{Subject, spread, wrapped};
use crate::data::{Examples, Images, Shape};
use crate::random::{Philox, Stream};
use crate::{Result, Sampler};
use nalgebra::DMatrixView;
use rand::Rng;
use rayon::prelude::*;
use serde::Serialize;

/// Langevin steps between two looks at how far chains are.
const SEGMENT: u32 = 100;
/// Images of either side that distances are taken of at a time.
const CHUNK: usize = 1024;

/// Figures of each set of images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Samples {
    /// Langevin steps of each chain.
    pub steps: u32,
    /// Why there are no figures of the classifier, where there are none.
    pub classifier_left_out: Option<String>,
    /// Held-out images first.
    pub sets: Vec<Set>,
}

/// A set of images and its figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Set {
    /// What the images are.
    pub name: String,
    /// How many there are.
    pub count: usize,
    /// How many of them hold a value that is not finite: then distances and classes of the set are NaN.
    pub not_finite: usize,
    /// How far they are from the held-out images; none of these themselves.
    pub distances: Option<Distances>,
    /// What the classifier takes them for.
    pub classes: Option<Classes>,
    /// How near they come to training images; none of these themselves.
    pub nearest: Option<Nearest>,
}

/// How far images are from held-out ones, in the classifier's features ([`Classified::scaled_features`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distances {
    /// [`frechet`].
    pub fid: f64,
    /// [`kernel_distance`].
    pub kid: f64,
    /// How well the sets' manifolds cover each other.
    #[serde(flatten)]
    pub manifolds: Manifolds,
}

/// What the classifier takes images for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Classes {
    /// Mean probability of the likeliest class.
    pub confidence: f64,
    /// Share of the images whose likeliest class is each.
    pub shares: [f64; CLASSES],
    /// Entropy of the shares, in nats: ln 10 = 2.303 if all are equal.
    pub entropy: f64,
    /// The smallest share.
    pub rarest: f64,
}

/// How near images come to training images, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Nearest {
    /// Median Euclidean distance to the nearest training image.
    pub distance: f64,
    /// That, over the same of held-out images: far below 1, training images were learned by heart.
    pub ratio: f64,
}

/// Measures samples from noise, and from `buffer`, images that chains are to go on from. `train` is what the model learned
/// from; `progress` is told the Langevin steps done so far, and how many there will be.
///
/// # Errors
/// [`crate::Error::Usage`] if training images do not fit the network; [`crate::Error::Device`] if the device was lost.
pub async fn measure(
    subject: &Subject<'_>,
    train: &Examples,
    buffer: Option<&Images>,
    mut progress: impl FnMut(u32, u32),
) -> Result<Samples> {
    let (held_out, steps) = (subject.held_out, subject.chain_config.steps);
    let count = held_out.count();
    let all_steps = steps * if buffer.is_some() { 2 } else { 1 };
    let floor = train.pick(spread(train.count(), count)).padded_to(held_out.shape)?;
    let mut sets = vec![("held-out images", held_out.clone()), ("training images", floor)];
    let from_noise = draw(subject, count, None, |done| progress(done, all_steps)).await?;
    sets.push(("samples from noise", from_noise));
    if let Some(buffer) = buffer {
        let on = |done| progress(steps + done, all_steps);
        let subject = Subject { seed: buffer_seed(subject.seed), ..*subject };
        sets.push(("samples from buffer", draw(&subject, buffer.count(), Some(buffer), on).await?));
    }
    sets.push(("uniform noise", super::outliers::noise(held_out, subject.seed)));

    let shape = held_out.shape;
    let left_out = refusal(shape);
    let (mut classified, mut features) = (Vec::new(), Vec::new());
    if left_out.is_none() {
        let mut classifier = Classifier::new(subject.device).await?;
        for (_, images) in &sets {
            let looks = classifier.classify(images).await?;
            features.push(looks.scaled_features());
            classified.push(looks);
        }
    }
    let mut figures: Vec<Set> = Vec::new();
    for (i, (name, images)) in sets.iter().enumerate() {
        let (is_held_out, is_training) = (i == 0, i == 1);
        let pair = features.first().zip(features.get(i)).filter(|_| !is_held_out);
        let nearest = if is_training {
            None
        } else {
            let distance = median(nearest(images, train)?.into_iter().map(f64::from).collect());
            let of_held_out = figures.first().and_then(|set| set.nearest).map_or(distance, |n| n.distance);
            Some(Nearest { distance, ratio: distance / of_held_out })
        };
        figures.push(Set {
            name: (*name).to_owned(),
            count: images.count(),
            not_finite: not_finite(images),
            distances: pair.map(|(held_out, own)| Distances::of(held_out, own)),
            classes: classified.get(i).map(Classes::of),
            nearest,
        });
    }
    Ok(Samples { steps, classifier_left_out: left_out, sets: figures })
}

/// The seed of chains from the buffer: with that of chains from noise, image for image the same random numbers would move
/// both.
pub fn buffer_seed(seed: u64) -> u64 {
    Philox::new(seed, Stream::BufferChains).next_u64()
}

fn not_finite(images: &Images) -> usize {
    images.values.chunks(images.shape.len()).filter(|image| image.iter().any(|x| !x.is_finite())).count()
}

/// Why the classifier can't look at images of a shape, if so.
fn refusal(shape: Shape) -> Option<String> {
    let none = Images { shape, values: Vec::new() };
    none.padded_to(INPUT).err().map(|_| {
        format!(
            "the classifier takes grey images of up to {}x{}, these are {shape}",
            INPUT.height, INPUT.width
        )
    })
}

/// Samples: chains from noise or from given images, as many steps as the recipe says.
async fn draw(
    subject: &Subject<'_>,
    count: usize,
    start: Option<&Images>,
    mut progress: impl FnMut(u32),
) -> Result<Images> {
    let Subject { device, model, chain_config, seed, .. } = *subject;
    let mut sampler = Sampler::new(device, model, count, chain_config, seed).await?;
    if let Some(images) = start {
        sampler.start_from(images)?;
    }
    while sampler.steps() < chain_config.steps {
        sampler.run(SEGMENT.min(chain_config.steps - sampler.steps()))?;
        // Reading something keeps the device from being sent more than it can do in a while.
        sampler.energies().await?;
        progress(sampler.steps());
    }
    sampler.images().await
}

impl Distances {
    fn of(held_out: &[f32], features: &[f32]) -> Self {
        Self {
            fid: frechet(held_out, features, FEATURES),
            kid: kernel_distance(held_out, features, FEATURES),
            manifolds: Manifolds::of(held_out, features, FEATURES, NEIGHBOURS),
        }
    }
}

/// [`frechet`] distances to held-out images, of further images that the classifier can look at.
#[derive(Debug)]
pub struct Fid {
    classifier: Option<(Classifier, Vec<f32>)>, // and the held-out images' features
}

impl Fid {
    /// Looks at `count` held-out images, or at all if there are fewer.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device can't hold the classifier.
    pub async fn new(subject: &Subject<'_>, count: usize) -> Result<Self> {
        let held_out = subject.held_out;
        if refusal(held_out.shape).is_some() {
            return Ok(Self { classifier: None });
        }
        let mut classifier = Classifier::new(subject.device).await?;
        let classified = classifier.classify(&held_out.pick(spread(held_out.count(), count))).await?;
        Ok(Self { classifier: Some((classifier, classified.scaled_features())) })
    }

    /// The distance; `None` where the classifier does not take the held-out images.
    ///
    /// # Errors
    /// Those of [`Classifier::classify`].
    pub async fn of(&mut self, images: &Images) -> Result<Option<f64>> {
        let Some((classifier, held_out)) = &mut self.classifier else { return Ok(None) };
        let features = classifier.classify(images).await?.scaled_features();
        Ok(Some(frechet(held_out, &features, FEATURES)))
    }
}

impl Classes {
    /// Counts and averages; all NaN where an image's logits are not finite.
    pub fn of(classified: &Classified) -> Self {
        let (mut confidence, mut counts, mut n) = (0.0, [0.0; CLASSES], 0.0);
        for probabilities in classified.probabilities() {
            let ranked = probabilities.into_iter().enumerate();
            let (class, p) = ranked.fold((0, 0.0), |best, next| if next.1 > best.1 { next } else { best });
            // Where all are NaN, none was the likeliest.
            confidence += if p > 0.0 { p } else { f64::NAN };
            counts[class] += 1.0;
            n += 1.0;
        }
        if !f64::is_finite(confidence / n) {
            let nan = f64::NAN;
            return Self { confidence: nan, shares: [nan; CLASSES], entropy: nan, rarest: nan };
        }
        let shares = counts.map(|count: f64| count / n);
        let entropy =
            shares.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).fold(0.0, |sum, term| sum + term);
        Self { confidence: confidence / n, shares, entropy, rarest: shares.into_iter().fold(1.0, f64::min) }
    }
}

/// The Euclidean distance of each image to the nearest of `train`, which is padded to the images' shape.
///
/// # Errors
/// [`crate::Error::Usage`] if it can't be.
pub fn nearest(images: &Images, train: &Examples) -> Result<Vec<f32>> {
    let len = images.shape.len();
    let firsts: Vec<usize> = (0..train.count()).step_by(CHUNK).collect();
    let parts: Result<Vec<Vec<f32>>> = firsts
        .into_par_iter()
        .map(|first| {
            let others = train.pick(first..train.count().min(first + CHUNK)).padded_to(images.shape)?;
            Ok(images.values.chunks(CHUNK * len).flat_map(|few| nearest_squares(few, &others)).collect())
        })
        .collect();
    let mut squares = vec![f32::INFINITY; images.count()];
    for part in parts? {
        for (least, new) in squares.iter_mut().zip(part) {
            if new < *least || new.is_nan() {
                *least = new;
            }
        }
    }
    Ok(squares.into_iter().map(f32::sqrt).collect())
}

/// The squared distance of each image to the nearest of `others`. Which is nearest is told by `|b|^2 - 2 a . b`, as a
/// product of matrices takes a tenth of the time; how near it is, is reckoned from the difference, which loses nothing.
fn nearest_squares(images: &[f32], others: &Images) -> Vec<f32> {
    let len = others.shape.len();
    let (images, others) = (
        DMatrixView::from_slice(images, len, images.len() / len),
        DMatrixView::from_slice(&others.values, len, others.count()),
    );
    let products = others.transpose() * images; // [other, image]
    let squares: Vec<f32> = others.column_iter().map(|other| other.norm_squared()).collect();
    let nearest_square = |(ix, products): (usize, &[f32])| {
        let farness = products.iter().zip(&squares).map(|(product, square)| square - 2.0 * product);
        let (nearest, _) = farness
            .enumerate()
            .fold((0, f32::INFINITY), |best, next| if next.1 < best.1 { next } else { best });
        (images.column(ix) - others.column(nearest)).norm_squared()
    };
    products.as_slice().chunks_exact(squares.len()).enumerate().map(nearest_square).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    if n == 0 { f64::NAN } else { f64::midpoint(values[(n - 1) / 2], values[n / 2]) }
}

impl std::fmt::Display for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cell = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        write!(
            f,
            "{:24}{:>7}{:>10}{:>10}{:>8}{:>8}",
            format!("{} Langevin steps", self.steps),
            "images",
            "FID",
            "KID",
            "prec.",
            "recall",
        )?;
        for Set { name, count, distances: d, .. } in &self.sets {
            write!(
                f,
                "\n{name:24}{count:>7}{:>10}{:>10}{:>8}{:>8}",
                cell(d.map(|d| d.fid), 3),
                cell(d.map(|d| d.kid), 4),
                cell(d.map(|d| d.manifolds.precision), 3),
                cell(d.map(|d| d.manifolds.recall), 3),
            )?;
        }
        write!(f, "\n\n{:24}{:>7}{:>10}{:>10}{:>8}", "", "conf.", "entropy", "rarest", "nearest")?;
        for Set { name, classes: c, nearest, .. } in &self.sets {
            write!(
                f,
                "\n{name:24}{:>7}{:>10}{:>10}{:>8}",
                cell(c.map(|c| c.confidence), 3),
                cell(c.map(|c| c.entropy), 3),
                cell(c.map(|c| c.rarest), 3),
                cell(nearest.map(|n| n.ratio), 3),
            )?;
        }
        for Set { name, count, not_finite, .. } in self.sets.iter().filter(|set| set.not_finite > 0) {
            let why = format!(
                "{not_finite} of {count} {name} hold numbers that are not finite: no figure of them is a number."
            );
            write!(f, "\n{}", wrapped(&why))?;
        }
        let fewest = self.sets.iter().map(|set| set.count).min().unwrap_or(0);
        if let Some(why) = &self.classifier_left_out {
            write!(f, "\n{}", wrapped(&format!("FID to rarest are left out: {why}.")))?;
        } else if fewest <= NEIGHBOURS {
            let why = format!(
                "FID and KID need at least 2 images of each set, prec. and recall {}; there are {fewest}, so that some are \
                 NaN: hold out more, or raise the count.",
                NEIGHBOURS + 1
            );
            write!(f, "\n{}", wrapped(&why))?;
        } else if fewest <= FEATURES {
            let why = format!(
                "{fewest} images are few: FID is of {FEATURES} features and takes more than that to mean much."
            );
            write!(f, "\n{}", wrapped(&why))?;
        }
        Ok(())
    }
}
