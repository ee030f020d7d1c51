//! The replay ring against a plain model of recipe R1's buffer: a list with the newest images in front, cut off at its
//! capacity, drawn from like Python's `random.choices`, with `reinit_probability` of a batch new noise.
//!
//! A ring and a list cut off at its end hold the same images while the capacity is a multiple of the batch. Else a part
//! of the oldest batch survives, and which part follows the order in which a batch was put in front. The recipe puts
//! image 0 foremost and so keeps the first images of a batch longest; the ring keeps the last. Images of a batch are
//! exchangeable, so that is the same in distribution; the model takes the ring's order, and
//! [`ages_are_those_of_the_recipes_own_order`] takes the recipe's.

use crate::common;

use common::Failures;
use std::collections::{BTreeMap, BTreeSet};
use thalweg::kernels::advance::Advance;
use thalweg::kernels::draw_negatives::{DrawNegatives, Noise, Start, start};
use thalweg::kernels::push_replay::PushReplay;
use thalweg::kernels::{Binding, Kernel, State};

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: u32,
    capacity: u32,
    initial: u32,
    lanes: u32,
    features: usize,
    reinit_probability: f32,
}

const CASES: [Case; 9] = [
    // Capacity a multiple of the batch; not one; less than two batches.
    Case { batch: 8, capacity: 64, initial: 8, lanes: 4, features: 3, reinit_probability: 0.05 },
    Case { batch: 8, capacity: 61, initial: 8, lanes: 4, features: 5, reinit_probability: 0.3 },
    Case { batch: 7, capacity: 13, initial: 7, lanes: 16, features: 1, reinit_probability: 0.5 },
    // Begins with less than a batch, with one image, full.
    Case { batch: 8, capacity: 50, initial: 3, lanes: 3, features: 4, reinit_probability: 0.05 },
    Case { batch: 5, capacity: 17, initial: 1, lanes: 4, features: 17, reinit_probability: 0.05 },
    Case { batch: 5, capacity: 17, initial: 17, lanes: 1, features: 2, reinit_probability: 0.0 },
    // The batch is all there is.
    Case { batch: 8, capacity: 8, initial: 8, lanes: 16, features: 3, reinit_probability: 0.05 },
    Case { batch: 8, capacity: 8, initial: 2, lanes: 5, features: 3, reinit_probability: 1.0 },
    Case { batch: 1, capacity: 1, initial: 1, lanes: 16, features: 1, reinit_probability: 0.1 },
];

/// The kernels' twins with their buffers. x holds a block of other images before the batch, as a training plan's does.
struct ReplayBuffer {
    case: Case,
    state: State,
    slots: Vec<f32>,
    x: Vec<f32>,
}

/// What feature `feature` of image `id` is: nothing that fresh noise could be.
fn pixel(id: u32, feature: usize) -> f32 {
    2.0 + (id as usize * 32 + feature) as f32
}

impl ReplayBuffer {
    /// Images 0, 1, ... in the first slots.
    fn new(case: Case, seed: u32) -> Self {
        let state = State {
            replay_head: case.initial % case.capacity,
            replay_length: case.initial,
            seed_low: seed,
            ..State::default()
        };
        let slots = (0..case.capacity).flat_map(|slot| {
            let pixel = move |f| if slot < case.initial { pixel(slot, f) } else { f32::NAN };
            (0..case.features).map(pixel)
        });
        let blocks = case.batch.div_ceil(case.lanes) + 1;
        let x = vec![f32::NAN; (blocks * case.lanes) as usize * case.features];
        Self { case, state, slots: slots.collect(), x }
    }

    fn block_len(&self) -> usize {
        self.case.lanes as usize * self.case.features
    }

    /// Draws chain starts.
    fn draw(&mut self) {
        let Case { lanes, features, reinit_probability, .. } = self.case;
        let kernel: Kernel =
            DrawNegatives { lanes, features, reinit_probability, noise: Noise::UNIFORM, subset: 0 }.into();
        let (len, state) = (self.block_len(), [self.state]);
        for (index, block) in self.x[len..].chunks_exact_mut(len).enumerate() {
            let state = Binding::Read(bytemuck::cast_slice(&state));
            let replay = Binding::Read(bytemuck::cast_slice(&self.slots));
            kernel.run(index as u32, &mut [state, replay, Binding::Write(bytemuck::cast_slice_mut(block))]);
        }
    }

    /// The features of chain `image`.
    fn chain(&self, image: u32) -> Vec<f32> {
        let (image, lanes) = (image as usize, self.case.lanes as usize);
        let block = &self.x[(image / lanes + 1) * self.block_len()..][..self.block_len()];
        block.iter().skip(image % lanes).step_by(lanes).copied().collect()
    }

    /// Replaces chains by images `first_id`, ..., as a refinement would.
    fn refine(&mut self, first_id: u32) {
        let lanes = self.case.lanes;
        let len = self.block_len();
        for (i, value) in self.x[len..].iter_mut().enumerate() {
            let (block, feature) = (i / len, i % len / lanes as usize);
            let image = block as u32 * lanes + i as u32 % lanes;
            *value = if image < self.case.batch { pixel(first_id + image, feature) } else { f32::NAN };
        }
    }

    /// Pushes the chains and ends the step.
    fn push(&mut self) {
        let Case { batch, capacity, lanes, features, .. } = self.case;
        let push: Kernel =
            PushReplay { lanes, features, batch, capacity, first_block: 1, subset: false }.into();
        let state = [self.state];
        let state = Binding::Read(bytemuck::cast_slice(&state));
        let x = Binding::Read(bytemuck::cast_slice(&self.x));
        push.run(0, &mut [state, x, Binding::Write(bytemuck::cast_slice_mut(&mut self.slots))]);
        let mut words: [u32; State::WORDS] = bytemuck::cast(self.state);
        Kernel::from(Advance { batch, capacity }).run(0, &mut [Binding::Write(&mut words)]);
        self.state = bytemuck::cast(words);
    }

    /// The number of a whole image, or `None` for fresh noise, whole too.
    fn id(&self, image: &[f32]) -> Option<u32> {
        assert_eq!(image.len(), self.case.features);
        if image[0] < 2.0 {
            assert!(image.iter().all(|v| (-1.0..1.0).contains(v)), "fresh noise is in [-1, 1): {image:?}");
            return None;
        }
        let id = (image[0] - 2.0) as u32 / 32;
        let want: Vec<f32> = (0..self.case.features).map(|f| pixel(id, f)).collect();
        assert_eq!(image, want, "an image is copied whole");
        Some(id)
    }

    /// Numbers of the images, newest first.
    fn newest_first(&self) -> Vec<u32> {
        let Case { capacity, features, .. } = self.case;
        let slot = |i| (self.state.replay_head + capacity - 1 - i) % capacity;
        let image = |i| &self.slots[slot(i) as usize * features..][..features];
        (0..self.state.replay_length).map(|i| self.id(image(i)).expect("the ring holds images")).collect()
    }
}

/// Recipe R1's buffer: `newest first`, cut off at the capacity.
fn put_in_front(model: &mut Vec<u32>, batch: impl DoubleEndedIterator<Item = u32>, capacity: u32) {
    model.splice(0..0, batch);
    model.truncate(capacity as usize);
}

#[test]
fn the_ring_holds_what_the_list_holds() {
    for case in CASES {
        let mut replay = ReplayBuffer::new(case, 1);
        let mut model: Vec<u32> = (0..case.initial).rev().collect();
        for step in 0..200 {
            assert_eq!(replay.state.step, step);
            assert_eq!(replay.newest_first(), model, "{case:?} before step {step}");
            let first_id = case.initial + step * case.batch;
            replay.refine(first_id);
            replay.push();
            put_in_front(&mut model, (first_id..first_id + case.batch).rev(), case.capacity);
        }
        assert_eq!(replay.state.replay_length, case.capacity);
    }
}

/// The age in steps of every image, with the recipe's own order within a batch.
#[test]
fn ages_are_those_of_the_recipes_own_order() {
    for case in CASES {
        let mut replay = ReplayBuffer::new(case, 1);
        let mut model: Vec<u32> = (0..case.initial).collect();
        let age = |step: u32, id: u32| step - (id + case.batch - case.initial.min(id)) / case.batch;
        let ages = |ids: &[u32], step: u32| {
            let mut ages: Vec<u32> =
                ids.iter().map(|id| if *id < case.initial { u32::MAX } else { age(step + 1, *id) }).collect();
            ages.sort_unstable();
            ages
        };
        for step in 0..60 {
            assert_eq!(ages(&replay.newest_first(), step), ages(&model, step), "{case:?} before step {step}");
            let first_id = case.initial + step * case.batch;
            replay.refine(first_id);
            replay.push();
            put_in_front(&mut model, first_id..first_id + case.batch, case.capacity);
        }
    }
}

/// The oldest go first: what a push overwrites is the list's end, and nothing else changes.
#[test]
fn a_push_overwrites_the_oldest_alone() {
    for case in CASES {
        let mut replay = ReplayBuffer::new(case, 1);
        for step in 0..40 {
            let (before, slots) = (replay.newest_first(), replay.slots.clone());
            let first_id = case.initial + step * case.batch;
            replay.refine(first_id);
            replay.push();
            let after = replay.newest_first();
            let lost: BTreeSet<u32> = before.iter().filter(|id| !after.contains(id)).copied().collect();
            let n_lost = (case.batch as usize + before.len()).saturating_sub(case.capacity as usize);
            let oldest: BTreeSet<u32> = before[before.len() - n_lost..].iter().copied().collect();
            assert_eq!(lost, oldest, "{case:?}, step {step}");
            let changed = slots
                .chunks(case.features)
                .zip(replay.slots.chunks(case.features))
                .filter(|(old, new)| old.iter().zip(*new).any(|(old, new)| old.to_bits() != new.to_bits()));
            assert_eq!(changed.count(), case.batch as usize, "{case:?}, step {step}");
        }
    }
}

// ---- draws

/// Sum of squared deviations over expectations, in standard deviations from its mean.
fn chi_square(counts: &[f64], expected: &[f64], degrees: f64) -> f64 {
    let sum: f64 = counts.iter().zip(expected).map(|(c, e)| (c - e).powi(2) / e).sum();
    (sum - degrees) / (2.0 * degrees).sqrt()
}

/// Probabilities of 0 to n successes.
fn binomial(n: u32, p: f64) -> Vec<f64> {
    let mut row = vec![(1.0 - p).powi(n as i32)];
    for k in 0..n {
        row.push(row[k as usize] * f64::from(n - k) / f64::from(k + 1) * p / (1.0 - p));
    }
    row
}

/// Holds the numbers of fresh chains of many steps against Binomial(batch, fresh): mean, variance, shape.
fn check_fresh(failures: &mut Failures, name: &str, counts: &[u32], batch: u32, reinit_probability: f64) {
    let (n, steps, total) = (f64::from(batch), counts.len() as f64, counts.iter().sum::<u32>());
    let variance = n * reinit_probability * (1.0 - reinit_probability);
    let z = (f64::from(total) - steps * n * reinit_probability) / (steps * variance).sqrt();
    failures.check(z.abs() <= 5.0, || format!("{name}: {total} fresh chains: {z:.1} standard errors"));
    let squares =
        counts.iter().map(|c| (f64::from(*c) - n * reinit_probability).powi(2)).sum::<f64>() / steps;
    // Fourth central moment of a binomial: v (1 + 3 v (1 - 2 / n)), with v its variance.
    let error = ((variance * (1.0 + 3.0 * variance * (1.0 - 2.0 / n)) - variance * variance) / steps).sqrt();
    let z = (squares - variance) / error;
    failures.check(z.abs() <= 5.0, || {
        format!("{name}: variance {squares}, not {variance}: {z:.1} standard errors")
    });
    // Bins of at least 20 expected; the ends together.
    let (mut bins, mut expected) = (vec![0.0], vec![0.0]);
    for (k, p) in binomial(batch, reinit_probability).into_iter().enumerate() {
        let last = bins.len() - 1;
        bins[last] += counts.iter().filter(|c| **c as usize == k).count() as f64;
        expected[last] += p * steps;
        if expected[last] >= 20.0 {
            bins.push(0.0);
            expected.push(0.0);
        }
    }
    let (rest, rest_expected) = (bins.pop().unwrap(), expected.pop().unwrap());
    *bins.last_mut().unwrap() += rest;
    *expected.last_mut().unwrap() += rest_expected;
    let z = chi_square(&bins, &expected, (bins.len() - 1) as f64);
    failures.check(z <= 5.0, || format!("{name}: numbers of fresh chains: chi-square {z:.1}"));
}

/// The draws of a run of the recipe's size, with fewer features: fresh fraction, its distribution, slots.
#[test]
fn draws_are_binomial_and_uniform_with_replacement() {
    let mut failures = Failures::default();
    let cases = [
        (
            Case {
                batch: 128,
                capacity: 8192,
                initial: 128,
                lanes: 16,
                features: 1,
                reinit_probability: 0.05,
            },
            2000,
        ),
        (Case { batch: 32, capacity: 50, initial: 7, lanes: 5, features: 2, reinit_probability: 0.3 }, 4000),
        (Case { batch: 8, capacity: 8, initial: 8, lanes: 16, features: 3, reinit_probability: 0.05 }, 8000),
    ];
    for (case, steps) in cases {
        let Case { batch, capacity, initial, .. } = case;
        let mut replay = ReplayBuffer::new(case, 99);
        let mut model: Vec<u32> = (0..initial).rev().collect();
        let (mut fresh_counts, mut noise) = (Vec::new(), BTreeSet::new());
        let mut places = vec![0.0; capacity as usize]; // of draws from a full ring, newest first
        let mut drawn_together = vec![0.0; 100]; // slots of a step's first two old chains
        let (mut n_equal, mut expected_equal) = (0.0, 0.0);
        for step in 0..steps {
            replay.draw();
            let chains: Vec<Vec<f32>> = (0..batch).map(|i| replay.chain(i)).collect();
            let ids: Vec<Option<u32>> = chains.iter().map(|chain| replay.id(chain)).collect();
            let place_of: BTreeMap<u32, usize> = model.iter().enumerate().map(|(i, id)| (*id, i)).collect();
            let reinits = ids.iter().filter(|id| id.is_none()).count();
            fresh_counts.push(reinits as u32);
            for (i, id) in ids.iter().enumerate() {
                // The kernel and the function that tells where a chain starts agree.
                match start(&replay.state, i as u32, case.reinit_probability, 0) {
                    Start::Reinit => assert_eq!(*id, None),
                    Start::Slot(slot) => {
                        assert!(slot < replay.state.replay_length);
                        let at = slot as usize * case.features;
                        assert_eq!(chains[i], replay.slots[at..at + case.features]);
                    }
                }
                if id.is_none() {
                    let bits: Vec<u32> = chains[i].iter().map(|v| v.to_bits()).collect();
                    noise.insert(bits);
                }
            }
            let old: Vec<usize> = ids.iter().flatten().map(|id| place_of[id]).collect();
            if model.len() == capacity as usize {
                old.iter().for_each(|place| places[*place] += 1.0);
                if let [first, second, ..] = old[..] {
                    let bin = |place: usize| place * 10 / capacity as usize;
                    drawn_together[bin(first) * 10 + bin(second)] += 1.0;
                }
                let distinct: BTreeSet<_> = old.iter().collect();
                n_equal += (old.len() - distinct.len()) as f64;
                let (k, c) = (old.len() as f64, f64::from(capacity));
                expected_equal += k - c * (1.0 - (1.0 - 1.0 / c).powf(k));
            }
            let first_id = initial + step * batch;
            replay.refine(first_id);
            replay.push();
            put_in_front(&mut model, (first_id..first_id + batch).rev(), capacity);
        }
        let name = format!("{case:?}");
        check_fresh(&mut failures, &name, &fresh_counts, batch, f64::from(case.reinit_probability));
        let mean = places.iter().sum::<f64>() / places.len() as f64;
        let z = chi_square(&places, &vec![mean; places.len()], (places.len() - 1) as f64);
        failures.check(z.abs() <= 5.0, || format!("{name}: places: chi-square {z:.1}"));
        if capacity % 10 == 0 || capacity > 1000 {
            let mean = drawn_together.iter().sum::<f64>() / 100.0;
            let z = chi_square(&drawn_together, &[mean; 100], 99.0);
            failures.check(z <= 5.0, || format!("{name}: two chains of a step: chi-square {z:.1}"));
        }
        // The variance of such a count is below its mean.
        let z = (n_equal - expected_equal) / expected_equal.sqrt();
        failures.check(z.abs() <= 5.0 && n_equal > 0.0, || {
            format!("{name}: {n_equal} chains share a slot, not {expected_equal:.0}: {z:.1} standard errors")
        });
        let n_fresh = fresh_counts.iter().sum::<u32>() as usize;
        // Of 24 bits a feature, one feature is sometimes the same by chance.
        let least = if case.features == 1 { n_fresh - n_fresh / 100 } else { n_fresh };
        failures.check(noise.len() >= least, || format!("{name}: {} of {n_fresh} are new", noise.len()));
    }
    failures.assert_none();
}

#[test]
fn fresh_zero_is_never_and_one_is_always() {
    for (reinit_probability, want) in [(0.0, 0), (1.0, 1000)] {
        let n = (0..1000).filter(|step| {
            let state = State { step: *step, replay_length: 7, ..State::default() };
            start(&state, step % 13, reinit_probability, 0) == Start::Reinit
        });
        assert_eq!(n.count(), want);
    }
}

/// Negative controls: counts that are not binomial are found.
#[test]
fn counts_that_are_not_binomial_are_found() {
    let case = |i: u32| State { step: i, seed_low: 3, replay_length: 9, ..State::default() };
    let count =
        |step: u32| (0..128).filter(|i| start(&case(step), *i, 0.05, 0) == Start::Reinit).count() as u32;
    let good: Vec<u32> = (0..2000).map(count).collect();
    let check = |counts: &[u32]| {
        let mut failures = Failures::default();
        check_fresh(&mut failures, "counts", counts, 128, 0.05);
        failures.len()
    };
    assert_eq!(check(&good), 0);
    assert!(check(&vec![6; 2000]) > 0, "always the mean");
    assert!(check(&good.iter().map(|c| c + 1).collect::<Vec<_>>()) > 0, "one more");
    let halves: Vec<u32> = good.iter().map(|c| c / 2 * 2).collect();
    assert!(check(&halves) > 0, "even numbers only");
    let bunched: Vec<u32> =
        good.iter().enumerate().map(|(i, c)| if i % 20 == 0 { 128 } else { c * 19 / 20 }).collect();
    assert!(check(&bunched) > 0, "all or nothing");
}
