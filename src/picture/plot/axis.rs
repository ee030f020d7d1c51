//! Axes: where ticks go and what they say.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

/// An axis with ticks at round numbers, linear or logarithmic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    silent: bool,
}

impl Axis {
    /// From `low` to `high`, any finite numbers; where they are one number, or nearly, the axis gets some length.
    pub fn linear(low: f64, high: f64) -> Self {
        let least = low.abs().max(high.abs()).max(1e-30) * 1e-6;
        let room = if high - low < least { least } else { 0.0 };
        Self { low: low - room, high: high + room, logarithmic: false, silent: false }
    }

    /// From `low` to `high`, both more than 0.
    pub fn logarithmic(low: f64, high: f64) -> Self {
        let room = if high / low < 1.01 { 1.01 } else { 1.0 };
        Self { low: low / room, high: high * room, logarithmic: true, silent: false }
    }

    /// The same, with ticks that say nothing: for panels whose neighbours say it.
    pub(super) fn silent(self) -> Self {
        Self { silent: true, ..self }
    }

    /// Its ends, lower first.
    pub fn ends(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// How far along the axis a value lies: 0 at the lower end, 1 at the upper one.
    pub fn place(&self, value: f64) -> f64 {
        if self.logarithmic {
            (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// Ticks that `pixels` have room for.
    pub(super) fn n_ticks(&self, pixels: i32) -> usize {
        (pixels / if self.logarithmic { 26 } else { 44 }).max(2) as usize
    }

    /// At most `most` round numbers from end to end.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        if !self.logarithmic {
            return ticks(self.low, self.high, most);
        }
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let every = |numbers: &[f64], decades: usize| -> Vec<f64> {
            let values = (first..=last).step_by(decades);
            let values = values.flat_map(|decade| numbers.iter().map(move |n| n * 10_f64.powi(decade)));
            values.filter(|v| (self.low..=self.high).contains(v)).collect()
        };
        for numbers in [&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0][..], &[1.0, 2.0, 5.0], &[1.0, 3.0]] {
            let found = every(numbers, 1);
            if found.len() <= most && found.len() > 1 {
                return found;
            }
        }
        (1..).map(|decades| every(&[1.0], decades)).find(|found| found.len() <= most).unwrap_or_default()
    }
}

/// At most `most` multiples of 1, 2 or 5 times a power of ten from `low` to `high`, as densely as that goes.
pub fn ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let step = step(low, high, most);
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    // Adding 0 makes -0 plain.
    (0..=(last - first).max(0.0) as usize).map(|i| (first + i as f64) * step + 0.0).collect()
}

fn step(low: f64, high: f64, most: usize) -> f64 {
    let least = (high - low) / most.max(2) as f64;
    let power = 10_f64.powi(least.log10().floor() as i32);
    let fits = |step: &f64| (high / step + 1e-9).floor() - (low / step - 1e-9).ceil() < most as f64;
    [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(fits).unwrap_or(20.0 * power)
}

/// A number with three digits that count.
pub(super) fn rounded(value: f64) -> String {
    let decimals =
        if value == 0.0 { 0 } else { (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize };
    short(value, decimals)
}

/// A number as axes and titles show it: short, with a true minus sign.
pub(super) fn short(value: f64, decimals: usize) -> String {
    let magnitude = value.abs();
    let text = if magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        format!("{value:.2e}").replace(".00e", "e").replace("0e", "e")
    } else {
        format!("{value:.decimals$}")
    };
    text.replace('-', "\u{2212}")
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        // Far outside is as good as just outside; NaN, which nobody draws, is the start.
        let place = self.place(*value).clamp(-10.0, 10.0);
        first + (place * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        self.ticks(hint.max_num_points())
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        if self.silent {
            return String::new();
        }
        if self.logarithmic {
            return short(*value, (-value.log10().floor()).max(0.0) as usize);
        }
        // As many decimals as the ticks' distance has.
        let distance = step(self.low, self.high, 9);
        short(*value, (-distance.log10().floor()).clamp(0.0, 6.0) as usize)
    }
}
