//! SIMD registers, as little of them as the kernels need. The only place with `unsafe` arithmetic.
//!
//! A lane is an image: every kernel body in [`super::bodies`] is one generic function over [`Simd`], written once. What
//! it is compiled to depends on the register: AVX-512, AVX2 with FMA, what every processor of a kind has (SSE2, NEON), or
//! four plain floats.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators' closures are compiled without the instruction set, and would be called"
)]

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod plain;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
use neon::Neon as Four;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use plain::Plain as Four;
pub(super) use wide::Wide;
#[cfg(target_arch = "x86_64")]
use x86::Sse2 as Four;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Eight, Sixteen};

use std::marker::PhantomData;

/// N of the registers that every processor of this kind has.
pub(super) type Base<const N: usize> = Wide<Four, N>;

/// A register of floats.
///
/// Methods are `inline(always)`: the caller is compiled with the instruction set that the register needs
/// ([`super::Isa`]), and a call would lose that.
pub(super) trait Simd: Copy {
    /// Floats in a register.
    const LANES: usize;
    /// Sums that a tile may have: 16 where there are 32 registers, 8 where there are 16.
    const SUMS: usize;
    /// Turns of [`accumulate`]'s loop that are written out, one after the other: each turn's pointers and its branch are
    /// instructions that a narrow register has few products to spread over.
    const TURNS: usize = 1;
    /// The register of the machine, where this is some of them side by side.
    type Narrow: Simd;

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
    /// Each of T floats, in all lanes of a register of its own.
    #[inline(always)]
    fn splat_all<const T: usize>(values: &[f32; T]) -> [Self; T] {
        // SAFETY: there are T floats.
        unsafe { Self::splat_each(values.as_ptr()) }
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
    /// `self + factor * value`: what layers add up. Of [`Paired`] registers, both products of a pair.
    #[inline(always)]
    fn add_product(self, factor: Self, value: Self) -> Self {
        factor.multiply_add(value, self)
    }
    /// `self + other`
    fn add(self, other: Self) -> Self;
    /// `self * other`
    fn multiply(self, other: Self) -> Self;
    /// `self / other`
    fn divide(self, other: Self) -> Self;
    /// `1 / (1 + exp(-self))`, within 3e-7; of [`Paired`] registers within 2e-4.
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

/// A register whose products are of pairs of bfloat16, a float's upper half: two in each lane's 32 bits, both times their
/// factors in one instruction and added up as floats.
pub(super) trait Paired: Simd {
    /// Lane by lane, both rounded to bfloat16, to even where it is a tie: `low` in the lower half.
    fn pair(low: Self, high: Self) -> Self;
}

/// Minimax polynomial of `2^f` for f in [-1/2, 1/2], highest power first: within 1.2e-7.
const EXP2: [f32; 6] =
    [0.001_326_697_1, 0.009_675_46, 0.055_507_425, 0.240_221_22, 0.693_146_94, 1.000_000_1];
/// The same for f in [0, 1]: within 8e-5, a fiftieth of what rounding to bfloat16 takes away.
#[cfg(target_arch = "x86_64")]
const EXP2_ROUGHLY: [f32; 4] = [0.078_024_566, 0.226_067_2, 0.695_833_44, 0.999_925_26];
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
pub(super) struct Rows {
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
pub(super) fn accumulate<S: Simd, const T: usize, const P: usize>(
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
            // SAFETY of every turn: `weight` stays inside `weights`, which is T floats for each of `length` turns, and
            // `x` inside `input`, whose last read is at (length - 1) stride + (P - 1) step + LANES. Both advance past
            // their last read only with wrapping arithmetic.
            for _ in 0..rows.length / S::TURNS {
                for turn in 0..S::TURNS {
                    // SAFETY: as said above.
                    unsafe { add_products(&mut tile, weight.add(turn * T), x.add(turn * stride), step) };
                }
                weight = weight.wrapping_add(S::TURNS * T);
                x = x.wrapping_add(S::TURNS * stride);
            }
            for _ in 0..rows.length % S::TURNS {
                // SAFETY: as said above.
                unsafe { add_products(&mut tile, weight, x, step) };
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

/// `sum over k of weights[k][t] * input[k * stride + p * step]` for T channels by P pixels, all in registers, by stretches.
///
/// # Panics
/// Where a pixel lies beyond the slice, or there are no weights.
#[inline(always)]
pub(super) fn sum_products<S: Simd, const T: usize, const P: usize>(
    weights: &[f32],
    input: &[f32],
    stride: usize,
    step: usize,
) -> [[S; T]; P] {
    let mut left = weights.len() / T;
    assert!(left > 0);
    let input = &input[..(left - 1) * stride + (P - 1) * step + S::LANES];
    let (mut weight, mut x) = (weights.as_ptr(), input.as_ptr());
    let mut sum = [[S::splat(0.0); T]; P];
    while left > 0 {
        let length = left.min(STRETCH);
        left -= length;
        let mut tile = [[S::splat(0.0); T]; P];
        // SAFETY of every turn: as in `accumulate`; there are `left` turns in all.
        for _ in 0..length / S::TURNS {
            for turn in 0..S::TURNS {
                // SAFETY: as said above.
                unsafe { add_products(&mut tile, weight.add(turn * T), x.add(turn * stride), step) };
            }
            weight = weight.wrapping_add(S::TURNS * T);
            x = x.wrapping_add(S::TURNS * stride);
        }
        for _ in 0..length % S::TURNS {
            // SAFETY: as said above.
            unsafe { add_products(&mut tile, weight, x, step) };
            weight = weight.wrapping_add(T);
            x = x.wrapping_add(stride);
        }
        for p in 0..P {
            for t in 0..T {
                sum[p][t] = sum[p][t].add(tile[p][t]);
            }
        }
    }
    sum
}

/// Adds T weights times P pixels, `step` apart, to a tile.
///
/// # Safety
/// `weights` must be valid for reading T floats, each pixel for reading a register, and the instruction set present.
#[inline(always)]
unsafe fn add_products<S: Simd, const T: usize, const P: usize>(
    tile: &mut [[S; T]; P],
    weights: *const f32,
    pixels: *const f32,
    step: usize,
) {
    // SAFETY: the caller promises it.
    unsafe {
        let mut xs = [S::splat(0.0); P];
        for p in 0..P {
            xs[p] = S::load(pixels.add(p * step));
        }
        let ws = S::splat_each::<T>(weights);
        for t in 0..T {
            for p in 0..P {
                tile[p][t] = tile[p][t].add_product(ws[t], xs[p]);
            }
        }
    }
}

/// Asks for `count` floats from `from[start]` on, which will be read soon, to be brought near. They may lie beyond the
/// slice, where nothing is read.
#[inline(always)]
pub(super) fn prefetch(from: &[f32], start: usize, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..count).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every processor with SSE has the instruction, and it reads nothing that a program could tell.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(start + line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, start, count);
}

/// Where a tile of T channels by P pixels is written: its pixels lie `step` floats apart, its channels `stride`.
pub(super) struct TileMut<'a, S, const T: usize, const P: usize> {
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
    pub(super) fn new(to: &'a mut [f32], step: usize, stride: usize) -> Self {
        assert!(to.len() >= (P - 1) * step + (T - 1) * stride + S::LANES);
        Self { to: to.as_mut_ptr(), step, stride, of: PhantomData }
    }

    /// Writes channel `t` of pixel `p`.
    #[inline(always)]
    pub(super) fn set(&mut self, p: usize, t: usize, value: S) {
        assert!(p < P && t < T);
        // SAFETY: `new` has found the tile's last register inside the slice, which is borrowed for as long as this is.
        unsafe { value.store(self.to.add(p * self.step + t * self.stride)) }
    }
}

/// Where a tile is read from, as in [`TileMut`].
pub(super) struct TileRef<'a, S, const T: usize, const P: usize> {
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
    pub(super) fn new(from: &'a [f32], step: usize, stride: usize) -> Self {
        assert!(from.len() >= (P - 1) * step + (T - 1) * stride + S::LANES);
        Self { from: from.as_ptr(), step, stride, of: PhantomData }
    }

    /// Channel `t` of pixel `p`.
    #[inline(always)]
    pub(super) fn get(&self, p: usize, t: usize) -> S {
        assert!(p < P && t < T);
        // SAFETY: as in `TileMut::set`.
        unsafe { S::load(self.from.add(p * self.step + t * self.stride)) }
    }
}

/// N stretches of as many floats each, which are read together.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a, const N: usize> {
    from: [*const f32; N],
    len: usize,
    of: PhantomData<&'a [f32]>,
}

impl<'a, const N: usize> Sources<'a, N> {
    /// The first `len` floats of each.
    ///
    /// # Panics
    /// Where one is shorter.
    #[inline(always)]
    pub(super) fn new(slices: [&'a [f32]; N], len: usize) -> Self {
        let mut from = [std::ptr::null(); N];
        for i in 0..N {
            from[i] = slices[i][..len].as_ptr();
        }
        Self { from, len, of: PhantomData }
    }

    /// A register of the stretch `i`.
    #[inline(always)]
    pub(super) fn get<S: Simd>(&self, i: usize, at: usize) -> S {
        assert!(at + S::LANES <= self.len);
        // SAFETY: `new` has found that many floats.
        unsafe { S::load(self.from[i].add(at)) }
    }
}

/// N stretches of as many floats each, which are written together.
pub(super) struct Targets<'a, const N: usize> {
    to: [*mut f32; N],
    len: usize,
    of: PhantomData<&'a mut [f32]>,
}

impl<'a, const N: usize> Targets<'a, N> {
    /// The first `len` floats of each.
    ///
    /// # Panics
    /// Where one is shorter.
    #[inline(always)]
    pub(super) fn new(slices: [&'a mut [f32]; N], len: usize) -> Self {
        let mut to = [std::ptr::null_mut(); N];
        for (to, slice) in to.iter_mut().zip(slices) {
            *to = slice[..len].as_mut_ptr();
        }
        Self { to, len, of: PhantomData }
    }

    /// Writes a register of the stretch `i`.
    #[inline(always)]
    pub(super) fn set<S: Simd>(&mut self, i: usize, at: usize, value: S) {
        assert!(at + S::LANES <= self.len);
        // SAFETY: `new` has found that many floats, which are borrowed for as long as this is.
        unsafe { value.store(self.to[i].add(at)) }
    }
}

/// The pixels that a tap of the weight gradient takes, and how far apart they lie: block by block, row by row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
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
pub(super) fn correlate<S: Simd, const T: usize, const Q: usize>(
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

/// The inner loop of a dense layer's weight gradient: `sum[q][p] += sum over images of x[from[q] + image] * g[image][p]` for Q
/// features by P registers, all in registers; an image's part of g is P registers long.
///
/// # Panics
/// Where an image lies beyond a slice.
#[inline(always)]
pub(super) fn outer_products<S: Simd, const Q: usize, const P: usize>(
    sum: &mut [[S; P]; Q],
    x: &[f32],
    from: [usize; Q],
    g: &[f32],
    n_images: usize,
) {
    let mut last = 0;
    for q in 0..Q {
        last = last.max(from[q]);
    }
    let (x, g) = (x[..last + n_images].as_ptr(), g[..n_images * P * S::LANES].as_ptr());
    let mut tile = *sum;
    for image in 0..n_images {
        // SAFETY: the slices' lengths were just taken from the last image's reads.
        unsafe {
            let mut gs = [S::splat(0.0); P];
            for p in 0..P {
                gs[p] = S::load(g.add((image * P + p) * S::LANES));
            }
            for q in 0..Q {
                let value = S::splat(*x.add(from[q] + image));
                for p in 0..P {
                    tile[q][p] = value.multiply_add(gs[p], tile[q][p]);
                }
            }
        }
    }
    *sum = tile;
}

#[cfg(test)]
mod tests {
    use super::plain::Plain;
    use super::{Four, Simd, Wide};

    /// Operations on three registers, each as a register of its own.
    fn results<S: Simd>(a: &[f32], b: &[f32], c: &[f32]) -> Vec<Vec<u32>> {
        let (x, y, z) = (S::read(a), S::read(b), S::read(c));
        let [first, second, third, fourth, fifth, sixth, seventh] =
            S::splat_all::<7>(a.first_chunk().unwrap());
        let whole = S::splat(f32::from_bits(130));
        [
            first,
            second,
            third,
            fourth,
            fifth,
            sixth,
            seventh,
            x.multiply_add(y, z),
            x.add(y),
            x.multiply(y),
            x.divide(y),
            x.sigmoid(),
            x.where_positive(y, z),
            whole.exponent(),
            x.exp(),
            x.exp_minus_1(),
        ]
        .iter()
        .map(|register| {
            let mut lanes = [0.0; 16];
            register.write(&mut lanes);
            lanes[..S::LANES].iter().map(|lane| lane.to_bits()).collect()
        })
        .collect()
    }

    /// The sums of a register's lanes, for as many registers as there are lanes.
    fn sums<S: Simd>(a: &[f32]) -> Vec<u32> {
        let registers: Vec<S> = (0..S::LANES).map(|i| S::read(&a[i..])).collect();
        let mut sums = [0.0; 16];
        S::sums(&registers).write(&mut sums);
        sums[..S::LANES].iter().map(|sum| sum.to_bits()).collect()
    }

    const VALUES: [f32; 13] =
        [0.0, -0.0, 1.0, -1.5, 0.3, -7.25, 40.0, -79.0, 2e-5, 200.0, -300.0, 1e-40, 6.0];

    /// Values that `i` chooses.
    fn values(i: usize, k: usize) -> [f32; 16] {
        std::array::from_fn(|j| VALUES[(i * k + j * 3 + k) % VALUES.len()])
    }

    /// Intrinsics do as plain floats do, to the bit.
    #[test]
    fn registers_of_four_are_plain_floats() {
        for i in 0..VALUES.len() {
            let [a, b, c] = [1, 2, 5].map(|k| values(i, k));
            assert_eq!(results::<Four>(&a, &b, &c), results::<Plain>(&a, &b, &c), "{a:?} {b:?} {c:?}");
            assert_eq!(sums::<Four>(&a), sums::<Plain>(&a), "{a:?}");
        }
        let nan = [f32::NAN; 16];
        for lanes in &results::<Four>(&nan, &nan, &nan)[7..12] {
            assert!(lanes.iter().all(|bits| f32::from_bits(*bits).is_nan()));
        }
    }

    /// Registers side by side do what each of them does.
    #[test]
    fn wide_registers_are_narrow_ones() {
        for i in 0..VALUES.len() {
            let [a, b, c] = [1, 2, 5].map(|k| values(i, k));
            let wide = results::<Wide<Plain, 2>>(&a, &b, &c);
            let low = results::<Plain>(&a, &b, &c);
            // The factors of a tile are the same in both.
            let mut high_a = a;
            high_a.copy_within(4.., 0);
            let high = results::<Plain>(&high_a, &b[4..], &c[4..]);
            for (n, wide) in wide.iter().enumerate() {
                assert_eq!(wide[..4], low[n], "operation {n} on {a:?} {b:?} {c:?}");
                assert_eq!(
                    wide[4..],
                    if n < 7 { &low[n] } else { &high[n] }[..],
                    "operation {n}, the upper half"
                );
            }
        }
        let whole: Vec<f32> = (0..24).map(|i| (i * i % 7) as f32).collect(); // whose sums are exact in any order
        let right: Vec<u32> = (0..8).map(|i| whole[i..i + 8].iter().sum::<f32>().to_bits()).collect();
        assert_eq!(sums::<Wide<Plain, 2>>(&whole), right);
    }
}
