//! Energies with a formula, and their gradients.

use crate::kernels::prelude::*;
use crate::network::Analytic;
use std::f64::consts::{E, TAU};

/// An energy with a formula, and its gradient: see `shaders/layers/analytic_energy.wgsl`.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalyticEnergy {
    /// Points in a block.
    pub lanes: u32,
    /// Numbers of a point.
    pub features: usize,
    /// Which.
    pub energy: Analytic,
}

impl AnalyticEnergy {
    /// The twin, in any precision, for one block: `x` and `gradient` `[feature][lane]`, `energy` `[lane]`.
    pub fn reference<R: Real>(&self, x: &[R], energy: &mut [R], gradient: &mut [R]) {
        let (lanes, n) = (self.lanes as usize, R::from_f64);
        let (zero, one, half) = (n(0.0), n(1.0), n(0.5));
        let mixture = self.energy.mixture();
        for (lane, energy) in energy[..lanes].iter_mut().enumerate() {
            let at = |f: usize| f * lanes + lane;
            let all = 0..self.features;
            let mut e = zero;
            match self.energy {
                Analytic::Gaussian => {
                    for f in all {
                        let (v, k) = (x[at(f)], n(if f % 2 == 1 { 4.0 } else { 1.0 }));
                        e += half * k * v * v;
                        gradient[at(f)] = k * v;
                    }
                }
                Analytic::DoubleWell => {
                    for f in all {
                        let v = x[at(f)];
                        let w = v * v - one;
                        let (of_f, slope) =
                            if f == 0 { (n(2.0) * w * w, n(8.0) * v * w) } else { (half * v * v, v) };
                        e += of_f;
                        gradient[at(f)] = slope;
                    }
                }
                Analytic::Rosenbrock => {
                    let v = x[at(0)];
                    let w = x[at(1)] - v * v;
                    e = (one - v) * (one - v) + n(100.0) * w * w;
                    gradient[at(0)] = n(2.0) * (v - one) - n(400.0) * v * w;
                    gradient[at(1)] = n(200.0) * w;
                }
                Analytic::Rastrigin => {
                    for f in all {
                        let v = x[at(f)];
                        let [cosine, sine] = R::circle(half * v);
                        e += v * v + n(20.0) * sine * sine;
                        gradient[at(f)] = n(2.0) * v + n(20.0 * TAU) * cosine * sine;
                    }
                }
                Analytic::Ackley => {
                    let (mut squares, mut cosines) = (zero, zero);
                    for f in all.clone() {
                        let v = x[at(f)];
                        squares += v * v;
                        cosines += R::circle(v)[0];
                    }
                    let d = n(self.features as f64);
                    let radius = (squares / d).sqrt();
                    let (a, b) = ((n(-0.2) * radius).exp(), (cosines / d).exp());
                    e = n(20.0) * (one - a) + (n(E) - b);
                    let pull = if radius > zero { n(4.0) * a / (d * radius) } else { zero };
                    for f in all {
                        let v = x[at(f)];
                        gradient[at(f)] = pull * v + n(TAU) * b / d * R::circle(v)[1];
                    }
                }
                Analytic::FiveGaussians | Analytic::EightGaussians | Analytic::TwentyFiveGaussians => {
                    let Some(mixture) = &mixture else { continue };
                    let sigma = n(mixture.sigma.into());
                    let scale = half / (sigma * sigma);
                    let away = |k: usize| {
                        let c = mixture.centres[k];
                        let away = [x[at(0)] - n(c[0].into()), x[at(1)] - n(c[1].into())];
                        (away, (away[0] * away[0] + away[1] * away[1]) * scale)
                    };
                    let mut nearest = away(0).1;
                    for k in 1..mixture.centres.len() {
                        let exponent = away(k).1;
                        nearest = if exponent < nearest { exponent } else { nearest };
                    }
                    let (mut sum, mut pull) = (zero, [zero; 2]);
                    for k in 0..mixture.centres.len() {
                        let (away, exponent) = away(k);
                        let weight = (nearest - exponent).exp();
                        sum += weight;
                        pull[0] += weight * away[0];
                        pull[1] += weight * away[1];
                    }
                    e = nearest - (sum - one).ln_1p() + n(mixture.log_norm());
                    gradient[at(0)] = n(2.0) * scale * pull[0] / sum;
                    gradient[at(1)] = n(2.0) * scale * pull[1] / sum;
                }
            }
            *energy = e;
        }
    }
}

impl KernelSpec for AnalyticEnergy {
    const SOURCE: &'static str = shader!["lib/random", "lib/mixture", "layers/analytic_energy"];
    block_params!();
    const PER_BLOCK: bool = true;
    /// x; energy; gradient.
    const ACCESS: &'static [Access] = &[Read, Write, Write];
    /// Sums over the features, and an exponential.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![image, Need::PerBlock(1), image]
    }

    fn overrides(&self) -> Overrides {
        let mixture = self.energy.mixture();
        let of_mixture =
            mixture.map_or([1.0, 1.0, 0.0], |m| [m.centres.len() as f64, m.sigma.into(), m.log_norm()]);
        overrides![
            WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features, ENERGY: (self.energy as u32),
            CENTRES: of_mixture[0], SIGMA: of_mixture[1], LOG_NORM: of_mixture[2],
        ]
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(1, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [x, energy, gradient] = bound(bindings);
        self.reference(x.floats(), energy.floats_mut(), gradient.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        // Points near the wells and far out.
        let lanes = bench.plan.lanes;
        for energy in crate::network::ANALYTIC {
            for (features, scale) in [(2, 0.3), (2, 5.0), (1, 2.0), (5, 2.0)] {
                if features != 2 && energy.is_planar() {
                    continue;
                }
                let x = bench.per_block("x", features);
                bench.fill(x, bench.words_of(features, &BLOCKS), scale);
                let [e, gradient] =
                    [("energy", 1), ("gradient", features)].map(|(n, f)| bench.per_block(n, f));
                bench.run(Self { lanes, features, energy }, &[x, e, gradient]);
            }
        }
    }
}
