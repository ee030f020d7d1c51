//! The registers of aarch64.
//!
//! SAFETY, of every block here: NEON is a part of aarch64; pointers are the caller's promise.

#![allow(clippy::undocumented_unsafe_blocks, reason = "one reason holds for all: above")]

use super::{EXP2, ROUND, Simd};
use std::arch::aarch64::*;

/// Four floats.
#[derive(Clone, Copy)]
pub struct Neon(float32x4_t);

impl Simd for Neon {
    const LANES: usize = 4;
    const SUMS: usize = 16;
    type Narrow = Self;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(unsafe { vdupq_n_f32(value) })
    }
    #[inline(always)]
    unsafe fn splat_each<const T: usize>(from: *const f32) -> [Self; T] {
        let mut registers = [Self::splat(0.0); T];
        for t in 0..T {
            unsafe {
                if t / 4 * 4 + 4 > T {
                    registers[t] = Self::splat(*from.add(t));
                    continue;
                }
                // A multiply-add takes its factor from any lane.
                let four = vld1q_f32(from.add(t / 4 * 4));
                registers[t] = Self(match t % 4 {
                    0 => vdupq_laneq_f32::<0>(four),
                    1 => vdupq_laneq_f32::<1>(four),
                    2 => vdupq_laneq_f32::<2>(four),
                    _ => vdupq_laneq_f32::<3>(four),
                });
            }
        }
        registers
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { vld1q_f32(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { vst1q_f32(to, self.0) }
    }
    #[inline(always)]
    fn multiply_add(self, factor: Self, summand: Self) -> Self {
        Self(unsafe { vfmaq_f32(summand.0, self.0, factor.0) })
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { vaddq_f32(self.0, other.0) })
    }
    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        Self(unsafe { vmulq_f32(self.0, other.0) })
    }
    #[inline(always)]
    fn divide(self, other: Self) -> Self {
        Self(unsafe { vdivq_f32(self.0, other.0) })
    }
    #[inline(always)]
    fn where_positive(self, yes: Self, no: Self) -> Self {
        Self(unsafe { vbslq_f32(vcgtzq_f32(self.0), yes.0, no.0) })
    }
    #[inline(always)]
    fn sums(registers: &[Self]) -> Self {
        let r = |i: usize| registers[i].0;
        unsafe {
            let (a, b) = (vzipq_f32(r(0), r(1)), vzipq_f32(r(2), r(3)));
            let (a, b) = (vaddq_f32(a.0, a.1), vaddq_f32(b.0, b.1)); // lanes 0 and 2, and 1 and 3, of two registers
            let low = vcombine_f32(vget_low_f32(a), vget_low_f32(b));
            Self(vaddq_f32(low, vcombine_f32(vget_high_f32(a), vget_high_f32(b))))
        }
    }
    #[inline(always)]
    fn exponent(self) -> Self {
        Self(unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(self.0))) })
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        unsafe {
            let z = vmaxq_f32(vminq_f32(self.0, vdupq_n_f32(80.0)), vdupq_n_f32(-80.0)); // NaN stays
            let power = vmulq_n_f32(z, -std::f32::consts::LOG2_E);
            let rounded = vaddq_f32(power, vdupq_n_f32(ROUND));
            let fraction = vsubq_f32(power, vsubq_f32(rounded, vdupq_n_f32(ROUND)));
            let mut exp = vdupq_n_f32(EXP2[0]);
            for c in &EXP2[1..] {
                exp = vfmaq_f32(vdupq_n_f32(*c), exp, fraction);
            }
            let shift = vshlq_n_u32::<23>(vreinterpretq_u32_f32(rounded));
            let exp = vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(exp), shift));
            let one = vdupq_n_f32(1.0);
            Self(vdivq_f32(one, vaddq_f32(one, exp)))
        }
    }
}
