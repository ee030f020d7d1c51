// The numbers of a Langevin step, and how they change over training: kernels::dynamics on the host.

struct Dynamics {
    form: u32, // 0 noise-first, 1 noise-last, 2 theory, 3 mala
    step_size: f32,
    step_size_change: f32, // over all training steps: a difference, or the logarithm of a ratio
    noise: f32,
    noise_change: f32,
    geometric: u32,
    last_step: u32, // of training
    temperature: f32,
    gradient_clip: f32,
    bound: f32,
    spare0: u32,
    spare1: u32,
}

// x <- clamp(between(x - drift g) + noise n)
struct Move {
    drift: f32,
    noise: f32,
    between: f32,
}

fn scheduled(start: f32, change: f32, d: Dynamics, step: u32) -> f32 {
    if (change == 0.0 || d.last_step == 0u) {
        return start;
    }
    let t = min(f32(step) / f32(d.last_step), 1.0);
    return select(start + t * change, start * exp(t * change), d.geometric != 0u);
}

// The numbers in a training step.
fn move_of(d: Dynamics, step: u32) -> Move {
    let step_size = scheduled(d.step_size, d.step_size_change, d, step);
    if (d.form >= 2u) {
        return Move(0.5 * step_size, sqrt(step_size * d.temperature), 3.4028234e38);
    }
    return Move(step_size, scheduled(d.noise, d.noise_change, d, step), select(3.4028234e38, d.bound, d.form == 0u));
}
