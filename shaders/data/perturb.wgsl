// Blurs images: x = x + sigma n; then n / sigma in the noise's place, which is what dE/dx is to be there. Sigma is one
// number, of weight 1, or that rung of a geometric ladder of LEVELS that the image's uniform number in [-1, 1) chooses, of
// weight sigma^2.
// One invocation owns one feature of one image: x = feature by lane, z = block.
// 1 level [block][lane], 2 noise and 3 x [block][feature][lane], 4 weight [block][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 1;
override LEVELS: u32 = 1;
override VELOCITY: bool = false;

struct Params {
    first_block: u32,
    sigma: f32,
    log_ratio: f32, // of the largest sigma to the smallest
    from_noise: f32, // more than 0: the top rung's images become noise alone, and their target is this share of -x
    scale: f32,      // weight of all images
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> level: array<f32>;
@group(0) @binding(2) var<storage, read_write> noise: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> weight: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x >= FEATURES * LANES) {
        return;
    }
    let block = params.first_block + id.z;
    let image = block * LANES + id.x % LANES;
    var sigma = params.sigma;
    var rung = 0u;
    if (LEVELS > 1u) {
        rung = min(u32(0.5 * (level[image] + 1.0) * f32(LEVELS)), LEVELS - 1u);
        sigma *= exp(f32(rung) / f32(LEVELS - 1u) * params.log_ratio);
    }
    let at = block * FEATURES * LANES + id.x;
    let n = noise[at];
    if (VELOCITY) {
        let noise_alone = params.from_noise > 0.0 && rung == LEVELS - 1u;
        let alpha = 1.0 / sqrt(1.0 + sigma * sigma);
        let keep = select(alpha, 0.0, noise_alone);
        let share = select(sigma * alpha, 1.0, noise_alone);
        let lost = select(share, params.from_noise, noise_alone);
        let image_x = x[at];
        x[at] = keep * image_x + share * n;
        noise[at] = keep * n - lost * image_x;
    } else {
        x[at] += sigma * n;
        noise[at] = n / sigma;
    }
    if (id.x < LANES) {
        weight[image] = params.scale * select(1.0, sigma * sigma, LEVELS > 1u && !VELOCITY);
    }
}
