//! Plain models to judge the engine by: f64, one image, PyTorch's layouts, from the formulas; and the engine's layouts.

use thalweg::kernels::pack_weights::Packing;
use thalweg::network::{Activation, ConvShape, Layer, LstmShape, Network, Operation};

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
