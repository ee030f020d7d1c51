//! How far a kernel's results may be from its twin's.

/// How far a float may be from the reference: `error <= absolute + of_largest * largest + relative * |reference|`, where
/// `largest` is the largest finite magnitude among the elements that the launch changed.
///
/// A rounding is 6e-8. Shaders may fuse multiply and add or not, divide within 2.5 units in the last place, and take
/// exponentials within `3 + 2|x|` of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Whatever the magnitude.
    pub absolute: f64,
    /// Share of the element's own magnitude.
    pub relative: f64,
    /// Share of the largest magnitude.
    pub of_largest: f64,
}

impl Tolerance {
    /// Equal, but for the sign of a zero.
    pub const EXACT: Self = Self { absolute: 0.0, relative: 0.0, of_largest: 0.0 };

    /// Sums of products of two numbers of bfloat16: each is off by 2^-9 at most, and a sum of many by less.
    pub const BF16: Self = Self::of_largest(1e-2);

    /// Shares of the element's own magnitude and of the largest. Devices may take numbers below 1e-38 as 0, and the
    /// sigmoid's exponential stops at 1e-35 or is 0: hence an absolute part of 1e-30.
    pub(crate) const fn new(relative: f64, of_largest: f64) -> Self {
        Self { absolute: 1e-30, relative, of_largest }
    }

    /// A share of the largest magnitude.
    pub(crate) const fn of_largest(of_largest: f64) -> Self {
        Self::new(0.0, of_largest)
    }

    /// A share of the element's own magnitude.
    pub(crate) const fn relative(relative: f64) -> Self {
        Self::new(relative, 0.0)
    }
}
