//! Holds the known values of images in their place while chains move the others: see `shaders/sampling/hold_known.wgsl`.

use crate::kernels::dynamics::{Dynamics, DynamicsParams, Form};
use crate::kernels::prelude::*;
use crate::random::{Stream, counter, normal_of, philox};

/// Sets what is known of images, or their gradient there.
///
/// In the form [`Form::Annealed`] a known value `y` becomes `alpha y + s n` at the noise level that the chain has come to,
/// with fresh noise `n` for each step: what the model knows images of that level as (Song et al. 2021,
/// <https://arxiv.org/abs/2011.13456>, appendix I.2). In the other forms it is `y`.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldKnown {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// What is held.
    pub what: Held,
    /// How the chains move.
    pub dynamics: Dynamics,
}

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The images, after so many steps of the program's.
    Images(u32),
    /// Their gradient: it is 0 where a value is known, so that a proposal of MALA is one in the other values alone.
    Gradient,
}

shader_struct! {
    /// `Params` of `shaders/sampling/hold_known.wgsl`.
    Params {
        dynamics: DynamicsParams,
        first_block: u32,
        /// 1 for a gradient.
        is_gradient: u32,
        /// Steps of the program's that are done.
        done: u32,
        spare: u32,
    }
}

impl HoldKnown {
    /// The noise level that chains are at; 0 where they have come to the clean image, and in forms without levels.
    fn sigma(&self, state: &State, done: u32) -> f32 {
        let d = &self.dynamics;
        if d.form != Form::Annealed {
            return 0.0;
        }
        let level = d.level(state, done);
        let p = d.params();
        let is_clean = level > 0 && level - 1 == p.final_step && p.noise_change != 0.0;
        if is_clean { 0.0 } else { d.sigma(level) }
    }
}

impl KernelSpec for HoldKnown {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/dynamics", "sampling/hold_known"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; mask, `[feature]`, not 0 where a value is known; known values; x, or its gradient.
    const ACCESS: &'static [Access] = &[Read, Read, Read, ReadWrite];
    /// Polynomials of a handful of terms of magnitude up to 6, a square root, a division.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-6);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![Need::STATE, Need::Flat(self.features), image, image]
    }

    /// A gradient's value is 0, whatever is known.
    fn reads(&self, binding: usize) -> bool {
        matches!(binding, 1 | 3) || self.what != Held::Gradient
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        let (is_gradient, done) = match self.what {
            Held::Images(done) => (0, done),
            Held::Gradient => (1, 0),
        };
        Params { dynamics: self.dynamics.params(), first_block: blocks.start, is_gradient, done, spare: 0 }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(self.features.div_ceil(4), self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, mask, known, x] = bound(bindings);
        let (mask, known, x, lanes) = (mask.floats(), known.floats(), x.floats_mut(), self.lanes as usize);
        let Held::Images(done) = self.what else {
            for (row, _) in x.chunks_mut(lanes).zip(mask).filter(|(_, known)| **known != 0.0) {
                row.fill(0.0);
            }
            return;
        };
        let state = State::of(state.words());
        let sigma = self.sigma(&state, done);
        let alpha = 1.0 / (1.0 + sigma * sigma).sqrt();
        for lane in 0..lanes {
            let image = state.first_image + index * self.lanes + lane as u32;
            for (quad, mask) in mask.chunks(4).enumerate() {
                if mask.iter().all(|known| *known == 0.0) {
                    continue;
                }
                let at = counter(Stream::Known, quad as u32, image, state.chain_base + done, state.step);
                let noise = if sigma > 0.0 { normal_of(philox(at, state.key())) } else { [0.0; 4] };
                for (i, noise) in noise.iter().enumerate().take(mask.len()).filter(|(i, _)| mask[*i] != 0.0) {
                    let at = (4 * quad + i) * lanes + lane;
                    x[at] = alpha * known[at] + sigma * alpha * noise;
                }
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        let dynamics = |form| Dynamics { form, ..Dynamics::ladder(5.0, 0.5, 8) };
        for (i, features) in [1, 3, 4, 17, 65].into_iter().enumerate() {
            let state =
                bench.state(State { step: 1000 * i as u32, chain_base: i as u32, ..State::default() });
            for (what, dynamics) in [
                (Held::Images(0), dynamics(Form::Annealed)),
                (Held::Images(3), dynamics(Form::Annealed)),
                // The clean image, and a level after it.
                (Held::Images(9), Dynamics { final_step: i as u32 + 8, ..dynamics(Form::Annealed) }),
                (Held::Images(10), Dynamics { final_step: i as u32 + 8, ..dynamics(Form::Annealed) }),
                (Held::Images(2), dynamics(Form::Mala)),
                (Held::Gradient, dynamics(Form::Mala)),
            ] {
                let mask = bench.flat("mask", features);
                let bits = (0..features).map(|f| if (f * 7 + i) % 3 == 0 { 1.0_f32 } else { 0.0 });
                bench.contents[mask.0] = bits.map(f32::to_bits).collect();
                let [known, x] = ["known", "x"].map(|name| bench.images(name, features));
                bench.run(Self { lanes, features, what, dynamics }, &[state, mask, known, x]);
            }
        }
    }
}
