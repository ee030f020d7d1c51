// An activation f with its first two derivatives, for z0 = z + bias: value = f(z0), slope = f'(z0), and z becomes f''(z0).
// One invocation owns one feature of four neighbouring lanes: x = feature by lanes, z = block.
// 1 z, 3 value, 4 slope: [block][feature][lane]; 2 parameters, for the bias.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override ACTIVATION: u32 = 0;
override LEAK: f32 = 0.0;

struct Params {
    first_block: u32,
    features: u32,
    channels: u32,
    bias_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> z: array<vec4f>;
@group(0) @binding(2) var<storage, read> parameters: array<f32>;
@group(0) @binding(3) var<storage, read_write> value: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> slope: array<vec4f>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let len = params.features * (LANES / 4u);
    if (id.x >= len) {
        return;
    }
    let at = (params.first_block + id.z) * len + id.x;
    let bias = parameters[params.bias_offset + id.x / (LANES / 4u) % params.channels];
    let f = curves(ACTIVATION, LEAK, z[at] + bias);
    value[at] = f.value;
    slope[at] = f.slope;
    z[at] = f.second;
}
