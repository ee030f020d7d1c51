// Langevin dynamics. `moves`: x <- x - drift clip(g), where the gradient g = dE/dx has come. `perturbs`: x <- x + noise
// N(0, 1). Where noise comes first, a launch ends a step by its move and begins the next by its noise, with a clamp after
// each, so that a chain of K steps is K + 1 launches with the network's between them; where it comes last, a launch is a
// whole step, with one clamp.
// One invocation owns one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 gradient, 3 x: [block][feature][lane]. The prelude tells a chain's own level (lib/own_levels.wgsl).

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;

struct Params {
    dynamics: Dynamics,
    first_block: u32,
    moves: u32,
    perturbs: u32,
    chain_step: u32, // whose noise it is
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

const LANGEVIN: u32 = 4u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x % LANES;
    let quad = id.x / LANES;
    if (quad * 4u >= FEATURES) {
        return;
    }
    let d = params.dynamics;
    let own = own_level((params.first_block + id.z) * LANES + lane);
    let now = move_of(d, own + level_of(d, state.step, state.chain_base + params.chain_step));
    var noise = vec4f(0.0);
    if (params.perturbs != 0u) {
        let image = state.first_image + id.z * LANES + lane;
        let counter = vec4u((LANGEVIN << 24u) | quad, image, state.chain_base + params.chain_step, state.step);
        noise = now.noise * normal_of(philox(counter, vec2u(state.seed_low, state.seed_high)));
    }
    let base = (params.first_block + id.z) * FEATURES + quad * 4u;
    for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
        let at = (base + i) * LANES + lane;
        var value = x[at];
        if (params.moves != 0u) {
            let g = clamp(gradient[at], -d.gradient_clip, d.gradient_clip);
            value = clamp(now.keep * value - now.drift * g, -now.between, now.between);
        }
        if (params.perturbs != 0u) {
            value = clamp(value + noise[i], -d.bound, d.bound);
        }
        x[at] = value;
    }
}
