//! Augmented chain starts: small shifts, flips and rescalings, so that chains reach images that noise alone would not
//! lead to (Du, Li, Tenenbaum and Mordatch 2021, <https://arxiv.org/abs/2012.01316>, section 3.2).

use crate::data::Shape;
use crate::kernels::prelude::*;
use crate::random::{Stream, counter, philox, uniform_of};

/// Which changes, and how large.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augmentation {
    /// Probability that a start is changed.
    pub probability: f32,
    /// Pixels that it is shifted by, at most.
    pub shift: u32,
    /// Probability that it is flipped from left to right then.
    pub flip: f32,
    /// It is rescaled by 1 +- up to this; less than 1.
    pub rescale: f32,
}

/// Changes starts on their way into `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct AugmentStarts {
    /// Images in a block.
    pub lanes: u32,
    /// Shape of an image.
    pub shape: Shape,
    /// The changes.
    pub augment: Augmentation,
}

shader_struct! {
    /// `Params` of `shaders/data/augment_starts.wgsl`.
    Params { first_block: u32, probability: f32, shift: u32, flip: f32, rescale: f32 }
}

impl KernelSpec for AugmentStarts {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "data/augment_starts"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; starts; x.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Interpolation between places of up to 64 pixels.
    const TOLERANCE: Tolerance = Tolerance::of_largest(2e-5);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.shape.len());
        vec![Need::STATE, image, image]
    }

    fn overrides(&self) -> Overrides {
        overrides![
            WORKGROUP_SIZE, LANES: self.lanes, CHANNELS: self.shape.channels, HEIGHT: self.shape.height,
            WIDTH: self.shape.width,
        ]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        let a = &self.augment;
        Params {
            first_block: blocks.start,
            probability: a.probability,
            shift: a.shift,
            flip: a.flip,
            rescale: a.rescale,
        }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.shape.len().div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, starts, x] = bound(bindings);
        let (state, starts, x) = (State::of(state.words()), starts.floats(), x.floats_mut());
        let (shape, augment, lanes) = (self.shape, self.augment, self.lanes as usize);
        let (last_y, last_x) = ((shape.height - 1) as f32, (shape.width - 1) as f32);
        for lane in 0..lanes {
            let image = index * self.lanes + lane as u32;
            let [a, b] =
                [0, 1].map(|part| philox(counter(Stream::Augment, 0, image, part, state.step), state.key()));
            let below = |bits: u32, p: f32| (bits >> 8) as f32 * (1.0 / 16_777_216.0) < p;
            let (augments, flips) = (below(a[0], augment.probability), below(a[1], augment.flip));
            let shift = |bits: u32| {
                let n = u64::from(2 * augment.shift + 1);
                ((u64::from(bits) * n) >> 32) as f32 - augment.shift as f32
            };
            let (shift_y, shift_x) = (shift(a[2]), shift(a[3]));
            let scale = 1.0 / (1.0 + augment.rescale * uniform_of(b[0]));
            for feature in 0..shape.len() {
                if !augments {
                    x[feature * lanes + lane] = starts[feature * lanes + lane];
                    continue;
                }
                let (pixel, channel) = (feature / shape.channels, feature % shape.channels);
                let column = (pixel % shape.width) as f32;
                let column = if flips { last_x - column } else { column };
                let row = (pixel / shape.width) as f32;
                let y = 0.5 * last_y + scale * (row - 0.5 * last_y) - shift_y;
                let place_x = 0.5 * last_x + scale * (column - 0.5 * last_x) - shift_x;
                let (top, left) = (y.floor(), place_x.floor());
                let value = |y: f32, x: f32| {
                    let (y, x) = (y.clamp(0.0, last_y) as usize, x.clamp(0.0, last_x) as usize);
                    starts[((y * shape.width + x) * shape.channels + channel) * lanes + lane]
                };
                let across = |y: f32| {
                    let (from, to) = (value(y, left), value(y, left + 1.0));
                    from + (place_x - left) * (to - from)
                };
                let (upper, lower) = (across(top), across(top + 1.0));
                x[feature * lanes + lane] = upper + (y - top) * (lower - upper);
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        // Changed by nothing, by whole pixels, by parts of them; images of one pixel, of a row.
        for (channels, [height, width], augment) in [
            (1, [1, 1], Augmentation { probability: 1.0, shift: 3, flip: 0.5, rescale: 0.5 }),
            (3, [1, 7], Augmentation { probability: 0.7, shift: 2, flip: 0.5, rescale: 0.0 }),
            (1, [9, 8], Augmentation { probability: 1.0, shift: 0, flip: 0.0, rescale: 0.3 }),
            (2, [5, 6], Augmentation { probability: 0.0, shift: 2, flip: 1.0, rescale: 0.3 }),
        ] {
            let shape = Shape { channels, height, width };
            let (state, starts) = (bench.at_step(5), bench.images("starts", shape.len()));
            let x = bench.per_block("x", shape.len());
            bench.run(Self { lanes, shape, augment }, &[state, starts, x]);
        }
    }
}
