// Which chain of a pool of persistent annealed chains stands at which place of a training step's batch, and the level that
// it begins the step at: kernels::draw_pool::Pool on the host.

override POOL: u32 = 1;       // chains
override LONG: u32 = 0;       // of them, the first, which never restart
override POOL_BATCH: u32 = 1; // chains of a training step
override LONG_BATCH: u32 = 0; // long ones among them
override POOL_HALF_BITS: u32 = 1;
override LONG_HALF_BITS: u32 = 1;
override LAST_LEVEL: u32 = 0;

const START_CHOICE: u32 = 3u;
const SUBSETS: u32 = 12u;

struct Begin {
    slot: u32,
    level: u32,
    restarts: bool,
}

fn slot_of(number: u32, step: u32, key: vec2u) -> u32 {
    let image = number % POOL_BATCH;
    if (image < LONG_BATCH) {
        return permute(SUBSETS, image, max(LONG, 1u), LONG_HALF_BITS, step, key);
    }
    return LONG + permute(SUBSETS, image - LONG_BATCH, max(POOL - LONG, 1u), POOL_HALF_BITS, step, key);
}

// `level` is the pool's for the slot.
fn begin_of(number: u32, slot: u32, level: f32, restart: f32, step: u32, key: vec2u) -> Begin {
    let coin = philox(vec4u(START_CHOICE << 24u, number % POOL_BATCH, 0u, step), key).x;
    let restarts = slot >= LONG && u32(level) >= LAST_LEVEL && f32(coin >> 8u) * (1.0 / 16777216.0) < restart;
    return Begin(slot, select(u32(level), 0u, restarts), restarts);
}
