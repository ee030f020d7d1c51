//! The commands of the README and of the guide run, top to bottom, on what a clone holds; links lead somewhere; the documented
//! PyTorch code loads what `export` writes.
//!
//! Everything runs in temporary folders on the CPU. What takes long is scaled down by options at the end of a command.

use crate::common::{run, works};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use thalweg::checkpoint::Weights;
use thalweg::checkpoint::{TensorData, load_tensors};
use thalweg::data::{Dataset, Images, npy};
use thalweg::{Device, EnergyModel, Model};

const README: &str = include_str!("../README.md");
const GUIDE: &str = include_str!("../docs/guide.md");

/// The blocks of code of a language in a Markdown text.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    text.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The commands of a block: lines without comments.
fn commands(block: &str) -> Vec<Vec<&str>> {
    block
        .lines()
        .map(|line| line.split_once(" #").map_or(line, |(command, _)| command))
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// What is said of one of our own commands, without the program.
fn own<'a>(words: &'a [&'a str]) -> Option<&'a [&'a str]> {
    words.strip_prefix(&["cargo", "run", "--release", "--"]).or_else(|| words.strip_prefix(&["thalweg"]))
}

/// Options that make a command quick, where it does not give them itself.
fn quick(words: &[&str]) -> Vec<&'static str> {
    let has = |option: &str| words.contains(&option);
    let mut more: Vec<(&str, &str)> = match words[0] {
        "train" => vec![("--steps", "60"), ("--device", "cpu")],
        "sample" => vec![("--count", "8"), ("--steps", "20"), ("--device", "cpu")],
        "energy" | "plot" => vec![("--device", "cpu")],
        "evaluate" => vec![("--count", "16"), ("--device", "cpu")],
        "devices" | "export" => Vec::new(),
        other => panic!("the README has a new command, {other}: say here how it is scaled down"),
    };
    if words == ["train"] {
        more.push(("--set", "pool.levels=20")); // for chains of the pool to come to the last one
    }
    if has("--ais") {
        more.extend([("--ais-steps", "20"), ("--ais-chains", "4")]);
    }
    if has("--long-run") {
        more.push(("--long-run-chains", "4"));
    }
    let mut more: Vec<_> = more
        .into_iter()
        .filter(|(option, _)| !has(option))
        .flat_map(|(option, value)| [option, value])
        .collect();
    if words[0] == "train" {
        // Few and short chains, also for the evaluation of the model.
        more.extend(["--set", "sample.steps=10", "--set", "sample.count=16"]);
    }
    more
}

/// Runs every command of a text in one folder; returns which they were, and the folder.
fn every_command_runs(text: &str) -> (BTreeSet<String>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (mut ran, mut is_installed) = (BTreeSet::new(), false);
    for words in blocks(text, "sh").into_iter().flat_map(commands) {
        let Some(ours) = own(&words) else {
            // What a test cannot do: install, or run itself.
            assert!(words == ["./test.sh"] || words.starts_with(&["cargo", "install"]), "{words:?}");
            is_installed |= words[1..].first() == Some(&"install");
            continue;
        };
        assert!(is_installed || words[0] == "cargo", "`{}` stands before `cargo install`", words.join(" "));
        works(folder.path(), &[ours, &quick(ours)].concat());
        for output in ours.iter().filter(|word| word.contains('.') && !word.contains('=')) {
            let is_number = output.split(',').all(|part| part.parse::<f64>().is_ok());
            let is_there = folder.path().join(output).exists();
            assert!(is_number || is_there, "{words:?}: no {output}");
        }
        ran.insert(ours[0].to_owned());
    }
    (ran, folder)
}

#[test]
fn every_command_of_the_readme_runs() {
    let (ran, folder) = every_command_runs(README);
    for kind in ["train", "sample", "energy", "evaluate", "plot", "export"] {
        assert!(ran.contains(kind), "the README does not show `{kind}`: {ran:?}");
    }
    // Of the first command: what the README says of it.
    for name in [
        "checkpoint.safetensors",
        "metrics.csv",
        "held_out.csv",
        "curves.png",
        "config.toml",
        "samples-0001.png",
    ] {
        assert!(folder.path().join("run").join(name).is_file(), "{name}");
    }
    assert!(README.lines().count() <= 120);
}

#[test]
fn every_command_of_the_guide_runs() {
    let (ran, _) = every_command_runs(GUIDE);
    assert!(ran.contains("devices") && ran.contains("evaluate"), "{ran:?}");
}

/// What a heading's anchor is on the usual hosts.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("CHANGELOG.md")];
    for folder in ["docs", "docs/notes"] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    let (mut n, mut broken) = (0, Vec::new());
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let targets = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for target in targets.filter(|target| !target.starts_with("http")) {
            let (path, part) = target.split_once('#').unwrap_or((target, ""));
            let at = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let has_part = |text: String| text.lines().any(|l| l.starts_with('#') && anchor(l) == part);
            let is_right = at.exists() && (part.is_empty() || fs::read_to_string(&at).is_ok_and(has_part));
            n += 1;
            if !is_right {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(broken.is_empty() && n > 20, "{n} links, broken: {broken:#?}");
}

#[test]
fn the_readme_says_what_has_to_be_there() {
    for fact in ["build-essential", "xcode-select --install", "Build Tools", "rustup"] {
        assert!(README.contains(fact), "{fact}");
    }
    // Crates that its Rust code uses.
    let section = README.split("## Use the library").nth(1).unwrap().split("\n## ").next().unwrap();
    let (code, prose) = (blocks(section, "rust,no_run")[0], section.split("```rust").next().unwrap());
    for name in ["pollster", "serde_json"] {
        assert!(code.contains(&format!("{name}::")) && prose.contains(&format!("`{name}`")), "{name}");
    }
    // The minimum version of Rust is that of the package.
    assert!(README.contains(&format!("Rust {}", env!("CARGO_PKG_RUST_VERSION"))));
}

// ---- export

/// A model of `digits` of three steps, in `run`, whose average is not its last weights.
fn trained() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let quick = ["--steps=3", "--device=cpu", "--set=sample.steps=2", "--set=sample.count=4"];
    works(folder.path(), &[&["train"], &quick[..]].concat());
    folder
}

/// Ten digits, as the network takes them.
fn write_images(path: &Path) -> Images {
    let all = Dataset::open("digits").unwrap().held_out;
    let images = all.pick(0..10);
    npy::write_f32(path, &[10, 1, 28, 28], &images.values).unwrap();
    images
}

#[test]
fn exported_weights_are_those_that_energies_are_of() {
    let folder = trained();
    let at = |name: &str| folder.path().join(name);
    let images = write_images(&at("images.npy"));
    let stdout = works(folder.path(), &["export", "--out=weights.safetensors"]);
    assert!(
        stdout.contains("the moving average of the weights of `digits` after step 3, 312289 numbers"),
        "{stdout}"
    );
    let stdout = works(folder.path(), &["export", "--raw-weights", "--out=raw.safetensors"]);
    assert!(stdout.contains("the weights of `digits` after step 3"), "{stdout}");

    let checkpoint = load_tensors(at("run/checkpoint.safetensors")).unwrap().1;
    let floats = |tensor: &thalweg::checkpoint::Tensor| {
        let TensorData::F32(values) = &tensor.data else { panic!("no floats") };
        values.clone()
    };
    let mut last = Vec::new();
    for (file, weights) in [("weights.safetensors", Weights::Average), ("raw.safetensors", Weights::Raw)] {
        let (header, tensors) = load_tensors(at(file)).unwrap();
        let names: Vec<_> = tensors.keys().map(String::as_str).collect();
        let layers = ["conv1", "conv2", "conv3", "dense1", "dense2"];
        let expected: Vec<_> =
            layers.iter().flat_map(|l| [format!("{l}.bias"), format!("{l}.weight")]).collect();
        assert_eq!(names, expected, "nothing but parameters");
        assert_eq!(tensors["conv2.weight"].shape, [64, 32, 4, 4]);
        assert_eq!(header.unwrap().step, 3);
        if weights == Weights::Raw {
            assert!(tensors.iter().all(|(name, tensor)| floats(tensor) == floats(&checkpoint[name])));
        }
        // Without --network: the same model, with the same recipe.
        let own = Model::load_with_recipe(at(file), None, Weights::Average).unwrap();
        let of_run = Model::load_with_recipe(at("run/checkpoint.safetensors"), None, weights).unwrap();
        assert!(own.0 == of_run.0 && own.1 == of_run.1, "{file} is another model");
        let energies = pollster::block_on(async {
            let mut energies = EnergyModel::new(&Device::cpu(), &own.0).await.unwrap();
            energies.energies(&images).await.unwrap()
        });
        assert_ne!(last, energies, "both sets of weights give the same energies");
        last = energies;
        let model = ["--model", file, "--device=cpu"];
        let sample = ["sample", "--count=4", "--steps=2", "--out=grid.png"];
        works(folder.path(), &[&sample[..], &model].concat());
        works(folder.path(), &[&["energy", "--input=images.npy"], &model[..]].concat());
        works(folder.path(), &[&["evaluate", "--count=4"], &model[..]].concat());
    }
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let folder = trained();
    let at = |name: &str| folder.path().join(name);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mnist-small.safetensors");
    fs::write(at("text.safetensors"), "no tensors at all").unwrap();
    let checkpoint = fs::read(at("run/checkpoint.safetensors")).unwrap();
    for (words, facts) in [
        (&["--out=w.pt"][..], &["--out w.pt", ".safetensors"][..]),
        (&["--out=run/checkpoint.safetensors"], &["--model", "--out", "same file"]),
        (&["--out=nowhere/w.safetensors"], &["nowhere", "does not exist"]),
        (&["--model=none.safetensors", "--out=w.safetensors"], &["none.safetensors"]),
        (&["--model=text.safetensors", "--out=w.safetensors"], &["text.safetensors"]),
        (&["--model", golden, "--out=w.safetensors"], &["mnist-small.safetensors", "no checkpoint"]),
        (&[], &["--out"]),
    ] {
        let output = run(folder.path(), &[&["export"], words].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
        assert!(facts.iter().all(|fact| stderr.contains(fact)), "{words:?}: {stderr}");
        assert!(!at("w.safetensors").exists() && !at("w.pt").exists(), "{words:?}");
    }
    assert!(fs::read(at("run/checkpoint.safetensors")).unwrap() == checkpoint, "the model was changed");
    // No run goes on from weights alone.
    works(folder.path(), &["export", "--out=weights.safetensors"]);
    fs::rename(at("weights.safetensors"), at("run/checkpoint.safetensors")).unwrap();
    let output = run(folder.path(), &["train", "--resume", "--steps=5", "--device=cpu"]);
    assert_eq!(output.status.code(), Some(2));
}

/// `python3`, or what the variable `THALWEG_PYTHON` names.
fn python() -> Command {
    Command::new(std::env::var_os("THALWEG_PYTHON").unwrap_or_else(|| "python3".into()))
}

#[test]
fn the_documented_pytorch_code_gets_the_same_energies() {
    let folder = trained();
    let at = |name: &str| folder.path().join(name);
    write_images(&at("images.npy"));
    works(folder.path(), &["export", "--out=weights.safetensors"]);
    let energy =
        ["energy", "--model=weights.safetensors", "--input=images.npy", "--out=e.csv", "--device=cpu"];
    works(folder.path(), &energy);
    let csv = fs::read_to_string(at("e.csv")).unwrap();
    let ours: Vec<f32> =
        csv.lines().skip(1).map(|row| row.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(ours.len(), 10);

    let code = blocks(GUIDE, "python");
    assert_eq!(code.len(), 1);
    let has_torch = python().args(["-c", "import torch, safetensors, numpy"]).output();
    if !has_torch.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: Python with torch, safetensors and numpy is not installed");
        return;
    }
    let output = python().current_dir(folder.path()).args(["-c", code[0]]).output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    let theirs: Vec<f32> = stdout.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert_eq!(theirs.len(), ours.len(), "{stdout}");
    let scale = ours.iter().fold(0.0_f32, |most, e| most.max(e.abs()));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let ok = (ours - theirs).abs() <= 1e-5 * scale;
        assert!(ok, "{ours} is {theirs} in PyTorch");
    }
}
