//! Training objectives: the choice, and each one with the settings that it uses.

use super::table::choices;
use super::{Directions, Recipe, ScoreTarget, Square};

choices! {
    /// Training objective.
    Objective {
        /// Contrastive divergence; chains start from a replay buffer of earlier chains.
        Replay = "replay",
        /// Contrastive divergence; chains restart from noise, or from the data, at every step.
        Cd = "cd",
        /// Contrastive divergence; chains persist over training.
        Pcd = "pcd",
        /// Score matching: fits the gradient of log p without chains (Hyvarinen 2005).
        ScoreMatching = "score-matching",
        /// Score matching along random directions; cheaper for inputs of many values.
        SlicedScoreMatching = "sliced-score-matching",
        /// Denoising at one or many noise levels, without chains.
        DenoisingScoreMatching = "denoising-score-matching",
    }

    /// Start of the chains of [`Objective::Cd`].
    CdStart {
        /// Noise.
        Noise = "noise",
        /// The data images of the same step.
        Data = "data",
    }
}

/// Start of a training step's chains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ChainInit {
    /// Images of the replay buffer, drawn with replacement.
    Replay {
        /// Images that the buffer holds.
        slots: usize,
        /// Probability of noise instead.
        reinit_probability: f32,
    },
    /// The persistent chains, each at most once per step.
    Persistent {
        /// Number of chains.
        slots: usize,
        /// Probability of noise instead.
        reinit_probability: f32,
    },
    /// Noise.
    Noise,
    /// The step's data images.
    Data,
}

/// An objective that fits the energy's gradient: see [`crate::kernels::score_loss`] for the formulas and their sources.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScoreObjective {
    /// Score matching: the trace is exact up to [`crate::plan::EXACT_TRACE`] values per image, and Hutchinson's estimate by
    /// random signs above (Hutchinson 1989).
    Matching {
        /// Random directions per image.
        probes: usize,
    },
    /// Sliced score matching.
    Sliced {
        /// Random directions per image.
        probes: usize,
        /// Their distribution.
        directions: Directions,
        /// Part of the squared gradient in the loss.
        square: Square,
    },
    /// Denoising score matching.
    Denoising {
        /// Standard deviation of the noise; the smallest one if there are several.
        sigma: f32,
        /// The largest.
        sigma_max: f32,
        /// Number of standard deviations, in geometric progression.
        levels: u32,
        /// Target of dE/dx.
        target: ScoreTarget,
        /// Share of the image in the velocity target at the highest level, which is pure noise; 0 for no such level.
        from_noise: f32,
    },
}

impl Objective {
    /// Whether training runs chains. The other objectives fit the score.
    pub fn has_chains(self) -> bool {
        matches!(self, Self::Replay | Self::Cd | Self::Pcd)
    }
}

impl Recipe {
    /// Whether training runs chains.
    pub fn has_chains(&self) -> bool {
        self.objective.has_chains()
    }

    /// Start of training's chains; `None` if there are no chains.
    pub fn chain_init(&self) -> Option<ChainInit> {
        Some(match (self.objective, self.cd.start) {
            (Objective::Replay, _) => ChainInit::Replay {
                slots: self.replay.capacity,
                reinit_probability: self.replay.fresh as f32,
            },
            (Objective::Pcd, _) => {
                ChainInit::Persistent { slots: self.pcd.chains, reinit_probability: self.pcd.fresh as f32 }
            }
            (Objective::Cd, CdStart::Noise) => ChainInit::Noise,
            (Objective::Cd, CdStart::Data) => ChainInit::Data,
            _ => return None,
        })
    }

    /// The objective with its settings; `None` if training runs chains.
    pub fn score_objective(&self) -> Option<ScoreObjective> {
        let s = &self.score;
        Some(match self.objective {
            Objective::Replay | Objective::Cd | Objective::Pcd => return None,
            Objective::ScoreMatching => ScoreObjective::Matching { probes: s.probes },
            Objective::SlicedScoreMatching => {
                ScoreObjective::Sliced { probes: s.probes, directions: s.directions, square: s.square }
            }
            Objective::DenoisingScoreMatching => ScoreObjective::Denoising {
                sigma: s.sigma as f32,
                sigma_max: s.sigma_max as f32,
                levels: s.levels as u32,
                target: s.target,
                from_noise: s.from_noise as f32,
            },
        })
    }

    /// Images that chains start from and end in: slots, and how many are filled at the start of training.
    pub fn replay_slots(&self) -> (usize, usize) {
        match self.objective {
            Objective::Replay => (self.replay.capacity, self.replay.initial),
            Objective::Pcd => (self.pcd.chains, self.pcd.chains),
            Objective::Cd => (self.train.batch, self.train.batch),
            _ => (1, 1),
        }
    }
}
