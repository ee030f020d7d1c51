// Global average pool: output[c] = mean over pixels p of input[p][c]; slope = 1, as no activation follows.
// One invocation owns one channel of one image: x = channel by lane, z = block.
// 1 input [block][pixel][channel][lane], 2 output, 3 slope: [block][channel][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override CHANNELS: u32 = 1;
override PIXELS: u32 = 1;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(0) @binding(3) var<storage, read_write> slope: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x >= CHANNELS * LANES) {
        return;
    }
    let block = params.first_block + id.z;
    var sum = 0.0;
    for (var p = 0u; p < PIXELS; p++) {
        sum += input[(block * PIXELS + p) * CHANNELS * LANES + id.x];
    }
    output[block * CHANNELS * LANES + id.x] = sum / f32(PIXELS);
    slope[block * CHANNELS * LANES + id.x] = 1.0;
}
