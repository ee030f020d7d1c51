// One step of annealed importance sampling (Neal 2001): the weight's part of the way to the next density between base and
// model (lib/anneal.wgsl), at x; then the proposal y of anneal_propose.wgsl is accepted with probability
//   min(1, exp(f(x) - f(y) + sum (p^2 - q^2) / 2)),
// p the momentum as drawn and q that at the end, half a kick after the last leapfrog's: that leaves exp(-f) as it is.
//   log w <- log w + (beta_before - beta_now) (E1(x) - E0(x)).
// `begins`: there is no proposal yet; the chain goes where y is, and counts anew.
// One invocation owns one image: x = lane, z = block.
// 1 state, 2 schedule: the entries before and now are those from chain_base + chain_step on, 3 base [feature], 4 energies
// E(y), 5 dE/dx at y, 6 y, 7 chain [block][4 features][lane] (anneal_propose.wgsl), 8 record [block][5][lane]: E1(x),
// E0(x), log w, 1 if accepted and 0 if not, and how often so far.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;

struct Params {
    anneal: Anneal,
    first_block: u32,
    begins: u32,
    chain_step: u32,
    spare: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> schedule: Schedule;
@group(0) @binding(3) var<storage, read> base: array<Base>;
@group(0) @binding(4) var<storage, read> energies: array<f32>;
@group(0) @binding(5) var<storage, read> gradient: array<f32>;
@group(0) @binding(6) var<storage, read> y: array<f32>;
@group(0) @binding(7) var<storage, read> chain: array<f32>;
@group(0) @binding(8) var<storage, read_write> record: array<f32>;

const ANNEAL_ACCEPT: u32 = 21u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x;
    if (lane >= LANES) {
        return;
    }
    let a = params.anneal;
    let block = params.first_block + id.z;
    let begins = params.begins != 0u;
    let step = state.chain_base + params.chain_step;
    var before = 0.0;
    var now = vec2f(0.0);
    if (!begins) {
        before = schedule[step].x;
        now = schedule[step + 1u];
    }
    var base_energy = 0.0;
    var squares = 0.0;
    var kinetic = 0.0; // what it has fallen by
    for (var f = 0u; f < FEATURES; f++) {
        let at = (block * FEATURES + f) * LANES + lane;
        let b = base[f];
        let away = y[at] - b.mean;
        base_energy += 0.5 * b.inverse_variance * away * away;
        squares += y[at] * y[at];
        if (!begins) {
            let at_drawn = (block * 4u * FEATURES + 2u * FEATURES + f) * LANES + lane;
            let p = chain[at_drawn];
            let q = chain[at_drawn + FEATURES * LANES]
                - 0.5 * now.y * b.scale * slope_of(a, now.x, b, y[at], gradient[at]);
            kinetic += 0.5 * (p - q) * (p + q);
        }
    }
    let energy = a.inverse_temperature * energies[block * LANES + lane] + 0.5 * a.tilt * squares;
    let at = block * 5u * LANES + lane;
    if (begins) {
        record[at] = energy;
        record[at + LANES] = base_energy;
        record[at + 2u * LANES] = 0.0;
        record[at + 3u * LANES] = 1.0;
        record[at + 4u * LANES] = 0.0;
        return;
    }
    if (before != now.x) {
        record[at + 2u * LANES] += (before - now.x) * (record[at] - record[at + LANES]);
    }
    let fall = now.x * (record[at] - energy) + (1.0 - now.x) * (record[at + LANES] - base_energy);
    let counter = vec4u(ANNEAL_ACCEPT << 24u, state.first_image + id.z * LANES + lane, step, state.step);
    let bits = philox(counter, vec2u(state.seed_low, state.seed_high));
    let u = f32((bits.x >> 8u) + 1u) * (1.0 / 16777216.0);
    let accepted = log_unit(u) <= fall + kinetic;
    if (accepted) {
        record[at] = energy;
        record[at + LANES] = base_energy;
        record[at + 4u * LANES] += 1.0;
    }
    record[at + 3u * LANES] = select(0.0, 1.0, accepted);
}
