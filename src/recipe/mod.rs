//! What a run does, as plain data: sections of settings, their defaults and bounds, presets, TOML and `KEY=VALUE`.

mod config;
mod settings;

pub use config::*;
pub use settings::{Setting, Settings};
