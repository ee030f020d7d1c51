//! Trains and samples small energy-based models on any GPU, or on none.
//!
//! An energy-based model is a network that gives every example `x` one number, its energy `E(x)`; the model's density is
//! `exp(-E(x)/T) / Z`. Training lowers the energies of data and raises those of the model's own samples (contrastive
//! divergence), or fits the gradient of the energy to the data (score matching). Samples come from Langevin chains, which
//! move down the gradient `dE/dx` and add noise.
//!
//! ```no_run
//! use std::path::Path;
//! use thalweg::{Recipe, Dataset, Device, Run, Sampler, Trainer};
//!
//! # async fn example() -> thalweg::Result<()> {
//! let device = Device::open("auto").await?; // the first GPU, else the CPU
//! let dataset = Dataset::open("digits")?; // 10,000 digits that ship inside
//! let config = Recipe::preset("digits")?;
//!
//! let trainer = Trainer::new(&device, &config, &dataset).await?;
//! let mut run = Run::begin(trainer, &dataset, Path::new("run")).await?; // guarded, saved, resumable
//! run.finish(&mut ()).await?;
//!
//! let numbers = config.sampling_chain();
//! let mut sampler = Sampler::new(&device, &run.trainer().model().await?, 16, &numbers, 0).await?;
//! sampler.run(numbers.steps)?;
//! let images = sampler.images().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The library is asynchronous wherever it waits for a device; `pollster::block_on` is enough to call it.
//!
//! # Map
//! * [`Dataset`] and [`data`]: images, points and sequences, from files or built in.
//! * [`Network`] and [`network`]: layers, presets, descriptions in TOML.
//! * [`Recipe`] and [`recipe`]: every setting of a run, its presets, TOML files.
//! * [`Device`] and [`device`]: the CPU or a GPU.
//! * [`Trainer`]: single training steps. [`Run`]: a guarded run in a folder, watched by a [`train::Observer`].
//! * [`Model`] and [`checkpoint`]: a network with its parameters, and the files of runs.
//! * [`EnergyModel`] and [`Sampler`]: energies, gradients and chains of a model on a device, or of several: [`Composition`].
//! * [`Energy`]: an energy of one's own, and [`sampling::HostSampler`] over it.
//! * [`custom`]: a kernel of one's own, in WGSL and Rust, in a plan.
//! * [`evaluate`]: sample quality, outliers, long chains, log-likelihood.
//! * `picture`: sample grids, curves and energy landscapes; needs the feature `plot`.
//!
//! # Features
//! `cli` (default) is the program `thalweg`, and `plot` (default) the module `picture`. With `default-features = false` the
//! library depends on neither a command line nor a plotting library.

#[doc(hidden)]
pub mod bench;
pub mod checkpoint;
#[doc(hidden)]
pub mod cpu;
pub mod custom;
pub mod data;
pub mod device;
pub mod error;
pub mod evaluate;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod gpu;
#[doc(hidden)]
pub mod kernels;
pub mod network;
#[cfg(feature = "plot")]
pub mod picture;
#[doc(hidden)]
pub mod plan;
pub mod random;
pub mod recipe;
pub mod sampling;
#[doc(hidden)]
pub mod source;
pub mod train;

pub use checkpoint::Model;
pub use data::{Dataset, Images};
pub use device::Device;
pub use error::{Error, Result};
pub use network::Network;
pub use recipe::Recipe;
pub use sampling::{Composition, Energy, EnergyModel, Sampler};
pub use train::{Run, Trainer};

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
