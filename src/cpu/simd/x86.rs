//! The registers of x86-64.
//!
//! SAFETY, of every block here: the instruction set is present, because the bodies that use these registers are
//! entered only through [`crate::cpu::Isa`], which asks the processor; pointers are the caller's promise.

#![allow(clippy::undocumented_unsafe_blocks, reason = "one reason holds for all: above")]

use super::{EXP2, EXP2_ROUGHLY, Paired, ROUND, Simd};
use std::arch::x86_64::*;

/// Sixteen floats; AVX-512F. With `PAIRS`, products are of sixteen pairs of bfloat16: AVX512-BF16, and -BW to pair them.
#[derive(Clone, Copy)]
pub(crate) struct Sixteen<const PAIRS: bool>(__m512);

/// Eight floats; AVX2 and FMA, or, with `MANY` registers, AVX-512VL.
#[derive(Clone, Copy)]
pub(crate) struct Eight<const MANY: bool>(__m256);

impl<const PAIRS: bool> Simd for Sixteen<PAIRS> {
    const LANES: usize = 16;
    const SUMS: usize = 16;
    type Narrow = Self;

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
    fn add_product(self, factor: Self, value: Self) -> Self {
        if const { !PAIRS } {
            return factor.multiply_add(value, self);
        }
        // The types differ in name only.
        let pairs = |register: __m512| unsafe { std::mem::transmute::<__m512, __m512bh>(register) };
        Self(unsafe { _mm512_dpbf16_ps(self.0, pairs(factor.0), pairs(value.0)) })
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
            if const { PAIRS } {
                let fraction = _mm512_reduce_ps::<0x09>(power); // what is above the whole number below
                let mut exp = _mm512_set1_ps(EXP2_ROUGHLY[0]);
                for c in &EXP2_ROUGHLY[1..] {
                    exp = _mm512_fmadd_ps(exp, fraction, _mm512_set1_ps(*c));
                }
                let exp = _mm512_scalef_ps(exp, power); // takes the whole number below, too
                return Self(_mm512_rcp14_ps(_mm512_add_ps(_mm512_set1_ps(1.0), exp)));
            }
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

impl Paired for Sixteen<true> {
    #[inline(always)]
    fn pair(low: Self, high: Self) -> Self {
        unsafe {
            // All of `low`, then all of `high`: shuffled together.
            let halves = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high.0, low.0));
            let order = _mm512_set_epi16(
                31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19,
                3, 18, 2, 17, 1, 16, 0,
            );
            Self(_mm512_castsi512_ps(_mm512_permutexvar_epi16(order, halves)))
        }
    }
}

impl<const MANY: bool> Simd for Eight<MANY> {
    const LANES: usize = 8;
    const SUMS: usize = if MANY { 16 } else { 8 };
    const TURNS: usize = if MANY { 1 } else { 4 };
    type Narrow = Self;

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
                halves[i] =
                    _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
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

/// Four floats; SSE2, which is a part of x86-64. Plain floats would do, but that the compiler, free to pair them as it
/// likes, shuffles those of an input gradient's inner loop until it takes twice as long.
#[derive(Clone, Copy)]
pub(crate) struct Sse2(__m128);

impl Simd for Sse2 {
    const LANES: usize = 4;
    const SUMS: usize = 8;
    type Narrow = Self;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(unsafe { _mm_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn splat_each<const T: usize>(from: *const f32) -> [Self; T] {
        let mut registers = [Self::splat(0.0); T];
        for t in 0..T {
            unsafe {
                // One load of four, or of two, and a shuffle each, instead of as many loads.
                let (four, left) = (from.add(t / 4 * 4).cast(), T - t / 4 * 4);
                let four = match (left, t % 4) {
                    (4.., _) => _mm_loadu_si128(four),
                    (2.., 0 | 1) => _mm_loadl_epi64(four),
                    _ => {
                        registers[t] = Self::splat(*from.add(t));
                        continue;
                    }
                };
                let splat = match t % 4 {
                    0 => _mm_shuffle_epi32::<0x00>(four),
                    1 => _mm_shuffle_epi32::<0x55>(four),
                    2 => _mm_shuffle_epi32::<0xaa>(four),
                    _ => _mm_shuffle_epi32::<0xff>(four),
                };
                registers[t] = Self(_mm_castsi128_ps(splat));
            }
        }
        registers
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { _mm_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    fn multiply_add(self, factor: Self, summand: Self) -> Self {
        self.multiply(factor).add(summand)
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        Self(unsafe { _mm_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn divide(self, other: Self) -> Self {
        Self(unsafe { _mm_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn where_positive(self, yes: Self, no: Self) -> Self {
        unsafe {
            let positive = _mm_cmpgt_ps(self.0, _mm_setzero_ps());
            Self(_mm_or_ps(_mm_and_ps(positive, yes.0), _mm_andnot_ps(positive, no.0)))
        }
    }
    #[inline(always)]
    fn sums(registers: &[Self]) -> Self {
        let r = |i: usize| registers[i].0;
        unsafe {
            // Lanes 0 and 1 of two registers, and their lanes 2 and 3.
            let low = |a: __m128, b: __m128| _mm_unpacklo_ps(a, b);
            let high = |a: __m128, b: __m128| _mm_unpackhi_ps(a, b);
            let pairs = |a: __m128, b: __m128| _mm_add_ps(low(a, b), high(a, b));
            let (a, b) = (pairs(r(0), r(1)), pairs(r(2), r(3)));
            Self(_mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a)))
        }
    }
    #[inline(always)]
    fn exponent(self) -> Self {
        Self(unsafe { _mm_castsi128_ps(_mm_slli_epi32::<23>(_mm_castps_si128(self.0))) })
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        unsafe {
            // Of a number and NaN, `min` and `max` give the second.
            let z = _mm_max_ps(_mm_set1_ps(-80.0), _mm_min_ps(_mm_set1_ps(80.0), self.0));
            let power = _mm_mul_ps(z, _mm_set1_ps(-std::f32::consts::LOG2_E));
            let rounded = _mm_add_ps(power, _mm_set1_ps(ROUND));
            let fraction = _mm_sub_ps(power, _mm_sub_ps(rounded, _mm_set1_ps(ROUND)));
            // In pairs: what comes after a tile's sums waits for the first of its activations to be done.
            let fraction = Self(fraction);
            let pair = |i: usize| Self::splat(EXP2[i]).multiply_add(fraction, Self::splat(EXP2[i + 1]));
            let square = fraction.multiply(fraction);
            let exp = pair(0).multiply_add(square, pair(2)).multiply_add(square, pair(4));
            let shift = _mm_slli_epi32::<23>(_mm_castps_si128(rounded));
            let exp = _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(exp.0), shift));
            let one = _mm_set1_ps(1.0);
            Self(_mm_div_ps(one, _mm_add_ps(one, exp)))
        }
    }
}
