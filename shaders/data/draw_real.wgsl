// Real batch: x[block][y, x, c][lane] = clamp(byte -> [-1, 1], padded with -1, + noise N(0, 1), -1, 1); floats are taken
// as they are, and not clamped.
// Image i of the batch is number permute(position + i) of the data set, in the epoch's order: a Feistel network over
// the smallest even-bit domain that holds the data set, walked until it lands inside (Black and Rogaway 2002). Lanes
// without an image (the last batch of an epoch, or a batch that does not fill its blocks) are -1.
// A data set that is larger than a buffer lies in several. A launch is for one of them, and writes only images that are in
// it; lanes without an image are of the first.
// One invocation writes one quad (four features) of one image: x = quad by lane, z = block.
// 1 state, 2 data [image][c][row][column] as bytes or floats, 3 x.

override WORKGROUP_SIZE: u32 = 64;
override LANES: u32 = 16;
override BATCH: u32 = 16;
override N_IMAGES: u32 = 1;
override HALF_BITS: u32 = 1;
override CHANNELS: u32 = 1;
override HEIGHT: u32 = 1;
override WIDTH: u32 = 1;
override DATA_HEIGHT: u32 = 1;
override DATA_WIDTH: u32 = 1;
override PAD_TOP: u32 = 0;
override PAD_LEFT: u32 = 0;
override FLOATS: bool = false;

struct Params {
    first_block: u32,
    noise: f32,
    first_image: u32, // in the bound part of the data set
    end_image: u32,   // beyond it
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> data: array<u32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

const DATA_NOISE: u32 = 5u;
const PERMUTATION: u32 = 6u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let features = CHANNELS * HEIGHT * WIDTH;
    let lane = id.x % LANES;
    let quad = id.x / LANES;
    if (quad * 4u >= features) {
        return;
    }
    let image = id.z * LANES + lane;
    let epoch = epoch_of(state.step, N_IMAGES, BATCH);
    let key = vec2u(state.seed_low, state.seed_high);
    let present = image < epoch.n_real;
    var number = 0u;
    if (present) {
        number = permute(PERMUTATION, epoch.position + image, N_IMAGES, HALF_BITS, epoch.number, key);
    }
    if (number < params.first_image || number >= params.end_image) {
        return; // another launch's, which binds that part
    }
    var noise = vec4f(0.0);
    if (params.noise != 0.0) {
        noise = normal_of(philox(vec4u((DATA_NOISE << 24u) | quad, image, 0u, state.step), key));
    }
    let base = (params.first_block + id.z) * features + quad * 4u;
    for (var i = 0u; i < min(4u, features - quad * 4u); i++) {
        let feature = quad * 4u + i;
        let channel = feature % CHANNELS;
        let pixel = feature / CHANNELS;
        let row = i32(pixel / WIDTH) - i32(PAD_TOP);
        let column = i32(pixel % WIDTH) - i32(PAD_LEFT);
        var value = -1.0;
        if (row >= 0 && row < i32(DATA_HEIGHT) && column >= 0 && column < i32(DATA_WIDTH)) {
            let at = (((number - params.first_image) * CHANNELS + channel) * DATA_HEIGHT + u32(row)) * DATA_WIDTH + u32(column);
            if (FLOATS) {
                value = bitcast<f32>(data[at]);
            } else {
                value = (f32((data[at / 4u] >> (8u * (at % 4u))) & 0xffu) - 127.5) / 127.5;
            }
        }
        value += params.noise * noise[i];
        if (!FLOATS) {
            value = clamp(value, -1.0, 1.0);
        }
        x[(base + i) * LANES + lane] = select(-1.0, value, present);
    }
}
