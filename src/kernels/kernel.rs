//! What a kernel says of itself, and the list of all kernels.

use super::*;
use std::ops::Range;

/// The contract of a kernel: everything that is true of it whatever plan it stands in.
pub trait KernelSpec {
    /// The shader's text, shared functions included.
    const SOURCE: &'static str;
    /// Bindings 1, 2, ... in order; binding 0 is the uniform struct.
    const ACCESS: &'static [Access];
    /// The uniform struct.
    type Params: ShaderStruct;

    /// How far results on any device may be from the twin's, in floats.
    const TOLERANCE: Tolerance;
    /// Whether blocks are independent of each other: each invocation touches per-block buffers in its own block only, and
    /// writes no other buffer.
    const PER_BLOCK: bool;
    /// The binding of a layer's packed weights, of which executors may keep a form of their own.
    const PACKED_WEIGHTS: Option<usize> = None;

    /// [`Self::ACCESS`], unless it depends on the kernel's numbers.
    fn access(&self) -> &'static [Access] {
        Self::ACCESS
    }

    /// What each buffer is to be, in the order of [`Self::access`].
    fn needs(&self) -> Vec<Need>;

    /// Whether a launch with these numbers reads what the binding held before, or only has it bound.
    /// Asked of bindings that are not [`Access::Write`].
    fn reads(&self, _binding: usize) -> bool {
        true
    }

    /// [`Self::TOLERANCE`], unless it depends on the kernel's numbers.
    fn tolerance(&self) -> Tolerance {
        Self::TOLERANCE
    }

    /// Adds the kernel's test cases: see [`super::testing`].
    #[cfg(test)]
    fn cases(bench: &mut super::testing::Bench);

    /// Declarations that go in front of the text: what `override` can't reach, such as the size of a local array.
    fn prelude(&self) -> String {
        String::new()
    }

    /// Values of the shader's `override`s.
    fn overrides(&self) -> Overrides;

    /// The uniform struct for a launch over `blocks`.
    fn params(&self, blocks: &Range<u32>) -> Self::Params;

    /// Workgroups for a launch over `blocks`.
    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [1, 1, 1]
    }

    /// The twin. Per-block kernels get one block of each per-block buffer, and `index`, that block's place in the
    /// launch's range; the others get whole buffers, and 0. A kernel that falls into parts has [`Self::run_part`] instead.
    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let parts = self.parts().unwrap_or_else(|| panic!("a kernel has neither a twin nor parts"));
        for (first, mut bindings) in parts.cut(parts.items, bindings) {
            self.run_part(first, &mut bindings);
        }
    }

    /// How a kernel that is not per block falls into parts that do not look at each other's results.
    fn parts(&self) -> Option<Parts> {
        None
    }

    /// The twin of a kernel that falls into parts: items from number `first` on, as many as the written bindings have
    /// words for. Those begin with that item; the others are whole. `inline(always)`, for [`crate::cpu`] to compile it
    /// for each instruction set.
    #[inline(always)]
    fn run_part(&self, _first: usize, _: &mut [Binding]) {
        panic!("a kernel that falls into parts has no twin");
    }
}

macro_rules! kernels {
    ($($variant:ident, $module:ident, $doc:literal;)*) => {
        /// A kernel with everything that one launch of it needs, but for its buffers.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Kernel {
            $(#[doc = $doc] $variant($module::$variant),)*
            /// A kernel of the library's user.
            Custom(Custom),
        }

        impl Kernel {
            /// The name of its module, and of its shader's file.
            pub fn name(&self) -> &'static str { match self { $(Self::$variant(_) => stringify!($module),)* Self::Custom(k) => k.kernel().name() } }
            /// The shader's text, shared functions included, prelude in front.
            pub fn source(&self) -> String {
                self.source_from([0; 3])
            }
            /// Returns [`Self::source`] for a dispatch that begins at workgroup `first_group` of the launch. A launch of more
            /// workgroups than an adapter takes at once is split into several dispatches.
            pub fn source_from(&self, first_group: [u32; 3]) -> String {
                let [x, y, z] = first_group;
                let first = format!("const FIRST_GROUP = vec3u({x}u, {y}u, {z}u);\n");
                match self {
                    $(Self::$variant(k) => k.prelude() + &first + $module::$variant::SOURCE,)*
                    Self::Custom(k) => first + &k.kernel().source(),
                }
            }
            /// Bindings 1, 2, ... in order; binding 0 is the uniform struct.
            pub fn access(&self) -> &[Access] { match self { $(Self::$variant(k) => k.access(),)* Self::Custom(k) => k.access() } }
            /// Values of the shader's `override`s.
            pub fn overrides(&self) -> Overrides { match self { $(Self::$variant(k) => k.overrides(),)* Self::Custom(_) => Overrides::new() } }
            /// The uniform struct's bytes for a launch over `blocks`.
            pub fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
                match self {
                    $(Self::$variant(k) => bytemuck::bytes_of(&KernelSpec::params(k, blocks)).to_vec(),)*
                    Self::Custom(k) => k.uniform(blocks),
                }
            }
            /// Names of the uniform struct's fields, and how many bytes in each begins.
            pub fn uniform_fields(&self) -> &'static [(&'static str, usize)] {
                match self { $(Self::$variant(_) => <$module::$variant as KernelSpec>::Params::FIELDS,)* Self::Custom(_) => &[] }
            }
            /// Workgroups for a launch over `blocks`.
            pub fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] { match self { $(Self::$variant(k) => k.workgroups(blocks),)* Self::Custom(k) => k.kernel().workgroups(blocks) } }
            /// See [`KernelSpec::PER_BLOCK`].
            pub fn is_per_block(&self) -> bool { match self { $(Self::$variant(_) => $module::$variant::PER_BLOCK,)* Self::Custom(k) => k.kernel().is_per_block() } }
            /// See [`KernelSpec::PACKED_WEIGHTS`].
            pub fn packed_weights(&self) -> Option<usize> { match self { $(Self::$variant(_) => $module::$variant::PACKED_WEIGHTS,)* Self::Custom(_) => None } }
            /// See [`KernelSpec::needs`].
            pub fn needs(&self) -> Vec<Need> { match self { $(Self::$variant(k) => k.needs(),)* Self::Custom(k) => k.needs().to_vec() } }
            /// See [`KernelSpec::reads`].
            pub fn reads(&self, binding: usize) -> bool { match self { $(Self::$variant(k) => k.reads(binding),)* Self::Custom(_) => true } }
            /// See [`KernelSpec::tolerance`].
            pub fn tolerance(&self) -> Tolerance { match self { $(Self::$variant(k) => k.tolerance(),)* Self::Custom(k) => k.kernel().tolerance() } }
            /// See [`KernelSpec::parts`].
            pub fn parts(&self) -> Option<Parts> { match self { $(Self::$variant(k) => k.parts(),)* Self::Custom(_) => None } }
            /// See [`KernelSpec::run_part`].
            #[inline(always)]
            pub fn run_part(&self, first: usize, bindings: &mut [Binding]) { match self { $(Self::$variant(k) => k.run_part(first, bindings),)* Self::Custom(k) => panic!("{} does not fall into parts", k.kernel().name()) } }
            /// What is wrong with the kernel itself, whatever it is launched on.
            pub(crate) fn fault(&self) -> Option<&'static str> {
                if let Self::Custom(kernel) = self { kernel.fault() } else { None }
            }
            /// The twin: see [`KernelSpec::run`].
            pub fn run(&self, index: u32, bindings: &mut [Binding]) { match self { $(Self::$variant(k) => k.run(index, bindings),)* Self::Custom(k) => k.kernel().run(index, bindings) } }
        }

        /// A test for each kernel, by its name.
        #[cfg(test)]
        mod tests {
            $(#[test]
            fn $module() {
                crate::kernels::testing::check::<crate::kernels::$module::$variant>(stringify!($module));
            })*
        }

        $(impl From<$module::$variant> for Kernel { fn from(kernel: $module::$variant) -> Self { Self::$variant(kernel) } })*
    };
}

kernels! {
    Random, random, "Fills a per-block buffer with random numbers.";
    DrawReal, draw_real, "Draws a batch of the data set.";
    DrawToy, draw_toy, "Draws a batch of fresh points.";
    DrawNegatives, draw_negatives, "Draws the chains' starts.";
    AugmentStarts, augment_starts, "Changes chain starts a little.";
    DrawPool, draw_pool, "Draws the chains of a pool.";
    BlurAtLevels, blur_at_levels, "Blurs data images to the levels of the chains.";
    PushPool, push_pool, "Puts chains back into their pool.";
    ImageVariance, image_variance, "The variance of each image's values.";
    AnnealedLoss, annealed_loss, "Energies at noise levels to loss, metrics and seeds.";
    CopyImages, copy_images, "Copies the real images, with noise.";
    DrawAround, draw_around, "Draws negatives around the data images.";
    DrawGaussian, draw_gaussian, "Makes draws of a Gaussian of standard normal numbers.";
    GaussianDensity, gaussian_density, "The logarithm of a Gaussian's density.";
    DiscrepancyLoss, discrepancy_loss, "Energies to energy discrepancy, metrics and dL/dE.";
    NceLoss, nce_loss, "Energies to the loss of noise-contrastive estimation, metrics and dL/dE.";
    Langevin, langevin, "Moves the chains.";
    MalaAccept, mala_accept, "Accepts or rejects proposals of chains.";
    MalaPropose, mala_propose, "Moves chains to accepted proposals, and makes the next.";
    AnnealAccept, anneal_accept, "Weights, and proposals judged, between a base and a model.";
    AnnealPropose, anneal_propose, "Proposals between a base and a model.";
    HoldKnown, hold_known, "Holds known values in their place.";
    WeightedSum, weighted_sum, "Weights and adds energies of several models, or their gradients.";
    MeanAcceptance, mean_acceptance, "The share of proposals that were accepted.";
    Chain, chain, "Whole Langevin steps.";
    ConvForward, conv_forward, "Convolution and activation.";
    ConvInputGradient, conv_input_gradient, "Gradient with respect to a convolution's input.";
    ConvWeightGradient, conv_weight_gradient, "Partial sums of the gradient of a convolution's weights and biases.";
    DenseForward, dense_forward, "Dense layer and activation.";
    DenseInputGradient, dense_input_gradient, "Gradient with respect to a dense layer's input.";
    DenseWeightGradient, dense_weight_gradient, "Partial sums of the gradient of a dense layer's weights and biases.";
    LstmForward, lstm_forward, "Some steps of an LSTM cell.";
    LstmBackward, lstm_backward, "Some steps of an LSTM cell, backward.";
    LstmWeightGradient, lstm_weight_gradient, "Partial sums of the gradient of an LSTM cell's weights and biases.";
    LstmPack, lstm_pack, "Rearranges an LSTM cell's weights.";
    PoolForward, pool_forward, "Global average pool.";
    PoolInputGradient, pool_input_gradient, "Gradient with respect to a global average pool's input.";
    AnalyticEnergy, analytic_energy, "Energies with a formula, and their gradients.";
    ReducePartials, reduce_partials, "Adds up partial gradients.";
    ContrastiveLoss, contrastive_loss, "Energies to loss, metrics and dL/dE.";
    Smoothness, smoothness, "Adds the smoothness penalty.";
    WeightPenalty, weight_penalty, "Adds the weights' L2 penalty to the gradient.";
    AddPenalty, add_penalty, "Adds the weights' L2 penalty to the metrics.";
    AverageWeights, average_weights, "Moves the average of the parameters on.";
    Perturb, perturb, "Blurs images for denoising.";
    JetStart, jet_start, "The components of a jet at the network's input.";
    ActivationJet, activation_jet, "The activation of a jet.";
    ActivationJetBackward, activation_jet_backward, "The way back through an activation's jet.";
    ActivationSecond, activation_second, "An activation with its first two derivatives.";
    ChainRule, chain_rule, "The chain rule at an activation, of first and second order.";
    AddValues, add_values, "Adds one per-block buffer to another.";
    ScoreDirection, score_direction, "What the energy's gradient is to lose.";
    ScoreLoss, score_loss, "A jet's derivatives to loss, metrics and dL/dE.";
    SpectralInput, spectral_input, "A power iteration on weights, first half.";
    SpectralOutput, spectral_output, "A power iteration on weights, second half.";
    SpectralBound, spectral_bound, "Scales weights down to a spectral norm.";
    SumSquares, sum_squares, "Partial sums of squares of the gradient.";
    ClipScale, clip_scale, "Gradient norm and the factor that clips it.";
    Adam, adam, "Updates the parameters.";
    PackWeights, pack_weights, "Rearranges a layer's weights.";
    PushReplay, push_replay, "Puts refined chains into the replay ring.";
    MultiplyAdds, multiply_adds, "Multiply-adds on registers, to be timed.";
    Advance, advance, "Ends a training step.";
    CountNonFinite, count_non_finite, "Counts numbers that are not finite.";
    ImageStatistics, image_statistics, "How different the images of a batch are.";
    CheckStep, guard, "Checks a training step.";
    CheckState, check_state, "Whether a snapshot is to be kept.";
    CopyWords, copy_words, "Copies a buffer.";
}
