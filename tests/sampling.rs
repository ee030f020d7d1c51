//! `sample`, `energy` and `evaluate` as their users run them: what is said of chains that failed, what is written, and what
//! is taken where nothing is named.

use crate::common::{idx, network_toml, run, tensors_file, texts};
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;
use thalweg::data::{Dataset, Images, Shape, npy, write_npy};
use thalweg::picture::film;
use thalweg::plan::ChainConfig;
use thalweg::sampling::{denoised, noise_level};
use thalweg::{Device, EnergyModel, Model, Recipe, Sampler};

/// Exit code, stdout and stderr.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let (stdout, stderr) = texts(output);
    (output.status.code(), stdout, stderr)
}

/// Stdout of a command that works, and says nothing on stderr.
fn works(folder: &Path, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = told(&run(folder, arguments));
    assert!(code == Some(0) && stderr.is_empty(), "{arguments:?}: {code:?}\n{stdout}\n{stderr}");
    stdout
}

/// Stdout and stderr of a command that ends with this code.
fn ends(folder: &Path, code: i32, arguments: &[&str], facts: &[&str]) -> String {
    let (found, stdout, stderr) = told(&run(folder, arguments));
    let missing: Vec<_> = facts.iter().filter(|fact| !stderr.contains(**fact)).collect();
    assert!(
        found == Some(code) && missing.is_empty() && !stderr.contains("panicked"),
        "{arguments:?}: {found:?}, lacks {missing:?}\n{stdout}\n{stderr}"
    );
    stdout
}

const GAUSSIAN: [&str; 4] = ["sample", "--network=analytic:gaussian", "--device=cpu", "--count=50"];

#[test]
fn chains_that_diverge_fail_when_all_is_written() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let diverges = ["--form=theory", "--step-size=1e6", "--steps=200", "--npy=o.npy", "--energies=e.csv"];
    let advice = ["50 of 50 chains", "not finite", "lower --step-size", "--clamp"];
    let stdout = ends(folder, 2, &[&GAUSSIAN[..], &diverges].concat(), &advice);
    for name in ["landscape.png", "o.npy", "e.csv"] {
        assert!(folder.join(name).exists() && stdout.contains(&format!("Wrote {name}")), "{name}: {stdout}");
    }
    // Noise alone carries them off, and a start that has no energy.
    let noise = ["--form=noise-last", "--step-size=1e6", "--noise=1", "--steps=90", "--gradient-clip=0"];
    ends(
        folder,
        2,
        &[&GAUSSIAN[..], &noise].concat(),
        &["50 of 50 chains", "--step-size", "--gradient-clip"],
    );
    let far: Vec<f32> = (0..100).map(|i| if i < 2 { 1e30 } else { 0.1 * (i % 7) as f32 }).collect();
    npy::write_f32(folder.join("far.npy"), &[50, 2], &far).unwrap();
    let from_far = ["--form=theory", "--steps=5", "--init=far.npy"];
    // One of fifty is warned of.
    let warned = ["Warning: 1 of 50 chains", "where they started", "--init"];
    let stdout = ends(folder, 0, &[&GAUSSIAN[..], &from_far].concat(), &warned);
    let mean = stdout.lines().find(|line| line.starts_with("energy: mean")).unwrap();
    assert!(!mean.contains("NaN") && !mean.contains("inf"), "the others' mean: {mean}");
    // Those that settle are no cause for words.
    works(folder, &[&GAUSSIAN[..], &["--form=theory", "--steps=50"]].concat());
}

#[test]
fn malas_chains_that_never_moved_are_counted() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let wells = ["sample", "--network=analytic:double-well", "--device=cpu", "--count=4000", "--steps=300"];
    let facts = ["never moved", "no draws of the density", "Lower --step-size (it is 0.5; try 0.125)"];
    let stdout = ends(folder, 2, &[&wells[..], &["--step-size=0.5", "--npy=w.npy"]].concat(), &facts);
    let line = stdout.lines().find(|line| line.contains("of the chains never moved")).unwrap();
    let share: f64 = line.split("; ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((10.0..25.0).contains(&share), "{line}");
    // It is those that are too far out: 1.7 % of the density lie beyond 1.4.
    let values: Vec<f32> = thalweg::data::read_points(folder.join("w.npy")).unwrap().values;
    let out = values.chunks_exact(2).filter(|p| p[0].abs() > 1.4).count() as f64 / 4000.0;
    assert!(out > 0.1, "{out}");
    let stdout = works(folder, &wells);
    assert!(stdout.contains("; 0.0 % of the chains never moved."), "{stdout}");
    // A few proposals tell nothing.
    let few = [&wells[..4], &["--steps=3", "--step-size=0.5"]].concat();
    let (code, ..) = told(&run(folder, &few));
    assert_eq!(code, Some(0));
}

#[test]
fn each_chains_accepted_proposals_are_counted() {
    let (model, recipe) = Model::analytic("analytic:double-well").unwrap();
    let chain_config = ChainConfig { step_size: 0.5, ..recipe.sampling_chain() };
    pollster::block_on(async {
        let mut sampler = Sampler::new(&Device::cpu(), &model, 300, &chain_config, 1).await.unwrap();
        let starts = sampler.images().await.unwrap();
        assert_eq!(sampler.accepted().await.unwrap().unwrap(), [0; 300]);
        sampler.run(40).unwrap();
        let accepted = sampler.accepted().await.unwrap().unwrap();
        let ends = sampler.images().await.unwrap();
        let moved = |i: usize| ends.image(i) != starts.image(i);
        assert!((0..300).all(|i| moved(i) == (accepted[i] > 0)), "who moved has accepted something");
        assert!(accepted.contains(&0) && accepted.iter().any(|n| *n > 10), "{accepted:?}");
        let mean = accepted.iter().map(|n| f64::from(*n)).sum::<f64>() / 300.0 / 40.0;
        assert!((sampler.acceptance().await.unwrap().unwrap() - mean).abs() < 1e-12);
        let theory = ChainConfig { form: thalweg::kernels::dynamics::Form::Theory, ..chain_config };
        let sampler = Sampler::new(&Device::cpu(), &model, 3, &theory, 1).await.unwrap();
        assert!(sampler.accepted().await.unwrap().is_none());
    });
}

#[test]
fn samples_that_say_nothing_are_warned_of() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let cases: [(&[&str], &str); 5] = [
        (&["--form=noise-last", "--noise=0", "--steps=300"], "all samples are the same"),
        (&["--form=theory", "--clamp=0.01", "--step-size=2"], "every value at +-0.01"),
        (&["--form=annealed", "--noise=1", "--steps=9"], "was not trained for any"),
        (&["--form=theory", "--trajectory=t.png", "--step-sizes=0.1,1e6"], "step size 1000000"),
        (&["--form=mala", "--step-size=50", "--steps=5"], "never moved"),
    ];
    for (options, fact) in cases {
        ends(folder, 0, &[&GAUSSIAN[..], options].concat(), &["Warning: ", fact]);
    }
    let all = ["--form=theory", "--trajectory=t.png", "--step-sizes=1e6"];
    ends(folder, 2, &[&GAUSSIAN[..], &all].concat(), &["--trajectory", "not finite"]);
}

#[test]
fn energies_that_are_not_finite_fail_when_all_is_written() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fs::write(folder.join("far.csv"), "1e30,0\n2e30,1e20\n1,1\n").unwrap();
    let energy = ["energy", "--network=analytic:gaussian", "--device=cpu", "--input=far.csv", "--out=e.csv"];
    let stdout = ends(folder, 2, &energy, &["2 of 3 energies", "not finite", "2e30"]);
    assert!(stdout.contains("mean 2.5") && stdout.contains("Wrote e.csv"), "{stdout}");
    assert_eq!(fs::read_to_string(folder.join("e.csv")).unwrap(), "index,energy\n0,inf\n1,inf\n2,2.5\n");
    let many: String = (0..99).map(|i| format!("{},1\n", i % 3)).collect();
    fs::write(folder.join("far.csv"), many + "1e30,1\n").unwrap();
    ends(folder, 0, &energy, &["Warning: 1 of 100 energies"]);
}

#[test]
fn energies_are_written_and_pictures_not_replaced() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let base = [&GAUSSIAN[..], &["--steps=20", "--npy=s.npy"]].concat();
    for (n, name) in ["landscape.png", "landscape-1.png", "landscape-2.png"].into_iter().enumerate() {
        fs::write(folder.join("grid.png"), "not to be touched").unwrap();
        let stdout = works(folder, &[&base[..], &["--energies=e.npy", &format!("--seed={n}")]].concat());
        assert!(stdout.contains(&format!("Wrote {name}")) && stdout.contains("Wrote e.npy: 50 energies"));
        assert!(stdout.contains("mala: step size 0.25, temperature 1, clip none, clamp none"), "{stdout}");
    }
    assert_eq!(fs::read(folder.join("grid.png")).unwrap(), b"not to be touched");
    let points = thalweg::data::read_points(folder.join("s.npy")).unwrap();
    let (model, _) = Model::analytic("analytic:gaussian").unwrap();
    let energies = pollster::block_on(async {
        EnergyModel::new(&Device::cpu(), &model).await.unwrap().energies(&points).await.unwrap()
    });
    works(
        folder,
        &["energy", "--network=analytic:gaussian", "--input=s.npy", "--out=again.npy", "--device=cpu"],
    );
    let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
    assert_eq!(bytes("e.npy"), bytes("again.npy"));
    works(folder, &[&base[..], &["--seed=2", "--energies=e.csv"]].concat());
    let csv = fs::read_to_string(folder.join("e.csv")).unwrap();
    let column = csv.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse::<f32>().unwrap());
    assert!(csv.starts_with("index,energy\n") && column.eq(energies));
}

/// A tiny model of noise levels, as `train` leaves it.
fn train_levels(folder: &Path) {
    let layers = "{ conv = 4, kernel = 5, stride = 4, activation = \"swish\" }, { dense = 1 }";
    fs::write(folder.join("net.toml"), network_toml("[1, 28, 28]", layers)).unwrap();
    let arguments = ["train", "--config=net.toml", "--steps=3", "--device=cpu", "--set=train.batch=8"];
    let sampling = ["--set=sample.count=2", "--set=sample.steps=4", "--set=sample.stay=2"];
    let (code, _, stderr) = told(&run(folder, &[&arguments[..], &sampling].concat()));
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn the_model_of_run_and_built_in_sets_are_taken_by_name() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    train_levels(folder);
    let default = "Model: run/checkpoint.safetensors, the default";
    let cpu = "--device=cpu";
    let stdout = works(folder, &["energy", "--input=digits", "--out=e.npy", cpu]);
    assert!(
        stdout.contains(default) && stdout.contains("1000 images of 1x28x28 from digits (the 1000 held out)")
    );
    let held_out = Dataset::open("digits").unwrap().held_out;
    write_npy(folder.join("held-out.npy"), &held_out).unwrap();
    works(folder, &["energy", "--input=held-out.npy", "--out=own.npy", cpu]);
    assert_eq!(fs::read(folder.join("e.npy")).unwrap(), fs::read(folder.join("own.npy")).unwrap());
    let stdout = works(folder, &["sample", "--init=digits", "--count=3", "--steps=0", "--npy=s.npy", cpu]);
    assert!(stdout.contains(default) && stdout.contains("from digits"), "{stdout}");
    assert_eq!(
        thalweg::data::read_images(folder.join("s.npy")).unwrap().values,
        held_out.values[..3 * 784].to_vec()
    );
    ends(folder, 2, &["energy", "--input=rings", cpu], &["--input rings", "2x1x1", "1x28x28"]);
    works(folder, &["energy", "--network=analytic:gaussian", "--input=rings", cpu]);
    assert!(works(folder, &["plot", cpu]).contains(default));

    // What noise levels it was trained for is known.
    ends(folder, 0, &["sample", "--count=2", "--noise=0.3", cpu], &["Warning: ", "end at noise level 0.5"]);
    ends(folder, 0, &["sample", "--count=2", "--noise=9", cpu], &["Warning: ", "from 0.25 to 5"]);
    ends(folder, 0, &["sample", "--count=2", "--form=theory", cpu], &["Warning: ", "no density of images"]);
    let level = ["evaluate", "--ais", "--temperature=1e-3", cpu];
    ends(folder, 2, &level, &["--temperature 0.001", "from 0.25 to 5", "score.sigma_max"]);
}

#[test]
fn a_film_of_annealed_chains_shows_what_they_blur() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    train_levels(folder);
    works(folder, &["sample", "--count=3", "--steps=60", "--film=f.png", "--seed=4", "--device=cpu"]);
    let (model, recipe) = Model::load_with_recipe(
        folder.join("run/checkpoint.safetensors"),
        None,
        thalweg::checkpoint::Weights::Average,
    )
    .unwrap();
    let mut recipe: Recipe = recipe;
    (recipe.sample.steps, recipe.sample.stay) = (40, 20); // as the recipe shares 60 steps
    let chain_config = recipe.sampling_chain();
    assert!((noise_level(&chain_config, 0).unwrap() - 5.0).abs() < 1e-5);
    assert!((noise_level(&chain_config, 39).unwrap() - 0.5).abs() < 1e-5);
    assert_eq!(noise_level(&ChainConfig::default(), 3), None);
    let staying = ChainConfig { noise_end: 0.0, ..chain_config };
    assert_eq!(noise_level(&staying, 9), Some(5.0));
    pollster::block_on(async {
        let device = Device::cpu();
        let mut energies = EnergyModel::new(&device, &model).await.unwrap();
        let mut sampler = Sampler::new(&device, &model, 3, &chain_config, 4).await.unwrap();
        let mut frames = Vec::new();
        for step in [0, 7, 15, 22, 30, 37, 44, 52] {
            sampler.run(step - sampler.steps()).unwrap();
            let sigma = 5.0 * (f64::from(step.min(39)) / 39.0 * 0.1_f64.ln()).exp();
            let images = sampler.images().await.unwrap();
            let images = denoised(&mut energies, images, &chain_config, sigma as f32).await.unwrap();
            frames.push((format!("sigma {sigma:.2}"), images));
        }
        sampler.run(59 - sampler.steps()).unwrap();
        let at_last = sampler.images().await.unwrap();
        let clean = denoised(&mut energies, at_last, &chain_config, 0.5).await.unwrap();
        sampler.run(1).unwrap();
        let samples = sampler.images().await.unwrap();
        // The last step is the denoising of the last level.
        let error = clean.values.iter().zip(&samples.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error < 1e-4, "{error}");
        frames.push(("sample".to_owned(), samples));
        let titles: Vec<_> =
            sampler.energies().await.unwrap().iter().map(|e| format!("E = {e:.4}")).collect();
        let drawn = image::open(folder.join("f.png")).unwrap().into_rgb8();
        assert!(drawn == film(&frames, &titles), "another film");
    });
}

/// Log Z of a report, with the standard error: of the lower and the upper bound.
fn bounds(folder: &Path) -> [[f64; 2]; 2] {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("f.json")).unwrap()).unwrap();
    ["log_z_lower", "log_z_upper"].map(|key| {
        let estimate = &json["annealed"][key];
        ["log_z", "standard_error"].map(|key| estimate[key].as_f64().unwrap())
    })
}

fn check_bounds(folder: &Path, want: f64) {
    let [lower, upper] = bounds(folder);
    for [log_z, error] in [lower, upper] {
        assert!((log_z - want).abs() < 5.0 * error + 0.01, "{log_z} +- {error}, not {want}");
    }
    assert!(lower[0] - 4.0 * lower[1] <= want && want <= upper[0] + 4.0 * upper[1] + 0.01);
}

#[test]
fn log_z_of_points_lies_between_its_bounds() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let ais = ["--ais", "--ais-steps=300", "--ais-chains=200", "--json=f.json", "--device=cpu"];
    let evaluate = |options: &[&str]| works(folder, &[&["evaluate"], options, &ais[..]].concat());
    // exp(-(x^2 + 4 y^2) / 2).
    let stdout = evaluate(&["--network=analytic:gaussian"]);
    check_bounds(folder, std::f64::consts::PI.ln());
    assert!(stdout.contains("against no data") && stdout.contains("the model's own samples"), "{stdout}");
    assert!(!stdout.contains("log-likelihood"), "{stdout}");
    // A density already, and a data set of its name.
    let stdout = evaluate(&["--network=analytic:five-gaussians"]);
    check_bounds(folder, 0.0);
    assert!(
        stdout.contains("data of five-gaussians") && stdout.contains("log-likelihood, held out"),
        "{stdout}"
    );
    assert!(stdout.contains("sliced Wasserstein") && stdout.contains("of a mode"), "{stdout}");
    let long = ["--network=analytic:gaussian", "--long-run", "--long-run-chains=9", "--picture=p.png"];
    let stdout = evaluate(&long);
    assert!(stdout.contains("100 x the recipe's") && folder.join("p.png").exists(), "{stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
}

#[test]
fn log_z_of_a_trained_model_is_that_of_quadrature() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let train = [
        "train",
        "--preset=mlp",
        "--steps=60",
        "--set=chain.clamp=4",
        "--set=sample.steps=5",
        "--device=cpu",
    ];
    assert_eq!(run(folder, &train).status.code(), Some(0));
    let ais = ["evaluate", "--ais", "--ais-steps=400", "--ais-chains=200", "--json=f.json", "--device=cpu"];
    let stdout = works(folder, &ais);
    assert!(stdout.contains("data of five-gaussians"), "the set that the preset is for: {stdout}");
    // The midpoint rule on the box that chains are clamped to.
    let n = 400;
    let at = |i: usize| 8.0 * (i as f32 + 0.5) / n as f32 - 4.0;
    let values: Vec<f32> = (0..n * n).flat_map(|k| [at(k / n), at(k % n)]).collect();
    let model = Model::load(folder.join("run/checkpoint.safetensors"), None).unwrap();
    let grid = Images { shape: Shape { channels: 2, height: 1, width: 1 }, values };
    let energies = pollster::block_on(async {
        EnergyModel::new(&Device::cpu(), &model).await.unwrap().energies(&grid).await.unwrap()
    });
    let cell = (8.0 / n as f64).powi(2);
    check_bounds(folder, (energies.iter().map(|e| (-f64::from(*e)).exp()).sum::<f64>() * cell).ln());

    // Other points, which the model tells from its own; and what it can't be held against.
    fs::write(folder.join("far.csv"), "3.9,3.9\n3.8,-3.9\n").unwrap();
    let stdout = works(folder, &["evaluate", "--ood=far.csv", "--ood=rings", "--device=cpu"]);
    assert!(stdout.contains("far.csv") && stdout.contains("rings") && stdout.contains("AUROC"), "{stdout}");
    ends(folder, 2, &["evaluate", "--data=digits", "--device=cpu"], &["digits", "2x1x1"]);
    npy::write_f32(folder.join("wide.npy"), &[9, 3], &[0.5; 27]).unwrap();
    ends(folder, 2, &["evaluate", "--data=wide.npy", "--device=cpu"], &["wide.npy", "3x1x1", "2x1x1"]);
}

#[test]
fn few_images_are_given_as_the_reason_of_nan() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    train_levels(folder);
    let digits = Dataset::open("digits").unwrap().train;
    write_npy(folder.join("few.npy"), &digits.pick(0..12)).unwrap();
    let evaluate = ["evaluate", "--data=few.npy", "--json=f.json", "--device=cpu"];
    let stdout = works(folder, &evaluate);
    assert!(stdout.contains("NaN") && stdout.contains("at least 2 images") && stdout.contains("there are 1"));
    assert!(stdout.contains("mostly chance"), "{stdout}");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("f.json")).unwrap()).unwrap();
    assert!(json["samples"]["sets"][2]["distances"]["fid"].is_null(), "{json}");
    // Pictures of one row are pictures.
    let rows: Vec<u8> = (0..40 * 28).map(|i| (i * 7 % 256) as u8).collect();
    fs::write(folder.join("rows.idx"), idx(0x803, &[40, 1, 28], &rows)).unwrap();
    let stdout = works(folder, &["evaluate", "--data=rows.idx", "--device=cpu"]);
    assert!(
        stdout.contains("held-out data of rows.idx") && stdout.contains("samples from noise"),
        "{stdout}"
    );
}

/// A network whose weights are so large that its energies are no numbers.
#[test]
fn samples_that_diverge_fail_evaluate_and_plot() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let layers = "{ dense = 4, activation = \"swish\" }, { dense = 1 }";
    fs::write(folder.join("net.toml"), network_toml("[2, 1, 1]", layers)).unwrap();
    let tensors: [(&str, &[usize]); 4] = [
        ("dense1.weight", &[4, 2]),
        ("dense1.bias", &[4]),
        ("dense2.weight", &[1, 4]),
        ("dense2.bias", &[1]),
    ];
    let huge = tensors.map(|(name, shape)| (name, shape, vec![1e30; shape.iter().product()]));
    fs::write(folder.join("m.safetensors"), tensors_file(huge)).unwrap();
    let model = ["--model=m.safetensors", "--network=net.toml", "--device=cpu"];
    let facts = ["not finite", "step_size"];
    let stdout = ends(folder, 2, &[&["plot"], &model[..]].concat(), &facts);
    assert!(stdout.contains("landscape.png") && stdout.contains("histograms.png"), "{stdout}");
    let sample = [
        "sample",
        "--count=4",
        "--steps=3",
        "--npy=s.npy",
        "--form=theory",
        "--clamp=0",
        "--gradient-clip=0",
    ];
    ends(folder, 2, &[&sample[..], &model].concat(), &["4 of 4 chains", "not finite", "--step-size"]);
    assert!(folder.join("s.npy").exists());
    let long = ["evaluate", "--long-run", "--long-run-chains=4", "--json=f.json", "--picture=l.png"];
    let stdout = ends(folder, 2, &[&long, &model[..]].concat(), &facts);
    assert!(stdout.contains("Wrote f.json") && folder.join("l.png").exists(), "{stdout}");
}

#[test]
fn annealed_chains_stay_at_the_last_level() {
    let chain_config = ChainConfig {
        form: thalweg::kernels::dynamics::Form::Annealed,
        noise: 4.0,
        step_size_end: 0.1,
        noise_end: 1.0,
        interpolation: thalweg::kernels::dynamics::Interpolation::Geometric,
        levels: 3,
        ..ChainConfig::default()
    };
    let levels = [0, 1, 2, 3, 99].map(|step| noise_level(&chain_config, step).unwrap());
    for (found, want) in levels.into_iter().zip([4.0, 2.0, 1.0, 1.0, 1.0]) {
        assert!((found - want).abs() < 1e-6, "{levels:?}");
    }
}
