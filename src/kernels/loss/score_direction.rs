//! What the energy's gradient `g` is to lose, in denoising score matching: `v = weight (g - target) / n` for `n` images.
//! Taken as a constant it makes the parameter gradient of `v . g` that of the loss, the mean of
//! `weight |g - target|^2 / 2` ([`crate::kernels::score_loss`]).

use crate::kernels::draw_real::Epoch;
use crate::kernels::prelude::*;

/// What the energy's gradient is to lose.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreDirection {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Images in a full batch, which begins at the launch's first block.
    pub batch: u32,
    /// Images in the data set: the last batch of an epoch may be short of some.
    pub n_images: u32,
}

/// What [`ScoreDirection::reference`] reads of one block.
#[derive(Clone, Copy, Debug)]
pub struct DirectionInputs<'a, R> {
    /// The energy's gradient, `[feature][lane]`.
    pub gradient: &'a [R],
    /// What it should be, `[feature][lane]`.
    pub target: &'a [R],
    /// How much that counts, `[lane]`.
    pub weight: &'a [R],
}

impl ScoreDirection {
    /// The twin, in any precision, for the launch's block `index` in training step `step`: `direction` `[feature][lane]`,
    /// 0 for lanes without an image, and `residual` `[lane]`, which is `weight |g - target|^2`.
    pub fn reference<R: Real>(
        &self,
        (index, step): (u32, u32),
        inputs: DirectionInputs<R>,
        direction: &mut [R],
        residual: &mut [R],
    ) {
        let (zero, lanes) = (R::from_f64(0.0), self.lanes as usize);
        let n_real = Epoch::of(step, self.n_images, self.batch).n_real;
        let share = R::from_f64(1.0) / R::from_f64(n_real.into());
        let n_lanes = n_real.saturating_sub(index * self.lanes).min(self.lanes) as usize;
        residual.fill(zero);
        let rows = inputs.gradient.chunks_exact(lanes).zip(inputs.target.chunks_exact(lanes));
        for ((gradient, target), direction) in rows.zip(direction.chunks_exact_mut(lanes)) {
            for lane in 0..lanes {
                let error = gradient[lane] - target[lane];
                let weighted = inputs.weight[lane] * error;
                residual[lane] += weighted * error;
                direction[lane] = if lane < n_lanes { share * weighted } else { zero };
            }
        }
    }
}

impl KernelSpec for ScoreDirection {
    const SOURCE: &'static str = shader!["lib/state", "lib/epoch", "loss/score_direction"];
    block_params!();
    const PER_BLOCK: bool = true;
    /// State; the energy's gradient; target; weight; direction; residual.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Read, Write, Write];
    /// Roundings; the residual is a sum of squares over an image.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![Need::STATE, image, image, Need::PerBlock(1), image, Need::PerBlock(1)]
    }

    fn overrides(&self) -> Overrides {
        overrides![
            WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features, BATCH: self.batch,
            N_IMAGES: self.n_images,
        ]
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [self.lanes.div_ceil(WORKGROUP_SIZE), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, gradient, target, weight, direction, residual] = bound(bindings);
        let inputs =
            DirectionInputs { gradient: gradient.floats(), target: target.floats(), weight: weight.floats() };
        let step = State::of(state.words()).step;
        self.reference((index, step), inputs, direction.floats_mut(), residual.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for features in [1, 17, 63, 65, 257] {
            // A whole batch; one that ends within a block; the short one at an epoch's end.
            for (batch, n_images, step) in
                [(lanes, 5 * lanes, 2), (lanes / 2, 50 * lanes, 0), (lanes, lanes + 3, 1)]
            {
                let state = bench.at_step(step);
                let [gradient, target, weight] =
                    [("gradient", features), ("target", features), ("weight", 1)]
                        .map(|(name, features)| bench.images(name, features));
                let [direction, residual] = [("direction", features), ("residual", 1)]
                    .map(|(name, features)| bench.per_block(name, features));
                let bindings = [state, gradient, target, weight, direction, residual];
                bench.run(Self { lanes, features, batch, n_images }, &bindings);
            }
        }
    }
}
