//! A small classifier of digits that ships with the program: what samples look like to something other than the model
//! that drew them.
//!
//! Three convolutions of stride 2 (16, 32, 64 channels), a dense layer of 64 features and one of 10 classes, all but the
//! last with swish, on images of 32x32 in [-1, 1]. It learned from the last 50,000 training images of MNIST
//! (`assets/make_classifier.py`), none of which the program ships as `digits`; `assets/README.md` says how well.

use crate::Result;
use crate::checkpoint::take_parameters;
use crate::checkpoint::{Tensors, read_tensors};
use crate::data::{Images, Shape};
use crate::device::{Device, Executor};
use crate::network::{Activation, Network};
use crate::plan::{FeaturesPlan, features_plan};
use std::path::Path;

static WEIGHTS: &[u8] = include_bytes!("../../assets/classifier.safetensors");

/// The images it takes; smaller ones are padded.
pub const INPUT: Shape = Shape { channels: 1, height: 32, width: 32 };
/// Features of an image: what the layer before the classes puts out.
pub const FEATURES: usize = 64;
/// Classes: the digits.
pub const CLASSES: usize = 10;

/// Images that are looked at at a time.
const BATCH: usize = 256;
/// The layer that the features are of.
const FEATURES_LAYER: usize = 3;
const LOGITS_LAYER: usize = 4;

/// The classifier on a device.
#[derive(Debug)]
pub struct Classifier {
    executor: Executor,
    plan: FeaturesPlan,
    at_once: usize,
}

/// What the classifier makes of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Classified {
    /// `[image][FEATURES]`.
    pub features: Vec<f32>,
    /// `[image][CLASSES]`: the probabilities' logarithms, but for a constant of each image.
    pub logits: Vec<f32>,
}

impl Classifier {
    /// Puts it on a device.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device can't hold it.
    pub async fn new(device: &Device) -> Result<Self> {
        let Shape { channels, height, width } = INPUT;
        let network = [16, 32, 64]
            .into_iter()
            .fold(Network::builder("classifier", [channels, height, width]), |network, channels| {
                network.conv(channels, 3).stride(2).padding(1).activation(Activation::Swish)
            })
            .dense(FEATURES)
            .activation(Activation::Swish)
            .dense(CLASSES)
            .build_with_outputs()?;
        let path = Path::new("classifier.safetensors");
        let (_, tensors) = read_tensors(WEIGHTS, WEIGHTS.len() as u64, path)?;
        let parameters = take_parameters(&network, &mut Tensors::new(path, tensors), "")?;
        let target = device.target(BATCH);
        let make = |at_once| features_plan(&network, at_once, target);
        let (mut executor, plan, at_once) =
            Executor::in_shares(device, (BATCH, target.lanes), make, |plan| &plan.plan).await?;
        executor.write_floats(plan.pass.parameters, &parameters);
        executor.run(plan.start)?;
        Ok(Self { executor, plan, at_once })
    }

    /// Looks at images, which are padded to [`INPUT`].
    ///
    /// # Errors
    /// [`crate::Error::Usage`] if they have other channels or are larger; [`crate::Error::Device`] if the device was lost.
    pub async fn classify(&mut self, images: &Images) -> Result<Classified> {
        let images = images.padded_to(INPUT)?;
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        for batch in images.values.chunks(self.at_once * INPUT.len()) {
            let n = batch.len() / INPUT.len();
            let blocks = self.executor.plan().to_blocks(batch, INPUT.channels, INPUT.height * INPUT.width);
            self.executor.write_floats(self.plan.pass.x, &blocks);
            self.executor.run(self.plan.forward)?;
            let layers = [(FEATURES_LAYER, FEATURES, &mut features), (LOGITS_LAYER, CLASSES, &mut logits)];
            for (layer, len, to) in layers {
                let blocks = self.executor.read_floats(self.plan.pass.output(layer)).await?;
                to.extend(self.executor.plan().from_blocks(&blocks, n, len, 1));
            }
        }
        Ok(Classified { features, logits })
    }
}

impl Classified {
    /// The features, each image's scaled to a mean square of 1, so that they say what it looks like and not how much so.
    /// As they are, what looks like no digit has features near 0, in the midst of all digits: by precision
    /// ([`super::features::Manifolds`]) all of uniform noise would be taken for digits.
    pub fn scaled_features(&self) -> Vec<f32> {
        let images = self.features.chunks_exact(FEATURES);
        let scaled = images.flat_map(|features| {
            let square = features.iter().map(|f| f64::from(*f).powi(2)).sum::<f64>() / FEATURES as f64;
            let scale = 1.0 / square.sqrt().max(f64::MIN_POSITIVE);
            features.iter().map(move |f| (f64::from(*f) * scale) as f32)
        });
        scaled.collect()
    }

    /// The probabilities of the classes, image by image: the logits' softmax.
    pub fn probabilities(&self) -> impl Iterator<Item = [f64; CLASSES]> {
        self.logits.as_chunks().0.iter().map(|logits: &[f32; CLASSES]| {
            let top = logits.iter().copied().fold(f32::NAN, f32::max);
            let powers = logits.map(|z| (f64::from(z) - f64::from(top)).exp());
            let sum: f64 = powers.iter().sum();
            powers.map(|p| p / sum)
        })
    }
}
