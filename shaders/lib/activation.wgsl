// Activations by code (network::Activation::code): 0 identity, 1 swish.

struct Activated {
    value: vec4f,
    slope: vec4f,
}

// The activation's value and derivative at z. swish(z) = z s, swish'(z) = s + z s (1 - s), s = 1 / (1 + exp(-z)).
// exp(-z) overflows to infinity below -88, and 1 / infinity is the right 0; the clamp keeps drivers without infinities right.
fn activate(code: u32, z: vec4f) -> Activated {
    if (code == 0u) {
        return Activated(z, vec4f(1.0));
    }
    let s = 1.0 / (1.0 + exp(-max(z, vec4f(-80.0))));
    let y = z * s;
    return Activated(y, s + y * (1.0 - s));
}
