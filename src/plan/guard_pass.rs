//! The guard of a training step: its checks, and the snapshot that training returns to.

use super::{BufferId, Launch, Layout, NetworkPass, Plan, ProgramId, Words};
use crate::kernels::check_state::CheckState;
use crate::kernels::copy_words::CopyWords;
use crate::kernels::count_non_finite::CountNonFinite;
use crate::kernels::guard::{CheckStep, MEMORY};
use crate::kernels::image_statistics::ImageStatistics;
use crate::recipe;

/// Values within this part of the chains' bound are not saturated.
const INSIDE: f32 = 0.95;

/// The guard's buffers and programs.
#[derive(Clone, Debug)]
pub struct GuardPass {
    config: recipe::Guard,
    /// [`crate::kernels::guard::Memory`].
    pub memory: BufferId,
    /// What a snapshot is of, and where it lies.
    pub snapshot: Vec<(BufferId, BufferId)>,
    /// Halts training where anything that a snapshot is of is not finite.
    pub check: ProgramId,
    /// The same, and takes a snapshot if the guard has had no doubt for long enough.
    pub take_snapshot: ProgramId,
    /// Goes back to the snapshot, and packs the weights.
    pub restore: ProgramId,
    statistics: BufferId,
    image_counts: BufferId,
}

/// What a guard needs to know of the step that it checks.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckedStep {
    pub state: BufferId,
    pub metrics: BufferId,
    pub energies: BufferId,
    pub jet_components: usize,
    pub batch: u32,
    pub n_images: u32,
    pub metric_rows: u32,
    pub half_blocks: u32,
    pub has_negatives: bool,
    /// Largest magnitude of the chains' values; 0 for none.
    pub clamp: f32,
}

impl CheckedStep {
    /// Words of the positive images' blocks and of the negative images'.
    fn words(&self, plan: &Plan, features: usize) -> usize {
        let halves = if self.has_negatives { 2 } else { 1 };
        (halves * self.half_blocks) as usize * plan.block_len(features)
    }
}

impl GuardPass {
    /// Adds the guard's buffers and programs to a plan. A snapshot is of `live` and of the guard's memory; `pack` packs the
    /// weights.
    pub(super) fn new(
        plan: &mut Plan,
        config: &recipe::Guard,
        checked: &CheckedStep,
        features: usize,
        live: &[BufferId],
        pack: Vec<Launch>,
    ) -> Self {
        let memory = plan.flat("guard's memory", MEMORY);
        let mut snapshot = Vec::new();
        for &id in live.iter().chain([&memory]) {
            let spec = plan.buffers[id.0].clone();
            let name = format!("snapshot of {}", spec.name);
            snapshot.push((id, plan.add(name, spec.layout, spec.words)));
        }
        let rows = if checked.has_negatives { features } else { 1 };
        let statistics = plan.flat("image statistics", 4 * rows);
        let image_counts = plan.flat("image counts", CountNonFinite::groups(checked.words(plan, features)));
        let is_float = |id: &&BufferId| plan.buffers[id.0].words == Words::Floats;
        let n_counts = live.iter().filter(is_float).map(|id| CountNonFinite::groups(plan.len_of(*id))).sum();
        let counts = plan.flat("state counts", n_counts);
        let is_kept = plan.flat("keep", 1);
        let mut check = Vec::new();
        let mut first = 0;
        for (live, _) in &snapshot {
            let length = plan.len_of(*live);
            if plan.buffers[live.0].words == Words::Floats && *live != memory {
                let kernel = CountNonFinite { length, first };
                check.push(Launch::whole(kernel, &[*live, counts]));
                first += CountNonFinite::groups(length);
            }
        }
        let kernel = CheckState { n_counts: first, interval: config.snapshot_every as u32 };
        check.push(Launch::whole(kernel, &[checked.state, counts, memory, is_kept]));
        let (mut take_snapshot, mut restore) = (check.clone(), Vec::new());
        for (live, copy) in &snapshot {
            debug_assert!(matches!(plan.buffers[live.0].layout, Layout::Flat(_)));
            let kernel = CopyWords { length: plan.len_of(*live), always: false };
            take_snapshot.push(Launch::whole(kernel.clone(), &[is_kept, *live, *copy]));
            let kernel = CopyWords { always: true, ..kernel };
            restore.push(Launch::whole(kernel, &[is_kept, *copy, *live]));
        }
        restore.extend(pack);
        let [check, take_snapshot, restore] =
            [check, take_snapshot, restore].map(|launches| plan.program(launches));
        Self {
            config: config.clone(),
            memory,
            snapshot,
            check,
            take_snapshot,
            restore,
            statistics,
            image_counts,
        }
    }

    /// Where the snapshot has what lies in `live`.
    ///
    /// # Panics
    /// Panics if a snapshot is not of that buffer.
    pub fn copy_of(&self, live: BufferId) -> BufferId {
        let pair = self.snapshot.iter().find(|pair| pair.0 == live);
        pair.expect("a snapshot is of all that training depends on").1
    }

    /// Counts what is not finite in the images as they were drawn: a clamp may take a NaN for a number later.
    pub(super) fn count_non_finite(
        &self,
        launches: &mut Vec<Launch>,
        plan: &Plan,
        pass: &NetworkPass,
        checked: &CheckedStep,
    ) {
        let length = checked.words(plan, pass.features());
        let kernel = CountNonFinite { length, first: 0 };
        launches.push(Launch::whole(kernel, &[pass.x, self.image_counts]));
    }

    /// Checks a step.
    pub(super) fn check_step(
        &self,
        launches: &mut Vec<Launch>,
        plan: &Plan,
        pass: &NetworkPass,
        checked: &CheckedStep,
    ) {
        let CheckedStep { state, metrics, batch, n_images, metric_rows, has_negatives, .. } = *checked;
        let (lanes, features) = (pass.lanes(), pass.features());
        if has_negatives {
            let bound = INSIDE * checked.clamp;
            let kernel = ImageStatistics { lanes, features, batch, n_images, bound };
            launches.push(Launch::whole(kernel, &[state, pass.x, self.statistics]));
        }
        let or_infinite = |limit: f32| if limit > 0.0 { limit } else { f32::INFINITY };
        let kernel = CheckStep {
            lanes,
            jet_components: checked.jet_components,
            batch,
            n_images,
            metric_rows,
            n_features: if has_negatives { features } else { 1 },
            n_counts: plan.len_of(self.image_counts),
            has_negatives,
            bounded: checked.clamp > 0.0,
            energy_range: or_infinite(self.config.energy_range as f32),
            gradient_range: or_infinite(self.config.gradient_range as f32),
            collapse_steps: self.config.collapse_steps as u32,
        };
        let bindings = [state, metrics, checked.energies, self.statistics, self.image_counts, self.memory];
        launches.push(Launch::whole(kernel, &bindings));
    }
}
