//! Proposals of Hamiltonian Monte Carlo in the densities between a base and a model: see
//! `shaders/sampling/anneal_propose.wgsl`, and `shaders/lib/anneal.wgsl` for the densities.

use crate::kernels::prelude::*;
use crate::random::{Stream, counter, normal_of, philox};

/// Leapfrog steps of proposals (Neal 2011, <https://arxiv.org/abs/1206.1901>), with mirrors at a box's walls (Afshar and
/// Domke 2015, "Reflection, refraction, and Hamiltonian Monte Carlo").
#[derive(Clone, Debug, PartialEq)]
pub struct AnnealPropose {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// Which part of a proposal.
    pub part: Part,
    /// The density.
    pub anneal: Anneal,
}

/// A part of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its first leapfrog step, with fresh momentum, from where the last proposal led; for this step of the chains.
    First(u32),
    /// One more, for this step.
    Next(u32),
    /// None: the chains' last proposals were judged, and they are to stay in their place.
    End,
}

/// What all densities between a base and a model have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anneal {
    /// `1 / T` of the model's density `exp(-E/T - tilt |x|^2 / 2)`.
    pub inverse_temperature: f32,
    /// How much of a standard normal density it has as a factor.
    pub tilt: f32,
    /// The box that all densities live in is `[-bound, bound]` in each feature; infinite for none.
    pub bound: f32,
}

shader_struct! {
    /// `Anneal` of `shaders/lib/anneal.wgsl`.
    AnnealParams { inverse_temperature: f32, tilt: f32, bound: f32, spare: u32 }
}

shader_struct! {
    /// One step's entry of the schedule: `vec2f` in the shaders.
    #[derive(PartialEq)]
    Rung {
        /// The model's share of the density: 0 is the base, 1 the model.
        beta: f32,
        /// The leapfrog's step size there, for features of scale 1.
        step_size: f32,
    }
}

shader_struct! {
    /// The base's numbers of one feature: `Base` of `shaders/lib/anneal.wgsl`.
    #[derive(PartialEq)]
    BaseFeature {
        /// Mean of the normal density.
        mean: f32,
        /// `1 / variance`; 0 for a uniform density on the box.
        inverse_variance: f32,
        /// What steps in this feature are multiplied by.
        scale: f32,
        spare: f32,
    }
}

shader_struct! {
    /// `Params` of `shaders/sampling/anneal_propose.wgsl`.
    Params {
        anneal: AnnealParams,
        first_block: u32,
        part: u32,
        /// The step.
        chain_step: u32,
        spare: u32,
    }
}

/// Features of a chain's buffer for each of an image: its value, the gradient there, the momentum as drawn, the momentum
/// now.
pub const CHAIN: usize = 4;
/// Features of the record: see [`crate::kernels::anneal_accept`].
pub const RECORD: usize = 5;

impl Anneal {
    /// The struct for shaders.
    pub fn params(&self) -> AnnealParams {
        let Self { inverse_temperature, tilt, bound } = *self;
        AnnealParams { inverse_temperature, tilt, bound: bound.min(f32::MAX), spare: 0 }
    }

    /// `df/dx` of one feature, from `dE/dx`.
    pub(crate) fn slope(&self, beta: f32, base: &BaseFeature, x: f32, gradient: f32) -> f32 {
        beta * (self.inverse_temperature * gradient + self.tilt * x)
            + (1.0 - beta) * base.inverse_variance * (x - base.mean)
    }

    /// Where a straight way to `z` ends between mirrors at the walls, and the direction's sign there.
    fn mirrored(&self, z: f32) -> (f32, f32) {
        let bound = self.bound;
        if z.abs() <= bound {
            return (z, 1.0);
        }
        let period = 4.0 * bound;
        let w = z + bound;
        let v = w - period * (w / period).floor();
        let back = v > 2.0 * bound;
        let y = if back { period - v } else { v } - bound;
        (y.clamp(-bound, bound), if back { -1.0 } else { 1.0 })
    }
}

impl KernelSpec for AnnealPropose {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/anneal", "sampling/anneal_propose"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; schedule; base; gradient at y; record; y; chain.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Read, Read, ReadWrite, ReadWrite];
    /// Polynomials and products. A momentum's sign at a wall depends on rounding, but hardly any step ends that near a
    /// wall.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-6);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![
            Need::STATE,
            Need::AtLeast(2),
            Need::Flat(4 * self.features),
            image,
            Need::PerBlock(RECORD),
            image,
            Need::PerBlock(CHAIN * self.features),
        ]
    }

    /// Where a chain begins everything is accepted, so that its buffer is written before it is read.
    fn reads(&self, binding: usize) -> bool {
        self.part != Part::First(0) || binding < 6
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        let (part, chain_step) = match self.part {
            Part::First(step) => (0, step),
            Part::Next(step) => (1, step),
            Part::End => (2, 0),
        };
        let anneal = self.anneal.params();
        Params { anneal, first_block: blocks.start, part, chain_step, spare: 0 }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, schedule, base, gradient, record, y, chain] = bound(bindings);
        let (state, lanes) = (State::of(state.words()), self.lanes as usize);
        let (schedule, base): (&[Rung], &[BaseFeature]) =
            (bytemuck::cast_slice(schedule.words()), bytemuck::cast_slice(base.words()));
        let (gradient, accepted) = (gradient.floats(), &record.floats()[3 * lanes..4 * lanes]);
        let (y, chain) = (y.floats_mut(), chain.floats_mut());
        let (x, chain) = chain.split_at_mut(self.features * lanes);
        let (x_gradient, chain) = chain.split_at_mut(self.features * lanes);
        let (drawn, momentum) = chain.split_at_mut(self.features * lanes);
        if !matches!(self.part, Part::Next(_)) {
            for i in 0..y.len() {
                if accepted[i % lanes] != 0.0 {
                    x[i] = y[i];
                    x_gradient[i] = gradient[i];
                }
            }
            y.copy_from_slice(x);
        }
        let (is_first, step) = match self.part {
            Part::First(step) => (true, state.chain_base + step),
            Part::Next(step) => (false, state.chain_base + step),
            Part::End => return,
        };
        let Rung { beta, step_size } = schedule[step as usize + 1];
        for lane in 0..lanes {
            let image = state.first_image + index * self.lanes + lane as u32;
            let mut noise = [0.0; 4];
            for (feature, base) in base.iter().enumerate() {
                let i = feature * lanes + lane;
                if is_first {
                    if feature % 4 == 0 {
                        let at = counter(Stream::Momentum, feature as u32 / 4, image, step, state.step);
                        noise = normal_of(philox(at, state.key()));
                    }
                    drawn[i] = noise[feature % 4];
                    momentum[i] = drawn[i];
                }
                let stride = step_size * base.scale;
                let (kick, g) = if is_first { (0.5 * stride, x_gradient[i]) } else { (stride, gradient[i]) };
                let p = momentum[i] - kick * self.anneal.slope(beta, base, y[i], g);
                let (place, sign) = self.anneal.mirrored(y[i] + stride * p);
                y[i] = place;
                momentum[i] = sign * p;
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        // Where chains begin, go on and end; with steps so long that some proposals are rejected, and that walls
        // mirror some of them several times.
        let lanes = bench.plan.lanes;
        for (number, features) in [1, 2, 7, 64, 785].into_iter().enumerate() {
            let state = bench.state(State { step: number as u32, chain_base: 5, ..State::default() });
            let (schedule, base) = Anneal::buffers(bench, features);
            for (step, anneal) in Anneal::cases() {
                let part = match step {
                    None => Part::End,
                    Some(step @ (0 | 3)) => Part::First(step),
                    Some(step) => Part::Next(step),
                };
                let bindings = [
                    ("gradient", features),
                    ("record", RECORD),
                    ("y", features),
                    ("chain", CHAIN * features),
                ]
                .map(|(name, features)| bench.images(name, features));
                let bindings = [&[state, schedule, base][..], &bindings].concat();
                bench.run(Self { lanes, features, part, anneal }, &bindings);
            }
        }
    }
}

#[cfg(test)]
impl Anneal {
    /// Steps of test cases, and their densities.
    pub(crate) fn cases() -> [(Option<u32>, Self); 5] {
        [(None, 0.4), (Some(0), 0.4), (Some(1), f32::INFINITY), (Some(2), 1.0), (Some(3), 0.4)].map(
            |(step, bound)| {
                let tilt = if bound == 1.0 { 0.0 } else { 0.6 };
                (step, Self { inverse_temperature: 1.7, tilt, bound })
            },
        )
    }

    /// A schedule for chains whose base is step 5, and a base.
    pub(crate) fn buffers(bench: &mut Bench, features: usize) -> (BufferId, BufferId) {
        let schedule = bench.flat("schedule", 2 * 16);
        for (i, rung) in bench.contents[schedule.0].chunks_exact_mut(2).enumerate().take(10).skip(5) {
            let rung_now = Rung { beta: [0.0, 0.2, 0.2, 1.0, 0.6][i - 5], step_size: 0.2 * i as f32 };
            rung.copy_from_slice(bytemuck::cast_slice(&[rung_now]));
        }
        let base = bench.flat("base", 4 * features);
        for feature in 0..features {
            let [mean, precision, scale] = [0; 3].map(|_| bench.rng.random_range(0.1_f32..1.0));
            let inverse_variance = if feature % 3 == 1 { 0.0 } else { 3.0 * precision };
            let words = BaseFeature { mean, inverse_variance, scale, spare: 0.0 };
            bench.contents[base.0][4 * feature..][..4].copy_from_slice(bytemuck::cast_slice(&[words]));
        }
        (schedule, base)
    }
}
