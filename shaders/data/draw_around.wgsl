// Draws negatives around data images: negative j of image i is x_i + t n_i + t n_ij, with standard normal n_i, which the
// negatives of an image share, and n_ij. It lies in block (1 + j) HALF + i / LANES. Lanes beyond the data images get negatives
// of image 0 on.
// One invocation writes one quad (four features) of one negative: x = quad by lane, z = block of negatives.
// 1 state, 2 x [block][feature][lane], data images first.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;

struct Params {
    noise: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

const AROUND_NOISE: u32 = 25u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x % LANES;
    let quad = id.x / LANES;
    if (quad * 4u >= FEATURES) {
        return;
    }
    let half_blocks = (BATCH + LANES - 1u) / LANES;
    let image = id.z % half_blocks * LANES + lane;
    let source = image % epoch_of(state.step, N_IMAGES, BATCH).n_real;
    let key = vec2u(state.seed_low, state.seed_high);
    let counter = vec4u((AROUND_NOISE << 24u) | quad, image, 0u, state.step);
    let shared_noise = normal_of(philox(counter, key));
    let own_noise = normal_of(philox(counter + vec4u(0u, 0u, 1u + id.z / half_blocks, 0u), key));
    let to = (half_blocks + id.z) * FEATURES + quad * 4u;
    let source_base = source / LANES * FEATURES + quad * 4u;
    for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
        let from_image = x[(source_base + i) * LANES + source % LANES];
        x[(to + i) * LANES + lane] = from_image + params.noise * (shared_noise[i] + own_noise[i]);
    }
}
