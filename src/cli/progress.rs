//! What `train` shows while it runs: a live bar on a terminal, plain lines elsewhere, and a table row an epoch.

use super::{print_line, screen};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::time::{Duration, Instant};
use thalweg::train::log::{HeldOutFigures, StepMetrics};
use thalweg::train::run::EpochFigures;

/// How a run is getting on. The bar and the plain lines go to stderr, what is printed with [`Self::println`] to stdout.
pub(crate) struct Progress {
    /// None where stderr is no terminal.
    bar: Option<ProgressBar>,
    has_negatives: bool,
    total_steps: u64,
    n_epochs: u64,
    step: u64,
    rate: Rate,
    table: Table,
    /// Without a bar: when the last line was shown, and the line that waits to be.
    shown: Option<Instant>,
    waiting: Option<String>,
}

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Characters of the bar, at most and at least.
const BAR_WIDTH: [usize; 2] = [24, 8];

impl Progress {
    /// For a run of `total_steps` steps of which `already_done` were done before, by the part that is resumed.
    pub(crate) fn new(total_steps: u64, already_done: u64, steps_per_epoch: u64) -> Self {
        // Bar and figures are one message, so that they are always drawn together.
        let style = ProgressStyle::with_template("{msg}").expect("a valid template");
        let bar = ProgressBar::new(total_steps).with_style(style);
        let n_epochs = total_steps.div_ceil(steps_per_epoch.max(1));
        Self {
            bar: (!bar.is_hidden() && screen::shows_progress()).then_some(bar),
            has_negatives: true,
            total_steps,
            n_epochs,
            step: already_done,
            rate: Rate { steps: 0.0, seconds: 0.0, last: Instant::now() },
            table: Table { columns: Vec::new() },
            shown: None,
            waiting: None,
        }
    }

    /// Whether there are fake images, whose energy is shown; there are unless this says not.
    pub(crate) fn negatives(self, has_negatives: bool) -> Self {
        Self { has_negatives, ..self }
    }

    /// Prints the head of the table of epochs, which is as wide as the terminal allows now.
    pub(crate) fn begin_table(&mut self, has_held_out: bool) {
        let width = screen::width();
        self.table = Table::new(width, self.n_epochs, self.total_steps, self.has_negatives, has_held_out);
        self.println(format!("\n{}\n\n{}", self.table.legend(width), self.table.header()));
    }

    /// Prints an epoch's row of the table.
    pub(crate) fn epoch(&self, figures: &EpochFigures) {
        self.println(self.table.row(figures));
    }

    /// Shows that `step` steps are done, the last of them in `epoch` (counted from 1) with these figures. May be called
    /// after every step or every so many.
    pub(crate) fn update(&mut self, step: u64, epoch: u64, metrics: &StepMetrics) {
        let now = Instant::now();
        self.rate.add(step.saturating_sub(self.step), now);
        self.step = step;
        let rate = self.rate.per_second();
        let eta = duration(self.total_steps.saturating_sub(step) as f64 / rate);
        let pace = Pace {
            step,
            total: self.total_steps,
            epoch: format!("epoch {epoch}/{}", self.n_epochs),
            speed: format!("{} steps/s", speed(rate)),
            eta: format!("ETA {eta}"),
        };
        let [loss, real, fake] = [metrics.loss, metrics.energy_real, metrics.energy_fake].map(figure);
        let mut figures = vec![format!("loss {loss:<7}"), format!("E real {real:<7}")];
        if self.has_negatives {
            figures.push(format!("E fake {fake}"));
        }
        if let Some(bar) = &self.bar {
            bar.set_message(pace.bar(&figures, screen::width()));
        } else if screen::shows_progress() {
            self.waiting = Some(pace.line(&figures, screen::width()));
            if self.shown.is_none_or(|shown| now - shown >= LINE_EVERY) {
                self.shown = Some(now);
                self.show_waiting();
            }
        }
    }

    /// Prints a line, or several, above the bar.
    pub(crate) fn println(&self, line: impl AsRef<str>) {
        let print = || print_line(line.as_ref());
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Prints a line to stderr, above the bar.
    pub(crate) fn warn(&self, line: impl AsRef<str>) {
        let print = || drop(writeln!(std::io::stderr(), "{}", line.as_ref()));
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away; without one, shows the last line if it wasn't yet.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.show_waiting();
    }

    fn show_waiting(&mut self) {
        if let Some(line) = self.waiting.take() {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

/// Where a run is, in words.
struct Pace {
    step: u64,
    total: u64,
    epoch: String,
    speed: String,
    eta: String,
}

impl Pace {
    /// Two lines of at most `width` characters less one, as terminals differ in what they do with a full line: a bar with the
    /// pace, and figures.
    fn bar(&self, figures: &[String], width: usize) -> String {
        let width = width.saturating_sub(1);
        let Self { step, total, epoch, speed, eta } = self;
        let steps = format!("{step}/{total}");
        let texts = [steps.as_str(), epoch, speed, eta];
        let [longest, shortest] = BAR_WIDTH;
        // What goes first where there is no room: the speed, then the epoch.
        let drops: [&[usize]; 3] = [&[], &[2], &[1, 2]];
        let kept = drops.map(|drop| {
            let kept: Vec<_> = (0..texts.len()).filter(|ix| !drop.contains(ix)).map(|ix| texts[ix]).collect();
            kept.join("  ")
        });
        let room = |text: &String| width.saturating_sub(text.chars().count() + 3);
        let with_bar = kept.iter().find(|text| room(text) >= shortest);
        let first = match with_bar {
            Some(text) => {
                let length = room(text).min(longest);
                let done = (length as u64 * (*step).min(*total) / (*total).max(1)) as usize;
                let rest = length - done;
                format!("[{:=<done$}{:rest$}] {text}", "", "")
            }
            None => cut(&kept[2], width),
        };
        format!("{first}\n{}", joined(figures.iter().map(String::as_str), width))
    }

    /// One line of at most `width` characters, for a file or a pipe.
    fn line(&self, figures: &[String], width: usize) -> String {
        let Self { step, total, epoch, speed, eta } = self;
        let steps = format!("step {step}/{total}");
        let figures: Vec<_> = figures.iter().map(|text| text.trim_end()).collect();
        let orders: [&[&str]; 4] =
            [&[&steps, epoch, speed, eta], &[&steps, speed, eta], &[&steps, eta], &[&steps]];
        let lines = orders.map(|order| [order, &figures].concat().join("  "));
        let fits = |line: &&String| line.chars().count() <= width;
        lines.iter().find(fits).cloned().unwrap_or_else(|| joined(lines[3].split("  "), width))
    }
}

/// As many of the parts as fit, with two blanks between them.
fn joined<'a>(parts: impl Iterator<Item = &'a str>, width: usize) -> String {
    let mut line = String::new();
    for part in parts {
        if line.is_empty() {
            line.push_str(part);
        } else if line.len() + 2 + part.trim_end().len() <= width {
            line += &format!("  {part}");
        } else {
            break;
        }
    }
    cut(line.trim_end(), width)
}

/// The first `width` characters.
fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// Steps a second, recent ones weighing more: what lies 30 s back weighs 1/e.
struct Rate {
    steps: f64,
    seconds: f64,
    last: Instant,
}

impl Rate {
    fn add(&mut self, n_steps: u64, now: Instant) {
        let seconds = (now - self.last).as_secs_f64();
        let keep = (-seconds / 30.0).exp();
        self.steps = self.steps * keep + n_steps as f64;
        self.seconds = self.seconds * keep + seconds;
        self.last = now;
    }

    /// NaN or infinite before any time has gone by.
    fn per_second(&self) -> f64 {
        self.steps / self.seconds
    }
}

/// Steps a second: "0.153", "4.1", "1300".
fn speed(rate: f64) -> String {
    let decimals = if rate < 1.0 {
        3
    } else if rate < 100.0 {
        1
    } else {
        0
    };
    format!("{rate:.decimals$}")
}

/// "45s", "2m20s", "3h05m", "2d03h"; "?" if it can't be told.
fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "?".into();
    }
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

/// A number in at most seven characters, as precisely as they allow, with no more than four decimals.
fn figure(v: f32) -> String {
    if v.is_nan() {
        return "nan".into();
    }
    let small = v != 0.0 && v.abs() < 1e-3;
    let plain = (0..5).rev().map(|decimals| format!("{v:.decimals$}"));
    let scientific = (0..2).rev().map(|decimals| format!("{v:.decimals$e}"));
    let fits = |text: &String| text.len() <= 7;
    let found = if small { scientific.chain(plain).find(fits) } else { plain.chain(scientific).find(fits) };
    found.expect("-1e-45 and -3e38 are the longest")
}

/// The table of epochs: those columns that there are figures for and that fit.
struct Table {
    columns: Vec<Column>,
}

#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    is_held_out: bool,
    /// With the blank before it.
    width: usize,
    /// 0 stays whatever happens; the others go where the terminal is narrow, the largest first.
    dispensable: u8,
    text: fn(&EpochFigures) -> String,
}

impl Table {
    fn new(width: usize, n_epochs: u64, n_steps: u64, has_negatives: bool, has_held_out: bool) -> Self {
        let digits = |n: u64| n.to_string().len();
        let column =
            |name, width, dispensable, text| Column { name, is_held_out: false, width, dispensable, text };
        let train = |name, dispensable, text| column(name, 8, dispensable, text);
        let held_out =
            |name, dispensable, text| Column { is_held_out: true, ..column(name, 8, dispensable, text) };
        let mut columns = vec![
            column("epoch", digits(n_epochs).max(5), 0, |f| f.epoch.to_string()),
            column("step", digits(n_steps).max(6) + 1, 6, |f| f.step.to_string()),
            train("loss", 0, |f| figure(f.train.loss)),
            train("cdiv", 10, |f| figure(f.train.divergence)),
            train("reg", 11, |f| figure(f.train.regularisation)),
            train("E real", 1, |f| figure(f.train.energy_real)),
            train("E fake", 2, |f| figure(f.train.energy_fake)),
            train("|grad|", 7, |f| figure(f.train.gradient_norm)),
            held_out("loss", 8, |f| of_held_out(f, |held| held.loss)),
            held_out("cdiv", 9, |f| of_held_out(f, |held| held.divergence)),
            held_out("E real", 3, |f| of_held_out(f, |held| held.energy_real)),
            held_out("E noise", 4, |f| of_held_out(f, |held| held.energy_noise)),
            column("seconds", 9, 5, |f| seconds(f.seconds)),
        ];
        columns.retain(|column| match (column.is_held_out, column.name) {
            (false, "E fake" | "cdiv") | (true, "loss") => has_negatives, // what contrastive divergence has
            _ => true,
        });
        columns.retain(|column| has_held_out || !column.is_held_out);
        while columns.iter().map(|column| column.width).sum::<usize>() > width {
            let most = columns.iter().map(|column| column.dispensable).max().unwrap_or(0);
            if most == 0 {
                break;
            }
            columns.retain(|column| column.dispensable < most);
        }
        Self { columns }
    }

    /// What the columns mean, as far as one line of `width` characters takes it.
    fn legend(&self, width: usize) -> String {
        let has = |name: &str, is_held_out: bool| {
            self.columns.iter().any(|column| column.name == name && column.is_held_out == is_held_out)
        };
        let whose = match (has("E fake", false), has("E noise", true)) {
            (true, true) => "data, chains (fake) and uniform noise",
            (true, false) => "data and of chains (fake)",
            (false, true) => "data and of uniform noise",
            (false, false) => "data",
        };
        let mut legend = cut(&format!("E: mean energy of {whose}"), width);
        let others = [
            (has("|grad|", false), "|grad|: the gradient's norm"),
            (has("reg", false), "reg: penalties"),
            (has("cdiv", true), "cdiv: E real - E noise"),
            (has("cdiv", false), "cdiv: E real - E fake"),
        ];
        for (is_there, text) in others {
            if is_there && legend.len() + 2 + text.len() <= width {
                legend += &format!("; {text}");
            }
        }
        legend
    }

    /// The lines above the rows.
    fn header(&self) -> String {
        let held_out = self.columns.iter().filter(|column| column.is_held_out);
        let held_out: usize = held_out.map(|column| column.width).sum();
        let before = self.columns.iter().take_while(|column| !column.is_held_out);
        let before: usize = before.map(|column| column.width).sum();
        let names = self.line(|column| column.name.to_owned());
        match held_out {
            0 => names,
            1..=8 => format!("{:before$}{:>held_out$}\n{names}", "", "held"),
            _ => format!("{:before$} |{:-^bar$}|\n{names}", "", " held out ", bar = held_out - 3),
        }
    }

    fn row(&self, figures: &EpochFigures) -> String {
        self.line(|column| (column.text)(figures))
    }

    fn line(&self, text: impl Fn(&Column) -> String) -> String {
        let cells = self.columns.iter().map(|column| format!("{:>1$}", text(column), column.width));
        cells.collect()
    }
}

fn of_held_out(figures: &EpochFigures, value: fn(&HeldOutFigures) -> f32) -> String {
    figures.held_out.as_ref().map_or("-".to_owned(), |held| figure(value(held)))
}

/// Seconds in at most eight characters.
fn seconds(seconds: f64) -> String {
    let text = format!("{seconds:.1}");
    if text.len() <= 8 { text } else { format!("{seconds:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures_of(v: f32) -> EpochFigures {
        let held_out = HeldOutFigures { loss: v, divergence: v, energy_real: v, energy_noise: v };
        let train = bytemuck::cast([v; 8]);
        EpochFigures { epoch: 10, step: 4690, train, held_out: Some(held_out), seconds: 61.5 }
    }

    /// Where the columns end.
    fn ends(row: &str) -> Vec<usize> {
        let blank = |ix: usize| row.as_bytes().get(ix).is_none_or(|&byte| byte == b' ');
        (1..=row.len()).filter(|&ix| blank(ix) && !blank(ix - 1)).collect()
    }

    /// Values that are shown in many ways.
    const VALUES: [f32; 23] = [
        0.0,
        -0.0,
        1.0,
        -0.0146,
        9.99996,
        -9.99996,
        0.0009999,
        -0.00099999,
        1e-3,
        3e-5,
        -1e-45,
        99.99999,
        -123_456.7,
        9_999_999.0,
        -999_999.9,
        1e7,
        -1e10,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ];

    #[test]
    fn columns_align_and_fit_for_all_values_and_widths() {
        for width in [20, 40, 60, 79, 80, 100, 103, 120, 300] {
            for (has_negatives, has_held_out) in [(true, true), (true, false), (false, true), (false, false)]
            {
                for (n_epochs, n_steps) in [(1, 9), (71, 10_000), (1_000_000, 1_000_000_000)] {
                    let table = Table::new(width, n_epochs, n_steps, has_negatives, has_held_out);
                    let head = table.header();
                    let names = head.lines().last().unwrap().replace("E ", "E_");
                    for v in VALUES {
                        let row =
                            table.row(&EpochFigures { epoch: n_epochs, step: n_steps, ..figures_of(v) });
                        assert_eq!(ends(&row), ends(&names), "{v}\n{names}\n{row}");
                        assert!(row.len() <= width.max(24), "{width}: {row}");
                    }
                    let bare = EpochFigures { held_out: None, seconds: 999_999_999.9, ..figures_of(0.5) };
                    assert_eq!(ends(&table.row(&bare)), ends(&names));
                    if head.lines().count() == 2 {
                        let end = |line: &str, last: char| line.rfind(last).map(|ix| ix + 1);
                        let above = head.lines().next().unwrap();
                        let last = names.trim_end_matches("  seconds");
                        assert_eq!(above.len(), last.len(), "{head}");
                        assert!(end(above, '|').is_none_or(|end| end == above.len()), "{head}");
                    }
                }
            }
        }
        let names = |width| Table::new(width, 10, 1000, true, true).header();
        for name in ["epoch", "step", "loss", "E real", "E fake", "|grad|", "held out", "E noise", "seconds"]
        {
            assert!(names(80).contains(name), "{name}");
        }
        assert!(names(120).contains("cdiv") && names(120).contains("reg"));
        assert!(!Table::new(120, 10, 1000, false, true).header().contains("fake"));
    }

    #[test]
    fn bars_and_lines_fit() {
        let figures = ["loss 9.9e-10", "E real -9.9e10", "E fake -3e38"].map(str::to_owned);
        for (step, total) in [(0, 1), (1, 2), (10_000, 10_000), (999_999_999, 1_000_000_000)] {
            let pace = Pace {
                step,
                total,
                epoch: format!("epoch {step}/{total}"),
                speed: "1300 steps/s".to_owned(),
                eta: "ETA 365d00h".to_owned(),
            };
            for width in [20, 30, 40, 60, 80, 100, 200] {
                let bar = pace.bar(&figures, width);
                assert_eq!(bar.lines().count(), 2, "{bar}");
                assert!(bar.lines().all(|line| line.len() < width), "{width}: {bar}");
                assert!(bar.contains(&step.to_string()) && bar.contains("loss 9.9e-10"), "{bar}");
                let line = pace.line(&figures, width);
                assert!(line.len() <= width.max(30) && line.contains(&step.to_string()), "{width}: {line}");
            }
            assert!(pace.bar(&figures, 80).contains('[') && pace.bar(&figures, 80).contains("E fake"));
        }
        let pace = |step| {
            let [epoch, speed, eta] = ["epoch 1/1", "1.0 steps/s", "ETA 2s"].map(str::to_owned);
            Pace { step, total: 4, epoch, speed, eta }.bar(&figures, 100)
        };
        assert_eq!(
            pace(1).lines().next().unwrap(),
            format!("[{:=<6}{:18}] 1/4  epoch 1/1  1.0 steps/s  ETA 2s", "", "")
        );
        assert!(pace(4).starts_with(&format!("[{}]", "=".repeat(24))));
    }

    #[test]
    fn figures_keep_what_seven_characters_can_hold() {
        for (v, text) in [
            (-0.0146, "-0.0146"),
            (12.345_678, "12.3457"),
            (-12.345_678, "-12.346"),
            (-123_456.7, "-123457"),
            (3e-5, "3.0e-5"),
            (-1e-10, "-1e-10"),
            (0.0, "0.0000"),
            (1e10, "1.0e10"),
            (f32::NAN, "nan"),
            (f32::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(figure(v), text);
        }
        for exponent in -45..39 {
            for v in [1.0f64, 2.34567, 9.99999].map(|m| m * 10f64.powi(exponent)) {
                let (plus, minus) = (v as f32, -v as f32);
                for v in [plus, minus].into_iter().filter(|v| v.is_finite()) {
                    let back: f32 = figure(v).parse().unwrap();
                    assert!((back - v).abs() <= 0.2 * v.abs(), "{v} shown as {}", figure(v));
                }
            }
        }
    }

    #[test]
    fn durations_read_well() {
        for (seconds, text) in [
            (0.2, "0s"),
            (59.6, "1m00s"),
            (140.0, "2m20s"),
            (11_100.0, "3h05m"),
            (183_600.0, "2d03h"),
            (f64::INFINITY, "?"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn the_rate_follows_a_change_of_speed() {
        let start = Instant::now();
        let mut rate = Rate { steps: 0.0, seconds: 0.0, last: start };
        for second in 1..=60 {
            rate.add(4, start + Duration::from_secs(second));
        }
        assert!((rate.per_second() - 4.0).abs() < 1e-9);
        for second in 61..=180 {
            rate.add(2, start + Duration::from_secs(second));
        }
        assert!((rate.per_second() - 2.0).abs() < 0.05, "{}", rate.per_second());
    }
}
