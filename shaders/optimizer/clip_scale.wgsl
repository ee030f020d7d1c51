// Gradient norm and the factor that clips it: norm = sqrt(sum of partial); scale = min(1, clip / norm), 1 where clip
// is 0 (off). The norm goes into the step's row of the metrics.
// One workgroup; sums in a fixed order. 1 state, 2 partial, 3 scale, 4 metrics.

override N_PARTIALS: u32 = 1;
override METRIC_ROWS: u32 = 1;

struct Params {
    clip: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> partial: array<f32>;
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> metrics: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var i = index; i < N_PARTIALS; i += SIZE) {
        sum += partial[i];
    }
    let total = workgroup_sum(index, vec4f(sum, 0.0, 0.0, 0.0)).x;
    if (index == 0u) {
        let norm = sqrt(total);
        metrics[(state.step % METRIC_ROWS) * 8u + 5u] = norm;
        scale[0] = select(1.0, params.clip / max(norm, 1e-30), params.clip > 0.0 && norm > params.clip);
    }
}
