// Partial sums of squares of the gradient: partial[group] = sum over the group's 1,024 elements of grad^2.
// x = group. 1 grad, 2 partial.

override N_PARAMETERS: u32 = 1;

struct Params {
    first_block: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group_here: vec3u) {
    let group = group_here + FIRST_GROUP;
    var sum = 0.0;
    for (var i = 0u; i < 4u; i++) {
        let at = (group.x * 4u + i) * SIZE + index;
        if (at < N_PARAMETERS) {
            sum += grad[at] * grad[at];
        }
    }
    let total = workgroup_sum(index, vec4f(sum, 0.0, 0.0, 0.0)).x;
    if (index == 0u) {
        partial[group.x] = total;
    }
}
