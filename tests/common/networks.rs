//! Random numbers, shapes, networks, parameters and targets; and small networks at the edges of what can be.

use thalweg::data::Shape;
use thalweg::kernels::chain::Hidden;
use thalweg::network::{Activation, LayerSpec, Network, Operation, Padding};
use thalweg::plan::Target;

/// SplitMix64 (Steele, Lea and Flood 2014): the tests' own generator, not the one under test.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Uniform in `0..n`, or 0 if there is nothing in that.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Uniform in [-1, 1), exact in f32 as in f64.
    pub fn signed(&mut self) -> f64 {
        (self.next() >> 41) as f64 / f64::from(1 << 22) - 1.0
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let u = 1.0 - (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::PI * self.signed()).cos()
    }

    pub fn signeds(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.signed()).collect()
    }
}

/// A random convolution on an input of this shape, sizes odd and sides unequal, where the kernel fits.
pub fn random_conv(rng: &mut Rng, input: Shape, activation: Activation) -> LayerSpec {
    loop {
        let mut side = || [rng.below(3), rng.below(4)];
        let ([top, bottom], [left, right]) = (side(), side());
        let kernel = [1 + rng.below(5), 1 + rng.below(5)];
        if kernel[0] <= input.height + top + bottom && kernel[1] <= input.width + left + right {
            let padding = Padding { top, bottom, left, right };
            let stride = [1 + rng.below(3), 1 + rng.below(3)];
            return LayerSpec::Conv { channels: rng.pick(&[1, 3, 5]), kernel, stride, padding, activation };
        }
    }
}

pub fn random_shape(rng: &mut Rng) -> Shape {
    let sizes = [1, 3, 5, 7, 17];
    Shape { channels: rng.pick(&[1, 3, 5]), height: rng.pick(&sizes), width: rng.pick(&sizes) }
}

/// What a layer makes of a shape; panics where it does not fit.
pub fn output_shape(input: Shape, spec: LayerSpec) -> Shape {
    let end = LayerSpec::Dense { units: 1, activation: Activation::Identity };
    let network = Network::new("shape", input, &[spec, end]).unwrap();
    match network.layers[0].operation {
        Operation::Conv(s) => Shape { channels: s.out_channels, height: s.out_height, width: s.out_width },
        Operation::Dense(s) => Shape { channels: s.units, height: 1, width: 1 },
        Operation::Lstm(s) => Shape { channels: s.out_len(), height: 1, width: 1 },
        Operation::Pool(s) => Shape { channels: s.channels, height: 1, width: 1 },
        Operation::Analytic(_) => unreachable!("it has no layer after it"),
    }
}

/// Every activation, the commonest first.
pub const ACTIVATIONS: [Activation; 7] = [
    Activation::Swish,
    Activation::Identity,
    Activation::LeakyRelu(0.2),
    Activation::Relu,
    Activation::Elu,
    Activation::Softplus,
    Activation::Tanh,
];

/// A random small network: none to three convolutions, none or one dense layer, and the energy.
pub fn random_network(rng: &mut Rng) -> Network {
    let input = random_shape(rng);
    let (mut shape, mut specs) = (input, Vec::new());
    let activation = |rng: &mut Rng| rng.pick(&ACTIVATIONS);
    for _ in 0..rng.below(4) {
        let activation = activation(rng);
        specs.push(random_conv(rng, shape, activation));
        shape = output_shape(shape, specs[specs.len() - 1]);
    }
    if rng.below(3) == 0 {
        specs.push(LayerSpec::Pool);
    }
    if rng.below(2) == 0 {
        specs.push(LayerSpec::Dense { units: rng.pick(&[1, 3, 5, 9]), activation: activation(rng) });
    }
    specs.push(LayerSpec::Dense { units: 1, activation: Activation::Identity });
    Network::new("random", input, &specs).unwrap()
}

/// A small network of points of `d` numbers.
pub fn point_network(d: usize) -> Network {
    let input = Shape { channels: d, height: 1, width: 1 };
    let dense = |units, activation| LayerSpec::Dense { units, activation };
    Network::new("points", input, &[dense(9, Activation::Swish), dense(1, Activation::Identity)]).unwrap()
}

/// The odd one: three channels in, asymmetric padding, stride 3, kernels of unequal sides, five and nine channels (more
/// than one tile of eight), a bounded spectral norm, two dense layers.
pub fn odd_network() -> Network {
    let activation = Activation::Swish;
    let specs = [
        LayerSpec::Conv {
            channels: 5,
            kernel: [5, 2],
            stride: [3, 1],
            padding: Padding { top: 2, bottom: 1, left: 0, right: 3 },
            activation,
        },
        LayerSpec::Conv {
            channels: 9,
            kernel: [1, 3],
            stride: [1, 3],
            padding: Padding { top: 0, bottom: 0, left: 1, right: 2 },
            activation,
        },
        LayerSpec::Spectral(0.8),
        LayerSpec::Dense { units: 11, activation },
        LayerSpec::Dense { units: 1, activation: Activation::Identity },
    ];
    Network::new("odd", Shape { channels: 3, height: 13, width: 17 }, &specs).unwrap()
}

/// An LSTM of `[hidden, layers]` over sequences of `[channels, time]`, and the energy.
pub fn lstm_network(name: &str, [channels, width]: [usize; 2], specs: &[LayerSpec]) -> Network {
    let energy = LayerSpec::Dense { units: 1, activation: Activation::Identity };
    Network::new(name, Shape { channels, height: 1, width }, &[specs, &[energy]].concat()).unwrap()
}

/// Networks over sequences: one number, one direction, a dense layer or a convolution beside, sizes off every tile.
pub fn lstm_networks() -> Vec<Network> {
    let lstm = |hidden, layers, bidirectional| LayerSpec::Lstm { hidden, layers, bidirectional };
    let activation = Activation::Swish;
    let conv = LayerSpec::Conv {
        channels: 4,
        kernel: [1, 3],
        stride: [1, 2],
        padding: Padding { left: 1, ..Padding::default() },
        activation,
    };
    vec![
        lstm_network("one step", [1, 1], &[lstm(1, 1, false)]),
        lstm_network("one direction", [2, 7], &[lstm(9, 2, false), LayerSpec::Spectral(0.5)]),
        lstm_network("one layer", [5, 3], &[lstm(3, 1, true)]),
        lstm_network("two layers", [3, 7], &[lstm(6, 2, true), LayerSpec::Dense { units: 5, activation }]),
        lstm_network("convolution and LSTM", [2, 9], &[conv, lstm(3, 3, true)]),
    ]
}

/// Small networks at the edges of what can be: one layer, ending in a convolution, a kernel of the input's size; and
/// [`lstm_networks`].
pub fn edge_networks() -> Vec<Network> {
    let energy = LayerSpec::Dense { units: 1, activation: Activation::Identity };
    let image = |channels, height, width| Shape { channels, height, width };
    let conv = |channels, kernel, stride, activation| LayerSpec::Conv {
        channels,
        kernel,
        stride,
        padding: Padding::default(),
        activation,
    };
    [
        Network::new("one number", image(1, 1, 1), &[energy]),
        Network::new("linear", image(3, 5, 7), &[energy]),
        Network::new("whole-image kernel", image(3, 5, 7), &[conv(1, [5, 7], [1, 1], Activation::Identity)]),
        Network::new(
            "ends in a convolution",
            image(1, 7, 3),
            &[conv(3, [3, 1], [2, 1], Activation::Swish), conv(1, [3, 3], [3, 3], Activation::Identity)],
        ),
        Network::new(
            "stride leaves columns out",
            image(5, 7, 7),
            &[conv(3, [1, 1], [3, 3], Activation::Swish), energy],
        ),
    ]
    .into_iter()
    .chain([
        Network::builder("pool first", [3, 5, 7])
            .pool()
            .dense(4)
            .activation(Activation::Tanh)
            .dense(1)
            .build(),
        Network::builder("ends in a pool", [2, 6, 5])
            .conv(3, 3)
            .activation(Activation::Elu)
            .conv(1, 2)
            .pool()
            .build(),
        Network::builder("pool inside", [1, 6, 6])
            .conv(5, 3)
            .activation(Activation::LeakyRelu(0.2))
            .pool()
            .dense(3)
            .activation(Activation::Softplus)
            .dense(1)
            .build(),
    ])
    .map(|network| network.unwrap())
    .chain([odd_network()])
    .chain(lstm_networks())
    .collect()
}

/// A target of any tiles.
pub fn random_target(rng: &mut Rng) -> Target {
    let fours = rng.below(2) == 0;
    let tile_channels = if fours { rng.pick(&[4, 8, 16, 32]) } else { rng.pick(&[1, 3, 4, 6]) };
    Target {
        fused_steps: 0,
        fused_hidden: Hidden::Scratch,
        dispatch_flop: thalweg::plan::DISPATCH_FLOP,
        lanes: rng.pick(&[4, 5, 8, 16]),
        tile_channels,
        tile_pixels: 1 + rng.below(4),
        tile_area: 16,
        gradient_tile: 8,
        fours,
        chunk_blocks: 1 + rng.below(3) as u32,
    }
}

/// Parameters of a size that keeps activations off the flat parts of swish.
pub fn random_parameters(rng: &mut Rng, network: &Network) -> Vec<f64> {
    let mut parameters = rng.signeds(network.n_parameters);
    for layer in &network.layers {
        let scale = match layer.operation {
            Operation::Lstm(s) => 2.0 / (s.hidden as f64).sqrt(),
            Operation::Pool(_) | Operation::Analytic(_) => continue,
            _ => (3.0 / (layer.weight_len / layer.bias_len) as f64).sqrt(),
        };
        parameters[layer.weight_offset..layer.bias_offset()].iter_mut().for_each(|w| *w *= scale);
    }
    parameters
}
