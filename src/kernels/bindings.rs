//! Buffers as kernels and their twins see them.

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
