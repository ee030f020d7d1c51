// Gradient of a convolution's weights and biases, summed over a chunk of blocks:
//   partial[chunk][oc][ic][ky][kx] = sum over images, oy, ox of g[oy, ox, oc] * input[oy STRIDE_Y + ky - PAD_TOP, ...],
//   partial[chunk][oc] (bias)      = sum over images, oy, ox of g[oy, ox, oc], of every params.jet_components-th block, of none for 0.
// One workgroup owns 4 OUT_VECTORS output channels by 4 IN_VECTORS input channels at one tap (or the biases). Each of its
// LANES invocations sums over four images' lanes and every fourth pixel, then invocations are added up in order.
// x = output tile, y = (input tile, tap) and last the biases, z = chunk.
// 1 input, 2 g (both [block][y][x][channel][lane], four lanes in a vec4f), 3 partials [chunk][parameter].
// The prelude declares LANES, and OUT_VECTORS and IN_VECTORS: 1 or 2.

override IN_CHANNELS: u32 = 1;
override IN_HEIGHT: u32 = 1;
override IN_WIDTH: u32 = 1;
override OUT_CHANNELS: u32 = 1;
override OUT_HEIGHT: u32 = 1;
override OUT_WIDTH: u32 = 1;
override KERNEL_HEIGHT: u32 = 1;
override KERNEL_WIDTH: u32 = 1;
override STRIDE_Y: u32 = 1;
override STRIDE_X: u32 = 1;
override PAD_TOP: u32 = 0;
override PAD_LEFT: u32 = 0;
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

var<workgroup> lane_sums: array<mat4x4f, LANES>;

const CHANNELS = vec4u(0u, 1u, 2u, 3u);

// A pixel's four channels from `channel` on: a column is a channel, a row an image.
fn inputs(pixel: u32, channel: u32) -> mat4x4f {
    let at = pixel + min(channel + CHANNELS, vec4u(IN_CHANNELS - 1u)) * (LANES / 4u);
    return mat4x4f(input[at.x], input[at.y], input[at.z], input[at.w]);
}

fn gradients(pixel: u32, channel: u32) -> mat4x4f {
    let at = pixel + min(channel + CHANNELS, vec4u(OUT_CHANNELS - 1u)) * (LANES / 4u);
    return mat4x4f(g[at.x], g[at.y], g[at.z], g[at.w]);
}

// Adds the products of input and output channels, summed over images: a column is an input channel, a row an output one.
fn add_products(sum: mat4x4f, x: mat4x4f, gradient: mat4x4f) -> mat4x4f {
    return mat4x4f(
        sum[0] + x[0] * gradient,
        sum[1] + x[1] * gradient,
        sum[2] + x[2] * gradient,
        sum[3] + x[3] * gradient,
    );
}

// Adds up all invocations' sums and stores them if they are wanted, for four output by four input channels.
fn store(lane: u32, group: vec3u, oc: u32, ic: u32, is_wanted: bool, sum: mat4x4f) {
    let taps = KERNEL_HEIGHT * KERNEL_WIDTH;
    let weight_len = OUT_CHANNELS * IN_CHANNELS * taps;
    let in_tiles = (IN_CHANNELS + 4u * IN_VECTORS - 1u) / (4u * IN_VECTORS);
    let is_bias = group.y == in_tiles * taps;
    lane_sums[lane] = sum;
    workgroupBarrier();
    for (var i = lane; i < 16u; i += LANES) {
        let c = oc + i % 4u;
        let source = ic + i / 4u;
        if (is_wanted && c < OUT_CHANNELS && select(source < IN_CHANNELS, i < 4u, is_bias)) {
            var total = 0.0;
            for (var other = 0u; other < LANES; other++) {
                total += lane_sums[other][i / 4u][i % 4u];
            }
            let at = select((c * IN_CHANNELS + source) * taps + group.y % taps, weight_len + c, is_bias);
            partials[(params.first_chunk + group.z) * N_PARAMETERS + WEIGHT_OFFSET + at] = total;
        }
    }
    workgroupBarrier();
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group_here: vec3u) {
    let group = group_here + FIRST_GROUP;
    let fours = LANES / 4u;
    let four = lane % fours;
    let taps = KERNEL_HEIGHT * KERNEL_WIDTH;
    let in_tiles = (IN_CHANNELS + 4u * IN_VECTORS - 1u) / (4u * IN_VECTORS);
    let is_bias = group.y == in_tiles * taps;
    let oc = group.x * 4u * OUT_VECTORS;
    let ic = group.y / taps * 4u * IN_VECTORS;
    let ky = group.y % taps / KERNEL_WIDTH;
    let kx = group.y % KERNEL_WIDTH;

    var sum00 = mat4x4f();
    var sum01 = mat4x4f();
    var sum10 = mat4x4f();
    var sum11 = mat4x4f();
    let begin = FIRST_BLOCK + group.z * CHUNK_BLOCKS;
    for (var block = begin; block < min(begin + CHUNK_BLOCKS, END_BLOCK); block++) {
        let no_bias = params.jet_components == 0u || block % max(params.jet_components, 1u) != 0u;
        for (var pixel = lane / fours; pixel < OUT_HEIGHT * OUT_WIDTH; pixel += 4u) {
            let iy = i32(pixel / OUT_WIDTH * STRIDE_Y + ky) - i32(PAD_TOP);
            let ix = i32(pixel % OUT_WIDTH * STRIDE_X + kx) - i32(PAD_LEFT);
            let inside = iy >= 0 && iy < i32(IN_HEIGHT) && ix >= 0 && ix < i32(IN_WIDTH);
            if (select(!inside, no_bias, is_bias)) {
                continue;
            }
            let at = (block * (OUT_HEIGHT * OUT_WIDTH) + pixel) * (OUT_CHANNELS * fours) + four;
            let place = ((block * IN_HEIGHT + u32(iy)) * IN_WIDTH + u32(ix)) * (IN_CHANNELS * fours) + four;
            let g0 = gradients(at, oc);
            var x0 = mat4x4f(vec4f(1.0), vec4f(0.0), vec4f(0.0), vec4f(0.0));
            if (!is_bias) {
                x0 = inputs(place, ic);
            }
            sum00 = add_products(sum00, x0, g0);
            if (OUT_VECTORS > 1u) {
                let g1 = gradients(at, oc + 4u);
                sum01 = add_products(sum01, x0, g1);
                if (IN_VECTORS > 1u && !is_bias) {
                    let x1 = inputs(place, ic + 4u);
                    sum10 = add_products(sum10, x1, g0);
                    sum11 = add_products(sum11, x1, g1);
                }
            } else if (IN_VECTORS > 1u && !is_bias) {
                sum10 = add_products(sum10, inputs(place, ic + 4u), g0);
            }
        }
    }
    // Every invocation of every workgroup comes to the barriers within. One store's text, not four: see lib/tile.wgsl.
    var sum = sum00;
    var second = sum10;
    if (OUT_VECTORS > 1u) {
        second = sum01;
    }
    var third = sum10;
    for (var part = 0u; part < OUT_VECTORS * IN_VECTORS; part++) {
        let more = part / OUT_VECTORS;
        store(lane, group, oc + part % OUT_VECTORS * 4u, ic + more * 4u, more == 0u || !is_bias, sum);
        sum = second;
        second = third;
        third = sum11;
    }
}
