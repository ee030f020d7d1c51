//! The state that training keeps on the device.

use crate::kernels::prelude::*;

shader_struct! {
    /// The words of the resident state (`shaders/lib/state.wgsl`).
    #[derive(Default, PartialEq, Eq)]
    State {
        /// Training steps done; for a sampler, 0.
        step: u32,
        /// The replay slot that the next push begins at.
        replay_head: u32,
        /// Replay slots that hold an image.
        replay_length: u32,
        /// Low half of the seed: the generator's key.
        seed_low: u32,
        /// High half of the seed.
        seed_high: u32,
        /// Langevin steps that chains have done before this plan's first; 0 in training.
        chain_base: u32,
        /// How often training went back to a snapshot.
        retries: u32,
        /// Why training was halted ([`super::guard::Reason`]); 0 while it goes on.
        halted: u32,
        /// The number of the plan's first image among all that are drawn: 0 but where [`crate::Sampler`] takes so many images at a
        /// time. Random numbers go by an image's number among all.
        first_image: u32,
    }
}

impl State {
    /// Words on a device.
    pub const WORDS: usize = 9;
    /// Those of them that files hold: the others are 0 in training.
    pub const SAVED: usize = 8;

    /// The generator's key.
    pub fn key(&self) -> [u32; 2] {
        [self.seed_low, self.seed_high]
    }

    /// Reads the bound state, or one from a file.
    pub fn of(words: &[u32]) -> Self {
        let mut all = [0; Self::WORDS];
        let n = words.len().min(Self::WORDS);
        all[..n].copy_from_slice(&words[..n]);
        bytemuck::cast(all)
    }
}
