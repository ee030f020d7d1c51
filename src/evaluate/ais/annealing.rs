//! Chains between the base and the model: pilot, schedule, passages.

use super::super::mixing::{effective_size, split_r_hat};
use super::estimate::{estimate, moments};
use super::{Base, Estimate};
use crate::checkpoint::Model;
use crate::data::Images;
use crate::device::{Device, Executor};
use crate::kernels::State;
use crate::kernels::anneal_propose::{RECORD, Rung};
use crate::plan::{AnnealingConfig, AnnealingPlan, annealing_plan};
use crate::{Error, Result};
use serde::Serialize;

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
    executor: Executor,
    plan: AnnealingPlan,
    pub(super) base: Base,
    settings: Settings,
    pub(super) pilot: Vec<Rung>, // from base to model
    schedule: Vec<Rung>,
    pub(super) pilot_log_z: f64, // what the pilot's mean log weight comes to
    model_step_size: f32,        // at the model's end
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
        let config = AnnealingConfig { temperature, tilt, bound: base.bound, leapfrogs, rungs };
        let target = device.target(chains);
        let make = |at_once| annealing_plan(&model.network, (chains, at_once), &config, &LENGTHS, target);
        let (mut executor, plan, _) =
            Executor::in_shares(device, (chains, target.lanes), make, |plan| &plan.plan).await?;
        executor.write_floats(plan.pass.parameters, &model.parameters);
        executor.write_floats(plan.base, bytemuck::cast_slice(&base.features()));
        executor.run(plan.start)?;
        let (pilot, schedule) = (Vec::new(), Vec::new());
        let (pilot_log_z, model_step_size) = (base.log_z(), 0.0);
        let mut annealing =
            Self { executor, plan, base, settings, pilot, schedule, pilot_log_z, model_step_size };
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
            let blocks = self.executor.plan().to_blocks(values, shape.channels, shape.height * shape.width);
            self.executor.write_floats(share.kept[0], &blocks);
        }
    }

    fn write_schedule(&mut self, first: u32, rungs: &[Rung]) {
        self.executor.write(self.plan.schedule, 2 * first as usize, bytemuck::cast_slice(rungs));
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
                self.executor.run(turn.load)?;
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
                    self.executor.write(self.plan.state, 0, bytemuck::cast_slice(&[state]));
                    self.executor.run(*program)?;
                    done += length;
                    let blocks = self.executor.read_floats(self.plan.record).await?;
                    let records = self.executor.plan().from_blocks(&blocks, share.images.len(), RECORD, 1);
                    for (all, r) in all[share.images.clone()].iter_mut().zip(records.chunks_exact(RECORD)) {
                        (all.energy, all.base_energy) = (r[0].into(), r[1].into());
                        all.log_weight += f64::from(r[2]);
                        all.accepted += f64::from(r[4]);
                    }
                }
            }
            if let Some(turn) = share.turn {
                self.executor.run(turn.store)?;
            }
        }
        Ok(all)
    }

    async fn images(&self) -> Result<Images> {
        let shape = self.base.shape;
        let (pixels, mut values) = (shape.height * shape.width, Vec::new());
        for share in &self.plan.shares {
            let blocks = self.executor.read_floats(share.kept[0]).await?;
            values.extend(self.executor.plan().from_blocks(
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
