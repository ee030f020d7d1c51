// Copies LENGTH words, if keep[0] is not 0 or ALWAYS is true.
// x = group, of GROUPS, each with a stretch of words of its own. 1 keep, 2 words to read, 3 words to write.

override WORKGROUP_SIZE: u32 = 64;
override LENGTH: u32 = 1;
override GROUPS: u32 = 1;
override ALWAYS: bool = false;

struct Params {
    first_block: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> keep: array<f32>;
@group(0) @binding(2) var<storage, read> source: array<u32>;
@group(0) @binding(3) var<storage, read_write> copy: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group_here: vec3u) {
    let group = group_here + FIRST_GROUP;
    if (keep[0] == 0.0 && !ALWAYS) {
        return;
    }
    let share = (LENGTH + GROUPS - 1u) / GROUPS;
    let end = min((group.x + 1u) * share, LENGTH);
    for (var i = group.x * share + index; i < end; i += WORKGROUP_SIZE) {
        copy[i] = source[i];
    }
}
