//! What commands print, how much of it, and how wide: `--quiet`, `--verbose`, the terminal's width, and the longer texts.

use super::print_line;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use textwrap::{Options, WordSeparator, WordSplitter};
use thalweg::data::Shape;
use thalweg::error::{Remedy, printable};
use thalweg::files::write_atomically;
use thalweg::recipe::{Objective, SECTIONS, Setting, presets};
use thalweg::{Error, Recipe, Result};

/// Options of every command.
#[derive(clap::Args)]
pub(crate) struct VerbosityOptions {
    /// Print errors, warnings and the last line only, and no progress; tables of results are still printed
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 900)]
    quiet: bool,
    /// Print more: `train` prints every setting of the run
    #[arg(short, long, global = true, display_order = 901)]
    verbose: bool,
}

impl VerbosityOptions {
    /// Sets how much is printed from now on. Where `prints_results`, what the command prints is what it is run for, so that
    /// `--quiet` hides nothing but progress.
    pub(crate) fn apply(&self, prints_results: bool) {
        let lines = match (self.quiet, self.verbose) {
            (true, _) if !prints_results => Lines::Last,
            (_, true) => Lines::More,
            _ => Lines::All,
        };
        let _ = VERBOSITY.set((lines, !self.quiet));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Last,
    All,
    More,
}

/// Which lines are printed, and whether progress is shown.
static VERBOSITY: OnceLock<(Lines, bool)> = OnceLock::new();
/// Of [`Lines::Last`]: what was to be printed last.
static LAST: Mutex<Option<String>> = Mutex::new(None);

fn lines() -> Lines {
    VERBOSITY.get().map_or(Lines::All, |(lines, _)| *lines)
}

/// Whether there is to be more detail: `--verbose`.
pub(crate) fn is_verbose() -> bool {
    lines() == Lines::More
}

/// Whether progress is to be shown: no `--quiet`.
pub(crate) fn shows_progress() -> bool {
    VERBOSITY.get().is_none_or(|(_, progress)| *progress)
}

/// What [`print_line`] does.
pub(super) fn print(text: String) {
    if lines() == Lines::Last {
        *LAST.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(text);
    } else {
        write(std::io::stdout(), &text);
    }
}

/// Prints what a reader may like to know next; not with `--quiet`.
pub(crate) fn hint(text: impl std::fmt::Display) {
    if lines() != Lines::Last {
        print_line(text);
    }
}

/// Prints a warning to stderr, with `--quiet` too.
pub(crate) fn warn(text: impl std::fmt::Display) {
    write(std::io::stderr(), &format!("Warning: {text}"));
}

/// Prints an error to stderr, with the options that can help.
pub(crate) fn error(error: Error) {
    let text = match &error {
        Error::File { path, problem, remedy: Some(remedy) } => {
            printable(&format!("{}: {problem}; {}", path.display(), options_for(*remedy))).into_owned()
        }
        Error::Setting { key, .. } if key == "preset" => format!("{error} (--preset NAME)"),
        Error::Setting { key, .. } if key == "train.epochs" => format!("{error} (--epochs N sets both)"),
        other => other.to_string(),
    };
    write(std::io::stderr(), &format!("error: {text}"));
}

/// The options by which a [`Remedy`] is tried.
fn options_for(remedy: Remedy) -> String {
    match remedy {
        Remedy::NameNetwork => {
            "name the network with `--network`, for example `--network mnist-small`, or describe it in a TOML file"
        }
        Remedy::OmitModel => "leave out --model",
        Remedy::MatchTensors => {
            "describe its network in a TOML file, and name that with --network; or --ignore-extra-tensors passes over them: \
             then the energies are those of the network without them"
        }
        Remedy::SameData => "give `--data` as it was",
        Remedy::LoadAsModel => "give weights with --model",
        other => return other.to_string(),
    }
    .to_owned()
}

/// Prints the line that `--quiet` has kept for the end of a command that succeeded.
pub(crate) fn finish() {
    if let Some(text) = LAST.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
        write(std::io::stdout(), &text);
    }
}

/// Terminals get lines that end between words; files and pipes get them whole.
fn write(mut stream: impl Write + IsTerminal, text: &str) {
    let text = if stream.is_terminal() { wrap(text, width()) } else { text.to_owned() };
    // Nobody may be reading any more (`| head`): no reason to panic, as `println!` does.
    let _ = writeln!(stream, "{text}");
}

/// Characters in a line of the terminal; where there is none, what `COLUMNS` says, or else 80.
pub(crate) fn width() -> usize {
    let terminal = || terminal_size::terminal_size_of(std::io::stdout());
    let terminal = terminal().or_else(|| terminal_size::terminal_size_of(std::io::stderr()));
    let told = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|&columns| columns > 0);
    terminal.map(|(width, _)| width.0.into()).or_else(told).unwrap_or(80).max(20)
}

/// Breaks lines that are too long between words, and indents what follows like its line. What stands between backticks
/// stays in one piece, so that it can be copied.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let wrapped = text.lines().map(|line| {
        let indent = &line[..line.len() - line.trim_start().len()];
        fill(line, width, "", indent)
    });
    wrapped.collect::<Vec<_>>().join("\n")
}

fn fill(text: &str, width: usize, first: &str, others: &str) -> String {
    const KEPT: char = '\u{a0}'; // a blank at which no line ends
    let mut quoted = false;
    let kept = text.chars().map(|c| {
        quoted ^= c == '`';
        if quoted && c == ' ' { KEPT } else { c }
    });
    let kept: String = kept.collect();
    let options = Options::new(width)
        .initial_indent(first)
        .subsequent_indent(others)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    textwrap::fill(&kept, options).replace(KEPT, " ")
}

/// A bar of so many steps; hidden where stderr is no terminal.
pub(crate) fn steps_bar(steps: u32) -> ProgressBar {
    let bar = if shows_progress() { ProgressBar::new(steps.into()) } else { ProgressBar::hidden() };
    let template = match width() {
        0..50 => "step {pos}/{len}  {wide_msg}",
        50..80 => "[{bar:16}] step {pos}/{len}  {wide_msg}",
        _ => "[{bar:24}] step {pos}/{len}  {per_sec}  ETA {eta}  {wide_msg}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("== "))
}

/// The presets and objectives, a line each, as the end of a help text.
pub(crate) fn choices() -> String {
    let width = help_width();
    let list = |title: &str, items: &[(&str, &str)]| -> String {
        let longest = items.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let blank = " ".repeat(if width < 60 { 6 } else { longest + 4 });
        let rows = items.iter().map(|(name, text)| {
            if width < 60 {
                return format!("  {name}\n{}", fill(text, width, &blank, &blank));
            }
            fill(text, width, &format!("  {name:longest$}  "), &blank)
        });
        format!("{title}\n{}", rows.collect::<Vec<_>>().join("\n"))
    };
    let presets: Vec<_> = presets::ALL.iter().map(|preset| (preset.name, preset.summary)).collect();
    let presets = list("Presets (--preset NAME, of `train` and `bench`):", &presets);
    let objectives: Vec<_> = Objective::NAMES.iter().copied().zip(Objective::DOCS.iter().copied()).collect();
    let objectives = list("Objectives (`train --set objective=NAME`; docs/objectives.md):", &objectives);
    format!("{presets}\n\n{objectives}")
}

/// Exit codes, as the end of a help text.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 success; 1 `compare` found a difference; 2 an error, or a run that diverged; \
                              130 stopped by Ctrl-C; 143 stopped by SIGTERM.";

/// Lines longer than this are hard to read in a wide terminal.
pub(crate) fn help_width() -> usize {
    width().min(100)
}

/// All settings by section, each with its value in `config`, the values that it can have, and what it is.
pub(crate) fn settings_help(config: &Recipe, width: usize) -> String {
    let width = width.min(100);
    let settings = config.settings();
    let longest =
        settings.iter().map(|setting| setting.name.len()).max().filter(|_| width >= 60).unwrap_or(0);
    let intro = format!(
        "Settings of preset `{}`: name, value, what it is, [allowed values]. Change one with `--set NAME=VALUE`, or many in a TOML file \
         with `--config FILE`.",
        config.preset
    );
    let mut text = fill(&intro, width, "", "");
    let mut section = None;
    for Setting { name: key, value, allowed, doc, used_by, is_used, .. } in settings {
        let own = key.split_once('.').map_or("", |(section, _)| section);
        if section.replace(own) != Some(own) {
            let about = SECTIONS.iter().find(|(name, _)| *name == own).map_or("Run.", |(_, about)| about);
            let title = if own.is_empty() { about.to_owned() } else { format!("[{own}] {about}") };
            text += &format!("\n\n{}", fill(&title, width, "", ""));
        }
        text += &format!("\n{key:longest$} {value}\n");
        let use_of = match used_by {
            Some(what) if is_used => format!(" Used by {what}."),
            Some(what) => format!(" No effect here: used by {what}."),
            None => String::new(),
        };
        text += &fill(&format!("{doc} [{allowed}]{use_of}"), width, "    ", "    ");
    }
    text
}

/// The first lines of a run: what is trained on what, and what is not as in the preset.
pub(crate) fn print_recipe(config: &Recipe, recipe: &Path) {
    if is_verbose() {
        print_line(format_args!("{}\n", config.to_toml().trim_end()));
    }
    let changes = changes(config);
    let changes = if changes.is_empty() { "none".to_owned() } else { changes.join(", ") };
    print_line(format_args!(
        "Preset `{}`, changes: {changes}. All settings: {}",
        config.preset,
        recipe.display()
    ));
}

/// What differs from the preset, as `key=value`.
fn changes(config: &Recipe) -> Vec<String> {
    let preset = Recipe::preset(&config.preset).unwrap_or_default();
    let own = config.settings().into_iter().zip(preset.settings());
    let mut changes: Vec<_> = own
        .filter(|(now, was)| now.value != was.value)
        .map(|(now, _)| format!("{}={}", now.name, now.value))
        .collect();
    if let Some(network) = config.network.as_ref().and_then(|spec| spec.build().ok()) {
        changes.insert(0, format!("network `{}`", network.name));
    }
    changes
}

/// What examples of a shape are called.
pub(crate) fn kind(shape: Shape) -> &'static str {
    match shape {
        shape if shape.is_sequence() => "sequences",
        shape if shape.is_points() => "points",
        _ => "images",
    }
}

/// Writes all settings of a run to a file that `train --config` takes.
///
/// # Errors
/// Those of [`write_atomically`].
pub(crate) fn write_recipe(path: &Path, config: &Recipe, data: &str, device: &str) -> Result<()> {
    let line = |text: &str| text.replace(['\n', '\r'], " ");
    let text = format!(
        "# All settings of this run, by thalweg {}; `thalweg train --config FILE` repeats it on the same data and device.\n\
         # data: {}\n# device: {}\n\n{}",
        env!("CARGO_PKG_VERSION"),
        line(data),
        line(device),
        config.to_toml()
    );
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    write_atomically(path, |file| file.write_all(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_commands_do_not() {
        let text = "Stopped after step 7 of 9. Saved; `thalweg train --resume --out run` goes on.";
        let wrapped = wrap(text, 40);
        assert_eq!(
            wrapped,
            "Stopped after step 7 of 9. Saved;\n`thalweg train --resume --out run` goes\non."
        );
        assert_eq!(
            wrap("  two  blanks stay\n\n  and indents do", 12),
            "  two\n  blanks\n  stay\n\n  and\n  indents do"
        );
        assert_eq!(wrap("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b", 20), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nb");
        assert_eq!(wrap("", 20), "");
    }

    #[test]
    fn changes_are_those_from_the_preset() {
        let mut config = Recipe::preset("conv-pool").unwrap();
        assert!(changes(&config).is_empty());
        config.set("chain.steps=7").unwrap();
        config.set("adam.learning_rate=1e-5").unwrap();
        assert_eq!(changes(&config), ["chain.steps=7", "adam.learning_rate=1e-5"]);
    }
}
