// What a jet begins with at the network's input: component 0 is x; components 1 + d are its directions; then, if some direction
// is not of first order only, zeros, for the second derivatives. Direction 0, if it is of first order only, is the
// gradient, and residual = |gradient|^2; residual is 0 without such a direction. The others are given, or the axes.
// One invocation owns one component of one image: x = lane, y = component, z = block.
// 1 x, 2 gradient: [block][feature][lane]; 3 probes [block][probe][feature][lane]; 4 components
// [block][component][feature][lane]; 5 residual [block][lane]. What is not needed may be any buffer.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 1;
override DIRECTIONS: u32 = 1;
override FIRST_ORDER: u32 = 0;
override AXES: u32 = 0;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read> probes: array<f32>;
@group(0) @binding(4) var<storage, read_write> components: array<f32>;
@group(0) @binding(5) var<storage, read_write> residual: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u, @builtin(workgroup_id) group_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let group = group_here + FIRST_GROUP;
    let lane = id.x;
    if (lane >= LANES) {
        return;
    }
    let block = params.first_block + group.z;
    let component = group.y;
    let n_components = 1u + DIRECTIONS + u32(FIRST_ORDER < DIRECTIONS);
    let n_probes = max(DIRECTIONS, FIRST_ORDER) - FIRST_ORDER;
    let is_own = component >= 1u && component <= FIRST_ORDER;
    let is_probe = component > FIRST_ORDER && component <= DIRECTIONS;
    let probe = max(component, FIRST_ORDER + 1u) - FIRST_ORDER - 1u;
    var sum = 0.0;
    for (var f = 0u; f < FEATURES; f++) {
        let at = (block * FEATURES + f) * LANES + lane;
        var value = 0.0;
        if (component == 0u) {
            value = x[at];
        } else if (is_own) {
            value = gradient[at];
            sum += value * value;
        } else if (is_probe) {
            if (AXES == 1u) {
                value = f32(f == probe);
            } else {
                value = probes[((block * n_probes + probe) * FEATURES + f) * LANES + lane];
            }
        }
        components[((block * n_components + component) * FEATURES + f) * LANES + lane] = value;
    }
    if (component == 1u) {
        residual[block * LANES + lane] = sum;
    }
}
