//! Draws fresh points of a toy set, other ones every training step.

use crate::data::toy::Toy;
use crate::kernels::prelude::*;
use crate::random::{Stream, counter, normal_of, philox};

/// Draws fresh points: see `shaders/data/draw_toy.wgsl`.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawToy {
    /// Points in a block.
    pub lanes: u32,
    /// The set.
    pub toy: Toy,
    /// Standard deviation of noise on top of the set's own.
    pub noise: f32,
}

shader_struct! {
    /// `Params` of `shaders/data/draw_toy.wgsl`.
    Params { first_block: u32, noise: f32 }
}

impl KernelSpec for DrawToy {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/mixture", "data/draw_toy"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; x.
    const ACCESS: &'static [Access] = &[Read, Write];
    /// Polynomials of a handful of terms, and an angle of up to 2.3 turns: its rounding becomes an arc of that length.
    const TOLERANCE: Tolerance = Tolerance::of_largest(3e-6);

    fn needs(&self) -> Vec<Need> {
        vec![Need::STATE, Need::PerBlock(2)]
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes, TOY: (self.toy as u32)]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        Params { first_block: blocks.start, noise: self.noise }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(1, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, x] = bound(bindings);
        let state = State::of(state.words());
        let (lanes, x) = (self.lanes as usize, x.floats_mut());
        for lane in 0..lanes {
            let image = index * self.lanes + lane as u32;
            let point = self.toy.draw(state.key(), image, 0, state.step);
            let noise = normal_of(philox(counter(Stream::DataNoise, 0, image, 0, state.step), state.key()));
            for i in 0..2 {
                x[i * lanes + lane] = point[i] + self.noise * noise[i];
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for toy in crate::data::toy::TOYS {
            for (step, noise) in [(0, 0.0), (1000, 0.5)] {
                let (state, x) = (bench.at_step(step), bench.per_block("x", 2));
                bench.run(Self { lanes, toy, noise }, &[state, x]);
            }
        }
    }
}
