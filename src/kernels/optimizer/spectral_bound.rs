//! The end of a power iteration ([`crate::kernels::spectral_input`]): the spectral norm's estimate `sigma = |t| /
//! |v|`, the next `u = t / |t|`, and the projection of W onto the matrices whose norm is a bound's at most, `W min(1,
//! bound / sigma)` (Yoshida and Miyato 2017, "Spectral norm regularization for improving the generalizability of deep
//! learning", penalise it instead).

use crate::kernels::prelude::*;
use crate::kernels::spectral_input::Matrix;

/// Weights of one workgroup.
const GROUP: usize = 1024;

/// Scales W down to the bound. Where a norm is 0 or not finite, and where training is halted, nothing changes but norms.
#[derive(Clone, Debug, PartialEq)]
pub struct SpectralBound {
    /// W.
    pub matrix: Matrix,
    /// Its number among all matrices.
    pub number: usize,
    /// What its norm may be at most.
    pub bound: f32,
}

shader_struct! {
    /// `Params` of `shaders/optimizer/spectral_bound.wgsl`.
    Params { bound: f32 }
}

impl KernelSpec for SpectralBound {
    const SOURCE: &'static str = shader!["lib/state", "lib/sum", "optimizer/spectral_bound"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; v; t; parameters; u of all matrices; the norms before they were bounded, `[matrix]`.
    const ACCESS: &'static [Access] = &[Read, Read, Read, ReadWrite, Write, Write];
    /// Sums of squares do not cancel: 12 roundings in a row, a root, a division.
    const TOLERANCE: Tolerance = Tolerance::relative(2e-6);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::STATE,
            Need::AtLeast(self.matrix.columns),
            Need::AtLeast(self.matrix.rows),
            Need::AtLeast(self.matrix.range().end),
            Need::AtLeast(self.matrix.vector().end),
            Need::AtLeast(self.number + 1),
        ]
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = self.matrix.overrides();
        overrides.push(("VECTOR_OFFSET", self.matrix.vector_offset as f64));
        overrides.push(("NUMBER", self.number as f64));
        overrides
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { bound: self.bound }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [self.matrix.range().len().div_ceil(GROUP) as u32, 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, v, t, parameters, u, norms] = bound(bindings);
        let t = &t.floats()[..self.matrix.rows];
        let square =
            |values: &[f32]| values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() as f32;
        let (in_square, out_square) = (square(&v.floats()[..self.matrix.columns]), square(t));
        let is_known = in_square > 0.0 && out_square > 0.0 && in_square.max(out_square) < f32::MAX;
        let sigma = if is_known { (out_square / in_square).sqrt() } else { 0.0 };
        norms.floats_mut()[self.number] = sigma;
        if State::of(state.words()).halted != 0 {
            return;
        }
        if is_known {
            for (u, t) in u.floats_mut()[self.matrix.vector()].iter_mut().zip(t) {
                *u = t / out_square.sqrt();
            }
        }
        if sigma > self.bound {
            let factor = self.bound / sigma;
            parameters.floats_mut()[self.matrix.range()].iter_mut().for_each(|weight| *weight *= factor);
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        // Within its bound, and beyond it; in a state that is halted nothing but the norm is written.
        for (matrix, number) in Matrix::cases() {
            for (bound, halted) in [(1e3, 0), (1e-2, 0), (1e3, 1), (1e-2, 1)] {
                let state = bench.state(State { halted, ..State::default() });
                let [v, t, parameters, u] = [
                    ("v", matrix.columns + 2),
                    ("t", matrix.rows + 2),
                    ("parameters", matrix.range().end + 2),
                    ("u", matrix.vector().end + 1),
                ]
                .map(|(name, len)| bench.random_flat(name, len));
                let norms = bench.flat("norms", 3);
                let kept = |range: Range<usize>| if halted == 0 { vec![range] } else { vec![] };
                let written = [
                    (u, kept(matrix.vector())),
                    (parameters, kept(matrix.range())),
                    (norms, vec![number..number + 1]),
                ];
                bench.run_whole(
                    Self { matrix, number, bound },
                    &[state, v, t, parameters, u, norms],
                    &written,
                );
            }
        }
    }
}
