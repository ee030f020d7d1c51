// The way back through the activation f of a jet (activation_jet.wgsl): g is the gradient with respect to its components a
// before, and with respect to the pre-activation's components z after. With s = 1 + DIRECTIONS, z0 = z[0] + bias, and the
// terms of g[s] only for directions d >= FIRST_ORDER:
//   g[0] = g[0] f'(z0) + g[s] f''(z0) z[s] + sum over d of (g[1 + d] f''(z0) z[1 + d] + g[s] f'''(z0) z[1 + d]^2)
//   g[1 + d] = g[1 + d] f'(z0) + 2 g[s] f''(z0) z[1 + d];   g[s] = g[s] f'(z0).
// One invocation owns one feature of four neighbouring lanes: x = feature by lanes, z = block.
// 1 z, 2 parameters (for the bias), 3 g; z and g [block][component][feature][lane]; the first two are lib/jet.wgsl's.

@group(0) @binding(3) var<storage, read_write> g: array<vec4f>;

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
    var sum = f.slope * g[at];
    var of_second = vec4f(0.0);
    if (has_second) {
        let last = at + (1u + DIRECTIONS) * component;
        of_second = g[last];
        sum += of_second * f.second * z[last];
        g[last] = of_second * f.slope;
    }
    for (var d = 0u; d < DIRECTIONS; d++) {
        let here = at + (1u + d) * component;
        let tangent = z[here];
        let gradient = g[here];
        sum += gradient * f.second * tangent;
        var next = gradient * f.slope;
        if (d >= FIRST_ORDER) {
            sum += of_second * f.third * tangent * tangent;
            next += 2.0 * of_second * f.second * tangent;
        }
        g[here] = next;
    }
    g[at] = sum;
}
