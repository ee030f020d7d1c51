//! The parameter gradient of a derivative `v . dE/dx` along a direction v that depends on dE/dx itself.
//!
//! The energy's own forward and backward pass comes first, and gives dE/dx. Then each of them is differentiated along v,
//! launch by launch (Pearlmutter 1994, "Fast exact multiplication by the Hessian"): a layer's values `a`, pre-activations
//! `z` and gradients `d = dE/dz` have tangents `a'`, `z'` and `d'`, linear layers do to tangents what they do to values,
//! and with `p = dE/da` at an activation f
//! * `a' = f'(z) z'`;
//! * `d' = f'(z) p' + f''(z) p z'`.
//!
//! What a weight gets is `d' a + d a'`, and a bias `d'`. That is six passes over the network, where the components of a
//! [`super::JetPass`], which must know v before they begin, take eight.

use super::network_pass::{Forward, LayerBuffers};
use super::{BufferId, Launch, NetworkPass, Plan};
use crate::kernels::activation_second::ActivationSecond;
use crate::kernels::add_values::AddValues;
use crate::kernels::chain_rule::ChainRule;
use crate::kernels::conv_weight_gradient::Chunks;
use crate::network::{Activation, Layer, Network};
use std::ops::Range;

/// The buffers of the derivative along a direction, and the launches that use them. Shares everything else with a
/// [`NetworkPass`].
#[derive(Clone, Debug)]
pub struct TangentPass {
    /// The direction v.
    pub direction: BufferId,
    pass: NetworkPass, // with gradients beside the slopes, which are needed twice
    zeros: BufferId,   // stand in for biases
    layers: Vec<LayerTangent>,
}

#[derive(Clone, Copy, Debug)]
struct LayerTangent {
    second: BufferId, // z less bias, then f''(z), f''(z) p, f''(z) p z'; a layer without activation has none: `tangent`
    tangent: BufferId, // z', then a'
    scratch: BufferId, // the slope that linear layers write, which is 1, and then p'
    gradient: BufferId, // d'
}

impl TangentPass {
    /// Adds the buffers to a plan.
    pub(super) fn new(plan: &mut Plan, pass: &NetworkPass) -> Self {
        let pass = pass.beside(plan);
        let network = pass.network();
        let direction = plan.per_block("direction", network.input.len());
        let widest = network.layers.iter().map(|l| l.bias_len).max().unwrap_or(1);
        let zeros = plan.flat("zeros", widest.max(1));
        let n_curved = n_curved(network);
        let layers = network.layers.iter().enumerate().map(|(i, layer)| {
            let mut buffer = |what| plan.per_block(format!("{} {what}", layer.name), layer.out_len);
            let (tangent, scratch) = (buffer("tangent"), buffer("tangent of the gradient"));
            let second = if has_activation(layer) { buffer("second derivative") } else { tangent };
            let gradient = if i + 1 >= n_curved { second } else { scratch };
            LayerTangent { second, tangent, scratch, gradient }
        });
        let layers = layers.collect();
        Self { direction, pass, zeros, layers }
    }

    /// The energies of the images in the network's `x`, and their gradient in its `input_gradient`.
    pub(super) fn gradient(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        let (pass, lanes) = (&self.pass, self.pass.lanes());
        let mut input = pass.x;
        for ((layer, buffers), own) in pass.layers().zip(&self.layers) {
            let (output, slope) = (buffers.output, buffers.slope.expect("no LSTM layers"));
            // A layer without parameters has no activation.
            let to = if has_activation(layer) { own.second } else { output };
            let with = Forward { input, parameters: self.zeros, output: to, slope };
            launches.extend(pass.forward_launch(buffers, (Activation::Identity, 0), with, blocks));
            if has_activation(layer) {
                let kernel = ActivationSecond {
                    lanes,
                    features: layer.out_len,
                    channels: layer.bias_len,
                    bias_offset: layer.bias_offset(),
                    activation: layer.activation,
                };
                let bindings = [own.second, pass.parameters, output, slope];
                launches.push(Launch::per_block(kernel, blocks, &bindings));
            }
            input = output;
        }
        let layers: Vec<_> = pass.layers().zip(&self.layers).collect();
        for (i, ((_, buffers), _)) in layers.iter().enumerate().rev() {
            let gradient = self.gradient_of(i);
            let Some(before) = i.checked_sub(1) else {
                launches.extend(pass.backward_launch(buffers, (gradient, None, pass.input_gradient), blocks));
                break;
            };
            let ((layer, before), own) = layers[before];
            launches.extend(pass.backward_launch(buffers, (gradient, None, before.gradient), blocks));
            if let Some(slope) = slope_of(layer, before) {
                let kernel = ChainRule { lanes, features: layer.out_len };
                launches.push(Launch::per_block(kernel, blocks, &[slope, before.gradient, own.second]));
            }
        }
    }

    /// The derivative of every layer's gradient along the direction, after [`Self::gradient`].
    pub(super) fn along(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        let (pass, lanes) = (&self.pass, self.pass.lanes());
        let layers: Vec<_> = pass.layers().zip(&self.layers).collect();
        let mut input = self.direction;
        // Nothing needs the energy's own tangent.
        for ((layer, buffers), own) in &layers[..layers.len() - 1] {
            let with = Forward { input, parameters: self.zeros, output: own.tangent, slope: own.scratch };
            launches.extend(pass.forward_launch(buffers, (Activation::Identity, 0), with, blocks));
            if let Some(slope) = slope_of(layer, buffers) {
                let kernel = ChainRule { lanes, features: layer.out_len };
                launches.push(Launch::per_block(kernel, blocks, &[slope, own.tangent, own.second]));
            }
            input = own.tangent;
        }
        // Above the last curved layer d' is 0.
        for i in (1..n_curved(pass.network())).rev() {
            let (((_, above), own_above), ((layer, buffers), own)) = (layers[i], layers[i - 1]);
            let slope = slope_of(layer, buffers);
            launches.extend(pass.backward_launch(above, (own_above.gradient, slope, own.gradient), blocks));
            if has_activation(layer) {
                let kernel = AddValues { lanes, features: layer.out_len };
                launches.push(Launch::per_block(kernel, blocks, &[own.second, own.gradient]));
            }
        }
    }

    /// Partial sums of the parameter gradient, after [`Self::along`] over all blocks of `chunks`: twice as many.
    pub(super) fn to_parameters(&self, launches: &mut Vec<Launch>, chunks: Chunks, partials: BufferId) {
        let pass = &self.pass;
        let others = Chunks { first_chunk: chunks.first_chunk + chunks.count(), ..chunks };
        let (mut input, mut tangent) = (pass.x, self.direction);
        for (i, ((layer, buffers), own)) in pass.layers().zip(&self.layers).enumerate() {
            let products = [(chunks, 1, input, own.gradient), (others, 0, tangent, self.gradient_of(i))];
            for (chunks, components, input, gradient) in products {
                if let Some(kernel) = pass.weight_kernel((layer, buffers), chunks, components) {
                    launches.push(Launch::whole(kernel, &[input, gradient, partials]));
                }
            }
            (input, tangent) = (buffers.output, own.tangent);
        }
    }

    /// Where `dE/dz` of a layer is: of the last one it is its slope.
    fn gradient_of(&self, layer: usize) -> BufferId {
        let (_, buffers) = self.pass.layers().nth(layer).expect("a layer of the network");
        match buffers.slope {
            Some(slope) if layer + 1 == self.layers.len() => slope,
            _ => buffers.gradient,
        }
    }
}

/// Whether a layer has biases and an activation: a pool has neither.
fn has_activation(layer: &Layer) -> bool {
    layer.bias_len > 0
}

/// The slope of a layer's activation.
fn slope_of(layer: &Layer, buffers: &LayerBuffers) -> Option<BufferId> {
    buffers.slope.filter(|_| has_activation(layer))
}

/// Layers up to the last one with a bent activation. All above are linear, so that their `f''(z)`, and `d'`, is 0.
fn n_curved(network: &Network) -> usize {
    let is_curved = |layer: &Layer| layer.activation != Activation::Identity;
    network.layers.iter().rposition(is_curved).map_or(0, |last| last + 1)
}
