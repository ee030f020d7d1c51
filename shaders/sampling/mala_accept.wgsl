// Accepts or rejects the proposals of mala_propose.wgsl (Roberts and Tweedie 1996): with x where a chain is, y its
// proposal, gx and gy the clipped gradients there, h the drift and T the temperature, y is accepted with probability
//   min(1, exp((E(x) - E(y) - sum (gx + gy) (2 (x - y) + h (gy - gx)) / 4) / T)),
// which is the Metropolis-Hastings ratio of exp(-E/T) and of the proposals' normal densities, and never beyond the bound.
// `begins`: there is no proposal yet, and the chain goes where y is.
// One invocation owns one image: x = lane, z = block.
// 1 state, 2 energies E(y), 3 gradient at y, 4 y, 5 x, 6 gradient at x: [block][feature][lane], 7 energies E(x),
// 8 decisions [block][2][lane]: 1 if accepted and 0 if not, and how often so far.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;

struct Params {
    dynamics: Dynamics,
    first_block: u32,
    begins: u32,
    resets: u32, // the count of accepted proposals
    chain_step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> energies: array<f32>;
@group(0) @binding(3) var<storage, read> gradient: array<f32>;
@group(0) @binding(4) var<storage, read> y: array<f32>;
@group(0) @binding(5) var<storage, read> x: array<f32>;
@group(0) @binding(6) var<storage, read> x_gradient: array<f32>;
@group(0) @binding(7) var<storage, read_write> x_energies: array<f32>;
@group(0) @binding(8) var<storage, read_write> decisions: array<f32>;

const ACCEPT: u32 = 11u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x;
    if (lane >= LANES) {
        return;
    }
    let block = params.first_block + id.z;
    let at = block * LANES + lane;
    let decision = block * 2u * LANES + lane;
    if (params.begins != 0u) {
        x_energies[at] = energies[at];
        decisions[decision] = 1.0;
        if (params.resets != 0u) {
            decisions[decision + LANES] = 0.0;
        }
        return;
    }
    let d = params.dynamics;
    let drift = move_of(d, state.step).drift;
    var sum = 0.0;
    var inside = true;
    for (var f = 0u; f < FEATURES; f++) {
        let i = (block * FEATURES + f) * LANES + lane;
        let gx = clamp(x_gradient[i], -d.gradient_clip, d.gradient_clip);
        let gy = clamp(gradient[i], -d.gradient_clip, d.gradient_clip);
        sum += (gx + gy) * (2.0 * (x[i] - y[i]) + drift * (gy - gx));
        inside = inside && abs(y[i]) <= d.bound;
    }
    let log_ratio = (x_energies[at] - energies[at] - 0.25 * sum) / d.temperature;
    let image = state.first_image + id.z * LANES + lane;
    let counter = vec4u(ACCEPT << 24u, image, state.chain_base + params.chain_step, state.step);
    let bits = philox(counter, vec2u(state.seed_low, state.seed_high));
    let u = f32((bits.x >> 8u) + 1u) * (1.0 / 16777216.0);
    let accepted = inside && log_unit(u) <= log_ratio;
    if (accepted) {
        x_energies[at] = energies[at];
        decisions[decision + LANES] += 1.0;
    }
    decisions[decision] = select(0.0, 1.0, accepted);
}
