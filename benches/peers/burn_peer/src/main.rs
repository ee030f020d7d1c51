//! R1 in burn: `burn_peer cpu` (its flex backend) or `burn_peer wgpu` (its Vulkan backend, with fusion and autotune).
//! Prints one line of JSON, as common.py does for the Python peers, and like them checks its gradient first.
//!
//! As in torch_peer.py, images and kernels are mirrored, so that padding goes before the image.

use burn::backend::{Autodiff, Flex, Vulkan};
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{Adam, AdamConfig, GradientsParams, Optimizer, adaptor::OptimizerAdaptor};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Distribution, Tensor, TensorData, activation};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::HashMap;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime};

const BATCH: usize = 128;
const CHAIN: usize = 100;
const STEP_SIZE: f64 = 10.0;
const NOISE: f64 = 0.005;
const CLIP: f64 = 0.03;
const ALPHA: f64 = 0.1;
const FRESH: f64 = 0.05;
const LEARNING_RATE: f64 = 1e-4;
const CAPACITY: usize = 8192;
const SIZE: usize = 32;
const CHANNELS: [usize; 5] = [1, 16, 32, 64, 64];
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../..");

type Images<B> = Tensor<B, 4>;

#[derive(Module, Debug)]
struct Network<B: Backend> {
    convs: Vec<Conv2d<B>>,
    dense: Linear<B>,
}

impl<B: Backend> Network<B> {
    fn new(golden: &Golden, device: &B::Device) -> Self {
        let convs = CHANNELS.windows(2).enumerate().map(|(i, c)| {
            let config = Conv2dConfig::new([c[0], c[1]], [3, 3]).with_stride([2, 2]);
            let mut conv = config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device);
            let weight = golden.tensor::<B, 4>(&format!("conv{}.weight", i + 1), device);
            conv.weight = Param::from_tensor(weight.flip([2, 3]));
            conv.bias = Some(Param::from_tensor(golden.tensor(&format!("conv{}.bias", i + 1), device)));
            conv
        });
        let convs = convs.collect();
        let mut dense = LinearConfig::new(256, 1).init(device);
        let weight = golden.tensor::<B, 2>("dense1.weight", device).reshape([64, 2, 2]).flip([1, 2]);
        dense.weight = Param::from_tensor(weight.reshape([256, 1]));
        dense.bias = Some(Param::from_tensor(golden.tensor("dense1.bias", device)));
        Self { convs, dense }
    }

    fn energy(&self, x: Images<B>) -> Tensor<B, 2> {
        let features = self.convs.iter().fold(x, |x, conv| activation::silu(conv.forward(x)));
        self.dense.forward(features.flatten(1, 3))
    }
}

struct Golden(HashMap<String, (Vec<usize>, Vec<f32>)>);

impl Golden {
    fn load() -> Self {
        let bytes = std::fs::read(format!("{ROOT}/tests/golden/mnist-small.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let floats = |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let of = |(name, view): (String, safetensors::tensor::TensorView)| {
            (name, (view.shape().to_vec(), floats(view.data())))
        };
        Self(tensors.tensors().into_iter().map(of).collect())
    }

    fn tensor<B: Backend, const D: usize>(&self, name: &str, device: &B::Device) -> Tensor<B, D> {
        let (shape, values) = &self.0[name];
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device)
    }
}

/// The shipped digits, padded to 32x32.
fn digits() -> Vec<Vec<f32>> {
    let file = std::fs::File::open(format!("{ROOT}/assets/digits.idx3-ubyte.gz")).unwrap();
    let mut raw = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut raw).unwrap();
    let pad = |image: &[u8]| {
        let mut padded = vec![-1.0; SIZE * SIZE];
        for (i, byte) in image.iter().enumerate() {
            padded[(i / 28 + 2) * SIZE + i % 28 + 2] = (f32::from(*byte) - 127.5) / 127.5;
        }
        padded
    };
    raw[16..].chunks_exact(28 * 28).map(pad).collect()
}

struct Peer<B: AutodiffBackend> {
    device: B::Device,
    golden: Golden,
    network: Network<B>,
    adam: OptimizerAdaptor<Adam, Network<B>, B>,
    digits: Vec<Vec<f32>>,
    replay: Vec<Vec<f32>>, // newest first
    rng: StdRng,
    chains: Images<B::InnerBackend>,
}

impl<B: AutodiffBackend> Peer<B> {
    fn new(device: B::Device) -> Self {
        let golden = Golden::load();
        let mut rng = StdRng::seed_from_u64(1);
        let replay: Vec<_> = (0..BATCH).map(|_| noise(&mut rng)).collect();
        Self {
            network: Network::new(&golden, &device),
            adam: AdamConfig::new().with_epsilon(1e-7).init(),
            digits: digits(),
            chains: images(replay.clone(), &device),
            replay,
            rng,
            golden,
            device,
        }
    }

    fn gradient(&self, network: &Network<B>, x: Images<B::InnerBackend>) -> Images<B::InnerBackend> {
        let x = Images::<B>::from_inner(x).require_grad();
        let gradients = network.energy(x.clone()).sum().backward();
        x.grad(&gradients).unwrap()
    }

    fn refine(&self, mut x: Images<B::InnerBackend>, steps: usize) -> Images<B::InnerBackend> {
        let frozen = self.network.clone().no_grad();
        for _ in 0..steps {
            let noise = x.random_like(Distribution::Normal(0.0, NOISE));
            x = (x + noise).clamp(-1.0, 1.0);
            let g = self.gradient(&frozen, x.clone()).clamp(-CLIP, CLIP);
            x = (x - g * STEP_SIZE).clamp(-1.0, 1.0);
        }
        x
    }

    fn chain(&mut self, steps: usize) {
        self.chains = self.refine(self.chains.clone(), steps);
        B::sync(&self.device).unwrap();
    }

    fn train(&mut self) {
        let real = (0..BATCH).map(|_| self.digits[self.rng.random_range(0..self.digits.len())].clone()).collect();
        let real: Images<B::InnerBackend> = images(real, &self.device);
        let real = (real.clone() + real.random_like(Distribution::Normal(0.0, NOISE))).clamp(-1.0, 1.0);
        let starts = (0..BATCH).map(|_| match self.rng.random_bool(FRESH) {
            true => noise(&mut self.rng),
            false => self.replay[self.rng.random_range(0..self.replay.len())].clone(),
        });
        let starts = starts.collect();
        let fake = self.refine(images(starts, &self.device), CHAIN);
        let both = Images::<B>::from_inner(Tensor::cat(vec![real, fake.clone()], 0));
        let energies = self.network.energy(both);
        let [real, fake_energies] = energies.split(BATCH, 0).try_into().unwrap();
        let squares = real.clone().powi_scalar(2).mean() + fake_energies.clone().powi_scalar(2).mean();
        let loss = real.mean() - fake_energies.mean() + squares * ALPHA;
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        self.network = self.adam.step(LEARNING_RATE, self.network.clone(), gradients);
        let fake: Vec<f32> = fake.into_data().to_vec().unwrap(); // waits for all of it
        let fake: Vec<Vec<f32>> = fake.chunks_exact(SIZE * SIZE).map(<[f32]>::to_vec).collect();
        self.replay.splice(0..0, fake);
        self.replay.truncate(CAPACITY);
        B::sync(&self.device).unwrap();
    }

    /// Largest error of dE/dx on the golden images, as a share of its largest element.
    fn gradient_error(&self) -> f64 {
        let network = Network::new(&self.golden, &self.device);
        let x = self.golden.tensor::<B::InnerBackend, 4>("real", &self.device).flip([2, 3]);
        let g: Vec<f32> = self.gradient(&network, x).flip([2, 3]).into_data().to_vec().unwrap();
        let want = &self.golden.0["input_grad.real"].1;
        let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let error = g.iter().zip(want).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
        f64::from(error / largest)
    }
}

fn noise(rng: &mut StdRng) -> Vec<f32> {
    (0..SIZE * SIZE).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn images<B: Backend>(images: Vec<Vec<f32>>, device: &B::Device) -> Images<B> {
    let shape = [images.len(), 1, SIZE, SIZE];
    Tensor::from_data(TensorData::new(images.concat(), shape), device)
}

/// Median of `runs` timings, in ms.
fn median_ms(runs: usize, mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

fn measure<B: AutodiffBackend>(name: &str, device: B::Device, runs: usize) {
    let start = std::env::var("PEER_START").ok().and_then(|s| s.parse().ok()).map(Duration::from_secs_f64);
    let began = start.map_or_else(SystemTime::now, |s| SystemTime::UNIX_EPOCH + s);
    let mut peer = Peer::<B>::new(device);
    peer.train();
    let cold_start_s = began.elapsed().unwrap_or_default().as_secs_f64();
    let training_step_ms = median_ms(runs.div_ceil(3), || peer.train());
    peer.chain(10);
    let langevin_step_ms = median_ms(runs, || peer.chain(10)) / 10.0;
    let gradient_error = peer.gradient_error();
    let line = serde_json::json!({
        "name": name, "version": "0.21.0", "langevin_step_ms": langevin_step_ms, "training_step_ms": training_step_ms,
        "cold_start_s": cold_start_s, "gradient_error": gradient_error,
    });
    println!("{line}");
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("cpu") => measure::<Autodiff<Flex>>("burn, CPU (flex)", Default::default(), 9),
        Some("wgpu") => measure::<Autodiff<Vulkan>>("burn, Vulkan", Default::default(), 3),
        _ => panic!("burn_peer cpu|wgpu"),
    }
}
