//! Sequences as curves over time.

use super::curves::Spread;
use super::*;
use crate::data::Images;

/// Sequences on a page, at most.
pub const MAX_SEQUENCES: usize = 100;

const WIDTH: i32 = 220;
const HEIGHT: i32 = 136;
/// Between two panels, and between rows of them: a title.
const GAP: i32 = 16;
const TITLED: i32 = 34;

/// Sequences of shape `[d, 1, time]`, the first [`MAX_SEQUENCES`] of them, a panel each, with its title over it: `d` lines
/// over time, of a colour each, on the same axes everywhere. `titles` holds one title a sequence, or is empty. Moments whose
/// value is not finite are marked at the foot of their panel.
///
/// # Panics
/// If they are no sequences, or there are titles, but not one a sequence.
pub fn sequences(images: &Images, titles: &[String]) -> RgbImage {
    let (d, time) = (images.shape.channels, images.shape.width);
    assert!(images.shape.is_single_row() && time > 1, "{} is no sequence", images.shape);
    assert!(titles.is_empty() || titles.len() == images.count(), "{} titles", titles.len());
    let n = images.count().min(MAX_SEQUENCES);
    let columns = (n as f64).sqrt().ceil().max(1.0) as usize;
    let rows = n.div_ceil(columns).max(1);
    let x = Axis::linear(0.0, (time - 1) as f64);
    let y = Spread::of(images.values[..n * d * time].iter().map(|v| f64::from(*v))).axis();
    let (low, high) = y.ends();
    let of = |cells: usize, size: i32, gap: i32| cells as i32 * (size + gap);
    let (left, top) = (LEFT + 8, TOP + TITLED);
    let (width, height) = (of(columns, WIDTH, GAP), of(rows, HEIGHT, TITLED));
    page(left + width, top + height - TITLED + BOTTOM + 8, |area| {
        for ix in 0..n {
            let (column, row) = (ix % columns, ix / columns);
            let (panel_left, panel_top) = (left + of(column, WIDTH, GAP), top + of(row, HEIGHT, TITLED));
            let panel = Panel { left: panel_left, top: panel_top, width: WIDTH, height: HEIGHT };
            // Numbers stand at the page's left edge, and under the last panel of each column.
            let is_last = ix + columns >= n;
            let axes_here = (if is_last { x } else { x.silent() }, if column == 0 { y } else { y.silent() });
            let chart = axes(area, panel, axes_here, (if is_last { "time" } else { "" }, ""), true);
            let sequence = images.image(ix);
            for (feature, values) in sequence.chunks_exact(time).enumerate() {
                let colour = LINES[feature % LINES.len()];
                let points: Vec<_> =
                    values.iter().enumerate().map(|(t, v)| (t as f64, f64::from(*v))).collect();
                for part in points.split(|(_, value)| !value.is_finite()) {
                    // Lines that leave the panel go on along its border.
                    let part = part.iter().map(|(t, value)| (*t, value.clamp(low, high)));
                    line(&chart, part, colour.stroke_width(FINE as u32 * 3 / 2));
                }
            }
            frame(area, panel);
            for moment in 0..time {
                if (0..d).all(|feature| sequence[feature * time + moment].is_finite()) {
                    continue;
                }
                mark(area, panel, x.place(moment as f64));
            }
            if let Some(text) = titles.get(ix) {
                write(area, text, TEXT, INK, (panel.left, panel.top - 6), (HPos::Left, VPos::Bottom));
            }
        }
        let whole = Panel { left, top: TOP, width: width - GAP, height };
        if (2..=LINES.len()).contains(&d) {
            let entries: Vec<_> = (0..d).map(|feature| (feature.to_string(), LINES[feature])).collect();
            legend(area, whole, &entries);
        }
    })
}
