//! The fused chain: whole Langevin steps in one launch, a workgroup an image (`shaders/sampling/chain.wgsl`).
//!
//! On a GPU the chain by layers is a dozen launches a Langevin step, each a few microseconds of work; here the number
//! of launches does not grow with the number of steps.

use crate::kernels::conv_forward::ConvForward;
use crate::kernels::conv_input_gradient::ConvInputGradient;
use crate::kernels::dynamics::{Dynamics, DynamicsParams, Form};
use crate::kernels::langevin::{COMMON_LEVEL, Langevin, OWN_LEVELS};
use crate::kernels::pack_weights::{PackWeights, Packing, Tile};
use crate::kernels::prelude::*;
use crate::network::{Activation, ConvShape, Network, Operation};

/// Invocations of a workgroup.
pub const SIZE: usize = 256;
/// Pixels of a tile.
const TILE: usize = 4;
/// Layers a network may have.
pub const MAX_LAYERS: usize = 16;
/// Values an image may have: it lies in workgroup memory, beside 8 KiB for sums.
pub const MAX_FEATURES: usize = 2048;

/// Where hidden layers' values and gradients lie while a step goes through them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hidden {
    /// In a buffer of the chain's own, which stays in a cache (`shaders/lib/chain_scratch.wgsl`): the 16 KiB of workgroup
    /// memory that every adapter has are enough.
    #[default]
    Scratch,
    /// In workgroup memory, all but the slopes (`shaders/lib/chain_workgroup.wgsl`): [`workgroup_memory`] says how much.
    Workgroup,
}

/// Whole Langevin steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Images in a block.
    pub lanes: u32,
    /// The first image that moves, counted from the first of [`Self::first_block`]: a multiple of the lanes.
    pub first_image: u32,
    /// Images that move.
    pub n_images: u32,
    /// The layers, first to last.
    pub layers: Vec<ChainLayer>,
    /// Where they keep what they hand on.
    pub hidden: Hidden,
    /// The first step.
    pub first_step: u32,
    /// Steps.
    pub n_steps: u32,
    /// How they move: any form but [`Form::Mala`].
    pub dynamics: Dynamics,
    /// The range's first block: the twin is handed all of them.
    pub first_block: u32,
    /// Whether each chain begins at a level of its own, which a buffer holds.
    pub own_levels: bool,
}

/// A layer as the fused chain sees it: a convolution, whatever it was. A dense layer has one pixel, whose channels are
/// all its features.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainLayer {
    /// All sizes.
    pub shape: ConvShape,
    /// Pixels that a dense layer's features are made of; 1 for a convolution.
    pub flattened: usize,
    /// What follows.
    pub activation: Activation,
    /// Where the weights lie in the parameters.
    pub weight_offset: usize,
    /// Where the biases lie in the parameters.
    pub bias_offset: usize,
    /// Where the weights packed forward lie in the packed weights, in floats.
    pub forward: usize,
    /// Where the weights packed backward lie in the packed weights, in floats.
    pub backward: usize,
}

impl ChainLayer {
    /// The orders of its weights: all channels are one tile.
    fn packings(&self) -> (Packing, Packing) {
        let (s, flattened) = (self.shape, self.flattened);
        (
            Packing { flattened, ..Packing::forward(s, s.out_channels.next_multiple_of(4)) },
            Packing { flattened, ..Packing::backward(s, s.in_channels.next_multiple_of(4)) },
        )
    }
}

/// A network's layers for the fused chain, or None where it does not fit: too many values or layers, hidden channels
/// that do not come in fours, or a layer that is neither convolution nor dense.
pub fn chain_layers(network: &Network) -> Option<Vec<ChainLayer>> {
    let mut layers: Vec<ChainLayer> = Vec::new();
    let mut packed = 0;
    for layer in &network.layers {
        let shape = match layer.operation {
            Operation::Conv(shape) => shape,
            Operation::Pool(_) | Operation::Lstm(_) | Operation::Analytic(_) => return None,
            Operation::Dense(d) => ConvShape {
                in_channels: d.in_len(),
                in_height: 1,
                in_width: 1,
                out_channels: d.units,
                out_height: 1,
                out_width: 1,
                kernel_height: 1,
                kernel_width: 1,
                stride_y: 1,
                stride_x: 1,
                pad_top: 0,
                pad_left: 0,
            },
        };
        let flattened = match layer.operation {
            Operation::Dense(d) => d.in_pixels,
            _ => 1,
        };
        let mut layer = ChainLayer {
            shape,
            flattened,
            activation: layer.activation,
            weight_offset: layer.weight_offset,
            bias_offset: layer.bias_offset(),
            forward: packed,
            backward: 0,
        };
        let (forward, backward) = layer.packings();
        layer.backward = packed + forward.len();
        packed = layer.backward + backward.len();
        layers.push(layer);
    }
    let hidden = &layers[..layers.len() - 1];
    let hidden_fit = hidden.iter().all(|l| l.shape.out_channels.is_multiple_of(4));
    let fits = network.input.len() <= MAX_FEATURES && layers.len() <= MAX_LAYERS && hidden_fit;
    fits.then_some(layers)
}

/// The launches that pack the weights of `layers`.
pub fn pack_chain(layers: &[ChainLayer]) -> impl Iterator<Item = PackWeights> {
    layers.iter().flat_map(|layer| {
        let (forward, backward) = layer.packings();
        let weight_offset = layer.weight_offset;
        [(forward, layer.forward), (backward, layer.backward)].map(|(packing, packed_offset)| PackWeights {
            packing,
            weight_offset,
            packed_offset,
        })
    })
}

/// Floats of the packed weights of `layers`.
pub fn packed_len(layers: &[ChainLayer]) -> usize {
    layers.last().map_or(0, |layer| layer.backward + layer.packings().1.len())
}

/// Fours of zeros that stand for a pixel in the padding: as many as a pixel has, in the widest layer that looks beside
/// its image.
fn zeros(layers: &[ChainLayer]) -> usize {
    let looks_beside = |l: &&ChainLayer| {
        let s = &l.shape;
        let sizes = [s.kernel_height, s.kernel_width, s.stride_y, s.stride_x];
        sizes != [1; 4] || (s.in_height, s.in_width) != (s.out_height, s.out_width)
    };
    let channels = |l: &ChainLayer| l.shape.out_channels.max(l.shape.in_channels).div_ceil(4);
    layers.iter().filter(looks_beside).map(channels).max().unwrap_or(1)
}

/// Fours of one layer's output.
fn out_fours(layer: &ChainLayer) -> usize {
    layer.shape.out_height * layer.shape.out_width * layer.shape.out_channels.div_ceil(4)
}

/// Floats of one image's scratch.
pub fn scratch_len(layers: &[ChainLayer], hidden: Hidden) -> usize {
    let slopes: usize = layers.iter().map(out_fours).sum();
    match hidden {
        Hidden::Scratch => 4 * (zeros(layers) + 2 * slopes),
        Hidden::Workgroup => 4 * slopes,
    }
}

/// Fours of workgroup memory before each of the two regions of [`Hidden::Workgroup`], and behind both. A region holds any
/// layer of its parity, or two sums of each invocation.
fn regions(layers: &[ChainLayer]) -> [usize; 3] {
    let of =
        |parity: usize| layers.iter().skip(parity).step_by(2).map(out_fours).max().unwrap_or(0).max(2 * SIZE);
    let first = zeros(layers);
    [first, first + of(0), first + of(0) + of(1)]
}

/// Bytes of workgroup memory that the chain takes.
pub fn workgroup_memory(layers: &[ChainLayer], hidden: Hidden) -> usize {
    let fours = match hidden {
        Hidden::Scratch => 2 * SIZE,
        Hidden::Workgroup => regions(layers)[2],
    };
    let image = layers[0].shape.in_len();
    16 * (fours + image.div_ceil(4))
}

shader_struct! {
    /// `Layer` of `shaders/sampling/chain.wgsl`.
    #[derive(Default)]
    LayerParams {
        in_channels: u32, in_height: u32, in_width: u32, out_channels: u32, out_height: u32,
        out_width: u32, kernel_height: u32, kernel_width: u32, stride_y: u32, stride_x: u32,
        pad_top: u32, pad_left: u32, forward_weights: u32, backward_weights: u32, bias: u32,
        activation: u32, value: u32, gradient: u32, forward_split: u32, backward_split: u32, leak: f32,
        slope: u32, spare0: u32, spare1: u32,
    }
}

shader_struct! {
    /// `Params` of `shaders/sampling/chain.wgsl`.
    Params {
        dynamics: DynamicsParams, first_block: u32, chain_step: u32, n_steps: u32, first_image: u32,
        n_layers: u32, spare0: u32, spare1: u32, spare2: u32, layers: [LayerParams; MAX_LAYERS],
    }
}

impl Chain {
    /// How many invocations share a tile, of `items` tiles whose sums run over `fours` of channels.
    fn split(items: usize, fours: usize) -> u32 {
        let mut split = 1;
        while 2 * split * items <= SIZE && 2 * split <= fours {
            split *= 2;
        }
        split as u32
    }

    fn layer_params(&self) -> [LayerParams; MAX_LAYERS] {
        let mut params = [LayerParams::default(); MAX_LAYERS];
        let (mut in_scratch, regions) = (zeros(&self.layers), regions(&self.layers));
        let mut slopes = 0;
        for (i, (layer, params)) in self.layers.iter().zip(&mut params).enumerate() {
            let s = &layer.shape;
            let (in4, out4) = (s.in_channels.div_ceil(4), s.out_channels.div_ceil(4));
            let fours = out_fours(layer);
            let (value, gradient, slope) = match self.hidden {
                Hidden::Scratch => (in_scratch, in_scratch + fours, in_scratch + fours),
                Hidden::Workgroup => (regions[i % 2], regions[i % 2], slopes),
            };
            in_scratch += 2 * fours;
            slopes += fours;
            let forward_items = out4 * (s.out_height * s.out_width).div_ceil(TILE);
            let phase_pixels = s.in_height.div_ceil(s.stride_y) * s.in_width.div_ceil(s.stride_x);
            let backward_items = in4 * phase_pixels.div_ceil(TILE) * s.stride_y * s.stride_x;
            *params = LayerParams {
                in_channels: s.in_channels as u32,
                in_height: s.in_height as u32,
                in_width: s.in_width as u32,
                out_channels: s.out_channels as u32,
                out_height: s.out_height as u32,
                out_width: s.out_width as u32,
                kernel_height: s.kernel_height as u32,
                kernel_width: s.kernel_width as u32,
                stride_y: s.stride_y as u32,
                stride_x: s.stride_x as u32,
                pad_top: s.pad_top as u32,
                pad_left: s.pad_left as u32,
                forward_weights: layer.forward as u32 / 4,
                backward_weights: layer.backward as u32 / 4,
                bias: layer.bias_offset as u32,
                activation: layer.activation.code(),
                value: value as u32,
                gradient: gradient as u32,
                slope: slope as u32,
                // The first layer reads x, whose channels are not split.
                forward_split: if i == 0 { 1 } else { Self::split(forward_items, in4) },
                backward_split: Self::split(backward_items, out4),
                leak: layer.activation.leak(),
                ..LayerParams::default()
            };
        }
        params
    }

    /// The length of the parameter vector, at least.
    fn n_parameters(&self) -> usize {
        self.layers.iter().map(|layer| layer.bias_offset + layer.shape.out_channels).max().unwrap_or(0)
    }

    fn features(&self) -> usize {
        self.layers[0].shape.in_len()
    }
}

impl KernelSpec for Chain {
    const SOURCE: &'static str =
        shader!["lib/state", "lib/activation", "lib/random", "lib/dynamics", "sampling/chain"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; packed weights; parameters; x; scratch; the chains' levels, if they have their own.
    const ACCESS: &'static [Access] = &[Read, Read, Read, ReadWrite, Scratch];
    /// A few Langevin steps of the whole network. Each multiplies earlier errors by its step size and the energy's
    /// curvature. `x` is of magnitude 1.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-4);

    fn access(&self) -> &'static [Access] {
        if self.own_levels { &[Read, Read, Read, ReadWrite, Scratch, Read] } else { Self::ACCESS }
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![
            Need::STATE,
            Need::AtLeast(packed_len(&self.layers)),
            Need::AtLeast(self.n_parameters()),
            Need::PerBlock(self.features()),
            Need::AtLeast(self.n_images as usize * scratch_len(&self.layers, self.hidden)),
        ];
        needs.extend(self.own_levels.then_some(Need::PerBlock(1)));
        needs
    }

    fn prelude(&self) -> String {
        let features = self.features();
        let sizes = format!(
            "const SIZE = {SIZE}u;\nconst FEATURES = {features}u;\nconst MAX_LAYERS = {MAX_LAYERS}u;\n"
        );
        let sizes = sizes
            + &if self.own_levels { OWN_LEVELS.replace("BINDING", "6") } else { COMMON_LEVEL.to_owned() };
        match self.hidden {
            Hidden::Scratch => sizes + shader!["lib/chain_scratch"],
            Hidden::Workgroup => {
                let hidden = format!("const HIDDEN = {}u;\n", regions(&self.layers)[2]);
                sizes + &hidden + shader!["lib/chain_workgroup"]
            }
        }
    }

    fn overrides(&self) -> Overrides {
        overrides![
            LANES: self.lanes, N_LAYERS: self.layers.len(), ZEROS: zeros(&self.layers),
            SCRATCH: scratch_len(&self.layers, self.hidden) / 4,
        ]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params {
            dynamics: self.dynamics.params(),
            first_block: self.first_block,
            chain_step: self.first_step,
            n_steps: self.n_steps,
            first_image: self.first_image,
            n_layers: self.layers.len() as u32,
            spare0: 0,
            spare1: 0,
            spare2: 0,
            layers: self.layer_params(),
        }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [self.n_images, 1, 1]
    }

    /// The chain by layers: the twins of the kernels that it fuses, block by block.
    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let (levels, bindings) = match bindings {
            [rest @ .., levels] if self.own_levels => (Some(levels.floats()), rest),
            all => (None, all),
        };
        let [state, weights, parameters, x, _] = bound(bindings);
        let (state, weights, parameters) = (State::of(state.words()), weights.floats(), parameters.floats());
        let (lanes, features) = (self.lanes as usize, self.features());
        let mut values: Vec<Vec<f32>> =
            self.layers.iter().map(|l| vec![0.0; l.shape.out_len() * lanes]).collect();
        let mut slopes = values.clone();
        let n_blocks = self.n_images.div_ceil(self.lanes);
        let first = self.first_image / self.lanes;
        let blocks = x.floats_mut().chunks_exact_mut(features * lanes);
        let blocks = blocks.skip((self.first_block + first) as usize).take(n_blocks as usize);
        for (number, x) in blocks.enumerate() {
            let index = first + number as u32;
            let levels = levels.map(|levels| &levels[(self.first_block + index) as usize * lanes..][..lanes]);
            let untouched = x.to_vec();
            for step in self.first_step..self.first_step + self.n_steps {
                let langevin = |moves, perturbs| Langevin {
                    lanes: self.lanes,
                    features,
                    moves,
                    perturbs,
                    dynamics: self.dynamics,
                    own_levels: self.own_levels,
                };
                let noise_first = self.dynamics.form == Form::NoiseFirst;
                if noise_first {
                    // No gradient has come yet: anything of its size will do.
                    langevin(false, Some(step)).block(&state, index, &untouched, x, None);
                }
                let mut input: &[f32] = x;
                for (layer, (value, slope)) in self.layers.iter().zip(values.iter_mut().zip(&mut slopes)) {
                    let kernel = ConvForward {
                        lanes: self.lanes,
                        shape: layer.shape,
                        tile: Tile { channels: layer.packings().0.tile, pixels: 1 },
                        bias_offset: layer.bias_offset,
                        activation: layer.activation,
                    };
                    let bias = &parameters[layer.bias_offset..];
                    kernel.reference(input, &weights[layer.forward..], bias, value, slope);
                    input = value;
                }
                let mut gradient = slopes[slopes.len() - 1].clone();
                for (i, layer) in self.layers.iter().enumerate().rev() {
                    let kernel = ConvInputGradient {
                        lanes: self.lanes,
                        shape: layer.shape,
                        tile: Tile { channels: layer.packings().1.tile, pixels: 1 },
                        slope: if i > 0 { Slope::Beside } else { Slope::None },
                    };
                    let mut to = vec![0.0; layer.shape.in_len() * lanes];
                    let slope: &[f32] = if i > 0 { &slopes[i - 1] } else { &[] };
                    kernel.reference(&gradient, &weights[layer.backward..], slope, &mut to);
                    gradient = to;
                }
                let noise = if noise_first { None } else { Some(step) };
                langevin(true, noise).block(&state, index, &gradient, x, levels);
            }
            // Lanes beyond the last image have no workgroup.
            let n = (self.n_images as usize - number * lanes).min(lanes);
            for (x, before) in x.chunks_exact_mut(lanes).zip(untouched.chunks_exact(lanes)) {
                x[n..].copy_from_slice(&before[n..]);
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        cases::add(bench);
    }
}

#[cfg(test)]
mod cases {
    use super::*;
    use crate::data::Shape;
    use crate::kernels::dynamics::Interpolation;
    use crate::network::LayerSpec;

    /// A convolution and two dense layers, of which the first is odd; `tests/chain.rs` has whole chains of more networks.
    pub(super) fn add(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        let input = Shape { channels: 3, height: 5, width: 4 };
        let padding = crate::network::Padding { top: 1, bottom: 0, left: 0, right: 2 };
        let activation = Activation::Swish;
        let conv = LayerSpec::Conv { channels: 8, kernel: [3, 2], stride: [2, 1], padding, activation };
        let dense = |units, activation| LayerSpec::Dense { units, activation };
        let specs = [conv, dense(12, activation), dense(1, Activation::Identity)];
        let network = Network::new("odd", input, &specs).unwrap();
        let layers = chain_layers(&network).unwrap();
        let parameters = bench.random_flat("parameters", network.n_parameters);
        let weights = bench.flat("packed weights", packed_len(&layers));
        for kernel in pack_chain(&layers) {
            let [from, to] = [parameters, weights].map(|id| bench.contents[id.0].clone());
            let mut to = to;
            kernel.run(0, &mut [Binding::Read(&from), Binding::Write(&mut to)]);
            bench.contents[weights.0] = to;
        }
        for (hidden, form, own_levels) in [
            (Hidden::Scratch, Form::NoiseFirst, false),
            (Hidden::Workgroup, Form::NoiseLast, false),
            (Hidden::Scratch, Form::Annealed, true),
        ] {
            let (features, n_images) = (input.len(), 2 * lanes - 3);
            let state = bench.at_step(2);
            let x = bench.images("x", features);
            let scratch = bench.flat("scratch", n_images as usize * scratch_len(&layers, hidden));
            let dynamics = Dynamics {
                form,
                step_size: 0.1,
                step_size_end: 0.1,
                noise: 0.1,
                noise_end: if own_levels { 0.05 } else { 0.1 },
                interpolation: Interpolation::Linear,
                levels: if own_levels { 7 } else { 0 },
                stay_step_size: 0.2,
                final_step: u32::MAX,
                temperature: 1.0,
                gradient_clip: 0.5,
                bound: 1.0,
            };
            let layers = layers.clone();
            let (first_image, first_block, first_step, n_steps) = (0, BLOCKS.start, 1, 2);
            let kernel = Chain {
                lanes,
                first_image,
                n_images,
                layers,
                hidden,
                first_step,
                n_steps,
                dynamics,
                first_block,
                own_levels,
            };
            let all = bench.words_of(features, &BLOCKS);
            // The last three lanes have no image.
            let rows = all.step_by(lanes as usize).enumerate();
            let row = |(i, at): (usize, usize)| at..at + lanes as usize - if i >= features { 3 } else { 0 };
            let written = rows.map(row).collect();
            let mut bindings = vec![state, weights, parameters, x, scratch];
            if own_levels {
                let levels = bench.per_block("levels", 1);
                for (lane, word) in bench.words_of(1, &BLOCKS).enumerate() {
                    bench.contents[levels.0][word] = ((lane % 9) as f32).to_bits();
                }
                bindings.push(levels);
            }
            bench.run_whole(kernel, &bindings, &[(x, written)]);
        }
    }
}
