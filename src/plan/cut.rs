//! Cuts what takes a device long at once, for a desktop to stay responsive and a driver's watchdog to stay away.

use super::{DISPATCH_FLOP, Launch, Target};
use crate::kernels::Kernel;
use crate::kernels::conv_weight_gradient::Chunks;
use crate::network::{ConvShape, DenseShape, LstmCell};

/// Floating-point operations of one submission, about, at most: some drivers have the desktop wait for a whole one.
pub const SUBMISSION_FLOP: usize = 100_000_000_000;

fn conv(s: &ConvShape) -> usize {
    2 * s.out_height * s.out_width * s.kernel_height * s.kernel_width * s.in_channels * s.out_channels
}

fn dense(s: &DenseShape) -> usize {
    2 * s.in_len() * s.units
}

fn lstm(cell: &LstmCell, steps: usize) -> usize {
    8 * steps * cell.hidden * (cell.in_channels + cell.hidden)
}

/// Floating-point operations of an image (in a [`super::JetPass`], a component) in one launch, about: 0 for those that do a
/// few to each value.
fn flop_of_image(kernel: &Kernel) -> usize {
    match kernel {
        Kernel::ConvForward(k) => conv(&k.shape),
        Kernel::ConvInputGradient(k) => conv(&k.shape),
        Kernel::ConvWeightGradient(k) => conv(&k.shape),
        Kernel::DenseForward(k) => dense(&k.shape),
        Kernel::DenseInputGradient(k) => dense(&k.shape),
        Kernel::DenseWeightGradient(k) => dense(&k.shape),
        Kernel::LstmForward(k) => lstm(&k.cell, k.n_steps),
        Kernel::LstmBackward(k) => lstm(&k.cell, k.n_steps),
        Kernel::LstmWeightGradient(k) => lstm(&k.cell, k.cell.steps),
        Kernel::Chain(k) => {
            let layers = k.layers.iter();
            2 * k.n_steps as usize * layers.map(|layer| conv(&layer.shape)).sum::<usize>()
        }
        _ => 0,
    }
}

/// How the blocks of a weight gradient are split, to be changed.
fn chunks(kernel: &mut Kernel) -> Option<&mut Chunks> {
    match kernel {
        Kernel::ConvWeightGradient(k) => Some(&mut k.chunks),
        Kernel::DenseWeightGradient(k) => Some(&mut k.chunks),
        Kernel::LstmWeightGradient(k) => Some(&mut k.chunks),
        _ => None,
    }
}

impl Launch {
    /// Floating-point operations, about: of convolutions, dense layers and LSTMs.
    pub fn flop(&self, lanes: u32) -> usize {
        let images = match &self.kernel {
            Kernel::Chain(k) => k.n_images as usize,
            kernel => {
                let chunks = chunks(&mut kernel.clone()).map(|chunks| chunks.n_blocks);
                chunks.unwrap_or(self.blocks.len() as u32 * self.jet_components) as usize * lanes as usize
            }
        };
        images * flop_of_image(&self.kernel)
    }

    /// Launches that together do the same, to the bit, of at most `flop` each, so far as whole blocks of images, or chunks of
    /// them, allow: itself where it is no larger. A [`Kernel::Chain`] is cut as it is planned
    /// ([`super::Target::dispatch_flop`]).
    pub fn cut(&self, lanes: u32, flop: usize) -> Vec<Self> {
        let (whole, mut kernel) = (self.flop(lanes), self.kernel.clone());
        if whole <= flop || matches!(kernel, Kernel::Chain(_)) {
            return vec![self.clone()];
        }
        // As even as can be: so many pieces, of whole units.
        let at_once = |units: u32| units.div_ceil(units.min(whole.div_ceil(flop.max(1)) as u32));
        if let Some(all) = chunks(&mut kernel).map(|chunks| *chunks) {
            let n = at_once(all.count());
            let piece = |first: u32| {
                let mut kernel = self.kernel.clone();
                let first_block = first * all.chunk_blocks;
                if let Some(chunks) = chunks(&mut kernel) {
                    *chunks = Chunks {
                        first_block: all.first_block + first_block,
                        n_blocks: (n * all.chunk_blocks).min(all.n_blocks - first_block),
                        chunk_blocks: all.chunk_blocks,
                        first_chunk: all.first_chunk + first,
                    };
                }
                Self { kernel, ..self.clone() }
            };
            return (0..all.count()).step_by(n as usize).map(piece).collect();
        }
        let n = at_once(self.blocks.len() as u32);
        let piece = |first: u32| Self { blocks: first..self.blocks.end.min(first + n), ..self.clone() };
        self.blocks.clone().step_by(n as usize).map(piece).collect()
    }
}

/// Images and Langevin steps of a dispatch of the fused chain, so that it does [`Target::dispatch_flop`] at most: as many
/// steps as that allows with all images, else one step of whole blocks of images, as many of them in each dispatch.
pub(super) fn fused_share(n_images: u32, flop: usize, most_steps: u32, target: &Target) -> (u32, u32) {
    let lanes = target.lanes as usize;
    let (n_images, image_steps) = (n_images as usize, (target.dispatch_flop / flop.max(1)).max(1));
    let most_images = image_steps.min(MOST_WORKGROUPS);
    let images = if most_images >= n_images {
        n_images
    } else {
        let at_once = (most_images / lanes * lanes).max(lanes);
        n_images.div_ceil(n_images.div_ceil(at_once)).next_multiple_of(lanes)
    };
    let steps = u32::try_from(image_steps / images.max(1)).unwrap_or(u32::MAX);
    (images as u32, steps.clamp(1, most_steps.max(1)))
}

/// Workgroups of a dispatch that every adapter takes, in each dimension.
const MOST_WORKGROUPS: usize = 65_535;

const _: () = assert!(DISPATCH_FLOP <= SUBMISSION_FLOP);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ChainConfig, ExampleStorage, Plan, TrainingData, sampler_plan, training_plan};
    use crate::recipe::Recipe;
    use crate::recipe::presets::{PRESETS, preset};
    use std::collections::BTreeSet;

    fn plans() -> Vec<Plan> {
        let mut plans = Vec::new();
        for name in PRESETS {
            let network = preset(name).unwrap();
            let chain = ChainConfig { steps: 2, ..Default::default() };
            let mut recipe = Recipe::preset("mnist-small").unwrap();
            (recipe.train.batch, recipe.chain.steps) = (300, 2);
            let data = TrainingData::new(ExampleStorage::Floats, 1000, network.input);
            plans.push(training_plan(&network, &recipe, &data, Target::gpu(300)).plan);
            plans.push(sampler_plan(&network, 1000, &chain, &[1], Target::gpu(1000)).plan);
        }
        plans
    }

    #[test]
    fn launches_of_the_presets_are_whole() {
        for plan in plans() {
            for launch in plan.launches() {
                let whole = launch.flop(plan.lanes) <= DISPATCH_FLOP;
                assert_eq!(launch.cut(plan.lanes, DISPATCH_FLOP).len() == 1, whole);
            }
        }
        let network = preset("mnist-small").unwrap();
        let data = TrainingData::new(ExampleStorage::Bytes, 9, network.input);
        let recipe = Recipe::preset("mnist-small").unwrap();
        let plan = training_plan(&network, &recipe, &data, Target::gpu(128));
        assert!(plan.plan.launches().all(|l| l.cut(64, DISPATCH_FLOP) == [l.clone()]));
    }

    #[test]
    fn parts_cover_a_launch_and_keep_to_the_limit() {
        let (mut kernels, limit) = (BTreeSet::new(), 20_000_000);
        for plan in plans() {
            for launch in plan.launches() {
                let (lanes, parts) = (plan.lanes, launch.cut(plan.lanes, limit));
                if parts.len() == 1 {
                    continue;
                }
                kernels.insert(launch.kernel.name());
                let sum: usize = parts.iter().map(|part| part.flop(lanes)).sum();
                assert_eq!(sum, launch.flop(lanes));
                assert!(
                    parts.iter().all(|part| part.bindings == launch.bindings
                        && part.jet_components == launch.jet_components)
                );
                let of = |launch: &Launch| chunks(&mut launch.kernel.clone()).map(|chunks| *chunks);
                if let Some(all) = of(launch) {
                    let chunks =
                        |all: Chunks| (0..all.count()).map(move |i| (all.first_chunk + i, all.blocks(i)));
                    let together: Vec<_> = parts.iter().filter_map(of).flat_map(chunks).collect();
                    assert_eq!(together, chunks(all).collect::<Vec<_>>());
                } else {
                    let together: Vec<_> = parts.iter().flat_map(|part| part.blocks.clone()).collect();
                    assert_eq!(together, launch.blocks.clone().collect::<Vec<_>>());
                }
                // A unit, a block or a chunk, is not cut.
                let units = |l: &Launch| of(l).map_or(l.blocks.len(), |chunks| chunks.count() as usize);
                let unit = launch.flop(lanes).div_ceil(units(launch));
                assert!(parts.iter().all(|part| part.flop(lanes) <= limit.max(unit) + unit));
            }
        }
        let cut =
            ["conv_forward", "conv_input_gradient", "conv_weight_gradient", "dense_forward", "lstm_forward"];
        assert!(cut.iter().all(|name| kernels.contains(name)), "{kernels:?}");
        assert!(kernels.contains("lstm_backward") && kernels.contains("lstm_weight_gradient"), "{kernels:?}");
    }

    #[test]
    fn a_fused_dispatch_is_cut_by_steps_and_then_by_images() {
        let target = Target { dispatch_flop: 1000, ..Target::gpu(128) }; // 64 lanes
        for (n_images, flop, most_steps, expected) in [
            (128, 1, u32::MAX, (128, 7)), // 1000 image-steps
            (128, 1, 3, (128, 3)),
            (1000, 1, 100, (1000, 1)),
            (1001, 1, 100, (512, 1)), // two of 501, in whole blocks
            (10_000, 5, 100, (192, 1)),
            (100, 20, 100, (64, 1)), // 50 at a time would be no whole block
            (1, 5000, 100, (1, 1)),
            (1, 0, 100, (1, 100)),
        ] {
            assert_eq!(fused_share(n_images, flop, most_steps, &target), expected, "{n_images} of {flop}");
        }
        // No dispatch has more workgroups than every adapter takes.
        let (images, steps) = fused_share(65_536, 1, 1, &Target::gpu(65_536));
        assert!(images as usize <= MOST_WORKGROUPS && images >= 32_768 && steps == 1);
        // 10,000 samples of `image-leaky`: one step of all is 7 s at 100 GFLOP/s, and no dispatch more than 0.4 s.
        let network = preset("image-leaky").unwrap();
        let target = Target { fused_steps: u32::MAX, ..Target::gpu(10_000) };
        let plan = sampler_plan(&network, 10_000, &Default::default(), &[1], target);
        let chain = &plan.plan.programs[plan.chains[0].1.0];
        let sum: usize = chain.iter().map(|launch| launch.flop(64)).sum();
        assert!(chain.len() > 10 && chain.iter().all(|launch| launch.flop(64) <= DISPATCH_FLOP));
        assert_eq!(sum, 10_000 * network.langevin_flop());
    }
}
