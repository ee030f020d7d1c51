//! Toy sets: points in the plane, drawn from a formula. The network of a run on one sees fresh points every step
//! ([`crate::kernels::draw_toy`]); held-out points, plots and measures draw theirs here, by the same formula.
//!
//! All of them lie in, or hardly stick out of, the square [-4, 4]^2 ([`BOX`]).

use super::{Images, Shape};
use crate::random::{Stream, circle, counter, normal_of, philox};

/// The square that toy sets live in reaches so far from 0 in each coordinate.
pub const BOX: f32 = 4.0;

/// Points that count as an epoch of fresh ones.
pub const EPOCH: usize = 10_000;

/// The shape of a point.
pub const POINT: Shape = Shape { channels: 2, height: 1, width: 1 };

/// A toy set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Toy {
    /// Five Gaussians of deviation 0.3, at (0, 0) and (+-2, +-2).
    FiveGaussians = 0,
    /// Eight Gaussians of deviation 0.3, evenly on a circle of radius 3.
    EightGaussians = 1,
    /// 25 Gaussians of deviation 0.15, on a grid of spacing 1.5.
    TwentyFiveGaussians = 2,
    /// Four circles of radius 0.75, 1.5, 2.25 and 3, blurred by 0.08.
    Rings = 3,
    /// Two interleaved half circles of radius 2, blurred by 0.2.
    TwoMoons = 4,
    /// A spiral `r = angle / 5` from 3/4 to 9/4 turns, blurred by 0.2.
    SwissRoll = 5,
    /// The black squares, of side 2, of a checkerboard on [-4, 4]^2, uniformly.
    Checkerboard = 6,
    /// Five bent blades.
    Pinwheel = 7,
}

/// All toy sets.
pub const TOYS: [Toy; 8] = [
    Toy::FiveGaussians,
    Toy::EightGaussians,
    Toy::TwentyFiveGaussians,
    Toy::Rings,
    Toy::TwoMoons,
    Toy::SwissRoll,
    Toy::Checkerboard,
    Toy::Pinwheel,
];

/// A mixture of equally likely round Gaussians.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Where they are.
    pub centres: Vec<[f32; 2]>,
    /// Their standard deviation.
    pub sigma: f32,
}

impl Mixture {
    /// The natural logarithm of the density at a point.
    pub fn log_density(&self, point: [f32; 2]) -> f64 {
        let variance = f64::from(self.sigma).powi(2);
        let exponent = |centre: &[f32; 2]| {
            let square = |i: usize| (f64::from(point[i]) - f64::from(centre[i])).powi(2);
            -(square(0) + square(1)) / (2.0 * variance)
        };
        let largest = self.centres.iter().map(exponent).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.centres.iter().map(|centre| (exponent(centre) - largest).exp()).sum();
        largest + sum.ln() - self.log_norm()
    }

    /// The natural logarithm of what the sum of the Gaussians' exponentials is divided by.
    pub fn log_norm(&self) -> f64 {
        (self.centres.len() as f64 * std::f64::consts::TAU * f64::from(self.sigma).powi(2)).ln()
    }
}

impl Toy {
    /// The set of a name, such as `five-gaussians`.
    pub fn named(name: &str) -> Option<Self> {
        TOYS.into_iter().find(|toy| toy.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::FiveGaussians => "five-gaussians",
            Self::EightGaussians => "8-gaussians",
            Self::TwentyFiveGaussians => "25-gaussians",
            Self::Rings => "rings",
            Self::TwoMoons => "two-moons",
            Self::SwissRoll => "swiss-roll",
            Self::Checkerboard => "checkerboard",
            Self::Pinwheel => "pinwheel",
        }
    }

    /// Number and deviation of its Gaussians; none where it is no mixture.
    fn gaussians(self) -> Option<(u32, f32)> {
        match self {
            Self::FiveGaussians => Some((5, 0.3)),
            Self::EightGaussians => Some((8, 0.3)),
            Self::TwentyFiveGaussians => Some((25, 0.15)),
            _ => None,
        }
    }

    /// Where the mixture's Gaussian number `k` is.
    fn centre(self, k: u32) -> [f32; 2] {
        match self {
            Self::FiveGaussians if k == 4 => [0.0, 0.0],
            Self::FiveGaussians => [(k % 2) as f32 * 4.0 - 2.0, (k / 2) as f32 * 4.0 - 2.0],
            Self::EightGaussians => circle(k as f32 * 0.125).map(|v| 3.0 * v),
            _ => [(k % 5) as f32 * 1.5 - 3.0, (k / 5) as f32 * 1.5 - 3.0],
        }
    }

    /// The mixture of Gaussians that it is, if it is one.
    pub fn mixture(self) -> Option<Mixture> {
        let (n, sigma) = self.gaussians()?;
        Some(Mixture { centres: (0..n).map(|k| self.centre(k)).collect(), sigma })
    }

    /// The natural logarithm of its density at a point, where that has a closed form: of mixtures, and of the
    /// checkerboard, whose density is the same on all its black squares and 0 elsewhere.
    pub fn log_density(self, point: [f32; 2]) -> Option<f64> {
        if let Some(mixture) = self.mixture() {
            return Some(mixture.log_density(point));
        }
        let square = |v: f32| ((v + 4.0) / 2.0).floor();
        let [x, y] = point;
        (self == Self::Checkerboard).then(|| {
            let inside = (-4.0..4.0).contains(&x) && (-4.0..4.0).contains(&y);
            let black = inside && (square(x) + square(y)) % 2.0 == 0.0;
            if black { -32_f64.ln() } else { f64::NEG_INFINITY }
        })
    }

    /// One point, of four words of random bits and four standard normal numbers: `point` in `shaders/data/draw_toy.wgsl`.
    pub fn point(self, words: [u32; 4], normal: [f32; 4]) -> [f32; 2] {
        let choose = |n: u32| ((u64::from(words[0]) * u64::from(n)) >> 32) as u32;
        let unit = |word: u32| (word >> 8) as f32 * (1.0 / 16_777_216.0);
        let (u, v) = (unit(words[1]), unit(words[2]));
        let blurred = |x: f32, y: f32, sigma: f32| [x + sigma * normal[0], y + sigma * normal[1]];
        if let Some((n, sigma)) = self.gaussians() {
            let [x, y] = self.centre(choose(n));
            return blurred(x, y, sigma);
        }
        match self {
            Self::Rings => {
                let radius = 0.75 * (choose(4) + 1) as f32;
                let [x, y] = circle(u);
                blurred(radius * x, radius * y, 0.08)
            }
            Self::TwoMoons => {
                let [x, y] = circle(0.5 * u);
                if choose(2) == 0 {
                    blurred(2.0 * x - 1.0, 2.0 * y - 0.5, 0.2)
                } else {
                    blurred(1.0 - 2.0 * x, 0.5 - 2.0 * y, 0.2)
                }
            }
            Self::SwissRoll => {
                let turns = 0.75 + 1.5 * u;
                let radius = turns * (std::f32::consts::TAU / 5.0);
                let [x, y] = circle(turns);
                blurred(radius * x, radius * y, 0.2)
            }
            Self::Checkerboard => {
                let k = choose(8);
                let (column, row) = (k / 2, 2 * (k % 2) + k / 2 % 2);
                [2.0 * (column as f32 + u) - 4.0, 2.0 * (row as f32 + v) - 4.0]
            }
            _ => {
                // Pinwheel (Johnson et al. 2016, <https://arxiv.org/abs/1603.06277>), twice as large.
                let (along, across) = (1.0 + 0.3 * normal[0], 0.1 * normal[1]);
                let bend = 0.25 / std::f32::consts::TAU;
                let [x, y] = circle(0.2 * choose(5) as f32 + bend * along.exp());
                [2.0 * (along * x - across * y), 2.0 * (along * y + across * x)]
            }
        }
    }

    /// Point number `image` of a training step (`set` 0), or of another set that is kept apart from those.
    pub fn draw(self, key: [u32; 2], image: u32, set: u32, step: u32) -> [f32; 2] {
        let bits = |quad: u32| philox(counter(Stream::Toy, quad, image, set, step), key);
        self.point(bits(0), normal_of(bits(1)))
    }

    /// `count` points. Sets of another number or seed share no random numbers, and none has any in common with training.
    ///
    /// # Panics
    /// If `set` is 0, which is training's.
    pub fn points(self, count: usize, seed: u64, set: u32) -> Images {
        assert!(set > 0, "set 0 is training's");
        let key = [seed as u32, (seed >> 32) as u32];
        let values = (0..count as u32).flat_map(|image| self.draw(key, image, set, 0)).collect();
        Images { shape: POINT, values }
    }
}
