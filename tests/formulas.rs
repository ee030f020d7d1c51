//! Activations, and the twins of the optimiser and of the chain, against their formulas.

use crate::common::{ACTIVATIONS, Failures, Rng, derivative, plain_activation};
use thalweg::kernels::adam::{Adam, Decay, LearningRateSchedule};
use thalweg::kernels::clip_scale::ClipScale;
use thalweg::kernels::dynamics::{Dynamics, Form, Interpolation};
use thalweg::kernels::langevin::Langevin;
use thalweg::kernels::sum_squares::SumSquares;
use thalweg::kernels::{Binding, Kernel, State, activate};
use thalweg::network::Activation;
use thalweg::random::{Stream, counter, normal_of, philox};

fn words(values: &[f64]) -> Vec<u32> {
    values.iter().map(|v| (*v as f32).to_bits()).collect()
}

fn floats(words: &[u32]) -> Vec<f64> {
    words.iter().map(|w| f64::from(f32::from_bits(*w))).collect()
}

#[test]
fn adam_and_the_norm_clip_follow_their_formulas() {
    let (mut rng, mut failures) = (Rng(7), Failures::default());
    for n in [1, 3, 17, 1023, 1024, 1025, 3000] {
        for (beta1, clip, scale) in [(0.9, 0.0, 1.0), (0.9, 0.1, 1.0), (0.0, 1.0, 1e-3), (0.9, 0.1, 1e-6)] {
            let (rate, beta2, epsilon) = (1e-3, 0.999, 1e-7);
            let (gradient_clip, weight_decay) = if clip == 1.0 { (0.5 * scale, 0.3) } else { (1e9, 0.0) };
            let decay = Decay::Exponential { factor: 0.8, epoch: 2 };
            let adam = Adam {
                n_parameters: n,
                learning_rate: rate,
                beta1,
                beta2,
                epsilon,
                schedule: LearningRateSchedule { decay, warm_up: 3 },
                gradient_clip: gradient_clip as f32,
                weight_decay,
                retry_factor: 0.5,
            };
            let (mut p, mut m, mut v) = (rng.signeds(n), vec![0.0; n], vec![0.0; n]);
            let (mut p32, mut m32, mut v32) = (words(&p), words(&m), words(&v));
            for step in 0..5 {
                let grad: Vec<f64> = rng.signeds(n).iter().map(|g| g * scale).collect();
                let state = State { step, ..State::default() };
                let state: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&state));
                let n_partials = n.div_ceil(1024);
                let mut squares = vec![f32::NAN.to_bits(); n_partials];
                let mut factor = vec![f32::NAN.to_bits()];
                let mut metrics = vec![7; 3 * 8];
                let grad32 = words(&grad);
                Kernel::from(SumSquares { n_parameters: n })
                    .run(0, &mut [Binding::Read(&grad32), Binding::Write(&mut squares)]);
                Kernel::from(ClipScale { n_partials, metric_rows: 3, clip }).run(
                    0,
                    &mut [
                        Binding::Read(state),
                        Binding::Read(&squares),
                        Binding::Write(&mut factor),
                        Binding::Write(&mut metrics),
                    ],
                );
                let norm = grad.iter().map(|g| g * g).sum::<f64>().sqrt();
                let row = step as usize % 3 * 8 + 5;
                failures.close(&format!("{n}: norm"), &floats(&metrics[row..=row]), &[norm], 0.0, 1e-6);
                let untouched = metrics.iter().enumerate().all(|(i, w)| i == row || *w == 7);
                failures.check(untouched, || format!("{n}: clip_scale writes other metrics"));
                let want = if clip > 0.0 { (f64::from(clip) / norm).min(1.0) } else { 1.0 };
                failures.close(&format!("{n}: factor"), &floats(&factor), &[want], 0.0, 1e-6);

                Kernel::from(adam.clone()).run(
                    0,
                    &mut [
                        Binding::Read(state),
                        Binding::Read(&grad32),
                        Binding::Read(&factor),
                        Binding::Write(&mut m32),
                        Binding::Write(&mut v32),
                        Binding::Write(&mut p32),
                    ],
                );
                let t = step as i32 + 1;
                for i in 0..n {
                    let g = (want * grad[i]).clamp(-gradient_clip, gradient_clip);
                    m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                    v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
                    let (m_hat, v_hat) = (m[i] / (1.0 - beta1.powi(t)), v[i] / (1.0 - beta2.powi(t)));
                    let rate = rate * 0.8f64.powi(step as i32 / 2) * f64::from(t.min(3)) / 3.0;
                    p[i] -= rate * (m_hat / (v_hat.sqrt() + epsilon) + weight_decay * p[i]);
                }
                let name = format!("{n} parameters, clip {clip}, step {step}");
                failures.close(&format!("{name}: m"), &floats(&m32), &m, 1e-7 * scale, 1e-5);
                failures.close(&format!("{name}: v"), &floats(&v32), &v, 1e-7 * scale * scale, 1e-5);
                failures.close(&format!("{name}: parameters"), &floats(&p32), &p, 5e-7, 1e-6);
            }
        }
    }
    failures.assert_none();
}

/// `x <- clamp(x - step_size * clip(g))` ends a step and `x <- clamp(x + noise)` begins the next, each only if asked.
#[test]
fn langevin_follows_its_formula() {
    let (mut rng, mut failures) = (Rng(8), Failures::default());
    for lanes in [1, 3, 16, 17, 64] {
        for features in [1, 3, 4, 5, 17] {
            for (form, moves, perturbs) in [
                (Form::NoiseFirst, false, None),
                (Form::NoiseFirst, false, Some(3)),
                (Form::NoiseFirst, true, None),
                (Form::NoiseFirst, true, Some(9)),
                (Form::NoiseLast, true, Some(9)),
                (Form::Theory, true, Some(9)),
            ] {
                let temperature: f64 = 0.6;
                let bound = if form == Form::Theory { f64::INFINITY } else { 0.8 };
                let (step_size, noise, clip): (f64, f64, f64) =
                    if form == Form::Theory { (0.2, 0.0, 0.7) } else { (10.0, 0.05, 0.03) };
                let kernel = Langevin {
                    lanes,
                    features,
                    moves,
                    perturbs,
                    dynamics: Dynamics {
                        form,
                        step_size: step_size as f32,
                        step_size_end: step_size as f32,
                        noise: noise as f32,
                        noise_end: noise as f32,
                        interpolation: Interpolation::Linear,
                        levels: 10,
                        stay_step_size: 0.0,
                        final_step: u32::MAX,
                        temperature: temperature as f32,
                        gradient_clip: clip as f32,
                        bound: bound as f32,
                    },
                    own_levels: false,
                };
                let state =
                    State { step: 4, chain_base: 100, seed_low: 11, seed_high: 12, ..State::default() };
                let n = features * lanes as usize;
                let (x, g) =
                    (rng.signeds(n), rng.signeds(n).iter().map(|g| g * 3.0 * clip).collect::<Vec<_>>());
                let mut got = words(&x);
                Kernel::from(kernel).run(
                    2,
                    &mut [
                        Binding::Read(bytemuck::cast_slice(&[state])),
                        Binding::Read(&words(&g)),
                        Binding::Write(&mut got),
                    ],
                );
                let mut want = x.clone();
                for (i, x) in want.iter_mut().enumerate() {
                    let (feature, lane) = (i / lanes as usize, i as u32 % lanes);
                    let normal = perturbs.map_or(0.0, |step| {
                        let image = 2 * lanes + lane;
                        let at = counter(Stream::Langevin, feature as u32 / 4, image, 100 + step, 4);
                        f64::from(normal_of(philox(at, [11, 12]))[feature % 4])
                    });
                    let g = if moves { g[i].clamp(-clip, clip) } else { 0.0 };
                    *x = match form {
                        Form::NoiseFirst if !moves && perturbs.is_none() => *x,
                        Form::NoiseFirst if !moves => (*x + noise * normal).clamp(-bound, bound),
                        Form::NoiseFirst if perturbs.is_none() => (*x - step_size * g).clamp(-bound, bound),
                        Form::NoiseFirst => {
                            let moved = (*x - step_size * g).clamp(-bound, bound);
                            (moved + noise * normal).clamp(-bound, bound)
                        }
                        Form::NoiseLast => (*x - step_size * g + noise * normal).clamp(-bound, bound),
                        _ => *x - step_size / 2.0 * g + (step_size * temperature).sqrt() * normal,
                    };
                }
                let name = format!("{lanes} lanes, {features} features, {form:?}, {moves}, {perturbs:?}");
                failures.close(&name, &floats(&got), &want, 1e-6, 0.0);
                failures
                    .check((got == words(&x)) == (!moves && perturbs.is_none()), || format!("{name}: moved"));
            }
        }
    }
    failures.assert_none();
}

#[test]
fn slope_is_the_activations_derivative() {
    let mut failures = Failures::default();
    for activation in ACTIVATIONS {
        let value = |z: f64| activate(activation, z).0;
        for i in -400..=400 {
            let (z, h) = (f64::from(i) * 0.1, 1e-4);
            // Fourth order: the error is h^4 / 30 times a fifth derivative of order 1.
            let slope = derivative(|step| value(z + step), h);
            let kinked = matches!(activation, Activation::LeakyRelu(_) | Activation::Relu | Activation::Elu);
            if i != 0 || !kinked {
                let name = format!("{activation:?}'({z})");
                failures.close(&name, &[activate(activation, z).1], &[slope], 1e-10, 1e-9);
            }
            failures.close(
                &format!("{activation:?}({z})"),
                &[value(z)],
                &[plain_activation(activation, z)],
                1e-14,
                1e-14,
            );
        }
        // f32 at the ends: exp overflows, the numbers stay finite and right.
        for z in [-1e30, -1000.0, -104.0, -90.0, 90.0, 1000.0_f32] {
            let (y, slope) = activate(activation, z);
            let wide = f64::from(z);
            let (want, want_slope) = match activation {
                Activation::Identity => (wide, 1.0),
                Activation::Tanh => (wide.signum(), 0.0),
                _ if z > 0.0 => (wide, 1.0),
                Activation::LeakyRelu(leak) => (f64::from(leak * z), leak.into()),
                Activation::Elu => (-1.0, 0.0),
                Activation::Relu | Activation::Swish | Activation::Softplus => (0.0, 0.0),
            };
            let got = [f64::from(y), f64::from(slope)];
            failures.close(&format!("{activation:?} at {z} in f32"), &got, &[want, want_slope], 1e-30, 0.0);
        }
    }
    // PyTorch's derivatives at the kinks.
    for (activation, slope) in
        [(Activation::LeakyRelu(0.2), f64::from(0.2_f32)), (Activation::Relu, 0.0), (Activation::Elu, 1.0)]
    {
        assert_eq!(activate(activation, 0.0_f64), (0.0, slope), "{activation:?}");
    }
    failures.assert_none();
}
