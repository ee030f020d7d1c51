//! Kernels that a user of the library adds to a plan.

use super::{Access, Binding, Need, Tolerance};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// A kernel of one's own: a WGSL shader, its twin on the CPU, and what both promise.
///
/// # Layouts
/// Images are handled in blocks of `lanes` images. A per-block buffer is `[block][feature][lane]`; the feature of an image
/// at row `y`, column `x`, channel `c` is `(y * width + x) * channels + c`. Other buffers are plain words.
///
/// # Shader
/// One entry point `main`. Binding 0 of group 0 is the uniform struct, bindings 1, 2, ... are [`Self::bindings`] in order, as
/// `array<f32>`, `array<u32>` or the like. A constant `FIRST_GROUP: vec3u` is put in front: a launch of more workgroups than
/// the adapter takes at once, 65,535 in a dimension, is split, and `workgroup_id + FIRST_GROUP` is the workgroup's place in
/// the whole launch.
pub trait CustomKernel: Debug + Send + Sync {
    /// The name, for messages.
    fn name(&self) -> &'static str;

    /// The shader's text.
    fn source(&self) -> String;

    /// The buffers: how each is used, and its kind and length. Asked once, when the launch is made.
    fn bindings(&self) -> Vec<(Access, Need)>;

    /// Whether blocks of images are independent: each invocation touches per-block buffers in one block only, and writes no
    /// other buffer. The CPU then takes each block through several launches while it is in a core's cache.
    fn is_per_block(&self) -> bool {
        true
    }

    /// The uniform struct's bytes for a launch over `blocks`, in WGSL's layout; they are padded to 16.
    fn uniform(&self, _blocks: &Range<u32>) -> Vec<u8> {
        Vec::new()
    }

    /// Workgroups of a launch over `blocks`, which is empty if the kernel is not per block.
    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3];

    /// How far a device's results may be from the twin's: a few roundings, unless overridden.
    fn tolerance(&self) -> Tolerance {
        Tolerance::new(1e-5, 1e-6)
    }

    /// The twin. A per-block kernel gets one block of each per-block buffer, and `index`, that block's place in the launch's
    /// range; other kernels get whole buffers, and 0.
    fn run(&self, index: u32, bindings: &mut [Binding]);
}

/// A [`CustomKernel`] as a launch holds it. Equal to its own clones only.
#[derive(Clone, Debug)]
pub struct Custom {
    kernel: Arc<dyn CustomKernel>,
    access: Vec<Access>,
    needs: Vec<Need>,
}

impl Custom {
    fn new(kernel: Arc<dyn CustomKernel>) -> Self {
        let (access, needs) = kernel.bindings().into_iter().unzip();
        Self { kernel, access, needs }
    }

    pub(super) fn kernel(&self) -> &dyn CustomKernel {
        &*self.kernel
    }

    pub(super) fn access(&self) -> &[Access] {
        &self.access
    }

    pub(super) fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// The uniform struct's bytes; bindings of none are not allowed.
    pub(super) fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
        let mut bytes = self.kernel.uniform(blocks);
        bytes.resize(bytes.len().max(1).next_multiple_of(16), 0);
        bytes
    }

    /// What is wrong with the kernel itself, if anything.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let writes_shared =
            |(access, need): (&Access, &Need)| *access != Access::Read && !matches!(need, Need::PerBlock(_));
        let is_wrong = self.kernel.is_per_block() && self.access.iter().zip(&self.needs).any(writes_shared);
        is_wrong.then_some("a per-block kernel can only write buffers that it needs as `Need::PerBlock`")
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel)
    }
}

impl<K: CustomKernel + 'static> From<K> for super::Kernel {
    fn from(kernel: K) -> Self {
        Self::Custom(Custom::new(Arc::new(kernel)))
    }
}
