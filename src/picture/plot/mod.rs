//! Plots: energy landscapes with points and chains on them, 2-D histograms, sequences, curves of a training run, long
//! chains.
//!
//! Pure functions from numbers to a picture. Colours mean the same everywhere: data and their energies are orange,
//! samples and theirs blue, low energies dark. What is no finite number is [`NOT_FINITE`](super::NOT_FINITE).
//! plotters draws, at twice the size; halving that smooths all edges.

mod axis;
mod curves;
mod histogram;
mod landscape;
mod long_run;
mod sequences;

pub use axis::{Axis, ticks};
pub use curves::{Bucket, curves, decimate};
pub use histogram::{Histogram, histograms};
pub use landscape::{Frame, Landscape, Trajectories, landscape, monitor, trajectories};
pub use long_run::long_run;
pub use sequences::{MAX_SEQUENCES, sequences};

use super::text::FONT_BYTES;
use image::RgbImage;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::sync::LazyLock;

/// A point of the plane.
pub type Point = [f32; 2];

/// The part of the plane that a plot shows: `[centre - half, centre + half]` both ways.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Square {
    /// Its centre.
    pub centre: Point,
    /// Half of its side, more than 0.
    pub half: f32,
}

impl Square {
    /// `[-4, 4]^2`, where the notebooks' toy sets lie.
    pub const USUAL: Self = Self { centre: [0.0, 0.0], half: 4.0 };

    /// The usual square where the points lie in it and are not tiny in it; else one around them, with some room.
    /// One point in a hundred, at each end and either way, may lie outside; points that are not finite don't count.
    pub fn around(points: &[Point]) -> Self {
        let mut ends = [[0.0_f32; 2]; 2];
        for (axis, ends) in ends.iter_mut().enumerate() {
            let mut values: Vec<f32> = points.iter().map(|p| p[axis]).filter(|v| v.is_finite()).collect();
            if values.is_empty() {
                return Self::USUAL;
            }
            values.sort_unstable_by(f32::total_cmp);
            let tail = values.len() / 100;
            *ends = [values[tail], values[values.len() - 1 - tail]];
        }
        let reach = ends.iter().flatten().fold(0.0, |most: f32, v| most.max(v.abs()));
        if (0.5..=Self::USUAL.half).contains(&reach) {
            return Self::USUAL;
        }
        let half = ends.map(|[low, high]| high / 2.0 - low / 2.0).into_iter().fold(0.0, f32::max) * 1.25;
        let centre = ends.map(|[low, high]| low / 2.0 + high / 2.0);
        // Points in one place, and places so large that floats have gaps there, still need some width.
        let least = centre.iter().fold(1e-3, |most: f32, v| most.max(v.abs() * 1e-3));
        Self { centre, half: half.clamp(least, f32::MAX / 4.0) }
    }

    /// Whether the point lies in it; its border belongs to it.
    pub fn contains(&self, point: Point) -> bool {
        (0..2).all(|axis| (point[axis] - self.centre[axis]).abs() <= self.half)
    }

    /// The axis of x (0) or y (1).
    fn axis(&self, axis: usize) -> Axis {
        let (centre, half) = (f64::from(self.centre[axis]), f64::from(self.half));
        Axis::linear(centre - half, centre + half)
    }
}

/// At most `count` of the points, from all over the list. Their places follow the golden ratio: even spacing would see
/// one mode alone where a list goes through the modes in turn.
pub fn thinned(points: &[Point], count: usize) -> Vec<Point> {
    if points.len() <= count {
        return points.to_vec();
    }
    let place = |i: usize| (i as f64 * 0.618_033_988_749_894_9).fract();
    (0..count).map(|i| points[(place(i) * points.len() as f64) as usize]).collect()
}

/// Everything is drawn so many times larger.
const FINE: i32 = 2;
/// Height of ordinary text, and of titles, in pixels of the page.
const TEXT: i32 = 15;
const TITLE: i32 = 18;
/// Side of a square panel, and the room that its labels take.
const SIDE: i32 = 400;
const LEFT: i32 = 58;
const BOTTOM: i32 = 44;
const TOP: i32 = 40;
const RIGHT: i32 = 24;
/// Between a panel and its colour bar, the bar's width, and the room for its labels.
const BAR_GAP: i32 = 14;
const BAR: i32 = 16;
const BAR_LABELS: i32 = 68;

/// plotters centres a label by its line; its digits then lie too high.
const LABEL_SHIFT: i32 = 3;

const INK: RGBColor = RGBColor(38, 38, 42);
const FAINT: RGBColor = RGBColor(228, 229, 233);
const REAL: RGBColor = RGBColor(232, 106, 16);
const FAKE: RGBColor = RGBColor(20, 126, 214);
const LOUD: RGBColor = RGBColor(255, 0, 255);

/// Colours of lines, one after the other.
const LINES: [RGBColor; 8] = [
    RGBColor(214, 39, 40),
    RGBColor(20, 126, 214),
    RGBColor(20, 20, 24),
    RGBColor(232, 106, 16),
    RGBColor(130, 60, 180),
    RGBColor(0, 125, 100),
    RGBColor(200, 30, 130),
    RGBColor(120, 80, 50),
];

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'b, BitMapBackend<'a>, Cartesian2d<Axis, Axis>>;

/// Where a plot's axes stand on the page, in its pixels.
#[derive(Clone, Copy)]
struct Panel {
    left: i32,
    top: i32,
    width: i32,
    height: i32,
}

impl Panel {
    /// A square one whose labels begin at `left`.
    fn square(left: i32) -> Self {
        Self { left: left + LEFT, top: TOP, width: SIDE, height: SIDE }
    }

    fn right(&self) -> i32 {
        self.left + self.width
    }
}

/// Memory is all that plotters writes to, and the font is at hand.
const CAN_DRAW: &str = "drawing to memory can't fail";

static FONT: LazyLock<&str> = LazyLock::new(|| {
    let registered = plotters::style::register_font("plot", FontStyle::Normal, FONT_BYTES);
    assert!(registered.is_ok(), "the shipped font is one");
    "plot"
});

fn page(width: i32, height: i32, draw: impl FnOnce(&Area)) -> RgbImage {
    let (fine_width, fine_height) = ((width * FINE) as u32, (height * FINE) as u32);
    let mut pixels = vec![255; (fine_width * fine_height * 3) as usize];
    draw(&BitMapBackend::with_buffer(&mut pixels, (fine_width, fine_height)).into_drawing_area());
    let fine = RgbImage::from_raw(fine_width, fine_height, pixels).expect("as many pixels");
    image::imageops::thumbnail(&fine, width as u32, height as u32)
}

/// A line of text whose `position` is at (x, y).
fn write(area: &Area, text: &str, size: i32, colour: RGBColor, (x, y): (i32, i32), position: (HPos, VPos)) {
    let style = TextStyle::from((*FONT, size * FINE).into_font()).color(&colour);
    let style = style.pos(Pos::new(position.0, position.1));
    area.draw(&Text::new(text.to_owned(), (x * FINE, y * FINE), style)).expect(CAN_DRAW);
}

/// The title over a panel.
fn title(area: &Area, panel: Panel, text: &str) {
    write(area, text, TITLE, INK, (panel.left, panel.top - 10), (HPos::Left, VPos::Bottom));
}

/// Axes with ticks, labels and a frame. `grid` draws faint lines at the ticks.
fn axes<'a, 'b>(
    area: &'b Area<'a>,
    panel: Panel,
    (x, y): (Axis, Axis),
    (x_name, y_name): (&str, &str),
    grid: bool,
) -> Chart<'a, 'b> {
    let Panel { left, top, width, height } = panel;
    let around = area
        .clone()
        .shrink(((left - LEFT) * FINE, top * FINE), ((width + LEFT) * FINE, (height + BOTTOM) * FINE));
    let mut chart = ChartBuilder::on(&around)
        .set_label_area_size(LabelAreaPosition::Left, LEFT * FINE)
        .set_label_area_size(LabelAreaPosition::Bottom, BOTTOM * FINE)
        .build_cartesian_2d(x, y)
        .expect(CAN_DRAW);
    let text = TextStyle::from((*FONT, TEXT * FINE).into_font()).color(&INK);
    chart
        .configure_mesh()
        .x_labels(x.n_ticks(width))
        .y_labels(y.n_ticks(height))
        .light_line_style(TRANSPARENT)
        .bold_line_style(if grid { FAINT.stroke_width(FINE as u32) } else { TRANSPARENT.into() })
        .axis_style(INK.stroke_width(FINE as u32))
        .set_all_tick_mark_size(4 * FINE)
        .label_style(text.clone())
        .axis_desc_style(text)
        .y_label_offset(LABEL_SHIFT * FINE)
        .x_desc(x_name)
        .y_desc(y_name)
        .draw()
        .expect(CAN_DRAW);
    chart
}

/// The frame of a panel, which goes over what is drawn in it.
fn frame(area: &Area, panel: Panel) {
    let Panel { left, top, width, height } = panel;
    let corners = [(left * FINE, top * FINE), ((left + width) * FINE, (top + height) * FINE)];
    area.draw(&Rectangle::new(corners, INK.stroke_width(FINE as u32))).expect(CAN_DRAW);
}

/// A bitmap over a panel: `colour` of each of its fine pixels, row 0 on top.
fn fill(area: &Area, panel: Panel, colour: impl Fn(i32, i32) -> RGBColor) {
    let (width, height) = (panel.width * FINE, panel.height * FINE);
    let mut pixels = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            let RGBColor(r, g, b) = colour(x, y);
            pixels.extend([r, g, b]);
        }
    }
    let at = (panel.left * FINE, panel.top * FINE);
    let bitmap = BitMapElement::with_owned_buffer(at, (width as u32, height as u32), pixels);
    area.draw(&bitmap.expect("as many pixels")).expect(CAN_DRAW);
}

/// A colour bar to the right of a panel, its name above it.
fn colour_bar(area: &Area, beside: Panel, values: Axis, name: &str, colour: impl Fn(f64) -> RGBColor) {
    let bar = Panel { left: beside.right() + BAR_GAP, width: BAR, ..beside };
    let (low, high) = values.ends();
    let rows = f64::from(bar.height * FINE);
    fill(area, bar, |_, y| colour(high - (high - low) * (f64::from(y) + 0.5) / rows));
    let with_labels = area
        .clone()
        .shrink((bar.left * FINE, bar.top * FINE), ((BAR + BAR_LABELS) * FINE, bar.height * FINE));
    let mut chart = ChartBuilder::on(&with_labels)
        .set_label_area_size(LabelAreaPosition::Right, BAR_LABELS * FINE)
        .build_cartesian_2d(Axis::linear(0.0, 1.0), values)
        .expect(CAN_DRAW);
    let text = TextStyle::from((*FONT, TEXT * FINE).into_font()).color(&INK);
    chart
        .configure_mesh()
        .disable_mesh()
        .disable_x_axis()
        .y_labels(values.n_ticks(bar.height))
        .axis_style(INK.stroke_width(FINE as u32))
        .set_all_tick_mark_size(4 * FINE)
        .label_style(text)
        .y_label_offset(LABEL_SHIFT * FINE)
        .draw()
        .expect(CAN_DRAW);
    frame(area, bar);
    write(area, name, TEXT, INK, (bar.left, bar.top - 10), (HPos::Left, VPos::Bottom));
}

/// A mark at the foot of a panel, a share of its width along, for what is not finite.
fn mark(area: &Area, panel: Panel, along: f64) {
    let column = (panel.left + (along * f64::from(panel.width)) as i32) * FINE;
    let foot = (panel.top + panel.height) * FINE;
    let corners = [(column - FINE, foot - 10 * FINE), (column + FINE, foot)];
    area.draw(&Rectangle::new(corners, LOUD.filled())).expect(CAN_DRAW);
}

/// Points as dots. On a landscape they get a white rim: their colours lie too near to its own.
fn dots(chart: &Chart, square: Square, points: &[Point], colour: RGBColor, rim: bool) {
    for point in points.iter().filter(|p| square.contains(**p)) {
        let at = (f64::from(point[0]), f64::from(point[1]));
        let dot = |radius, style: ShapeStyle| {
            chart.plotting_area().draw(&Circle::new(at, radius, style)).expect(CAN_DRAW);
        };
        if rim {
            dot(2 * FINE, WHITE.mix(0.6).filled());
            dot(FINE + FINE / 2, colour.filled());
        } else {
            dot(FINE + FINE / 2, colour.mix(0.45).filled());
        }
    }
}

/// A line through points, piece by piece: plotters' own joints of wide lines have spikes as long as the turn is sharp.
fn line(chart: &Chart, points: impl IntoIterator<Item = (f64, f64)>, style: ShapeStyle) {
    let points: Vec<_> = points.into_iter().collect();
    for piece in points.windows(2) {
        chart.plotting_area().draw(&PathElement::new(piece, style)).expect(CAN_DRAW);
    }
}

/// Names in a row that ends at a panel's upper right corner, each with its colour.
fn legend(area: &Area, panel: Panel, entries: &[(String, RGBColor)]) {
    let character = f64::from(TEXT) * 0.602 / 1.164; // an advance, and ascent to descent, in ems
    let mut right = panel.right();
    for (name, colour) in entries.iter().rev() {
        write(area, name, TEXT, INK, (right, panel.top - 10), (HPos::Right, VPos::Bottom));
        right -= (name.chars().count() as f64 * character).ceil() as i32 + 8;
        let at = (right * FINE, (panel.top - 16) * FINE);
        area.draw(&Circle::new(at, 4 * FINE, colour.filled())).expect(CAN_DRAW);
        right -= 18;
    }
}
