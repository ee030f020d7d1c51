// How many numbers are NaN or infinite: counts[first + group] = those among the group's share of LENGTH values.
// x = group, of GROUPS, each with a stretch of values of its own. 1 values, 2 counts.

override LENGTH: u32 = 1;
override GROUPS: u32 = 1;

struct Params {
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group_here: vec3u) {
    let group = group_here + FIRST_GROUP;
    let share = (LENGTH + GROUPS - 1u) / GROUPS;
    let end = min((group.x + 1u) * share, LENGTH);
    var count = 0u;
    for (var i = group.x * share + index; i < end; i += SIZE) {
        count += select(1u, 0u, is_finite(values[i]));
    }
    let total = workgroup_sum(index, vec4f(f32(count), 0.0, 0.0, 0.0)).x;
    if (index == 0u) {
        counts[params.first + group.x] = total;
    }
}
