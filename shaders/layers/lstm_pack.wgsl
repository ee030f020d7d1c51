// Packs the weights of an LSTM cell: kernels::lstm_pack::LstmPacking. With K = IN_CHANNELS and HIDDEN, each filled up to
// fours,
// forward [unit tile][K][unit in tile][gate], then backward [tile of inputs][row][input in tile] and the same of h.
// One invocation writes one float: x = float of a tile, y = tile, forward tiles first.
// 1 parameters: weight_ih [gate][unit][input], bias_ih, weight_hh [gate][unit][h], bias_hh; 2 packed.

override WORKGROUP_SIZE: u32 = 64;
override IN_CHANNELS: u32 = 1;
override HIDDEN: u32 = 1;
override TILE: u32 = 4;
override WEIGHT_OFFSET: u32 = 0;

struct Params {
    first_block: u32, // unused
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parameters: array<f32>;
@group(0) @binding(2) var<storage, read_write> packed: array<f32>;

// The weight of a row for an input or, from HIDDEN's row on, for h; 0 beyond the last.
fn weight(row: u32, k: u32, is_hidden: bool) -> f32 {
    let n = select(IN_CHANNELS, HIDDEN, is_hidden);
    if (row >= 4u * HIDDEN || k >= n) {
        return 0.0;
    }
    let first = WEIGHT_OFFSET + select(0u, 4u * HIDDEN * (IN_CHANNELS + 1u), is_hidden);
    return parameters[first + row * n + k];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id_here: vec3u) {
    let id = id_here + FIRST_GROUP * vec3u(WORKGROUP_SIZE, 1u, 1u);
    let units = TILE / 4u;
    let in_rows = (IN_CHANNELS + 3u) / 4u * 4u;
    let rows = in_rows + (HIDDEN + 3u) / 4u * 4u;
    let forward_tiles = (HIDDEN + units - 1u) / units;
    let in_tiles = (IN_CHANNELS + TILE - 1u) / TILE;
    let row = id.x / TILE;
    let column = id.x % TILE;
    if (id.y < forward_tiles) {
        if (row < rows) {
            let unit = id.y * units + column / 4u;
            let is_hidden = row >= in_rows;
            let k = select(row, row - min(row, in_rows), is_hidden);
            let of_row = select(4u * HIDDEN, (column % 4u) * HIDDEN + unit, unit < HIDDEN);
            packed[(id.y * rows + row) * TILE + column] = weight(of_row, k, is_hidden);
        }
    } else if (row < 4u * HIDDEN) {
        let tile = id.y - forward_tiles;
        let is_hidden = tile >= in_tiles;
        let k = select(tile, tile - min(tile, in_tiles), is_hidden) * TILE + column;
        packed[forward_tiles * rows * TILE + (tile * 4u * HIDDEN + row) * TILE + column] = weight(row, k, is_hidden);
    }
}
