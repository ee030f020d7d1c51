//! Thalweg trains and samples small energy-based models on any GPU, or on none.

#![warn(missing_docs)]

pub mod bench;
pub mod calibration;
pub mod checkpoint;
pub mod compare;
pub mod cpu;
pub mod data;
pub mod device;
pub mod energy;
pub mod error;
pub mod evaluate;
pub mod files;
pub mod gpu;
pub mod kernels;
pub mod metrics;
pub mod model;
pub mod network;
pub mod picture;
pub mod plan;
pub mod plane;
pub mod sample;
pub mod source;
pub mod train;

pub use data::{Dataset, Images};
pub use device::Device;
pub use energy::EnergyModel;
pub use error::{Error, Result};
pub use model::Model;
pub use network::Network;
pub use sample::Sampler;
pub use train::{Config, Trainer};

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
