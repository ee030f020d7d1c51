//! Training: single steps, guarded runs in a folder, and the files that log them.

pub mod guard;
pub mod log;
pub mod run;
mod trainer;

pub use guard::{Halt, Rollback};
pub use run::{Observer, Run};
pub use trainer::{Outcome, PendingMetrics, Trainer};
