//! Chains that take turns: a plan works on a share of the images at a time, where a device does not hold them all.

use super::{BufferId, Launch, Layout, Plan, ProgramId, Words};
use crate::kernels::copy_words::CopyWords;
use std::ops::Range;

/// Some of the images, and where they are while others have their turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Which of all images.
    pub images: Range<usize>,
    /// Where each live buffer's part is kept, laid out as the live buffer is: where there is one share, the live buffer.
    pub kept: Vec<BufferId>,
    /// Brings them into the live buffers, and keeps what they hold then. None where there is one share.
    pub turn: Option<Turn>,
}

/// The programs around a share's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// From where a share is kept to the live buffers.
    pub load: ProgramId,
    /// And back.
    pub store: ProgramId,
}

/// Adds what it takes for `count` images to go through a plan made for `at_once` of them. `live` are the per-block buffers
/// whose content outlives a turn; `state` is any buffer that is not among them.
pub(super) fn shares(
    plan: &mut Plan,
    count: usize,
    at_once: usize,
    state: BufferId,
    live: &[BufferId],
) -> Vec<Share> {
    if at_once >= count {
        return vec![Share { images: 0..count, kept: live.to_vec(), turn: None }];
    }
    let share = |(number, first): (usize, usize)| {
        let (mut kept, mut load, mut store) = (Vec::new(), Vec::new(), Vec::new());
        for &live in live {
            let (name, length) =
                (format!("{} of share {number}", plan.buffers[live.0].name), plan.len_of(live));
            let own = plan.add(name, Layout::Flat(length), Words::Floats);
            let copy = CopyWords { length, always: true };
            load.push(Launch::whole(copy.clone(), &[state, own, live]));
            store.push(Launch::whole(copy, &[state, live, own]));
            kept.push(own);
        }
        let turn = Turn { load: plan.program(load), store: plan.program(store) };
        Share { images: first..count.min(first + at_once), kept, turn: Some(turn) }
    };
    (0..count).step_by(at_once).enumerate().map(share).collect()
}

/// How many images a share has when each of `count` takes half as many as `at_once`: whole blocks of `lanes`, and shares as
/// even as they can be. None where `at_once` is a single block already.
pub fn fewer_at_once(count: usize, at_once: usize, lanes: u32) -> Option<usize> {
    let (blocks, at_once) = (count.div_ceil(lanes as usize), at_once.div_ceil(lanes as usize));
    if at_once <= 1 {
        return None;
    }
    let n_shares = blocks.div_ceil(at_once) * 2;
    Some(blocks.div_ceil(n_shares).min(at_once - 1) * lanes as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_shrink_to_a_block() {
        for (count, lanes) in [(5_000, 64), (65_536, 16), (17, 16), (100, 8), (1, 8), (16, 16)] {
            let mut at_once = count;
            while let Some(fewer) = fewer_at_once(count, at_once, lanes) {
                assert!(fewer < at_once && fewer >= lanes as usize, "{count} {at_once} {fewer}");
                assert!(fewer.is_multiple_of(lanes as usize));
                let last = count - (count - 1) / fewer * fewer;
                let n_shares = count.div_ceil(fewer);
                assert!(
                    last + lanes as usize * n_shares >= fewer,
                    "the last of {n_shares} has {last} of {fewer}"
                );
                at_once = fewer;
            }
            assert!(at_once <= lanes as usize);
        }
    }
}
