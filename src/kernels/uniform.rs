//! Uniform structs: the numbers that a launch passes to its shader.

use super::Slope;
use std::ops::Range;

/// The uniform struct of kernels that need no more than the launch's first block.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockParams {
    /// The first block of the launch's range.
    pub first_block: u32,
}

/// The uniform struct of input gradients: layers in several passes share a pipeline, whether or not there is a slope.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SlopeParams {
    /// The first block of the launch's range.
    pub first_block: u32,
    /// 1 where the result is multiplied by a slope beside, else 0.
    pub has_slope: u32,
}

impl SlopeParams {
    pub(super) fn new(blocks: &Range<u32>, slope: Slope) -> Self {
        Self { first_block: blocks.start, has_slope: (slope == Slope::Beside).into() }
    }
}

/// The uniform struct of kernels that do the same to every value: all layers share a pipeline.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct ElementParams {
    /// The first block of the launch's range.
    pub first_block: u32,
    /// Values of one image.
    pub features: u32,
}
