// Fresh points of a toy set: x[block][coordinate][lane] = point + noise N(0, 1). data::toy says what the sets are, and
// Toy::point on the host is the same formula.
// One invocation draws one point: x = lane, z = block. Lanes beyond the batch are drawn, too; nobody looks at them.
// 1 state, 2 x.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override TOY: u32 = 0;

struct Params {
    first_block: u32,
    noise: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

const DATA_NOISE: u32 = 5u;
const TOY_POINT: u32 = 9u;
const TURN = 6.2831853;

// One of n, evenly.
fn choose(word: u32, n: u32) -> u32 {
    return multiply_wide(word, n).x;
}

fn point(words: vec4u, normal: vec2f) -> vec2f {
    let u = f32(words.y >> 8u) * (1.0 / 16777216.0);
    let v = f32(words.z >> 8u) * (1.0 / 16777216.0);
    switch (TOY) {
        case 0u: {
            return centre(TOY, choose(words.x, 5u)) + 0.3 * normal;
        }
        case 1u: {
            return centre(TOY, choose(words.x, 8u)) + 0.3 * normal;
        }
        case 2u: {
            return centre(TOY, choose(words.x, 25u)) + 0.15 * normal;
        }
        case 3u: {
            return 0.75 * f32(choose(words.x, 4u) + 1u) * circle(u) + 0.08 * normal;
        }
        case 4u: {
            let moon = 2.0 * circle(0.5 * u) - vec2f(1.0, 0.5);
            return select(-moon, moon, choose(words.x, 2u) == 0u) + 0.2 * normal;
        }
        case 5u: {
            let turns = 0.75 + 1.5 * u;
            return turns * (TURN / 5.0) * circle(turns) + 0.2 * normal;
        }
        case 6u: {
            let k = choose(words.x, 8u);
            return 2.0 * (vec2f(vec2u(k / 2u, 2u * (k % 2u) + (k / 2u) % 2u)) + vec2f(u, v)) - 4.0;
        }
        default: {
            let along = 1.0 + 0.3 * normal.x;
            let across = 0.1 * normal.y;
            let c = circle(0.2 * f32(choose(words.x, 5u)) + 0.25 / TURN * exp(along));
            return 2.0 * vec2f(along * c.x - across * c.y, along * c.y + across * c.x);
        }
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x >= LANES) {
        return;
    }
    let image = id.z * LANES + id.x;
    let key = vec2u(state.seed_low, state.seed_high);
    let words = philox(vec4u(TOY_POINT << 24u, image, 0u, state.step), key);
    let normal = normal_of(philox(vec4u((TOY_POINT << 24u) | 1u, image, 0u, state.step), key)).xy;
    let noise = normal_of(philox(vec4u(DATA_NOISE << 24u, image, 0u, state.step), key)).xy;
    let value = point(words, normal) + params.noise * noise;
    let at = (params.first_block + id.z) * 2u * LANES + id.x;
    x[at] = value.x;
    x[at + LANES] = value.y;
}
