// Dense layer and activation: z[o] = bias[o] + sum over f of weight[o][f] * input[f]; output = activation(z),
// slope = activation'(z). Features f come in the device's order [pixel][channel].
// One invocation owns 4 TILE_VECTORS units of one image: x = unit tile by lane, z = block.
// 1 input [block][feature][lane], 2 weights packed [unit tile][feature][TILE_CHANNELS], 3 parameters (for the bias),
// 4 output, 5 slope: [block][unit][lane].
// The prelude declares TILE_VECTORS.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 1;
override UNITS: u32 = 1;
override BIAS_OFFSET: u32 = 0;
override ACTIVATION: u32 = 0;
override LEAK: f32 = 0;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> parameters: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<storage, read_write> slope: array<f32>;

fn bias(unit: u32) -> f32 {
    return select(0.0, parameters[BIAS_OFFSET + min(unit, UNITS - 1u)], unit < UNITS);
}

fn store(base: u32, unit: u32, value: f32, derivative: f32) {
    if (unit < UNITS) {
        output[base + unit * LANES] = value;
        slope[base + unit * LANES] = derivative;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let lane = id.x % LANES;
    let tile = id.x / LANES;
    let unit = tile * TILE_VECTORS * 4u;
    if (unit >= UNITS) {
        return;
    }
    let block = params.first_block + id.z;
    var z: array<vec4f, TILE_VECTORS>;
    for (var v = 0u; v < TILE_VECTORS; v++) {
        let u = unit + v * 4u;
        z[v] = vec4f(bias(u), bias(u + 1u), bias(u + 2u), bias(u + 3u));
    }
    let image = block * FEATURES * LANES + lane;
    for (var f = 0u; f < FEATURES; f++) {
        let value = input[image + f * LANES];
        for (var v = 0u; v < TILE_VECTORS; v++) {
            z[v] += value * weights[(tile * FEATURES + f) * TILE_VECTORS + v];
        }
    }
    let base = block * UNITS * LANES + lane;
    for (var v = 0u; v < TILE_VECTORS; v++) {
        let u = unit + v * 4u;
        let a = activate(ACTIVATION, LEAK, z[v]);
        store(base, u, a.value.x, a.slope.x);
        store(base, u + 1u, a.value.y, a.slope.y);
        store(base, u + 2u, a.value.z, a.slope.z);
        store(base, u + 3u, a.value.w, a.slope.w);
    }
}
