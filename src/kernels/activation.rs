//! Activations, and where their derivatives are kept.

use super::Real;
use crate::network::Activation;
use std::cmp::Ordering;

/// Where the derivative of an activation is, for a layer after it to multiply the gradient of its input by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slope {
    /// There is no activation before the layer.
    None,
    /// In a buffer of its own, which stays.
    Beside,
    /// Where the gradient goes: one buffer less at work in a chain.
    InPlace,
}

impl Slope {
    /// The slope: one of `beside`, or still in `grad`.
    #[inline(always)]
    pub(crate) fn of<'s, R>(self, beside: &'s [R], grad: &'s [R]) -> Option<&'s [R]> {
        match self {
            Self::None => None,
            Self::Beside => Some(beside),
            Self::InPlace => Some(grad),
        }
    }

    /// Whether an input gradient reads binding number `binding`: `beside` is the slope's buffer, the next the gradient's.
    pub(crate) fn is_read(self, binding: usize, beside: usize) -> bool {
        match binding.cmp(&beside) {
            Ordering::Less => true,
            Ordering::Equal => self == Self::Beside,
            Ordering::Greater => self == Self::InPlace,
        }
    }

    /// `sum`, times number `at` of the slope.
    pub(super) fn times<R: Real>(self, sum: R, beside: &[R], grad: &[R], at: usize) -> R {
        self.of(beside, grad).map_or(sum, |slope| sum * slope[at])
    }
}

/// The activation's value and its derivative at `z` (`shaders/lib/activation.wgsl`). No `z` overflows.
pub fn activate<R: Real>(activation: Activation, z: R) -> (R, R) {
    let (zero, one) = (R::from_f64(0.0), R::from_f64(1.0));
    let sigmoid = || one / (one + (zero - z).exp());
    match activation {
        Activation::Identity => (z, one),
        Activation::Swish => {
            let s = sigmoid();
            let y = z * s;
            (y, s + y * (one - s))
        }
        Activation::LeakyRelu(_) | Activation::Relu => {
            let slope = if z > zero { one } else { R::from_f64(activation.leak().into()) };
            (slope * z, slope)
        }
        Activation::Elu if z > zero => (z, one),
        Activation::Elu => (z.exp_m1(), z.exp()),
        Activation::Softplus if z > zero => (z + (zero - z).exp().ln_1p(), sigmoid()),
        Activation::Softplus => (z.exp().ln_1p(), sigmoid()),
        Activation::Tanh => {
            let y = z.tanh();
            (y, one - y * y)
        }
    }
}
