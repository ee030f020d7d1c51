//! Judges a training step when its loss and gradient are known and nothing of it has been kept yet.
//!
//! Where it finds divergence or collapse it writes a [`Reason`] into [`State::halted`]. From then on everything that
//! would keep something of a step ([`crate::kernels::adam`], [`crate::kernels::average_weights`],
//! [`crate::kernels::push_replay`], [`crate::kernels::advance`], the guard itself) does nothing, so that it does not
//! matter how many steps are submitted already. (Spectral norms go on being estimated and bounded, to no effect:
//! training goes on from a snapshot.) What the rules and their numbers are, and why, is in `docs/objectives.md`.

use crate::kernels::contrastive_loss::METRICS;
use crate::kernels::draw_real::Epoch;
use crate::kernels::prelude::*;

/// Steps that a recent mean goes back, about.
pub const HORIZON: f32 = 50.0;
/// Steps at a run's beginning in which energies and gradient may be ten times as far above their usual.
pub const EARLY: f32 = 200.0;
/// The chains are all alike where their variance over the batch is below this share of the positive images', and of the
/// largest that theirs has ever been: chains of badly scaled data may be narrow all along.
pub const ALIKE: f32 = 0.05;
/// They are saturated where the share of their values that do not lie at the bound is below this part of the positive
/// images'.
pub const SATURATED: f32 = 0.1;
/// Real images with a smaller share of such values say nothing of saturation.
pub const INSIDE: f32 = 0.01;
/// The gap is about zero below this share of its recent range,
pub const FLAT: f32 = 1e-3;
/// and where it is a rounding of the energies.
pub const ROUNDING: f32 = 1e-6;
/// What the gap's range keeps of itself in a step: half in 1,000.
pub const GAP_KEPT: f32 = 0.999_307_1;
/// Good steps after which the tries before them do not count any more.
pub const FORGIVEN: f32 = 1000.0;

const LOG_10: f32 = std::f32::consts::LN_10;
const LOG_100: f32 = 2.0 * std::f32::consts::LN_10;
/// Share of the annealed chains at the last level that are most of them.
pub const MOST_RAN_OFF: f32 = 0.5;
const TINY: f32 = 1e-30;
const MOST_STEPS: f32 = 1e6;
const FEW_IMAGES: u32 = 8;

/// Why training was halted: the value of [`State::halted`], which is 0 while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// Numbers that are not finite among the images as they were drawn: positive ones, or chains' starts.
    Images = 1,
    /// An energy or the loss is not finite.
    Energies = 2,
    /// The gradient is not finite.
    Gradient = 3,
    /// The energies' spread, `max |E - mean E(positive)|`, is far above its usual.
    EnergyRange = 4,
    /// The gradient's norm is far above its usual.
    GradientRange = 5,
    /// The chains have all become alike.
    Alike = 6,
    /// The chains' values lie at the bound.
    Saturated = 7,
    /// Real and negative images have the same mean energy.
    Flat = 8,
    /// Numbers that are not finite in the parameters, Adam's moments, the parameters' average or the ring.
    Stored = 9,
    /// Most annealed chains at the last level have run off ([`crate::kernels::annealed_loss`]).
    RanOff = 10,
}

impl Reason {
    /// Of a state's `halted`.
    pub fn of(halted: u32) -> Option<Self> {
        use Reason::*;
        let all =
            [Images, Energies, Gradient, EnergyRange, GradientRange, Alike, Saturated, Flat, Stored, RanOff];
        all.into_iter().find(|reason| *reason as u32 == halted)
    }
}

/// Words of [`Memory`].
pub const MEMORY: usize = 16;

shader_struct! {
    /// What the guard remembers from step to step (`shaders/lib/memory.wgsl`).
    #[derive(Default, PartialEq)]
    Memory {
        /// Steps that it has found good, up to a million.
        steps: f32,
        /// Recent mean of the logarithm of the energies' spread.
        energies: f32,
        /// Recent mean of the logarithm of the gradient's norm.
        gradient: f32,
        /// Recent mean of `|mean E(negative) - mean E(positive)|`.
        gap: f32,
        /// The largest that was, of late.
        gap_range: f32,
        /// Steps in a row in which the chains were alike.
        alike: f32,
        /// Steps in a row in which they were saturated.
        saturated: f32,
        /// Steps in a row in which the gap was about zero.
        flat: f32,
        /// Steps in a row in which nothing was near its limit.
        calm: f32,
        /// Good steps since training went back to a snapshot, or began.
        since: f32,
        /// How often it went back and has not been forgiven yet.
        tries: f32,
        /// What halted training.
        value: f32,
        /// What that is held against.
        usual: f32,
        /// The chains' largest variance over a batch so far.
        variance: f32,
        /// Steps in a row in which most chains at the last level had run off.
        ran_off: f32,
        spare: f32,
    }
}

impl Memory {
    /// Reads the bound memory.
    pub fn of(words: &[u32]) -> Self {
        bytemuck::pod_read_unaligned(bytemuck::cast_slice(&words[..MEMORY]))
    }
}

/// Judges a training step.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckStep {
    /// Images in a block.
    pub lanes: u32,
    /// Components of the energies: 1, or those of a jet.
    pub jet_components: usize,
    /// Images in a full batch.
    pub batch: u32,
    /// Images in the data set: a batch may be short of some.
    pub n_images: u32,
    /// Rows of the metrics table.
    pub metric_rows: u32,
    /// Rows of [`crate::kernels::image_statistics`].
    pub n_features: usize,
    /// Counts of [`crate::kernels::count_non_finite`].
    pub n_counts: usize,
    /// Whether there are negative images.
    pub has_negatives: bool,
    /// Whether they are annealed chains, and the last entry of the row of metrics the share of those that ran off.
    pub annealed: bool,
    /// Whether chains are clamped.
    pub bounded: bool,
    /// How far the energies' spread may be above its usual; infinite for no limit.
    pub energy_range: f32,
    /// How far the gradient's norm may be above its usual; infinite for no limit.
    pub gradient_range: f32,
    /// Steps in a row that look like collapse and are one; 0 for never.
    pub collapse_steps: u32,
}

shader_struct! {
    /// `Params` of `shaders/guard/guard.wgsl`.
    Params {
        /// Logarithm of how far the energies' spread may be above its usual.
        log_energy_range: f32,
        /// Logarithm of how far the gradient's norm may be above its usual.
        log_gradient_range: f32,
        collapse_steps: f32,
        /// Share of values inside the bound that positive images must have for chains to be saturated.
        inside: f32,
        /// Share of annealed chains that are most of them.
        most_ran_off: f32,
    }
}

impl CheckStep {
    fn params(&self) -> Params {
        Params {
            log_energy_range: self.energy_range.ln().min(f32::MAX),
            log_gradient_range: self.gradient_range.ln().min(f32::MAX),
            collapse_steps: if self.has_negatives { self.collapse_steps as f32 } else { 0.0 },
            inside: if self.bounded { INSIDE } else { f32::MAX },
            most_ran_off: if self.annealed { MOST_RAN_OFF } else { f32::MAX },
        }
    }

    /// What is wrong with a step, with the number that is and what it is held against; or else what to remember.
    fn check_step(&self, step: &Step, memory: &Memory) -> Result<Memory, (Reason, f32, f32)> {
        let p = self.params();
        let is_first = memory.steps == 0.0;
        let early = if memory.steps < EARLY { LOG_10 } else { 0.0 };
        let (spread, norm) = (step.spread.max(TINY).ln(), step.norm.max(TINY).ln());
        let over = |log: f32, usual: f32| (if is_first { 0.0 } else { log - usual }) - early;
        let (over_energies, over_gradient) = (over(spread, memory.energies), over(norm, memory.gradient));

        let [_, _, _, energy_positive, energy_negative] = step.metrics;
        let gap = (energy_negative - energy_positive).abs();
        let weight = 1.0 / (memory.steps + 1.0).min(HORIZON);
        let collapses = p.collapse_steps > 0.0;
        let in_a_row = |steps: f32, is_one| if is_one { (steps + 1.0).min(MOST_STEPS) } else { 0.0 };
        let [variance_positive, variance_negative, inside_positive, inside_negative] = step.images;
        let (mut alike, mut saturated) = (memory.alike, memory.saturated);
        // A short batch tells little of how different images are.
        if self.batch >= FEW_IMAGES && 2 * step.n_real >= self.batch {
            alike = in_a_row(alike, variance_negative < ALIKE * variance_positive.min(memory.variance));
            let is_saturated = inside_positive > p.inside && inside_negative < SATURATED * inside_positive;
            saturated = in_a_row(saturated, is_saturated);
        }
        let nothing = (FLAT * memory.gap_range).max(ROUNDING * energy_positive.abs());
        let flat = in_a_row(memory.flat, gap <= nothing);
        let ran_off = in_a_row(memory.ran_off, step.ran_off > p.most_ran_off);
        let longest = alike.max(saturated).max(flat).max(ran_off);

        if step.images_not_finite > 0.0 {
            return Err((Reason::Images, step.images_not_finite, 0.0));
        } else if step.energies_not_finite > 0.0 || step.metrics.iter().any(|v| !v.is_finite()) {
            return Err((Reason::Energies, step.energies_not_finite, 0.0));
        } else if !step.norm.is_finite() {
            return Err((Reason::Gradient, 0.0, 0.0));
        } else if over_energies > p.log_energy_range {
            return Err((Reason::EnergyRange, step.spread, memory.energies.exp()));
        } else if over_gradient > p.log_gradient_range {
            return Err((Reason::GradientRange, step.norm, memory.gradient.exp()));
        } else if collapses && longest >= p.collapse_steps {
            return Err(if alike >= p.collapse_steps {
                (Reason::Alike, variance_negative, variance_positive)
            } else if saturated >= p.collapse_steps {
                (Reason::Saturated, inside_negative, inside_positive)
            } else if ran_off >= p.collapse_steps {
                (Reason::RanOff, step.ran_off, MOST_RAN_OFF)
            } else {
                (Reason::Flat, gap, memory.gap_range)
            });
        }

        // What one step can move the mean by is bounded.
        let moved = |log: f32, usual: f32| {
            if is_first { log } else { usual + weight * (log - usual).clamp(-LOG_100, LOG_100) }
        };
        let gap_mean = memory.gap + weight * (gap - memory.gap);
        let is_calm = over_energies + LOG_10 <= p.log_energy_range
            && over_gradient + LOG_10 <= p.log_gradient_range
            && (!collapses || 10.0 * longest <= p.collapse_steps);
        let since = (memory.since + 1.0).min(MOST_STEPS);
        Ok(Memory {
            steps: (memory.steps + 1.0).min(MOST_STEPS),
            energies: moved(spread, memory.energies),
            gradient: moved(norm, memory.gradient),
            gap: gap_mean,
            gap_range: gap_mean.max(GAP_KEPT * memory.gap_range),
            alike,
            saturated,
            flat,
            ran_off,
            calm: in_a_row(memory.calm, is_calm),
            since,
            variance: memory.variance.max(variance_negative),
            tries: if since >= FORGIVEN { 0.0 } else { memory.tries },
            ..*memory
        })
    }
}

/// What there is to check of a step.
struct Step {
    metrics: [f32; 5],
    norm: f32,
    ran_off: f32,
    n_real: u32,
    spread: f32,
    /// Variances of positive and negative images, shares of their values inside the bound.
    images: [f32; 4],
    images_not_finite: f32,
    energies_not_finite: f32,
}

impl KernelSpec for CheckStep {
    const SOURCE: &'static str =
        shader!["lib/state", "lib/memory", "lib/epoch", "lib/sum", "lib/finite", "guard/guard"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; metrics; the energies' jet_components; image statistics; counts; memory.
    const ACCESS: &'static [Access] = &[ReadWrite, Read, Read, Read, Read, ReadWrite];
    /// Logarithms of numbers that are off by the sums before, and an exponential of up to e^20.
    const TOLERANCE: Tolerance = Tolerance { absolute: 2e-5, relative: 2e-5, of_largest: 0.0 };

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::STATE,
            Need::metrics(self.metric_rows),
            Need::PerBlock(self.jet_components),
            Need::Flat(4 * self.n_features),
            Need::AtLeast(self.n_counts),
            Need::Flat(MEMORY),
        ]
    }

    /// Without negative images there are no statistics, but zeros.
    fn reads(&self, binding: usize) -> bool {
        binding != 3 || self.has_negatives
    }

    fn overrides(&self) -> Overrides {
        overrides![
            LANES: self.lanes, STREAMS: self.jet_components, BATCH: self.batch, N_IMAGES: self.n_images,
            METRIC_ROWS: self.metric_rows, N_FEATURES: self.n_features, N_COUNTS: self.n_counts,
            HALVES: if self.has_negatives { 2.0 } else { 1.0 },
        ]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        self.params()
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [state, metrics, energies, statistics, counts, memory] = bound(bindings);
        let mut now = State::of(state.words());
        if now.halted != 0 {
            return;
        }
        let row = &metrics.floats()[(now.step % self.metric_rows) as usize * METRICS..][..METRICS];
        let n_real = Epoch::of(now.step, self.n_images, self.batch).n_real;
        let lanes = self.lanes as usize;
        let half = (self.batch as usize).next_multiple_of(lanes);
        let negatives = if self.has_negatives { half..half + self.batch as usize } else { 0..0 };
        let (mut spread, mut energies_not_finite) = (0.0_f32, 0.0);
        for i in (0..n_real as usize).chain(negatives) {
            let energy = energies.floats()[i / lanes * self.jet_components * lanes + i % lanes];
            if energy.is_finite() {
                spread = spread.max((energy - row[3]).abs());
            } else {
                energies_not_finite += 1.0;
            }
        }
        let mut images = [0.0_f64; 4];
        for statistics in statistics.floats()[..4 * self.n_features].chunks_exact(4) {
            for (sum, value) in images.iter_mut().zip(statistics) {
                *sum += f64::from(*value);
            }
        }
        let step = Step {
            metrics: [row[0], row[1], row[2], row[3], row[4]],
            norm: row[5],
            ran_off: row[7],
            n_real,
            spread,
            images: images.map(|sum| (sum / self.n_features as f64) as f32),
            images_not_finite: counts.floats()[..self.n_counts].iter().sum(),
            energies_not_finite,
        };
        let before = Memory::of(memory.words());
        let after = self.check_step(&step, &before).unwrap_or_else(|(reason, value, usual)| {
            now.halted = reason as u32;
            Memory { value, usual, ..before }
        });
        state.words_mut()[..State::WORDS].copy_from_slice(bytemuck::cast_slice(&[now]));
        memory.floats_mut().copy_from_slice(bytemuck::cast_slice(&[after]));
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        cases::add(bench);
    }
}

/// A healthy step, and what has to be changed in it for each reason to halt; and the same with no reason to.
#[cfg(test)]
mod cases {
    use super::*;

    pub(super) fn add(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        // Energies lie in [-1, 1], 0.5 is the mean of the positive ones.
        let usual = Memory {
            steps: 1000.0,
            gap: 0.2,
            gap_range: 0.3,
            alike: 499.0,
            saturated: 499.0,
            flat: 499.0,
            ran_off: 499.0,
            calm: 20.0,
            since: 30.0,
            tries: 2.0,
            variance: 0.3,
            ..Memory::default()
        };
        let row = [0.1, -0.2, 0.3, 0.5, 0.7, 3.0, 9.0, 0.4];
        let images = [0.2, 0.1, 0.5, 0.4]; // variances and shares, positive and negative
        #[derive(Clone)]
        struct Case {
            name: &'static str,
            memory: Memory,
            row: [f32; 8],
            images: [f32; 4],
            energy: f32, // of one image
            drawn: f32,  // numbers that are not finite
            has_negatives: bool,
            annealed: bool,
            bounded: bool,
            halts: bool,
        }
        let case = Case {
            name: "healthy",
            memory: usual,
            row,
            images,
            energy: 0.3,
            drawn: 0.0,
            has_negatives: true,
            annealed: false,
            bounded: true,
            halts: false,
        };
        let halts = Case { halts: true, ..case.clone() };
        let early = Memory { steps: 199.0, ..usual };
        let first = Memory { steps: 0.0, energies: -20.0, gradient: -20.0, ..usual };
        let gone = Memory { since: 999.0, ..usual };
        let with = |place: usize, value: f32| {
            let mut row = row;
            row[place] = value;
            row
        };
        let cases = [
            case.clone(),
            Case { name: "early", memory: early, ..case.clone() },
            Case { name: "first", memory: first, row: with(5, 1e6), ..case.clone() },
            Case { name: "forgiven", memory: gone, ..case.clone() },
            Case { name: "drawn", drawn: 2.0, ..halts.clone() },
            Case { name: "an energy is NaN", energy: f32::NAN, ..halts.clone() },
            Case { name: "an energy is infinite", energy: f32::NEG_INFINITY, ..halts.clone() },
            Case { name: "the loss is NaN", row: with(0, f32::NAN), ..halts.clone() },
            Case { name: "the gradient is infinite", row: with(5, f32::INFINITY), ..halts.clone() },
            Case { name: "the gradient is NaN", row: with(5, f32::NAN), ..halts.clone() },
            Case { name: "energies far out", energy: -120.0, ..halts.clone() },
            Case { name: "energies out", energy: 90.0, ..case.clone() },
            Case { name: "energies far out, early", energy: -120.0, memory: early, ..case.clone() },
            Case { name: "energies farther out, early", energy: -1200.0, memory: early, ..halts.clone() },
            Case { name: "a large gradient", row: with(5, 101.0), ..halts.clone() },
            Case { name: "not so large a gradient", row: with(5, 99.0), ..case.clone() },
            Case { name: "a small gradient", row: with(5, 0.0), ..case.clone() },
            Case { name: "all alike", images: [0.2, 0.0099, 0.5, 0.4], ..halts.clone() },
            Case { name: "not quite", images: [0.2, 0.0101, 0.5, 0.4], ..case.clone() },
            Case {
                name: "alike all along",
                memory: Memory { variance: 0.1, ..usual },
                images: [0.2, 0.0099, 0.5, 0.4],
                ..case.clone()
            },
            Case { name: "saturated", images: [0.2, 0.1, 0.5, 0.049], ..halts.clone() },
            Case {
                name: "saturated, no bound",
                images: [0.2, 0.1, 0.5, 0.0],
                bounded: false,
                ..case.clone()
            },
            Case {
                name: "no negative energies",
                energy: f32::NAN,
                images: [0.2, 0.0, 0.5, 0.0],
                row: with(4, 0.5),
                has_negatives: false,
                ..case.clone()
            },
            Case { name: "saturated as positive images", images: [0.2, 0.1, 0.009, 0.0], ..case.clone() },
            Case { name: "most ran off", row: with(7, 0.51), annealed: true, ..halts.clone() },
            Case { name: "some ran off", row: with(7, 0.49), annealed: true, ..case.clone() },
            Case { name: "most proposals accepted", row: with(7, 0.9), ..case.clone() },
            Case { name: "flat", row: with(4, 0.5002), ..halts.clone() },
            Case { name: "not quite flat", row: with(4, 0.5004), ..case.clone() },
            Case {
                name: "for a short time",
                memory: Memory { flat: 400.0, ..usual },
                row: with(4, 0.5),
                ..case
            },
        ];
        let (batch, n_features, n_counts, step) = (lanes + 1, 300, 257, 3);
        for (number, case) in cases.iter().enumerate() {
            for at in [State { step, ..State::default() }, State { step, ..State::HALTED }] {
                let state = bench.state(at);
                let metrics = bench.flat("metrics", ROWS as usize * METRICS);
                let at_row = (step % ROWS) as usize * METRICS;
                for (word, value) in bench.contents[metrics.0][at_row..].iter_mut().zip(case.row) {
                    *word = value.to_bits();
                }
                // One jet has three jet_components, of which the first is the energy; the others are NaN.
                let jet_components = if case.name.contains("energ") { 3 } else { 1 };
                let energies = bench.per_block("energies", jet_components);
                let lanes = lanes as usize;
                for (first, n) in [(0, batch as usize), (2, batch as usize)] {
                    for image in 0..n {
                        let at = (first + image / lanes) * jet_components * lanes + image % lanes;
                        bench.fill(energies, at..at + 1, 1.0);
                    }
                }
                // The last of the negative ones.
                let last = (3 * jet_components) * lanes;
                bench.contents[energies.0][last] = case.energy.to_bits();
                let statistics = bench.flat("statistics", 4 * n_features);
                for (i, word) in bench.contents[statistics.0].iter_mut().enumerate() {
                    *word = case.images[i % 4].to_bits();
                }
                let counts = bench.flat("counts", n_counts);
                bench.contents[counts.0].fill(0);
                bench.contents[counts.0][n_counts - 1] = case.drawn.to_bits();
                let memory = bench.memory(case.memory);
                let kernel = CheckStep {
                    lanes: lanes as u32,
                    jet_components,
                    batch,
                    n_images: 10 * batch,
                    metric_rows: ROWS,
                    n_features,
                    n_counts,
                    has_negatives: case.has_negatives,
                    annealed: case.annealed,
                    bounded: case.bounded,
                    energy_range: 100.0,
                    gradient_range: 100.0,
                    collapse_steps: 500,
                };
                let (of_state, of_memory) = match (at.halted, case.halts) {
                    (0, true) => (vec![7..8], vec![11..13]),
                    (0, false) => (vec![], vec![0..11, 13..15]),
                    _ => (vec![], vec![]),
                };
                let written = [(state, of_state), (memory, of_memory)];
                let bindings = [state, metrics, energies, statistics, counts, memory];
                bench.run_whole(kernel, &bindings, &written);
                bench.note(&format!("{number}, {}: {at:?}", case.name));
            }
        }
    }
}
