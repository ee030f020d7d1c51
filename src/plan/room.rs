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
    /// Workgroups of a launch, in each dimension.
    pub workgroups: u32,
}

impl Room {
    /// No limit at all.
    pub const ENDLESS: Self = Self { buffer: u64::MAX, total: u64::MAX, workgroups: u32::MAX };
}

/// What the size of a buffer or of a launch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// How many images are worked on at a time.
    Images,
    /// The replay ring or the persistent chains.
    Ring,
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
    pub(crate) fn cause(&self, buffer: BufferId) -> Cause {
        let spec = &self.buffers[buffer.0];
        if let Layout::PerBlock(_) = spec.layout {
            return Cause::Images;
        }
        let name = spec.name.strip_prefix("snapshot of ").unwrap_or(&spec.name);
        match name {
            "replay ring" => Cause::Ring,
            "chain's scratch" | "partial gradients" => Cause::Images,
            "schedule" => Cause::Schedule,
            name if name.starts_with("data") => Cause::Data,
            name if name.contains(" of share ") => Cause::Images,
            _ => Cause::Network,
        }
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        (0..self.buffers.len()).map(|i| 4 * self.len_of(BufferId(i)) as u64).sum()
    }

    /// What is beyond a device's room, if anything: the largest buffer before launches, and these before the sum of all
    /// buffers.
    pub fn excess(&self, room: &Room) -> Option<Excess> {
        let largest = (0..self.buffers.len()).map(BufferId).max_by_key(|id| self.len_of(*id))?;
        let (bytes, name) = (4 * self.len_of(largest) as u64, &self.buffers[largest.0].name);
        if bytes > room.buffer {
            let text = format!(
                "buffer `{name}` needs {} MiB, and one buffer holds {} MiB at most",
                bytes.div_ceil(MIB),
                room.buffer / MIB
            );
            return Some(Excess { cause: self.cause(largest), text });
        }
        for launch in self.launches() {
            let groups = launch.kernel.workgroups(&launch.flat_blocks());
            if groups.iter().any(|n| *n > room.workgroups) {
                let kernel = launch.kernel.name();
                let of_images =
                    launch.kernel.is_per_block() || matches!(kernel, "chain" | "push_replay" | "copy_images");
                let cause = if of_images { Cause::Images } else { Cause::Network };
                let most = room.workgroups;
                let text =
                    format!("kernel {kernel} needs {groups:?} workgroups, and it takes {most} a dimension");
                return Some(Excess { cause, text });
            }
        }
        let total = self.bytes();
        (total > room.total).then(|| Excess {
            cause: self.cause(largest),
            text: format!(
                "{} MiB are needed, {} of them for `{name}`, and {} are free",
                total.div_ceil(MIB),
                bytes.div_ceil(MIB),
                room.total / MIB
            ),
        })
    }
}

impl Excess {
    /// The error that says so, of a device, with what to do.
    pub fn error(&self, device: &str, advice: &str) -> Error {
        Error::Memory(format!("{device} is too small: {}. {advice}, or another device", self.text))
    }
}

impl Cause {
    /// What to change.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Images => "Choose a smaller `train.batch`",
            Self::Ring => "Choose a smaller `replay.capacity` (with `objective = \"pcd\"`, `pcd.chains`)",
            Self::Data => "Train on fewer or smaller examples",
            Self::Schedule => "Choose fewer steps",
            Self::Network => "Choose a network with fewer parameters",
        }
    }
}
