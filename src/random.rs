//! Random numbers: counter-based, so that every one is a pure function of (seed, stream, step, element).
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").
//! The key is the seed; the counter is `[stream << 24 | quad, image, chain step, training step]`. A quad is four
//! neighbouring features of an image. No two streams overlap, because no two counters are equal and Philox is a
//! bijection of the counter for each key.

use std::convert::Infallible;

/// What random numbers are for: each purpose has a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Stream {
    /// Initial parameters.
    Parameters = 0,
    /// Images that the replay ring begins with.
    ReplayStart = 1,
    /// Fresh chain starts in training.
    FreshStart = 2,
    /// Whether a chain starts fresh, and if not, from which slot.
    StartChoice = 3,
    /// Langevin noise.
    Langevin = 4,
    /// Noise on real images.
    DataNoise = 5,
    /// The order of images in an epoch.
    Permutation = 6,
    /// A sampler's starts.
    SamplerStart = 7,
    /// Noise images that held-out images are compared with.
    HeldOutNoise = 8,
    /// Points of toy sets.
    Toy = 9,
    /// Directions of sliced distances.
    Projections = 10,
    /// Whether a proposal of MALA is accepted.
    Accept = 11,
    /// Which persistent chains a training step moves.
    Subsets = 12,
    /// Noise on copies of real images.
    CopyNoise = 13,
    /// Augmented starts.
    Augment = 14,
    /// Noise of denoising score matching.
    ScoreNoise = 15,
    /// Which of its standard deviations an image gets.
    ScoreLevel = 16,
    /// Directions that second derivatives are taken along.
    ScoreProbes = 17,
    /// Where the power iterations of spectral norms begin.
    Spectral = 18,
    /// Draws of the base that annealed importance sampling begins with.
    AnnealStart = 19,
    /// Momenta of its proposals.
    Momentum = 20,
    /// Whether a proposal of it is accepted.
    AnnealAccept = 21,
    /// Seeds of the tries after a divergence.
    Retries = 22,
    /// The seed of an evaluation's chains from the replay buffer.
    BufferChains = 23,
    /// Noise of data images at the levels of annealed chains.
    PoolNoise = 24,
    /// Noise around data images, of energy discrepancy.
    AroundNoise = 25,
    /// Noise that data images are told from.
    ContrastNoise = 26,
    /// Noise of known values at the levels of annealed chains.
    Known = 27,
}

/// Every stream, for tests that count them.
pub const STREAMS: [Stream; 28] = [
    Stream::Parameters,
    Stream::ReplayStart,
    Stream::FreshStart,
    Stream::StartChoice,
    Stream::Langevin,
    Stream::DataNoise,
    Stream::Permutation,
    Stream::SamplerStart,
    Stream::HeldOutNoise,
    Stream::Toy,
    Stream::Projections,
    Stream::Accept,
    Stream::Subsets,
    Stream::CopyNoise,
    Stream::Augment,
    Stream::ScoreNoise,
    Stream::ScoreLevel,
    Stream::ScoreProbes,
    Stream::Spectral,
    Stream::AnnealStart,
    Stream::Momentum,
    Stream::AnnealAccept,
    Stream::Retries,
    Stream::BufferChains,
    Stream::PoolNoise,
    Stream::AroundNoise,
    Stream::ContrastNoise,
    Stream::Known,
];

/// Features an image may have at most, so that quads and stream share one counter word.
pub const MAX_FEATURES: usize = 4 << 24;

/// The counter of one quad.
pub fn counter(stream: Stream, quad: u32, image: u32, chain_step: u32, step: u32) -> [u32; 4] {
    [(stream as u32) << 24 | quad, image, chain_step, step]
}

/// Philox4x32-10.
#[inline(always)]
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = 0xD251_1F53_u64 * u64::from(counter[0]);
        let p1 = 0xCD9E_8D57_u64 * u64::from(counter[2]);
        counter = [
            (p1 >> 32) as u32 ^ counter[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ counter[3] ^ key[1],
            p0 as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// Uniform in [-1, 1): 24 bits, exact.
#[inline(always)]
pub fn uniform_of(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 8_388_608.0) - 1.0
}

/// Coefficients of the logarithm, highest power first; `shaders/lib/random.wgsl` has the same, bit for bit.
pub const LOG: [f32; 8] = [
    0.090_042_025,
    -0.142_577_95,
    0.148_064_6,
    -0.165_750_47,
    0.199_731_05,
    -0.250_016_1,
    0.333_336_6,
    -0.499_999_94,
];
/// Those of the cosine of an angle in turns, in its square.
pub const COS: [f32; 5] = [56.240_54, -85.240_1, 64.934_58, -19.739_172, 0.999_999_94];
/// Those of the sine of an angle in turns, over the angle, in its square.
#[allow(clippy::approx_constant, reason = "a fitted coefficient, one bit beside 2 pi")]
pub const SIN: [f32; 5] = [39.535_812, -76.549_66, 81.601, -41.341_656, 6.283_185];

/// Natural logarithm of `u` in (0, 1].
#[inline(always)]
pub fn log_unit(u: f32) -> f32 {
    let shifted = u.to_bits().wrapping_sub(0x3f35_04f3);
    let e = (shifted as i32 >> 23) as f32;
    let r = f32::from_bits((shifted & 0x7f_ffff).wrapping_add(0x3f35_04f3)) - 1.0;
    let mut q = LOG[0];
    for c in &LOG[1..] {
        q = q * r + c;
    }
    e * std::f32::consts::LN_2 + (q * (r * r) + r)
}

/// Cosine and sine of an angle in turns, in [-1/4, 1/4].
#[inline(always)]
fn quarter_circle(t: f32) -> [f32; 2] {
    let s = t * t;
    let (mut cosine, mut sine) = (COS[0], SIN[0]);
    for i in 1..5 {
        cosine = cosine * s + COS[i];
        sine = sine * s + SIN[i];
    }
    [cosine, sine * t]
}

/// Cosine and sine of any angle in turns.
pub fn circle(turns: f32) -> [f32; 2] {
    let t = turns - (turns + 0.5).floor();
    if t.abs() > 0.25 {
        let [cosine, sine] = quarter_circle(if t > 0.0 { 0.5 } else { -0.5 } - t);
        return [-cosine, sine];
    }
    quarter_circle(t)
}

/// Two standard normal numbers of two words (Box and Muller 1958); see `shaders/lib/random.wgsl`.
#[inline(always)]
pub fn box_muller(a: u32, b: u32) -> [f32; 2] {
    let u = 2.0 - f32::from_bits((a >> 9) | 0x3f80_0000);
    let radius = (-2.0 * log_unit(u)).max(0.0).sqrt();
    let t = (f32::from_bits((b >> 9) | 0x3f80_0000) - 1.5) * 0.5;
    let [cosine, sine] = quarter_circle(t);
    let signed = f32::from_bits(radius.to_bits() ^ (b << 31));
    [cosine * signed, sine * radius]
}

/// Four standard normal numbers.
#[inline(always)]
pub fn normal_of(bits: [u32; 4]) -> [f32; 4] {
    let [a, b] = box_muller(bits[0], bits[1]);
    let [c, d] = box_muller(bits[2], bits[3]);
    [a, b, c, d]
}

/// The words of one quad for `N` neighbouring images from that of `counter` on: `[word][image]`. A plain loop, without
/// closures, which the compiler turns into SIMD where the caller allows that.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "an iterator's closure is compiled without the instruction set"
)]
pub(crate) fn quads<const N: usize>(counter: [u32; 4], key: [u32; 2]) -> [[u32; N]; 4] {
    let mut quads = [[0; N]; 4];
    for i in 0..N {
        let [quad, image, chain_step, step] = counter;
        let words = philox_in_64([quad, image.wrapping_add(i as u32), chain_step, step], key);
        for (row, word) in quads.iter_mut().zip(words) {
            row[i] = word;
        }
    }
    quads
}

/// [`philox`] with words that stay where a product of 64 bits leaves them, for SIMD: only the lower halves count, and
/// whatever lies above them is never moved out of the way.
#[inline(always)]
fn philox_in_64(counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const LOW: u64 = 0xFFFF_FFFF;
    let mut words = counter.map(u64::from);
    for _ in 0..10 {
        let p0 = 0xD251_1F53_u64 * (words[0] & LOW);
        let p1 = 0xCD9E_8D57_u64 * (words[2] & LOW);
        words =
            [(p1 >> 32) ^ words[1] ^ u64::from(key[0]), p1, (p0 >> 32) ^ words[3] ^ u64::from(key[1]), p0];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    [words[0] as u32, words[1] as u32, words[2] as u32, words[3] as u32]
}

/// [`normal_of`] the words of [`quads`].
#[inline(always)]
pub(crate) fn normals<const N: usize>(words: &[[u32; N]; 4]) -> [[f32; N]; 4] {
    let mut normals = [[0.0; N]; 4];
    for i in 0..N {
        let four = normal_of([words[0][i], words[1][i], words[2][i], words[3][i]]);
        for (row, normal) in normals.iter_mut().zip(four) {
            row[i] = normal;
        }
    }
    normals
}

/// One stream as a sequence, for host code that draws through `rand`'s distributions.
#[derive(Clone, Debug)]
pub struct Philox {
    key: [u32; 2],
    stream: Stream,
    next: u64,
    words: [u32; 4],
}

impl Philox {
    /// The beginning of `stream`.
    pub fn new(seed: u64, stream: Stream) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], stream, next: 0, words: [0; 4] }
    }
}

impl rand::TryRng for Philox {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let (quad, word) = (self.next / 4, (self.next % 4) as usize);
        if word == 0 {
            self.words = philox(counter(self.stream, 0, quad as u32, (quad >> 32) as u32, 0), self.key);
        }
        self.next += 1;
        Ok(self.words[word])
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let low = u64::from(self.try_next_u32()?);
        Ok(low | u64::from(self.try_next_u32()?) << 32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            let word = self.try_next_u32()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

/// What random numbers are, by [`crate::kernels::random::Random`] and on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// The generator's words.
    Bits,
    /// Uniform in [-1, 1).
    Uniform,
    /// Standard normal.
    Normal,
    /// -1 or 1, each as likely (Rademacher's distribution).
    Signs,
}
