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

pub mod activation_jet;
pub mod activation_jet_backward;
pub mod activation_second;
pub mod adam;
pub mod add_penalty;
pub mod add_values;
pub mod advance;
pub mod analytic_energy;
pub mod anneal_accept;
pub mod anneal_propose;
pub mod augment_starts;
pub mod average_weights;
pub mod chain;
pub mod chain_rule;
pub mod check_state;
pub mod clip_scale;
pub mod contrastive_loss;
pub mod conv_forward;
pub mod conv_input_gradient;
pub mod conv_weight_gradient;
pub mod copy_images;
pub mod copy_words;
pub mod count_non_finite;
pub mod dense_forward;
pub mod dense_input_gradient;
pub mod dense_weight_gradient;
pub mod draw_negatives;
pub mod draw_real;
pub mod draw_toy;
pub mod dynamics;
pub mod guard;
pub mod image_statistics;
pub mod jet_start;
pub mod kl_direction;
pub mod langevin;
pub mod lstm_backward;
pub mod lstm_forward;
pub mod lstm_pack;
pub mod lstm_weight_gradient;
pub mod mala_accept;
pub mod mala_propose;
pub mod mean_acceptance;
pub mod multiply_adds;
pub mod pack_weights;
pub mod perturb;
pub mod pool_forward;
pub mod pool_input_gradient;
pub mod push_replay;
pub mod random;
pub mod reduce_partials;
pub mod score_direction;
pub mod score_loss;
pub mod smoothness;
pub mod spectral_bound;
pub mod spectral_input;
pub mod spectral_output;
pub mod sum_squares;
pub mod weight_penalty;

use crate::network::Activation;
use std::ops::Range;

/// Invocations in a workgroup, of every kernel that leaves the choice open.
pub const WORKGROUP_SIZE: u32 = 64;

/// What a kernel does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads it only.
    Read,
    /// Writes it; elements that it leaves alone keep their value.
    Write,
    /// Reads and writes it.
    ReadWrite,
    /// Reads and writes it, and leaves nothing there that anyone should look at.
    Scratch,
}

/// A buffer, or one block of it, handed to a twin.
#[derive(Debug)]
pub enum Binding<'a> {
    /// For [`Access::Read`].
    Read(&'a [u32]),
    /// For everything else.
    Write(&'a mut [u32]),
}

impl Binding<'_> {
    /// The words.
    pub fn words(&self) -> &[u32] {
        match self {
            Self::Read(words) => words,
            Self::Write(words) => words,
        }
    }

    /// The words as floats.
    pub fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(self.words())
    }

    /// The words, to be written.
    pub fn words_mut(&mut self) -> &mut [u32] {
        match self {
            Self::Read(_) => panic!("a kernel writes a binding that it declared as read-only"),
            Self::Write(words) => words,
        }
    }

    /// The words as floats, to be written.
    pub fn floats_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.words_mut())
    }
}

/// What every kernel says of itself.
pub trait Describe {
    /// The shader's file name under `shaders/`, without its ending.
    const NAME: &'static str;
    /// The shader's text, shared functions included.
    const SOURCE: &'static str;
    /// Bindings 1, 2, ... in order; binding 0 is the uniform struct.
    const ACCESS: &'static [Access];

    /// Declarations that go in front of the text: what `override` can't reach, such as the size of a local array.
    fn prelude(&self) -> String {
        String::new()
    }

    /// Values of the shader's `override`s.
    fn overrides(&self) -> Vec<(&'static str, f64)>;

    /// The uniform struct's bytes for a launch over `blocks`.
    fn uniform(&self, blocks: &Range<u32>) -> Vec<u8>;

    /// Workgroups for a launch over `blocks`.
    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3];

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

/// How a kernel that is not per block falls into parts: by items, such as parameters or tiles of channels, of which each
/// owns its words in every binding that the kernel writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Items.
    pub items: usize,
    /// Words of an item in each binding that is written, one item after the other.
    pub words: usize,
    /// Where the first item's words begin there.
    pub offset: usize,
    /// How long the twin takes for an item, about: as long as to copy so many words, each 0.1 to 0.2 ns.
    pub cost: usize,
}

impl Parts {
    /// For a kernel that does the same to every parameter.
    pub fn parameters(n_parameters: usize, cost: usize) -> Self {
        Self { items: n_parameters, words: 1, offset: 0, cost }
    }

    /// Bindings for parts of `items` items, and the first item of each; the last part may have fewer.
    pub fn cut<'b>(&self, items: usize, bindings: &'b mut [Binding]) -> Vec<(usize, Vec<Binding<'b>>)> {
        let items = items.max(1);
        let mut parts: Vec<(usize, Vec<Binding>)> =
            (0..self.items).step_by(items).map(|first| (first, Vec::with_capacity(bindings.len()))).collect();
        for binding in bindings {
            match binding {
                Binding::Read(words) => parts.iter_mut().for_each(|(_, of)| of.push(Binding::Read(words))),
                Binding::Write(words) => {
                    let words = &mut words[self.offset..][..self.items * self.words];
                    for ((_, of), words) in parts.iter_mut().zip(words.chunks_mut(items * self.words)) {
                        of.push(Binding::Write(words));
                    }
                }
            }
        }
        parts
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
            pub fn overrides(&self) -> Vec<(&'static str, f64)> { match self { $(Self::$variant(k) => k.overrides(),)* } }
            /// The uniform struct's bytes for a launch over `blocks`.
            pub fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> { match self { $(Self::$variant(k) => k.uniform(blocks),)* } }
            /// Workgroups for a launch over `blocks`.
            pub fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] { match self { $(Self::$variant(k) => k.workgroups(blocks),)* } }
            /// Whether blocks are independent of each other: each invocation touches per-block buffers in its own
            /// block only, and writes no other buffer.
            pub fn is_per_block(&self) -> bool { match self { $(Self::$variant(_) => $per_block,)* } }
            /// See [`Describe::parts`].
            pub fn parts(&self) -> Option<Parts> { match self { $(Self::$variant(k) => k.parts(),)* } }
            /// See [`Describe::run_part`].
            #[inline(always)]
            pub fn run_part(&self, first: usize, bindings: &mut [Binding]) { match self { $(Self::$variant(k) => k.run_part(first, bindings),)* } }
            /// The twin: see [`Describe::run`].
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

/// A float that twins are generic over: `f32` as the engine computes, `f64` to judge it by.
pub trait Real:
    Copy
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::AddAssign
{
    /// From a literal.
    fn from_f64(value: f64) -> Self;
    /// `e` to the power of it.
    fn exp(self) -> Self;
    /// `exp(self) - 1`, right near 0, too.
    fn exp_m1(self) -> Self;
    /// `ln(1 + self)`, right near 0, too.
    fn ln_1p(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Cosine and sine of it, in turns.
    fn circle(self) -> [Self; 2];
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn exp(self) -> Self {
        f32::exp(self)
    }
    fn exp_m1(self) -> Self {
        f32::exp_m1(self)
    }
    fn ln_1p(self) -> Self {
        f32::ln_1p(self)
    }
    fn tanh(self) -> Self {
        f32::tanh(self)
    }
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    fn circle(self) -> [Self; 2] {
        crate::random::circle(self)
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn exp_m1(self) -> Self {
        f64::exp_m1(self)
    }
    fn ln_1p(self) -> Self {
        f64::ln_1p(self)
    }
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    fn circle(self) -> [Self; 2] {
        let (sine, cosine) = (std::f64::consts::TAU * self).sin_cos();
        [cosine, sine]
    }
}

/// Where the derivative of an activation is, for a layer after it to multiply the gradient of its input by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slope {
    /// There is no activation before the layer.
    None,
    /// In a buffer of its own, which stays.
    Beside,
    /// Where the gradient goes: one buffer less at work in a chain.
    InPlace,
}

impl Slope {
    /// The slope: one of `beside`, or still in `grad`.
    #[inline(always)]
    pub(crate) fn of<'s, R>(self, beside: &'s [R], grad: &'s [R]) -> Option<&'s [R]> {
        match self {
            Self::None => None,
            Self::Beside => Some(beside),
            Self::InPlace => Some(grad),
        }
    }

    /// `sum`, times number `at` of the slope.
    fn times<R: Real>(self, sum: R, beside: &[R], grad: &[R], at: usize) -> R {
        self.of(beside, grad).map_or(sum, |slope| sum * slope[at])
    }
}

/// The activation's value and its derivative at `z` (`shaders/lib/activation.wgsl`). No `z` overflows.
pub fn activate<R: Real>(activation: Activation, z: R) -> (R, R) {
    let (zero, one) = (R::from_f64(0.0), R::from_f64(1.0));
    let sigmoid = || one / (one + (zero - z).exp());
    match activation {
        Activation::Identity => (z, one),
        Activation::Swish => {
            let s = sigmoid();
            let y = z * s;
            (y, s + y * (one - s))
        }
        Activation::LeakyRelu(_) | Activation::Relu => {
            let slope = if z > zero { one } else { R::from_f64(activation.leak().into()) };
            (slope * z, slope)
        }
        Activation::Elu if z > zero => (z, one),
        Activation::Elu => (z.exp_m1(), z.exp()),
        Activation::Softplus if z > zero => (z + (zero - z).exp().ln_1p(), sigmoid()),
        Activation::Softplus => (z.exp().ln_1p(), sigmoid()),
        Activation::Tanh => {
            let y = z.tanh();
            (y, one - y * y)
        }
    }
}

/// How four lanes lie in a shader's buffers: as a vector of floats, or in words of 64 bits.
fn fours(int64: bool) -> &'static str {
    if int64 {
        include_str!("../../shaders/lib/fours_int64.wgsl")
    } else {
        include_str!("../../shaders/lib/fours.wgsl")
    }
}

/// Workgroups in x for `items` by `invocations`: a lane's, or four lanes' in a `vec4f`.
fn groups(items: usize, invocations: u32) -> u32 {
    (items as u32 * invocations).div_ceil(WORKGROUP_SIZE)
}

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
    fn new(blocks: &Range<u32>, slope: Slope) -> Self {
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

/// The words of the resident state (`shaders/lib/state.wgsl`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct State {
    /// Training steps done; for a sampler, 0.
    pub step: u32,
    /// The replay slot that the next push begins at.
    pub ring_head: u32,
    /// Replay slots that hold an image.
    pub ring_length: u32,
    /// Low half of the seed: the generator's key.
    pub seed_low: u32,
    /// High half of the seed.
    pub seed_high: u32,
    /// Langevin steps that chains have done before this plan's first; 0 in training.
    pub chain_base: u32,
    /// How often training went back to a snapshot.
    pub retries: u32,
    /// Why training was halted ([`guard::Reason`]); 0 while it goes on.
    pub halted: u32,
    /// The number of the plan's first image among all that are drawn: 0 but where [`crate::Sampler`] takes so many images at a
    /// time. Random numbers go by an image's number among all.
    pub first_image: u32,
}

impl State {
    /// Words on a device.
    pub const WORDS: usize = 9;
    /// Those of them that files hold: the others are 0 in training.
    pub const SAVED: usize = 8;

    /// The generator's key.
    pub fn key(&self) -> [u32; 2] {
        [self.seed_low, self.seed_high]
    }

    /// Reads the bound state, or one from a file.
    pub fn of(words: &[u32]) -> Self {
        let mut all = [0; Self::WORDS];
        let n = words.len().min(Self::WORDS);
        all[..n].copy_from_slice(&words[..n]);
        bytemuck::cast(all)
    }
}
