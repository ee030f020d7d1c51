// Activations by code (network::Activation::code): 0 identity, 1 swish, 2 leaky ReLU (and ReLU, whose leak is 0), 3 ELU,
// 4 softplus, 5 tanh. Nothing overflows: drivers without infinities are right, too.

struct Activated {
    value: vec4f,
    slope: vec4f,
}

// 1 / (1 + exp(-z)); exp(-z) overflows to infinity below -88, and 1 / infinity is the right 0: the clamp spares the overflow.
fn sigmoid(z: vec4f) -> vec4f {
    return 1.0 / (1.0 + exp(-max(z, vec4f(-80.0))));
}

// exp(z) - 1 for z <= 20, right near 0, too: Taylor's polynomial below 1/2, whose error is 2e-8 of the value there.
fn exp_minus_1(z: vec4f) -> vec4f {
    let near = z * (1.0 + z * (0.5 + z * (1.0 / 6.0 + z * (1.0 / 24.0 + z * (1.0 / 120.0 + z * (1.0 / 720.0
        + z * (1.0 / 5040.0 + z / 40320.0)))))));
    return select(exp(max(z, vec4f(-80.0))) - 1.0, near, abs(z) < vec4f(0.5));
}

// ln(1 + u) for 0 <= u <= 1: 2 artanh(s) with s = u / (2 + u) <= 1/3, by its series, whose rest is below 2e-8 of the value.
fn ln_1_plus(u: vec4f) -> vec4f {
    let s = u / (2.0 + u);
    let q = s * s;
    return 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0
        + q / 13.0))))));
}

// The activation's value and derivative at z; at a kink the derivative of the left side. `leak` is the slope at and below
// 0 of a leaky ReLU.
fn activate(code: u32, leak: f32, z: vec4f) -> Activated {
    let positive = z > vec4f(0.0);
    switch (code) {
        case 1u: { // z s, s + z s (1 - s)
            let s = sigmoid(z);
            let y = z * s;
            return Activated(y, s + y * (1.0 - s));
        }
        case 2u: {
            let slope = select(vec4f(leak), vec4f(1.0), positive);
            return Activated(slope * z, slope);
        }
        case 3u: {
            let y = select(exp_minus_1(min(z, vec4f(0.0))), z, positive);
            return Activated(y, select(exp(clamp(z, vec4f(-80.0), vec4f(0.0))), vec4f(1.0), positive));
        }
        case 4u: {
            return Activated(max(z, vec4f(0.0)) + ln_1_plus(exp(max(-abs(z), vec4f(-80.0)))), sigmoid(z));
        }
        case 5u: { // e / (e + 2), e = exp(2 |z|) - 1
            let e = exp_minus_1(2.0 * min(abs(z), vec4f(10.0)));
            let y = sign(z) * e / (e + 2.0);
            return Activated(y, 1.0 - y * y);
        }
        default: {
            return Activated(z, vec4f(1.0));
        }
    }
}
