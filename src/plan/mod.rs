//! Plans: what is to be computed, as plain data that either executor runs.
//!
//! A plan names buffers and lists kernel launches. Pure functions build it from a network and a recipe. They fix every size
//! and launch count, so that plans can be tested without a device.

mod annealed_pass;
mod annealing;
mod chain_config;
mod chain_pass;
mod cut;
mod display;
mod guard_pass;
mod inference;
mod jet_pass;
mod lstm_pass;
mod network_pass;
mod noise_pass;
mod room;
mod score_pass;
mod shares;
mod spectral;
mod tangent_pass;
mod training;
mod weighted_pass;

pub use annealed_pass::{AnnealedPass, Phase};
pub use annealing::{AnnealingConfig, AnnealingPlan, annealing_plan};
pub use chain_config::ChainConfig;
pub use cut::SUBMISSION_FLOP;
pub use guard_pass::GuardPass;
pub use inference::{
    EnergyPlan, FeaturesPlan, PeakPlan, SamplerPlan, energy_plan, energy_plan_of, features_plan, peak_plan,
    sampler_plan, sampler_plan_in_shares, sampler_plan_of,
};
pub use jet_pass::JetPass;
pub use network_pass::NetworkPass;
pub use noise_pass::{GaussianBuffers, NoisePass};
pub use room::{Cause, Excess, Room};
pub use shares::{Share, Turn, fewer_at_once};

pub use chain_pass::KnownPass;
pub use score_pass::{Derivatives, EXACT_TRACE, ScorePass};
pub use spectral::SpectralPlan;
pub use tangent_pass::TangentPass;
pub use training::{DataPart, ExampleStorage, METRIC_ROWS, TrainingData, TrainingPlan, training_plan};
pub use weighted_pass::{Term, WeightedPass};

use crate::kernels::chain::Hidden;
use crate::kernels::conv_weight_gradient::Chunks;
use crate::kernels::pack_weights::Tile;
use crate::kernels::{Access, Kernel, Need};
use crate::{Error, Result};
use std::ops::Range;

/// A buffer of a plan, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// How a buffer is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[block][feature][lane]`, this many features.
    PerBlock(usize),
    /// Plain words, this many.
    Flat(usize),
}

/// What a buffer's words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Words {
    /// IEEE single precision.
    Floats,
    /// Integers, or bytes.
    Integers,
}

/// A buffer of a plan. All buffers begin as zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferSpec {
    /// What it holds.
    pub name: String,
    /// How it is laid out.
    pub layout: Layout,
    /// What its words are.
    pub words: Words,
}

/// One kernel launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// What runs.
    pub kernel: Kernel,
    /// Its buffers, in the order of [`Kernel::access`].
    pub bindings: Vec<BufferId>,
    /// The blocks it runs over; empty for kernels that are not per block.
    pub blocks: Range<u32>,
    /// Components in each block of its per-block buffers, `[block][component][feature][lane]`: a per-block kernel does to each
    /// what it would do to a block. 1 but for the linear layers of a [`JetPass`].
    pub jet_components: u32,
    /// What precision its arithmetic needs.
    pub precision: Precision,
}

/// The precision that a launch's arithmetic needs, at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Products of bfloat16, added up in single precision, will do: a chain's noise is larger than their error. Executors
    /// that are not asked for it ([`crate::cpu::Isa::Bf16`]) compute in single precision.
    Bf16,
}

/// A list of launches that run together, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgramId(pub usize);

/// What either executor runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Images in a block.
    pub lanes: u32,
    /// Blocks of per-block buffers.
    pub n_blocks: u32,
    /// The buffers.
    pub buffers: Vec<BufferSpec>,
    /// Lists of launches, in the order of [`ProgramId`].
    pub programs: Vec<Vec<Launch>>,
}

impl Plan {
    /// An empty plan for `n_blocks` blocks of `lanes` images.
    ///
    /// # Panics
    /// If there are no blocks or no lanes.
    pub fn new(lanes: u32, n_blocks: u32) -> Self {
        assert!(lanes > 0 && n_blocks > 0, "a plan has at least one block of one lane");
        Self { lanes, n_blocks, buffers: Vec::new(), programs: Vec::new() }
    }

    /// Adds a buffer of floats `[block][feature][lane]`.
    ///
    /// # Panics
    /// If there are no features.
    pub fn per_block(&mut self, name: impl Into<String>, features: usize) -> BufferId {
        assert!(features > 0, "a per-block buffer has at least one feature");
        self.add(name.into(), Layout::PerBlock(features), Words::Floats)
    }

    /// Adds a buffer of `len` floats.
    pub fn flat(&mut self, name: impl Into<String>, len: usize) -> BufferId {
        self.add(name.into(), Layout::Flat(len), Words::Floats)
    }

    /// Adds a buffer of `len` integers.
    pub fn integers(&mut self, name: impl Into<String>, len: usize) -> BufferId {
        self.add(name.into(), Layout::Flat(len), Words::Integers)
    }

    fn add(&mut self, name: String, layout: Layout, words: Words) -> BufferId {
        self.buffers.push(BufferSpec { name, layout, words });
        BufferId(self.buffers.len() - 1)
    }

    /// Adds a program: launches that run in order, each after those before it.
    ///
    /// # Errors
    /// [`Error::Usage`] if a launch binds what its kernel does not take ([`Self::check`]).
    pub fn add_program(&mut self, launches: Vec<Launch>) -> Result<ProgramId> {
        for launch in &launches {
            self.check(launch).map_err(|fault| Error::Usage(format!("a plan does not fit: {fault}")))?;
        }
        self.programs.push(launches);
        Ok(ProgramId(self.programs.len() - 1))
    }

    /// [`Self::add_program`] of the library's own launches.
    ///
    /// # Panics
    /// If one is wrong.
    fn program(&mut self, launches: Vec<Launch>) -> ProgramId {
        self.add_program(launches).unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// Holds a launch against what its kernel needs ([`Kernel::needs`]): how many buffers, of what kind and length, over
    /// which blocks, and that no buffer is bound twice if that would matter.
    ///
    /// # Errors
    /// What is wrong, with the names of kernel and buffer.
    pub fn check(&self, launch: &Launch) -> std::result::Result<(), String> {
        let Launch { kernel, bindings, blocks, jet_components, .. } = launch;
        let (access, needs) = (kernel.access(), kernel.needs());
        let fault = |text: String| Err(format!("{}: {text}", kernel.name()));
        if bindings.len() != access.len() || needs.len() != access.len() {
            return fault(format!("{} buffers are bound, not {}", bindings.len(), access.len()));
        }
        if let Some(text) = kernel.fault() {
            return fault(text.to_owned());
        }
        let blocks_fit = if kernel.is_per_block() {
            !blocks.is_empty() && blocks.end <= self.n_blocks
        } else {
            blocks.is_empty() && *jet_components == 1
        };
        if !blocks_fit {
            return fault(format!("blocks {blocks:?} of {}, {jet_components} jet_components", self.n_blocks));
        }
        for (i, (id, need)) in bindings.iter().zip(needs).enumerate() {
            let Some(buffer) = self.buffers.get(id.0) else {
                return fault(format!("there is no buffer {}", id.0));
            };
            if self.len_of(*id) == 0 {
                return fault(format!("`{}` has no words", buffer.name));
            }
            let fits = match (need, buffer.layout) {
                (Need::PerBlock(n), Layout::PerBlock(features)) => features == n * *jet_components as usize,
                (Need::Flat(n), Layout::Flat(len)) => len == n,
                (Need::AtLeast(n), Layout::Flat(len)) => len >= n,
                (Need::Words(n), _) => self.len_of(*id) >= n,
                _ => false,
            };
            if !fits {
                return fault(format!("`{}` is {:?}, not {need:?}", buffer.name, buffer.layout));
            }
            let again: Vec<usize> = (0..bindings.len()).filter(|j| *j != i && bindings[*j] == *id).collect();
            let may_repeat = match buffer.layout {
                _ if access[i] != Access::Read => false, // WebGPU
                Layout::Flat(_) => true,
                // Executors hand each block to one binding.
                Layout::PerBlock(_) => {
                    launch.is_placeholder(i) || again.iter().all(|j| launch.is_placeholder(*j))
                }
            };
            if !again.is_empty() && !may_repeat {
                return fault(format!("`{}` is bound twice", buffer.name));
            }
        }
        Ok(())
    }

    /// A buffer's length in words.
    pub fn len_of(&self, buffer: BufferId) -> usize {
        match self.buffers[buffer.0].layout {
            Layout::PerBlock(features) => self.n_blocks as usize * self.block_len(features),
            Layout::Flat(len) => len,
        }
    }

    /// Words of one block with this many features.
    pub fn block_len(&self, features: usize) -> usize {
        features * self.lanes as usize
    }

    /// All launches of all programs.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        self.programs.iter().flatten()
    }

    /// Rearranges images `[image][channel][pixel]` into blocks `[block][pixel][channel][lane]`, empty lanes zero.
    pub fn to_blocks(&self, values: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
        let (lanes, features) = (self.lanes as usize, channels * pixels);
        let n_images = values.len() / features.max(1);
        let mut blocks = vec![0.0; n_images.div_ceil(lanes) * lanes * features];
        for (image, values) in values.chunks_exact(features).enumerate() {
            let block = &mut blocks[image / lanes * lanes * features..];
            for (i, value) in values.iter().enumerate() {
                block[((i % pixels) * channels + i / pixels) * lanes + image % lanes] = *value;
            }
        }
        blocks
    }

    /// The first `n_images` images of blocks `[block][pixel][channel][lane]`, as `[image][channel][pixel]`.
    pub fn from_blocks(&self, blocks: &[f32], n_images: usize, channels: usize, pixels: usize) -> Vec<f32> {
        let (lanes, features) = (self.lanes as usize, channels * pixels);
        let mut values = Vec::with_capacity(n_images * features);
        for image in 0..n_images {
            let block = &blocks[image / lanes * lanes * features..];
            for i in 0..features {
                values.push(block[((i % pixels) * channels + i / pixels) * lanes + image % lanes]);
            }
        }
        values
    }
}

impl Launch {
    /// A launch of a per-block kernel.
    pub fn per_block(kernel: impl Into<Kernel>, blocks: &Range<u32>, bindings: &[BufferId]) -> Self {
        let (kernel, bindings) = (kernel.into(), bindings.to_vec());
        Self { kernel, bindings, blocks: blocks.clone(), jet_components: 1, precision: Precision::F32 }
    }

    /// A launch of any other kernel.
    pub fn whole(kernel: impl Into<Kernel>, bindings: &[BufferId]) -> Self {
        Self::per_block(kernel, &(0..0), bindings)
    }

    /// Whether binding number `binding` is there for the shader's sake alone: its kernel does not read it, and another
    /// binding has the same buffer.
    pub fn is_placeholder(&self, binding: usize) -> bool {
        let is_again = self.bindings.iter().filter(|id| **id == self.bindings[binding]).count() > 1;
        is_again && self.kernel.access()[binding] == Access::Read && !self.kernel.reads(binding)
    }

    /// The range of jet_components that its shader runs over: jet_components of a block lie side by side, as blocks do.
    pub fn flat_blocks(&self) -> Range<u32> {
        self.blocks.start * self.jet_components..self.blocks.end * self.jet_components
    }

    /// The buffers that it writes, scratch left out.
    pub fn written(&self) -> impl Iterator<Item = BufferId> {
        let writes = |access: &Access| matches!(access, Access::Write | Access::ReadWrite);
        self.bindings.iter().zip(self.kernel.access()).filter(move |(_, a)| writes(a)).map(|(id, _)| *id)
    }
}

/// What a plan is shaped for: the sizes that suit one kind of machine better than another. The numbers that come out
/// are the same up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Images in a block: as many neighbouring words as the machine likes to load at once.
    pub lanes: u32,
    /// Channels that one invocation owns, at most.
    pub tile_channels: usize,
    /// Pixels that one invocation owns, at most.
    pub tile_pixels: usize,
    /// Channels by pixels that one invocation owns, at most.
    pub tile_area: usize,
    /// Channels, of input and output each, that a workgroup owns of the weights' gradient: 4 or 8.
    pub gradient_tile: usize,
    /// Whether channels come in fours (`vec4f`), or a tile may be smaller than that.
    pub fours: bool,
    /// Blocks that one partial sum of the parameter gradient covers, at least.
    pub chunk_blocks: u32,
    /// Langevin steps that one launch of the fused chain ([`crate::kernels::chain`]) may do; 0 runs chains layer by
    /// layer, as networks that the fused chain does not fit always do.
    pub fused_steps: u32,
    /// Where the fused chain keeps what its layers hand on.
    pub fused_hidden: Hidden,
    /// Floating-point operations of one dispatch of the fused chain, about, at most ([`DISPATCH_FLOP`]).
    pub dispatch_flop: usize,
}

/// Floating-point operations of one dispatch, at most, if it can be cut: a desktop stays responsive, and a driver's watchdog
/// (about 2 s on Windows) far away, on a GPU that does 100 GFLOP/s.
pub const DISPATCH_FLOP: usize = 40_000_000_000;

impl Target {
    /// For the CPU executor, whatever its registers: a block is one of AVX-512 wide, two of AVX2, four of SSE2 or NEON.
    pub const CPU: Self = Self {
        lanes: 16,
        tile_channels: 4,
        tile_pixels: 4,
        tile_area: 16,
        gradient_tile: 4,
        fours: false,
        chunk_blocks: 4,
        fused_steps: 0,
        fused_hidden: Hidden::Scratch,
        dispatch_flop: DISPATCH_FLOP,
    };

    /// For the CPU executor with registers of `width` floats, to work on `images` at a time: 16, which would be one
    /// block and so one thread's, are split in two. With sixteen floats come twice as many registers, and sums of 8
    /// channels by 2 pixels, where channels come in eights, load less of their input than such of 4 by 4. SSE2's four
    /// take a shuffle for each weight, and tiles of 2 channels have half as many of them.
    pub fn cpu(images: usize, width: usize) -> Self {
        let blocks = if images <= 16 { Self { lanes: 8, chunk_blocks: 8, ..Self::CPU } } else { Self::CPU };
        match width {
            16 => Self { tile_channels: 8, tile_pixels: 2, ..blocks },
            4 if cfg!(target_arch = "x86_64") => Self { tile_channels: 2, ..blocks },
            _ => blocks,
        }
    }

    /// For a GPU that is to work on `images` at a time.
    pub fn gpu(images: usize) -> Self {
        let lanes = images.next_power_of_two().clamp(16, 64) as u32;
        Self {
            lanes,
            tile_channels: 8,
            tile_pixels: 1,
            tile_area: 8,
            gradient_tile: 4,
            fours: true,
            chunk_blocks: 1,
            fused_steps: 0,
            fused_hidden: Hidden::Scratch,
            dispatch_flop: DISPATCH_FLOP,
        }
    }

    /// For a software renderer (Mesa's lavapipe) whose SIMD registers hold `width` invocations. A load costs it as
    /// much as some 30 multiply-adds, and sums that leave the registers little, so that tiles are large. A block is a
    /// register wide: its invocations then work on the same pixels. Registers of 16 invocations come with an LLVM that
    /// reads weights as scalars, and does best with one pixel of many channels.
    pub fn software(images: usize, width: u32) -> Self {
        let gpu = Self::gpu(images);
        let target = Self {
            lanes: gpu.lanes.min(4 * width.clamp(4, 16)),
            tile_channels: 16,
            tile_pixels: 4,
            tile_area: 64,
            gradient_tile: 8,
            chunk_blocks: 4,
            ..gpu
        };
        if width < 16 { target } else { Self { tile_channels: 32, tile_pixels: 1, tile_area: 32, ..target } }
    }

    /// Blocks that hold `images`.
    pub fn blocks(&self, images: usize) -> u32 {
        (images as u32).div_ceil(self.lanes)
    }

    /// Channels of a tile, for a layer with `channels`.
    fn channels(&self, channels: usize) -> usize {
        if self.fours {
            channels.div_ceil(channels.div_ceil(self.tile_channels)).next_multiple_of(4)
        } else if channels.is_multiple_of(self.tile_channels) {
            self.tile_channels
        } else {
            channels.min(self.tile_channels).min(4)
        }
    }

    /// A tile for a layer with `channels`, in rows of `pixels`.
    fn tile(&self, channels: usize, pixels: usize) -> Tile {
        let channels = self.channels(channels);
        let pixels = (self.tile_area / channels).clamp(1, self.tile_pixels).min(pixels);
        Tile { channels, pixels }
    }

    /// How `n_blocks` blocks are split into partial sums: at most 32 of them.
    fn chunks(&self, n_blocks: u32) -> Chunks {
        let chunk_blocks = self.chunk_blocks.max(n_blocks.div_ceil(32));
        Chunks { first_block: 0, n_blocks, chunk_blocks, first_chunk: 0 }
    }
}
