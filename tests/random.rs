//! Random numbers: published vectors, distributions, streams that don't overlap, and the epoch's order of images.
//!
//! Everything is deterministic, so a bound of five standard errors costs nothing: it is passed for good, or not at all.

use crate::common;

use common::{Failures, Rng};
use rand::TryRng;
use std::collections::{BTreeMap, BTreeSet};
use thalweg::data::Shape;
use thalweg::kernels::draw_real::{DrawReal, Epoch, half_bits, permute};
use thalweg::kernels::random::Random;
use thalweg::kernels::{Binding, Kernel, State};
use thalweg::random::{
    COS, Distribution, LOG, MAX_FEATURES, Philox, SIN, STREAMS, Stream, box_muller, counter, normal_of,
    philox, uniform_of,
};

/// `kat_vectors` of Random123 (Salmon et al. 2011), philox4x32 with 10 rounds.
#[test]
fn philox_gives_the_published_vectors() {
    let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
    let vectors = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
    ];
    for (counter, key, want) in vectors {
        assert_eq!(philox(counter, key), want);
        assert_ne!(philox([counter[0] ^ 1, counter[1], counter[2], counter[3]], key), want);
        assert_ne!(philox(counter, [key[0], key[1] ^ 1 << 31]), want);
    }
}

// ---- distributions

/// `quads * 4` numbers by way of the kernel's twin: 16 lanes, `quads / 1024` images.
fn draw(distribution: Distribution, seed: u32, stream: Stream) -> Vec<[f64; 4]> {
    let (lanes, features, n_blocks) = (16, 1024, 80);
    let state = State { seed_low: seed, seed_high: !seed, step: 3, chain_base: 2, ..State::default() };
    let kernel: Kernel =
        Random { lanes, features, stream, distribution, scale: 1.0, bound: f32::INFINITY }.into();
    let mut quads = Vec::new();
    for index in 0..n_blocks {
        let mut words = vec![f32::NAN.to_bits(); features * lanes as usize];
        let state: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&state));
        kernel.run(index, &mut [Binding::Read(state), Binding::Write(&mut words)]);
        let value =
            |feature: usize, lane: usize| f64::from(f32::from_bits(words[feature * lanes as usize + lane]));
        for lane in 0..lanes as usize {
            quads.extend((0..features / 4).map(|q| [0, 1, 2, 3].map(|i| value(4 * q + i, lane))));
        }
    }
    assert!(quads.len() * 4 >= 1_000_000);
    quads
}

/// Of the standard normal: Marsaglia 2004, "Evaluating the normal distribution".
fn normal_cdf(x: f64) -> f64 {
    let (mut term, mut sum, mut k) = (x, x, 1.0);
    while term.abs() > 1e-17 {
        k += 2.0;
        term *= x * x / k;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The Kolmogorov-Smirnov statistic times the root of n: above 2.3 once in 20,000 samples, below 0.3 once in 100,000.
fn kolmogorov_smirnov(values: &mut [f64], cdf: impl Fn(f64) -> f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let distance = |(i, x): (usize, &f64)| {
        let p = cdf(*x);
        (p - i as f64 / n).max((i + 1) as f64 / n - p)
    };
    values.iter().enumerate().map(distance).fold(0.0, f64::max) * n.sqrt()
}

/// Means of `x^k`, for k = 1 to 4, in standard errors from what they should be.
fn moments(failures: &mut Failures, name: &str, values: &[f64], moment: fn(i32) -> f64) {
    let n = values.len() as f64;
    for k in 1..=4 {
        let mean = values.iter().map(|x| x.powi(k)).sum::<f64>() / n;
        let z = (mean - moment(k)) / ((moment(2 * k) - moment(k).powi(2)) / n).sqrt();
        failures
            .check(z.abs() <= 5.0, || format!("{name}: moment {k} is {mean}, {z:.1} standard errors off"));
    }
}

fn normal_moment(k: i32) -> f64 {
    [1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 15.0, 0.0, 105.0][k as usize]
}

fn uniform_moment(k: i32) -> f64 {
    if k % 2 == 1 { 0.0 } else { 1.0 / f64::from(k + 1) }
}

/// Pairs of a quad, of neighbouring quads, and of the same quad of neighbouring images: values and magnitudes.
fn correlations(failures: &mut Failures, name: &str, quads: &[[f64; 4]], mean: [f64; 2], variance: [f64; 2]) {
    let centred = |x: f64| [(x - mean[0]) / variance[0].sqrt(), (x * x - mean[1]) / variance[1].sqrt()];
    for (apart, first) in [(0, 0), (1, 0), (256, 0)] {
        for i in first..4 {
            for j in 0..4 {
                if apart == 0 && j <= i {
                    continue;
                }
                let mut sums = [[0.0; 2]; 2];
                for (a, b) in quads.iter().zip(&quads[apart..]) {
                    let (a, b) = (centred(a[i]), centred(b[j]));
                    (0..4).for_each(|k| sums[k / 2][k % 2] += a[k / 2] * b[k % 2]);
                }
                let n = (quads.len() - apart) as f64;
                for z in sums.concat() {
                    let z = z / n.sqrt();
                    failures.check(z.abs() <= 5.0, || {
                        format!("{name}: {i} with {j}, {apart} apart: correlation {z:.1} standard errors")
                    });
                }
            }
        }
    }
}

fn check_normal(failures: &mut Failures, name: &str, quads: &[[f64; 4]]) {
    let mut values: Vec<f64> = quads.concat();
    let n = values.len() as f64;
    moments(failures, name, &values, normal_moment);
    for (limit, probability) in [(2.0, 0.045_500_26), (3.0, 0.002_699_796), (4.0, 6.334_248e-5)] {
        let count = values.iter().filter(|x| x.abs() > limit).count() as f64;
        let z = (count - n * probability) / (n * probability).sqrt();
        failures.check(z.abs() <= 5.0, || format!("{name}: {count} beyond {limit}: {z:.1} standard errors"));
    }
    correlations(failures, name, quads, [0.0, 1.0], [1.0, 2.0]);
    let d = kolmogorov_smirnov(&mut values, normal_cdf);
    failures.check((0.3..=2.3).contains(&d), || format!("{name}: Kolmogorov-Smirnov {d}"));
}

fn check_uniform(failures: &mut Failures, name: &str, quads: &[[f64; 4]]) {
    let mut values: Vec<f64> = quads.concat();
    failures.check(values.iter().all(|x| (-1.0..1.0).contains(x)), || format!("{name}: outside [-1, 1)"));
    moments(failures, name, &values, uniform_moment);
    correlations(failures, name, quads, [0.0, 1.0 / 3.0], [1.0 / 3.0, 4.0 / 45.0]);
    let d = kolmogorov_smirnov(&mut values, |x| (x + 1.0) / 2.0);
    failures.check((0.3..=2.3).contains(&d), || format!("{name}: Kolmogorov-Smirnov {d}"));
}

#[test]
fn normals_are_normal() {
    assert!((normal_cdf(1.0) - 0.841_344_746_068_543).abs() < 1e-14);
    assert!((normal_cdf(-4.0) - 3.167_124_183_312e-5).abs() < 1e-15);
    let mut failures = Failures::default();
    for (seed, stream) in [(0, Stream::Langevin), (1, Stream::Langevin), (0xdead_beef, Stream::DataNoise)] {
        let quads = draw(Distribution::Normal, seed, stream);
        check_normal(&mut failures, &format!("seed {seed}"), &quads);
    }
    failures.assert_none();
}

#[test]
fn uniforms_are_uniform() {
    assert_eq!([uniform_of(0), uniform_of(1 << 31), uniform_of(255)], [-1.0, 0.0, -1.0]);
    assert_eq!(uniform_of(u32::MAX), 1.0 - 1.0 / 8_388_608.0);
    let mut failures = Failures::default();
    for (seed, stream) in [(0, Stream::SamplerStart), (1, Stream::FreshStart), (7, Stream::ReplayStart)] {
        let quads = draw(Distribution::Uniform, seed, stream);
        check_uniform(&mut failures, &format!("seed {seed}"), &quads);
    }
    failures.assert_none();
}

/// Negative controls: small faults in good numbers are found.
#[test]
fn bad_distributions_are_found() {
    let normal = draw(Distribution::Normal, 0, Stream::Langevin);
    let uniform = draw(Distribution::Uniform, 0, Stream::SamplerStart);
    let spoilt = |quads: &[[f64; 4]], spoil: &dyn Fn([f64; 4]) -> [f64; 4]| -> Vec<[f64; 4]> {
        quads.iter().map(|quad| spoil(*quad)).collect()
    };
    type Spoil = &'static dyn Fn([f64; 4]) -> [f64; 4];
    let spoils: [(&str, Spoil); 5] = [
        ("shifted", &|q| q.map(|x| x + 0.01)),
        ("scaled", &|q| q.map(|x| x * 0.99)),
        ("a number twice", &|q| [q[0], q[1], q[2], q[0]]),
        ("linked magnitudes", &|q| {
            if q[0] > 0.5 { [q[0], q[1].abs().copysign(q[0]), q[2], q[3]] } else { q }
        }),
        ("NaN", &|q| [f64::NAN, q[1], q[2], q[3]]),
    ];
    for (name, spoil) in spoils {
        let mut failures = Failures::default();
        check_normal(&mut failures, name, &spoilt(&normal, spoil));
        assert!(failures.len() > 0, "normal: {name}");
        let mut failures = Failures::default();
        check_uniform(&mut failures, name, &spoilt(&uniform, spoil));
        assert!(failures.len() > 0, "uniform: {name}");
    }
    // A sum of twelve uniforms has the right mean and variance, and thin tails.
    let mut rng = Rng(1);
    let sum = |rng: &mut Rng| rng.signeds(12).iter().sum::<f64>() / 2.0;
    let quads: Vec<_> = (0..262_144).map(|_| [0; 4].map(|_| sum(&mut rng))).collect();
    let mut failures = Failures::default();
    check_normal(&mut failures, "twelve uniforms", &quads);
    assert!(failures.len() > 0);
    // The integers in order are too even.
    let quads: Vec<_> =
        (0..262_144).map(|i| [0, 1, 2, 3].map(|k| f64::from(4 * i + k) / 524_288.0 - 1.0)).collect();
    let mut failures = Failures::default();
    check_uniform(&mut failures, "in order", &quads);
    assert!(failures.len() > 0);
}

/// Every radius and every angle there is, against f64.
#[test]
fn box_muller_is_accurate() {
    let worst = |of: fn(u32) -> (u32, u32)| {
        let mut worst = 0.0_f64;
        for i in 0..1 << 24 {
            let (a, b) = of(i);
            let u = 1.0 - f64::from(a >> 9) / f64::from(1 << 23);
            let radius = (-2.0 * u.ln()).sqrt();
            let (sine, cosine) =
                (std::f64::consts::PI * (f64::from(b >> 9) / f64::from(1 << 23) - 0.5)).sin_cos();
            let sign = if b & 1 == 1 { -1.0 } else { 1.0 };
            let want = [radius * cosine * sign, radius * sine];
            for (got, want) in box_muller(a, b).into_iter().zip(want) {
                let err = (f64::from(got) - want).abs();
                worst = if err <= worst { worst } else { err }; // NaN is worst
            }
        }
        worst
    };
    let radii = worst(|i| (i << 8, 0x2fff_ffff & !1));
    let angles = worst(|i| (u32::MAX, i.rotate_left(9)));
    let both = worst(|i| {
        let [a, b, ..] = philox([i, 0, 0, 0], [1, 2]);
        (a, b)
    });
    println!("largest errors: radii {radii:.2e}, angles {angles:.2e}, random {both:.2e}");
    // Numbers reach 5.6, where f32 is 4.8e-7 apart.
    assert!(radii <= 2e-6 && angles <= 2e-6 && both <= 2e-6, "{radii:e} {angles:e} {both:e}");
    assert_eq!(normal_of([1, 2, 3, 4])[2..], box_muller(3, 4));
    assert!(box_muller(0, 0)[0].abs() < 1e-6 && box_muller(u32::MAX, u32::MAX)[1] > 5.6);
}

/// The polynomials of the shader are the twin's, to the bit: a device then differs by rounding alone.
#[test]
fn shader_and_twin_have_the_same_coefficients() {
    let source = include_str!("../shaders/lib/random.wgsl");
    // `var NAME = C;` and then `NAME = NAME * s + C;` or `- C`.
    let in_shader = |name: &str| -> Vec<u32> {
        let number = |text: &str| text.trim_end_matches(';').parse::<f32>().unwrap();
        let words = source.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        words
            .filter_map(|words| match words[..] {
                ["var", n, "=", c] if n == name => Some(number(c).to_bits()),
                [n, "=", m, "*", _, "+", c] if n == name && m == name => Some(number(c).to_bits()),
                [n, "=", m, "*", _, "-", c] if n == name && m == name => Some((-number(c)).to_bits()),
                _ => None,
            })
            .collect()
    };
    assert_eq!(in_shader("q"), LOG.map(f32::to_bits));
    assert_eq!(in_shader("cosine"), COS.map(f32::to_bits));
    assert_eq!(in_shader("sine"), SIN.map(f32::to_bits));
}

// ---- streams

/// No two streams share a counter: a counter's words are the arguments, the first one shared by stream (8 bits) and
/// quad (24 bits), so [`counter`] has an inverse as long as those fit; and Philox with one key is a bijection.
#[test]
fn streams_share_no_counter() {
    let numbers: BTreeSet<u32> = STREAMS.iter().map(|stream| *stream as u32).collect();
    assert_eq!(numbers, (0..STREAMS.len() as u32).collect(), "streams are numbered, each its own");
    assert!(STREAMS.len() <= 256);
    assert!(MAX_FEATURES.div_ceil(4) <= 1 << 24);
    // A new stream makes this match, and then the list above, incomplete.
    for stream in STREAMS {
        match stream {
            Stream::Parameters
            | Stream::ReplayStart
            | Stream::FreshStart
            | Stream::StartChoice
            | Stream::Langevin
            | Stream::DataNoise
            | Stream::Permutation
            | Stream::SamplerStart
            | Stream::HeldOutNoise
            | Stream::Toy
            | Stream::Projections
            | Stream::Accept
            | Stream::Subsets
            | Stream::CopyNoise
            | Stream::Augment
            | Stream::ScoreNoise
            | Stream::ScoreLevel
            | Stream::ScoreProbes
            | Stream::Spectral
            | Stream::AnnealStart
            | Stream::Momentum
            | Stream::AnnealAccept
            | Stream::Retries
            | Stream::BufferChains
            | Stream::PoolNoise
            | Stream::AroundNoise
            | Stream::ContrastNoise
            | Stream::Known => {}
        }
    }
    let (mut counters, mut bits) = (BTreeSet::new(), BTreeSet::new());
    let edges = [0, 1, 127, 128, u32::MAX - 1, u32::MAX];
    let mut n = 0;
    for stream in STREAMS {
        for quad in [0, 1, 255, 256, 65_535, (1 << 24) - 1] {
            for image in edges {
                for chain_step in edges {
                    for step in edges {
                        let at = counter(stream, quad, image, chain_step, step);
                        assert_eq!([at[0] >> 24, at[0] & 0xff_ffff], [stream as u32, quad]);
                        assert_eq!(at[1..], [image, chain_step, step]);
                        counters.insert(at);
                        bits.insert(philox(at, [5, 6]));
                        n += 1;
                    }
                }
            }
        }
    }
    assert_eq!([counters.len(), bits.len()], [n, n]);
    // A quad that does not fit would run into the next stream, which is why features are limited.
    let beyond = counter(Stream::Parameters, 1 << 24, 0, 0, 0);
    assert_eq!(beyond, counter(Stream::ReplayStart, 0, 0, 0, 0));
}

/// A network's input may have no more features than quads have counters.
#[test]
fn too_many_features_are_an_error() {
    use thalweg::network::{Activation, LayerSpec, Network};
    let end = [LayerSpec::Dense { units: 1, activation: Activation::Identity }];
    let image = |height, width| Shape { channels: 1, height, width };
    assert!(Network::new("most", image(8192, 8192), &end).is_ok());
    let error = Network::new("more", image(8192, 8193), &end).unwrap_err().to_string();
    assert!(error.contains("1x8192x8193") && error.contains("67108864"), "{error}");
}

#[test]
fn the_host_sequence_is_its_stream_in_order() {
    let mut rng = Philox::new(0x0123_4567_89ab_cdef, Stream::ReplayStart);
    let key = [0x89ab_cdef, 0x0123_4567];
    for i in 0..100 {
        let words = philox(counter(Stream::ReplayStart, 0, i, 0, 0), key);
        assert_eq!([0; 4].map(|_| rng.try_next_u32().unwrap()), words);
    }
    let mut again = Philox::new(0x0123_4567_89ab_cdef, Stream::ReplayStart);
    let mut bytes = [0; 10];
    again.try_fill_bytes(&mut bytes).unwrap();
    let words = philox(counter(Stream::ReplayStart, 0, 0, 0, 0), key);
    assert_eq!(bytes, bytemuck::cast_slice::<u32, u8>(&words)[..10]);
    assert_eq!(again.try_next_u64().unwrap() as u32, words[3]);
}

/// A sampler that goes on, another step, stream, seed or image: other numbers. The same place: the same ones.
#[test]
fn numbers_depend_on_their_place_alone() {
    let kernel = |stream, lanes| -> Kernel {
        Random { lanes, features: 7, stream, distribution: Distribution::Bits, scale: 1.0, bound: 1.0 }.into()
    };
    let run = |kernel: &Kernel, index, state: State, lanes: usize| {
        let mut words = vec![0; 7 * lanes];
        let state = [state];
        let state = Binding::Read(bytemuck::cast_slice(&state));
        kernel.run(index, &mut [state, Binding::Write(&mut words)]);
        words
    };
    let start = State { seed_low: 1, seed_high: 2, ..State::default() };
    let mut seen = BTreeSet::new();
    let states = [
        start,
        State { step: 1, ..start },
        State { chain_base: 1, ..start },
        State { seed_low: 2, ..start },
        State { seed_high: 1, ..start },
    ];
    let mut n = 0;
    for stream in STREAMS {
        for state in states {
            for index in [0, 1] {
                let words = run(&kernel(stream, 4), index, state, 4);
                n += words.len();
                seen.extend(words);
            }
        }
    }
    assert_eq!(seen.len(), n, "2,520 words of 32 bits: equal ones are not expected");
    // Ring head and length are not part of a number's place; nor is the width of a block.
    let kernel4 = kernel(Stream::Langevin, 4);
    let other = State { replay_head: 3, replay_length: 9, ..start };
    assert_eq!(run(&kernel4, 1, start, 4), run(&kernel4, 1, other, 4));
    let wide = run(&kernel(Stream::Langevin, 8), 0, start, 8);
    let narrow = run(&kernel4, 1, start, 4);
    for feature in 0..7 {
        assert_eq!(wide[feature * 8 + 4..feature * 8 + 8], narrow[feature * 4..feature * 4 + 4]);
    }
}

// ---- the order of images in an epoch

const SIZES: [u32; 11] = [1, 2, 3, 5, 17, 127, 128, 129, 1000, 9000, 60_000];

fn order(n: u32, epoch: u32, key: [u32; 2]) -> Vec<u32> {
    (0..n).map(|i| permute(i, n, epoch, key)).collect()
}

#[test]
fn permute_is_a_bijection_that_differs_by_epoch_and_seed() {
    for n in SIZES {
        assert!(1 << (2 * half_bits(n)) >= u64::from(n), "the domain holds {n}");
        let mut orders = BTreeSet::new();
        let places = [(0, [0, 0]), (1, [0, 0]), (2, [0, 0]), (0, [1, 0]), (0, [0, 1]), (u32::MAX, [9, 9])];
        for (epoch, key) in places {
            let order = order(n, epoch, key);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..n), "{n} images, epoch {epoch}, key {key:?}");
            orders.insert(order);
        }
        assert!(n < 17 || orders.len() == places.len(), "{n} images: two orders are the same");
    }
    assert_eq!(order(5, 3, [1, 2]), order(5, 3, [1, 2]));
}

/// Chi-square against equal frequencies, in standard deviations from its mean.
fn chi_square(counts: &[u32], degrees: usize) -> f64 {
    let mean = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
    let sum: f64 = counts.iter().map(|c| (f64::from(*c) - mean).powi(2) / mean).sum();
    (sum - degrees as f64) / (2.0 * degrees as f64).sqrt()
}

#[test]
fn permute_is_close_to_uniform() {
    let mut failures = Failures::default();
    // All orders of a few images: a Feistel network of so few bits is a little uneven.
    for (n, n_orders) in [(2, 2), (3, 6), (4, 24), (5, 120)] {
        let mut orders = BTreeMap::<_, u32>::new();
        for epoch in 0..4_000 * n_orders {
            *orders.entry(order(n, epoch, [7, 8])).or_default() += 1;
        }
        let unevenness = orders.values().map(|c| (f64::from(*c) / 4_000.0 - 1.0).powi(2)).sum::<f64>();
        let unevenness = (unevenness / f64::from(n_orders)).sqrt();
        println!("{n} images: orders differ in frequency by {unevenness:.4}");
        let ok = orders.len() == n_orders as usize && unevenness <= 0.12;
        failures.check(ok, || format!("{n} images: {} orders, unevenness {unevenness}", orders.len()));
    }
    // Where each image of a few more comes to stand.
    for n in [17, 31, 64] {
        let mut counts = vec![0; (n * n) as usize];
        for epoch in 0..100 * n {
            for (i, image) in order(n, epoch, [3, 0]).into_iter().enumerate() {
                counts[(image * n) as usize + i] += 1;
            }
        }
        let z = chi_square(&counts, (n as usize - 1).pow(2));
        failures.check(z.abs() <= 5.0, || format!("{n} images: chi-square {z:.1}"));
    }
    // Where pairs of neighbours of many come to stand, over epochs and over seeds.
    for n in [1000, 9000, 60_000] {
        for by_seed in [false, true] {
            let mut counts = vec![0; 100];
            for i in 0..20_000 {
                let (epoch, key) = if by_seed { (0, [i, 0]) } else { (i, [0, 0]) };
                let bin = |index| permute(index, n, epoch, key) * 10 / n;
                counts[(10 * bin(n / 2) + bin(n / 2 + 1)) as usize] += 1;
            }
            let z = chi_square(&counts, 99);
            failures.check(z.abs() <= 5.0, || format!("{n} images, by seed {by_seed}: chi-square {z:.1}"));
        }
    }
    // Negative control: rotations are bijections, and not uniform.
    let mut counts = vec![0; 100];
    for i in 0..20_000_u32 {
        let bin = |index: u32| (index + philox([i, 0, 0, 0], [0, 0])[0] % 1000) % 1000 / 100;
        counts[(10 * bin(500) + bin(501)) as usize] += 1;
    }
    failures.check(chi_square(&counts, 99) > 5.0, || "rotations pass".to_owned());
    failures.assert_none();
}

#[test]
fn epochs_cover_every_image_once() {
    let epoch = |number, position, n_real| Epoch { number, position, n_real };
    assert_eq!(Epoch::of(0, 60_000, 128), epoch(0, 0, 128));
    assert_eq!(Epoch::of(468, 60_000, 128), epoch(0, 59_904, 96));
    assert_eq!(Epoch::of(469, 60_000, 128), epoch(1, 0, 128));
    assert_eq!(Epoch::of(2 * 469 + 1, 60_000, 128), epoch(2, 128, 128));
    assert_eq!(Epoch::of(3, 10, 128), epoch(3, 0, 10));
    for (n, batch) in [(1, 1), (1, 5), (5, 1), (5, 5), (7, 3), (128, 128), (129, 128), (127, 128), (1000, 96)]
    {
        let mut step = 0;
        for number in 0..3 {
            let mut position = 0;
            while position < n {
                let n_real = batch.min(n - position);
                assert_eq!(Epoch::of(step, n, batch), epoch(number, position, n_real), "{n} by {batch}");
                position += n_real;
                step += 1;
            }
        }
    }
}

/// Real batches: every image once an epoch, bytes to [-1, 1], padding and empty lanes -1, channels last, noise, clamp.
#[test]
fn real_batches_show_every_image_once_and_right() {
    let (n_images, batch, lanes) = (23, 7, 4);
    let data_shape = Shape { channels: 3, height: 2, width: 3 };
    let shape = Shape { channels: 3, height: 5, width: 4 };
    let len = data_shape.len();
    // The first byte of an image is its number; the others differ from each other.
    let mut data: Vec<u8> = (0..n_images as usize * len).map(|i| (i * 37 % 251) as u8).collect();
    (0..n_images as usize).for_each(|i| data[i * len] = i as u8);
    let bytes = data.clone();
    data.resize(data.len().next_multiple_of(4), 0);
    let data: &[u32] = &bytemuck::pod_collect_to_vec::<u8, u32>(&data);
    let draw = |noise: f32, step: u32| -> Vec<f32> {
        let kernel: Kernel =
            DrawReal { lanes, batch, n_images, part: 0..n_images, shape, data_shape, floats: false, noise }
                .into();
        let state = [State { step, seed_low: 4, ..State::default() }];
        let mut blocks = Vec::new();
        for index in 0..2 {
            let mut x = vec![f32::NAN.to_bits(); shape.len() * lanes as usize];
            let state = Binding::Read(bytemuck::cast_slice(&state));
            kernel.run(index, &mut [state, Binding::Read(data), Binding::Write(&mut x)]);
            blocks.extend(bytemuck::cast_slice::<u32, f32>(&x));
        }
        blocks
    };
    let at = |blocks: &[f32], image: usize, channel: usize, y: usize, x: usize| {
        let feature = (y * shape.width + x) * shape.channels + channel;
        blocks[(image / 4 * shape.len() + feature) * 4 + image % 4]
    };
    let steps = n_images.div_ceil(batch);
    let mut orders = BTreeSet::new();
    for number in 0..3 {
        let mut seen = Vec::new();
        for step in number * steps..(number + 1) * steps {
            let (blocks, noisy) = (draw(0.0, step), draw(0.01, step));
            let n_real = Epoch::of(step, n_images, batch).n_real as usize;
            for image in 0..8 {
                // Padded by 3 rows, 1 before, and by 1 column, 0 before.
                let which = ((at(&blocks, image, 0, 1, 0) * 127.5 + 127.5).round()) as usize;
                if image < n_real {
                    seen.push(which);
                }
                for y in 0..shape.height {
                    for x in 0..shape.width {
                        for channel in 0..3 {
                            let inside = image < n_real && (1..3).contains(&y) && x < 3;
                            let want = if inside {
                                let byte = bytes[which * len + (channel * 2 + y - 1) * 3 + x];
                                (f32::from(byte) - 127.5) / 127.5
                            } else {
                                -1.0
                            };
                            let (got, noisy) =
                                (at(&blocks, image, channel, y, x), at(&noisy, image, channel, y, x));
                            assert_eq!(got, want, "image {image}, {channel}, {y}, {x}");
                            let ok = (-1.0..=1.0).contains(&noisy) && (noisy - want).abs() <= 0.06;
                            assert!(ok && (image < n_real || noisy == -1.0), "{noisy} for {want}");
                        }
                    }
                }
            }
            assert_ne!(blocks, noisy);
        }
        orders.insert(seen.clone());
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..n_images as usize), "epoch {number}");
    }
    assert_eq!(orders.len(), 3, "epochs have orders of their own");
}
