//! Samples and energies: of a model on a device, and of any energy on the host.

mod composition;
mod energy;
mod host;
mod posterior;
mod sampler;

pub use composition::Composition;
pub use energy::EnergyModel;
pub use host::{Energy, EnergyFn, HostSampler, LangevinOptions, Rule, energy_fn};
pub use posterior::{denoising_chain, mean_and_deviation};
pub use sampler::{Sampler, denoised, noise_level};
