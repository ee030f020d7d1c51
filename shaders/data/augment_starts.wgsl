// Augmented chain starts (Du et al. 2021, "Improved contrastive divergence training of energy-based models", section 3.2):
// with probability `probability` an image is rescaled about its centre by 1 +- rescale, flipped from left to right with
// probability `flip`, and shifted by up to `shift` pixels either way; else it is copied. Between pixels values are
// linear, beyond the image those of its edge.
// One invocation writes one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 starts, 3 x: [block][y][x][c][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override CHANNELS: u32 = 1;
override HEIGHT: u32 = 1;
override WIDTH: u32 = 1;

struct Params {
    first_block: u32,
    probability: f32,
    shift: u32,
    flip: f32,
    rescale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> starts: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

const AUGMENT: u32 = 14u;

// Uniform in 0..n.
fn below(bits: u32, n: u32) -> u32 {
    return multiply_wide(bits, n).x;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let features = CHANNELS * HEIGHT * WIDTH;
    let lane = id.x % LANES;
    let quad = id.x / LANES;
    if (quad * 4u >= features) {
        return;
    }
    let image = id.z * LANES + lane;
    let key = vec2u(state.seed_low, state.seed_high);
    let a = philox(vec4u(AUGMENT << 24u, image, 0u, state.step), key);
    let b = philox(vec4u(AUGMENT << 24u, image, 1u, state.step), key);
    let augments = f32(a.x >> 8u) * (1.0 / 16777216.0) < params.probability;
    let flips = f32(a.y >> 8u) * (1.0 / 16777216.0) < params.flip;
    let shift_y = f32(below(a.z, 2u * params.shift + 1u)) - f32(params.shift);
    let shift_x = f32(below(a.w, 2u * params.shift + 1u)) - f32(params.shift);
    let scale = 1.0 / (1.0 + params.rescale * uniform_of(b).x);
    let centre_y = 0.5 * f32(HEIGHT - 1u);
    let centre_x = 0.5 * f32(WIDTH - 1u);
    let base = (params.first_block + id.z) * features * LANES + lane;
    for (var i = 0u; i < min(4u, features - quad * 4u); i++) {
        let feature = quad * 4u + i;
        let at = base + feature * LANES;
        if (!augments) {
            x[at] = starts[at];
            continue;
        }
        let c = feature % CHANNELS;
        let pixel = feature / CHANNELS;
        var column = f32(pixel % WIDTH);
        if (flips) {
            column = f32(WIDTH - 1u) - column;
        }
        let y = centre_y + scale * (f32(pixel / WIDTH) - centre_y) - shift_y;
        let place_x = centre_x + scale * (column - centre_x) - shift_x;
        let top = floor(y);
        let left = floor(place_x);
        let y0 = u32(clamp(top, 0.0, f32(HEIGHT - 1u)));
        let y1 = u32(clamp(top + 1.0, 0.0, f32(HEIGHT - 1u)));
        let x0 = u32(clamp(left, 0.0, f32(WIDTH - 1u)));
        let x1 = u32(clamp(left + 1.0, 0.0, f32(WIDTH - 1u)));
        let v00 = starts[base + ((y0 * WIDTH + x0) * CHANNELS + c) * LANES];
        let v01 = starts[base + ((y0 * WIDTH + x1) * CHANNELS + c) * LANES];
        let v10 = starts[base + ((y1 * WIDTH + x0) * CHANNELS + c) * LANES];
        let v11 = starts[base + ((y1 * WIDTH + x1) * CHANNELS + c) * LANES];
        let down = y - top;
        let right = place_x - left;
        let upper = v00 + right * (v01 - v00);
        let lower = v10 + right * (v11 - v10);
        x[at] = upper + down * (lower - upper);
    }
}
