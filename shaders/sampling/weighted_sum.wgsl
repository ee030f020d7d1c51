// sum = weight value where a sum begins, else sum = sum + weight value.
// One invocation owns one feature of four neighbouring lanes: x = feature by lanes, z = block.
// 1 value, 2 sum: [block][feature][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;

struct Params {
    first_block: u32,
    features: u32,
    weight: f32,
    begins: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> value: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> sum: array<vec4f>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let len = params.features * (LANES / 4u);
    if (id.x >= len) {
        return;
    }
    let at = (params.first_block + id.z) * len + id.x;
    let term = params.weight * value[at];
    if (params.begins != 0u) {
        sum[at] = term;
    } else {
        sum[at] += term;
    }
}
