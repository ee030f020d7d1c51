//! The logarithm of a model's normalising constant, and with it log-likelihoods, by annealed importance sampling (Neal
//! 2001, <https://arxiv.org/abs/physics/9803008>), from both ends.
//!
//! A model of energy `E` has at temperature `T` the density `exp(-E(x)/T) / Z`, on all of space or on the box that its
//! chains are clamped to. One that is sampled by annealed Langevin dynamics ([`Form::Annealed`](crate::kernels::dynamics::Form::Annealed)) has a density of blurred
//! images at each noise level, which `T` then is: `exp(-E(x)/T - |x|^2/2) / Z`. A [`Base`] has a known constant. Between it
//! and the model lie the densities `exp(-f)`, `f = beta E1 + (1 - beta) E0`, `E1` the model's exponent, `E0` the base's,
//! `beta` from 0 to 1. Chains go from one end to the other, a step of Hamiltonian Monte Carlo with each, which leaves it
//! exactly as it is (`shaders/sampling/anneal_propose.wgsl`). What the densities change by along a chain's way is its weight.
//!
//! # What is a bound on what
//! * **Forward**, from draws of the base to the model, a weight's mean is `Z/Z0` exactly, whatever the number of steps and
//!   however badly chains mix. So the logarithm of a mean of weights is, by Jensen's inequality, below `log(Z/Z0)` in the
//!   mean, and by Markov's above it by `b` with a probability of at most `exp(-b)`: a **stochastic lower bound on log Z**,
//!   which is an *upper* bound on log-likelihoods, `-E1(x) - log Z`. Chains that miss a mode make it too low.
//! * **In reverse**, from draws of the model to the base, a weight's mean is `Z0/Z`: a **stochastic upper bound on log Z**, a
//!   *lower* bound on log-likelihoods (bidirectional Monte Carlo: Grosse, Ghahramani and Adams 2015,
//!   <https://arxiv.org/abs/1511.02543>; Burda, Grosse and Salakhutdinov 2015, <https://arxiv.org/abs/1412.8566>). That holds
//!   for *exact* draws of the model. There are none of a network: [`measure`] begins with chains at `beta = 1` that
//!   started at training images, and tells whether these came to one distribution. Where they did not, this is no bound but
//!   an estimate; a mode that holds no training images is missed.
//!
//! The gap between the two shrinks as steps are added, and is what one does not know.
//!
//! # Precision
//! Energies and proposals are in single precision, on the device; a weight is summed up over 100 steps there, and these
//! sums and everything else in double precision. An exponent of magnitude 1e5 is known to about 0.01.

mod annealing;
mod base;
mod estimate;
mod report;

pub use annealing::{Annealing, Passage, Settings, Settling};
pub use base::Base;
pub use estimate::Estimate;
pub use report::{Annealed, BaseKind, Density, LogLikelihood, Options, measure, temperature_of};
