// Moves chains to their proposals where those were accepted, and makes new ones (MALA: Roberts and Tweedie 1996):
//   x <- y and gx <- g(y) where accepted; y <- x - drift clip(gx) + noise N(0, 1), or y <- x at the chain's end.
// One invocation owns one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 gradient at y, 3 decisions [block][2][lane] (mala_accept.wgsl), 4 y, 5 x, 6 gradient at x.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;

struct Params {
    dynamics: Dynamics,
    first_block: u32,
    perturbs: u32,
    chain_step: u32, // whose noise it is
    spare: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read> decisions: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> x: array<f32>;
@group(0) @binding(6) var<storage, read_write> x_gradient: array<f32>;

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
    let now = move_of(d, state.step);
    let image = state.first_image + id.z * LANES + lane;
    let counter = vec4u((LANGEVIN << 24u) | quad, image, state.chain_base + params.chain_step, state.step);
    let noise = now.noise * normal_of(philox(counter, vec2u(state.seed_low, state.seed_high)));
    let block = params.first_block + id.z;
    let accepted = decisions[block * 2u * LANES + lane] != 0.0;
    for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
        let at = (block * FEATURES + quad * 4u + i) * LANES + lane;
        if (accepted) {
            x[at] = y[at];
            x_gradient[at] = gradient[at];
        }
        var value = x[at];
        if (params.perturbs != 0u) {
            value = value - now.drift * clamp(x_gradient[at], -d.gradient_clip, d.gradient_clip) + noise[i];
        }
        y[at] = value;
    }
}
