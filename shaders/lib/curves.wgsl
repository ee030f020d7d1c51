// The activation's value at z and its first three derivatives, by code: see lib/activation.wgsl. Straight lines have no
// second derivative, and what a kink would add is left out.

struct Curves {
    value: vec4f,
    slope: vec4f,
    second: vec4f,
    third: vec4f,
}

fn curves(code: u32, leak: f32, z: vec4f) -> Curves {
    let a = activate(code, leak, z);
    var second = vec4f(0.0);
    var third = vec4f(0.0);
    if (code == 1u || code == 4u) {
        let s = sigmoid(z);
        let b = s * (1.0 - s); // the sigmoid's derivative; b turn is its second, b bend its third
        let turn = 1.0 - 2.0 * s;
        let bend = 1.0 - 6.0 * b;
        let is_swish = vec4<bool>(code == 1u);
        second = select(b, b * (2.0 + z * turn), is_swish);
        third = select(b * turn, b * (3.0 * turn + z * bend), is_swish);
    } else if (code == 3u) {
        second = select(a.slope, vec4f(0.0), z > vec4f(0.0));
        third = second;
    } else if (code == 5u) {
        second = -2.0 * a.slope * a.value;
        third = -2.0 * a.slope * (a.slope - 2.0 * a.value * a.value);
    }
    return Curves(a.value, a.slope, second, third);
}
