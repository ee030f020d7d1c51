// A jet's derivatives to loss, metrics and grad_energies of the backward pass. With E1 the energy's first derivatives along the
// directions of second order, E2 the sum of its second ones, n images, and share s:
//   without a direction of first order   loss = mean of s (sum of E1^2) / 2 - s E2
//   with one                             loss = mean of residual / 2 - s E2      (no E2 if there is no other)
//   without any (denoising)              loss = mean of residual / 2
//   grad_energies = dloss/d(components): s E1 / n or 0, 1 / n for the direction of first order (whose derivative with respect to the
//   parameters is that of residual / 2), -s / n for E2, 0 for the energy and for empty lanes.
// One workgroup; sums in a fixed order.
// 1 state, 2 energies and 4 grad_energies [block][component][lane], 3 residual [block][lane], 5 metrics [row of 8].

override LANES: u32 = 16;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;
override METRIC_ROWS: u32 = 1;
override DIRECTIONS: u32 = 1;
override FIRST_ORDER: u32 = 0;

struct Params {
    share: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> energies: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> grad_energies: array<f32>;
@group(0) @binding(5) var<storage, read_write> metrics: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    let lanes = (BATCH + LANES - 1u) / LANES * LANES;
    let n_real = epoch_of(state.step, N_IMAGES, BATCH).n_real;
    let has_second = FIRST_ORDER < DIRECTIONS;
    let n_components = 1u + DIRECTIONS + u32(has_second);
    // half the squares, less the second derivatives, energy
    var sum = vec3f(0.0);
    for (var image = index; image < lanes; image += SIZE) {
        let at = image / LANES * n_components * LANES + image % LANES;
        let is_real = image < n_real;
        let weight = select(0.0, 1.0 / f32(n_real), is_real);
        grad_energies[at] = 0.0;
        var squares = 0.0;
        for (var d = 0u; d < DIRECTIONS; d++) {
            let here = at + (1u + d) * LANES;
            let along = energies[here];
            var seed = 0.0;
            if (d < FIRST_ORDER) {
                seed = weight;
            } else if (FIRST_ORDER == 0u) {
                seed = weight * params.share * along;
                squares += along * along;
            }
            grad_energies[here] = seed;
        }
        var second = 0.0;
        if (has_second) {
            let last = at + (1u + DIRECTIONS) * LANES;
            second = params.share * energies[last];
            grad_energies[last] = -weight * params.share;
        }
        if (is_real) {
            sum += vec3f(0.5 * (residual[image] + params.share * squares), -second, energies[at]);
        }
    }
    let total = workgroup_sum(index, vec4f(sum, 0.0)).xyz;
    if (index == 0u) {
        let mean = total / f32(n_real);
        let row = (state.step % METRIC_ROWS) * 8u;
        metrics[row] = mean.x + mean.y;
        metrics[row + 1u] = mean.x;
        metrics[row + 2u] = mean.y;
        metrics[row + 3u] = mean.z;
        metrics[row + 4u] = 0.0;
        metrics[row + 6u] = f32(n_real);
        metrics[row + 7u] = 0.0;
    }
}
