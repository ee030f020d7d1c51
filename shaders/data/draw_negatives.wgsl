// Chain starts: each image of the batch is fresh noise with probability `reinit_probability`, else a copy of a slot of the ring:
// drawn uniformly with replacement from the slots that are filled (SUBSET 0), or without replacement from SUBSET
// persistent chains: image i takes slot permute(i), another permutation every step. Fresh noise is `scale` times uniform
// in [-1, 1) or standard normal, clamped to +-bound.
// One invocation writes one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 replay [slot][feature], 3 x [block][feature][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;
override SUBSET: u32 = 0;
override HALF_BITS: u32 = 1;
override NORMAL: bool = false;

struct Params {
    first_block: u32,
    reinit_probability: f32,
    scale: f32,
    bound: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> replay: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

const FRESH_START: u32 = 2u;
const START_CHOICE: u32 = 3u;
const SUBSETS: u32 = 12u;

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
    let choice = philox(vec4u(START_CHOICE << 24u, image, 0u, state.step), key);
    let is_fresh = f32(choice.x >> 8u) * (1.0 / 16777216.0) < params.reinit_probability;
    var slot = multiply_wide(choice.y, state.replay_length).x;
    if (SUBSET > 0u) {
        slot = permute(SUBSETS, image % max(SUBSET, 1u), SUBSET, HALF_BITS, state.step, key);
    }
    let bits = philox(vec4u((FRESH_START << 24u) | quad, image, 0u, state.step), key);
    var noise = uniform_of(bits);
    if (NORMAL) {
        noise = normal_of(bits);
    }
    noise = clamp(params.scale * noise, vec4f(-params.bound), vec4f(params.bound));
    let base = (params.first_block + id.z) * FEATURES + quad * 4u;
    for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
        x[(base + i) * LANES + lane] = select(replay[slot * FEATURES + quad * 4u + i], noise[i], is_fresh);
    }
}
