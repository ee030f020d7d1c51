// The share of proposals that were accepted, into the metrics: the mean of the batch's counts, over the chain's steps.
// One workgroup; sums in a fixed order. 1 state, 2 decisions [block][2][lane] (mala_accept.wgsl), 3 metrics [row of 8].

override LANES: u32 = 16;
override BATCH: u32 = 16;
override METRIC_ROWS: u32 = 1;

struct Params {
    first_block: u32,
    steps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> decisions: array<f32>;
@group(0) @binding(3) var<storage, read_write> metrics: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var i = index; i < BATCH; i += SIZE) {
        sum += decisions[((params.first_block + i / LANES) * 2u + 1u) * LANES + i % LANES];
    }
    let total = workgroup_sum(index, vec4f(sum, 0.0, 0.0, 0.0)).x;
    if (index == 0u) {
        metrics[(state.step % METRIC_ROWS) * 8u + 7u] = total / f32(BATCH * params.steps);
    }
}
