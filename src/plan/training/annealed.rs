//! The training steps of `annealed-cd`.

use super::{Launch, Phase, Training, TrainingPlan};
use std::ops::Range;

/// Plans the training steps of `annealed-cd`, which has up to three phases. Each draws data images and denoises them; the later
/// ones move chains of the pool; the last one compares these with data images at their levels.
pub(super) fn annealed_plan(training: Training) -> TrainingPlan {
    let (contrast, walk) = training.recipe.contrast_begins(training.recipe.total_steps(training.n_images));
    let mut phases = vec![(0, Phase::Denoise), (walk, Phase::Walk), (contrast, Phase::Contrast)];
    // Of phases that begin at the same step, the last one counts.
    phases =
        (0..3).filter(|i| phases[i + 1..].iter().all(|p| p.0 > phases[*i].0)).map(|i| phases[i]).collect();
    let mut update = Vec::new();
    let steps = phases.into_iter().map(|(first, phase)| {
        let mut step = Vec::new();
        let n_sampling = training.sample_annealed(&mut step, phase);
        let n_partials = training.annealed_gradient(&mut step, phase);
        training.reduce(&mut step, n_partials);
        training.clip(&mut step);
        training.check_step(&mut step, phase == Phase::Contrast);
        training.keep_annealed(&mut step, phase);
        training.optimize(&mut step);
        update = step[n_sampling..].to_vec();
        (first, step)
    });
    let steps = steps.collect();
    training.finish(steps, update)
}

impl Training<'_> {
    /// Where a phase of `annealed-cd` denoises: beside the pairs of data images and chains, if there are some.
    fn denoised(&self, phase: Phase) -> Range<u32> {
        let first = if phase == Phase::Contrast { 2 * self.half_blocks } else { 0 };
        first..first + self.half_blocks
    }

    /// Draws the images of a step of `annealed-cd`, and moves its chains. Returns the number of launches before the network's
    /// passes that the loss needs.
    fn sample_annealed(&self, step: &mut Vec<Launch>, phase: Phase) -> usize {
        let Some(annealed) = &self.annealed else { return 0 };
        let (pass, state) = (&self.pass, self.state);
        self.draw_data(step);
        if phase == Phase::Contrast && self.score.is_some() {
            self.copy(step, self.denoised(phase).start, 0.0);
        }
        if phase != Phase::Denoise {
            annealed.draw(step, pass, (state, self.replay), &self.negatives());
        }
        self.count_non_finite(step);
        if let Some(score) = &self.score {
            score.draw(step, pass, state, &self.denoised(phase));
        }
        if phase != Phase::Denoise {
            self.run_chains(step);
        }
        if phase == Phase::Contrast {
            annealed.blur(step, pass, state, &self.positives());
        }
        step.len()
    }

    /// Computes loss and parameter gradient of a step of `annealed-cd`. Returns how many partial sums there are.
    fn annealed_gradient(&self, step: &mut Vec<Launch>, phase: Phase) -> u32 {
        let mut n_partials = 0;
        if let Some(score) = &self.score {
            n_partials = self.score_gradient(score, step, &self.denoised(phase));
        }
        if let (Phase::Contrast, Some(annealed)) = (phase, &self.annealed) {
            let pairs = 0..2 * self.half_blocks;
            let with = (&self.recipe.loss, self.n_images, self.score.is_some());
            annealed.loss(step, &self.pass, (self.state, self.metrics), with, &pairs);
            n_partials = self.gradient(step, &pairs, n_partials);
        }
        n_partials
    }

    /// Puts the chains of a step of `annealed-cd` back into the pool.
    fn keep_annealed(&self, step: &mut Vec<Launch>, phase: Phase) {
        if let (Phase::Walk | Phase::Contrast, Some(annealed)) = (phase, &self.annealed) {
            annealed.push(step, &self.pass, (self.state, self.replay), self.half_blocks);
        }
    }
}
