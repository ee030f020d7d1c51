//! Structs that host and shader share: uniforms, the resident state, and what lies in buffers.

use super::Slope;
use std::ops::Range;

/// A struct of a shader, with the same fields in the same places. `tests/shaders.rs` holds them against naga's.
pub trait ShaderStruct: bytemuck::Pod {
    /// Names of the fields, and how many bytes in each begins.
    const FIELDS: &'static [(&'static str, usize)];
}

/// Declares a [`ShaderStruct`]. Fields without a comment are named after the kernel's own, or are padding (`spare`).
macro_rules! shader_struct {
    ($(#[$meta:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        #[allow(missing_docs, reason = "fields named after the kernel's own")]
        pub struct $name { $($(#[$of_field])* pub $field: $type),* }

        impl $crate::kernels::ShaderStruct for $name {
            const FIELDS: &'static [(&'static str, usize)] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field))),*];
        }
    };
}
pub(crate) use shader_struct;

shader_struct! {
    /// The uniform struct of kernels that need no more than the launch's first block.
    BlockParams {
        /// The first block of the launch's range.
        first_block: u32,
    }
}

shader_struct! {
    /// The uniform struct of input gradients: layers in several passes share a pipeline, with or without a slope.
    SlopeParams {
        /// The first block of the launch's range.
        first_block: u32,
        /// 1 if the result is multiplied by a slope from a buffer of its own, else 0.
        has_slope: u32,
    }
}

shader_struct! {
    /// The uniform struct of kernels that treat all values alike: all layers share a pipeline.
    ElementParams {
        /// The first block of the launch's range.
        first_block: u32,
        /// Values of one image.
        features: u32,
    }
}

/// For a kernel's `impl`: its uniform struct is [`BlockParams`].
macro_rules! block_params {
    () => {
        type Params = $crate::kernels::BlockParams;

        fn params(&self, blocks: &std::ops::Range<u32>) -> Self::Params {
            $crate::kernels::BlockParams { first_block: blocks.start }
        }
    };
}
pub(crate) use block_params;

impl SlopeParams {
    pub(super) fn new(blocks: &Range<u32>, slope: Slope) -> Self {
        Self { first_block: blocks.start, has_slope: (slope == Slope::Beside).into() }
    }
}
