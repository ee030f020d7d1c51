// Gradient with respect to a convolution's input: for the gradient g of the layer's pre-activation,
//   grad[iy, ix, ic] = slope[iy, ix, ic] * sum over oc and the taps (ky, kx) that reach (iy, ix) of
//     weight[oc][ic][ky][kx] * g[(iy + PAD_TOP - ky) / STRIDE_Y, (ix + PAD_LEFT - kx) / STRIDE_X, oc],
// where slope is the derivative of the activation before this layer (1 if HAS_SLOPE is 0: the network's input).
// One invocation owns TILE_PIXELS pixels of a row that are STRIDE_X apart, so that the same taps reach them, by
// 4 TILE_VECTORS input channels, of four images: x = (row, tile) by four lanes, y = (channel tile, phase of rows, of columns), z = block.
// 1 g, 2 weights packed [channel tile][ky][column][oc][TILE_CHANNELS], 3 slope, 4 grad;
// g, slope and grad [block][y][x][channel][lane], four lanes in a vec4f.
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
@group(0) @binding(1) var<storage, read> g: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> slope: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> grad: array<vec4f>;

// Columns kx with kx mod STRIDE_X == phase.
fn taps_of_phase(phase: u32) -> u32 {
    return (KERNEL_WIDTH + STRIDE_X - 1u - phase) / STRIDE_X;
}

fn store(at: u32, channel: u32, sum: vec4f) {
    if (channel < IN_CHANNELS) {
        let place = at + channel * (LANES / 4u);
        if (HAS_SLOPE == 1u) {
            grad[place] = sum * slope[place];
        } else {
            grad[place] = sum;
        }
    }
}

// A pixel's values of one channel. `inside` is 0 where there is none; a tile of one pixel skips that.
fn value(at: u32, inside: f32) -> vec4f {
    if (TILE_PIXELS == 1u) {
        return g[at];
    }
    return g[at] * inside;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) group: vec3u) {
    // Pixels whose row and column leave the same remainders are reached by the same taps: one workgroup has one such set.
    let rows = (IN_HEIGHT + STRIDE_Y - 1u) / STRIDE_Y;
    let tiles = (IN_WIDTH + STRIDE_X * TILE_PIXELS - 1u) / (STRIDE_X * TILE_PIXELS);
    let fours = LANES / 4u;
    let four = id.x % fours;
    let item = id.x / fours;
    let first_row = group.y / STRIDE_X % STRIDE_Y;
    let first_column = group.y % STRIDE_X;
    let channels = group.y / (STRIDE_X * STRIDE_Y);
    let iy = first_row + item / tiles * STRIDE_Y;
    let ix = first_column + (item % tiles) * TILE_PIXELS * STRIDE_X;
    if (item >= rows * tiles || iy >= IN_HEIGHT) {
        return;
    }
    let block = params.first_block + group.z;
    let phase = (first_column + PAD_LEFT) % STRIDE_X;
    let n_taps = taps_of_phase(phase);
    var columns = 0u;
    for (var p = 0u; p < phase; p++) {
        columns += taps_of_phase(p);
    }

    var tile = Tile();
    let image = block * (OUT_HEIGHT * OUT_WIDTH * OUT_CHANNELS * fours) + four;
    for (var ky = (first_row + PAD_TOP) % STRIDE_Y; ky < KERNEL_HEIGHT; ky += STRIDE_Y) {
        let oy = (i32(iy + PAD_TOP) - i32(ky)) / i32(STRIDE_Y);
        if (iy + PAD_TOP < ky || oy >= i32(OUT_HEIGHT)) {
            continue;
        }
        // Tap t is kx = phase + (n_taps - 1 - t) STRIDE_X: ox grows with t.
        for (var t = 0u; t < n_taps; t++) {
            let kx = phase + (n_taps - 1u - t) * STRIDE_X;
            let reach = vec4i(ix + PIXELS * STRIDE_X + PAD_LEFT) - i32(kx);
            let ox = reach / i32(STRIDE_X);
            if (TILE_PIXELS == 1u && (reach.x < 0 || ox.x >= i32(OUT_WIDTH))) {
                continue;
            }
            let inside = select(vec4f(0.0), vec4f(1.0), (reach >= vec4i(0)) & (ox < vec4i(i32(OUT_WIDTH))));
            let column = vec4u(clamp(ox, vec4i(0), vec4i(i32(OUT_WIDTH) - 1)));
            let place = image + (u32(oy) * OUT_WIDTH + column) * (OUT_CHANNELS * fours);
            let tap = ((channels * KERNEL_HEIGHT + ky) * KERNEL_WIDTH + columns + t) * OUT_CHANNELS * TILE_VECTORS;
            for (var oc = 0u; oc < OUT_CHANNELS; oc++) {
                let w = weights_at(tap + oc * TILE_VECTORS);
                let at = place + oc * fours;
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
    let channel = channels * TILE_VECTORS * 4u;
    let step = STRIDE_X * IN_CHANNELS * fours;
    let at = ((block * IN_HEIGHT + iy) * IN_WIDTH + ix) * (IN_CHANNELS * fours) + four;
    if (ix < IN_WIDTH) {
        store_pixel(at, channel, tile.p0);
    }
    if (TILE_PIXELS > 1u && ix + STRIDE_X < IN_WIDTH) {
        store_pixel(at + step, channel, tile.p1);
    }
    if (TILE_PIXELS > 2u && ix + 2u * STRIDE_X < IN_WIDTH) {
        store_pixel(at + 2u * step, channel, tile.p2);
    }
    if (TILE_PIXELS > 3u && ix + 3u * STRIDE_X < IN_WIDTH) {
        store_pixel(at + 3u * step, channel, tile.p3);
    }
}
