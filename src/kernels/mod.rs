//! One file a shader: what it computes, its uniform struct, its launch, and its twin on the CPU.
//!
//! # Layouts
//! Images are handled in *blocks* of `lanes` images. A per-block buffer is `[block][feature][lane]` with the feature of
//! an image at row `y`, column `x`, channel `c` being `(y * width + x) * channels + c`: neighbouring lanes read
//! neighbouring words, on a GPU as in a SIMD register, whatever the network's channel counts are. Parameters lie in one
//! flat vector in PyTorch's order (see [`crate::network`]); convolutions read copies packed for them
//! ([`pack_weights`]).
//!
//! # Twins
//! `run` of each kernel is the reference: plain loops over slices, for one block (per-block kernels) or for the whole
//! (the others). Tests hold every shader, and every fast body in [`crate::cpu`], against it.

#![cfg_attr(
    test,
    allow(
        clippy::single_range_in_vec_init,
        reason = "what a launch writes is a list of ranges, often of one"
    )
)]

/// Kernels that draw and keep images.
pub mod data {
    pub mod augment_starts;
    pub mod blur_at_levels;
    pub mod copy_images;
    pub mod draw_around;
    pub mod draw_gaussian;
    pub mod draw_negatives;
    pub mod draw_pool;
    pub mod draw_real;
    pub mod draw_toy;
    pub mod perturb;
    pub mod push_pool;
    pub mod push_replay;
}
/// Kernels that watch training, and keep snapshots of it.
#[path = "guard"]
pub mod guarding {
    pub mod check_state;
    pub mod copy_words;
    pub mod count_non_finite;
    pub mod guard;
    pub mod image_statistics;
    pub mod image_variance;
}
/// Kernels of layers and of their gradients.
pub mod layers {
    pub mod analytic_energy;
    pub mod conv_forward;
    pub mod conv_input_gradient;
    pub mod conv_weight_gradient;
    pub mod dense_forward;
    pub mod dense_input_gradient;
    pub mod dense_weight_gradient;
    pub mod lstm_backward;
    pub mod lstm_forward;
    pub mod lstm_pack;
    pub mod lstm_weight_gradient;
    pub mod multiply_adds;
    pub mod pack_weights;
    pub mod pool_forward;
    pub mod pool_input_gradient;
    pub mod reduce_partials;
}
/// Kernels of losses and penalties.
pub mod loss {
    pub mod add_penalty;
    pub mod annealed_loss;
    pub mod contrastive_loss;
    pub mod discrepancy_loss;
    pub mod gaussian_density;
    pub mod nce_loss;
    pub mod score_direction;
    pub mod score_loss;
    pub mod smoothness;
    pub mod weight_penalty;
}
/// Kernels that update the parameters.
pub mod optimizer {
    pub mod adam;
    pub mod advance;
    pub mod average_weights;
    pub mod clip_scale;
    pub mod spectral_bound;
    pub mod spectral_input;
    pub mod spectral_output;
    pub mod sum_squares;
}
/// Kernels that move chains.
pub mod sampling {
    pub mod anneal_accept;
    pub mod anneal_propose;
    pub mod chain;
    pub mod dynamics;
    pub mod hold_known;
    pub mod langevin;
    pub mod mala_accept;
    pub mod mala_propose;
    pub mod mean_acceptance;
    pub mod random;
    pub mod weighted_sum;
}
/// Kernels of derivatives beyond the gradient.
pub mod second_order {
    pub mod activation_jet;
    pub mod activation_jet_backward;
    pub mod activation_second;
    pub mod add_values;
    pub mod chain_rule;
    pub mod jet_start;
}

pub use {data::*, guarding::*, layers::*, loss::*, optimizer::*, sampling::*, second_order::*};

mod activation;
mod bindings;
mod custom;
mod kernel;
mod overrides;
mod parts;
mod real;
mod state;
#[cfg(test)]
mod testing;
mod tolerance;
mod uniform;

pub use activation::{Slope, activate};
pub use bindings::{Access, Binding, Need};
pub use custom::{Custom, CustomKernel};
pub use kernel::{Kernel, KernelSpec};
pub use overrides::{OverrideValue, Overrides};
pub use parts::Parts;
pub use real::Real;
pub use state::State;
pub use tolerance::Tolerance;
pub use uniform::{BlockParams, ElementParams, ShaderStruct, SlopeParams};

/// Invocations in a workgroup, of every kernel that leaves the choice open.
pub const WORKGROUP_SIZE: u32 = 64;

/// Workgroups in x for `items` by `invocations`: a lane's, or four lanes' in a `vec4f`.
fn groups(items: usize, invocations: u32) -> u32 {
    (items as u32 * invocations).div_ceil(WORKGROUP_SIZE)
}

/// A shader's text: files under `shaders/`, one after the other.
macro_rules! shader {
    ($($name:literal),+) => {
        concat!($(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl"))),+)
    };
}
pub(crate) use shader;

/// What every kernel's file needs.
mod prelude {
    pub(super) use super::Access::{self, Read, ReadWrite, Scratch, Write};
    pub(super) use super::bindings::bound;
    pub(super) use super::overrides::{Overrides, overrides};
    #[cfg(test)]
    pub(super) use super::testing::*;
    pub(super) use super::uniform::{block_params, shader_struct};
    pub(super) use super::{
        Binding, BlockParams, ElementParams, KernelSpec, Need, Parts, Real, Slope, SlopeParams, State,
        Tolerance, WORKGROUP_SIZE, activate, groups, shader,
    };
    #[cfg(test)]
    pub(super) use crate::plan::{BufferId, Layout, Words};
    #[cfg(test)]
    pub(super) use rand::RngExt;
    pub(super) use std::ops::Range;
}
