//! The share of MALA's proposals that were accepted, for the metrics.

use super::contrastive_loss::METRICS;
use super::{Access, Binding, Describe, State};
use std::ops::Range;

/// Means the counts of [`super::mala_accept`] into the metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanAcceptance {
    /// Images in a block.
    pub lanes: u32,
    /// Chains.
    pub batch: u32,
    /// The first of their blocks.
    pub first_block: u32,
    /// Proposals to each chain.
    pub steps: u32,
    /// Rows of the metrics table.
    pub metric_rows: u32,
}

/// `Params` of `shaders/mean_acceptance.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// The chains' first block.
    pub first_block: u32,
    /// Proposals to each chain.
    pub steps: u32,
}

impl Describe for MeanAcceptance {
    const NAME: &'static str = "mean_acceptance";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/state.wgsl"),
        include_str!("../../shaders/lib/sum.wgsl"),
        include_str!("../../shaders/mean_acceptance.wgsl")
    );
    /// State; decisions; metrics.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("LANES", self.lanes.into()),
            ("BATCH", self.batch.into()),
            ("METRIC_ROWS", self.metric_rows.into()),
        ]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&Params { first_block: self.first_block, steps: self.steps }).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [1, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, decisions, metrics] = bindings else { panic!("{} takes three bindings", Self::NAME) };
        let (lanes, decisions) = (self.lanes as usize, decisions.floats());
        let count =
            |i: usize| decisions[((self.first_block as usize + i / lanes) * 2 + 1) * lanes + i % lanes];
        let sum: f64 = (0..self.batch as usize).map(|i| f64::from(count(i))).sum();
        let row = (State::of(state.words()).step % self.metric_rows) as usize * METRICS;
        metrics.floats_mut()[row + 7] = (sum / (f64::from(self.batch) * f64::from(self.steps))) as f32;
    }
}
