//! Toy sets: points lie where the definitions say, as often as they say, and densities are those of the points.

use crate::common;

use common::Failures;
use std::f64::consts::{PI, TAU};
use thalweg::data::toy::{BOX, TOYS, Toy};

const N: usize = 40_000;

fn points(toy: Toy) -> Vec<[f64; 2]> {
    let points = toy.points(N, 7, 3);
    points.values.chunks_exact(2).map(|p| [f64::from(p[0]), f64::from(p[1])]).collect()
}

/// Counts of `N` points in equally likely cells: each within 4.5 deviations of the binomial.
fn even(failures: &mut Failures, what: &str, cells: impl IntoIterator<Item = usize>, n_cells: usize) {
    let mut counts = vec![0; n_cells];
    cells.into_iter().for_each(|cell| counts[cell] += 1);
    let (n, p) = (counts.iter().sum::<i32>() as f64, 1.0 / n_cells as f64);
    let deviation = (n * p * (1.0 - p)).sqrt();
    for (cell, count) in counts.iter().enumerate() {
        failures.check((f64::from(*count) - n * p).abs() < 4.5 * deviation, || {
            format!("{what}: {count} of {n} in cell {cell} of {n_cells}")
        });
    }
}

/// Mean 0 and deviation `sigma` of what should be normal, within 4.5 standard errors, and no gross outlier.
fn normal(failures: &mut Failures, what: &str, values: &[f64], sigma: f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| v * v).sum::<f64>() / n;
    failures.check(mean.abs() < 4.5 * sigma / n.sqrt(), || format!("{what}: mean {mean}"));
    failures.check((variance / sigma.powi(2) - 1.0).abs() < 4.5 * (2.0 / n).sqrt(), || {
        format!("{what}: deviation {}, not {sigma}", variance.sqrt())
    });
    failures.check(values.iter().all(|v| v.abs() < 6.0 * sigma), || format!("{what}: an outlier"));
}

fn nearest(point: [f64; 2], centres: &[[f32; 2]]) -> (usize, [f64; 2]) {
    let offset = |c: &[f32; 2]| [point[0] - f64::from(c[0]), point[1] - f64::from(c[1])];
    let square = |c: &[f32; 2]| offset(c).iter().map(|v| v * v).sum::<f64>();
    let best =
        (0..centres.len()).min_by(|a, b| square(&centres[*a]).total_cmp(&square(&centres[*b]))).unwrap();
    (best, offset(&centres[best]))
}

#[test]
fn points_lie_where_the_definitions_say() {
    let mut failures = Failures::default();
    for toy in TOYS {
        let (name, points) = (toy.name(), points(toy));
        let outside = points.iter().flatten().filter(|v| v.abs() > f64::from(BOX)).count();
        failures.check(outside < N / 100, || format!("{name}: {outside} coordinates outside of the box"));
        if let Some(mixture) = toy.mixture() {
            let n = [5, 8, 25][toy as usize];
            failures.check(mixture.centres.len() == n, || format!("{name}: {mixture:?}"));
            let found: Vec<_> = points.iter().map(|p| nearest(*p, &mixture.centres)).collect();
            even(&mut failures, name, found.iter().map(|(k, _)| *k), n);
            for i in 0..2 {
                let offsets: Vec<f64> = found.iter().map(|(_, offset)| offset[i]).collect();
                normal(&mut failures, name, &offsets, f64::from(mixture.sigma));
            }
        }
        let polar = |p: &[f64; 2]| (p[0].hypot(p[1]), p[1].atan2(p[0]).rem_euclid(TAU));
        match toy {
            Toy::FiveGaussians => {
                let mut centres = toy.mixture().unwrap().centres.concat();
                centres.sort_by(f32::total_cmp);
                failures.check(centres == [-2., -2., -2., -2., 0., 0., 2., 2., 2., 2.], || {
                    format!("{centres:?}")
                });
            }
            Toy::EightGaussians => {
                for (k, [x, y]) in toy.mixture().unwrap().centres.into_iter().enumerate() {
                    let want = [3.0 * (k as f64 * PI / 4.0).cos(), 3.0 * (k as f64 * PI / 4.0).sin()];
                    failures.close(name, &[x.into(), y.into()], &want, 1e-6, 0.0);
                }
            }
            Toy::TwentyFiveGaussians => {
                let centres = toy.mixture().unwrap().centres;
                failures.check(centres[0] == [-3.0, -3.0] && centres[24] == [3.0, 3.0], || {
                    format!("{centres:?}")
                });
            }
            Toy::Rings => {
                let ring = |p: &[f64; 2]| ((polar(p).0 / 0.75).round() as usize).clamp(1, 4) - 1;
                even(&mut failures, name, points.iter().map(ring), 4);
                even(&mut failures, name, points.iter().map(|p| (polar(p).1 / TAU * 12.0) as usize), 12);
                // Across a ring the blur is normal; its radius is a little larger on the whole, by sigma^2 / (2 r).
                let across: Vec<f64> = points
                    .iter()
                    .map(|p| polar(p).0 - 0.75 * (ring(p) + 1) as f64)
                    .map(|offset| offset - 0.08_f64.powi(2) / 2.0 / 1.44)
                    .collect();
                normal(&mut failures, name, &across, 0.08);
            }
            Toy::TwoMoons => {
                // Turned by half a circle, one moon is the other; the upper one has its centre at (-1, -1/2).
                let (mut share, mut across) = (0, Vec::new());
                for [x, y] in &points {
                    let off = |x: f64, y: f64| {
                        let (dx, dy) = (x + 1.0, y + 0.5);
                        // The blur may carry an end a little below.
                        if dy > 0.0 { dx.hypot(dy) - 2.0 } else { (dx.abs() - 2.0).hypot(dy) }
                    };
                    let (upper, lower) = (off(*x, *y), off(-x, -y));
                    share += usize::from(upper.abs() < lower.abs());
                    across.push(if upper.abs() < lower.abs() { upper } else { lower });
                }
                even(&mut failures, name, (0..N).map(|i| usize::from(i < share)), 2);
                let n_far = across.iter().filter(|v| v.abs() > 0.4).count() as f64 / N as f64;
                failures.check((0.02..0.06).contains(&n_far), || format!("{name}: {n_far} beyond 2 sigma"));
            }
            Toy::SwissRoll => {
                // Along the spiral at the point's own angle, the nearest of the windings.
                let off = |p: &[f64; 2]| {
                    let (radius, angle) = polar(p);
                    let windings = (0..4).map(|k| (angle + TAU * f64::from(k)) / 5.0);
                    let ends = 1.5 * PI / 5.0 - 0.3..4.5 * PI / 5.0 + 0.3;
                    windings.filter(|r| ends.contains(r)).map(|r| (radius - r).abs()).fold(f64::MAX, f64::min)
                };
                let far = points.iter().filter(|p| off(p) > 0.6).count();
                failures.check(far < N / 100, || format!("{name}: {far} far from the spiral"));
                let outer = points.iter().filter(|p| polar(p).0 > 3.0 * PI / 5.0).count() as f64 / N as f64;
                failures.check((outer - 0.5).abs() < 0.02, || format!("{name}: {outer} in the outer half"));
            }
            Toy::Checkerboard => {
                let square = |p: &[f64; 2]| p.map(|v| ((v + 4.0) / 2.0).floor() as usize);
                let squares: Vec<_> = points.iter().map(square).collect();
                failures.check(squares.iter().all(|[x, y]| (x + y) % 2 == 0), || "a white square".to_owned());
                even(&mut failures, name, squares.iter().map(|[x, y]| x * 2 + y / 2), 8);
                let quarter = |v: f64| usize::from((v + 4.0).rem_euclid(2.0) >= 1.0);
                even(&mut failures, name, points.iter().map(|p| quarter(p[0]) * 2 + quarter(p[1])), 4);
            }
            Toy::Pinwheel => {
                // Unbent, the points are normal around (2, 0), turned by fifths.
                let (mut blades, mut along, mut across) = (Vec::new(), Vec::new(), Vec::new());
                for p in &points {
                    let (radius, angle) = polar(p);
                    let straight = angle - 0.25 * (radius / 2.0).exp();
                    let blade = (straight / TAU * 5.0).round();
                    let rest = straight - blade * TAU / 5.0;
                    blades.push(blade.rem_euclid(5.0) as usize);
                    along.push(radius * rest.cos() - 2.0);
                    across.push(radius * rest.sin());
                }
                even(&mut failures, name, blades, 5);
                let mean = along.iter().sum::<f64>() / N as f64;
                failures.check(mean.abs() < 0.03, || format!("{name}: {mean} along a blade"));
                let deviation = (across.iter().map(|v| v * v).sum::<f64>() / N as f64).sqrt();
                failures.check((0.17..0.25).contains(&deviation), || {
                    format!("{name}: {deviation} across a blade")
                });
            }
        }
    }
    failures.assert_none();
}

/// The density integrates to 1, and its integral over a cell is the share of points there.
#[test]
fn densities_are_those_of_the_points() {
    let mut failures = Failures::default();
    for toy in TOYS {
        let known = toy.log_density([0.1, 0.2]).is_some();
        let expected = toy.mixture().is_some() || toy == Toy::Checkerboard;
        failures.check(known == expected, || format!("{}: {known}", toy.name()));
        if !known {
            continue;
        }
        let points = points(toy);
        // Cells of one unit over [-6, 6]^2, each by the midpoint rule on 40 x 40.
        let (mut total, fine) = (0.0, 40);
        for cell in 0..144 {
            let (x0, y0) = (f64::from(cell % 12) - 6.0, f64::from(cell / 12) - 6.0);
            let mut integral = 0.0;
            for i in 0..fine * fine {
                let at = |k: i32| (f64::from(k) + 0.5) / f64::from(fine);
                let point = [(x0 + at(i % fine)) as f32, (y0 + at(i / fine)) as f32];
                integral += toy.log_density(point).unwrap().exp() / f64::from(fine * fine);
            }
            total += integral;
            let inside = |p: &&[f64; 2]| (x0..x0 + 1.0).contains(&p[0]) && (y0..y0 + 1.0).contains(&p[1]);
            let share = points.iter().filter(inside).count() as f64 / N as f64;
            let deviation = (integral.max(1.0 / N as f64) / N as f64).sqrt();
            failures.check((share - integral).abs() < 4.5 * deviation, || {
                format!("{}: {share} of points, but {integral} of density at {x0}, {y0}", toy.name())
            });
        }
        failures.check((total - 1.0).abs() < 1e-3, || format!("{}: integral {total}", toy.name()));
    }
    failures.assert_none();
}

/// Sets, seeds and steps have points of their own; the same ones give the same.
#[test]
fn sets_seeds_and_steps_differ() {
    let toy = Toy::Rings;
    let first = toy.points(100, 1, 1);
    assert_eq!(first, toy.points(100, 1, 1));
    assert_eq!(first.values[..100], toy.points(50, 1, 1).values[..]);
    for other in [toy.points(100, 2, 1), toy.points(100, 1, 2), toy.points(100, 1 << 32, 1)] {
        assert_ne!(first, other);
    }
    assert_ne!(toy.draw([1, 0], 5, 0, 0), toy.draw([1, 0], 5, 0, 1));
}
