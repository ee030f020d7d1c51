//! Energies with a formula, and no parameters: their densities are known, so that samplers can be held against them.

use crate::data::toy::{Mixture, Toy};

/// An energy of points `x` of `d` numbers.
///
/// The densities `exp(-E)` of all but [`Self::Rastrigin`] and [`Self::Ackley`] have well-known shapes; Ackley's function
/// is bounded, so that its density needs a box to live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Analytic {
    /// `sum k_i x_i^2 / 2` with `k_i = 1, 4, 1, 4, ...`: independent normals of variance `1 / k_i`.
    Gaussian = 0,
    /// `2 (x_0^2 - 1)^2 + sum_(i > 0) x_i^2 / 2`: two wells at `x_0 = +-1`, 2 deep.
    DoubleWell = 1,
    /// `(1 - x)^2 + 100 (y - x^2)^2` (Rosenbrock 1960), in the plane alone: `x` is normal around 1 with variance 1/2, and
    /// `y` around `x^2` with variance 1/200.
    Rosenbrock = 2,
    /// `sum x_i^2 + 10 (1 - cos(2 pi x_i))`: wells a distance of 1 apart, 20 deep.
    Rastrigin = 3,
    /// `20 (1 - exp(-sqrt(mean x_i^2) / 5)) + e - exp(mean cos(2 pi x_i))` (Ackley 1987). Its gradient at 0, where it has
    /// a tip, is taken as 0.
    Ackley = 4,
    /// `-ln` of the density of [`Toy::FiveGaussians`], in the plane alone.
    FiveGaussians = 5,
    /// `-ln` of the density of [`Toy::EightGaussians`], in the plane alone.
    EightGaussians = 6,
    /// `-ln` of the density of [`Toy::TwentyFiveGaussians`], in the plane alone.
    TwentyFiveGaussians = 7,
}

/// All analytic energies.
pub const ANALYTIC: [Analytic; 8] = [
    Analytic::Gaussian,
    Analytic::DoubleWell,
    Analytic::Rosenbrock,
    Analytic::Rastrigin,
    Analytic::Ackley,
    Analytic::FiveGaussians,
    Analytic::EightGaussians,
    Analytic::TwentyFiveGaussians,
];

impl Analytic {
    /// The energy of a name, such as `double-well`.
    pub fn named(name: &str) -> Option<Self> {
        ANALYTIC.into_iter().find(|energy| energy.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::DoubleWell => "double-well",
            Self::Rosenbrock => "rosenbrock",
            Self::Rastrigin => "rastrigin",
            Self::Ackley => "ackley",
            Self::FiveGaussians => "five-gaussians",
            Self::EightGaussians => "8-gaussians",
            Self::TwentyFiveGaussians => "25-gaussians",
        }
    }

    /// Whether it is an energy of points in the plane alone.
    pub fn is_planar(self) -> bool {
        self == Self::Rosenbrock || self.mixture().is_some()
    }

    /// The mixture of Gaussians whose density it tells, if it is one.
    pub fn mixture(self) -> Option<Mixture> {
        let toy = match self {
            Self::FiveGaussians => Toy::FiveGaussians,
            Self::EightGaussians => Toy::EightGaussians,
            Self::TwentyFiveGaussians => Toy::TwentyFiveGaussians,
            _ => return None,
        };
        toy.mixture()
    }
}
