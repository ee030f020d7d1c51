// Where the fused chain keeps hidden layers' values and gradients: in workgroup memory, for adapters that have more of
// it than is guaranteed. Slopes, which are written once and read once, lie in the image's part of `scratch`.
//
// A layer's values are dead when the next layer's are there, and so with gradients on the way back. So there are two
// regions, one for layers of even number and one for those of odd, and what invocations add up among them
// (`add_parts`) lies where their result will.

var<workgroup> memory: array<vec4f, HIDDEN>;

fn hidden_base(base: u32) -> u32 {
    return 0u;
}

fn hidden(at: u32) -> vec4f {
    return memory[at];
}

fn set_hidden(at: u32, four: vec4f) {
    memory[at] = four;
}

fn part(at: u32, index: u32) -> vec4f {
    return memory[at + index];
}

fn set_part(at: u32, index: u32, four: vec4f) {
    memory[at + index] = four;
}

// Value and slope of layer l. The last layer's slope is dE by its pre-activation, and nobody reads its value.
fn store(l: u32, n: Layer, base: u32, at: u32, value: vec4f, slope: vec4f) {
    memory[n.value + at] = select(value, slope, l + 1u == N_LAYERS);
    scratch[base + n.slope + at] = slope;
}

// Between two layers.
fn layer_barrier() {
    workgroupBarrier();
}

// Between the way there and the way back: slopes are read by others than wrote them.
fn turn_barrier() {
    storageBarrier();
}
