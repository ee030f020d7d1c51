//! A run's files: what is never written over, what kills and signals leave, what a run that goes on finds again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use thalweg::checkpoint::{Checkpoint, Tensor};
use thalweg::data::{Images, Shape};
use thalweg::device::fault;
use thalweg::{Dataset, Device, Error, Recipe, Trainer};

/// A run of points that takes no time; 36 to train on, so 3 steps an epoch.
const TINY: [&str; 5] = [
    "--set=train.batch=16",
    "--set=chain.steps=2",
    "--set=sample.steps=2",
    "--device=cpu",
    "--data=points.csv",
];

/// The pictures of a finished run of points.
const LAST_PICTURES: [&str; 3] = ["curves.png", "landscape.png", "histograms.png"];

/// A folder with `points.csv`: 40 points.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let row = |i: i32| format!("{},{}\n", f64::from(i % 7) / 3.0 - 1.0, f64::from(i % 5) / 2.0 - 1.0);
    fs::write(folder.path().join("points.csv"), "x,y\n".to_owned() + &(0..40).map(row).collect::<String>())
        .unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it; it must exit with `code`. Stdout and stderr, one behind the other, without line breaks.
fn ends(output: &Output, code: i32, what: &str) -> String {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{what}\n{said}");
    assert!(!said.contains("panicked"), "{what}\n{said}");
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn works(folder: &Path, arguments: &[&str]) -> String {
    ends(&command(folder, arguments).output().unwrap(), 0, &format!("{arguments:?}"))
}

fn train<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["train"], arguments, &TINY].concat()
}

/// Every file in a folder, with its content; links are not followed.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            files.extend(snapshot(&path));
        } else if path.is_file() {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    files
}

/// Each command must exit with 2 and one error that holds the words, and leave every file as it was.
#[track_caller]
fn all_refused(folder: &Path, commands: &[(&[&str], &[&str])]) {
    let before = snapshot(folder);
    let mut faults = Vec::new();
    for (arguments, words) in commands {
        let output = command(folder, arguments).output().unwrap();
        let said = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        if output.status.code() != Some(2) || said.matches("error:").count() != 1 {
            faults.push(format!("{arguments:?}: {:?}, {said}", output.status));
        }
        faults.extend(words.iter().filter(|w| !said.contains(**w)).map(|w| format!("no `{w}`: {said}")));
        if snapshot(folder) != before {
            faults.push(format!("{arguments:?} wrote something"));
            break;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn write_npy(path: &Path, points: usize) {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({points}, 2), }}");
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..2 * points).flat_map(|i| (i as f32 / 10.0).to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

fn png(path: PathBuf, grey: u8) {
    image::GrayImage::from_fn(8, 8, |x, y| image::Luma([grey ^ (x * y) as u8])).save(path).unwrap();
}

fn step_of(run: &Path) -> u64 {
    Checkpoint::load(run.join("checkpoint.safetensors")).unwrap().header.step
}

/// What a run comes to: its tensors, and its tables without the seconds.
fn outcome(run: &Path) -> (BTreeMap<String, Tensor>, Vec<String>) {
    let rows = ["metrics.csv", "held_out.csv"].map(|name| fs::read_to_string(run.join(name)).unwrap());
    let rows = rows.iter().flat_map(|table| table.lines());
    let rows = rows.map(|row| row.rsplit_once(',').unwrap().0.to_owned()).collect();
    (Checkpoint::load(run.join("checkpoint.safetensors")).unwrap().tensors, rows)
}

/// Whatever happens to a test, no process of its stays.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path, arguments: &[&str]) -> Running {
    let mut command = command(folder, arguments);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // SAFETY: `signal` may be called between fork and exec. The tests may have been started by `nohup`.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGHUP, libc::SIG_DFL);
                Ok(())
            });
        }
    }
    Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Waits until a run has done some steps.
fn wait_for_rows(run: &Path, rows: usize) {
    let began = Instant::now();
    while fs::read_to_string(run.join("metrics.csv")).map_or(0, |table| table.lines().count()) <= rows {
        assert!(began.elapsed() < Duration::from_secs(120), "no {rows} steps in two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
}

// ---- inputs

#[test]
fn nothing_that_is_read_is_written_over() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    works(folder.path(), &train(&["--steps=2"]));
    write_npy(&at("x.npy"), 30);
    fs::hard_link(at("x.npy"), at("hard.npy")).unwrap();
    fs::create_dir(at("pictures")).unwrap();
    fs::create_dir(at("runs")).unwrap();
    (0..4).for_each(|i| png(at(&format!("pictures/{i}.png")), 40 * i));
    fs::copy(at("pictures/0.png"), at("one.png")).unwrap();
    fs::write(at("net.toml"), "preset = \"mlp\"\n").unwrap();
    fs::copy(at("net.toml"), at("runs/config.toml")).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("x.npy", at("soft.npy")).unwrap();
        std::os::unix::fs::symlink("pictures", at("way")).unwrap();
    }
    let model = "--model=run/checkpoint.safetensors";
    let sample = ["sample", "--network=analytic:gaussian", "--count=5", "--steps=1", "--init=x.npy"];
    let data = ["train", "--steps=2", "--device=cpu", "--data=pictures"];
    let same = ["--init and --npy name the same file"];
    let mut commands: Vec<(Vec<&str>, &[&str])> = vec![
        ([&sample[..], &["--npy=x.npy"]].concat(), &same),
        ([&sample[..], &["--npy=pictures/../x.npy"]].concat(), &same),
        ([&sample[..], &["--npy=hard.npy"]].concat(), &same),
        ([&sample[..], &["--npy=a.npy", "--out=s.png", "--film=s.png"]].concat(), &["--out", "--film"]),
        ([&sample[..], &["--out=S.png", "--trajectory=s.png"]].concat(), &["--out", "--trajectory"]),
        (vec!["sample", model, "--init=one.png", "--out=one.png"], &["--init", "--out"]),
        (vec!["energy", model, "--input=pictures", "--out=x.npy", "--gradient=./x.npy"], &["--gradient"]),
        (vec!["energy", model, "--input=x.npy", "--out=x.npy"], &["--input and --out name the same file"]),
        (vec!["evaluate", model, "--ood=pictures", "--long-run", "--picture=pictures/a.png"], &["--ood"]),
        (vec!["evaluate", model, "--long-run", "--ood=one.png", "--picture=one.png"], &["--ood"]),
        (vec!["evaluate", model, "--data=x.json", "--json=x.json"], &["--data and --json"]),
        (vec!["plot", model, "--data=pictures", "--out=pictures"], &["same folder"]),
        ([&data[..], &["--out=pictures"]].concat(), &["--data and --out name the same folder", "pictures"]),
        (
            vec!["train", "--data=one.png", "--config=runs/config.toml", "--out=runs"],
            &["--config", "copy it"],
        ),
        (vec!["train", "--data=points.csv", "--overwrite", "--config=run/metrics.csv"], &["--config"]),
    ];
    fs::write(at("x.json"), "{}").unwrap();
    if cfg!(unix) {
        commands.extend::<[(Vec<&str>, &[&str]); 3]>([
            ([&sample[..], &["--npy=soft.npy"]].concat(), &same),
            ([&data[..], &["--out=way"]].concat(), &["same folder"]),
            (vec!["energy", model, "--input=soft.npy", "--out=hard.npy"], &["--input and --out"]),
        ]);
    }
    let commands: Vec<_> = commands.iter().map(|(arguments, words)| (&arguments[..], *words)).collect();
    all_refused(folder.path(), &commands);
    // `--data .` with its own folder.
    all_refused(&at("pictures"), &[(&["train", "--data=.", "--steps=2", "--out=."], &["same folder"])]);
    // Classes, one folder each: a run among them would be a class.
    fs::create_dir_all(at("classes/a")).unwrap();
    png(at("classes/a/0.png"), 7);
    all_refused(folder.path(), &[(&["train", "--data=classes", "--out=classes/run"], &["taken for data"])]);
    // The control: an output that is no input may be replaced, for it was named.
    works(folder.path(), &[&sample[..], &["--npy=y.npy", "--out=y.png"]].concat());
    works(folder.path(), &[&sample[..], &["--npy=y.npy", "--out=y.png"]].concat());
}

// ---- earlier runs

#[test]
fn a_finished_run_stays_until_the_next_can_begin() {
    let folder = folder();
    let run = folder.path().join("run");
    works(folder.path(), &train(&["--steps=4"]));
    let no_data = ["train", "--overwrite", "--data=nothing.csv"];
    let no_room = ["train", "--overwrite", "--data=points.csv", "--set=train.batch=0"];
    let again = train(&["--steps=4"]);
    all_refused(
        folder.path(),
        &[
            (&again, &["run holds a run already", "--resume", "--out", "--overwrite"]),
            (&train(&["--steps=4", "--preset=sequence"]), &["holds a run already"]),
            (&no_data, &["nothing.csv"]),
            (&no_room, &["train.batch"]),
            (&train(&["--overwrite", "--resume"]), &["--resume"]),
            (&train(&["--overwrite", "--device=no-such-thing"]), &["error"]),
        ],
    );
    let before = snapshot(&run);
    for n in 1..3 {
        let said = works(folder.path(), &train(&["--steps=2", "--overwrite"]));
        assert!(said.contains(&format!("previous-{n}")), "{said}");
        assert_eq!(step_of(&run), 2);
    }
    let kept = snapshot(&run.join("previous-1"));
    assert_eq!(kept.len(), before.len());
    for (path, content) in before {
        assert!(kept[&run.join("previous-1").join(path.file_name().unwrap())] == content, "{path:?}");
    }
    // Files of a run's names that are no run's.
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/curves.png"), "mine").unwrap();
    all_refused(folder.path(), &[(&train(&["--out=mine"]), &["curves.png", "--overwrite"])]);
    // And others are no matter.
    fs::rename(folder.path().join("mine/curves.png"), folder.path().join("mine/mine.png")).unwrap();
    works(folder.path(), &train(&["--out=mine", "--steps=1"]));
    assert_eq!(fs::read(folder.path().join("mine/mine.png")).unwrap(), b"mine");
}

#[test]
fn one_run_at_a_time_uses_a_folder() {
    let folder = folder();
    let run = folder.path().join("run");
    let mut running = start(folder.path(), &train(&["--steps=1000000"]));
    wait_for_rows(&run, 3);
    let busy = |arguments: &[&str]| {
        let said = ends(&command(folder.path(), arguments).output().unwrap(), 2, "busy");
        assert!(said.contains("in use by another run"), "{said}");
        let id = running.0.id().to_string();
        assert!(!cfg!(unix) || said.contains(&format!("process {id}")), "{said}");
    };
    busy(&["train", "--resume", "--device=cpu"]);
    busy(&train(&["--steps=2", "--overwrite"]));
    // Looking at it is free.
    works(folder.path(), &["plot", "--device=cpu", "--out=pictures"]);
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    assert!(run.join("run.lock").exists(), "a killed run leaves the file, but not the lock");
    fs::write(run.join(".checkpoint.safetensors.aB3d.tmp"), "half").unwrap();
    fs::write(run.join(".mine.aB3d.tmp"), "mine").unwrap();
    fs::write(run.join(".metrics.csv.swp.tmp"), "mine").unwrap();
    let steps = format!("--steps={}", step_of(&run) + 3);
    works(folder.path(), &["train", "--resume", &steps, "--device=cpu"]);
    assert!(!run.join("run.lock").exists());
    let left: Vec<_> = snapshot(&run)
        .into_keys()
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .filter(|name| name.ends_with(".tmp"))
        .collect();
    assert_eq!(left, [".metrics.csv.swp.tmp", ".mine.aB3d.tmp"]);
}

// ---- kills and signals

#[cfg(unix)]
fn signal(running: &Running, name: &str) {
    let id = running.0.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}

/// What a stopped run printed, and its exit code.
#[cfg(unix)]
fn stopped(mut running: Running) -> (Option<i32>, String) {
    use std::io::Read;
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut errors = running.0.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        errors.read_to_string(&mut stderr).unwrap();
        stderr
    });
    running.0.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    (running.0.wait().unwrap().code(), stdout + &reader.join().unwrap())
}

/// The command in backquotes that begins so.
fn printed<'a>(said: &'a str, begins: &str) -> &'a str {
    let start = said.find(&format!("`{begins}")).unwrap_or_else(|| panic!("no `{begins}`: {said}")) + 1;
    &said[start..start + said[start..].find("`").unwrap()]
}

/// Does what somebody does who copies a printed command, in another folder.
#[cfg(unix)]
fn paste(folder: &Path, line: &str) -> Output {
    let bin = Path::new(env!("CARGO_BIN_EXE_thalweg")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    Command::new("sh").args(["-c", line]).env("PATH", path).current_dir(folder).output().unwrap()
}

#[test]
#[cfg(unix)]
fn signals_save_and_the_printed_command_goes_on() {
    let folder = folder();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("it's $my `data`")).unwrap();
    fs::rename(folder.path().join("points.csv"), folder.path().join("it's $my `data`/points.csv")).unwrap();
    let data = "--data=it's $my `data`/points.csv";
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let out = format!("--out=my run's/of $HOME {name}");
        let run = folder.path().join(&out[6..]);
        let mut arguments = train(&["--steps=1000000", &out]);
        *arguments.iter_mut().find(|argument| argument.starts_with("--data")).unwrap() = data;
        let running = start(folder.path(), &arguments);
        wait_for_rows(&run, 10);
        signal(&running, name);
        let (ended, said) = stopped(running);
        assert_eq!(ended, Some(code), "{name}: {said}");
        let step = step_of(&run);
        assert!(said.contains(&format!("Stopped after step {step} of 1000000")) && step >= 10, "{said}");
        assert_eq!(fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count() as u64, 1 + step);
        LAST_PICTURES.iter().for_each(|name| assert!(run.join(name).exists(), "{name}"));
        // The path has a quote in it, so that the line ends at the last backquote.
        let line = said.lines().find(|line| line.starts_with("Stopped")).unwrap();
        let line = &line[line.find('`').unwrap() + 1..line.rfind('`').unwrap()];
        let line = format!("{line} --steps={}", step + 3);
        let said = ends(&paste(elsewhere.path(), &line), 0, &line);
        assert!(said.contains(&format!("Resumed at step {step}")), "{said}");
        assert_eq!(step_of(&run), step + 3);
    }
    assert!(snapshot(elsewhere.path()).is_empty());
    // Where the data have moved, it says so; and takes them from where they are now.
    let run = "--out=my run's/of $HOME INT";
    fs::rename(folder.path().join("it's $my `data`"), folder.path().join("moved")).unwrap();
    let resume = ["train", "--resume", run, "--device=cpu"];
    all_refused(folder.path(), &[(&resume, &["it's $my `data`/points.csv", "--data"])]);
    let steps = |more: u64| format!("--steps={}", step_of(&folder.path().join(&run[6..])) + more);
    works(folder.path(), &[&resume[..], &["--data=moved/points.csv", &steps(1)]].concat());
    works(folder.path(), &[&resume[..], &[&steps(1)]].concat());
    fs::write(folder.path().join("moved/points.csv"), "1,2\n2,1\n0,1\n").unwrap();
    all_refused(folder.path(), &[(&resume, &["trained on other data", "moved/points.csv"])]);
}

#[test]
#[cfg(unix)]
fn a_second_signal_loses_nothing() {
    let folder = folder();
    let run = folder.path().join("run");
    // Long pictures: 5,000 points at the end, 20,000 steps each.
    let mut arguments = train(&["--steps=100000"]);
    arguments.push("--set=sample.steps=20000");
    arguments.push("--set=train.batch=1"); // 36 steps an epoch, and none of them shown
    let running = start(folder.path(), &arguments);
    wait_for_rows(&run, 40);
    signal(&running, "INT");
    std::thread::sleep(Duration::from_millis(200)); // two that come at once are one to the system
    signal(&running, "INT");
    let began = Instant::now();
    let (code, said) = stopped(running);
    assert_eq!(code, Some(130), "{said}");
    assert!(began.elapsed() < Duration::from_secs(60), "it drew its pictures");
    let rows = fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count() as u64 - 1;
    assert_eq!(step_of(&run), rows, "{said}");
}

/// Who starts a run with `nohup` wants it to outlive the terminal.
#[test]
#[cfg(unix)]
fn a_run_under_nohup_outlives_a_hangup() {
    let folder = folder();
    let run = folder.path().join("run");
    let line = format!("trap '' HUP; exec \"$0\" {}", train(&["--steps=1000000"]).join(" "));
    let mut command = Command::new("sh");
    command.args(["-c", &line, env!("CARGO_BIN_EXE_thalweg")]).current_dir(folder.path());
    let running = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    wait_for_rows(&run, 10);
    signal(&running, "HUP");
    let rows = fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count();
    wait_for_rows(&run, rows + 300);
    signal(&running, "TERM");
    assert_eq!(stopped(running).0, Some(143));
}

#[test]
fn killed_runs_go_on_and_get_all_their_files() {
    let folder = folder();
    let began = Instant::now();
    works(folder.path(), &train(&["--steps=30", "--out=straight"]));
    let whole = began.elapsed();
    let straight = folder.path().join("straight");
    let names = |run: &Path| {
        let files = snapshot(run).into_keys();
        files.map(|path| path.strip_prefix(run).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let run = folder.path().join("run");
    let mut random = 99_u64;
    for kill in 0..9 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let resume = ["train", "--resume", "--device=cpu"];
        let is_begun = run.join("checkpoint.safetensors").exists();
        let arguments = if is_begun { resume.to_vec() } else { train(&["--steps=30", "--overwrite"]) };
        let mut running = start(folder.path(), &arguments);
        std::thread::sleep(whole.mul_f64((random >> 33) as f64 / (1_u64 << 31) as f64));
        running.0.kill().unwrap();
        running.0.wait().unwrap();
        if !run.join("checkpoint.safetensors").exists() {
            continue;
        }
        step_of(&run); // a whole checkpoint
        if kill % 3 == 2 {
            works(folder.path(), &resume);
            assert!(outcome(&run) == outcome(&straight), "kill {kill}: the resumed run differs");
            assert_eq!(names(&run), names(&straight), "kill {kill}");
            for name in names(&run).iter().filter(|name| name.extension().unwrap() == "png") {
                let [one, other] = [&run, &straight].map(|run| fs::read(run.join(name)).unwrap());
                // A curve's picture is of the seconds, too.
                assert!(name.starts_with("curves.png") || one == other, "kill {kill}: {name:?} differs");
            }
            fs::remove_dir_all(&run).unwrap();
        }
    }
}

#[test]
fn a_finished_run_draws_what_is_missing() {
    let folder = folder();
    let run = folder.path().join("run");
    works(folder.path(), &train(&["--steps=6"]));
    let before = snapshot(&run);
    let resume = ["train", "--resume", "--device=cpu"];
    let said = works(folder.path(), &resume);
    assert!(said.contains("All 6 steps are done already") && !said.contains("Drew"), "{said}");
    assert!(snapshot(&run) == before);
    for name in LAST_PICTURES.iter().chain(&["monitor-0002.png", "figures.json", "held_out.csv"]) {
        fs::remove_file(run.join(name)).unwrap();
    }
    let said = works(folder.path(), &resume);
    assert!(said.contains("Drew") && said.contains("All 6 steps are done already"), "{said}");
    let after = snapshot(&run);
    assert!(after.keys().eq(before.keys()));
    for (path, content) in before.iter().filter(|(path, _)| path.extension().unwrap() == "png") {
        assert!(after[path] == *content, "{path:?}");
    }
    let rows = fs::read_to_string(run.join("held_out.csv")).unwrap();
    assert!(rows.starts_with("step,epoch,loss,cdiv,energy_real,energy_noise,seconds\n6,2,"), "{rows}");
}

/// Of what is beyond a limit on file sizes the checkpoint is the first: as on a full disk.
#[test]
#[cfg(unix)]
fn a_checkpoint_that_cannot_be_written_leaves_the_last() {
    let folder = folder();
    let run = folder.path().join("run");
    works(folder.path(), &train(&["--steps=3"]));
    let before = fs::read(run.join("checkpoint.safetensors")).unwrap();
    let line = "ulimit -f 40; exec thalweg train --resume --steps=9 --device=cpu";
    let said = ends(&paste(folder.path(), line), 2, line);
    for part in
        ["step 6 is not saved", "checkpoint.safetensors holds step 3, whole", "`thalweg train --resume"]
    {
        assert!(said.contains(part), "no `{part}`: {said}");
    }
    assert!(fs::read(run.join("checkpoint.safetensors")).unwrap() == before);
    assert!(!snapshot(&run).keys().any(|path| path.extension().is_some_and(|ending| ending == "tmp")));
    works(folder.path(), &["train", "--resume", "--steps=9", "--device=cpu"]);
    works(folder.path(), &train(&["--steps=3", "--out=straight"]));
    works(folder.path(), &["train", "--resume", "--steps=9", "--out=straight", "--device=cpu"]);
    assert!(outcome(&run) == outcome(&folder.path().join("straight")));
    // A picture that can't be written is no reason to stop.
    fs::create_dir(folder.path().join("taken")).unwrap();
    works(folder.path(), &train(&["--steps=3", "--out=taken"]));
    fs::create_dir(folder.path().join("taken/monitor-0002.png")).unwrap();
    let resume = ["train", "--resume", "--steps=6", "--out=taken", "--device=cpu"];
    let said = works(folder.path(), &resume);
    assert!(said.contains("Warning: ") && said.contains("monitor-0002.png"), "{said}");
    assert_eq!(step_of(&folder.path().join("taken")), 6);
}

#[test]
fn a_lost_device_is_an_error_of_its_own() {
    pollster::block_on(async {
        let (config, data) = (Recipe::preset("mlp").unwrap(), Dataset::open("rings:200").unwrap());
        let mut trainer = Trainer::new(&Device::cpu(), &config, &data).await.unwrap();
        fault::lose_after(Some(1));
        trainer.submit(1).unwrap();
        assert!(matches!(trainer.submit(1), Err(Error::Device(_))));
        assert!(matches!(trainer.checkpoint(serde_json::Value::Null).await, Err(Error::Device(_))));
        assert!(matches!(trainer.model().await, Err(Error::Device(_))));
        fault::lose_after(None);
        trainer.checkpoint(serde_json::Value::Null).await.unwrap();
    });
}

#[test]
fn a_lost_device_leaves_a_run_that_goes_on() {
    let folder = folder();
    let run = folder.path().join("run");
    let output = command(folder.path(), &train(&["--steps=60"]))
        .env("THALWEG_TEST_LOSE_DEVICE_AFTER", "200")
        .output()
        .unwrap();
    let said = ends(&output, 2, "lost");
    let step = step_of(&run);
    assert!((1..60).contains(&step), "{step}: {said}");
    for part in ["the device was lost", &format!("holds step {step}, whole"), "`--device cpu`"] {
        assert!(said.contains(part), "no `{part}`: {said}");
    }
    assert!(printed(&said, "thalweg train --resume").contains("--out="));
    works(folder.path(), &["train", "--resume", "--device=cpu"]);
    works(folder.path(), &train(&["--steps=60", "--out=straight"]));
    assert!(outcome(&run) == outcome(&folder.path().join("straight")));
}

// ---- presets

#[test]
fn the_data_choose_the_preset() {
    let folder = folder();
    let said = works(folder.path(), &train(&["--steps=1"]));
    assert!(said.contains("The data are points: the preset is `mlp`"), "{said}");
    let header = Checkpoint::load(folder.path().join("run/checkpoint.safetensors")).unwrap().header;
    assert_eq!(header.config.preset, "mlp");
    assert_eq!(Path::new(&header.data_source).file_name().unwrap(), "points.csv");
    assert!(Path::new(&header.data_source).is_absolute());
    all_refused(
        folder.path(),
        &[
            (&["train", "--preset=sequence", "--out=a"], &["sequences", "--data FILE.npy", "[n, time, d]"]),
            (
                &["train", "--preset=digits", "--data=points.csv", "--out=a"],
                &["`digits` is for images", "points", "--preset mlp"],
            ),
            (&train(&["--preset=sequence", "--out=a"]), &["`sequence` is for sequences", "--preset mlp"]),
            (&["train", "--preset=sequence", "--data=digits", "--out=a"], &["images", "--preset digits"]),
        ],
    );
    // An array of pictures is one of pictures for every command.
    let pictures =
        Images { shape: Shape { channels: 28, height: 1, width: 28 }, values: vec![0.25; 784 * 20] };
    thalweg::data::write_npy(folder.path().join("pictures.npy"), &pictures).unwrap();
    let said = works(
        folder.path(),
        &["train", "--data=pictures.npy", "--steps=1", "--device=cpu", "--out=pictures"],
    );
    assert!(said.contains("read as images of 28 x 28") && said.contains("18 images"), "{said}");
    // Where the model's points have other than two numbers, the command that is printed has no picture.
    let row = |i: i32| format!("{},{},{}\n", i % 3, i % 5, i % 7);
    fs::write(folder.path().join("points.csv"), (0..40).map(row).collect::<String>()).unwrap();
    let said = works(folder.path(), &train(&["--steps=1", "--out=3 columns"]));
    let line = printed(&said, "thalweg sample").to_owned();
    assert!(line.contains("--npy="), "{line}");
    #[cfg(unix)]
    {
        let elsewhere = tempfile::tempdir().unwrap();
        ends(&paste(elsewhere.path(), &line), 0, &line);
        assert!(folder.path().join("3 columns/samples.npy").exists());
        assert!(snapshot(elsewhere.path()).is_empty());
    }
}
