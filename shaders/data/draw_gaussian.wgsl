// Draws a Gaussian: x = mean + L n with standard normal n, L being the lower triangle of its covariance's Cholesky factor, or
// its diagonal. The blocks are those of a batch's first negatives, then of its second ones, and so on.
// One invocation draws one image: x = lane, z = block. It puts n into x and goes through the features from the last to the
// first, so that those which a row needs are still there.
// 1 state, 2 gaussian: mean, L, inverse of L, and the logarithm of the density's norm, 3 x [block][feature][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 1;
override BATCH: u32 = 16;
override FULL: bool = false;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> gaussian: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

const CONTRAST_NOISE: u32 = 26u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x >= LANES) {
        return;
    }
    let half_blocks = (BATCH + LANES - 1u) / LANES;
    let image = id.z % half_blocks * LANES + id.x;
    let negative = id.z / half_blocks;
    let base = (params.first_block + id.z) * FEATURES * LANES + id.x;
    let key = vec2u(state.seed_low, state.seed_high);
    for (var first = 0u; first < FEATURES; first += 4u) {
        let counter = vec4u((CONTRAST_NOISE << 24u) | (first / 4u), image, negative, state.step);
        let normal = normal_of(philox(counter, key));
        for (var i = 0u; i < min(4u, FEATURES - first); i++) {
            x[base + (first + i) * LANES] = normal[i];
        }
    }
    for (var f = FEATURES; f > 0u; f--) {
        let row = f - 1u;
        var sum = 0.0;
        if (FULL) {
            for (var i = 0u; i <= row; i++) {
                sum += gaussian[FEATURES + row * FEATURES + i] * x[base + i * LANES];
            }
        } else {
            sum = gaussian[FEATURES + row] * x[base + row * LANES];
        }
        x[base + row * LANES] = gaussian[row] + sum;
    }
}
