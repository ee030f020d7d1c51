//! Runs plans on the processor: every kernel by its twin, the hot ones by SIMD bodies, on all cores.
//!
//! Blocks of images do not look at each other, so a stretch of per-block launches (a whole chain, say) is handed to the
//! threads block by block: each block goes through all launches of the stretch while it is in its thread's cache.
//! Results do not depend on the number of threads.

mod activation;
mod bf16;
mod lstm;
mod memory;
mod parallel;
mod simd;
mod simd_kernels;
#[cfg(test)]
mod testing;
mod weight_gradient;
mod weight_gradient_split;
mod winograd;

use crate::kernels::{Binding, Kernel};
use crate::plan::{BufferId, BufferSpec, Launch, Layout, Plan, Precision, ProgramId};
use crate::{Error, Result};
use bf16::Bf16Conv;
pub use memory::room;
use weight_gradient_split::{SliceTask, WeightSlice};
use winograd::Winograd;

use rayon::prelude::*;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

/// An instruction set that bodies are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// The twins themselves, one launch after the other: what everything else is held against.
    Reference,
    /// Plain floats: SSE2 on x86-64, NEON on aarch64.
    Plain,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512F, -DQ and -VL; half registers for blocks of eight images.
    Avx512,
    /// The same, but that convolutions of Langevin chains multiply numbers of eight bits of mantissa (bfloat16), and add
    /// them up as floats, in blocks of sixteen images; AVX512-BF16 and -BW. Not exact to a float's rounding as all others
    /// are, and so taken only where it is asked for.
    Bf16,
}

impl Isa {
    /// Those that this processor has and that are exact to rounding, slowest first.
    pub fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut, reason = "sets of x86-64 are added"))]
        let mut sets = vec![Self::Reference, Self::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(Self::Avx2);
            }
            let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
            if has && is_x86_feature_detected!("avx512vl") {
                sets.push(Self::Avx512);
            }
        }
        sets
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => {
                let has = is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw");
                has && Self::Avx512.is_available()
            }
            isa => Self::available().contains(&isa),
        }
    }

    /// Floats of its registers.
    pub fn width(self) -> usize {
        match self {
            Self::Reference | Self::Plain => 4,
            Self::Avx2 => 8,
            Self::Avx512 | Self::Bf16 => 16,
        }
    }

    /// The fastest of [`Self::available`].
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Plain)
    }

    fn missing(self) -> Error {
        let set = if self == Self::Bf16 { "AVX512-BF16".to_owned() } else { self.to_string() };
        let available: Vec<_> = Self::available().into_iter().skip(1).map(|isa| isa.to_string()).collect();
        Error::Device(format!("this processor has no {set}, but {}", available.join(", ")))
    }
}

impl std::str::FromStr for Isa {
    type Err = Error;

    /// `reference`, `plain`, `avx2`, `avx512` or `bf16`.
    fn from_str(name: &str) -> Result<Self> {
        let isa = match name {
            "reference" => Self::Reference,
            "plain" => Self::Plain,
            "avx2" => Self::Avx2,
            "avx512" => Self::Avx512,
            "bf16" => Self::Bf16,
            _ => {
                let text =
                    format!("no instruction set is called `{name}`: plain, avx2, avx512, bf16, or reference");
                return Err(Error::Device(text));
            }
        };
        isa.is_available().then_some(isa).ok_or_else(|| isa.missing())
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reference => "reference",
            Self::Plain if cfg!(target_arch = "aarch64") => "NEON",
            Self::Plain if cfg!(target_arch = "x86_64") => "SSE2",
            Self::Plain => "plain",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
            Self::Bf16 => "AVX-512, chains in bf16",
        })
    }
}

/// Images of a block that fills the widest register, for what does not run on blocks.
const WIDEST: u32 = 16;

/// Defines a function that enters `$body` with the instruction set of `isa`, on blocks of `lanes` images.
macro_rules! by_isa {
    ($name:ident ( $($argument:ident : $type:ty),* ), $body:ident, $reference:expr) => {
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "registers of one width"))]
        fn $name(isa: Isa, lanes: u32, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $type),*) {
                simd_kernels::$body::<simd::Wide<simd::Eight<false>, 2>>($($argument),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn half_avx2($($argument: $type),*) {
                simd_kernels::$body::<simd::Eight<false>>($($argument),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
            fn avx512($($argument: $type),*) {
                simd_kernels::$body::<simd::Sixteen<false>>($($argument),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
            fn half_avx512($($argument: $type),*) {
                simd_kernels::$body::<simd::Eight<true>>($($argument),*);
            }
            match isa {
                Isa::Reference => $reference,
                Isa::Plain if lanes.is_multiple_of(16) => simd_kernels::$body::<simd::Base<4>>($($argument),*),
                Isa::Plain => simd_kernels::$body::<simd::Base<2>>($($argument),*),
                // SAFETY: this processor has AVX2 and FMA: `Executor::new` and `peak_gflops`, from which all calls come, go on only
                // with an `isa` that `Isa::is_available`.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 if lanes.is_multiple_of(16) => unsafe { avx2($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { half_avx2($($argument),*) },
                // SAFETY: as above, for AVX-512F, -VL and -DQ, without which `Isa::Bf16` is not available either.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Bf16 if lanes.is_multiple_of(16) => unsafe { avx512($($argument),*) },
                // A register must not be wider than a block.
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Bf16 => unsafe { half_avx512($($argument),*) },
                #[cfg(not(target_arch = "x86_64"))]
                _ => unreachable!("sets of x86-64"),
            }
        }
    };
}

by_isa!(run_block(kernel: &Kernel, index: u32, bindings: &mut [Binding]), run_block, kernel.run(index, bindings));
by_isa!(
    run_winograd(winograd: &Winograd, weights: &[f32], kernel: &Kernel, bindings: &mut [Binding]),
    run_winograd,
    panic!("the reference adds up taps")
);
by_isa!(
    run_part(kernel: &Kernel, first: usize, bindings: &mut [Binding]),
    run_part,
    kernel.run_part(first, bindings)
);
by_isa!(
    weight_slice(kernel: &Kernel, slice: WeightSlice, input: &[f32], g: &[f32]),
    weight_slice,
    panic!("the reference runs whole kernels")
);

by_isa!(
    multiply_adds(turns: usize, result: &mut f32),
    multiply_adds,
    panic!("the reference is not to be measured")
);

/// Defines a function that enters `$body` with [`Isa::Bf16`].
macro_rules! with_bf16 {
    ($name:ident ( $($argument:ident : $type:ty),* ), $body:path) => {
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "it has no pairs"))]
        fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma")]
                fn bf16($($argument: $type),*) {
                    $body($($argument),*);
                }
                // SAFETY: this processor has AVX512-BF16 and -BW, and what they need: an `Executor` has pairs only with `Isa::Bf16`,
                // and `Executor::new`, `peak_gflops` and `bf16_rate` go on only if that is available.
                unsafe { bf16($($argument),*) }
            }
            #[cfg(not(target_arch = "x86_64"))]
            unreachable!("a set of x86-64");
        }
    };
}

with_bf16!(
    run_bf16(pairs: &Bf16Conv, weights: &[f32], kernel: &Kernel, bindings: &mut [Binding]),
    Bf16Conv::run_block::<simd::Sixteen<true>>
);
with_bf16!(multiply_bf16(turns: usize, result: &mut f32), simd_kernels::multiply_adds::<simd::Sixteen<true>>);

/// GFLOP/s (2 a multiply-add) that all threads reach together with `isa` on registers alone: what the bodies could reach at
/// best. In single precision, but for [`Isa::Bf16`]. Takes about `seconds`.
///
/// # Panics
/// If this processor has no `isa`.
pub fn peak_gflops(isa: Isa, seconds: f64) -> f64 {
    assert!(isa.is_available(), "{}", isa.missing());
    let isa = isa.max(Isa::Plain);
    let products = if isa == Isa::Bf16 { 2 } else { 1 } * isa.width();
    let n_threads = rayon::current_num_threads() as f64;
    let mut turns = 1000;
    loop {
        let start = std::time::Instant::now();
        rayon::broadcast(|_| {
            let mut result = 0.0;
            match isa {
                Isa::Bf16 => multiply_bf16(turns, &mut result),
                isa => multiply_adds(isa, WIDEST, turns, &mut result),
            }
            std::hint::black_box(result);
        });
        let took = start.elapsed().as_secs_f64();
        if took >= seconds {
            return 2.0 * (products * simd_kernels::CHAINS) as f64 * turns as f64 * n_threads / took * 1e-9;
        }
        turns = ((turns as f64 * (1.2 * seconds / took.max(1e-9)).clamp(2.0, 100.0)) as usize).max(turns + 1);
    }
}

/// Multiply-adds that this processor's units for bfloat16 do while those for floats do one, on registers: what
/// [`Isa::Bf16`] can be worth here at best. 2 on AMD's Zen 4, 0.5 on some of Intel's. None where there are no such units.
/// Takes some 20 ms of one thread.
pub fn bf16_rate() -> Option<f64> {
    /// Takes some 0.1 ms: hardly any is interrupted.
    const TURNS: usize = 20_000;
    if !Isa::Bf16.is_available() {
        return None;
    }
    let time = |pairs: bool| {
        let start = std::time::Instant::now();
        let mut result = 0.0;
        match pairs {
            true => multiply_bf16(TURNS, &mut result),
            false => multiply_adds(Isa::Avx512, WIDEST, TURNS, &mut result),
        }
        std::hint::black_box(result);
        start.elapsed().as_secs_f64()
    };
    // In turns, the best of each, as other processes come and go.
    let best = |[floats, pairs]: [f64; 2], _| [floats.min(time(false)), pairs.min(time(true))];
    let [floats, pairs] = (0..100).fold([f64::INFINITY; 2], best);
    Some(2.0 * floats / pairs)
}

/// Explains what [`bf16_rate`] means for [`Isa::Bf16`].
pub fn describe_bf16(rate: f64) -> String {
    let verdict = match rate {
        rate if rate >= 1.25 => "chains are faster with it",
        rate if rate > 0.9 => "it gains little",
        _ => "f32 is faster",
    };
    format!("its units do {rate:.1} times the multiply-adds of f32 here: {verdict}")
}

/// A cache line, so that registers never straddle two.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
struct Line([u32; 16]);

thread_local! {
    /// Memory for what a layer makes of its input, kept from one layer to the next.
    static SCRATCH: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// A plan with its buffers, ready to run.
#[derive(Debug)]
pub struct Executor {
    plan: Arc<Plan>,
    isa: Isa,
    buffers: Vec<Vec<Line>>,
    /// For each precision ([`precision_index`]) and each buffer of packed weights, the form that launches take them in if it is another.
    transformed: [Vec<Option<Transformed>>; 2],
}

/// Packed weights in another form.
#[derive(Debug)]
struct Transformed {
    form: WeightForm,
    weights: Vec<f32>,
    /// Whether the packed weights have been written since.
    stale: bool,
}

#[derive(Debug)]
enum WeightForm {
    /// At the points of [`Winograd`].
    Winograd(Winograd),
    /// In [`Bf16Conv`].
    Bf16(Bf16Conv),
}

impl Transformed {
    /// Of a launch's weights, where multiplying at points is faster.
    fn winograd(launch: &Launch) -> Option<Self> {
        let winograd = match &launch.kernel {
            Kernel::ConvForward(k) => Winograd::forward(k)?,
            Kernel::ConvInputGradient(k) => Winograd::input_gradient(k)?,
            _ => return None,
        };
        winograd.pays().then(|| Self::new(WeightForm::Winograd(winograd)))
    }

    /// Of a launch's weights, in a chain of bfloat16.
    fn bf16(launch: &Launch) -> Option<Self> {
        Bf16Conv::new(&launch.kernel).map(|pairs| Self::new(WeightForm::Bf16(pairs)))
    }

    fn new(form: WeightForm) -> Self {
        Self { form, weights: Vec::new(), stale: true }
    }

    /// Makes it anew of packed weights, if they were written.
    fn update(&mut self, packed: &[f32]) {
        if std::mem::replace(&mut self.stale, false) {
            match &self.form {
                WeightForm::Winograd(winograd) => winograd.transform_weights(packed, &mut self.weights),
                WeightForm::Bf16(pairs) => pairs.pair_weights(packed, &mut self.weights),
            }
        }
    }

    /// Runs one block of a launch with it.
    fn run_block(&self, isa: Isa, lanes: u32, kernel: &Kernel, bindings: &mut [Binding]) {
        match &self.form {
            WeightForm::Winograd(winograd) => {
                run_winograd(isa, lanes, winograd, &self.weights, kernel, bindings)
            }
            WeightForm::Bf16(pairs) => run_bf16(pairs, &self.weights, kernel, bindings),
        }
    }
}

impl Executor {
    /// Makes the buffers, all zero.
    ///
    /// # Errors
    /// [`Error::Device`] if this processor has no `isa`; [`Error::Memory`] if memory is short.
    pub fn new(plan: Arc<Plan>, isa: Isa) -> Result<Self> {
        if !isa.is_available() {
            return Err(isa.missing());
        }
        // Pages of zeros come from the system untouched, and more of them than there are: a buffer costs memory when it is first
        // written, and then it would be too late to say that there is none.
        if let Some(excess) = plan.excess(&room()) {
            return Err(excess.error(&format!("CPU ({isa})"), excess.cause.advice()));
        }
        let buffer = |(i, spec): (usize, &BufferSpec)| {
            let len = plan.len_of(BufferId(i));
            bytemuck::try_zeroed_vec(len.div_ceil(16)).map_err(|()| {
                let lack = plan.lacks_memory(&format!("and there are none for `{}`", spec.name));
                lack.error(&format!("CPU ({isa})"), lack.cause.advice())
            })
        };
        let buffers: Result<_> = plan.buffers.iter().enumerate().map(buffer).collect();
        let mut transformed = [0; 2].map(|_| plan.buffers.iter().map(|_| None).collect::<Vec<_>>());
        let mut is_known = [0; 2].map(|_| vec![isa == Isa::Reference; plan.buffers.len()]);
        for launch in plan.launches() {
            if let Some(BufferId(weights)) = packed_weights(launch) {
                let form = precision_index(isa, launch);
                if !std::mem::replace(&mut is_known[form][weights], true) {
                    let pairs = if form == 1 { Transformed::bf16(launch) } else { None };
                    transformed[form][weights] = pairs.or_else(|| Transformed::winograd(launch));
                }
            }
        }
        Ok(Self { buffers: buffers?, transformed, plan, isa })
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// A buffer's words.
    pub fn words(&self, buffer: BufferId) -> &[u32] {
        &bytemuck::cast_slice(&self.buffers[buffer.0])[..self.plan.len_of(buffer)]
    }

    /// A buffer's words, to be written.
    pub fn words_mut(&mut self, buffer: BufferId) -> &mut [u32] {
        let len = self.plan.len_of(buffer);
        self.is_written(buffer);
        &mut bytemuck::cast_slice_mut(&mut self.buffers[buffer.0])[..len]
    }

    /// Runs a program.
    pub fn run(&mut self, program: ProgramId) {
        let plan = self.plan.clone();
        let mut launches = plan.programs[program.0].as_slice();
        // From inside the pool: a thread outside would hand every stretch of launches over, and wait for it asleep.
        rayon::scope(|_| {
            while let Some(launch) = launches.first() {
                let n = if launch.kernel.is_per_block() {
                    launches.iter().take_while(|l| l.kernel.is_per_block()).count()
                } else if self.takes_pieces(&launch.kernel) {
                    weight_gradient_split::n_independent(launches)
                } else {
                    parallel::n_independent(launches)
                };
                self.run_launches(&launches[..n]);
                launches = &launches[n..];
            }
        });
    }

    /// Runs a program's launches one by one, and says how long each took, in seconds.
    pub fn time_launches(&mut self, program: ProgramId) -> Vec<f64> {
        let n_launches = self.plan.programs[program.0].len();
        let time = |launch| {
            let start = Instant::now();
            self.run_launch(program, launch);
            start.elapsed().as_secs_f64()
        };
        rayon::scope(|_| (0..n_launches).map(time).collect())
    }

    /// Runs launch number `launch` of a program alone.
    pub fn run_launch(&mut self, program: ProgramId, launch: usize) {
        let plan = self.plan.clone();
        let launches = &plan.programs[program.0][launch..=launch];
        self.run_launches(launches);
    }

    /// Whether launch number `launch` of a program is a layer by bfloat16: see [`Isa::Bf16`].
    pub fn is_bf16(&self, program: ProgramId, launch: usize) -> bool {
        let launch = &self.plan.programs[program.0][launch];
        precision_index(self.isa, launch) == 1 && Transformed::bf16(launch).is_some()
    }

    /// Runs launches that are all per block, or independent.
    fn run_launches(&mut self, launches: &[Launch]) {
        if launches[0].kernel.is_per_block() {
            self.run_blocks(launches);
        } else if self.takes_pieces(&launches[0].kernel) {
            self.run_weight_gradients(launches);
        } else {
            self.run_whole(launches);
        }
        for buffer in launches.iter().flat_map(Launch::written) {
            self.is_written(buffer);
        }
    }

    /// What was made of a buffer's words is made anew when it is next needed.
    fn is_written(&mut self, buffer: BufferId) {
        for transformed in self.transformed.iter_mut().filter_map(|forms| forms[buffer.0].as_mut()) {
            transformed.stale = true;
        }
    }

    /// Brings the weights that launches take up to date.
    fn transform_weights(&mut self, launches: &[Launch]) {
        for launch in launches {
            if let Some(weights) = packed_weights(launch)
                && let Some(transformed) = &mut self.transformed[precision_index(self.isa, launch)][weights.0]
            {
                transformed.update(bytemuck::cast_slice(&self.buffers[weights.0]));
            }
        }
    }

    /// Whether a kernel's work is cut into pieces.
    fn takes_pieces(&self, kernel: &Kernel) -> bool {
        self.isa != Isa::Reference && weight_gradient_split::is_weight_gradient(kernel)
    }

    /// Runs per-block launches, all of them for one block before the next.
    fn run_blocks(&mut self, launches: &[Launch]) {
        self.transform_weights(launches);
        let (plan, isa) = (&self.plan, self.isa);
        let transformed = &self.transformed;
        // For each block, its part of every per-block buffer; shared buffers on the side.
        let mut blocks: Vec<Vec<&mut [u32]>> = Vec::new();
        blocks.resize_with(plan.n_blocks as usize, Vec::new);
        let mut shared: Vec<&[u32]> = Vec::new();
        for (i, lines) in self.buffers.iter_mut().enumerate() {
            let words: &mut [u32] = bytemuck::cast_slice_mut(lines);
            match plan.buffers[i].layout {
                Layout::PerBlock(features) => {
                    for (block, part) in blocks.iter_mut().zip(words.chunks_mut(plan.block_len(features))) {
                        block.push(part);
                    }
                    shared.push(&[]);
                }
                Layout::Flat(len) => {
                    blocks.iter_mut().for_each(|block| block.push(&mut []));
                    shared.push(&words[..len]);
                }
            }
        }
        let run = |(number, block): (usize, &mut Vec<_>)| {
            run_one_block((plan, isa, transformed), launches, number, block, &shared)
        };
        if isa == Isa::Reference {
            blocks.iter_mut().enumerate().for_each(run);
        } else {
            blocks.par_iter_mut().enumerate().with_max_len(1).for_each(run);
        }
    }

    /// Runs launches that are not per block, and independent.
    fn run_whole(&mut self, launches: &[Launch]) {
        let plan = &self.plan;
        let words = |(i, lines)| {
            let words: &mut [u32] = bytemuck::cast_slice_mut(lines);
            &mut words[..plan.len_of(BufferId(i))]
        };
        let mut bindings =
            parallel::bind(launches, self.buffers.iter_mut().map(Vec::as_mut_slice).enumerate().map(words));
        parallel::run(self.isa, launches, &mut bindings);
    }

    /// Runs weight gradients that are independent.
    fn run_weight_gradients(&mut self, launches: &[Launch]) {
        let (plan, isa, lanes) = (&self.plan, self.isa, self.plan.lanes);
        let buffers = self.buffers.iter_mut().enumerate();
        let buffers =
            buffers.map(|(i, lines)| &mut bytemuck::cast_slice_mut(lines)[..plan.len_of(BufferId(i))]);
        let run = |SliceTask { kernel, part, input, g }| weight_slice(isa, lanes, kernel, part, input, g);
        // One after the other to whichever thread is free, the longest first.
        weight_gradient_split::cut(launches, buffers.collect(), lanes as usize)
            .into_iter()
            .par_bridge()
            .for_each(run);
    }
}

/// Which of a machine's forms of packed weights a launch takes: 0 for single precision, 1 for bfloat16.
fn precision_index(isa: Isa, launch: &Launch) -> usize {
    (isa == Isa::Bf16 && launch.precision == Precision::Bf16).into()
}

/// The buffer of a launch's packed weights.
fn packed_weights(launch: &Launch) -> Option<BufferId> {
    launch.kernel.packed_weights().map(|binding| launch.bindings[binding])
}

/// One component's part of a block; the whole of a buffer that is shared.
fn component_of<'b>(binding: &'b mut Binding, component: usize, jet_components: usize) -> Binding<'b> {
    match binding {
        Binding::Read(words) => Binding::Read(words),
        Binding::Write(words) => {
            let len = words.len() / jet_components;
            Binding::Write(&mut words[component * len..][..len])
        }
    }
}

/// Takes one block through all launches.
fn run_one_block<'a>(
    (plan, isa, transformed): (&Plan, Isa, &[Vec<Option<Transformed>>; 2]),
    launches: &[Launch],
    number: usize,
    block: &mut [&'a mut [u32]],
    shared: &[&'a [u32]],
) {
    let number = number as u32;
    for launch in launches.iter().filter(|l| l.blocks.contains(&number)) {
        let mut bindings: Vec<Binding<'a>> = Vec::with_capacity(launch.bindings.len());
        for (i, &id) in launch.bindings.iter().enumerate() {
            bindings.push(match plan.buffers[id.0].layout {
                Layout::Flat(_) => Binding::Read(shared[id.0]),
                Layout::PerBlock(_) if launch.is_placeholder(i) => Binding::Read(&[]),
                Layout::PerBlock(_) => Binding::Write(std::mem::take(&mut block[id.0])),
            });
        }
        let index = number - launch.blocks.start;
        let transformed = packed_weights(launch)
            .and_then(|weights| transformed[precision_index(isa, launch)][weights.0].as_ref());
        let run = |bindings: &mut [Binding]| match transformed {
            Some(transformed) => transformed.run_block(isa, plan.lanes, &launch.kernel, bindings),
            None => run_block(isa, plan.lanes, &launch.kernel, index, bindings),
        };
        if launch.jet_components == 1 {
            run(&mut bindings);
        } else {
            for component in 0..launch.jet_components as usize {
                let part = |binding| component_of(binding, component, launch.jet_components as usize);
                let mut parts: Vec<Binding> = bindings.iter_mut().map(part).collect();
                run(&mut parts);
            }
        }
        for (&id, binding) in launch.bindings.iter().zip(bindings) {
            if let Binding::Write(words) = binding {
                block[id.0] = words;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code for instructions that a processor lacks is undefined behaviour: it is refused before.
    #[test]
    fn the_peak_of_a_missing_instruction_set_is_refused() {
        for isa in [Isa::Avx2, Isa::Avx512, Isa::Bf16].into_iter().filter(|isa| !isa.is_available()) {
            assert!(std::panic::catch_unwind(|| peak_gflops(isa, 0.0)).is_err(), "{isa}");
        }
    }
}
