//! Kernels that are not per block, in parts for several threads.

use super::Binding;

/// How a kernel that is not per block falls into parts: by items, such as parameters or tiles of channels, of which each
/// owns its words in every binding that the kernel writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Items.
    pub items: usize,
    /// Words of an item in each binding that is written, one item after the other.
    pub words: usize,
    /// Where the first item's words begin there.
    pub offset: usize,
    /// How long the twin takes for an item, about: as long as to copy so many words, each 0.1 to 0.2 ns.
    pub cost: usize,
}

impl Parts {
    /// For a kernel that does the same to every parameter.
    pub fn parameters(n_parameters: usize, cost: usize) -> Self {
        Self { items: n_parameters, words: 1, offset: 0, cost }
    }

    /// Bindings for parts of `items` items, and the first item of each; the last part may have fewer.
    pub fn cut<'b>(&self, items: usize, bindings: &'b mut [Binding]) -> Vec<(usize, Vec<Binding<'b>>)> {
        let items = items.max(1);
        let mut parts: Vec<(usize, Vec<Binding>)> =
            (0..self.items).step_by(items).map(|first| (first, Vec::with_capacity(bindings.len()))).collect();
        for binding in bindings {
            match binding {
                Binding::Read(words) => parts.iter_mut().for_each(|(_, of)| of.push(Binding::Read(words))),
                Binding::Write(words) => {
                    let words = &mut words[self.offset..][..self.items * self.words];
                    for ((_, of), words) in parts.iter_mut().zip(words.chunks_mut(items * self.words)) {
                        of.push(Binding::Write(words));
                    }
                }
            }
        }
        parts
    }
}
