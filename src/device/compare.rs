//! The debug mode: a program launch by launch on a device and on the reference, side by side, and where they part.
//!
//! After each launch every buffer that it wrote is held against the reference's, and then replaced by it: each launch
//! begins from the same bits, so errors do not pile up, and one that is found is the launch's own.

use crate::Result;
use crate::cpu::Isa;
use crate::device::{Device, Machine};
use crate::kernels::Kernel;
use crate::plan::{BufferId, Launch, Layout, Plan, ProgramId, Words};
use crate::random::Distribution;
use std::collections::BTreeMap;
use std::fmt;

/// How far a float may be from the reference: `error <= absolute + of_largest * largest + relative * |reference|`, where
/// `largest` is the largest finite magnitude among the elements that the launch changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Whatever the magnitude.
    pub absolute: f64,
    /// Share of the element's own magnitude.
    pub relative: f64,
    /// Share of the largest magnitude.
    pub of_largest: f64,
}

impl Tolerance {
    /// Equal, but for the sign of a zero.
    pub const EXACT: Self = Self { absolute: 0.0, relative: 0.0, of_largest: 0.0 };

    /// Sums of products of two numbers of bfloat16: each is off by 2^-9 at most, and a sum of many by less.
    pub const BF16: Self = Self { absolute: 1e-30, relative: 0.0, of_largest: 1e-2 };

    /// What a kernel's arithmetic may lead to on any device, in floats. A rounding is 6e-8; shaders may fuse or not fuse
    /// multiply and add, divide within 2.5 units in the last place, and take exponentials within 3 + 2|x| of them.
    pub fn of(kernel: &Kernel) -> Self {
        // Devices may take numbers below 1e-38 as 0, and the sigmoid's exponential stops at 1e-35 or is 0.
        let absolute = 1e-30;
        let of_largest = |of_largest| Self { absolute, relative: 0.0, of_largest };
        match kernel {
            // Copies, integers, and uniform numbers, which are exact in 24 bits.
            Kernel::DrawNegatives(k) if k.noise.distribution == Distribution::Normal => of_largest(1e-6),
            Kernel::DrawNegatives(_)
            | Kernel::PushReplay(_)
            | Kernel::PackWeights(_)
            | Kernel::LstmPack(_)
            | Kernel::CountNonFinite(_)
            | Kernel::CheckState(_)
            | Kernel::CopyWords(_)
            | Kernel::Advance(_) => Self::EXACT,
            Kernel::Random(k) if k.distribution != Distribution::Normal => Self::EXACT,
            // Polynomials of a handful of terms of magnitude up to 6, a square root, a division.
            Kernel::Random(_)
            | Kernel::DrawReal(_)
            | Kernel::CopyImages(_)
            | Kernel::Langevin(_)
            | Kernel::MalaPropose(_) => of_largest(1e-6),
            // The same; and an angle of up to 2.3 turns, whose rounding becomes an error of an arc of that length.
            Kernel::DrawToy(_) => of_largest(3e-6),
            // Interpolation, with places of up to 64 pixels.
            Kernel::AugmentStarts(_) => of_largest(2e-5),
            // Polynomials too, and products; a momentum's sign at a wall is a matter of rounding, but next to no step ends
            // that near to one. Sums of squares over an image; decisions and counts are whole numbers, and so off by
            // much more where they are.
            Kernel::AnnealPropose(_) => of_largest(1e-6),
            Kernel::AnnealAccept(_) => of_largest(1e-5),
            // Decisions and counts, which are whole numbers, and energies, which are copied.
            Kernel::MalaAccept(_) => Self::EXACT,
            // A dot product of n terms is off by sqrt(n) to n roundings of its terms, and its terms are smaller than
            // the largest output: 600 terms give 2e-6 to 4e-5, and in practice the former. The activation adds 2e-6.
            Kernel::ConvForward(_)
            | Kernel::ConvInputGradient(_)
            | Kernel::DenseForward(_)
            | Kernel::DenseInputGradient(_)
            | Kernel::PoolForward(_)
            | Kernel::AnalyticEnergy(_)
            | Kernel::PoolInputGradient(_) => of_largest(1e-5),
            // Dot products too, whose errors go from step to step; a gate's slope is at most 1 on the way, so that they
            // grow with the steps only where the weights make the state itself grow.
            Kernel::LstmForward(_) | Kernel::LstmBackward(_) => of_largest(2e-5),
            // The same for a handful of terms; the last one's factor, an activation's third derivative, is a difference
            // of terms larger than itself.
            Kernel::ActivationJet(_) | Kernel::ActivationJetBackward(_) | Kernel::ActivationSecond(_) => {
                of_largest(1e-5)
            }
            // A product; a sum.
            Kernel::ChainRule(_) | Kernel::AddValues(_) => of_largest(2e-7),
            // One rounding or two, an exponential; the residual is a sum of squares over an image.
            Kernel::Perturb(_) | Kernel::JetStart(_) | Kernel::ScoreDirection(_) | Kernel::KlDirection(_) => {
                of_largest(1e-5)
            }
            // A few Langevin steps of the whole network, each of which multiplies what went wrong before by its step
            // size and the energy's curvature. x itself is of magnitude 1.
            Kernel::Chain(_) => of_largest(1e-4),
            // The same over all pixels of a chunk's images, some 10,000 terms of both signs that the reference adds up
            // one by one.
            Kernel::ConvWeightGradient(_)
            | Kernel::DenseWeightGradient(_)
            | Kernel::LstmWeightGradient(_) => of_largest(5e-5),
            // The same sums in the same order.
            Kernel::ReducePartials(_) => of_largest(1e-7),
            // Two roundings; the terms may cancel.
            Kernel::WeightPenalty(_) | Kernel::AverageWeights(_) => {
                Self { absolute, relative: 3e-7, of_largest: 3e-7 }
            }
            // Dot products over a layer's rows, or columns.
            Kernel::SpectralInput(_) | Kernel::SpectralOutput(_) => of_largest(1e-5),
            // Means in single precision by a tree of 8 levels, against double precision. The difference of two means
            // has the error of the means, whose magnitude the table's largest is well above.
            Kernel::ContrastiveLoss(_) | Kernel::ScoreLoss(_) | Kernel::Smoothness(_) => {
                Self { absolute, relative: 2e-6, of_largest: 2e-7 }
            }
            // 1,024 roundings of numbers that shrink, and a sum of 32 of one sign.
            Kernel::MultiplyAdds(_) => of_largest(1e-4),
            // Sums of squares: no cancellation, 12 roundings in a row, one root, one division.
            Kernel::SumSquares(_)
            | Kernel::SpectralBound(_)
            | Kernel::ClipScale(_)
            | Kernel::AddPenalty(_)
            | Kernel::MeanAcceptance(_) => Self { absolute, relative: 2e-6, of_largest: 0.0 },
            // A mean of squares less the square of a mean, of differences that need not be around 0.
            Kernel::ImageStatistics(_) => of_largest(1e-5),
            // Logarithms, whose argument is as far off as the sums above, and an exponential of up to e^20.
            Kernel::Guard(_) => Self { absolute: 2e-5, relative: 2e-5, of_largest: 0.0 },
            // Four roundings; the moving mean and the parameter may cancel, by less than the largest.
            Kernel::Adam(_) => Self { absolute, relative: 1e-6, of_largest: 3e-7 },
        }
    }
}

/// Where an element lies in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq)]
pub struct Parting {
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

impl fmt::Display for Parting {
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
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KernelErrors {
    /// Launches.
    pub launches: usize,
    /// The largest error, as a share of the largest magnitude in its buffer that its launch changed; infinite where one
    /// side is not a number.
    pub error: f64,
    /// The largest error, as a share of what is allowed; parted above 1.
    pub of_allowed: f64,
}

/// What [`compare`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Launches that were compared.
    pub launches: usize,
    /// The first parting of each launch and buffer that has one.
    pub partings: Vec<Parting>,
    /// The errors of each kernel, by its name.
    pub worst: BTreeMap<&'static str, KernelErrors>,
}

impl Report {
    /// The first place where device and reference part.
    pub fn parted(&self) -> Option<&Parting> {
        self.partings.first()
    }

    /// Takes another program's launches in, as the later ones.
    pub fn add(&mut self, later: Self) {
        self.launches += later.launches;
        self.partings.extend(later.partings);
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
        match self.partings.as_slice() {
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

/// Runs a program on `machine` and, from the same contents of all buffers, on the reference, launch by launch. `machine`
/// ends with the reference's results.
///
/// # Errors
/// [`crate::Error::Device`] if the device was lost, or there is no memory for the reference.
pub async fn compare(machine: &mut Machine, program: ProgramId) -> Result<Report> {
    let plan = Plan::clone(machine.plan());
    let mut reference = Machine::new(&Device::Cpu(Isa::Reference), plan).await?;
    compare_with(machine, &mut reference, program).await
}

/// [`compare`] with a reference of the caller's choice: another device, or a plan with the same buffers whose kernels
/// are known to be right. All contents of `machine` are copied to it first.
///
/// # Errors
/// [`crate::Error::Device`] if a device was lost.
///
/// # Panics
/// If the plans have other buffers, or the programs other numbers of launches.
pub async fn compare_with(
    machine: &mut Machine,
    reference: &mut Machine,
    program: ProgramId,
) -> Result<Report> {
    let plan = reference.plan().clone();
    let launches = &plan.programs[program.0];
    assert!(plan.buffers == machine.plan().buffers, "the plans' buffers differ");
    assert_eq!(launches.len(), machine.plan().programs[program.0].len(), "the programs' lengths differ");
    for buffer in (0..plan.buffers.len()).map(BufferId) {
        reference.write(buffer, 0, &machine.read(buffer).await?);
    }
    let mut report = Report::default();
    for (number, launch) in launches.iter().enumerate() {
        let mut before = Vec::new();
        for buffer in launch.written() {
            before.push(reference.read(buffer).await?);
        }
        reference.run_launch(program, number)?;
        machine.run_launch(program, number)?;
        report.launches += 1;
        report.worst.entry(launch.kernel.name()).or_default().launches += 1;
        for (buffer, before) in launch.written().zip(before) {
            let (value, right) = (machine.read(buffer).await?, reference.read(buffer).await?);
            let tolerance = if machine.is_bf16(program, number) {
                Tolerance::BF16
            } else {
                Tolerance::of(&launch.kernel)
            };
            report.judge(&plan, (number, launch), buffer, tolerance, &value, (&before, &right));
            machine.write(buffer, 0, &right);
        }
    }
    Ok(report)
}

impl Report {
    /// Counts one buffer in that a launch wrote: its words on the device, and the reference's before and after.
    fn judge(
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
            self.partings.push(Parting {
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
