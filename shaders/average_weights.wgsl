// The exponential moving average of the parameters: average = decay average + (1 - decay) parameter;
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
fn main(@builtin(global_invocation_id) id: vec3u) {
    if (id.x < N_PARAMETERS && state.halted == 0u) {
        average[id.x] = params.decay * average[id.x] + params.one_minus_decay * parameters[id.x];
    }
}
