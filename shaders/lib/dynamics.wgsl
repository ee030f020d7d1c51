// The numbers of a Langevin step, and how they change from level to level: kernels::dynamics on the host.

struct Dynamics {
    form: u32, // 0 noise-first, 1 noise-last, 2 theory, 3 mala, 4 annealed
    step_size: f32,
    step_size_change: f32, // over all levels: a difference, or the logarithm of a ratio
    noise: f32,
    noise_change: f32,
    geometric: u32,
    last_level: u32,
    temperature: f32,
    gradient_clip: f32,
    bound: f32,
    stay_step_size: f32, // of annealed steps at the last level; 0 for the schedule's
    final_step: u32,     // the annealed step that ends at the clean image
}

// x <- clamp(between(keep x - drift g) + noise n)
struct Move {
    keep: f32,
    drift: f32,
    noise: f32,
    between: f32,
}

fn scheduled(start: f32, change: f32, d: Dynamics, level: u32) -> f32 {
    if (change == 0.0 || d.last_level == 0u) {
        return start;
    }
    let t = min(f32(level) / f32(d.last_level), 1.0);
    return select(start + t * change, start * exp(t * change), d.geometric != 0u);
}

// The noise level of an annealed chain's level.
fn sigma_of(d: Dynamics, level: u32) -> f32 {
    return scheduled(d.noise, d.noise_change, d, level);
}

// The level of a step: of training, but that annealed chains have a schedule of their own.
fn level_of(d: Dynamics, training_step: u32, chain_step: u32) -> u32 {
    return select(training_step, chain_step, d.form == 4u);
}

// The numbers at a level.
fn move_of(d: Dynamics, level: u32) -> Move {
    let stays = d.stay_step_size > 0.0 && level >= d.last_level;
    let step_size = select(scheduled(d.step_size, d.step_size_change, d, level), d.stay_step_size, stays);
    let noise = scheduled(d.noise, d.noise_change, d, level);
    if (d.form == 4u) {
        let following = scheduled(d.noise, d.noise_change, d, level + 1u);
        let next = select(following, 0.0, level == d.final_step && d.noise_change != 0.0);
        let alphas = inverseSqrt(1.0 + vec2f(noise, next) * vec2f(noise, next));
        let shares = vec2f(noise, next) * alphas;
        let old = sqrt(max(1.0 - 2.0 * step_size, 0.0));
        return Move(
            alphas.y * alphas.x + shares.y * old * shares.x,
            alphas.y * shares.x - shares.y * old * alphas.x,
            shares.y * sqrt(2.0 * step_size * d.temperature),
            3.4028234e38,
        );
    }
    if (d.form >= 2u) {
        return Move(1.0, 0.5 * step_size, sqrt(step_size * d.temperature), 3.4028234e38);
    }
    return Move(1.0, step_size, noise, select(3.4028234e38, d.bound, d.form == 0u));
}
