//! Two-dimensional histograms.

use super::landscape::outside;
use super::*;

/// How many points lie in each cell of a square.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Cells along each side.
    pub side: usize,
    /// Points in each cell: rows from the lowest y up, each from the lowest x.
    pub counts: Vec<u32>,
    /// Points that lie in none, or are not finite.
    pub outside: u32,
}

impl Histogram {
    /// Cells along each side, as the notebooks have it.
    pub const SIDE: usize = 50;

    /// Counts. A cell has its lower ends and not its upper ones, but for the last ones, which have both.
    ///
    /// # Panics
    /// If `side` is 0.
    pub fn of(square: Square, side: usize, points: &[Point]) -> Self {
        assert!(side > 0, "a histogram without cells");
        let mut histogram = Self { side, counts: vec![0; side * side], outside: 0 };
        for point in points {
            if !square.contains(*point) {
                histogram.outside += 1;
                continue;
            }
            let cell = |axis: usize| {
                let from = f64::from(point[axis]) - f64::from(square.centre[axis]) + f64::from(square.half);
                ((from / f64::from(square.half) / 2.0 * side as f64).max(0.0) as usize).min(side - 1)
            };
            histogram.counts[cell(1) * side + cell(0)] += 1;
        }
        histogram
    }
}

/// Histograms of data and samples side by side, 50 cells either way. Without data the samples stand alone.
pub fn histograms(square: Square, data: &[Point], samples: &[Point]) -> RgbImage {
    let kinds = [("Data", data, REAL), ("Samples", samples, FAKE)];
    let kinds: Vec<_> = kinds.into_iter().filter(|kind| kind.0 == "Samples" || !kind.1.is_empty()).collect();
    let pitch = LEFT + SIDE + BAR_GAP + BAR + BAR_LABELS + 8;
    page(8 + kinds.len() as i32 * pitch, TOP + SIDE + BOTTOM + 8, |area| {
        for (i, (name, points, colour)) in kinds.iter().enumerate() {
            let panel = Panel::square(8 + i as i32 * pitch);
            let histogram = Histogram::of(square, Histogram::SIDE, points);
            let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1);
            let shades = DerivedColorMap::new(&shades(*colour));
            let shade = |count: f64| shades.get_color_normalized(count, 0.0, f64::from(most));
            let side = histogram.side as i32;
            fill(area, panel, |x, y| {
                let (column, row) = (x * side / (SIDE * FINE), side - 1 - y * side / (SIDE * FINE));
                shade(f64::from(histogram.counts[(row * side + column) as usize]))
            });
            colour_bar(area, panel, Axis::linear(0.0, f64::from(most)), "count", shade);
            axes(area, panel, (square.axis(0), square.axis(1)), ("x", "y"), false);
            frame(area, panel);
            title(area, panel, name);
            let shown = format!("{} points{}", points.len(), outside(square, points));
            write(area, &shown, TEXT, INK, (panel.right(), panel.top - 10), (HPos::Right, VPos::Bottom));
        }
    })
}

/// From white over a colour to nearly black.
fn shades(colour: RGBColor) -> [RGBColor; 4] {
    let RGBColor(r, g, b) = colour;
    let scaled = |v: u8, by: f64| (f64::from(v) * by) as u8;
    let lighter = |v: u8| 255 - scaled(255 - v, 0.4);
    [
        WHITE,
        RGBColor(lighter(r), lighter(g), lighter(b)),
        colour,
        RGBColor(scaled(r, 0.3), scaled(g, 0.3), scaled(b, 0.3)),
    ]
}
