// The weights' L2 penalty in the gradient: grad += 2 weight parameter.
// One invocation owns one parameter. 1 parameters, 2 grad.

override WORKGROUP_SIZE: u32 = 64;
override N_PARAMETERS: u32 = 1;

struct Params {
    weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parameters: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x < N_PARAMETERS) {
        grad[id.x] += 2.0 * params.weight * parameters[id.x];
    }
}
