// Ends a training step: the step counter, and the replay ring's head and length; nothing if training is halted.
// One invocation.
// 1 state.

override BATCH: u32 = 16;
override CAPACITY: u32 = 16;

struct Params {
    first_block: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> state: State;

@compute @workgroup_size(1)
fn main() {
    if (state.halted != 0u) {
        return;
    }
    state.step += 1u;
    state.replay_head = (state.replay_head + BATCH) % CAPACITY;
    state.replay_length = min(state.replay_length + BATCH, CAPACITY);
}
