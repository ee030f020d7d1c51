// Random numbers: output[block][feature][lane] = bits, or `scale` times uniform in [-1, 1) or standard normal, clamped to
// +-bound, or -1 or 1, of the stream.
// One invocation writes one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 output.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;

struct Params {
    first_block: u32,
    stream: u32,
    distribution: u32,
    scale: f32,
    bound: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

fn scaled(value: vec4f) -> vec4f {
    return clamp(params.scale * value, vec4f(-params.bound), vec4f(params.bound));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x % LANES;
    let quad = id.x / LANES;
    if (quad * 4u >= FEATURES) {
        return;
    }
    let image = state.first_image + id.z * LANES + lane;
    let counter = vec4u((params.stream << 24u) | quad, image, state.chain_base, state.step);
    let bits = philox(counter, vec2u(state.seed_low, state.seed_high));
    var words = bits;
    if (params.distribution == 1u) {
        words = bitcast<vec4u>(scaled(uniform_of(bits)));
    }
    if (params.distribution == 2u) {
        words = bitcast<vec4u>(scaled(normal_of(bits)));
    }
    if (params.distribution == 3u) {
        words = (bits & vec4u(0x80000000u)) | vec4u(0x3f800000u);
    }
    let base = (params.first_block + id.z) * FEATURES + quad * 4u;
    for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
        output[(base + i) * LANES + lane] = words[i];
    }
}
