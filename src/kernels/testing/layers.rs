//! What cases of layers share: shapes, tiles, biases, slopes, and buffers of weight gradients.

use super::{BLOCKS, Bench};
use crate::data::Shape;
use crate::kernels::Slope;
use crate::kernels::conv_weight_gradient::Chunks;
use crate::kernels::lstm_pack::{CPU_TILE, GPU_TILE, LstmPack};
use crate::network::{Activation, ConvShape, DenseShape, LstmCell, LstmShape, Padding, PoolShape};
use crate::plan::BufferId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::ops::Range;

/// Where a layer's parameters lie: neither at the beginning nor at the end of the vector.
pub(crate) const OFFSET: usize = 7;

pub(crate) const ACTIVATIONS: [Activation; 7] = [
    Activation::Swish,
    Activation::Identity,
    Activation::LeakyRelu(0.2),
    Activation::Relu,
    Activation::Elu,
    Activation::Softplus,
    Activation::Tanh,
];

pub(crate) fn activation(number: usize) -> Activation {
    ACTIVATIONS[number % ACTIVATIONS.len()]
}

pub(crate) fn conv_shapes() -> Vec<ConvShape> {
    // ic, [height, width], oc, kernel, stride, padding [top, left], [bottom, right]
    type Case = (usize, [usize; 2], usize, [usize; 2], [usize; 2], [usize; 2], [usize; 2]);
    #[rustfmt::skip]
    let mut cases: Vec<Case> = vec![
        (1, [1, 1], 1, [1, 1], [1, 1], [0, 0], [0, 0]),
        (1, [9, 9], 17, [3, 3], [2, 2], [0, 0], [1, 1]),    // the presets' padding
        (17, [9, 9], 3, [3, 3], [2, 2], [1, 1], [0, 0]),
        (2, [1, 7], 5, [1, 3], [1, 2], [0, 2], [0, 0]),
        (3, [5, 3], 8, [5, 3], [1, 1], [4, 2], [4, 2]),     // all of "full" padding
        (8, [5, 3], 2, [2, 2], [3, 3], [0, 0], [0, 0]),     // a stride beyond the kernel: pixels that no tap reaches
        (5, [1, 1], 3, [4, 5], [1, 1], [3, 2], [1, 3]),     // one pixel, mostly padding
        (3, [9, 9], 5, [1, 1], [3, 2], [0, 0], [0, 0]),
        (2, [5, 3], 3, [2, 1], [1, 1], [3, 2], [0, 3]),     // whole outputs in the padding
        (1, [9, 9], 2, [5, 5], [1, 3], [2, 4], [2, 0]),     // padding beyond the stride
        (8, [9, 9], 8, [4, 4], [2, 1], [1, 0], [2, 3]),
        (17, [1, 7], 17, [1, 4], [1, 1], [0, 1], [0, 2]),
        (4, [9, 9], 8, [3, 3], [1, 1], [1, 1], [1, 1]),
    ];
    let mut rng = StdRng::seed_from_u64(1);
    let mut pick = |from: &[usize]| from[rng.random_range(0..from.len())];
    while cases.len() < 30 {
        let size = [[1, 1], [1, 7], [5, 3], [9, 9]][pick(&[0, 1, 2, 3])];
        let channels = if size == [9, 9] { [1, 2, 3, 5, 8, 3] } else { [1, 2, 3, 5, 8, 17] };
        let case = (
            pick(&channels),
            size,
            pick(&channels),
            [pick(&[1, 2, 3, 4, 5]), pick(&[1, 2, 3, 4, 5])],
            [pick(&[1, 2, 3]), pick(&[1, 2, 3])],
            [pick(&[0, 0, 1, 2, 4]), pick(&[0, 0, 1, 2, 4])],
            [pick(&[0, 1, 3]), pick(&[0, 1, 3])],
        );
        if (0..2).all(|i| case.3[i] <= size[i] + case.5[i] + case.6[i]) {
            cases.push(case);
        }
    }
    let shape = |(ic, size, oc, kernel, stride, first, last): Case| {
        let input = Shape { channels: ic, height: size[0], width: size[1] };
        let padding = Padding { top: first[0], bottom: last[0], left: first[1], right: last[1] };
        ConvShape::new(input, oc, kernel, stride, padding)
    };
    cases.into_iter().map(shape).collect()
}

/// Channels of a tile: up to eight fours for a GPU; up to four, or eight, for the CPU.
pub(crate) fn tile_channels(for_gpu: bool, number: usize) -> usize {
    if for_gpu { [4, 8, 16, 32][number % 4] } else { [1, 2, 3, 4, 8][number % 5] }
}

pub(crate) fn slope_place(number: usize) -> Slope {
    [Slope::Beside, Slope::InPlace, Slope::None][number % 3]
}

/// Buffers for the slope, or what is bound in its place, and for the gradient, which may hold it.
pub(crate) fn slope_and_gradient(
    bench: &mut Bench,
    place: Slope,
    g: BufferId,
    len: usize,
) -> (BufferId, BufferId) {
    match place {
        Slope::None => (g, bench.per_block("grad", len)),
        Slope::Beside => (bench.random_blocks("slope", len, &BLOCKS), bench.per_block("grad", len)),
        Slope::InPlace => (g, bench.random_blocks("slope and grad", len, &BLOCKS)),
    }
}

/// Components of a block, of which the first alone has a bias; 0 where none has.
pub(crate) fn jet_components(number: usize) -> u32 {
    [1, 2, 0][number / 2 % 3]
}

/// Biases are of magnitude 1, or reach the activation's far ends, where exponentials overflow.
pub(crate) fn bias_scale(number: usize) -> f32 {
    if number % 5 == 1 { 200.0 } else { 1.0 }
}

/// Fills biases, the first of every `n` never far out: where all are, outputs and slopes may be rounding and nothing
/// else, and no measure of each other.
pub(crate) fn fill_biases(
    bench: &mut Bench,
    parameters: BufferId,
    biases: Range<usize>,
    n: usize,
    number: usize,
) {
    bench.fill(parameters, biases.clone(), bias_scale(number));
    for first in biases.step_by(n) {
        bench.fill(parameters, first..first + 1, 1.0);
    }
}

/// The buffers of a weight gradient over three blocks of four, the first or the last, in chunks of 1, 2 (so that the last
/// has fewer) or 3, with up to two chunks of others before them.
pub(crate) fn weight_buffers(
    bench: &mut Bench,
    (number, jet_components): (usize, u32),
    [in_len, out_len]: [usize; 2],
    layer: Range<usize>,
    n_parameters: usize,
) -> (Chunks, [BufferId; 3], Vec<Range<usize>>) {
    let (at, first_chunk) = (number as u32, number as u32 % 3);
    // Two jet_components make four blocks two.
    let per_block = jet_components.max(1);
    let chunks = if jet_components == 2 {
        let first_block = 2 * (at % 2);
        Chunks { first_block, n_blocks: 4 - first_block, chunk_blocks: 2 + 2 * (at / 2 % 2), first_chunk }
    } else {
        Chunks { first_block: at / 3 % 2, n_blocks: 3, chunk_blocks: 1 + at % 3, first_chunk }
    };
    let blocks = chunks.first_block..chunks.first_block + chunks.n_blocks;
    let [input, g] = [("input", in_len), ("g", out_len)].map(|(name, len)| {
        let id = bench.per_block(name, len * per_block as usize);
        bench.fill(id, bench.words_of(len, &blocks), 1.0);
        id
    });
    let own = chunks.first_chunk as usize..chunks.end();
    let partials = bench.flat("partials", own.end * n_parameters);
    let written = own.map(|c| c * n_parameters + layer.start..c * n_parameters + layer.end).collect();
    (chunks, [input, g, partials], written)
}

pub(crate) fn dense_shapes() -> Vec<DenseShape> {
    let shape = |(units, in_channels, in_pixels)| DenseShape { in_channels, in_pixels, units };
    [(1, 1, 1), (1, 64, 4), (3, 17, 1), (17, 3, 9), (65, 5, 3), (2, 8, 7), (8, 1, 65), (5, 257, 1)]
        .map(shape)
        .to_vec()
}

/// Channels, hidden units, time, layers, both directions.
pub(crate) fn lstm_shapes() -> Vec<LstmShape> {
    let shape = |(in_channels, hidden, time, layers, bidirectional)| LstmShape {
        in_channels,
        time,
        hidden,
        layers,
        bidirectional,
    };
    [
        (1, 1, 1, 1, false),
        (3, 5, 7, 2, true),
        (17, 8, 3, 1, true),
        (2, 65, 3, 2, true),
        (5, 3, 65, 2, false),
        (1, 33, 2, 3, true),
    ]
    .map(shape)
    .to_vec()
}

pub(crate) fn pool_shapes() -> [PoolShape; 5] {
    [(1, 1), (3, 17), (65, 4), (128, 49), (1, 257)].map(|(channels, pixels)| PoolShape { channels, pixels })
}

/// The cells of a bench's LSTM layers, with numbers.
pub(crate) fn lstm_cells(bench: &Bench) -> Vec<(usize, LstmCell)> {
    let shapes = bench.own(lstm_shapes()).into_iter();
    shapes
        .flat_map(|(number, shape)| {
            shape.cells(OFFSET).into_iter().enumerate().map(move |(i, c)| (number + i, c))
        })
        .collect()
}

pub(crate) fn cell_tile(bench: &Bench) -> usize {
    if bench.for_gpu { GPU_TILE } else { CPU_TILE }
}

/// Parameters of a cell, guards around them.
pub(crate) fn cell_parameters(bench: &mut Bench, number: usize, cell: &LstmCell) -> BufferId {
    let own = cell.weight_offset..cell.weight_offset + cell.weight_len();
    let parameters = bench.flat("parameters", own.end + 5);
    bench.fill(parameters, own.clone(), 1.0 / (cell.hidden as f32).sqrt());
    let bias = own.start + 4 * cell.hidden * cell.in_channels;
    fill_biases(bench, parameters, bias..bias + 4 * cell.hidden, cell.hidden, number);
    parameters
}

/// A cell's packed weights, as the twin packs them.
pub(crate) fn packed_cell(bench: &mut Bench, parameters: BufferId, cell: &LstmCell) -> BufferId {
    let kernel = LstmPack { cell: *cell, tile: cell_tile(bench) };
    let mut weights = vec![f32::NAN; kernel.packing().len()];
    let own = cell.weight_offset..cell.weight_offset + cell.weight_len();
    kernel.reference(bytemuck::cast_slice(&bench.contents[parameters.0][own]), &mut weights);
    let packed = bench.flat("packed weights", weights.len());
    bench.contents[packed.0].copy_from_slice(bytemuck::cast_slice(&weights));
    packed
}

/// First step and number of steps of a cell's launches: all at once, and all but the first, from where the first led.
pub(crate) fn cell_steps(cell: &LstmCell) -> Vec<(usize, usize)> {
    if cell.steps > 1 { vec![(0, cell.steps), (1, cell.steps - 1)] } else { vec![(0, 1)] }
}

/// Biases of a jet's activation.
pub(crate) fn jet_biases(
    bench: &mut Bench,
    channels: usize,
    activation: Activation,
    number: usize,
) -> BufferId {
    let parameters = bench.flat("parameters", OFFSET + channels + 3);
    // Far out, 1 - tanh^2 is rounding and nothing else.
    let scale = if activation == Activation::Tanh { 1.0 } else { bias_scale(number) };
    bench.fill(parameters, OFFSET..OFFSET + channels, scale);
    parameters
}
