//! Training: its configuration, its loop, its figures.

pub mod config;
pub mod metrics;
