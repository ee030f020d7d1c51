//! Tests of the tests: that broken kernels are found; and of parts, and of activations.

use super::*;
use crate::device::compare::{Tolerance, compare_with, differences};
use crate::kernels::adam::{Adam, LearningRateSchedule};
use crate::kernels::average_weights::AverageWeights;
use crate::kernels::conv_forward::ConvForward;
use crate::kernels::conv_input_gradient::ConvInputGradient;
use crate::kernels::conv_weight_gradient::ConvWeightGradient;
use crate::kernels::dense_forward::DenseForward;
use crate::kernels::image_statistics::ImageStatistics;
use crate::kernels::pack_weights::PackWeights;
use crate::kernels::reduce_partials::ReducePartials;
use crate::kernels::sum_squares::{GROUP, SumSquares};
use crate::kernels::weight_penalty::WeightPenalty;
use crate::kernels::{Slope, activate};
use crate::network::{Activation, ConvShape, DenseShape};

/// Kernels that fall into parts, large enough for threads, at sizes that parts do not divide: bit for bit what the twins
/// leave, as a program, whose launches run at the same time where none looks at another's results.
#[test]
fn parts_match_their_twins_bit_for_bit() {
    let n_parameters = 150_001;
    let mut bench = Bench::new(16, false, (0, 1));
    let lanes = bench.plan.lanes;
    let state = bench.state(State { step: 3, ..State::default() });
    let partials = bench.random_flat("partials", 3 * n_parameters);
    let gradient = bench.flat("gradient", n_parameters);
    let squares = bench.flat("squares", n_parameters.div_ceil(GROUP));
    let scale = bench.random_flat("scale", 1);
    let moments = ["first moment", "second moment"].map(|name| bench.random_flat(name, n_parameters));
    bench.contents[moments[1].0].iter_mut().for_each(|v| *v &= 0x7fff_ffff);
    let parameters = bench.random_flat("parameters", n_parameters);
    let average = bench.random_flat("average", n_parameters);
    let features = 1001;
    let x = bench.random_blocks("x", features, &(0..N_BLOCKS));
    let statistics = bench.flat("statistics", 4 * features);
    let adam = Adam {
        n_parameters,
        learning_rate: 0.3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        schedule: LearningRateSchedule::default(),
        gradient_clip: 0.01,
        weight_decay: 0.1,
        retry_factor: 0.5,
    };
    let (batch, n_images) = (2 * lanes - 3, 5 * lanes);
    let launches: [(Kernel, &[BufferId]); 6] = [
        (ReducePartials { n_parameters, n_chunks: 3 }.into(), &[partials, gradient]),
        (WeightPenalty { n_parameters, weight: 0.3 }.into(), &[parameters, gradient]),
        (SumSquares { n_parameters }.into(), &[gradient, squares]),
        (adam.into(), &[state, gradient, scale, moments[0], moments[1], parameters]),
        (AverageWeights { n_parameters, decay: 0.99 }.into(), &[state, parameters, average]),
        (ImageStatistics { lanes, features, batch, n_images, bound: 0.4 }.into(), &[state, x, statistics]),
    ];
    for (kernel, bindings) in launches {
        bench.run_whole(kernel, bindings, &[]);
    }
    // Tiles of which the last has fewer channels, and other tiles than those of the CPU.
    let shape = ConvShape { out_channels: 67, in_channels: 61, ..conv_shapes()[1] };
    for (tile, flattened) in [(4, 1), (8, 1), (3, 61)] {
        for packing in [Packing::forward(shape, tile), Packing::backward(shape, tile)] {
            let packing = Packing { flattened, ..packing };
            let packed = bench.flat("packed", 5 + packing.len() + 2);
            let kernel = PackWeights { packing, weight_offset: OFFSET, packed_offset: 5 };
            bench.run_whole(kernel, &[parameters, packed], &[]);
        }
    }
    let run = async |isa| {
        let mut executor = bench.executor(&Device::Cpu(isa)).await;
        executor.run(ProgramId(0)).unwrap();
        executor
    };
    pollster::block_on(async {
        let reference = run(Isa::Reference).await;
        for isa in Isa::available() {
            let executor = run(isa).await;
            for (i, spec) in bench.plan.buffers.iter().enumerate() {
                let (words, right) =
                    (executor.read(BufferId(i)).await.unwrap(), reference.read(BufferId(i)).await.unwrap());
                let wrong = words.iter().zip(&right).position(|(word, right)| word != right);
                assert_eq!(wrong, None, "{isa}: the first wrong word of {} ({i})", spec.name);
            }
        }
    });
}

/// Activations over all magnitudes, on every instruction set and in the shader, against double precision.
#[test]
fn activations_are_right_everywhere() {
    let magnitudes = (-60..=12).map(|i| 2.0_f32.powf(0.5 * i as f32));
    let mut zs: Vec<f32> = magnitudes.flat_map(|z| [z, -z]).chain([0.0, -0.0, 1e5, -1e5]).collect();
    let lanes = 16;
    zs.resize(zs.len().next_multiple_of(lanes), 0.5);
    let n_blocks = (zs.len() / lanes) as u32;
    let shape = DenseShape { in_channels: 1, in_pixels: 1, units: 1 };
    let devices = Isa::available().into_iter().map(Device::Cpu).chain([gpu().clone()]);
    let mut failures = Vec::new();
    for device in devices {
        let tile_channels = if matches!(device, Device::Gpu(..)) { 4 } else { 1 };
        for activation in ACTIVATIONS {
            let mut plan =
                Plan { lanes: lanes as u32, n_blocks, buffers: Vec::new(), programs: vec![Vec::new()] };
            let mut add = |name: &str, layout| {
                plan.buffers.push(BufferSpec { name: name.to_owned(), layout, words: Words::Floats });
                BufferId(plan.buffers.len() - 1)
            };
            let weights = add("weights", Layout::Flat(tile_channels));
            let parameters = add("parameters", Layout::Flat(1));
            let [input, output, slope] =
                ["input", "output", "slope"].map(|name| add(name, Layout::PerBlock(1)));
            let kernel =
                DenseForward { lanes: lanes as u32, shape, tile_channels, bias_offset: 0, activation };
            plan.programs[0].push(Launch {
                kernel: kernel.into(),
                bindings: vec![input, weights, parameters, output, slope],
                blocks: 0..n_blocks,
                jet_components: 1,
                precision: Precision::F32,
            });
            let (output, slope) = pollster::block_on(async {
                let mut executor = Executor::new(&device, plan).await.unwrap();
                executor.write_floats(weights, &vec![1.0; tile_channels]);
                executor.write_floats(input, &zs);
                executor.run(ProgramId(0)).unwrap();
                (executor.read_floats(output).await.unwrap(), executor.read_floats(slope).await.unwrap())
            });
            for ((z, y), slope) in zs.iter().zip(output).zip(slope) {
                let want = activate(activation, f64::from(*z));
                // 2e-30: below -80 exponentials are 2e-35 or 0. The rounding of 60 is 4e-6 of its exponential.
                for (what, got, want, allowed) in
                    [("value", y, want.0, 2e-30 + 4e-6 * want.0.abs()), ("slope", slope, want.1, 1e-6)]
                {
                    let ok = (f64::from(got) - want).abs() <= allowed;
                    if !ok {
                        failures
                            .push(format!("{device}, {activation:?} at {z:e}: {what} {got:e}, not {want:e}"));
                    }
                }
            }
        }
    }
    assert_none(&failures);
}

#[test]
fn the_comparator_notices() {
    let tolerance = Tolerance { absolute: 1e-30, relative: 0.0, of_largest: 1e-5 };
    let before = vec![GUARD; 40];
    let reference: Vec<u32> =
        (0..40).map(|i| if i < 30 { (0.1 * i as f32).to_bits() } else { GUARD }).collect();
    let compare = |words, value: &[u32]| differences(words, tolerance, value, &before, &reference);
    assert_eq!(compare(Words::Floats, &reference), Default::default());
    let spoilt = |i: usize, word: u32| {
        let mut value = reference.clone();
        value[i] = word;
        value
    };
    // The largest is 2.9: 2e-5 is within, 4e-5 is not; not even at the largest.
    assert_eq!(compare(Words::Floats, &spoilt(7, (0.7_f32 + 2e-5).to_bits())).first, None);
    assert_eq!(compare(Words::Floats, &spoilt(7, (0.7_f32 + 4e-5).to_bits())).first, Some(7));
    assert_eq!(compare(Words::Floats, &spoilt(29, (2.9_f32 + 4e-5).to_bits())).count, 1);
    for not_finite in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let found = compare(Words::Floats, &spoilt(7, not_finite.to_bits()));
        assert_eq!((found.first, found.error), (Some(7), f64::INFINITY), "{not_finite}");
    }
    assert_eq!(compare(Words::Floats, &spoilt(7, GUARD)).first, Some(7), "an element that was not written");
    assert_eq!(compare(Words::Floats, &spoilt(35, 0)).first, Some(35), "a guard word that was written");
    assert_eq!(compare(Words::Integers, &spoilt(7, reference[7] + 1)).first, Some(7));
    // An infinity of the reference must not make everything else right.
    let mut infinite = reference.clone();
    infinite[3] = f32::INFINITY.to_bits();
    let found = differences(Words::Floats, tolerance, &reference, &before, &infinite);
    assert_eq!((found.first, found.count), (Some(3), 1));
    let mut value = infinite.clone();
    value[7] = 0.701_f32.to_bits();
    assert_eq!(differences(Words::Floats, tolerance, &value, &before, &infinite).first, Some(7));
    // Zero allows zero, of either sign.
    let zeros = [0_u32; 4];
    let found = differences(Words::Floats, tolerance, &[0, 1 << 31, 0, 0], &zeros, &zeros);
    assert_eq!(found.first, None);
    let found = differences(Words::Floats, tolerance, &[0, 0, 1e-29_f32.to_bits(), 0], &zeros, &zeros);
    assert_eq!(found.first, Some(2));
}

/// Kernels with one thing wrong in each must part from the right ones.
#[test]
fn broken_kernels_are_caught() {
    type Break = fn(&mut Kernel);
    fn forward(kernel: &mut Kernel, change: impl Fn(&mut ConvForward)) {
        if let Kernel::ConvForward(k) = kernel {
            change(k);
        }
    }
    fn input_gradient(kernel: &mut Kernel, change: impl Fn(&mut ConvInputGradient)) {
        if let Kernel::ConvInputGradient(k) = kernel {
            change(k);
        }
    }
    fn weight_gradient(kernel: &mut Kernel, change: impl Fn(&mut ConvWeightGradient)) {
        if let Kernel::ConvWeightGradient(k) = kernel {
            change(k);
        }
    }
    let breaks: [(&str, usize, Break); 9] = [
        ("pad", 0, |k| forward(k, |k| k.shape.pad_left += 1)),
        ("activation", 0, |k| forward(k, |k| k.activation = Activation::Tanh)),
        ("bias", 0, |k| forward(k, |k| k.bias_offset -= 1)),
        ("a row too few", 0, |k| forward(k, |k| k.shape.out_height -= 1)),
        ("pad", 1, |k| input_gradient(k, |k| k.shape.pad_top += 1)),
        ("slope", 1, |k| input_gradient(k, |k| k.slope = Slope::None)),
        ("pad", 2, |k| weight_gradient(k, |k| k.shape.pad_left += 1)),
        ("a block too few", 2, |k| weight_gradient(k, |k| k.chunks.n_blocks -= 1)),
        ("offset", 2, |k| weight_gradient(k, |k| k.weight_offset += 1)),
    ];
    let mut failures = Vec::new();
    for device in [gpu().clone(), Device::Cpu(Isa::best())] {
        let mut right = Bench::new(16, matches!(device, Device::Gpu(..)), (1, 1000));
        ConvForward::cases(&mut right);
        ConvInputGradient::cases(&mut right);
        ConvWeightGradient::cases(&mut right);
        failures.extend(right.failures(&device));
        for (what, launch, change) in breaks {
            let mut plan = right.plan.clone();
            change(&mut plan.programs[0][launch].kernel);
            let report = pollster::block_on(async {
                let mut reference = right.executor(&Device::Cpu(Isa::Reference)).await;
                let mut executor = Executor::new(&device, plan).await.unwrap();
                for (i, words) in right.contents.iter().enumerate() {
                    executor.write(BufferId(i), 0, words);
                }
                compare_with(&mut executor, &mut reference, ProgramId(0)).await.unwrap()
            });
            // That launch parts, by name, and no other does, because each begins from the reference's results.
            let kernel = right.plan.programs[0][launch].kernel.name();
            let named = report.to_string().contains(&format!("Parted: launch {launch}, {kernel} "));
            let elsewhere = report.mismatches.iter().any(|p| p.launch != launch);
            if !named || elsewhere {
                failures.push(format!("{device}, {what}:\n{report}"));
            }
        }
    }
    assert_none(&failures);
}
