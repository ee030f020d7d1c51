// The sum of a value over a workgroup of SIZE invocations, every one of which has to ask: a tree, so that the order is
// the same every time.

const SIZE = 256u;
var<workgroup> sums: array<vec4f, SIZE>;

fn workgroup_sum(index: u32, value: vec4f) -> vec4f {
    sums[index] = value;
    for (var stride = SIZE / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if (index < stride) {
            sums[index] += sums[index + stride];
        }
    }
    workgroupBarrier();
    return sums[0];
}
