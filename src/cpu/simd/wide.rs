//! Some registers as one.

use super::Simd;

/// N registers side by side. A block of images as wide as this takes no loop over its lanes, and its lines of the cache are
/// read whole: four channels by two registers of one pixel are as good a tile as four by two pixels, with no borders.
#[derive(Clone, Copy)]
pub(crate) struct Wide<S, const N: usize>([S; N]);

/// Register by register.
macro_rules! each {
    ($n:expr, $i:ident => $value:expr) => {{
        let mut registers = [S::splat(0.0); $n];
        for $i in 0..$n {
            registers[$i] = $value;
        }
        Self(registers)
    }};
}

impl<S: Simd, const N: usize> Simd for Wide<S, N> {
    const LANES: usize = N * S::LANES;
    const SUMS: usize = S::SUMS / N;
    const TURNS: usize = S::TURNS;
    type Narrow = S::Narrow;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([S::splat(value); N])
    }
    #[inline(always)]
    unsafe fn splat_each<const T: usize>(from: *const f32) -> [Self; T] {
        let mut wide = [Self::splat(0.0); T];
        // SAFETY: the caller's promise.
        let each = unsafe { S::splat_each::<T>(from) };
        for t in 0..T {
            wide[t] = Self([each[t]; N]);
        }
        wide
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises `LANES` readable floats.
        each!(N, i => unsafe { S::load(from.add(i * S::LANES)) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for i in 0..N {
            // SAFETY: the caller promises `LANES` writable floats.
            unsafe { self.0[i].store(to.add(i * S::LANES)) };
        }
    }
    #[inline(always)]
    fn multiply_add(self, factor: Self, summand: Self) -> Self {
        each!(N, i => self.0[i].multiply_add(factor.0[i], summand.0[i]))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        each!(N, i => self.0[i].add(other.0[i]))
    }
    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        each!(N, i => self.0[i].multiply(other.0[i]))
    }
    #[inline(always)]
    fn divide(self, other: Self) -> Self {
        each!(N, i => self.0[i].divide(other.0[i]))
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        each!(N, i => self.0[i].sigmoid())
    }
    #[inline(always)]
    fn where_positive(self, yes: Self, no: Self) -> Self {
        each!(N, i => self.0[i].where_positive(yes.0[i], no.0[i]))
    }
    #[inline(always)]
    fn exponent(self) -> Self {
        each!(N, i => self.0[i].exponent())
    }
    #[inline(always)]
    fn sums(registers: &[Self]) -> Self {
        each!(N, i => {
            let mut sums = [S::splat(0.0); 16];
            for j in 0..S::LANES {
                let wide = registers[i * S::LANES + j].0;
                sums[j] = wide[0];
                for k in 1..N {
                    sums[j] = sums[j].add(wide[k]);
                }
            }
            S::sums(&sums[..S::LANES])
        })
    }
}
