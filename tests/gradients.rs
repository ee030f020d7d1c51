//! Gradients: the CPU twins, in f64, against central differences of plain models; packed weights; and the twins as they
//! are launched, in f32, against those in f64.

use crate::common;

use common::{
    ACTIVATIONS, Executor32, Executor64, Failures, Rng, difference, edge_networks, from_blocks, largest,
    odd_network, pack, plain_activation, plain_conv, plain_dense, plain_energy, random_conv, random_network,
    random_parameters, random_shape, random_target, to_blocks, to_f64,
};
use thalweg::kernels::adam::{Adam, Decay, LearningRateSchedule};
use thalweg::kernels::clip_scale::ClipScale;
use thalweg::kernels::conv_forward::ConvForward;
use thalweg::kernels::conv_input_gradient::ConvInputGradient;
use thalweg::kernels::conv_weight_gradient::{Chunks, ConvWeightGradient};
use thalweg::kernels::dense_forward::DenseForward;
use thalweg::kernels::dense_input_gradient::DenseInputGradient;
use thalweg::kernels::dense_weight_gradient::DenseWeightGradient;
use thalweg::kernels::dynamics::{Dynamics, Form, Interpolation};
use thalweg::kernels::langevin::Langevin;
use thalweg::kernels::pack_weights::{PackWeights, Packing, Tile};
use thalweg::kernels::sum_squares::SumSquares;
use thalweg::kernels::{Binding, Kernel, Slope, State, activate};
use thalweg::network::{Activation, ConvShape, DenseShape, LayerSpec, Network, Operation};
use thalweg::plan::{ExampleStorage, Launch, Target, TrainingData, TrainingPlan, energy_plan, training_plan};
use thalweg::random::{Stream, counter, normal_of, philox};
use thalweg::recipe::{EnergyL2Form, Recipe};

// ---- comparators can fail

#[test]
fn comparators_find_a_perturbed_value() {
    let want = [1.0, -2.0, 0.0, 1e-3];
    assert_eq!(difference("same", &want, &want, 0.0, 0.0), None);
    for wrong in [f64::NAN, f64::INFINITY, 1.0 + 2e-6, -1.0, 0.0] {
        let mut got = want;
        got[0] = wrong;
        assert!(difference("one", &got, &want, 1e-7, 1e-6).is_some(), "{wrong}");
        assert!(difference("one", &want, &got, 1e-7, 1e-7).is_some(), "{wrong} as reference");
    }
    assert!(difference("short", &want[..3], &want, 1.0, 1.0).is_some());
    let mut failures = Failures::default();
    failures.close("same", &want, &want, 0.0, 0.0);
    assert_eq!(failures.len(), 0);
    failures.close("one", &[f64::NAN], &[f64::NAN], 1.0, 1.0);
    assert_eq!(failures.len(), 1);
}

// ---- activation

#[test]
fn slope_is_the_activations_derivative() {
    let mut failures = Failures::default();
    for activation in ACTIVATIONS {
        let value = |z: f64| activate(activation, z).0;
        for i in -400..=400 {
            let (z, h) = (f64::from(i) * 0.1, 1e-4);
            // Fourth order: the error is h^4 / 30 times a fifth derivative of order 1.
            let slope =
                (8.0 * (value(z + h) - value(z - h)) - value(z + 2.0 * h) + value(z - 2.0 * h)) / (12.0 * h);
            let kinked = matches!(activation, Activation::LeakyRelu(_) | Activation::Relu | Activation::Elu);
            if i != 0 || !kinked {
                let name = format!("{activation:?}'({z})");
                failures.close(&name, &[activate(activation, z).1], &[slope], 1e-10, 1e-9);
            }
            failures.close(
                &format!("{activation:?}({z})"),
                &[value(z)],
                &[plain_activation(activation, z)],
                1e-14,
                1e-14,
            );
        }
        // f32 at the ends: exp overflows, the numbers stay finite and right.
        for z in [-1e30, -1000.0, -104.0, -90.0, 90.0, 1000.0_f32] {
            let (y, slope) = activate(activation, z);
            let wide = f64::from(z);
            let (want, want_slope) = match activation {
                Activation::Identity => (wide, 1.0),
                Activation::Tanh => (wide.signum(), 0.0),
                _ if z > 0.0 => (wide, 1.0),
                Activation::LeakyRelu(leak) => (f64::from(leak * z), leak.into()),
                Activation::Elu => (-1.0, 0.0),
                Activation::Relu | Activation::Swish | Activation::Softplus => (0.0, 0.0),
            };
            let got = [f64::from(y), f64::from(slope)];
            failures.close(&format!("{activation:?} at {z} in f32"), &got, &[want, want_slope], 1e-30, 0.0);
        }
    }
    // PyTorch's derivatives at the kinks.
    for (activation, slope) in
        [(Activation::LeakyRelu(0.2), f64::from(0.2_f32)), (Activation::Relu, 0.0), (Activation::Elu, 1.0)]
    {
        assert_eq!(activate(activation, 0.0_f64), (0.0, slope), "{activation:?}");
    }
    failures.assert_none();
}

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

/// Runs a convolution's three kernels on two blocks.
fn conv_layer(rng: &mut Rng, s: ConvShape) -> Layer {
    let (lanes, n) = (rng.pick(&LANES), s.weight_len());
    let parameters = rng.signeds(n + s.out_channels);
    let (weights, bias) = parameters.split_at(n);
    let n_images = 2 * lanes as usize;
    let (x, g) = (images(rng, n_images, s.in_len()), images(rng, n_images, s.out_len()));
    let slope = images(rng, n_images, s.in_len());
    let blocks = |images: &[Vec<f64>], channels| to_blocks(images, channels, lanes as usize, f64::NAN);
    let (xs, gs, slopes) =
        (blocks(&x, s.in_channels), blocks(&g, s.out_channels), blocks(&slope, s.in_channels));

    let tile = |rng: &mut Rng| Tile { channels: rng.pick(&TILES), pixels: 1 + rng.below(4) };
    let activation = Activation::Identity;
    let forward = ConvForward { lanes, shape: s, tile: tile(rng), bias_offset: n, activation };
    let backward = ConvInputGradient { lanes, shape: s, tile: tile(rng), slope: Slope::None };
    let (packed, packed_back) = (pack(&forward.packing(), weights), pack(&backward.packing(), weights));
    let (in_len, out_len) = (s.in_len() * lanes as usize, s.out_len() * lanes as usize);
    let mut output = vec![f64::NAN; gs.len()];
    let mut grad = vec![f64::NAN; xs.len()];
    for block in 0..2 {
        let (of_in, of_out) = (block * in_len..(block + 1) * in_len, block * out_len..(block + 1) * out_len);
        let mut slope = vec![f64::NAN; out_len];
        forward.reference(&xs[of_in.clone()], &packed, bias, &mut output[of_out.clone()], &mut slope);
        assert!(slope.iter().all(|slope| *slope == 1.0));
        backward.reference(&gs[of_out.clone()], &packed_back, &[], &mut grad[of_in.clone()]);
        assert_slopes_are_factors(&grad[of_in.clone()], &slopes[of_in], |slope, beside, sloped| {
            let with_slope = ConvInputGradient { slope, ..backward.clone() };
            with_slope.reference(&gs[of_out.clone()], &packed_back, beside, sloped);
        });
    }
    let chunks = Chunks { first_block: 0, n_blocks: 2, chunk_blocks: 2, first_chunk: 0 };
    let kernel = ConvWeightGradient {
        lanes,
        shape: s,
        chunks,
        tile: 4,
        jet_components: 1,
        weight_offset: 0,
        n_parameters: 0,
    };
    let mut parameter_gradient = vec![f64::NAN; parameters.len()];
    kernel.reference(&xs, &gs, &mut parameter_gradient);

    let plain = |blocks: &[f64], channels: usize, len: usize| {
        from_blocks(blocks, n_images, channels, len / channels, lanes as usize)
    };
    let output = plain(&output, s.out_channels, s.out_len());
    let input_gradient = plain(&grad, s.in_channels, s.in_len());
    Layer { x, g, parameters, output, input_gradient, parameter_gradient }
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

/// Runs a dense layer's three kernels on two blocks.
fn dense_layer(rng: &mut Rng, s: DenseShape) -> Layer {
    let (lanes, n) = (rng.pick(&LANES), s.in_len() * s.units);
    let parameters = rng.signeds(n + s.units);
    let (weights, bias) = parameters.split_at(n);
    let n_images = 2 * lanes as usize;
    let (x, g) = (images(rng, n_images, s.in_len()), images(rng, n_images, s.units));
    let slope = images(rng, n_images, s.in_len());
    let blocks = |images: &[Vec<f64>], channels| to_blocks(images, channels, lanes as usize, f64::NAN);
    let (xs, gs, slopes) = (blocks(&x, s.in_channels), blocks(&g, s.units), blocks(&slope, s.in_channels));

    let activation = Activation::Identity;
    let forward =
        DenseForward { lanes, shape: s, tile_channels: rng.pick(&TILES), bias_offset: n, activation };
    let backward =
        DenseInputGradient { lanes, shape: s, tile_channels: rng.pick(&TILES), slope: Slope::None };
    let (packed, packed_back) = (pack(&forward.packing(), weights), pack(&backward.packing(), weights));
    let (in_len, out_len) = (s.in_len() * lanes as usize, s.units * lanes as usize);
    let mut output = vec![f64::NAN; gs.len()];
    let mut grad = vec![f64::NAN; xs.len()];
    for block in 0..2 {
        let (of_in, of_out) = (block * in_len..(block + 1) * in_len, block * out_len..(block + 1) * out_len);
        let mut slope = vec![f64::NAN; out_len];
        forward.reference(&xs[of_in.clone()], &packed, bias, &mut output[of_out.clone()], &mut slope);
        assert!(slope.iter().all(|slope| *slope == 1.0));
        backward.reference(&gs[of_out.clone()], &packed_back, &[], &mut grad[of_in.clone()]);
        assert_slopes_are_factors(&grad[of_in.clone()], &slopes[of_in], |slope, beside, sloped| {
            let with_slope = DenseInputGradient { slope, ..backward.clone() };
            with_slope.reference(&gs[of_out.clone()], &packed_back, beside, sloped);
        });
    }
    let chunks = Chunks { first_block: 0, n_blocks: 2, chunk_blocks: 2, first_chunk: 0 };
    let kernel =
        DenseWeightGradient { lanes, shape: s, chunks, jet_components: 1, weight_offset: 0, n_parameters: 0 };
    let mut parameter_gradient = vec![f64::NAN; parameters.len()];
    kernel.reference(&xs, &gs, &mut parameter_gradient);

    let plain = |blocks: &[f64], channels: usize, len: usize| {
        from_blocks(blocks, n_images, channels, len / channels, lanes as usize)
    };
    let (output, input_gradient) =
        (plain(&output, s.units, s.units), plain(&grad, s.in_channels, s.in_len()));
    Layer { x, g, parameters, output, input_gradient, parameter_gradient }
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
    let h = 1e-4;
    (8.0 * (value(h) - value(-h)) - value(2.0 * h) + value(-2.0 * h)) / (12.0 * h)
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

// ---- the optimiser's and the chain's arithmetic

fn words(values: &[f64]) -> Vec<u32> {
    values.iter().map(|v| (*v as f32).to_bits()).collect()
}

fn floats(words: &[u32]) -> Vec<f64> {
    words.iter().map(|w| f64::from(f32::from_bits(*w))).collect()
}

#[test]
fn adam_and_the_norm_clip_follow_their_formulas() {
    let (mut rng, mut failures) = (Rng(7), Failures::default());
    for n in [1, 3, 17, 1023, 1024, 1025, 3000] {
        for (beta1, clip, scale) in [(0.9, 0.0, 1.0), (0.9, 0.1, 1.0), (0.0, 1.0, 1e-3), (0.9, 0.1, 1e-6)] {
            let (rate, beta2, epsilon) = (1e-3, 0.999, 1e-7);
            let (gradient_clip, weight_decay) = if clip == 1.0 { (0.5 * scale, 0.3) } else { (1e9, 0.0) };
            let decay = Decay::Exponential { factor: 0.8, epoch: 2 };
            let adam = Adam {
                n_parameters: n,
                learning_rate: rate,
                beta1,
                beta2,
                epsilon,
                schedule: LearningRateSchedule { decay, warm_up: 3 },
                gradient_clip: gradient_clip as f32,
                weight_decay,
                retry_factor: 0.5,
            };
            let (mut p, mut m, mut v) = (rng.signeds(n), vec![0.0; n], vec![0.0; n]);
            let (mut p32, mut m32, mut v32) = (words(&p), words(&m), words(&v));
            for step in 0..5 {
                let grad: Vec<f64> = rng.signeds(n).iter().map(|g| g * scale).collect();
                let state = State { step, ..State::default() };
                let state: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&state));
                let n_partials = n.div_ceil(1024);
                let mut squares = vec![f32::NAN.to_bits(); n_partials];
                let mut factor = vec![f32::NAN.to_bits()];
                let mut metrics = vec![7; 3 * 8];
                let grad32 = words(&grad);
                Kernel::from(SumSquares { n_parameters: n })
                    .run(0, &mut [Binding::Read(&grad32), Binding::Write(&mut squares)]);
                Kernel::from(ClipScale { n_partials, metric_rows: 3, clip }).run(
                    0,
                    &mut [
                        Binding::Read(state),
                        Binding::Read(&squares),
                        Binding::Write(&mut factor),
                        Binding::Write(&mut metrics),
                    ],
                );
                let norm = dot(&grad, &grad).sqrt();
                let row = step as usize % 3 * 8 + 5;
                failures.close(&format!("{n}: norm"), &floats(&metrics[row..=row]), &[norm], 0.0, 1e-6);
                let untouched = metrics.iter().enumerate().all(|(i, w)| i == row || *w == 7);
                failures.check(untouched, || format!("{n}: clip_scale writes other metrics"));
                let want = if clip > 0.0 { (f64::from(clip) / norm).min(1.0) } else { 1.0 };
                failures.close(&format!("{n}: factor"), &floats(&factor), &[want], 0.0, 1e-6);

                Kernel::from(adam.clone()).run(
                    0,
                    &mut [
                        Binding::Read(state),
                        Binding::Read(&grad32),
                        Binding::Read(&factor),
                        Binding::Write(&mut m32),
                        Binding::Write(&mut v32),
                        Binding::Write(&mut p32),
                    ],
                );
                let t = step as i32 + 1;
                for i in 0..n {
                    let g = (want * grad[i]).clamp(-gradient_clip, gradient_clip);
                    m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                    v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
                    let (m_hat, v_hat) = (m[i] / (1.0 - beta1.powi(t)), v[i] / (1.0 - beta2.powi(t)));
                    let rate = rate * 0.8f64.powi(step as i32 / 2) * f64::from(t.min(3)) / 3.0;
                    p[i] -= rate * (m_hat / (v_hat.sqrt() + epsilon) + weight_decay * p[i]);
                }
                let name = format!("{n} parameters, clip {clip}, step {step}");
                failures.close(&format!("{name}: m"), &floats(&m32), &m, 1e-7 * scale, 1e-5);
                failures.close(&format!("{name}: v"), &floats(&v32), &v, 1e-7 * scale * scale, 1e-5);
                failures.close(&format!("{name}: parameters"), &floats(&p32), &p, 5e-7, 1e-6);
            }
        }
    }
    failures.assert_none();
}

/// `x <- clamp(x - step_size * clip(g))` ends a step and `x <- clamp(x + noise)` begins the next, each only if asked.
#[test]
fn langevin_follows_its_formula() {
    let (mut rng, mut failures) = (Rng(8), Failures::default());
    for lanes in [1, 3, 16, 17, 64] {
        for features in [1, 3, 4, 5, 17] {
            for (form, moves, perturbs) in [
                (Form::NoiseFirst, false, None),
                (Form::NoiseFirst, false, Some(3)),
                (Form::NoiseFirst, true, None),
                (Form::NoiseFirst, true, Some(9)),
                (Form::NoiseLast, true, Some(9)),
                (Form::Theory, true, Some(9)),
            ] {
                let temperature: f64 = 0.6;
                let bound = if form == Form::Theory { f64::INFINITY } else { 0.8 };
                let (step_size, noise, clip): (f64, f64, f64) =
                    if form == Form::Theory { (0.2, 0.0, 0.7) } else { (10.0, 0.05, 0.03) };
                let kernel = Langevin {
                    lanes,
                    features,
                    moves,
                    perturbs,
                    dynamics: Dynamics {
                        form,
                        step_size: step_size as f32,
                        step_size_end: step_size as f32,
                        noise: noise as f32,
                        noise_end: noise as f32,
                        interpolation: Interpolation::Linear,
                        levels: 10,
                        temperature: temperature as f32,
                        gradient_clip: clip as f32,
                        bound: bound as f32,
                    },
                };
                let state =
                    State { step: 4, chain_base: 100, seed_low: 11, seed_high: 12, ..State::default() };
                let n = features * lanes as usize;
                let (x, g) =
                    (rng.signeds(n), rng.signeds(n).iter().map(|g| g * 3.0 * clip).collect::<Vec<_>>());
                let mut got = words(&x);
                Kernel::from(kernel).run(
                    2,
                    &mut [
                        Binding::Read(bytemuck::cast_slice(&[state])),
                        Binding::Read(&words(&g)),
                        Binding::Write(&mut got),
                    ],
                );
                let mut want = x.clone();
                for (i, x) in want.iter_mut().enumerate() {
                    let (feature, lane) = (i / lanes as usize, i as u32 % lanes);
                    let normal = perturbs.map_or(0.0, |step| {
                        let image = 2 * lanes + lane;
                        let at = counter(Stream::Langevin, feature as u32 / 4, image, 100 + step, 4);
                        f64::from(normal_of(philox(at, [11, 12]))[feature % 4])
                    });
                    let g = if moves { g[i].clamp(-clip, clip) } else { 0.0 };
                    *x = match form {
                        Form::NoiseFirst if !moves && perturbs.is_none() => *x,
                        Form::NoiseFirst if !moves => (*x + noise * normal).clamp(-bound, bound),
                        Form::NoiseFirst if perturbs.is_none() => (*x - step_size * g).clamp(-bound, bound),
                        Form::NoiseFirst => {
                            let moved = (*x - step_size * g).clamp(-bound, bound);
                            (moved + noise * normal).clamp(-bound, bound)
                        }
                        Form::NoiseLast => (*x - step_size * g + noise * normal).clamp(-bound, bound),
                        _ => *x - step_size / 2.0 * g + (step_size * temperature).sqrt() * normal,
                    };
                }
                let name = format!("{lanes} lanes, {features} features, {form:?}, {moves}, {perturbs:?}");
                failures.close(&name, &floats(&got), &want, 1e-6, 0.0);
                failures
                    .check((got == words(&x)) == (!moves && perturbs.is_none()), || format!("{name}: moved"));
            }
        }
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
