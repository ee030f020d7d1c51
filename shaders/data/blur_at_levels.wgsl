// Blurs data images to the levels that the chains of the same training step come to: x <- alpha x + s n, with
// alpha = 1 / sqrt(1 + sigma^2), s = sigma alpha, and sigma of the level where chain i of the batch ends.
// One invocation owns one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 levels of the pool [slot], 3 x [block][feature][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;

struct Params {
    dynamics: Dynamics,
    first_block: u32,
    restart: f32,
    steps: u32,
    spare0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> pool_levels: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

const POOL_NOISE: u32 = 24u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x % LANES;
    let quad = id.x / LANES;
    if (quad * 4u >= FEATURES) {
        return;
    }
    let image = id.z * LANES + lane;
    let key = vec2u(state.seed_low, state.seed_high);
    let slot = slot_of(image, state.step, key);
    let begin = begin_of(image, slot, pool_levels[slot], params.restart, state.step, key);
    let sigma = sigma_of(params.dynamics, min(begin.level + params.steps, LAST_LEVEL));
    let alpha = 1.0 / sqrt(1.0 + sigma * sigma);
    let noise = normal_of(philox(vec4u((POOL_NOISE << 24u) | quad, image, 0u, state.step), key));
    let base = (params.first_block + id.z) * FEATURES + quad * 4u;
    for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
        let at = (base + i) * LANES + lane;
        x[at] = alpha * x[at] + sigma * alpha * noise[i];
    }
}
