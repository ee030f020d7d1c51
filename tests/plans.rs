//! Plans as data: sizes, what launches bind, what they read and write.

use crate::common;
use common::{Failures, Rng, edge_networks, from_blocks, odd_network, point_network, random_network};
use common::{to_blocks, to_f64};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use thalweg::data::toy::Toy;
use thalweg::kernels::conv_weight_gradient::Chunks;
use thalweg::kernels::dynamics::Form;
use thalweg::kernels::{Access, Kernel, Slope};
use thalweg::network::{ANALYTIC, Network};
use thalweg::plan::{
    AnnealingConfig, BufferId, ChainConfig, ExampleStorage, Launch, Layout, Plan, Target, TrainingData,
    Words, annealing_plan, energy_plan, sampler_plan, training_plan,
};
use thalweg::recipe::presets::preset;
use thalweg::recipe::{Directions, Recipe, ScoreObjective, ScoreTarget, Square};

// ---- blocks

#[test]
fn blocks_round_trip() {
    let mut rng = Rng(2);
    for lanes in [1, 3, 4, 16, 17, 64] {
        let target = Target { lanes, ..Target::CPU };
        let plan = energy_plan(&odd_network(), 1, target).plan;
        for (channels, pixels) in [(1, 1), (3, 1), (1, 7), (3, 5), (5, 17)] {
            for n_images in [0, 1, 3, 16, 17, 63, 65] {
                let values: Vec<f32> =
                    rng.signeds(n_images * channels * pixels).iter().map(|v| *v as f32).collect();
                let blocks = plan.to_blocks(&values, channels, pixels);
                let n_blocks = n_images.div_ceil(lanes as usize);
                assert_eq!(blocks.len(), n_blocks * lanes as usize * channels * pixels);
                assert_eq!(plan.from_blocks(&blocks, n_images, channels, pixels), values);
                if n_images > 0 {
                    let images: Vec<_> = values.chunks(channels * pixels).map(to_f64).collect();
                    assert_eq!(to_f64(&blocks), to_blocks(&images, channels, lanes as usize, 0.0));
                    let plain = from_blocks(&to_f64(&blocks), n_images, channels, pixels, lanes as usize);
                    assert_eq!(plain.concat(), to_f64(&values));
                }
            }
        }
    }
}

#[test]
fn targets_choose_sizes_that_hold_the_images() {
    for images in [1, 3, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 1000] {
        let target = Target::gpu(images);
        assert!((16..=64).contains(&target.lanes) && target.lanes.is_power_of_two(), "{images}");
        for n in [0, 1, 15, 16, 17, 64, 65, 1000] {
            let blocks = target.blocks(n) as usize;
            assert!(
                blocks * target.lanes as usize >= n
                    && (blocks == 0 || (blocks - 1) * (target.lanes as usize) < n)
            );
        }
    }
    assert_eq!([16, 17, 64, 128].map(|n| Target::gpu(n).lanes), [16, 32, 64, 64]);
    for (width, lanes) in [(1, 16), (4, 16), (8, 32), (16, 64), (64, 64)] {
        assert_eq!(Target::software(128, width).lanes, lanes, "a register of {width}");
        assert_eq!(Target::software(3, width).lanes, 16, "a register of {width}");
    }
}

// ---- plans

struct Program {
    name: &'static str,
    launches: Vec<Launch>,
    /// What it may read before writing it.
    inputs: Vec<&'static str>,
    /// What it is there to write.
    outputs: Vec<&'static str>,
}

fn chain_config(steps: u32) -> ChainConfig {
    ChainConfig { steps, ..ChainConfig::default() }
}

/// A recipe with these settings, and the data that it learns, of the network's shape.
fn recipe(
    network: &Network,
    batch: u32,
    storage: ExampleStorage,
    settings: &[&str],
) -> (Recipe, TrainingData) {
    let base = [
        "chain.steps=3",
        "replay.capacity=100",
        "adam.gradient_norm_clip=0.1",
        "guard.on_divergence=rollback",
    ];
    let mut recipe = common::recipe(&[&base, settings].concat());
    recipe.train.batch = batch as usize;
    (recipe, TrainingData::new(storage, 1001, network.input))
}

/// One for each of the batches of [`all_plans`], by their remainder.
fn score_objectives() -> [ScoreObjective; 4] {
    let sliced = |directions, square| ScoreObjective::Sliced { probes: 2, directions, square };
    [
        ScoreObjective::Denoising {
            sigma: 0.1,
            sigma_max: 1.0,
            levels: 10,
            target: ScoreTarget::Velocity,
            from_noise: 0.0,
        },
        ScoreObjective::Matching { probes: 3 },
        sliced(Directions::Normal, Square::Along),
        sliced(Directions::Signs, Square::Whole),
    ]
}

/// What the power iterations of spectral norms keep, of networks that have some.
const VECTORS: &str = "spectral vectors";
/// What a snapshot is of, and what holds it.
const LIVE: [&str; 7] =
    ["state", "parameters", "first moment", "second moment", "replay ring", "guard's memory", VECTORS];
const SNAPSHOT: [&str; 7] = [
    "snapshot of state",
    "snapshot of parameters",
    "snapshot of first moment",
    "snapshot of second moment",
    "snapshot of replay ring",
    "snapshot of guard's memory",
    "snapshot of spectral vectors",
];

fn plans(
    network: &Network,
    target: Target,
    batch: u32,
    storage: ExampleStorage,
) -> Vec<(Plan, Vec<Program>)> {
    let (base, data) = recipe(network, batch, storage, &[]);
    let training = training_plan(network, &base, &data, target);
    let sampler = sampler_plan(network, batch as usize, &chain_config(0), &[1, 4], target);
    let energy = energy_plan(network, batch as usize, target);
    let guard = training.guard.as_ref().unwrap();
    // One objective for each batch, so that all come up.
    let objective = score_objectives()[batch as usize % 4];
    let of_score = common::with_objective(base, objective);
    let score = objective.check(network).is_ok().then(|| training_plan(network, &of_score, &data, target));
    let launches = |plan: &Plan, program: thalweg::plan::ProgramId| plan.programs[program.0].clone();
    let start =
        |launches| Program { name: "start", launches, inputs: vec!["parameters"], outputs: vec!["packed"] };
    let pass = vec!["parameters", "packed", "x"];
    let of_training = vec![
        start(launches(&training.plan, training.start)),
        Program {
            name: "step",
            launches: launches(&training.plan, training.step),
            inputs: [
                "state",
                "replay ring",
                "parameters",
                "packed",
                "first moment",
                "second moment",
                VECTORS,
                "guard's memory",
            ]
            .into_iter()
            .chain((!matches!(storage, ExampleStorage::Toy(_))).then_some("data"))
            .collect(),
            outputs: vec![
                "state",
                "replay ring",
                "metrics",
                "parameters",
                "packed",
                "first moment",
                "second moment",
                "guard's memory",
            ],
        },
        Program {
            name: "check",
            launches: launches(&training.plan, guard.check),
            inputs: LIVE.to_vec(),
            outputs: vec!["state", "guard's memory", "state counts", "keep"],
        },
        Program {
            name: "keep",
            launches: launches(&training.plan, guard.take_snapshot),
            inputs: LIVE.to_vec(),
            outputs: SNAPSHOT.to_vec(),
        },
        Program {
            name: "restore",
            launches: launches(&training.plan, guard.restore),
            inputs: [&SNAPSHOT[..], &["keep"]].concat(),
            outputs: [&LIVE[..], &["packed"]].concat(),
        },
    ];
    let inputs = vec![
        "state",
        "data",
        "parameters",
        "packed",
        "first moment",
        "second moment",
        "guard's memory",
        "zeros",
        VECTORS,
    ];
    let outputs = vec!["state", "metrics", "parameters", "packed", "first moment", "second moment"];
    let of_score = score.map(|score| {
        let step =
            Program { name: "score step", launches: launches(&score.plan, score.step), inputs, outputs };
        let programs = vec![start(launches(&score.plan, score.start)), step];
        (score.plan, programs)
    });
    let mut of_sampler = vec![
        start(launches(&sampler.plan, sampler.start)),
        Program {
            name: "noise",
            launches: launches(&sampler.plan, sampler.noise),
            inputs: vec!["state"],
            outputs: vec!["x"],
        },
        Program {
            name: "energies",
            launches: launches(&sampler.plan, sampler.energies),
            inputs: pass.clone(),
            outputs: vec![],
        },
    ];
    for (steps, program) in &sampler.chains {
        let launches = launches(&sampler.plan, *program);
        let moves = launches.iter().filter(|l| matches!(&l.kernel, Kernel::Langevin(k) if k.moves)).count();
        assert_eq!(moves, *steps as usize);
        let inputs = [&pass[..], &["state"]].concat();
        of_sampler.push(Program { name: "chain", launches, inputs, outputs: vec!["x"] });
    }
    let of_energy = vec![
        start(launches(&energy.plan, energy.start)),
        Program {
            name: "energies",
            launches: launches(&energy.plan, energy.energies),
            inputs: pass.clone(),
            outputs: vec![],
        },
        Program {
            name: "gradients",
            launches: launches(&energy.plan, energy.gradients),
            inputs: pass,
            outputs: vec!["input gradient"],
        },
    ];
    let mut plans = of_objectives(network, target, batch, storage);
    plans.extend(of_score);
    plans.extend([(training.plan, of_training), (sampler.plan, of_sampler), (energy.plan, of_energy)]);
    plans
}

/// Training with other starts, with penalties, and with MALA; and sampling with it.
fn of_objectives(
    network: &Network,
    target: Target,
    batch: u32,
    storage: ExampleStorage,
) -> Vec<(Plan, Vec<Program>)> {
    let mala = ChainConfig { form: Form::Mala, ..chain_config(3) };
    let penalties = [
        "objective=cd",
        "cd.start=data",
        "loss.smoothness=0.1",
        "loss.weight_l2=0.1",
        "ema.decay=0.9",
        "chain.form=mala",
    ];
    let persistent = ["objective=pcd", "pcd.chains=100", "augment.probability=0.5", "augment.shift=1"];
    let own = ["state", "parameters", "packed", "first moment", "second moment", "guard's memory"];
    let mut plans = Vec::new();
    for (settings, more) in [(&penalties[..], "average"), (&persistent, "replay ring")] {
        let (recipe, data) = recipe(network, batch, storage, settings);
        let training = training_plan(network, &recipe, &data, target);
        let launches = training.plan.programs[training.step.0].clone();
        let inputs = [&own[..], &["data", "zeros", VECTORS, more]].concat();
        let outputs = [&own[..], &["metrics", more]].concat();
        plans.push((training.plan, vec![Program { name: "step", launches, inputs, outputs }]));
    }
    let sampler = sampler_plan(network, batch as usize, &mala, &[4], target);
    let launches = sampler.plan.programs[sampler.chains[0].1.0].clone();
    assert_eq!(launches.iter().filter(|l| l.kernel.name() == "mala_accept").count(), 5);
    let inputs = vec!["parameters", "packed", "x", "state"];
    plans.push((sampler.plan, vec![Program { name: "chain", launches, inputs, outputs: vec!["x"] }]));
    let config = AnnealingConfig { temperature: 0.5, tilt: 1.0, bound: 1.0, leapfrogs: 2, rungs: RUNGS };
    let annealing = annealing_plan(network, (batch as usize, batch as usize), &config, &[4], target);
    let launches = annealing.plan.programs[annealing.steps[0].1.0].clone();
    assert_eq!(launches.iter().filter(|l| l.kernel.name() == "anneal_propose").count(), 9);
    let inputs = vec!["parameters", "packed", "x", "state", "schedule", "base"];
    let outputs = vec!["x", "record"];
    plans.push((annealing.plan, vec![Program { name: "steps", launches, inputs, outputs }]));
    plans
}

fn all_plans() -> Vec<(String, Plan, Vec<Program>)> {
    let mut rng = Rng(3);
    let mut all = Vec::new();
    let networks = [preset("mnist-small").unwrap()].into_iter().chain(edge_networks());
    let networks = networks.chain((0..8).map(|_| random_network(&mut rng)));
    let networks = networks.map(|network| (network, ExampleStorage::Bytes));
    let points =
        [ExampleStorage::Floats, ExampleStorage::Toy(Toy::Rings)].map(|source| (point_network(2), source));
    for (network, source) in networks.chain(points).collect::<Vec<_>>() {
        for target in [Target::CPU, Target::gpu(16), Target::gpu(128)] {
            for batch in [1, 18, 64, 99] {
                for (plan, programs) in plans(&network, target, batch, source) {
                    all.push((
                        format!("{} from {source:?} for {batch}, {target:?}", network.name),
                        plan,
                        programs,
                    ));
                }
            }
        }
    }
    for energy in ANALYTIC {
        let network = preset(&format!("analytic:{}", energy.name())).unwrap();
        let chain_config = chain_config(0);
        for plan in [
            energy_plan(&network, 99, Target::gpu(128)).plan,
            sampler_plan(&network, 99, &chain_config, &[1], Target::CPU).plan,
        ] {
            all.push((network.name.clone(), plan, Vec::new()));
        }
    }
    all
}

/// Entries of a schedule of annealed chains.
const RUNGS: usize = 7;

#[test]
fn launches_bind_buffers_of_the_sizes_they_need() {
    let mut failures = Failures::default();
    let mut kernels = BTreeSet::new();
    for (name, plan, _) in all_plans() {
        for (i, buffer) in plan.buffers.iter().enumerate() {
            let len = match buffer.layout {
                Layout::PerBlock(features) => plan.n_blocks as usize * plan.lanes as usize * features,
                Layout::Flat(len) => len,
            };
            // An analytic energy has no parameters.
            let may_be_empty = buffer.name == "parameters" && name.starts_with("analytic:");
            let ok = (len > 0) != may_be_empty && len == plan.len_of(BufferId(i)) && 4 * len <= 128 << 20;
            failures.check(ok, || format!("{name}: `{}` has {len} words", buffer.name));
            let bytes = buffer.name == "data" && !name.contains("Floats");
            let integers = buffer.name.ends_with("state") || bytes;
            failures.check((buffer.words == Words::Integers) == integers, || {
                format!("{name}: `{}`", buffer.name)
            });
        }
        let names: BTreeSet<_> = plan.buffers.iter().map(|b| &b.name).collect();
        failures.check(names.len() == plan.buffers.len(), || format!("{name}: two buffers have one name"));
        for launch in plan.launches() {
            let what = format!("{name}: {}", launch.kernel.name());
            kernels.insert(launch.kernel.name());
            let fault = plan.check(launch).err();
            failures.check(fault.is_none(), || format!("{name}: {}", fault.unwrap_or_default()));
            if let Kernel::ConvForward(_) | Kernel::DenseForward(_) | Kernel::LstmForward(_) = launch.kernel {
                // A jet's biases come with its activation, and so do those of a pass with tangents.
                let linear = !matches!(launch.kernel, Kernel::LstmForward(_));
                let alone = linear && (launch.jet_components > 1 || names.contains(&"direction".to_owned()));
                let biases = &plan.buffers[launch.bindings[2].0].name;
                failures.check(biases == if alone { "zeros" } else { "parameters" }, || what.clone());
            }
            let lanes = launch.kernel.overrides().into_iter().find(|(name, _)| *name == "LANES");
            let ok = lanes.is_none_or(|(_, lanes)| lanes == f64::from(plan.lanes));
            failures.check(ok, || format!("{what}: lanes {lanes:?}, not {}", plan.lanes));
            let whole_writes_blocks = !launch.kernel.is_per_block()
                && !["contrastive_loss", "score_loss", "smoothness", "copy_images"]
                    .contains(&launch.kernel.name())
                && launch.written().any(|id| matches!(plan.buffers[id.0].layout, Layout::PerBlock(_)));
            failures.check(!whole_writes_blocks, || format!("{what}: writes blocks"));
        }
    }
    assert_eq!(kernels.len(), 54, "{kernels:?}");
    failures.assert_none();
}

/// Negative control: what does not fit is found when a plan is built, and said by the buffer's name.
#[test]
fn a_launch_that_does_not_fit_is_found() {
    let network = odd_network();
    let (recipe, data) = recipe(&network, 17, ExampleStorage::Bytes, &[]);
    let plan = training_plan(&network, &recipe, &data, Target::gpu(16));
    let launch = |name: &str| plan.plan.launches().find(|l| l.kernel.name() == name).unwrap().clone();
    let find = |launch: &Launch| plan.plan.check(launch).expect_err("a broken launch");
    let forward = launch("conv_forward");
    assert_eq!(plan.plan.check(&forward), Ok(()));
    let change = |change: &dyn Fn(&mut Launch)| {
        let mut broken = forward.clone();
        change(&mut broken);
        find(&broken)
    };
    assert_eq!(change(&|l| _ = l.bindings.pop()), "conv_forward: 4 buffers are bound, not 5");
    assert!(change(&|l| l.bindings.swap(0, 1)).contains("packed"), "{}", change(&|l| l.bindings.swap(0, 1)));
    assert!(change(&|l| l.bindings[0] = BufferId(usize::MAX)).contains("there is no buffer"));
    assert!(change(&|l| l.bindings[4] = l.bindings[3]).contains("is bound twice"));
    assert!(change(&|l| l.blocks = 0..0).contains("blocks"));
    assert!(change(&|l| l.blocks.end = plan.plan.n_blocks + 1).contains("blocks"));
    assert!(change(&|l| l.jet_components = 2).contains("not PerBlock"));
    let mut adam = launch("adam");
    adam.bindings.swap(0, 1);
    assert!(find(&adam).contains("adam: `parameter gradient` is Flat"), "{}", find(&adam));
    adam.blocks = 0..1;
    assert!(find(&adam).contains("blocks"));
    let mut reader = launch("dense_input_gradient");
    if let Kernel::DenseInputGradient(k) = &mut reader.kernel {
        k.slope = Slope::None;
        reader.bindings[2] = reader.bindings[0];
        assert_eq!((plan.plan.check(&reader), reader.is_placeholder(2)), (Ok(()), true));
    }
}

/// The blocks of a per-block buffer that a launch touches.
fn blocks_of(plan: &Plan, launch: &Launch) -> Range<u32> {
    let of_chunks = |c: Chunks, jet_components: u32| {
        c.first_block / jet_components.max(1)..(c.first_block + c.n_blocks) / jet_components.max(1)
    };
    match &launch.kernel {
        kernel if kernel.is_per_block() => launch.blocks.clone(),
        Kernel::ConvWeightGradient(k) => of_chunks(k.chunks, k.jet_components),
        Kernel::DenseWeightGradient(k) => of_chunks(k.chunks, k.jet_components),
        Kernel::CopyImages(k) => k.first_block..k.first_block + k.batch.div_ceil(k.lanes),
        Kernel::MeanAcceptance(k) => k.first_block..k.first_block + k.batch.div_ceil(k.lanes),
        Kernel::PushReplay(k) => k.first_block..k.first_block + k.batch.div_ceil(k.lanes),
        Kernel::CountNonFinite(k) => match plan.buffers[launch.bindings[0].0].layout {
            Layout::PerBlock(features) => 0..(k.length / plan.block_len(features)) as u32,
            Layout::Flat(_) => 0..1,
        },
        _ => 0..plan.n_blocks,
    }
}

fn units(plan: &Plan, id: BufferId, blocks: &Range<u32>) -> Range<u32> {
    if matches!(plan.buffers[id.0].layout, Layout::PerBlock(_)) { blocks.clone() } else { 0..1 }
}

/// Names of buffers of which a program reads a block that it has not written, and of those that it writes whole.
fn inputs_and_outputs(plan: &Plan, launches: &[Launch]) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut inputs = BTreeSet::new();
    let mut written: BTreeMap<BufferId, BTreeSet<u32>> = BTreeMap::new();
    for launch in launches {
        let blocks = blocks_of(plan, launch);
        for (i, (id, access)) in launch.bindings.iter().zip(launch.kernel.access()).enumerate() {
            if *access != Access::Write && launch.kernel.reads(i) {
                let known = written.get(id);
                if units(plan, *id, &blocks).any(|unit| known.is_none_or(|known| !known.contains(&unit))) {
                    inputs.insert(plan.buffers[id.0].name.clone());
                }
            }
        }
        for id in launch.written() {
            written.entry(id).or_default().extend(units(plan, id, &blocks));
        }
    }
    let whole = |id: &BufferId| units(plan, *id, &(0..plan.n_blocks)).len();
    let outputs = written.iter().filter(|(id, units)| units.len() == whole(id));
    (inputs, outputs.map(|(id, _)| plan.buffers[id.0].name.clone()).collect())
}

fn is_named(name: &str, names: &[&str]) -> bool {
    names.iter().any(|n| *n == name || *n == "packed" && name.contains(" packed "))
}

#[test]
fn programs_read_what_they_were_given_or_wrote() {
    let mut failures = Failures::default();
    for (name, plan, programs) in all_plans() {
        for program in programs {
            let what = format!("{name}: {}", program.name);
            let (inputs, outputs) = inputs_and_outputs(&plan, &program.launches);
            for input in &inputs {
                failures
                    .check(is_named(input, &program.inputs), || format!("{what} reads `{input}` unwritten"));
            }
            for buffer in plan.buffers.iter().filter(|b| is_named(&b.name, &program.outputs)) {
                failures
                    .check(outputs.contains(&buffer.name), || format!("{what} leaves out `{}`", buffer.name));
            }
        }
    }
    failures.assert_none();
}

/// Negative control: any launch taken out of a training step shows, but for those whose inputs are written anyway.
#[test]
fn a_missing_launch_is_found() {
    let network = odd_network();
    let (recipe, data) = recipe(&network, 17, ExampleStorage::Bytes, &[]);
    let plan = training_plan(&network, &recipe, &data, Target::gpu(16));
    let step = &plan.plan.programs[plan.step.0];
    let (all_inputs, all_outputs) = inputs_and_outputs(&plan.plan, step);
    for name in [
        "draw_real",
        "draw_negatives",
        "contrastive_loss",
        "reduce_partials",
        "sum_squares",
        "clip_scale",
        "count_non_finite",
        "image_statistics",
        "guard",
        "adam",
        "push_replay",
    ] {
        let fewer: Vec<_> = step.iter().filter(|l| l.kernel.name() != name).cloned().collect();
        assert_ne!(fewer.len(), step.len(), "{name}");
        let (inputs, outputs) = inputs_and_outputs(&plan.plan, &fewer);
        assert!(inputs != all_inputs || outputs != all_outputs, "{name} is not missed");
    }
    // The state is the guard's to write, too.
    let fewer: Vec<_> =
        step.iter().filter(|l| !["guard", "advance"].contains(&l.kernel.name())).cloned().collect();
    assert!(all_outputs.contains("state") && !inputs_and_outputs(&plan.plan, &fewer).1.contains("state"));
    // The first forward pass of the chain covers the fake half only: the energies need one over both.
    let last = step.iter().rposition(|l| l.kernel.name() == "conv_forward").unwrap();
    let fewer: Vec<_> = step.iter().enumerate().filter(|(i, _)| *i != last).map(|(_, l)| l.clone()).collect();
    assert_ne!(inputs_and_outputs(&plan.plan, &fewer).0, all_inputs);
}

/// Partial sums: chunks cover every block once, and layers every parameter once.
#[test]
fn partial_gradients_cover_all_blocks_and_all_parameters() {
    for (name, plan, programs) in all_plans() {
        for program in programs.iter().filter(|p| p.name.ends_with("step")) {
            let mut written: BTreeMap<u32, (Chunks, u32, Vec<usize>)> = BTreeMap::new();
            let (mut n, mut n_chunks) = (0, 0);
            for launch in &program.launches {
                let (chunks, at, n_parameters) = match &launch.kernel {
                    Kernel::ConvWeightGradient(k) => {
                        let len = k.shape.weight_len() + k.shape.out_channels;
                        (k.chunks, k.weight_offset..k.weight_offset + len, k.n_parameters)
                    }
                    Kernel::DenseWeightGradient(k) => {
                        let len = (k.shape.in_len() + 1) * k.shape.units;
                        (k.chunks, k.weight_offset..k.weight_offset + len, k.n_parameters)
                    }
                    Kernel::LstmWeightGradient(k) => {
                        let at = k.cell.weight_offset..k.cell.weight_offset + k.cell.weight_len();
                        (k.chunks, at, k.n_parameters)
                    }
                    Kernel::ReducePartials(k) => {
                        n_chunks = k.n_chunks;
                        continue;
                    }
                    _ => continue,
                };
                n = n_parameters;
                let jet_components = match &launch.kernel {
                    Kernel::ConvWeightGradient(k) => k.jet_components,
                    Kernel::DenseWeightGradient(k) => k.jet_components,
                    _ => 1,
                };
                let own = written.entry(chunks.first_chunk).or_insert((chunks, jet_components, Vec::new()));
                assert_eq!((own.0, own.1), (chunks, jet_components), "{name}");
                own.2.extend(at);
            }
            // One set after the other: of all blocks; of all blocks again, without biases, where there are tangents.
            let mut first_chunk = 0;
            for (chunks, jet_components, mut at) in written.into_values() {
                at.sort_unstable();
                assert!(at.into_iter().eq(0..n), "{name}");
                assert_eq!(chunks.first_chunk, first_chunk, "{name}");
                let first_block = if first_chunk == 0 || jet_components == 0 { 0 } else { plan.n_blocks / 2 };
                let jet_components = jet_components.max(1);
                let blocks: Vec<u32> = (0..chunks.count()).flat_map(|chunk| chunks.blocks(chunk)).collect();
                assert!(
                    blocks.into_iter().eq(first_block * jet_components..plan.n_blocks * jet_components),
                    "{name}: {chunks:?}"
                );
                assert!(chunks.chunk_blocks.is_multiple_of(jet_components), "{name}: {chunks:?}");
                assert!((1..=32).contains(&chunks.count()), "{name}: {chunks:?}");
                first_chunk += chunks.count();
            }
            assert_eq!(first_chunk, n_chunks, "{name}");
        }
    }
}

/// A training step in the order of the recipe, and no longer than its chain makes it.
#[test]
fn a_training_step_is_in_order() {
    let network = preset("mnist-small").unwrap();
    let (recipe, data) = recipe(&network, 128, ExampleStorage::Bytes, &[]);
    let plan = training_plan(&network, &recipe, &data, Target::gpu(128));
    let names: Vec<_> = plan.plan.programs[plan.step.0].iter().map(|l| l.kernel.name()).collect();
    let (n_layers, steps) = (5, 3);
    let parts = [
        2 + 1,                          // draws, and the guard's look at them
        steps * (2 * n_layers + 1) + 1, // chain
        n_layers + 1 + (n_layers - 1),  // forward, loss, backward
        n_layers + 1,                   // weight gradients, reduction
        2 + 2,                          // norm, clip; statistics, guard
        2 + 2 * n_layers + 1,           // push, Adam, packing, advance
    ];
    assert_eq!(names.len(), parts.iter().sum::<usize>());
    let place = |name| names.iter().position(|n| *n == name).unwrap();
    let order = [
        "draw_real",
        "draw_negatives",
        "count_non_finite",
        "langevin",
        "contrastive_loss",
        "conv_weight_gradient",
        "dense_weight_gradient",
        "reduce_partials",
        "sum_squares",
        "clip_scale",
        "image_statistics",
        "guard",
        "push_replay",
        "adam",
        "pack_weights",
        "advance",
    ];
    assert!(order.map(place).is_sorted());
    assert_eq!([names[0], names[names.len() - 1]], ["draw_real", "advance"]);
    assert_eq!(plan.half_blocks * plan.plan.lanes, 128);
    assert_eq!(plan.plan.n_blocks, 2 * plan.half_blocks);
}
