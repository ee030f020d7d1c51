// The exponential moving average of the parameters: average = kept average + (1 - kept) parameter, where
// kept = min(decay, (1 + t) / (10 + t)) at step t = state.step, counted from 0;
// it stays where training is halted. One invocation owns one parameter. 1 state, 2 parameters, 3 average.

override WORKGROUP_SIZE: u32 = 64;
override N_PARAMETERS: u32 = 1;

struct Params {
    decay: f32,
    one_minus_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> parameters: array<f32>;
@group(0) @binding(3) var<storage, read_write> average: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x < N_PARAMETERS && state.halted == 0u) {
        let t = f32(state.step);
        let kept = min(params.decay, (1.0 + t) / (10.0 + t));
        let share = max(params.one_minus_decay, 9.0 / (10.0 + t));
        average[id.x] = kept * average[id.x] + share * parameters[id.x];
    }
}
