// Convolution and activation: z[oy, ox, oc] = bias[oc] + sum over ky, kx, ic of
//   weight[oc][ic][ky][kx] * input[oy * STRIDE_Y + ky - PAD_TOP, ox * STRIDE_X + kx - PAD_LEFT, ic],
// zero outside the input; output = activation(z), slope = activation'(z).
// One invocation owns TILE_PIXELS neighbouring pixels of a row, by TILE_CHANNELS = 4 TILE_VECTORS output channels, of
// one image: x = tile by lane, y = channel tile, z = block.
// 1 input, 2 weights packed [channel tile][ky][kx][ic][TILE_CHANNELS], 3 parameters (for the bias), 4 output, 5 slope;
// input, output and slope [block][y][x][channel][lane].
// The tile is that of lib/tile.wgsl.

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
override LEAK: f32 = 0;

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

fn bias4(channel: u32) -> vec4f {
    return vec4f(bias(channel), bias(channel + 1u), bias(channel + 2u), bias(channel + 3u));
}

fn store(at: u32, channel: u32, value: f32, derivative: f32) {
    if (channel < OUT_CHANNELS) {
        output[at + channel * LANES] = value;
        slope[at + channel * LANES] = derivative;
    }
}

fn store_four(at: u32, channel: u32, sum: vec4f) {
    let a = activate(ACTIVATION, LEAK, sum + bias4(channel));
    store(at, channel, a.value.x, a.slope.x);
    store(at, channel + 1u, a.value.y, a.slope.y);
    store(at, channel + 2u, a.value.z, a.slope.z);
    store(at, channel + 3u, a.value.w, a.slope.w);
}

fn store_pixel(at: u32, channel: u32, sum: Pixel) {
    store_four(at, channel, sum.v0);
    if (TILE_VECTORS > 1u) {
        store_four(at, channel + 4u, sum.v1);
    }
    if (TILE_VECTORS > 2u) {
        store_four(at, channel + 8u, sum.v2);
    }
    if (TILE_VECTORS > 3u) {
        store_four(at, channel + 12u, sum.v3);
    }
}

// The tile's pixels, of one channel.
fn values(at: vec4u) -> vec4f {
    var v = vec4f(input[at.x], 0.0, 0.0, 0.0);
    if (TILE_PIXELS > 1u) {
        v.y = input[at.y];
    }
    if (TILE_PIXELS > 2u) {
        v.z = input[at.z];
    }
    if (TILE_PIXELS > 3u) {
        v.w = input[at.w];
    }
    return v;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) group: vec3u) {
    let tiles_x = (OUT_WIDTH + TILE_PIXELS - 1u) / TILE_PIXELS;
    let lane = id.x % LANES;
    let item = id.x / LANES;
    if (item >= OUT_HEIGHT * tiles_x) {
        return;
    }
    let block = params.first_block + group.z;
    let oy = item / tiles_x;
    let ox = (item % tiles_x) * TILE_PIXELS;
    let channel = group.y * TILE_VECTORS * 4u;

    var tile = Tile();
    let image = block * (IN_HEIGHT * IN_WIDTH * IN_CHANNELS * LANES) + lane;
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        let iy = i32(oy * STRIDE_Y + ky) - i32(PAD_TOP);
        if (iy < 0 || iy >= i32(IN_HEIGHT)) {
            continue;
        }
        for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
            let ix = vec4i((ox + PIXELS) * STRIDE_X + kx) - i32(PAD_LEFT);
            let inside = select(vec4f(0.0), vec4f(1.0), (ix >= vec4i(0)) & (ix < vec4i(i32(IN_WIDTH))));
            let column = vec4u(clamp(ix, vec4i(0), vec4i(i32(IN_WIDTH) - 1)));
            let place = image + (u32(iy) * IN_WIDTH + column) * (IN_CHANNELS * LANES);
            let tap = ((group.y * KERNEL_HEIGHT + ky) * KERNEL_WIDTH + kx) * IN_CHANNELS * TILE_VECTORS;
            for (var ic = 0u; ic < IN_CHANNELS; ic++) {
                tile = add_products(tile, tap + ic * TILE_VECTORS, values(place + ic * LANES) * inside);
            }
        }
    }
    let step = OUT_CHANNELS * LANES;
    let at = ((block * OUT_HEIGHT + oy) * OUT_WIDTH + ox) * step + lane;
    let n_pixels = min(OUT_WIDTH - ox, TILE_PIXELS);
    store_pixel(at, channel, Pixel(tile.v0[0], tile.v1[0], tile.v2[0], tile.v3[0]));
    if (TILE_PIXELS > 1u && n_pixels > 1u) {
        store_pixel(at + step, channel, Pixel(tile.v0[1], tile.v1[1], tile.v2[1], tile.v3[1]));
    }
    if (TILE_PIXELS > 2u && n_pixels > 2u) {
        store_pixel(at + 2u * step, channel, Pixel(tile.v0[2], tile.v1[2], tile.v2[2], tile.v3[2]));
    }
    if (TILE_PIXELS > 3u && n_pixels > 3u) {
        store_pixel(at + 3u * step, channel, Pixel(tile.v0[3], tile.v1[3], tile.v2[3], tile.v3[3]));
    }
}
