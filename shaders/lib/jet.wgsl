// What both ways through a jet's activation have: its numbers, the pre-activation z [block][component][feature][lane] less
// bias, and the parameters. One invocation owns one feature of four neighbouring lanes: x = feature by lanes, z = block.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 1;
override CHANNELS: u32 = 1;
override DIRECTIONS: u32 = 1;
override FIRST_ORDER: u32 = 0;
override BIAS_OFFSET: u32 = 0;
override ACTIVATION: u32 = 0;
override LEAK: f32 = 0.0;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<vec4f>;
@group(0) @binding(2) var<storage, read> parameters: array<f32>;

// Vectors of one component of a block.
fn component_len() -> u32 {
    return FEATURES * (LANES / 4u);
}

// Where the invocation's values lie; those of the next component are component_len() further.
fn place(id: vec3u) -> u32 {
    let components = 1u + DIRECTIONS + u32(FIRST_ORDER < DIRECTIONS);
    return (params.first_block + id.z) * components * component_len() + id.x;
}

// The activation's value and derivatives there.
fn curves_of(id: vec3u, at: u32) -> Curves {
    return curves(ACTIVATION, LEAK, z[at] + parameters[BIAS_OFFSET + id.x / (LANES / 4u) % CHANNELS]);
}
