//! Gradients: the CPU twins, in f64, against central differences of plain models; packed weights; and the twins as they
//! are launched, in f32, against those in f64.

use crate::common;

use common::{
    Executor32, Executor64, Failures, Rng, difference, edge_networks, from_blocks, largest, odd_network,
    pack, plain_conv, plain_dense, plain_energy, random_conv, random_network, random_parameters,
    random_shape, random_target, to_blocks, to_f64,
};
use thalweg::kernels::conv_forward::ConvForward;
use thalweg::kernels::conv_input_gradient::ConvInputGradient;
use thalweg::kernels::conv_weight_gradient::{Chunks, ConvWeightGradient};
use thalweg::kernels::dense_forward::DenseForward;
use thalweg::kernels::dense_input_gradient::DenseInputGradient;
use thalweg::kernels::dense_weight_gradient::DenseWeightGradient;
use thalweg::kernels::pack_weights::{PackWeights, Packing, Tile};
use thalweg::kernels::{Binding, Kernel, Slope, State};
use thalweg::network::{Activation, ConvShape, DenseShape, LayerSpec, Network, Operation};
use thalweg::plan::{ExampleStorage, Launch, Target, TrainingData, TrainingPlan, energy_plan, training_plan};
use thalweg::recipe::{EnergyL2Form, Recipe};

// ---- single kernels

const LANES: [u32; 6] = [1, 4, 5, 8, 15, 16];
const TILES: [usize; 5] = [1, 3, 4, 8, 16];

/// Elements to perturb: all of a few, a sample of many.
fn sample(rng: &mut Rng, n: usize, most: usize) -> Vec<usize> {
    if n <= most { (0..n).collect() } else { (0..most).map(|_| rng.below(n)).collect() }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A layer in plain form: what it makes of `[channel][pixel]` features.
type Plain<'a> = &'a dyn Fn(&[f64], &[f64]) -> Vec<f64>;

/// What one layer's kernels gave for images `x` and gradients `g`, all plain.
struct Layer {
    x: Vec<Vec<f64>>,
    g: Vec<Vec<f64>>,
    parameters: Vec<f64>,
    output: Vec<Vec<f64>>,
    input_gradient: Vec<Vec<f64>>,
    parameter_gradient: Vec<f64>,
}

/// Holds a layer's kernels against differences of `sum of g * plain(x)`. It is linear in `x` and in the parameters, so
/// that a central difference has no error but rounding, whatever its step.
fn hold_against_differences(rng: &mut Rng, failures: &mut Failures, name: &str, layer: &Layer, plain: Plain) {
    let parameters = &layer.parameters;
    for (i, (x, g)) in layer.x.iter().zip(&layer.g).enumerate() {
        failures.close(&format!("{name}: output {i}"), &layer.output[i], &plain(parameters, x), 1e-12, 1e-12);
        for at in sample(rng, x.len(), 24) {
            let value = |step: f64| {
                let mut x = x.clone();
                x[at] += step;
                dot(g, &plain(parameters, &x))
            };
            let want = (value(0.5) - value(-0.5)) / 1.0;
            let got = layer.input_gradient[i][at];
            failures.close(&format!("{name}: input gradient {at} of {i}"), &[got], &[want], 1e-11, 1e-10);
        }
    }
    for at in sample(rng, parameters.len(), 24) {
        let value = |step: f64| {
            let mut parameters = parameters.clone();
            parameters[at] += step;
            layer.x.iter().zip(&layer.g).map(|(x, g)| dot(g, &plain(&parameters, x))).sum::<f64>()
        };
        let want = (value(0.5) - value(-0.5)) / 1.0;
        let got = layer.parameter_gradient[at];
        failures.close(&format!("{name}: parameter gradient {at}"), &[got], &[want], 1e-10, 1e-10);
    }
}

fn images(rng: &mut Rng, n: usize, len: usize) -> Vec<Vec<f64>> {
    (0..n).map(|_| rng.signeds(len)).collect()
}

type Forward<'a> = &'a dyn Fn(&[f64], &[f64], &[f64], &mut [f64], &mut [f64]);
type Backward<'a> = &'a dyn Fn(Slope, [&[f64]; 3], &mut [f64]);
type WeightGradient<'a> = &'a dyn Fn(&[f64], &[f64], &mut [f64]);

/// A layer's three kernels: shapes as `[channels, values]`, the packings of both ways, and the twins.
struct Kernels<'a> {
    lanes: u32,
    input: [usize; 2],
    output: [usize; 2],
    packings: [Packing; 2],
    forward: Forward<'a>,
    backward: Backward<'a>,
    weight_gradient: WeightGradient<'a>,
}

/// The blocks that weight gradients are of.
const CHUNKS: Chunks = Chunks { first_block: 0, n_blocks: 2, chunk_blocks: 2, first_chunk: 0 };

/// Runs a layer's three kernels on two blocks, with random parameters, images, gradients and slopes.
fn run_layer(rng: &mut Rng, parameters: Vec<f64>, n_weights: usize, kernels: &Kernels) -> Layer {
    let Kernels { input: [in_channels, in_values], output: [out_channels, out_values], .. } = *kernels;
    let lanes = kernels.lanes as usize;
    let n_images = 2 * lanes;
    let (weights, bias) = parameters.split_at(n_weights);
    let (x, g) = (images(rng, n_images, in_values), images(rng, n_images, out_values));
    let slope = images(rng, n_images, in_values);
    let blocks = |images: &[Vec<f64>], channels| to_blocks(images, channels, lanes, f64::NAN);
    let (xs, gs, slopes) = (blocks(&x, in_channels), blocks(&g, out_channels), blocks(&slope, in_channels));
    let [packed, packed_back] = [0, 1].map(|way| pack(&kernels.packings[way], weights));
    let (in_len, out_len) = (in_values * lanes, out_values * lanes);
    let (mut output, mut grad) = (vec![f64::NAN; gs.len()], vec![f64::NAN; xs.len()]);
    for block in 0..2 {
        let (of_in, of_out) = (block * in_len..(block + 1) * in_len, block * out_len..(block + 1) * out_len);
        let mut slope = vec![f64::NAN; out_len];
        (kernels.forward)(&xs[of_in.clone()], &packed, bias, &mut output[of_out.clone()], &mut slope);
        assert!(slope.iter().all(|slope| *slope == 1.0));
        let g = &gs[of_out];
        (kernels.backward)(Slope::None, [g, &packed_back, &[]], &mut grad[of_in.clone()]);
        assert_slopes_are_factors(&grad[of_in.clone()], &slopes[of_in], |slope, beside, sloped| {
            (kernels.backward)(slope, [g, &packed_back, beside], sloped);
        });
    }
    let mut parameter_gradient = vec![f64::NAN; parameters.len()];
    (kernels.weight_gradient)(&xs, &gs, &mut parameter_gradient);
    let plain = |blocks: &[f64], channels: usize, len: usize| {
        from_blocks(blocks, n_images, channels, len / channels, lanes)
    };
    let (output, input_gradient) =
        (plain(&output, out_channels, out_values), plain(&grad, in_channels, in_values));
    Layer { x, g, parameters, output, input_gradient, parameter_gradient }
}

fn conv_layer(rng: &mut Rng, s: ConvShape) -> Layer {
    let (lanes, n) = (rng.pick(&LANES), s.weight_len());
    let parameters = rng.signeds(n + s.out_channels);
    let mut tile = || Tile { channels: rng.pick(&TILES), pixels: 1 + rng.below(4) };
    let (tile, tile_back, activation) = (tile(), tile(), Activation::Identity);
    let forward = ConvForward { lanes, shape: s, tile, bias_offset: n, activation };
    let backward = |slope| ConvInputGradient { lanes, shape: s, tile: tile_back, slope };
    let (chunks, tile) = (CHUNKS, 4);
    let gradient = ConvWeightGradient {
        lanes,
        shape: s,
        chunks,
        tile,
        jet_components: 1,
        weight_offset: 0,
        n_parameters: 0,
    };
    let kernels = Kernels {
        lanes,
        input: [s.in_channels, s.in_len()],
        output: [s.out_channels, s.out_len()],
        packings: [forward.packing(), backward(Slope::None).packing()],
        forward: &|x, packed, bias, output, slope| forward.reference(x, packed, bias, output, slope),
        backward: &|slope, [g, packed, beside], grad| backward(slope).reference(g, packed, beside, grad),
        weight_gradient: &|x, g, grad| gradient.reference(x, g, grad),
    };
    run_layer(rng, parameters, n, &kernels)
}

fn dense_layer(rng: &mut Rng, s: DenseShape) -> Layer {
    let (lanes, n) = (rng.pick(&LANES), s.in_len() * s.units);
    let parameters = rng.signeds(n + s.units);
    let (tile_channels, tile_back, activation) = (rng.pick(&TILES), rng.pick(&TILES), Activation::Identity);
    let forward = DenseForward { lanes, shape: s, tile_channels, bias_offset: n, activation };
    let backward = |slope| DenseInputGradient { lanes, shape: s, tile_channels: tile_back, slope };
    let gradient = DenseWeightGradient {
        lanes,
        shape: s,
        chunks: CHUNKS,
        jet_components: 1,
        weight_offset: 0,
        n_parameters: 0,
    };
    let kernels = Kernels {
        lanes,
        input: [s.in_channels, s.in_len()],
        output: [s.units, s.units],
        packings: [forward.packing(), backward(Slope::None).packing()],
        forward: &|x, packed, bias, output, slope| forward.reference(x, packed, bias, output, slope),
        backward: &|slope, [g, packed, beside], grad| backward(slope).reference(g, packed, beside, grad),
        weight_gradient: &|x, g, grad| gradient.reference(x, g, grad),
    };
    run_layer(rng, parameters, n, &kernels)
}

/// An input gradient, run with slopes beside and in place, is that without any, times the slopes.
fn assert_slopes_are_factors(grad: &[f64], slopes: &[f64], run: impl Fn(Slope, &[f64], &mut [f64])) {
    let want: Vec<_> = grad.iter().zip(slopes).map(|(g, s)| g * s).collect();
    let cases =
        [(Slope::Beside, slopes, vec![f64::NAN; grad.len()]), (Slope::InPlace, &[][..], slopes.to_vec())];
    for (place, beside, mut sloped) in cases {
        run(place, beside, &mut sloped);
        assert_eq!(sloped, want, "{place:?}");
    }
}

fn random_conv_shape(rng: &mut Rng) -> ConvShape {
    let input = random_shape(rng);
    let end = LayerSpec::Dense { units: 1, activation: Activation::Identity };
    let network = Network::new("one", input, &[random_conv(rng, input, Activation::Identity), end]).unwrap();
    match network.layers[0].operation {
        Operation::Conv(shape) => shape,
        _ => unreachable!(),
    }
}

fn hold_conv(rng: &mut Rng, failures: &mut Failures, s: ConvShape, spoil: impl FnOnce(&mut Layer)) {
    let mut layer = conv_layer(rng, s);
    spoil(&mut layer);
    let plain = |p: &[f64], x: &[f64]| plain_conv(&s, &p[..s.weight_len()], &p[s.weight_len()..], x);
    hold_against_differences(rng, failures, &format!("{s:?}"), &layer, &plain);
}

fn hold_dense(rng: &mut Rng, failures: &mut Failures, s: DenseShape, spoil: impl FnOnce(&mut Layer)) {
    let mut layer = dense_layer(rng, s);
    spoil(&mut layer);
    let n = s.in_len() * s.units;
    let plain = |p: &[f64], x: &[f64]| plain_dense(s.units, &p[..n], &p[n..], x);
    hold_against_differences(rng, failures, &format!("{s:?}"), &layer, &plain);
}

#[test]
fn convolutions_match_differences() {
    let (mut rng, mut failures) = (Rng(1), Failures::default());
    for _ in 0..80 {
        let shape = random_conv_shape(&mut rng);
        hold_conv(&mut rng, &mut failures, shape, |_| ());
    }
    failures.assert_none();
}

#[test]
fn dense_layers_match_differences() {
    let (mut rng, mut failures) = (Rng(2), Failures::default());
    let sizes = [1, 3, 5, 7, 17];
    for _ in 0..60 {
        let (in_channels, in_pixels, units) = (rng.pick(&sizes), rng.pick(&sizes), rng.pick(&sizes));
        hold_dense(&mut rng, &mut failures, DenseShape { in_channels, in_pixels, units }, |_| ());
    }
    failures.assert_none();
}

/// The tests above find a wrong tap, a shifted image, a doubled bias.
#[test]
fn spoiled_gradients_are_found() {
    type Spoil = fn(&mut Layer);
    let spoils: [(&str, Spoil); 4] = [
        ("output", |layer| layer.output[0][0] += 1e-9),
        ("input gradient", |layer| layer.input_gradient.rotate_left(1)),
        ("weight gradient", |layer| layer.parameter_gradient[0] *= 1.0 + 1e-6),
        ("bias gradient", |layer| *layer.parameter_gradient.last_mut().unwrap() += 1e-6),
    ];
    for (name, spoil) in spoils {
        let mut rng = Rng(3);
        let conv = ConvShape {
            in_channels: 1,
            in_height: 3,
            in_width: 3,
            out_channels: 1,
            out_height: 2,
            out_width: 2,
            kernel_height: 3,
            kernel_width: 3,
            stride_y: 1,
            stride_x: 1,
            pad_top: 1,
            pad_left: 0,
        };
        let mut failures = Failures::default();
        hold_conv(&mut rng, &mut failures, ConvShape { out_width: 1, ..conv }, spoil);
        assert!(failures.len() > 0, "convolution: {name}");
        let mut failures = Failures::default();
        let dense = DenseShape { in_channels: 3, in_pixels: 3, units: 2 };
        hold_dense(&mut rng, &mut failures, dense, spoil);
        assert!(failures.len() > 0, "dense: {name}");
    }
}

// ---- packing

#[test]
fn packing_is_a_bijection_and_pads_with_zeros() {
    let (mut rng, mut failures) = (Rng(4), Failures::default());
    let mut packings = Vec::new();
    for _ in 0..100 {
        let (shape, tile) = (random_conv_shape(&mut rng), rng.pick(&TILES));
        packings.extend([Packing::forward(shape, tile), Packing::backward(shape, tile)]);
        let in_channels = 1 + rng.below(9);
        let dense = DenseShape { in_channels, in_pixels: 1 + rng.below(9), units: 1 + rng.below(9) };
        packings.extend([Packing::dense(dense, tile, false), Packing::dense(dense, tile, true)]);
    }
    for p in packings {
        let n = p.out_channels * p.in_channels * p.kernel_height * p.kernel_width;
        let tiled = if p.backward { p.in_channels } else { p.out_channels };
        failures.check(p.len() == n / tiled * tiled.div_ceil(p.tile) * p.tile, || format!("{p:?}: length"));
        let mut hits = vec![0; p.len()];
        for oc in 0..p.out_channels {
            for ic in 0..p.in_channels {
                for ky in 0..p.kernel_height {
                    for kx in 0..p.kernel_width {
                        hits[p.index(oc, ic, ky, kx)] += 1;
                    }
                }
            }
        }
        let is_bijection = hits.iter().sum::<i32>() == n as i32 && hits.iter().all(|h| *h <= 1);
        failures.check(is_bijection, || format!("{p:?}: two weights in one slot"));
        // Channels of a tile lie side by side, and what is left over of the last tile is nobody's.
        let per_tile = p.len() / tiled.div_ceil(p.tile);
        let is_padding = |i: usize| i / per_tile * p.tile + i % p.tile >= tiled;
        let ok = hits.iter().enumerate().all(|(i, h)| (*h == 0) == is_padding(i));
        failures.check(ok, || format!("{p:?}: padding elsewhere than at the last tile's end"));

        // Shaders walk a row's columns in this order: as they are, or by `kx mod stride`, descending within.
        let mut columns: Vec<usize> = (0..p.kernel_width).collect();
        if p.backward {
            columns.sort_by_key(|kx| (kx % p.stride_x, usize::MAX - kx));
        }
        let ok = columns.iter().enumerate().all(|(place, kx)| p.column(*kx) == place);
        failures.check(ok, || format!("{p:?}: columns are not in the order {columns:?}"));

        // The twin, into garbage, from the middle of a parameter vector.
        let offset = rng.below(7);
        let parameters: Vec<u32> = (0..offset + n + 3).map(|i| (1.0 + i as f32).to_bits()).collect();
        let mut packed = vec![f32::NAN.to_bits(); p.len()];
        let kernel: Kernel = PackWeights { packing: p, weight_offset: offset, packed_offset: 0 }.into();
        kernel.run(0, &mut [Binding::Read(&parameters), Binding::Write(&mut packed)]);
        let weights: Vec<f64> = (0..n).map(|i| 1.0 + (offset + i) as f64).collect();
        let got = to_f64(bytemuck::cast_slice(&packed));
        failures.close(&format!("{p:?}: twin"), &got, &pack(&p, &weights), 0.0, 0.0);
    }
    failures.assert_none();
}

// ---- whole networks

fn networks(rng: &mut Rng, n: usize) -> Vec<Network> {
    edge_networks().into_iter().chain((0..n).map(|_| random_network(rng))).collect()
}

/// A step of 1e-4 leaves an error of 1e-16 in the fourth-order difference, and 1e-12 of rounding.
fn derivative(value: impl Fn(f64) -> f64) -> f64 {
    common::derivative(value, 1e-4)
}

#[test]
fn energies_and_input_gradients_of_networks_match_differences() {
    let (mut rng, mut failures) = (Rng(5), Failures::default());
    for network in networks(&mut rng, 30) {
        let target = random_target(&mut rng);
        let n_images = target.lanes as usize + 1;
        let plan = energy_plan(&network, n_images, target);
        let parameters = random_parameters(&mut rng, &network);
        let x = images(&mut rng, n_images, network.input.len());
        let lanes = target.lanes as usize;

        let mut executor = Executor64::new(&plan.plan);
        executor.set(plan.pass.parameters, &parameters);
        executor.set(plan.pass.x, &to_blocks(&x, network.input.channels, lanes, 0.0));
        executor.run(&plan.plan.programs[plan.start.0]);
        executor.run(&plan.plan.programs[plan.gradients.0]);
        let pixels = network.input.height * network.input.width;
        let gradient = executor.get(plan.pass.input_gradient);
        let gradient = from_blocks(gradient, n_images, network.input.channels, pixels, lanes);
        let name = format!("{:?} {target:?}", network.layers);
        let energies: Vec<f64> = x.iter().map(|x| plain_energy(&network, &parameters, x)).collect();
        failures.close(
            &format!("{name}: E"),
            &executor.get(plan.pass.energies)[..n_images],
            &energies,
            1e-12,
            1e-12,
        );

        for image in [0, n_images - 1] {
            let places = sample(&mut rng, network.input.len(), 40);
            let energy = |at: usize, step: f64| {
                let mut x = x[image].clone();
                x[at] += step;
                plain_energy(&network, &parameters, &x)
            };
            // A kink of LeakyReLU or ReLU within reach of a difference is seen by a smaller one.
            let n_places = places.len();
            let (want, got): (Vec<f64>, Vec<f64>) = places
                .iter()
                .map(|&at| {
                    let (wide, narrow) =
                        (derivative(|s| energy(at, s)), derivative(|s| energy(at, 0.25 * s)) / 0.25);
                    (wide, narrow, gradient[image][at])
                })
                .filter(|(wide, narrow, _)| (wide - narrow).abs() <= 1e-8 + 1e-6 * wide.abs())
                .map(|(wide, _, got)| (wide, got))
                .unzip();
            failures.check(4 * got.len() >= 3 * n_places, || format!("{name}: mostly kinks"));
            failures.close(&format!("{name}: dE/dx of {image}"), &got, &want, 1e-10, 1e-7);
            // Negative control: the same comparison finds a change of a millionth.
            let spoiled: Vec<f64> = got.iter().map(|g| g * (1.0 + 1e-6) + 1e-9).collect();
            assert!(difference("spoiled", &spoiled, &want, 1e-10, 1e-7).is_some());
        }

        // As launched, in f32.
        let mut executor32 = Executor32::new(&plan.plan);
        executor32.set(plan.pass.parameters, &parameters);
        executor32.set(plan.pass.x, &to_blocks(&x, network.input.channels, lanes, 0.0));
        executor32.run(&plan.plan.programs[plan.start.0]);
        executor32.run(&plan.plan.programs[plan.gradients.0]);
        for buffer in [plan.pass.energies, plan.pass.input_gradient] {
            let want = executor.get(buffer);
            failures.close(
                &format!("{name}: f32"),
                &executor32.floats(buffer),
                want,
                1e-5 * largest(want),
                0.0,
            );
        }
    }
    failures.assert_none();
}

/// A recipe, and the data that it learns, of the network's shape.
fn recipe(network: &Network, batch: u32, n_images: u32) -> (Recipe, TrainingData) {
    let mut recipe = common::recipe(&[
        "chain.steps=2",
        "replay.capacity=40",
        "replay.fresh=0.3",
        "adam.learning_rate=0.001",
        "adam.gradient_norm_clip=0.5",
    ]);
    recipe.train.batch = batch as usize;
    (recipe, TrainingData::new(ExampleStorage::Bytes, n_images, network.input))
}

/// The launches of a training step from after the chain.
fn tail(plan: &TrainingPlan) -> (&[Launch], &[Launch], &[Launch]) {
    let step = &plan.plan.programs[plan.step.0];
    let place = |name: &str| step.iter().position(|l| l.kernel.name() == name).unwrap();
    let chain = step.iter().rposition(|l| l.kernel.name() == "langevin").unwrap();
    let (loss, squares) = (place("contrastive_loss"), place("sum_squares"));
    (&step[chain + 1..loss], &step[loss..=loss], &step[loss + 1..squares])
}

/// Recipe R1's loss from plain energies, for `positive` and `negative` images.
fn plain_loss(
    network: &Network,
    parameters: &[f64],
    positive: &[Vec<f64>],
    negative: &[Vec<f64>],
    alpha: f64,
) -> f64 {
    let mean = |images: &[Vec<f64>], power: i32| {
        let energies = images.iter().map(|x| plain_energy(network, parameters, x).powi(power));
        energies.sum::<f64>() / images.len() as f64
    };
    mean(positive, 1) - mean(negative, 1) + alpha * (mean(positive, 2) + mean(negative, 2))
}

/// dL/dparameters: forward pass, `dL/dE`, backward pass, partial sums, reduction; for ragged batches too.
#[test]
fn parameter_gradients_of_the_loss_match_differences() {
    let (mut rng, mut failures) = (Rng(6), Failures::default());
    for network in networks(&mut rng, 16) {
        let target = random_target(&mut rng);
        let batch = 1 + rng.below(3 * target.lanes as usize) as u32;
        // In the second step of an epoch of two, `n_real` images are left.
        let n_real = 1 + rng.below(batch as usize) as u32;
        let (recipe, data) = recipe(&network, batch, batch + n_real);
        let plan = training_plan(&network, &recipe, &data, target);
        let parameters = random_parameters(&mut rng, &network);
        let (channels, lanes) = (network.input.channels, target.lanes as usize);
        let positive = images(&mut rng, n_real as usize, network.input.len());
        let negative = images(&mut rng, batch as usize, network.input.len());
        // Lanes without an image hold numbers that must not count.
        let half = plan.half_blocks as usize * lanes;
        let fill = |images: &[Vec<f64>], rng: &mut Rng| {
            let mut images = images.to_vec();
            images.resize_with(half, || rng.signeds(network.input.len()));
            to_blocks(&images, channels, lanes, 0.0)
        };
        let x = [fill(&positive, &mut rng), fill(&negative, &mut rng)].concat();

        // Seeds from the twin, in f32, on energies in f64: they meet the derivative of the loss.
        let (forward, loss, backward) = tail(&plan);
        let mut executor = Executor64::new(&plan.plan);
        executor.set(plan.pass.parameters, &parameters);
        executor.set(plan.pass.x, &x);
        executor.run(&plan.plan.programs[plan.start.0]);
        executor.run(forward);
        let mut executor32 = Executor32::new(&plan.plan);
        let state = State { step: 5, seed_low: 1, ..State::default() };
        executor32.buffers[plan.state.0].copy_from_slice(bytemuck::cast_slice(&[state]));
        executor32.set(plan.pass.energies, executor.get(plan.pass.energies));
        executor32.run(loss);
        let energies = executor.get(plan.pass.energies);
        let mut grad_energies = vec![0.0; 2 * half];
        for i in 0..n_real as usize {
            grad_energies[i] = (1.0 + 0.2 * energies[i]) / f64::from(n_real);
        }
        for i in half..half + batch as usize {
            grad_energies[i] = (-1.0 + 0.2 * energies[i]) / f64::from(batch);
        }
        let name = format!("{:?} {target:?} {n_real} of {batch}", network.layers);
        failures.close(
            &format!("{name}: seeds"),
            &executor32.floats(plan.pass.grad_energies),
            &grad_energies,
            1e-6,
            1e-6,
        );
        let value = plain_loss(&network, &parameters, &positive, &negative, 0.1);
        let row = &executor32.floats(plan.metrics)[5 * 8..][..8];
        let mean = |images: &[Vec<f64>]| {
            images.iter().map(|x| plain_energy(&network, &parameters, x)).sum::<f64>() / images.len() as f64
        };
        let (e_positive, e_negative) = (mean(&positive), mean(&negative));
        let cdiv = e_positive - e_negative;
        let want = [value, cdiv, value - cdiv, e_positive, e_negative, 0.0, f64::from(n_real), 0.0];
        failures.close(&format!("{name}: metrics"), row, &want, 1e-5, 1e-5);

        executor.set(plan.pass.grad_energies, &grad_energies);
        executor.run(backward);
        let gradient = executor.get(plan.gradient).to_vec();
        let places = sample(&mut rng, parameters.len(), 60);
        let want: Vec<f64> = places
            .iter()
            .map(|at| {
                derivative(|step| {
                    let mut parameters = parameters.clone();
                    parameters[*at] += step;
                    plain_loss(&network, &parameters, &positive, &negative, 0.1)
                })
            })
            .collect();
        let got: Vec<f64> = places.iter().map(|at| gradient[*at]).collect();
        failures.close(&format!("{name}: dL/dparameters"), &got, &want, 1e-9, 1e-7);
        let spoiled: Vec<f64> = got.iter().map(|g| g * (1.0 + 1e-6) + 1e-8).collect();
        assert!(difference("spoiled", &spoiled, &want, 1e-9, 1e-7).is_some());

        // As launched, in f32.
        executor32.set(plan.pass.parameters, &parameters);
        executor32.set(plan.pass.x, &x);
        executor32.run(&plan.plan.programs[plan.start.0]);
        executor32.run(forward);
        executor32.run(loss);
        executor32.run(backward);
        let tolerance = 2e-5 * largest(&gradient);
        failures.close(&format!("{name}: f32"), &executor32.floats(plan.gradient), &gradient, tolerance, 0.0);
    }
    failures.assert_none();
}

/// The loss with every penalty: loss, `dL/dE` and parameter gradient, for ragged batches too.
#[test]
fn parameter_gradients_of_the_penalties_match_differences() {
    let (mut rng, mut failures) = (Rng(16), Failures::default());
    for network in networks(&mut rng, 8) {
        let target = random_target(&mut rng);
        let batch = 1 + rng.below(2 * target.lanes as usize) as u32;
        let n_real = 1 + rng.below(batch as usize) as u32;
        let (mut recipe, data) = recipe(&network, batch, batch + n_real);
        recipe.loss.energy_l2_form = EnergyL2Form::SquareOfMeans;
        (recipe.loss.smoothness, recipe.loss.weight_l2) = (0.25, 0.125);
        let plan = training_plan(&network, &recipe, &data, target);
        let parameters = random_parameters(&mut rng, &network);
        let (channels, lanes) = (network.input.channels, target.lanes as usize);
        let [positive, noisy] = [0; 2].map(|_| images(&mut rng, n_real as usize, network.input.len()));
        let negative = images(&mut rng, batch as usize, network.input.len());
        let half = plan.half_blocks as usize * lanes;
        let fill = |images: &[Vec<f64>], rng: &mut Rng| {
            let mut images = images.to_vec();
            images.resize_with(half, || rng.signeds(network.input.len()));
            to_blocks(&images, channels, lanes, 0.0)
        };
        let x = [fill(&positive, &mut rng), fill(&negative, &mut rng), fill(&noisy, &mut rng)].concat();
        let mean = |parameters: &[f64], images: &[Vec<f64>]| {
            images.iter().map(|x| plain_energy(&network, parameters, x)).sum::<f64>() / images.len() as f64
        };
        let value = |parameters: &[f64]| {
            let (e_positive, e_negative) = (mean(parameters, &positive), mean(parameters, &negative));
            let rough = positive.iter().zip(&noisy).map(|(x, y)| {
                (plain_energy(&network, parameters, y) - plain_energy(&network, parameters, x)).powi(2)
            });
            let alpha = f64::from(recipe.loss.energy_l2 as f32);
            e_positive - e_negative
                + alpha * (e_positive * e_positive + e_negative * e_negative)
                + 0.25 * rough.sum::<f64>() / positive.len() as f64
                + 0.125 * dot(parameters, parameters)
        };

        // Energies and gradients in f64, loss and penalties in f32, which `dL/dE` comes from.
        let step = &plan.plan.programs[plan.step.0];
        let place = |name: &str| step.iter().position(|l| l.kernel.name() == name).unwrap();
        let (copy, loss, smooth) = (place("copy_images"), place("contrastive_loss"), place("smoothness"));
        let last = step.iter().rposition(|l| l.kernel.name() == "sum_squares").unwrap();
        let mut executor = Executor64::new(&plan.plan);
        executor.set(plan.pass.parameters, &parameters);
        executor.set(plan.pass.x, &x);
        executor.run(&plan.plan.programs[plan.start.0]);
        executor.run(&step[copy + 1..loss]);
        let mut executor32 = Executor32::new(&plan.plan);
        let state = State { step: 5, seed_low: 1, ..State::default() };
        executor32.buffers[plan.state.0].copy_from_slice(bytemuck::cast_slice(&[state]));
        executor32.set(plan.pass.energies, executor.get(plan.pass.energies));
        executor32.set(plan.pass.parameters, &parameters);
        executor32.run(&step[loss..=smooth]);
        let (squares, penalty) = (place("sum_squares"), place("add_penalty"));
        executor32.run(&step[squares..=penalty]);
        let name = format!("{:?} {target:?} {n_real} of {batch}", network.layers);
        let row = &executor32.floats(plan.metrics)[5 * 8..][..3];
        let total = value(&parameters);
        let cdiv = mean(&parameters, &positive) - mean(&parameters, &negative);
        let tolerance = 1e-5 * (1.0 + total.abs());
        failures.close(&format!("{name}: metrics"), row, &[total, cdiv, total - cdiv], tolerance, 0.0);

        executor.set(plan.pass.grad_energies, &executor32.floats(plan.pass.grad_energies));
        let backward = step[smooth + 1..last]
            .iter()
            .filter(|l| !["sum_squares", "add_penalty"].contains(&l.kernel.name()));
        backward.for_each(|launch| executor.run(std::slice::from_ref(launch)));
        let gradient = executor.get(plan.gradient).to_vec();
        let places = sample(&mut rng, parameters.len(), 40);
        let want: Vec<f64> = places
            .iter()
            .map(|at| {
                derivative(|step| {
                    let mut parameters = parameters.clone();
                    parameters[*at] += step;
                    value(&parameters)
                })
            })
            .collect();
        let got: Vec<f64> = places.iter().map(|at| gradient[*at]).collect();
        // The rounding of `dL/dE`, by the largest of many terms.
        let tolerance = 1e-5 * largest(&gradient).max(1e-3);
        failures.close(&format!("{name}: dL/dparameters"), &got, &want, tolerance, 0.0);
        let spoiled: Vec<f64> = got.iter().map(|g| g * 1.001 + 3.0 * tolerance).collect();
        assert!(difference("spoiled", &spoiled, &want, tolerance, 0.0).is_some());
    }
    failures.assert_none();
}

/// The launches of a chain: `steps` times noise, forward, input gradient, move.
#[test]
fn a_chain_alternates_noise_gradient_and_move() {
    let network = odd_network();
    let (recipe, data) = recipe(&network, 5, 9);
    let plan = training_plan(&network, &recipe, &data, Target::CPU);
    let step = &plan.plan.programs[plan.step.0];
    let chain: Vec<_> = step
        .iter()
        .filter_map(|l| match &l.kernel {
            Kernel::Langevin(k) => Some((k.moves, k.perturbs)),
            _ => None,
        })
        .collect();
    assert_eq!(chain, [(false, Some(0)), (true, Some(1)), (true, None)]);
    let places: Vec<_> =
        step.iter().enumerate().filter(|(_, l)| l.kernel.name() == "langevin").map(|(i, _)| i).collect();
    for pair in places.windows(2) {
        let between: Vec<_> = step[pair[0] + 1..pair[1]].iter().map(|l| l.kernel.name()).collect();
        let want = [
            "conv_forward",
            "conv_forward",
            "dense_forward",
            "dense_forward",
            "dense_input_gradient",
            "dense_input_gradient",
            "conv_input_gradient",
            "conv_input_gradient",
        ];
        assert_eq!(between, want);
    }
}
