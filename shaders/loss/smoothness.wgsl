// The smoothness penalty: with E_i the energy of real image i, and E'_i that of the same image with noise,
//   penalty = weight mean (E'_i - E_i)^2, added to the loss and the regularisation;
//   seed'_i = 2 weight (E'_i - E_i) / n_r, and as much is taken off seed_i. Empty lanes get 0.
// One workgroup; sums in a fixed order.
// 1 state, 2 energies [block][lane], real blocks first, 3 grad_energies, 4 metrics [row of 8].

override LANES: u32 = 16;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;
override METRIC_ROWS: u32 = 1;

struct Params {
    first_block: u32, // of the images with noise
    weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> energies: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_energies: array<f32>;
@group(0) @binding(4) var<storage, read_write> metrics: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    let lanes = (BATCH + LANES - 1u) / LANES * LANES;
    let noisy = params.first_block * LANES;
    let n_real = epoch_of(state.step, N_IMAGES, BATCH).n_real;
    var sum = 0.0;
    for (var i = index; i < lanes; i += SIZE) {
        var seed = 0.0;
        if (i < n_real) {
            let difference = energies[noisy + i] - energies[i];
            sum += difference * difference;
            seed = 2.0 * params.weight * difference / f32(n_real);
        }
        grad_energies[noisy + i] = seed;
        grad_energies[i] -= seed;
    }
    let total = workgroup_sum(index, vec4f(sum, 0.0, 0.0, 0.0)).x;
    if (index == 0u) {
        let penalty = params.weight * total / f32(n_real);
        let row = (state.step % METRIC_ROWS) * 8u;
        metrics[row] += penalty;
        metrics[row + 2u] += penalty;
    }
}
