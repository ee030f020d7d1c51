//! Devices that are too small for all at once, and what is said of those that are too small altogether: the same bits however
//! chains take turns, a data set falls into parts, and dispatches and submissions are cut.

use std::path::Path;
use std::process::{Command, Output};
use thalweg::data::{Examples, Images};
use thalweg::device::{ChainPath, Chains, Device, Executor};
use thalweg::evaluate::ais::{Annealing, Base, Settings};
use thalweg::gpu::{Gpu, Limits, adapters};
use thalweg::kernels::State;
use thalweg::kernels::dynamics::Form;
use thalweg::plan::{ChainConfig, Target, energy_plan, sampler_plan, sampler_plan_in_shares};
use thalweg::recipe::presets::preset;
use thalweg::{Dataset, EnergyModel, Error, Model, Network, Recipe, Sampler, Trainer};

use crate::common;

use common::{bits, checkpoint, steps};

/// The first adapter, with limits changed.
async fn limited(path: ChainPath, change: impl FnOnce(&mut Limits)) -> Device {
    let adapter = adapters().await.into_iter().next().expect("an adapter: run ./test.sh");
    let mut limits = Limits::of(&adapter);
    change(&mut limits);
    let gpu = Gpu::open_within(adapter, limits).await.unwrap();
    Device::Gpu(gpu, Chains { asked: path, ..Chains::default() })
}

fn model(name: &str) -> Model {
    let network = preset(name).unwrap();
    let parameters = network.initial_parameters(3);
    Model { network, parameters }
}

/// Where chains are after some steps, `at_once` of them at a time.
async fn chains(
    device: &Device,
    model: &Model,
    (count, at_once): (usize, usize),
    chain_config: &ChainConfig,
    target: Target,
) -> Vec<u32> {
    let plan = sampler_plan_in_shares(&model.network, (count, at_once), chain_config, &[3], target);
    let mut executor = Executor::new(device, plan.plan.clone()).await.unwrap();
    executor.write_floats(plan.pass.parameters, &model.parameters);
    executor.run(plan.start).unwrap();
    let shape = model.network.input;
    let mut all = Vec::new();
    for share in &plan.shares {
        let state = State { seed_low: 5, first_image: share.images.start as u32, ..State::default() };
        for (program, chain_base) in [(plan.noise, 0), (plan.chains[0].1, 0), (plan.chains[0].1, 3)] {
            if let Some(turn) = share.turn {
                executor.run(turn.load).unwrap();
            }
            executor.write(plan.state, 0, bytemuck::cast_slice(&[State { chain_base, ..state }]));
            executor.run(program).unwrap();
            if let Some(turn) = share.turn {
                executor.run(turn.store).unwrap();
            }
        }
        let blocks = executor.read_floats(share.kept[0]).await.unwrap();
        let (n, pixels) = (share.images.len(), shape.height * shape.width);
        all.extend(plan.plan.from_blocks(&blocks, n, shape.channels, pixels).iter().map(|x| x.to_bits()));
    }
    all
}

#[test]
fn chains_in_turns_are_the_same_chains() {
    pollster::block_on(async {
        let (model, count) = (model("mnist-small"), 75);
        let gpu = limited(ChainPath::Auto, |_| {}).await;
        for form in [Form::NoiseFirst, Form::Theory, Form::Mala] {
            let chain_config = ChainConfig { form, step_size: 0.1, ..ChainConfig::default() };
            for device in [Device::cpu(), gpu.clone()] {
                let layers = device.target(count);
                let fused = Target { fused_steps: 2, ..Target::gpu(count) };
                let targets = if let Device::Gpu(..) = device { vec![layers, fused] } else { vec![layers] };
                for target in targets {
                    let all = chains(&device, &model, (count, count), &chain_config, target).await;
                    let lanes = target.lanes as usize;
                    for at_once in [lanes, 2 * lanes] {
                        let shared = chains(&device, &model, (count, at_once), &chain_config, target).await;
                        assert!(all == shared, "{device}, {form:?}, {at_once} at once");
                    }
                }
            }
        }
    });
}

/// Bytes of the largest buffer of a plan.
fn largest(plan: &thalweg::plan::Plan) -> u64 {
    (0..plan.buffers.len()).map(|i| 4 * plan.len_of(thalweg::plan::BufferId(i)) as u64).max().unwrap()
}

#[test]
fn samples_and_energies_do_not_depend_on_what_a_device_holds() {
    pollster::block_on(async {
        let model = model("mnist-small");
        let (count, chain_config) = (150, ChainConfig { step_size: 0.1, ..ChainConfig::default() });
        let mala = ChainConfig { form: Form::Mala, ..chain_config };
        let device = limited(ChainPath::Layers, |_| {}).await;
        let whole = sampler_plan(&model.network, count, &chain_config, &[1], device.target(count)).plan;
        let energies = energy_plan(&model.network, 256, device.target(256)).plan;
        let buffer = (largest(&whole) / 3).min(largest(&energies) / 2) / 4 * 4;
        let small = limited(ChainPath::Layers, |limits| limits.buffer = buffer).await;
        assert!(whole.excess(&small.room()).is_some() && whole.excess(&device.room()).is_none());
        for chain_config in [chain_config, mala] {
            let mut ends = Vec::new();
            for device in [&device, &small] {
                let mut sampler = Sampler::new(device, &model, count, &chain_config, 9).await.unwrap();
                let start = sampler.images().await.unwrap();
                sampler.run(4).unwrap();
                let energies = sampler.energies().await.unwrap();
                sampler.run(13).unwrap();
                assert_eq!(sampler.steps(), 17);
                let acceptance = sampler.acceptance().await.unwrap();
                let noise_end = sampler.images().await.unwrap();
                sampler.start_from(&noise_end).unwrap();
                assert_eq!(sampler.steps(), 0);
                sampler.run(2).unwrap();
                ends.push((start, energies, acceptance, noise_end, sampler.images().await.unwrap()));
            }
            assert!(ends[0] == ends[1], "{:?}", chain_config.form);
            let mut told = Vec::new();
            for device in [&device, &small] {
                let mut energies = EnergyModel::new(device, &model).await.unwrap();
                told.push(energies.energies_and_gradients(&ends[0].3).await.unwrap());
            }
            assert!(told[0] == told[1]);
        }
    });
}

#[test]
fn annealed_chains_do_not_depend_on_what_a_device_holds() {
    pollster::block_on(async {
        let network = Network::builder("points", [2, 1, 1]).dense(8).dense(1).build().unwrap();
        let parameters = network.initial_parameters(1);
        let model = Model { network, parameters };
        let settings =
            Settings { temperature: 1.0, tilted: true, steps: 12, chains: 300, leapfrogs: 2, seed: 4 };
        let mut ends = Vec::new();
        for buffer in [u64::MAX, 8 << 10] {
            let device = limited(ChainPath::Layers, |limits| limits.buffer = limits.buffer.min(buffer)).await;
            let base = Base::normal(model.network.input, vec![0.0; 2], vec![1.0; 2], f32::INFINITY);
            let mut annealing = Annealing::new(&device, &model, base, settings).await.unwrap();
            let forward = annealing.forward().await.unwrap();
            let reverse = annealing.reverse(&forward.images).await.unwrap();
            ends.push((forward, reverse));
        }
        assert!(ends[0] == ends[1]);
    });
}

fn tiny() -> Recipe {
    let mut config = Recipe::preset("mnist-small").unwrap();
    for setting in ["train.batch=20", "chain.steps=3", "replay.capacity=110", "replay.initial=20", "seed=7"] {
        config.set(setting).unwrap();
    }
    config
}

/// The shipped digits, as bytes and as floats.
fn digits() -> [Dataset; 2] {
    let bytes = Dataset::open("digits").unwrap();
    let Examples::Bytes(images) = &bytes.train else { panic!("digits are bytes") };
    let n = 2000 * images.shape.len();
    let values = images.bytes[..n].iter().map(|byte| (f32::from(*byte) - 127.5) / 127.5).collect();
    let train = Examples::Floats(Images { shape: images.shape, values });
    let floats = Dataset { train, ..bytes.clone() };
    [bytes, floats]
}

#[test]
fn a_data_set_in_parts_trains_to_the_same_bits() {
    pollster::block_on(async {
        for dataset in digits() {
            let mut ends = Vec::new();
            for buffer in [u64::MAX, 2_000_004] {
                let device =
                    limited(ChainPath::Layers, |limits| limits.buffer = limits.buffer.min(buffer)).await;
                let mut trainer = Trainer::new(&device, &tiny(), &dataset).await.unwrap();
                assert_eq!(trainer.plan().data.len() > 1, buffer < u64::MAX);
                let metrics = steps(&mut trainer, &[2, 3]).await;
                ends.push((bits(&checkpoint(&trainer).await), format!("{metrics:?}")));
                // The twin and the shader agree on what is in which part.
                let report = trainer.compare_step().await.unwrap();
                assert!(report.first_mismatch().is_none(), "{report}");
            }
            assert!(ends[0] == ends[1], "{}", dataset.train.count());
        }
    });
}

#[test]
fn what_is_cut_comes_to_the_same_bits() {
    pollster::block_on(async {
        for path in [ChainPath::Layers, ChainPath::Fused] {
            let mut ends = Vec::new();
            for flop in [None, Some(3_000_000)] {
                let device = limited(path, |limits| {
                    limits.dispatch_flop = flop.unwrap_or(limits.dispatch_flop);
                    limits.submission_flop = flop.map_or(limits.submission_flop, |flop| 10 * flop);
                })
                .await;
                let mut config = tiny();
                config.set("train.batch=70").unwrap();
                let mut trainer = Trainer::new(&device, &config, &digits()[0]).await.unwrap();
                let before = trainer.executor().counters();
                let metrics = steps(&mut trainer, &[2]).await;
                let after = trainer.executor().counters();
                assert_eq!(after.submissions - before.submissions > 1, flop.is_some());
                assert_eq!((after.uploads, after.waits), (before.uploads, before.waits + 1));
                let launches = trainer.plan().plan.programs[trainer.plan().step.0].len();
                assert_eq!(trainer.time_step().await.unwrap().len(), launches);
                ends.push((bits(&checkpoint(&trainer).await), format!("{metrics:?}")));
            }
            assert!(ends[0] == ends[1], "{path}");
        }
    });
}

/// `tiny`, with another network.
fn with_network(layers: &str) -> Recipe {
    let mut config = tiny();
    let spec = format!("name = \"split\"\ninput = [1, 28, 28]\nlayers = [{layers}]");
    config.network = Some(toml::from_str(&spec).unwrap());
    config
}

#[test]
fn launches_of_too_many_workgroups_are_split_and_come_to_the_same_bits() {
    pollster::block_on(async {
        let config =
            with_network("{ conv = 12, kernel = 3, stride = 2 }, \"pool\", { dense = 80 }, { dense = 1 }");
        let mut ends = Vec::new();
        for workgroups in [None, Some(12)] {
            let device = limited(ChainPath::Layers, |limits| {
                limits.workgroups = workgroups.unwrap_or(limits.workgroups);
            })
            .await;
            let mut trainer = Trainer::new(&device, &config, &digits()[0]).await.unwrap();
            let most = most_workgroups(&trainer);
            assert!(most[0] > 24 && most[1] > 12, "{most:?}");
            let metrics = steps(&mut trainer, &[2]).await;
            ends.push((bits(&checkpoint(&trainer).await), format!("{metrics:?}")));
        }
        assert!(ends[0] == ends[1]);
    });
}

/// The most workgroups that a launch of a training step has, in each dimension.
fn most_workgroups(trainer: &Trainer) -> [u32; 3] {
    let plan = &trainer.plan().plan;
    let all = plan.launches().map(|launch| launch.kernel.workgroups(&launch.flat_blocks()));
    all.fold([0; 3], |most, groups| std::array::from_fn(|i| most[i].max(groups[i])))
}

/// 4.2 million parameters, of 64 in a workgroup, are more than the 65,535 workgroups that a dispatch may have.
#[test]
fn a_network_of_more_parameters_than_a_dispatch_has_invocations_trains() {
    pollster::block_on(async {
        let mut config = with_network("{ dense = 5400 }, { dense = 1 }");
        for setting in ["train.batch=4", "chain.steps=1", "replay.capacity=16", "replay.initial=4"] {
            config.set(setting).unwrap();
        }
        let device = limited(ChainPath::Layers, |_| {}).await;
        let mut trainer = Trainer::new(&device, &config, &digits()[0]).await.unwrap();
        assert!(most_workgroups(&trainer)[0] > 65_535);
        let report = trainer.compare_step().await.unwrap();
        assert!(report.first_mismatch().is_none(), "{report}");
    });
}

#[test]
fn what_is_too_large_names_its_own_setting() {
    pollster::block_on(async {
        let device = limited(ChainPath::Layers, |limits| limits.buffer = 4 << 20).await;
        let [dataset, _] = digits();
        let refusal = async |settings: &[&str]| {
            let mut config = Recipe::preset("mnist-small").unwrap();
            config.set("train.batch=20").unwrap();
            settings.iter().for_each(|setting| config.set(setting).unwrap());
            let error = Trainer::new(&device, &config, &dataset).await.unwrap_err();
            assert!(matches!(error, Error::Memory(_)), "{error}");
            error.to_string()
        };
        let ring = refusal(&["replay.capacity=2000", "replay.initial=100"]).await;
        assert!(ring.contains("`replay.capacity`") && !ring.contains("batch"), "{ring}");
        assert!(
            ring.contains("`replay ring`, which takes 8 MiB") && ring.contains("has 4 MiB at most"),
            "{ring}"
        );
        let pool = refusal(&["objective=pcd", "pcd.chains=2000"]).await;
        assert!(
            pool.contains("`pcd.chains`") && !pool.contains("batch") && !pool.contains("replay."),
            "{pool}"
        );
        let batch = refusal(&["train.batch=2000", "objective=cd"]).await;
        assert!(batch.contains("`train.batch`") && !batch.contains("replay."), "{batch}");
        // A network that is too large for a single block of images.
        let device = limited(ChainPath::Layers, |limits| limits.buffer = 64 << 10).await;
        let error = EnergyModel::new(&device, &model("mnist-deep")).await.unwrap_err().to_string();
        assert!(error.contains("network") && !error.contains("train.batch"), "{error}");
    });
}

/// WebGPU's smallest binding, 128 MiB: a self-check of sequences has 5,000 chains, and they would need 735 MiB.
#[test]
fn the_smallest_webgpu_adapter_holds_a_self_check() {
    pollster::block_on(async {
        let device = limited(ChainPath::Auto, |limits| limits.buffer = 128 << 20).await;
        let model = model("sequence");
        let whole = sampler_plan(&model.network, 5000, &ChainConfig::default(), &[1], device.target(5000));
        assert!(whole.plan.excess(&device.room()).is_some());
        let sampler = Sampler::new(&device, &model, 5000, &ChainConfig::default(), 0).await.unwrap();
        assert_eq!(sampler.images().await.unwrap().count(), 5000);
    });
}

fn thalweg(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.current_dir(folder).args(arguments).envs(environment.iter().copied()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn memory_that_is_not_there_is_an_error() {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total =
        info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    if total.is_none_or(|kib: u64| kib > 48 << 20) {
        println!("skipped: this machine may have the memory");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (setting, named) in
        [("replay.capacity=16777216", "`replay.capacity`"), ("train.batch=1048576", "`train.batch`")]
    {
        let arguments = ["train", "--device=cpu", "--preset=mnist-small", "--steps=1", "--set", setting];
        let capacity = ["--set", "replay.capacity=1048576"];
        let more = if setting.starts_with("train") { &capacity[..] } else { &[] };
        let output = thalweg(folder.path(), &[&arguments[..], more].concat(), &[]);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(2), "{setting}: {text}");
        assert!(text.contains("MiB") && text.contains(named), "{setting}: {text}");
    }
}

#[test]
fn backends_that_are_hidden_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = thalweg(folder.path(), &["devices"], &[("WGPU_BACKEND", "gl")]);
    assert!(output.status.success() && text(&output).contains("WGPU_BACKEND"), "{}", text(&output));
    let sample = ["sample", "--network=analytic:gaussian", "--count=2", "--steps=1", "--npy=a.npy"];
    let named = [&sample[..], &["--device=llvmpipe"]].concat();
    let output = thalweg(folder.path(), &named, &[("WGPU_BACKEND", "dx12")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("WGPU_BACKEND is `dx12`"), "{}", text(&output));
}

/// Mesa's RADV shows a GPU that is not there (`RADV_FORCE_FAMILY`), and can't be opened.
#[test]
fn auto_goes_on_where_a_gpu_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let radv = [("RADV_FORCE_FAMILY", "navi21")];
    let devices = text(&thalweg(folder.path(), &["devices"], &radv));
    if !devices.to_lowercase().contains("navi21") {
        println!("no RADV here: {devices}");
        return;
    }
    let sample = ["sample", "--network=analytic:gaussian", "--count=2", "--steps=1", "--npy=a.npy"];
    let output = thalweg(folder.path(), &sample, &radv);
    assert!(output.status.success(), "{}", text(&output));
    let errors = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(errors.contains("navi21") && errors.contains("takes the cpu"), "{errors}");
    let named = [&sample[..], &["--device=navi21"]].concat();
    let output = thalweg(folder.path(), &named, &radv);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("could not be opened"), "{}", text(&output));
}
