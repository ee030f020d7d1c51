//! For processors whose registers have no module of their own.

use super::{EXP2, ROUND, Simd};

/// Four plain floats; how fast they are is up to the compiler.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub(super) struct Plain([f32; 4]);

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
    const SUMS: usize = 8;
    type Narrow = Self;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 4])
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
        // As NEON does, which tests hold against this; elsewhere rounding once may be a call into the C library.
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
        let pair = |i: usize| Self::splat(EXP2[i]).multiply_add(fraction, Self::splat(EXP2[i + 1]));
        let square = fraction.multiply(fraction);
        let exp = pair(0).multiply_add(square, pair(2)).multiply_add(square, pair(4));
        let exp = exp.zip(rounded, |e, r| f32::from_bits(e.to_bits().wrapping_add(r.to_bits() << 23)));
        exp.map(|e| 1.0 / (1.0 + e))
    }
}
