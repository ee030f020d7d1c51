//! Second-order objectives: the jets' twins, in f64, against differences of plain models, through whole networks; their
//! loss and `dL/dE` in f32; whole training steps on every device against the reference.

use crate::common;

use common::{
    ACTIVATIONS, Executor32, Executor64, Failures, Rng, edge_networks, largest, plain_energy, random_network,
    random_parameters, random_target, to_blocks,
};
use thalweg::cpu::Isa;
use thalweg::data::Shape;
use thalweg::device::compare::compare;
use thalweg::device::{Device, Executor};
use thalweg::kernels::activation_jet::{ActivationJet, Jet, curves};
use thalweg::kernels::activation_jet_backward::ActivationJetBackward;
use thalweg::kernels::perturb::Perturb;
use thalweg::kernels::{Kernel, State};
use thalweg::network::{Activation, LayerSpec, Network};
use thalweg::plan::{
    Derivatives, EXACT_TRACE, ExampleStorage, Layout, Target, TrainingData, TrainingPlan, training_plan,
};
use thalweg::recipe::{Directions, Recipe, ScoreObjective, ScoreTarget, Square};

/// A fourth-order central difference.
fn derivative(value: impl Fn(f64) -> f64, h: f64) -> f64 {
    (8.0 * (value(h) - value(-h)) - value(2.0 * h) + value(-2.0 * h)) / (12.0 * h)
}

/// The second derivative, of fourth order too.
fn second_derivative(value: impl Fn(f64) -> f64, h: f64) -> f64 {
    (16.0 * (value(h) + value(-h)) - value(2.0 * h) - value(-2.0 * h) - 30.0 * value(0.0)) / (12.0 * h * h)
}

/// Those whose second derivative is continuous: differences of whole networks hold for no others.
const SMOOTH: [Activation; 4] =
    [Activation::Identity, Activation::Swish, Activation::Softplus, Activation::Tanh];

fn is_smooth(network: &Network) -> bool {
    network.layers.iter().all(|l| SMOOTH.contains(&l.activation))
}

#[test]
fn each_curve_is_the_derivative_of_the_one_before() {
    let mut failures = Failures::default();
    for activation in ACTIVATIONS {
        for i in -400..=400 {
            // Between the kinks' 0 and its neighbours.
            let z = f64::from(i) * 0.1 + 0.03;
            let got = curves(activation, z);
            for (order, got) in got.into_iter().enumerate().skip(1) {
                let want = derivative(|step| curves(activation, z + step)[order - 1], 1e-3);
                let name = format!("{activation:?}: derivative {order} at {z}");
                failures.close(&name, &[got], &[want], 1e-10, 1e-9);
            }
            // f32 follows, and is finite at the far ends.
            let single = curves(activation, z as f32).map(f64::from);
            failures.close(&format!("{activation:?} at {z} in f32"), &single, &got, 1e-6, 1e-5);
        }
        for z in [-1e30, -1000.0, -104.0, -90.0, 90.0, 1000.0_f32] {
            let [_, slope, second, third] = curves(activation, z);
            let ok = slope.is_finite() && [second, third].iter().all(|c| c.abs() <= 1e-30);
            failures.check(ok, || format!("{activation:?} at {z}: {slope} {second} {third}"));
        }
    }
    failures.assert_none();
}

/// The jet's activation and its way back, against differences of `sum of g * a`, over odd sizes.
#[test]
fn the_activations_way_back_matches_differences() {
    let (mut rng, mut failures) = (Rng(21), Failures::default());
    for activation in ACTIVATIONS {
        for (lanes, features, channels, directions, first_order) in
            [(1, 1, 1, 1, 0), (5, 6, 3, 3, 1), (4, 3, 3, 1, 1), (8, 5, 1, 2, 0), (3, 4, 2, 2, 2)]
        {
            let jet = Jet { directions, first_order };
            let kernel = ActivationJet { lanes, features, channels, jet, bias_offset: 0, activation };
            let n = jet.components() * features * lanes as usize;
            let (g, bias) = (rng.signeds(n), rng.signeds(channels));
            // Off the kinks.
            let mut z = rng.signeds(n);
            for at in 0..features * lanes as usize {
                while (z[at] + bias[at / lanes as usize % channels]).abs() < 0.01 {
                    z[at] = rng.signed();
                }
            }
            let value = |z: &[f64]| {
                let mut a = vec![f64::NAN; n];
                kernel.reference(z, &bias, &mut a);
                a.iter().zip(&g).map(|(a, g)| a * g).sum::<f64>()
            };
            let mut got = g.clone();
            ActivationJetBackward(kernel.clone()).reference(&z, &bias, &mut got);
            for at in 0..n {
                let moved = |step: f64| {
                    let mut z = z.clone();
                    z[at] += step;
                    value(&z)
                };
                let want = derivative(moved, 1e-3);
                failures.close(&format!("{kernel:?} at {at}"), &[got[at]], &[want], 1e-10, 1e-9);
            }
        }
    }
    failures.assert_none();
}

// ---- whole networks

fn networks(rng: &mut Rng) -> Vec<Network> {
    let dense = |units, activation| LayerSpec::Dense { units, activation };
    let mlp = |d: usize| {
        let specs = [dense(7, Activation::Swish), dense(5, Activation::Tanh), dense(1, Activation::Identity)];
        Network::new("mlp", Shape { channels: d, height: 1, width: 1 }, &specs).unwrap()
    };
    let mut all = vec![mlp(2), mlp(3), mlp(EXACT_TRACE), mlp(EXACT_TRACE + 1)];
    all.extend(edge_networks());
    all.extend((0..16).map(|_| random_network(rng)));
    all.retain(|network| objectives()[0].check(network).is_ok());
    all
}

fn objectives() -> Vec<ScoreObjective> {
    let sliced = |directions, square| ScoreObjective::Sliced { probes: 2, directions, square };
    vec![
        ScoreObjective::Matching { probes: 3 },
        sliced(Directions::Normal, Square::Along),
        sliced(Directions::Signs, Square::Whole),
        ScoreObjective::Denoising {
            sigma: 0.3,
            sigma_max: 0.3,
            levels: 1,
            target: ScoreTarget::Score,
            from_noise: 0.0,
        },
        ScoreObjective::Denoising {
            sigma: 0.1,
            sigma_max: 1.0,
            levels: 5,
            target: ScoreTarget::Score,
            from_noise: 0.0,
        },
        ScoreObjective::Denoising {
            sigma: 0.3,
            sigma_max: 0.3,
            levels: 1,
            target: ScoreTarget::Velocity,
            from_noise: 0.0,
        },
        ScoreObjective::Denoising {
            sigma: 0.1,
            sigma_max: 3.0,
            levels: 5,
            target: ScoreTarget::Velocity,
            from_noise: 0.0,
        },
        ScoreObjective::Denoising {
            sigma: 0.1,
            sigma_max: 3.0,
            levels: 2,
            target: ScoreTarget::Velocity,
            from_noise: 0.4,
        },
    ]
}

/// A recipe, and the data that it learns, of the network's shape.
fn recipe(network: &Network, batch: u32, n_images: u32, score: ScoreObjective) -> (Recipe, TrainingData) {
    let mut recipe = common::recipe(&["adam.learning_rate=0.001", "adam.gradient_norm_clip=0.5"]);
    recipe.train.batch = batch as usize;
    let data = TrainingData::new(ExampleStorage::Bytes, n_images, network.input);
    (common::with_objective(recipe, score), data)
}

/// A batch and what is drawn for it, plain: `[image][channel][pixel]`.
struct Batch {
    x: Vec<Vec<f64>>,
    /// For each image: `[probe][channel][pixel]`, or noise.
    drawn: Vec<Vec<f64>>,
    level: Vec<f64>,
}

/// An image's share of the loss, from plain energies alone: the formulas of the papers, in the energy's sign.
fn plain_loss(
    network: &Network,
    parameters: &[f64],
    objective: ScoreObjective,
    batch: &Batch,
    i: usize,
) -> f64 {
    let energy = |x: &[f64]| plain_energy(network, parameters, x);
    let n = network.input.len();
    let along = |x: &[f64], v: &[f64], step: f64| {
        energy(&x.iter().zip(v).map(|(x, v)| x + step * v).collect::<Vec<_>>())
    };
    let axis = |at: usize| (0..n).map(|f| f64::from(u8::from(f == at))).collect::<Vec<_>>();
    let first = |x: &[f64], v: &[f64]| derivative(|step| along(x, v, step), 1e-3);
    let second = |x: &[f64], v: &[f64]| second_derivative(|step| along(x, v, step), 3e-3);
    let gradient = |x: &[f64]| (0..n).map(|f| first(x, &axis(f))).collect::<Vec<_>>();
    let half_square = |v: &[f64]| 0.5 * v.iter().map(|v| v * v).sum::<f64>();
    let x = &batch.x[i];
    match objective {
        ScoreObjective::Matching { .. } if n <= EXACT_TRACE => {
            half_square(&gradient(x)) - (0..n).map(|f| second(x, &axis(f))).sum::<f64>()
        }
        ScoreObjective::Matching { probes }
        | ScoreObjective::Sliced { probes, square: Square::Whole, .. } => {
            let traces = batch.drawn[i].chunks_exact(n).map(|v| second(x, v));
            half_square(&gradient(x)) - traces.sum::<f64>() / probes as f64
        }
        ScoreObjective::Sliced { probes, .. } => {
            let each = batch.drawn[i].chunks_exact(n).map(|v| 0.5 * first(x, v).powi(2) - second(x, v));
            each.sum::<f64>() / probes as f64
        }
        ScoreObjective::Denoising { sigma, sigma_max, levels, target, from_noise } => {
            let velocity = target == ScoreTarget::Velocity;
            let (low, high) = (f64::from(sigma), f64::from(sigma_max));
            let rung = (0.5 * (batch.level[i] + 1.0) * f64::from(levels)).floor();
            let sigma = if levels == 1 { low } else { low * (high / low).powf(rung / f64::from(levels - 1)) };
            let weight = if levels == 1 || velocity { 1.0 } else { sigma * sigma };
            let noise = &batch.drawn[i];
            let angle = sigma.atan(); // alpha and s are its cosine and sine
            let is_noise = from_noise > 0.0 && rung == f64::from(levels - 1);
            let (blurred, target): (Vec<f64>, Vec<f64>) = x
                .iter()
                .zip(noise)
                .map(|(x, n)| match velocity {
                    true if is_noise => (*n, -f64::from(from_noise) * x),
                    true => (angle.cos() * x + angle.sin() * n, angle.cos() * n - angle.sin() * x),
                    false => (x + sigma * n, n / sigma),
                })
                .unzip();
            let error: Vec<f64> = gradient(&blurred).iter().zip(target).map(|(g, t)| g - t).collect();
            weight * half_square(&error)
        }
    }
}

/// Blocks of `[part][channel][pixel]`: `[block][part][pixel][channel][lane]`.
fn parts_to_blocks(
    values: &[Vec<f64>],
    shape: Shape,
    lanes: usize,
    rng: &mut Rng,
    n_blocks: usize,
) -> Vec<f64> {
    let n = shape.len();
    let mut values = values.to_vec();
    let len = values[0].len();
    // Lanes without an image hold numbers that must not count.
    values.resize_with(n_blocks * lanes, || rng.signeds(len));
    let mut blocks = Vec::new();
    for block in values.chunks(lanes) {
        for part in 0..len / n {
            let images: Vec<Vec<f64>> = block.iter().map(|v| v[part * n..(part + 1) * n].to_vec()).collect();
            blocks.extend(to_blocks(&images, shape.channels, lanes, 0.0));
        }
    }
    blocks
}

/// The second step of an epoch of two.
const STEP: u32 = 5;

/// Loss and parameter gradient in f64, through the plan's launches. The loss kernel, which is f32, is left out: its `dL/dE`
/// and its sums are made here.
fn through_the_plan(
    plan: &TrainingPlan,
    objective: ScoreObjective,
    parameters: &[f64],
    blocks: &(Vec<f64>, Vec<f64>, Vec<f64>),
    n: usize,
) -> (f64, Vec<f64>, Vec<f64>, Vec<f64>) {
    let update = &plan.plan.programs[plan.update.0];
    let place = |name: &str| update.iter().position(|l| l.kernel.name() == name).unwrap();
    let (loss, squares) = (place("score_loss"), place("sum_squares"));
    let score = plan.score.as_ref().unwrap();
    let Layout::PerBlock(features) = plan.plan.buffers[plan.pass.x.0].layout else {
        panic!("x is per block")
    };
    let mut executor = Executor64::new(&plan.plan);
    executor.buffers[plan.state.0].fill(0.0);
    executor.buffers[plan.state.0][0] = STEP.into();
    executor.set(plan.pass.parameters, parameters);
    let zeros = plan.plan.buffers.iter().position(|b| b.name == "zeros").unwrap();
    executor.buffers[zeros].fill(0.0);
    executor.set(plan.pass.x, &blocks.0);
    if let Some(drawn) = score.drawn {
        executor.set(drawn, &blocks.1);
    }
    if let Derivatives::Tangent { level, .. } = score.derivatives {
        executor.set(level, &blocks.2);
    }
    executor.run(&plan.plan.programs[plan.start.0]);
    executor.run(&update[..loss]);

    let Kernel::ScoreLoss(kernel) = &update[loss].kernel else { panic!("no loss") };
    let (jet, lanes) = (objective.jet(features), plan.plan.lanes as usize);
    assert_eq!(kernel.jet, jet);
    let (energies, residual) =
        (executor.get(score.energies(&plan.pass)).to_vec(), executor.get(update[loss].bindings[2]).to_vec());
    let share = f64::from(kernel.share);
    let mut grad_energies = vec![0.0; energies.len()];
    let mut sum = 0.0;
    for (i, residual) in residual.iter().enumerate().take(n) {
        let at = |component: usize| (i / lanes * jet.components() + component) * lanes + i % lanes;
        if let Derivatives::Tangent { .. } = score.derivatives {
            sum += 0.5 * residual;
        }
        for d in 0..jet.directions {
            let along = energies[at(1 + d)];
            if d < jet.first_order {
                grad_energies[at(1 + d)] = 1.0 / n as f64;
                sum += 0.5 * residual;
            } else if jet.first_order == 0 {
                grad_energies[at(1 + d)] = share * along / n as f64;
                sum += 0.5 * share * along * along;
            }
        }
        if jet.has_second() {
            let at = at(1 + jet.directions);
            grad_energies[at] = -share / n as f64;
            sum -= share * energies[at];
        }
    }
    if let Derivatives::Jet(jet) = &score.derivatives {
        executor.set(jet.grad_energies, &grad_energies);
    }
    executor.run(&update[loss + 1..squares]);
    (sum / n as f64, executor.get(plan.gradient).to_vec(), energies, grad_energies)
}

#[test]
fn losses_and_their_parameter_gradients_match_differences() {
    let (mut rng, mut failures) = (Rng(22), Failures::default());
    for network in networks(&mut rng).into_iter().filter(is_smooth) {
        for objective in objectives() {
            let target = random_target(&mut rng);
            let batch_size = 1 + rng.below(2 * target.lanes as usize) as u32;
            // In the second step of an epoch of two, `n` images are left.
            let n = 1 + rng.below((batch_size as usize).min(6));
            let (recipe, data) = recipe(&network, batch_size, batch_size + n as u32, objective);
            let plan = training_plan(&network, &recipe, &data, target);
            let (lanes, features) = (target.lanes as usize, network.input.len());
            let parameters = random_parameters(&mut rng, &network);
            let score = plan.score.as_ref().unwrap();
            let drawn_len =
                score.drawn.map_or(features, |id| plan.plan.len_of(id) / (plan.half_blocks as usize * lanes));
            let mut images = |len: usize| (0..n).map(|_| rng.signeds(len)).collect::<Vec<_>>();
            let (x, drawn) = (images(features), images(drawn_len));
            let level = rng.signeds(n);
            let n_blocks = plan.half_blocks as usize;
            assert_eq!(plan.plan.n_blocks, plan.half_blocks, "no negative half");
            let one = Shape { channels: 1, height: 1, width: 1 };
            let levels: Vec<_> = level.iter().map(|l| vec![*l]).collect();
            let blocks = (
                parts_to_blocks(&x, network.input, lanes, &mut rng, n_blocks),
                parts_to_blocks(&drawn, network.input, lanes, &mut rng, n_blocks),
                parts_to_blocks(&levels, one, lanes, &mut rng, n_blocks),
            );
            let batch = Batch { x, drawn, level };
            let name = format!("{:?} {objective:?} {target:?} {n} of {batch_size}", network.layers);

            let (loss, gradient, energies, grad_energies) =
                through_the_plan(&plan, objective, &parameters, &blocks, n);
            let plain: f64 =
                (0..n).map(|i| plain_loss(&network, &parameters, objective, &batch, i)).sum::<f64>()
                    / n as f64;
            failures.close(&format!("{name}: loss"), &[loss], &[plain], 1e-7, 1e-7);

            let places: Vec<usize> = if parameters.len() <= 25 {
                (0..parameters.len()).collect()
            } else {
                (0..25).map(|_| rng.below(parameters.len())).collect()
            };
            let of = |values: &[f64]| places.iter().map(|at| values[*at]).collect::<Vec<_>>();
            let want: Vec<f64> = places
                .iter()
                .map(|at| {
                    let moved = |step: f64| {
                        let mut parameters = parameters.clone();
                        parameters[*at] += step;
                        through_the_plan(&plan, objective, &parameters, &blocks, n).0
                    };
                    derivative(moved, 1e-3)
                })
                .collect();
            let tolerance = 1e-8 * (1.0 + largest(&gradient));
            failures.close(&format!("{name}: dL/dparameters"), &of(&gradient), &want, tolerance, 1e-7);
            // Negative control: a trace that is left out, or has the wrong sign, is found.
            let spoiled: Vec<f64> =
                of(&gradient).iter().map(|g| g * (1.0 + 1e-6) + 2.0 * tolerance).collect();
            assert!(common::difference("spoiled", &spoiled, &want, tolerance, 1e-7).is_some());

            // The loss's own kernel, in f32, and then all of it as launched.
            let update = &plan.plan.programs[plan.update.0];
            let at = update.iter().position(|l| l.kernel.name() == "score_loss").unwrap();
            let end = update.iter().position(|l| l.kernel.name() == "sum_squares").unwrap();
            let mut executor32 = Executor32::new(&plan.plan);
            let state = State { step: STEP, seed_low: 1, ..State::default() };
            executor32.buffers[plan.state.0].copy_from_slice(bytemuck::cast_slice(&[state]));
            executor32.set(plan.pass.parameters, &parameters);
            executor32.set(plan.pass.x, &blocks.0);
            if let Some(drawn) = score.drawn {
                executor32.set(drawn, &blocks.1);
            }
            if let Derivatives::Tangent { level, .. } = score.derivatives {
                executor32.set(level, &blocks.2);
            }
            executor32.run(&plan.plan.programs[plan.start.0]);
            executor32.run(&update[..=at]);
            let scale = 1e-4 * (1.0 + largest(&energies));
            if let Derivatives::Jet(jet) = &score.derivatives {
                failures.close(
                    &format!("{name}: seeds"),
                    &executor32.floats(jet.grad_energies),
                    &grad_energies,
                    scale,
                    0.0,
                );
            }
            let row = &executor32.floats(plan.metrics)[STEP as usize * 8..][..8];
            failures.close(
                &format!("{name}: loss in f32"),
                &row[..1],
                &[loss],
                1e-4 * (1.0 + row[1].abs()),
                1e-4,
            );
            failures.close(
                &format!("{name}: parts"),
                &[row[1] + row[2]],
                &row[..1],
                1e-5 * (1.0 + row[1].abs()),
                0.0,
            );
            executor32.run(&update[at + 1..end]);
            let got = executor32.floats(plan.gradient);
            failures.close(&format!("{name}: f32"), &got, &gradient, 1e-4 * (1e-3 + largest(&gradient)), 0.0);
        }
    }
    failures.assert_none();
}

/// LSTM layers are refused by name, and kinks noticed where they lose the trace.
#[test]
fn networks_that_do_not_fit_are_noticed() {
    let image = Shape { channels: 2, height: 1, width: 1 };
    let energy = LayerSpec::Dense { units: 1, activation: Activation::Identity };
    let of = |activation| {
        let smooth = LayerSpec::Dense { units: 3, activation: Activation::Swish };
        let specs = [smooth, LayerSpec::Dense { units: 3, activation }, energy];
        Network::new("mlp", image, &specs).unwrap()
    };
    let [matching, .., denoising] = objectives()[..] else { panic!("no objectives") };
    for kinked in [Activation::Relu, Activation::LeakyRelu(0.2)] {
        assert_eq!(matching.kinked(&of(kinked)), Some("dense2"));
        assert_eq!(denoising.kinked(&of(kinked)), None);
    }
    assert_eq!(matching.kinked(&of(Activation::Elu)), None);
    let refused: Vec<_> = edge_networks().iter().filter_map(|n| matching.check(n).err()).collect();
    assert!(
        !refused.is_empty() && refused.iter().all(|e| e.to_string().contains("lstm1 is an LSTM")),
        "{refused:?}"
    );
}

#[test]
fn the_ladder_is_geometric() {
    let perturb = Perturb {
        lanes: 8,
        features: 1,
        levels: 4,
        sigma: 0.01,
        sigma_max: 10.0,
        velocity: false,
        from_noise: 0.0,
    };
    let level = [-1.0, -0.51, -0.5, -0.01, 0.0, 0.49, 0.5, 1.0 - f32::EPSILON / 2.0];
    let (mut noise, mut x, mut weight) = ([1.0_f64; 8], [0.0; 8], [0.0; 8]);
    perturb.reference(&level, &mut noise, &mut x, &mut weight);
    let mut failures = Failures::default();
    let want = [0.01, 0.01, 0.1, 0.1, 1.0, 1.0, 10.0, 10.0];
    failures.close("x", &x, &want, 0.0, 1e-6);
    failures.close("target", &noise, &want.map(|s| 1.0 / s), 0.0, 1e-6);
    failures.close("weight", &weight, &want.map(|s| s * s), 0.0, 1e-6);
    failures.assert_none();
}

// ---- devices

/// Whole training steps, launch by launch: every kernel on every device against its twin.
fn compare_steps(device: &Device, target: Target) {
    let mut rng = Rng(23);
    let mut failures = Vec::new();
    for (i, network) in networks(&mut rng).into_iter().enumerate() {
        for (j, objective) in objectives().into_iter().enumerate() {
            if matches!(device, Device::Gpu(..)) && (3 * i + j) % 10 != 0 {
                continue; // each costs its pipelines
            }
            let batch = target.lanes + 3;
            let (recipe, data) = recipe(&network, batch, batch + 2, objective);
            let plan = training_plan(&network, &recipe, &data, target);
            let report = pollster::block_on(async {
                let mut executor = Executor::new(device, plan.plan.clone()).await.unwrap();
                let parameters: Vec<f32> =
                    random_parameters(&mut rng, &network).iter().map(|p| *p as f32).collect();
                executor.write_floats(plan.pass.parameters, &parameters);
                let state =
                    State { step: i as u32, seed_low: j as u32, replay_length: 1, ..State::default() };
                executor.write(plan.state, 0, bytemuck::cast_slice(&[state]));
                let data = plan.data[0].buffer;
                let bytes: Vec<u32> = (0..plan.plan.len_of(data)).map(|_| rng.next() as u32).collect();
                executor.write(data, 0, &bytes);
                executor.run(plan.start).unwrap();
                compare(&mut executor, plan.step).await.unwrap()
            });
            if let Some(mismatch) = report.first_mismatch() {
                failures.push(format!("{device}, {}, {objective:?}: {mismatch}", network.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn steps_on_the_cpu_match_the_reference() {
    for isa in Isa::available().into_iter().filter(|isa| *isa != Isa::Reference) {
        let device = Device::Cpu(isa);
        compare_steps(&device, device.target(8));
        compare_steps(&device, device.target(100));
    }
}

#[test]
fn steps_on_the_gpu_match_the_reference() {
    compare_steps(&common::gpu(), Target::gpu(16));
}
