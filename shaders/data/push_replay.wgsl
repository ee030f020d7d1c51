// Puts refined chains into the ring. SUBSET 0: slot (head + i) mod capacity = image i of the batch; drawing is uniform,
// so that a ring is the same as putting the batch in front and cutting the tail off. Else the chains are persistent, and
// go back to their own slots: slot permute(i), as in draw_negatives.wgsl. Nothing is put in where training is halted.
// One invocation copies one feature of one image: x = feature by lane, z = block.
// 1 state, 2 x [block][feature][lane], 3 replay [slot][feature].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;
override BATCH: u32 = 16;
override CAPACITY: u32 = 16;
override SUBSET: u32 = 0;
override HALF_BITS: u32 = 1;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> replay: array<f32>;

const SUBSETS: u32 = 12u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x % LANES;
    let feature = id.x / LANES;
    let image = id.z * LANES + lane;
    if (feature >= FEATURES || image >= BATCH || state.halted != 0u) {
        return;
    }
    var slot = (state.replay_head + image) % CAPACITY;
    if (SUBSET > 0u) {
        slot = permute(SUBSETS, image, SUBSET, HALF_BITS, state.step, vec2u(state.seed_low, state.seed_high));
    }
    replay[slot * FEATURES + feature] = x[((params.first_block + id.z) * FEATURES + feature) * LANES + lane];
}
