//! Samples and energies of a model on a device.

mod energy;
mod sampler;

pub use energy::EnergyModel;
pub use sampler::{Sampler, denoised, noise_level};
