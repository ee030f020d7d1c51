// Before a snapshot: numbers that are not finite, in anything that a snapshot is of, halt training (reason 9). Else it is
// to be kept if no step has halted training, and the guard found nothing to doubt for INTERVAL steps, or has seen no step.
// One workgroup. 1 state, 2 counts, 3 memory, 4 keep: 1 or 0.

override N_COUNTS: u32 = 1;
override INTERVAL: u32 = 1;

struct Params {
    first_block: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> state: State;
@group(0) @binding(2) var<storage, read> counts: array<f32>;
@group(0) @binding(3) var<storage, read_write> memory: Memory;
@group(0) @binding(4) var<storage, read_write> keep: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    var count = 0.0;
    for (var i = index; i < N_COUNTS; i += SIZE) {
        count += counts[i];
    }
    let total = workgroup_sum(index, vec4f(count, 0.0, 0.0, 0.0)).x;
    if (index != 0u) {
        return;
    }
    if (state.halted == 0u && total > 0.0) {
        state.halted = 9u;
        memory.value = total;
        memory.usual = 0.0;
    }
    let is_good = memory.steps == 0.0 || memory.calm >= f32(INTERVAL);
    keep[0] = select(0.0, 1.0, state.halted == 0u && is_good);
}
