//! Kernels of one's own in a plan, for the CPU and any GPU.
//!
//! A [`Plan`] names buffers and lists launches of kernels. [`CustomKernel`] adds a kernel: a WGSL shader and its twin on the
//! CPU. [`energy_plan`] has the launches that compute the energies and gradients of a model; a program may put launches of
//! one's own before, between and after them. [`Plan::add_program`] holds every launch against what its kernel needs.
//!
//! [`Executor`](crate::device::Executor) runs a plan on any device, and [`compare`](crate::device::compare::compare) holds a
//! device's results against the twins', launch by launch. `examples/custom_kernel.rs` has all of it.
//!
//! # Limits
//! * [`Sampler`](crate::Sampler) and [`Trainer`](crate::Trainer) make their plans themselves, without custom kernels.
//! * A twin runs as it was compiled. Kernels that are not per block run on one thread.
//! * A custom launch is never cut to keep a desktop responsive: a single one should end within a second.

#[doc(inline)]
pub use crate::kernels::{Access, Binding, CustomKernel, Need, Tolerance};
#[doc(inline)]
pub use crate::plan::{BufferId, EnergyPlan, Launch, Plan, ProgramId, energy_plan};
