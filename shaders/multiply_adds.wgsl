// Nothing but multiply-adds on registers, to see how many the device can do: v <- factor v + summand, `turns` times, on
// eight vectors that wait for nobody; their sum at the end, so that none is left out.
// x = invocation. 1 result.

override WORKGROUP_SIZE: u32 = 64;
override INVOCATIONS: u32 = 1;

struct Params {
    turns: u32,
    factor: f32,
    summand: f32,
    spare: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> result: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let factor = vec4f(params.factor);
    let summand = vec4f(params.summand);
    let start = vec4f(0.0, 1.0, 2.0, 3.0) + f32(id.x % 64u);
    var a = start;
    var b = start + 4.0;
    var c = start + 8.0;
    var d = start + 12.0;
    var e = start + 16.0;
    var f = start + 20.0;
    var g = start + 24.0;
    var h = start + 28.0;
    for (var turn = 0u; turn < params.turns; turn++) {
        a = factor * a + summand;
        b = factor * b + summand;
        c = factor * c + summand;
        d = factor * d + summand;
        e = factor * e + summand;
        f = factor * f + summand;
        g = factor * g + summand;
        h = factor * h + summand;
    }
    if (id.x < INVOCATIONS) {
        result[id.x] = dot(((a + b) + (c + d)) + ((e + f) + (g + h)), vec4f(1.0));
    }
}
