//! The run configuration: defaults, TOML, `--set`, and one clear error for each thing that can't be.

use serde_json::Value;
use thalweg::Error;
use thalweg::kernels::dynamics::{Form, Interpolation};
use thalweg::recipe::{
    Directions, EnergyL2Form, Objective, PRESETS, RateSchedule, Recipe, ScoreObjective, ScoreTarget, Setting,
    Square,
};

fn small() -> Recipe {
    Recipe::preset("mnist-small").unwrap()
}

/// Every leaf of the serialised configuration, by dotted name.
fn leaves(config: &Recipe) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    for (name, value) in serde_json::to_value(config).unwrap().as_object().unwrap() {
        match value {
            Value::Object(section) => {
                leaves.extend(section.iter().map(|(k, v)| (format!("{name}.{k}"), v.clone())))
            }
            leaf => leaves.push((name.clone(), leaf.clone())),
        }
    }
    leaves.sort_by(|a, b| a.0.cmp(&b.0));
    leaves
}

fn sorted(config: &Recipe) -> Vec<Setting> {
    let mut settings = config.settings();
    settings.sort_by_key(|setting| setting.name);
    settings
}

/// Reads `text` as a configuration file on top of mnist-small.
fn from_toml(text: &str) -> thalweg::Result<Recipe> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, text).unwrap();
    Recipe::from_toml_file(&path, small())
}

fn assert_says(error: &Error, words: &[&str]) {
    let message = error.to_string();
    assert!(!message.contains('\n'), "more than one line: {message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn recipe_r1() {
    let c = small();
    assert_eq!((c.train.epochs, c.train.batch, c.train.steps, c.seed), (10, 128, 0, 0));
    assert_eq!(
        (c.chain.steps, c.chain.step_size, c.chain.noise, c.chain.gradient_clip),
        (100, 10.0, 0.005, 0.03)
    );
    assert_eq!((c.replay.capacity, c.replay.fresh, c.replay.initial), (8192, 0.05, 128));
    assert_eq!((c.data.noise, c.loss.energy_l2), (0.005, 0.1));
    assert_eq!((c.adam.learning_rate, c.adam.beta1, c.adam.beta2), (1e-4, 0.9, 0.999));
    assert_eq!((c.adam.epsilon, c.adam.gradient_norm_clip), (1e-7, 0.0));
    assert_eq!((c.sample.count, c.sample.steps, c.sample.step_size, c.sample.noise), (16, 500, 20.0, 0.005));
    c.validate().unwrap();
}

#[test]
fn every_setting_is_written_and_read_by_its_name() {
    let names: Vec<_> = small().settings().iter().map(|setting| setting.name.to_owned()).collect();
    assert_eq!(leaves(&small()).into_iter().map(|leaf| leaf.0).collect::<Vec<_>>(), {
        let mut names = names.clone();
        names.sort();
        names
    });
    for preset in PRESETS {
        let preset = Recipe::preset(preset).unwrap();
        for (Setting { name, value, .. }, (_, leaf)) in sorted(&preset).iter().zip(leaves(&preset)) {
            match leaf {
                Value::String(text) => assert_eq!(text, *value, "{name}"),
                number => assert_eq!(number.as_f64(), value.parse().ok(), "{name}"),
            }
            let mut config = preset.clone();
            config.set(&format!("{name}={value}")).unwrap();
            assert_eq!(config, preset, "{name}");
        }
    }
}

#[test]
fn every_setting_is_described() {
    for Setting { name, doc, choices, .. } in small().settings() {
        assert!(doc.ends_with('.') && !doc.contains("  ") && doc.split(' ').count() > 1, "{name}: {doc}");
        // A choice's default is one of its names, and each can be set.
        for choice in choices.iter().filter(|_| name != "preset") {
            let mut config = small();
            config.set(&format!("{name}={choice}")).unwrap();
            assert_eq!(config.value(name), *choice);
        }
    }
}

#[test]
fn recipe_r2() {
    let c = Recipe::preset("mnist-deep").unwrap();
    let (chain, adam) = (&c.chain, &c.adam);
    assert_eq!((c.train.epochs, c.train.batch), (60, 128));
    assert_eq!(
        (chain.form, chain.steps, chain.step_size, chain.noise, chain.gradient_clip, chain.clamp),
        (Form::NoiseFirst, 60, 10.0, 0.005, 0.03, 1.0)
    );
    assert_eq!(
        (adam.learning_rate, adam.beta1, adam.beta2, adam.gradient_norm_clip),
        (1e-4, 0.0, 0.999, 0.1)
    );
    assert_eq!((c.schedule.learning_rate, c.schedule.factor), (RateSchedule::Exponential, 0.97));
    assert_eq!((c.loss.energy_l2, c.loss.energy_l2_form), (0.1, EnergyL2Form::MeanOfSquares));
    assert_eq!((c.replay.capacity, c.replay.fresh), (8192, 0.05));
}

#[test]
fn recipe_r3() {
    let c = Recipe::preset("conv-pool").unwrap();
    let (chain, adam) = (&c.chain, &c.adam);
    assert_eq!(
        (chain.form, chain.steps, chain.step_size, chain.noise, chain.gradient_clip, chain.clamp),
        (Form::NoiseLast, 60, 0.01, 0.005, 0.0, 1.0)
    );
    assert_eq!(
        (adam.learning_rate, adam.beta1, adam.beta2, adam.gradient_norm_clip),
        (1e-4, 0.9, 0.999, 1.0)
    );
    assert_eq!((c.loss.energy_l2, c.loss.energy_l2_form), (0.01, EnergyL2Form::SquareOfMeans));
    assert_eq!((c.replay.capacity, c.replay.fresh), (10_000, 0.05));
    assert_eq!(c.schedule.learning_rate, RateSchedule::Constant);
}

#[test]
fn objectives_that_fit_the_score() {
    let of = |settings: &[&str]| {
        let mut c = small();
        settings.iter().for_each(|setting| c.set(setting).unwrap());
        c.validate().unwrap();
        c.score_objective()
    };
    for chains in ["objective=replay", "objective=cd", "objective=pcd"] {
        assert_eq!(of(&[chains, "score.sigma=2"]), None);
    }
    let matching = ScoreObjective::Matching { probes: 3 };
    assert_eq!(of(&["objective=score-matching", "score.probes=3"]), Some(matching));
    let sliced = |directions, square| Some(ScoreObjective::Sliced { probes: 1, directions, square });
    assert_eq!(of(&["objective=sliced-score-matching"]), sliced(Directions::Normal, Square::Whole));
    let other = ["objective=sliced-score-matching", "score.directions=signs", "score.square=along"];
    assert_eq!(of(&other), sliced(Directions::Signs, Square::Along));
    // What is refused elsewhere: with one level the largest sigma is not looked at.
    let denoising = |sigma, sigma_max, levels, target| {
        Some(ScoreObjective::Denoising { sigma, sigma_max, levels, target, from_noise: 0.0 })
    };
    let base = "objective=denoising-score-matching";
    assert_eq!(of(&[base, "score.sigma=3"]), denoising(3.0, 1.0, 1, ScoreTarget::Score));
    let ladder = [base, "score.sigma=0.5", "score.sigma_max=2", "score.levels=5"];
    assert_eq!(of(&ladder), denoising(0.5, 2.0, 5, ScoreTarget::Score));
    assert_eq!(
        of(&[&ladder[..], &["score.target=velocity"]].concat()),
        denoising(0.5, 2.0, 5, ScoreTarget::Velocity)
    );
    let from_noise = of(&[&ladder[..], &["score.target=velocity", "score.from_noise=0.5"]].concat());
    let wanted = ScoreObjective::Denoising {
        sigma: 0.5,
        sigma_max: 2.0,
        levels: 5,
        target: ScoreTarget::Velocity,
        from_noise: 0.5,
    };
    assert_eq!(from_noise, Some(wanted));
}

#[test]
fn set_changes_one_setting() {
    let mut c = small();
    for text in
        ["chain.steps=60", "adam.learning_rate = 3e-4", "chain.step_size=7", "seed=18446744073709551615"]
    {
        c.set(text).unwrap();
    }
    let mut expected = small();
    expected.chain.steps = 60;
    expected.adam.learning_rate = 3e-4;
    expected.chain.step_size = 7.0;
    expected.seed = u64::MAX;
    assert_eq!(c, expected);
}

#[test]
fn set_refuses() {
    for (text, words) in [
        ("chain.stpes=60", &["setting `chain.stpes`", "no such setting", "did you mean `chain.steps`?"][..]),
        ("steps=60", &["`train.steps`", "`chain.steps`", "`sample.steps`"]),
        ("learning-rate=1", &["did you mean `adam.learning_rate`"]),
        ("chain=1", &["no such setting", "chain"]),
        ("zzz=1", &["there are: preset, objective, seed, "]),
        ("=1", &["no such setting"]),
        ("chain.steps", &["has no value", "chain.steps=60"]),
        ("", &["has no value"]),
        ("chain.steps=", &["a whole number from 1 to 1000000, not ``"]),
        ("chain.steps=60.0", &["a whole number", "`60.0`"]),
        ("chain.steps=-5", &["from 1", "`-5`"]),
        ("chain.steps=0", &["from 1", "`0`"]),
        ("chain.steps=60 61", &["`60 61`"]),
        ("chain.steps=99999999999999999999999", &["from 1 to 1000000"]),
        ("train.batch=0", &["from 1", "`0`"]),
        ("train.batch=2000000", &["1048576"]),
        ("chain.step_size=1e", &["a number from 1e-12 to 1000000, not `1e`"]),
        ("chain.step_size=1.5x", &["`1.5x`"]),
        ("chain.step_size=nan", &["`nan`"]),
        ("chain.step_size=inf", &["`inf`"]),
        ("chain.step_size=1e400", &["`1e400`"]),
        ("chain.noise=-0.1", &["from 0 to 10", "`-0.1`"]),
        ("replay.fresh=1.01", &["from 0 to 1,"]),
        ("adam.beta1=1", &["from 0 to 0.9999999"]),
        ("adam.epsilon=0", &["from 1e-30"]),
        (
            "chain.form=noise-lats",
            &["one of noise-first, noise-last, theory", "`noise-lats`", "did you mean `noise-last`?"],
        ),
        (
            "objective=score",
            &["one of replay, cd, pcd, score-matching, sliced-score-matching, denoising-", "`score`"],
        ),
        ("score.probes=0", &["a whole number from 1 to 64, not `0`"]),
        ("score.sigma=0", &["from 0.0001 to 1000, not `0`"]),
        ("score.levels=0", &["from 1 to 1000"]),
        ("score.square=all", &["one of whole, along, not `all`"]),
        ("score.directions=sign", &["one of normal, signs", "did you mean `signs`?"]),
        ("schedule.learning_rate=0.1", &["one of constant, exponential, cosine, not `0.1`"]),
        ("preset=mnist-smal", &["no preset `mnist-smal`", "did you mean `mnist-small`?"]),
    ] {
        let mut c = small();
        let error = c.set(text).unwrap_err();
        assert!(matches!(error, Error::Setting { .. }), "{text}: {error:?}");
        assert_says(&error, words);
        assert_eq!(c, small(), "{text} changed something");
    }
}

#[test]
fn presets() {
    for name in PRESETS {
        assert_eq!(Recipe::preset(name).unwrap().preset, *name);
        Recipe::preset(name).unwrap().validate().unwrap();
    }
    let error = Recipe::preset("mnist-smol").unwrap_err();
    assert_says(
        &error,
        &[
            "setting `preset`",
            "`mnist-smol`",
            "did you mean `mnist-small`?",
            "presets are: digits, mnist-small",
        ],
    );
    assert_says(&Recipe::preset("").unwrap_err(), &["presets are: digits, mnist-small, mnist-deep"]);
}

#[test]
fn toml_overlay() {
    let c =
        from_toml("seed = 0x10\nchain.steps = 60\n[adam]\nlearning_rate = 3e-4 # slower\nepsilon = 1e-8\n")
            .unwrap();
    let mut expected = small();
    expected.seed = 16;
    expected.chain.steps = 60;
    expected.adam.learning_rate = 3e-4;
    expected.adam.epsilon = 1e-8;
    assert_eq!(c, expected);
    assert_eq!(from_toml("").unwrap(), small());
    assert_eq!(from_toml("preset = \"mnist-small\"\n[chain]\n").unwrap(), small());
    assert_eq!(from_toml("[chain]\nstep_size = 3").unwrap().chain.step_size, 3.0);
}

#[test]
fn toml_refuses() {
    for (text, words) in [
        (
            "seed = 1\n[chain]\nstpes = 60\n",
            &["run.toml: line 3", "`chain.stpes`", "did you mean `chain.steps`?"][..],
        ),
        ("\n[chian]\nsteps = 60\n", &["line 3", "`chian.steps`", "`chain.steps`"]),
        ("[nothing]\n", &["line 1", "`nothing`", "no such setting"]),
        ("[chain]\nnoise = \"0.1\"\n", &["line 2", "`chain.noise`", "a number from 0 to 10", "TOML string"]),
        ("[chain]\nsteps = 60.0\n", &["line 2", "a whole number", "`60.0`"]),
        ("[chain]\nsteps = -1\n", &["line 2", "`-1`"]),
        ("[chain.steps]\nx = 1\n", &["line 1", "`chain.steps`", "TOML table"]),
        ("[chain]\nform = 5\n", &["line 2", "`chain.form`", "one of noise-first", "TOML integer"]),
        ("chain = 5\n", &["line 1", "`chain`", "no such setting"]),
        ("[[chain]]\nsteps = 5\n", &["`chain`", "no such setting"]),
        ("[chain]\nnoise = nan\n", &["line 2", "`nan`"]),
        ("[chain]\nnoise = 1e999\n", &["line 2", "`1e999`"]),
        ("seed = 18446744073709551616\n", &["line 1", "`seed`", "18446744073709551615"]),
        ("seed = 999999999999999999999999999999999999999999999\n", &["line 1", "`seed`"]),
        ("preset = \"big\"\n", &["line 1", "no preset `big`", "mnist-small"]),
        ("preset = 1\n", &["line 1", "`preset`", "TOML integer"]),
        ("seed = 1\nseed = 2\n", &["line 2", "duplicate"]),
        ("seed = \n", &["line 1"]),
        ("[chain\n", &["line 1"]),
    ] {
        let error = from_toml(text).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{text}: {error:?}");
        assert_says(&error, words);
    }
    let error = Recipe::from_toml_file("no/such.toml", small()).unwrap_err();
    assert_says(&error, &["could not read no/such.toml"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.toml");
    std::fs::write(&path, b"# \xe9").unwrap();
    assert_says(&Recipe::from_toml_file(&path, small()).unwrap_err(), &["latin1.toml", "UTF-8"]);
}

#[test]
fn validate_names_each_impossible_value() {
    type Spoil = fn(&mut Recipe);
    let cases: &[(&str, Spoil)] = &[
        ("preset", |c| c.preset = "big".into()),
        ("train.epochs", |c| c.train.epochs = 0),
        ("train.batch", |c| c.train.batch = 0),
        ("train.batch", |c| c.train.batch = 8193), // more than the buffer holds
        ("train.batch", |c| (c.train.batch, c.replay.capacity) = (1_048_577, 1 << 24)),
        ("train.steps", |c| c.train.steps = u64::MAX),
        ("data.noise", |c| c.data.noise = -1e-9),
        ("chain.steps", |c| c.chain.steps = 0),
        ("chain.steps", |c| c.chain.steps = 1_000_001),
        ("chain.step_size", |c| c.chain.step_size = 0.0),
        ("chain.step_size", |c| c.chain.step_size = f64::NAN),
        ("chain.noise", |c| c.chain.noise = f64::INFINITY),
        ("chain.gradient_clip", |c| c.chain.gradient_clip = -0.03),
        ("replay.capacity", |c| c.replay.capacity = 0),
        ("replay.capacity", |c| c.replay.capacity = usize::MAX),
        ("replay.fresh", |c| c.replay.fresh = -0.01),
        ("replay.fresh", |c| c.replay.fresh = 1.01),
        ("replay.initial", |c| c.replay.initial = 0),
        ("replay.initial", |c| c.replay.initial = 8193),
        ("loss.energy_l2", |c| c.loss.energy_l2 = -0.1),
        ("adam.learning_rate", |c| c.adam.learning_rate = 0.0),
        ("adam.learning_rate", |c| c.adam.learning_rate = 1e-300), // 0 as f32
        ("adam.beta1", |c| c.adam.beta1 = 1.0),
        ("adam.beta2", |c| c.adam.beta2 = -0.1),
        ("adam.beta2", |c| c.adam.beta2 = 0.99999999999), // 1 as f32
        ("adam.epsilon", |c| c.adam.epsilon = 0.0),
        ("chain.course", |c| {
            (c.chain.course, c.chain.noise, c.chain.noise_end) = (Interpolation::Geometric, 0.0, 0.1)
        }),
        ("adam.gradient_norm_clip", |c| c.adam.gradient_norm_clip = f64::NAN),
        ("score.sigma_max", |c| (c.score.levels, c.score.sigma, c.score.sigma_max) = (2, 0.5, 0.5)),
        ("score.sigma", |c| c.score.sigma = f64::NAN),
        ("score.from_noise", |c| (c.score.levels, c.score.sigma_max, c.score.from_noise) = (5, 2.0, 0.4)),
        ("score.from_noise", |c| (c.score.target, c.score.from_noise) = (ScoreTarget::Velocity, 0.4)),
        ("score.from_noise", |c| c.score.from_noise = 1.5),
        ("loss.smoothness", |c| (c.objective, c.loss.smoothness) = (Objective::ScoreMatching, 0.1)),
        ("augment.probability", |c| {
            (c.objective, c.augment.probability) = (Objective::DenoisingScoreMatching, 0.5)
        }),
        ("guard.tries", |c| c.guard.tries = 1001),
        ("guard.snapshot_every", |c| c.guard.snapshot_every = 0),
        ("guard.energy_range", |c| c.guard.energy_range = 1.5),
        ("guard.gradient_range", |c| c.guard.gradient_range = f64::NAN),
        ("guard.learning_rate_factor", |c| c.guard.learning_rate_factor = 0.0),
        ("sample.count", |c| c.sample.count = 0),
        ("sample.steps", |c| c.sample.steps = 0),
        ("sample.step_size", |c| c.sample.step_size = -20.0),
        ("sample.noise", |c| c.sample.noise = -1.0),
    ];
    for (key, spoil) in cases {
        let mut c = small();
        spoil(&mut c);
        match c.validate().unwrap_err() {
            Error::Setting { key: found, .. } => assert_eq!(found, *key),
            other => panic!("{key}: {other:?}"),
        }
    }
}

#[test]
fn round_trips_are_exact() {
    let mut c = small();
    c.seed = u64::MAX;
    c.adam.learning_rate = 0.1 + 0.2;
    c.adam.epsilon = f64::from_bits(0x3E7A_D7F2_9ABC_AF49); // next to 1e-7
    c.loss.energy_l2 = 1.0 / 3.0;
    c.chain.step_size = 1e6 - 1e-9;
    c.validate().unwrap();
    assert_eq!(serde_json::from_str::<Recipe>(&serde_json::to_string(&c).unwrap()).unwrap(), c);
    assert_eq!(serde_json::from_value::<Recipe>(serde_json::to_value(&c).unwrap()).unwrap(), c);
    assert_eq!(from_toml(&c.to_toml()).unwrap(), c);
    assert_eq!(from_toml(&small().to_toml()).unwrap(), small());

    // Needs serde_json's `float_roundtrip`: without it some of these come back one bit off.
    let mut bits = 0x9E37_79B9_7F4A_7C15u64;
    for _ in 0..10_000 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        c.loss.energy_l2 = (bits >> 11) as f64 / (1u64 << 53) as f64;
        let back: Recipe = serde_json::from_str(&serde_json::to_string(&c).unwrap()).unwrap();
        assert_eq!(back.loss.energy_l2.to_bits(), c.loss.energy_l2.to_bits());
    }
}

#[test]
fn json_of_other_versions() {
    let older: Recipe = serde_json::from_str(r#"{"preset": "mnist-small", "chain": {"steps": 60}}"#).unwrap();
    let mut expected = small();
    expected.chain.steps = 60;
    assert_eq!(older, expected);
    for unknown in [r#"{"chain": {"stpes": 60}}"#, r#"{"chian": {}}"#] {
        assert!(serde_json::from_str::<Recipe>(unknown).is_err());
    }
}

#[test]
fn effective_configuration_is_readable() {
    let toml = small().to_toml();
    assert!(
        toml.starts_with("preset = \"mnist-small\"\nobjective = \"replay\"\nseed = 0\n\n[train]\n"),
        "{toml}"
    );
    println!("{toml}");
}
