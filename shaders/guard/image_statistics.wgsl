// How different the images of a batch are, feature by feature: for the positive images and for the negative ones, the variance of
// the feature over the images, and the share of images in which its magnitude is below a bound.
// One invocation sums a feature: x = feature. Sums in a fixed order, of differences from the first image, so that nothing
// cancels where all images are far from 0.
// 1 state; 2 x [block][feature][lane], positive blocks first, four lanes in a vec4f; 3 statistics [feature](variances, shares;
// positive, negative).

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 4;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;

struct Params {
    bound: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> statistics: array<vec4f>;

// The variance of the n images whose blocks begin at block first_block, and the share of them inside the bound.
fn of_half(first_block: u32, feature: u32, n: u32) -> vec2f {
    let fours = LANES / 4u;
    let first = x[(first_block * FEATURES + feature) * fours].x;
    var sum = vec4f(0.0);
    var squares = vec4f(0.0);
    var inside = vec4f(0.0);
    for (var image = 0u; image < n; image += 4u) {
        let value = x[((first_block + image / LANES) * FEATURES + feature) * fours + image % LANES / 4u];
        let is_there = image + vec4u(0u, 1u, 2u, 3u) < vec4u(n);
        let difference = select(vec4f(0.0), value - first, is_there);
        sum += difference;
        squares += difference * difference;
        inside += select(vec4f(0.0), vec4f(1.0), is_there & (abs(value) < vec4f(params.bound)));
    }
    let ones = vec4f(1.0);
    let mean = dot(sum, ones) / f32(n);
    return vec2f(max(dot(squares, ones) / f32(n) - mean * mean, 0.0), dot(inside, ones) / f32(n));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let feature = id.x;
    if (feature >= FEATURES) {
        return;
    }
    let n_real = epoch_of(state.step, N_IMAGES, BATCH).n_real;
    let positive = of_half(0u, feature, n_real);
    let negative = of_half((BATCH + LANES - 1u) / LANES, feature, BATCH);
    statistics[feature] = vec4f(positive.x, negative.x, positive.y, negative.y);
}
