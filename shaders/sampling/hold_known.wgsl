// Holds known values in their place: x = alpha y + s n where a value y is known, at the noise level that annealed chains
// have come to, and x = y in the other forms; or, of a gradient, 0.
// One invocation owns one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 mask: [feature], not 0 where a value is known, 3 known values y, 4 x or its gradient: [block][feature][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;

struct Params {
    dynamics: Dynamics,
    first_block: u32,
    is_gradient: u32,
    done: u32, // steps
    spare: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> mask: array<f32>;
@group(0) @binding(3) var<storage, read> known: array<f32>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;

const KNOWN: u32 = 27u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x % LANES;
    let quad = id.x / LANES;
    if (quad * 4u >= FEATURES) {
        return;
    }
    let d = params.dynamics;
    let step = state.chain_base + params.done;
    let level = level_of(d, state.step, step);
    let is_clean = level > 0u && level - 1u == d.final_step && d.noise_change != 0.0;
    let sigma = select(sigma_of(d, level), 0.0, is_clean || d.form != 4u);
    let alpha = select(inverseSqrt(1.0 + sigma * sigma), 1.0, sigma == 0.0); // exact at the end
    let image = state.first_image + id.z * LANES + lane;
    let counter = vec4u((KNOWN << 24u) | quad, image, step, state.step);
    let noise = sigma * alpha * normal_of(philox(counter, vec2u(state.seed_low, state.seed_high)));
    let base = (params.first_block + id.z) * FEATURES + quad * 4u;
    for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
        let at = (base + i) * LANES + lane;
        let held = select(alpha * known[at] + noise[i], 0.0, params.is_gradient != 0u);
        x[at] = select(x[at], held, mask[quad * 4u + i] != 0.0);
    }
}
