//! Every example runs, with small settings, and does what it says. `cargo test` builds them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The output of an example that succeeds.
fn works(name: &str, folder: &Path, arguments: &[&str]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_thalweg")).with_file_name("examples").join(name);
    assert!(program.exists(), "no {}: build it with `cargo build --release --examples`", program.display());
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {arguments:?}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// The number that follows `words`.
fn number(text: &str, words: &str) -> f64 {
    let after = text.split_once(words).unwrap_or_else(|| panic!("no `{words}` in `{text}`")).1;
    let end = after.trim_start().split([' ', ',', '\n']).next().unwrap_or_default();
    end.parse().unwrap_or_else(|_| panic!("no number after `{words}` in `{text}`"))
}

fn is_png(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG") && bytes.len() > 1000)
}

#[test]
fn train_and_sample() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let settings =
        ["train.steps=20", "train.batch=16", "chain.steps=3", "replay.capacity=64", "replay.initial=32"];
    let text = works("train", at, &[&["run"][..], &settings].concat());
    assert!(text.contains("step   20: E real") && text.contains("20 steps on"), "{text}");
    let rows = fs::read_to_string(at.join("run/metrics.csv")).unwrap();
    assert_eq!(rows.lines().count(), 21);
    // A finished run has nothing left to do.
    let again = works("train", at, &["run"]);
    assert!(!again.contains("E real") && again.contains("20 steps on"), "{again}");
    assert_eq!(fs::read_to_string(at.join("run/metrics.csv")).unwrap(), rows);

    let text = works("sample", at, &["run/checkpoint.safetensors", "grid.png"]);
    assert!(text.contains("16 samples on") && is_png(&at.join("grid.png")), "{text}");
}

#[test]
fn models_are_composed_and_complete_images() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let text = works("compose", at, &["models", "both.png", "2", "18"]);
    assert!(number(&text, "all digits         ink") > 50.0 && is_png(&at.join("both.png")), "{text}");
    let text = works("posterior", at, &["models/thick/checkpoint.safetensors", "4"]);
    assert!(number(&text, "whole digits") == 1.0 && text.contains("mean of draws"), "{text}");
}

#[test]
fn custom_network_learns_and_is_sampled_by_a_custom_sampler() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let text = works("custom_network", at, &["60", "mine.safetensors"]);
    assert_eq!(number(&text, "after"), 60.0, "{text}");
    assert!(number(&text, "of data") < number(&text, "of the square"), "{text}");
    let text = works("custom_sampler", at, &["mine.safetensors", "32", "20"]);
    assert!(number(&text, "accepted") > 50.0, "{text}");
}

#[test]
fn custom_sampler_has_the_density_of_a_gaussian() {
    let folder = TempDir::new().unwrap();
    let text = works("custom_sampler", folder.path(), &["analytic:gaussian", "500", "50", "0.2"]);
    assert!(number(&text, "accepted") > 90.0, "{text}");
    // |x|^2 / 2 of two coordinates is 1 in the mean, with a standard error of 1 / sqrt(500).
    assert!((number(&text, "mean energy") - 1.0).abs() < 0.25, "{text}");
}

#[test]
fn custom_energy_has_its_density() {
    let folder = TempDir::new().unwrap();
    let text = works("custom_energy", folder.path(), &[]);
    // The density of the radius is r exp(-(r - 2)^2 / (2 0.3^2)): mean 2 + 0.3^2 / 2, and a mean energy of about 1/2.
    assert!((number(&text, "mean radius") - 2.045).abs() < 0.06, "{text}");
    assert!((number(&text, "mean energy") - 0.5).abs() < 0.15, "{text}");
    assert!(number(&text, "accepted") > 50.0, "{text}");
}

#[test]
fn landscape_draws() {
    let folder = TempDir::new().unwrap();
    let text = works("landscape", folder.path(), &["analytic:double-well", "map.png"]);
    assert!(text.contains("500 samples on") && is_png(&folder.path().join("map.png")), "{text}");
}

#[test]
fn custom_kernel_descends_the_same_on_both_devices() {
    let folder = TempDir::new().unwrap();
    // The first adapter: a software one, where there is no GPU.
    let text = works("custom_kernel", folder.path(), &["0"]);
    let runs: Vec<_> = text.split("No parting in 2 launches").collect();
    assert_eq!(runs.len(), 3, "{text}");
    let [on_cpu, on_gpu] = [runs[0], runs[1]].map(|run| number(run, "50 steps: mean energy"));
    assert!(number(runs[0], "0 steps: mean energy") > 1.0 && on_cpu < 0.1, "{text}");
    assert!((on_cpu - on_gpu).abs() < 1e-3 && runs[0].contains("CPU") && !runs[1].contains("CPU"), "{text}");
}
