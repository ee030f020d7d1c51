//! The energy over a square of the plane, as a map with contours, and what happens on it.

use super::axis::rounded;
use super::curves::Spread;
use super::*;
use plotters::style::colors::colormaps::ViridisRGB;

/// Energies at the nodes of a grid over a square.
#[derive(Clone, Debug, PartialEq)]
pub struct Landscape {
    square: Square,
    side: usize,
    energies: Vec<f32>, // rows from the lowest y up
}

impl Landscape {
    /// Nodes along each side, as the notebooks have it.
    pub const SIDE: usize = 100;

    /// The `side * side` nodes, from the lowest y up, each row from the lowest x; the outer ones lie on the border.
    pub fn nodes(square: Square, side: usize) -> Vec<Point> {
        let at = |axis: usize, i: usize| {
            square.centre[axis] - square.half + 2.0 * square.half * i as f32 / (side.max(2) - 1) as f32
        };
        (0..side * side).map(|i| [at(0, i % side), at(1, i / side)]).collect()
    }

    /// The energies of [`Self::nodes`], in their order.
    ///
    /// # Panics
    /// If they are not the energies of a grid with at least 2 nodes a side.
    pub fn new(square: Square, energies: Vec<f32>) -> Self {
        let side = energies.len().isqrt();
        assert!(side >= 2 && side * side == energies.len(), "{} energies are no grid", energies.len());
        Self { square, side, energies }
    }

    /// The square it covers.
    pub fn square(&self) -> Square {
        self.square
    }

    /// The energies that colours tell apart: from the lowest to the highest, or, where a few nodes would take most of
    /// the range (far from the data an energy may rise steeply), to what 19 nodes in 20 stay below.
    pub fn colour_range(&self) -> Axis {
        let mut finite: Vec<f32> = self.energies.iter().copied().filter(|e| e.is_finite()).collect();
        finite.sort_unstable_by(f32::total_cmp);
        let (Some(low), Some(high)) = (finite.first(), finite.last()) else { return Axis::linear(0.0, 1.0) };
        let (low, high) = (f64::from(*low), f64::from(*high));
        let most = f64::from(finite[(finite.len() - 1) * 19 / 20]);
        Axis::linear(low, if high - low > 1.5 * (most - low) && most > low { most } else { high })
    }

    /// The same landscape, flat where its energies are above `limit`, so that colours and contours are for what is below.
    /// What is not finite stays so.
    pub fn up_to(&self, limit: f32) -> Self {
        let flat = |e: &f32| if e.is_finite() { e.min(limit) } else { *e };
        Self { energies: self.energies.iter().map(flat).collect(), ..*self }
    }

    /// The energy between nodes, bilinear; x and y run from 0 to 1 over the square. NaN beside a node that is not finite.
    fn between(&self, x: f64, y: f64) -> f64 {
        let last = (self.side - 1) as f64;
        let cell = |v: f64| {
            let v = v.clamp(0.0, 1.0) * last;
            let node = v.floor().min(last - 1.0);
            (node as usize, v - node)
        };
        let ((column, dx), (row, dy)) = (cell(x), cell(y));
        let node = |row: usize, column: usize| f64::from(self.energies[row * self.side + column]);
        let along = |row| node(row, column) * (1.0 - dx) + node(row, column + 1) * dx;
        let energy = along(row) * (1.0 - dy) + along(row + 1) * dy;
        if energy.is_finite() { energy } else { f64::NAN }
    }

    /// Draws map, contours, axes and colour bar. `pale` mixes white in, so that lines of any colour stand out.
    fn draw<'a, 'b>(
        &self,
        area: &'b Area<'a>,
        panel: Panel,
        pale: f64,
        y_name: &str,
        bar: bool,
    ) -> Chart<'a, 'b> {
        let values = self.colour_range();
        let ((low, high), levels) = (values.ends(), values.ticks(CONTOURS));
        let (columns, rows) = (panel.width * FINE, panel.height * FINE);
        let energies: Vec<f64> = (0..columns * rows)
            .map(|i| {
                let along = |pixel: i32, pixels: i32| (f64::from(pixel) + 0.5) / f64::from(pixels);
                self.between(along(i % columns, columns), 1.0 - along(i / columns, rows))
            })
            .collect();
        let colour = |energy: f64| mix(ViridisRGB::get_color_normalized(energy, low, high), WHITE, pale);
        fill(area, panel, |x, y| {
            let at = |x: i32, y: i32| energies[(y.min(rows - 1) * columns + x.min(columns - 1)) as usize];
            let energy = at(x, y);
            if !energy.is_finite() {
                return LOUD;
            }
            let plain = colour(energy);
            // How many pixels off the nearest level is, by the slope here.
            let nearest = levels.iter().min_by(|a, b| (energy - **a).abs().total_cmp(&(energy - **b).abs()));
            let slope = (at(x + 1, y) - energy).hypot(at(x, y + 1) - energy);
            let off = nearest.map_or(f64::INFINITY, |level| (energy - level).abs() / slope);
            let cover = (f64::from(FINE) * 0.5 + 0.5 - off).clamp(0.0, 1.0); // no slope: infinite or NaN, none
            let is_dark = values.place(energy) < 0.5 && pale == 0.0;
            let line = if is_dark { WHITE } else { BLACK };
            mix(plain, line, if cover > 0.0 { 0.4 * cover } else { 0.0 })
        });
        if bar {
            colour_bar(area, panel, values, "energy", colour);
        }
        let (x, y) = (self.square.axis(0), self.square.axis(1));
        axes(area, panel, (x, y), ("x", y_name), false)
    }
}

/// Levels that contours are drawn at, at most.
const CONTOURS: usize = 12;

/// `share` of `b` in `a`.
fn mix(a: RGBColor, b: RGBColor, share: f64) -> RGBColor {
    let mixed = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
    RGBColor(mixed(a.0, b.0), mixed(a.1, b.1), mixed(a.2, b.2))
}

/// Width of a page that ends in a panel with a colour bar.
fn with_bar(panel: Panel) -> i32 {
    panel.right() + BAR_GAP + BAR + BAR_LABELS + 8
}

/// The landscape with data and samples on top; either may be empty.
pub fn landscape(map: &Landscape, name: &str, data: &[Point], samples: &[Point]) -> RgbImage {
    let panel = Panel { left: LEFT + 8, top: TOP, width: 560, height: 560 };
    page(with_bar(panel), panel.top + panel.height + BOTTOM + 8, |area| {
        let chart = map.draw(area, panel, 0.0, "y", true);
        dots(&chart, map.square, data, REAL, true);
        dots(&chart, map.square, samples, FAKE, true);
        frame(area, panel);
        title(area, panel, name);
        let entries = [("data", REAL, data), ("samples", FAKE, samples)];
        let entries: Vec<_> = entries
            .into_iter()
            .filter(|entry| !entry.2.is_empty())
            .map(|(name, colour, _)| (name.to_owned(), colour))
            .collect();
        legend(area, panel, &entries);
    })
}

/// The three panels that training is watched by: data, samples, landscape. `when` says how far training is.
pub fn monitor(map: &Landscape, when: &str, data: &[Point], samples: &[Point]) -> RgbImage {
    let first = Panel::square(8);
    let panels =
        [first, Panel::square(first.right() + RIGHT), Panel::square(first.right() * 2 - 8 + RIGHT * 2)];
    page(with_bar(panels[2]), TOP + SIDE + BOTTOM + 8, |area| {
        let (x, y) = (map.square.axis(0), map.square.axis(1));
        for ((panel, points), (colour, name)) in
            panels.into_iter().zip([data, samples]).zip([(REAL, "Data"), (FAKE, "Samples")])
        {
            let chart = axes(area, panel, (x, y), ("x", "y"), true);
            dots(&chart, map.square, points, colour, false);
            frame(area, panel);
            title(area, panel, name);
            let shown = format!("{} points{}", points.len(), outside(map.square, points));
            write(area, &shown, TEXT, INK, (panel.right(), panel.top - 10), (HPos::Right, VPos::Bottom));
        }
        map.draw(area, panels[2], 0.0, "y", true);
        frame(area, panels[2]);
        title(area, panels[2], "Energy");
        write(area, when, TEXT, INK, (panels[2].right(), TOP - 10), (HPos::Right, VPos::Bottom));
    })
}

/// `, 3 outside`, or nothing.
pub(super) fn outside(square: Square, points: &[Point]) -> String {
    match points.iter().filter(|p| !square.contains(**p)).count() {
        0 => String::new(),
        n => format!(", {n} outside"),
    }
}

/// Where some chains were, and their energies, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Langevin steps before it.
    pub step: u32,
    /// Where each chain was.
    pub points: Vec<Point>,
    /// The energy of each chain.
    pub energies: Vec<f32>,
}

/// Chains of one step size, from their start on.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectories {
    /// What stands over their panel.
    pub name: String,
    /// What was seen of them, in order.
    pub frames: Vec<Frame>,
}

impl Trajectories {
    /// What a picture of them should show: the middle one, by size, of the squares around each. Chains of too large a
    /// step may end anywhere, and those of too small a step stay where they began.
    pub fn square(all: &[Self]) -> Square {
        let around = |t: &Self| {
            let points: Vec<Point> = t.frames.iter().flat_map(|frame| frame.points.iter().copied()).collect();
            Square::around(&points)
        };
        let mut squares: Vec<Square> = all.iter().map(around).collect();
        squares.sort_by(|a, b| a.half.total_cmp(&b.half));
        squares.get(squares.len() / 2).copied().unwrap_or(Square::USUAL)
    }
}

/// Chains over the landscape, a column for each of `all`, and below each the chains' energies step by step. A chain has
/// one colour throughout; a ring is its start, a dot its end. Colours tell energies apart up to twice the height that chains
/// came to: the hills between wells are low beside the walls around them.
pub fn trajectories(map: &Landscape, all: &[Trajectories]) -> RgbImage {
    let column = |i: usize| Panel::square(8 + i as i32 * (LEFT + SIDE + RIGHT));
    let last = column(all.len().saturating_sub(1));
    let energies_top = TOP + SIDE + BOTTOM + TOP;
    let chains = || all.iter().flat_map(|t| &t.frames);
    let energies = Spread::of(chains().flat_map(|frame| &frame.energies).map(|e| f64::from(*e))).axis();
    let (lowest, highest) = energies.ends();
    let map = &map.up_to((highest + (highest - lowest)) as f32);
    page(with_bar(last), energies_top + ENERGIES + BOTTOM + 8, |area| {
        for (i, Trajectories { name, frames }) in all.iter().enumerate() {
            let panel = column(i);
            let chart = map.draw(area, panel, 0.45, "y", i + 1 == all.len());
            let n_chains = frames.first().map_or(0, |frame| frame.points.len());
            let colour = |chain: usize| LINES[chain % LINES.len()];
            for chain in 0..n_chains {
                let path: Vec<Point> = frames.iter().map(|frame| frame.points[chain]).collect();
                for part in inside(map.square, &path) {
                    let part = part.iter().map(|p| (f64::from(p[0]), f64::from(p[1])));
                    line(&chart, part, colour(chain).mix(0.75).stroke_width(2));
                }
            }
            for chain in 0..n_chains {
                let ends = [&frames[0], &frames[frames.len() - 1]].map(|frame| frame.points[chain]);
                for (end, inner) in ends.into_iter().zip([WHITE, colour(chain)]) {
                    if !map.square.contains(end) {
                        continue;
                    }
                    let at = (f64::from(end[0]), f64::from(end[1]));
                    for (radius, colour) in [(6, WHITE), (5, colour(chain)), (3, inner)] {
                        let dot = Circle::new(at, radius * FINE, colour.filled());
                        chart.plotting_area().draw(&dot).expect(CAN_DRAW);
                    }
                }
            }
            frame(area, panel);
            title(area, panel, name);
            let ends = frames.last().map_or(&[][..], |frame| &frame.points);
            let text = outside(map.square, ends).replace(", ", "");
            write(area, &text, TEXT, INK, (panel.right(), panel.top - 10), (HPos::Right, VPos::Bottom));

            let (low, high) = energies.ends();
            let below = Panel { top: energies_top, height: ENERGIES, ..panel };
            let steps = frames.last().map_or(1, |frame| frame.step).max(1);
            let x = Axis::linear(0.0, f64::from(steps));
            let chart = axes(area, below, (x, energies), ("Langevin step", "energy"), true);
            for chain in 0..n_chains {
                let at = |frame: &Frame| (f64::from(frame.step), f64::from(frame.energies[chain]));
                let seen: Vec<_> = frames.iter().map(at).collect();
                for part in seen.split(|(_, energy)| !energy.is_finite()) {
                    line(
                        &chart,
                        part.iter().map(|(step, e)| (*step, e.clamp(low, high))),
                        colour(chain).mix(0.8).stroke_width(2),
                    );
                }
            }
            frame(area, below);
            title(area, below, &last_mean(frames));
        }
    })
}

/// Height of the panels of energies.
const ENERGIES: i32 = 180;

/// The parts of a path that lie in a square, cut at its border. A point that is not finite ends a part.
fn inside(square: Square, path: &[Point]) -> Vec<Vec<Point>> {
    let mut parts: Vec<Vec<Point>> = Vec::new();
    let mut goes_on = false;
    for pair in path.windows(2) {
        let Some([from, to]) = cut(square, pair[0], pair[1]) else {
            goes_on = false;
            continue;
        };
        match parts.last_mut() {
            Some(part) if goes_on && from == pair[0] => part.push(to),
            _ => parts.push(vec![from, to]),
        }
        goes_on = to == pair[1];
    }
    parts
}

/// The part of a line that lies in a square, if any (Liang and Barsky 1984).
fn cut(square: Square, from: Point, to: Point) -> Option<[Point; 2]> {
    let (mut first, mut last) = (0.0_f32, 1.0_f32);
    for axis in 0..2 {
        let (start, way) = (from[axis] - square.centre[axis], to[axis] - from[axis]);
        if !start.is_finite() || !way.is_finite() {
            return None;
        }
        let [mut enters, mut leaves] = [-square.half, square.half].map(|border| (border - start) / way);
        if way == 0.0 {
            (enters, leaves) = if start.abs() <= square.half { (0.0, 1.0) } else { (1.0, 0.0) };
        } else if way < 0.0 {
            std::mem::swap(&mut enters, &mut leaves);
        }
        (first, last) = (first.max(enters), last.min(leaves));
    }
    let at = |share: f32| [0, 1].map(|axis| from[axis] + share * (to[axis] - from[axis]));
    // Ends that need no cut stay the same to the bit.
    let (start, end) = (if first > 0.0 { at(first) } else { from }, if last < 1.0 { at(last) } else { to });
    (first <= last).then_some([start, end])
}

/// What the chains' energies came to.
fn last_mean(frames: &[Frame]) -> String {
    let energies = frames.last().map_or(&[][..], |frame| &frame.energies);
    let mean = energies.iter().map(|e| f64::from(*e)).sum::<f64>() / energies.len().max(1) as f64;
    format!("Mean energy at the end {}", rounded(mean))
}
