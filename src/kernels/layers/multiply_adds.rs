//! Nothing but multiply-adds on registers: what a GPU could reach at best, for `bench`.

use crate::kernels::prelude::*;

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

shader_struct! {
    /// `Params` of `shaders/layers/multiply_adds.wgsl`.
    Params {
        turns: u32,
        /// What the numbers are multiplied by.
        factor: f32,
        /// What is added.
        summand: f32,
        spare: u32,
    }
}

impl MultiplyAdds {
    fn params(&self) -> Params {
        Params { turns: self.turns, factor: 0.999, summand: 1e-3, spare: 0 }
    }
}

impl KernelSpec for MultiplyAdds {
    const SOURCE: &'static str = shader!["layers/multiply_adds"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// Result.
    const ACCESS: &'static [Access] = &[Write];
    /// 1,024 roundings of numbers that shrink, and a sum of 32 of one sign.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-4);

    fn needs(&self) -> Vec<Need> {
        vec![Need::Flat(self.invocations as usize)]
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, INVOCATIONS: self.invocations]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        self.params()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [self.invocations.div_ceil(WORKGROUP_SIZE), 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [result] = bound(bindings);
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

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for (invocations, turns) in [(1, 0), (70, 1), (200, 32)] {
            let result = bench.flat("result", invocations as usize);
            bench.run_whole(
                Self { invocations, turns },
                &[result],
                &[(result, vec![0..invocations as usize])],
            );
        }
    }
}
