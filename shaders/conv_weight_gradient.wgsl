// Gradient of a convolution's weights and biases, summed over a chunk of blocks:
//   partial[chunk][oc][ic][ky][kx] = sum over images, oy, ox of g[oy, ox, oc] * input[oy STRIDE_Y + ky - PAD_TOP, ...],
//   partial[chunk][oc] (bias)      = sum over images, oy, ox of g[oy, ox, oc], of every STREAMS-th block.
// One workgroup owns four output channels, one input channel and one kernel row (or the biases); each of its LANES
// invocations sums over one lane's images, then lanes are added up in order. x = channel tile, y = (ic, ky) and last
// the biases, z = chunk.
// 1 input, 2 g (both [block][y][x][channel][lane]), 3 partials [chunk][parameter].
// The prelude declares KERNEL_WIDTH, the size of an array.

override LANES: u32 = 16;
override IN_CHANNELS: u32 = 1;
override IN_HEIGHT: u32 = 1;
override IN_WIDTH: u32 = 1;
override OUT_CHANNELS: u32 = 1;
override OUT_HEIGHT: u32 = 1;
override OUT_WIDTH: u32 = 1;
override KERNEL_HEIGHT: u32 = 1;
override STRIDE_Y: u32 = 1;
override STRIDE_X: u32 = 1;
override PAD_TOP: u32 = 0;
override PAD_LEFT: u32 = 0;
override WEIGHT_OFFSET: u32 = 0;
override N_PARAMETERS: u32 = 1;
override N_BLOCKS: u32 = 1;
override CHUNK_BLOCKS: u32 = 1;
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
    let channel = group.x * 4u;
    let is_bias = group.y == IN_CHANNELS * KERNEL_HEIGHT;
    let ic = group.y / KERNEL_HEIGHT;
    let ky = group.y % KERNEL_HEIGHT;
    let last = OUT_CHANNELS - 1u;
    let c = min(vec4u(channel, channel + 1u, channel + 2u, channel + 3u), vec4u(last)) * LANES;

    var sums: array<vec4f, KERNEL_WIDTH>;
    let end = min((group.z + 1u) * CHUNK_BLOCKS, N_BLOCKS);
    for (var block = group.z * CHUNK_BLOCKS; block < end; block++) {
        for (var oy = 0u; oy < OUT_HEIGHT; oy++) {
            let iy = i32(oy * STRIDE_Y + ky) - i32(PAD_TOP);
            let is_outside = iy < 0 || iy >= i32(IN_HEIGHT);
            if (select(is_outside, block % STREAMS != 0u, is_bias)) {
                continue;
            }
            for (var ox = 0u; ox < OUT_WIDTH; ox++) {
                let at = ((block * OUT_HEIGHT + oy) * OUT_WIDTH + ox) * (OUT_CHANNELS * LANES) + lane;
                let gradient = vec4f(g[at + c.x], g[at + c.y], g[at + c.z], g[at + c.w]);
                if (is_bias) {
                    sums[0] += gradient;
                } else {
                    for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
                        let ix = i32(ox * STRIDE_X + kx) - i32(PAD_LEFT);
                        let column = u32(clamp(ix, 0, i32(IN_WIDTH) - 1));
                        let pixel = (block * IN_HEIGHT + u32(iy)) * IN_WIDTH + column;
                        let value = input[(pixel * IN_CHANNELS + ic) * LANES + lane];
                        sums[kx] += gradient * select(0.0, value, ix >= 0 && ix < i32(IN_WIDTH));
                    }
                }
            }
        }
    }
    let weight_len = OUT_CHANNELS * IN_CHANNELS * KERNEL_HEIGHT * KERNEL_WIDTH;
    for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
        lane_sums[lane] = sums[kx];
        workgroupBarrier();
        // Component by component, so that lane sums are added by as many invocations as there are channels.
        for (var i = lane; i < 4u; i += LANES) {
            if (channel + i < OUT_CHANNELS) {
                var sum = 0.0;
                for (var other = 0u; other < LANES; other++) {
                    sum += lane_sums[other][i];
                }
                let oc = channel + i;
                let row = (oc * IN_CHANNELS + ic) * KERNEL_HEIGHT + ky;
                if (!is_bias) {
                    partials[group.z * N_PARAMETERS + WEIGHT_OFFSET + row * KERNEL_WIDTH + kx] = sum;
                } else if (kx == 0u) {
                    partials[group.z * N_PARAMETERS + WEIGHT_OFFSET + weight_len + oc] = sum;
                }
            }
        }
        workgroupBarrier();
    }
}
