//! Recipes as users make them: settings that have no effect are refused, the weights' average is of use from the start,
//! energies do not drift where nothing holds them, and every step that is submitted is accounted for.

use crate::common::rows_refused;
use thalweg::checkpoint::Checkpoint;
use thalweg::cpu::Isa;
use thalweg::data::{Examples, Images, Shape};
use thalweg::kernels::Kernel;
use thalweg::network::{Activation, Network, NetworkSpec};
use thalweg::recipe::PRESETS;
use thalweg::recipe::Settings;
use thalweg::{Dataset, Device, Error, Recipe, Result, Sampler, Trainer};

// ---- helpers

const SHAPE: Shape = Shape { channels: 1, height: 4, width: 5 };

/// A network of images of [`SHAPE`], which are more values than `score-matching` takes axes for.
fn small_network() -> NetworkSpec {
    let builder = Network::builder("small", [1, 4, 5]).dense(6).activation(Activation::Swish);
    builder.dense(1).build().unwrap().spec()
}

/// `n` images of no sense.
fn images(n: usize) -> Images {
    let value = |i: usize| ((i * 7919 % 1000) as f32 / 500.0 - 1.0) * (1.0 - (i % 3) as f32 * 0.3);
    Images { shape: SHAPE, values: (0..n * SHAPE.len()).map(value).collect() }
}

fn dataset(n: usize) -> Dataset {
    Dataset {
        name: "small".into(),
        train: Examples::Floats(images(n)),
        held_out: images(2),
        toy: None,
        labels: None,
    }
}

fn with(base: &Recipe, settings: &[&str]) -> Recipe {
    let mut config = base.clone();
    for setting in settings {
        config.set(setting).unwrap_or_else(|error| panic!("{error}"));
    }
    config
}

fn small(settings: &[&str]) -> Recipe {
    let base = Recipe { network: Some(small_network()), ..Recipe::preset("mnist-small").unwrap() };
    let common = [
        "train.batch=4",
        "chain.steps=3",
        "chain.step_size=0.2",
        "chain.noise=0.05",
        "replay.capacity=16",
        "replay.initial=8",
        "replay.fresh=0.5",
        "pcd.chains=8",
        "adam.learning_rate=0.01",
        "sample.steps=3",
        "sample.step_size=0.2",
        "sample.count=4",
    ];
    with(&with(&base, &common), settings)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

async fn parameters(trainer: &Trainer) -> Vec<f32> {
    trainer.executor().read_floats(trainer.plan().pass.parameters).await.unwrap()
}

// ---- settings without effect

/// All that a configuration comes to: the bits of some training steps and of samples, and what the guard goes by. `None`
/// where it is not valid.
async fn outcome(config: &Recipe) -> Option<Vec<u32>> {
    config.validate().ok()?;
    let mut trainer = Trainer::new(&Device::cpu(), config, &dataset(10)).await.ok()?;
    let mut all = vec![trainer.total_steps() as u32];
    for launch in trainer.plan().plan.programs.iter().flatten() {
        if matches!(launch.kernel, Kernel::CheckStep(_) | Kernel::CheckState(_) | Kernel::Adam(_)) {
            all.extend(launch.kernel.uniform(&launch.blocks).into_iter().map(u32::from));
            all.extend(launch.kernel.overrides().into_iter().map(|(_, value)| value as u32));
        }
    }
    let metrics = trainer.submit(5).unwrap().outcome().await.unwrap().metrics;
    all.extend(metrics.iter().flat_map(|row| [row.loss, row.gradient_norm].map(f32::to_bits)));
    all.extend(bits(&parameters(&trainer).await));
    all.extend(trainer.executor().read(trainer.plan().state).await.unwrap());
    all.extend(bits(&trainer.executor().read_floats(trainer.plan().replay).await.unwrap()));
    let (model, chain_config) = (trainer.model().await.unwrap(), config.sampling_chain());
    all.extend(bits(&model.parameters));
    let mut sampler = Sampler::new(&Device::cpu(), &model, 4, &chain_config, 3).await.ok()?;
    sampler.run(chain_config.steps).unwrap();
    all.extend(bits(&sampler.images().await.unwrap().values));
    Some(all)
}

/// Every setting, in every recipe: one that is accepted changes what is trained or sampled, and one that is refused does
/// not, whatever it is set to.
#[test]
fn settings_that_are_refused_are_those_without_effect() {
    // Whose effect is elsewhere: in how data are read, how many samples are drawn, and what the command does when training
    // diverges.
    let elsewhere = ["preset", "data.range", "data.standardize", "sample.count", "guard.tries"];
    let objectives: [&[&str]; 12] = [
        &["objective=replay"],
        &["objective=cd"],
        &["objective=cd", "cd.start=data"],
        &["objective=pcd", "pcd.fresh=0.5"],
        &["objective=score-matching"],
        &["objective=sliced-score-matching"],
        &["objective=denoising-score-matching"],
        &["objective=denoising-score-matching", "score.levels=4"],
        &["objective=denoising-score-matching", "score.target=velocity"],
        &["objective=denoising-score-matching", "score.target=velocity", "score.levels=4"],
        &["objective=energy-discrepancy"],
        &["objective=nce"],
    ];
    let forms = ["noise-first", "noise-last", "theory", "mala", "annealed"];
    let mut bases: Vec<Vec<String>> = Vec::new();
    let mut base = |settings: &[&str]| bases.push(settings.iter().map(ToString::to_string).collect());
    for (i, objective) in objectives.iter().enumerate() {
        let form = format!("chain.form={}", forms[i % forms.len()]);
        base(&[objective, &[form.as_str()][..]].concat());
        let form = format!("sample.form={}", forms[(i + 2) % forms.len()]);
        base(&[objective, &[form.as_str()][..]].concat());
    }
    for form in forms {
        let form = format!("chain.form={form}");
        base(&[&form, "chain.step_size=0.02", "chain.step_size_end=0.1", "sample.form=noise-first"]);
        base(&[&form, "chain.noise_end=0.1", "objective=pcd", "sample.form=theory", "sample.temperature=2"]);
    }
    let augment = ["augment.probability=0.5", "augment.shift=1", "augment.flip=0.5", "augment.rescale=0.2"];
    base(&augment);
    base(&augment[..1]);
    base(&augment[1..]);
    base(&[&augment[..], &["objective=cd"]].concat());
    base(&[&augment[..], &["objective=cd", "cd.start=data"]].concat());
    base(&["loss.smoothness=0.5", "loss.energy_l2=0", "schedule.learning_rate=exponential"]);
    base(&["schedule.learning_rate=cosine", "train.steps=20", "guard.on_divergence=stop"]);
    base(&["guard.on_divergence=ignore", "ema.decay=0.5"]);
    base(&["guard.on_divergence=stop", "objective=score-matching"]);

    let candidates = ["0.3", "7", "0.003", "2", "1", "0", "0.7", "19"];
    let mut faults = Vec::new();
    pollster::block_on(async {
        for settings in &bases {
            let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
            let base = small(&settings);
            let Some(before) = outcome(&base).await else { panic!("{settings:?} is not valid") };
            for setting in base.settings() {
                let name = setting.name;
                if elsewhere.contains(&name) {
                    continue;
                }
                let unused = base.unused(name);
                assert_eq!(unused.is_none(), setting.is_used, "{name}");
                let choices = if setting.choices.is_empty() { &candidates[..] } else { setting.choices };
                let (mut tried, mut changed) = (0, false);
                for choice in choices {
                    let mut config = base.clone();
                    if config.set(&format!("{name}={choice}")).is_err() || config == base {
                        continue;
                    }
                    let Some(after) = outcome(&config).await else { continue };
                    (tried, changed) = (tried + 1, after != before);
                    if changed || (unused.is_some() && tried == 3) {
                        break;
                    }
                }
                if changed == unused.is_some() || (tried == 0 && unused.is_none()) {
                    faults
                        .push(format!("{settings:?}: {name}, tried {tried}, changed {changed}: {unused:?}"));
                }
            }
        }
    });
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn what_users_give_without_effect_is_refused_in_any_order() {
    let finish = |preset: &str, settings: &[&str]| -> Result<Recipe> {
        let mut made = Settings::of(Recipe::preset(preset).unwrap());
        for setting in settings {
            made.set(setting)?;
        }
        made.finish()
    };
    for reversed in [false, true] {
        rows_refused("settings.txt", "unused", |case| {
            let (preset, settings) = case.split_once(' ').unwrap();
            let mut settings: Vec<&str> = settings.split(' ').collect();
            if reversed {
                settings.reverse();
            }
            Some(finish(preset, &settings).err()?.to_string())
        });
    }
    for settings in [
        &["chain.steps=10", "objective=cd"][..],
        &["replay.start_scale=2"],
        &["objective=pcd", "pcd.chains=500", "pcd.fresh=0.1"],
        &["augment.flip=0.5", "augment.probability=0.5", "objective=replay"],
    ] {
        let reversed: Vec<&str> = settings.iter().rev().copied().collect();
        assert_eq!(finish("digits", settings).unwrap(), finish("digits", &reversed).unwrap());
    }
    for preset in PRESETS {
        assert_eq!(finish(preset, &[]).unwrap(), Recipe::preset(preset).unwrap());
    }
}

#[test]
fn files_name_the_line_and_may_be_whole_recipes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    let read = |preset: &str, text: &str| -> Result<Recipe> {
        std::fs::write(&path, text).unwrap();
        let mut settings = Settings::of(Recipe::preset(preset).unwrap());
        settings.read(&path)?;
        settings.finish()
    };
    let text = read("digits", "[ema]\ndecay = 0.99\n\n[pcd]\nchains = 10\n").unwrap_err().to_string();
    assert!(text.contains("run.toml: line 5: setting `pcd.chains`: has no effect"), "{text}");
    let config = read("digits", "objective = \"cd\"\n[chain]\nsteps = 10\n").unwrap();
    assert_eq!(config.chain.steps, 10);
    // What a run writes is read again: preset and all that has no part in it.
    for preset in PRESETS {
        let config = with(&Recipe::preset(preset).unwrap(), &["ema.decay=0.9", "seed=5"]);
        assert_eq!(read("mlp", &config.to_toml()).unwrap(), config);
    }
    let config = read("digits", "seed = 0b101\n[train]\nsteps = 1_000\n[ema]\ndecay = 0.9_9\n").unwrap();
    assert_eq!((config.seed, config.train.steps, config.ema.decay), (5, 1000, 0.99));
    // On top of a preset of the file's own.
    let text = read("mlp", "preset = \"digits\"\n[replay]\nfresh = 0.5\n").unwrap_err().to_string();
    assert!(text.contains("line 3: setting `replay.fresh`"), "{text}");
}

#[test]
fn numbers_that_devices_take_for_nothing_are_refused() {
    let mut config = Recipe::default();
    for setting in ["adam.gradient_clip=1e-50", "chain.clamp=1e-300", "loss.weight_l2=1e-40"] {
        let text = config.set(setting).unwrap_err().to_string();
        assert!(text.contains("single precision"), "{text}");
    }
    config.set("loss.weight_l2=1e-30").unwrap();
    config.set("loss.weight_l2=0").unwrap();
    config.loss.weight_l2 = 1e-50;
    assert!(config.validate().unwrap_err().to_string().contains("loss.weight_l2"));
}

#[test]
fn the_default_is_the_command_s() {
    assert_eq!(Recipe::default(), Recipe::preset("digits").unwrap());
    // But files of earlier versions are read as they were written, on top of mnist-small.
    let older: Recipe = serde_json::from_str(r#"{"preset": "mnist-small", "chain": {"steps": 60}}"#).unwrap();
    assert_eq!(older, with(&Recipe::preset("mnist-small").unwrap(), &["chain.steps=60"]));
}

#[test]
fn epochs_beyond_counting_are_refused() {
    pollster::block_on(async {
        let config = small(&["train.epochs=1000000", "train.batch=1"]);
        let error = Trainer::new(&Device::cpu(), &config, &dataset(5000)).await.unwrap_err();
        assert!(matches!(&error, Error::Setting { key, .. } if key == "train.epochs"), "{error}");
        // A batch larger than the data is possible, and said.
        let trainer = Trainer::new(&Device::cpu(), &small(&[]), &dataset(3)).await.unwrap();
        let warning = trainer.warning().unwrap();
        assert!(warning.contains("train.batch is 4") && warning.contains("3 examples"), "{warning}");
        let trainer = Trainer::new(&Device::cpu(), &small(&[]), &dataset(4)).await.unwrap();
        assert_eq!(trainer.warning(), None);
    });
}

// ---- submissions

#[test]
fn any_number_of_steps_may_be_submitted_at_once() {
    let config = small(&["guard.snapshot_every=7", "ema.decay=0.999"]);
    pollster::block_on(async {
        for device in [Device::cpu(), Device::open("auto").await.unwrap()] {
            let new = || async { Trainer::new(&device, &config, &dataset(10)).await.unwrap() };
            let (mut at_once, mut one_by_one) = (new().await, new().await);
            let pending = at_once.submit(150).unwrap();
            assert_eq!(pending.steps(), 0..150);
            let metrics = pending.metrics().await.unwrap();
            assert_eq!((metrics.len(), at_once.step()), (150, 150));
            for row in &metrics {
                assert_eq!(*row, one_by_one.submit(1).unwrap().metrics().await.unwrap()[0]);
            }
            assert_eq!(at_once.model().await.unwrap(), one_by_one.model().await.unwrap());
            let pending = at_once.submit(0).unwrap();
            assert_eq!((pending.metrics().await.unwrap().len(), at_once.step()), (0, 150));
            // Where the guard halts training, what comes after it has no rows.
            let nan = vec![f32::NAN; at_once.network().n_parameters];
            let parameters = at_once.plan().pass.parameters;
            at_once.executor_mut().write_floats(parameters, &nan);
            let outcome = at_once.submit(200).unwrap().outcome().await.unwrap();
            assert_eq!((outcome.metrics.len(), outcome.halt.unwrap().step), (1, 151));
        }
    });
}

// ---- sums

/// With no penalty on energies the loss is the same at every level of theirs: the last bias stays, bit for bit.
#[test]
fn energies_do_not_drift_where_nothing_holds_them() {
    let conv = Network::builder("conv", [1, 4, 5]).conv(3, 2).activation(Activation::Swish).pool().conv(1, 1);
    let networks = [small_network(), conv.build().unwrap().spec()];
    let variants: [&[&str]; 5] = [
        &["objective=replay", "loss.smoothness=0.1"],
        &["objective=cd", "chain.form=mala", "chain.step_size=0.01"],
        &["objective=cd", "cd.start=data", "loss.energy_l2_form=square-of-means"],
        &["objective=pcd", "chain.form=noise-last"],
        &["objective=replay", "adam.gradient_norm_clip=0.1"],
    ];
    pollster::block_on(async {
        let mut devices: Vec<_> = Isa::available().into_iter().map(Device::Cpu).collect();
        devices.push(Device::open("auto").await.unwrap());
        for device in devices {
            let is_gpu = matches!(device, Device::Gpu(..)); // whose pipelines take a while to compile
            for (i, batch) in [1, 7, 24, 100, 128].into_iter().enumerate() {
                for (j, settings) in variants.iter().enumerate() {
                    if is_gpu && (batch != 24 || j > 1) {
                        continue;
                    }
                    let common = [
                        format!("train.batch={batch}"),
                        "replay.capacity=256".to_owned(),
                        "pcd.chains=256".to_owned(),
                        "loss.energy_l2=0".to_owned(),
                    ];
                    let common: Vec<&str> = common.iter().map(String::as_str).collect();
                    let network = networks[(i + j) % 2].clone();
                    let config =
                        Recipe { network: Some(network), ..small(&[&common[..], settings].concat()) };
                    // The last batch of an epoch has fewer real images than fake ones.
                    let data = dataset(2 * batch + batch / 2);
                    let mut trainer = Trainer::new(&device, &config, &data).await.unwrap();
                    let before = parameters(&trainer).await;
                    trainer.submit(4).unwrap().metrics().await.unwrap();
                    let after = parameters(&trainer).await;
                    let last = |parameters: &[f32]| parameters.last().unwrap().to_bits();
                    assert_eq!(last(&before), last(&after), "{device}, batch {batch}, {settings:?}");
                    assert_ne!(before[0], after[0], "{device}, batch {batch}, {settings:?}: nothing moves");
                }
            }
            // A penalty moves it.
            let mut trainer = Trainer::new(&device, &small(&[]), &dataset(10)).await.unwrap();
            let before = parameters(&trainer).await;
            trainer.submit(4).unwrap().metrics().await.unwrap();
            assert_ne!(before.last(), parameters(&trainer).await.last(), "{device}");
        }
    });
}

// ---- the weights' average

/// It forgets the initial weights from the start, is the same however steps are submitted, and after resuming.
#[test]
fn averages_leave_the_initial_weights_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let config = small(&["ema.decay=0.999", "objective=denoising-score-matching", "guard.snapshot_every=7"]);
    let distance = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    pollster::block_on(async {
        for device in [Device::cpu(), Device::open("auto").await.unwrap()] {
            let new = || async { Trainer::new(&device, &config, &dataset(10)).await.unwrap() };
            let mut trainer = new().await;
            let first = parameters(&trainer).await;
            trainer.submit(60).unwrap().metrics().await.unwrap();
            let (raw, average) = (parameters(&trainer).await, trainer.model().await.unwrap().parameters);
            // 0.999^60 of the initial weights would be left without a warm-up: 94 %.
            assert!(distance(&average, &raw) < 0.25 * distance(&first, &raw), "{device}");
            assert!(average != raw);

            let mut parts = new().await;
            for n in [1, 2, 30, 4] {
                parts.submit(n).unwrap().metrics().await.unwrap();
            }
            parts.checkpoint(serde_json::Value::Null).await.unwrap().save(&path).unwrap();
            let saved = Checkpoint::load(&path).unwrap();
            let mut parts = Trainer::resume(&device, &path, saved, &dataset(10)).await.unwrap();
            parts.submit(23).unwrap().metrics().await.unwrap();
            assert_eq!(bits(&parts.model().await.unwrap().parameters), bits(&average), "{device}");

            // Back to a snapshot, the average is what it was there.
            let nan = vec![f32::NAN; first.len()];
            let weights = parts.plan().pass.parameters;
            parts.executor_mut().write_floats(weights, &nan);
            let halt = parts.submit(3).unwrap().outcome().await.unwrap().halt.unwrap();
            parts.roll_back(halt).await.unwrap();
            let to = u32::try_from(parts.step()).unwrap();
            let mut straight = new().await;
            straight.submit(to).unwrap().metrics().await.unwrap();
            assert_eq!(parts.model().await.unwrap(), straight.model().await.unwrap(), "{device}, step {to}");
        }
    });
}
