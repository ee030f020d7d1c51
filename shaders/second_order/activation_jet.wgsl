// The activation f of a jet: value, first derivatives along DIRECTIONS directions d, and (unless all of them are of first
// order only, as the first FIRST_ORDER are) the sum of second derivatives along the others.
//   a[0] = f(z0), z0 = z[0] + bias;   a[1 + d] = f'(z0) z[1 + d];
//   a[1 + DIRECTIONS] = f''(z0) (sum over d >= FIRST_ORDER of z[1 + d]^2) + f'(z0) z[1 + DIRECTIONS].
// One invocation owns one feature of four neighbouring lanes: x = feature by lanes, z = block.
// 1 z, 2 parameters (for the bias), 3 a; z and a [block][component][feature][lane]; the first two are lib/jet.wgsl's.

@group(0) @binding(3) var<storage, read_write> a: array<vec4f>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let component = component_len();
    if (id.x >= component) {
        return;
    }
    let has_second = FIRST_ORDER < DIRECTIONS;
    let at = place(id);
    let f = curves_of(id, at);
    a[at] = f.value;
    var squares = vec4f(0.0);
    for (var d = 0u; d < DIRECTIONS; d++) {
        let tangent = z[at + (1u + d) * component];
        a[at + (1u + d) * component] = f.slope * tangent;
        if (d >= FIRST_ORDER) {
            squares += tangent * tangent;
        }
    }
    if (has_second) {
        let last = at + (1u + DIRECTIONS) * component;
        a[last] = f.second * squares + f.slope * z[last];
    }
}
