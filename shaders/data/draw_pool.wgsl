// The chains of a training step, from a pool of persistent ones, and their levels: image i takes the slot that
// lib/pool.wgsl says. A chain that restarts is noise: `scale` times standard normal or uniform in [-1, 1), clamped to
// +-bound.
// One invocation writes one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 pool [slot][feature], 3 its levels [slot], 4 x [block][feature][lane], 5 levels [block][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;
override NORMAL: bool = true;

struct Params {
    first_block: u32,
    restart: f32,
    scale: f32,
    bound: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> pool: array<f32>;
@group(0) @binding(3) var<storage, read> pool_levels: array<f32>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> levels: array<f32>;

const FRESH_START: u32 = 2u;

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
    let bits = philox(vec4u((FRESH_START << 24u) | quad, image, 0u, state.step), key);
    var noise = uniform_of(bits);
    if (NORMAL) {
        noise = normal_of(bits);
    }
    noise = clamp(params.scale * noise, vec4f(-params.bound), vec4f(params.bound));
    let block = params.first_block + id.z;
    for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
        let value = select(pool[slot * FEATURES + quad * 4u + i], noise[i], begin.restarts);
        x[(block * FEATURES + quad * 4u + i) * LANES + lane] = value;
    }
    if (quad == 0u) {
        levels[block * LANES + lane] = f32(begin.level);
    }
}
