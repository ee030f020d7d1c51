// Gradient of an LSTM cell's parameters, summed over a chunk of blocks: with dz from lstm_backward, sums over images and
// steps of  dz[row] x_t[k] (weight_ih),  dz[row] h_before[k] (weight_hh, not of the first step),  dz[row] (both biases).
// One workgroup owns four rows by four inputs k; each of its LANES invocations sums over one lane's images, then lanes
// are added up in order. x = fours of rows, y = fours of x, fours of h, last the biases, z = chunk.
// 1 x [block][time][channel][lane], 2 trace [block][place][dz of i, f, g, o; c; h][unit][lane],
// 3 partials [chunk][parameter].

override LANES: u32 = 16;
override IN_CHANNELS: u32 = 1;
override HIDDEN: u32 = 1;
override TIME: u32 = 1;
override STEPS: u32 = 1;
override REVERSE: u32 = 0;
override WEIGHT_OFFSET: u32 = 0;
override N_PARAMETERS: u32 = 1;
override FIRST_BLOCK: u32 = 0;
override END_BLOCK: u32 = 1;
override CHUNK_BLOCKS: u32 = 1;
override FIRST_CHUNK: u32 = 0;

struct Params {
    first_block: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> trace: array<f32>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;

var<workgroup> lane_sums: array<mat4x4f, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group_here: vec3u) {
    let group = group_here + FIRST_GROUP;
    let row = group.x * 4u;
    let in_fours = (IN_CHANNELS + 3u) / 4u;
    let hidden_fours = (HIDDEN + 3u) / 4u;
    let is_bias = group.y == in_fours + hidden_fours;
    let is_hidden = group.y >= in_fours && !is_bias;
    let k = 4u * select(group.y, group.y - min(group.y, in_fours), is_hidden);
    let last = select(IN_CHANNELS, HIDDEN, is_hidden) - 1u;
    let column = min(vec4u(k, k + 1u, k + 2u, k + 3u), vec4u(last)) * LANES + lane;

    var s0 = vec4f(0.0);
    var s1 = vec4f(0.0);
    var s2 = vec4f(0.0);
    var s3 = vec4f(0.0);
    let begin = FIRST_BLOCK + group.z * CHUNK_BLOCKS;
    for (var block = begin; block < min(begin + CHUNK_BLOCKS, END_BLOCK); block++) {
        // The first step has no h before it.
        for (var step = select(0u, 1u, is_hidden); step < STEPS; step++) {
            let t = select(step, TIME - 1u - step, REVERSE == 1u);
            let now = (block * STEPS + t + STEPS - TIME) * 6u * HIDDEN;
            let at = (now + row) * LANES + lane;
            let g = vec4f(trace[at], trace[at + LANES], trace[at + 2u * LANES], trace[at + 3u * LANES]);
            var v = vec4f(1.0, 0.0, 0.0, 0.0);
            if (is_hidden) {
                let before = select(now - min(now, 6u * HIDDEN), now + 6u * HIDDEN, REVERSE == 1u);
                let h = (before + 5u * HIDDEN) * LANES + column;
                v = vec4f(trace[h.x], trace[h.y], trace[h.z], trace[h.w]);
            } else if (!is_bias) {
                let from_x = (block * TIME + t) * IN_CHANNELS * LANES + column;
                v = vec4f(x[from_x.x], x[from_x.y], x[from_x.z], x[from_x.w]);
            }
            s0 += v.x * g;
            s1 += v.y * g;
            s2 += v.z * g;
            s3 += v.w * g;
        }
    }
    lane_sums[lane] = mat4x4f(s0, s1, s2, s3);
    workgroupBarrier();
    let rows = 4u * HIDDEN;
    let first = (FIRST_CHUNK + group.z) * N_PARAMETERS + WEIGHT_OFFSET;
    for (var i = lane; i < 16u; i += LANES) {
        let input = k + i / 4u;
        let r = row + i % 4u;
        if (select(input <= last, i < 4u, is_bias)) {
            var sum = 0.0;
            for (var other = 0u; other < LANES; other++) {
                sum += lane_sums[other][i / 4u][i % 4u];
            }
            if (is_bias) {
                partials[first + rows * IN_CHANNELS + r] = sum;
                partials[first + rows * (IN_CHANNELS + 1u + HIDDEN) + r] = sum;
            } else if (is_hidden) {
                partials[first + rows * (IN_CHANNELS + 1u) + r * HIDDEN + input] = sum;
            } else {
                partials[first + r * IN_CHANNELS + input] = sum;
            }
        }
    }
}
