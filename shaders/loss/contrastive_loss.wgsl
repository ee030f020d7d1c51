// Energies to loss, metrics and grad_energies of the backward pass. With n_r positive and n_f negative images:
//   divergence = mean E(positive) - mean E(negative)
//   regularisation = alpha (mean of E(positive)^2 + mean of E(negative)^2)
//   loss = divergence + regularisation
//   seed = dloss/dE = (1 + 2 alpha E) / n_r for positive images, (-1 + 2 alpha E) / n_f for negative ones, 0 for empty lanes.
// With square_of_means the regularisation has the squares of the means, and the grad_energies the means instead of E.
// One workgroup; sums in a fixed order.
// 1 state, 2 energies [block][lane], positive blocks first, 3 grad_energies, 4 metrics [row of 8].

override LANES: u32 = 16;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;
override METRIC_ROWS: u32 = 1;

struct Params {
    alpha: f32,
    square_of_means: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> energies: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_energies: array<f32>;
@group(0) @binding(4) var<storage, read_write> metrics: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    let half = (BATCH + LANES - 1u) / LANES * LANES; // lanes of the positive half, and of the negative half
    let n_real = epoch_of(state.step, N_IMAGES, BATCH).n_real;
    // E positive, E negative, their squares
    var sum = vec4f(0.0);
    for (var i = index; i < half; i += SIZE) {
        let positive = energies[i];
        let negative = energies[half + i];
        let is_positive = i < n_real;
        let is_negative = i < BATCH;
        if (is_positive) {
            sum += vec4f(positive, 0.0, positive * positive, 0.0);
        }
        if (is_negative) {
            sum += vec4f(0.0, negative, 0.0, negative * negative);
        }
    }
    let total = workgroup_sum(index, sum);
    let mean = total / vec4f(f32(n_real), f32(BATCH), f32(n_real), f32(BATCH));
    let of_means = params.square_of_means != 0u;
    for (var i = index; i < half; i += SIZE) {
        let positive = select(energies[i], mean.x, of_means);
        let negative = select(energies[half + i], mean.y, of_means);
        grad_energies[i] = select(0.0, (1.0 + 2.0 * params.alpha * positive) / f32(n_real), i < n_real);
        grad_energies[half + i] = select(0.0, (-1.0 + 2.0 * params.alpha * negative) / f32(BATCH), i < BATCH);
    }
    if (index == 0u) {
        let squares = select(mean.zw, mean.xy * mean.xy, of_means);
        let divergence = mean.x - mean.y;
        let regularisation = params.alpha * (squares.x + squares.y);
        let row = (state.step % METRIC_ROWS) * 8u;
        metrics[row] = divergence + regularisation;
        metrics[row + 1u] = divergence;
        metrics[row + 2u] = regularisation;
        metrics[row + 3u] = mean.x;
        metrics[row + 4u] = mean.y;
        metrics[row + 6u] = f32(n_real);
        metrics[row + 7u] = 0.0;
    }
}
