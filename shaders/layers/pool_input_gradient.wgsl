// Gradient with respect to a global average pool's input: for the gradient g of its output,
//   grad[p][c] = slope[p][c] * g[c] / PIXELS,
// where slope is the derivative of the activation before this layer: with IN_PLACE it is in grad, else in a buffer of its own, and
// 1 if params.has_slope is 0.
// One invocation owns one channel of one pixel of one image: x = channel by lane, y = pixel, z = block.
// 1 g [block][channel][lane], 2 slope, 3 grad: [block][pixel][channel][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override CHANNELS: u32 = 1;
override PIXELS: u32 = 1;
override IN_PLACE: u32 = 0;

struct Params {
    first_block: u32,
    has_slope: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read> slope: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x >= CHANNELS * LANES) {
        return;
    }
    let block = params.first_block + id.z;
    let at = (block * PIXELS + id.y) * CHANNELS * LANES + id.x;
    let value = g[block * CHANNELS * LANES + id.x] / f32(PIXELS);
    if (IN_PLACE == 1u) {
        grad[at] *= value;
    } else {
        grad[at] = value * select(1.0, slope[at], params.has_slope == 1u);
    }
}
