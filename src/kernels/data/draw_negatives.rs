//! Draws the chains' starts: fresh noise with some probability, else a uniform draw with replacement from the replay
//! ring (Du and Mordatch 2019, <https://arxiv.org/abs/1903.08689>), or persistent chains, each at most once a step
//! (Tieleman 2008, "Training restricted Boltzmann machines using approximations to the likelihood gradient").

use crate::kernels::draw_real::{half_bits, permute_of};
use crate::kernels::prelude::*;
use crate::random::{Distribution, Stream, counter, normal_of, philox, uniform_of};

/// What fresh noise is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Uniform in [-1, 1), or standard normal.
    pub distribution: Distribution,
    /// What it is multiplied by.
    pub scale: f32,
    /// Largest magnitude; infinite for no clamp.
    pub bound: f32,
}

impl Noise {
    /// Recipe R1's: uniform in [-1, 1).
    pub const UNIFORM: Self = Self { distribution: Distribution::Uniform, scale: 1.0, bound: 1.0 };

    /// One of four values.
    fn of(&self, bits: [u32; 4], word: usize) -> f32 {
        let value = match self.distribution {
            Distribution::Normal => normal_of(bits)[word],
            _ => uniform_of(bits[word]),
        };
        (self.scale * value).clamp(-self.bound, self.bound)
    }
}

/// Draws the chains' starts.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawNegatives {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Probability that a chain starts from fresh noise.
    pub reinit_probability: f32,
    /// What that is.
    pub noise: Noise,
    /// Persistent chains that the ring holds, no fewer than the batch; 0 for a replay ring, drawn from with replacement.
    pub subset: u32,
}

/// Where one chain starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From fresh noise.
    Reinit,
    /// From this slot of the ring.
    Slot(u32),
}

/// Where chain `image` starts in the state's step; `subset` as in [`DrawNegatives`].
pub fn start(state: &State, image: u32, reinit_probability: f32, subset: u32) -> Start {
    let choice = philox(counter(Stream::StartChoice, 0, image, 0, state.step), state.key());
    if ((choice[0] >> 8) as f32) * (1.0 / 16_777_216.0) < reinit_probability {
        Start::Reinit
    } else if subset > 0 {
        Start::Slot(permute_of(Stream::Subsets, image % subset, subset, state.step, state.key()))
    } else {
        Start::Slot(((u64::from(choice[1]) * u64::from(state.replay_length)) >> 32) as u32)
    }
}

shader_struct! {
    /// `Params` of `shaders/data/draw_negatives.wgsl`.
    Params { first_block: u32, reinit_probability: f32, scale: f32, bound: f32 }
}

impl KernelSpec for DrawNegatives {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/permute", "data/draw_negatives"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; ring; x.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Of normal numbers: polynomials of a handful of terms of magnitude up to 6, a square root, a division.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-6);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::STATE,
            Need::AtLeast(self.features * self.subset.max(1) as usize),
            Need::PerBlock(self.features),
        ]
    }

    /// Copies and uniform numbers are exact.
    fn tolerance(&self) -> Tolerance {
        if self.noise.distribution == Distribution::Normal { Self::TOLERANCE } else { Tolerance::EXACT }
    }

    fn overrides(&self) -> Overrides {
        overrides![
            WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features, SUBSET: self.subset,
            HALF_BITS: half_bits(self.subset.max(1)),
            NORMAL: self.noise.distribution == Distribution::Normal,
        ]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        Params {
            first_block: blocks.start,
            reinit_probability: self.reinit_probability,
            scale: self.noise.scale,
            bound: self.noise.bound.min(f32::MAX),
        }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, replay, x] = bound(bindings);
        let (state, replay, x) = (State::of(state.words()), replay.floats(), x.floats_mut());
        let lanes = self.lanes as usize;
        for lane in 0..lanes {
            let image = index * self.lanes + lane as u32;
            match start(&state, image, self.reinit_probability, self.subset) {
                Start::Reinit => {
                    for feature in 0..self.features {
                        let at = counter(Stream::FreshStart, feature as u32 / 4, image, 0, state.step);
                        x[feature * lanes + lane] = self.noise.of(philox(at, state.key()), feature % 4);
                    }
                }
                Start::Slot(slot) => {
                    let from = &replay[slot as usize * self.features..][..self.features];
                    for (feature, value) in from.iter().enumerate() {
                        x[feature * lanes + lane] = *value;
                    }
                }
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (features, capacity, replay_length, reinit_probability) in
            [(1, 1, 1, 0.5), (3, 5, 5, 0.0), (17, 300, 257, 0.05), (65, 20, 3, 0.5), (4, 7, 7, 1.0)]
        {
            let state = bench.state(State { step: replay_length * 3, replay_length, ..State::default() });
            let replay = bench.flat("ring", capacity * features);
            bench.fill(replay, 0..replay_length as usize * features, 1.0);
            for distribution in [Distribution::Uniform, Distribution::Normal] {
                let noise = Noise { distribution, scale: 0.7, bound: 0.6 };
                let x = bench.per_block("x", features);
                bench
                    .run(Self { lanes, features, reinit_probability, noise, subset: 0 }, &[state, replay, x]);
            }
        }
        // Persistent chains: as many as the batch has, or more.
        for (features, subset, reinit_probability) in [(3, 2 * lanes, 0.0), (5, 257, 0.2), (1, 1, 0.0)] {
            let state = bench.state(State { step: 77, replay_length: subset, ..State::default() });
            let replay = bench.random_flat("ring", subset as usize * features);
            let x = bench.per_block("x", features);
            bench.run(
                Self { lanes, features, reinit_probability, noise: Noise::UNIFORM, subset },
                &[state, replay, x],
            );
        }
    }
}
