// v = W^T u, of a layer's weights W [row][column] and what the power iteration keeps of it, u [row].
// One invocation owns one column. 1 parameters, 2 u of all matrices, 3 v.

override WORKGROUP_SIZE: u32 = 64;
override ROWS: u32 = 1;
override COLUMNS: u32 = 1;
override WEIGHT_OFFSET: u32 = 0;
override VECTOR_OFFSET: u32 = 0;

struct Params {
    first_block: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parameters: array<f32>;
@group(0) @binding(2) var<storage, read> u: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x < COLUMNS) {
        var sum = 0.0;
        for (var row = 0u; row < ROWS; row++) {
            sum += parameters[WEIGHT_OFFSET + row * COLUMNS + id.x] * u[VECTOR_OFFSET + row];
        }
        v[id.x] = sum;
    }
}
