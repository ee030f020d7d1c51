// Nothing but multiply-adds on registers, to see how many the device can do: v <- factor v + summand, 32 times in each of
// `turns` turns of a loop, on sixteen numbers that wait for nobody; their sum at the end, so that none is left out. A turn
// of a software renderer's loop takes as long as dozens of multiply-adds by itself, and more numbers leave its registers.
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

fn once(v: mat4x4f) -> mat4x4f {
    let s = vec4f(params.summand);
    return params.factor * v + mat4x4f(s, s, s, s);
}

fn four_times(v: mat4x4f) -> mat4x4f {
    return once(once(once(once(v))));
}

fn sixteen_times(v: mat4x4f) -> mat4x4f {
    return four_times(four_times(four_times(four_times(v))));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let start = vec4f(0.0, 1.0, 2.0, 3.0) + f32(id.x % 64u);
    var v = mat4x4f(start, start + 4.0, start + 8.0, start + 12.0);
    for (var turn = 0u; turn < params.turns; turn++) {
        v = sixteen_times(sixteen_times(v));
    }
    if (id.x < INVOCATIONS) {
        result[id.x] = dot((v[0] + v[1]) + (v[2] + v[3]), vec4f(1.0));
    }
}
