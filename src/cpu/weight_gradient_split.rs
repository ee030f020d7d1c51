//! Weight gradients, cut into pieces of work: some output channels of one layer, over one chunk of blocks. All layers'
//! pieces are there for all cores at once, so that no core waits where a layer ends.

use crate::kernels::Kernel;
use crate::kernels::conv_weight_gradient::Chunks;
use crate::plan::Launch;
use std::cmp::Reverse;
use std::ops::Range;

/// Output channels that one piece of work on a weight gradient owns.
pub(super) const SLICE: usize = 32;

/// The gradient of up to [`SLICE`] output channels' weights and biases over the blocks of `input` and `g`.
pub(super) struct WeightSlice<'a> {
    /// `[oc][ic][ky][kx]` of the piece's channels.
    pub weights: &'a mut [f32],
    /// `[oc]` of the piece's channels.
    pub biases: &'a mut [f32],
    /// The first of the piece's channels.
    pub first: usize,
    /// Which of the layer's weights, where it has several: an LSTM cell's for its input, or for its state.
    pub section: usize,
}

/// A piece of work, and what it reads: its chunk's blocks.
pub(super) struct SliceTask<'a> {
    /// The launch's kernel.
    pub kernel: &'a Kernel,
    /// What it writes.
    pub part: WeightSlice<'a>,
    /// The layer's input.
    pub input: &'a [f32],
    /// The gradient of its pre-activation.
    pub g: &'a [f32],
}

/// Whether a kernel is a weight gradient.
pub(super) fn is_weight_gradient(kernel: &Kernel) -> bool {
    WeightGradientCall::of(kernel).is_some()
}

/// How many of the first launches, of which one is a weight gradient, are such, and have partial sums in one buffer.
pub(super) fn n_independent(launches: &[Launch]) -> usize {
    let partials = |launch: &Launch| launch.bindings.last().copied();
    launches
        .iter()
        .take_while(|l| is_weight_gradient(&l.kernel) && partials(l) == partials(&launches[0]))
        .count()
}

/// The pieces of launches that [`n_independent`] has found, the longest first. `buffers` are all of the plan's, and a block
/// has `lanes` images.
pub(super) fn cut<'a>(
    launches: &'a [Launch],
    buffers: Vec<&'a mut [f32]>,
    lanes: usize,
) -> Vec<SliceTask<'a>> {
    let written = launches[0].bindings[2].0;
    let mut partials: &mut [f32] = &mut [];
    let mut read: Vec<&[f32]> = Vec::with_capacity(buffers.len());
    for (i, buffer) in buffers.into_iter().enumerate() {
        if i == written {
            partials = buffer;
            read.push(&[]);
        } else {
            read.push(buffer);
        }
    }
    let mut found = Vec::new();
    for launch in launches {
        let layer = WeightGradientCall::of(&launch.kernel).expect("a weight gradient");
        let [input, g] = [0, 1].map(|i| read[launch.bindings[i].0]);
        for chunk in 0..layer.chunks.count() {
            let blocks = layer.chunks.blocks(chunk);
            let of = |len: usize| blocks.start as usize * len * lanes..blocks.end as usize * len * lanes;
            let (input, g) = (&input[of(layer.in_len)], &g[of(layer.out_len)]);
            let mut at = (layer.chunks.first_chunk + chunk) as usize * layer.n_parameters + layer.offset;
            for (section, &row) in layer.rows.iter().enumerate() {
                let biases = at + layer.channels * row;
                for first in (0..layer.channels).step_by(SLICE) {
                    let end = layer.channels.min(first + SLICE);
                    let places = [at + first * row..at + end * row, biases + first..biases + end];
                    let cost = (end - first) * row * (g.len() / layer.channels);
                    found.push((cost, &launch.kernel, (first, section), (input, g), places));
                }
                at = biases + layer.channels;
            }
        }
    }
    found.sort_by_key(|(cost, ..)| Reverse(*cost));
    let places: Vec<_> = found.iter().flat_map(|(.., places)| places.clone()).collect();
    let mut parts = disjoint(partials, &places).into_iter();
    let mut pieces = Vec::with_capacity(found.len());
    for (_, kernel, (first, section), (input, g), _) in found {
        if let (Some(weights), Some(biases)) = (parts.next(), parts.next()) {
            pieces.push(SliceTask {
                kernel,
                part: WeightSlice { weights, biases, first, section },
                input,
                g,
            });
        }
    }
    pieces
}

/// Parts of a slice.
///
/// # Panics
/// Where two overlap, or one reaches beyond the slice.
fn disjoint<'a>(mut rest: &'a mut [f32], places: &[Range<usize>]) -> Vec<&'a mut [f32]> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&i| places[i].start);
    let mut parts: Vec<&mut [f32]> = Vec::new();
    parts.resize_with(places.len(), Default::default);
    let mut at = 0;
    for i in order {
        let Range { start, end } = places[i];
        let gap = start.checked_sub(at).expect("places apart");
        (parts[i], rest) = rest.split_at_mut(gap + end - start);
        parts[i] = &mut std::mem::take(&mut parts[i])[gap..];
        at = end;
    }
    parts
}

/// The layer of a weight gradient.
struct WeightGradientCall {
    chunks: Chunks,
    n_parameters: usize,
    /// Where the layer's parameters begin: for each of `rows`, weights of that many columns, and then biases.
    offset: usize,
    rows: Vec<usize>,
    /// Rows of weights, and biases.
    channels: usize,
    in_len: usize,
    out_len: usize,
}

impl WeightGradientCall {
    fn of(kernel: &Kernel) -> Option<Self> {
        Some(match kernel {
            Kernel::ConvWeightGradient(k) => Self {
                chunks: k.chunks,
                n_parameters: k.n_parameters,
                offset: k.weight_offset,
                rows: vec![k.shape.weight_len() / k.shape.out_channels],
                channels: k.shape.out_channels,
                in_len: k.shape.in_len(),
                out_len: k.shape.out_len(),
            },
            Kernel::DenseWeightGradient(k) => Self {
                chunks: k.chunks,
                n_parameters: k.n_parameters,
                offset: k.weight_offset,
                rows: vec![k.shape.in_len()],
                channels: k.shape.units,
                in_len: k.shape.in_len(),
                out_len: k.shape.units,
            },
            Kernel::LstmWeightGradient(k) => Self {
                chunks: k.chunks,
                n_parameters: k.n_parameters,
                offset: k.cell.weight_offset,
                rows: vec![k.cell.in_channels, k.cell.hidden],
                channels: 4 * k.cell.hidden,
                in_len: k.cell.in_len(),
                out_len: k.cell.trace_len(),
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::disjoint;

    #[test]
    fn parts_come_in_the_order_of_their_places() {
        let mut values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(
            disjoint(&mut values, &[4..6, 0..1, 1..3, 3..3]),
            [&[4.0, 5.0][..], &[0.0], &[1.0, 2.0], &[]]
        );
    }

    #[test]
    #[should_panic(expected = "places apart")]
    fn parts_do_not_overlap() {
        disjoint(&mut [0.0; 6], &[2..5, 0..3]);
    }
}
