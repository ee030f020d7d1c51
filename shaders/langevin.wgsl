// Langevin dynamics, recipe R1's form: x <- clamp(x + noise N(0, 1)); g = dE/dx; x <- clamp(x - step_size clip(g)).
// One launch ends the step before it (`moves`: the gradient has come) and begins the next (`perturbs`: noise), so that
// a chain of K steps is K + 1 launches of this kernel with the network's between them.
// One invocation owns one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 gradient, 3 x: [block][feature][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;

struct Params {
    first_block: u32,
    moves: u32,
    perturbs: u32,
    chain_step: u32, // of the step that it begins
    step_size: f32,
    noise: f32,
    gradient_clip: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

const LANGEVIN: u32 = 4u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let lane = id.x % LANES;
    let quad = id.x / LANES;
    if (quad * 4u >= FEATURES) {
        return;
    }
    var noise = vec4f(0.0);
    if (params.perturbs != 0u) {
        let image = id.z * LANES + lane;
        let counter = vec4u((LANGEVIN << 24u) | quad, image, state.chain_base + params.chain_step, state.step);
        noise = params.noise * normal_of(philox(counter, vec2u(state.seed_low, state.seed_high)));
    }
    let base = (params.first_block + id.z) * FEATURES + quad * 4u;
    for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
        let at = (base + i) * LANES + lane;
        var value = x[at];
        if (params.moves != 0u) {
            let g = clamp(gradient[at], -params.gradient_clip, params.gradient_clip);
            value = clamp(value - params.step_size * g, -1.0, 1.0);
        }
        if (params.perturbs != 0u) {
            value = clamp(value + noise[i], -1.0, 1.0);
        }
        x[at] = value;
    }
}
