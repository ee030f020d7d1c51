// Energies to loss, metrics and dL/dE: noise-contrastive estimation. With z = -E - log q - log M, M negatives to a data image:
//   loss = mean over n data images of log(1 + exp(-z)) + sum over the negatives of log(1 + exp(z)), over n
//   dL/dE = 1 / (1 + exp(z)) / n of a data image, -1 / (1 + exp(-z)) / n of a negative; 0 for lanes without a data image.
// One workgroup; sums in a fixed order.
// 1 state, 2 energies [block][lane]: data images, then first negatives, second ones, ..., 3 log q [block][lane], 4 dL/dE,
// 5 metrics [row of 8].

override LANES: u32 = 16;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;
override METRIC_ROWS: u32 = 1;
override NEGATIVES: u32 = 1;

struct Params {
    log_negatives: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> energies: array<f32>;
@group(0) @binding(3) var<storage, read> log_noise: array<f32>;
@group(0) @binding(4) var<storage, read_write> grad_energies: array<f32>;
@group(0) @binding(5) var<storage, read_write> metrics: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    let half = (BATCH + LANES - 1u) / LANES * LANES; // lanes of the data images, and of each negative
    let n_real = epoch_of(state.step, N_IMAGES, BATCH).n_real;
    let n = f32(n_real);
    var sum = vec4f(0.0); // loss, energies of data images and of negatives
    for (var i = index; i < half; i += SIZE) {
        for (var j = 0u; j <= NEGATIVES; j++) {
            let at = j * half + i;
            var gradient = 0.0;
            if (i < n_real) {
                let energy = energies[at];
                // How far the logistic function is on the wrong side.
                let sign = select(1.0, -1.0, j == 0u);
                let wrong = sign * (-energy - log_noise[at] - params.log_negatives);
                let small = exp(-abs(wrong));
                gradient = -sign * select(small, 1.0, wrong > 0.0) / (1.0 + small) / n;
                sum += vec4f(max(wrong, 0.0) + log(1.0 + small), select(vec2f(0.0, energy), vec2f(energy, 0.0), j == 0u), 0.0);
            }
            grad_energies[at] = gradient;
        }
    }
    let mean = workgroup_sum(index, sum) / vec4f(n, n, n * f32(NEGATIVES), 1.0);
    if (index == 0u) {
        let row = (state.step % METRIC_ROWS) * 8u;
        metrics[row] = mean.x;
        metrics[row + 1u] = mean.x;
        metrics[row + 2u] = 0.0;
        metrics[row + 3u] = mean.y;
        metrics[row + 4u] = mean.z;
        metrics[row + 6u] = n;
        metrics[row + 7u] = 0.0;
    }
}
