// Convolution and activation: z[oy, ox, oc] = bias[oc] + sum over ky, kx, ic of
//   weight[oc][ic][ky][kx] * input[oy * STRIDE_Y + ky - PAD_TOP, ox * STRIDE_X + kx - PAD_LEFT, ic],
// zero outside the input; output = activation(z), slope = activation'(z).
// One invocation owns TILE_PIXELS neighbouring pixels of a row, by TILE_CHANNELS = 4 TILE_VECTORS output channels, of
// one image: x = tile by lane, y = channel tile, z = block.
// 1 input, 2 weights packed [channel tile][ky][kx][ic][TILE_CHANNELS], 3 parameters (for the bias), 4 output, 5 slope;
// input, output and slope [block][y][x][channel][lane].
// The prelude declares TILE_PIXELS and TILE_VECTORS.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
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
override BIAS_OFFSET: u32 = 0;
override ACTIVATION: u32 = 0;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> parameters: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<storage, read_write> slope: array<f32>;

fn bias(channel: u32) -> f32 {
    return select(0.0, parameters[BIAS_OFFSET + min(channel, OUT_CHANNELS - 1u)], channel < OUT_CHANNELS);
}

fn store(base: u32, channel: u32, value: f32, derivative: f32) {
    if (channel < OUT_CHANNELS) {
        output[base + channel * LANES] = value;
        slope[base + channel * LANES] = derivative;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) group: vec3u) {
    let tiles_x = (OUT_WIDTH + TILE_PIXELS - 1u) / TILE_PIXELS;
    let lane = id.x % LANES;
    let tile = id.x / LANES;
    if (tile >= OUT_HEIGHT * tiles_x) {
        return;
    }
    let block = params.first_block + group.z;
    let oy = tile / tiles_x;
    let ox = (tile % tiles_x) * TILE_PIXELS;
    let channel = group.y * TILE_VECTORS * 4u;

    var z: array<array<vec4f, TILE_VECTORS>, TILE_PIXELS>;
    for (var v = 0u; v < TILE_VECTORS; v++) {
        let c = channel + v * 4u;
        let b = vec4f(bias(c), bias(c + 1u), bias(c + 2u), bias(c + 3u));
        for (var p = 0u; p < TILE_PIXELS; p++) {
            z[p][v] = b;
        }
    }
    let image = block * (IN_HEIGHT * IN_WIDTH * IN_CHANNELS * LANES) + lane;
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        let iy = i32(oy * STRIDE_Y + ky) - i32(PAD_TOP);
        if (iy < 0 || iy >= i32(IN_HEIGHT)) {
            continue;
        }
        for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
            var place: array<u32, TILE_PIXELS>;
            var inside: array<f32, TILE_PIXELS>;
            for (var p = 0u; p < TILE_PIXELS; p++) {
                let ix = i32((ox + p) * STRIDE_X + kx) - i32(PAD_LEFT);
                inside[p] = select(0.0, 1.0, ix >= 0 && ix < i32(IN_WIDTH));
                let column = u32(clamp(ix, 0, i32(IN_WIDTH) - 1));
                place[p] = image + (u32(iy) * IN_WIDTH + column) * (IN_CHANNELS * LANES);
            }
            let tap = ((group.y * KERNEL_HEIGHT + ky) * KERNEL_WIDTH + kx) * IN_CHANNELS * TILE_VECTORS;
            for (var ic = 0u; ic < IN_CHANNELS; ic++) {
                var value: array<f32, TILE_PIXELS>;
                for (var p = 0u; p < TILE_PIXELS; p++) {
                    value[p] = input[place[p] + ic * LANES] * inside[p];
                }
                for (var v = 0u; v < TILE_VECTORS; v++) {
                    let weight = weights[tap + ic * TILE_VECTORS + v];
                    for (var p = 0u; p < TILE_PIXELS; p++) {
                        z[p][v] += value[p] * weight;
                    }
                }
            }
        }
    }
    for (var p = 0u; p < TILE_PIXELS; p++) {
        if (ox + p < OUT_WIDTH) {
            let base = ((block * OUT_HEIGHT + oy) * OUT_WIDTH + ox + p) * (OUT_CHANNELS * LANES) + lane;
            for (var v = 0u; v < TILE_VECTORS; v++) {
                let c = channel + v * 4u;
                let a = activate(ACTIVATION, z[p][v]);
                store(base, c, a.value.x, a.slope.x);
                store(base, c + 1u, a.value.y, a.slope.y);
                store(base, c + 2u, a.value.z, a.slope.z);
                store(base, c + 3u, a.value.w, a.slope.w);
            }
        }
    }
}
