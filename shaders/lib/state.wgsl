// The resident state: kernels::State on the host.
struct State {
    step: u32,
    replay_head: u32,
    replay_length: u32,
    seed_low: u32,
    seed_high: u32,
    chain_base: u32,
    retries: u32,
    halted: u32,
    first_image: u32,
}
