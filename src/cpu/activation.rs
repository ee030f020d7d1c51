//! Activations and what derives from them, on registers.

use super::simd::Simd;
use crate::kernels::activation_jet::{ActivationJet, Jet};
use crate::kernels::activation_second::ActivationSecond;
use crate::network::Activation;

/// Writes the activation and its slope.
#[inline(always)]
pub(super) fn activate<S: Simd>(activation: Activation, z: S, output: &mut [f32], slope: &mut [f32]) {
    let (value, derivative) = activated(activation, z);
    value.write(output);
    derivative.write(slope);
}

/// The activation's value and derivative.
#[inline(always)]
pub(super) fn activated<S: Simd>(activation: Activation, z: S) -> (S, S) {
    let (zero, one) = (S::splat(0.0), S::splat(1.0));
    match activation {
        Activation::Identity => (z, one),
        Activation::Swish => {
            let s = z.sigmoid();
            let y = z.multiply(s);
            // s + y (1 - s)
            (y, y.multiply_add(one.add(s.multiply(S::splat(-1.0))), s))
        }
        Activation::LeakyRelu(_) | Activation::Relu => {
            let slope = z.where_positive(one, S::splat(activation.leak()));
            (slope.multiply(z), slope)
        }
        Activation::Elu => {
            let (scale, rest) = not_below_minus_80(z.where_positive(zero, z)).exp_parts();
            let y = rest.multiply_add(scale, scale.subtract(one));
            (z.where_positive(z, y), z.where_positive(one, rest.multiply_add(scale, scale)))
        }
        Activation::Softplus => {
            let exp = not_below_minus_80(z.where_positive(zero.subtract(z), z)).exp();
            (z.where_positive(z, zero).add(exp.ln_1_plus()), z.sigmoid())
        }
        Activation::Tanh => {
            // e / (e + 2), e = exp(2 z) - 1; beyond 10 it is 1.
            let ten = S::splat(10.0);
            let low = z.subtract(ten).where_positive(ten, z);
            let low = S::splat(-10.0).subtract(low).where_positive(S::splat(-10.0), low); // NaN stays
            let e = low.add(low).exp_minus_1();
            let y = e.divide(e.add(S::splat(2.0)));
            (y, one.subtract(y.multiply(y)))
        }
    }
}

/// The activation's value and its first three derivatives: [`crate::kernels::activation_jet::curves`].
#[inline(always)]
fn curves<S: Simd>(activation: Activation, z: S) -> [S; 4] {
    let (zero, one, two) = (S::splat(0.0), S::splat(1.0), S::splat(2.0));
    let (value, slope) = activated(activation, z);
    let (second, third) = match activation {
        Activation::Identity | Activation::LeakyRelu(_) | Activation::Relu => (zero, zero),
        Activation::Swish => {
            let s = z.sigmoid();
            let b = s.multiply(one.subtract(s));
            let turn = one.subtract(s.add(s));
            let bend = one.subtract(b.multiply(S::splat(6.0)));
            let third = turn.multiply_add(S::splat(3.0), z.multiply(bend));
            (b.multiply(turn.multiply_add(z, two)), b.multiply(third))
        }
        Activation::Elu => {
            let second = z.where_positive(zero, slope);
            (second, second)
        }
        Activation::Softplus => {
            let b = slope.multiply(one.subtract(slope));
            (b, b.multiply(one.subtract(slope.add(slope))))
        }
        Activation::Tanh => {
            let twice = slope.multiply(S::splat(-2.0));
            let third = slope.subtract(two.multiply(value.multiply(value)));
            (twice.multiply(value), twice.multiply(third))
        }
    };
    [value, slope, second, third]
}

/// See [`ActivationJet::reference`].
#[inline(always)]
pub(super) fn activation_jet<S: Simd>(k: &ActivationJet, z: &[f32], parameters: &[f32], a: &mut [f32]) {
    let (lanes, component) = (k.lanes as usize, k.features * k.lanes as usize);
    let Jet { directions, first_order } = k.jet;
    for at in (0..component).step_by(S::LANES) {
        let bias = S::splat(parameters[k.bias_offset + at / lanes % k.channels]);
        let [value, slope, second, _] = curves(k.activation, S::read(&z[at..]).add(bias));
        value.write(&mut a[at..]);
        let mut squares = S::splat(0.0);
        for d in 0..directions {
            let here = at + (1 + d) * component;
            let tangent = S::read(&z[here..]);
            slope.multiply(tangent).write(&mut a[here..]);
            if d >= first_order {
                squares = tangent.multiply_add(tangent, squares);
            }
        }
        if k.jet.has_second() {
            let last = at + (1 + directions) * component;
            slope.multiply_add(S::read(&z[last..]), second.multiply(squares)).write(&mut a[last..]);
        }
    }
}

/// See [`ActivationSecond::reference`].
#[inline(always)]
pub(super) fn activation_second<S: Simd>(
    k: &ActivationSecond,
    z: &mut [f32],
    parameters: &[f32],
    value: &mut [f32],
    slope: &mut [f32],
) {
    let lanes = k.lanes as usize;
    for at in (0..z.len()).step_by(S::LANES) {
        let bias = S::splat(parameters[k.bias_offset + at / lanes % k.channels]);
        let curves = curves(k.activation, S::read(&z[at..]).add(bias));
        curves[0].write(&mut value[at..]);
        curves[1].write(&mut slope[at..]);
        curves[2].write(&mut z[at..]);
    }
}

/// See [`crate::kernels::activation_jet_backward::ActivationJetBackward::reference`].
#[inline(always)]
pub(super) fn activation_jet_backward<S: Simd>(
    k: &ActivationJet,
    z: &[f32],
    parameters: &[f32],
    g: &mut [f32],
) {
    let (lanes, component) = (k.lanes as usize, k.features * k.lanes as usize);
    let Jet { directions, first_order } = k.jet;
    for at in (0..component).step_by(S::LANES) {
        let bias = S::splat(parameters[k.bias_offset + at / lanes % k.channels]);
        let [_, slope, second, third] = curves(k.activation, S::read(&z[at..]).add(bias));
        let mut sum = slope.multiply(S::read(&g[at..]));
        let mut of_second = S::splat(0.0);
        if k.jet.has_second() {
            let last = at + (1 + directions) * component;
            of_second = S::read(&g[last..]);
            sum = of_second.multiply(second).multiply_add(S::read(&z[last..]), sum);
            of_second.multiply(slope).write(&mut g[last..]);
        }
        let bend = of_second.multiply(third);
        let bend_of_second = S::splat(2.0).multiply(of_second.multiply(second));
        for d in 0..directions {
            let here = at + (1 + d) * component;
            let (tangent, gradient) = (S::read(&z[here..]), S::read(&g[here..]));
            sum = gradient.multiply(second).multiply_add(tangent, sum);
            let mut next = gradient.multiply(slope);
            if d >= first_order {
                sum = bend.multiply(tangent).multiply_add(tangent, sum);
                next = bend_of_second.multiply_add(tangent, next);
            }
            next.write(&mut g[here..]);
        }
        sum.write(&mut g[at..]);
    }
}

/// What exponentials are taken of: `z` below -80 stands for 0 as well as -80 does. NaN stays.
#[inline(always)]
fn not_below_minus_80<S: Simd>(z: S) -> S {
    S::splat(-80.0).subtract(z).where_positive(S::splat(-80.0), z)
}
