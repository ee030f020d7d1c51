//! Thalweg trains and samples small energy-based models on any GPU, or on none.

#![warn(missing_docs)]

pub mod bench;
pub mod checkpoint;
pub mod cpu;
pub mod data;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod files;
pub mod gpu;
pub mod kernels;
pub mod network;
#[cfg(feature = "plot")]
pub mod picture;
pub mod plan;
pub mod recipe;
pub mod sampling;
pub mod source;
pub mod train;

pub use checkpoint::Model;
pub use data::{Dataset, Images};
pub use device::Device;
pub use error::{Error, Result};
pub use network::Network;
pub use recipe::Config;
pub use sampling::{EnergyModel, Sampler};
pub use train::Trainer;

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
