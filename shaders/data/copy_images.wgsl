// Copies the real images to other blocks, with noise: image i there = image i mod n_real + noise N(0, 1), for as many as
// the batch has. Lanes beyond the batch get copies, too.
// One invocation writes one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 x [block][feature][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;

struct Params {
    first_block: u32, // of the copies; the real images begin at block 0
    noise: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

const COPY_NOISE: u32 = 13u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x % LANES;
    let quad = id.x / LANES;
    if (quad * 4u >= FEATURES) {
        return;
    }
    let image = id.z * LANES + lane;
    let source = image % epoch_of(state.step, N_IMAGES, BATCH).n_real;
    let key = vec2u(state.seed_low, state.seed_high);
    let noise = params.noise * normal_of(philox(vec4u((COPY_NOISE << 24u) | quad, image, 0u, state.step), key));
    let to = (params.first_block + id.z) * FEATURES + quad * 4u;
    let source_base = source / LANES * FEATURES + quad * 4u;
    for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
        x[(to + i) * LANES + lane] = x[(source_base + i) * LANES + source % LANES] + noise[i];
    }
}
