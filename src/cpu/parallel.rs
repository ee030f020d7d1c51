//! Launches that are not per block, on all cores: kernels that fall into parts ([`Kernel::parts`]), each of which is the
//! twin again, compiled with the instruction set.

use super::{Isa, WIDEST, run_part};
use crate::kernels::{Access, Binding, Kernel};
use crate::plan::{BufferId, Launch};

use rayon::prelude::*;

/// What a part of a launch costs ([`crate::kernels::Parts::cost`]): some 4 us, so that cores end at about the same time.
const PART: usize = 32 << 10;
/// What launches together have to cost to be handed to other threads, which take 10 us and more to come: some 30 us.
const WORTH_THREADS: usize = 256 << 10;

/// How many of the first launches may run at the same time: they fall into parts, and none binds what another writes.
/// At least 1.
pub(super) fn n_independent(launches: &[Launch]) -> usize {
    let fits = |n: &usize| {
        let (before, launch) = (&launches[..*n], &launches[*n]);
        let apart = |one: &Launch, other: &Launch| !one.bindings.iter().any(|id| writes(other, *id));
        launch.kernel.parts().is_some() && before.iter().all(|b| apart(b, launch) && apart(launch, b))
    };
    let parts = launches.first().is_some_and(|launch| launch.kernel.parts().is_some());
    if parts { 1 + (1..launches.len()).take_while(fits).count() } else { 1 }
}

fn writes(launch: &Launch, buffer: BufferId) -> bool {
    launch.bindings.iter().zip(launch.kernel.access()).any(|(id, a)| *id == buffer && *a != Access::Read)
}

/// The bindings of each launch; only one of the launches binds what it writes.
pub(super) fn bind<'b>(
    launches: &[Launch],
    buffers: impl Iterator<Item = &'b mut [u32]>,
) -> Vec<Vec<Binding<'b>>> {
    let (mut written, mut read) = (Vec::new(), Vec::new());
    for (i, words) in buffers.enumerate() {
        if launches.iter().any(|launch| writes(launch, BufferId(i))) {
            written.push(Some(words));
            read.push(&[][..]);
        } else {
            written.push(None);
            read.push(&*words);
        }
    }
    let bindings = |launch: &Launch| {
        let binding = |(id, access): (&BufferId, &Access)| match access {
            Access::Read => Binding::Read(read[id.0]),
            Access::Write | Access::ReadWrite | Access::Scratch => {
                let words = written[id.0].take();
                Binding::Write(
                    words.unwrap_or_else(|| panic!("{} binds a buffer twice", launch.kernel.name())),
                )
            }
        };
        launch.bindings.iter().zip(launch.kernel.access()).map(binding).collect()
    };
    launches.iter().map(bindings).collect()
}

/// Runs launches that are independent.
pub(super) fn run(isa: Isa, launches: &[Launch], bindings: &mut [Vec<Binding>]) {
    let mut pieces: Vec<(&Kernel, usize, Vec<Binding>)> = Vec::new();
    let mut cost = 0;
    for (Launch { kernel, .. }, bindings) in launches.iter().zip(bindings) {
        let Some(parts) = kernel.parts().filter(|_| isa != Isa::Reference) else {
            kernel.run(0, bindings);
            continue;
        };
        cost += parts.items * parts.cost;
        let cut = parts.cut(PART / parts.cost.max(1), bindings);
        pieces.extend(cut.into_iter().map(|(first, bindings)| (kernel, first, bindings)));
    }
    let run = |(kernel, first, mut bindings): (&Kernel, usize, Vec<Binding>)| {
        run_part(isa, WIDEST, kernel, first, &mut bindings);
    };
    if cost < WORTH_THREADS {
        pieces.into_iter().for_each(run);
    } else {
        pieces.into_par_iter().with_max_len(1).for_each(run);
    }
}
