//! What the guard tells: why training was halted, and what was done about it.

use crate::kernels::guard::{Memory, Reason};
use crate::kernels::{State, guard};
use crate::random::{Stream, counter, philox};
use crate::recipe::Recipe;
use std::fmt;

/// Divergence or collapse, found on the device in the step in which it came up. Nothing of that step was kept, and nothing
/// of those submitted after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Halt {
    /// The step, counted from 1 as in `metrics.csv`. Of [`Reason::Stored`], the last step before it was found.
    pub step: u64,
    /// Why.
    pub reason: Reason,
    /// The figure that is too large or too small; what it is depends on the reason.
    pub value: f32,
    /// What it is held against.
    pub usual: f32,
    /// `guard.collapse_steps`.
    pub in_a_row: u64,
    pub(super) state: State,
    pub(super) memory: Memory,
}

impl Halt {
    /// From words read from the device: a [`State`] and a [`Memory`]. `None` while training goes on.
    pub(super) fn of(words: &[u32], in_a_row: u64) -> Option<Self> {
        let (state, memory) = (State::of(words), Memory::of(&words[State::WORDS..][..guard::MEMORY]));
        let reason = Reason::of(state.halted)?;
        let step = u64::from(state.step) + u64::from(reason != Reason::Stored);
        Some(Self { step, reason, value: memory.value, usual: memory.usual, in_a_row, state, memory })
    }

    /// What to change in a run that this came up in, again and again.
    pub fn advice(&self, config: &Recipe) -> String {
        let rate = config.adam.learning_rate;
        match self.reason {
            Reason::Images | Reason::Stored => {
                "Look for numbers that are not finite in the data; if there are none, the device computes wrongly: \
                 `thalweg compare` shows where"
                    .to_owned()
            }
            Reason::Energies | Reason::Gradient | Reason::EnergyRange | Reason::GradientRange => format!(
                "Begin anew with a lower `adam.learning_rate` (it was {rate:e}), a clip of the gradient \
                 (`adam.gradient_norm_clip=1`), a `schedule.warm_up`, or more `loss.energy_l2`"
            ),
            Reason::Alike | Reason::Saturated => format!(
                "Begin anew with a lower `adam.learning_rate` (it was {rate:e}), more noise in the chains \
                 (`chain.noise`, `chain.temperature`), more of them fresh (`replay.fresh`, `pcd.fresh`), or a smaller \
                 `chain.step_size`"
            ),
            Reason::Flat => format!(
                "Begin anew with a lower `adam.learning_rate` (it was {rate:e}), less `loss.energy_l2`, or another \
                 number of Langevin steps (`chain.steps`)"
            ),
        }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, value, usual, in_a_row, .. } = *self;
        let of_usual = value / usual;
        write!(f, "step {step}: ")?;
        match self.reason {
            Reason::Images => write!(f, "of the images that it began with, {value} numbers are not finite"),
            Reason::Energies if value > 0.0 => write!(f, "{value} energies are not finite"),
            Reason::Energies => write!(f, "the loss is not finite"),
            Reason::Gradient => write!(f, "the gradient is not finite"),
            Reason::EnergyRange => {
                write!(
                    f,
                    "the energies are spread over {value:.3e}, {of_usual:.0} times their usual {usual:.3e}"
                )
            }
            Reason::GradientRange => {
                write!(f, "the gradient's norm is {value:.3e}, {of_usual:.0} times its usual {usual:.3e}")
            }
            Reason::Alike => write!(
                f,
                "the chains have been all alike for {in_a_row} steps (variance {value:.2e}, the real images' {usual:.2e})"
            ),
            Reason::Saturated => write!(
                f,
                "the chains have been saturated for {in_a_row} steps ({:.3} % of their values lie inside the bounds, of \
                 the real images' {:.3} %)",
                100.0 * value,
                100.0 * usual
            ),
            Reason::Flat => write!(
                f,
                "E fake - E real has been about zero for {in_a_row} steps ({value:.1e}, of late up to {usual:.1e})"
            ),
            Reason::Stored => {
                write!(
                    f,
                    "of the parameters, Adam's moments and the chains' buffer, {value} numbers are not finite"
                )
            }
        }
    }
}

/// How training went back to a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollback {
    /// Why.
    pub halt: Halt,
    /// Training steps done in the snapshot.
    pub to: u64,
    /// How many times that makes, of those that are not forgiven.
    pub number: u64,
    /// `guard.tries`, or 0 where training is to stop at once.
    pub tries: u64,
    /// The learning rate from here on, but for its schedule.
    pub learning_rate: f64,
}

impl Rollback {
    /// Whether training is to go on from the snapshot.
    pub fn goes_on(&self) -> bool {
        self.number <= self.tries
    }
}

impl fmt::Display for Rollback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { halt, to, number, tries, learning_rate } = self;
        write!(
            f,
            "At {halt}. Back to step {to}, with other random numbers and a learning rate of {learning_rate:e}"
        )?;
        if self.goes_on() { write!(f, " (try {number} of {tries})") } else { Ok(()) }
    }
}

/// The seed of a run's random numbers after its `retries`th return to a snapshot.
pub(super) fn retry_seed(seed: u64, retries: u32) -> [u32; 2] {
    let words = philox(counter(Stream::Retries, 0, 0, 0, retries), [seed as u32, (seed >> 32) as u32]);
    [words[0], words[1]]
}
