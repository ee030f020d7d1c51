// The variance of each image's values.
// One invocation owns one image: x = lane, z = block.
// 1 x [block][feature][lane], 2 variance [block][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 1;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> variance: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x >= LANES) {
        return;
    }
    let block = params.first_block + id.z;
    var mean = 0.0;
    for (var f = 0u; f < FEATURES; f++) {
        mean += x[(block * FEATURES + f) * LANES + id.x];
    }
    mean /= f32(FEATURES);
    var sum = 0.0;
    for (var f = 0u; f < FEATURES; f++) {
        let value = x[(block * FEATURES + f) * LANES + id.x] - mean;
        sum += value * value;
    }
    variance[block * LANES + id.x] = sum / f32(FEATURES);
}
