//! The weighted sum of several networks' energies of the same images: `sum_k w_k E_k(x)`, and its gradient.

use super::{BufferId, Launch, NetworkPass, Plan, Target};
use crate::kernels::weighted_sum::WeightedSum;
use crate::network::Network;
use std::ops::Range;

/// A network and its weights in a sum.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    /// The network.
    pub network: &'a Network,
    /// The weight of its energy.
    pub weight: f32,
    /// The weight of its gradient, where chains move down another multiple of the sum than is told.
    pub gradient_weight: f32,
}

impl<'a> Term<'a> {
    /// A network alone, as it is.
    pub fn alone(network: &'a Network) -> Self {
        Self { network, weight: 1.0, gradient_weight: 1.0 }
    }
}

/// What chains need of an energy: that of one network, or of several.
pub(super) trait EnergyPass {
    /// The images.
    fn x(&self) -> BufferId;
    /// Their energies.
    fn energies(&self) -> BufferId;
    /// The energies' gradient by `x`.
    fn input_gradient(&self) -> BufferId;
    /// The flat parameters of the first network.
    fn parameters(&self) -> BufferId;
    /// Images in a block.
    fn lanes(&self) -> u32;
    /// The networks' forward passes of `x`.
    fn forward(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>);
    /// Energies of `x`, after [`Self::forward`]: one network's are there already.
    fn to_energies(&self, _: &mut Vec<Launch>, _: &Range<u32>) {}
    /// The gradient of the energies by `x`, after [`Self::forward`].
    fn to_input(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>);
}

impl EnergyPass for NetworkPass {
    fn x(&self) -> BufferId {
        self.x
    }
    fn energies(&self) -> BufferId {
        self.energies
    }
    fn input_gradient(&self) -> BufferId {
        self.input_gradient
    }
    fn parameters(&self) -> BufferId {
        self.parameters
    }
    fn lanes(&self) -> u32 {
        self.lanes()
    }
    fn forward(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        self.forward(launches, blocks);
    }
    fn to_input(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        self.to_input(launches, blocks);
    }
}

/// The buffers of several networks that share their images, and those of the sum.
#[derive(Clone, Debug)]
pub struct WeightedPass {
    /// The networks' buffers; all have the same `x`.
    pub terms: Vec<NetworkPass>,
    weights: Vec<[f32; 2]>, // of the energy, of the gradient
    /// Energy of each image: the sum's.
    pub energies: BufferId,
    /// Gradient of the energy by the images: the sum's.
    pub input_gradient: BufferId,
}

impl WeightedPass {
    /// Adds the networks' buffers to a plan, and the sum's where it is not a single network as it is.
    ///
    /// # Panics
    /// If there is no network, or they take images of different shapes.
    pub(super) fn new(plan: &mut Plan, terms: &[Term], target: Target) -> Self {
        let mut passes: Vec<NetworkPass> = Vec::with_capacity(terms.len());
        for (ix, term) in terms.iter().enumerate() {
            let first = plan.buffers.len();
            let x = passes.first().map(|pass| pass.x);
            passes.push(NetworkPass::with_images(plan, term.network, target, x));
            if ix > 0 {
                assert_eq!(term.network.input, terms[0].network.input, "networks of different images");
                let own = &mut plan.buffers[first..];
                own.iter_mut().for_each(|buffer| buffer.name = format!("model {}: {}", ix + 1, buffer.name));
            }
        }
        let weights: Vec<_> = terms.iter().map(|term| [term.weight, term.gradient_weight]).collect();
        let [energies, input_gradient] = match weights[..] {
            [[1.0, 1.0]] => [passes[0].energies, passes[0].input_gradient],
            _ => [("weighted energies", 1), ("weighted gradient", passes[0].features())]
                .map(|(name, features)| plan.per_block(name, features)),
        };
        Self { terms: passes, weights, energies, input_gradient }
    }

    /// Whether it is one network's energy as it is, which the fused chain takes.
    pub(super) fn is_plain(&self) -> bool {
        self.energies == self.terms[0].energies
    }

    /// Packs every network's weights.
    pub(super) fn pack(&self, launches: &mut Vec<Launch>) {
        self.terms.iter().for_each(|pass| pass.pack(launches));
    }

    fn add(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>, of_gradient: bool) {
        if self.is_plain() {
            return;
        }
        for (ix, (pass, weights)) in self.terms.iter().zip(&self.weights).enumerate() {
            let (value, sum, features, weight) = match of_gradient {
                true => (pass.input_gradient, self.input_gradient, pass.features(), weights[1]),
                false => (pass.energies, self.energies, 1, weights[0]),
            };
            let kernel = WeightedSum { lanes: pass.lanes(), features, weight, begins: ix == 0 };
            launches.push(Launch::per_block(kernel, blocks, &[value, sum]));
        }
    }
}

impl EnergyPass for WeightedPass {
    fn x(&self) -> BufferId {
        self.terms[0].x
    }
    fn energies(&self) -> BufferId {
        self.energies
    }
    fn input_gradient(&self) -> BufferId {
        self.input_gradient
    }
    fn parameters(&self) -> BufferId {
        self.terms[0].parameters
    }
    fn lanes(&self) -> u32 {
        self.terms[0].lanes()
    }
    fn forward(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        self.terms.iter().for_each(|pass| pass.forward(launches, blocks));
    }
    fn to_energies(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        self.add(launches, blocks, false);
    }
    fn to_input(&self, launches: &mut Vec<Launch>, blocks: &Range<u32>) {
        self.terms.iter().for_each(|pass| pass.to_input(launches, blocks));
        self.add(launches, blocks, true);
    }
}
