// Gradient of a dense layer's weights and biases, summed over a chunk of blocks:
//   partial[chunk][o][f] = sum over images of g[o] * input[f];   partial[chunk][o] (bias) = sum over images of g[o], of
// every STREAMS-th block, of none for 0.
// One workgroup owns four units and one feature (or the biases); each of its LANES invocations sums over one lane's
// images, then lanes are added up in order. x = feature and last the biases, y = unit tile, z = chunk.
// 1 input [block][feature][lane], 2 g [block][unit][lane], 3 partials [chunk][parameter].

override LANES: u32 = 16;
override CHANNELS: u32 = 1;
override FEATURES: u32 = 1;
override UNITS: u32 = 1;
override WEIGHT_OFFSET: u32 = 0;
override N_PARAMETERS: u32 = 1;
override FIRST_BLOCK: u32 = 0;
override END_BLOCK: u32 = 1;
override CHUNK_BLOCKS: u32 = 1;
override FIRST_CHUNK: u32 = 0;
override STREAMS: u32 = 1;

struct Params {
    first_block: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;

var<workgroup> lane_sums: array<vec4f, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    let unit = group.y * 4u;
    let f = group.x; // FEATURES means the biases
    let last = UNITS - 1u;
    let u = min(vec4u(unit, unit + 1u, unit + 2u, unit + 3u), vec4u(last)) * LANES + lane;

    var sum = vec4f(0.0);
    let begin = FIRST_BLOCK + group.z * CHUNK_BLOCKS;
    for (var block = begin; block < min(begin + CHUNK_BLOCKS, END_BLOCK); block++) {
        let at = block * UNITS * LANES;
        let gradient = vec4f(g[at + u.x], g[at + u.y], g[at + u.z], g[at + u.w]);
        let value = input[(block * FEATURES + min(f, FEATURES - 1u)) * LANES + lane];
        let has_bias = STREAMS > 0u && block % max(STREAMS, 1u) == 0u;
        sum += gradient * select(value, f32(has_bias), f == FEATURES);
    }
    lane_sums[lane] = sum;
    workgroupBarrier();
    for (var i = lane; i < 4u; i += LANES) {
        if (unit + i < UNITS) {
            var total = 0.0;
            for (var other = 0u; other < LANES; other++) {
                total += lane_sums[other][i];
            }
            // Files order features [channel][pixel].
            let column = (f % CHANNELS) * (FEATURES / CHANNELS) + f / CHANNELS;
            let weight = (unit + i) * FEATURES + column;
            let at = select(weight, UNITS * FEATURES + unit + i, f == FEATURES);
            partials[(FIRST_CHUNK + group.z) * N_PARAMETERS + WEIGHT_OFFSET + at] = total;
        }
    }
}
