//! Copies a buffer: a snapshot's way there and back.

use crate::kernels::prelude::*;

/// Workgroups, at most: each copies a stretch of its own, so that no buffer is too large for one launch.
const MOST_GROUPS: usize = 4096;

/// Copies a buffer, always or if [`crate::kernels::check_state`] says so.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyWords {
    /// Words to copy.
    pub length: usize,
    /// Whatever the first binding says.
    pub always: bool,
}

impl CopyWords {
    fn groups(&self) -> usize {
        self.length.div_ceil(WORKGROUP_SIZE as usize).min(MOST_GROUPS)
    }
}

impl KernelSpec for CopyWords {
    const SOURCE: &'static str = shader!["guard/copy_words"];
    block_params!();
    const PER_BLOCK: bool = false;
    /// What [`crate::kernels::check_state`] says: 0 for no copy; words to read; words to write.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Copies.
    const TOLERANCE: Tolerance = Tolerance::EXACT;

    fn needs(&self) -> Vec<Need> {
        let same = Need::Words(self.length);
        vec![Need::AtLeast(1), same, same]
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LENGTH: self.length, GROUPS: self.groups(), ALWAYS: self.always]
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [self.groups() as u32, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [keep, source, copy] = bound(bindings);
        if self.always || keep.floats()[0] != 0.0 {
            copy.words_mut()[..self.length].copy_from_slice(&source.words()[..self.length]);
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for length in [1, 63, 1025, 5000, 300_001] {
            for (keep, always) in [(0.0, false), (1.0, false), (0.0, true)] {
                let flag = bench.flat("keep", 1);
                bench.contents[flag.0][0] = f32::to_bits(keep);
                let [source, copy] =
                    ["source", "copy"].map(|name| bench.add(name, Layout::Flat(length + 1), Words::Integers));
                bench.fill(source, 0..length + 1, 1.0);
                let all = if keep > 0.0 || always { vec![0..length] } else { vec![] };
                bench.run_whole(Self { length, always }, &[flag, source, copy], &[(copy, all)]);
            }
        }
    }
}
