// Leapfrog steps through a density between base and model (lib/anneal.wgsl), as proposals of Hamiltonian Monte Carlo
// (Neal 2011, "MCMC using Hamiltonian dynamics"; one step of them is MALA). With p the momentum over the scale s, d the
// step size:
//   p <- N(0, 1), p <- p - d/2 s f'(x), y <- x + d s p; once more: p <- p - d s f'(y), y <- y + d s p.
// At the box's walls y and p are mirrored, which is the exact motion there and keeps volume (Afshar and Domke 2015).
// PART 0 begins a proposal: first x <- y and g(x) <- g(y) where the last one was accepted. PART 1 goes on. PART 2 ends the
// chains: y <- x, the last acceptance included.
// One invocation owns one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 schedule: this step's entry is the one after chain_base + chain_step, 3 base [feature], 4 dE/dx at y,
// 5 record [block][5][lane] (anneal_accept.wgsl), 6 y, 7 chain [block][4 features][lane]: x, dE/dx there, the momentum as
// drawn, the momentum now.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;

struct Params {
    anneal: Anneal,
    first_block: u32,
    part: u32,
    chain_step: u32,
    spare: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> schedule: Schedule;
@group(0) @binding(3) var<storage, read> base: array<Base>;
@group(0) @binding(4) var<storage, read> gradient: array<f32>;
@group(0) @binding(5) var<storage, read> record: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> chain: array<f32>;

const MOMENTUM: u32 = 20u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x % LANES;
    let quad = id.x / LANES;
    if (quad * 4u >= FEATURES) {
        return;
    }
    let a = params.anneal;
    let block = params.first_block + id.z;
    let step = state.chain_base + params.chain_step;
    var noise = vec4f(0.0);
    var now = vec2f(0.0);
    if (params.part != 2u) {
        now = schedule[step + 1u];
    }
    if (params.part == 0u) {
        let counter = vec4u((MOMENTUM << 24u) | quad, state.first_image + id.z * LANES + lane, step, state.step);
        noise = normal_of(philox(counter, vec2u(state.seed_low, state.seed_high)));
    }
    let accepted = record[(block * 5u + 3u) * LANES + lane] != 0.0;
    for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
        let f = quad * 4u + i;
        let at = (block * FEATURES + f) * LANES + lane;
        let at_x = (block * 4u * FEATURES + f) * LANES + lane;
        let at_gradient = at_x + FEATURES * LANES;
        let at_drawn = at_gradient + FEATURES * LANES;
        let at_momentum = at_drawn + FEATURES * LANES;
        if (params.part != 1u) {
            if (accepted) {
                chain[at_x] = y[at];
                chain[at_gradient] = gradient[at];
            }
            y[at] = chain[at_x];
        }
        if (params.part != 2u) {
            let b = base[f];
            var p = chain[at_momentum];
            var kick = now.y * b.scale;
            var g = gradient[at];
            if (params.part == 0u) {
                p = noise[i];
                chain[at_drawn] = p;
                kick = 0.5 * kick;
                g = chain[at_gradient];
            }
            p -= kick * slope_of(a, now.x, b, y[at], g);
            let z = y[at] + now.y * b.scale * p;
            let m = mirrored(z, a.bound);
            y[at] = m.x;
            chain[at_momentum] = m.y * p;
        }
    }
}

// Where a straight way to z ends between two mirrors at +-bound, and 1, or -1 after an odd number of reflections.
fn mirrored(z: f32, bound: f32) -> vec2f {
    if (abs(z) <= bound) {
        return vec2f(z, 1.0);
    }
    let period = 4.0 * bound;
    let w = z + bound;
    let v = w - period * floor(w / period);
    let back = v > 2.0 * bound;
    return vec2f(clamp(select(v, period - v, back) - bound, -bound, bound), select(1.0, -1.0, back));
}
