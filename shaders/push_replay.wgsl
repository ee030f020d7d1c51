// Replay ring: slot (head + i) mod capacity = image i of the refined batch. Drawing is uniform, so that a ring is the
// same as putting the batch in front and cutting the tail off.
// One invocation copies one feature of one image: x = feature by lane, z = block.
// 1 state, 2 x [block][feature][lane], 3 ring [slot][feature].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;
override BATCH: u32 = 16;
override CAPACITY: u32 = 16;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> ring: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let lane = id.x % LANES;
    let feature = id.x / LANES;
    let image = id.z * LANES + lane;
    if (feature >= FEATURES || image >= BATCH) {
        return;
    }
    let slot = (state.ring_head + image) % CAPACITY;
    ring[slot * FEATURES + feature] = x[((params.first_block + id.z) * FEATURES + feature) * LANES + lane];
}
