//! `metrics.csv`: what is written, what survives a kill.

use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use thalweg::Error;
use thalweg::train::log::{METRICS_HEADER, MetricsFile, MetricsMean, StepMetrics};

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.csv");
    (folder, path)
}

fn metrics(step: u64) -> StepMetrics {
    let v = (step as f32 * 0.37).sin();
    StepMetrics {
        loss: v,
        divergence: v / 3.0,
        regularisation: v * 1e-9,
        energy_real: v * 1e12,
        energy_fake: -v,
        gradient_norm: v.abs(),
        n_real: 128.0,
        acceptance: v * v,
    }
}

fn append(file: &mut MetricsFile, steps: std::ops::RangeInclusive<u64>) {
    for step in steps {
        file.append(step, step.div_ceil(4), &metrics(step), step as f64 / 8.0).unwrap();
    }
}

/// The content after steps 1..=n without a break.
fn unbroken(n: u64) -> String {
    let (_folder, path) = place();
    append(&mut MetricsFile::create(&path).unwrap(), 1..=n);
    fs::read_to_string(path).unwrap()
}

#[test]
fn rows_round_trip() {
    let (_folder, path) = place();
    let values = [f32::NAN, f32::INFINITY, f32::MIN_POSITIVE, -f32::MAX, 0.1 + 0.2, 1e-45, 128.0, 0.0];
    let mut file = MetricsFile::create(&path).unwrap();
    file.append(7, 2, &bytemuck::cast(values), 1.25).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let (header, row) = text.trim_end().split_once('\n').unwrap();
    assert_eq!(header, "step,epoch,loss,cdiv,reg,energy_real,energy_fake,gradient_norm,acceptance,seconds");
    assert!(row.starts_with("7,2,nan,inf,") && row.ends_with(",1.250"), "{row}");
    let back: Vec<u32> =
        row.split(',').skip(2).take(6).map(|cell| cell.parse::<f32>().unwrap().to_bits()).collect();
    assert_eq!(back, values[..6].iter().map(|v| v.to_bits()).collect::<Vec<u32>>());
    // A diverged run can be resumed too.
    drop(file);
    MetricsFile::resume(&path, 7).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn create_leaves_an_older_file_alone() {
    let (_folder, path) = place();
    fs::write(&path, "precious").unwrap();
    let error = MetricsFile::create(&path).unwrap_err();
    assert!(matches!(&error, Error::File { .. }) && error.to_string().contains("metrics.csv"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let missing = path.with_file_name("missing").join("metrics.csv");
    assert!(matches!(MetricsFile::create(&missing), Err(Error::Io { .. })));
}

#[test]
fn resume_equals_never_having_stopped_wherever_it_was_killed() {
    let whole = unbroken(12);
    let (_folder, path) = place();
    // Killed after any byte of the file, with a checkpoint of every step that has its whole row.
    for length in 0..=whole.len() {
        let rows = whole[..length].matches('\n').count().saturating_sub(1) as u64;
        for step in [0, rows / 2, rows] {
            fs::write(&path, &whole[..length]).unwrap();
            let mut file = MetricsFile::resume(&path, step).unwrap();
            assert_eq!(file.seconds(), step as f64 / 8.0);
            append(&mut file, step + 1..=12);
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                whole,
                "killed at byte {length}, resumed at {step}"
            );
        }
    }
}

#[test]
fn rewound_equals_never_having_gone_on() {
    let (_folder, path) = place();
    let mut file = MetricsFile::create(&path).unwrap();
    append(&mut file, 1..=11);
    for (to, epoch, first, last) in [(10, 3, 9, 10), (6, 2, 5, 6), (6, 1, 1, 4), (4, 2, 5, 4)] {
        file.rewind(to).unwrap();
        assert_eq!(file.seconds(), 11.0 / 8.0, "time does not go back");
        let mut mean = MetricsMean::default();
        (first..=last).for_each(|step| mean.add(&metrics(step)));
        let found = file.mean_of(epoch).unwrap();
        assert_eq!(found.n_steps(), mean.n_steps());
        let of = |mean: &MetricsMean| bytemuck::cast::<_, [f32; 8]>(mean.mean()).map(f32::to_bits);
        let (found, mean) = (of(&found), of(&mean));
        assert!((0..8).all(|i| i == 6 || found[i] == mean[i]), "{found:?}, not {mean:?}");
    }
    append(&mut file, 5..=12);
    assert_eq!(fs::read_to_string(&path).unwrap(), unbroken(12));
}

#[test]
fn resume_begins_a_file_that_is_gone() {
    let (_folder, path) = place();
    append(&mut MetricsFile::resume(&path, 5).unwrap(), 6..=7);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert!(text.starts_with(METRICS_HEADER));
}

#[test]
fn resume_refuses_what_is_no_metrics_file_and_leaves_it_alone() {
    let (_folder, path) = place();
    let whole = unbroken(3);
    let not_a_number = whole.replace("\n2,1,", "\n2,x,");
    let cell_missing = whole.replacen(",0.250\n", "\n", 1);
    for (content, line) in [
        ("step,loss\n1,2\n", "line 1"),
        // As versions before 0.1 wrote it.
        (
            "step,epoch,loss,cdiv,reg,energy_real,energy_fake,gradient_norm,seconds\n1,1,1,2,3,4,5,6,0.125\n",
            "line 1",
        ),
        ("no newline at all", "line 1"),
        ("\n", "line 1"),
        (not_a_number.as_str(), "line 3"),
        (cell_missing.as_str(), "line 3"),
    ] {
        fs::write(&path, content).unwrap();
        let error = MetricsFile::resume(&path, 9).unwrap_err();
        assert!(matches!(&error, Error::File { .. }) && error.to_string().contains(line), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    // Zeros instead of the last row, as a file system may leave after a power cut.
    fs::write(&path, [whole.as_bytes(), &[0; 40]].concat()).unwrap();
    MetricsFile::resume(&path, 3).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    // Lines that end as on Windows, after a spreadsheet had it.
    fs::write(&path, whole.replace('\n', "\r\n")).unwrap();
    MetricsFile::resume(&path, 3).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
}

#[test]
fn the_mean_is_over_steps() {
    let mut mean = MetricsMean::default();
    assert!(mean.mean().loss.is_nan());
    for step in 1..=100_000u64 {
        mean.add(&StepMetrics {
            loss: 0.1,
            energy_real: if step % 2 == 0 { 3.0 } else { -1.0 },
            ..metrics(step)
        });
    }
    assert_eq!(mean.n_steps(), 100_000);
    assert_eq!(mean.mean(), StepMetrics { loss: 0.1, energy_real: 1.0, n_real: 128.0, ..mean.take() });
    assert_eq!(mean.n_steps(), 0);
    mean.add(&StepMetrics { loss: f32::NAN, divergence: 1.0, ..Default::default() });
    mean.add(&StepMetrics { divergence: 2.0, ..Default::default() });
    assert!(mean.mean().loss.is_nan() && mean.mean().divergence == 1.5);
}
