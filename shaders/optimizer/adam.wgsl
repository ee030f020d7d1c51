// Adam (Kingma and Ba 2015, algorithm 1), with PyTorch's place for epsilon, at step t = state.step + 1:
//   g = clamp(scale grad); m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2
//   parameter = (1 - rate weight_decay) parameter - rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
//   rate = learning_rate decay(t) min(1, t / warm_up) retry_factor^retries
// Nothing changes where training is halted.
// One invocation owns one parameter.
// 1 state, 2 grad, 3 scale, 4 first moment m, 5 second moment v, 6 parameters.

override WORKGROUP_SIZE: u32 = 64;
override N_PARAMETERS: u32 = 1;

struct Params {
    learning_rate: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    log_beta1: f32,
    log_beta2: f32,
    gradient_clip: f32,
    weight_decay: f32,
    decay: u32, // 0 constant, 1 exponential, 2 cosine
    log_factor: f32,
    period: u32,
    warm_up: u32,
    retry_factor: f32, // for each time that training went back to a snapshot
    spare: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> first_moment: array<f32>;
@group(0) @binding(5) var<storage, read_write> second_moment: array<f32>;
@group(0) @binding(6) var<storage, read_write> parameters: array<f32>;

// 1 - beta^t = 1 - exp(t log beta), by its series where a difference would cancel. A beta of 0 has a log of -1e30.
fn correction(log_beta: f32) -> f32 {
    let x = max(f32(state.step + 1u) * log_beta, -80.0);
    if (x < -0.5) {
        return 1.0 - exp(x);
    }
    var series = 1.0;
    for (var k = 9u; k > 1u; k--) {
        series = 1.0 + x / f32(k) * series;
    }
    return -x * series;
}

// What the learning rate is multiplied by. (1 + cos(pi t)) / 2 is the square of cos(pi t / 2), whose polynomial is that of
// lib/random.wgsl: drivers' own cosine may be off by 2^-11.
fn factor() -> f32 {
    var f = 1.0;
    if (params.decay == 1u) {
        f = exp(f32(state.step / params.period) * params.log_factor);
    } else if (params.decay == 2u) {
        let turns = 0.25 * f32(min(state.step, params.period)) / f32(params.period);
        let s = turns * turns;
        var cosine = 56.24053955078125;
        cosine = cosine * s - 85.24009704589844;
        cosine = cosine * s + 64.93457794189453;
        cosine = cosine * s - 19.739171981811523;
        cosine = cosine * s + 0.9999999403953552;
        f = cosine * cosine;
    }
    if (state.step < params.warm_up) {
        f *= f32(state.step + 1u) / f32(params.warm_up);
    }
    return f;
}

// A factor of a half comes to 0 sooner.
const MOST_RETRIES: u32 = 1000u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let i = id.x;
    if (i >= N_PARAMETERS || state.halted != 0u) {
        return;
    }
    let g = clamp(scale[0] * grad[i], -params.gradient_clip, params.gradient_clip);
    let m = params.beta1 * first_moment[i] + params.one_minus_beta1 * g;
    let v = params.beta2 * second_moment[i] + params.one_minus_beta2 * g * g;
    first_moment[i] = m;
    second_moment[i] = v;
    let m_hat = m / correction(params.log_beta1);
    let v_hat = v / correction(params.log_beta2);
    var rate = params.learning_rate * factor();
    for (var retry = 0u; retry < min(state.retries, MOST_RETRIES); retry++) {
        rate *= params.retry_factor;
    }
    let kept = 1.0 - rate * params.weight_decay;
    parameters[i] = kept * parameters[i] - rate * m_hat / (sqrt(v_hat) + params.epsilon);
}
