// The spectral norm's estimate sigma = |t| / |v|, the next u = t / |t|, and W min(1, bound / sigma).
// x = 1,024 of the weights W [row][column]; every workgroup sums up the norms, and the first writes u and sigma.
// Where training is halted, W and u stay. 1 state, 2 v, 3 t, 4 parameters, 5 u of all matrices, 6 sigma of all matrices.

override ROWS: u32 = 1;
override COLUMNS: u32 = 1;
override WEIGHT_OFFSET: u32 = 0;
override VECTOR_OFFSET: u32 = 0;
override NUMBER: u32 = 0;

struct Params {
    bound: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> t: array<f32>;
@group(0) @binding(4) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(5) var<storage, read_write> u: array<f32>;
@group(0) @binding(6) var<storage, read_write> norms: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group_here: vec3u) {
    let group = group_here + FIRST_GROUP;
    var squares = vec4f(0.0); // of v, and of t
    for (var column = index; column < COLUMNS; column += SIZE) {
        squares.x += v[column] * v[column];
    }
    for (var row = index; row < ROWS; row += SIZE) {
        squares.y += t[row] * t[row];
    }
    let total = workgroup_sum(index, squares);
    let is_known = total.x > 0.0 && total.y > 0.0 && max(total.x, total.y) < 3.4028234e38;
    var sigma = 0.0;
    if (is_known) {
        sigma = sqrt(total.y / total.x);
    }
    if (group.x == 0u && index == 0u) {
        norms[NUMBER] = sigma;
    }
    if (state.halted != 0u) {
        return;
    }
    if (group.x == 0u) {
        if (is_known) {
            for (var row = index; row < ROWS; row += SIZE) {
                u[VECTOR_OFFSET + row] = t[row] / sqrt(total.y);
            }
        }
    }
    if (sigma > params.bound) {
        for (var i = 0u; i < 4u; i++) {
            let at = (group.x * 4u + i) * SIZE + index;
            if (at < ROWS * COLUMNS) {
                parameters[WEIGHT_OFFSET + at] *= params.bound / sigma;
            }
        }
    }
}
