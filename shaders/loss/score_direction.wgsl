// What the energy's gradient g is to lose: direction = weight (g - goal) / n for the batch's n images, 0 for lanes without
// one, and residual = weight |g - goal|^2.
// One invocation owns one image: x = lane, z = block.
// 1 state; 2 g, 3 goal, 5 direction [block][feature][lane]; 4 weight, 6 residual [block][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 1;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read> goal: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read_write> direction: array<f32>;
@group(0) @binding(6) var<storage, read_write> residual: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u, @builtin(workgroup_id) group_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let group = group_here + FIRST_GROUP;
    let lane = id.x;
    if (lane >= LANES) {
        return;
    }
    let block = params.first_block + group.z;
    let n_real = epoch_of(state.step, N_IMAGES, BATCH).n_real;
    let share = select(0.0, 1.0 / f32(n_real), group.z * LANES + lane < n_real);
    let w = weight[block * LANES + lane];
    var sum = 0.0;
    for (var f = 0u; f < FEATURES; f++) {
        let at = (block * FEATURES + f) * LANES + lane;
        let error = gradient[at] - goal[at];
        direction[at] = select(0.0, share * (w * error), share > 0.0);
        sum += w * error * error;
    }
    residual[block * LANES + lane] = sum;
}
