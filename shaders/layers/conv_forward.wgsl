// Convolution and activation: z[oy, ox, oc] = bias[oc] + sum over ky, kx, ic of
//   weight[oc][ic][ky][kx] * input[oy * STRIDE_Y + ky - PAD_TOP, ox * STRIDE_X + kx - PAD_LEFT, ic],
// zero outside the input; output = activation(z), slope = activation'(z).
// One invocation owns TILE_PIXELS neighbouring pixels of a row, by TILE_CHANNELS = 4 TILE_VECTORS output channels, of
// four images: x = tile by four lanes, y = channel tile, z = block.
// 1 input, 2 weights packed [channel tile][ky][kx][ic][TILE_CHANNELS], 3 parameters (for the bias), 4 output, 5 slope;
// input, output and slope [block][y][x][channel][lane], four lanes in a vec4f.
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
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> parameters: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> slope: array<vec4f>;

fn store(at: u32, channel: u32, sum: vec4f) {
    if (channel < OUT_CHANNELS) {
        let a = activate(ACTIVATION, LEAK, sum + parameters[BIAS_OFFSET + channel]);
        output[at + channel * (LANES / 4u)] = a.value;
        slope[at + channel * (LANES / 4u)] = a.slope;
    }
}

// A pixel's values of one channel. `inside` is 0 in the padding; a tile of one pixel skips that.
fn value(at: u32, inside: f32) -> vec4f {
    if (TILE_PIXELS == 1u) {
        return input[at];
    }
    return input[at] * inside;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u, @builtin(workgroup_id) group_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let group = group_here + FIRST_GROUP;
    let tiles_x = (OUT_WIDTH + TILE_PIXELS - 1u) / TILE_PIXELS;
    let fours = LANES / 4u;
    let four = id.x % fours;
    let item = id.x / fours;
    if (item >= OUT_HEIGHT * tiles_x) {
        return;
    }
    let block = params.first_block + group.z;
    let oy = item / tiles_x;
    let ox = (item % tiles_x) * TILE_PIXELS;
    let channel = group.y * TILE_VECTORS * 4u;

    var tile = Tile();
    let image = block * (IN_HEIGHT * IN_WIDTH * IN_CHANNELS * fours) + four;
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        let iy = i32(oy * STRIDE_Y + ky) - i32(PAD_TOP);
        if (iy < 0 || iy >= i32(IN_HEIGHT)) {
            continue;
        }
        for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
            let ix = vec4i((ox + PIXELS) * STRIDE_X + kx) - i32(PAD_LEFT);
            if (TILE_PIXELS == 1u && (ix.x < 0 || ix.x >= i32(IN_WIDTH))) {
                continue;
            }
            let inside = select(vec4f(0.0), vec4f(1.0), (ix >= vec4i(0)) & (ix < vec4i(i32(IN_WIDTH))));
            let column = vec4u(clamp(ix, vec4i(0), vec4i(i32(IN_WIDTH) - 1)));
            let place = image + (u32(iy) * IN_WIDTH + column) * (IN_CHANNELS * fours);
            let tap = ((group.y * KERNEL_HEIGHT + ky) * KERNEL_WIDTH + kx) * IN_CHANNELS * TILE_VECTORS;
            for (var ic = 0u; ic < IN_CHANNELS; ic++) {
                let w = weights_at(tap + ic * TILE_VECTORS);
                let at = place + ic * fours;
                tile.p0 = add_products(tile.p0, w, value(at.x, inside.x));
                if (TILE_PIXELS > 1u) {
                    tile.p1 = add_products(tile.p1, w, value(at.y, inside.y));
                }
                if (TILE_PIXELS > 2u) {
                    tile.p2 = add_products(tile.p2, w, value(at.z, inside.z));
                }
                if (TILE_PIXELS > 3u) {
                    tile.p3 = add_products(tile.p3, w, value(at.w, inside.w));
                }
            }
        }
    }
    let step = OUT_CHANNELS * fours;
    let at = ((block * OUT_HEIGHT + oy) * OUT_WIDTH + ox) * step + four;
    store_tile(at, step, min(OUT_WIDTH - ox, TILE_PIXELS), channel, tile);
}
