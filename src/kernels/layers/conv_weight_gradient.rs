//! Gradient of a convolution's weights and biases: partial sums over chunks of blocks, added up in order by
//! [`crate::kernels::reduce_partials`].

use crate::kernels::conv_forward::conv_overrides;
use crate::kernels::prelude::*;
use crate::network::ConvShape;

/// How blocks are split into partial sums of the parameter gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chunks {
    /// The first block.
    pub first_block: u32,
    /// Blocks, of all chunks together.
    pub n_blocks: u32,
    /// Blocks of a chunk; the last may have fewer.
    pub chunk_blocks: u32,
    /// Partial sums of others that lie before these.
    pub first_chunk: u32,
}

impl Chunks {
    /// Partial sums.
    pub fn count(&self) -> u32 {
        self.n_blocks.div_ceil(self.chunk_blocks)
    }

    /// Partial sums up to the last of these, others' included.
    pub fn end(&self) -> usize {
        (self.first_chunk + self.count()) as usize
    }

    /// The blocks of chunk `chunk`.
    pub fn blocks(&self, chunk: u32) -> Range<u32> {
        let end = ((chunk + 1) * self.chunk_blocks).min(self.n_blocks);
        self.first_block + chunk * self.chunk_blocks..self.first_block + end
    }

    /// Each chunk's blocks, and its partial sums among `[chunk][parameter]`.
    pub fn split<'a, R>(
        &self,
        partials: &'a mut [R],
        n_parameters: usize,
    ) -> impl Iterator<Item = (Range<u32>, &'a mut [R])> + use<'a, R> {
        let partials = partials.chunks_exact_mut(n_parameters).skip(self.first_chunk as usize);
        let chunks = *self;
        (0..self.count()).map(move |chunk| chunks.blocks(chunk)).zip(partials)
    }

    /// Values of the shaders' `override`s: where the blocks are, but not where their sums go.
    pub(crate) fn overrides(&self) -> Overrides {
        overrides![
            FIRST_BLOCK: self.first_block, END_BLOCK: (self.first_block + self.n_blocks),
            CHUNK_BLOCKS: self.chunk_blocks,
        ]
    }
}

/// Partial sums of the gradient of a convolution's weights and biases.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvWeightGradient {
    /// Images in a block, on a GPU a multiple of 4; also the workgroup's size.
    pub lanes: u32,
    /// All sizes of the forward convolution.
    pub shape: ConvShape,
    /// How the batch is split, in jet_components.
    pub chunks: Chunks,
    /// Components of a block ([`crate::plan::JetPass`]), of which only the first has a bias; 1 but for jets, and 0 where
    /// none has.
    pub jet_components: u32,
    /// Channels of a workgroup, of the output and of the input each: on a GPU 4 or 8.
    pub tile: usize,
    /// Where the weights lie in the parameters; the biases follow.
    pub weight_offset: usize,
    /// Length of the parameter vector: the stride of the partial sums.
    pub n_parameters: usize,
}

impl ConvWeightGradient {
    /// Channels of a tile, of as many as the layer has: in fours.
    fn tile_of(&self, channels: usize) -> usize {
        self.tile.min(channels.next_multiple_of(4))
    }

    /// The twin, in any precision, for one chunk, which begins with a block's first component: `input` and `g` hold its
    /// blocks, `grad` is the layer's `[oc][ic][ky][kx]` and then `[oc]`.
    pub fn reference<R: Real>(&self, input: &[R], g: &[R], grad: &mut [R]) {
        let (s, lanes) = (&self.shape, self.lanes as usize);
        grad.fill(R::from_f64(0.0));
        let (weights, biases) = grad.split_at_mut(s.weight_len());
        let blocks = input.chunks_exact(s.in_len() * lanes).zip(g.chunks_exact(s.out_len() * lanes));
        for (component, (input, g)) in blocks.enumerate() {
            let has_bias = self.jet_components > 0 && component.is_multiple_of(self.jet_components as usize);
            for (i, g) in g.chunks_exact(lanes).enumerate() {
                let (oy, ox, oc) =
                    (i / s.out_channels / s.out_width, i / s.out_channels % s.out_width, i % s.out_channels);
                // Lanes first: rounding errors grow with the length of a sum.
                if has_bias {
                    biases[oc] += g.iter().fold(R::from_f64(0.0), |sum, g| sum + *g);
                }
                for ky in 0..s.kernel_height {
                    let iy = (oy * s.stride_y + ky).wrapping_sub(s.pad_top);
                    for kx in 0..s.kernel_width {
                        let ix = (ox * s.stride_x + kx).wrapping_sub(s.pad_left);
                        if iy >= s.in_height || ix >= s.in_width {
                            continue;
                        }
                        for ic in 0..s.in_channels {
                            let from = ((iy * s.in_width + ix) * s.in_channels + ic) * lanes;
                            let row = (oc * s.in_channels + ic) * s.kernel_height + ky;
                            let weight = &mut weights[row * s.kernel_width + kx];
                            let lanes = g.iter().zip(&input[from..from + lanes]);
                            *weight += lanes.fold(R::from_f64(0.0), |sum, (g, x)| sum + *g * *x);
                        }
                    }
                }
            }
        }
    }
}

shader_struct! {
    /// `Params` of `shaders/layers/conv_weight_gradient.wgsl` and `shaders/layers/dense_weight_gradient.wgsl`: what a
    /// layer's launches differ in where it has several, so that they share a pipeline.
    Params { first_chunk: u32, jet_components: u32 }
}

impl KernelSpec for ConvWeightGradient {
    const SOURCE: &'static str = shader!["layers/conv_weight_gradient"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// Input; gradient of the pre-activation; partial sums.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Dot products over all pixels of a chunk: some 10,000 terms of both signs, which the reference adds one by one.
    const TOLERANCE: Tolerance = Tolerance::of_largest(5e-5);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::PerBlock(self.jet_components.max(1) as usize * self.shape.in_len()),
            Need::PerBlock(self.jet_components.max(1) as usize * self.shape.out_len()),
            Need::AtLeast(self.chunks.end() * self.n_parameters),
        ]
    }

    fn prelude(&self) -> String {
        let vectors = |channels| self.tile_of(channels) / 4;
        let (out, input) = (vectors(self.shape.out_channels), vectors(self.shape.in_channels));
        debug_assert!(out.max(input) <= 2, "{self:?}: more than the shader has");
        let lanes = self.lanes;
        let sizes = [("LANES", lanes), ("OUT_VECTORS", out as u32), ("IN_VECTORS", input as u32)];
        sizes.map(|(name, size)| format!("const {name} = {size}u;\n")).concat()
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = conv_overrides(&self.shape);
        overrides.extend(overrides![WEIGHT_OFFSET: self.weight_offset, N_PARAMETERS: self.n_parameters]);
        overrides.extend(self.chunks.overrides());
        overrides
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { first_chunk: self.chunks.first_chunk, jet_components: self.jet_components }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        let s = &self.shape;
        let tiles = |channels: usize| channels.div_ceil(self.tile_of(channels));
        let taps = tiles(s.in_channels) * s.kernel_height * s.kernel_width;
        [tiles(s.out_channels) as u32, taps as u32 + 1, self.chunks.count()]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [input, g, partials] = bound(bindings);
        let (s, lanes) = (&self.shape, self.lanes as usize);
        let layer = self.weight_offset..self.weight_offset + s.weight_len() + s.out_channels;
        for (blocks, partial) in self.chunks.split(partials.floats_mut(), self.n_parameters) {
            let of = |len: usize| blocks.start as usize * len * lanes..blocks.end as usize * len * lanes;
            let (input, g) = (&input.floats()[of(s.in_len())], &g.floats()[of(s.out_len())]);
            self.reference(input, g, &mut partial[layer.clone()]);
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (number, shape) in bench.own(conv_shapes()) {
            let layer = OFFSET..OFFSET + shape.weight_len() + shape.out_channels;
            let (jet_components, n_parameters) = (jet_components(number), layer.end + 5);
            let lens = [shape.in_len(), shape.out_len()];
            let (chunks, bindings, written) =
                weight_buffers(bench, (number, jet_components), lens, layer, n_parameters);
            let tile = 4 + 4 * (number / 2 % 2);
            let kernel =
                Self { lanes, shape, chunks, jet_components, tile, weight_offset: OFFSET, n_parameters };
            bench.run_whole(kernel, &bindings, &[(bindings[2], written)]);
        }
    }
}
