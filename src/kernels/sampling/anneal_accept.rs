//! Weights, and the judgement of proposals, of annealed importance sampling (Neal 2001,
//! <https://arxiv.org/abs/physics/9803008>): see `shaders/sampling/anneal_accept.wgsl`.

use crate::kernels::anneal_propose::{Anneal, AnnealParams, BaseFeature, CHAIN, RECORD, Rung};
use crate::kernels::prelude::*;
use crate::random::{Stream, counter, log_unit, philox};

/// Adds to the chains' weights, then accepts or rejects proposals.
///
/// The record is `[block][5][lane]`: the model's `E1(x)` (`shaders/lib/anneal.wgsl`), `E0(x)`, the log weight, whether
/// the last proposal was accepted, and how many were so far.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnealAccept {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// The step whose proposal it is; `None` where chains begin: they go where their first images are.
    pub step: Option<u32>,
    /// The density.
    pub anneal: Anneal,
}

shader_struct! {
    /// `Params` of `shaders/sampling/anneal_accept.wgsl`.
    Params {
        anneal: AnnealParams,
        first_block: u32,
        /// 1 where chains begin.
        begins: u32,
        /// The step.
        chain_step: u32,
        spare: u32,
    }
}

impl KernelSpec for AnnealAccept {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/anneal", "sampling/anneal_accept"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; schedule; base; energies and gradient at y; y; chain; record.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Read, Read, Read, Read, ReadWrite];
    /// Sums of squares over an image. Decisions and counts are whole numbers, and off by much more if they are wrong.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![
            Need::STATE,
            // Two rungs at least: which ones a launch reads depends on where the run of the program begins.
            Need::AtLeast(4),
            Need::Flat(4 * self.features),
            Need::PerBlock(1),
            image,
            image,
            Need::PerBlock(CHAIN * self.features),
            Need::PerBlock(RECORD),
        ]
    }

    /// Where chains begin there is no proposal to judge.
    fn reads(&self, binding: usize) -> bool {
        self.step.is_some() || matches!(binding, 2 | 3 | 5)
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        Params {
            anneal: self.anneal.params(),
            first_block: blocks.start,
            begins: self.step.is_none().into(),
            chain_step: self.step.unwrap_or(0),
            spare: 0,
        }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(1, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, schedule, base, energies, gradient, y, chain, record] = bound(bindings);
        let (state, lanes) = (State::of(state.words()), self.lanes as usize);
        let (schedule, base): (&[Rung], &[BaseFeature]) =
            (bytemuck::cast_slice(schedule.words()), bytemuck::cast_slice(base.words()));
        let (energies, gradient, y) = (energies.floats(), gradient.floats(), y.floats());
        let (drawn, momentum) = chain.floats()[2 * y.len()..].split_at(y.len());
        let record = record.floats_mut();
        for lane in 0..lanes {
            let square = |f: usize| f64::from(y[f * lanes + lane]).powi(2);
            let squares: f64 = (0..self.features).map(square).sum();
            let energy = (f64::from(self.anneal.inverse_temperature) * f64::from(energies[lane])
                + 0.5 * f64::from(self.anneal.tilt) * squares) as f32;
            let base_energy = |f: usize| {
                let away = f64::from(y[f * lanes + lane]) - f64::from(base[f].mean);
                0.5 * f64::from(base[f].inverse_variance) * away * away
            };
            let base_energy: f64 = (0..self.features).map(base_energy).sum();
            let Some(step) = self.step else {
                for (i, value) in [energy, base_energy as f32, 0.0, 1.0, 0.0].into_iter().enumerate() {
                    record[i * lanes + lane] = value;
                }
                continue;
            };
            let step = state.chain_base + step;
            let [before, now] = [0, 1].map(|i| schedule[step as usize + i]);
            let fall = |f: usize| {
                let (i, base) = (f * lanes + lane, &base[f]);
                let slope = self.anneal.slope(now.beta, base, y[i], gradient[i]);
                let (p, kick) = (f64::from(drawn[i]), 0.5 * f64::from(now.step_size * base.scale));
                let q = f64::from(momentum[i]) - kick * f64::from(slope);
                0.5 * (p - q) * (p + q)
            };
            let kinetic: f64 = (0..self.features).map(fall).sum();
            let [x_energy, x_base] = [0, 1].map(|i| record[i * lanes + lane]);
            if before.beta != now.beta {
                record[2 * lanes + lane] += (before.beta - now.beta) * (x_energy - x_base);
            }
            let beta = f64::from(now.beta);
            let fall = beta * (f64::from(x_energy) - f64::from(energy))
                + (1.0 - beta) * (f64::from(x_base) - base_energy);
            let image = state.first_image + index * self.lanes + lane as u32;
            let at = counter(Stream::AnnealAccept, 0, image, step, state.step);
            let u = ((philox(at, state.key())[0] >> 8) + 1) as f32 * (1.0 / 16_777_216.0);
            let accepted = f64::from(log_unit(u)) <= fall + kinetic;
            if accepted {
                record[lane] = energy;
                record[lanes + lane] = base_energy as f32;
                record[4 * lanes + lane] += 1.0;
            }
            record[3 * lanes + lane] = if accepted { 1.0 } else { 0.0 };
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
                let bindings = [
                    ("energies", 1),
                    ("gradient", features),
                    ("y", features),
                    ("chain", CHAIN * features),
                    ("record", RECORD),
                ]
                .map(|(name, features)| bench.images(name, features));
                let bindings = [&[state, schedule, base][..], &bindings].concat();
                bench.run(Self { lanes, features, step, anneal }, &bindings);
            }
        }
    }
}
