//! Samples and energies: of a model on a device, and of any energy on the host.

mod energy;
mod host;
mod sampler;

pub use energy::EnergyModel;
pub use host::{Energy, EnergyFn, HostSampler, LangevinOptions, Rule, energy_fn};
pub use sampler::{Sampler, denoised, noise_level};
