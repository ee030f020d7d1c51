//! The activation of a jet: value, first derivatives along some directions, and the sum of second derivatives along
//! them, from those of the pre-activation. Linear layers act on each of these components alone, so that this kernel is all
//! that mixes them (Griewank and Walther 2008, "Evaluating Derivatives", chapter 13; the sum of second derivatives needs
//! only one component, because it meets linear layers linearly: Li et al. 2023, "Forward Laplacian",
//! <https://arxiv.org/abs/2307.08214>).

use crate::kernels::prelude::*;
use crate::network::Activation;

/// Which derivatives a jet carries. Its components, in order: the value; one first derivative for each direction; and,
/// unless all directions are of first order, the sum of second derivatives along those that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Jet {
    /// Directions.
    pub directions: usize,
    /// Those of first order only: the first ones.
    pub first_order: usize,
}

impl Jet {
    /// Whether there is a component of second derivatives.
    pub fn has_second(&self) -> bool {
        self.first_order < self.directions
    }

    /// Components.
    pub fn components(&self) -> usize {
        1 + self.directions + usize::from(self.has_second())
    }

    /// The overrides of shaders that go through components.
    pub(crate) fn overrides(&self) -> Overrides {
        overrides![DIRECTIONS: self.directions, FIRST_ORDER: self.first_order]
    }
}

/// The activation's value at `z` and its first three derivatives (`shaders/lib/curves.wgsl`). Where an activation has a
/// kink, or its slope has, higher derivatives are those of the left side, and what the kink would add is left out: a
/// straight line has no curvature, and leaky ReLU is two of them.
#[inline(always)]
pub fn curves<R: Real>(activation: Activation, z: R) -> [R; 4] {
    let real = R::from_f64;
    let (zero, one, two, three, six) = (real(0.0), real(1.0), real(2.0), real(3.0), real(6.0));
    let (value, slope) = activate(activation, z);
    // From the sigmoid: its first derivative, the factor that makes it the second, and the one that makes it the third.
    let sigmoid = || {
        let s = one / (one + (zero - z).exp());
        let b = s * (one - s);
        (b, one - two * s, one - six * b)
    };
    let (second, third) = match activation {
        Activation::Identity | Activation::LeakyRelu(_) | Activation::Relu => (zero, zero),
        Activation::Swish => {
            let (b, turn, bend) = sigmoid();
            (b * (two + z * turn), b * (three * turn + z * bend))
        }
        Activation::Elu if z > zero => (zero, zero),
        Activation::Elu => (slope, slope),
        Activation::Softplus => {
            let (b, turn, _) = sigmoid();
            (b, b * turn)
        }
        Activation::Tanh => {
            let twice = zero - two * slope;
            (twice * value, twice * (slope - two * value * value))
        }
    };
    [value, slope, second, third]
}

/// The activation of a jet.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationJet {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Channels of those: each has a bias.
    pub channels: usize,
    /// The components.
    pub jet: Jet,
    /// Where the biases lie in the parameters.
    pub bias_offset: usize,
    /// What it does.
    pub activation: Activation,
}

impl ActivationJet {
    /// The twin, in any precision, for one block: pre-activations less bias `z` and activations `a`, both
    /// `[component][feature][lane]`, and biases `[channel]`.
    pub fn reference<R: Real>(&self, z: &[R], bias: &[R], a: &mut [R]) {
        let component = self.features * self.lanes as usize;
        let Jet { directions, first_order } = self.jet;
        for at in 0..component {
            let bias = bias[at / self.lanes as usize % self.channels];
            let [value, slope, second, _] = curves(self.activation, z[at] + bias);
            a[at] = value;
            let mut squares = R::from_f64(0.0);
            for d in 0..directions {
                let tangent = z[(1 + d) * component + at];
                a[(1 + d) * component + at] = slope * tangent;
                if d >= first_order {
                    squares += tangent * tangent;
                }
            }
            if self.jet.has_second() {
                let at = (1 + directions) * component + at;
                a[at] = second * squares + slope * z[at];
            }
        }
    }
}

/// The overrides of the activation's jet and of its way back.
pub(crate) fn jet_overrides(k: &ActivationJet) -> Overrides {
    let mut overrides = overrides![
        WORKGROUP_SIZE, LANES: k.lanes, FEATURES: k.features, CHANNELS: k.channels,
        BIAS_OFFSET: k.bias_offset, ACTIVATION: k.activation.code(), LEAK: k.activation.leak(),
    ];
    overrides.extend(k.jet.overrides());
    overrides
}

impl KernelSpec for ActivationJet {
    const SOURCE: &'static str =
        shader!["lib/activation", "lib/curves", "lib/jet", "second_order/activation_jet"];
    block_params!();
    const PER_BLOCK: bool = true;
    /// Pre-activation less bias; parameters; activation.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// A handful of terms. The last one's factor, a third derivative, is a difference of terms larger than itself.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        let components = Need::PerBlock(self.jet.components() * self.features);
        vec![components, Need::AtLeast(self.bias_offset + self.channels), components]
    }

    fn overrides(&self) -> Overrides {
        jet_overrides(self)
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features, self.lanes / 4), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [z, parameters, a] = bound(bindings);
        let bias = &parameters.floats()[self.bias_offset..][..self.channels];
        self.reference(z.floats(), bias, a.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for kernel in Self::cases_of(bench) {
            let n = kernel.jet.components() * kernel.features;
            let parameters = kernel.biases(bench);
            let (z, a) = (bench.images("z", n), bench.per_block("a", n));
            bench.run(kernel, &[z, parameters, a]);
        }
    }
}

#[cfg(test)]
impl Jet {
    /// Jets of test cases.
    pub(crate) fn cases() -> [Self; 5] {
        [(1, 1), (1, 0), (2, 0), (3, 1), (5, 0)]
            .map(|(directions, first_order)| Self { directions, first_order })
    }
}

#[cfg(test)]
impl ActivationJet {
    /// Test cases of both directions.
    pub(crate) fn cases_of(bench: &Bench) -> Vec<Self> {
        let (lanes, mut cases) = (bench.plan.lanes, Vec::new());
        for (i, (features, channels)) in
            [(1, 1), (17, 1), (63, 3), (65, 65), (257, 257)].into_iter().enumerate()
        {
            for (j, jet) in Jet::cases().into_iter().enumerate().filter(|(j, _)| bench.is_own(i + j)) {
                let activation = activation(i + j);
                cases.push(Self { lanes, features, channels, jet, bias_offset: OFFSET, activation });
            }
        }
        cases
    }

    /// The biases of a test case.
    pub(crate) fn biases(&self, bench: &mut Bench) -> BufferId {
        jet_biases(bench, self.channels, self.activation, self.features % 5 + self.jet.directions)
    }
}
