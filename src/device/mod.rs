//! Where plans run: the CPU executor or a GPU.

pub mod calibration;
pub mod compare;

use crate::cpu::{self, Isa};
use crate::error::nearest;
use crate::gpu::{self, Adapter, AdapterKind, Gpu};
use crate::kernels::chain::{Hidden, chain_layers, workgroup_memory};
use crate::network::Network;
use crate::plan::{BufferId, Cause, Plan, ProgramId, Room, Target, fewer_at_once};
use crate::{Error, Result};
use calibration::Calibration;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// An open device.
#[derive(Clone, Debug)]
pub enum Device {
    /// The processor, with an instruction set.
    Cpu(Isa),
    /// A GPU, and what decides how it runs chains.
    Gpu(Arc<Gpu>, Chains),
}

/// How a GPU runs Langevin chains. The numbers that come out are the same up to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainPath {
    /// What a calibration found faster ([`crate::device::calibration`]). Where it was not run: fused on a GPU where the network
    /// allows it, by layers on a software renderer, which is faster that way.
    #[default]
    Auto,
    /// A workgroup an image, many steps in one dispatch ([`crate::kernels::chain`]).
    Fused,
    /// The same with hidden layers in workgroup memory, where the adapter has enough of it ([`Hidden::Workgroup`]).
    FusedWorkgroup,
    /// A dispatch for every layer of every step.
    Layers,
}

/// What decides how a GPU runs chains, the first that says something before the others.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    /// What the user asks for.
    pub asked: ChainPath,
    /// What the run has done so far: see [`Device::resumed_on`].
    pub previous: ChainPath,
    /// What was measured.
    pub calibrations: Vec<Calibration>,
    /// Why what was measured does not count, if the file of it is not readable.
    pub set_aside: Option<String>,
}

/// Langevin steps in a fused dispatch on a software renderer: Mesa's llvmpipe ends every loop of a shader after 65,535
/// turns in all (`LP_MAX_TGSI_LOOP_ITERATIONS`), and a step of `mnist-small` takes some 2,000.
const SOFTWARE_STEPS: u32 = 8;

impl Device {
    /// Opens the device that a user asks for:
    /// * `auto`: the first GPU that opens (discrete before integrated), else the CPU executor. A software renderer is slower
    ///   than the CPU executor, so it is taken only when named;
    /// * `cpu`: the CPU executor; `cpu:avx2` and the like force an instruction set (see [`Isa`]); `cpu:bf16` is not exact, and
    ///   faster where the processor's units are made for it;
    /// * a number: that adapter of [`gpu::adapters`];
    /// * anything else: the first adapter with that in its name, whatever the case, and a name that is just that before others.
    ///   `NAME (DX12)` and `dx12:NAME` are one backend's, `dx12` is its first adapter, `dx12:1` its second.
    ///
    /// # Errors
    /// [`Error::Device`] if nothing matches (with the list of what is there) or the device can't be opened.
    pub async fn open(choice: &str) -> Result<Self> {
        Ok(Self::open_with(choice, Chains::default()).await?.0)
    }

    /// [`Self::open`], with what decides how a GPU runs chains. Returns notes for the user, too: GPUs that `auto` could not
    /// open, other adapters that the name fits.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub async fn open_with(choice: &str, chains: Chains) -> Result<(Self, Vec<String>)> {
        let mut notes = Vec::new();
        if choice == "cpu" {
            return Ok((Self::cpu(), notes));
        }
        if let Some(isa) = choice.strip_prefix("cpu:") {
            return Ok((Self::Cpu(isa.parse()?), notes));
        }
        let adapters = gpu::adapters().await;
        if choice == "auto" {
            for adapter in adapters.iter().filter(|adapter| adapter.is_gpu()) {
                match Gpu::open(adapter.clone()).await {
                    Ok(gpu) => return Ok((Self::Gpu(gpu, chains), notes)),
                    Err(error) => notes.push(format!("{}, so `auto` goes on without it", error.text())),
                }
            }
            if !notes.is_empty() {
                notes.push("`auto` takes the CPU: no GPU could be opened".to_owned());
            }
            return Ok((Self::cpu(), notes));
        }
        let labels: Vec<_> = adapters.iter().map(|a| (a.name.as_str(), a.backend.as_str())).collect();
        let matching = find(choice, &labels);
        let Some((&first, others)) = matching.split_first() else {
            let mut names = vec!["auto", "cpu"];
            names.extend(adapters.iter().map(|a| a.name.as_str()));
            let hint = nearest(choice, &names).map_or(String::new(), |n| format!("; {n}"));
            let hidden = gpu::hidden().map_or(String::new(), |text| format!(". {text}"));
            let mut list = String::from("\n  auto\n  cpu");
            for (i, a) in adapters.iter().enumerate() {
                list += &format!("\n  {i}: {}, {}", a.label(), a.kind);
            }
            let text = format!("nothing here matches `{choice}`{hint}{hidden}. There is:{list}");
            return Err(Error::Device(text));
        };
        if !others.is_empty() {
            let others: Vec<_> = others.iter().map(|i| format!("{i}: {}", adapters[*i].label())).collect();
            notes.push(format!(
                "`{choice}` fits several adapters; this is {first}: {}. The others can be named by their numbers: {}",
                adapters[first].label(),
                others.join(", ")
            ));
        }
        let gpu = Gpu::open(adapters[first].clone()).await?;
        Ok((Self::Gpu(gpu, chains), notes))
    }

    /// Itself for a run that was on the device called `name` ([`Self::name`]) and took `path` there: on the same one,
    /// `auto` stays with it, so that the run comes to the same bits whatever was measured in between.
    pub fn resumed_on(&self, name: &str, path: ChainPath) -> Self {
        match self {
            Self::Gpu(gpu, chains) if name == self.name() => {
                Self::Gpu(gpu.clone(), Chains { previous: path, ..chains.clone() })
            }
            other => other.clone(),
        }
    }

    /// What makes up its bits: the processor's instruction set, or the adapter and its backend.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu(isa) => format!("CPU ({isa})"),
            Self::Gpu(gpu, _) => format!("{} ({})", gpu.adapter.name, gpu.adapter.backend),
        }
    }

    /// The CPU executor, with the best instruction set of this processor.
    pub fn cpu() -> Self {
        Self::Cpu(Isa::best())
    }

    /// The sizes that plans for it should have, to work on `images` at a time.
    pub fn target(&self, images: usize) -> Target {
        match self {
            Self::Cpu(isa) => Target::cpu(images, isa.width()),
            Self::Gpu(gpu, _) => {
                // FXC, DX12's old compiler, takes a minute for the large tiles of software.
                let target =
                    if gpu.adapter.kind == AdapterKind::Software && gpu.adapter.compiler != Some("FXC") {
                        Target::software(images, gpu.adapter.subgroup.0)
                    } else {
                        Target::gpu(images)
                    };
                Target { dispatch_flop: gpu.limits.dispatch_flop, ..target }
            }
        }
    }

    /// What there is room for.
    pub fn room(&self) -> Room {
        match self {
            Self::Cpu(_) => cpu::room(),
            Self::Gpu(gpu, _) => gpu.limits.room(),
        }
    }
}

impl Device {
    /// [`Self::target`] for chains of a network: with the path that was asked for, or that suits the device. What suits it
    /// rests on nothing that is measured now, so that the same run takes the same path every time.
    pub fn chain_target(&self, network: &Network, images: usize) -> Target {
        let layers = self.target(images);
        let Self::Gpu(gpu, _) = self else { return layers };
        let fused_steps = if gpu.adapter.is_gpu() { u32::MAX } else { SOFTWARE_STEPS };
        match self.chain_path(network) {
            ChainPath::Fused => Target { fused_steps, ..layers },
            ChainPath::FusedWorkgroup => Target { fused_steps, fused_hidden: Hidden::Workgroup, ..layers },
            ChainPath::Layers | ChainPath::Auto => layers,
        }
    }

    /// The path that chains of a network take: any but `Auto`.
    pub fn chain_path(&self, network: &Network) -> ChainPath {
        self.resolve_chain_path(network).0
    }

    /// That path, and why, for people.
    pub fn explain_chain(&self, network: &Network) -> String {
        let why = self.resolve_chain_path(network).1;
        match self {
            Self::Gpu(_, Chains { set_aside: Some(problem), .. }) => format!("{why} ({problem})"),
            _ => why,
        }
    }

    fn resolve_chain_path(&self, network: &Network) -> (ChainPath, String) {
        match self {
            Self::Cpu(isa) => {
                let why = "by layers, one block of images after the other: each stays in its core's cache";
                let bf16 = if *isa == Isa::Bf16 { "; products of bfloat16, as asked for" } else { "" };
                (ChainPath::Layers, format!("{why}{bf16}"))
            }
            Self::Gpu(gpu, chains) => chains.resolve_chain_path(&gpu.adapter, network),
        }
    }
}

impl Chains {
    fn resolve_chain_path(&self, adapter: &Adapter, network: &Network) -> (ChainPath, String) {
        let because = |path: ChainPath, why: &str| (path, format!("{path}{why}"));
        let wanted = match (self.asked, self.previous) {
            (ChainPath::Auto, ChainPath::Auto) => None,
            (ChainPath::Auto, path) => Some((path, ", as this run has done so far")),
            (path, _) => Some((path, ", as asked for")),
        };
        let layers = match (wanted, chain_layers(network)) {
            (Some((ChainPath::Layers, why)), _) => return because(ChainPath::Layers, why),
            (_, None) => return because(ChainPath::Layers, ": the network does not fit the fused chain"),
            (_, Some(layers)) => layers,
        };
        let takes = workgroup_memory(&layers, Hidden::Workgroup);
        match wanted {
            Some((ChainPath::FusedWorkgroup, _)) if takes > adapter.workgroup_memory as usize => {
                let (takes, has) = (takes.div_ceil(1024), adapter.workgroup_memory >> 10);
                because(
                    ChainPath::Fused,
                    &format!(": its layers take {takes} KiB of workgroup memory, and there are {has}"),
                )
            }
            Some((path, why)) => because(path, why),
            None => match self.calibrations.iter().find(|c| c.is_of(adapter, network)) {
                Some(calibration) => (calibration.path(), calibration.to_string()),
                None if adapter.compiler == Some("FXC") => because(
                    ChainPath::Layers,
                    ": FXC, DX12's old compiler, takes half a minute for the fused chain. With dxcompiler.dll beside \
                     the program, chains are fused",
                ),
                None if adapter.is_gpu() => because(
                    ChainPath::Fused,
                    ": on a GPU, launches and barriers between layers cost more than they do",
                ),
                None => because(ChainPath::Layers, ": a software renderer is faster that way"),
            },
        }
    }
}

impl std::str::FromStr for ChainPath {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "fused" => Ok(Self::Fused),
            "fused-workgroup" => Ok(Self::FusedWorkgroup),
            "layers" => Ok(Self::Layers),
            _ => Err(Error::Device(format!(
                "no path of chains is called `{name}`: auto, fused, fused-workgroup, or layers"
            ))),
        }
    }
}

impl std::fmt::Display for ChainPath {
    /// How chains run, for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "as suits the device",
            Self::Fused => "fused",
            Self::FusedWorkgroup => "fused in workgroup memory",
            Self::Layers => "by layers",
        })
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu(isa) => write!(f, "CPU ({isa}, {} threads)", rayon::current_num_threads()),
            Self::Gpu(..) => f.write_str(&self.name()),
        }
    }
}

/// The numbers of the adapters that a choice fits, of which each has a name and a backend: see [`Device::open`]. Those of
/// which it is the whole name come first.
fn find(choice: &str, adapters: &[(&str, &str)]) -> Vec<usize> {
    let choice = choice.trim().to_lowercase();
    if let Ok(number) = choice.parse::<usize>() {
        return if number < adapters.len() { vec![number] } else { Vec::new() };
    }
    let backend_of = |text: &str| match text {
        "vulkan" | "vk" => Some("Vulkan"),
        "metal" | "mtl" => Some("Metal"),
        "dx12" | "d3d12" => Some("DX12"),
        _ => None,
    };
    // `BACKEND:NAME`, `BACKEND:NUMBER`, `BACKEND`, `NAME (BACKEND)`, or a name alone.
    let of_prefix = choice.split_once(':').and_then(|(text, name)| Some((backend_of(text.trim())?, name)));
    let of_suffix = choice.strip_suffix(')').and_then(|text| text.rsplit_once('('));
    let of_suffix = of_suffix.and_then(|(name, text)| Some((backend_of(text.trim())?, name)));
    let alone = backend_of(&choice).map(|backend| (backend, ""));
    let (backend, name) = match alone.or(of_prefix).or(of_suffix) {
        Some((backend, name)) => (Some(backend), name.trim()),
        None => (None, choice.as_str()),
    };
    if backend.is_none() && name.is_empty() {
        return Vec::new();
    }
    let of_backend: Vec<usize> =
        (0..adapters.len()).filter(|i| backend.is_none_or(|backend| adapters[*i].1 == backend)).collect();
    if let Ok(number) = name.parse::<usize>() {
        return of_backend.get(number).copied().into_iter().collect();
    }
    let lower = |i: &usize| adapters[*i].0.to_lowercase();
    let mut found: Vec<_> = of_backend.into_iter().filter(|i| lower(i).contains(name)).collect();
    if backend.is_some() && name.is_empty() {
        found.truncate(1);
    }
    // A name that is just that is no other's.
    if found.iter().any(|i| lower(i) == name) {
        found.retain(|i| lower(i) == name);
    }
    found
}

/// The adapter that `auto` takes, if it opens: the first that is a GPU.
pub fn auto(adapters: &[Adapter]) -> Option<&Adapter> {
    adapters.iter().find(|a| a.is_gpu())
}

/// A plan with its buffers on a device.
#[derive(Debug)]
pub enum Executor {
    /// On the processor.
    Cpu(cpu::Executor),
    /// On a GPU.
    Gpu(gpu::Executor),
}

/// Words on their way back from a device.
#[derive(Debug)]
pub enum Readback {
    /// There already.
    Ready(Vec<u32>),
    /// Under way.
    Gpu(gpu::Readback),
}

impl Executor {
    /// Makes the plan's buffers, all zero, and its pipelines.
    ///
    /// # Errors
    /// [`Error::Memory`] where the plan is beyond the device's limits or memory.
    pub async fn new(device: &Device, plan: Plan) -> Result<Self> {
        let plan = Arc::new(plan);
        Ok(match device {
            Device::Cpu(isa) => Self::Cpu(cpu::Executor::new(plan, *isa)?),
            Device::Gpu(gpu, _) => Self::Gpu(gpu::Executor::new(gpu.clone(), plan).await?),
        })
    }

    /// Makes the machine of a plan for as many of `count` images at a time as the device holds: all of them, or whole blocks of
    /// `lanes`. `make` makes the plan for so many, and says where the [`Plan`] is in it. The plan that was taken, and for how
    /// many, come with the machine.
    ///
    /// # Errors
    /// [`Error::Memory`] where not even a block has room; those of [`Self::new`].
    pub(crate) async fn in_shares<P>(
        device: &Device,
        (count, lanes): (usize, u32),
        make: impl Fn(usize) -> P,
        plan: impl Fn(&P) -> &Plan,
    ) -> Result<(Self, P, usize)> {
        let (room, mut at_once) = (device.room(), count);
        loop {
            let made = make(at_once);
            let fewer = fewer_at_once(count, at_once, lanes);
            let excess = plan(&made).excess(&room);
            if let (Some(excess), Some(fewer)) = (&excess, fewer)
                && excess.cause == Cause::Images
            {
                at_once = fewer;
                continue;
            }
            if let Some(excess) = excess {
                let advice = match excess.cause {
                    Cause::Images => "Choose a smaller network, or fewer images",
                    cause => cause.advice(),
                };
                return Err(excess.error(&device.name(), advice));
            }
            match (Self::new(device, plan(&made).clone()).await, fewer) {
                (Err(Error::Memory(_)), Some(fewer)) => at_once = fewer,
                (executor, _) => return Ok((executor?, made, at_once)),
            }
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        match self {
            Self::Cpu(executor) => executor.plan(),
            Self::Gpu(executor) => executor.plan(),
        }
    }

    /// Writes words into a buffer, from word `first` on.
    pub fn write(&mut self, buffer: BufferId, first: usize, words: &[u32]) {
        match self {
            Self::Cpu(executor) => {
                executor.words_mut(buffer)[first..first + words.len()].copy_from_slice(words);
            }
            Self::Gpu(executor) => executor.write(buffer, first, words),
        }
    }

    /// Writes floats into a buffer, from its beginning.
    pub fn write_floats(&mut self, buffer: BufferId, floats: &[f32]) {
        self.write(buffer, 0, bytemuck::cast_slice(floats));
    }

    /// Runs a program: on a GPU in one submission that is not waited for.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn run(&mut self, program: ProgramId) -> Result<()> {
        fault::check()?;
        match self {
            Self::Cpu(executor) => executor.run(program),
            Self::Gpu(executor) => drop(executor.run(&[(program, 1)], &[])?),
        }
        Ok(())
    }

    /// Runs launch number `launch` of a program alone.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn run_launch(&mut self, program: ProgramId, launch: usize) -> Result<()> {
        match self {
            Self::Cpu(executor) => {
                executor.run_launch(program, launch);
                Ok(())
            }
            Self::Gpu(executor) => executor.run_launch(program, launch),
        }
    }

    /// Whether launch number `launch` of a program has products of bfloat16 ([`Isa::Bf16`]).
    pub fn is_bf16(&self, program: ProgramId, launch: usize) -> bool {
        match self {
            Self::Cpu(executor) => executor.is_bf16(program, launch),
            Self::Gpu(_) => false,
        }
    }

    /// Runs a program `times` times and begins to read some words after that: on a GPU in one submission.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn run_and_read(
        &mut self,
        program: ProgramId,
        times: u32,
        buffer: BufferId,
        range: Range<usize>,
    ) -> Result<Readback> {
        self.submit(&[(program, times)], &[(buffer, range)])
    }

    /// Runs programs, each so many times, and begins to read some words of some buffers, one behind the other, after
    /// that: on a GPU in one submission.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn submit(
        &mut self,
        programs: &[(ProgramId, u32)],
        readings: &[(BufferId, Range<usize>)],
    ) -> Result<Readback> {
        fault::check()?;
        match self {
            Self::Cpu(executor) => {
                for (program, times) in programs {
                    (0..*times).for_each(|_| executor.run(*program));
                }
                let words =
                    readings.iter().flat_map(|(buffer, range)| &executor.words(*buffer)[range.clone()]);
                Ok(Readback::Ready(words.copied().collect()))
            }
            Self::Gpu(executor) => {
                let reading = executor.run(programs, readings)?;
                reading.map(Readback::Gpu).ok_or_else(|| Error::Device("a reading was lost".to_owned()))
            }
        }
    }

    /// Seconds that each launch of a program takes when it runs by itself, launch after launch: measured on the
    /// device where it has timestamps, else on the host, the way there and back included.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn time_launches(&mut self, program: ProgramId) -> Result<Vec<(&'static str, f64)>> {
        let plan = self.plan().clone();
        let launches = &plan.programs[program.0];
        let times = match self {
            Self::Cpu(executor) => executor.time_launches(program),
            Self::Gpu(executor) => executor.time_launches(program).await?,
        };
        Ok(launches.iter().map(|l| l.kernel.name()).zip(times).collect())
    }

    /// How often host and device had to do with each other; all 0 on the CPU.
    pub fn counters(&self) -> gpu::Counters {
        match self {
            Self::Cpu(_) => gpu::Counters::default(),
            Self::Gpu(executor) => executor.counters(),
        }
    }

    /// Reads a whole buffer's words.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn read(&self, buffer: BufferId) -> Result<Vec<u32>> {
        fault::check()?;
        match self {
            Self::Cpu(executor) => Ok(executor.words(buffer).to_vec()),
            Self::Gpu(executor) => executor.read(buffer, 0..executor.plan().len_of(buffer))?.words().await,
        }
    }

    /// Reads a whole buffer's floats.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn read_floats(&self, buffer: BufferId) -> Result<Vec<f32>> {
        Ok(bytemuck::cast_vec(self.read(buffer).await?))
    }
}

impl Readback {
    /// Whether the words are there, so that awaiting them takes no time.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Ready(_) => true,
            Self::Gpu(reading) => reading.is_ready(),
        }
    }

    /// The words.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub async fn words(self) -> Result<Vec<u32>> {
        match self {
            Self::Ready(words) => Ok(words),
            Self::Gpu(reading) => reading.words().await,
        }
    }
}

/// A device that is lost on purpose, for tests of what comes then.
#[doc(hidden)]
pub mod fault {
    use crate::{Error, Result};
    use std::cell::Cell;

    thread_local! {
        /// Calls that still work, of this thread's machines.
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Lets so many more calls of this thread's machines work: after them, each device is lost. `None`: for ever.
    pub fn lose_after(calls: Option<u64>) {
        LEFT.set(calls);
    }

    pub(super) fn check() -> Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(Error::Device("the device was lost (a test asked for that)".to_owned())),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn adapters_are_found_by_name_backend_and_number() {
        let adapters = [
            ("AMD Radeon RX 6800", "Vulkan"),
            ("AMD Radeon RX 6800", "DX12"),
            ("AMD Radeon RX 6800 XT", "Vulkan"),
            ("Intel(R) UHD Graphics (TGL GT1)", "Vulkan"),
            ("Intel(R) UHD Graphics (TGL GT1)", "DX12"),
            ("llvmpipe (LLVM 15.0.6, 256 bits)", "Vulkan"),
        ];
        for (choice, found) in [
            ("0", &[0][..]),
            ("5", &[5]),
            ("6", &[]),
            ("amd radeon rx 6800", &[0, 1]),
            ("AMD Radeon RX 6800 XT", &[2]),
            ("radeon", &[0, 1, 2]),
            ("Radeon RX 6800 (DX12)", &[1]),
            ("AMD Radeon RX 6800 (Vulkan)", &[0]),
            ("dx12:radeon", &[1]),
            ("dx12:1", &[4]),
            ("d3d12", &[1]),
            ("vulkan", &[0]),
            ("vk:uhd", &[3]),
            ("uhd graphics (tgl gt1)", &[3, 4]),
            ("Intel(R) UHD Graphics (TGL GT1) (DX12)", &[4]),
            ("llvmpipe (LLVM 15.0.6, 256 bits) (Vulkan)", &[5]),
            ("llvmpipe", &[5]),
            ("metal", &[]),
            ("dx12:9", &[]),
            ("", &[]),
            ("  ", &[]),
            ("geforce", &[]),
        ] {
            assert_eq!(find(choice, &adapters), found, "{choice}");
        }
    }
}
