// Adam (Kingma and Ba 2015, algorithm 1), with PyTorch's place for epsilon, at step t = state.step + 1:
//   g = scale grad; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2
//   parameter -= learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
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

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x;
    if (i >= N_PARAMETERS) {
        return;
    }
    let g = scale[0] * grad[i];
    let m = params.beta1 * first_moment[i] + params.one_minus_beta1 * g;
    let v = params.beta2 * second_moment[i] + params.one_minus_beta2 * g * g;
    first_moment[i] = m;
    second_moment[i] = v;
    let m_hat = m / correction(params.log_beta1);
    let v_hat = v / correction(params.log_beta2);
    parameters[i] -= params.learning_rate * m_hat / (sqrt(v_hat) + params.epsilon);
}
