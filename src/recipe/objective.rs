//! Training objectives: the choice, and each one with the settings that it uses.

use super::table::choices;
use super::{Directions, Recipe, ScoreTarget, Square};
use crate::kernels::draw_pool::Pool;

choices! {
    /// Training objective.
    Objective {
        /// Contrastive divergence; chains start from a replay buffer of earlier chains.
        Replay = "replay",
        /// Contrastive divergence; chains restart from noise, or from the data, at every step.
        Cd = "cd",
        /// Contrastive divergence; chains persist over training.
        Pcd = "pcd",
        /// Contrastive divergence with persistent annealed chains, at all noise levels, beside denoising.
        AnnealedCd = "annealed-cd",
        /// Score matching: fits the gradient of log p without chains (Hyvarinen 2005).
        ScoreMatching = "score-matching",
        /// Score matching along random directions; cheaper for inputs of many values.
        SlicedScoreMatching = "sliced-score-matching",
        /// Denoising at one or many noise levels, without chains.
        DenoisingScoreMatching = "denoising-score-matching",
        /// Energies of data against those of noised data, without chains (Schroeder et al. 2023).
        EnergyDiscrepancy = "energy-discrepancy",
        /// Noise-contrastive estimation: tells data from a Gaussian, for normalized energies (Gutmann and Hyvarinen 2010).
        Nce = "nce",
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
        /// Weight of the loss.
        weight: f32,
    },
}

/// An objective that tells data images from noise of a known law: see [`crate::kernels::discrepancy_loss`] and
/// [`crate::kernels::nce_loss`] for the formulas and their sources.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoiseObjective {
    /// Energy discrepancy.
    Discrepancy {
        /// Negatives of each image.
        negatives: u32,
        /// Standard deviation of each of the two noises of a negative.
        noise: f32,
        /// Weight of the stabilising constant.
        weight: f32,
    },
    /// Noise-contrastive estimation.
    Contrastive {
        /// Negatives for each image, draws of a Gaussian fitted to the data.
        negatives: u32,
        /// Factor of that Gaussian's standard deviations.
        scale: f32,
    },
}

impl NoiseObjective {
    /// Negatives of each image.
    pub fn negatives(&self) -> u32 {
        let (Self::Discrepancy { negatives, .. } | Self::Contrastive { negatives, .. }) = *self;
        negatives
    }

    /// Whether the loss depends on the level of the energies, and so trains the bias of the last layer.
    pub fn sees_levels(&self) -> bool {
        matches!(self, Self::Contrastive { .. })
    }
}

impl Objective {
    /// Whether training runs chains. The other objectives fit the score, or tell data from noise.
    pub fn has_chains(self) -> bool {
        matches!(self, Self::Replay | Self::Cd | Self::Pcd | Self::AnnealedCd)
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

    /// Whether training denoises: alone, or beside contrastive divergence.
    pub fn denoises(&self) -> bool {
        match self.objective {
            Objective::DenoisingScoreMatching => true,
            Objective::AnnealedCd => self.loss.denoising > 0.0,
            _ => false,
        }
    }

    /// The pool of annealed chains, if training has one.
    pub fn pool(&self) -> Option<Pool> {
        let (pool, batch) = (&self.pool, self.train.batch);
        let long_batch = (pool.long_share * batch as f64).round() as usize;
        (self.objective == Objective::AnnealedCd).then(|| Pool {
            chains: pool.chains as u32,
            long: pool.long as u32,
            batch: batch as u32,
            long_batch: long_batch.min(pool.long) as u32,
            restart: pool.restart as f32,
            last_level: pool.levels as u32,
        })
    }

    /// The first training step with contrastive divergence, and the first one in which chains move: some steps before, so
    /// that most chains have come to the last level by then.
    pub fn contrast_begins(&self, total_steps: u64) -> (u64, u64) {
        let first = (self.loss.contrastive_from * total_steps as f64).round() as u64;
        let visits = self.pool.levels.div_ceil(self.chain.steps);
        let lead = (6 * visits * self.pool.chains).div_ceil(5 * self.train.batch) as u64;
        (first, first.saturating_sub(lead))
    }

    /// The part of the loss that fits the score, with its settings; `None` if there is none.
    pub fn score_objective(&self) -> Option<ScoreObjective> {
        let s = &self.score;
        Some(match self.objective {
            Objective::Replay
            | Objective::Cd
            | Objective::Pcd
            | Objective::EnergyDiscrepancy
            | Objective::Nce => {
                return None;
            }
            Objective::AnnealedCd if !self.denoises() => return None,
            Objective::ScoreMatching => ScoreObjective::Matching { probes: s.probes },
            Objective::SlicedScoreMatching => {
                ScoreObjective::Sliced { probes: s.probes, directions: s.directions, square: s.square }
            }
            Objective::DenoisingScoreMatching | Objective::AnnealedCd => ScoreObjective::Denoising {
                sigma: s.sigma as f32,
                sigma_max: s.sigma_max as f32,
                levels: s.levels as u32,
                target: s.target,
                from_noise: s.from_noise as f32,
                weight: if self.objective == Objective::AnnealedCd {
                    self.loss.denoising as f32
                } else {
                    1.0
                },
            },
        })
    }

    /// The noise that data images are told from, with its settings; `None` for other objectives.
    pub fn noise_objective(&self) -> Option<NoiseObjective> {
        let (discrepancy, nce) = (&self.discrepancy, &self.nce);
        Some(match self.objective {
            Objective::EnergyDiscrepancy => NoiseObjective::Discrepancy {
                negatives: discrepancy.negatives as u32,
                noise: discrepancy.noise as f32,
                weight: discrepancy.weight as f32,
            },
            Objective::Nce => {
                NoiseObjective::Contrastive { negatives: nce.negatives as u32, scale: nce.scale as f32 }
            }
            _ => return None,
        })
    }

    /// Images that chains start from and end in: slots, and how many are filled at the start of training.
    pub fn replay_slots(&self) -> (usize, usize) {
        match self.objective {
            Objective::Replay => (self.replay.capacity, self.replay.initial),
            Objective::Pcd => (self.pcd.chains, self.pcd.chains),
            Objective::Cd => (self.train.batch, self.train.batch),
            Objective::AnnealedCd => (self.pool.chains, self.pool.chains),
            _ => (1, 1),
        }
    }
}
