// Where the KL term begins: of a chain's last step, x_K = clamp(x - drift clip(g) + noise), the direction v that it is a
// derivative along, dE/dx at x_K, but 0 where clip or clamp held a value; and the term's derivative with respect to the
// energy's derivative along v, -weight drift / batch.
// One invocation owns one feature of one image: x = feature by lane, z = block.
// 1 state, 2 gradient at x_K, 3 x_K: [block][feature][lane]; 4 streams [block][stream][feature][lane]: x, and g, which
// becomes v; 5 seeds [block][stream][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 1;
override BATCH: u32 = 1;

struct Params {
    dynamics: Dynamics,
    first_block: u32,
    weight: f32, // over the number of chains
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> streams: array<f32>;
@group(0) @binding(5) var<storage, read_write> seeds: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x % LANES;
    let feature = id.x / LANES;
    if (feature >= FEATURES) {
        return;
    }
    let d = params.dynamics;
    let block = params.first_block + id.z;
    let at = (block * FEATURES + feature) * LANES + lane;
    let along = ((block * 2u + 1u) * FEATURES + feature) * LANES + lane;
    let moves = abs(streams[along]) < d.gradient_clip && abs(x[at]) < d.bound;
    streams[along] = select(0.0, gradient[at], moves);
    if (feature == 0u) {
        let counts = id.z * LANES + lane < BATCH;
        seeds[block * 2u * LANES + lane] = 0.0;
        let drift = move_of(d, state.step).drift;
        seeds[(block * 2u + 1u) * LANES + lane] = select(0.0, -params.weight * drift, counts);
    }
}
