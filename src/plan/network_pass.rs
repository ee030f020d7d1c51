//! The network's part of every plan: packed weights, forward pass, backward pass, parameter gradient.

use super::{BufferId, Launch, Plan, Target};
use crate::kernels::conv_forward::ConvForward;
use crate::kernels::conv_input_gradient::ConvInputGradient;
use crate::kernels::conv_weight_gradient::{Chunks, ConvWeightGradient};
use crate::kernels::dense_forward::DenseForward;
use crate::kernels::dense_input_gradient::DenseInputGradient;
use crate::kernels::dense_weight_gradient::DenseWeightGradient;
use crate::kernels::pack_weights::{PackWeights, Tile};
use crate::kernels::{Kernel, pack_weights};
use crate::network::{Network, Operation};
use std::ops::Range;

/// The buffers that a network needs for a batch, and the launches that use them.
#[derive(Clone, Debug)]
pub struct NetworkPass {
    network: Network,
    target: Target,
    /// The flat parameter vector.
    pub parameters: BufferId,
    /// Input images.
    pub x: BufferId,
    /// Energy of each image: the last layer's output.
    pub energies: BufferId,
    /// Gradient of the energy with respect to the input.
    pub input_gradient: BufferId,
    /// Gradient with respect to each energy, where a backward pass for the parameters begins.
    pub seeds: BufferId,
    layers: Vec<LayerBuffers>,
}

#[derive(Clone, Debug)]
struct LayerBuffers {
    forward: BufferId,  // weights packed for the forward pass
    backward: BufferId, // weights packed for the input gradient
    output: BufferId,   // after the activation
    slope: BufferId,    // the activation's derivative
    gradient: BufferId, // of the pre-activation; the last layer's is the seeds
}

impl NetworkPass {
    /// Adds the network's buffers to a plan.
    pub(super) fn new(plan: &mut Plan, network: &Network, target: Target) -> Self {
        let parameters = plan.flat("parameters", network.n_parameters);
        let x = plan.per_block("x", network.input.len());
        let input_gradient = plan.per_block("input gradient", network.input.len());
        let seeds = plan.per_block("seeds", 1);
        let last = network.layers.len() - 1;
        let mut layers = Vec::new();
        for (i, layer) in network.layers.iter().enumerate() {
            let (forward, backward) = packings(&layer.operation, target);
            let name = &layer.name;
            layers.push(LayerBuffers {
                forward: plan.flat(format!("{name} packed forward"), forward.len()),
                backward: plan.flat(format!("{name} packed backward"), backward.len()),
                output: plan.per_block(format!("{name} output"), layer.out_len),
                slope: plan.per_block(format!("{name} slope"), layer.out_len),
                gradient: if i == last {
                    seeds
                } else {
                    plan.per_block(format!("{name} gradient"), layer.out_len)
                },
            });
        }
        let energies = layers[last].output;
        Self { network: network.clone(), target, parameters, x, energies, input_gradient, seeds, layers }
    }

    /// Values of one image.
    pub(super) fn features(&self) -> usize {
        self.network.input.len()
    }

    /// Images in a block.
    pub(super) fn lanes(&self) -> u32 {
        self.target.lanes
    }

    /// Packs every layer's weights; needed after every change of the parameters.
    pub(super) fn pack(&self, launches: &mut Vec<Launch>) {
        for (layer, buffers) in self.network.layers.iter().zip(&self.layers) {
            let (forward, backward) = packings(&layer.operation, self.target);
            for (packing, to) in [(forward, buffers.forward), (backward, buffers.backward)] {
                let kernel = PackWeights { packing, weight_offset: layer.weight_offset, packed_offset: 0 };
                launches.push(Launch::whole(kernel, &[self.parameters, to]));
            }
        }
    }

    /// Energies of `x`.
    pub(super) fn forward(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        let mut input = self.x;
        for (layer, buffers) in self.network.layers.iter().zip(&self.layers) {
            let (lanes, bias_offset, activation) = (self.target.lanes, layer.bias_offset(), layer.activation);
            let kernel: Kernel = match layer.operation {
                Operation::Conv(shape) => {
                    let tile = forward_tile(&shape, self.target);
                    ConvForward { lanes, shape, tile, bias_offset, activation }.into()
                }
                Operation::Dense(shape) => {
                    let tile_channels = self.target.channels(shape.units);
                    DenseForward { lanes, shape, tile_channels, bias_offset, activation }.into()
                }
            };
            let bindings = [input, buffers.forward, self.parameters, buffers.output, buffers.slope];
            launches.push(Launch::per_block(kernel, blocks, &bindings));
            input = buffers.output;
        }
    }

    /// Gradient of the energy with respect to the input, after a forward pass.
    pub(super) fn to_input(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        // An energy's derivative with respect to the last pre-activation is that layer's slope.
        let top = self.layers[self.layers.len() - 1].slope;
        self.backward(launches, blocks, top, true);
    }

    /// Gradients with respect to every layer's pre-activation, from the seeds, after a forward pass.
    pub(super) fn to_layers(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        self.backward(launches, blocks, self.seeds, false);
    }

    fn backward(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>, top: BufferId, to_input: bool) {
        let mut gradient = top;
        for (i, layer) in self.network.layers.iter().enumerate().rev() {
            let has_slope = i > 0;
            if !has_slope && !to_input {
                break;
            }
            let lanes = self.target.lanes;
            let kernel: Kernel = match layer.operation {
                Operation::Conv(shape) => {
                    let tile = backward_tile(&shape, self.target);
                    ConvInputGradient { lanes, shape, tile, has_slope }.into()
                }
                Operation::Dense(shape) => {
                    let tile_channels = self.target.channels(shape.in_channels);
                    DenseInputGradient { lanes, shape, tile_channels, has_slope }.into()
                }
            };
            let (slope, to) = if has_slope {
                (self.layers[i - 1].slope, self.layers[i - 1].gradient)
            } else {
                (gradient, self.input_gradient)
            };
            launches.push(Launch::per_block(kernel, blocks, &[gradient, self.layers[i].backward, slope, to]));
            gradient = to;
        }
    }

    /// Partial sums of the parameter gradient, after [`Self::to_layers`] over all blocks of `chunks`.
    pub(super) fn to_parameters(&self, launches: &mut Vec<Launch>, chunks: Chunks, partials: BufferId) {
        let mut input = self.x;
        for (layer, buffers) in self.network.layers.iter().zip(&self.layers) {
            let (lanes, n_parameters) = (self.target.lanes, self.network.n_parameters);
            let weight_offset = layer.weight_offset;
            let kernel: Kernel = match layer.operation {
                Operation::Conv(shape) => {
                    ConvWeightGradient { lanes, shape, chunks, weight_offset, n_parameters }.into()
                }
                Operation::Dense(shape) => {
                    DenseWeightGradient { lanes, shape, chunks, weight_offset, n_parameters }.into()
                }
            };
            launches.push(Launch::whole(kernel, &[input, buffers.gradient, partials]));
            input = buffers.output;
        }
    }
}

fn forward_tile(shape: &crate::network::ConvShape, target: Target) -> Tile {
    let pixels = target.tile_pixels.min(shape.out_width);
    Tile { channels: target.channels(shape.out_channels), pixels }
}

fn backward_tile(shape: &crate::network::ConvShape, target: Target) -> Tile {
    let pixels = target.tile_pixels.min(shape.in_width.div_ceil(shape.stride_x));
    Tile { channels: target.channels(shape.in_channels), pixels }
}

fn packings(operation: &Operation, target: Target) -> (pack_weights::Packing, pack_weights::Packing) {
    use pack_weights::Packing;
    match operation {
        Operation::Conv(shape) => (
            Packing::forward(*shape, forward_tile(shape, target).channels),
            Packing::backward(*shape, backward_tile(shape, target).channels),
        ),
        Operation::Dense(shape) => (
            Packing::dense(*shape, target.channels(shape.units), false),
            Packing::dense(*shape, target.channels(shape.in_channels), true),
        ),
    }
}
