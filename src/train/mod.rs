//! Training: its configuration, its loop, its figures.

pub mod config;
pub mod metrics;
mod trainer;

pub use config::Config;
pub use trainer::{PendingMetrics, Trainer};
