// Where the fused chain keeps hidden layers' values and gradients: in the image's part of `scratch`, which stays in a
// cache. A layer's slope is overwritten by its gradient. See chain_workgroup.wgsl for the other way.

var<workgroup> parts: array<vec4f, 2u * SIZE>;

fn hidden_base(base: u32) -> u32 {
    return base;
}

fn hidden(at: u32) -> vec4f {
    return scratch[at];
}

fn set_hidden(at: u32, four: vec4f) {
    scratch[at] = four;
}

fn part(at: u32, index: u32) -> vec4f {
    return parts[index];
}

fn set_part(at: u32, index: u32, four: vec4f) {
    parts[index] = four;
}

// Value and slope of layer l.
fn store(l: u32, n: Layer, base: u32, at: u32, value: vec4f, slope: vec4f) {
    scratch[base + n.value + at] = value;
    scratch[base + n.slope + at] = slope;
}

// Between two layers.
fn layer_barrier() {
    storageBarrier();
}

// Between the way there and the way back.
fn turn_barrier() {}
