//! Running the program: in a folder, to its end or until it is killed; and the table of commands that it refuses.

use super::table::{self, Row};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use thalweg::checkpoint::{Checkpoint, Tensor};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_thalweg");

/// The program with some arguments, in a folder.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).args(arguments).stdin(Stdio::null()).env_remove("COLUMNS");
    command
}

pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

/// Stdout and stderr.
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Stdout of a command that must have succeeded.
#[track_caller]
pub fn stdout_of(output: &Output, what: &[&str]) -> String {
    let (stdout, stderr) = texts(output);
    assert_eq!(output.status.code(), Some(0), "{what:?}\n{stdout}\n{stderr}");
    stdout
}

/// Runs it; it must succeed. Its stdout.
#[track_caller]
pub fn works(folder: &Path, arguments: &[&str]) -> String {
    stdout_of(&run(folder, arguments), arguments)
}

/// A text with its line breaks and runs of blanks as single blanks: clap and long paths break lines.
pub fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every file in a folder, with its content; links to folders are not followed.
pub fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
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

/// The rows of a table without their last column, the seconds.
pub fn rows_without_seconds(table: &Path) -> Vec<String> {
    let text = fs::read_to_string(table).unwrap();
    text.lines().map(|row| row.rsplit_once(',').unwrap().0.to_owned()).collect()
}

/// What a run comes to: its tensors, and its metrics without the seconds.
pub fn outcome(run: &Path) -> (BTreeMap<String, Tensor>, Vec<String>) {
    let tensors = Checkpoint::load(run.join("checkpoint.safetensors")).unwrap().tensors;
    (tensors, rows_without_seconds(&run.join("metrics.csv")))
}

/// The step that a run's checkpoint holds.
pub fn step_of(run: &Path) -> u64 {
    Checkpoint::load(run.join("checkpoint.safetensors")).unwrap().header.step
}

/// A process that ends with its test, whatever happens.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program with its output kept.
pub fn start(folder: &Path, arguments: &[&str]) -> Running {
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

/// Waits until a run's table of metrics has more than `rows` lines.
pub fn wait_for_rows(run: &Path, rows: usize) {
    let began = Instant::now();
    while fs::read_to_string(run.join("metrics.csv")).map_or(0, |table| table.lines().count()) <= rows {
        assert!(began.elapsed() < Duration::from_secs(120), "no {rows} steps in two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
}

// ---- refusals

/// What is wrong with how a command refuses: nothing, if it exits with 2 and one `error:` that holds all words.
pub fn faults_of(output: &Output, words: &[impl AsRef<str>]) -> Vec<String> {
    let (_, stderr) = texts(output);
    let mut faults = Vec::new();
    if output.status.code() != Some(2) {
        faults.push(format!("exits with {:?}", output.status));
    }
    if stderr.matches("error:").count() != 1 || !stderr.starts_with("error: ") {
        faults.push("has not exactly one error".to_owned());
    }
    if stderr.contains("panicked") || stderr.contains("RUST_BACKTRACE") {
        faults.push("panicked".to_owned());
    }
    let plain = on_one_line(&stderr);
    let missing = words.iter().filter(|word| !plain.contains(word.as_ref()));
    faults.extend(missing.map(|word| format!("does not say `{}`", word.as_ref())));
    faults.iter().map(|fault| format!("{fault}: {stderr}")).collect()
}

/// A row's arguments: words, of which those in single quotes may hold blanks.
fn arguments(case: &str) -> Vec<String> {
    let quoted = case.split('\'').enumerate().flat_map(|(i, part)| match i % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    quoted.collect()
}

/// Runs a row's command: in the folder `name` where it begins with `@name`, and with files of at most 5 or 10 KiB (dash's
/// or bash's blocks) where it begins with `@limited`, as if the disk ran full amid writing.
fn refuse(folder: &Path, row: &Row) -> Output {
    let words = arguments(&row.case);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[0].strip_prefix('@') {
        None => run(folder, &words),
        Some("limited") => {
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ; ulimit -f 10; exec \"$@\"", "sh", PROGRAM]).current_dir(folder);
            shell.args(&words[1..]).stdin(Stdio::null()).output().unwrap()
        }
        Some(inside) => run(&folder.join(inside), &words[1..]),
    }
}

/// Asserts that every command of a section of `tests/tables/refusals.txt` is refused with the words of its row, and leaves
/// the folder's files as they are. All files that the commands may touch or need are there by now.
#[track_caller]
pub fn all_refused(folder: &Path, section: &str, values: &[(&str, &str)]) {
    let faults = refusal_faults(folder, &table::rows("refusals.txt", section, values));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// What is wrong with how rows' commands are refused, by row.
pub fn refusal_faults(folder: &Path, rows: &[Row]) -> Vec<String> {
    let before = snapshot(folder);
    let mut all = Vec::new();
    for row in rows {
        let mut faults = faults_of(&refuse(folder, row), &row.words);
        if snapshot(folder) != before {
            faults.push("left something behind, or changed it".to_owned());
        }
        all.extend(faults.into_iter().map(|fault| format!("{} {fault}", row.place)));
    }
    all
}
