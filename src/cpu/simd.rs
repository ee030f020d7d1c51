//! SIMD registers, as little of them as the kernels need. The only place with `unsafe` arithmetic.
//!
//! A lane is an image: every kernel body in [`super::bodies`] is one generic function over [`Simd`], written once. What
//! it is compiled to depends on the register: AVX-512, AVX2 with FMA, or four plain floats, which every compiler turns
//! into SSE2 or NEON instructions.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators' closures are compiled without the instruction set, and would be called"
)]

use std::marker::PhantomData;

/// A register of floats.
///
/// Methods are `inline(always)`: the caller is compiled with the instruction set that the register needs
/// ([`super::Isa`]), and a call would lose that.
pub trait Simd: Copy {
    /// Floats in a register.
    const LANES: usize;
    /// Whether there are 32 registers: a tile of 4 by 4 fits, instead of 4 by 2.
    const MANY: bool;

    /// All lanes the same.
    fn splat(value: f32) -> Self;
    /// The first T floats of `from`, each in all lanes of a register of its own.
    ///
    /// # Safety
    /// `from` must be valid for reading T floats, and the instruction set present.
    #[inline(always)]
    unsafe fn splat_each<const T: usize>(from: *const f32) -> [Self; T] {
        let mut registers = [Self::splat(0.0); T];
        for t in 0..T {
            // SAFETY: the caller promises T readable floats.
            registers[t] = Self::splat(unsafe { *from.add(t) });
        }
        registers
    }
    /// The first `LANES` floats of `from`.
    ///
    /// # Safety
    /// `from` must be valid for reading `LANES` floats, and the instruction set present.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes `LANES` floats.
    ///
    /// # Safety
    /// `to` must be valid for writing `LANES` floats, and the instruction set present.
    unsafe fn store(self, to: *mut f32);
    /// `self * factor + summand`, rounded once where the hardware can.
    fn multiply_add(self, factor: Self, summand: Self) -> Self;
    /// `self + other`
    fn add(self, other: Self) -> Self;
    /// `self * other`
    fn multiply(self, other: Self) -> Self;
    /// `self / other`
    fn divide(self, other: Self) -> Self;
    /// `1 / (1 + exp(-self))`, within 3e-7.
    fn sigmoid(self) -> Self;
    /// Lane by lane, `yes` where `self > 0`, else `no`.
    fn where_positive(self, yes: Self, no: Self) -> Self;
    /// The lanes' bits, 23 places up: an integer that was in the low bits becomes an exponent.
    fn exponent(self) -> Self;

    /// `self - other`
    #[inline(always)]
    fn subtract(self, other: Self) -> Self {
        other.multiply_add(Self::splat(-1.0), self)
    }

    /// `s` and `r` with `exp(self) = s + s r`, for `self` in [-80, 80]: `s` is a power of two, and `r` less than 1/2.
    #[inline(always)]
    fn exp_parts(self) -> (Self, Self) {
        let round = Self::splat(ROUND);
        let power = self.multiply(Self::splat(std::f32::consts::LOG2_E));
        let whole = power.add(round).subtract(round);
        let fraction = power.subtract(whole);
        let mut p = Self::splat(EXP2_MINUS_1[0]);
        for i in 1..EXP2_MINUS_1.len() {
            p = p.multiply_add(fraction, Self::splat(EXP2_MINUS_1[i]));
        }
        (whole.add(Self::splat(ROUND + 127.0)).exponent(), p.multiply(fraction))
    }

    /// `exp(self)`, for `self` in [-80, 80].
    #[inline(always)]
    fn exp(self) -> Self {
        let (scale, rest) = self.exp_parts();
        rest.multiply_add(scale, scale)
    }

    /// `exp(self) - 1`, for `self` in [-80, 80], within 2e-7 of its value near 0, too.
    #[inline(always)]
    fn exp_minus_1(self) -> Self {
        let (scale, rest) = self.exp_parts();
        rest.multiply_add(scale, scale.subtract(Self::splat(1.0)))
    }

    /// `ln(1 + self)`, for `self` in [0, 1], within 2e-7 of its value: 2 artanh(s) with s = self / (2 + self).
    #[inline(always)]
    fn ln_1_plus(self) -> Self {
        let s = self.divide(self.add(Self::splat(2.0)));
        let square = s.multiply(s);
        let mut p = Self::splat(1.0 / 13.0);
        for i in 0..6 {
            p = p.multiply_add(square, Self::splat(1.0 / (11 - 2 * i) as f32));
        }
        p.multiply(s.add(s))
    }

    /// Reads a register from the front of a slice.
    #[inline(always)]
    fn read(from: &[f32]) -> Self {
        assert!(from.len() >= Self::LANES);
        // SAFETY: the slice is long enough.
        unsafe { Self::load(from.as_ptr()) }
    }

    /// Writes a register to the front of a slice.
    #[inline(always)]
    fn write(self, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: the slice is long enough.
        unsafe { self.store(to.as_mut_ptr()) }
    }

    /// The sum of the lanes, in a fixed order.
    #[inline(always)]
    fn sum(self) -> f32 {
        let mut lanes = [0.0; 16];
        self.write(&mut lanes);
        let mut width = Self::LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }

    /// The sum of each of `LANES` registers' lanes, in a lane of its own.
    fn sums(registers: &[Self]) -> Self;
}

/// Minimax polynomial of `2^f` for f in [-1/2, 1/2], highest power first: within 1.2e-7.
const EXP2: [f32; 6] =
    [0.001_326_697_1, 0.009_675_46, 0.055_507_425, 0.240_221_22, 0.693_146_94, 1.000_000_1];
/// Taylor's polynomial of `(2^f - 1) / f` for f in [-1/2, 1/2], ln(2)^k / k!, highest power first: within 2e-8.
const EXP2_MINUS_1: [f32; 7] = [
    1.525_273_4e-5,
    1.540_353e-4,
    1.333_355_8e-3,
    9.618_129e-3,
    5.550_411e-2,
    0.240_226_5,
    std::f32::consts::LN_2,
];
/// Adding it to a float of magnitude below 2^22 rounds that float to an integer, which then lies in the low bits.
const ROUND: f32 = 12_582_912.0;

/// Contiguous stretches of weights and input that go into a tile: `rows` of them.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// How many.
    pub count: usize,
    /// Where the first row's weights begin.
    pub weights: usize,
    /// From one row's weights to the next's.
    pub weights_step: usize,
    /// Where the first row's input begins.
    pub input: usize,
    /// From one row's input to the next's.
    pub input_step: isize,
    /// (tap, channel) pairs of a row: contiguous in the weights, one block row apart in the input.
    pub length: usize,
}

/// Products that are added up by themselves, at least, before they join a layer's sum: one sum of all 576 of `mnist-deep`'s
/// fourth layer gave gradients with three times the rounding error.
const STRETCH: usize = 128;

/// The inner loop of every forward convolution and input gradient:
/// `sum[p][t] += sum over rows, k of weights[k][t] * input[k * stride + p * step]` for T channels by P pixels, all in
/// registers. Rows are added up by stretches, in order.
///
/// # Panics
/// Where a row reaches beyond a slice.
#[inline(always)]
pub fn accumulate<S: Simd, const T: usize, const P: usize>(
    sum: &mut [[S; T]; P],
    weights: &[f32],
    input: &[f32],
    rows: Rows,
    stride: usize,
    step: usize,
) {
    let mut row = 0;
    while row < rows.count {
        let mut tile = [[S::splat(0.0); T]; P];
        let mut n_products = 0;
        while row < rows.count && n_products < STRETCH {
            let weights = &weights[rows.weights + row * rows.weights_step..][..rows.length * T];
            let start = rows.input.wrapping_add_signed(row as isize * rows.input_step);
            let input = &input[start..][..(rows.length - 1) * stride + (P - 1) * step + S::LANES];
            let (mut weight, mut x) = (weights.as_ptr(), input.as_ptr());
            for _ in 0..rows.length {
                // SAFETY: `weight` stays inside `weights`, which is T floats for each of `length` turns, and `x` inside
                // `input`, whose last read is at (length - 1) stride + (P - 1) step + LANES. Both advance past their
                // last read only with wrapping arithmetic.
                unsafe {
                    let mut xs = [S::splat(0.0); P];
                    for p in 0..P {
                        xs[p] = S::load(x.add(p * step));
                    }
                    let ws = S::splat_each::<T>(weight);
                    for t in 0..T {
                        for p in 0..P {
                            tile[p][t] = ws[t].multiply_add(xs[p], tile[p][t]);
                        }
                    }
                }
                weight = weight.wrapping_add(T);
                x = x.wrapping_add(stride);
            }
            n_products += rows.length;
            row += 1;
        }
        for p in 0..P {
            for t in 0..T {
                sum[p][t] = sum[p][t].add(tile[p][t]);
            }
        }
    }
}

/// Where a tile of T channels by P pixels is written: its pixels lie `step` floats apart, its channels `stride`.
pub struct TileMut<'a, S, const T: usize, const P: usize> {
    to: *mut f32,
    step: usize,
    stride: usize,
    of: PhantomData<(&'a mut [f32], S)>,
}

impl<'a, S: Simd, const T: usize, const P: usize> TileMut<'a, S, T, P> {
    /// The tile that begins with `to`.
    ///
    /// # Panics
    /// Where it reaches beyond the slice.
    #[inline(always)]
    pub fn new(to: &'a mut [f32], step: usize, stride: usize) -> Self {
        assert!(to.len() >= (P - 1) * step + (T - 1) * stride + S::LANES);
        Self { to: to.as_mut_ptr(), step, stride, of: PhantomData }
    }

    /// Writes channel `t` of pixel `p`.
    #[inline(always)]
    pub fn set(&mut self, p: usize, t: usize, value: S) {
        assert!(p < P && t < T);
        // SAFETY: `new` has found the tile's last register inside the slice, which is borrowed for as long as this is.
        unsafe { value.store(self.to.add(p * self.step + t * self.stride)) }
    }
}

/// Where a tile is read from, as in [`TileMut`].
pub struct TileRef<'a, S, const T: usize, const P: usize> {
    from: *const f32,
    step: usize,
    stride: usize,
    of: PhantomData<(&'a [f32], S)>,
}

impl<'a, S: Simd, const T: usize, const P: usize> TileRef<'a, S, T, P> {
    /// The tile that begins with `from`.
    ///
    /// # Panics
    /// Where it reaches beyond the slice.
    #[inline(always)]
    pub fn new(from: &'a [f32], step: usize, stride: usize) -> Self {
        assert!(from.len() >= (P - 1) * step + (T - 1) * stride + S::LANES);
        Self { from: from.as_ptr(), step, stride, of: PhantomData }
    }

    /// Channel `t` of pixel `p`.
    #[inline(always)]
    pub fn get(&self, p: usize, t: usize) -> S {
        assert!(p < P && t < T);
        // SAFETY: as in `TileMut::set`.
        unsafe { S::load(self.from.add(p * self.step + t * self.stride)) }
    }
}

/// The pixels that a tap of the weight gradient takes, and how far apart they lie: block by block, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Blocks, rows of each, pixels of a row.
    pub counts: [usize; 3],
    /// From one block, row, or pixel to the next of the output's gradient.
    pub g_steps: [usize; 3],
    /// The same of the input.
    pub x_steps: [usize; 3],
}

/// The inner loop of every weight gradient: `sum[t][q] += sum over the window's pixels of g[pixel + t * stride] * x[pixel +
/// offsets[q]]` for T rows by Q columns, all in registers.
///
/// # Panics
/// Where a pixel lies beyond a slice.
#[inline(always)]
pub fn correlate<S: Simd, const T: usize, const Q: usize>(
    sum: &mut [[S; Q]; T],
    g: &[f32],
    x: &[f32],
    window: Window,
    stride: usize,
    offsets: [usize; Q],
) {
    let Window { counts, g_steps, x_steps } = window;
    if counts[0] == 0 || counts[1] == 0 || counts[2] == 0 {
        return;
    }
    let (mut g_reach, mut x_reach) = ((T - 1) * stride + S::LANES, S::LANES);
    for i in 0..3 {
        g_reach += (counts[i] - 1) * g_steps[i];
        x_reach += (counts[i] - 1) * x_steps[i];
    }
    let mut last = 0;
    for q in 0..Q {
        last = last.max(offsets[q]);
    }
    let (mut g, mut x) = (g[..g_reach].as_ptr(), x[..x_reach + last].as_ptr());
    let mut tile = *sum;
    for _ in 0..counts[0] {
        let (mut g_row, mut x_row) = (g, x);
        for _ in 0..counts[1] {
            let (mut g, mut x) = (g_row, x_row);
            for _ in 0..counts[2] {
                // SAFETY: both pointers stay inside their slices, whose lengths were just taken from the last read; they
                // advance past it only with wrapping arithmetic.
                unsafe {
                    let mut xs = [S::splat(0.0); Q];
                    for q in 0..Q {
                        xs[q] = S::load(x.add(offsets[q]));
                    }
                    for t in 0..T {
                        let value = S::load(g.add(t * stride));
                        for q in 0..Q {
                            tile[t][q] = value.multiply_add(xs[q], tile[t][q]);
                        }
                    }
                }
                (g, x) = (g.wrapping_add(g_steps[2]), x.wrapping_add(x_steps[2]));
            }
            (g_row, x_row) = (g_row.wrapping_add(g_steps[1]), x_row.wrapping_add(x_steps[1]));
        }
        (g, x) = (g.wrapping_add(g_steps[0]), x.wrapping_add(x_steps[0]));
    }
    *sum = tile;
}

/// Four plain floats: SSE2 or NEON by the compiler's own doing, scalar code elsewhere.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub struct Plain([f32; 4]);

impl Plain {
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Simd for Plain {
    const LANES: usize = 4;
    const MANY: bool = cfg!(target_arch = "aarch64");

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn splat_each<const T: usize>(from: *const f32) -> [Self; T] {
        use std::arch::x86_64::*;
        let mut registers = [Self::splat(0.0); T];
        for t in 0..T {
            // SAFETY: the caller promises T readable floats; SSE2 is a part of x86-64.
            unsafe {
                if t / 4 * 4 + 4 > T {
                    registers[t] = Self::splat(*from.add(t));
                    continue;
                }
                // One load and a shuffle each, instead of as many loads.
                let four = _mm_loadu_si128(from.add(t / 4 * 4).cast());
                let splat = match t % 4 {
                    0 => _mm_shuffle_epi32::<0x00>(four),
                    1 => _mm_shuffle_epi32::<0x55>(four),
                    2 => _mm_shuffle_epi32::<0xaa>(four),
                    _ => _mm_shuffle_epi32::<0xff>(four),
                };
                registers[t] = Self(std::mem::transmute::<__m128i, [f32; 4]>(splat));
            }
        }
        registers
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises four readable floats.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises four writable floats.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    fn multiply_add(self, factor: Self, summand: Self) -> Self {
        // A fused multiply-add is one instruction on aarch64, and a call into the C library on plain x86-64.
        Self(std::array::from_fn(|i| {
            if cfg!(target_arch = "aarch64") {
                self.0[i].mul_add(factor.0[i], summand.0[i])
            } else {
                self.0[i] * factor.0[i] + summand.0[i]
            }
        }))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn divide(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    fn where_positive(self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] > 0.0 { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    fn sums(registers: &[Self]) -> Self {
        // Or else the compiler keeps a whole tile as it is to be in the end, and shuffles all that is added to it.
        let registers = std::hint::black_box(registers);
        let lanes = |lane: usize| Self(std::array::from_fn(|i| registers[i].0[lane]));
        lanes(0).add(lanes(2)).add(lanes(1).add(lanes(3)))
    }
    #[inline(always)]
    fn exponent(self) -> Self {
        self.map(|a| f32::from_bits(a.to_bits() << 23))
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let power = self.map(|z| z.clamp(-80.0, 80.0) * -std::f32::consts::LOG2_E);
        let rounded = power.map(|p| p + ROUND);
        let fraction = power.zip(rounded, |p, r| p - (r - ROUND));
        let mut exp = Self::splat(EXP2[0]);
        for c in &EXP2[1..] {
            exp = exp.multiply_add(fraction, Self::splat(*c));
        }
        let exp = exp.zip(rounded, |e, r| f32::from_bits(e.to_bits().wrapping_add(r.to_bits() << 23)));
        exp.map(|e| 1.0 / (1.0 + e))
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx512, Eight};

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! SAFETY, of every block here: the instruction set is present, because the bodies that use these registers are
    //! entered only through [`crate::cpu::Isa`], which asks the processor; pointers are the caller's promise.
    use super::{EXP2, ROUND, Simd};
    use std::arch::x86_64::*;

    /// Sixteen floats; AVX-512F.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    /// Eight floats; AVX2 and FMA, or, with `MANY` registers, AVX-512VL.
    #[derive(Clone, Copy)]
    pub struct Eight<const MANY: bool>(__m256);

    impl Simd for Avx512 {
        const LANES: usize = 16;
        const MANY: bool = true;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Self(unsafe { _mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        fn multiply_add(self, factor: Self, summand: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, summand.0) })
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn multiply(self, other: Self) -> Self {
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn divide(self, other: Self) -> Self {
            Self(unsafe { _mm512_div_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn where_positive(self, yes: Self, no: Self) -> Self {
            unsafe {
                let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, _mm512_setzero_ps());
                Self(_mm512_mask_blend_ps(positive, no.0, yes.0))
            }
        }
        #[inline(always)]
        fn sums(registers: &[Self]) -> Self {
            // Halves of two registers, added up, make one, and so on: 15 additions. The last leaves them transposed.
            let r = |i: usize| registers[i % 4 * 4 + i / 4].0;
            unsafe {
                let mut quarters = [_mm512_setzero_ps(); 4]; // four floats of each of four registers
                for i in 0..4 {
                    let halves = |a: __m512, b: __m512| {
                        _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b))
                    };
                    let (a, b) = (halves(r(4 * i), r(4 * i + 1)), halves(r(4 * i + 2), r(4 * i + 3)));
                    quarters[i] =
                        _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
                }
                let pairs = |a: __m512, b: __m512| {
                    _mm512_add_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b))
                };
                let (a, b) = (pairs(quarters[0], quarters[1]), pairs(quarters[2], quarters[3]));
                Self(_mm512_add_ps(_mm512_shuffle_ps::<0x88>(a, b), _mm512_shuffle_ps::<0xdd>(a, b)))
            }
        }
        #[inline(always)]
        fn exponent(self) -> Self {
            Self(unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(self.0))) })
        }
        #[inline(always)]
        fn sigmoid(self) -> Self {
            unsafe {
                let power = _mm512_mul_ps(self.0, _mm512_set1_ps(-std::f32::consts::LOG2_E));
                // Of a number and NaN, `min` and `max` give the second.
                let power = _mm512_min_ps(_mm512_set1_ps(120.0), power);
                let power = _mm512_max_ps(_mm512_set1_ps(-120.0), power);
                let whole = _mm512_roundscale_ps::<0>(power);
                let fraction = _mm512_sub_ps(power, whole);
                let mut exp = _mm512_set1_ps(EXP2[0]);
                for c in &EXP2[1..] {
                    exp = _mm512_fmadd_ps(exp, fraction, _mm512_set1_ps(*c));
                }
                let one = _mm512_set1_ps(1.0);
                let sum = _mm512_add_ps(one, _mm512_scalef_ps(exp, whole));
                // A step of Newton's method on 14 bits: a quotient takes as long as ten products.
                let guess = _mm512_rcp14_ps(sum);
                Self(_mm512_fmadd_ps(_mm512_fnmadd_ps(sum, guess, one), guess, guess))
            }
        }
    }

    impl<const MANY: bool> Simd for Eight<MANY> {
        const LANES: usize = 8;
        const MANY: bool = MANY;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            Self(unsafe { _mm256_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Self(unsafe { _mm256_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        fn multiply_add(self, factor: Self, summand: Self) -> Self {
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, summand.0) })
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn multiply(self, other: Self) -> Self {
            Self(unsafe { _mm256_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn divide(self, other: Self) -> Self {
            Self(unsafe { _mm256_div_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn where_positive(self, yes: Self, no: Self) -> Self {
            unsafe {
                let positive = _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, _mm256_setzero_ps());
                Self(_mm256_blendv_ps(no.0, yes.0, positive))
            }
        }
        #[inline(always)]
        fn sums(registers: &[Self]) -> Self {
            // As with sixteen lanes: 7 additions.
            let r = |i: usize| registers[i].0;
            unsafe {
                let mut halves = [_mm256_setzero_ps(); 4]; // four floats of each of two registers
                for i in 0..4 {
                    let (a, b) = (r(i), r(i + 4));
                    halves[i] = _mm256_add_ps(
                        _mm256_permute2f128_ps::<0x20>(a, b),
                        _mm256_permute2f128_ps::<0x31>(a, b),
                    );
                }
                let pairs = |a: __m256, b: __m256| {
                    _mm256_add_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b))
                };
                let (a, b) = (pairs(halves[0], halves[1]), pairs(halves[2], halves[3]));
                Self(_mm256_add_ps(_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xdd>(a, b)))
            }
        }
        #[inline(always)]
        fn exponent(self) -> Self {
            Self(unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(self.0))) })
        }
        #[inline(always)]
        fn sigmoid(self) -> Self {
            unsafe {
                let log2e = _mm256_set1_ps(-std::f32::consts::LOG2_E);
                let z = _mm256_max_ps(_mm256_min_ps(self.0, _mm256_set1_ps(80.0)), _mm256_set1_ps(-80.0));
                let power = _mm256_mul_ps(z, log2e);
                let rounded = _mm256_add_ps(power, _mm256_set1_ps(ROUND));
                let fraction = _mm256_sub_ps(power, _mm256_sub_ps(rounded, _mm256_set1_ps(ROUND)));
                let mut exp = _mm256_set1_ps(EXP2[0]);
                for c in &EXP2[1..] {
                    exp = _mm256_fmadd_ps(exp, fraction, _mm256_set1_ps(*c));
                }
                let shift = _mm256_slli_epi32::<23>(_mm256_castps_si256(rounded));
                let exp = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(exp), shift));
                let one = _mm256_set1_ps(1.0);
                Self(_mm256_div_ps(one, _mm256_add_ps(one, exp)))
            }
        }
    }
}
