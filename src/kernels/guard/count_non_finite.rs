//! How many numbers of a buffer are NaN or infinite, by their bits: compilers of shaders may take it that none is.

use crate::kernels::prelude::*;

/// Values that a workgroup looks at, at least: its sum takes eight barriers, which cost a software renderer 50 us.
const SHARE: usize = 4096;
/// Workgroups, at most.
const MOST_GROUPS: usize = 256;

/// Counts the numbers among the first values of a buffer that are not finite, group by group.
#[derive(Clone, Debug, PartialEq)]
pub struct CountNonFinite {
    /// Values to look at.
    pub length: usize,
    /// Where the counts go: [`Self::groups`] of them, from this place on.
    pub first: usize,
}

shader_struct! {
    /// `Params` of `shaders/guard/count_non_finite.wgsl`.
    Params { first: u32 }
}

impl CountNonFinite {
    /// Counts that `length` values come to.
    pub fn groups(length: usize) -> usize {
        length.div_ceil(SHARE).min(MOST_GROUPS)
    }
}

impl KernelSpec for CountNonFinite {
    const SOURCE: &'static str = shader!["lib/sum", "lib/finite", "guard/count_non_finite"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// Values; counts, as floats.
    const ACCESS: &'static [Access] = &[Read, Write];
    /// Counts are whole numbers.
    const TOLERANCE: Tolerance = Tolerance::EXACT;

    fn needs(&self) -> Vec<Need> {
        vec![Need::Words(self.length), Need::AtLeast(self.first + Self::groups(self.length))]
    }

    fn overrides(&self) -> Overrides {
        overrides![LENGTH: self.length, GROUPS: Self::groups(self.length)]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { first: self.first as u32 }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [Self::groups(self.length) as u32, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [values, counts] = bound(bindings);
        let share = self.length.div_ceil(Self::groups(self.length));
        let counts = &mut counts.floats_mut()[self.first..];
        for (count, values) in counts.iter_mut().zip(values.words()[..self.length].chunks(share)) {
            // A sum of whole words, and not `filter().count()`, becomes SIMD.
            *count =
                values.iter().map(|bits| u32::from(bits & 0x7f80_0000 == 0x7f80_0000)).sum::<u32>() as f32;
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        // Up to several words an invocation; most groups, and a stretch of several each.
        for (length, wrong) in [
            (1, vec![]),
            (1, vec![0]),
            (63, vec![5]),
            (1025, vec![0, 512, 513, 1024]),
            (5000, vec![4999]),
            (300_001, (0..300_001).step_by(7).collect::<Vec<usize>>()),
        ] {
            let values = bench.flat("values", length + 3); // the last three, which are NaN, are not looked at
            bench.fill(values, 0..length, 3e38);
            let not_finite = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001)];
            for (i, at) in wrong.iter().enumerate() {
                bench.contents[values.0][*at] = not_finite[i % 4].to_bits();
            }
            let (groups, first) = (Self::groups(length), length % 5);
            let counts = bench.flat("counts", first + groups + 2);
            let written = [(counts, vec![first..first + groups])];
            bench.run_whole(Self { length, first }, &[values, counts], &written);
            bench.note(&format!("{} wrong", wrong.len()));
        }
    }
}
