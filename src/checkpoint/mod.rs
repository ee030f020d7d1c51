//! Files of runs: the container (safetensors), its header, and models read from it.

mod container;
mod model;

pub use container::*;
pub use model::*;
