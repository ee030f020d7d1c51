// Gradient with respect to a convolution's input: for the gradient g of the layer's pre-activation,
//   grad[iy, ix, ic] = slope[iy, ix, ic] * sum over oc and the taps (ky, kx) that reach (iy, ix) of
//     weight[oc][ic][ky][kx] * g[(iy + PAD_TOP - ky) / STRIDE_Y, (ix + PAD_LEFT - kx) / STRIDE_X, oc],
// where slope is the derivative of the activation before this layer: with IN_PLACE it is in grad, else in a buffer of its own, and
// 1 if params.has_slope is 0, as it always is if HAS_SLOPE is.
// One invocation owns TILE_PIXELS pixels of a row that are STRIDE_X apart, so that the same taps reach them, by
// 4 TILE_VECTORS input channels, of four images: x = (row, tile) by four lanes, y = (channel tile, phase of rows, of columns), z = block.
// FOLDED, where there is one input channel and up to four phases: the phases take the place of a tile's channels, and y is
// 0. What reaches a pixel reaches its neighbours of other phases, so that g is loaded once for all of them.
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
override IN_PLACE: u32 = 0;
override HAS_SLOPE: u32 = 1;
override FOLDED: u32 = 0;

struct Params {
    first_block: u32,
    has_slope: u32,
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
        if (IN_PLACE == 1u) {
            grad[place] = sum * grad[place];
        } else if (HAS_SLOPE == 1u) {
            grad[place] = sum * select(vec4f(1.0), slope[place], params.has_slope == 1u);
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

// The place of column kx among a packed kernel's columns.
fn packed_column(kx: u32) -> u32 {
    var before = 0u;
    for (var p = 0u; p < kx % STRIDE_X; p++) {
        before += taps_of_phase(p);
    }
    return before + taps_of_phase(kx % STRIDE_X) - 1u - kx / STRIDE_X;
}

// How far before pixel 0's output the first output lies that reaches it or a pixel of another phase (as a negative number).
fn first_reach(pad: u32, kernel: u32, stride: u32) -> i32 {
    let n = i32(pad) - i32(kernel) + 1;
    return select(n, n + i32(stride) - 1, n > 0) / i32(stride);
}

fn first(at: u32) -> f32 {
    return weights[at].x;
}

// The weights of one output channel, a phase each.
fn phase_weights(at: vec4u, reached: vec4<bool>) -> vec4f {
    let w = vec4f(first(at.x), first(at.y), first(at.z), first(at.w));
    return select(vec4f(0.0), w, reached);
}

const PHASES = vec4u(0u, 1u, 2u, 3u);

// Stores the phases of the pixels that begin at row and column.
fn store_phases(image: u32, row: u32, column: u32, sums: mat4x4f) {
    store_phase(image, row, column, 0u, sums[0]);
    store_phase(image, row, column, 1u, sums[1]);
    store_phase(image, row, column, 2u, sums[2]);
    store_phase(image, row, column, 3u, sums[3]);
}

fn store_phase(image: u32, row: u32, column: u32, phase: u32, sum: vec4f) {
    let iy = row + phase / STRIDE_X;
    let ix = column + phase % STRIDE_X;
    if (phase < STRIDE_Y * STRIDE_X && iy < IN_HEIGHT && ix < IN_WIDTH) {
        store(image + (iy * IN_WIDTH + ix) * (LANES / 4u), 0u, sum);
    }
}

fn folded(four: u32, item: u32, block: u32) {
    let fours = LANES / 4u;
    let tiles = (IN_WIDTH + STRIDE_X * TILE_PIXELS - 1u) / (STRIDE_X * TILE_PIXELS);
    let row = item / tiles;
    let first = item % tiles * TILE_PIXELS;
    if (row >= (IN_HEIGHT + STRIDE_Y - 1u) / STRIDE_Y) {
        return;
    }
    var tile = Tile();
    let image = block * (OUT_HEIGHT * OUT_WIDTH * OUT_CHANNELS * fours) + four;
    let last_y = i32((STRIDE_Y - 1u + PAD_TOP) / STRIDE_Y);
    let last_x = i32((STRIDE_X - 1u + PAD_LEFT) / STRIDE_X);
    for (var dy = first_reach(PAD_TOP, KERNEL_HEIGHT, STRIDE_Y); dy <= last_y; dy++) {
        let oy = i32(row) + dy;
        if (oy < 0 || oy >= i32(OUT_HEIGHT)) {
            continue;
        }
        let ky = vec4i(PHASES / STRIDE_X + PAD_TOP) - dy * i32(STRIDE_Y);
        let in_rows = (ky >= vec4i(0)) & (ky < vec4i(i32(KERNEL_HEIGHT))) & (PHASES < vec4u(STRIDE_Y * STRIDE_X));
        for (var dx = first_reach(PAD_LEFT, KERNEL_WIDTH, STRIDE_X); dx <= last_x; dx++) {
            let ox = vec4i(first + PIXELS) + dx;
            if (TILE_PIXELS == 1u && (ox.x < 0 || ox.x >= i32(OUT_WIDTH))) {
                continue;
            }
            let inside = select(vec4f(0.0), vec4f(1.0), (ox >= vec4i(0)) & (ox < vec4i(i32(OUT_WIDTH))));
            let column = vec4u(clamp(ox, vec4i(0), vec4i(i32(OUT_WIDTH) - 1)));
            let place = image + (u32(oy) * OUT_WIDTH + column) * (OUT_CHANNELS * fours);
            // The taps that reach the phases, where there are such.
            let kx = vec4i(PHASES % STRIDE_X + PAD_LEFT) - dx * i32(STRIDE_X);
            let reached = in_rows & (kx >= vec4i(0)) & (kx < vec4i(i32(KERNEL_WIDTH)));
            let x = select(vec4u(0u), vec4u(kx), reached);
            let columns = vec4u(packed_column(x.x), packed_column(x.y), packed_column(x.z), packed_column(x.w));
            let tap = select(vec4u(0u), (vec4u(ky) * KERNEL_WIDTH + columns) * (OUT_CHANNELS * TILE_VECTORS), reached);
            for (var oc = 0u; oc < OUT_CHANNELS; oc++) {
                let w = phase_weights(tap + oc * TILE_VECTORS, reached);
                let at = place + oc * fours;
                tile.p0.v0 = add_product(tile.p0.v0, w, value(at.x, inside.x));
                if (TILE_PIXELS > 1u) {
                    tile.p1.v0 = add_product(tile.p1.v0, w, value(at.y, inside.y));
                }
                if (TILE_PIXELS > 2u) {
                    tile.p2.v0 = add_product(tile.p2.v0, w, value(at.z, inside.z));
                }
                if (TILE_PIXELS > 3u) {
                    tile.p3.v0 = add_product(tile.p3.v0, w, value(at.w, inside.w));
                }
            }
        }
    }
    let to = block * (IN_HEIGHT * IN_WIDTH * fours) + four;
    let y = row * STRIDE_Y;
    store_phases(to, y, first * STRIDE_X, tile.p0.v0);
    if (TILE_PIXELS > 1u) {
        store_phases(to, y, (first + 1u) * STRIDE_X, tile.p1.v0);
    }
    if (TILE_PIXELS > 2u) {
        store_phases(to, y, (first + 2u) * STRIDE_X, tile.p2.v0);
    }
    if (TILE_PIXELS > 3u) {
        store_phases(to, y, (first + 3u) * STRIDE_X, tile.p3.v0);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u, @builtin(workgroup_id) group_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let group = group_here + FIRST_GROUP;
    if (FOLDED == 1u) {
        let fours = LANES / 4u;
        folded(id.x % fours, id.x / fours, params.first_block + group.z);
        return;
    }
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
    let columns_left = (max(IN_WIDTH, ix) - ix + STRIDE_X - 1u) / STRIDE_X;
    store_tile(at, step, min(columns_left, TILE_PIXELS), channel, tile);
}
