// Energies with a formula, and their gradients in closed form; network::Analytic has the formulas, and ENERGY is its
// number. Mixtures of CENTRES Gaussians of deviation SIGMA: E = LOG_NORM - ln sum_k exp(-|x - c_k|^2 / (2 SIGMA^2)).
// One invocation owns one point: x = lane, z = block.
// 1 x, 3 gradient: [block][feature][lane], 2 energy [block][lane].

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override FEATURES: u32 = 2;
override ENERGY: u32 = 0;
override CENTRES: u32 = 1;
override SIGMA: f32 = 1.0;
override LOG_NORM: f32 = 0.0;

struct Params {
    first_block: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> energy: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;

const TAU: f32 = 6.283185307179586;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    if (id.x >= LANES) {
        return;
    }
    let block = params.first_block + id.z;
    let at = block * FEATURES * LANES + id.x;
    var e = 0.0;
    switch (ENERGY) {
        case 0u: { // Gaussian
            for (var f = 0u; f < FEATURES; f++) {
                let v = x[at + f * LANES];
                let k = select(1.0, 4.0, f % 2u == 1u);
                e += 0.5 * k * v * v;
                gradient[at + f * LANES] = k * v;
            }
        }
        case 1u: { // double well
            for (var f = 0u; f < FEATURES; f++) {
                let v = x[at + f * LANES];
                let w = v * v - 1.0;
                e += select(0.5 * v * v, 2.0 * w * w, f == 0u);
                gradient[at + f * LANES] = select(v, 8.0 * v * w, f == 0u);
            }
        }
        case 2u: { // Rosenbrock
            let v = x[at];
            let w = x[at + LANES] - v * v;
            e = (1.0 - v) * (1.0 - v) + 100.0 * w * w;
            gradient[at] = 2.0 * (v - 1.0) - 400.0 * v * w;
            gradient[at + LANES] = 200.0 * w;
        }
        case 3u: { // Rastrigin; 10 (1 - cos(2 pi v)) = 20 sin(pi v)^2, which is right near 0, too
            for (var f = 0u; f < FEATURES; f++) {
                let v = x[at + f * LANES];
                let c = circle(0.5 * v);
                e += v * v + 20.0 * c.y * c.y;
                gradient[at + f * LANES] = 2.0 * v + 20.0 * TAU * c.x * c.y;
            }
        }
        case 4u: { // Ackley
            var squares = 0.0;
            var cosines = 0.0;
            for (var f = 0u; f < FEATURES; f++) {
                let v = x[at + f * LANES];
                squares += v * v;
                cosines += circle(v).x;
            }
            let d = f32(FEATURES);
            let radius = sqrt(squares / d);
            let a = exp(-0.2 * radius);
            let b = exp(cosines / d);
            e = 20.0 * (1.0 - a) + (2.718281828459045 - b);
            let pull = select(0.0, 4.0 * a / (d * radius), radius > 0.0);
            for (var f = 0u; f < FEATURES; f++) {
                let v = x[at + f * LANES];
                gradient[at + f * LANES] = pull * v + TAU * b / d * circle(v).y;
            }
        }
        default: { // mixtures: the exponents less the largest, so that one of them is 0
            let p = vec2f(x[at], x[at + LANES]);
            let scale = 0.5 / (SIGMA * SIGMA);
            var nearest = 3.4028234e38;
            for (var k = 0u; k < CENTRES; k++) {
                let away = p - centre(ENERGY - 5u, k);
                nearest = min(nearest, dot(away, away) * scale);
            }
            var sum = 0.0;
            var pull = vec2f(0.0);
            for (var k = 0u; k < CENTRES; k++) {
                let away = p - centre(ENERGY - 5u, k);
                let weight = exp(max(nearest - dot(away, away) * scale, -80.0));
                sum += weight;
                pull += weight * away;
            }
            e = nearest - log(sum) + LOG_NORM;
            gradient[at] = 2.0 * scale * pull.x / sum;
            gradient[at + LANES] = 2.0 * scale * pull.y / sum;
        }
    }
    energy[block * LANES + id.x] = e;
}
