//! Nothing but multiply-adds on registers: what a GPU could reach at best, for `bench`.

use super::{Access, Binding, Describe, WORKGROUP_SIZE};
use std::ops::Range;

/// Numbers of one invocation: four vectors of four.
pub const CHAINS: usize = 16;

/// Multiply-adds of each of them in a turn of the shader's loop.
pub const STEPS: u32 = 32;

/// Repeats `v <- factor v + summand` on [`CHAINS`] numbers an invocation, [`STEPS`] times a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiplyAdds {
    /// Invocations, each of which leaves one float.
    pub invocations: u32,
    /// Turns of the loop, of [`STEPS`] multiply-adds each; a software renderer ends loops after 65,535 turns.
    pub turns: u32,
}

/// `Params` of `shaders/multiply_adds.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Turns of the loop.
    pub turns: u32,
    /// What the numbers are multiplied by.
    pub factor: f32,
    /// What is added.
    pub summand: f32,
    /// Unused.
    pub spare: u32,
}

impl MultiplyAdds {
    fn params(&self) -> Params {
        Params { turns: self.turns, factor: 0.999, summand: 1e-3, spare: 0 }
    }
}

impl Describe for MultiplyAdds {
    const NAME: &'static str = "multiply_adds";
    const SOURCE: &'static str = include_str!("../../shaders/multiply_adds.wgsl");
    /// Result.
    const ACCESS: &'static [Access] = &[Access::Write];

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("WORKGROUP_SIZE", WORKGROUP_SIZE.into()), ("INVOCATIONS", self.invocations.into())]
    }

    fn uniform(&self, _: &Range<u32>) -> Vec<u8> {
        bytemuck::bytes_of(&self.params()).to_vec()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [self.invocations.div_ceil(WORKGROUP_SIZE), 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [result] = bindings else { panic!("{} takes one binding", Self::NAME) };
        let Params { turns, factor, summand, .. } = self.params();
        for (invocation, result) in result.floats_mut().iter_mut().enumerate() {
            *result = (0..CHAINS)
                .map(|chain| {
                    let start = (chain + invocation % 64) as f32;
                    (0..turns * STEPS).fold(start, |v, _| factor * v + summand)
                })
                .sum();
        }
    }
}
