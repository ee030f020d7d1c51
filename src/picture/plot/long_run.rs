//! Chains that go on for longer than in training: their energies by step, and what they look like.

use super::curves::Spread;
use super::*;
use crate::data::Images;
use crate::evaluate::long_run::LongRun;
use crate::picture::{GridOptions, grid};
use image::imageops::replace;

const WIDTH: i32 = 920;
const HEIGHT: i32 = 260;
/// Images shown of each length.
const IMAGES: usize = 10;

/// The chains' energies, median and nine tenths of them, over steps on a logarithmic axis, a faint line where a length ends;
/// the held-out images' mean energy, and one standard deviation to either side; below, the first ten chains at each length,
/// a row for each of `frames`. Frames that are no images have no rows.
pub fn long_run(run: &LongRun, frames: &[(u32, Images)]) -> RgbImage {
    let plot = energies(run);
    let rows = frames.iter().filter(|(_, images)| images.shape.is_image()).map(|(step, images)| {
        let n = IMAGES.min(images.count());
        let first = Images { shape: images.shape, values: images.values[..n * images.shape.len()].to_vec() };
        let mut titles = vec![String::new(); n];
        if let Some(title) = titles.first_mut() {
            *title = format!("step {step}");
        }
        grid(&first, &titles, &GridOptions { columns: Some(IMAGES), scale: None })
    });
    let rows: Vec<RgbImage> = rows.collect();
    let width = rows.iter().map(RgbImage::width).chain([plot.width()]).max().unwrap_or(0);
    let height = rows.iter().map(RgbImage::height).sum::<u32>() + plot.height();
    let mut all = RgbImage::from_pixel(width, height, image::Rgb([255; 3]));
    let mut top = 0;
    for part in [plot].iter().chain(&rows) {
        replace(&mut all, part, i64::from((width - part.width()) / 2), top);
        top += i64::from(part.height());
    }
    all
}

fn energies(run: &LongRun) -> RgbImage {
    let panel = Panel { left: 8 + LEFT, top: TOP, width: WIDTH, height: HEIGHT };
    let real = run.held_out;
    let band = [real.energy_mean - real.energy_std, real.energy_mean + real.energy_std];
    let seen = run.moments.iter().flat_map(|m| [m.low, m.high]);
    let y = Spread::of(seen.chain(band)).axis();
    let last = run.moments.last().map_or(1, |m| m.step.max(2));
    let x = Axis::logarithmic(1.0, f64::from(last));
    page(panel.right() + RIGHT, TOP + HEIGHT + BOTTOM + 8, |area| {
        let chart = axes(area, panel, (x, y), ("Langevin step", ""), true);
        let ((first, last), (low, high)) = (x.ends(), y.ends());
        let inside = |v: f64| v.clamp(low, high);
        let fill = |ends: [(f64, f64); 2], colour: RGBAColor| {
            chart.plotting_area().draw(&Rectangle::new(ends, colour.filled())).expect(CAN_DRAW);
        };
        if band.iter().all(|e| e.is_finite()) {
            fill([(first, inside(band[0])), (last, inside(band[1]))], REAL.mix(0.18));
            let mean = inside(real.energy_mean);
            line(&chart, [(first, mean), (last, mean)], REAL.stroke_width(2 * FINE as u32));
        }
        for length in &run.lengths {
            let at = f64::from(length.steps);
            line(&chart, [(at, low), (at, high)], INK.mix(0.35).stroke_width(FINE as u32));
        }
        // Where no chain has a finite energy, there is nothing to draw.
        let drawn = run.moments.iter().filter(|m| m.step > 0);
        for part in drawn.collect::<Vec<_>>().split(|m| !m.median.is_finite()) {
            let up = part.iter().map(|m| (f64::from(m.step), inside(m.high)));
            let down = part.iter().rev().map(|m| (f64::from(m.step), inside(m.low)));
            let outline: Vec<_> = up.chain(down).collect();
            if part.len() > 1 {
                chart.plotting_area().draw(&Polygon::new(outline, FAKE.mix(0.2))).expect(CAN_DRAW);
            }
            let medians = part.iter().map(|m| (f64::from(m.step), inside(m.median)));
            line(&chart, medians, FAKE.stroke_width(2 * FINE as u32));
        }
        frame(area, panel);
        title(area, panel, "Energy of long chains");
        let rounded = super::axis::rounded;
        let mut entries = vec![(format!("held-out images {}", rounded(real.energy_mean)), REAL)];
        if let Some(end) = run.lengths.last() {
            entries.push((format!("chains {}", rounded(end.figures.energy_mean)), FAKE));
        }
        legend(area, panel, &entries);
    })
}
