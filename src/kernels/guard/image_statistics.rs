//! How different the images of a batch are from each other, and how many of their values lie at the bound.

use crate::kernels::draw_real::Epoch;
use crate::kernels::prelude::*;

/// Lanes that the twin sums side by side.
const CHUNK: usize = 8;

/// For each feature, positive and negative images apart: its variance over the images, and the share of images in which its
/// magnitude is below a bound.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageStatistics {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Images in a full batch, positive and negative each.
    pub batch: u32,
    /// Images in the data set: a batch may be short of positive ones.
    pub n_images: u32,
    /// The bound.
    pub bound: f32,
}

shader_struct! {
    /// `Params` of `shaders/guard/image_statistics.wgsl`.
    Params { bound: f32 }
}

impl ImageStatistics {
    /// Variance of a feature over the first `n` images of some blocks, and the share of those within the bound.
    #[inline(always)]
    fn side(&self, words: &[f32], feature: usize, n: usize) -> (f32, f32) {
        let (lanes, features) = (self.lanes as usize, self.features);
        let first = words[feature * lanes];
        let (mut sum, mut squares, mut inside) = ([0.0; CHUNK], [0.0; CHUNK], [0.0; CHUNK]);
        for block in 0..n.div_ceil(lanes) {
            let row = &words[(block * features + feature) * lanes..][..lanes.min(n - block * lanes)];
            for values in row.chunks(CHUNK) {
                for (i, value) in values.iter().enumerate() {
                    let difference = value - first;
                    sum[i] += difference;
                    squares[i] += difference * difference;
                    inside[i] += if value.abs() < self.bound { 1.0 } else { 0.0 };
                }
            }
        }
        let mean = |sums: [f32; CHUNK]| sums.iter().map(|s| f64::from(*s)).sum::<f64>() / n as f64;
        let (sum, squares) = (mean(sum), mean(squares));
        // A NaN stays one, and is seen.
        let variance = squares - sum * sum;
        (if variance < 0.0 { 0.0 } else { variance as f32 }, mean(inside) as f32)
    }
}

impl KernelSpec for ImageStatistics {
    const SOURCE: &'static str = shader!["lib/state", "lib/epoch", "guard/image_statistics"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; x, positive blocks first; `[feature][4]`: variance of positive images, of negative ones, share of each.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// A mean of squares less the square of a mean, of differences that need not be around 0.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::PerBlock(self.features), Need::Flat(4 * self.features)]
    }

    fn overrides(&self) -> Overrides {
        overrides![
            WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features, BATCH: self.batch,
            N_IMAGES: self.n_images,
        ]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { bound: self.bound }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [groups(self.features, 1), 1, 1]
    }

    fn parts(&self) -> Option<Parts> {
        let images = 2 * self.batch as usize;
        Some(Parts { items: self.features, words: 4, offset: 0, cost: 8 * images })
    }

    #[inline(always)]
    fn run_part(&self, first: usize, bindings: &mut [Binding]) {
        let [state, x, statistics] = bound(bindings);
        let (state, x) = (State::of(state.words()), x.floats());
        let (lanes, features, batch) = (self.lanes as usize, self.features, self.batch as usize);
        let n_real = Epoch::of(state.step, self.n_images, self.batch).n_real as usize;
        let half = batch.div_ceil(lanes) * features * lanes;
        for (feature, row) in statistics.floats_mut().chunks_exact_mut(4).enumerate() {
            let positive = self.side(&x[..half], first + feature, n_real);
            let negative = self.side(&x[half..2 * half], first + feature, batch);
            row.copy_from_slice(&[positive.0, negative.0, positive.1, negative.1]);
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (i, (features, batch, n_images, step)) in [
            (1, 1, 1, 0),
            (17, lanes, 5 * lanes, 2),
            (63, lanes + 1, 2 * lanes + 7, 1),
            (5, 2 * lanes, 3 * lanes, 1),
        ]
        .into_iter()
        .enumerate()
        {
            let (state, x) = (bench.at_step(step), bench.per_block("x", features));
            // Lanes without an image are NaN: they must not count.
            bench.fill_images(x, 0, Batch::new(batch, n_images, step).n_real);
            bench.fill_images(x, batch.div_ceil(lanes), batch);
            let statistics = bench.flat("statistics", 4 * features);
            let kernel = Self { lanes, features, batch, n_images, bound: 0.4 + 0.1 * i as f32 };
            bench.run_whole(kernel, &[state, x, statistics], &[(statistics, vec![0..4 * features])]);
            bench.note(&format!("step {step}"));
        }
    }
}
