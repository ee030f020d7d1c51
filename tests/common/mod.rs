//! What several integration tests share: a comparator, small random networks, and plain models to judge the engine by.
//! The models are written from the formulas, in PyTorch's layouts, and use none of the engine's index arithmetic.

#![allow(dead_code, reason = "every test binary compiles all of it and uses a part")]

use std::ops::Range;
use thalweg::Trainer;
use thalweg::checkpoint::{Checkpoint, TensorData};
use thalweg::data::Shape;
use thalweg::device::{Chains, Device};
use thalweg::gpu::{Gpu, adapters};
use thalweg::kernels::chain::Hidden;
use thalweg::kernels::jet_start::JetInputs;
use thalweg::kernels::pack_weights::Packing;
use thalweg::kernels::score_direction::DirectionInputs;
use thalweg::kernels::{Access, Binding, Kernel};
use thalweg::network::{Activation, ConvShape, Layer, LayerSpec, LstmShape, Network, Operation, Padding};
use thalweg::plan::{BufferId, Launch, Layout, Plan, Target};
use thalweg::recipe::{Objective, OnDivergence, Recipe, ScoreObjective};
use thalweg::train::log::StepMetrics;

/// The recipe `mnist-small` with these settings; without checks of steps, unless they turn them on.
pub fn recipe(settings: &[&str]) -> Recipe {
    let mut recipe = Recipe::preset("mnist-small").unwrap();
    recipe.guard.on_divergence = OnDivergence::Ignore;
    settings.iter().for_each(|setting| recipe.set(setting).unwrap());
    recipe
}

/// The recipe with an objective that fits the score.
pub fn with_objective(mut recipe: Recipe, objective: ScoreObjective) -> Recipe {
    let score = &mut recipe.score;
    recipe.objective = match objective {
        ScoreObjective::Matching { probes } => {
            score.probes = probes;
            Objective::ScoreMatching
        }
        ScoreObjective::Sliced { probes, directions, square } => {
            (score.probes, score.directions, score.square) = (probes, directions, square);
            Objective::SlicedScoreMatching
        }
        ScoreObjective::Denoising { sigma, sigma_max, levels, target, from_noise } => {
            (score.sigma, score.sigma_max) = (sigma.into(), sigma_max.into());
            (score.levels, score.target, score.from_noise) = (levels as usize, target, from_noise.into());
            Objective::DenoisingScoreMatching
        }
    };
    assert_eq!(recipe.score_objective(), Some(objective));
    recipe
}

/// The first adapter, be it software: tests of the GPU path never pass for want of one.
pub fn gpu() -> Device {
    pollster::block_on(async {
        let adapter = adapters().await.into_iter().next();
        let adapter =
            adapter.expect("no Vulkan, Metal or DX12 adapter: run ./test.sh, which installs a software one");
        Device::Gpu(Gpu::open(adapter).await.expect("the adapter opens"), Chains::default())
    })
}

/// Bytes of a GPU's workgroup memory.
pub fn workgroup_memory(device: &Device) -> usize {
    match device {
        Device::Gpu(gpu, _) => gpu.adapter.workgroup_memory as usize,
        Device::Cpu(_) => 0,
    }
}

/// Collects what is wrong, so that a test names every failure and not only the first.
#[derive(Default)]
pub struct Failures(Vec<String>);

impl Failures {
    /// Notes `text()` unless `ok`.
    pub fn check(&mut self, ok: bool, text: impl FnOnce() -> String) {
        if !ok {
            self.0.push(text());
        }
    }

    /// Notes a difference: see [`difference`].
    pub fn close(&mut self, name: &str, got: &[f64], want: &[f64], atol: f64, rtol: f64) {
        self.0.extend(difference(name, got, want, atol, rtol));
    }

    /// Panics with all of them.
    #[track_caller]
    pub fn assert_none(self) {
        let n = self.0.len();
        assert!(n == 0, "{n} failures:\n{}", self.0[..n.min(25)].join("\n"));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Where `got` and `want` differ by more than `atol + rtol * |want|`: how often, and where most. NaN and
/// infinities differ from everything.
pub fn difference(name: &str, got: &[f64], want: &[f64], atol: f64, rtol: f64) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("{name}: {} values, not {}", got.len(), want.len()));
    }
    let (mut n_wrong, mut worst, mut worst_err) = (0, 0, -1.0);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let err = (got - want).abs();
        let ok = err.is_finite() && err <= atol + rtol * want.abs();
        if !ok {
            n_wrong += 1;
            let key = if err.is_nan() { f64::INFINITY } else { err };
            if key > worst_err {
                (worst, worst_err) = (i, key);
            }
        }
    }
    (n_wrong > 0).then(|| {
        let (got_there, want_there) = (got[worst], want[worst]);
        format!("{name}: {n_wrong} of {} differ; at {worst}: {got_there}, not {want_there}", got.len())
    })
}

/// The largest magnitude, for tolerances relative to a whole tensor.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

pub fn to_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

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

    /// Uniform in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Uniform in [-1, 1), exact in f32 as in f64.
    pub fn signed(&mut self) -> f64 {
        (self.next() >> 41) as f64 / f64::from(1 << 22) - 1.0
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

// ---- plain models, f64, one image, PyTorch's layouts

/// Cross-correlation of an image `[ic][y][x]`, with weights `[oc][ic][ky][kx]`: `[oc][y][x]`.
pub fn plain_conv(s: &ConvShape, weights: &[f64], bias: &[f64], image: &[f64]) -> Vec<f64> {
    let mut output = Vec::with_capacity(s.out_len());
    let at = |ic: usize, y: isize, x: isize| {
        let inside = (0..s.in_height as isize).contains(&y) && (0..s.in_width as isize).contains(&x);
        if inside { image[(ic * s.in_height + y as usize) * s.in_width + x as usize] } else { 0.0 }
    };
    for (oc, bias) in bias[..s.out_channels].iter().enumerate() {
        for oy in 0..s.out_height {
            for ox in 0..s.out_width {
                let mut z = *bias;
                for ic in 0..s.in_channels {
                    for ky in 0..s.kernel_height {
                        for kx in 0..s.kernel_width {
                            let y = (oy * s.stride_y + ky) as isize - s.pad_top as isize;
                            let x = (ox * s.stride_x + kx) as isize - s.pad_left as isize;
                            let tap = (oc * s.in_channels + ic) * s.kernel_height + ky;
                            z += weights[tap * s.kernel_width + kx] * at(ic, y, x);
                        }
                    }
                }
                output.push(z);
            }
        }
    }
    output
}

/// `bias + weight x` for features `[channel][pixel]`.
pub fn plain_dense(units: usize, weights: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
    let row = |unit: usize| &weights[unit * x.len()..][..x.len()];
    (0..units).map(|unit| bias[unit] + row(unit).iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).collect()
}

/// A stack of LSTMs over a sequence `[channel][time]`: both directions' outputs at the last time. The parameters lie as
/// [`thalweg::network::LstmCell`] says.
pub fn plain_lstm(s: &LstmShape, parameters: &[f64], x: &[f64]) -> Vec<f64> {
    let mut rest = parameters;
    let mut inputs: Vec<Vec<f64>> =
        (0..s.time).map(|t| (0..s.in_channels).map(|c| x[c * s.time + t]).collect()).collect();
    for _ in 0..s.layers {
        let mut outputs = vec![Vec::new(); s.time];
        for reverse in [false, true].into_iter().take(if s.bidirectional { 2 } else { 1 }) {
            let rows = 4 * s.hidden;
            let mut take = |n: usize| {
                let (part, others) = rest.split_at(n);
                rest = others;
                part
            };
            let (w_ih, b_ih, w_hh, b_hh) =
                (take(rows * inputs[0].len()), take(rows), take(rows * s.hidden), take(rows));
            let (mut h, mut c) = (vec![0.0; s.hidden], vec![0.0; s.hidden]);
            let mut times: Vec<usize> = (0..s.time).collect();
            if reverse {
                times.reverse();
            }
            for t in times {
                let (of_x, of_h) =
                    (plain_dense(rows, w_ih, b_ih, &inputs[t]), plain_dense(rows, w_hh, b_hh, &h));
                let z =
                    |gate: usize, unit: usize| of_x[gate * s.hidden + unit] + of_h[gate * s.hidden + unit];
                let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
                for unit in 0..s.hidden {
                    c[unit] = sigmoid(z(1, unit)) * c[unit] + sigmoid(z(0, unit)) * z(2, unit).tanh();
                    h[unit] = sigmoid(z(3, unit)) * c[unit].tanh();
                }
                outputs[t].extend(&h);
            }
        }
        inputs = outputs;
    }
    assert!(rest.is_empty());
    inputs.pop().unwrap()
}

fn plain_layer(layer: &Layer, parameters: &[f64], x: &[f64]) -> Vec<f64> {
    let weights = &parameters[layer.weight_offset..][..layer.weight_len];
    let bias = &parameters[layer.bias_offset()..][..layer.bias_len];
    let mut z = match &layer.operation {
        Operation::Conv(s) => plain_conv(s, weights, bias, x),
        Operation::Dense(s) => plain_dense(s.units, weights, bias, x),
        Operation::Lstm(s) => plain_lstm(s, weights, x),
        Operation::Pool(s) => {
            x.chunks_exact(s.pixels).map(|channel| channel.iter().sum::<f64>() / s.pixels as f64).collect()
        }
        Operation::Analytic(_) => unreachable!("tests/analytic.rs has the formulas"),
    };
    z.iter_mut().for_each(|z| *z = plain_activation(layer.activation, *z));
    z
}

/// The activations' formulas, as papers write them.
pub fn plain_activation(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::Identity => z,
        Activation::Swish => z / (1.0 + (-z).exp()),
        Activation::LeakyRelu(slope) => z.max(0.0) + f64::from(slope) * z.min(0.0),
        Activation::Relu => z.max(0.0),
        Activation::Elu => z.max(0.0) + z.min(0.0).exp() - 1.0,
        Activation::Softplus => (1.0 + z.exp()).ln(),
        Activation::Tanh => 1.0 - 2.0 / ((2.0 * z).exp() + 1.0),
    }
}

/// The energy of one image `[channel][y][x]`.
pub fn plain_energy(network: &Network, parameters: &[f64], image: &[f64]) -> f64 {
    let mut x = image.to_vec();
    for layer in &network.layers {
        x = plain_layer(layer, parameters, &x);
    }
    assert_eq!(x.len(), 1);
    x[0]
}

/// Images `[image][channel][pixel]` to `[block][pixel][channel][lane]`, empty lanes `fill`.
pub fn to_blocks(images: &[Vec<f64>], channels: usize, lanes: usize, fill: f64) -> Vec<f64> {
    let pixels = images[0].len() / channels;
    let mut blocks = Vec::new();
    for block in images.chunks(lanes) {
        for pixel in 0..pixels {
            for channel in 0..channels {
                for lane in 0..lanes {
                    blocks.push(block.get(lane).map_or(fill, |image| image[channel * pixels + pixel]));
                }
            }
        }
    }
    blocks
}

/// The inverse of [`to_blocks`].
pub fn from_blocks(
    blocks: &[f64],
    n_images: usize,
    channels: usize,
    pixels: usize,
    lanes: usize,
) -> Vec<Vec<f64>> {
    let features = channels * pixels;
    let value = |image: usize, channel: usize, pixel: usize| {
        blocks[((image / lanes) * features + pixel * channels + channel) * lanes + image % lanes]
    };
    (0..n_images).map(|i| (0..features).map(|f| value(i, f / pixels, f % pixels)).collect()).collect()
}

/// Weights `[out][in][ky][kx]` in the order of `packing`, padding zero, the rest of what is there NaN.
pub fn pack(packing: &Packing, weights: &[f64]) -> Vec<f64> {
    let mut packed = vec![f64::NAN; packing.len()];
    let p = packing;
    let tiled = if p.backward { p.in_channels } else { p.out_channels };
    for (i, value) in packed.iter_mut().enumerate() {
        let others = if p.backward { p.out_channels } else { p.in_channels };
        let tile = i / (p.kernel_height * p.kernel_width * others * p.tile);
        if tile * p.tile + i % p.tile >= tiled {
            *value = 0.0;
        }
    }
    let mut weight = weights.iter();
    for oc in 0..p.out_channels {
        for ic in 0..p.in_channels {
            for ky in 0..p.kernel_height {
                for kx in 0..p.kernel_width {
                    packed[p.index(oc, ic, ky, kx)] = *weight.next().unwrap();
                }
            }
        }
    }
    packed
}

// ---- executors

/// Runs the network's launches of a plan in f64, through the twins. Buffers begin as NaN.
pub struct Executor64<'a> {
    plan: &'a Plan,
    pub buffers: Vec<Vec<f64>>,
}

impl<'a> Executor64<'a> {
    pub fn new(plan: &'a Plan) -> Self {
        let buffers = (0..plan.buffers.len()).map(|i| vec![f64::NAN; plan.len_of(BufferId(i))]).collect();
        Self { plan, buffers }
    }

    pub fn set(&mut self, buffer: BufferId, values: &[f64]) {
        self.buffers[buffer.0].copy_from_slice(values);
    }

    pub fn get(&self, buffer: BufferId) -> &[f64] {
        &self.buffers[buffer.0]
    }

    fn block(&self, buffer: BufferId, block: u32) -> Range<usize> {
        match self.plan.buffers[buffer.0].layout {
            Layout::Flat(len) => 0..len,
            Layout::PerBlock(features) => {
                let len = features * self.plan.lanes as usize;
                block as usize * len..(block as usize + 1) * len
            }
        }
    }

    pub fn run<'l>(&mut self, launches: impl IntoIterator<Item = &'l Launch>) {
        for launch in launches {
            let ids = &launch.bindings;
            if launch.kernel.is_per_block() {
                for block in launch.blocks.clone() {
                    for component in 0..launch.jet_components as usize {
                        let part = |id: &BufferId| {
                            let range = self.block(*id, block);
                            match self.plan.buffers[id.0].layout {
                                Layout::Flat(_) => range,
                                Layout::PerBlock(_) => {
                                    let len = range.len() / launch.jet_components as usize;
                                    range.start + component * len..range.start + (component + 1) * len
                                }
                            }
                        };
                        let parts: Vec<_> = ids.iter().map(part).collect();
                        let mut views: Vec<Vec<f64>> = ids
                            .iter()
                            .zip(&parts)
                            .map(|(id, at)| self.buffers[id.0][at.clone()].to_vec())
                            .collect();
                        run_block(&launch.kernel, block - launch.blocks.start, &mut views);
                        for ((id, at), (view, access)) in
                            ids.iter().zip(parts).zip(views.iter().zip(launch.kernel.access()))
                        {
                            if *access != Access::Read {
                                self.buffers[id.0][at].copy_from_slice(view);
                            }
                        }
                    }
                }
            } else {
                let mut views: Vec<Vec<f64>> = ids.iter().map(|id| self.buffers[id.0].clone()).collect();
                run_whole(&launch.kernel, &mut views);
                for (id, (view, access)) in ids.iter().zip(views.into_iter().zip(launch.kernel.access())) {
                    if *access != Access::Read {
                        self.buffers[id.0] = view;
                    }
                }
            }
        }
    }
}

fn run_block(kernel: &Kernel, index: u32, views: &mut [Vec<f64>]) {
    match (kernel, views) {
        (Kernel::ConvForward(k), [x, w, p, y, slope]) => k.reference(x, w, &p[k.bias_offset..], y, slope),
        (Kernel::DenseForward(k), [x, w, p, y, slope]) => k.reference(x, w, &p[k.bias_offset..], y, slope),
        (Kernel::ConvInputGradient(k), [g, w, slope, grad]) => k.reference(g, w, slope, grad),
        (Kernel::DenseInputGradient(k), [g, w, slope, grad]) => k.reference(g, w, slope, grad),
        (Kernel::AnalyticEnergy(k), [x, energy, gradient]) => k.reference(x, energy, gradient),
        (Kernel::PoolForward(k), [x, y, slope]) => k.reference(x, y, slope),
        (Kernel::PoolInputGradient(k), [g, slope, grad]) => k.reference(g, slope, grad),
        (Kernel::LstmForward(k), [x, w, p, trace, y]) => {
            k.reference(x, w, &p[k.cell.weight_offset..], trace, y);
        }
        (Kernel::LstmBackward(k), [g, w, slope, trace, carry, grad]) => {
            k.reference(g, w, slope, trace, carry, grad);
        }
        (Kernel::ActivationJet(k), [z, p, a]) => k.reference(z, &p[k.bias_offset..], a),
        (Kernel::ActivationJetBackward(k), [z, p, g]) => k.reference(z, &p[k.0.bias_offset..], g),
        (Kernel::Perturb(k), [level, noise, x, weight]) => {
            let level: Vec<f32> = level.iter().map(|level| *level as f32).collect();
            k.reference(&level, noise, x, weight);
        }
        (Kernel::JetStart(k), [x, gradient, probes, jet_components, residual]) => {
            k.reference(JetInputs { x, gradient, probes }, jet_components, residual);
        }
        (Kernel::ActivationSecond(k), [z, p, value, slope]) => {
            k.reference(z, &p[k.bias_offset..], value, slope);
        }
        (Kernel::ChainRule(k), [slope, value, second]) => k.reference(slope, value, second),
        (Kernel::AddValues(k), [value, sum]) => k.reference(value, sum),
        (Kernel::ScoreDirection(k), [state, gradient, target, weight, direction, residual]) => {
            let inputs = DirectionInputs { gradient, target, weight };
            k.reference((index, state[0] as u32), inputs, direction, residual);
        }
        // In the first training step.
        _ => panic!("{} has no twin in f64", kernel.name()),
    }
}

fn run_whole(kernel: &Kernel, views: &mut [Vec<f64>]) {
    match (kernel, views) {
        (Kernel::PackWeights(k), [parameters, packed]) => {
            let p = &k.packing;
            let n = p.out_channels * p.in_channels * p.kernel_height * p.kernel_width;
            *packed = pack(p, &parameters[k.weight_offset..][..n]);
        }
        (Kernel::LstmPack(k), [parameters, packed]) => {
            k.reference(&parameters[k.cell.weight_offset..][..k.cell.weight_len()], packed);
        }
        (Kernel::LstmWeightGradient(k), [x, trace, partials]) => {
            let (cell, lanes) = (&k.cell, k.lanes as usize);
            for (blocks, partial) in k.chunks.split(partials, k.n_parameters) {
                let of = |len: usize| blocks.start as usize * len * lanes..blocks.end as usize * len * lanes;
                let grad = &mut partial[cell.weight_offset..][..cell.weight_len()];
                k.reference(&x[of(cell.in_len())], &trace[of(cell.trace_len())], grad);
            }
        }
        (Kernel::ConvWeightGradient(k), [x, g, partials]) => {
            let (s, lanes) = (&k.shape, k.lanes as usize);
            for (blocks, partial) in k.chunks.split(partials, k.n_parameters) {
                let of = |len: usize| blocks.start as usize * len * lanes..blocks.end as usize * len * lanes;
                let grad = &mut partial[k.weight_offset..][..s.weight_len() + s.out_channels];
                k.reference(&x[of(s.in_len())], &g[of(s.out_len())], grad);
            }
        }
        (Kernel::DenseWeightGradient(k), [x, g, partials]) => {
            let (s, lanes) = (&k.shape, k.lanes as usize);
            for (blocks, partial) in k.chunks.split(partials, k.n_parameters) {
                let of = |len: usize| blocks.start as usize * len * lanes..blocks.end as usize * len * lanes;
                let grad = &mut partial[k.weight_offset..][..(s.in_len() + 1) * s.units];
                k.reference(&x[of(s.in_len())], &g[of(s.units)], grad);
            }
        }
        (Kernel::WeightPenalty(k), [parameters, grad]) => {
            for (grad, parameter) in grad.iter_mut().zip(parameters) {
                *grad += 2.0 * f64::from(k.weight) * *parameter;
            }
        }
        (Kernel::ReducePartials(k), [partials, grad]) => {
            let n = k.n_parameters;
            assert_eq!(partials.len(), n * k.n_chunks as usize);
            for (i, grad) in grad.iter_mut().enumerate() {
                *grad = partials.iter().skip(i).step_by(n).sum();
            }
        }
        _ => panic!("{} has no twin in f64", kernel.name()),
    }
}

/// Runs launches through the twins as the engine's executors call them: the reference's reference.
pub struct Executor32<'a> {
    plan: &'a Plan,
    pub buffers: Vec<Vec<u32>>,
}

impl<'a> Executor32<'a> {
    /// Buffers begin as zeros, as plans say.
    pub fn new(plan: &'a Plan) -> Self {
        let buffers = (0..plan.buffers.len()).map(|i| vec![0; plan.len_of(BufferId(i))]).collect();
        Self { plan, buffers }
    }

    pub fn floats(&self, buffer: BufferId) -> Vec<f64> {
        self.buffers[buffer.0].iter().map(|w| f64::from(f32::from_bits(*w))).collect()
    }

    pub fn set(&mut self, buffer: BufferId, values: &[f64]) {
        let words: Vec<u32> = values.iter().map(|v| (*v as f32).to_bits()).collect();
        self.buffers[buffer.0].copy_from_slice(&words);
    }

    pub fn run<'l>(&mut self, launches: impl IntoIterator<Item = &'l Launch>) {
        for launch in launches {
            let mut buffers: Vec<Vec<u32>> =
                launch.bindings.iter().map(|id| self.buffers[id.0].clone()).collect();
            run_twin(&launch.kernel, self.plan, launch, &mut buffers);
            for (id, (words, access)) in
                launch.bindings.iter().zip(buffers.into_iter().zip(launch.kernel.access()))
            {
                if *access != Access::Read {
                    self.buffers[id.0] = words;
                }
            }
        }
    }
}

fn run_twin(kernel: &Kernel, plan: &Plan, launch: &Launch, buffers: &mut [Vec<u32>]) {
    let layouts: Vec<Layout> = launch.bindings.iter().map(|id| plan.buffers[id.0].layout).collect();
    let runs = if kernel.is_per_block() { launch.blocks.clone() } else { 0..1 };
    let jet_components = if kernel.is_per_block() { launch.jet_components as usize } else { 1 };
    for (index, block) in runs.enumerate() {
        for component in 0..jet_components {
            let mut views: Vec<Binding> = buffers
                .iter_mut()
                .zip(&layouts)
                .zip(kernel.access())
                .map(|((words, layout), access)| {
                    let words = match layout {
                        Layout::PerBlock(features) if kernel.is_per_block() => {
                            let len = features * plan.lanes as usize / jet_components;
                            &mut words[(block as usize * jet_components + component) * len..][..len]
                        }
                        _ => &mut words[..],
                    };
                    if *access == Access::Read { Binding::Read(words) } else { Binding::Write(words) }
                })
                .collect();
            kernel.run(index as u32, &mut views);
        }
    }
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

/// Submits some steps, as many at a time as `pieces` say, and awaits their metrics.
pub async fn steps(trainer: &mut Trainer, pieces: &[u32]) -> Vec<StepMetrics> {
    let mut metrics = Vec::new();
    for piece in pieces {
        metrics.extend(trainer.submit(*piece).unwrap().metrics().await.unwrap());
    }
    metrics
}

/// What the trainer would save.
pub async fn checkpoint(trainer: &Trainer) -> Checkpoint {
    trainer.checkpoint(serde_json::Value::Null).await.unwrap()
}

/// The bits of every tensor.
pub fn bits(checkpoint: &Checkpoint) -> Vec<(String, Vec<u32>)> {
    let words = |data: &TensorData| match data {
        TensorData::F32(values) => values.iter().map(|v| v.to_bits()).collect(),
        TensorData::U32(values) => values.clone(),
    };
    checkpoint.tensors.iter().map(|(name, tensor)| (name.clone(), words(&tensor.data))).collect()
}
