//! The weights' L2 penalty in the metrics, from the partial sums of [`super::sum_squares`].

use super::contrastive_loss::METRICS;
use super::{Access, Binding, Describe, State};
use std::ops::Range;

/// Adds the weights' L2 penalty to loss and regularisation.
#[derive(Clone, Debug, PartialEq)]
pub struct AddPenalty {
    /// Partial sums of squares.
    pub n_partials: usize,
    /// Rows of the metrics table.
    pub metric_rows: u32,
    /// Weight of the penalty.
    pub weight: f32,
}

/// `Params` of `shaders/add_penalty.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Weight of the penalty.
    pub weight: f32,
}

impl Describe for AddPenalty {
    const NAME: &'static str = "add_penalty";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/state.wgsl"),
        include_str!("../../shaders/lib/sum.wgsl"),
        include_str!("../../shaders/add_penalty.wgsl")
    );
    /// State; partial sums of squares; metrics.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::ReadWrite];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("N_PARTIALS", self.n_partials as f64), ("METRIC_ROWS", self.metric_rows.into())]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&Params { weight: self.weight }).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [1, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, partial, metrics] = bindings else { panic!("{} takes three bindings", Self::NAME) };
        let sum: f64 = partial.floats().iter().map(|s| f64::from(*s)).sum();
        let row = (State::of(state.words()).step % self.metric_rows) as usize * METRICS;
        metrics.floats_mut()[row] += self.weight * sum as f32;
        metrics.floats_mut()[row + 2] += self.weight * sum as f32;
    }
}
