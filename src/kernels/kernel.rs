//! What a kernel says of itself, and the list of all kernels.

use super::*;
use std::ops::Range;

/// What every kernel says of itself.
pub trait KernelSpec {
    /// The shader's file name under `shaders/`, without its ending.
    const NAME: &'static str;
    /// The shader's text, shared functions included.
    const SOURCE: &'static str;
    /// Bindings 1, 2, ... in order; binding 0 is the uniform struct.
    const ACCESS: &'static [Access];
    /// The uniform struct.
    type Params: ShaderStruct;

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
        let parts = self.parts().unwrap_or_else(|| panic!("{} has no twin", Self::NAME));
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
        panic!("{} does not fall into parts", Self::NAME);
    }
}

macro_rules! kernels {
    ($($variant:ident, $module:ident, $doc:literal, $per_block:literal;)*) => {
        /// A kernel with everything that one launch of it needs, but for its buffers.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Kernel { $(#[doc = $doc] $variant($module::$variant),)* }

        impl Kernel {
            /// The shader's file name under `shaders/`, without its ending.
            pub fn name(&self) -> &'static str { match self { $(Self::$variant(_) => $module::$variant::NAME,)* } }
            /// The shader's text, shared functions included, prelude in front.
            pub fn source(&self) -> String {
                match self { $(Self::$variant(k) => k.prelude() + $module::$variant::SOURCE,)* }
            }
            /// Bindings 1, 2, ... in order; binding 0 is the uniform struct.
            pub fn access(&self) -> &'static [Access] { match self { $(Self::$variant(_) => $module::$variant::ACCESS,)* } }
            /// Values of the shader's `override`s.
            pub fn overrides(&self) -> Overrides { match self { $(Self::$variant(k) => k.overrides(),)* } }
            /// The uniform struct's bytes for a launch over `blocks`.
            pub fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
                match self { $(Self::$variant(k) => bytemuck::bytes_of(&KernelSpec::params(k, blocks)).to_vec(),)* }
            }
            /// Names of the uniform struct's fields, and how many bytes in each begins.
            pub fn uniform_fields(&self) -> &'static [(&'static str, usize)] {
                match self { $(Self::$variant(_) => <$module::$variant as KernelSpec>::Params::FIELDS,)* }
            }
            /// Workgroups for a launch over `blocks`.
            pub fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] { match self { $(Self::$variant(k) => k.workgroups(blocks),)* } }
            /// Whether blocks are independent of each other: each invocation touches per-block buffers in its own
            /// block only, and writes no other buffer.
            pub fn is_per_block(&self) -> bool { match self { $(Self::$variant(_) => $per_block,)* } }
            /// See [`KernelSpec::parts`].
            pub fn parts(&self) -> Option<Parts> { match self { $(Self::$variant(k) => k.parts(),)* } }
            /// See [`KernelSpec::run_part`].
            #[inline(always)]
            pub fn run_part(&self, first: usize, bindings: &mut [Binding]) { match self { $(Self::$variant(k) => k.run_part(first, bindings),)* } }
            /// The twin: see [`KernelSpec::run`].
            pub fn run(&self, index: u32, bindings: &mut [Binding]) { match self { $(Self::$variant(k) => k.run(index, bindings),)* } }
        }

        $(impl From<$module::$variant> for Kernel { fn from(kernel: $module::$variant) -> Self { Self::$variant(kernel) } })*
    };
}

kernels! {
    Random, random, "Fills a per-block buffer with random numbers.", true;
    DrawReal, draw_real, "Draws a batch of the data set.", true;
    DrawToy, draw_toy, "Draws a batch of fresh points.", true;
    DrawNegatives, draw_negatives, "Draws the chains' starts.", true;
    AugmentStarts, augment_starts, "Changes chain starts a little.", true;
    CopyImages, copy_images, "Copies the real images, with noise.", false;
    Langevin, langevin, "Moves the chains.", true;
    MalaAccept, mala_accept, "Accepts or rejects proposals of chains.", true;
    MalaPropose, mala_propose, "Moves chains to accepted proposals, and makes the next.", true;
    AnnealAccept, anneal_accept, "Weights, and proposals judged, between a base and a model.", true;
    AnnealPropose, anneal_propose, "Proposals between a base and a model.", true;
    MeanAcceptance, mean_acceptance, "The share of proposals that were accepted.", false;
    Chain, chain, "Whole Langevin steps.", false;
    ConvForward, conv_forward, "Convolution and activation.", true;
    ConvInputGradient, conv_input_gradient, "Gradient with respect to a convolution's input.", true;
    ConvWeightGradient, conv_weight_gradient, "Partial sums of the gradient of a convolution's weights and biases.", false;
    DenseForward, dense_forward, "Dense layer and activation.", true;
    DenseInputGradient, dense_input_gradient, "Gradient with respect to a dense layer's input.", true;
    DenseWeightGradient, dense_weight_gradient, "Partial sums of the gradient of a dense layer's weights and biases.", false;
    LstmForward, lstm_forward, "Some steps of an LSTM cell.", true;
    LstmBackward, lstm_backward, "Some steps of an LSTM cell, backward.", true;
    LstmWeightGradient, lstm_weight_gradient, "Partial sums of the gradient of an LSTM cell's weights and biases.", false;
    LstmPack, lstm_pack, "Rearranges an LSTM cell's weights.", false;
    PoolForward, pool_forward, "Global average pool.", true;
    PoolInputGradient, pool_input_gradient, "Gradient with respect to a global average pool's input.", true;
    AnalyticEnergy, analytic_energy, "Energies with a formula, and their gradients.", true;
    ReducePartials, reduce_partials, "Adds up partial gradients.", false;
    ContrastiveLoss, contrastive_loss, "Energies to loss, metrics and seeds.", false;
    Smoothness, smoothness, "Adds the smoothness penalty.", false;
    WeightPenalty, weight_penalty, "Adds the weights' L2 penalty to the gradient.", false;
    AddPenalty, add_penalty, "Adds the weights' L2 penalty to the metrics.", false;
    AverageWeights, average_weights, "Moves the average of the parameters on.", false;
    Perturb, perturb, "Blurs images for denoising.", true;
    JetStart, jet_start, "The streams of a jet at the network's input.", true;
    ActivationJet, activation_jet, "The activation of a jet.", true;
    ActivationJetBackward, activation_jet_backward, "The way back through an activation's jet.", true;
    ActivationSecond, activation_second, "An activation with its first two derivatives.", true;
    ChainRule, chain_rule, "The chain rule at an activation, of first and second order.", true;
    AddValues, add_values, "Adds one per-block buffer to another.", true;
    ScoreDirection, score_direction, "What the energy's gradient is to lose.", true;
    KlDirection, kl_direction, "Where the KL term of a chain's last step begins.", true;
    ScoreLoss, score_loss, "A jet's derivatives to loss, metrics and seeds.", false;
    SpectralInput, spectral_input, "A power iteration on weights, first half.", false;
    SpectralOutput, spectral_output, "A power iteration on weights, second half.", false;
    SpectralBound, spectral_bound, "Scales weights down to a spectral norm.", false;
    SumSquares, sum_squares, "Partial sums of squares of the gradient.", false;
    ClipScale, clip_scale, "Gradient norm and the factor that clips it.", false;
    Adam, adam, "Updates the parameters.", false;
    PackWeights, pack_weights, "Rearranges a layer's weights.", false;
    PushReplay, push_replay, "Puts refined chains into the replay ring.", false;
    MultiplyAdds, multiply_adds, "Multiply-adds on registers, to be timed.", false;
    Advance, advance, "Ends a training step.", false;
    CountNonFinite, count_non_finite, "Counts numbers that are not finite.", false;
    ImageStatistics, image_statistics, "How different the images of a batch are.", false;
    Guard, guard, "Judges a training step.", false;
    CheckState, check_state, "Whether a snapshot is to be kept.", false;
    CopyWords, copy_words, "Copies a buffer.", false;
}
