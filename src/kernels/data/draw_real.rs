//! Draws a batch of the data set, with noise, in the epoch's order: bytes to [-1, 1] and padded, or floats as they are.
//!
//! An epoch visits every image once. Its order is a bijection of the image numbers that is a pure function of (seed,
//! epoch): a Feistel network whose domain is a little larger than the data set, walked until it lands inside ("cycle
//! walking", Black and Rogaway 2002, "Ciphers with arbitrary finite domains").

use crate::data::Shape;
use crate::kernels::prelude::*;
use crate::random::{Stream, counter, normals, philox, quads};

/// Where a training step lies in its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Epochs before this one.
    pub number: u32,
    /// Images of this epoch before this step.
    pub position: u32,
    /// Images in this step: the batch, or what is left.
    pub n_real: u32,
}

impl Epoch {
    /// Of training step `step`.
    pub fn of(step: u32, n_images: u32, batch: u32) -> Self {
        let position = (step % n_images.div_ceil(batch)) * batch;
        Self { number: step / n_images.div_ceil(batch), position, n_real: batch.min(n_images - position) }
    }
}

/// Half the bits of the smallest even-bit domain that holds `n_images`.
pub fn half_bits(n_images: u32) -> u32 {
    (32 - (n_images - 1).leading_zeros()).max(2).div_ceil(2)
}

fn mix(mut v: u32) -> u32 {
    v = (v ^ v >> 16).wrapping_mul(0x7feb_352d);
    v = (v ^ v >> 15).wrapping_mul(0x846c_a68b);
    v ^ v >> 16
}

/// The image that stands at place `index` of the epoch's order.
pub fn permute(index: u32, n_images: u32, epoch: u32, key: [u32; 2]) -> u32 {
    permute_of(Stream::Permutation, index, n_images, epoch, key)
}

/// The `number`th of a stream's bijections of the numbers below `n` (`shaders/lib/permute.wgsl`).
pub fn permute_of(stream: Stream, index: u32, n: u32, number: u32, key: [u32; 2]) -> u32 {
    let half_bits = half_bits(n);
    let keys = [0, 1].map(|half| philox(counter(stream, 0, half, 0, number), key));
    let mask = (1 << half_bits) - 1;
    let mut v = index;
    loop {
        let (mut left, mut right) = (v >> half_bits, v & mask);
        for round in 0..8 {
            (left, right) = (right, left ^ (mix(right ^ keys[round / 4][round % 4]) & mask));
        }
        v = left << half_bits | right;
        if v < n {
            return v;
        }
    }
}

/// Draws the real half of a training batch.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawReal {
    /// Images in a block.
    pub lanes: u32,
    /// Images in a full batch.
    pub batch: u32,
    /// Images in the data set.
    pub n_images: u32,
    /// Numbers of the images in the bound part of the data set; a launch leaves those of others alone. All of them
    /// where it lies in one buffer.
    pub part: Range<u32>,
    /// Shape of the network's input.
    pub shape: Shape,
    /// Shape of the data set's images: not larger; what is missing is padded with -1, evenly, the odd one behind.
    pub data_shape: Shape,
    /// Whether the data set is of floats, which may be any numbers, and not of bytes, which stay in [-1, 1].
    pub floats: bool,
    /// Standard deviation of the noise.
    pub noise: f32,
}

shader_struct! {
    /// `Params` of `shaders/data/draw_real.wgsl`.
    Params {
        first_block: u32,
        noise: f32,
        /// The first image of the bound part of the data set.
        first_image: u32,
        /// The first image beyond it.
        end_image: u32,
    }
}

impl DrawReal {
    /// Words of the bound part of the data set.
    fn data_len(&self) -> usize {
        let values = self.part.len() * self.data_shape.len();
        if self.floats { values } else { values.div_ceil(4) }
    }

    fn padding(&self) -> [usize; 2] {
        [(self.shape.height - self.data_shape.height) / 2, (self.shape.width - self.data_shape.width) / 2]
    }
}

impl KernelSpec for DrawReal {
    const SOURCE: &'static str =
        shader!["lib/state", "lib/random", "lib/epoch", "lib/permute", "data/draw_real"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; data; x.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Polynomials of a handful of terms of magnitude up to 6, a square root, a division.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-6);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::Flat(self.data_len()), Need::PerBlock(self.shape.len())]
    }

    fn overrides(&self) -> Overrides {
        let [pad_top, pad_left] = self.padding();
        overrides![
            WORKGROUP_SIZE, LANES: self.lanes, BATCH: self.batch, N_IMAGES: self.n_images,
            HALF_BITS: half_bits(self.n_images), CHANNELS: self.shape.channels, HEIGHT: self.shape.height,
            WIDTH: self.shape.width, DATA_HEIGHT: self.data_shape.height, DATA_WIDTH: self.data_shape.width,
            PAD_TOP: pad_top, PAD_LEFT: pad_left, FLOATS: self.floats,
        ]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        let Range { start: first_image, end: end_image } = self.part;
        Params { first_block: blocks.start, noise: self.noise, first_image, end_image }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.shape.len().div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, data, x] = bound(bindings);
        self.block(&State::of(state.words()), index, data, x.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        // Images, batch (short of the blocks' lanes), sizes: the last batch of an epoch may be short, or of one image.
        for (n_images, batch, channels, size, data_size) in [
            (1, 1, 1, [1, 1], [1, 1]),
            (50, 20, 1, [7, 6], [4, 5]),
            (17, 17, 3, [5, 3], [5, 3]),
            (65, 8, 3, [4, 4], [1, 3]),
        ] {
            let [shape, data_shape] =
                [size, data_size].map(|[height, width]| Shape { channels, height, width });
            for step in [0, 2, 8, 1000] {
                let state = bench.at_step(step);
                let values = n_images as usize * data_shape.len();
                let bytes = bench.add("data", Layout::Flat(values.div_ceil(4)), Words::Integers);
                for i in 0..values.div_ceil(4) {
                    bench.contents[bytes.0][i] = bench.rng.random();
                }
                // Floats beyond [-1, 1], which stay there.
                let floats_of_data = bench.flat("data", values);
                bench.fill(floats_of_data, 0..values, 5.0);
                let x = bench.per_block("x", shape.len());
                for (data, floats, noise) in
                    [(bytes, false, 0.2), (bytes, false, 0.0), (floats_of_data, true, 0.2)]
                {
                    let part = 0..n_images;
                    let kernel = Self { lanes, batch, n_images, part, shape, data_shape, floats, noise };
                    bench.run(kernel, &[state, data, x]);
                    bench.note(&format!("step {step}"));
                }
            }
        }
    }
}

impl DrawReal {
    /// One block; inlined into callers that allow wider SIMD instructions.
    #[inline(always)]
    pub(crate) fn block(&self, state: &State, index: u32, data: &Binding, x: &mut [f32]) {
        if self.part == (0..self.n_images) {
            return self.whole_block(state, index, data, x, |number| number as usize);
        }
        // As if every image were in this part; then only those that are count. Lanes without an image are the first
        // part's.
        let mut all = vec![0.0; x.len()];
        let in_part =
            |number: u32| number.saturating_sub(self.part.start).min(self.part.end - self.part.start - 1);
        self.whole_block(state, index, data, &mut all, |number| in_part(number) as usize);
        let epoch = Epoch::of(state.step, self.n_images, self.batch);
        for lane in 0..self.lanes {
            let image = index * self.lanes + lane;
            let number = if image < epoch.n_real {
                permute(epoch.position + image, self.n_images, epoch.number, state.key())
            } else {
                0
            };
            if self.part.contains(&number) {
                let lanes = self.lanes as usize;
                for (row, values) in x.chunks_mut(lanes).zip(all.chunks(lanes)) {
                    row[lane as usize] = values[lane as usize];
                }
            }
        }
    }

    /// One block of images that are all in the bound part, where `place` finds them by their numbers.
    #[inline(always)]
    fn whole_block(
        &self,
        state: &State,
        index: u32,
        data: &Binding,
        x: &mut [f32],
        place: impl Fn(u32) -> usize,
    ) {
        let epoch = Epoch::of(state.step, self.n_images, self.batch);
        let lanes = self.lanes as usize;
        let present = (epoch.n_real.saturating_sub(index * self.lanes) as usize).min(lanes);
        let first = epoch.position + index * self.lanes;
        let indices: Vec<usize> = (first..first + present as u32)
            .map(|at| place(permute(at, self.n_images, epoch.number, state.key())))
            .collect();
        x.fill(-1.0);
        if self.floats {
            let values = data.floats();
            self.copy(&indices, x, |at| values[at]);
        } else {
            let bytes: &[u8] = bytemuck::cast_slice(data.words());
            self.copy(&indices, x, |at| VALUES[usize::from(bytes[at])]);
        }
        if self.noise == 0.0 {
            return;
        }
        for (quad, rows) in x.chunks_mut(4 * lanes).enumerate() {
            for first in (0..present).step_by(8) {
                let image = index * self.lanes + first as u32;
                let at = counter(Stream::DataNoise, quad as u32, image, 0, state.step);
                let noise = normals(&quads::<8>(at, state.key()));
                for (row, noise) in rows.chunks_mut(lanes).zip(&noise) {
                    for (x, noise) in row[first..present].iter_mut().zip(noise) {
                        let value = *x + self.noise * noise;
                        *x = if self.floats { value } else { value.clamp(-1.0, 1.0) };
                    }
                }
            }
        }
    }

    /// Images to the first lanes of `x`, which is -1 where the data set's images do not reach.
    #[inline(always)]
    fn copy(&self, indices: &[usize], x: &mut [f32], value: impl Fn(usize) -> f32) {
        let (shape, from, [pad_top, pad_left]) = (self.shape, self.data_shape, self.padding());
        let mut at = 0;
        for channel in 0..from.channels {
            for row in 0..from.height {
                for column in 0..from.width {
                    let pixel = (row + pad_top) * shape.width + column + pad_left;
                    let lanes = &mut x[(pixel * shape.channels + channel) * self.lanes as usize..];
                    for (x, number) in lanes.iter_mut().zip(indices) {
                        *x = value(number * from.len() + at);
                    }
                    at += 1;
                }
            }
        }
    }
}

/// What bytes stand for.
static VALUES: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        values[byte] = (byte as f32 - 127.5) / 127.5;
        byte += 1;
    }
    values
};
