//! Energies of one's own, and Langevin samplers over any energy, on the host.
//!
//! [`Sampler`](crate::Sampler) runs whole chains on a device, but only for a [`Network`](crate::Network). The samplers here
//! ask an [`Energy`] for a gradient at every step: slower, and open to any energy and to any rule of one's own.

use crate::data::{Images, Shape};
use crate::random::{Stream, counter, log_unit, normal_of, philox};
use crate::{EnergyModel, Error, Result};

/// An energy function of images or points; lower is more likely.
#[allow(async_fn_in_trait, reason = "energies are awaited where they are made; nothing here asks for Send")]
pub trait Energy {
    /// The shape of one example.
    fn shape(&self) -> Shape;

    /// Returns `E(x)` of each example, and `dE/dx` with the shape of `x`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the examples do not fit; [`Error::Device`] if a device was lost.
    async fn energies_and_gradients(&mut self, x: &Images) -> Result<(Vec<f32>, Images)>;

    /// Returns `E(x)` of each example.
    ///
    /// # Errors
    /// Those of [`Self::energies_and_gradients`].
    async fn energies(&mut self, x: &Images) -> Result<Vec<f32>> {
        Ok(self.energies_and_gradients(x).await?.0)
    }
}

impl Energy for EnergyModel {
    fn shape(&self) -> Shape {
        EnergyModel::shape(self)
    }

    async fn energies_and_gradients(&mut self, x: &Images) -> Result<(Vec<f32>, Images)> {
        EnergyModel::energies_and_gradients(self, x).await
    }

    async fn energies(&mut self, x: &Images) -> Result<Vec<f32>> {
        EnergyModel::energies(self, x).await
    }
}

impl<E: Energy> Energy for &mut E {
    fn shape(&self) -> Shape {
        E::shape(self)
    }

    async fn energies_and_gradients(&mut self, x: &Images) -> Result<(Vec<f32>, Images)> {
        E::energies_and_gradients(self, x).await
    }

    async fn energies(&mut self, x: &Images) -> Result<Vec<f32>> {
        E::energies(self, x).await
    }
}

/// An energy given by a closure: see [`energy_fn`].
#[derive(Clone, Copy)]
pub struct EnergyFn<F> {
    shape: Shape,
    f: F,
}

impl<F> std::fmt::Debug for EnergyFn<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnergyFn").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// Makes an [`Energy`] of a closure that returns `E(x)` of one example and writes `dE/dx` into its second argument. Both
/// slices are `[channel][row][column]`, as long as `shape` says.
pub fn energy_fn<F: FnMut(&[f32], &mut [f32]) -> f32>(shape: Shape, f: F) -> EnergyFn<F> {
    EnergyFn { shape, f }
}

impl<F: FnMut(&[f32], &mut [f32]) -> f32> Energy for EnergyFn<F> {
    fn shape(&self) -> Shape {
        self.shape
    }

    async fn energies_and_gradients(&mut self, x: &Images) -> Result<(Vec<f32>, Images)> {
        check(x.shape, self.shape)?;
        let mut gradients = Images { shape: x.shape, values: vec![0.0; x.values.len()] };
        let d = self.shape.len().max(1);
        let examples = x.values.chunks_exact(d).zip(gradients.values.chunks_exact_mut(d));
        let energies = examples.map(|(x, gradient)| (self.f)(x, gradient)).collect();
        Ok((energies, gradients))
    }
}

/// A rule of [`HostSampler`]. With `g` the gradient of the energy and `n` standard normal, a proposal is
/// `y = x - step_size/2 g(x) + sqrt(step_size T) n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Takes every proposal, clamped to the box: the unadjusted Langevin algorithm, whose density is `exp(-E/T)` in the limit
    /// of small steps.
    #[default]
    Unadjusted,
    /// Accepts or rejects the proposal (MALA: Roberts and Tweedie 1996, <https://doi.org/10.2307/3318418>): the density is
    /// exactly `exp(-E/T)` on the box. A proposal beyond the box is rejected.
    Metropolis,
}

/// The settings of a [`HostSampler`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LangevinOptions {
    /// The rule.
    pub rule: Rule,
    /// Step size, above 0.
    pub step_size: f32,
    /// Temperature `T`, above 0.
    pub temperature: f32,
    /// Largest magnitude of a value; infinite for no box.
    pub bound: f32,
    /// Seed of all random numbers.
    pub seed: u64,
}

impl Default for LangevinOptions {
    fn default() -> Self {
        Self { rule: Rule::Unadjusted, step_size: 0.01, temperature: 1.0, bound: f32::INFINITY, seed: 0 }
    }
}

/// Langevin chains over any [`Energy`], on the host: the forms `theory` and `mala` of [`Sampler`](crate::Sampler), by the
/// same equations and with the same random numbers.
#[derive(Debug)]
pub struct HostSampler<E> {
    energy: E,
    options: LangevinOptions,
    x: Images,
    energies: Vec<f32>,
    gradients: Images,
    steps: u32,
    accepted: u64,
}

impl<E: Energy> HostSampler<E> {
    /// Starts one chain at each example of `start`.
    ///
    /// # Errors
    /// [`Error::Usage`] for no example, one of another shape, options out of range, or an energy that does not return one
    /// energy and one gradient for each example; those of the energy.
    pub async fn new(mut energy: E, start: Images, options: LangevinOptions) -> Result<Self> {
        check(start.shape, energy.shape())?;
        let LangevinOptions { step_size, temperature, bound, .. } = options;
        let is_positive = |x: f32| x > 0.0 && x.is_finite(); // NaN is not
        if start.count() == 0
            || start.count() * start.shape.len() != start.values.len()
            || !is_positive(step_size)
            || !is_positive(temperature)
            || bound.is_nan()
            || bound <= 0.0
        {
            return Err(Error::Usage(format!(
                "{} values of starts of {}, step size {step_size}, temperature {temperature}, a box of +-{bound}: there must be \
                 whole examples, and all else must be above 0",
                start.values.len(),
                start.shape
            )));
        }
        let (energies, gradients) = evaluate(&mut energy, &start).await?;
        Ok(Self { energy, options, x: start, energies, gradients, steps: 0, accepted: 0 })
    }

    /// Moves all chains by `steps` steps.
    ///
    /// # Errors
    /// [`Error::Usage`] if the energy does not return one energy and one gradient for each example; those of the energy.
    pub async fn run(&mut self, steps: u32) -> Result<()> {
        for _ in 0..steps {
            self.step().await?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<()> {
        let LangevinOptions { rule, step_size, temperature, bound, seed } = self.options;
        let (drift, deviation) = (0.5 * step_size, (step_size * temperature).sqrt());
        let mut proposal = self.noise();
        for ((y, x), g) in proposal.values.iter_mut().zip(&self.x.values).zip(&self.gradients.values) {
            *y = x - drift * g + deviation * *y;
            if rule == Rule::Unadjusted {
                *y = y.clamp(-bound, bound);
            }
        }
        let (energies, gradients) = evaluate(&mut self.energy, &proposal).await?;
        let step = self.steps;
        self.steps += 1;
        if rule == Rule::Unadjusted {
            (self.x, self.energies, self.gradients) = (proposal, energies, gradients);
            return Ok(());
        }
        let d = self.x.shape.len();
        for (chain, energy) in energies.iter().enumerate() {
            let range = chain * d..(chain + 1) * d;
            let (y, gy) = (&proposal.values[range.clone()], &gradients.values[range.clone()]);
            let (x, gx) = (&mut self.x.values[range.clone()], &mut self.gradients.values[range]);
            // log q(x|y) - log q(y|x), times -4 T.
            let mut sum = 0.0;
            for (((x, y), gx), gy) in x.iter().zip(y).zip(gx.iter()).zip(gy) {
                let [x, y, gx, gy] = [x, y, gx, gy].map(|v| f64::from(*v));
                sum += (gx + gy) * (2.0 * (x - y) + f64::from(drift) * (gy - gx));
            }
            let fall = f64::from(self.energies[chain]) - f64::from(*energy);
            let log_ratio = (fall - 0.25 * sum) / f64::from(temperature);
            let word = words(seed, Stream::Accept, 0, chain, step)[0];
            let u = ((word >> 8) + 1) as f32 * (1.0 / 16_777_216.0);
            let is_inside = y.iter().all(|y| y.abs() <= bound);
            if is_inside && f64::from(log_unit(u)) <= log_ratio {
                x.copy_from_slice(y);
                gx.copy_from_slice(gy);
                self.energies[chain] = *energy;
                self.accepted += 1;
            }
        }
        Ok(())
    }

    /// Standard normal numbers of this step, one for each value: those of the device's chains, whose features are
    /// `[pixel][channel]`.
    fn noise(&self) -> Images {
        let (shape, d) = (self.x.shape, self.x.shape.len());
        let pixels = shape.height * shape.width;
        let mut values = vec![0.0; self.x.values.len()];
        for (chain, image) in values.chunks_exact_mut(d).enumerate() {
            for quad in 0..d.div_ceil(4) {
                let normals =
                    normal_of(words(self.options.seed, Stream::Langevin, quad as u32, chain, self.steps));
                for (feature, normal) in (4 * quad..d).zip(normals) {
                    image[feature % shape.channels * pixels + feature / shape.channels] = normal;
                }
            }
        }
        Images { shape, values }
    }

    /// The current state of each chain.
    pub fn images(&self) -> &Images {
        &self.x
    }

    /// The energy of each chain's state.
    pub fn energies(&self) -> &[f32] {
        &self.energies
    }

    /// Steps done so far.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The share of proposals accepted so far, from 0 to 1; `None` for [`Rule::Unadjusted`] and before the first step.
    pub fn acceptance(&self) -> Option<f64> {
        let proposals = self.energies.len() as f64 * f64::from(self.steps);
        (self.options.rule == Rule::Metropolis && proposals > 0.0).then(|| self.accepted as f64 / proposals)
    }
}

/// What an energy returns for `x`, which has to be one energy and one gradient for each example.
async fn evaluate(energy: &mut impl Energy, x: &Images) -> Result<(Vec<f32>, Images)> {
    let (energies, gradients) = energy.energies_and_gradients(x).await?;
    if energies.len() == x.count() && gradients.shape == x.shape && gradients.values.len() == x.values.len() {
        return Ok((energies, gradients));
    }
    Err(Error::Usage(format!(
        "the energy returned {} energies and {} values of gradients of {} for {} examples of {}: return one energy and \
         one gradient for each",
        energies.len(),
        gradients.values.len(),
        gradients.shape,
        x.count(),
        x.shape
    )))
}

fn words(seed: u64, stream: Stream, quad: u32, chain: usize, step: u32) -> [u32; 4] {
    philox(counter(stream, quad, chain as u32, step, 0), [seed as u32, (seed >> 32) as u32])
}

fn check(shape: Shape, wanted: Shape) -> Result<()> {
    if shape == wanted {
        return Ok(());
    }
    let text = format!("examples of {shape} (channels x height x width) for an energy of {wanted}");
    Err(Error::Usage(text))
}
