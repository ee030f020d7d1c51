// Gradient with respect to a dense layer's input: for the gradient g of the layer's pre-activation,
//   grad[f] = slope[f] * sum over o of weight[o][f] * g[o],
// where slope is the derivative of the activation before this layer: with IN_PLACE it is in grad, else in a buffer of its own, and
// 1 if params.has_slope is 0.
// One invocation owns 4 TILE_VECTORS channels of one pixel of one image: x = (channel tile, pixel) by lane, z = block.
// 1 g [block][unit][lane], 2 weights packed [channel tile][pixel][unit][TILE_CHANNELS], 3 slope, 4 grad:
// [block][pixel][channel][lane].
// The prelude declares TILE_VECTORS.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override CHANNELS: u32 = 1;
override FEATURES: u32 = 1;
override UNITS: u32 = 1;
override IN_PLACE: u32 = 0;

struct Params {
    first_block: u32,
    has_slope: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> slope: array<f32>;
@group(0) @binding(4) var<storage, read_write> grad: array<f32>;

fn store(base: u32, channel: u32, value: f32) {
    if (channel < CHANNELS) {
        let at = base + channel * LANES;
        if (IN_PLACE == 1u) {
            grad[at] *= value;
        } else {
            grad[at] = value * select(1.0, slope[at], params.has_slope == 1u);
        }
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let pixels = FEATURES / CHANNELS;
    let tiles = (CHANNELS + TILE_VECTORS * 4u - 1u) / (TILE_VECTORS * 4u);
    let lane = id.x % LANES;
    let item = id.x / LANES; // (channel tile, pixel)
    if (item >= tiles * pixels) {
        return;
    }
    let block = params.first_block + id.z;
    var sum: array<vec4f, TILE_VECTORS>;
    for (var o = 0u; o < UNITS; o++) {
        let value = g[(block * UNITS + o) * LANES + lane];
        for (var v = 0u; v < TILE_VECTORS; v++) {
            sum[v] += value * weights[(item * UNITS + o) * TILE_VECTORS + v];
        }
    }
    let base = (block * FEATURES + (item % pixels) * CHANNELS) * LANES + lane;
    for (var v = 0u; v < TILE_VECTORS; v++) {
        let c = (item / pixels * TILE_VECTORS + v) * 4u;
        store(base, c, sum[v].x);
        store(base, c + 1u, sum[v].y);
        store(base, c + 2u, sum[v].z);
        store(base, c + 3u, sum[v].w);
    }
}
