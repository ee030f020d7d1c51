//! Files of runs: the container (safetensors), its header, the state of a run in it, and models read from it.

mod container;
mod header;
mod model;
mod state;

pub use container::*;
pub(crate) use header::header_network;
pub use header::{FORMAT, Header};
pub use model::*;
pub use state::{AVERAGE, newest_replay_images, pool_images, replay_images};
pub(crate) use state::{Parts, RunState, SNAPSHOT, arrived, newest_images, take_parameters};
