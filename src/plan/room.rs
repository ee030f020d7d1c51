//! Whether a plan fits a device, and what makes it too large.

use super::{BufferId, Layout, Plan};
use crate::Error;

/// What a device has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of one buffer.
    pub buffer: u64,
    /// Bytes of all buffers together, as far as that is known.
    pub total: u64,
}

impl Room {
    /// No limit at all.
    pub const ENDLESS: Self = Self { buffer: u64::MAX, total: u64::MAX };
}

/// What the size of a buffer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// How many images are worked on at a time.
    Images,
    /// The replay ring or the persistent chains.
    Replay,
    /// The data set.
    Data,
    /// The steps of annealed chains.
    Schedule,
    /// The network's size, however many images there are.
    Network,
}

/// Why a plan is too large.
#[derive(Clone, Debug, PartialEq)]
pub struct Excess {
    /// What it comes from.
    pub cause: Cause,
    /// What is too large, by how much.
    pub text: String,
}

const MIB: u64 = 1 << 20;

impl Plan {
    /// What a buffer's size comes from.
    fn cause(&self, buffer: BufferId) -> Cause {
        let spec = &self.buffers[buffer.0];
        if let Layout::PerBlock(_) = spec.layout {
            return Cause::Images;
        }
        let name = spec.name.strip_prefix("snapshot of ").unwrap_or(&spec.name);
        match name {
            "replay ring" => Cause::Replay,
            "chain's scratch" | "partial gradients" => Cause::Images,
            "schedule" => Cause::Schedule,
            name if name.starts_with("data") => Cause::Data,
            name if name.contains(" of share ") => Cause::Images,
            _ => Cause::Network,
        }
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        self.bytes_by_cause().iter().map(|(_, bytes)| bytes).sum()
    }

    fn bytes_by_cause(&self) -> [(Cause, u64); 5] {
        let mut sums = Cause::ALL.map(|cause| (cause, 0));
        for id in (0..self.buffers.len()).map(BufferId) {
            let cause = self.cause(id);
            for sum in sums.iter_mut().filter(|sum| sum.0 == cause) {
                sum.1 += 4 * self.len_of(id) as u64;
            }
        }
        sums
    }

    /// That there is no memory for all buffers, as `reason` says.
    pub(crate) fn lacks_memory(&self, reason: &str) -> Excess {
        let (cause, most) =
            self.bytes_by_cause().into_iter().max_by_key(|sum| sum.1).unwrap_or((Cause::Images, 0));
        let (total, most, what) = (self.bytes().div_ceil(MIB), most.div_ceil(MIB), cause.what());
        Excess {
            cause,
            text: format!("not enough memory: {total} MiB are needed, {most} of them for {what}, {reason}"),
        }
    }

    /// What is beyond a device's room, if anything: the largest buffer before the sum of all buffers.
    pub fn excess(&self, room: &Room) -> Option<Excess> {
        // The first of those: a ring rather than its snapshot.
        let largest = (0..self.buffers.len()).rev().map(BufferId).max_by_key(|id| self.len_of(*id))?;
        let (bytes, name) = (4 * self.len_of(largest) as u64, &self.buffers[largest.0].name);
        if bytes > room.buffer {
            let (takes, most) = (bytes.div_ceil(MIB), room.buffer / MIB);
            let text = format!(
                "too small for buffer `{name}`, which takes {takes} MiB; a buffer has {most} MiB at most"
            );
            return Some(Excess { cause: self.cause(largest), text });
        }
        let free = room.total / MIB;
        (self.bytes() > room.total).then(|| self.lacks_memory(&format!("and {free} are free")))
    }
}

impl Excess {
    /// The error that says so, of a device, with what to do.
    pub fn error(&self, device: &str, advice: &str) -> Error {
        Error::Memory(format!("{device}: {}. {advice}, or another device", self.text))
    }
}

impl Cause {
    const ALL: [Self; 5] = [Self::Images, Self::Replay, Self::Data, Self::Schedule, Self::Network];

    fn what(self) -> &'static str {
        match self {
            Self::Images => "the images that are worked on at a time",
            Self::Replay => "the replay ring",
            Self::Data => "the data set",
            Self::Schedule => "the steps' schedule",
            Self::Network => "the network's parameters",
        }
    }

    /// What to change.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Images => "Choose a smaller `train.batch`",
            Self::Replay => "Choose a smaller `replay.capacity` (with `objective = \"pcd\"`, `pcd.chains`)",
            Self::Data => "Train on fewer or smaller examples",
            Self::Schedule => "Choose fewer steps",
            Self::Network => "Choose a network with fewer parameters",
        }
    }
}
