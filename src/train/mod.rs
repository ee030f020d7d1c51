//! Training: its configuration, its loop, its figures.

pub mod guard;
pub mod log;
mod trainer;

pub use guard::{Halt, Rollback};
pub use trainer::{Outcome, PendingMetrics, Trainer};
