// The logarithm of a Gaussian's density at each image: -|W (x - mean)|^2 / 2 - norm, W being the inverse of its factor.
// One invocation owns one image: x = lane, z = block.
// 1 gaussian: mean, factor, W, norm, 2 x [block][feature][lane], 3 logarithms [block][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 1;
override FULL: bool = false;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gaussian: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> log_density: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x >= LANES) {
        return;
    }
    let block = params.first_block + id.z;
    let base = block * FEATURES * LANES + id.x;
    let columns = select(1u, FEATURES, FULL);
    let inverse = FEATURES + FEATURES * columns;
    var squares = 0.0;
    for (var row = 0u; row < FEATURES; row++) {
        var z = 0.0;
        if (FULL) {
            for (var i = 0u; i <= row; i++) {
                z += gaussian[inverse + row * FEATURES + i] * (x[base + i * LANES] - gaussian[i]);
            }
        } else {
            z = gaussian[inverse + row] * (x[base + row * LANES] - gaussian[row]);
        }
        squares += z * z;
    }
    log_density[block * LANES + id.x] = -0.5 * squares - gaussian[inverse + FEATURES * columns];
}
