// The weights' L2 penalty in the metrics: weight times the sum of `partial` is added to the loss and the regularisation.
// One workgroup; sums in a fixed order. 1 state, 2 partial sums of squares, 3 metrics [row of 8].

override N_PARTIALS: u32 = 1;
override METRIC_ROWS: u32 = 1;

struct Params {
    weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> partial: array<f32>;
@group(0) @binding(3) var<storage, read_write> metrics: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var i = index; i < N_PARTIALS; i += SIZE) {
        sum += partial[i];
    }
    let total = workgroup_sum(index, vec4f(sum, 0.0, 0.0, 0.0)).x;
    if (index == 0u) {
        let row = (state.step % METRIC_ROWS) * 8u;
        metrics[row] += params.weight * total;
        metrics[row + 2u] += params.weight * total;
    }
}
