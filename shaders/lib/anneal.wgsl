// The densities between a base and a model, for annealed importance sampling: exp(-f) with
//   f(x) = beta E1(x) + (1 - beta) E0(x),   E1(x) = E(x) / T + tilt |x|^2 / 2,
//   E0(x) = sum (x - mean)^2 inverse_variance / 2,
// within the box, and the numbers of a step: kernels::anneal_propose on the host.

struct Anneal {
    inverse_temperature: f32,
    tilt: f32,
    bound: f32, // of the box; 3.4e38 for none
    spare: u32,
}

// [step] beta, and the leapfrog's step size.
alias Schedule = array<vec2f>;

// Of one feature. Steps go by its scale, as its mass is 1 / scale^2.
struct Base {
    mean: f32,
    inverse_variance: f32,
    scale: f32,
    spare: f32,
}

// df/dx of one feature, from dE/dx.
fn slope_of(a: Anneal, beta: f32, base: Base, x: f32, gradient: f32) -> f32 {
    return beta * (a.inverse_temperature * gradient + a.tilt * x) + (1.0 - beta) * base.inverse_variance * (x - base.mean);
}
