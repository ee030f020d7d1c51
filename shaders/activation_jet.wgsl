// The activation f of a jet: value, first derivatives along DIRECTIONS directions d, and (unless all of them are of first
// order only, as the first FIRST_ORDER are) the sum of second derivatives along the others.
//   a[0] = f(z0), z0 = z[0] + bias;   a[1 + d] = f'(z0) z[1 + d];
//   a[1 + DIRECTIONS] = f''(z0) (sum over d >= FIRST_ORDER of z[1 + d]^2) + f'(z0) z[1 + DIRECTIONS].
// One invocation owns one feature of four neighbouring lanes: x = feature by lanes, z = block.
// 1 z, 2 parameters (for the bias), 3 a; z and a [block][stream][feature][lane].

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
@group(0) @binding(3) var<storage, read_write> a: array<vec4f>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let stream = FEATURES * (LANES / 4u);
    if (id.x >= stream) {
        return;
    }
    let has_second = FIRST_ORDER < DIRECTIONS;
    let streams = 1u + DIRECTIONS + u32(has_second);
    let at = (params.first_block + id.z) * streams * stream + id.x;
    let f = curves(ACTIVATION, LEAK, z[at] + parameters[BIAS_OFFSET + id.x / (LANES / 4u) % CHANNELS]);
    a[at] = f.value;
    var squares = vec4f(0.0);
    for (var d = 0u; d < DIRECTIONS; d++) {
        let tangent = z[at + (1u + d) * stream];
        a[at + (1u + d) * stream] = f.slope * tangent;
        if (d >= FIRST_ORDER) {
            squares += tangent * tangent;
        }
    }
    if (has_second) {
        let last = at + (1u + DIRECTIONS) * stream;
        a[last] = f.second * squares + f.slope * z[last];
    }
}
