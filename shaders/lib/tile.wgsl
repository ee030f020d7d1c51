// A convolution's register tile: up to four pixels (columns) by up to four fours of channels. Every index into it is a
// constant: drivers don't unroll the loops that wgpu bounds, and a tile that is indexed by a loop leaves the registers.
// The prelude declares TILE_PIXELS and TILE_VECTORS; what lies beyond them is never stored, and so not computed.
struct Tile {
    v0: mat4x4f,
    v1: mat4x4f,
    v2: mat4x4f,
    v3: mat4x4f,
}

const PIXELS = vec4u(0u, 1u, 2u, 3u);

// One pixel's channels.
struct Pixel {
    v0: vec4f,
    v1: vec4f,
    v2: vec4f,
    v3: vec4f,
}

fn add_product(sum: mat4x4f, w: vec4f, v: vec4f) -> mat4x4f {
    return mat4x4f(sum[0] + v.x * w, sum[1] + v.y * w, sum[2] + v.z * w, sum[3] + v.w * w);
}

// Adds four pixels' values times the weights from `at` on.
fn add_products(tile: Tile, at: u32, v: vec4f) -> Tile {
    var t = tile;
    t.v0 = add_product(t.v0, weights[at], v);
    if (TILE_VECTORS > 1u) {
        t.v1 = add_product(t.v1, weights[at + 1u], v);
    }
    if (TILE_VECTORS > 2u) {
        t.v2 = add_product(t.v2, weights[at + 2u], v);
    }
    if (TILE_VECTORS > 3u) {
        t.v3 = add_product(t.v3, weights[at + 3u], v);
    }
    return t;
}
