// Gradient of a dense layer's weights and biases, summed over a chunk of blocks:
//   partial[chunk][o][f] = sum over images of g[o] * input[f];   partial[chunk][o] (bias) = sum over images of g[o], of
// every params.jet_components-th block, of none for 0.
// One workgroup owns four units and sixteen features, of which one more than there are stands for the biases. Each of its
// LANES invocations sums four features over four images' lanes, then invocations are added up in order.
// x = features, y = unit tile, z = chunk.
// 1 input [block][feature][lane], 2 g [block][unit][lane], four lanes in a vec4f; 3 partials [chunk][parameter].
// The prelude declares LANES.

override CHANNELS: u32 = 1;
override FEATURES: u32 = 1;
override UNITS: u32 = 1;
override WEIGHT_OFFSET: u32 = 0;
override N_PARAMETERS: u32 = 1;
override FIRST_BLOCK: u32 = 0;
override END_BLOCK: u32 = 1;
override CHUNK_BLOCKS: u32 = 1;

struct Params {
    first_chunk: u32,
    jet_components: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read> g: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;

// A column is a feature, a row a unit.
var<workgroup> lane_sums: array<mat4x4f, LANES>;

const FOUR = vec4u(0u, 1u, 2u, 3u);

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group_here: vec3u) {
    let group = group_here + FIRST_GROUP;
    let fours = LANES / 4u;
    let unit = group.y * 4u;
    let units = min(unit + FOUR, vec4u(UNITS - 1u)) * fours + lane % fours;
    let feature = group.x * 16u + lane / fours * 4u + FOUR;
    let features = min(feature, vec4u(FEATURES - 1u)) * fours + lane % fours;
    let is_bias = feature == vec4u(FEATURES);

    var sum = mat4x4f();
    let begin = FIRST_BLOCK + group.z * CHUNK_BLOCKS;
    for (var block = begin; block < min(begin + CHUNK_BLOCKS, END_BLOCK); block++) {
        let at = block * UNITS * fours + units;
        let gradient = mat4x4f(g[at.x], g[at.y], g[at.z], g[at.w]);
        let place = block * FEATURES * fours + features;
        let one = vec4f(f32(params.jet_components > 0u && block % max(params.jet_components, 1u) == 0u));
        sum += mat4x4f(
            select(input[place.x], one, is_bias.x) * gradient,
            select(input[place.y], one, is_bias.y) * gradient,
            select(input[place.z], one, is_bias.z) * gradient,
            select(input[place.w], one, is_bias.w) * gradient,
        );
    }
    lane_sums[lane] = sum;
    workgroupBarrier();
    for (var i = lane; i < 64u; i += LANES) {
        let f = group.x * 16u + i / 4u;
        let u = unit + i % 4u;
        if (f <= FEATURES && u < UNITS) {
            var total = 0.0;
            for (var other = 0u; other < fours; other++) {
                total += lane_sums[i / 16u * fours + other][i / 4u % 4u][i % 4u];
            }
            // Files order features [channel][pixel].
            let column = (f % CHANNELS) * (FEATURES / CHANNELS) + f / CHANNELS;
            let at = select(u * FEATURES + column, UNITS * FEATURES + u, f == FEATURES);
            partials[(params.first_chunk + group.z) * N_PARAMETERS + WEIGHT_OFFSET + at] = total;
        }
    }
}
