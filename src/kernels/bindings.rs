//! Buffers as kernels and their twins see them.

use super::State;
use super::contrastive_loss::METRICS;

/// What a kernel does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads it only.
    Read,
    /// Writes it; elements that it leaves alone keep their value.
    Write,
    /// Reads and writes it.
    ReadWrite,
    /// Reads and writes it, and leaves nothing there that anyone should look at.
    Scratch,
}

/// What a kernel needs a buffer to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `[block][feature][lane]`, with this many features.
    PerBlock(usize),
    /// This many words.
    Flat(usize),
    /// At least this many words: other kernels use the rest of the buffer.
    AtLeast(usize),
    /// At least this many words, of a buffer of either kind.
    Words(usize),
}

impl Need {
    /// The resident state.
    pub const STATE: Self = Self::Flat(State::WORDS);

    /// The table of metrics, `[row][METRICS]`.
    pub(crate) fn metrics(rows: u32) -> Self {
        Self::Flat(rows as usize * METRICS)
    }
}

/// A buffer, or one block of it, handed to a twin.
#[derive(Debug)]
pub enum Binding<'a> {
    /// For [`Access::Read`].
    Read(&'a [u32]),
    /// For everything else.
    Write(&'a mut [u32]),
}

impl Binding<'_> {
    /// The words.
    pub fn words(&self) -> &[u32] {
        match self {
            Self::Read(words) => words,
            Self::Write(words) => words,
        }
    }

    /// The words as floats.
    pub fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(self.words())
    }

    /// The words, to be written.
    pub fn words_mut(&mut self) -> &mut [u32] {
        match self {
            Self::Read(_) => panic!("a kernel writes a binding that it declared as read-only"),
            Self::Write(words) => words,
        }
    }

    /// The words as floats, to be written.
    pub fn floats_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.words_mut())
    }
}

/// A twin's bindings by name: `let [input, output] = bound(bindings);`.
pub(super) fn bound<'a, 'b, const N: usize>(bindings: &'a mut [Binding<'b>]) -> &'a mut [Binding<'b>; N] {
    let n = bindings.len();
    bindings.try_into().unwrap_or_else(|_| panic!("a kernel of {N} bindings was given {n}"))
}
