// Some steps of an LSTM cell: for t from the first time on (or from the last back), with h and c zero before,
//   [zi zf zg zo] = W_ih x_t + b_ih + W_hh h + b_hh,   i, f, o = sigmoid(zi, zf, zo), g = tanh(zg),
//   c = f c + i g,   h = o tanh(c).
// One workgroup owns GROUP_LANES images of a block and goes through the steps; its invocations share (unit, image), and
// wait for each other after every step: x = images, z = block.
// 1 x [block][time][channel][lane], 2 packed weights (kernels::lstm_pack), 3 parameters (for the biases: weight_ih,
// bias_ih, weight_hh, bias_hh), 4 trace [block][place][i, f, g, o, c, h][unit][lane] where the places of the STEPS last
// times follow one another, 5 output [block][time][channel][lane], of the last time alone if OUT_TIME is 1: the reverse
// direction's channels follow the forward one's.

override SIZE: u32 = 256;
override LANES: u32 = 16;
override GROUP_LANES: u32 = 8;
override IN_CHANNELS: u32 = 1;
override HIDDEN: u32 = 1;
override TIME: u32 = 1;
override STEPS: u32 = 1;
override REVERSE: u32 = 0;
override OUT_TIME: u32 = 1;
override OUT_CHANNELS: u32 = 1;
override WEIGHT_OFFSET: u32 = 0;

struct Params {
    first_block: u32,
    first_step: u32,
    n_steps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> parameters: array<f32>;
@group(0) @binding(4) var<storage, read_write> trace: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// Both biases of a row.
fn bias(row: u32) -> f32 {
    let first = WEIGHT_OFFSET + 4u * HIDDEN * IN_CHANNELS + row;
    return parameters[first] + parameters[first + 4u * HIDDEN * (1u + HIDDEN)];
}

// 1 / (1 + exp(-z)); exp(-z) overflows below -88.
fn sigmoid(z: vec4f) -> vec4f {
    return 1.0 / (1.0 + exp(-max(z, vec4f(-80.0))));
}

// Four inputs' part in a unit's gates; their weights begin at `w`.
fn products(w: u32, v: vec4f) -> vec4f {
    return v.x * weights[w] + v.y * weights[w + 1u] + v.z * weights[w + 2u] + v.w * weights[w + 3u];
}

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) group_here: vec3u) {
    let group = group_here + FIRST_GROUP;
    let block = params.first_block + group.z;
    for (var n = 0u; n < params.n_steps; n++) {
        let step = params.first_step + n;
        let t = select(step, TIME - 1u - step, REVERSE == 1u);
        let now = (block * STEPS + t + STEPS - TIME) * 6u * HIDDEN;
        let before = select(now - min(now, 6u * HIDDEN), now + 6u * HIDDEN, REVERSE == 1u);
        for (var item = local; item < HIDDEN * GROUP_LANES; item += SIZE) {
            let unit = item / GROUP_LANES;
            let lane = group.x * GROUP_LANES + item % GROUP_LANES;
            var z = vec4f(bias(unit), bias(HIDDEN + unit), bias(2u * HIDDEN + unit), bias(3u * HIDDEN + unit));
            // Inputs come in fours; weights beyond the last are zero, and the last stands for what would be read there.
            var w = unit * ((IN_CHANNELS + 3u) / 4u + (HIDDEN + 3u) / 4u) * 4u;
            let first = (block * TIME + t) * IN_CHANNELS;
            for (var k = 0u; k < IN_CHANNELS; k += 4u) {
                let at = (first + min(vec4u(k, k + 1u, k + 2u, k + 3u), vec4u(IN_CHANNELS - 1u))) * LANES + lane;
                z += products(w, vec4f(x[at.x], x[at.y], x[at.z], x[at.w]));
                w += 4u;
            }
            var c = 0.0;
            if (step > 0u) {
                let h = before + 5u * HIDDEN;
                for (var k = 0u; k < HIDDEN; k += 4u) {
                    let at = (h + min(vec4u(k, k + 1u, k + 2u, k + 3u), vec4u(HIDDEN - 1u))) * LANES + lane;
                    z += products(w, vec4f(trace[at.x], trace[at.y], trace[at.z], trace[at.w]));
                    w += 4u;
                }
                c = trace[(before + 4u * HIDDEN + unit) * LANES + lane];
            }
            // tanh(z) = 2 sigmoid(2 z) - 1
            let s = sigmoid(z * vec4f(1.0, 1.0, 2.0, 1.0));
            let g = 2.0 * s.z - 1.0;
            c = s.y * c + s.x * g;
            let h = s.w * (2.0 * sigmoid(vec4f(2.0 * c)).x - 1.0);
            let at = (now + unit) * LANES + lane;
            trace[at] = s.x;
            trace[at + HIDDEN * LANES] = s.y;
            trace[at + 2u * HIDDEN * LANES] = g;
            trace[at + 3u * HIDDEN * LANES] = s.w;
            trace[at + 4u * HIDDEN * LANES] = c;
            trace[at + 5u * HIDDEN * LANES] = h;
            if (OUT_TIME == TIME || step + 1u == STEPS) {
                let out = (block * OUT_TIME + select(0u, t, OUT_TIME == TIME)) * OUT_CHANNELS + REVERSE * HIDDEN;
                output[(out + unit) * LANES + lane] = h;
            }
        }
        storageBarrier();
    }
}
