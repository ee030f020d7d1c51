//! The network's part of every plan: packed weights, forward pass, backward pass, parameter gradient.

use super::lstm_pass::{LstmInput, LstmPass};
use super::{BufferId, Launch, Plan, Target};
use crate::kernels::analytic_energy::AnalyticEnergy;
use crate::kernels::conv_forward::ConvForward;
use crate::kernels::conv_input_gradient::ConvInputGradient;
use crate::kernels::conv_weight_gradient::{Chunks, ConvWeightGradient};
use crate::kernels::dense_forward::DenseForward;
use crate::kernels::dense_input_gradient::DenseInputGradient;
use crate::kernels::dense_weight_gradient::DenseWeightGradient;
use crate::kernels::pack_weights::{PackWeights, Packing, Tile};
use crate::kernels::pool_forward::PoolForward;
use crate::kernels::pool_input_gradient::PoolInputGradient;
use crate::kernels::{Kernel, Slope};
use crate::network::{Activation, Analytic, ConvShape, DenseShape, Layer, Network, Operation, PoolShape};
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
    pub grad_energies: BufferId,
    layers: Vec<LayerBuffers>,
}

#[derive(Clone, Debug)]
pub(super) struct LayerBuffers {
    /// After the activation.
    pub output: BufferId,
    /// The activation's derivative, of a pool 1; an LSTM and an analytic energy have none of their own.
    pub slope: Option<BufferId>,
    /// Of the pre-activation; the last layer's is `dL/dE`. Others' takes the place of the slope, which is lost: two buffers
    /// of a layer are at work in a chain, not three. But an LSTM has no slope, and its two directions both need that of the
    /// layer before; and see [`NetworkPass::beside`].
    pub gradient: BufferId,
    own: OwnBuffers,
}

/// What a layer has besides.
#[derive(Clone, Debug)]
enum OwnBuffers {
    Conv(ConvShape, PackedBuffers),
    Dense(DenseShape, PackedBuffers),
    Lstm(LstmPass),
    Pool(PoolShape),
    /// Writes the gradient with respect to the input together with the energy.
    Analytic(Analytic),
}

/// Packed weights.
#[derive(Clone, Copy, Debug)]
struct PackedBuffers {
    forward: BufferId,  // for the forward pass
    backward: BufferId, // for the input gradient
}

/// The buffers of a layer's forward launch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forward {
    pub input: BufferId,
    /// Where the biases are.
    pub parameters: BufferId,
    pub output: BufferId,
    pub slope: BufferId,
}

impl NetworkPass {
    /// Adds the network's buffers to a plan.
    pub(super) fn new(plan: &mut Plan, network: &Network, target: Target) -> Self {
        Self::with_images(plan, network, target, None)
    }

    /// [`Self::new`], of images that are in a buffer already, if there is one.
    pub(super) fn with_images(
        plan: &mut Plan,
        network: &Network,
        target: Target,
        images: Option<BufferId>,
    ) -> Self {
        let parameters = plan.flat("parameters", network.n_parameters);
        let x = images.unwrap_or_else(|| plan.per_block("x", network.input.len()));
        let input_gradient = plan.per_block("input gradient", network.input.len());
        let last = network.layers.len() - 1;
        let grad_energies = plan.per_block("seeds", network.layers[last].out_len);
        let mut layers = Vec::new();
        for (i, layer) in network.layers.iter().enumerate() {
            let name = &layer.name;
            let output = plan.per_block(format!("{name} output"), layer.out_len);
            let has_slope = !matches!(layer.operation, Operation::Lstm(_) | Operation::Analytic(_));
            let slope = has_slope.then(|| plan.per_block(format!("{name} slope"), layer.out_len));
            let gradient = match (network.layers.get(i + 1).map(|after| &after.operation), slope) {
                (None, _) => grad_energies,
                (Some(Operation::Lstm(_)), _) | (_, None) => gradient_buffer(plan, layer),
                (_, Some(slope)) => slope,
            };
            let mut packed = |(forward, backward): (Packing, Packing)| PackedBuffers {
                forward: plan.flat(format!("{name} packed forward"), forward.len()),
                backward: plan.flat(format!("{name} packed backward"), backward.len()),
            };
            let own = match layer.operation {
                Operation::Conv(shape) => OwnBuffers::Conv(shape, packed(conv_packings(&shape, target))),
                Operation::Dense(shape) => OwnBuffers::Dense(shape, packed(dense_packings(&shape, target))),
                Operation::Lstm(shape) => {
                    OwnBuffers::Lstm(LstmPass::new(plan, layer, &shape, target, output, gradient))
                }
                Operation::Pool(shape) => OwnBuffers::Pool(shape),
                Operation::Analytic(energy) => OwnBuffers::Analytic(energy),
            };
            layers.push(LayerBuffers { output, slope, gradient, own });
        }
        let energies = layers[last].output;
        Self {
            network: network.clone(),
            target,
            parameters,
            x,
            energies,
            input_gradient,
            grad_energies,
            layers,
        }
    }

    /// The same pass, with gradients that leave the slopes as they are.
    pub(super) fn beside(&self, plan: &mut Plan) -> Self {
        let mut pass = self.clone();
        for (layer, buffers) in self.network.layers.iter().zip(&mut pass.layers) {
            if buffers.slope == Some(buffers.gradient) {
                buffers.gradient = gradient_buffer(plan, layer);
            }
        }
        pass
    }

    /// What layer number `layer` puts out, after its activation: `[block][feature][lane]`.
    pub fn output(&self, layer: usize) -> BufferId {
        self.layers[layer].output
    }

    /// Values of one image.
    pub(super) fn features(&self) -> usize {
        self.network.input.len()
    }

    /// The network.
    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// Images in a block.
    pub(super) fn lanes(&self) -> u32 {
        self.target.lanes
    }

    /// Packs every layer's weights; needed after every change of the parameters.
    pub(super) fn pack(&self, launches: &mut Vec<Launch>) {
        for (layer, buffers) in self.network.layers.iter().zip(&self.layers) {
            let (packings, own) = match &buffers.own {
                OwnBuffers::Conv(shape, own) => (conv_packings(shape, self.target), own),
                OwnBuffers::Dense(shape, own) => (dense_packings(shape, self.target), own),
                OwnBuffers::Lstm(lstm) => {
                    lstm.pack(launches, self.parameters);
                    continue;
                }
                OwnBuffers::Pool(_) | OwnBuffers::Analytic(_) => continue,
            };
            for (packing, to) in [(packings.0, own.forward), (packings.1, own.backward)] {
                let kernel = PackWeights { packing, weight_offset: layer.weight_offset, packed_offset: 0 };
                launches.push(Launch::whole(kernel, &[self.parameters, to]));
            }
        }
    }

    /// Energies of `x`.
    pub(super) fn forward(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        let mut input = self.x;
        for (layer, buffers) in self.network.layers.iter().zip(&self.layers) {
            let output = buffers.output;
            match (&buffers.own, buffers.slope) {
                (OwnBuffers::Lstm(lstm), _) => lstm.forward(launches, blocks, input, self.parameters),
                (_, slope) => {
                    let slope = slope.unwrap_or(output);
                    let with = Forward { input, parameters: self.parameters, output, slope };
                    let activation = (layer.activation, layer.bias_offset());
                    launches.extend(self.forward_launch(buffers, activation, with, blocks));
                }
            }
            input = output;
        }
    }

    /// A layer's forward pass, with an activation and a place of biases that need not be its own; none for an LSTM.
    pub(super) fn forward_launch(
        &self,
        layer: &LayerBuffers,
        (activation, bias_offset): (Activation, usize),
        with: Forward,
        blocks: &Range<u32>,
    ) -> Option<Launch> {
        let lanes = self.target.lanes;
        let Forward { input, parameters, output, slope } = with;
        let (kernel, weights): (Kernel, _) = match &layer.own {
            OwnBuffers::Conv(shape, own) => {
                let (shape, tile) = (*shape, forward_tile(shape, self.target));
                (ConvForward { lanes, shape, tile, bias_offset, activation }.into(), own.forward)
            }
            OwnBuffers::Dense(shape, own) => {
                let (shape, tile_channels) = (*shape, self.target.channels(shape.units));
                (DenseForward { lanes, shape, tile_channels, bias_offset, activation }.into(), own.forward)
            }
            OwnBuffers::Pool(shape) => {
                let kernel = PoolForward { lanes, shape: *shape };
                return Some(Launch::per_block(kernel, blocks, &[input, output, slope]));
            }
            OwnBuffers::Analytic(energy) => {
                let kernel = AnalyticEnergy { lanes, features: self.features(), energy: *energy };
                return Some(Launch::per_block(kernel, blocks, &[input, output, self.input_gradient]));
            }
            OwnBuffers::Lstm(_) => return None,
        };
        Some(Launch::per_block(kernel, blocks, &[input, weights, parameters, output, slope]))
    }

    /// From the gradient of a layer's pre-activation to that of its input, times `slope` where there is one, which `to`
    /// may hold itself; none for an LSTM and an analytic energy.
    pub(super) fn backward_launch(
        &self,
        layer: &LayerBuffers,
        (gradient, slope, to): (BufferId, Option<BufferId>, BufferId),
        blocks: &Range<u32>,
    ) -> Option<Launch> {
        let lanes = self.target.lanes;
        let place = match slope {
            None => Slope::None,
            Some(slope) if slope == to => Slope::InPlace,
            Some(_) => Slope::Beside,
        };
        // Only a slope beside is bound.
        let slope = slope.filter(|slope| *slope != to).unwrap_or(gradient);
        let (kernel, weights): (Kernel, _) = match &layer.own {
            OwnBuffers::Conv(shape, own) => {
                let (shape, tile) = (*shape, backward_tile(shape, self.target));
                (ConvInputGradient { lanes, shape, tile, slope: place }.into(), own.backward)
            }
            OwnBuffers::Dense(shape, own) => {
                let (shape, tile_channels) = (*shape, self.target.channels(shape.in_channels));
                (DenseInputGradient { lanes, shape, tile_channels, slope: place }.into(), own.backward)
            }
            OwnBuffers::Pool(shape) => {
                let kernel = PoolInputGradient { lanes, shape: *shape, slope: place };
                return Some(Launch::per_block(kernel, blocks, &[gradient, slope, to]));
            }
            OwnBuffers::Lstm(_) | OwnBuffers::Analytic(_) => return None,
        };
        Some(Launch::per_block(kernel, blocks, &[gradient, weights, slope, to]))
    }

    /// A layer's partial sums of the parameter gradient, if one launch does them: a pool has none, an LSTM many.
    pub(super) fn weight_kernel(
        &self,
        (layer, buffers): (&Layer, &LayerBuffers),
        chunks: Chunks,
        jet_components: u32,
    ) -> Option<Kernel> {
        let (lanes, n_parameters) = (self.target.lanes, self.network.n_parameters);
        let weight_offset = layer.weight_offset;
        Some(match &buffers.own {
            OwnBuffers::Conv(shape, _) => {
                let shape = *shape;
                let tile = self.target.gradient_tile;
                ConvWeightGradient { lanes, shape, chunks, tile, jet_components, weight_offset, n_parameters }
                    .into()
            }
            OwnBuffers::Dense(shape, _) => {
                let shape = *shape;
                DenseWeightGradient { lanes, shape, chunks, jet_components, weight_offset, n_parameters }
                    .into()
            }
            OwnBuffers::Pool(_) | OwnBuffers::Lstm(_) | OwnBuffers::Analytic(_) => return None,
        })
    }

    /// The layers, first to last, with their buffers.
    pub(super) fn layers(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&Layer, &LayerBuffers)> + ExactSizeIterator {
        self.network.layers.iter().zip(&self.layers)
    }

    /// Gradient of the energy with respect to the input, after a forward pass.
    pub(super) fn to_input(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        // An energy's derivative with respect to the last pre-activation is that layer's slope.
        // The last layer has one, but for an analytic energy, whose forward pass has told the gradient already.
        if let Some(top) = self.layers[self.layers.len() - 1].slope {
            self.backward(launches, blocks, top, true);
        }
    }

    /// Gradients with respect to every layer's pre-activation, from `dL/dE`, after a forward pass.
    pub(super) fn to_layers(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        self.backward(launches, blocks, self.grad_energies, false);
    }

    fn backward(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>, top: BufferId, to_input: bool) {
        let mut gradient = top;
        for (i, buffers) in self.layers.iter().enumerate().rev() {
            let before = i.checked_sub(1).map(|i| &self.layers[i]);
            let (slope, to) = match before {
                Some(before) => (before.slope, before.gradient),
                None => (None, self.input_gradient),
            };
            let to_input = to_input || before.is_some();
            match &buffers.own {
                // Its gates' gradients are wanted whether or not its input's is.
                OwnBuffers::Lstm(lstm) => {
                    lstm.backward(launches, blocks, LstmInput { gradient: to, to_input, slope });
                }
                _ if !to_input => break,
                _ => launches.extend(self.backward_launch(buffers, (gradient, slope, to), blocks)),
            }
            gradient = to;
        }
    }

    /// Partial sums of the parameter gradient, after [`Self::to_layers`] over all blocks of `chunks`.
    ///
    /// Where the loss is the same at every level of the energies (`levels` is false), the last layer's bias, which shifts
    /// them all, has no gradient. The sum of `dL/dE` would be 0 but for its rounding, of which Adam makes whole steps.
    pub(super) fn to_parameters(
        &self,
        launches: &mut Vec<Launch>,
        chunks: Chunks,
        partials: BufferId,
        levels: bool,
    ) {
        let mut input = self.x;
        let last = self.layers().count().saturating_sub(1);
        for (number, (layer, buffers)) in self.layers().enumerate() {
            if let OwnBuffers::Lstm(lstm) = &buffers.own {
                lstm.to_parameters(launches, input, chunks, self.network.n_parameters, partials);
            }
            let jet_components = u32::from(levels || number < last);
            if let Some(kernel) = self.weight_kernel((layer, buffers), chunks, jet_components) {
                launches.push(Launch::whole(kernel, &[input, buffers.gradient, partials]));
            }
            input = buffers.output;
        }
    }
}

fn gradient_buffer(plan: &mut Plan, layer: &Layer) -> BufferId {
    plan.per_block(format!("{} gradient", layer.name), layer.out_len)
}

fn forward_tile(shape: &ConvShape, target: Target) -> Tile {
    target.tile(shape.out_channels, shape.out_width)
}

fn backward_tile(shape: &ConvShape, target: Target) -> Tile {
    target.tile(shape.in_channels, shape.in_width.div_ceil(shape.stride_x))
}

fn conv_packings(shape: &ConvShape, target: Target) -> (Packing, Packing) {
    (
        Packing::forward(*shape, forward_tile(shape, target).channels),
        Packing::backward(*shape, backward_tile(shape, target).channels),
    )
}

fn dense_packings(shape: &DenseShape, target: Target) -> (Packing, Packing) {
    (
        Packing::dense(*shape, target.channels(shape.units), false),
        Packing::dense(*shape, target.channels(shape.in_channels), true),
    )
}
