//! Plots: what they show, where it is on the page, and what a model's points come to.

use image::{Rgb, RgbImage};
use std::fs;
use thalweg::data::{Images, Shape};
use thalweg::network::{Activation, LayerSpec};
use thalweg::picture::NOT_FINITE;
use thalweg::picture::plane;
use thalweg::picture::plot::{
    Axis, Frame, Histogram, Landscape, Point, Square, Trajectories, curves, decimate, histograms, landscape,
    monitor, sequences, thinned, ticks, trajectories,
};
use thalweg::plan::ChainConfig;
use thalweg::train::log::{METRICS_HEADER, MetricsFile, MetricsTable, StepMetrics};
use thalweg::{Device, EnergyModel, Error, Model, Network};

/// Where a landscape's panel stands on its page, its side, and the column in the middle of its colour bar.
const MAP: (u32, u32, u32) = (66, 40, 560);
const MAP_BAR: u32 = MAP.0 + MAP.2 + 14 + 8;
/// The same of the panels of monitors and histograms.
const LEFT: u32 = 66;
const TOP: u32 = 40;
const SIDE: u32 = 400;
const VIRIDIS_LOWEST: Rgb<u8> = Rgb([68, 1, 84]);
const VIRIDIS_HIGHEST: Rgb<u8> = Rgb([254, 232, 37]);

fn is_near(a: Rgb<u8>, b: Rgb<u8>) -> bool {
    a.0.iter().zip(b.0).all(|(a, b)| a.abs_diff(b) <= 6)
}

fn luminance(Rgb([r, g, b]): Rgb<u8>) -> f64 {
    0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b)
}

fn is_orange(Rgb([r, g, b]): &Rgb<u8>) -> bool {
    i32::from(*r) - i32::from(*b) > 60 && *r > 200 && *g < 225
}

fn is_blue(Rgb([r, _, b]): &Rgb<u8>) -> bool {
    i32::from(*b) - i32::from(*r) > 60
}

fn count(picture: &RgbImage, x: u32, y: u32, side: u32, is: impl Fn(&Rgb<u8>) -> bool) -> usize {
    (y..y + side)
        .flat_map(|y| (x..x + side).map(move |x| (x, y)))
        .filter(|&(x, y)| is(picture.get_pixel(x, y)))
        .count()
}

/// The pixel of a point on a landscape's page.
fn on_map(square: Square, point: Point) -> (u32, u32) {
    let along = |v: f32, centre: f32| f64::from((v - centre) / square.half + 1.0) / 2.0 * f64::from(MAP.2);
    let (x, y) = (along(point[0], square.centre[0]), along(point[1], square.centre[1]));
    (MAP.0 + x as u32, MAP.1 + MAP.2 - 1 - y as u32)
}

fn bowl(square: Square, lowest: Point) -> Landscape {
    let energy = |p: Point| (p[0] - lowest[0]).powi(2) + (p[1] - lowest[1]).powi(2);
    Landscape::new(square, Landscape::nodes(square, 100).into_iter().map(energy).collect())
}

// ---- geometry

#[test]
fn ticks_are_round_few_and_cover_the_range() {
    for (low, high) in [
        (-4.0, 4.0),
        (0.0, 1.0),
        (-1e-7, 3e-7),
        (1e20, 3e22),
        (-0.3137, 25.01),
        (5.0, 5.000_01),
        (-7e37, 3e38),
    ] {
        for most in [3, 5, 9, 20] {
            let found = ticks(low, high, most);
            let what = format!("{low}..{high}, {most}: {found:?}");
            assert!(!found.is_empty() && found.len() <= most, "{what}");
            let slack = (high - low) * 1e-9;
            assert!(found.iter().all(|t| *t >= low - slack && *t <= high + slack), "{what}");
            // No room for another one before the first or after the last; nowhere sparse.
            let step = found.get(1).map_or(high - low, |second| second - found[0]);
            assert!(found[0] - low < step && high - found[found.len() - 1] < step, "{what}");
            assert!(found.len() >= 2 || most == 3, "{what}");
            let power = 10_f64.powf(step.log10().floor());
            if found.len() > 1 {
                let digit = step / power;
                assert!(
                    [1.0, 2.0, 5.0, 10.0].iter().any(|d| (digit - d).abs() < 1e-3),
                    "{what}: step {step}"
                );
            }
        }
    }
    assert_eq!(ticks(-4.0, 4.0, 9), [-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
    let logarithmic = Axis::logarithmic(2e-4, 30.0);
    assert_eq!(
        logarithmic.ticks(6),
        [1e-3, 1e-2, 1e-1, 1.0, 10.0].map(|v: f64| 10_f64.powi(v.log10().round() as i32))
    );
    assert!((logarithmic.place((2e-4_f64 * 30.0).sqrt()) - 0.5).abs() < 1e-12);
    assert!(Axis::logarithmic(1e-30, 1e30).ticks(5).len() >= 3);
}

#[test]
fn a_square_is_the_usual_one_or_goes_around_the_points() {
    let five = [[0.0, 0.0], [2.5, 2.0], [-2.0, -2.9]];
    assert_eq!(Square::around(&five), Square::USUAL);
    assert_eq!(Square::around(&[]), Square::USUAL);
    assert_eq!(Square::around(&[[f32::NAN, 1.0]]), Square::USUAL);
    let far = [[10.0, 20.0], [14.0, 21.0]];
    assert_eq!(Square::around(&far), Square { centre: [12.0, 20.5], half: 2.5 });
    let tiny: Vec<Point> = (0..100).map(|i| [i as f32 / 1000.0, 0.0]).collect();
    let square = Square::around(&tiny);
    assert!(square.half < 0.1 && tiny.iter().filter(|p| square.contains(**p)).count() >= 98, "{square:?}");
    // One chain in 200 that ran away does not count, nor does one that is not finite; one place has some width.
    let mut most = vec![[1.0, 1.0]; 200];
    (most[7], most[8]) = ([1e30, 0.0], [f32::INFINITY, 0.0]);
    assert_eq!(Square::around(&most), Square::USUAL);
    for point in [[0.0, 0.0], [1e8, 0.0], [3e38, -3e38]] {
        let square = Square::around(&[point]);
        assert!(square.half > 0.0 && square.half.is_finite() && square.contains(point), "{square:?}");
    }
}

#[test]
fn thinning_sees_every_mode_of_a_list_that_goes_round() {
    let points: Vec<Point> = (0..5000).map(|i| [(i % 5) as f32, i as f32]).collect();
    let thin = thinned(&points, 500);
    for mode in 0..5 {
        let n = thin.iter().filter(|p| p[0] == mode as f32).count();
        assert!((80..=120).contains(&n), "mode {mode}: {n} of 500");
    }
    assert!(thin.iter().any(|p| p[1] < 50.0) && thin.iter().any(|p| p[1] > 4950.0), "from all over the list");
    assert_eq!(thinned(&points[..7], 500), points[..7]);
}

// ---- landscapes

#[test]
fn the_lowest_energy_is_darkest_at_its_own_place() {
    // Off the middle both ways, so that no axis can be turned over or exchanged unseen.
    for (square, lowest) in
        [(Square::USUAL, [-2.5, 1.5]), (Square { centre: [10.0, -3.0], half: 2.0 }, [11.25, -4.5])]
    {
        let map = bowl(square, lowest);
        let picture = landscape(&map, "bowl", &[], &[]);
        let panel =
            (MAP.1 + 2..MAP.1 + MAP.2 - 2).flat_map(|y| (MAP.0 + 2..MAP.0 + MAP.2 - 2).map(move |x| (x, y)));
        let (x, y) = panel
            .min_by(|a, b| {
                luminance(*picture.get_pixel(a.0, a.1)).total_cmp(&luminance(*picture.get_pixel(b.0, b.1)))
            })
            .unwrap();
        let at = on_map(square, lowest);
        // The bowl's floor is some pixels wide in 256 colours.
        assert!(x.abs_diff(at.0) < 32 && y.abs_diff(at.1) < 32, "({x}, {y}), not {at:?}");
        assert!(is_near(*picture.get_pixel(at.0, at.1), VIRIDIS_LOWEST));
        // The colour bar has the lowest at its foot and the highest on top.
        assert!(is_near(*picture.get_pixel(MAP_BAR, MAP.1 + MAP.2 - 4), VIRIDIS_LOWEST));
        assert!(is_near(*picture.get_pixel(MAP_BAR, MAP.1 + 4), VIRIDIS_HIGHEST));
    }
}

#[test]
fn nodes_go_row_by_row_from_the_lower_left_corner() {
    let nodes = Landscape::nodes(Square { centre: [1.0, 2.0], half: 3.0 }, 4);
    assert_eq!(nodes.len(), 16);
    assert_eq!(
        [nodes[0], nodes[1], nodes[4], nodes[15]],
        [[-2.0, -1.0], [0.0, -1.0], [-2.0, 1.0], [4.0, 5.0]]
    );
}

#[test]
fn contours_stand_where_the_energy_is_round() {
    // A ramp along x from 0 to 8: levels at 0, 1, ..., 8, that is x = -4, -3, ..., 4.
    let ramp = Landscape::nodes(Square::USUAL, 100).into_iter().map(|p| p[0] + 4.0).collect();
    let map = Landscape::new(Square::USUAL, ramp);
    assert_eq!(map.colour_range().ends(), (0.0, 8.0));
    let picture = landscape(&map, "ramp", &[], &[]);
    let row = MAP.1 + 300;
    let change = |x: u32| {
        let around =
            (luminance(*picture.get_pixel(x - 4, row)) + luminance(*picture.get_pixel(x + 4, row))) / 2.0;
        (luminance(*picture.get_pixel(x, row)) - around).abs()
    };
    for level in 1..8 {
        let x = MAP.0 + level * MAP.2 / 8;
        let line = (x - 2..x + 2).map(change).fold(0.0, f64::max);
        assert!(line > 12.0, "level {level}: {line}");
        let between = x + MAP.2 / 16;
        assert!((between - 8..between + 8).all(|x| change(x) < 4.0), "after level {level}");
    }
}

#[test]
fn a_flattened_landscape_is_what_it_was_below_the_limit() {
    let energies = vec![-3.0, 1.0, 2.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 9.0, 1e30, 2.0];
    let flat = Landscape::new(Square::USUAL, energies).up_to(2.5);
    assert_eq!(flat.colour_range().ends(), (-3.0, 2.5));
    let wanted = vec![-3.0, 1.0, 2.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.5, 2.5, 2.0];
    assert_eq!(format!("{flat:?}"), format!("{:?}", Landscape::new(Square::USUAL, wanted)));
}

#[test]
fn far_energies_do_not_take_all_colours_and_wild_ones_are_loud() {
    let square = Square::USUAL;
    let mut energies: Vec<f32> = vec![0.0; 10_000];
    energies.iter_mut().enumerate().for_each(|(i, e)| *e = (i % 100) as f32 / 99.0);
    assert_eq!(Landscape::new(square, energies.clone()).colour_range().ends(), (0.0, 1.0));
    energies[9_999] = 1e30;
    let (low, high) = Landscape::new(square, energies.clone()).colour_range().ends();
    assert!(low == 0.0 && (0.9..=1.0).contains(&high), "{low}..{high}");
    energies[50 * 100 + 50] = f32::NAN;
    energies[50 * 100 + 51] = f32::NEG_INFINITY;
    let picture = landscape(&Landscape::new(square, energies), "wild", &[], &[]);
    let loud = count(&picture, MAP.0, MAP.1, MAP.2, |p| *p == NOT_FINITE);
    let (x, y) = on_map(square, Landscape::nodes(square, 100)[5050]);
    assert_eq!(*picture.get_pixel(x, y), NOT_FINITE);
    assert!((50..300).contains(&loud), "{loud} pixels");
    // Nothing finite, all the same, the largest of floats: pictures, no panics.
    for values in [vec![f32::NAN; 4], vec![3.0; 4], vec![f32::MAX, f32::MIN, 0.0, f32::INFINITY]] {
        landscape(&Landscape::new(square, values), "", &[[f32::NAN; 2]], &[[f32::INFINITY, 0.0]]);
    }
}

#[test]
fn data_is_orange_and_samples_blue_each_at_its_place() {
    let map = bowl(Square::USUAL, [3.9, 3.9]);
    let (data, samples): (&[Point], &[Point]) = (&[[-2.0, 1.0], [9.0, 9.0]], &[[1.0, -3.0]]);
    let plain = landscape(&map, "", &[], &[]);
    let picture = landscape(&map, "", data, samples);
    let (x, y) = on_map(Square::USUAL, data[0]);
    assert!(is_orange(picture.get_pixel(x, y)) && !is_orange(plain.get_pixel(x, y)));
    let (x, y) = on_map(Square::USUAL, samples[0]);
    assert!(is_near(*picture.get_pixel(x, y), Rgb([20, 126, 214])));
    // Nothing else changed in the panel: a point outside is left out.
    let changed = (MAP.1..MAP.1 + MAP.2)
        .flat_map(|y| (MAP.0..MAP.0 + MAP.2).map(move |x| (x, y)))
        .filter(|&(x, y)| picture.get_pixel(x, y) != plain.get_pixel(x, y))
        .count();
    assert!((10..100).contains(&changed), "{changed} pixels");
}

#[test]
fn a_monitor_has_data_samples_and_landscape_side_by_side() {
    let (data, samples): (Vec<Point>, Vec<Point>) =
        ((0..100).map(|i| [-3.0, i as f32 / 50.0 - 1.0]).collect(), vec![[3.0, 3.0]; 40]);
    let picture = monitor(&bowl(Square::USUAL, [0.0, 0.0]), "epoch 3", &data, &samples);
    let second = LEFT + SIDE + 24 + 58;
    let third = second + SIDE + 24 + 58;
    assert!(picture.width() > third + SIDE + 14 + 16);
    let panels = [LEFT, second, third];
    let orange = panels.map(|x| count(&picture, x + 2, TOP + 2, SIDE - 4, is_orange));
    assert!(orange[0] > 100 && orange[1] == 0, "{orange:?}");
    let blue = |x, y| is_blue(picture.get_pixel(x, y));
    assert!(blue(second + SIDE * 7 / 8, TOP + SIDE / 8), "the samples' one place");
    assert_eq!(count(&picture, LEFT + 2, TOP + 2, SIDE - 4, is_blue), 0);
    assert!(is_near(*picture.get_pixel(third + SIDE / 2, TOP + SIDE / 2), VIRIDIS_LOWEST));
}

// ---- histograms

#[test]
fn histograms_count_every_point_once_in_its_cell() {
    let square = Square { centre: [1.0, -1.0], half: 2.0 }; // x from -1 to 3, y from -3 to 1
    let points = [
        [-1.0, -3.0],   // a corner: the first cell
        [3.0, 1.0],     // the opposite one: the last cell
        [0.0, -3.0],    // a lower end belongs to the cell
        [-0.001, -3.0], // just below it does not
        [2.9, 0.9],
        [3.1, 0.0],      // outside
        [f32::NAN, 0.0], // nowhere
        [0.0, f32::INFINITY],
    ];
    let histogram = Histogram::of(square, 4, &points);
    let mut expected = [0; 16];
    (expected[0], expected[1], expected[15]) = (2, 1, 2);
    assert_eq!((histogram.counts.as_slice(), histogram.outside), (&expected[..], 3));
    let many: Vec<Point> =
        (0..9999).map(|i| [(i as f32 * 0.7).sin() * 4.5, (i as f32 * 1.3).cos() * 4.5]).collect();
    let histogram = Histogram::of(Square::USUAL, Histogram::SIDE, &many);
    let inside = many.iter().filter(|p| p.iter().all(|v| v.abs() <= 4.0)).count();
    assert_eq!(histogram.counts.iter().sum::<u32>() as usize, inside);
    assert_eq!(histogram.outside as usize, many.len() - inside);
}

#[test]
fn the_fullest_cell_is_darkest_and_an_empty_one_white() {
    // 60 points in the cell of (-2, 3), 1 in that of (2, -3).
    let mut points = vec![[-2.04, 3.1]; 60];
    points.push([2.04, -3.1]);
    let alone = histograms(Square::USUAL, &[], &points);
    let both = histograms(Square::USUAL, &points, &points);
    assert!(both.width() > 2 * alone.width() - 20);
    let at = |picture: &RgbImage, left: u32, point: [f64; 2]| {
        let along = |v: f64| ((v + 4.0) / 8.0 * f64::from(SIDE)) as u32;
        *picture.get_pixel(left + along(point[0]), TOP + SIDE - 1 - along(point[1]))
    };
    let second = LEFT + SIDE + 14 + 16 + 68 + 8 + 58;
    for (picture, left) in [(&alone, LEFT), (&both, LEFT), (&both, second)] {
        let (full, one, none) =
            (at(picture, left, [-2.04, 3.1]), at(picture, left, [2.04, -3.1]), at(picture, left, [0.0, 0.0]));
        assert!(luminance(full) < 60.0, "{full:?}");
        assert!(luminance(one) > 235.0 && one != none, "{one:?}");
        assert_eq!(none, Rgb([255; 3]));
    }
    histograms(Square::USUAL, &[], &[]);
}

// ---- trajectories

#[test]
fn trajectories_stay_in_their_panel_and_begin_and_end_where_they_should() {
    let energies = vec![9.0, 18.0]; // of the bowl below, where the chains start
    let frame =
        |step, points: [Point; 2]| Frame { step, points: points.to_vec(), energies: energies.clone() };
    let calm = vec![frame(0, [[-3.0, 0.0], [3.0, 3.0]]), frame(1, [[-1.0, 0.0], [3.0, 3.0]])];
    let wild = vec![
        frame(0, [[-3.0, 0.0], [3.0, 3.0]]),
        frame(1, [[500.0, 90.0], [f32::NAN, 0.0]]),
        frame(2, [[-3.0, -90.0], [1e38, -1e38]]),
        frame(3, [[0.0, 0.0], [3.0, 3.0]]),
    ];
    let map = bowl(Square::USUAL, [0.0, 0.0]);
    let all = |frames: &[Frame]| {
        let first = Trajectories { name: "Step size 0.1".into(), frames: frames.to_vec() };
        trajectories(
            &map,
            &[first.clone(), Trajectories { name: "Step size 0.2".into(), frames: calm.clone() }],
        )
    };
    let (one, other) = (all(&calm), all(&wild));
    let second = LEFT + SIDE + 24 + 58;
    // In the middle of the first chain's way lies its line, red; its start is a ring with a white middle.
    let middle = *one.get_pixel(LEFT + SIDE / 4, TOP + SIDE / 2);
    assert!(middle.0[0] > 150 && middle.0[1] < 110, "{middle:?}");
    assert!(is_near(*one.get_pixel(LEFT + SIDE / 8, TOP + SIDE / 2), Rgb([255; 3])));
    assert!(is_near(*one.get_pixel(LEFT + SIDE * 3 / 8, TOP + SIDE / 2), Rgb([214, 39, 40])));
    // Whatever the first panel's chains do, the second one's panels and the gap between are the same.
    let differs = |x: std::ops::Range<u32>, y: std::ops::Range<u32>| {
        y.into_iter().any(|y| x.clone().any(|x| one.get_pixel(x, y) != other.get_pixel(x, y)))
    };
    assert!(differs(LEFT..LEFT + SIDE, TOP..TOP + SIDE));
    assert!(!differs(LEFT + SIDE + 2..second + SIDE, 0..TOP + SIDE + 40));
    assert!(!differs(0..LEFT - 2, 0..TOP + SIDE));
    assert!(!differs(second..second + SIDE, 0..one.height()));
    // The square to show is that of most, not that of the one that ran away.
    let runs = |half: f32| Trajectories {
        name: String::new(),
        frames: vec![Frame { step: 0, points: vec![[-half, 0.0], [half, 0.0]], energies: vec![0.0; 2] }],
    };
    assert_eq!(Trajectories::square(&[runs(1e9), runs(2.0), runs(3.0)]), Square::USUAL);
    assert_eq!(Trajectories::square(&[runs(1e9), runs(20.0), runs(3.0)]).half, 25.0);
    assert_eq!(Trajectories::square(&[]), Square::USUAL);
    trajectories(&map, &[]);
    trajectories(&map, &[Trajectories { name: String::new(), frames: Vec::new() }]);
}

// ---- sequences

#[test]
fn a_sequences_lines_go_where_its_values_go() {
    // Two features over 5 moments: one rises from -1 to 1, the other falls. The second sequence is the first turned over.
    let rising = [-1.0, -0.5, 0.0, 0.5, 1.0];
    let falling: Vec<f32> = rising.iter().map(|v| -v).collect();
    let shape = Shape { channels: 2, height: 1, width: 5 };
    let values = [&rising[..], &falling, &falling, &rising].concat();
    let titles = ["E = 1".to_owned(), "E = 2".to_owned()];
    let picture = sequences(&Images { shape, values: values.clone() }, &titles);
    // Where the panels stand.
    let (left, top, width, height, pitch) = (LEFT, TOP + 34, 220, 136, 236);
    let is_red = |p: &Rgb<u8>| i32::from(p.0[0]) - i32::from(p.0[1].max(p.0[2])) > 60;
    let middle = |panel: u32, x: u32, is: &dyn Fn(&Rgb<u8>) -> bool| {
        let rows: Vec<u32> = (top + 2..top + height - 2)
            .filter(|y| is(picture.get_pixel(left + panel * pitch + x, *y)))
            .map(|y| y - top)
            .collect();
        assert!(!rows.is_empty() && rows.len() < 20, "panel {panel}, column {x}: {rows:?}");
        rows.iter().sum::<u32>() as f64 / rows.len() as f64
    };
    for (panel, first, second) in
        [(0, &is_red as &dyn Fn(&Rgb<u8>) -> bool, &is_blue as _), (1, &is_blue as _, &is_red as _)]
    {
        let (rises, falls) =
            ([20, 200].map(|x| middle(panel, x, first)), [20, 200].map(|x| middle(panel, x, second)));
        assert!(rises[0] > rises[1] + 60.0 && falls[1] > falls[0] + 60.0, "{rises:?} {falls:?}");
        // A quarter of the way is at -0.5, and the axis has a twentieth of room at either end.
        let expected = f64::from(height) * (1.0 - (0.25 * 2.0 + 0.1) / 2.2);
        let found = middle(panel, width / 4, first);
        assert!((found - expected).abs() < 3.0, "{found}, not {expected}");
    }
    assert!(picture.width() > left + pitch + width && picture.height() > top + height);
    assert!(picture.pixels().all(|p| *p != NOT_FINITE));
    // What is not finite is left out, and marked.
    let mut wild = values;
    (wild[2], wild[8]) = (f32::NAN, f32::INFINITY);
    let marked = sequences(&Images { shape, values: wild }, &[]);
    for (panel, marks) in [(0, vec![width / 2]), (1, vec![])] {
        let loud = (0..width)
            .filter(|x| *marked.get_pixel(left + panel * pitch + x, top + height - 4) == NOT_FINITE);
        let loud: Vec<u32> = loud.collect();
        let all = if panel == 0 { &[width / 2, width * 3 / 4][..] } else { &[] };
        assert!(
            marks.iter().chain(all).all(|at| loud.iter().any(|x| x.abs_diff(*at) < 3)),
            "{panel}: {loud:?}"
        );
        assert!(loud.iter().all(|x| all.iter().any(|at| x.abs_diff(*at) < 3)), "{panel}: {loud:?}");
    }
    // Many of them are a page of a hundred, and none are a page.
    let many = |n: usize| sequences(&Images { shape, values: vec![0.5; n * 10] }, &[]);
    assert_eq!(many(5000).dimensions(), many(100).dimensions());
    assert!(many(100).dimensions() > many(90).dimensions());
    many(0);
}

// ---- curves

#[test]
fn decimation_keeps_every_spike_and_the_mean() {
    let steps: Vec<f64> = (1..=10_007).map(f64::from).collect();
    let mut values: Vec<f64> = steps.iter().map(|s| (s * 0.1).sin()).collect();
    (values[4321], values[9999]) = (1e6, -1e6);
    for (i, value) in values[100..150].iter_mut().enumerate() {
        *value = if i % 2 == 0 { f64::NAN } else { f64::INFINITY };
    }
    let buckets = decimate(&steps, &values, 900);
    assert!(buckets.len() <= 900 && buckets.len() > 800, "{}", buckets.len());
    assert_eq!(buckets.iter().map(|b| b.n_finite + b.n_other).sum::<usize>(), values.len());
    assert_eq!(buckets.iter().map(|b| b.n_other).sum::<usize>(), 50);
    assert_eq!(buckets.iter().map(|b| b.high).fold(f64::NAN, f64::max), 1e6);
    assert_eq!(buckets.iter().map(|b| b.low).fold(f64::NAN, f64::min), -1e6);
    let sum: f64 = buckets.iter().filter(|b| b.n_finite > 0).map(|b| b.mean * b.n_finite as f64).sum();
    let exact: f64 = values.iter().filter(|v| v.is_finite()).sum();
    assert!((sum - exact).abs() < 1e-6, "{sum} {exact}");
    assert!(buckets.windows(2).all(|pair| pair[0].step < pair[1].step));
    assert!(buckets.iter().any(|b| b.n_finite == 0 && b.mean.is_nan() && b.low.is_nan()));
    // Few values stay what they are; the largest ones do not overflow.
    let few = decimate(&[1.0, 2.0], &[f64::MAX, f64::MAX], 1);
    assert_eq!((few.len(), few[0].mean, few[0].step), (1, f64::MAX, 1.5));
    assert_eq!(decimate(&[3.0], &[7.0], 900)[0].low, 7.0);
    assert!(decimate(&[], &[], 900).is_empty());
}

/// Metrics with these losses, every other figure plain.
fn table(losses: &[f64]) -> MetricsTable {
    let mut text = format!("{METRICS_HEADER}\n");
    for (i, loss) in losses.iter().enumerate() {
        text += &format!("{},1,{loss},0.1,0.01,-0.5,0.5,{},nan,1.0\n", i + 1, 1.0 + (i % 7) as f64);
    }
    read(&text).unwrap()
}

fn read(text: &str) -> thalweg::Result<MetricsTable> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.csv");
    fs::write(&path, text).unwrap();
    MetricsTable::read(&path)
}

#[test]
fn curves_rise_where_values_rise_and_mark_what_is_not_finite() {
    let (left, width) = (66, 920);
    let ink = |picture: &RgbImage, x: u32| -> f64 {
        // The middle of what is dark in the loss panel's column, between frame and grid.
        let rows: Vec<u32> =
            (TOP + 3..TOP + 187).filter(|y| picture.get_pixel(x, *y).0.iter().all(|v| *v < 90)).collect();
        rows.iter().sum::<u32>() as f64 / rows.len() as f64
    };
    let rising: Vec<f64> = (0..3000).map(|i| f64::from(i) / 1000.0).collect();
    let picture = curves(&table(&rising));
    let heights = [50, 300, 600, 900].map(|x| ink(&picture, left + x));
    assert!(heights.windows(2).all(|pair| pair[1] < pair[0] - 20.0), "{heights:?}");
    assert!(picture.pixels().all(|p| *p != NOT_FINITE));
    // A spike at the start does not flatten the rest.
    let mut spiked = rising.clone();
    spiked[0] = 1e9;
    let heights = [50, 300, 600, 900].map(|x| ink(&curves(&table(&spiked)), left + x));
    assert!(heights.windows(2).all(|pair| pair[1] < pair[0] - 20.0), "{heights:?}");
    // Steps 1500 to 1510 are wild: a mark at the foot of the loss panel, there and nowhere else.
    let mut wild = rising.clone();
    wild[1500..1510].iter_mut().enumerate().for_each(|(i, v)| *v = [f64::NAN, f64::INFINITY][i % 2]);
    let picture = curves(&table(&wild));
    let marked: Vec<u32> =
        (left..left + width).filter(|x| *picture.get_pixel(*x, TOP + 185) == NOT_FINITE).collect();
    assert!(!marked.is_empty() && marked.iter().all(|x| x.abs_diff(left + width / 2) < 8), "{marked:?}");
    // Nothing but NaN, and one row alone, are pictures too.
    assert!(curves(&table(&[f64::NAN; 5])).pixels().any(|p| *p == NOT_FINITE));
    curves(&table(&[1.0]));
    curves(&table(&[f64::MAX, -f64::MAX, 0.0]));
}

#[test]
fn a_column_more_is_a_panel_more_and_one_that_is_not_there_none() {
    let height = |text: &str| curves(&read(text).unwrap()).height();
    let three = curves(&table(&[1.0, 2.0])).height();
    let four = format!("{METRICS_HEADER}\n1,1,1,1,1,1,1,1,0.5,1\n2,1,1,1,1,1,1,1,0.6,1\n");
    let (one, unknown) = ("step,loss\n1,2\n2,3\n", four.replace(",0.5,", ",nan,").replace(",0.6,", ",nan,"));
    let pitch = 40 + 190 + 24;
    assert_eq!(height(&four), three + pitch);
    assert_eq!(height(one), three - 2 * pitch);
    assert_eq!(height(&unknown), three, "a column without any number is not drawn");
}

#[test]
fn parts_of_the_loss_that_are_all_of_it_or_nothing_are_not_drawn() {
    let with = |parts: [[&str; 2]; 2]| {
        let [one, two] = parts.map(|[cdiv, reg]| format!("{cdiv},{reg},1,1,1,nan,1\n"));
        curves(&read(&format!("{METRICS_HEADER}\n1,1,4,{one}2,1,3,{two}")).unwrap())
    };
    let neither = with([["nan", "nan"], ["nan", "nan"]]);
    assert_eq!(with([["4", "0"], ["3", "0"]]), neither);
    assert_ne!(with([["4", "0"], ["2.5", "0"]]), neither);
    assert_ne!(with([["4", "0"], ["3", "0.5"]]), neither);
}

#[test]
fn metrics_read_back_by_name_and_bad_files_say_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.csv");
    let mut file = MetricsFile::create(&path).unwrap();
    for step in 1..=3 {
        let metrics =
            StepMetrics { loss: 0.1 * step as f32, energy_fake: f32::NAN, ..StepMetrics::default() };
        file.append(step, 1, &metrics, step as f64).unwrap();
    }
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut f| std::io::Write::write_all(&mut f, b"4,1,0."))
        .unwrap();
    let table = MetricsTable::read(&path).unwrap();
    assert_eq!(table.names().collect::<Vec<_>>().join(","), METRICS_HEADER);
    assert_eq!(table.column("step").unwrap(), [1.0, 2.0, 3.0]);
    assert_eq!(table.column("loss").unwrap()[1] as f32, 0.2);
    assert!(table.column("energy_fake").unwrap().iter().all(|v| v.is_nan()));
    assert_eq!(table.column("nothing"), None);
    assert_eq!(read("loss,step\r\n1,2\r\n").unwrap().column("step").unwrap(), [2.0]);
    for (text, fact) in [
        ("", "is empty"),
        ("step,loss", "has no rows"),
        ("step,loss\n", "has no rows"),
        ("loss,energy\n1,2\n", "no column `step`"),
        ("step,loss\n1,2\n2\n", "line 3 has 1 cells, but line 1 names 2 columns"),
        ("step,loss\n1,2\n2,low\n", "line 3, column `loss`: `low` is not a number"),
        ("step,loss\n1,2\n2,\n", "line 3, column `loss`: `` is not a number"),
        ("\u{89}PNG\n", "no column `step`"),
    ] {
        let message = read(text).unwrap_err().to_string();
        assert!(message.contains(fact) && message.contains("metrics.csv"), "{text:?}: {message}");
    }
    assert!(matches!(MetricsTable::read(folder.path().join("none.csv")), Err(Error::Io { .. })));
}

// ---- models of points

/// `E = x / 2 - y / 4`, as a dense layer of a network.
fn tilted() -> Model {
    let dense = LayerSpec::Dense { units: 1, activation: Activation::Identity };
    let network = Network::new("tilted", plane::POINT, &[dense]).unwrap();
    Model { network, parameters: vec![0.5, -0.25, 0.0] }
}

fn chain_config(steps: u32) -> ChainConfig {
    ChainConfig { steps, noise: 0.0, gradient_clip: 0.0, clamp: 0.0, ..ChainConfig::default() }
}

#[test]
fn a_models_landscape_has_its_energies_at_their_nodes() {
    pollster::block_on(async {
        let device = Device::open("cpu").await.unwrap();
        let mut energies = EnergyModel::new(&device, &tilted()).await.unwrap();
        let square = Square { centre: [1.0, 0.0], half: 2.0 };
        let map = plane::landscape(&mut energies, square).await.unwrap();
        let expected: Vec<f32> =
            Landscape::nodes(square, 100).iter().map(|p| p[0] / 2.0 - p[1] / 4.0).collect();
        let (low, high) = map.colour_range().ends();
        assert_eq!((low as f32, high as f32), (expected[9900], expected[99]), "upper left, lower right");
        assert_eq!(map, Landscape::new(square, expected));
    });
}

#[test]
fn chains_of_several_step_sizes_start_alike_and_go_as_far_as_their_step_says() {
    pollster::block_on(async {
        let device = Device::open("cpu").await.unwrap();
        let start = plane::images(&[[0.0, 0.0], [0.25, -0.25], [-0.5, 0.5]]);
        let sizes = [0.005, 0.01];
        let all = plane::trajectories(&device, &tilted(), 3, Some(&start), &chain_config(20), &sizes, 7)
            .await
            .unwrap();
        for (t, size) in all.iter().zip(sizes) {
            assert_eq!(t.name, format!("Step size {size}"));
            assert_eq!(t.frames.iter().map(|f| f.step).collect::<Vec<_>>(), (0..=20).collect::<Vec<_>>());
            assert_eq!(t.frames[0].points, plane::points(&start).unwrap());
            for frame in &t.frames {
                let way = frame.step as f32 * size;
                for ((point, energy), from) in
                    frame.points.iter().zip(&frame.energies).zip(plane::points(&start).unwrap())
                {
                    let (x, y) = (from[0] - way * 0.5, from[1] + way * 0.25);
                    assert!((point[0] - x).abs() < 1e-5 && (point[1] - y).abs() < 1e-5, "{point:?} {x} {y}");
                    assert!((energy - (x / 2.0 - y / 4.0)).abs() < 1e-5);
                }
            }
        }
        // Without given ones, all step sizes have the same starts; many steps come as some 1,000 frames and the last.
        let many = chain_config(2501);
        let all = plane::trajectories(&device, &tilted(), 2, None, &many, &[1e-6, 1e-7], 7).await.unwrap();
        assert_eq!(all[0].frames[0], all[1].frames[0]);
        assert_eq!(all[0].frames.len(), 2501_usize.div_ceil(3) + 1);
        assert_eq!(all[0].frames.last().unwrap().step, 2501);
        let none = chain_config(0);
        assert_eq!(
            plane::trajectories(&device, &tilted(), 2, None, &none, &[0.1], 7).await.unwrap()[0].frames.len(),
            1
        );
        let samples = plane::samples(&device, &tilted(), 2, &many, 7).await.unwrap();
        assert_eq!(samples.len(), 2);
    });
}

#[test]
fn what_is_no_point_of_the_plane_is_refused() {
    let image = Images { shape: Shape { channels: 1, height: 28, width: 28 }, values: vec![0.0; 784] };
    let message = plane::points(&image).unwrap_err().to_string();
    assert!(message.contains("1x28x28") && message.contains("2x1x1"), "{message}");
    let network = thalweg::recipe::presets::preset("mnist-small").unwrap();
    let parameters = network.initial_parameters(0);
    pollster::block_on(async {
        let device = Device::open("cpu").await.unwrap();
        let model = Model { network, parameters };
        assert!(matches!(
            plane::samples(&device, &model, 2, &chain_config(20), 0).await,
            Err(Error::Usage(_))
        ));
        let mut energies = EnergyModel::new(&device, &model).await.unwrap();
        assert!(plane::landscape(&mut energies, Square::USUAL).await.is_err());
    });
}
