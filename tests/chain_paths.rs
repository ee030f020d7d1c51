//! Devices as the program lists them, and the path of the chains that it takes on them.

use crate::common::{
    TINY, adapter, all_refused, command, folder_of_digits, outcome, stdout_of, weights, works,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn devices_are_listed_and_wrong_ones_refused() {
    let (folder, adapter) = (folder_of_digits(), adapter());
    let stdout = works(folder.path(), &["devices"]);
    let max_binding = format!("{} MiB", adapter.max_binding >> 20);
    for fact in [&adapter.name, &adapter.backend, &adapter.driver, &adapter.kind.to_string(), &max_binding] {
        assert!(stdout.contains(fact), "{fact}: {stdout}");
    }
    for fact in ["cpu: ", "threads", "`auto` takes", "subgroup sizes", "workgroup memory", "features"] {
        assert!(stdout.contains(fact), "{fact}: {stdout}");
    }
    works(folder.path(), &["devices", "--json=devices.json"]);
    let json = |name: &str| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(folder.path().join(name)).unwrap()).unwrap()
    };
    let list = json("devices.json");
    let found =
        list["adapters"].as_array().unwrap().iter().find(|a| a["name"] == adapter.name.as_str()).unwrap();
    assert_eq!(found["max_binding"], adapter.max_binding);
    assert!(list["auto"].is_string() && list["cpu"]["instructions"].is_string(), "{list}");
    let small = ["--set=train.batch=2", "--set=chain.steps=1", "--json=compare.json"];
    works(folder.path(), &[&["compare", "--device=cpu"], &small[..]].concat());
    let found = json("compare.json");
    assert!(found[0]["report"]["worst"]["adam"]["launches"].as_u64() > Some(0), "{found}");
    assert_eq!(found[0]["report"]["partings"], serde_json::json!([]));
    let values = [("weights", weights()), ("adapter", &adapter.name)];
    all_refused(folder.path(), "devices", &values);
}

/// What measures chains of `mlp` in no time.
const BENCH_MLP: [&str; 5] = ["bench", "--preset=mlp", "--batch=16", "--chain=2", "--runs=2"];

/// The program of a user who keeps everything in `folder`, and not where the developer's own calibrations are.
fn at_home(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = command(folder, arguments);
    command.env("HOME", folder).env_remove("XDG_CACHE_HOME");
    command
}

/// Runs it; it must succeed. Its stdout.
fn works_at_home(folder: &Path, arguments: &[&str]) -> String {
    stdout_of(&at_home(folder, arguments).output().unwrap(), arguments)
}

/// Calibrates `mlp`: what the program says, and the file that it keeps.
fn calibrated(folder: &Path, adapter: &str) -> (String, PathBuf) {
    let said = works_at_home(folder, &[&BENCH_MLP[..], &["--calibrate", "--device", adapter]].concat());
    let file = said.split_once(". Kept in ").and_then(|(_, file)| file.trim_end().strip_suffix('.'));
    let file = PathBuf::from(file.unwrap_or_else(|| panic!("{said}")));
    (said, file)
}

/// Windows' folder for caches can't be made another one by a variable.
#[cfg(not(windows))]
#[test]
fn auto_takes_the_path_that_was_measured() {
    let (folder, adapter) = (folder_of_digits(), adapter());
    let bench = [&BENCH_MLP[..], &["--device", &adapter.name]].concat();
    let works = |arguments: &[&str]| works_at_home(folder.path(), &[&bench, arguments].concat());
    let (first, file) = calibrated(folder.path(), &adapter.name);
    assert!(file.starts_with(folder.path()), "{}", file.display());
    assert!(first.contains("calibration measured"), "{first}");

    // Again: the new one takes the old one's place. And what stands there is what counts, not what is measured now.
    let read = || -> serde_json::Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };
    let mut old = read();
    old[0]["fused_ms"] = 1e9.into();
    fs::write(&file, old.to_string()).unwrap();
    works(&["--calibrate"]);
    let kept = read();
    assert_eq!(kept.as_array().unwrap().len(), 1, "{kept}");
    assert!(kept[0]["fused_ms"].as_f64().unwrap() < 1e9, "{kept}");
    assert_eq!(kept[0]["fused_workgroup_ms"].is_number(), adapter.workgroup_memory >= 32 << 10, "{kept}");
    for (times, path) in [
        ([1.0, 2.0, 3.0], "fused: "),
        ([2.0, 1.0, 3.0], "fused in workgroup memory: "),
        ([3.0, 2.0, 1.0], "by layers: "),
    ] {
        let mut changed = kept.clone();
        for (name, time) in ["fused_ms", "fused_workgroup_ms", "layers_ms"].iter().zip(times) {
            changed[0][name] = time.into();
        }
        fs::write(&file, changed.to_string()).unwrap();
        let chains = works(&[]);
        assert!(chains.contains(&format!("{path}calibration measured")), "{chains}");
        let devices = works_at_home(folder.path(), &["devices"]);
        assert!(devices.contains(&format!("`mlp` {path}calibration measured")), "{devices}");
        changed[0]["driver"] = "another".into();
        fs::write(&file, changed.to_string()).unwrap();
        let chains = works(&[]);
        assert!(!chains.contains("calibrate"), "{chains}");
    }

    fs::write(&file, "[{}]").unwrap();
    // It is left aside with a word, and left as it is.
    let chains = works(&[]);
    assert!(!chains.contains("measured"), "{chains}");
    let devices = works_at_home(folder.path(), &["devices"]);
    for word in ["Warning: ", "calibrations.json", "bench --calibrate", "missing field", "delete it"] {
        assert!(devices.contains(word), "{word}: {devices}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"[{}]");
    // Where the path is forced, the file does not count.
    works(&["--chain-path=layers"]);
    all_refused(folder.path(), "calibrate", &[("adapter", &adapter.name)]);
}

/// The path of the chains is a part of the run, as its seed is: a resumed one stays with it.
#[cfg(not(windows))]
#[test]
fn a_resumed_run_keeps_its_path_whatever_was_measured_since() {
    let (folder, adapter) = (folder_of_digits(), adapter());
    let at = |name: &str| folder.path().join(name);
    let (_, file) = calibrated(folder.path(), &adapter.name);
    let measured = |fused: f64, layers: f64| {
        let mut kept: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        kept[0]["network"]["input"] = [1, 28, 28].into(); // the same layers on digits
        (kept[0]["fused_ms"], kept[0]["layers_ms"]) = (fused.into(), layers.into());
        fs::write(&file, kept.to_string()).unwrap();
    };
    let works = |arguments: &[&str]| {
        works_at_home(folder.path(), &[&["train", "--data=digits.idx"], arguments].concat())
    };
    let train = |out: &str, steps: &str| {
        // A cosine goes by the run's length, which here is not the same.
        let own = ["--preset=mlp", "--set=schedule.learning_rate=constant", "--out", out, steps];
        works(&[&own[..], &TINY[1..3], &TINY[5..7], &["--device", &adapter.name]].concat())
    };
    let resume = |own: &[&str]| works(&[&["--resume", "--out=parts"], own].concat());
    measured(2.0, 1.0);
    train("layers", "--steps=8");
    let said = train("parts", "--steps=4");
    assert!(said.contains("Chains run by layers: calibration measured"), "{said}");

    measured(1.0, 2.0);
    let said = train("fused", "--steps=8");
    assert!(said.contains("Chains run fused: calibration measured"), "{said}");
    assert!(outcome(&at("fused")) != outcome(&at("layers")), "nothing hangs on the path: the test is none");
    let said = resume(&["--steps=8", "--device", &adapter.name]);
    assert!(said.contains("Chains run by layers, as this run has done so far."), "{said}");
    assert!(outcome(&at("parts")) == outcome(&at("layers")), "the resumed run differs");

    let said = resume(&["--steps=9", "--chain-path=fused", "--device", &adapter.name]);
    assert!(said.contains("Chains run fused, as asked for."), "{said}");
    let said = resume(&["--steps=10", "--device", &adapter.name]);
    assert!(said.contains("Chains run fused, as this run has done so far."), "{said}");
    assert!(!said.contains("not bit for bit"), "{said}");
    let said = resume(&["--steps=11", "--device=cpu"]);
    assert!(said.contains(&format!("It ran on {} ({}) before", adapter.name, adapter.backend)), "{said}");
    assert!(said.contains("not bit for bit"), "{said}");
}

/// On a GPU as on the CPU: a film's stops on the way change nothing.
#[test]
fn a_film_changes_no_sample_on_an_adapter() {
    let (folder, adapter) = (folder_of_digits(), adapter());
    let base = ["sample", "--model", weights(), "--network=mnist-small", "--count=3", "--steps=12"];
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    for path in ["fused", "fused-workgroup", "layers"] {
        let base = [&base[..], &["--device", &adapter.name, "--chain-path", path]].concat();
        works(folder.path(), &[&base[..], &["--npy=straight.npy"]].concat());
        works(folder.path(), &[&base[..], &["--npy=stops.npy", "--film=film.png"]].concat());
        assert!(read("straight.npy") == read("stops.npy"), "{path}: the film changes the samples");
    }
}
