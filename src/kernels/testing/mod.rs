//! Tests of kernels, each alone and over odd sizes: its shader, and its SIMD bodies, against its twin.
//!
//! [`KernelSpec::cases`] adds launches to a mini plan. Everything that a launch must not read or write is a NaN with a
//! payload of its own: blocks outside its range, the padding of packed weights, parameters of other layers, empty lanes.
//! After each launch [`compare`] holds all its outputs against the twin's, so that a guard word that changes is an error,
//! and so is a NaN that leaks. [`Bench::written`] checks that the twin itself writes what it should, and only that.

mod controls;
mod layers;

pub(super) use layers::*;

use super::guard::{MEMORY, Memory};
use super::pack_weights::Packing;
use super::{Kernel, KernelSpec, State};
use crate::cpu::Isa;
use crate::device::compare::{Place, compare};
use crate::device::{Chains, Device, Executor};
use crate::gpu::{Gpu, adapters};
use crate::plan::{BufferId, BufferSpec, Launch, Layout, Plan, Precision, ProgramId, Words};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::ops::Range;
use std::sync::OnceLock;

/// A NaN that no arithmetic makes.
pub(super) const GUARD: u32 = 0x7fc0_beef;
/// Blocks of every per-block buffer, and those that per-block launches run over.
pub(super) const N_BLOCKS: u32 = 4;
pub(super) const BLOCKS: Range<u32> = 1..3;
/// Rows of tables of metrics.
pub(super) const ROWS: u32 = 5;
/// Lengths that shared lengths are drawn from.
pub(super) const LENGTHS: [usize; 6] = [1, 63, 65, 257, 1025, 5000];
/// Images of a block.
const LANES: [u32; 3] = [16, 32, 64];

fn gpu() -> &'static Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(|| {
        pollster::block_on(async {
            let adapter = adapters().await.into_iter().next();
            let adapter =
                adapter.expect("no Vulkan, Metal or DX12 adapter: ./test.sh installs a software one");
            Device::Gpu(Gpu::open(adapter).await.expect("the adapter opens"), Chains::default())
        })
    })
}

/// A batch of a training step.
#[derive(Clone, Copy)]
pub struct Batch {
    pub batch: u32,
    pub n_images: u32,
    pub step: u32,
    /// Real images: the last batch of an epoch may be short of some.
    pub n_real: u32,
}

impl Batch {
    pub fn new(batch: u32, n_images: u32, step: u32) -> Self {
        let n = n_images.div_ceil(batch);
        let n_real = if step % n == n - 1 { n_images - (n - 1) * batch } else { batch };
        Self { batch, n_images, step, n_real }
    }
}

impl State {
    /// A state that training was halted in: whatever would keep something of a step writes nothing.
    pub const HALTED: Self = Self {
        step: 7,
        replay_head: 0,
        replay_length: 5,
        seed_low: 0,
        seed_high: 0,
        chain_base: 0,
        retries: 0,
        halted: 3,
        first_image: 0,
    };
}

/// Ranges of words of a buffer that a launch is to write.
pub(super) type Written = (BufferId, Vec<Range<usize>>);

/// A mini plan of one program with the contents of its buffers.
pub struct Bench {
    pub plan: Plan,
    pub contents: Vec<Vec<u32>>,
    pub rng: StdRng,
    /// Whether it is for a GPU, whose tiles are larger.
    pub for_gpu: bool,
    /// Which numbered cases are its own: those that are `share.0` modulo `share.1`. Each costs a pipeline.
    share: (usize, usize),
    /// For each launch: its case, and the words of each written buffer that its twin must write.
    cases: Vec<(String, Vec<Written>)>,
}

impl Bench {
    pub fn new(lanes: u32, for_gpu: bool, share: (usize, usize)) -> Self {
        let plan = Plan { lanes, n_blocks: N_BLOCKS, buffers: Vec::new(), programs: vec![Vec::new()] };
        let rng = StdRng::seed_from_u64(lanes.into());
        Self { plan, contents: Vec::new(), rng, for_gpu, share, cases: Vec::new() }
    }

    pub fn lanes(&self) -> usize {
        self.plan.lanes as usize
    }

    /// Whether case number `number` is one of this bench's.
    pub fn is_own(&self, number: usize) -> bool {
        number % self.share.1 == self.share.0
    }

    /// Those of `cases` that are this bench's, with their numbers.
    pub fn own<T>(&self, cases: impl IntoIterator<Item = T>) -> Vec<(usize, T)> {
        cases.into_iter().enumerate().filter(|(number, _)| self.is_own(*number)).collect()
    }

    /// Batches of up to two blocks of each half.
    pub fn batches(&self) -> Vec<Batch> {
        let lanes = self.plan.lanes;
        [
            (1, 1, 3),
            (5, 17, 3),
            (17, 50, 2),
            (lanes, 1000, 7),
            (lanes + 1, lanes + 2, 1),
            (2 * lanes, 5 * lanes, 4),
        ]
        .into_iter()
        .map(|(batch, n_images, step)| Batch::new(batch, n_images, step))
        .filter(|case| case.batch <= 2 * lanes)
        .collect()
    }

    /// Puts random floats into `n` images of a per-block buffer, from block `first` on: other lanes stay guards.
    pub fn fill_images(&mut self, buffer: BufferId, first: u32, n: u32) {
        let Layout::PerBlock(features) = self.plan.buffers[buffer.0].layout else { panic!("a flat buffer") };
        for image in 0..n as usize {
            for feature in 0..features {
                let block = first as usize + image / self.lanes();
                let at = (block * features + feature) * self.lanes() + image % self.lanes();
                self.fill(buffer, at..at + 1, 1.0);
            }
        }
    }

    pub fn add(&mut self, name: &str, layout: Layout, words: Words) -> BufferId {
        let id = BufferId(self.plan.buffers.len());
        self.plan.buffers.push(BufferSpec { name: name.to_owned(), layout, words });
        self.contents.push(vec![GUARD; self.plan.len_of(id)]);
        id
    }

    /// A buffer of guards.
    pub fn flat(&mut self, name: &str, len: usize) -> BufferId {
        self.add(name, Layout::Flat(len), Words::Floats)
    }

    pub fn per_block(&mut self, name: &str, features: usize) -> BufferId {
        self.add(name, Layout::PerBlock(features), Words::Floats)
    }

    /// Puts random floats into some words of a buffer.
    pub fn fill(&mut self, buffer: BufferId, words: Range<usize>, scale: f32) {
        for word in &mut self.contents[buffer.0][words] {
            *word = (scale * self.rng.random_range(-1.0_f32..1.0)).to_bits();
        }
    }

    pub fn random_flat(&mut self, name: &str, len: usize) -> BufferId {
        let id = self.flat(name, len);
        self.fill(id, 0..len, 1.0);
        id
    }

    /// Random floats that are not negative.
    pub fn positive_flat(&mut self, name: &str, len: usize) -> BufferId {
        let id = self.random_flat(name, len);
        self.contents[id.0].iter_mut().for_each(|word| *word &= 0x7fff_ffff);
        id
    }

    pub fn words_of(&self, features: usize, blocks: &Range<u32>) -> Range<usize> {
        let block = features * self.lanes();
        blocks.start as usize * block..blocks.end as usize * block
    }

    /// Random floats in some blocks, guards in the others.
    pub fn random_blocks(&mut self, name: &str, features: usize, blocks: &Range<u32>) -> BufferId {
        let id = self.per_block(name, features);
        self.fill(id, self.words_of(features, blocks), 1.0);
        id
    }

    /// Random floats in [`BLOCKS`].
    pub fn images(&mut self, name: &str, features: usize) -> BufferId {
        self.random_blocks(name, features, &BLOCKS)
    }

    /// Packed weights: random where there is a weight, guards in the padding.
    pub fn packed(&mut self, packing: &Packing) -> BufferId {
        let id = self.flat("packed weights", packing.len());
        for oc in 0..packing.out_channels {
            for ic in 0..packing.in_channels {
                for tap in 0..packing.kernel_height * packing.kernel_width {
                    let at = packing.index(oc, ic, tap / packing.kernel_width, tap % packing.kernel_width);
                    self.fill(id, at..at + 1, 1.0);
                }
            }
        }
        id
    }

    pub fn state(&mut self, state: State) -> BufferId {
        let id = self.add("state", Layout::Flat(State::WORDS), Words::Integers);
        let seed = State { seed_low: self.rng.random(), seed_high: self.rng.random(), ..state };
        self.contents[id.0].copy_from_slice(bytemuck::cast_slice(&[seed]));
        id
    }

    /// A state in training step `step`.
    pub fn at_step(&mut self, step: u32) -> BufferId {
        self.state(State { step, ..State::default() })
    }

    pub fn memory(&mut self, memory: Memory) -> BufferId {
        let id = self.flat("memory", MEMORY);
        self.contents[id.0].copy_from_slice(bytemuck::cast_slice(&[memory]));
        id
    }

    fn launch(&mut self, kernel: Kernel, blocks: Range<u32>, bindings: &[BufferId], written: Vec<Written>) {
        let bindings = bindings.to_vec();
        let launch = Launch { kernel, bindings, blocks, jet_components: 1, precision: Precision::F32 };
        self.plan.check(&launch).unwrap_or_else(|fault| panic!("{fault}: {:?}", launch.kernel));
        self.cases.push((format!("{:?}", launch.kernel), written));
        self.plan.programs[0].push(launch);
    }

    /// A launch over [`BLOCKS`], whose outputs are to be written wholly in those.
    pub fn run(&mut self, kernel: impl Into<Kernel>, bindings: &[BufferId]) {
        let kernel = kernel.into();
        let mut written = Vec::new();
        for (id, access) in bindings.iter().zip(kernel.access()) {
            if *access != super::Access::Read {
                let Layout::PerBlock(features) = self.plan.buffers[id.0].layout else {
                    panic!("flat output")
                };
                written.push((*id, vec![self.words_of(features, &BLOCKS)]));
            }
        }
        self.launch(kernel, BLOCKS, bindings, written);
    }

    /// A launch that is not per block, and what it is to write.
    pub fn run_whole(&mut self, kernel: impl Into<Kernel>, bindings: &[BufferId], written: &[Written]) {
        self.launch(kernel.into(), 0..0, bindings, written.to_vec());
    }

    /// Says more of the last launch's case than its kernel does.
    pub fn note(&mut self, what: &str) {
        if let Some((case, _)) = self.cases.last_mut() {
            *case = format!("{what}: {case}");
        }
    }

    async fn executor(&self, device: &Device) -> Executor {
        let mut executor = Executor::new(device, self.plan.clone()).await.unwrap();
        for (i, words) in self.contents.iter().enumerate() {
            executor.write(BufferId(i), 0, words);
        }
        executor
    }

    /// Where the reference's results, in `executor`, have not the words written that they should, or others.
    async fn written(&self, executor: &Executor, failures: &mut Vec<String>) {
        for (case, written) in &self.cases {
            for (id, ranges) in written {
                let words = executor.read(*id).await.unwrap();
                let before = &self.contents[id.0];
                let is_float = self.plan.buffers[id.0].words == Words::Floats;
                let wrong = words.iter().enumerate().position(|(i, word)| {
                    if ranges.iter().any(|r| r.contains(&i)) {
                        *word == GUARD || is_float && !f32::from_bits(*word).is_finite()
                    } else {
                        *word != before[i]
                    }
                });
                if let Some(i) = wrong {
                    let (name, place) = (&self.plan.buffers[id.0].name, Place::of(&self.plan, *id, i));
                    failures.push(format!("{case}: the twin leaves {:#010x} in {name} at {place}", words[i]));
                }
            }
        }
    }

    /// All ways in which a device is not like the twins.
    fn failures(&self, device: &Device) -> Vec<String> {
        pollster::block_on(async {
            let mut executor = self.executor(device).await;
            let report = compare(&mut executor, ProgramId(0)).await.unwrap();
            assert_eq!(report.launches, self.cases.len());
            println!("{device}, {} lanes:\n{report}", self.lanes());
            let mismatches = report.mismatches.iter();
            let mut failures: Vec<String> =
                mismatches.map(|p| format!("{device}: {}: {p}", self.cases[p.launch].0)).collect();
            self.written(&executor, &mut failures).await;
            failures
        })
    }
}

pub(super) fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Holds a kernel's shader and its SIMD bodies against its twin, in all its cases.
pub(super) fn check<K: KernelSpec>(name: &str) {
    let (mut failures, mut n) = (Vec::new(), 0);
    let mut hold = |lanes, for_gpu, share, devices: &[Device]| {
        let mut bench = Bench::new(lanes, for_gpu, share);
        K::cases(&mut bench);
        n += bench.plan.launches().filter(|launch| launch.kernel.name() == name).count();
        if !bench.cases.is_empty() {
            devices.iter().for_each(|device| failures.extend(bench.failures(device)));
        }
    };
    for (i, lanes) in LANES.into_iter().enumerate() {
        hold(lanes, true, (i, LANES.len()), &[gpu().clone()]);
    }
    let sets: Vec<_> =
        Isa::available().into_iter().filter(|isa| *isa != Isa::Reference).map(Device::Cpu).collect();
    for (i, lanes) in [8].into_iter().chain(LANES).enumerate() {
        // All cases in the widths that plans for the CPU have; a third of them in the others.
        hold(lanes, false, if lanes <= 16 { (0, 1) } else { (i % 3, LANES.len()) }, &sets);
    }
    assert!(n > 0, "{name} has no cases");
    assert_none(&failures);
}
