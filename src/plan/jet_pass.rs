//! The network's derivatives along directions, and the way back through them to the parameters.
//!
//! A jet carries [`Jet::components`] of a block of images through the network: the values, their derivatives along
//! directions, the sum of second derivatives. Linear layers do to each component what they do to a block, so the buffers
//! are `[block][component][feature][lane]`, and one launch of the ordinary kernels does all components; biases, which belong
//! to the values alone, come with the activation ([`ActivationJet`]), which is all that mixes components. On the way back
//! the same holds: ordinary input gradients and weight gradients, over components as if they were blocks.

use super::network_pass::Forward;
use super::{BufferId, Launch, NetworkPass, Plan};
use crate::kernels::activation_jet::{ActivationJet, Jet};
use crate::kernels::activation_jet_backward::ActivationJetBackward;
use crate::kernels::conv_weight_gradient::Chunks;
use crate::network::{Activation, Layer, Network, Operation};
use std::ops::Range;

/// The buffers of a network's jet, and the launches that use them. Shares parameters and packed weights with a
/// [`NetworkPass`].
#[derive(Clone, Debug)]
pub struct JetPass {
    jet: Jet,
    /// The network's input, its directions, zeros: `[block][component][feature][lane]`.
    pub x: BufferId,
    /// The energy's components.
    pub energies: BufferId,
    /// The loss's gradient with respect to those, where the way back begins.
    pub grad_energies: BufferId,
    zeros: BufferId, // stand in for biases
    layers: Vec<LayerJet>,
}

#[derive(Clone, Debug)]
struct LayerJet {
    z: BufferId,        // pre-activation, less bias
    output: BufferId,   // after the activation; a layer without parameters has none: `z` again
    slope: BufferId, // of no activation, which is of no use; where the gradient will be, but for the last layer's seeds
    gradient: BufferId, // of the loss, with respect to the output, then to the pre-activation
}

impl JetPass {
    /// Whether a network has derivatives along directions.
    ///
    /// # Errors
    /// The name of a layer, an LSTM, that has none.
    pub fn check(network: &Network) -> std::result::Result<(), &str> {
        match network.layers.iter().find(|l| matches!(l.operation, Operation::Lstm(_))) {
            Some(layer) => Err(&layer.name),
            None => Ok(()),
        }
    }

    /// Adds the jet's buffers to a plan.
    pub(super) fn new(plan: &mut Plan, network: &Network, jet: Jet) -> Self {
        let components = jet.components();
        let x = plan.per_block("jet of x", components * network.input.len());
        let widest = network.layers.iter().map(|l| l.bias_len).max().unwrap_or(1);
        let zeros = plan.flat("zeros", widest.max(1));
        let last = network.layers.len() - 1;
        let layers: Vec<_> = network
            .layers
            .iter()
            .enumerate()
            .map(|(i, layer)| {
                let mut buffer =
                    |what| plan.per_block(format!("{} jet's {what}", layer.name), components * layer.out_len);
                let z = buffer("z");
                let output = if layer.bias_len == 0 { z } else { buffer("output") };
                let gradient = buffer("gradient");
                let slope = if i == last { buffer("slope") } else { gradient };
                LayerJet { z, output, slope, gradient }
            })
            .collect();
        let last = &layers[last];
        Self { jet, x, energies: last.output, grad_energies: last.gradient, zeros, layers }
    }

    fn components(&self) -> u32 {
        self.jet.components() as u32
    }

    /// A launch of one layer on every component as if they were blocks. There is one for every layer but an LSTM, which
    /// [`Self::check`] refuses.
    fn over_streams(&self, launch: Option<Launch>) -> Launch {
        Launch { jet_components: self.components(), ..launch.expect("no LSTM layers") }
    }

    fn activation(&self, pass: &NetworkPass, layer: &Layer) -> ActivationJet {
        ActivationJet {
            lanes: pass.lanes(),
            features: layer.out_len,
            channels: layer.bias_len,
            jet: self.jet,
            bias_offset: layer.bias_offset(),
            activation: layer.activation,
        }
    }

    /// The energy's components, from those of `x`.
    pub(super) fn forward(&self, launches: &mut Vec<Launch>, pass: &NetworkPass, blocks: &Range<u32>) {
        let mut input = self.x;
        for ((layer, buffers), jet) in pass.layers().zip(&self.layers) {
            let with = Forward { input, parameters: self.zeros, output: jet.z, slope: jet.slope };
            launches.push(self.over_streams(pass.forward_launch(
                buffers,
                (Activation::Identity, 0),
                with,
                blocks,
            )));
            if layer.bias_len > 0 {
                let bindings = [jet.z, pass.parameters, jet.output];
                launches.push(Launch::per_block(self.activation(pass, layer), blocks, &bindings));
            }
            input = jet.output;
        }
    }

    /// The loss's gradient with respect to every layer's pre-activation, from `dL/dE`, after [`Self::forward`].
    pub(super) fn backward(&self, launches: &mut Vec<Launch>, pass: &NetworkPass, blocks: &Range<u32>) {
        for (i, ((layer, buffers), jet)) in pass.layers().zip(&self.layers).enumerate().rev() {
            if layer.bias_len > 0 {
                let kernel = ActivationJetBackward(self.activation(pass, layer));
                launches.push(Launch::per_block(kernel, blocks, &[jet.z, pass.parameters, jet.gradient]));
            }
            if i > 0 {
                let to = self.layers[i - 1].gradient;
                let launch = pass.backward_launch(buffers, (jet.gradient, None, to), blocks);
                launches.push(self.over_streams(launch));
            }
        }
    }

    /// Partial sums of the parameter gradient, after [`Self::backward`] over all blocks of `chunks`.
    pub(super) fn to_parameters(
        &self,
        launches: &mut Vec<Launch>,
        pass: &NetworkPass,
        chunks: Chunks,
        partials: BufferId,
    ) {
        let components = self.components();
        let chunks = Chunks {
            first_block: chunks.first_block * components,
            n_blocks: chunks.n_blocks * components,
            chunk_blocks: chunks.chunk_blocks * components,
            ..chunks
        };
        let mut input = self.x;
        for (layer, jet) in pass.layers().zip(&self.layers) {
            if let Some(kernel) = pass.weight_kernel(layer, chunks, components) {
                launches.push(Launch::whole(kernel, &[input, jet.gradient, partials]));
            }
            input = jet.output;
        }
    }
}
