// Energies to loss, metrics and dL/dE: energy discrepancy. Of a data image's energy E and those E_j of its M negatives, with
// z_j = E - E_j:
//   loss = mean over n data images of log((w + sum of exp(z_j)) / M)
//   p_j = exp(z_j) / (w + sum of exp(z_j)), dL/dE = (sum of p_j) / n, dL/dE_j = -p_j / n; 0 for lanes without a data image.
// One workgroup; sums in a fixed order.
// 1 state, 2 energies [block][lane]: data images, then their first negatives, their second ones, ..., 3 dL/dE,
// 4 metrics [row of 8].

override LANES: u32 = 16;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;
override METRIC_ROWS: u32 = 1;
override NEGATIVES: u32 = 1;

struct Params {
    weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> energies: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_energies: array<f32>;
@group(0) @binding(4) var<storage, read_write> metrics: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    let half = (BATCH + LANES - 1u) / LANES * LANES; // lanes of the data images, and of each negative
    let n_real = epoch_of(state.step, N_IMAGES, BATCH).n_real;
    let n = f32(n_real);
    var sum = vec4f(0.0); // loss, E, E_j
    for (var i = index; i < half; i += SIZE) {
        var of_data = 0.0;
        if (i < n_real) {
            let energy = energies[i];
            var largest = select(energy - energies[half + i], 0.0, params.weight > 0.0);
            for (var j = 1u; j <= NEGATIVES; j++) {
                largest = max(largest, energy - energies[j * half + i]);
            }
            var total = params.weight * exp(-largest);
            var negative = 0.0;
            for (var j = 1u; j <= NEGATIVES; j++) {
                let e = energies[j * half + i];
                total += exp(energy - e - largest);
                negative += e;
            }
            for (var j = 1u; j <= NEGATIVES; j++) {
                let p = exp(energy - energies[j * half + i] - largest) / total;
                grad_energies[j * half + i] = -p / n;
                of_data += p;
            }
            sum += vec4f(largest + log(total / f32(NEGATIVES)), energy, negative, 0.0);
        } else {
            for (var j = 1u; j <= NEGATIVES; j++) {
                grad_energies[j * half + i] = 0.0;
            }
        }
        grad_energies[i] = of_data / n;
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
