//! The gradient's norm, and the factor that clips it (Pascanu et al. 2013): the second of two fixed-order passes.

use super::contrastive_loss::METRICS;
use super::{Access, Binding, Describe, State};
use std::ops::Range;

/// Gradient norm and the factor that clips it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipScale {
    /// Partial sums of squares.
    pub n_partials: usize,
    /// Rows of the metrics table.
    pub metric_rows: u32,
    /// Largest norm; 0 for no clip.
    pub clip: f32,
}

/// `Params` of `shaders/clip_scale.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Largest norm; 0 for no clip.
    pub clip: f32,
}

impl Describe for ClipScale {
    const NAME: &'static str = "clip_scale";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/state.wgsl"),
        include_str!("../../shaders/lib/sum.wgsl"),
        include_str!("../../shaders/clip_scale.wgsl")
    );
    /// State; partial sums of squares; scale; metrics.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write, Access::Write];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("N_PARTIALS", self.n_partials as f64), ("METRIC_ROWS", self.metric_rows.into())]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&Params { clip: self.clip }).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [1, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, partial, scale, metrics] = bindings else { panic!("{} takes four bindings", Self::NAME) };
        let sum: f64 = partial.floats().iter().map(|s| f64::from(*s)).sum();
        let norm = sum.sqrt() as f32;
        let row = (State::of(state.words()).step % self.metric_rows) as usize;
        metrics.floats_mut()[row * METRICS + 5] = norm;
        let clips = self.clip > 0.0 && norm > self.clip;
        scale.floats_mut()[0] = if clips { self.clip / norm } else { 1.0 };
    }
}
