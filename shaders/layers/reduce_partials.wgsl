// Adds up partial gradients: grad[i] = sum over chunks, in order, of partials[chunk][i].
// One invocation owns one parameter.
// 1 partials, 2 grad.

override WORKGROUP_SIZE: u32 = 64;
override N_PARAMETERS: u32 = 1;
override N_CHUNKS: u32 = 1;

struct Params {
    first_block: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x >= N_PARAMETERS) {
        return;
    }
    var sum = 0.0;
    for (var chunk = 0u; chunk < N_CHUNKS; chunk++) {
        sum += partials[chunk * N_PARAMETERS + id.x];
    }
    grad[id.x] = sum;
}
