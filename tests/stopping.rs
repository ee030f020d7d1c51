//! Runs of images that are stopped, killed or diverge, and go on.

use crate::common::{TINY, folder_of_digits, outcome, run, start, step_of, texts, wait_for_rows, works};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use thalweg::checkpoint::{Checkpoint, TensorData};

#[test]
#[cfg(unix)]
fn ctrl_c_saves_and_the_run_goes_on_bit_for_bit() {
    let folder = folder_of_digits();
    // One epoch of 300 steps of the shipped digits, so that no save but Ctrl-C's comes between.
    let settings = ["--set=train.batch=16", "--set=sample.steps=2", "--device=cpu"];
    let train = [&["train", "--steps=300"], &settings[..]].concat();
    works(folder.path(), &[&train[..], &["--out=straight"]].concat());
    let run = folder.path().join("run");
    let mut running = start(folder.path(), &[&train[..], &["--out=run"]].concat());
    wait_for_rows(&run, 4);
    let id = running.0.id().to_string();
    assert!(Command::new("sh").args(["-c", "kill -INT \"$1\"", "sh", &id]).status().unwrap().success());
    let stdout = BufReader::new(running.0.stdout.take().unwrap());
    let last = stdout.lines().map_while(Result::ok).last().unwrap_or_default();
    assert_eq!(running.0.wait().unwrap().code(), Some(130), "{last}");
    assert!(
        last.contains("Stopped after step") && last.contains("of 300") && last.contains("--resume"),
        "{last}"
    );
    let stopped = step_of(&run);
    assert!(last.contains(&format!("step {stopped} ")) && (4..300).contains(&stopped), "{stopped}: {last}");
    assert_eq!(outcome(&run).1.len() as u64, 1 + stopped);

    let stdout = works(folder.path(), &["train", "--resume", "--out=run", "--device=cpu"]);
    assert!(
        stdout.contains(&format!("Resumed at step {stopped}; {} steps to go", 300 - stopped)),
        "{stdout}"
    );
    assert!(outcome(&run) == outcome(&folder.path().join("straight")), "the resumed run differs");
    let stdout = works(folder.path(), &["train", "--resume", "--out=run", "--device=cpu"]);
    assert!(stdout.contains("All 300 steps are done already"), "{stdout}");
}

#[test]
fn a_killed_run_goes_on_bit_for_bit() {
    let folder = folder_of_digits();
    // 5 steps an epoch: a checkpoint and two pictures every few milliseconds.
    let train = [&["train", "--steps=120"], &TINY[..]].concat();
    let began = Instant::now();
    works(folder.path(), &[&train[..], &["--out=straight"]].concat());
    let whole = began.elapsed();
    let run = folder.path().join("run");
    works(folder.path(), &[&["train", "--steps=1"], &TINY[..]].concat());
    let resume = ["train", "--resume", "--steps=120", "--device=cpu", "--data=digits.idx"];
    let mut random = 12345_u64;
    let mut steps = vec![1];
    for _ in 0..20 {
        let mut running = start(folder.path(), &resume);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(whole.mul_f64((random >> 33) as f64 / (1_u64 << 31) as f64 / 8.0));
        running.0.kill().unwrap(); // SIGKILL
        running.0.wait().unwrap();
        steps.push(step_of(&run));
    }
    assert!(steps.is_sorted(), "{steps:?}");
    assert!(steps.iter().any(|step| (2..120).contains(step)), "no kill came amid the run: {steps:?}");
    works(folder.path(), &resume);
    assert!(outcome(&run) == outcome(&folder.path().join("straight")), "the resumed run differs; {steps:?}");
}

// ---- divergence

/// What is not a step's row or a plain line of progress.
fn told(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = run(folder, arguments);
    let (stdout, stderr) = texts(&output);
    let lines =
        stdout.lines().filter(|line| line.starts_with("At step")).map(|line| format!("{line}\n")).collect();
    (output.status.code(), lines, stderr.lines().filter(|line| line.starts_with("error")).collect())
}

fn is_whole(run: &Path) -> u64 {
    let checkpoint = Checkpoint::load(run.join("checkpoint.safetensors")).unwrap();
    for (name, tensor) in &checkpoint.tensors {
        if let TensorData::F32(values) = &tensor.data {
            assert!(values.iter().all(|v| v.is_finite()), "{name}");
        }
    }
    checkpoint.header.step
}

#[test]
fn a_run_that_diverges_goes_back_and_says_so() {
    let folder = folder_of_digits();
    let (at, run) = (folder.path(), folder.path().join("run"));
    // 1,000 times the recipe's; halved until it does not explode.
    let mut train = vec!["train", "--steps=12", "--set=adam.learning_rate=0.1", "--set=guard.tries=9"];
    train.extend(TINY);
    let (code, lines, errors) = told(at, &train);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{lines}");
    assert!(lines.lines().count() >= 1, "it went back nowhere");
    for (number, line) in (1..).zip(lines.lines()) {
        let factor = 0.1 / f64::powi(2.0, number);
        for part in [format!("a learning rate of {factor:e}"), format!("(try {number} of 9).")] {
            assert!(line.contains(&part), "no `{part}` in `{line}`");
        }
        assert!(line.contains("times its usual") || line.contains("times their usual"), "{line}");
    }
    assert_eq!(is_whole(&run), 12);
    // One row a step, those of the last try.
    let rows = outcome(&run).1;
    assert!(
        rows.iter().skip(1).map(|row| row.split(',').next().unwrap().parse::<u64>().unwrap()).eq(1..=12),
        "{rows:?}"
    );
    // Again, and in two parts: the same.
    let straight = |out: &str, steps: &str| {
        let out = format!("--out={out}");
        let mut train = train.clone();
        (train[1], _) = (steps, train.push(&out));
        told(at, &train.iter().map(|s| &**s).collect::<Vec<_>>())
    };
    assert_eq!(straight("again", "--steps=12").1, lines);
    assert!(outcome(&at.join("again")) == outcome(&run));
    let (_, first, _) = straight("parts", "--steps=2");
    let (_, second, _) =
        told(at, &["train", "--resume", "--steps=12", "--out=parts", "--device=cpu", "--data=digits.idx"]);
    assert_eq!(first + &second, lines);
    assert!(outcome(&at.join("parts")) == outcome(&run));
}

#[test]
fn a_run_that_always_diverges_stops_with_what_to_change() {
    let folder = folder_of_digits();
    let at = folder.path();
    let base = ["train", "--steps=12", "--set=adam.learning_rate=1", "--set=guard.learning_rate_factor=1"];
    let train = |options: &[&str]| told(at, &[&base[..], &TINY, options].concat());
    let (code, lines, error) = train(&["--out=rollback"]);
    assert_eq!((code, lines.lines().count()), (Some(2), 3), "{lines}{error}");
    for part in [
        "after 3 tries. At step ",
        "times the",
        "rollback/checkpoint.safetensors holds step 0",
        "`adam.learning_rate` (it was 1e0)",
        "`--resume`",
    ] {
        assert!(error.contains(part), "no `{part}` in `{error}`");
    }
    assert_eq!(is_whole(&at.join("rollback")), 0);
    assert!(at.join("rollback/curves.png").exists());
    // One try more, and the same end; with other random numbers, so at other figures.
    let resume = ["train", "--resume", "--out=rollback", "--device=cpu", "--data=digits.idx"];
    let (code, lines, again) = told(at, &resume);
    assert_eq!((code, lines.as_str()), (Some(2), ""), "{again}");
    assert!(again.contains("At step ") && again != error, "{again}");

    let (code, lines, error) = train(&["--out=stop", "--on-divergence=stop"]);
    assert_eq!((code, lines.as_str()), (Some(2), ""));
    assert!(
        error.contains("training was stopped. At step ") && error.contains("adam.learning_rate"),
        "{error}"
    );
    assert_eq!(is_whole(&at.join("stop")), 0);

    // Nothing halves the rate there, so that the setting of that would be refused.
    let ignore = [&base[..3], &TINY, &["--out=ignore", "--on-divergence=ignore"]].concat();
    let (code, lines, error) = told(at, &ignore);
    assert_eq!((code, lines.as_str(), error.as_str()), (Some(0), "", ""));
    let (code, _, error) = train(&["--out=typo", "--on-divergence=stopp"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("guard.on_divergence") && error.contains("`stop`"), "{error}");
    // A run goes on by other rules than it began by.
    let (code, _, error) =
        told(at, &[&resume[..3], &["--steps=13", "--on-divergence=ignore"], &resume[3..]].concat());
    assert_eq!((code, error.as_str()), (Some(0), ""));
}

/// A run that is killed before its first save by the clock or an epoch.
#[test]
fn a_run_killed_early_can_be_resumed() {
    let folder = folder_of_digits();
    let run = folder.path().join("run");
    let train = ["train", "--steps=40", "--set=train.batch=16", "--device=cpu"];
    let mut running = start(folder.path(), &train);
    wait_for_rows(&run, 0);
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    assert_eq!(step_of(&run), 0);
    works(folder.path(), &["train", "--resume", "--steps=2", "--device=cpu"]);
    assert_eq!(outcome(&run).1.len(), 3);
}
