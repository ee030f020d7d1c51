//! Spectral norms of weights, by power iteration: its first half. With W a layer's weights as a matrix of output
//! channels by all else, and u what the iteration keeps from one training step to the next, `v = W^T u`;
//! [`crate::kernels::spectral_output`] and [`crate::kernels::spectral_bound`] do the rest. One iteration a step is
//! enough, as weights change slowly (Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks",
//! section 2.1 and appendix A).

use crate::kernels::prelude::*;

/// A layer's weights as a matrix, `[row][column]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Rows: the layer's outputs.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Where it begins in the parameters.
    pub weight_offset: usize,
    /// Where its u begins among those of all matrices.
    pub vector_offset: usize,
}

impl Matrix {
    /// Values of the shaders' `override`s.
    pub(crate) fn overrides(&self) -> Overrides {
        overrides![ROWS: self.rows, COLUMNS: self.columns, WEIGHT_OFFSET: self.weight_offset]
    }

    /// Where it lies in the parameters.
    pub fn range(&self) -> Range<usize> {
        self.weight_offset..self.weight_offset + self.rows * self.columns
    }

    /// Where its u lies.
    pub fn vector(&self) -> Range<usize> {
        self.vector_offset..self.vector_offset + self.rows
    }
}

/// `v = W^T u`, not normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct SpectralInput {
    /// W.
    pub matrix: Matrix,
}

impl KernelSpec for SpectralInput {
    const SOURCE: &'static str = shader!["optimizer/spectral_input"];
    block_params!();
    const PER_BLOCK: bool = false;
    /// Parameters; u of all matrices; v.
    const ACCESS: &'static [Access] = &[Read, Read, Write];
    /// Dot products over a layer's rows.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::AtLeast(self.matrix.range().end),
            Need::AtLeast(self.matrix.vector().end),
            Need::AtLeast(self.matrix.columns),
        ]
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = self.matrix.overrides();
        overrides.push(("VECTOR_OFFSET", self.matrix.vector_offset as f64));
        overrides.push(("WORKGROUP_SIZE", WORKGROUP_SIZE.into()));
        overrides
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [(self.matrix.columns as u32).div_ceil(WORKGROUP_SIZE), 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [parameters, u, v] = bound(bindings);
        let (weights, u) = (&parameters.floats()[self.matrix.range()], &u.floats()[self.matrix.vector()]);
        let v = &mut v.floats_mut()[..self.matrix.columns];
        v.fill(0.0);
        for (row, u) in weights.chunks_exact(self.matrix.columns).zip(u) {
            for (v, weight) in v.iter_mut().zip(row) {
                *v += weight * u;
            }
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for (matrix, _) in Matrix::cases() {
            let parameters = bench.random_flat("parameters", matrix.range().end + 2);
            let u = bench.random_flat("u", matrix.vector().end + 1);
            let v = bench.flat("v", matrix.columns + 2);
            bench.run_whole(Self { matrix }, &[parameters, u, v], &[(v, vec![0..matrix.columns])]);
        }
    }
}

#[cfg(test)]
impl Matrix {
    /// Matrices of test cases, with their numbers.
    pub(crate) fn cases() -> [(Self, usize); 4] {
        [(1, 1, 0), (3, 300, 1), (65, 17, 2), (257, 64, 0)].map(|(rows, columns, number)| {
            (Self { rows, columns, weight_offset: 5, vector_offset: 3 }, number)
        })
    }
}
