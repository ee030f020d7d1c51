// The guard: judges a training step when its loss and gradient are known and nothing of it has been kept yet. Where it
// finds divergence or collapse it writes a reason (kernels::guard::Reason) into the state, and all that would keep
// something of this step or of those after it does nothing.
//   1 to 3   drawn images; energies or loss; the gradient: not finite
//   4, 5     the energies' spread, max |E - mean E(positive)|; the gradient's norm: too far above its usual, a geometric mean
//            over recent steps, and ten times as far in the first EARLY steps
//   6 to 8   the chains' variance over the batch is far below the positive images', and what it was; their values lie at the
//            bound, unlike the positive images'; mean E(negative) - mean E(positive) is far below its recent range: so many steps in a row
// One workgroup; sums in a fixed order.
// 1 state, 2 metrics [row of 8], 3 energies [block][component][lane], positive blocks first, 4 statistics [feature], 5 counts of
// numbers that are not finite among the images as they were drawn, 6 memory.

override LANES: u32 = 16;
override STREAMS: u32 = 1;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;
override METRIC_ROWS: u32 = 1;
override N_FEATURES: u32 = 1;
override N_COUNTS: u32 = 1;
override HALVES: u32 = 2; // 1: there are no negative images

struct Params {
    log_energy_range: f32,
    log_gradient_range: f32,
    collapse_steps: f32, // 0: collapse is not looked for
    inside: f32,         // share of values inside the bound that positive images must have for chains to be saturated
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> state: State;
@group(0) @binding(2) var<storage, read> metrics: array<u32>;
@group(0) @binding(3) var<storage, read> energies: array<u32>;
@group(0) @binding(4) var<storage, read> statistics: array<vec4f>;
@group(0) @binding(5) var<storage, read> counts: array<f32>;
@group(0) @binding(6) var<storage, read_write> memory: Memory;

const HORIZON = 50.0;
const EARLY = 200.0;
const LOG_10 = 2.302585;
const LOG_100 = 4.605170;
const TINY = 1e-30;
const ALIKE = 0.05;
const SATURATED = 0.1;
const FLAT = 1e-3;
const ROUNDING = 1e-6;
const GAP_KEPT = 0.99930709;
const FORGIVEN = 1000.0;
const MOST_STEPS = 1e6;
const FEW_IMAGES = 8u;

var<workgroup> extremes: array<f32, SIZE>;

// One more step that looks like collapse, or none.
fn in_a_row(steps: f32, is_one: bool) -> f32 {
    return select(0.0, min(steps + 1.0, MOST_STEPS), is_one);
}

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    let half = (BATCH + LANES - 1u) / LANES * LANES; // lanes of each half
    let n_real = epoch_of(state.step, N_IMAGES, BATCH).n_real;
    let row = (state.step % METRIC_ROWS) * 8u;
    let energy_positive = bitcast<f32>(metrics[row + 3u]);

    var sum = vec4f(0.0);
    for (var feature = index; feature < N_FEATURES; feature += SIZE) {
        sum += statistics[feature];
    }
    let images = workgroup_sum(index, sum) / f32(N_FEATURES);

    var count = vec2f(0.0); // not finite: images, energies
    for (var i = index; i < N_COUNTS; i += SIZE) {
        count.x += counts[i];
    }
    var extreme = 0.0;
    for (var i = index; i < HALVES * half; i += SIZE) {
        let end = select(n_real, half + BATCH, i >= half);
        if (i < end) {
            let bits = energies[i / LANES * STREAMS * LANES + i % LANES];
            if (is_finite(bits)) {
                extreme = max(extreme, abs(bitcast<f32>(bits) - energy_positive));
            } else {
                count.y += 1.0;
            }
        }
    }
    extremes[index] = extreme;
    for (var stride = SIZE / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if (index < stride) {
            extremes[index] = max(extremes[index], extremes[index + stride]);
        }
    }
    let counted = workgroup_sum(index, vec4f(count, 0.0, 0.0));
    if (index != 0u || state.halted != 0u) {
        return;
    }

    let steps = memory.steps;
    let is_first = steps == 0.0;
    let early = select(0.0, LOG_10, steps < EARLY);
    let spread = log(max(extremes[0], TINY));
    let norm_bits = metrics[row + 5u];
    let norm = log(max(bitcast<f32>(norm_bits), TINY));
    let over_energies = select(spread - memory.energies, 0.0, is_first) - early;
    let over_gradient = select(norm - memory.gradient, 0.0, is_first) - early;
    var of_metrics = 0.0;
    for (var i = 0u; i < 5u; i++) {
        of_metrics += select(1.0, 0.0, is_finite(metrics[row + i]));
    }

    let gap = abs(bitcast<f32>(metrics[row + 4u]) - energy_positive);
    let weight = 1.0 / min(steps + 1.0, HORIZON);
    let collapses = params.collapse_steps > 0.0;
    // A short batch tells little of how different images are.
    let judges = BATCH >= FEW_IMAGES && 2u * n_real >= BATCH;
    var alike = memory.alike;
    var saturated = memory.saturated;
    if (judges) {
        alike = in_a_row(alike, images.y < ALIKE * min(images.x, memory.variance));
        saturated = in_a_row(saturated, images.z > params.inside && images.w < SATURATED * images.z);
    }
    let flat = in_a_row(memory.flat, gap <= max(FLAT * memory.gap_range, ROUNDING * abs(energy_positive)));
    let longest = max(max(alike, saturated), flat);

    var reason = 0u;
    var value = 0.0;
    var usual = 0.0;
    if (counted.x > 0.0) {
        reason = 1u;
        value = counted.x;
    } else if (counted.y + of_metrics > 0.0) {
        reason = 2u;
        value = counted.y;
    } else if (!is_finite(norm_bits)) {
        reason = 3u;
    } else if (over_energies > params.log_energy_range) {
        reason = 4u;
        value = extremes[0];
        usual = exp(memory.energies);
    } else if (over_gradient > params.log_gradient_range) {
        reason = 5u;
        value = bitcast<f32>(norm_bits);
        usual = exp(memory.gradient);
    } else if (collapses && longest >= params.collapse_steps) {
        if (alike >= params.collapse_steps) {
            reason = 6u;
            value = images.y;
            usual = images.x;
        } else if (saturated >= params.collapse_steps) {
            reason = 7u;
            value = images.w;
            usual = images.z;
        } else {
            reason = 8u;
            value = gap;
            usual = memory.gap_range;
        }
    }
    if (reason != 0u) {
        state.halted = reason;
        memory.value = value;
        memory.usual = usual;
        return;
    }

    memory.steps = min(steps + 1.0, MOST_STEPS);
    // What one step can move the mean by is bounded.
    let energies_move = weight * clamp(spread - memory.energies, -LOG_100, LOG_100);
    memory.energies = select(memory.energies + energies_move, spread, is_first);
    let gradient_move = weight * clamp(norm - memory.gradient, -LOG_100, LOG_100);
    memory.gradient = select(memory.gradient + gradient_move, norm, is_first);
    let gap_mean = memory.gap + weight * (gap - memory.gap);
    memory.gap = gap_mean;
    memory.gap_range = max(gap_mean, GAP_KEPT * memory.gap_range);
    memory.alike = alike;
    memory.saturated = saturated;
    memory.flat = flat;
    memory.variance = max(memory.variance, images.y);
    let is_calm = over_energies + LOG_10 <= params.log_energy_range
        && over_gradient + LOG_10 <= params.log_gradient_range
        && (!collapses || 10.0 * longest <= params.collapse_steps);
    memory.calm = in_a_row(memory.calm, is_calm);
    let since = min(memory.since + 1.0, MOST_STEPS);
    memory.since = since;
    if (since >= FORGIVEN) {
        memory.tries = 0.0;
    }
}
