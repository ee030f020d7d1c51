// Gradient with respect to a convolution's input: for the gradient g of the layer's pre-activation,
//   grad[iy, ix, ic] = slope[iy, ix, ic] * sum over oc and the taps (ky, kx) that reach (iy, ix) of
//     weight[oc][ic][ky][kx] * g[(iy + PAD_TOP - ky) / STRIDE_Y, (ix + PAD_LEFT - kx) / STRIDE_X, oc],
// where slope is the derivative of the activation before this layer (1 if HAS_SLOPE is 0: the network's input).
// One invocation owns TILE_PIXELS pixels of a row that are STRIDE_X apart, so that the same taps reach them, by
// 4 TILE_VECTORS input channels, of one image: x = (row, phase, tile) by lane, y = channel tile, z = block.
// 1 g, 2 weights packed [channel tile][ky][column][oc][TILE_CHANNELS], 3 slope, 4 grad;
// g, slope and grad [block][y][x][channel][lane].
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
override HAS_SLOPE: u32 = 1;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> slope: array<f32>;
@group(0) @binding(4) var<storage, read_write> grad: array<f32>;

// Columns kx with kx mod STRIDE_X == phase.
fn taps_of_phase(phase: u32) -> u32 {
    return (KERNEL_WIDTH + STRIDE_X - 1u - phase) / STRIDE_X;
}

fn store(base: u32, channel: u32, value: f32) {
    if (channel < IN_CHANNELS) {
        let at = base + channel * LANES;
        if (HAS_SLOPE == 1u) {
            grad[at] = value * slope[at];
        } else {
            grad[at] = value;
        }
    }
}

fn store_four(at: u32, channel: u32, sum: vec4f) {
    store(at, channel, sum.x);
    store(at, channel + 1u, sum.y);
    store(at, channel + 2u, sum.z);
    store(at, channel + 3u, sum.w);
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
    var v = vec4f(g[at.x], 0.0, 0.0, 0.0);
    if (TILE_PIXELS > 1u) {
        v.y = g[at.y];
    }
    if (TILE_PIXELS > 2u) {
        v.z = g[at.z];
    }
    if (TILE_PIXELS > 3u) {
        v.w = g[at.w];
    }
    return v;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) group: vec3u) {
    let tiles = (IN_WIDTH + STRIDE_X * TILE_PIXELS - 1u) / (STRIDE_X * TILE_PIXELS);
    let lane = id.x % LANES;
    let item = id.x / LANES;
    if (item >= IN_HEIGHT * STRIDE_X * tiles) {
        return;
    }
    let block = params.first_block + group.z;
    let iy = item / (STRIDE_X * tiles);
    let offset = (item / tiles) % STRIDE_X;
    let ix = offset + (item % tiles) * TILE_PIXELS * STRIDE_X;
    let phase = (offset + PAD_LEFT) % STRIDE_X;
    let n_taps = taps_of_phase(phase);
    var first_column = 0u;
    for (var p = 0u; p < phase; p++) {
        first_column += taps_of_phase(p);
    }

    var tile = Tile();
    let image = block * (OUT_HEIGHT * OUT_WIDTH * OUT_CHANNELS * LANES) + lane;
    for (var ky = (iy + PAD_TOP) % STRIDE_Y; ky < KERNEL_HEIGHT; ky += STRIDE_Y) {
        let oy = (i32(iy + PAD_TOP) - i32(ky)) / i32(STRIDE_Y);
        if (iy + PAD_TOP < ky || oy >= i32(OUT_HEIGHT)) {
            continue;
        }
        // Tap t is kx = phase + (n_taps - 1 - t) STRIDE_X: ox grows with t.
        for (var t = 0u; t < n_taps; t++) {
            let kx = phase + (n_taps - 1u - t) * STRIDE_X;
            let reach = vec4i(ix + PIXELS * STRIDE_X + PAD_LEFT) - i32(kx);
            let ox = reach / i32(STRIDE_X);
            let inside = select(vec4f(0.0), vec4f(1.0), (reach >= vec4i(0)) & (ox < vec4i(i32(OUT_WIDTH))));
            let column = vec4u(clamp(ox, vec4i(0), vec4i(i32(OUT_WIDTH) - 1)));
            let place = image + (u32(oy) * OUT_WIDTH + column) * (OUT_CHANNELS * LANES);
            let tap = ((group.y * KERNEL_HEIGHT + ky) * KERNEL_WIDTH + first_column + t) * OUT_CHANNELS * TILE_VECTORS;
            for (var oc = 0u; oc < OUT_CHANNELS; oc++) {
                tile = add_products(tile, tap + oc * TILE_VECTORS, values(place + oc * LANES) * inside);
            }
        }
    }
    let channel = group.y * TILE_VECTORS * 4u;
    let step = STRIDE_X * IN_CHANNELS * LANES;
    let at = ((block * IN_HEIGHT + iy) * IN_WIDTH + ix) * (IN_CHANNELS * LANES) + lane;
    if (ix < IN_WIDTH) {
        store_pixel(at, channel, Pixel(tile.v0[0], tile.v1[0], tile.v2[0], tile.v3[0]));
    }
    if (TILE_PIXELS > 1u && ix + STRIDE_X < IN_WIDTH) {
        store_pixel(at + step, channel, Pixel(tile.v0[1], tile.v1[1], tile.v2[1], tile.v3[1]));
    }
    if (TILE_PIXELS > 2u && ix + 2u * STRIDE_X < IN_WIDTH) {
        store_pixel(at + 2u * step, channel, Pixel(tile.v0[2], tile.v1[2], tile.v2[2], tile.v3[2]));
    }
    if (TILE_PIXELS > 3u && ix + 3u * STRIDE_X < IN_WIDTH) {
        store_pixel(at + 3u * step, channel, Pixel(tile.v0[3], tile.v1[3], tile.v2[3], tile.v3[3]));
    }
}
