//! Energies of images at noise levels to loss, metrics and their gradient: contrastive divergence (Hinton 2002) between data
//! images and chains of a pool ([`crate::kernels::draw_pool`]), pair by pair at the level where the chain now stands:
//! `loss = weight mean(E(data) - E(chain)) + alpha mean(E(data)^2 + E(chain)^2)`, over pairs whose sigma is below a limit, the
//! others counting as 0. The log-likelihood of a level has the factor `1 / sigma`; a weight proportional to sigma for each
//! level makes it 1 for all.

use crate::kernels::contrastive_loss::METRICS;
use crate::kernels::draw_pool::Pool;
use crate::kernels::draw_real::Epoch;
use crate::kernels::dynamics::{Dynamics, DynamicsParams};
use crate::kernels::prelude::*;

/// Floats of one step's row in the table of bands: the mean gap `E(chain) - E(data)` of each of [`BANDS`] bands of levels, then
/// the pairs in each, then the chains at the last level that ran off, all chains there, the denoising loss.
pub const BAND_METRICS: usize = 16;
/// Bands: three thirds of the way from the first level to the last, chains that arrived at the last level, long chains
/// there.
pub const BANDS: usize = 5;
/// Place of the number of chains that ran off in a row.
pub const RAN_OFF: usize = 2 * BANDS;
/// Place of the denoising loss in a row.
pub const DENOISING: usize = RAN_OFF + 2;
/// Fewer chains at the last level tell little of how many ran off.
pub const FEW_CHAINS: f32 = 8.0;
/// Chains at the last level ran off where the variance of their values, less that of the level's noise, is this many times
/// that of data images,
pub const MOST_VARIANCE: f32 = 2.25;
/// or less than this share of it.
pub const LEAST_VARIANCE: f32 = 0.25;

/// Energies at noise levels to loss, metrics and their gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnealedLoss {
    /// Images in a block.
    pub lanes: u32,
    /// Images in the data set: the last batch of an epoch may be short of some, and has as many pairs less.
    pub n_images: u32,
    /// Rows of the metrics tables.
    pub metric_rows: u32,
    /// The pool.
    pub pool: Pool,
    /// Langevin steps of a training step: levels that the chains are ahead at its end.
    pub steps: u32,
    /// Where the levels' sigmas come from.
    pub dynamics: Dynamics,
    /// Weight of the contrastive divergence.
    pub weight: f32,
    /// Weight of the energies' L2 penalty.
    pub alpha: f32,
    /// Pairs of a larger sigma do not count.
    pub sigma_max: f32,
    /// Whether the first entry of the step's row of metrics is a denoising loss, to be added.
    pub denoises: bool,
}

shader_struct! {
    /// `Params` of `shaders/loss/annealed_loss.wgsl`.
    Params {
        dynamics: DynamicsParams, weight: f32, alpha: f32, sigma_max: f32, steps: u32, denoises: u32, spare0: u32,
        spare1: u32, spare2: u32,
    }
}

/// A pair of data image and chain.
struct Pair {
    counts: bool,
    band: usize,
    at_end: bool,
}

impl AnnealedLoss {
    fn pair(&self, image: u32, level: f32) -> Pair {
        let last = self.pool.last_level;
        let level = (level as u32 + self.steps).min(last);
        let at_end = level == last;
        let band = match at_end {
            true => 3 + usize::from(image < self.pool.long_batch),
            false => (3 * level / last) as usize,
        };
        Pair { counts: self.dynamics.sigma(level) <= self.sigma_max, band, at_end }
    }
}

impl KernelSpec for AnnealedLoss {
    const SOURCE: &'static str =
        shader!["lib/state", "lib/epoch", "lib/sum", "lib/dynamics", "loss/annealed_loss"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; energies; levels; variances; gradient with respect to the energies; metrics; bands.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Read, Write, ReadWrite, Write];
    /// Means in single precision by a tree of 8 levels, against double precision. The error of a difference of two means
    /// is that of the means, and the largest entry of the table is well above them.
    const TOLERANCE: Tolerance = Tolerance::new(2e-6, 1e-6);

    fn needs(&self) -> Vec<Need> {
        let [energies, levels, variances, gradient] = [Need::PerBlock(1); 4];
        let bands = Need::Flat(self.metric_rows as usize * BAND_METRICS);
        vec![Need::STATE, energies, levels, variances, gradient, Need::metrics(self.metric_rows), bands]
    }

    fn overrides(&self) -> Overrides {
        overrides![
            LANES: self.lanes, BATCH: self.pool.batch, LONG_BATCH: self.pool.long_batch, N_IMAGES: self.n_images,
            METRIC_ROWS: self.metric_rows, LAST_LEVEL: self.pool.last_level,
        ]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params {
            dynamics: self.dynamics.params(),
            weight: self.weight,
            alpha: self.alpha,
            sigma_max: self.sigma_max,
            steps: self.steps,
            denoises: self.denoises.into(),
            spare0: 0,
            spare1: 0,
            spare2: 0,
        }
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, energies, levels, variances, gradient, metrics, bands] = bound(bindings);
        let state = State::of(state.words());
        let batch = self.pool.batch;
        let n = Epoch::of(state.step, self.n_images, batch).n_real as usize;
        let half = (batch as usize).next_multiple_of(self.lanes as usize);
        let (energies, variances) = (energies.floats(), variances.floats());
        let (levels, gradient) = (&levels.floats()[half..], gradient.floats_mut());
        let pairs: Vec<Pair> = (0..n).map(|i| self.pair(i as u32, levels[i])).collect();
        gradient[..2 * half].fill(0.0);
        let (mut data, mut chain, mut squares, mut counted) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
        let (mut gaps, mut counts) = ([0.0_f64; BANDS], [0.0_f32; BANDS]);
        let mut variance = 0.0_f64;
        for (i, pair) in pairs.iter().enumerate() {
            let (e_data, e_chain) = (energies[i], energies[half + i]);
            gaps[pair.band] += f64::from(e_chain) - f64::from(e_data);
            counts[pair.band] += 1.0;
            variance += if pair.at_end { f64::from(variances[i]) } else { 0.0 };
            if pair.counts {
                counted += 1.0;
                data += f64::from(e_data);
                chain += f64::from(e_chain);
                squares += f64::from(e_data * e_data + e_chain * e_chain);
                gradient[i] = (self.weight + 2.0 * self.alpha * e_data) / n as f32;
                gradient[half + i] = (-self.weight + 2.0 * self.alpha * e_chain) / n as f32;
            }
        }
        let at_end = counts[3] + counts[4];
        let noise = {
            let sigma = self.dynamics.sigma(self.pool.last_level);
            sigma * sigma / (1.0 + sigma * sigma)
        };
        let usual = (variance / f64::from(at_end.max(1.0))) as f32 - noise;
        let off = |i: usize| {
            let own = variances[half + i] - noise;
            own > MOST_VARIANCE * usual || own < LEAST_VARIANCE * usual
        };
        let ran_off = pairs.iter().enumerate().filter(|(i, pair)| pair.at_end && off(*i)).count();
        let mean = |sum: f64, n: f64| (sum / n.max(1.0)) as f32;
        let divergence = mean(data - chain, n as f64);
        let penalty = self.alpha * mean(squares, n as f64);
        let row = (state.step % self.metric_rows) as usize;
        let table = &mut metrics.floats_mut()[row * METRICS..][..METRICS];
        let denoising = if self.denoises { table[0] } else { 0.0 };
        let loss = self.weight * divergence + penalty + denoising;
        table[..5].copy_from_slice(&[loss, divergence, penalty, mean(data, counted), mean(chain, counted)]);
        let share = if at_end >= FEW_CHAINS { ran_off as f32 / at_end } else { 0.0 };
        table[6..].copy_from_slice(&[n as f32, share]);
        let bands = &mut bands.floats_mut()[row * BAND_METRICS..][..BAND_METRICS];
        bands.fill(0.0);
        for band in 0..BANDS {
            bands[band] = mean(gaps[band], counts[band].into());
            bands[BANDS + band] = counts[band];
        }
        bands[RAN_OFF..RAN_OFF + 3].copy_from_slice(&[ran_off as f32, at_end, denoising]);
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (case, Batch { batch, n_images, step, n_real }) in bench.batches().into_iter().enumerate() {
            let half = (batch.div_ceil(lanes) * lanes) as usize;
            let long_batch = batch / 4;
            let pool =
                Pool { chains: 4 * batch, long: batch, batch, long_batch, restart: 0.1, last_level: 30 };
            let (state, energies) = (bench.at_step(step), bench.per_block("energies", 1));
            let (levels, variances) = (bench.per_block("levels", 1), bench.per_block("variances", 1));
            for (buffer, scale) in [(energies, 1.0), (variances, 0.5)] {
                bench.fill(buffer, 0..n_real as usize, scale);
                bench.fill(buffer, half..half + batch as usize, scale);
            }
            for image in 0..batch as usize {
                let level = (7 * image + case) % 31;
                bench.contents[levels.0][half + image] = (level as f32).to_bits();
                for at in [image, half + image] {
                    bench.contents[variances.0][at] &= 0x7fff_ffff;
                }
            }
            let gradient = bench.per_block("gradient", 1);
            let metrics = bench.random_flat("metrics", ROWS as usize * METRICS);
            let bands = bench.flat("bands", ROWS as usize * BAND_METRICS);
            let kernel = Self {
                lanes,
                n_images,
                metric_rows: ROWS,
                pool,
                steps: 5,
                dynamics: Dynamics::ladder(5.0, 0.5, 30),
                weight: 0.7,
                alpha: 0.1,
                sigma_max: [3.2, 10.0][case % 2],
                denoises: case % 3 > 0,
            };
            let row = (step % ROWS) as usize;
            let (table, own) = (row * METRICS, row * BAND_METRICS);
            let written = [
                (gradient, vec![0..2 * half]),
                (metrics, vec![table..table + 5, table + 6..table + 8]),
                (bands, vec![own..own + BAND_METRICS]),
            ];
            let bindings = [state, energies, levels, variances, gradient, metrics, bands];
            bench.run_whole(kernel, &bindings, &written);
            bench.note(&format!("step {step}"));
        }
    }
}
