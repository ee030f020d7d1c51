//! Training: its configuration, its loop, its figures.

pub mod config;
pub mod guard;
pub mod metrics;
pub mod settings;
mod trainer;

pub use config::Config;
pub use guard::{Halt, Rollback};
pub use settings::Settings;
pub use trainer::{Outcome, PendingMetrics, Trainer};
