// Energies of images at noise levels to loss, metrics and the gradient with respect to the energies. Pair i is data image i
// and chain i, at the level where the chain ends the step; n pairs, of which those whose sigma is at most sigma_max count:
//   divergence = sum of E(data) - E(chain) / n
//   loss = weight divergence + alpha sum of E(data)^2 + E(chain)^2 / n  (+ the denoising loss that the row has already)
//   gradient = (weight + 2 alpha E) / n for data images, (-weight + 2 alpha E) / n for chains, 0 for pairs that do not count
// Beside them, for each band of levels, the mean gap E(chain) - E(data) and the number of pairs; of the chains at the last
// level, how many ran off: the variance of their values, less that of the level's noise, is far from that of data images.
// One workgroup; sums in a fixed order.
// 1 state, 2 energies [block][lane], data blocks first, 3 levels, 4 variances, 5 gradient, 6 metrics [row of 8], 7 bands [row
// of 16].

override LANES: u32 = 16;
override BATCH: u32 = 16;
override LONG_BATCH: u32 = 0;
override N_IMAGES: u32 = 1;
override METRIC_ROWS: u32 = 1;
override LAST_LEVEL: u32 = 1;

struct Params {
    dynamics: Dynamics,
    weight: f32,
    alpha: f32,
    sigma_max: f32,
    steps: u32,
    denoises: u32,
    spare0: u32,
    spare1: u32,
    spare2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> energies: array<f32>;
@group(0) @binding(3) var<storage, read> levels: array<f32>;
@group(0) @binding(4) var<storage, read> variances: array<f32>;
@group(0) @binding(5) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(6) var<storage, read_write> metrics: array<f32>;
@group(0) @binding(7) var<storage, read_write> bands: array<f32>;

// The band of a pair: three thirds of the way, chains at the last level, long ones there.
fn band_of(image: u32, level: u32) -> u32 {
    let at_end = select(3u, 4u, image < LONG_BATCH);
    return select(3u * level / max(LAST_LEVEL, 1u), at_end, level == LAST_LEVEL);
}

// The sum, before the workgroup's memory is used again.
fn total_of(index: u32, value: vec4f) -> vec4f {
    let total = workgroup_sum(index, value);
    workgroupBarrier();
    return total;
}

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    let half = (BATCH + LANES - 1u) / LANES * LANES;
    let n = epoch_of(state.step, N_IMAGES, BATCH).n_real;
    let d = params.dynamics;
    var energy = vec4f(0.0); // of data, of chains, squares, pairs that count
    var low = vec4f(0.0);    // gaps of bands 0 to 3
    var low_n = vec4f(0.0);
    var high = vec4f(0.0);   // gap of band 4, its pairs, variances of data images at the last level
    for (var i = index; i < half; i += SIZE) {
        let level = min(u32(levels[half + i]) + params.steps, LAST_LEVEL);
        let counts = i < n && sigma_of(d, level) <= params.sigma_max;
        let e_data = energies[i];
        let e_chain = energies[half + i];
        if (counts) {
            energy += vec4f(e_data, e_chain, e_data * e_data + e_chain * e_chain, 1.0);
        }
        if (i < n) {
            let band = band_of(i, level);
            let is_band = vec4u(band) == vec4u(0u, 1u, 2u, 3u);
            low += select(vec4f(0.0), vec4f(e_chain - e_data), is_band);
            low_n += select(vec4f(0.0), vec4f(1.0), is_band);
            if (band == 4u) {
                high += vec4f(e_chain - e_data, 1.0, 0.0, 0.0);
            }
            if (level == LAST_LEVEL) {
                high.z += variances[i];
            }
        }
        gradient[i] = select(0.0, (params.weight + 2.0 * params.alpha * e_data) / f32(n), counts);
        gradient[half + i] = select(0.0, (-params.weight + 2.0 * params.alpha * e_chain) / f32(n), counts);
    }
    energy = total_of(index, energy);
    low = total_of(index, low);
    low_n = total_of(index, low_n);
    high = total_of(index, high);
    let at_end = low_n.w + high.y;
    let sigma = sigma_of(d, LAST_LEVEL);
    let noise = sigma * sigma / (1.0 + sigma * sigma);
    let usual = high.z / max(at_end, 1.0) - noise;
    var off = 0.0;
    for (var i = index; i < n; i += SIZE) {
        let own = variances[half + i] - noise;
        let is_off = own > 2.25 * usual || own < 0.25 * usual;
        let stands_there = u32(levels[half + i]) + params.steps >= LAST_LEVEL;
        off += select(0.0, 1.0, is_off && stands_there);
    }
    let ran_off = total_of(index, vec4f(off)).x;
    if (index == 0u) {
        let divergence = (energy.x - energy.y) / f32(n);
        let penalty = params.alpha * (energy.z / f32(n));
        let row = state.step % METRIC_ROWS;
        let at = row * 8u;
        let denoising = select(0.0, metrics[at], params.denoises != 0u);
        metrics[at] = params.weight * divergence + penalty + denoising;
        metrics[at + 1u] = divergence;
        metrics[at + 2u] = penalty;
        metrics[at + 3u] = energy.x / max(energy.w, 1.0);
        metrics[at + 4u] = energy.y / max(energy.w, 1.0);
        metrics[at + 6u] = f32(n);
        metrics[at + 7u] = select(0.0, ran_off / at_end, at_end >= 8.0);
        let own = row * 16u;
        let means = low / max(low_n, vec4f(1.0));
        bands[own] = means.x;
        bands[own + 1u] = means.y;
        bands[own + 2u] = means.z;
        bands[own + 3u] = means.w;
        bands[own + 4u] = high.x / max(high.y, 1.0);
        bands[own + 5u] = low_n.x;
        bands[own + 6u] = low_n.y;
        bands[own + 7u] = low_n.z;
        bands[own + 8u] = low_n.w;
        bands[own + 9u] = high.y;
        bands[own + 10u] = ran_off;
        bands[own + 11u] = at_end;
        bands[own + 12u] = denoising;
        bands[own + 13u] = 0.0;
        bands[own + 14u] = 0.0;
        bands[own + 15u] = 0.0;
    }
}
