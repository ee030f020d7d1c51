//! What a user sees: texts that fit the terminal, how much is printed, and the first screen of a run.

use crate::common::{PROGRAM, command, on_one_line, outcome, rows, texts};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use thalweg::Recipe;
use thalweg::checkpoint::Checkpoint;
use thalweg::recipe::{PRESETS, Setting};

const COMMANDS: [&str; 11] = [
    "train", "sample", "inpaint", "denoise", "energy", "evaluate", "plot", "export", "devices", "bench",
    "compare",
];
const OBJECTIVES: [&str; 6] =
    ["replay", "cd", "pcd", "score-matching", "sliced-score-matching", "denoising-score-matching"];
/// A run that takes no time.
const TINY: [&str; 8] = [
    "train",
    "--preset=mlp",
    "--data=rings:640",
    "--set=chain.steps=2",
    "--set=sample.steps=2",
    "--set=train.batch=64",
    "--device=cpu",
    "--steps=20",
];

/// Runs it; it must succeed. Its stdout and stderr.
fn works(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    (stdout, stderr)
}

/// Lines that are longer than a width, but for those that are a single word, or a command between backticks.
fn too_long(text: &str, width: usize) -> Vec<&str> {
    let is_one_piece = |line: &str| {
        let outside: String = line.split('`').step_by(2).collect();
        !outside.trim().contains(' ')
    };
    text.lines().filter(|line| line.chars().count() > width && !is_one_piece(line)).collect()
}

// ---- help

#[test]
fn help_fits_and_names_what_there_is_to_choose_from() {
    let folder = tempfile::tempdir().unwrap();
    for name in COMMANDS {
        for option in ["-h", "--help"] {
            let (help, _) = works(&mut command(folder.path(), &[name, option]));
            assert_eq!(too_long(&help, 80), Vec::<&str>::new(), "{name} {option}");
            let (help, _) = works(command(folder.path(), &[name, option]).env("COLUMNS", "60"));
            assert_eq!(too_long(&help, 60), Vec::<&str>::new(), "{name} {option}");
            assert!(help.contains("--quiet") && help.contains("--verbose"), "{name}: {help}");
        }
    }
    for words in [&["--help"][..], &["train", "--help"], &["help", "train"]] {
        let (help, _) = works(&mut command(folder.path(), words));
        assert_eq!(too_long(&help, 80), Vec::<&str>::new());
        for name in PRESETS.iter().chain(&OBJECTIVES) {
            let line = help.lines().find(|line| line.split_whitespace().next() == Some(name));
            let says = line.is_some_and(|line| line.split_whitespace().count() > 3);
            assert!(says, "{words:?}: no line of `{name}`\n{help}");
        }
    }
    // Without arguments: the commands, in a screen.
    let output = command(folder.path(), &[]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        COMMANDS.iter().all(|name| stderr.contains(&format!("  {name} "))) && stdout.is_empty(),
        "{stderr}"
    );
    assert!(stderr.lines().count() < 35, "{stderr}");
    let (help, _) = works(&mut command(folder.path(), &["--help"]));
    let help = on_one_line(&help);
    for fact in ["Exit codes", "0 success", "2 an error", "130", "143"] {
        assert!(help.contains(fact), "{fact}: {help}");
    }
}

#[test]
fn settings_are_listed_by_section_with_allowed_values() {
    let folder = tempfile::tempdir().unwrap();
    for (preset, columns) in [("digits", "40"), ("digits", "80"), ("conv-pool", "200"), ("mlp", "")] {
        let mut list = command(folder.path(), &["train", "--preset", preset, "--set=help"]);
        if !columns.is_empty() {
            list.env("COLUMNS", columns);
        }
        let (help, _) = works(&mut list);
        let width = columns.parse().unwrap_or(80).min(100);
        assert_eq!(too_long(&help, width), Vec::<&str>::new());
        let plain = on_one_line(&help);
        let mut section = "";
        for Setting { name: key, value, doc, allowed, .. } in Recipe::preset(preset).unwrap().settings() {
            let line = help.lines().find(|line| line.split(' ').next() == Some(key));
            let line = line.unwrap_or_else(|| panic!("{key}\n{help}"));
            assert_eq!(line.split_whitespace().nth(1), Some(value.as_str()), "{key}");
            let entry = on_one_line(&format!("{key} {value} {doc} [{allowed}]"));
            assert!(plain.contains(&entry), "{entry}\n{help}");
            let own = key.split_once('.').map_or("", |(section, _)| section);
            if own != section {
                assert_eq!(help.matches(&format!("\n[{own}]")).count(), 1, "{own}");
                section = own;
            }
        }
        for fact in [
            "train.batch 64 Number of data images, and of chains, per training step. [a whole number from 1 to 1048576]",
            "[one of noise-first, noise-last, theory, mala, annealed]",
            "[a number from 0 to 1]",
        ] {
            assert!(preset == "mlp" || preset == "conv-pool" || plain.contains(fact), "{fact}\n{help}");
        }
    }
}

#[test]
fn help_names_every_option_and_its_default() {
    let folder = tempfile::tempdir().unwrap();
    for name in COMMANDS {
        let help = works(&mut command(folder.path(), &[name, "--help"])).0;
        // What stands between an option and the next.
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        let mut current = None;
        for line in help.lines().skip_while(|line| *line != "Options:").skip(1) {
            let start = line.trim_start();
            let short = ["-h, ", "-q, ", "-v, "];
            let start = short.iter().find_map(|short| start.strip_prefix(short)).unwrap_or(start);
            if line.starts_with("  ") && line.len() - line.trim_start().len() < 8 && start.starts_with("--") {
                current = start.split([' ', '=']).next().map(str::to_owned);
            }
            let text = found.entry(current.clone().unwrap_or_default()).or_default();
            *text += &format!("{} ", line.trim());
        }
        for of_all in ["--help", "--quiet", "--verbose"] {
            assert!(found.remove(of_all).is_some(), "{name}: no {of_all}\n{help}");
        }
        for row in rows("help.txt", name, &[]) {
            let text = found.remove(&row.case).unwrap_or_else(|| panic!("{name}: no {}\n{help}", row.case));
            assert!(text.contains(&row.words[0]), "{}: no `{}` in `{text}`", row.place, row.words[0]);
        }
        assert!(found.is_empty(), "{name}: options that this test does not know: {found:?}");
    }
    // What other options make of the preset's settings.
    let list = ["train", "--preset=conv-pool", "--set", "help", "--set=chain.steps=7"];
    let settings = works(&mut command(folder.path(), &list)).0;
    let mut config = Recipe::preset("conv-pool").unwrap();
    config.set("chain.steps=7").unwrap();
    for Setting { name: key, value, .. } in config.settings() {
        let line = settings.lines().find(|line| line.split(' ').next() == Some(key));
        assert!(line.is_some_and(|l| l.split_whitespace().nth(1) == Some(&value)), "{key}: {settings}");
    }
}
// ---- the first screen

#[test]
fn a_run_begins_with_what_differs_from_the_preset() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| works(&mut command(folder.path(), &[&TINY[..], more].concat())).0;
    let stdout = run(&["--seed=7"]);
    let screen: Vec<_> = stdout.lines().take_while(|line| !line.contains("epoch ")).collect();
    assert!(screen.len() <= 8, "{stdout}");
    let first = on_one_line(&screen.join(" "));
    for fact in [
        "Preset `mlp`",
        "seed=7",
        "train.steps=20",
        "chain.steps=2",
        "run/config.toml",
        "640 points (64 held out) from rings:640",
        "mean energy of",
    ] {
        assert!(first.contains(fact), "{fact}: {stdout}");
    }
    assert!(!first.contains("learning_rate") && !first.contains("replay"), "{stdout}");
    // No table line is too long for a pipe.
    let table = stdout.lines().skip_while(|line| !line.trim_start().starts_with("epoch "));
    for line in table.filter(|line| line.starts_with("  ")) {
        assert!(line.len() <= 80, "{line}");
    }
    let verbose = run(&["-v", "--out=verbose"]);
    assert!(verbose.contains("[chain]\nsteps = 2\n") && verbose.contains("learning_rate = "), "{verbose}");
}

#[test]
fn config_toml_repeats_the_run_and_follows_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    works(&mut command(folder.path(), &[&TINY[..], &["--seed=5", "--on-divergence=stop"]].concat()));
    let config = |run: &str| {
        let base = Recipe::preset("digits").unwrap();
        Recipe::from_toml_file(at(run).join("config.toml"), base).unwrap()
    };
    let of_checkpoint =
        |run: &str| Checkpoint::load(at(run).join("checkpoint.safetensors")).unwrap().header.config;
    assert_eq!(config("run"), of_checkpoint("run"));
    let text = fs::read_to_string(at("run/config.toml")).unwrap();
    assert!(text.starts_with("# ") && text.contains("rings"), "{text}");

    let again = ["train", "--config=run/config.toml", "--data=rings:640", "--device=cpu", "--out=again"];
    works(&mut command(folder.path(), &again));
    assert!(outcome(&at("again")) == outcome(&at("run")), "another run");

    // A resumed run rewrites it; a run that is refused touches nothing.
    let resume = ["train", "--resume", "--data=rings:640", "--device=cpu", "--steps=25"];
    works(&mut command(folder.path(), &resume));
    assert_eq!(config("run").train.steps, 25);
    assert_eq!(config("run"), of_checkpoint("run"));
    let before = fs::read(at("run/config.toml")).unwrap();
    let refused = command(folder.path(), &[&TINY[..], &["--seed=6"]].concat()).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(fs::read(at("run/config.toml")).unwrap(), before);
}

#[test]
fn a_network_of_ones_own_is_in_config_toml() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let network = "[network]\nname = \"mine\"\ninput = [2]\nlayers = [{ dense = 8, activation = \"swish\" }, { dense = 1 }]\n";
    fs::write(at("mine.toml"), network).unwrap();
    let (stdout, _) = works(&mut command(folder.path(), &[&TINY[..], &["--config=mine.toml"]].concat()));
    assert!(stdout.contains("network `mine`"), "{stdout}");
    let again = ["train", "--config=run/config.toml", "--data=rings:640", "--device=cpu", "--out=again"];
    works(&mut command(folder.path(), &again));
    assert!(outcome(&at("again")) == outcome(&at("run")), "another run");
}

// ---- how much

#[test]
fn quiet_prints_the_last_line_and_errors() {
    let folder = tempfile::tempdir().unwrap();
    let (stdout, stderr) = works(&mut command(folder.path(), &[&TINY[..], &["--quiet"]].concat()));
    assert!(stdout.starts_with("Done: 20 steps") && stdout.lines().count() == 1, "{stdout}");
    assert_eq!(stderr, "");
    let model = "--model=run/checkpoint.safetensors";
    let sample = ["-q", "sample", model, "--steps=2", "--npy=s.npy", "--device=cpu"];
    let (stdout, stderr) = works(&mut command(folder.path(), &sample));
    assert_eq!((stdout.lines().count(), stderr.as_str()), (1, ""), "{stdout}");
    // What is run for its results prints them.
    let devices = |options: &[&str]| {
        let (text, _) = works(&mut command(folder.path(), options));
        // One line holds a rate that is measured.
        text.lines().filter(|line| !line.contains("its units do")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(devices(&["devices", "-q"]), devices(&["devices"]));
    let output = command(folder.path(), &["energy", "-q", "--input=none.csv", model]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout.is_empty() && stderr.starts_with("error: ") && stderr.contains("none.csv"), "{stderr}");
    // A warning is more than a remark.
    let warned = ["--set=objective=score-matching", "-q", "--out=warned"];
    let mut words: Vec<_> = TINY.into_iter().filter(|word| !word.contains("chain.steps")).collect();
    words.extend(warned);
    let (stdout, stderr) = works(&mut command(folder.path(), &words));
    assert!(stdout.starts_with("Done") && stderr.starts_with("Warning: "), "{stdout}{stderr}");
    let output = command(folder.path(), &["devices", "-q", "-v"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

// ---- a real terminal

/// What a command prints on a terminal of so many columns, without colours and moves; `None` where there is no `script`.
#[cfg(target_os = "linux")]
fn on_terminal(folder: &Path, columns: usize, words: &[&str]) -> Option<String> {
    let line = format!("stty cols {columns} rows 24; exec '{PROGRAM}' {}", words.join(" "));
    let mut script = Command::new("script");
    script.current_dir(folder).args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
    let output = script.env_remove("COLUMNS").env("TERM", "xterm").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // ESC [ digits letter
            let end = chars.by_ref().skip(1).find(|c| c.is_ascii_alphabetic());
            plain.extend(end.filter(|&end| end != 'm').map(|_| '\n'));
        } else {
            plain.push(if c == '\r' { '\n' } else { c });
        }
    }
    // A bar's first line is filled with blanks instead of ended.
    let end = columns - 1;
    let lines = plain.lines().map(|line| match line.chars().nth(end) {
        Some(' ') if line.starts_with('[') => format!("{}\n{}", &line[..end], &line[columns..]),
        _ => line.to_owned(),
    });
    Some(lines.collect::<Vec<_>>().join("\n"))
}

#[test]
#[cfg(target_os = "linux")]
fn everything_fits_a_terminal() {
    for columns in [40, 80, 120] {
        let folder = tempfile::tempdir().unwrap();
        let Some(text) = on_terminal(folder.path(), columns, &TINY) else {
            eprintln!("skipped: there is no `script`");
            return;
        };
        // Two steps' wait may pass without a bar; the rest is always there.
        assert!(text.contains("epoch") && text.contains("Done: 20 steps"), "{text}");
        assert_eq!(too_long(&text, columns), Vec::<&str>::new(), "{columns}:\n{text}");
        assert!(text.contains("[=") || columns == 40, "no bar\n{text}");
        let model = "--model=run/checkpoint.safetensors";
        let sample = ["sample", model, "--steps=300", "--npy=s.npy", "--device=cpu"];
        let text = on_terminal(folder.path(), columns, &sample).unwrap();
        assert_eq!(too_long(&text, columns), Vec::<&str>::new(), "{columns}:\n{text}");
        let text = on_terminal(folder.path(), columns, &["train", "--set=help"]).unwrap();
        assert_eq!(too_long(&text, columns), Vec::<&str>::new(), "{columns}:\n{text}");
    }
}
