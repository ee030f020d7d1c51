//! The logarithm of a model's normalising constant, and with it log-likelihoods, by annealed importance sampling (Neal
//! 2001, <https://arxiv.org/abs/physics/9803008>), from both ends.
//!
//! A model of energy `E` has at temperature `T` the density `exp(-E(x)/T) / Z`, on all of space or on the box that its
//! chains are clamped to. One that is sampled by annealed Langevin dynamics ([`Form::Annealed`]) has a density of blurred
//! images at each noise level, which `T` then is: `exp(-E(x)/T - |x|^2/2) / Z`. A [`Base`] has a known constant. Between it
//! and the model lie the densities `exp(-f)`, `f = beta E1 + (1 - beta) E0`, `E1` the model's exponent, `E0` the base's,
//! `beta` from 0 to 1. Chains go from one end to the other, a step of Hamiltonian Monte Carlo with each, which leaves it
//! exactly as it is (`shaders/sampling/anneal_propose.wgsl`). What the densities change by along a chain's way is its weight.
//!
//! # What is a bound on what
//! * **Forward**, from draws of the base to the model, a weight's mean is `Z/Z0` exactly, whatever the number of steps and
//!   however badly chains mix. So the logarithm of a mean of weights is, by Jensen's inequality, below `log(Z/Z0)` in the
//!   mean, and by Markov's above it by `b` with a probability of at most `exp(-b)`: a **stochastic lower bound on log Z**,
//!   which is an *upper* bound on log-likelihoods, `-E1(x) - log Z`. Chains that miss a mode make it too low.
//! * **In reverse**, from draws of the model to the base, a weight's mean is `Z0/Z`: a **stochastic upper bound on log Z**, a
//!   *lower* bound on log-likelihoods (bidirectional Monte Carlo: Grosse, Ghahramani and Adams 2015,
//!   <https://arxiv.org/abs/1511.02543>; Burda, Grosse and Salakhutdinov 2015, <https://arxiv.org/abs/1412.8566>). That holds
//!   for *exact* draws of the model. There are none of a network: [`measure`] begins with chains at `beta = 1` that
//!   started at training images, and tells whether these came to one distribution. Where they did not, this is no bound but
//!   an estimate; a mode that holds no training images is missed.
//!
//! The gap between the two shrinks as steps are added, and is what one does not know.
//!
//! # Precision
//! Energies and proposals are in single precision, on the device; a weight is summed up over 100 steps there, and these
//! sums and everything else in double precision. An exponent of magnitude 1e5 is known to about 0.01.

use super::mixing::{effective_size, split_r_hat};
use super::{Subject, last_level, wrapped};
use crate::checkpoint::Model;
use crate::data::{ImageShape, Images};
use crate::device::{Device, Machine};
use crate::kernels::State;
use crate::kernels::anneal_propose::{BaseFeature, RECORD, Rung};
use crate::kernels::dynamics::Form;
use crate::plan::{AnnealingNumbers, AnnealingPlan, ChainConfig, annealing_plan};
use crate::random::{Philox, Stream, normal_of, uniform_of};
use crate::{EnergyModel, Error, Result};
use rand::Rng;
use serde::Serialize;
use std::f64::consts::TAU;

/// A density whose constant is known: in each value normal, or uniform, and cut to a box.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    shape: ImageShape,
    bound: f32,         // infinite for no box
    mean: Vec<f32>,     // of each value, as images have them
    variance: Vec<f32>, // infinite for uniform
}

/// A variance that a value of data has at least, as a share of the mean of all values' variances: pixels that are always
/// black must not make a base that leaves them no room.
const LEAST_VARIANCE: f32 = 0.01;

impl Base {
    /// Independent normals of these means and variances, one for each value of an image, cut to the box `[-bound, bound]`
    /// (infinite for none), in which the means must lie.
    ///
    /// # Panics
    /// If there are not as many as an image of this shape has values.
    pub fn normal(shape: ImageShape, mean: Vec<f32>, variance: Vec<f32>, bound: f32) -> Self {
        assert!(mean.len() == shape.len() && variance.len() == shape.len(), "one for each value of {shape}");
        Self { shape, bound, mean, variance }
    }

    /// Uniform on the box `[-bound, bound]`.
    pub fn uniform(shape: ImageShape, bound: f32) -> Self {
        Self { shape, bound, mean: vec![0.0; shape.len()], variance: vec![f32::INFINITY; shape.len()] }
    }

    /// [`Self::normal`], with each value's mean and variance in these images; no variance is below a hundredth of the mean
    /// variance.
    pub fn fitted(images: &Images, bound: f32) -> Self {
        let (d, n) = (images.shape.len(), images.count() as f64);
        let mut sums = vec![[0.0_f64; 2]; d];
        for image in images.values.chunks_exact(d) {
            for (sum, x) in sums.iter_mut().zip(image) {
                *sum = [sum[0] + f64::from(*x), sum[1] + f64::from(*x).powi(2)];
            }
        }
        let mean = sums.iter().map(|sum| ((sum[0] / n) as f32).clamp(-bound, bound)).collect();
        let variance: Vec<f32> =
            sums.iter().map(|sum| (sum[1] / n - (sum[0] / n).powi(2)).max(0.0) as f32).collect();
        let mean_variance = variance.iter().sum::<f32>() / d as f32;
        let least = (LEAST_VARIANCE * mean_variance).max(1e-6);
        let variance = variance.iter().map(|v| v.max(least)).collect();
        Self { shape: images.shape, bound, mean, variance }
    }

    /// The logarithm of the constant of `exp(-E0)`, `E0 = sum (x - mean)^2 / (2 variance)`, on the box.
    pub fn log_z(&self) -> f64 {
        let bound = f64::from(self.bound);
        let of_value = |(mean, variance): (&f32, &f32)| {
            let (mean, variance) = (f64::from(*mean), f64::from(*variance));
            if variance.is_infinite() {
                return (2.0 * bound).ln();
            }
            let below = |x: f64| 0.5 * libm::erf((x - mean) / (2.0 * variance).sqrt());
            0.5 * (TAU * variance).ln() + (below(bound) - below(-bound)).ln()
        };
        self.mean.iter().zip(&self.variance).map(of_value).sum()
    }

    /// Exact draws.
    pub fn draw(&self, count: usize, seed: u64) -> Images {
        let mut rng = Philox::new(seed, Stream::AnnealStart);
        let mut normals = Vec::new();
        let mut value = |(mean, variance): (&f32, &f32)| {
            if variance.is_infinite() {
                return self.bound * uniform_of(rng.next_u32());
            }
            // The mean lies in the box, and data's deviation is no more than half of it: most draws do, too.
            loop {
                let normal = normals.pop().unwrap_or_else(|| {
                    normals.extend(normal_of([(); 4].map(|()| rng.next_u32())));
                    normals.pop().unwrap_or_default()
                });
                let x = mean + variance.sqrt() * normal;
                if x.abs() <= self.bound {
                    return x;
                }
            }
        };
        let all = (0..count).flat_map(|_| self.mean.iter().zip(&self.variance));
        Images { shape: self.shape, values: all.map(&mut value).collect() }
    }

    /// As the device has it: features in their order there.
    fn features(&self) -> Vec<BaseFeature> {
        let (channels, pixels) = (self.shape.channels, self.shape.height * self.shape.width);
        let feature = |f: usize| {
            let i = f % channels * pixels + f / channels;
            let (mean, variance) = (self.mean[i], self.variance[i]);
            BaseFeature {
                mean,
                inverse_variance: 1.0 / variance,
                scale: variance.sqrt().min(self.bound),
                spare: 0.0,
            }
        };
        (0..self.shape.len()).map(feature).collect()
    }

    fn describe(&self) -> String {
        let what = if self.variance.iter().all(|v| v.is_infinite()) {
            "uniform"
        } else if self.variance.iter().all(|v| *v == 1.0) && self.mean.iter().all(|m| *m == 0.0) {
            "standard normal"
        } else {
            "normal"
        };
        if self.bound.is_finite() { format!("{what}, on [-{0}, {0}]", self.bound) } else { what.to_owned() }
    }
}

/// The numbers of an estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Temperature `T`.
    pub temperature: f64,
    /// Whether the density is `exp(-E/T - |x|^2/2)`, and not `exp(-E/T)`.
    pub tilted: bool,
    /// Steps from one end to the other, 1 or more.
    pub steps: u32,
    /// Chains, 2 or more.
    pub chains: usize,
    /// Leapfrog steps of a proposal, 1 or more.
    pub leapfrogs: u32,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// Steps that one run of a program may do: any number is a sum of these.
const LENGTHS: [u32; 3] = [1, 10, 100];

/// What random numbers are for, in the place of a training step.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
enum Purpose {
    Pilot = 0,
    Forward = 1,
    Settle = 2,
    PilotBack = 3,
    Reverse = 4,
}

/// The pilot's steps on each rung.
const PILOT_STEPS: u32 = 4;
/// The standard deviation of a weight's part between two rungs of the pilot.
const PILOT_SPREAD: f64 = 0.5;
/// The share of accepted proposals that step sizes are chosen for: between what is best for one leapfrog step, 0.574
/// (Roberts and Rosenthal 1998), and for many, 0.651 (Beskos et al. 2013), with room for what the pilot does not see.
const ACCEPTANCE: f64 = 0.65;
/// The largest step size, for features of scale 1: the leapfrog is unstable beyond it.
const MOST_STEP_SIZE: f64 = 2.0;

/// What the step size of step `k` is multiplied by: 1, but a quarter for every 4th, a 16th for every 16th, and so on. A chain
/// that has come to where the energy is steep accepts no long step, and would stay there for good.
fn shortening(k: u32) -> f64 {
    0.25_f64.powi(k.max(1).trailing_zeros() as i32 / 2)
}

/// The pilot's rungs, at most: it takes about as long as the chains that it is for, and has enough to lay out a short way.
fn most_rungs(steps: u32) -> usize {
    (steps as usize / 8).clamp(20, 300)
}

/// Annealed chains on a device.
#[derive(Debug)]
pub struct Annealing {
    machine: Machine,
    plan: AnnealingPlan,
    base: Base,
    settings: Settings,
    pilot: Vec<Rung>, // from base to model
    schedule: Vec<Rung>,
    pilot_log_z: f64,     // what the pilot's mean log weight comes to
    model_step_size: f32, // at the model's end
}

/// What chains came to from one end to the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// Each chain's log weight, in nats.
    pub log_weights: Vec<f64>,
    /// Where the chains ended.
    pub images: Images,
    /// The share of proposals that were accepted.
    pub acceptance: f64,
    /// The least such share of a hundredth of the way, or of 100 steps if that is more.
    pub least_acceptance: f64,
}

/// An estimate of log Z.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// In nats.
    pub log_z: f64,
    /// Standard error of that over chains, by the delta method; too small where few chains count.
    pub standard_error: f64,
    /// How many chains of equal weight are worth as much: `(sum w)^2 / sum w^2`.
    pub effective_chains: f64,
    /// The share of proposals that were accepted.
    pub acceptance: f64,
    /// The least such share of any part of the way.
    pub least_acceptance: f64,
}

impl Annealing {
    /// Puts chains on a device, and chooses, by a pilot run, at which `beta` they are to be at each step, and their step
    /// sizes there. Chains of the pilot go as far at once as changes their weights by about 0.5, so that the steps are
    /// close where the density changes fast (Gelman and Meng 1998, section 3.3); [`Settings::steps`] are laid out over
    /// that evenly. Nothing of the pilot but these numbers goes into an estimate, which so stays exact.
    ///
    /// # Errors
    /// [`Error::Usage`] for numbers that can't be, a base of another shape, or where no energy is finite;
    /// [`Error::Device`] if the device can't hold the chains.
    pub async fn new(device: &Device, model: &Model, base: Base, settings: Settings) -> Result<Self> {
        let Settings { temperature, tilted, steps, chains, leapfrogs, seed } = settings;
        let wrong = |text: String| Err(Error::Usage(format!("annealed importance sampling: {text}")));
        if steps == 0 || chains < 2 || leapfrogs == 0 {
            return wrong(format!(
                "{steps} steps of {leapfrogs} leapfrog steps with {chains} chains; it takes 1, 1 and 2 at least"
            ));
        }
        if !(temperature > 0.0 && (1.0 / temperature) as f32 > 0.0 && (1.0 / temperature).is_finite()) {
            return wrong(format!("no density has temperature {temperature}; it has to be above 0"));
        }
        if base.shape != model.network.input {
            return wrong(format!("a base of {} for a network of {}", base.shape, model.network.input));
        }
        let rungs = (steps as usize + 1).max(most_rungs(steps) * PILOT_STEPS as usize + 1);
        let tilt = if tilted { 1.0 } else { 0.0 };
        let numbers = AnnealingNumbers { temperature, tilt, bound: base.bound, leapfrogs, rungs };
        let target = device.target(chains);
        let make = |at_once| annealing_plan(&model.network, (chains, at_once), &numbers, &LENGTHS, target);
        let (mut machine, plan, _) =
            Machine::in_shares(device, (chains, target.lanes), make, |plan| &plan.plan).await?;
        machine.write_floats(plan.pass.parameters, &model.parameters);
        machine.write_floats(plan.base, bytemuck::cast_slice(&base.features()));
        machine.run(plan.start)?;
        let (pilot, schedule) = (Vec::new(), Vec::new());
        let (pilot_log_z, model_step_size) = (base.log_z(), 0.0);
        let mut annealing =
            Self { machine, plan, base, settings, pilot, schedule, pilot_log_z, model_step_size };
        let starts = annealing.base.draw(chains, seed);
        annealing.write_images(&starts);
        annealing.pilot = annealing.pilot_from_base().await?;
        annealing.model_step_size = annealing.pilot[annealing.pilot.len() - 1].step_size;
        annealing.schedule = spread_out(&annealing.pilot, steps);
        Ok(annealing)
    }

    /// Chains from draws of the base to the model.
    ///
    /// # Errors
    /// [`Error::Usage`] if a weight is not a number; [`Error::Device`] if the device was lost.
    pub async fn forward(&mut self) -> Result<Passage> {
        // Other draws than the pilot's, which chose the schedule by what it saw.
        let starts = self.base.draw(2 * self.settings.chains, self.settings.seed);
        let own = starts.values[starts.values.len() / 2..].to_vec();
        let schedule = self.schedule.clone();
        self.pass(&Images { shape: starts.shape, values: own }, &schedule, Purpose::Forward).await
    }

    /// Chains from draws of the model, one for each chain, to the base. Their step sizes are those of a pilot of their own,
    /// from the same draws with other random numbers, as its chains may be in other places than those from the base.
    ///
    /// # Errors
    /// Those of [`Self::forward`]; [`Error::Usage`] for another number of images.
    pub async fn reverse(&mut self, draws: &Images) -> Result<Passage> {
        self.check(draws)?;
        self.write_images(draws);
        let mut rungs: Vec<Rung> = self.pilot.iter().rev().copied().collect();
        let (mut log_size, mut step) = (f64::from(self.model_step_size).ln(), 0);
        for rung in &mut rungs {
            log_size = self.tune(Purpose::PilotBack, rung.beta, log_size, &mut step).await?.0;
            rung.step_size = log_size.exp() as f32;
        }
        let schedule = spread_out(&rungs, self.settings.steps);
        self.pass(draws, &schedule, Purpose::Reverse).await
    }

    /// Chains that stay with the model, for as many steps as from one end to the other, from given images: where they end,
    /// and how well they mixed in the second half. In the first half their step size is tuned.
    ///
    /// # Errors
    /// Those of [`Self::reverse`].
    pub async fn settle(&mut self, starts: &Images) -> Result<(Images, Settling)> {
        self.check(starts)?;
        self.write_images(starts);
        let (steps, piece) = (self.settings.steps, self.settings.steps.div_ceil(100));
        let chains = self.settings.chains as f64;
        let mut energies = vec![Vec::new(); self.settings.chains];
        let (mut done, mut accepted, mut ends) = (0, 0.0, Vec::new());
        let mut log_size = f64::from(self.model_step_size).ln();
        while done < steps {
            let record = if done + PILOT_STEPS <= steps / 2 {
                let (tuned, record) = self.tune(Purpose::Settle, 1.0, log_size, &mut done).await?;
                log_size = tuned;
                record
            } else {
                let n = piece.min(steps - done);
                let rung = |k: u32| Rung { beta: 1.0, step_size: (log_size.exp() * shortening(k)) as f32 };
                self.write_schedule(done, &(done..=done + n).map(rung).collect::<Vec<_>>());
                let record = self.run(Purpose::Settle, done, n).await?;
                done += n;
                accepted += record.iter().map(|r| r.accepted).sum::<f64>() / chains / f64::from(n);
                energies.iter_mut().zip(&record).for_each(|(all, r)| all.push(r.energy));
                record
            };
            ends.push(record.iter().map(|r| r.energy).sum::<f64>() / chains);
        }
        self.model_step_size = log_size.exp() as f32;
        let settling = Settling {
            steps,
            acceptance: accepted / energies[0].len() as f64,
            first_energy: ends[0],
            last_energy: ends[ends.len() - 1],
            r_hat: split_r_hat(&energies),
            effective_size: effective_size(&energies),
        };
        Ok((self.images().await?, settling))
    }

    /// The lower bound on log Z that [`Self::forward`] comes to.
    pub fn lower(&self, forward: &Passage) -> Estimate {
        estimate(self.base.log_z(), 1.0, forward)
    }

    /// The upper bound on log Z that [`Self::reverse`] comes to.
    pub fn upper(&self, reverse: &Passage) -> Estimate {
        estimate(self.base.log_z(), -1.0, reverse)
    }

    /// `beta` and the step size at each step, [`Settings::steps`] + 1 of them.
    pub fn schedule(&self) -> &[Rung] {
        &self.schedule
    }

    async fn pass(&mut self, starts: &Images, schedule: &[Rung], purpose: Purpose) -> Result<Passage> {
        self.write_images(starts);
        self.write_schedule(0, schedule);
        let (steps, chains) = (self.settings.steps, self.settings.chains as f64);
        let mut log_weights = vec![0.0; self.settings.chains];
        let (mut done, mut accepted, mut least) = (0, 0.0, f64::INFINITY);
        while done < steps {
            let n = 100.min(steps - done);
            let record = self.run(purpose, done, n).await?;
            done += n;
            log_weights.iter_mut().zip(&record).for_each(|(all, r)| *all += r.log_weight);
            let now: f64 = record.iter().map(|r| r.accepted).sum();
            accepted += now;
            least = least.min(now / (chains * f64::from(n)));
        }
        if log_weights.iter().any(|w| w.is_nan()) {
            let text = "annealed importance sampling: an energy is not a number somewhere between base and model; the \
                        model has diverged, or the temperature is too low for single precision";
            return Err(Error::Usage(text.to_owned()));
        }
        let acceptance = accepted / (chains * f64::from(steps));
        Ok(Passage { log_weights, images: self.images().await?, acceptance, least_acceptance: least })
    }

    /// Rungs from the base to the model, with chains that are at the base.
    async fn pilot_from_base(&mut self) -> Result<Vec<Rung>> {
        let (mut beta, mut rungs, mut step) = (0.0_f64, Vec::new(), 0);
        let mut log_size = -0.25 * (self.base.shape.len() as f64).ln();
        loop {
            let (tuned, record) = self.tune(Purpose::Pilot, beta as f32, log_size, &mut step).await?;
            log_size = tuned;
            rungs.push(Rung { beta: beta as f32, step_size: log_size.exp() as f32 });
            if beta >= 1.0 {
                return Ok(rungs);
            }
            let changes: Vec<f64> = record.iter().map(|r| r.energy - r.base_energy).collect();
            let Some([mean, spread]) = moments(&changes) else {
                let text = "annealed importance sampling: the energies of fewer than two draws of the base are finite; \
                            the model has diverged, or the temperature is too low for single precision";
                return Err(Error::Usage(text.to_owned()));
            };
            let left = most_rungs(self.settings.steps).saturating_sub(rungs.len()).max(1) as f64;
            // In geometric progression the last rung is 1 at the latest.
            let least = if beta > 0.0 { beta.powf(1.0 - 1.0 / left) } else { 1e-30 };
            let next = (beta + PILOT_SPREAD / spread).max(least).min(1.0);
            self.pilot_log_z -= (next - beta) * mean;
            beta = next;
        }
    }

    /// Some steps at one `beta`, each with a better step size than the one before: its logarithm, and the last step's
    /// record. `step` counts them.
    async fn tune(
        &mut self,
        purpose: Purpose,
        beta: f32,
        mut log_size: f64,
        step: &mut u32,
    ) -> Result<(f64, Vec<Record>)> {
        let mut record = Vec::new();
        for _ in 0..PILOT_STEPS {
            let shortening = shortening(*step + 1);
            let rung = Rung { beta, step_size: (log_size.exp() * shortening) as f32 };
            self.write_schedule(*step, &[rung, rung]);
            record = self.run(purpose, *step, 1).await?;
            *step += 1;
            if shortening == 1.0 {
                let accepted: f64 = record.iter().map(|r| r.accepted).sum();
                log_size += accepted / self.settings.chains as f64 - ACCEPTANCE;
                log_size = log_size.clamp(-30.0, MOST_STEP_SIZE.ln());
            }
        }
        Ok((log_size, record))
    }

    fn write_images(&mut self, images: &Images) {
        let shape = self.base.shape;
        for share in &self.plan.shares {
            let values = &images.values[share.images.start * shape.len()..share.images.end * shape.len()];
            let blocks = self.machine.plan().to_blocks(values, shape.channels, shape.height * shape.width);
            self.machine.write_floats(share.kept[0], &blocks);
        }
    }

    fn write_schedule(&mut self, first: u32, rungs: &[Rung]) {
        self.machine.write(self.plan.schedule, 2 * first as usize, bytemuck::cast_slice(rungs));
    }

    fn check(&self, starts: &Images) -> Result<()> {
        let (n, chains) = (starts.count(), self.settings.chains);
        if n == chains && starts.shape == self.base.shape {
            return Ok(());
        }
        let (given, needed) = (starts.shape, self.base.shape);
        Err(Error::Usage(format!("{n} images of {given} to begin {chains} chains of {needed} from")))
    }

    /// Steps from number `first` on: what they came to, for each chain.
    async fn run(&mut self, purpose: Purpose, first: u32, steps: u32) -> Result<Vec<Record>> {
        let seed = self.settings.seed;
        let mut all = vec![Record::default(); self.settings.chains];
        for share in &self.plan.shares {
            if let Some(turn) = share.turn {
                self.machine.run(turn.load)?;
            }
            let mut done = 0;
            for (length, program) in self.plan.steps.iter().rev() {
                while steps - done >= *length {
                    let state = State {
                        step: purpose as u32,
                        seed_low: seed as u32,
                        seed_high: (seed >> 32) as u32,
                        chain_base: first + done,
                        first_image: share.images.start as u32,
                        ..State::default()
                    };
                    self.machine.write(self.plan.state, 0, bytemuck::cast_slice(&[state]));
                    self.machine.run(*program)?;
                    done += length;
                    let blocks = self.machine.read_floats(self.plan.record).await?;
                    let records = self.machine.plan().from_blocks(&blocks, share.images.len(), RECORD, 1);
                    for (all, r) in all[share.images.clone()].iter_mut().zip(records.chunks_exact(RECORD)) {
                        (all.energy, all.base_energy) = (r[0].into(), r[1].into());
                        all.log_weight += f64::from(r[2]);
                        all.accepted += f64::from(r[4]);
                    }
                }
            }
            if let Some(turn) = share.turn {
                self.machine.run(turn.store)?;
            }
        }
        Ok(all)
    }

    async fn images(&self) -> Result<Images> {
        let shape = self.base.shape;
        let (pixels, mut values) = (shape.height * shape.width, Vec::new());
        for share in &self.plan.shares {
            let blocks = self.machine.read_floats(share.kept[0]).await?;
            values.extend(self.machine.plan().from_blocks(
                &blocks,
                share.images.len(),
                shape.channels,
                pixels,
            ));
        }
        Ok(Images { shape, values })
    }
}

/// What some steps of a chain came to.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    energy: f64,      // E1, where the chain is
    base_energy: f64, // E0
    log_weight: f64,
    accepted: f64,
}

/// `steps + 1` rungs, as far apart as the pilot's are: those are as many nodes of a line.
fn spread_out(pilot: &[Rung], steps: u32) -> Vec<Rung> {
    let intervals = (pilot.len() - 1) as f64;
    let rung = |k: u32| {
        let at = f64::from(k) / f64::from(steps) * intervals;
        let i = (at as usize).min(pilot.len() - 2);
        let [from, to] = [pilot[i], pilot[i + 1]].map(|r| [f64::from(r.beta), f64::from(r.step_size).ln()]);
        let t = at - i as f64;
        let [beta, log_size] = [0, 1].map(|j| from[j] + t * (to[j] - from[j]));
        Rung { beta: beta as f32, step_size: (log_size.exp() * shortening(k)) as f32 }
    };
    (0..=steps).map(rung).collect()
}

/// Mean and standard deviation of those that are finite; `None` for fewer than two.
fn moments(values: &[f64]) -> Option<[f64; 2]> {
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let n = finite.len() as f64;
    let mean = finite.iter().sum::<f64>() / n;
    let variance = finite.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (finite.len() > 1).then(|| [mean, variance.sqrt()])
}

/// `base_log_z` and the logarithm of the mean weight, or, of the way back, less it.
fn estimate(base_log_z: f64, sign: f64, passage: &Passage) -> Estimate {
    let n = passage.log_weights.len() as f64;
    let largest = passage.log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Where all weights are 0, so is the mean.
    let shift = if largest.is_finite() { largest } else { 0.0 };
    let weights = passage.log_weights.iter().map(|w| (w - shift).exp());
    let (sum, squares) = weights.fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    let effective_chains = sum * sum / squares;
    Estimate {
        log_z: base_log_z + sign * (shift + (sum / n).ln()),
        // The variance of the mean over the mean's square.
        standard_error: ((n / effective_chains - 1.0).max(0.0) / (n - 1.0)).sqrt(),
        effective_chains,
        acceptance: passage.acceptance,
        least_acceptance: passage.least_acceptance,
    }
}

/// How chains at `beta = 1` came along.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settling {
    /// Steps.
    pub steps: u32,
    /// The share of proposals that were accepted.
    pub acceptance: f64,
    /// Mean of the model's exponent, `E/T` and what is added to it, after the first hundredth of the steps.
    pub first_energy: f64,
    /// Mean of it at the end.
    pub last_energy: f64,
    /// [`split_r_hat`] of it in the second half.
    pub r_hat: f64,
    /// [`effective_size`] of these.
    pub effective_size: f64,
}

/// Which base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BaseKind {
    /// Of [`Self::Normal`] and another that whose pilot comes to the higher log Z: it is the nearer one to the model. The
    /// other is [`Self::Uniform`] where there is a box, which flat densities are near to, as at high temperatures; and
    /// standard normal for a density with that as a factor.
    #[default]
    Nearer,
    /// [`Base::fitted`] to training images, blurred if the density is that of blurred ones.
    Normal,
    /// [`Base::uniform`] on the box that chains are clamped to.
    Uniform,
}

/// What [`measure`] is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Temperature.
    pub temperature: f64,
    /// The base.
    pub base: BaseKind,
    /// Steps from one end to the other.
    pub steps: u32,
    /// Chains.
    pub chains: usize,
    /// Leapfrog steps of a proposal.
    pub leapfrogs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { temperature: 1.0, base: BaseKind::Nearer, steps: 1000, chains: 128, leapfrogs: 1 }
    }
}

/// log Z, and the log-likelihood of held-out images. All in nats.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Annealed {
    /// The density, but for its constant.
    pub density: &'static str,
    /// `T` in it.
    pub temperature: f64,
    /// The base.
    pub base: String,
    /// The logarithm of its constant.
    pub base_log_z: f64,
    /// Values of an image.
    pub dimensions: usize,
    /// Steps from one end to the other.
    pub steps: u32,
    /// Chains.
    pub chains: usize,
    /// Leapfrog steps of a proposal.
    pub leapfrogs: u32,
    /// Rungs of the pilot that laid the steps out: half of them is about the path's length in standard deviations of the
    /// weight.
    pub pilot_rungs: usize,
    /// Stochastic lower bound on log Z, from the base.
    pub log_z_lower: Estimate,
    /// Stochastic upper bound on log Z, from chains that started at training images: a bound if these have come to the
    /// model's distribution.
    pub log_z_upper: Estimate,
    /// How those chains came along.
    pub settling: Settling,
    /// Of held-out images.
    pub log_likelihood: LogLikelihood,
}

/// The mean log-likelihood of images, in nats an image, as a density on the values that the network sees: of images blurred
/// as for the noise level, where the density is that of a noise level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogLikelihood {
    /// Images.
    pub count: usize,
    /// How many of them lie outside of the box, where the density is 0; the rest of the figures leave them out.
    pub outside: usize,
    /// With the upper bound on log Z.
    pub lower: f64,
    /// With the lower bound on log Z.
    pub upper: f64,
    /// Standard error over images of the mean of `-E1`, which both have.
    pub standard_error: f64,
    /// `lower` in bits a value.
    pub lower_bits: f64,
    /// `upper` in bits a value.
    pub upper_bits: f64,
}

/// The temperature of the density that chains tend to in the limit of small steps: their own in the forms that have one;
/// in the others `noise^2 / (2 step_size)`, as `x - step_size g + noise n` is a step of `theory` of twice that size. A clip of
/// the gradient is not seen. Of annealed chains it is the last noise level, at which `exp(-E/T - |x|^2/2)` is the density of
/// those whose own temperature is 1. `None` where that is 0.
pub fn temperature_of(numbers: &ChainConfig) -> Option<f64> {
    let temperature = match numbers.form {
        Form::Theory | Form::Mala => f64::from(numbers.temperature),
        Form::NoiseFirst | Form::NoiseLast => {
            f64::from(numbers.noise).powi(2) / (2.0 * f64::from(numbers.step_size))
        }
        Form::Annealed => last_level(numbers)?.1.into(),
    };
    (temperature > 0.0 && temperature.is_finite()).then_some(temperature)
}

/// Images at a noise level: `(x + sigma n) / sqrt(1 + sigma^2)`, as in training ([`crate::kernels::perturb`]).
fn blur(images: &mut Images, sigma: f64, rng: &mut Philox) {
    let alpha = 1.0 / (1.0 + sigma * sigma).sqrt();
    for values in images.values.chunks_mut(4) {
        let noise = normal_of([(); 4].map(|()| rng.next_u32()));
        for (x, n) in values.iter_mut().zip(noise) {
            *x = (alpha * (f64::from(*x) + sigma * f64::from(n))) as f32;
        }
    }
}

/// Bounds on a model's log Z, and on the log-likelihood of held-out images. The density lives in the box that the model's
/// chains are clamped to, if they are. The base is fitted to `train`, and chains of the way back start at its first images,
/// again and again if there are too few. `progress` is told what begins.
///
/// # Errors
/// Those of [`Annealing`]; [`Error::Usage`] where there is no box for a uniform base, no training image, or
/// one that does not fit the network.
pub async fn measure(
    subject: &Subject<'_>,
    train: &Images,
    options: &Options,
    mut progress: impl FnMut(&'static str),
) -> Result<Annealed> {
    let Subject { device, model, numbers, held_out, seed } = *subject;
    let Options { temperature, steps, chains, leapfrogs, .. } = *options;
    // Blurred images do not stay in a box.
    let tilted = numbers.form == Form::Annealed;
    let bound = if numbers.clamp > 0.0 && !tilted { numbers.clamp } else { f32::INFINITY };
    let (input, mut train, mut held_out) =
        (model.network.input, train.padded_to(model.network.input)?, held_out.clone());
    if train.count() == 0 {
        return Err(Error::Usage("annealed importance sampling: there are no training images".to_owned()));
    }
    if tilted {
        let mut rng = Philox::new(seed, Stream::ScoreNoise);
        for images in [&mut held_out, &mut train] {
            blur(images, temperature, &mut rng);
        }
    }
    let fitted = || Base::fitted(&train, bound);
    let bases = match options.base {
        BaseKind::Nearer if tilted => {
            let (mean, variance) = (vec![0.0; input.len()], vec![1.0; input.len()]);
            vec![fitted(), Base::normal(input, mean, variance, bound)]
        }
        BaseKind::Nearer if bound.is_finite() => vec![fitted(), Base::uniform(input, bound)],
        BaseKind::Nearer | BaseKind::Normal => vec![fitted()],
        BaseKind::Uniform if bound.is_finite() => vec![Base::uniform(input, bound)],
        BaseKind::Uniform => {
            let text = "the model's density does not live in a box, as chains that are clamped do, so no uniform density \
                        can be the base of annealed importance sampling; take the normal one";
            return Err(Error::Usage(text.to_owned()));
        }
    };
    let settings = Settings { temperature, tilted, steps, chains, leapfrogs, seed };
    progress("pilots from the base to the model");
    let mut nearest: Option<Annealing> = None;
    for base in bases {
        let annealing = Annealing::new(device, model, base, settings).await?;
        if nearest.as_ref().is_none_or(|nearest| annealing.pilot_log_z > nearest.pilot_log_z) {
            nearest = Some(annealing);
        }
    }
    let Some(mut annealing) = nearest else { unreachable!("there is a base") };
    progress("from the base to the model");
    let forward = annealing.forward().await?;
    progress("chains from training images");
    let d = train.shape.len();
    let starts: Vec<f32> =
        train.values.iter().cycle().take(chains * d).map(|x| x.clamp(-bound, bound)).collect();
    let (draws, settling) = annealing.settle(&Images { shape: train.shape, values: starts }).await?;
    progress("back to the base");
    let reverse = annealing.reverse(&draws).await?;
    let (log_z_lower, log_z_upper) = (annealing.lower(&forward), annealing.upper(&reverse));

    let energies = EnergyModel::new(device, model).await?.energies(&held_out).await?;
    let is_inside = |image: &[f32]| image.iter().all(|x| x.abs() <= bound);
    let images = held_out.values.chunks_exact(held_out.shape.len());
    let inside = energies.iter().zip(images).filter(|(_, image)| is_inside(image));
    let tilt = |image: &[f32]| match tilted {
        true => image.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 2.0,
        false => 0.0,
    };
    let logs: Vec<f64> =
        inside.map(|(energy, image)| -f64::from(*energy) / temperature - tilt(image)).collect();
    let (n, mean) = (logs.len() as f64, logs.iter().sum::<f64>() / logs.len() as f64);
    let (lower, upper) = (mean - log_z_upper.log_z, mean - log_z_lower.log_z);
    let bits = |nats: f64| nats / std::f64::consts::LN_2 / d as f64;
    let log_likelihood = LogLikelihood {
        count: energies.len(),
        outside: energies.len() - logs.len(),
        lower,
        upper,
        standard_error: moments(&logs).map_or(f64::NAN, |[_, deviation]| deviation / n.sqrt()),
        lower_bits: bits(lower),
        upper_bits: bits(upper),
    };
    Ok(Annealed {
        density: if tilted { "exp(-E/T - |x|^2/2)" } else { "exp(-E/T)" },
        temperature,
        base: annealing.base.describe(),
        base_log_z: annealing.base.log_z(),
        dimensions: d,
        steps,
        chains,
        leapfrogs,
        pilot_rungs: annealing.pilot.len() - 1,
        log_z_lower,
        log_z_upper,
        settling,
        log_likelihood,
    })
}

impl std::fmt::Display for Annealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { density, temperature, base, dimensions, steps, chains, leapfrogs, settling, .. } = self;
        let is_blurred = density.contains("|x|");
        let level = if is_blurred { "noise level" } else { "temperature" };
        writeln!(f, "{density} / Z at {level} T = {temperature:.4e}, {dimensions} values;")?;
        writeln!(f, "annealed over {steps} steps of {leapfrogs} leapfrog steps, {chains} chains;")?;
        writeln!(f, "base {base}")?;
        writeln!(f, "{:26}{:>14}{:>10}{:>9}{:>10}{:>8}", "nats", "", "+-", "chains", "accepted", "least")?;
        let upper = if self.upper_holds() { "log Z, upper bound" } else { "log Z, back: NO bound" };
        let bounds = [("log Z, lower bound", &self.log_z_lower), (upper, &self.log_z_upper)];
        for (name, e) in bounds {
            let Estimate { log_z, standard_error, effective_chains, acceptance, least_acceptance } = e;
            let (mean, least) = (100.0 * acceptance, 100.0 * least_acceptance);
            writeln!(
                f,
                "{name:26}{log_z:>14.3}{standard_error:>10.3}{effective_chains:>9.1}{mean:>9.1}%{least:>7.1}%"
            )?;
        }
        let LogLikelihood { count, outside, lower, upper, standard_error, lower_bits, upper_bits } =
            &self.log_likelihood;
        if *count > 0 {
            let name = if is_blurred { "log-likelihood, blurred" } else { "log-likelihood, held out" };
            let bound = if self.upper_holds() { "lower bound" } else { "NO bound" };
            for (value, bound, bits) in [(lower, bound, lower_bits), (upper, "upper bound", upper_bits)] {
                writeln!(f, "{name:26}{value:>14.3}{standard_error:>10.3}  {bound}, {bits:.4} bits/value")?;
            }
        }
        if *outside > 0 {
            writeln!(
                f,
                "{}",
                wrapped(&format!(
                    "{outside} of {count} held-out examples lie outside of the box, and are left out."
                ))
            )?;
        }
        let Settling { steps, acceptance, first_energy, last_energy, r_hat, .. } = settling;
        let from = if *count > 0 { "training data" } else { "the model's own samples" };
        writeln!(f, "Chains from {from}, {steps} steps, {:.1} % accepted:", 100.0 * acceptance)?;
        writeln!(f, "mean exponent {first_energy:.3} to {last_energy:.3}, its R-hat is {r_hat:.3}, so that")?;
        let so = if self.upper_holds() {
            "the upper bound on log Z is one.".to_owned()
        } else {
            format!(
                "they are not the model's own, and what comes back from them is NO bound: take a higher {level}, or more \
                 steps."
            )
        };
        write!(f, "{}", wrapped(&so))
    }
}

/// R-hat of chains that have come to one distribution, at most (Gelman et al. 2013, section 11.4).
const MOST_R_HAT: f64 = 1.1;

impl Annealed {
    /// Whether the chains that the upper bound on log Z began with had come to one distribution.
    pub fn upper_holds(&self) -> bool {
        self.settling.r_hat < MOST_R_HAT // NaN is not
    }
}
