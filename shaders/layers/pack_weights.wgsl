// Packs a layer's weights [out][in][ky][kx] for the kernels that read them: kernels::pack_weights::Packing.
// forward: [out tile][ky][kx][in][TILE]; backward: [in tile][ky][column][out][TILE] with columns sorted by
// kx mod STRIDE_X, descending within. Tiles are filled up with zeros.
// One invocation writes one float: x = (tile, other channel, channel in tile), y = tap.
// 1 parameters, 2 packed.

override WORKGROUP_SIZE: u32 = 64;
override OUT_CHANNELS: u32 = 1;
override IN_CHANNELS: u32 = 1;
override KERNEL_HEIGHT: u32 = 1;
override KERNEL_WIDTH: u32 = 1;
override STRIDE_X: u32 = 1;
override TILE: u32 = 4;
override BACKWARD: u32 = 0;
override FLATTENED: u32 = 1; // pixels that the input channels are made of, [pixel][channel] here, [channel][pixel] there
override WEIGHT_OFFSET: u32 = 0;
override PACKED_OFFSET: u32 = 0;

struct Params {
    first_block: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parameters: array<f32>;
@group(0) @binding(2) var<storage, read_write> packed: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let tiled = select(OUT_CHANNELS, IN_CHANNELS, BACKWARD == 1u);
    let others = select(IN_CHANNELS, OUT_CHANNELS, BACKWARD == 1u);
    let tiles = (tiled + TILE - 1u) / TILE;
    if (id.x >= tiles * TILE * others) {
        return;
    }
    let in_tile = id.x % TILE;
    let other = (id.x / TILE) % others;
    let tile = id.x / (TILE * others);
    let channel = tile * TILE + in_tile;
    let ky = id.y / KERNEL_WIDTH;
    let kx = id.y % KERNEL_WIDTH;
    var column = kx;
    if (BACKWARD == 1u) {
        let phase = kx % STRIDE_X;
        var before = 0u;
        for (var p = 0u; p < phase; p++) {
            before += (KERNEL_WIDTH + STRIDE_X - 1u - p) / STRIDE_X;
        }
        column = before + (KERNEL_WIDTH + STRIDE_X - 1u - phase) / STRIDE_X - 1u - kx / STRIDE_X;
    }
    var weight = 0.0;
    if (channel < tiled) {
        let oc = select(channel, other, BACKWARD == 1u);
        let ic = select(other, channel, BACKWARD == 1u);
        let channels = IN_CHANNELS / FLATTENED;
        let row = oc * IN_CHANNELS + (ic % channels) * FLATTENED + ic / channels;
        weight = parameters[WEIGHT_OFFSET + (row * KERNEL_HEIGHT + ky) * KERNEL_WIDTH + kx];
    }
    let at = (((tile * KERNEL_HEIGHT + ky) * KERNEL_WIDTH + column) * others + other) * TILE + in_tile;
    packed[PACKED_OFFSET + at] = weight;
}
