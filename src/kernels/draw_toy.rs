//! Draws fresh points of a toy set, other ones every training step.

use super::{Access, Binding, Describe, State, WORKGROUP_SIZE, groups};
use crate::data::toy::Toy;
use crate::random::{Stream, counter, normal_of, philox};
use std::ops::Range;

/// Draws fresh points: see `shaders/draw_toy.wgsl`.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawToy {
    /// Points in a block.
    pub lanes: u32,
    /// The set.
    pub toy: Toy,
    /// Standard deviation of noise on top of the set's own.
    pub noise: f32,
}

/// `Params` of `shaders/draw_toy.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// The first block of the launch's range.
    pub first_block: u32,
    /// Standard deviation of noise on top of the set's own.
    pub noise: f32,
}

impl Describe for DrawToy {
    const NAME: &'static str = "draw_toy";
    const SOURCE: &'static str = concat!(
        include_str!("../../shaders/lib/state.wgsl"),
        include_str!("../../shaders/lib/random.wgsl"),
        include_str!("../../shaders/lib/mixture.wgsl"),
        include_str!("../../shaders/draw_toy.wgsl")
    );
    /// State; x.
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("WORKGROUP_SIZE", WORKGROUP_SIZE.into()),
            ("LANES", self.lanes.into()),
            ("TOY", (self.toy as u32).into()),
        ]
    }

    fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&Params { first_block: blocks.start, noise: self.noise }).to_vec()
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(1, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, x] = bindings else { panic!("{} takes two bindings", Self::NAME) };
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
}
