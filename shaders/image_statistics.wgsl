// How different the images of a batch are, feature by feature: for the real images and for the fake ones, the variance of
// the feature over the images, and the share of images in which its magnitude is below a bound.
// One workgroup sums a feature: y, x = feature. Sums in a fixed order, of differences from the first image, so that nothing
// cancels where all images are far from 0.
// 1 state, 2 x [block][feature][lane], real blocks first, 3 statistics [feature](variances, shares; real, fake).

override LANES: u32 = 16;
override FEATURES: u32 = 4;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;

struct Params {
    bound: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> statistics: array<vec4f>;

const ROW: u32 = 32768u; // groups in x

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group: vec3u) {
    let number = group.y * ROW + group.x;
    let feature = min(number, FEATURES - 1u);
    let n_real = epoch_of(state.step, N_IMAGES, BATCH).n_real;
    let half = (BATCH + LANES - 1u) / LANES * FEATURES * LANES; // words of each half
    let first = vec2f(x[feature * LANES], x[half + feature * LANES]);
    // real and fake: differences, their squares
    var sum = vec4f(0.0);
    var inside = vec2f(0.0);
    for (var image = index; image < BATCH; image += SIZE) {
        let at = (image / LANES * FEATURES + feature) * LANES + image % LANES;
        let value = vec2f(x[at], x[half + at]);
        let is_there = vec2<bool>(image < n_real, true);
        let difference = select(vec2f(0.0), value - first, is_there);
        sum += vec4f(difference, difference * difference);
        inside += select(vec2f(0.0), vec2f(1.0), is_there & (abs(value) < vec2f(params.bound)));
    }
    let n = vec2f(f32(n_real), f32(BATCH));
    let total = workgroup_sum(index, sum);
    workgroupBarrier();
    let share = workgroup_sum(index, vec4f(inside, 0.0, 0.0)).xy / n;
    if (index == 0u && number < FEATURES) {
        let mean = total.xy / n;
        statistics[feature] = vec4f(max(total.zw / n - mean * mean, vec2f(0.0)), share);
    }
}
