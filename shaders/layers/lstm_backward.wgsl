// Some steps of an LSTM cell, backward, from the last on. With dh the gradient of h, from the layer's output and from
// the step after, and dc that of c from the step after,
//   dc = dc + dh o (1 - tanh(c)^2),   d[zi zf zg zo] = [dc g i (1 - i), dc c_before f (1 - f), dc i (1 - g^2),
//   dh tanh(c) o (1 - o)],   and for the step before dc f and W_hh^T dz;   gradient of x_t: W_ih^T dz slope.
// One workgroup owns GROUP_LANES images of a block and goes through the steps; its invocations share (unit, image), then
// (four of h or of x, image), and wait for each other after both: x = images, z = block.
// 1 gradient of the output, and 2 packed weights, 4 trace: as in lstm_forward; dz takes the place of the gates.
// 3 slope and 6 grad [block][time][channel][lane], of the input. 5 carry [block][h, c][unit][lane]: gradients of the
// states for the next launch.

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
override TO_INPUT: u32 = 1;
override ADDS: u32 = 0; // to the other direction's gradient of the input
override HAS_SLOPE: u32 = 1;

struct Params {
    first_block: u32,
    first_step: u32, // steps that were walked back before
    n_steps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad_out: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> slope: array<f32>;
@group(0) @binding(4) var<storage, read_write> trace: array<f32>;
@group(0) @binding(5) var<storage, read_write> carry: array<f32>;
@group(0) @binding(6) var<storage, read_write> grad: array<f32>;

fn store_hidden(at: u32, unit: u32, value: f32) {
    if (unit < HIDDEN) {
        carry[at + unit * LANES] = value;
    }
}

fn store_input(base: u32, channel: u32, value: f32) {
    if (channel < IN_CHANNELS) {
        let at = base + channel * LANES;
        var v = value;
        if (HAS_SLOPE == 1u) {
            v *= slope[at];
        }
        if (ADDS == 1u) {
            v += grad[at];
        }
        grad[at] = v;
    }
}

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) group_here: vec3u) {
    let group = group_here + FIRST_GROUP;
    let block = params.first_block + group.z;
    let part = HIDDEN * LANES; // words from one of the trace's parts to the next
    let in_tiles = (IN_CHANNELS + 3u) / 4u;
    let hidden_tiles = (HIDDEN + 3u) / 4u;
    let backward_weights = HIDDEN * 4u * (in_tiles + hidden_tiles); // behind the forward ones
    for (var n = 0u; n < params.n_steps; n++) {
        let step = STEPS - 1u - params.first_step - n;
        let t = select(step, TIME - 1u - step, REVERSE == 1u);
        let now = (block * STEPS + t + STEPS - TIME) * 6u * HIDDEN;
        let before = select(now - min(now, 6u * HIDDEN), now + 6u * HIDDEN, REVERSE == 1u);
        for (var item = local; item < HIDDEN * GROUP_LANES; item += SIZE) {
            let unit = item / GROUP_LANES;
            let lane = group.x * GROUP_LANES + item % GROUP_LANES;
            let at = (now + unit) * LANES + lane;
            let i = trace[at];
            let f = trace[at + part];
            let g = trace[at + 2u * part];
            let o = trace[at + 3u * part];
            let tanh_c = 2.0 / (1.0 + exp(-2.0 * max(trace[at + 4u * part], -40.0))) - 1.0;
            let of_h = (block * 2u * HIDDEN + unit) * LANES + lane;
            var dh = 0.0;
            var dc = 0.0;
            if (step + 1u < STEPS) {
                dh = carry[of_h];
                dc = carry[of_h + part];
            }
            if (OUT_TIME == TIME || step + 1u == STEPS) {
                let out = (block * OUT_TIME + select(0u, t, OUT_TIME == TIME)) * OUT_CHANNELS + REVERSE * HIDDEN;
                dh += grad_out[(out + unit) * LANES + lane];
            }
            dc += dh * o * (1.0 - tanh_c * tanh_c);
            var c_before = 0.0;
            if (step > 0u) {
                c_before = trace[(before + 4u * HIDDEN + unit) * LANES + lane];
            }
            trace[at] = dc * g * i * (1.0 - i);
            trace[at + part] = dc * c_before * f * (1.0 - f);
            trace[at + 2u * part] = dc * i * (1.0 - g * g);
            trace[at + 3u * part] = dh * tanh_c * o * (1.0 - o);
            carry[of_h + part] = dc * f;
        }
        storageBarrier();
        let first = select(in_tiles, 0u, TO_INPUT == 1u) * GROUP_LANES;
        let end = (in_tiles + select(0u, hidden_tiles, step > 0u)) * GROUP_LANES;
        for (var item = first + local; item < end; item += SIZE) {
            let tile = item / GROUP_LANES;
            let lane = group.x * GROUP_LANES + item % GROUP_LANES;
            var w = backward_weights + tile * 4u * HIDDEN;
            var at = now * LANES + lane;
            var sum = vec4f(0.0);
            for (var row = 0u; row < HIDDEN; row++) { // fours of rows
                sum += trace[at] * weights[w] + trace[at + LANES] * weights[w + 1u]
                    + trace[at + 2u * LANES] * weights[w + 2u] + trace[at + 3u * LANES] * weights[w + 3u];
                at += 4u * LANES;
                w += 4u;
            }
            if (tile < in_tiles) {
                let base = (block * TIME + t) * IN_CHANNELS * LANES + lane;
                store_input(base, 4u * tile, sum.x);
                store_input(base, 4u * tile + 1u, sum.y);
                store_input(base, 4u * tile + 2u, sum.z);
                store_input(base, 4u * tile + 3u, sum.w);
            } else {
                let base = block * 2u * HIDDEN * LANES + lane;
                let unit = 4u * (tile - in_tiles);
                store_hidden(base, unit, sum.x);
                store_hidden(base, unit + 1u, sum.y);
                store_hidden(base, unit + 2u, sum.z);
                store_hidden(base, unit + 3u, sum.w);
            }
        }
        storageBarrier();
    }
}
