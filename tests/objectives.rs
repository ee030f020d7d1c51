//! Chains and objectives: where chains start and end, MALA's density, averages of weights, and whole steps on both
//! executors, resumed and uninterrupted.

use crate::common;

use common::{checkpoint, steps};

use thalweg::checkpoint::{Model, Weights};
use thalweg::cpu::Isa;
use thalweg::data::{Images, Shape};
use thalweg::device::{Device, Executor};
use thalweg::kernels::augment_starts::{AugmentStarts, Augmentation};
use thalweg::kernels::draw_negatives::Noise;
use thalweg::kernels::draw_real::permute_of;
use thalweg::kernels::dynamics::{Dynamics, Form, Interpolation};
use thalweg::kernels::{Binding, Kernel, State};
use thalweg::network::{Activation, LayerSpec, Network};
use thalweg::plan::{ChainConfig, ExampleStorage, Target, TrainingData, training_plan};
use thalweg::random::{Distribution, Stream};
use thalweg::recipe::ChainInit;
use thalweg::recipe::presets::preset;
use thalweg::train::log::StepMetrics;
use thalweg::{Dataset, EnergyModel, Recipe, Sampler, Trainer};

/// Batches of 20, of 50 images: the third step of an epoch has 10.
fn tiny(settings: &str) -> (Recipe, Dataset) {
    let common = ["train.batch=20", "chain.steps=3", "replay.capacity=110", "replay.initial=20", "seed=7"];
    let own = settings.split_whitespace();
    (common::small(&common.into_iter().chain(own).collect::<Vec<_>>()), common::few_digits(50))
}

/// Objectives, forms, penalties and schedules, several at a time.
const VARIANTS: [&str; 7] = [
    "objective=pcd pcd.chains=50 pcd.fresh=0.1 chain.form=noise-last ema.decay=0.5",
    "objective=cd replay.start=normal replay.start_scale=0.2 chain.form=mala chain.step_size=0.001 \
        loss.smoothness=0.1 schedule.learning_rate=cosine schedule.warm_up=2",
    "objective=cd cd.start=data chain.form=theory chain.step_size=0.1 chain.gradient_clip=0 \
        chain.temperature=2 chain.step_size_end=0.01 chain.course=geometric loss.weight_l2=0.001",
    "loss.energy_l2_form=square-of-means schedule.learning_rate=exponential chain.noise_end=0.05 \
        chain.step_size_end=5 adam.gradient_clip=0.001 adam.weight_decay=0.1 ema.decay=0.9 \
        replay.start_scale=0.5 augment.probability=0.5 augment.shift=2 augment.flip=0.5 \
        augment.rescale=0.1",
    "objective=annealed-cd data.noise=0 chain.form=annealed chain.step_size=0.05 chain.stay_step_size=0.1 \
        chain.noise=3 chain.noise_end=0.5 chain.gradient_clip=0 chain.clamp=0 replay.start=normal pool.chains=50 \
        pool.long=10 pool.levels=9 loss.contrastive_below=2 score.target=velocity score.levels=5 \
        score.sigma_max=3 score.from_noise=0.4 ema.decay=0.9 sample.step_size=0.05 sample.noise=3",
    "objective=energy-discrepancy discrepancy.negatives=3 discrepancy.noise=0.2 ema.decay=0.9",
    "objective=nce nce.negatives=2 nce.scale=1.5 data.noise=0.1",
];

#[test]
fn whole_steps_match_the_reference_launch_by_launch() {
    pollster::block_on(async {
        for device in [Device::cpu(), common::gpu()] {
            for settings in VARIANTS {
                let (config, dataset) = tiny(settings);
                common::assert_steps_are_the_references(&device, &config, &dataset, settings).await;
            }
        }
    });
}

#[test]
fn resumed_is_uninterrupted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    pollster::block_on(async {
        for settings in VARIANTS {
            let metrics = common::assert_resumes(&Device::cpu(), &tiny(settings), &path, settings).await;
            assert!(metrics.iter().all(|m| m.loss.is_finite()));
            let is_mala = settings.contains("chain.form=mala");
            let expected = |m: &StepMetrics| (m.acceptance > 0.0 && m.acceptance <= 1.0) == is_mala;
            assert!(metrics.iter().all(expected), "{settings}: {metrics:?}");
        }
    });
}

/// Each step moves `batch` of the persistent chains, no two the same, and puts them back in their own places.
#[test]
fn persistent_chains_go_back_to_their_slots() {
    pollster::block_on(async {
        let (config, dataset) = tiny("objective=pcd pcd.chains=50 replay.start=normal");
        let mut trainer = Trainer::new(&Device::cpu(), &config, &dataset).await.unwrap();
        let features = trainer.network().input.len();
        let mut moved = vec![0; 50];
        let mut before = trainer.executor().read_floats(trainer.plan().replay).await.unwrap();
        assert_eq!(before.len(), 50 * features);
        assert!(before.iter().all(|v| (-1.0..=1.0).contains(v)) && before.contains(&1.0), "clamped normals");
        for step in 0..30 {
            steps(&mut trainer, &[1]).await;
            let replay = trainer.executor().read_floats(trainer.plan().replay).await.unwrap();
            let mut slots: Vec<u32> =
                (0..20).map(|i| permute_of(Stream::Subsets, i, 50, step, [7, 0])).collect();
            let plan = trainer.plan();
            let x = trainer.executor().read_floats(plan.pass.x).await.unwrap();
            let lanes = plan.plan.lanes as usize;
            let x = &x[plan.half_blocks as usize * lanes * features..];
            for (i, slot) in slots.iter().enumerate() {
                let chain = &replay[*slot as usize * features..][..features];
                let is = |f: usize| x[(i / lanes * features + f) * lanes + i % lanes];
                assert!((0..features).all(|f| chain[f] == is(f)), "chain {i} is not in slot {slot}");
            }
            slots.sort_unstable();
            slots.dedup();
            assert_eq!(slots.len(), 20, "drawn without replacement");
            for (slot, count) in moved.iter_mut().enumerate() {
                let range = slot * features..(slot + 1) * features;
                let differs = replay[range.clone()] != before[range];
                assert_eq!(differs, slots.contains(&(slot as u32)), "slot {slot} in step {step}");
                *count += u32::from(differs);
            }
            before = replay;
        }
        // 12 times on average, with a deviation of 2.7.
        assert!(moved.iter().all(|n| (2..=22).contains(n)), "{moved:?}");
        let state = State::of(&trainer.executor().read(trainer.plan().state).await.unwrap());
        assert_eq!((state.replay_head, state.replay_length), (0, 50));
    });
}

/// Chains of no steps stay where they start.
#[test]
fn chains_start_where_they_should() {
    let network = preset("mnist-small").unwrap();
    let cases: [(ChainInit, [&str; 4]); 4] = [
        (ChainInit::Data, ["cd.start=data", "replay.start=uniform", "replay.start_scale=1", "chain.clamp=1"]),
        (
            ChainInit::Noise,
            ["cd.start=noise", "replay.start=uniform", "replay.start_scale=1", "chain.clamp=1"],
        ),
        (
            ChainInit::Noise,
            ["cd.start=noise", "replay.start=normal", "replay.start_scale=0.5", "chain.clamp=0"],
        ),
        (
            ChainInit::Noise,
            ["cd.start=noise", "replay.start=uniform", "replay.start_scale=3", "chain.clamp=2"],
        ),
    ];
    for (init, settings) in cases {
        let mut recipe = common::recipe(&[&["train.batch=19", "objective=cd"], &settings[..]].concat());
        recipe.chain.steps = 0;
        assert_eq!(recipe.chain_init(), Some(init));
        let noise = recipe.start_noise();
        // The second step of an epoch has 5 images.
        let data = TrainingData::new(ExampleStorage::Bytes, 24, network.input);
        let plan = training_plan(&network, &recipe, &data, Target::CPU);
        pollster::block_on(async {
            let mut executor = Executor::new(&Device::Cpu(Isa::Reference), plan.plan.clone()).await.unwrap();
            let data = plan.data[0].buffer;
            let len = plan.plan.len_of(data);
            executor.write(
                data,
                0,
                &(0..len as u32).map(|i| i.wrapping_mul(0x9E37_79B9)).collect::<Vec<_>>(),
            );
            executor.write(
                plan.state,
                0,
                bytemuck::cast_slice(&[State { step: 1, seed_low: 3, ..State::default() }]),
            );
            executor.run(plan.step).unwrap();
            let x = executor.read_floats(plan.pass.x).await.unwrap();
            let (positive, negative) = x.split_at(x.len() / 2);
            let pixels = network.input.len();
            let positive = plan.plan.from_blocks(positive, 5, 1, pixels);
            let negative = plan.plan.from_blocks(negative, 19, 1, pixels);
            if init == ChainInit::Data {
                for (i, image) in negative.chunks_exact(pixels).enumerate() {
                    assert!(image == &positive[i % 5 * pixels..][..pixels], "chain {i}");
                }
                return;
            }
            let n = negative.len() as f64;
            let mean = negative.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            let square = negative.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
            let most = negative.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            let (want, highest) = match (noise.distribution, noise.bound) {
                (Distribution::Normal, _) => (0.25, 1.5..4.0),
                (_, 2.0) => (2.0 / 9.0 * 4.0 + 4.0 / 3.0, 2.0..2.0001), // a third of it is clamped to 2
                _ => (1.0 / 3.0, 0.99..1.0),
            };
            assert!(mean.abs() < 5.0 * (want / n).sqrt(), "{noise:?}: mean {mean}");
            assert!((square / want - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{noise:?}: {square}, not {want}");
            assert!(highest.contains(&most), "{noise:?}: {most}");
        });
    }
}

/// A shift moves pixels, a flip mirrors them, and a scale of 1/2 about the centre keeps every second: by hand.
#[test]
fn augmented_starts_are_shifted_flipped_and_rescaled() {
    let (height, width, lanes) = (4, 5, 64);
    let shape = Shape { channels: 1, height, width };
    let value = |y: usize, x: usize| (10 * y + x) as f32;
    let start: Vec<f32> =
        (0..height * width).flat_map(|i| vec![value(i / width, i % width); lanes]).collect();
    let run = |augment: Augmentation| {
        let kernel: Kernel = AugmentStarts { lanes: lanes as u32, shape, augment }.into();
        let state = [State { step: 3, seed_low: 1, ..State::default() }];
        let mut x = vec![f32::NAN.to_bits(); start.len()];
        let start = Binding::Read(bytemuck::cast_slice(&start));
        kernel.run(0, &mut [Binding::Read(bytemuck::cast_slice(&state)), start, Binding::Write(&mut x)]);
        let value = |lane: usize, i: usize| f32::from_bits(x[i * lanes + lane]);
        (0..lanes)
            .map(|lane| (0..height * width).map(|i| value(lane, i)).collect())
            .collect::<Vec<Vec<f32>>>()
    };
    let same: Vec<f32> = (0..height * width).map(|i| value(i / width, i % width)).collect();
    let flipped: Vec<f32> = (0..height * width).map(|i| value(i / width, width - 1 - i % width)).collect();
    let off = Augmentation::default();
    assert!(run(off).iter().all(|image| *image == same));
    assert!(run(Augmentation { probability: 1.0, flip: 1.0, ..off }).iter().all(|image| *image == flipped));
    // Some of each, by about as many as the probabilities say: 5 deviations.
    let some = run(Augmentation { probability: 0.5, flip: 1.0, ..off });
    assert!((12..=52).contains(&some.iter().filter(|image| **image == flipped).count()));
    let mut seen = std::collections::BTreeSet::new();
    for image in run(Augmentation { probability: 1.0, shift: 1, ..off }) {
        // The middle pixel tells the shift; edges are repeated.
        let (dy, dx) = (2 - image[2 * width + 2] as i32 / 10, 2 - image[2 * width + 2] as i32 % 10);
        seen.insert((dy, dx));
        for (i, found) in image.iter().enumerate() {
            let y = (i as i32 / width as i32 - dy).clamp(0, height as i32 - 1);
            let x = (i as i32 % width as i32 - dx).clamp(0, width as i32 - 1);
            assert_eq!(*found, value(y as usize, x as usize), "shift {dy}, {dx}");
        }
    }
    assert!(seen.iter().all(|(y, x)| y.abs() <= 1 && x.abs() <= 1) && seen.len() >= 8, "{seen:?}");
    // A linear image stays linear; its slope is 1 over the scale, about the centre.
    let slopes: Vec<f32> = run(Augmentation { probability: 1.0, rescale: 0.3, ..off })
        .iter()
        .map(|image| {
            let slope = image[width + 3] - image[width + 2];
            assert!((image[width + 2] + image[2 * width + 2] - 34.0).abs() < 1e-4, "{image:?}");
            slope
        })
        .collect();
    assert!(slopes.iter().all(|s| (1.0 / 1.3..1.0 / 0.7).contains(s)), "{slopes:?}");
    assert!(slopes.iter().any(|s| *s < 0.9) && slopes.iter().any(|s| *s > 1.1));
}

/// A network of two numbers, whose energy is a crooked bowl.
fn bowl() -> Model {
    let input = Shape { channels: 2, height: 1, width: 1 };
    let dense = |units, activation| LayerSpec::Dense { units, activation };
    let specs = [dense(6, Activation::Swish), dense(1, Activation::Identity)];
    let network = Network::new("bowl", input, &specs).unwrap();
    let weights = [2.0, 0.5, -2.0, 0.3, 0.4, 2.0, 0.2, -2.0, 1.5, 1.5, -1.0, 1.2];
    let parameters =
        weights.into_iter().chain([0.5, 1.0, -0.7, 0.2, -1.0, 0.3]).chain([1.0; 6]).chain([0.0]).collect();
    Model { network, parameters }
}

/// Means and second moments `x, y, x^2, y^2, xy` of `exp(-E/T)` in the box of +-bound, by the midpoint rule.
fn moments(energy: &mut EnergyModel, temperature: f64, bound: f64) -> [f64; 5] {
    let n = 400;
    let side = |i: usize| bound * ((i as f64 + 0.5) / f64::from(n) * 2.0 - 1.0);
    let points: Vec<[f64; 2]> =
        (0..n as usize * n as usize).map(|i| [side(i / n as usize), side(i % n as usize)]).collect();
    let values = points.iter().flatten().map(|v| *v as f32).collect();
    let shape = Shape { channels: 2, height: 1, width: 1 };
    let energies = pollster::block_on(energy.energies(&Images { shape, values })).unwrap();
    let (mut sums, mut total) = ([0.0; 5], 0.0);
    for ([x, y], e) in points.into_iter().zip(energies) {
        let weight = (-f64::from(e) / temperature).exp();
        total += weight;
        for (sum, value) in sums.iter_mut().zip([x, y, x * x, y * y, x * y]) {
            *sum += weight * value;
        }
    }
    sums.map(|sum| sum / total)
}

/// How many standard errors each moment of independent chains is off, and the share of accepted proposals.
fn deviations(chain_config: &ChainConfig, steps: u32, want: &[f64; 5]) -> ([f64; 5], Option<f64>) {
    let model = bowl();
    pollster::block_on(async {
        let mut sampler = Sampler::new(&Device::cpu(), &model, 20_000, chain_config, 5).await.unwrap();
        sampler.run(steps).unwrap();
        let images = sampler.images().await.unwrap();
        let n = images.count() as f64;
        let of = |f: fn(f64, f64) -> f64| {
            let values = || images.values.chunks_exact(2).map(|p| f(f64::from(p[0]), f64::from(p[1])));
            let mean = values().sum::<f64>() / n;
            (mean, (values().map(|v| (v - mean).powi(2)).sum::<f64>() / n / n).sqrt())
        };
        let found = [of(|x, _| x), of(|_, y| y), of(|x, _| x * x), of(|_, y| y * y), of(|x, y| x * y)];
        let mut off = [0.0; 5];
        for (off, ((mean, error), want)) in off.iter_mut().zip(found.iter().zip(want)) {
            *off = (mean - want) / error;
        }
        (off, sampler.acceptance().await.unwrap())
    })
}

/// MALA leaves `exp(-E/T)` as it is whatever the step size, with a clip and in a box, too; the same step unadjusted does
/// not, and comes near it with small steps only.
#[test]
fn mala_has_the_right_density_whatever_the_step_size() {
    let mut energy = pollster::block_on(EnergyModel::new(&Device::cpu(), &bowl())).unwrap();
    let normal = Noise { distribution: Distribution::Normal, scale: 1.0, bound: f32::INFINITY };
    let free = ChainConfig {
        form: Form::Mala,
        step_size: 1.5,
        gradient_clip: 0.0,
        clamp: 0.0,
        start: normal,
        ..ChainConfig::default()
    };
    let boxed = ChainConfig { clamp: 0.6, start: Noise { bound: 0.6, ..normal }, ..free };
    let cases = [
        (free, 8.0),
        (ChainConfig { temperature: 0.4, step_size: 1.0, ..free }, 8.0),
        (ChainConfig { gradient_clip: 0.5, ..free }, 8.0),
        (boxed, 0.6),
    ];
    for (chain_config, bound) in cases {
        let want = moments(&mut energy, chain_config.temperature.into(), bound);
        let (off, acceptance) = deviations(&chain_config, 300, &want);
        println!(
            "{chain_config:?}: {off:.1?} standard errors, acceptance {acceptance:?}, moments {want:.3?}"
        );
        assert!(off.iter().all(|off| off.abs() < 5.0), "{chain_config:?}: {off:?}");
        assert!(acceptance.is_some_and(|a| (0.02..0.9).contains(&a)), "{acceptance:?}");
    }
    let want = moments(&mut energy, 1.0, 8.0);
    let unadjusted = ChainConfig { form: Form::Theory, ..free };
    let (off, acceptance) = deviations(&unadjusted, 300, &want);
    assert!(off.iter().any(|off| off.abs() > 15.0) && acceptance.is_none(), "{off:?}");
    let small = ChainConfig { step_size: 0.02, ..unadjusted };
    let (off, _) = deviations(&small, 1000, &want);
    assert!(off.iter().all(|off| off.abs() < 5.0), "small steps: {off:?}");
    // Noise of half the deviation is another density.
    let cold = ChainConfig { temperature: 0.25, ..small };
    assert!(deviations(&cold, 1000, &want).0.iter().any(|off| off.abs() > 15.0));
}

/// However a sampler's steps are shared out, chains and acceptance are the same bits.
#[test]
fn malas_steps_may_be_shared_out() {
    let model = bowl();
    let chain_config = ChainConfig { form: Form::Mala, step_size: 1.5, clamp: 0.0, ..ChainConfig::default() };
    pollster::block_on(async {
        for device in [Device::cpu(), common::gpu()] {
            let mut outcomes = Vec::new();
            for pieces in [&[23][..], &[1, 11, 11], &[10, 13]] {
                let mut sampler = Sampler::new(&device, &model, 40, &chain_config, 5).await.unwrap();
                pieces.iter().for_each(|steps| sampler.run(*steps).unwrap());
                outcomes.push((sampler.images().await.unwrap(), sampler.acceptance().await.unwrap()));
            }
            assert!(outcomes.iter().all(|o| *o == outcomes[0]), "{device}");
            // Begun anew from images, it counts anew.
            let mut sampler = Sampler::new(&device, &model, 40, &chain_config, 5).await.unwrap();
            let start = sampler.images().await.unwrap();
            sampler.run(9).unwrap();
            sampler.start_from(&start).unwrap();
            assert_eq!(sampler.acceptance().await.unwrap(), None);
            sampler.run(23).unwrap();
            assert_eq!(sampler.acceptance().await.unwrap(), outcomes[0].1, "{device}");
        }
    });
}

#[test]
fn averages_follow_their_formula_and_are_what_models_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    pollster::block_on(async {
        let (config, dataset) = tiny("ema.decay=0.75 adam.learning_rate=0.01");
        let mut trainer = Trainer::new(&Device::cpu(), &config, &dataset).await.unwrap();
        let mut average = common::to_f64(&trainer.model().await.unwrap().parameters);
        // (1 + t) / (10 + t) is less than 0.75 up to step 26.
        for step in 0..30 {
            steps(&mut trainer, &[1]).await;
            let raw = trainer.executor().read_floats(trainer.plan().pass.parameters).await.unwrap();
            let kept = 0.75_f64.min((1.0 + f64::from(step)) / (10.0 + f64::from(step)));
            for (average, raw) in average.iter_mut().zip(&raw) {
                *average = kept * *average + (1.0 - kept) * f64::from(*raw);
            }
            let model = trainer.model().await.unwrap();
            let difference =
                common::difference("average", &common::to_f64(&model.parameters), &average, 1e-7, 1e-6);
            assert!(difference.is_none(), "{difference:?}");
        }
        checkpoint(&trainer).await.save(&path).unwrap();
        let raw = trainer.executor().read_floats(trainer.plan().pass.parameters).await.unwrap();
        let model = trainer.model().await.unwrap();
        assert_ne!(model.parameters, raw);
        assert_eq!(Model::load(&path, None).unwrap(), model);
        let (loaded, recipe) = Model::load_with_recipe(&path, None, Weights::Raw).unwrap();
        assert_eq!(loaded.parameters, raw);
        assert_eq!(recipe, config);
        // Without an average both are the same.
        let (config, dataset) = tiny("");
        let trainer = Trainer::new(&Device::cpu(), &config, &dataset).await.unwrap();
        checkpoint(&trainer).await.save(&path).unwrap();
        let (loaded, _) = Model::load_with_recipe(&path, None, Weights::Raw).unwrap();
        assert_eq!(Model::load(&path, None).unwrap(), loaded);
    });
}

/// An annealed step takes an image `x0` blurred by the noise `n` at its level to the next level: with as much of `n` as is
/// kept and as much new noise as gives the level its variance. The last level's gives `x0`, those beyond stay there.
#[test]
fn annealed_steps_go_from_level_to_level() {
    let sigmas = [4.0_f64, 2.0, 1.0, 0.5, 0.25];
    let step_size = 0.1_f64;
    let dynamics = Dynamics {
        form: Form::Annealed,
        step_size: step_size as f32,
        step_size_end: step_size as f32,
        noise: 4.0,
        noise_end: 0.25,
        interpolation: Interpolation::Geometric,
        levels: 5,
        stay_step_size: 0.0,
        final_step: 4,
        temperature: 1.0,
        gradient_clip: f32::INFINITY,
        bound: f32::INFINITY,
    };
    let (x0, n) = (-0.7, 1.3);
    for level in 0..8_usize {
        let (angle, to) = match level {
            0..4 => (sigmas[level].atan(), sigmas[level + 1].atan()),
            4 => (0.25_f64.atan(), 0.0),
            _ => (0.25_f64.atan(), 0.25_f64.atan()),
        };
        let (x, velocity) = (angle.cos() * x0 + angle.sin() * n, angle.cos() * n - angle.sin() * x0);
        let now = dynamics.at(level as u32);
        let [keep, drift, noise] = [now.keep, now.drift, now.noise].map(f64::from);
        let kept = (1.0 - 2.0 * step_size).sqrt();
        let wanted = to.cos() * x0 + to.sin() * kept * n;
        assert!((keep * x - drift * velocity - wanted).abs() < 1e-6, "level {level}");
        let variance = (to.sin() * kept).powi(2) + noise * noise;
        assert!((variance - to.sin().powi(2)).abs() < 1e-6, "level {level}: variance {variance}");
    }
    // The level is the chain's own step, in whatever training step or part of a chain it is.
    let state = State { step: 77, chain_base: 3, ..State::default() };
    assert_eq!(dynamics.level(&state, 1), 4);
    assert_eq!(Dynamics { form: Form::NoiseLast, ..dynamics }.level(&state, 1), 77);
}

#[test]
fn step_size_and_noise_go_from_start_to_end() {
    let dynamics = Dynamics {
        form: Form::NoiseLast,
        step_size: 8.0,
        step_size_end: 2.0,
        noise: 0.1,
        noise_end: 0.4,
        interpolation: Interpolation::Linear,
        levels: 5,
        stay_step_size: 0.0,
        final_step: u32::MAX,
        temperature: 1.0,
        gradient_clip: f32::INFINITY,
        bound: 1.0,
    };
    let at = |dynamics: &Dynamics, step| (dynamics.at(step).drift, dynamics.at(step).noise);
    let close = |(a, b): (f32, f32), (c, d): (f32, f32)| (a - c).abs() < 1e-6 && (b - d).abs() < 1e-6;
    assert!(at(&dynamics, 0) == (8.0, 0.1));
    assert!(close(at(&dynamics, 2), (5.0, 0.25)) && close(at(&dynamics, 4), (2.0, 0.4)));
    assert_eq!(at(&dynamics, 4), at(&dynamics, 9), "beyond the end nothing changes");
    let geometric = Dynamics { interpolation: Interpolation::Geometric, ..dynamics };
    assert!(close(at(&geometric, 2), (4.0, 0.2)) && close(at(&geometric, 4), (2.0, 0.4)));
    let theory = Dynamics { form: Form::Theory, temperature: 0.5, ..geometric };
    assert!(close(at(&theory, 4), (1.0, 1.0)));
}
