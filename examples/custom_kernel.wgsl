// One step of gradient descent with momentum: v = 0.9 v - 0.01 dE/dx, x = x + v.
//
// An invocation has one value of one image. Buffers are [block][feature][lane].

struct Params {
    first: u32, // value
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> velocity: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    let i = params.first + (group.x + FIRST_GROUP.x) * 64u + local;
    if i < params.end {
        velocity[i] = 0.9 * velocity[i] - 0.01 * gradient[i];
        x[i] += velocity[i];
    }
}
