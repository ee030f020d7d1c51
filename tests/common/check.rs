//! Comparators, which collect every failure.

/// Collects what is wrong, so that a test names every failure and not only the first.
#[derive(Default)]
pub struct Failures(Vec<String>);

impl Failures {
    /// Notes `text()` unless `ok`.
    pub fn check(&mut self, ok: bool, text: impl FnOnce() -> String) {
        if !ok {
            self.0.push(text());
        }
    }

    /// Notes a difference: see [`difference`].
    pub fn close(&mut self, name: &str, got: &[f64], want: &[f64], atol: f64, rtol: f64) {
        self.0.extend(difference(name, got, want, atol, rtol));
    }

    /// Panics with all of them.
    #[track_caller]
    pub fn assert_none(self) {
        let n = self.0.len();
        assert!(n == 0, "{n} failures:\n{}", self.0[..n.min(25)].join("\n"));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Where `got` and `want` differ by more than `atol + rtol * |want|`: how often, and where most. NaN and
/// infinities differ from everything.
pub fn difference(name: &str, got: &[f64], want: &[f64], atol: f64, rtol: f64) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("{name}: {} values, not {}", got.len(), want.len()));
    }
    let (mut n_wrong, mut worst, mut worst_err) = (0, 0, -1.0);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let err = (got - want).abs();
        let ok = err.is_finite() && err <= atol + rtol * want.abs();
        if !ok {
            n_wrong += 1;
            let key = if err.is_nan() { f64::INFINITY } else { err };
            if key > worst_err {
                (worst, worst_err) = (i, key);
            }
        }
    }
    (n_wrong > 0).then(|| {
        let (got_there, want_there) = (got[worst], want[worst]);
        format!("{name}: {n_wrong} of {} differ; at {worst}: {got_there}, not {want_there}", got.len())
    })
}

/// The derivative at 0, a fourth-order central difference of steps of `h`.
pub fn derivative(value: impl Fn(f64) -> f64, h: f64) -> f64 {
    (8.0 * (value(h) - value(-h)) - value(2.0 * h) + value(-2.0 * h)) / (12.0 * h)
}

/// The largest magnitude, for tolerances relative to a whole tensor.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

pub fn to_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

#[test]
fn comparators_find_a_perturbed_value() {
    let want = [1.0, -2.0, 0.0, 1e-3];
    assert_eq!(difference("same", &want, &want, 0.0, 0.0), None);
    for wrong in [f64::NAN, f64::INFINITY, 1.0 + 2e-6, -1.0, 0.0] {
        let mut got = want;
        got[0] = wrong;
        assert!(difference("one", &got, &want, 1e-7, 1e-6).is_some(), "{wrong}");
        assert!(difference("one", &want, &got, 1e-7, 1e-7).is_some(), "{wrong} as reference");
    }
    assert!(difference("short", &want[..3], &want, 1.0, 1.0).is_some());
    let mut failures = Failures::default();
    failures.close("same", &want, &want, 0.0, 0.0);
    assert_eq!(failures.len(), 0);
    failures.close("one", &[f64::NAN], &[f64::NAN], 1.0, 1.0);
    assert_eq!(failures.len(), 1);
}
