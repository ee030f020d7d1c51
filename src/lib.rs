//! Thalweg trains and samples small energy-based models on any GPU, or on none.

#![warn(missing_docs)]

pub mod checkpoint;
pub mod cpu;
pub mod data;
pub mod device;
pub mod error;
pub mod files;
pub mod gpu;
pub mod kernels;
pub mod network;
pub mod picture;
pub mod plan;
pub mod train;

pub use error::{Error, Result};
