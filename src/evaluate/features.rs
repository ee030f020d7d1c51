//! How alike two sets of feature vectors are. A set is `[n][d]`, row-major; all figures are NaN where a set is too small
//! for them or holds a number that is not finite.

use crate::evaluate::point_metrics::unbiased_mmd;
use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rayon::prelude::*;
use serde::Serialize;

/// Neighbours that [`Manifolds`] reach to, in the paper and here.
pub const NEIGHBOURS: usize = 3;

/// Fréchet distance of the Gaussians with the sets' means and covariances (Heusel et al. 2017, equation 6):
/// `|m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2))`. It is too large by something that falls with the size of the sets,
/// so compare only figures of equally large ones.
pub fn frechet(a: &[f32], b: &[f32], d: usize) -> f64 {
    let (Some((mean_a, a)), Some((mean_b, b))) = (moments(a, d), moments(b, d)) else { return f64::NAN };
    // C_a C_b has the eigenvalues of S C_b S, which is symmetric, where S is the root of C_a.
    let mut root = SymmetricEigen::new(a.clone());
    root.eigenvalues.apply(|value| *value = value.max(0.0).sqrt());
    let root = root.recompose();
    let product = &root * &b * &root;
    let product = (&product + product.transpose()) * 0.5; // rounding made it a little unsymmetric
    let roots: f64 = product.symmetric_eigenvalues().iter().map(|value| value.max(0.0).sqrt()).sum();
    (mean_a - mean_b).norm_squared() + a.trace() + b.trace() - 2.0 * roots
}

/// Mean and unbiased covariance.
fn moments(set: &[f32], d: usize) -> Option<(DVector<f64>, DMatrix<f64>)> {
    let n = set.len() / d;
    if n < 2 || set.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let mut columns = DMatrix::from_iterator(d, n, set.iter().map(|x| f64::from(*x)));
    let mean = columns.column_mean();
    columns.column_iter_mut().for_each(|mut column| column -= &mean);
    let covariance = &columns * columns.transpose() / (n - 1) as f64;
    Some((mean, covariance))
}

/// Kernel distance (Bińkowski et al. 2018, section 4): the squared maximum mean discrepancy, unbiased, with the kernel
/// `(x . y / d + 1)^3`. Around 0, and as often below it, where both sets are of one distribution.
pub fn kernel_distance(a: &[f32], b: &[f32], d: usize) -> f64 {
    unbiased_mmd(a, b, d, |x, y| {
        let product: f64 = x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        (product / d as f64 + 1.0).powi(3)
    })
}

/// Precision and recall (Kynkäänniemi et al. 2019): a set's manifold is the balls around its points that each reach to the
/// point's `k`-th nearest neighbour in the set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Manifolds {
    /// Share of the generated that lie in the manifold of the real: of samples that look real.
    pub precision: f64,
    /// Share of the real that lie in the manifold of the generated: of what is real that the samples cover.
    pub recall: f64,
}

impl Manifolds {
    /// Measures both.
    pub fn of(real: &[f32], generated: &[f32], d: usize, k: usize) -> Self {
        Self { precision: covered(generated, real, d, k), recall: covered(real, generated, d, k) }
    }
}

/// Share of `points` in the manifold of `set`.
fn covered(points: &[f32], set: &[f32], d: usize, k: usize) -> f64 {
    if set.len() / d <= k || points.is_empty() || points.iter().chain(set).any(|x| !x.is_finite()) {
        return f64::NAN;
    }
    let square = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
    };
    let reach = |centre: &[f32]| {
        let mut squares: Vec<f64> = set.chunks_exact(d).map(|other| square(centre, other)).collect();
        // The nearest is the point itself.
        *squares.select_nth_unstable_by(k, f64::total_cmp).1
    };
    let reaches: Vec<f64> = set.par_chunks_exact(d).map(reach).collect();
    let is_inside = |point: &[f32]| {
        set.chunks_exact(d).zip(&reaches).any(|(centre, reach)| square(point, centre) <= *reach)
    };
    let inside = points.par_chunks_exact(d).filter(|point| is_inside(point)).count();
    inside as f64 / (points.len() / d) as f64
}
