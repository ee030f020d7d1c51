//! What the engine reaches on a device, measured in one run: `thalweg bench`.

use crate::data::{Examples, Images};
use crate::device::calibration::Calibration;
use crate::device::{ChainPath, Chains, Device, Executor};
use crate::gpu::Adapter;
use crate::kernels::State;
use crate::kernels::chain::{Hidden, chain_layers, workgroup_memory};
use crate::kernels::dynamics::Form;
use crate::plan::{ChainConfig, ProgramId, SamplerPlan, peak_plan, sampler_plan};
use crate::random::{Philox, Stream};
use crate::recipe::{Loss, Recipe};
use crate::{Dataset, Error, Network, Result, Trainer};
use rand::RngExt;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// Langevin steps that are timed together.
const CHAIN: u32 = 10;
/// As many where those take less than [`SHORT_MS`], so that a chain's start does not count: training's are as long.
const LONG_CHAIN: u32 = 100;
/// Milliseconds.
const SHORT_MS: f64 = 20.0;

/// Median and spread of repeated timings.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Timing {
    /// Median.
    pub median: f64,
    /// Fastest.
    pub min: f64,
    /// Slowest.
    pub max: f64,
    /// How many.
    pub runs: usize,
}

impl Timing {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let (min, max) = (times[0], times[times.len() - 1]);
        Self { median: times[times.len() / 2], min, max, runs: times.len() }
    }
}

/// One kernel's part of a training step.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct KernelTime {
    /// Launches in a training step.
    pub launches: usize,
    /// Time of all of them, in ms.
    pub ms: f64,
}

/// All figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// The device.
    pub device: String,
    /// How chains run, and why.
    pub chain: String,
    /// The network.
    pub preset: String,
    /// Real images, and chains, a step.
    pub batch: usize,
    /// Langevin steps in a training step; 0 for an objective whose chains only draw samples.
    pub chain_steps: usize,
    /// One Langevin step of the whole batch, in ms.
    pub langevin_step_ms: f64,
    /// The same, with its spread.
    pub langevin_step: Timing,
    /// One training step, in ms.
    pub training_step_ms: f64,
    /// The same, with its spread.
    pub training_step: Timing,
    /// Samples a second, of 500 Langevin steps each.
    pub images_per_s: f64,
    /// Counted floating-point operations of a Langevin step (2 a multiply-add, all taps, though those in the padding are
    /// left out and the CPU takes fewer products for others) over its time.
    pub gflops: f64,
    /// What the device reached in this run on multiply-adds in registers.
    pub peak_gflops: f64,
    /// `gflops / peak_gflops`.
    pub peak_share: f64,
    /// [`crate::cpu::bf16_rate`]: on the CPU, where it has such units.
    pub bf16_rate: Option<f64>,
    /// A Langevin step's time on one thread over its time on all; missing on a GPU.
    pub thread_scaling: Option<f64>,
    /// Threads that the CPU executor ran on; 0 on a GPU.
    pub threads: usize,
    /// From the start of the process to the end of the first training step.
    pub cold_start_s: f64,
    /// Most memory that the process has held; missing where the system does not tell.
    pub peak_memory_mb: Option<f64>,
    /// Submissions in a training step.
    pub submissions_per_step: f64,
    /// Kernel launches in a training step.
    pub dispatches_per_step: usize,
    /// Bytes uploaded in a training step.
    pub uploaded_bytes_per_step: f64,
    /// Waits for the device in a training step, its metrics read back.
    pub waits_per_step: f64,
    /// Each kernel's part of a training step, every launch run and timed by itself.
    pub kernels: BTreeMap<&'static str, KernelTime>,
}

/// Measures a device on the shipped digits, or on what else the preset takes.
///
/// `process_start` is when the process began, for the cold start; `runs` is how often each timing is repeated.
///
/// # Errors
/// Those of [`Trainer::new`].
pub async fn measure(
    device: &Device,
    config: &Recipe,
    process_start: Instant,
    runs: usize,
) -> Result<BenchReport> {
    let dataset = examples(config)?;
    // Of a run in phases, the last one's steps, which do most, from the first on.
    let config = &Recipe { loss: Loss { contrastive_from: 0.0, ..config.loss.clone() }, ..config.clone() };
    let mut trainer = Trainer::new(device, config, &dataset).await?;
    trainer.submit(1)?.metrics().await?;
    let cold_start_s = process_start.elapsed().as_secs_f64();

    let before = trainer.executor().counters();
    let mut times = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        trainer.submit(1)?.metrics().await?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let training_step = Timing::of(times);
    let (after, n) = (trainer.executor().counters(), runs as f64);
    let per_step = |count: fn(&crate::gpu::Counters) -> u64| (count(&after) - count(&before)) as f64 / n;
    let dispatches_per_step = trainer.launches_per_step();
    let peak_memory_mb = peak_memory_mb();
    let mut kernels: BTreeMap<&'static str, KernelTime> = BTreeMap::new();
    for (name, seconds) in trainer.time_step().await? {
        let kernel = kernels.entry(name).or_default();
        kernel.launches += 1;
        kernel.ms += seconds * 1e3;
    }

    let (batch, model) = (config.train.batch, trainer.model().await?);
    let mut chain =
        TimedChain::new(device, &model.network, &model.parameters, batch, config.own_chain()).await?;
    let threads = if let Device::Cpu(_) = device { rayon::current_num_threads() } else { 0 };
    let peak = peak_plan();
    let mut peak_machine = match device {
        Device::Cpu(_) => None,
        Device::Gpu(..) => Some(Executor::new(device, peak.plan.clone()).await?),
    };
    let (mut times, mut alone, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=runs {
        times.push(chain.step_ms().await?);
        peaks.push(match (device, &mut peak_machine) {
            (Device::Gpu(..), Some(executor)) => {
                let start = Instant::now();
                executor.run_and_read(peak.run, 1, peak.result, 0..1)?.words().await?;
                peak.flop / start.elapsed().as_secs_f64() * 1e-9
            }
            (Device::Cpu(isa), _) => crate::cpu::peak_gflops(*isa, 0.02),
            _ => continue,
        });
        if run == 0 {
            // This run warmed up.
            times.clear();
            peaks.clear();
        }
    }
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().ok().filter(|_| threads > 1);
    // In a loop of its own: a second pool's idle threads would take from the first's.
    if let Some(pool) = &one_thread {
        for _ in 0..runs {
            alone.push(pool.install(|| chain.run_ms())?);
        }
    }
    let langevin_step = Timing::of(times);
    let gflops = (model.network.langevin_flop() * batch) as f64 / (langevin_step.median * 1e6);
    let peak_gflops = Timing::of(peaks).max;
    let thread_scaling = (!alone.is_empty()).then(|| Timing::of(alone).median / langevin_step.median);
    Ok(BenchReport {
        device: device.to_string(),
        chain: device.explain_chain(&model.network),
        preset: config.preset.clone(),
        batch,
        chain_steps: if config.has_chains() { config.chain.steps } else { 0 },
        langevin_step_ms: langevin_step.median,
        langevin_step,
        training_step_ms: training_step.median,
        training_step,
        images_per_s: batch as f64 / (500.0 * langevin_step.median * 1e-3),
        gflops,
        peak_gflops,
        peak_share: gflops / peak_gflops,
        bf16_rate: if let Device::Cpu(_) = device { crate::cpu::bf16_rate() } else { None },
        thread_scaling,
        threads,
        cold_start_s,
        peak_memory_mb,
        submissions_per_step: per_step(|c| c.submissions),
        dispatches_per_step,
        uploaded_bytes_per_step: per_step(|c| c.uploaded_bytes),
        waits_per_step: per_step(|c| c.waits),
        kernels,
    })
}

/// Measures all ways in which a device, `choice` of [`Device::open`], can run a network's chains: in turn, `runs` times each.
///
/// # Errors
/// [`Error::Usage`] where there is only one way: on the CPU executor, for a network that does not fit the fused chain,
/// and for MALA; those of [`Device::open`]; [`Error::Device`].
pub async fn calibrate(choice: &str, config: &Recipe, runs: usize) -> Result<Calibration> {
    let network = config.network(examples(config)?.train.shape())?;
    let chain_config = config.own_chain();
    let only = |why: &str| Error::Usage(format!("nothing to calibrate: {why}"));
    let Device::Gpu(gpu, _) = Device::open(choice).await? else {
        return Err(only("the processor runs chains by layers only"));
    };
    let Some(layers) = chain_layers(&network).filter(|_| chain_config.form != Form::Mala) else {
        return Err(only("such chains run by layers only"));
    };
    let fits = workgroup_memory(&layers, Hidden::Workgroup) <= gpu.adapter.workgroup_memory as usize;
    let (parameters, batch) = (network.initial_parameters(config.seed), config.train.batch);
    let timed = async |asked| {
        let device = Device::Gpu(gpu.clone(), Chains { asked, ..Chains::default() });
        TimedChain::new(&device, &network, &parameters, batch, chain_config).await
    };
    let mut fused = timed(ChainPath::Fused).await?;
    let mut workgroup = if fits { Some(timed(ChainPath::FusedWorkgroup).await?) } else { None };
    let mut by_layers = timed(ChainPath::Layers).await?;
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..runs {
        times[0].push(fused.step_ms().await?);
        if let Some(workgroup) = &mut workgroup {
            times[1].push(workgroup.step_ms().await?);
        }
        times[2].push(by_layers.step_ms().await?);
    }
    let [fused_times, workgroup_times, layers_times] = times;
    let Adapter { name, backend, driver, .. } = gpu.adapter.clone();
    Ok(Calibration {
        adapter: name,
        backend,
        driver,
        network: network.spec(),
        batch,
        fused_ms: Timing::of(fused_times).median,
        fused_workgroup_ms: fits.then(|| Timing::of(workgroup_times).median),
        layers_ms: Timing::of(layers_times).median,
    })
}

/// A chain that is there to be timed.
struct TimedChain {
    executor: Executor,
    plan: SamplerPlan,
    /// Langevin steps, and the program that takes them.
    chain: (u32, ProgramId),
}

impl TimedChain {
    /// Makes it, and runs it until it is warm.
    async fn new(
        device: &Device,
        network: &Network,
        parameters: &[f32],
        batch: usize,
        chain_config: ChainConfig,
    ) -> Result<Self> {
        let chain_config = ChainConfig { steps: CHAIN, ..chain_config };
        let target = device.chain_target(network, batch);
        let plan = sampler_plan(network, batch, &chain_config, &[CHAIN, LONG_CHAIN], target);
        let mut executor = Executor::new(device, plan.plan.clone()).await?;
        executor.write_floats(plan.pass.parameters, parameters);
        executor.write(plan.state, 0, bytemuck::cast_slice(&[State::default()]));
        executor.run(plan.start)?;
        executor.run(plan.noise)?;
        let mut timed = Self { executor, chain: plan.chains[0], plan };
        // Pipelines are made at first use: the first run does not tell how long a chain takes.
        timed.step_ms().await?;
        if timed.step_ms().await? * f64::from(CHAIN) < SHORT_MS {
            timed.chain = timed.plan.chains[1];
        }
        timed.step_ms().await?;
        Ok(timed)
    }

    /// Runs the chain, and returns the time that a step of it took, in ms.
    async fn step_ms(&mut self) -> Result<f64> {
        let (steps, program) = self.chain;
        let start = Instant::now();
        self.executor.run_and_read(program, 1, self.plan.state, 0..1)?.words().await?;
        Ok(start.elapsed().as_secs_f64() * 1e3 / f64::from(steps))
    }

    /// The same on the processor, where nothing need be read back to know that it is done.
    fn run_ms(&mut self) -> Result<f64> {
        let (steps, program) = self.chain;
        let start = Instant::now();
        self.executor.run(program)?;
        Ok(start.elapsed().as_secs_f64() * 1e3 / f64::from(steps))
    }
}

/// What a preset is measured on: the shipped digits, five Gaussians, or, for anything else, noise.
fn examples(config: &Recipe) -> Result<Dataset> {
    let dataset = Dataset::open(config.default_data())?;
    let input = config.known_network()?.input;
    let shape = dataset.train.shape();
    if shape == input || (shape.channels == input.channels && !input.is_single_row()) {
        return Ok(dataset);
    }
    let mut rng = Philox::new(config.seed, Stream::HeldOutNoise);
    let values = (0..1024 * input.len()).map(|_| rng.random_range(-1.0_f32..1.0)).collect();
    let train = Examples::Floats(Images { shape: input, values });
    let held_out = Images { shape: input, values: Vec::new() };
    Ok(Dataset { name: "noise".to_owned(), train, held_out, toy: None, labels: None })
}

/// The most memory that this process has held, in MB, where `/proc` tells.
fn peak_memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024e-6)
}
