//! Networks as data: sizes, offsets of parameters, and what can't be.

use crate::common;
use common::to_f64;
use common::{Failures, Rng, edge_networks, odd_network, random_network};
use std::collections::BTreeSet;
use thalweg::data::Shape;
use thalweg::network::{Activation, LayerSpec, Network, Operation, Padding};
use thalweg::recipe::presets::preset;

#[test]
fn mnist_small_is_the_recipes_network() {
    let network = preset("mnist-small").unwrap();
    assert_eq!(network.input, Shape { channels: 1, height: 32, width: 32 });
    assert_eq!(network.n_parameters, 60_481);
    let mut offset = 0;
    let mut want = Vec::new();
    for (name, shape) in [
        ("conv1.weight", vec![16, 1, 3, 3]),
        ("conv1.bias", vec![16]),
        ("conv2.weight", vec![32, 16, 3, 3]),
        ("conv2.bias", vec![32]),
        ("conv3.weight", vec![64, 32, 3, 3]),
        ("conv3.bias", vec![64]),
        ("conv4.weight", vec![64, 64, 3, 3]),
        ("conv4.bias", vec![64]),
        ("dense1.weight", vec![1, 256]),
        ("dense1.bias", vec![1]),
    ] {
        let len: usize = shape.iter().product();
        want.push((name.to_owned(), shape, offset..offset + len));
        offset += len;
    }
    let got: Vec<_> =
        network.tensors().into_iter().map(|t| (t.name.clone(), t.shape.clone(), t.range())).collect();
    assert_eq!(got, want);
    let parameters: Vec<_> = network.layers.iter().map(|l| l.weight_len + l.bias_len).collect();
    assert_eq!(parameters, [160, 4640, 18_496, 36_928, 257]);
    let sizes: Vec<_> = network
        .layers
        .iter()
        .filter_map(|l| match l.operation {
            Operation::Conv(s) => Some([s.out_channels, s.out_height, s.out_width]),
            Operation::Dense(_) | Operation::Lstm(_) | Operation::Pool(_) | Operation::Analytic(_) => None,
        })
        .collect();
    assert_eq!(sizes, [[16, 16, 16], [32, 8, 8], [64, 4, 4], [64, 2, 2]]);
    for layer in &network.layers {
        let Operation::Conv(s) = layer.operation else { continue };
        // Keras `same` for even sizes and stride 2: nothing before, one after.
        assert_eq!([s.pad_top, s.pad_left, s.stride_y, s.stride_x], [0, 0, 2, 2]);
        assert_eq!(layer.activation, Activation::Swish);
    }
    // 2 a multiply-add, forward and backward.
    let multiply_adds = 144 * 256 + 4608 * 64 + 18_432 * 16 + 36_864 * 4 + 256;
    assert_eq!(network.langevin_flop(), 4 * multiply_adds);
    assert!(preset("mnist-smal").unwrap_err().to_string().contains("did you mean `mnist-small`"));
}

#[test]
fn initial_parameters_are_glorot_uniform() {
    for network in [preset("mnist-small").unwrap(), odd_network()] {
        let parameters = network.initial_parameters(5);
        assert_eq!(parameters, network.initial_parameters(5));
        assert_ne!(parameters, network.initial_parameters(6));
        assert_eq!(parameters.len(), network.n_parameters);
        for layer in &network.layers {
            // Fans as Keras and PyTorch count them.
            let (fan_in, fan_out) = match layer.operation {
                Operation::Conv(s) => {
                    let taps = s.kernel_height * s.kernel_width;
                    (s.in_channels * taps, s.out_channels * taps)
                }
                Operation::Dense(s) => (s.in_channels * s.in_pixels, s.units),
                Operation::Lstm(_) => unreachable!(),
                Operation::Pool(_) | Operation::Analytic(_) => continue,
            };
            let bound = (6.0 / (fan_in + fan_out) as f64).sqrt();
            let weights = to_f64(&parameters[layer.weight_offset..layer.bias_offset()]);
            let n = weights.len() as f64;
            assert!(weights.iter().all(|w| w.abs() <= bound * (1.0 + 1e-6)), "{}", layer.name);
            let mean = weights.iter().sum::<f64>() / n;
            assert!(mean.abs() <= 5.0 * bound / (3.0 * n).sqrt(), "{}: mean {mean}", layer.name);
            let squares = weights.iter().map(|w| w * w).sum::<f64>() / n / (bound * bound);
            assert!(
                (squares - 1.0 / 3.0).abs() <= 5.0 * (4.0 / 45.0 / n).sqrt(),
                "{}: {squares}",
                layer.name
            );
            assert!(parameters[layer.bias_offset()..][..layer.bias_len].iter().all(|b| *b == 0.0));
        }
    }
}

#[test]
fn offsets_leave_no_gap_and_sizes_follow_the_formula() {
    let mut rng = Rng(1);
    let networks = edge_networks().into_iter().chain((0..100).map(|_| random_network(&mut rng)));
    for network in networks.collect::<Vec<_>>() {
        let mut end = 0;
        for tensor in network.tensors() {
            assert_eq!(tensor.range().start, end, "{}", tensor.name);
            end = tensor.range().end;
        }
        assert_eq!(end, network.n_parameters);
        let names: BTreeSet<_> = network.tensors().into_iter().map(|t| t.name).collect();
        let tensors = |l: &thalweg::network::Layer| match l.operation {
            Operation::Lstm(s) => 4 * s.directions() * s.layers,
            Operation::Pool(_) | Operation::Analytic(_) => 0,
            Operation::Conv(_) | Operation::Dense(_) => 2,
        };
        assert_eq!(names.len(), network.layers.iter().map(tensors).sum::<usize>());
        let mut len = network.input.len();
        for layer in &network.layers {
            let (in_len, out_len) = match layer.operation {
                Operation::Conv(s) => (s.in_len(), s.out_len()),
                Operation::Dense(s) => (s.in_len(), s.units),
                Operation::Lstm(s) => (s.in_channels * s.time, s.out_len()),
                Operation::Pool(s) => (s.channels * s.pixels, s.channels),
                Operation::Analytic(_) => (network.input.len(), 1),
            };
            assert_eq!([in_len, out_len], [len, layer.out_len]);
            len = out_len;
        }
        assert_eq!(len, 1);
    }
}

/// Output sizes as `floor((n + padding - kernel) / stride) + 1`, side by side with what PyTorch says for a few.
#[test]
fn convolution_sizes_are_pytorchs() {
    let size = |height, width, kernel, stride, [top, bottom, left, right]: [usize; 4]| {
        let padding = Padding { top, bottom, left, right };
        let spec = LayerSpec::Conv { channels: 2, kernel, stride, padding, activation: Activation::Swish };
        let shape = common::output_shape(Shape { channels: 1, height, width }, spec);
        [shape.height, shape.width]
    };
    assert_eq!(size(28, 28, [5, 5], [2, 2], [4; 4]), [16, 16]);
    assert_eq!(size(16, 16, [3, 3], [2, 2], [1; 4]), [8, 8]);
    assert_eq!(size(32, 32, [4, 4], [2, 2], [1; 4]), [16, 16]);
    assert_eq!(size(7, 5, [3, 1], [3, 2], [0; 4]), [2, 3]);
    assert_eq!(size(1, 17, [3, 2], [1, 5], [1, 1, 0, 3]), [1, 4]);
    assert_eq!(size(3, 3, [3, 3], [9, 9], [0; 4]), [1, 1]);
}

#[test]
fn impossible_networks_are_errors_that_name_the_layer_and_the_shapes() {
    let image = |channels, height, width| Shape { channels, height, width };
    let conv = |channels, kernel, stride| LayerSpec::Conv {
        channels,
        kernel,
        stride,
        padding: Padding { top: 1, ..Padding::default() },
        activation: Activation::Swish,
    };
    let dense = |units, activation| LayerSpec::Dense { units, activation };
    let energy = dense(1, Activation::Identity);
    let lstm = |hidden, layers| LayerSpec::Lstm { hidden, layers, bidirectional: true };
    let cases: [(Shape, Vec<LayerSpec>, &[&str]); 21] = [
        (
            image(3, 8, 9),
            vec![conv(2, [3, 3], [2, 2]), conv(2, [6, 1], [1, 1]), energy],
            &["conv2", "6x1", "2x4x4", "5x4"],
        ),
        (image(3, 8, 2), vec![conv(2, [3, 3], [1, 1]), energy], &["conv1", "3x3", "3x8x2", "9x2"]),
        (image(1, 4, 4), vec![conv(0, [3, 3], [1, 1]), energy], &["conv1", "channels", "at least 1"]),
        (image(1, 4, 4), vec![conv(1, [0, 3], [1, 1]), energy], &["conv1", "kernel", "at least 1"]),
        (image(1, 4, 4), vec![conv(1, [3, 3], [1, 0]), energy], &["conv1", "stride", "at least 1"]),
        (
            image(1, 4, 4),
            vec![dense(3, Activation::Swish), dense(0, Activation::Swish), energy],
            &["dense2", "units", "at least 1"],
        ),
        (image(1, 4, 4), vec![conv(5, [3, 3], [1, 1])], &["one number", "5x3x2"]),
        (image(1, 4, 4), vec![dense(2, Activation::Identity)], &["one number", "2x1x1"]),
        (image(1, 4, 4), vec![], &["one number"]),
        (image(1, 1, 1), vec![], &["one number"]),
        (image(1, 4, 4), vec![dense(1, Activation::Swish)], &["last layer", "no activation"]),
        (image(1, 28, 28), vec![lstm(8, 2), energy], &["lstm1", "1x28x28", "28 rows", "sequence"]),
        (image(3, 8, 9), vec![conv(2, [3, 3], [2, 2]), lstm(8, 2), energy], &["lstm1", "2x4x4", "4 rows"]),
        (image(3, 1, 9), vec![lstm(0, 2), energy], &["lstm1", "hidden", "at least 1"]),
        (image(3, 1, 9), vec![lstm(8, 0), energy], &["lstm1", "layers", "at least 1"]),
        (image(3, 1, 9), vec![lstm(1 << 20, 2), energy], &["lstm1", "too large"]),
        (
            image(3, 1, 9),
            vec![LayerSpec::Lstm { hidden: 1, layers: 1, bidirectional: false }],
            &["lstm1", "dense"],
        ),
        (image(0, 4, 4), vec![energy], &["0x4x4", "no values"]),
        (image(1, 4, 0), vec![conv(1, [1, 1], [1, 1]), energy], &["1x4x0", "no values"]),
        (image(1, usize::MAX, 3), vec![energy], &["input", "more than"]),
        (image(1, 1 << 32, 1 << 32), vec![energy], &["input", "more than"]),
    ];
    let mut failures = Failures::default();
    for (input, specs, parts) in cases {
        match std::panic::catch_unwind(|| Network::new("mine", input, &specs)) {
            Ok(Ok(_)) => failures.check(false, || format!("{input} {specs:?} is no error")),
            Ok(Err(error)) => {
                let text = error.to_string();
                for part in parts.iter().chain(&["mine"]) {
                    failures.check(text.contains(part), || format!("no `{part}` in `{text}`"));
                }
            }
            Err(_) => failures.check(false, || format!("{input} {specs:?} panics")),
        }
    }
    failures.assert_none();
}

/// Sizes that no memory holds are errors too, and not a wrapped sum.
#[test]
fn absurd_sizes_are_errors() {
    let input = Shape { channels: 1, height: 4, width: 4 };
    let huge = usize::MAX / 2;
    let energy = LayerSpec::Dense { units: 1, activation: Activation::Identity };
    let conv = |channels, kernel, top| LayerSpec::Conv {
        channels,
        kernel,
        stride: [1, 1],
        padding: Padding { top, bottom: top, ..Padding::default() },
        activation: Activation::Swish,
    };
    let mut failures = Failures::default();
    for specs in [
        vec![LayerSpec::Dense { units: huge, activation: Activation::Swish }, energy],
        vec![LayerSpec::Dense { units: 1 << 40, activation: Activation::Swish }, energy],
        vec![conv(huge, [3, 3], 0), energy],
        vec![conv(3, [3, 3], huge), energy],
        vec![conv(3, [3, 3], usize::MAX), energy],
        vec![conv(1 << 20, [1, 1], 0), conv(1 << 20, [1, 1], 0), energy],
        vec![conv(1 << 23, [1, 1], 0), LayerSpec::Dense { units: 2, activation: Activation::Swish }, energy],
    ] {
        match std::panic::catch_unwind(|| Network::new("mine", input, &specs).map(|n| n.n_parameters)) {
            Ok(Ok(n)) => failures.check(false, || format!("{specs:?} gives {n} parameters")),
            Ok(Err(error)) => {
                failures.check(error.to_string().contains('1'), || format!("`{error}` names no layer"));
            }
            Err(_) => failures.check(false, || format!("{specs:?} panics")),
        }
    }
    failures.assert_none();
}
