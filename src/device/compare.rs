//! The debug mode: a program launch by launch on a device and on the reference, side by side, and where they part.
//!
//! After each launch every buffer that it wrote is held against the reference's, and then replaced by it: each launch
//! begins from the same bits, so errors do not pile up, and one that is found is the launch's own.

use crate::Result;
use crate::cpu::Isa;
use crate::device::{Device, Executor};
pub use crate::kernels::Tolerance;
use crate::plan::{BufferId, Launch, Layout, Plan, ProgramId, Words};
use std::collections::BTreeMap;
use std::fmt;

/// Where an element lies in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Place {
    /// In a buffer of blocks.
    Block {
        /// The block.
        block: usize,
        /// The feature.
        feature: usize,
        /// The lane.
        lane: usize,
    },
    /// In any other, counted in words.
    Flat(usize),
}

impl Place {
    /// Of word `index` of a buffer.
    pub fn of(plan: &Plan, buffer: BufferId, index: usize) -> Self {
        let lanes = plan.lanes as usize;
        match plan.buffers[buffer.0].layout {
            Layout::PerBlock(features) => Self::Block {
                block: index / lanes / features,
                feature: index / lanes % features,
                lane: index % lanes,
            },
            Layout::Flat(_) => Self::Flat(index),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block { block, feature, lane } => {
                write!(f, "block {block}, feature {feature}, lane {lane}")
            }
            Self::Flat(index) => write!(f, "element {index}"),
        }
    }
}

/// An element that is further from the reference's than its kernel's [`Tolerance`] allows: the first of its launch.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Mismatch {
    /// The launch's number in its program.
    pub launch: usize,
    /// Its kernel.
    pub kernel: &'static str,
    /// The blocks that it runs over.
    pub blocks: std::ops::Range<u32>,
    /// The names of the buffers that it binds, in order.
    pub bindings: Vec<String>,
    /// The name of the buffer that holds the element.
    pub buffer: String,
    /// The element.
    pub place: Place,
    /// Its value on the device, in words.
    pub value: u32,
    /// Its value by the reference, in words.
    pub reference: u32,
    /// What the words are.
    pub words: Words,
    /// Elements of the buffer that are too far off.
    pub count: usize,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "launch {}, {}", self.launch, self.kernel)?;
        if !self.blocks.is_empty() {
            write!(f, " over blocks {:?}", self.blocks)?;
        }
        write!(f, " (buffers: {}): {} at {}: ", self.bindings.join(", "), self.buffer, self.place)?;
        match self.words {
            Words::Floats => {
                write!(f, "{:e}, not {:e}", f32::from_bits(self.value), f32::from_bits(self.reference))?;
            }
            Words::Integers => write!(f, "{}, not {}", self.value, self.reference)?,
        }
        write!(f, "; {} of the buffer's elements are too far off", self.count)
    }
}

/// What became of all launches of one kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct KernelErrors {
    /// Launches.
    pub launches: usize,
    /// The largest error, as a share of the largest magnitude in its buffer that its launch changed; infinite where one
    /// side is not a number.
    pub error: f64,
    /// The largest error, as a share of what is allowed; above 1 is a mismatch.
    pub of_allowed: f64,
}

/// What [`compare`] found.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Report {
    /// Launches that were compared.
    pub launches: usize,
    /// The first mismatch of each launch and buffer that has one; `partings` in JSON.
    #[serde(rename = "partings")]
    pub mismatches: Vec<Mismatch>,
    /// The errors of each kernel, by its name.
    pub worst: BTreeMap<&'static str, KernelErrors>,
}

impl Report {
    /// The first mismatch between device and reference.
    pub fn first_mismatch(&self) -> Option<&Mismatch> {
        self.mismatches.first()
    }

    /// Takes another program's launches in, as the later ones.
    pub fn add(&mut self, later: Self) {
        self.launches += later.launches;
        self.mismatches.extend(later.mismatches);
        for (kernel, errors) in later.worst {
            let all = self.worst.entry(kernel).or_default();
            all.launches += errors.launches;
            all.error = all.error.max(errors.error);
            all.of_allowed = all.of_allowed.max(errors.of_allowed);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<22} {:>8} {:>14} {:>12}", "kernel", "launches", "largest error", "of allowed")?;
        for (kernel, KernelErrors { launches, error, of_allowed }) in &self.worst {
            let share =
                if *of_allowed == 0.0 { "exact".to_owned() } else { format!("{:.1} %", 100.0 * of_allowed) };
            writeln!(f, "{kernel:<22} {launches:>8} {error:>14.1e} {share:>12}")?;
        }
        match self.mismatches.as_slice() {
            [] => write!(f, "No parting in {} launches.", self.launches),
            [first, others @ ..] => {
                write!(f, "Parted: {first}.")?;
                if !others.is_empty() {
                    write!(f, "\n{} more buffers part in later launches.", others.len())?;
                }
                Ok(())
            }
        }
    }
}

/// Runs a program on `executor` and, from the same contents of all buffers, on the reference, launch by launch. `executor`
/// ends with the reference's results.
///
/// # Errors
/// [`crate::Error::Device`] if the device was lost, or there is no memory for the reference.
pub async fn compare(executor: &mut Executor, program: ProgramId) -> Result<Report> {
    let plan = Plan::clone(executor.plan());
    let mut reference = Executor::new(&Device::Cpu(Isa::Reference), plan).await?;
    compare_with(executor, &mut reference, program).await
}

/// [`compare`] with a reference of the caller's choice: another device, or a plan with the same buffers whose kernels
/// are known to be right. All contents of `executor` are copied to it first.
///
/// # Errors
/// [`crate::Error::Device`] if a device was lost.
///
/// # Panics
/// If the plans have other buffers, or the programs other numbers of launches.
pub async fn compare_with(
    executor: &mut Executor,
    reference: &mut Executor,
    program: ProgramId,
) -> Result<Report> {
    let plan = reference.plan().clone();
    let launches = &plan.programs[program.0];
    assert!(plan.buffers == executor.plan().buffers, "the plans' buffers differ");
    assert_eq!(launches.len(), executor.plan().programs[program.0].len(), "the programs' lengths differ");
    for buffer in (0..plan.buffers.len()).map(BufferId) {
        reference.write(buffer, 0, &executor.read(buffer).await?);
    }
    let mut report = Report::default();
    for (number, launch) in launches.iter().enumerate() {
        let mut before = Vec::new();
        for buffer in launch.written() {
            before.push(reference.read(buffer).await?);
        }
        reference.run_launch(program, number)?;
        executor.run_launch(program, number)?;
        report.launches += 1;
        report.worst.entry(launch.kernel.name()).or_default().launches += 1;
        for (buffer, before) in launch.written().zip(before) {
            let (value, right) = (executor.read(buffer).await?, reference.read(buffer).await?);
            let tolerance =
                if executor.is_bf16(program, number) { Tolerance::BF16 } else { launch.kernel.tolerance() };
            report.compare_buffer(&plan, (number, launch), buffer, tolerance, &value, (&before, &right));
            executor.write(buffer, 0, &right);
        }
    }
    Ok(report)
}

impl Report {
    /// Counts one buffer in that a launch wrote: its words on the device, and the reference's before and after.
    fn compare_buffer(
        &mut self,
        plan: &Plan,
        (number, launch): (usize, &Launch),
        buffer: BufferId,
        tolerance: Tolerance,
        value: &[u32],
        (before, reference): (&[u32], &[u32]),
    ) {
        let spec = &plan.buffers[buffer.0];
        let found = differences(spec.words, tolerance, value, before, reference);
        let worst = self.worst.entry(launch.kernel.name()).or_default();
        worst.error = worst.error.max(found.error);
        worst.of_allowed = worst.of_allowed.max(found.of_allowed);
        if let Some(index) = found.first {
            self.mismatches.push(Mismatch {
                launch: number,
                kernel: launch.kernel.name(),
                blocks: launch.blocks.clone(),
                bindings: launch.bindings.iter().map(|id| plan.buffers[id.0].name.clone()).collect(),
                buffer: spec.name.clone(),
                place: Place::of(plan, buffer, index),
                value: value[index],
                reference: reference[index],
                words: spec.words,
                count: found.count,
            });
        }
    }
}

/// What [`differences`] found in one buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Differences {
    /// The first element that is too far off.
    pub first: Option<usize>,
    /// How many are.
    pub count: usize,
    /// As in [`KernelErrors`].
    pub error: f64,
    /// As in [`KernelErrors`].
    pub of_allowed: f64,
}

/// Compares a buffer's words with the reference's. `before` is what both held before the launch: it tells which
/// elements the reference changed, and with them the magnitude that errors are a share of.
///
/// Equal bits are equal, NaN too: an element that neither side writes may hold anything. A NaN or an infinity on one
/// side only is an infinite error. Integers have to be equal.
///
/// # Panics
/// If the lengths differ.
pub fn differences(
    words: Words,
    tolerance: Tolerance,
    value: &[u32],
    before: &[u32],
    reference: &[u32],
) -> Differences {
    assert!(value.len() == reference.len() && before.len() == reference.len());
    let float = |word: &u32| f64::from(f32::from_bits(*word));
    let magnitude = |changed_only: bool| {
        let elements = reference.iter().zip(before).filter(|(r, b)| !changed_only || r != b);
        elements.map(|(r, _)| float(r).abs()).filter(|m| m.is_finite()).fold(0.0, f64::max)
    };
    let largest = match words {
        Words::Integers => 1.0,
        // A launch that writes what was there already changes nothing.
        Words::Floats => match magnitude(true) {
            0.0 => magnitude(false),
            largest => largest,
        },
    };
    let mut found = Differences::default();
    for (i, (v, r)) in value.iter().zip(reference).enumerate() {
        if v == r {
            continue;
        }
        let (error, allowed) = match words {
            Words::Integers => (1.0, 0.0),
            Words::Floats => {
                let error = (float(v) - float(r)).abs();
                let error = if error.is_nan() { f64::INFINITY } else { error };
                let own = if float(r).is_finite() { float(r).abs() } else { 0.0 };
                (error, tolerance.absolute + tolerance.of_largest * largest + tolerance.relative * own)
            }
        };
        if error == 0.0 {
            continue; // +0 and -0
        }
        found.error = found.error.max(error / largest.max(f64::MIN_POSITIVE));
        found.of_allowed = found.of_allowed.max(error / allowed);
        let ok = error <= allowed;
        if !ok {
            found.first.get_or_insert(i);
            found.count += 1;
        }
    }
    found
}
