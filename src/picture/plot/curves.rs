//! Curves of a training run, from its metrics.

use super::axis::rounded;
use super::*;
use crate::train::log::MetricsTable;

/// Neighbouring steps of a curve, put together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The middle of its first and last step.
    pub step: f64,
    /// The lowest finite value; NaN if there is none.
    pub low: f64,
    /// The highest finite value; NaN if there is none.
    pub high: f64,
    /// The mean of the finite values; NaN if there are none.
    pub mean: f64,
    /// How many values are finite.
    pub n_finite: usize,
    /// How many are not.
    pub n_other: usize,
}

/// Puts neighbours together so that at most `most` buckets are left, all of as many values, but for the last one.
/// `steps` and `values` have one length.
pub fn decimate(steps: &[f64], values: &[f64], most: usize) -> Vec<Bucket> {
    let size = values.len().div_ceil(most.max(1)).max(1);
    let buckets = steps.chunks(size).zip(values.chunks(size)).map(|(steps, values)| {
        let finite = || values.iter().copied().filter(|v| v.is_finite());
        let n_finite = finite().count();
        Bucket {
            step: (steps[0] + steps[steps.len() - 1]) / 2.0,
            low: finite().fold(f64::NAN, f64::min),
            high: finite().fold(f64::NAN, f64::max),
            // Each divided first: a sum of the largest values could overflow.
            mean: if n_finite == 0 { f64::NAN } else { finite().map(|v| v / n_finite as f64).sum() },
            n_finite,
            n_other: values.len() - n_finite,
        }
    });
    buckets.collect()
}

/// The mean over each bucket and its neighbours up to `reach` away, each value counting the same; means beyond the
/// axis's ends count as its ends, so that one spike does not carry its neighbours off. NaN only where no value is finite.
fn smooth(buckets: &[Bucket], reach: usize, (low, high): (f64, f64)) -> Vec<f64> {
    let window = |i: usize| &buckets[i.saturating_sub(reach)..(i + reach + 1).min(buckets.len())];
    (0..buckets.len())
        .map(|i| {
            let n: usize = window(i).iter().map(|b| b.n_finite).sum();
            let weighted = window(i).iter().filter(|b| b.n_finite > 0);
            let mean = weighted.map(|b| b.mean.clamp(low, high) * (b.n_finite as f64 / n as f64)).sum();
            if n == 0 { f64::NAN } else { mean }
        })
        .collect()
}

/// The range of values that a plot shows: without the few far ones that would flatten the rest.
pub(super) struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.filter(|v| v.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self { sorted }
    }

    /// The value that a share of them lies below.
    fn at(&self, share: f64) -> f64 {
        self.sorted[((self.sorted.len() - 1) as f64 * share).round() as usize]
    }

    /// From the lowest to the highest, but for ends (of at most a hundredth of the values) that are far off.
    fn ends(&self) -> Option<(f64, f64)> {
        let (low, high) = (*self.sorted.first()?, *self.sorted.last()?);
        let (most_low, most_high) = (self.at(0.01), self.at(0.99));
        let far = most_high - most_low;
        let low = if most_low - low > far { most_low - far / 4.0 } else { low };
        Some((low, if high - most_high > far { most_high + far / 4.0 } else { high }))
    }

    /// A linear axis with some room.
    pub(super) fn axis(&self) -> Axis {
        let (low, high) = self.ends().unwrap_or((0.0, 1.0));
        let (low, high) = Axis::linear(low, high).ends();
        let room = (high - low) * 0.05;
        Axis::linear(low - room, high + room)
    }

    /// A logarithmic axis, if the values are all positive and span decades.
    fn logarithmic_axis(&self) -> Option<Axis> {
        let (low, high) = self.ends()?;
        let (low, high) = (low.max(self.sorted[0]), high);
        (low > 0.0 && high / low > 30.0).then(|| Axis::logarithmic(low / 1.2, high * 1.2))
    }
}

/// A column of `metrics.csv`, its name in a picture, and its colour.
type Column = (&'static str, &'static str, RGBColor);

/// Columns that belong in one panel, under its title.
const PANELS: [(&str, &[Column]); 3] = [
    (
        "Loss",
        &[
            ("loss", "loss", INK),
            ("cdiv", "cdiv", RGBColor(130, 60, 180)),
            ("reg", "reg", RGBColor(0, 140, 90)),
        ],
    ),
    ("Energy", &[("energy_real", "E real", REAL), ("energy_fake", "E fake", FAKE)]),
    ("Gradient norm", &[("gradient_norm", "|gradient|", RGBColor(190, 40, 70))]),
];
/// Columns that are no curves.
const NOT_CURVES: [&str; 3] = ["step", "epoch", "seconds"];

/// Points of a raw curve, and of a smooth one to either side that it is the mean of.
const BUCKETS: usize = 900;
const REACH: usize = 15;
const WIDTH: i32 = 920;
const HEIGHT: i32 = 190;

/// One curve of a panel.
struct Curve {
    name: String,
    colour: RGBColor,
    buckets: Vec<Bucket>,
}

/// A run's curves by step, a panel below the other: loss and its parts, energies, gradient norm, and each further column
/// by itself. Lines are running means; behind them, faint, is what each step gave. Steps whose value is not finite are
/// marked at the foot of their panel. A column without any finite value has no curve, unless it is the loss; nor have parts
/// of the loss that are always all of it, or 0.
pub fn curves(table: &MetricsTable) -> RgbImage {
    let steps = table.column("step").unwrap_or(&[]);
    let curve = |column: &str, name: &str, colour: RGBColor| {
        let values = table.column(column)?;
        Some(Curve { name: name.to_owned(), colour, buckets: decimate(steps, values, BUCKETS) })
    };
    let mut panels: Vec<(String, Vec<Curve>)> = PANELS
        .iter()
        .map(|(title, columns)| {
            let tells = |column: &&Column| *title != "Loss" || column.0 == "loss" || is_part(table, column.0);
            let columns = columns.iter().filter(tells);
            let found = columns.filter_map(|(column, name, colour)| curve(column, name, *colour));
            ((*title).to_owned(), found.collect())
        })
        .collect();
    let known = |name: &str| {
        NOT_CURVES.contains(&name) || PANELS.iter().any(|(_, columns)| columns.iter().any(|c| c.0 == name))
    };
    for name in table.names().filter(|name| !known(name)) {
        panels.push((name.replace('_', " "), curve(name, name, FAKE).into_iter().collect()));
    }
    for (_, curves) in &mut panels {
        // Some columns mean nothing to some objectives; but a run that never had a finite loss shows that.
        curves.retain(|c| c.name == "loss" || c.buckets.iter().any(|b| b.n_finite > 0));
    }
    panels.retain(|(_, curves)| !curves.is_empty());

    let pitch = TOP + HEIGHT + 24;
    page(8 + LEFT + WIDTH + RIGHT, panels.len().max(1) as i32 * pitch + 28, |area| {
        let (first, last) = (steps.first().copied().unwrap_or(0.0), steps.last().copied().unwrap_or(1.0));
        let x = Axis::linear(first, last);
        for (i, (name, curves)) in panels.iter().enumerate() {
            let panel = Panel { left: 8 + LEFT, top: TOP + i as i32 * pitch, width: WIDTH, height: HEIGHT };
            draw_panel(area, panel, x, name, curves, i + 1 == panels.len());
        }
    })
}

/// Whether a column is a part of the loss: neither all of it nor 0, in every step.
fn is_part(table: &MetricsTable, column: &str) -> bool {
    let (loss, part) = (table.column("loss").unwrap_or(&[]), table.column(column).unwrap_or(&[]));
    let is_all =
        loss.len() == part.len() && loss.iter().zip(part).all(|(a, b)| a == b || a.is_nan() && b.is_nan());
    !is_all && part.iter().any(|v| *v != 0.0)
}

fn draw_panel(area: &Area, panel: Panel, x: Axis, name: &str, curves: &[Curve], is_last: bool) {
    let spread = Spread::of(curves.iter().flat_map(|c| &c.buckets).flat_map(|b| [b.low, b.high]));
    let logarithmic = if curves.len() == 1 { spread.logarithmic_axis() } else { None };
    let y = logarithmic.unwrap_or_else(|| spread.axis());
    let chart = axes(area, panel, (x, y), (if is_last { "step" } else { "" }, ""), true);
    let (low, high) = y.ends();
    // Lines that leave the panel go on to its border.
    let inside = |v: f64| v.clamp(low, high);
    for Curve { colour, buckets, .. } in curves {
        for part in buckets.split(|b| b.n_finite == 0) {
            // Down and up through each bucket, so that no spike is lost.
            let ends = part.iter().flat_map(|b| [(b.step, inside(b.low)), (b.step, inside(b.high))]);
            let raw = PathElement::new(ends.collect::<Vec<_>>(), colour.mix(0.28).stroke_width(1));
            chart.plotting_area().draw(&raw).expect(CAN_DRAW);
        }
    }
    let mut entries = Vec::new();
    for Curve { name, colour, buckets } in curves {
        let means = smooth(buckets, REACH.min(buckets.len() / 20), (low, high));
        let last = means.iter().rev().find(|v| v.is_finite());
        entries.push((last.map_or(name.clone(), |v| format!("{name} {}", rounded(*v))), *colour));
        let points = buckets.iter().zip(&means).filter(|(b, _)| b.n_finite > 0);
        line(&chart, points.map(|(b, mean)| (b.step, *mean)), colour.stroke_width(2 * FINE as u32));
    }
    frame(area, panel);
    let mut n_other = 0;
    for (at, n) in curves.iter().flat_map(|c| &c.buckets).map(|b| (b.step, b.n_other)).filter(|b| b.1 > 0) {
        n_other += n;
        mark(area, panel, x.place(at));
    }
    title(area, panel, name);
    if n_other > 0 {
        entries.push((format!("{n_other} not finite"), LOUD));
    }
    legend(area, panel, &entries);
}
