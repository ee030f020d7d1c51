// What the guard remembers from step to step: kernels::guard::Memory on the host.
struct Memory {
    steps: f32,
    energies: f32,
    gradient: f32,
    gap: f32,
    gap_range: f32,
    alike: f32,
    saturated: f32,
    flat: f32,
    calm: f32,
    since: f32,
    tries: f32,
    value: f32,
    usual: f32,
    variance: f32,
    ran_off: f32,
    spare: f32,
}
