//! The commands, one file each, and what they share.

pub mod bench;
pub mod progress;
pub mod train;

/// What stands under each sample of a grid.
pub fn energy_titles(energies: &[f32]) -> Vec<String> {
    energies.iter().map(|e| format!("E = {e:.4}")).collect()
}
