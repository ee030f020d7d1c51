// Puts the chains of a training step back into their slots of the pool (lib/pool.wgsl), `steps` levels further on. Nothing
// is put back where training is halted.
// One invocation copies one feature of one image: x = feature by lane, z = block.
// 1 state, 2 x [block][feature][lane], 3 levels [block][lane], 4 pool [slot][feature], 5 its levels [slot].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;

struct Params {
    first_block: u32,
    steps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> levels: array<f32>;
@group(0) @binding(4) var<storage, read_write> pool: array<f32>;
@group(0) @binding(5) var<storage, read_write> pool_levels: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x % LANES;
    let feature = id.x / LANES;
    let image = id.z * LANES + lane;
    if (feature >= FEATURES || image >= POOL_BATCH || state.halted != 0u) {
        return;
    }
    let slot = slot_of(image, state.step, vec2u(state.seed_low, state.seed_high));
    let block = params.first_block + id.z;
    pool[slot * FEATURES + feature] = x[(block * FEATURES + feature) * LANES + lane];
    if (feature == 0u) {
        pool_levels[slot] = f32(min(u32(levels[block * LANES + lane]) + params.steps, LAST_LEVEL));
    }
}
