//! What `train` shows while it runs: a live bar on a terminal, plain lines elsewhere, and a table row an epoch.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::time::{Duration, Instant};
use thalweg::train::metrics::{HeldOutFigures, StepMetrics};

/// How a run is getting on. The bar and the plain lines go to stderr, what is printed with [`Self::println`] to stdout.
pub struct Progress {
    /// None where stderr is no terminal.
    bar: Option<ProgressBar>,
    has_fakes: bool,
    total_steps: u64,
    n_epochs: u64,
    step: u64,
    rate: Rate,
    /// Without a bar: when the last line was shown, and the line that waits to be.
    shown: Option<Instant>,
    waiting: Option<String>,
}

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Characters of the bar.
const BAR_WIDTH: u64 = 24;

impl Progress {
    /// For a run of `total_steps` steps of which `already_done` were done before, by the part that is resumed.
    pub fn new(total_steps: u64, already_done: u64, steps_per_epoch: u64) -> Self {
        // Bar and figures are one message, so that they are always drawn together.
        let style = ProgressStyle::with_template("{msg}").expect("a valid template");
        let bar = ProgressBar::new(total_steps).with_style(style);
        Self {
            bar: (!bar.is_hidden()).then_some(bar),
            has_fakes: true,
            total_steps,
            n_epochs: total_steps.div_ceil(steps_per_epoch.max(1)),
            step: already_done,
            rate: Rate { steps: 0.0, seconds: 0.0, last: Instant::now() },
            shown: None,
            waiting: None,
        }
    }

    /// Whether there are fake images, whose energy is shown; there are unless this says not.
    pub fn fakes(self, has_fakes: bool) -> Self {
        Self { has_fakes, ..self }
    }

    /// Shows that `step` steps are done, the last of them in `epoch` (counted from 1) with these figures. May be called
    /// after every step or every so many.
    pub fn update(&mut self, step: u64, epoch: u64, metrics: &StepMetrics) {
        let now = Instant::now();
        self.rate.add(step.saturating_sub(self.step), now);
        self.step = step;
        let total = self.total_steps;
        let rate = self.rate.per_second();
        let eta = duration(total.saturating_sub(step) as f64 / rate);
        let pace = format!("epoch {epoch}/{}  {} steps/s  ETA {eta}", self.n_epochs, speed(rate));
        let [loss, real, fake] = [metrics.loss, metrics.energy_real, metrics.energy_fake].map(figure);
        let mut figures = format!("loss {loss:<7}  E real {real:<7}");
        if self.has_fakes {
            figures += &format!("  E fake {fake}");
        }
        if let Some(bar) = &self.bar {
            let done = (BAR_WIDTH * step.min(total) / total.max(1)) as usize;
            let rest = BAR_WIDTH as usize - done;
            bar.set_message(format!("[{:=<done$}{:rest$}] {step}/{total}  {pace}\n{figures}", "", ""));
        } else {
            self.waiting = Some(format!("step {step}/{total}  {pace}  {figures}"));
            if self.shown.is_none_or(|shown| now - shown >= LINE_EVERY) {
                self.shown = Some(now);
                self.show_waiting();
            }
        }
    }

    /// Prints a line, or several, above the bar.
    pub fn println(&self, line: impl AsRef<str>) {
        // Nobody may be reading any more (`| head`): no reason to stop training.
        let print = || drop(writeln!(std::io::stdout(), "{}", line.as_ref()));
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Prints a line to stderr, above the bar.
    pub fn warn(&self, line: impl AsRef<str>) {
        let print = || drop(writeln!(std::io::stderr(), "{}", line.as_ref()));
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away; without one, shows the last line if it wasn't yet.
    pub fn finish(&mut self) {
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

/// What an epoch's row of the table shows.
#[derive(Clone, Copy, Debug)]
pub struct EpochFigures {
    /// The epoch that ended, counted from 1.
    pub epoch: u64,
    /// Training steps done since the run began.
    pub step: u64,
    /// Means over the epoch's training steps.
    pub train: StepMetrics,
    /// Whether there are fake images; without, the held-out images have no loss either: it is that of contrastive
    /// divergence.
    pub has_fakes: bool,
    /// None if nothing is held out.
    pub held_out: Option<HeldOutFigures>,
    /// How long the epoch took.
    pub seconds: f64,
}

/// The two lines above the table of epochs.
pub fn epoch_header() -> String {
    let held_out = format!("|{:-^29}|", " held out ");
    let names = ["loss", "cdiv", "reg", "E real", "E fake", "|grad|", "loss", "cdiv", "E real", "E noise"];
    format!("{:63}{held_out}\n{}", "", table_row("epoch", "step", &names, "seconds"))
}

/// One epoch's row of the table, aligned with [`epoch_header`].
pub fn epoch_row(figures: &EpochFigures) -> String {
    let train = &figures.train;
    let mut cells = [
        train.loss,
        train.divergence,
        train.regularisation,
        train.energy_real,
        train.energy_fake,
        train.gradient_norm,
    ]
    .map(figure)
    .to_vec();
    cells.extend(match &figures.held_out {
        Some(held) => [held.loss, held.divergence, held.energy_real, held.energy_noise].map(figure),
        None => ["-"; 4].map(String::from),
    });
    if !figures.has_fakes {
        (cells[4], cells[6]) = ("-".to_owned(), "-".to_owned());
    }
    table_row(
        &figures.epoch.to_string(),
        &figures.step.to_string(),
        &cells,
        &format!("{:.1}", figures.seconds),
    )
}

fn table_row(epoch: &str, step: &str, figures: &[impl AsRef<str>], seconds: &str) -> String {
    let figures: String = figures.iter().map(|figure| format!(" {:>7}", figure.as_ref())).collect();
    format!("{epoch:>5} {step:>8}{figures} {seconds:>8}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row_of(v: f32) -> String {
        let held_out = HeldOutFigures { loss: v, divergence: v, energy_real: v, energy_noise: v };
        let train = bytemuck::cast([v; 8]);
        epoch_row(&EpochFigures {
            epoch: 10,
            step: 4690,
            train,
            has_fakes: true,
            held_out: Some(held_out),
            seconds: 61.5,
        })
    }

    /// Where the columns end.
    fn ends(row: &str) -> Vec<usize> {
        let blank = |ix: usize| row.as_bytes().get(ix).is_none_or(|&byte| byte == b' ');
        (1..=row.len()).filter(|&ix| blank(ix) && !blank(ix - 1)).collect()
    }

    #[test]
    fn columns_align_for_all_values() {
        let header = epoch_header().lines().last().unwrap().replace("E ", "E_");
        let values = [
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
        for v in values {
            assert_eq!(ends(&row_of(v)), ends(&header), "{v}\n{header}\n{}", row_of(v));
        }
        let bare = EpochFigures {
            epoch: 99_999,
            step: 99_999_999,
            train: bytemuck::cast([0.5f32; 8]),
            has_fakes: false,
            held_out: None,
            seconds: 999_999.9,
        };
        assert_eq!(ends(&epoch_row(&bare)), ends(&header));
        let [above, names] =
            epoch_header().lines().map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(above.rfind('|').map(|ix| ix + 1), names.find("E noise").map(|ix| ix + 7));
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
