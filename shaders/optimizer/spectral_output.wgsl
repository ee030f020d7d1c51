// t = W v, of a layer's weights W [row][column] and v [column].
// x = row; the workgroup's invocations share its columns. 1 parameters, 2 v, 3 t.

override COLUMNS: u32 = 1;
override WEIGHT_OFFSET: u32 = 0;

struct Params {
    first_block: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parameters: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> t: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group_here: vec3u) {
    let group = group_here + FIRST_GROUP;
    var sum = 0.0;
    for (var column = index; column < COLUMNS; column += SIZE) {
        sum += parameters[WEIGHT_OFFSET + group.x * COLUMNS + column] * v[column];
    }
    let total = workgroup_sum(index, vec4f(sum, 0.0, 0.0, 0.0)).x;
    if (index == 0u) {
        t[group.x] = total;
    }
}
