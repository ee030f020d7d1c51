//! The smoothness penalty: neighbouring images shall have like energies,
//! `weight * mean((E(x + noise) - E(x))^2)` over the real images.

use super::contrastive_loss::METRICS;
use super::draw_real::Epoch;
use super::{Access, Binding, Describe, State};
use std::ops::Range;

/// Adds the smoothness penalty to seeds and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Smoothness {
    /// Images in a block.
    pub lanes: u32,
    /// Images in a full batch.
    pub batch: u32,
    /// Images in the data set: the last batch of an epoch may be short of real ones.
    pub n_images: u32,
    /// The first block of the images with noise.
    pub first_block: u32,
    /// Rows of the metrics table.
    pub metric_rows: u32,
    /// Weight of the penalty.
    pub weight: f32,
}

/// `Params` of `shaders/smoothness.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// The first block of the images with noise.
    pub first_block: u32,
    /// Weight of the penalty.
    pub weight: f32,
}

impl Describe for Smoothness {
    const NAME: &'static str = "smoothness";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/state.wgsl"),
        include_str!("../../shaders/lib/epoch.wgsl"),
        include_str!("../../shaders/lib/sum.wgsl"),
        include_str!("../../shaders/smoothness.wgsl")
    );
    /// State; energies; seeds; metrics.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("LANES", self.lanes.into()),
            ("BATCH", self.batch.into()),
            ("N_IMAGES", self.n_images.into()),
            ("METRIC_ROWS", self.metric_rows.into()),
        ]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&Params { first_block: self.first_block, weight: self.weight }).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [1, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, energies, seeds, metrics] = bindings else {
            panic!("{} takes four bindings", Self::NAME)
        };
        let state = State::of(state.words());
        let n_real = Epoch::of(state.step, self.n_images, self.batch).n_real as usize;
        let noisy = (self.first_block * self.lanes) as usize;
        let (energies, seeds) = (energies.floats(), seeds.floats_mut());
        let mut sum = 0.0_f64;
        for i in 0..self.batch.next_multiple_of(self.lanes) as usize {
            let difference = if i < n_real { energies[noisy + i] - energies[i] } else { 0.0 };
            let seed = 2.0 * self.weight * difference / n_real as f32;
            sum += f64::from(difference) * f64::from(difference);
            seeds[noisy + i] = seed;
            seeds[i] -= seed;
        }
        let penalty = self.weight * (sum / n_real as f64) as f32;
        let row = (state.step % self.metric_rows) as usize * METRICS;
        metrics.floats_mut()[row] += penalty;
        metrics.floats_mut()[row + 2] += penalty;
    }
}
