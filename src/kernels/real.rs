//! The floats that twins compute in.

/// A float that twins are generic over: `f32` as the engine computes, `f64` to judge it by.
pub trait Real:
    Copy
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::AddAssign
{
    /// From a literal.
    fn from_f64(value: f64) -> Self;
    /// `e` to the power of it.
    fn exp(self) -> Self;
    /// `exp(self) - 1`, right near 0, too.
    fn exp_m1(self) -> Self;
    /// `ln(1 + self)`, right near 0, too.
    fn ln_1p(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Cosine and sine of it, in turns.
    fn circle(self) -> [Self; 2];
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn exp(self) -> Self {
        f32::exp(self)
    }
    fn exp_m1(self) -> Self {
        f32::exp_m1(self)
    }
    fn ln_1p(self) -> Self {
        f32::ln_1p(self)
    }
    fn tanh(self) -> Self {
        f32::tanh(self)
    }
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    fn circle(self) -> [Self; 2] {
        crate::random::circle(self)
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn exp_m1(self) -> Self {
        f64::exp_m1(self)
    }
    fn ln_1p(self) -> Self {
        f64::ln_1p(self)
    }
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    fn circle(self) -> [Self; 2] {
        let (sine, cosine) = (std::f64::consts::TAU * self).sin_cos();
        [cosine, sine]
    }
}
