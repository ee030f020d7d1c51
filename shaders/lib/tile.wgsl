// A convolution's register tile: up to four pixels (columns), by up to eight fours of channels, by the four images of a
// vec4f. Every index into it is a constant: drivers don't unroll the loops that wgpu bounds, and a tile that is indexed
// by a loop leaves the registers. The prelude declares TILE_PIXELS and TILE_VECTORS; what lies beyond them is never
// stored, and so not computed.
struct Tile {
    p0: Pixel,
    p1: Pixel,
    p2: Pixel,
    p3: Pixel,
}

// One pixel's channels, four by four: a column is a channel, a row an image.
struct Pixel {
    v0: mat4x4f,
    v1: mat4x4f,
    v2: mat4x4f,
    v3: mat4x4f,
    v4: mat4x4f,
    v5: mat4x4f,
    v6: mat4x4f,
    v7: mat4x4f,
}

// One tap's weights, four channels each.
struct Weights {
    w0: vec4f,
    w1: vec4f,
    w2: vec4f,
    w3: vec4f,
    w4: vec4f,
    w5: vec4f,
    w6: vec4f,
    w7: vec4f,
}

const PIXELS = vec4u(0u, 1u, 2u, 3u);

fn weights_at(at: u32) -> Weights {
    var w = Weights();
    w.w0 = weights[at];
    if (TILE_VECTORS > 1u) {
        w.w1 = weights[at + 1u];
    }
    if (TILE_VECTORS > 2u) {
        w.w2 = weights[at + 2u];
    }
    if (TILE_VECTORS > 3u) {
        w.w3 = weights[at + 3u];
    }
    if (TILE_VECTORS > 4u) {
        w.w4 = weights[at + 4u];
    }
    if (TILE_VECTORS > 5u) {
        w.w5 = weights[at + 5u];
    }
    if (TILE_VECTORS > 6u) {
        w.w6 = weights[at + 6u];
    }
    if (TILE_VECTORS > 7u) {
        w.w7 = weights[at + 7u];
    }
    return w;
}

fn add_product(sum: mat4x4f, w: vec4f, x: vec4f) -> mat4x4f {
    return mat4x4f(sum[0] + w.x * x, sum[1] + w.y * x, sum[2] + w.z * x, sum[3] + w.w * x);
}

// Adds one pixel's values of a channel, times the weights.
fn add_products(pixel: Pixel, w: Weights, x: vec4f) -> Pixel {
    var p = pixel;
    p.v0 = add_product(p.v0, w.w0, x);
    if (TILE_VECTORS > 1u) {
        p.v1 = add_product(p.v1, w.w1, x);
    }
    if (TILE_VECTORS > 2u) {
        p.v2 = add_product(p.v2, w.w2, x);
    }
    if (TILE_VECTORS > 3u) {
        p.v3 = add_product(p.v3, w.w3, x);
    }
    if (TILE_VECTORS > 4u) {
        p.v4 = add_product(p.v4, w.w4, x);
    }
    if (TILE_VECTORS > 5u) {
        p.v5 = add_product(p.v5, w.w5, x);
    }
    if (TILE_VECTORS > 6u) {
        p.v6 = add_product(p.v6, w.w6, x);
    }
    if (TILE_VECTORS > 7u) {
        p.v7 = add_product(p.v7, w.w7, x);
    }
    return p;
}

// Stores a tile's first n_pixels pixels, `step` apart: a loop that moves them up one by one, as the text of a store is long, and
// llvmpipe's compiler took longer for four of them than for all else.
fn store_tile(at: u32, step: u32, n_pixels: u32, channel: u32, tile: Tile) {
    if (TILE_PIXELS == 1u) {
        if (n_pixels > 0u) {
            store_pixel(at, channel, tile.p0);
        }
        return;
    }
    var rest = tile;
    for (var p = 0u; p < n_pixels; p++) {
        store_pixel(at + p * step, channel, rest.p0);
        rest = Tile(rest.p1, rest.p2, rest.p3, rest.p3);
    }
}

// Stores one pixel's channels, from `channel` on.
fn store_pixel(at: u32, channel: u32, pixel: Pixel) {
    store_four(at, channel, pixel.v0);
    if (TILE_VECTORS > 1u) {
        store_four(at, channel + 4u, pixel.v1);
    }
    if (TILE_VECTORS > 2u) {
        store_four(at, channel + 8u, pixel.v2);
    }
    if (TILE_VECTORS > 3u) {
        store_four(at, channel + 12u, pixel.v3);
    }
    if (TILE_VECTORS > 4u) {
        store_four(at, channel + 16u, pixel.v4);
    }
    if (TILE_VECTORS > 5u) {
        store_four(at, channel + 20u, pixel.v5);
    }
    if (TILE_VECTORS > 6u) {
        store_four(at, channel + 24u, pixel.v6);
    }
    if (TILE_VECTORS > 7u) {
        store_four(at, channel + 28u, pixel.v7);
    }
}

fn store_four(at: u32, channel: u32, four: mat4x4f) {
    store(at, channel, four[0]);
    store(at, channel + 1u, four[1]);
    store(at, channel + 2u, four[2]);
    store(at, channel + 3u, four[3]);
}
