//! Training: the run's configuration.

pub mod config;
