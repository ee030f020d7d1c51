//! Every kernel alone, over odd sizes: each shader, and each SIMD body, against its twin.
//!
//! Cases are launches of mini plans. Everything that a launch must not read or write is a NaN with a payload of its own:
//! blocks outside its range, the padding of packed weights, parameters of other layers, empty lanes. After each launch
//! `thalweg::device::compare` holds all its outputs against the twin's, so a guard word that changes is an error, and a NaN that
//! leaks is one, too. That the twin itself writes what it should, and only that, is checked in [`Bench::written`].
//! How far floats may be off stands, with its reasons, at `Tolerance::of`.

#![allow(clippy::single_range_in_vec_init, reason = "what a launch writes is a list of ranges, often of one")]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::ops::Range;
use std::sync::OnceLock;
use thalweg::cpu::Isa;
use thalweg::data::ImageShape;
use thalweg::data::toy::TOYS;
use thalweg::device::compare::{Place, Tolerance, compare, compare_with, differences};
use thalweg::device::{Device, Machine};
use thalweg::kernels::activation_jet::{ActivationJet, Jet};
use thalweg::kernels::activation_jet_backward::ActivationJetBackward;
use thalweg::kernels::activation_second::ActivationSecond;
use thalweg::kernels::adam::{Adam, Decay, Schedule};
use thalweg::kernels::add_penalty::AddPenalty;
use thalweg::kernels::add_values::AddValues;
use thalweg::kernels::advance::Advance;
use thalweg::kernels::analytic_energy::AnalyticEnergy;
use thalweg::kernels::anneal_accept::AnnealAccept;
use thalweg::kernels::anneal_propose::{Anneal, AnnealPropose, BaseFeature, Part, Rung};
use thalweg::kernels::augment_starts::{Augment, AugmentStarts};
use thalweg::kernels::average_weights::AverageWeights;
use thalweg::kernels::chain_rule::ChainRule;
use thalweg::kernels::check_state::CheckState;
use thalweg::kernels::clip_scale::ClipScale;
use thalweg::kernels::contrastive_loss::{ContrastiveLoss, METRICS};
use thalweg::kernels::conv_forward::ConvForward;
use thalweg::kernels::conv_input_gradient::ConvInputGradient;
use thalweg::kernels::conv_weight_gradient::{Chunks, ConvWeightGradient};
use thalweg::kernels::copy_images::CopyImages;
use thalweg::kernels::copy_words::CopyWords;
use thalweg::kernels::count_non_finite::CountNonFinite;
use thalweg::kernels::dense_forward::DenseForward;
use thalweg::kernels::dense_input_gradient::DenseInputGradient;
use thalweg::kernels::dense_weight_gradient::DenseWeightGradient;
use thalweg::kernels::draw_negatives::{DrawNegatives, Noise};
use thalweg::kernels::draw_real::{DrawReal, permute_of};
use thalweg::kernels::draw_toy::DrawToy;
use thalweg::kernels::dynamics::{Dynamics, Form, Path};
use thalweg::kernels::guard::{Guard, MEMORY, Memory};
use thalweg::kernels::image_statistics::ImageStatistics;
use thalweg::kernels::jet_start::{JetStart, Probes};
use thalweg::kernels::kl_direction::KlDirection;
use thalweg::kernels::langevin::Langevin;
use thalweg::kernels::lstm_backward::LstmBackward;
use thalweg::kernels::lstm_forward::LstmForward;
use thalweg::kernels::lstm_pack::{CPU_TILE, GPU_TILE, LstmPack, LstmPacking};
use thalweg::kernels::lstm_weight_gradient::LstmWeightGradient;
use thalweg::kernels::mala_accept::MalaAccept;
use thalweg::kernels::mala_propose::MalaPropose;
use thalweg::kernels::mean_acceptance::MeanAcceptance;
use thalweg::kernels::multiply_adds::MultiplyAdds;
use thalweg::kernels::pack_weights::{PackWeights, Packing, Tile};
use thalweg::kernels::perturb::Perturb;
use thalweg::kernels::pool_forward::PoolForward;
use thalweg::kernels::pool_input_gradient::PoolInputGradient;
use thalweg::kernels::push_replay::PushReplay;
use thalweg::kernels::random::Random;
use thalweg::kernels::reduce_partials::ReducePartials;
use thalweg::kernels::score_direction::ScoreDirection;
use thalweg::kernels::score_loss::ScoreLoss;
use thalweg::kernels::smoothness::Smoothness;
use thalweg::kernels::spectral_bound::SpectralBound;
use thalweg::kernels::spectral_input::{Matrix, SpectralInput};
use thalweg::kernels::spectral_output::SpectralOutput;
use thalweg::kernels::sum_squares::{GROUP, SumSquares};
use thalweg::kernels::weight_penalty::WeightPenalty;
use thalweg::kernels::{Kernel, Slope, State, activate};
use thalweg::network::{ANALYTIC, Activation, ConvShape, DenseShape, LstmShape, Padding, PoolShape};
use thalweg::plan::{BufferId, BufferSpec, Launch, Layout, Plan, Precision, ProgramId, Words};
use thalweg::random::{Distribution, Stream};

use crate::common;

/// A NaN that no arithmetic makes.
const GUARD: u32 = 0x7fc0_beef;
/// Blocks of every per-block buffer, and those that per-block launches run over.
const N_BLOCKS: u32 = 4;
const BLOCKS: Range<u32> = 1..3;

fn gpu() -> &'static Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(common::gpu)
}

/// Ranges of words of a buffer that a launch is to write.
type Written = (BufferId, Vec<Range<usize>>);

/// A mini plan of one program with the contents of its buffers.
struct Bench {
    plan: Plan,
    contents: Vec<Vec<u32>>,
    /// For each launch: its case, and the words of each written buffer that its twin must write.
    cases: Vec<(String, Vec<Written>)>,
    rng: StdRng,
}

impl Bench {
    fn new(lanes: u32) -> Self {
        let plan = Plan { lanes, n_blocks: N_BLOCKS, buffers: Vec::new(), programs: vec![Vec::new()] };
        Self { plan, contents: Vec::new(), cases: Vec::new(), rng: StdRng::seed_from_u64(u64::from(lanes)) }
    }

    fn lanes(&self) -> usize {
        self.plan.lanes as usize
    }

    fn add(&mut self, name: &str, layout: Layout, words: Words) -> BufferId {
        let id = BufferId(self.plan.buffers.len());
        self.plan.buffers.push(BufferSpec { name: name.to_owned(), layout, words });
        self.contents.push(vec![GUARD; self.plan.len_of(id)]);
        id
    }

    /// A buffer of guards.
    fn flat(&mut self, name: &str, len: usize) -> BufferId {
        self.add(name, Layout::Flat(len), Words::Floats)
    }

    fn per_block(&mut self, name: &str, features: usize) -> BufferId {
        self.add(name, Layout::PerBlock(features), Words::Floats)
    }

    /// Puts random floats into some words of a buffer.
    fn fill(&mut self, buffer: BufferId, words: Range<usize>, scale: f32) {
        for word in &mut self.contents[buffer.0][words] {
            *word = (scale * self.rng.random_range(-1.0_f32..1.0)).to_bits();
        }
    }

    fn random_flat(&mut self, name: &str, len: usize) -> BufferId {
        let id = self.flat(name, len);
        self.fill(id, 0..len, 1.0);
        id
    }

    fn words_of(&self, features: usize, blocks: &Range<u32>) -> Range<usize> {
        let block = features * self.lanes();
        blocks.start as usize * block..blocks.end as usize * block
    }

    /// Random floats in some blocks, guards in the others.
    fn random_blocks(&mut self, name: &str, features: usize, blocks: &Range<u32>) -> BufferId {
        let id = self.per_block(name, features);
        self.fill(id, self.words_of(features, blocks), 1.0);
        id
    }

    /// Packed weights: random where there is a weight, guards in the padding.
    fn packed(&mut self, packing: &Packing) -> BufferId {
        let id = self.flat("packed weights", packing.len());
        for oc in 0..packing.out_channels {
            for ic in 0..packing.in_channels {
                for ky in 0..packing.kernel_height {
                    for kx in 0..packing.kernel_width {
                        let at = packing.index(oc, ic, ky, kx);
                        self.fill(id, at..at + 1, 1.0);
                    }
                }
            }
        }
        id
    }

    fn state(&mut self, state: State) -> BufferId {
        let id = self.add("state", Layout::Flat(State::WORDS), Words::Integers);
        let seed = State { seed_low: self.rng.random(), seed_high: self.rng.random(), ..state };
        self.contents[id.0].copy_from_slice(bytemuck::cast_slice(&[seed]));
        id
    }

    fn memory(&mut self, memory: Memory) -> BufferId {
        let id = self.flat("memory", MEMORY);
        self.contents[id.0].copy_from_slice(bytemuck::cast_slice(&[memory]));
        id
    }

    /// A launch over [`BLOCKS`], whose outputs are to be written wholly in those.
    fn per_block_launch(&mut self, case: String, kernel: impl Into<Kernel>, bindings: &[BufferId]) {
        let launch =
            Launch { kernel: kernel.into(), bindings: bindings.to_vec(), blocks: BLOCKS, streams: 1, precision: Precision::F32 };
        assert!(launch.kernel.is_per_block());
        let mut written = Vec::new();
        for id in launch.written() {
            let Layout::PerBlock(features) = self.plan.buffers[id.0].layout else { panic!("flat output") };
            written.push((id, vec![self.words_of(features, &BLOCKS)]));
        }
        self.cases.push((case, written));
        self.plan.programs[0].push(launch);
    }

    /// A launch that is not per block, and what it is to write.
    fn whole_launch(
        &mut self,
        case: String,
        kernel: impl Into<Kernel>,
        bindings: &[BufferId],
        written: &[Written],
    ) {
        let launch = Launch { kernel: kernel.into(), bindings: bindings.to_vec(), blocks: 0..0, streams: 1, precision: Precision::F32 };
        assert!(!launch.kernel.is_per_block());
        self.cases.push((case, written.to_vec()));
        self.plan.programs[0].push(launch);
    }

    async fn machine(&self, device: &Device) -> Machine {
        let mut machine = Machine::new(device, self.plan.clone()).await.unwrap();
        for (i, words) in self.contents.iter().enumerate() {
            machine.write(BufferId(i), 0, words);
        }
        machine
    }

    /// Where the reference's results, in `machine`, have not the words written that they should, or others.
    async fn written(&self, machine: &Machine, failures: &mut Vec<String>) {
        for (case, written) in &self.cases {
            for (id, ranges) in written {
                let words = machine.read(*id).await.unwrap();
                let before = &self.contents[id.0];
                let is_float = self.plan.buffers[id.0].words == Words::Floats;
                let wrong = words.iter().enumerate().position(|(i, word)| {
                    if ranges.iter().any(|r| r.contains(&i)) {
                        *word == GUARD || is_float && !f32::from_bits(*word).is_finite()
                    } else {
                        *word != before[i]
                    }
                });
                if let Some(i) = wrong {
                    let (name, place) = (&self.plan.buffers[id.0].name, Place::of(&self.plan, *id, i));
                    failures.push(format!("{case}: the twin leaves {:#010x} in {name} at {place}", words[i]));
                }
            }
        }
    }

    /// All ways in which a device is not like the twins.
    fn failures(&self, device: &Device) -> Vec<String> {
        pollster::block_on(async {
            let mut machine = self.machine(device).await;
            let report = compare(&mut machine, ProgramId(0)).await.unwrap();
            assert_eq!(report.launches, self.cases.len());
            println!("{device}, {} lanes:\n{report}", self.lanes());
            let mut failures: Vec<String> = report
                .partings
                .iter()
                .map(|p| format!("{device}: {}: {p}", self.cases[p.launch].0))
                .collect();
            self.written(&machine, &mut failures).await;
            failures
        })
    }
}

/// The lengths that shared lengths are drawn from.
const LENGTHS: [usize; 6] = [1, 63, 65, 257, 1025, 5000];

fn conv_shapes() -> Vec<ConvShape> {
    // ic, [height, width], oc, kernel, stride, padding [top, left], [bottom, right]
    type Case = (usize, [usize; 2], usize, [usize; 2], [usize; 2], [usize; 2], [usize; 2]);
    #[rustfmt::skip]
    let mut cases: Vec<Case> = vec![
        (1, [1, 1], 1, [1, 1], [1, 1], [0, 0], [0, 0]),
        (1, [9, 9], 17, [3, 3], [2, 2], [0, 0], [1, 1]),    // the presets' padding
        (17, [9, 9], 3, [3, 3], [2, 2], [1, 1], [0, 0]),
        (2, [1, 7], 5, [1, 3], [1, 2], [0, 2], [0, 0]),
        (3, [5, 3], 8, [5, 3], [1, 1], [4, 2], [4, 2]),     // all of "full" padding
        (8, [5, 3], 2, [2, 2], [3, 3], [0, 0], [0, 0]),     // a stride beyond the kernel: pixels that no tap reaches
        (5, [1, 1], 3, [4, 5], [1, 1], [3, 2], [1, 3]),     // one pixel, mostly padding
        (3, [9, 9], 5, [1, 1], [3, 2], [0, 0], [0, 0]),
        (2, [5, 3], 3, [2, 1], [1, 1], [3, 2], [0, 3]),     // whole outputs in the padding
        (1, [9, 9], 2, [5, 5], [1, 3], [2, 4], [2, 0]),     // padding beyond the stride
        (8, [9, 9], 8, [4, 4], [2, 1], [1, 0], [2, 3]),
        (17, [1, 7], 17, [1, 4], [1, 1], [0, 1], [0, 2]),
        (4, [9, 9], 8, [3, 3], [1, 1], [1, 1], [1, 1]),
    ];
    let mut rng = StdRng::seed_from_u64(1);
    let mut pick = |from: &[usize]| from[rng.random_range(0..from.len())];
    while cases.len() < 30 {
        let size = [[1, 1], [1, 7], [5, 3], [9, 9]][pick(&[0, 1, 2, 3])];
        let channels = if size == [9, 9] { [1, 2, 3, 5, 8, 3] } else { [1, 2, 3, 5, 8, 17] };
        let case = (
            pick(&channels),
            size,
            pick(&channels),
            [pick(&[1, 2, 3, 4, 5]), pick(&[1, 2, 3, 4, 5])],
            [pick(&[1, 2, 3]), pick(&[1, 2, 3])],
            [pick(&[0, 0, 1, 2, 4]), pick(&[0, 0, 1, 2, 4])],
            [pick(&[0, 1, 3]), pick(&[0, 1, 3])],
        );
        if (0..2).all(|i| case.3[i] <= size[i] + case.5[i] + case.6[i]) {
            cases.push(case);
        }
    }
    let shape = |(ic, size, oc, kernel, stride, first, last): Case| {
        let input = ImageShape { channels: ic, height: size[0], width: size[1] };
        let padding = Padding { top: first[0], bottom: last[0], left: first[1], right: last[1] };
        ConvShape::new(input, oc, kernel, stride, padding)
    };
    cases.into_iter().map(shape).collect()
}

/// Channels of a tile: up to eight fours for a GPU; up to four, or eight, for the CPU.
fn tile_channels(for_gpu: bool, number: usize) -> usize {
    if for_gpu { [4, 8, 16, 32][number % 4] } else { [1, 2, 3, 4, 8][number % 5] }
}

fn activation(number: usize) -> Activation {
    common::ACTIVATIONS[number % common::ACTIVATIONS.len()]
}

fn slope_place(number: usize) -> Slope {
    [Slope::Beside, Slope::InPlace, Slope::None][number % 3]
}

/// Buffers for the slope, or what is bound in its place, and for the gradient, which may hold it.
fn slope_and_gradient(bench: &mut Bench, place: Slope, g: BufferId, len: usize) -> (BufferId, BufferId) {
    match place {
        Slope::None => (g, bench.per_block("grad", len)),
        Slope::Beside => (bench.random_blocks("slope", len, &BLOCKS), bench.per_block("grad", len)),
        Slope::InPlace => (g, bench.random_blocks("slope and grad", len, &BLOCKS)),
    }
}

/// Streams of a block, of which the first alone has a bias; 0 where none has.
fn streams(number: usize) -> u32 {
    [1, 2, 0][number / 2 % 3]
}

/// Biases are of magnitude 1, or reach the activation's far ends, where exponentials overflow.
fn bias_scale(number: usize) -> f32 {
    if number % 5 == 1 { 200.0 } else { 1.0 }
}

/// Fills biases, the first of every `n` never far out: where all are, outputs and slopes may be rounding and nothing else,
/// and no measure of each other.
fn fill_biases(bench: &mut Bench, parameters: BufferId, biases: Range<usize>, n: usize, number: usize) {
    bench.fill(parameters, biases.clone(), bias_scale(number));
    for first in biases.step_by(n) {
        bench.fill(parameters, first..first + 1, 1.0);
    }
}

/// Where a layer's parameters lie: neither at the beginning nor at the end of the vector.
const OFFSET: usize = 7;

/// Every third case has words of 64 bits, where the GPU has them, too.
fn int64(number: usize) -> bool {
    number % 3 == 1 && common::has_int64(gpu())
}

fn add_conv(bench: &mut Bench, number: usize, shape: ConvShape, for_gpu: bool) {
    let (lanes, channels) = (bench.plan.lanes, tile_channels(for_gpu, number));
    let case = format!("conv {number} {shape:?}");
    // Tiles are no wider than a plan makes them.
    let pixels = (1 + number % 4).min(shape.out_width);
    // Every other number takes two channels a turn, where there are.
    let depth = |others: usize| if number % 8 < 4 && others.is_multiple_of(2) { 2 } else { 1 };
    let int64 = for_gpu && int64(number);
    let tile = Tile { channels, pixels, depth: depth(shape.in_channels), int64 };
    let bias_offset = OFFSET + shape.weight_len();
    let n_parameters = bias_offset + shape.out_channels + 5;

    let kernel = ConvForward { lanes, shape, tile, bias_offset, activation: activation(number) };
    let weights = bench.packed(&kernel.packing());
    let parameters = bench.flat("parameters", n_parameters);
    fill_biases(bench, parameters, bias_offset..bias_offset + shape.out_channels, shape.out_channels, number);
    let input = bench.random_blocks("input", shape.in_len(), &BLOCKS);
    let (output, slope) =
        (bench.per_block("output", shape.out_len()), bench.per_block("slope", shape.out_len()));
    bench.per_block_launch(case.clone(), kernel, &[input, weights, parameters, output, slope]);

    let channels = tile_channels(for_gpu, number / 2);
    let pixels = (1 + number % 3).min(shape.in_width.div_ceil(shape.stride_x));
    let tile = Tile { channels, pixels, depth: depth(shape.out_channels), int64 };
    let kernel = ConvInputGradient { lanes, shape, tile, slope: slope_place(number) };
    let weights = bench.packed(&kernel.packing());
    let g = bench.random_blocks("g", shape.out_len(), &BLOCKS);
    let (slope, grad) = slope_and_gradient(bench, kernel.slope, g, shape.in_len());
    bench.per_block_launch(case.clone(), kernel, &[g, weights, slope, grad]);

    let layer = OFFSET..OFFSET + shape.weight_len() + shape.out_channels;
    let (chunks, input, g, partials, written) = weight_buffers(
        bench,
        (number, streams(number)),
        shape.in_len(),
        shape.out_len(),
        layer,
        n_parameters,
    );
    let tile = 4 + 4 * (number / 2 % 2);
    let kernel = ConvWeightGradient {
        lanes,
        shape,
        chunks,
        tile,
        streams: streams(number),
        int64,
        weight_offset: OFFSET,
        n_parameters,
    };
    bench.whole_launch(case.clone(), kernel, &[input, g, partials], &[(partials, written)]);

    for packing in [Packing::forward(shape, channels), Packing::backward(shape, channels)] {
        add_packing(bench, &case, packing, shape.weight_len());
    }
}

fn add_packing(bench: &mut Bench, case: &str, packing: Packing, weight_len: usize) {
    let parameters = bench.flat("parameters", OFFSET + weight_len + 3);
    bench.fill(parameters, OFFSET..OFFSET + weight_len, 1.0);
    let packed_offset = 5;
    let packed = bench.flat("packed", packed_offset + packing.len() + 2);
    let kernel = PackWeights { packing, weight_offset: OFFSET, packed_offset };
    let all = packed_offset..packed_offset + packing.len();
    bench.whole_launch(case.to_owned(), kernel, &[parameters, packed], &[(packed, vec![all])]);
}

/// The buffers of a weight gradient over three blocks of four, the first or the last, in chunks of 1, 2 (so that the last
/// has fewer) or 3, with up to two chunks of others before them.
fn weight_buffers(
    bench: &mut Bench,
    (number, streams): (usize, u32),
    in_len: usize,
    out_len: usize,
    layer: Range<usize>,
    n_parameters: usize,
) -> (Chunks, BufferId, BufferId, BufferId, Vec<Range<usize>>) {
    let (at, first_chunk) = (number as u32, number as u32 % 3);
    // Two streams make four blocks two.
    let chunks = if streams == 2 {
        let first_block = 2 * (at % 2);
        Chunks { first_block, n_blocks: 4 - first_block, chunk_blocks: 2 + 2 * (at / 2 % 2), first_chunk }
    } else {
        Chunks { first_block: at / 3 % 2, n_blocks: 3, chunk_blocks: 1 + at % 3, first_chunk }
    };
    let blocks = chunks.first_block..chunks.first_block + chunks.n_blocks;
    let input = bench.random_blocks("input", in_len, &blocks);
    let g = bench.random_blocks("g", out_len, &blocks);
    let own = chunks.first_chunk as usize..(chunks.first_chunk + chunks.count()) as usize;
    let partials = bench.flat("partials", own.end * n_parameters);
    let written = own.map(|c| c * n_parameters + layer.start..c * n_parameters + layer.end).collect();
    (chunks, input, g, partials, written)
}

fn add_dense(bench: &mut Bench, number: usize, shape: DenseShape, for_gpu: bool) {
    let (lanes, tile_channels) = (bench.plan.lanes, tile_channels(for_gpu, number));
    let case = format!("dense {number} {shape:?}");
    let weight_len = shape.in_len() * shape.units;
    let bias_offset = OFFSET + weight_len;
    let n_parameters = bias_offset + shape.units + 5;

    let activation = activation(number);
    let kernel = DenseForward { lanes, shape, tile_channels, bias_offset, activation };
    let weights = bench.packed(&kernel.packing());
    let parameters = bench.flat("parameters", n_parameters);
    fill_biases(bench, parameters, bias_offset..bias_offset + shape.units, shape.units, number);
    let input = bench.random_blocks("input", shape.in_len(), &BLOCKS);
    let (output, slope) = (bench.per_block("output", shape.units), bench.per_block("slope", shape.units));
    bench.per_block_launch(case.clone(), kernel, &[input, weights, parameters, output, slope]);

    let kernel = DenseInputGradient { lanes, shape, tile_channels, slope: slope_place(number) };
    let weights = bench.packed(&kernel.packing());
    let g = bench.random_blocks("g", shape.units, &BLOCKS);
    let (slope, grad) = slope_and_gradient(bench, kernel.slope, g, shape.in_len());
    bench.per_block_launch(case.clone(), kernel, &[g, weights, slope, grad]);

    let layer = OFFSET..OFFSET + weight_len + shape.units;
    let (chunks, input, g, partials, written) =
        weight_buffers(bench, (number, streams(number)), shape.in_len(), shape.units, layer, n_parameters);
    let kernel = DenseWeightGradient {
        lanes,
        shape,
        chunks,
        streams: streams(number),
        weight_offset: OFFSET,
        n_parameters,
    };
    bench.whole_launch(case.clone(), kernel, &[input, g, partials], &[(partials, written)]);

    for backward in [false, true] {
        add_packing(bench, &case, Packing::dense(shape, tile_channels, backward), weight_len);
    }
}

fn add_pools(bench: &mut Bench) {
    let lanes = bench.plan.lanes;
    for (i, (channels, pixels)) in [(1, 1), (3, 17), (65, 4), (128, 49), (1, 257)].into_iter().enumerate() {
        let (shape, case) = (PoolShape { channels, pixels }, format!("pool {channels} {pixels}"));
        let input = bench.random_blocks("input", channels * pixels, &BLOCKS);
        let [output, slope] = ["output", "slope"].map(|name| bench.per_block(name, channels));
        bench.per_block_launch(case.clone(), PoolForward { lanes, shape }, &[input, output, slope]);
        let g = bench.random_blocks("g", channels, &BLOCKS);
        let place = slope_place(i);
        let (slope, grad) = slope_and_gradient(bench, place, g, channels * pixels);
        bench.per_block_launch(case, PoolInputGradient { lanes, shape, slope: place }, &[g, slope, grad]);
    }
}

/// Points near the wells and far out.
fn add_analytic(bench: &mut Bench) {
    let lanes = bench.plan.lanes;
    for energy in ANALYTIC {
        for (features, scale) in [(2, 0.3), (2, 5.0), (1, 2.0), (5, 2.0)] {
            if features != 2 && energy.is_planar() {
                continue;
            }
            let x = bench.per_block("x", features);
            bench.fill(x, bench.words_of(features, &BLOCKS), scale);
            let [e, gradient] = [("energy", 1), ("gradient", features)].map(|(n, f)| bench.per_block(n, f));
            let kernel = AnalyticEnergy { lanes, features, energy };
            bench.per_block_launch(format!("{kernel:?}, up to {scale}"), kernel, &[x, e, gradient]);
        }
    }
}

fn dense_shapes() -> Vec<DenseShape> {
    let shape = |(units, in_channels, in_pixels)| DenseShape { in_channels, in_pixels, units };
    [(1, 1, 1), (1, 64, 4), (3, 17, 1), (17, 3, 9), (65, 5, 3), (2, 8, 7), (8, 1, 65), (5, 257, 1)]
        .map(shape)
        .to_vec()
}

/// Channels, hidden units, time, layers, both directions.
fn lstm_shapes() -> Vec<LstmShape> {
    let shape = |(in_channels, hidden, time, layers, bidirectional)| LstmShape {
        in_channels,
        time,
        hidden,
        layers,
        bidirectional,
    };
    [
        (1, 1, 1, 1, false),
        (3, 5, 7, 2, true),
        (17, 8, 3, 1, true),
        (2, 65, 3, 2, true),
        (5, 3, 65, 2, false),
        (1, 33, 2, 3, true),
    ]
    .map(shape)
    .to_vec()
}

/// The launches of every cell, each with inputs of its own.
fn add_lstm(bench: &mut Bench, number: usize, shape: LstmShape, for_gpu: bool) {
    let (lanes, tile) = (bench.plan.lanes, if for_gpu { GPU_TILE } else { CPU_TILE });
    for (i, cell) in shape.cells(OFFSET).into_iter().enumerate() {
        let case = format!("LSTM {number} {cell:?}");
        let n_parameters = OFFSET + shape.weight_len() + 5;
        let own = cell.weight_offset..cell.weight_offset + cell.weight_len();
        let parameters = bench.flat("parameters", n_parameters);
        bench.fill(parameters, own.clone(), 1.0 / (cell.hidden as f32).sqrt());
        let bias = own.start + 4 * cell.hidden * cell.in_channels;
        fill_biases(bench, parameters, bias..bias + 4 * cell.hidden, cell.hidden, number);
        let packing = LstmPacking::new(&cell, tile);
        let packed = bench.flat("packed", packing.len());
        let all = vec![0..packing.len()];
        let kernel = LstmPack { cell, tile };
        let mut weights = vec![f32::NAN; packing.len()];
        kernel.reference(bytemuck::cast_slice(&bench.contents[parameters.0][own.clone()]), &mut weights);
        bench.whole_launch(case.clone(), kernel, &[parameters, packed], &[(packed, all)]);
        // The same, where they are when a launch begins.
        let packed = bench.flat("packed weights", packing.len());
        bench.contents[packed.0].copy_from_slice(bytemuck::cast_slice(&weights));

        let steps = |first: usize, n: usize| (first, n.min(cell.steps - first));
        // All steps at once, and the last but the first from where the first has left them.
        let x = bench.random_blocks("x", cell.in_len(), &BLOCKS);
        let ranges =
            if cell.steps > 1 { vec![steps(0, cell.steps), steps(1, cell.steps)] } else { vec![(0, 1)] };
        for (first_step, n_steps) in ranges {
            let kernel = LstmForward { lanes, cell, tile, first_step, n_steps };
            let trace = bench.random_blocks("trace", cell.trace_len(), &BLOCKS);
            let output = bench.random_blocks("output", cell.out_len(), &BLOCKS);
            let bindings = [x, packed, parameters, trace, output];
            bench.per_block_launch(case.clone(), kernel, &bindings);

            let has_slope = (number + i).is_multiple_of(3);
            let (to_input, adds) = ((number + i) % 4 != 3, cell.reverse);
            let kernel = LstmBackward { lanes, cell, tile, first_step, n_steps, to_input, adds, has_slope };
            let grad_out = bench.random_blocks("grad out", cell.out_len(), &BLOCKS);
            let slope =
                if has_slope { bench.random_blocks("slope", cell.in_len(), &BLOCKS) } else { grad_out };
            let trace = bench.random_blocks("trace", cell.trace_len(), &BLOCKS);
            let carry = bench.random_blocks("carry", 2 * cell.hidden, &BLOCKS);
            let grad = bench.random_blocks("grad", cell.in_len(), &BLOCKS);
            let bindings = [grad_out, packed, slope, trace, carry, grad];
            bench.per_block_launch(case.clone(), kernel, &bindings);
        }
        let (chunks, input, trace, partials, written) =
            weight_buffers(bench, (number, 1), cell.in_len(), cell.trace_len(), own, n_parameters);
        let kernel = LstmWeightGradient { lanes, cell, chunks, n_parameters };
        bench.whole_launch(case, kernel, &[input, trace, partials], &[(partials, written)]);
    }
}

fn add_random(bench: &mut Bench) {
    let lanes = bench.plan.lanes;
    for (i, features) in [1, 3, 4, 17, 65].into_iter().enumerate() {
        let state = bench.state(State { step: 1000 * i as u32, chain_base: i as u32, ..State::default() });
        for (distribution, scale) in [
            (Distribution::Bits, 2.0),
            (Distribution::Uniform, 1.5),
            (Distribution::Normal, 0.7),
            (Distribution::Signs, 1.0),
        ] {
            let words = if distribution == Distribution::Bits { Words::Integers } else { Words::Floats };
            let output = bench.add("output", Layout::PerBlock(features), words);
            let kernel =
                Random { lanes, features, stream: Stream::Langevin, distribution, scale, bound: 0.9 };
            bench.per_block_launch(format!("random {features}"), kernel, &[state, output]);
        }
        for (moves, perturbs, clip, form, path) in [
            (false, Some(0), 0.03, Form::NoiseFirst, Path::Linear),
            (true, Some(3), 0.03, Form::NoiseFirst, Path::Geometric),
            (true, None, 0.03, Form::NoiseFirst, Path::Linear),
            (true, Some(7), f32::INFINITY, Form::NoiseLast, Path::Linear),
            (true, Some(7), 0.05, Form::NoiseLast, Path::Geometric),
            (true, Some(1), f32::INFINITY, Form::Theory, Path::Linear),
            (true, Some(7), f32::INFINITY, Form::Annealed, Path::Geometric),
            (true, Some(8), 0.05, Form::Annealed, Path::Geometric),
            (true, Some(9), 0.05, Form::Annealed, Path::Linear),
            (true, None, f32::INFINITY, Form::NoiseFirst, Path::Linear),
        ] {
            let x = bench.random_blocks("x", features, &BLOCKS);
            let gradient = bench.per_block("gradient", features);
            if moves {
                bench.fill(gradient, bench.words_of(features, &BLOCKS), 0.1);
            }
            let kernel = Langevin {
                lanes,
                features,
                moves,
                perturbs,
                dynamics: Dynamics {
                    form,
                    step_size: if matches!(form, Form::Theory | Form::Annealed) { 0.3 } else { 10.0 },
                    step_size_end: if matches!(form, Form::Theory | Form::Annealed) { 0.1 } else { 7.0 },
                    noise: 0.3,
                    noise_end: 0.03,
                    path,
                    levels: if form == Form::Annealed { i as u32 + 9 } else { 3001 }, // 8 is the last: it denoises
                    temperature: 0.7,
                    gradient_clip: clip,
                    bound: if clip == 0.05 { f32::INFINITY } else { 1.0 },
                },
            };
            bench.per_block_launch(format!("langevin {kernel:?}"), kernel, &[state, gradient, x]);
        }
        // MALA where a chain begins, goes on, and ends; with steps so long that some proposals are rejected.
        for (step, resets, clip) in
            [(None, true, 0.3), (None, false, 0.3), (Some(3), true, f32::INFINITY), (Some(4), false, 0.3)]
        {
            let dynamics = Dynamics {
                form: Form::Mala,
                step_size: 0.5,
                step_size_end: 0.4,
                noise: 0.0,
                noise_end: 0.0,
                path: Path::Linear,
                levels: 5000,
                temperature: 0.7,
                gradient_clip: clip,
                bound: if resets { f32::INFINITY } else { 0.97 },
            };
            let block =
                |bench: &mut Bench, name: &str, features| bench.random_blocks(name, features, &BLOCKS);
            let [energies, gradient, y] = [("energies", 1), ("gradient", features), ("y", features)]
                .map(|(name, features)| block(bench, name, features));
            let [x, x_gradient, x_energies, decisions] =
                [("x", features), ("x gradient", features), ("x energies", 1), ("decisions", 2)]
                    .map(|(name, features)| block(bench, name, features));
            let kernel = MalaAccept { lanes, features, step, resets, dynamics };
            let bindings = [state, energies, gradient, y, x, x_gradient, x_energies, decisions];
            bench.per_block_launch(format!("{kernel:?}"), kernel, &bindings);
            let kernel = MalaPropose { lanes, features, perturbs: step, dynamics };
            let bindings = [state, gradient, decisions, y, x, x_gradient];
            bench.per_block_launch(format!("{kernel:?}"), kernel, &bindings);
        }
    }
}

/// Annealed chains where they begin, go on and end; with steps so long that some proposals are rejected, and that walls
/// mirror some of them several times.
fn add_annealing(bench: &mut Bench) {
    let lanes = bench.plan.lanes;
    for (number, features) in [1, 2, 7, 64, 785].into_iter().enumerate() {
        let state = bench.state(State { step: number as u32, chain_base: 5, ..State::default() });
        let schedule = bench.flat("schedule", 2 * 16);
        for (i, rung) in bench.contents[schedule.0].chunks_exact_mut(2).enumerate().take(10).skip(5) {
            let rung_now = Rung { beta: [0.0, 0.2, 0.2, 1.0, 0.6][i - 5], step_size: 0.2 * i as f32 };
            rung.copy_from_slice(bytemuck::cast_slice(&[rung_now]));
        }
        let base = bench.flat("base", 4 * features);
        for feature in 0..features {
            let [mean, precision, scale] = [0; 3].map(|_| bench.rng.random_range(0.1_f32..1.0));
            let inverse_variance = if feature % 3 == 1 { 0.0 } else { 3.0 * precision };
            let words = BaseFeature { mean, inverse_variance, scale, spare: 0.0 };
            bench.contents[base.0][4 * feature..][..4].copy_from_slice(bytemuck::cast_slice(&[words]));
        }
        for (step, bound) in
            [(None, 0.4), (Some(0), 0.4), (Some(1), f32::INFINITY), (Some(2), 1.0), (Some(3), 0.4)]
        {
            let tilt = if bound == 1.0 { 0.0 } else { 0.6 };
            let anneal = Anneal { inverse_temperature: 1.7, tilt, bound };
            let block =
                |bench: &mut Bench, name: &str, features| bench.random_blocks(name, features, &BLOCKS);
            let [energies, gradient, y] = [("energies", 1), ("gradient", features), ("y", features)]
                .map(|(name, features)| block(bench, name, features));
            let [chain, record] =
                [("chain", 4 * features), ("record", 5)].map(|(name, features)| block(bench, name, features));
            let kernel = AnnealAccept { lanes, features, step, anneal };
            let bindings = [state, schedule, base, energies, gradient, y, chain, record];
            bench.per_block_launch(format!("{kernel:?}"), kernel, &bindings);
            let part = match step {
                None => Part::End,
                Some(step @ (0 | 3)) => Part::First(step),
                Some(step) => Part::Next(step),
            };
            let kernel = AnnealPropose { lanes, features, part, anneal };
            let bindings = [state, schedule, base, gradient, record, y, chain];
            bench.per_block_launch(format!("{kernel:?}"), kernel, &bindings);
        }
    }
}

fn add_draws(bench: &mut Bench) {
    let lanes = bench.plan.lanes;
    // Images, batch (short of the blocks' lanes), steps: the last batch of an epoch may be short, or of one image.
    for (n_images, batch, channels, size, data_size) in [
        (1, 1, 1, [1, 1], [1, 1]),
        (50, 20, 1, [7, 6], [4, 5]),
        (17, 17, 3, [5, 3], [5, 3]),
        (65, 8, 3, [4, 4], [1, 3]),
    ] {
        for step in [0, 2, 8, 1000] {
            let shape = ImageShape { channels, height: size[0], width: size[1] };
            let data_shape = ImageShape { channels, height: data_size[0], width: data_size[1] };
            let state = bench.state(State { step, ..State::default() });
            let len = (n_images as usize * data_shape.len()).div_ceil(4);
            let data = bench.add("data", Layout::Flat(len), Words::Integers);
            for i in 0..len {
                bench.contents[data.0][i] = bench.rng.random();
            }
            let x = bench.per_block("x", shape.len());
            let floats = false;
            for noise in [0.2, 0.0] {
                let part = 0..n_images;
                let kernel = DrawReal { lanes, batch, n_images, part, shape, data_shape, floats, noise };
                bench.per_block_launch(format!("{kernel:?} step {step}"), kernel, &[state, data, x]);
            }
            // Floats beyond [-1, 1], which stay there.
            let data = bench.flat("data", n_images as usize * data_shape.len());
            bench.fill(data, 0..n_images as usize * data_shape.len(), 5.0);
            let x = bench.per_block("x", shape.len());
            let part = 0..n_images;
            let kernel =
                DrawReal { lanes, batch, n_images, part, shape, data_shape, floats: true, noise: 0.2 };
            bench.per_block_launch(format!("{kernel:?} step {step}"), kernel, &[state, data, x]);
        }
    }
    for toy in TOYS {
        for (step, noise) in [(0, 0.0), (1000, 0.5)] {
            let state = bench.state(State { step, ..State::default() });
            let x = bench.per_block("x", 2);
            let kernel = DrawToy { lanes, toy, noise };
            bench.per_block_launch(format!("{kernel:?} step {step}"), kernel, &[state, x]);
        }
    }
    for (features, capacity, length, fresh) in
        [(1, 1, 1, 0.5), (3, 5, 5, 0.0), (17, 300, 257, 0.05), (65, 20, 3, 0.5), (4, 7, 7, 1.0)]
    {
        let (ring_length, step) = (length as u32, length as u32 * 3);
        let state = bench.state(State { step, ring_length, ..State::default() });
        let ring = bench.flat("ring", capacity * features);
        bench.fill(ring, 0..length * features, 1.0);
        for distribution in [Distribution::Uniform, Distribution::Normal] {
            let noise = Noise { distribution, scale: 0.7, bound: 0.6 };
            let x = bench.per_block("x", features);
            let kernel = DrawNegatives { lanes, features, fresh, noise, subset: 0 };
            bench.per_block_launch(format!("{kernel:?}"), kernel, &[state, ring, x]);
        }
    }
    // Persistent chains: as many as the batch has, or more; and back to their slots.
    for (features, batch, chains, fresh) in
        [(3, 2 * lanes, 2 * lanes, 0.0), (5, lanes, 257, 0.2), (1, 1, 1, 0.0)]
    {
        let state = bench.state(State { step: 77, ring_length: chains, ..State::default() });
        let ring = bench.random_flat("ring", chains as usize * features);
        let x = bench.per_block("x", features);
        let kernel = DrawNegatives { lanes, features, fresh, noise: Noise::UNIFORM, subset: chains };
        bench.per_block_launch(format!("{kernel:?}"), kernel, &[state, ring, x]);

        let [low, high] = [3, 4].map(|word| bench.contents[state.0][word]);
        let (first_block, capacity) = (N_BLOCKS - u32::div_ceil(batch, lanes), chains);
        let x = bench.random_blocks("x", features, &(first_block..N_BLOCKS));
        let ring = bench.flat("ring", chains as usize * features);
        let kernel = PushReplay { lanes, features, batch, capacity, first_block, subset: true };
        let slots = (0..batch).map(|i| permute_of(Stream::Subsets, i, chains, 77, [low, high]) as usize);
        let ranges = slots.map(|slot| slot * features..(slot + 1) * features).collect();
        bench.whole_launch(format!("{kernel:?}"), kernel, &[state, x, ring], &[(ring, ranges)]);
    }
    // Starts changed by nothing, by whole pixels, by parts of them; images of one pixel, of a row.
    for (channels, size, augment) in [
        (1, [1, 1], Augment { probability: 1.0, shift: 3, flip: 0.5, rescale: 0.5 }),
        (3, [1, 7], Augment { probability: 0.7, shift: 2, flip: 0.5, rescale: 0.0 }),
        (1, [9, 8], Augment { probability: 1.0, shift: 0, flip: 0.0, rescale: 0.3 }),
        (2, [5, 6], Augment { probability: 0.0, shift: 2, flip: 1.0, rescale: 0.3 }),
    ] {
        let shape = ImageShape { channels, height: size[0], width: size[1] };
        let state = bench.state(State { step: 5, ..State::default() });
        let starts = bench.random_blocks("starts", shape.len(), &BLOCKS);
        let x = bench.per_block("x", shape.len());
        let kernel = AugmentStarts { lanes, shape, augment };
        bench.per_block_launch(format!("{kernel:?}"), kernel, &[state, starts, x]);
    }
    // Copies of the real images; a batch may be short of them.
    for (features, batch, n_images, step) in [(5, 2 * lanes, 3 * lanes, 1), (4, 1, 9, 3), (1, lanes, 50, 0)] {
        let state = bench.state(State { step, ..State::default() });
        let x = bench.random_blocks("x", features, &(0..batch.div_ceil(lanes)));
        let kernel = CopyImages { lanes, features, batch, n_images, first_block: 2, noise: 0.1 };
        let written = bench.words_of(features, &(2..2 + batch.div_ceil(lanes)));
        bench.whole_launch(format!("{kernel:?}"), kernel, &[state, x], &[(x, vec![written])]);
    }
    // Batch, capacity, head: around the end, over it, exactly to it, all of it.
    for (features, batch, capacity, head) in
        [(1, 1, 1, 0), (3, 17, 20, 15), (65, 20, 63, 43), (17, 31, 31, 30), (5, 32, 257, 0)]
    {
        let n_blocks = u32::div_ceil(batch, lanes);
        let first_block = N_BLOCKS - n_blocks;
        let state = bench.state(State { ring_head: head, ring_length: capacity, ..State::default() });
        let x = bench.random_blocks("x", features, &(first_block..N_BLOCKS));
        let ring = bench.flat("ring", capacity as usize * features);
        let kernel = PushReplay { lanes, features, batch, capacity, first_block, subset: false };
        let end = (head + batch).min(capacity) as usize;
        let ranges =
            vec![head as usize * features..end * features, 0..((head + batch) as usize - end) * features];
        bench.whole_launch(format!("{kernel:?}"), kernel, &[state, x, ring], &[(ring, ranges)]);
    }
    for (batch, capacity, head, length) in
        [(1, 1, 0, 1), (20, 257, 250, 250), (20, 257, 3, 257), (17, 100, 40, 40)]
    {
        let state = bench.state(State { step: 9, ring_head: head, ring_length: length, ..State::default() });
        bench.whole_launch(
            "advance".to_owned(),
            Advance { batch, capacity },
            &[state],
            &[(state, vec![0..3])],
        );
    }
}

fn add_jets(bench: &mut Bench, own: impl Fn(&usize) -> bool) {
    const ROWS: u32 = 5;
    let lanes = bench.plan.lanes;
    let jets = [(1, 1), (1, 0), (2, 0), (3, 1), (5, 0)]
        .map(|(directions, first_order)| Jet { directions, first_order });
    for (i, (features, channels)) in [(1, 1), (17, 1), (63, 3), (65, 65), (257, 257)].into_iter().enumerate()
    {
        for (j, jet) in jets.into_iter().enumerate().filter(|(j, _)| own(&(i + j))) {
            let bias_offset = OFFSET;
            let parameters = bench.flat("parameters", OFFSET + channels + 3);
            let activation = activation(i + j);
            // Far out, 1 - tanh^2 is rounding and nothing else.
            let scale = if activation == Activation::Tanh { 1.0 } else { bias_scale(i + j) };
            bench.fill(parameters, OFFSET..OFFSET + channels, scale);
            let n = jet.streams() * features;
            let (z, a) = (bench.random_blocks("z", n, &BLOCKS), bench.per_block("a", n));
            let kernel = ActivationJet { lanes, features, channels, jet, bias_offset, activation };
            bench.per_block_launch(format!("{kernel:?}"), kernel.clone(), &[z, parameters, a]);
            let g = bench.random_blocks("g", n, &BLOCKS);
            let kernel = ActivationJetBackward(kernel);
            bench.per_block_launch(format!("{kernel:?}"), kernel, &[z, parameters, g]);

            let n_probes = jet.directions - jet.first_order;
            for probes in [Probes::Axes, Probes::Given] {
                if probes == Probes::Given && n_probes == 0 {
                    continue;
                }
                let mut image = |name: &str, features: usize| bench.random_blocks(name, features, &BLOCKS);
                let (x, gradient) = (image("x", features), image("gradient", features));
                let drawn = image("probes", n_probes.max(1) * features);
                let (streams, residual) = (bench.per_block("streams", n), bench.per_block("residual", 1));
                let kernel = JetStart { lanes, features, jet, probes };
                let bindings = [x, gradient, drawn, streams, residual];
                bench.per_block_launch(format!("{kernel:?}"), kernel, &bindings);
            }
        }
        let mut image = |name: &str| bench.random_blocks(name, features, &BLOCKS);
        let (slope, value, second) = (image("slope"), image("value"), image("second"));
        let kernel = ChainRule { lanes, features };
        bench.per_block_launch(format!("{kernel:?}"), kernel, &[slope, value, second]);
        let kernel = AddValues { lanes, features };
        let sum = bench.random_blocks("sum", features, &BLOCKS);
        bench.per_block_launch(format!("{kernel:?}"), kernel, &[slope, sum]);
        for j in 0..3 {
            let parameters = bench.flat("parameters", OFFSET + channels + 3);
            let activation = activation(i + 3 * j);
            // Far out, 1 - tanh^2 is rounding and nothing else.
            let scale = if activation == Activation::Tanh { 1.0 } else { bias_scale(i + j) };
            bench.fill(parameters, OFFSET..OFFSET + channels, scale);
            let z = bench.random_blocks("z", features, &BLOCKS);
            let (value, slope) = (bench.per_block("value", features), bench.per_block("slope", features));
            let kernel = ActivationSecond { lanes, features, channels, bias_offset: OFFSET, activation };
            bench.per_block_launch(format!("{kernel:?}"), kernel, &[z, parameters, value, slope]);
        }
        // A whole batch; one that ends within a block; the short one at an epoch's end.
        for (batch, n_images, step) in
            [(lanes, 5 * lanes, 2), (lanes / 2, 50 * lanes, 0), (lanes, lanes + 3, 1)]
        {
            let state = bench.state(State { step, ..State::default() });
            let mut image = |name: &str, features: usize| bench.random_blocks(name, features, &BLOCKS);
            let (gradient, target, weight) =
                (image("gradient", features), image("target", features), image("weight", 1));
            let (direction, residual) =
                (bench.per_block("direction", features), bench.per_block("residual", 1));
            let kernel = ScoreDirection { lanes, features, batch, n_images };
            let bindings = [state, gradient, target, weight, direction, residual];
            bench.per_block_launch(format!("{kernel:?} step {step}"), kernel, &bindings);
        }
        for (form, clip, bound) in [
            (Form::NoiseFirst, 0.5, 0.7),
            (Form::NoiseLast, f32::INFINITY, 0.4),
            (Form::Theory, 0.2, f32::INFINITY),
        ] {
            let state = bench.state(State { step: 3, ..State::default() });
            let mut image = |name: &str, features: usize| bench.random_blocks(name, features, &BLOCKS);
            let (gradient, x) = (image("gradient", features), image("x", features));
            let (streams, seeds) = (image("streams", 2 * features), bench.per_block("seeds", 2));
            let dynamics = Dynamics {
                form,
                step_size: 0.3,
                step_size_end: 0.1,
                noise: 0.3,
                noise_end: 0.03,
                path: Path::Geometric,
                levels: 9,
                temperature: 0.7,
                gradient_clip: clip,
                bound,
            };
            let kernel = KlDirection { lanes, features, batch: lanes + 3, weight: 0.7, dynamics };
            let bindings = [state, gradient, x, streams, seeds];
            bench.per_block_launch(format!("{kernel:?}"), kernel, &bindings);
        }
        for (levels, velocity, from_noise) in [
            (1, false, 0.0),
            (2, false, 0.0),
            (10, false, 0.0),
            (1, true, 0.0),
            (10, true, 0.0),
            (2, true, 0.4),
        ] {
            let level = bench.random_blocks("level", 1, &BLOCKS);
            let (noise, x) = (
                bench.random_blocks("noise", features, &BLOCKS),
                bench.random_blocks("x", features, &BLOCKS),
            );
            let weight = bench.per_block("weight", 1);
            let kernel =
                Perturb { lanes, features, levels, sigma: 0.1, sigma_max: 3.0, velocity, from_noise };
            bench.per_block_launch(format!("{kernel:?}"), kernel, &[level, noise, x, weight]);
        }
    }
    for (i, (batch, n_images, step)) in
        [(1, 1, 3), (5, 17, 3), (17, 50, 2), (lanes + 1, lanes + 2, 1), (2 * lanes, 5 * lanes, 4)]
            .into_iter()
            .enumerate()
    {
        let n = n_images.div_ceil(batch);
        let n_real = if step % n == n - 1 { n_images - (n - 1) * batch } else { batch };
        // Batches beyond four blocks are for more lanes.
        if batch.div_ceil(lanes) > N_BLOCKS {
            continue;
        }
        for jet in jets {
            let state = bench.state(State { step, ..State::default() });
            let (energies, seeds) =
                (bench.per_block("energies", jet.streams()), bench.per_block("seeds", jet.streams()));
            let residual = bench.per_block("residual", 1);
            bench.fill(residual, 0..n_real as usize, 1.0);
            let all = 0..(batch.div_ceil(lanes) * lanes) as usize * jet.streams();
            // Lanes without an image hold numbers, too, which must not count.
            bench.fill(energies, all.clone(), 1.0);
            let metrics = bench.flat("metrics", ROWS as usize * METRICS);
            let share = [1.0, 0.5][i % 2];
            let kernel = ScoreLoss { lanes, batch, n_images, metric_rows: ROWS, jet, share };
            let row = (step % ROWS) as usize * METRICS;
            let written = [(seeds, vec![all]), (metrics, vec![row..row + 5, row + 6..row + 8])];
            let bindings = [state, energies, residual, seeds, metrics];
            bench.whole_launch(format!("{kernel:?} step {step}"), kernel, &bindings, &written);
        }
    }
}

fn add_update(bench: &mut Bench) {
    const ROWS: u32 = 5;
    let lanes = bench.plan.lanes;
    // Up to two blocks of each half.
    for (batch, n_images, step) in [
        (1, 1, 3),
        (5, 17, 3),
        (17, 50, 2),
        (lanes, 1000, 7),
        (lanes + 1, lanes + 2, 1),
        (2 * lanes, 5 * lanes, 4),
    ]
    .into_iter()
    .filter(|(batch, ..)| *batch <= 2 * lanes)
    {
        let (half_blocks, n) = (batch.div_ceil(lanes), n_images.div_ceil(batch));
        let n_real = if step % n == n - 1 { n_images - (n - 1) * batch } else { batch };
        let half = (half_blocks * lanes) as usize;
        let state = bench.state(State { step, ..State::default() });
        let energies = bench.per_block("energies", 1);
        bench.fill(energies, 0..n_real as usize, 1.0);
        bench.fill(energies, half..half + batch as usize, 1.0);
        let seeds = bench.per_block("seeds", 1);
        let metrics = bench.flat("metrics", ROWS as usize * METRICS);
        let square_of_means = n_images % 2 == 0;
        let kernel = ContrastiveLoss {
            lanes,
            batch,
            n_images,
            metric_rows: ROWS,
            alpha: 0.1,
            square_of_means,
            kl: 0.3,
        };
        let row = (step % ROWS) as usize * METRICS;
        let written = [(seeds, vec![0..2 * half]), (metrics, vec![row..row + 5, row + 6..row + 8])];
        let bindings = [state, energies, seeds, metrics];
        bench.whole_launch(format!("{kernel:?} step {step}"), kernel, &bindings, &written);

        // The penalty's part of the energies; all of the table's row is there already.
        if batch <= lanes {
            let energies = bench.random_blocks("energies", 1, &(0..N_BLOCKS));
            let seeds = bench.random_blocks("seeds", 1, &(0..1));
            let metrics = bench.random_flat("metrics", ROWS as usize * METRICS);
            let kernel =
                Smoothness { lanes, batch, n_images, first_block: 2, metric_rows: ROWS, weight: 0.3 };
            let all = lanes as usize;
            let written =
                [(seeds, vec![0..all, 2 * all..3 * all]), (metrics, vec![row..row + 1, row + 2..row + 3])];
            let bindings = [state, energies, seeds, metrics];
            bench.whole_launch(format!("{kernel:?} step {step}"), kernel, &bindings, &written);
        }
        let decisions = bench.random_blocks("decisions", 2, &(1..1 + half_blocks));
        let metrics = bench.flat("metrics", ROWS as usize * METRICS);
        let kernel = MeanAcceptance { lanes, batch, first_block: 1, steps: 7, metric_rows: ROWS };
        let written = [(metrics, vec![row + 7..row + 8])];
        let bindings = [state, decisions, metrics];
        for word in &mut bench.contents[decisions.0] {
            *word &= if *word == GUARD { u32::MAX } else { 0x7fff_ffff }; // counts are not negative
        }
        bench.whole_launch(format!("{kernel:?} step {step}"), kernel, &bindings, &written);
    }
    for (i, n_parameters) in LENGTHS.into_iter().enumerate() {
        let n_chunks = [1, 3, 32][i % 3];
        let partials = bench.random_flat("partials", n_chunks as usize * n_parameters);
        let gradient = bench.flat("gradient", n_parameters);
        let kernel = ReducePartials { n_parameters, n_chunks };
        let all = vec![0..n_parameters];
        let written = [(gradient, all.clone())];
        bench.whole_launch(format!("{kernel:?}"), kernel, &[partials, gradient], &written);

        let gradient = bench.random_flat("gradient", n_parameters);
        let n_partials = n_parameters.div_ceil(GROUP);
        let squares = bench.flat("squares", n_partials);
        let kernel = SumSquares { n_parameters };
        let written = [(squares, vec![0..n_partials])];
        bench.whole_launch(format!("{kernel:?}"), kernel, &[gradient, squares], &written);

        let (parameters, gradient) =
            (bench.random_flat("parameters", n_parameters), bench.random_flat("gradient", n_parameters));
        let written = [(gradient, all.clone())];
        let kernel = WeightPenalty { n_parameters, weight: 0.3 };
        bench.whole_launch(format!("{kernel:?}"), kernel, &[parameters, gradient], &written);
        let average = bench.random_flat("average", n_parameters);
        let written = [(average, all.clone())];
        // At the first step, while the average warms up, and where its decay is what it keeps.
        let kernel = AverageWeights { n_parameters, decay: 0.99 };
        let state = bench.state(State { step: [0, 17, 100_000][i % 3], ..State::default() });
        bench.whole_launch(format!("{kernel:?}"), kernel, &[state, parameters, average], &written);

        // Steps: the first, where 1 - beta^t cancels most; some; and where beta^t is 0 at last. A beta of 0, too.
        // With every schedule of the learning rate.
        let exponential = Decay::Exponential { factor: 0.97, epoch: 17 };
        let cosine = |training_steps| Decay::Cosine { training_steps };
        for (step, beta1, beta2, decay, warm_up) in [
            (0, 0.9, 0.999, Decay::Constant, 0),
            (1, 0.0, 0.999, exponential, 3),
            (40, 0.9, 0.9999999, exponential, 3),
            (40, 0.9, 0.999, cosine(55), 100),
            (4_000_000, 0.9, 0.999, cosine(4_000_000), 0),
            (4_000_000, 0.9, 0.999, Decay::Constant, 0),
        ] {
            let state = bench.state(State { step, retries: step % 3, ..State::default() });
            let gradient = bench.random_flat("gradient", n_parameters);
            let scale = bench.random_flat("scale", 1);
            let first_moment = bench.random_flat("first moment", n_parameters);
            let second_moment = bench.random_flat("second moment", n_parameters);
            bench.contents[second_moment.0].iter_mut().for_each(|v| *v &= 0x7fff_ffff);
            let parameters = bench.random_flat("parameters", n_parameters);
            // A step as long as the parameters are large, so that nothing of it hides behind them; but a lone parameter
            // that comes near 0 has no larger one to be measured by.
            let learning_rate = if n_parameters > 1 { 0.3 } else { 0.003 };
            let kernel = Adam {
                n_parameters,
                learning_rate,
                beta1,
                beta2,
                epsilon: 1e-7,
                schedule: Schedule { decay, warm_up },
                gradient_clip: if step == 40 { 0.2 } else { f32::INFINITY },
                weight_decay: f64::from(step % 3),
                retry_factor: 0.7,
            };
            let written = [first_moment, second_moment, parameters].map(|id| (id, all.clone()));
            let bindings = [state, gradient, scale, first_moment, second_moment, parameters];
            bench.whole_launch(format!("{kernel:?} step {step}"), kernel, &bindings, &written);
        }
    }
    for (n_partials, clip, step) in [(1, 0.0, 0), (5, 1e-3, 4), (65, 1e3, 5), (257, 0.5, 12), (1025, 0.0, 3)]
    {
        let state = bench.state(State { step, ..State::default() });
        let partial = bench.random_flat("partial", n_partials);
        bench.contents[partial.0].iter_mut().for_each(|v| *v &= 0x7fff_ffff);
        let scale = bench.flat("scale", 1);
        let metrics = bench.flat("metrics", ROWS as usize * METRICS);
        let kernel = ClipScale { n_partials, metric_rows: ROWS, clip };
        let at = (step % ROWS) as usize * METRICS + 5;
        let written = [(scale, vec![0..1]), (metrics, vec![at..at + 1])];
        bench.whole_launch(format!("{kernel:?}"), kernel, &[state, partial, scale, metrics], &written);

        let metrics = bench.random_flat("metrics", ROWS as usize * METRICS);
        bench.contents[metrics.0].iter_mut().for_each(|v| *v &= 0x7fff_ffff);
        let kernel = AddPenalty { n_partials, metric_rows: ROWS, weight: 0.1 };
        let written = [(metrics, vec![at - 5..at - 4, at - 3..at - 2])];
        bench.whole_launch(format!("{kernel:?}"), kernel, &[state, partial, metrics], &written);
    }
}

fn add_spectral(bench: &mut Bench) {
    for (rows, columns, number) in [(1, 1, 0), (3, 300, 1), (65, 17, 2), (257, 64, 0)] {
        let matrix = Matrix { rows, columns, weight_offset: 5, vector_offset: 3 };
        let parameters = bench.random_flat("parameters", matrix.range().end + 2);
        let u = bench.random_flat("u", matrix.vector().end + 1);
        let v = bench.flat("v", columns + 2);
        let kernel = SpectralInput { matrix };
        bench.whole_launch(format!("{kernel:?}"), kernel, &[parameters, u, v], &[(v, vec![0..columns])]);

        let v = bench.random_flat("v", columns + 2);
        let t = bench.flat("t", rows + 2);
        let kernel = SpectralOutput { matrix };
        bench.whole_launch(format!("{kernel:?}"), kernel, &[parameters, v, t], &[(t, vec![0..rows])]);

        // Within its bound, and beyond it.
        for bound in [1e3, 1e-2] {
            let (v, t) = (bench.random_flat("v", columns + 2), bench.random_flat("t", rows + 2));
            let parameters = bench.random_flat("parameters", matrix.range().end + 2);
            let (u, norms) = (bench.flat("u", matrix.vector().end + 1), bench.flat("norms", 3));
            let kernel = SpectralBound { matrix, number, bound };
            let mut written = vec![(u, vec![matrix.vector()]), (norms, vec![number..number + 1])];
            written.push((parameters, vec![matrix.range()]));
            let state = bench.state(State::default());
            bench.whole_launch(format!("{kernel:?}"), kernel, &[state, v, t, parameters, u, norms], &written);

            let parameters = bench.random_flat("parameters", matrix.range().end + 2);
            let (u, norms) = (bench.random_flat("u", matrix.vector().end + 1), bench.flat("norms", 3));
            let state = bench.state(State { halted: 1, ..State::default() });
            let kernel = SpectralBound { matrix, number, bound };
            let written = [(u, vec![]), (parameters, vec![]), (norms, vec![number..number + 1])];
            let bindings = [state, v, t, parameters, u, norms];
            bench.whole_launch(format!("halted {kernel:?}"), kernel, &bindings, &written);
        }
    }
}

/// A state that training has been halted in.
fn halted() -> State {
    State { step: 7, ring_length: 5, halted: 3, ..State::default() }
}

/// Whatever would keep something of a step, in a state that is halted: nothing is written.
fn add_halted(bench: &mut Bench) {
    let (lanes, n) = (bench.plan.lanes, 70);
    let (state, gradient, scale) =
        (bench.state(halted()), bench.random_flat("gradient", n), bench.random_flat("scale", 1));
    let [first_moment, second_moment, parameters, average] =
        ["first moment", "second moment", "parameters", "average"].map(|name| bench.random_flat(name, n));
    let kernel = Adam {
        n_parameters: n,
        learning_rate: 0.3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-7,
        schedule: Schedule::default(),
        gradient_clip: f32::INFINITY,
        weight_decay: 0.1,
        retry_factor: 0.5,
    };
    let bindings = [state, gradient, scale, first_moment, second_moment, parameters];
    let nothing = [first_moment, second_moment, parameters].map(|id| (id, vec![]));
    bench.whole_launch("adam, halted".to_owned(), kernel, &bindings, &nothing);
    let kernel = AverageWeights { n_parameters: n, decay: 0.9 };
    let nothing = [(average, vec![])];
    bench.whole_launch("average, halted".to_owned(), kernel, &[state, parameters, average], &nothing);
    let (features, batch, capacity) = (5, lanes, 100);
    let (x, ring) = (
        bench.random_blocks("x", features, &(0..N_BLOCKS)),
        bench.random_flat("ring", capacity as usize * features),
    );
    for subset in [false, true] {
        let kernel = PushReplay { lanes, features, batch, capacity, first_block: 1, subset };
        bench.whole_launch("push, halted".to_owned(), kernel, &[state, x, ring], &[(ring, vec![])]);
    }
    let kernel = Advance { batch, capacity };
    bench.whole_launch("advance, halted".to_owned(), kernel, &[state], &[(state, vec![])]);
}

fn add_snapshots(bench: &mut Bench) {
    // Up to several words an invocation; most groups, and a stretch of several each.
    for (length, wrong) in [
        (1, vec![]),
        (1, vec![0]),
        (63, vec![5]),
        (1025, vec![0, 512, 513, 1024]),
        (5000, vec![4999]),
        (300_001, (0..300_001).step_by(7).collect::<Vec<usize>>()),
    ] {
        let values = bench.flat("values", length + 3); // the last three, which are NaN, are not looked at
        bench.fill(values, 0..length, 3e38);
        let not_finite = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001)];
        for (i, at) in wrong.iter().enumerate() {
            bench.contents[values.0][*at] = not_finite[i % 4].to_bits();
        }
        let (groups, first) = (CountNonFinite::groups(length), length % 5);
        let counts = bench.flat("counts", first + groups + 2);
        let kernel = CountNonFinite { length, first };
        let written = [(counts, vec![first..first + groups])];
        bench.whole_launch(format!("{kernel:?}, {} wrong", wrong.len()), kernel, &[values, counts], &written);

        for (keep, always) in [(0.0, false), (1.0, false), (0.0, true)] {
            let flag = bench.flat("keep", 1);
            bench.contents[flag.0][0] = f32::to_bits(keep);
            let source = bench.add("source", Layout::Flat(length + 1), Words::Integers);
            bench.fill(source, 0..length + 1, 1.0);
            let copy = bench.add("copy", Layout::Flat(length + 1), Words::Integers);
            let kernel = CopyWords { length, always };
            let all = if keep > 0.0 || always { vec![0..length] } else { vec![] };
            bench.whole_launch(format!("{kernel:?}"), kernel, &[flag, source, copy], &[(copy, all)]);
        }
    }
    let calm = Memory { steps: 300.0, calm: 100.0, tries: 2.0, ..Memory::default() };
    let cases = [
        // Not finite, state, memory, whether a snapshot is kept.
        (0.0, State::default(), Memory::default()),
        (0.0, State::default(), calm),
        (0.0, State::default(), Memory { calm: 99.0, ..calm }),
        (3.0, State::default(), calm),
        (0.0, halted(), calm),
        (3.0, halted(), calm),
    ];
    for (wrong, at, remembered) in cases {
        let (state, memory, keep) = (bench.state(at), bench.memory(remembered), bench.flat("keep", 1));
        let n_counts = 700;
        let counts = bench.flat("counts", n_counts + 1);
        bench.contents[counts.0][..n_counts].fill(0);
        bench.contents[counts.0][n_counts - 1] = f32::to_bits(wrong);
        let halts = wrong > 0.0 && at.halted == 0;
        let of_state = if halts { vec![7..8] } else { vec![] };
        let of_memory = if halts { vec![11..13] } else { vec![] };
        let written = [(state, of_state), (memory, of_memory), (keep, vec![0..1])];
        let kernel = CheckState { n_counts, interval: 100 };
        let bindings = [state, counts, memory, keep];
        bench.whole_launch(format!("{kernel:?} of {at:?}, {wrong}"), kernel, &bindings, &written);
    }
}

/// A healthy step, and what has to be changed in it for each reason to halt; and the same with no reason to.
fn add_guard(bench: &mut Bench) {
    const ROWS: u32 = 5;
    let lanes = bench.plan.lanes;
    for (i, (features, batch, n_images, step)) in [
        (1, 1, 1, 0),
        (17, lanes, 5 * lanes, 2),
        (63, lanes + 1, 2 * lanes + 7, 1),
        (5, 2 * lanes, 3 * lanes, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let n = n_images.div_ceil(batch);
        let n_real = if step % n == n - 1 { n_images - (n - 1) * batch } else { batch };
        let half = batch.div_ceil(lanes);
        let state = bench.state(State { step, ..State::default() });
        // Lanes without an image are NaN: they must not count.
        let x = bench.per_block("x", features);
        for (first, n) in [(0, n_real), (half, batch)] {
            for image in 0..n {
                for feature in 0..features {
                    let block = (first + image / lanes) as usize;
                    let at = (block * features + feature) * lanes as usize + (image % lanes) as usize;
                    bench.fill(x, at..at + 1, 1.0);
                }
            }
        }
        let statistics = bench.flat("statistics", 4 * features);
        let kernel = ImageStatistics { lanes, features, batch, n_images, bound: 0.4 + 0.1 * i as f32 };
        let all = [(statistics, vec![0..4 * features])];
        bench.whole_launch(format!("{kernel:?} step {step}"), kernel, &[state, x, statistics], &all);
    }

    // Energies lie in [-1, 1], 0.5 is the mean of the real ones.
    let usual = Memory {
        steps: 1000.0,
        gap: 0.2,
        gap_range: 0.3,
        alike: 499.0,
        saturated: 499.0,
        flat: 499.0,
        calm: 20.0,
        since: 30.0,
        tries: 2.0,
        variance: 0.3,
        ..Memory::default()
    };
    let row = [0.1, -0.2, 0.3, 0.5, 0.7, 3.0];
    let images = [0.2, 0.1, 0.5, 0.4]; // variances and shares, real and fake
    #[derive(Clone)]
    struct Case {
        name: &'static str,
        memory: Memory,
        row: [f32; 6],
        images: [f32; 4],
        energy: f32, // of one image
        drawn: f32,  // numbers that are not finite
        has_fakes: bool,
        bounded: bool,
        halts: bool,
    }
    let case = Case {
        name: "healthy",
        memory: usual,
        row,
        images,
        energy: 0.3,
        drawn: 0.0,
        has_fakes: true,
        bounded: true,
        halts: false,
    };
    let halts = Case { halts: true, ..case.clone() };
    let early = Memory { steps: 199.0, ..usual };
    let first = Memory { steps: 0.0, energies: -20.0, gradient: -20.0, ..usual };
    let gone = Memory { since: 999.0, ..usual };
    let with = |place: usize, value: f32| {
        let mut row = row;
        row[place] = value;
        row
    };
    let cases = [
        case.clone(),
        Case { name: "early", memory: early, ..case.clone() },
        Case { name: "first", memory: first, row: with(5, 1e6), ..case.clone() },
        Case { name: "forgiven", memory: gone, ..case.clone() },
        Case { name: "drawn", drawn: 2.0, ..halts.clone() },
        Case { name: "an energy is NaN", energy: f32::NAN, ..halts.clone() },
        Case { name: "an energy is infinite", energy: f32::NEG_INFINITY, ..halts.clone() },
        Case { name: "the loss is NaN", row: with(0, f32::NAN), ..halts.clone() },
        Case { name: "the gradient is infinite", row: with(5, f32::INFINITY), ..halts.clone() },
        Case { name: "the gradient is NaN", row: with(5, f32::NAN), ..halts.clone() },
        Case { name: "energies far out", energy: -120.0, ..halts.clone() },
        Case { name: "energies out", energy: 90.0, ..case.clone() },
        Case { name: "energies far out, early", energy: -120.0, memory: early, ..case.clone() },
        Case { name: "energies farther out, early", energy: -1200.0, memory: early, ..halts.clone() },
        Case { name: "a large gradient", row: with(5, 101.0), ..halts.clone() },
        Case { name: "not so large a gradient", row: with(5, 99.0), ..case.clone() },
        Case { name: "a small gradient", row: with(5, 0.0), ..case.clone() },
        Case { name: "all alike", images: [0.2, 0.0099, 0.5, 0.4], ..halts.clone() },
        Case { name: "not quite", images: [0.2, 0.0101, 0.5, 0.4], ..case.clone() },
        Case {
            name: "alike all along",
            memory: Memory { variance: 0.1, ..usual },
            images: [0.2, 0.0099, 0.5, 0.4],
            ..case.clone()
        },
        Case { name: "saturated", images: [0.2, 0.1, 0.5, 0.049], ..halts.clone() },
        Case { name: "saturated, no bound", images: [0.2, 0.1, 0.5, 0.0], bounded: false, ..case.clone() },
        Case {
            name: "no fake energies",
            energy: f32::NAN,
            images: [0.2, 0.0, 0.5, 0.0],
            row: with(4, 0.5),
            has_fakes: false,
            ..case.clone()
        },
        Case { name: "saturated as real images", images: [0.2, 0.1, 0.009, 0.0], ..case.clone() },
        Case { name: "flat", row: with(4, 0.5002), ..halts.clone() },
        Case { name: "not quite flat", row: with(4, 0.5004), ..case.clone() },
        Case { name: "for a short time", memory: Memory { flat: 400.0, ..usual }, row: with(4, 0.5), ..case },
    ];
    let (batch, n_features, n_counts, step) = (lanes + 1, 300, 257, 3);
    for (number, case) in cases.iter().enumerate() {
        for at in [State { step, ..State::default() }, State { step, ..halted() }] {
            let state = bench.state(at);
            let metrics = bench.flat("metrics", ROWS as usize * METRICS);
            let at_row = (step % ROWS) as usize * METRICS;
            for (word, value) in bench.contents[metrics.0][at_row..].iter_mut().zip(case.row) {
                *word = value.to_bits();
            }
            // One jet has three streams, of which the first is the energy; the others are NaN.
            let streams = if case.name.contains("energ") { 3 } else { 1 };
            let energies = bench.per_block("energies", streams);
            let lanes = lanes as usize;
            for (first, n) in [(0, batch as usize), (2, batch as usize)] {
                for image in 0..n {
                    let at = (first + image / lanes) * streams * lanes + image % lanes;
                    bench.fill(energies, at..at + 1, 1.0);
                }
            }
            // The last of the fake ones.
            let last = (3 * streams) * lanes;
            bench.contents[energies.0][last] = case.energy.to_bits();
            let statistics = bench.flat("statistics", 4 * n_features);
            for (i, word) in bench.contents[statistics.0].iter_mut().enumerate() {
                *word = case.images[i % 4].to_bits();
            }
            let counts = bench.flat("counts", n_counts);
            bench.contents[counts.0].fill(0);
            bench.contents[counts.0][n_counts - 1] = case.drawn.to_bits();
            let memory = bench.memory(case.memory);
            let kernel = Guard {
                lanes: lanes as u32,
                streams,
                batch,
                n_images: 10 * batch,
                metric_rows: ROWS,
                n_features,
                n_counts,
                has_fakes: case.has_fakes,
                bounded: case.bounded,
                energy_range: 100.0,
                gradient_range: 100.0,
                collapse_steps: 500,
            };
            let (of_state, of_memory) = match (at.halted, case.halts) {
                (0, true) => (vec![7..8], vec![11..13]),
                (0, false) => (vec![], vec![0..11, 13..14]),
                _ => (vec![], vec![]),
            };
            let written = [(state, of_state), (memory, of_memory)];
            let bindings = [state, metrics, energies, statistics, counts, memory];
            bench.whole_launch(format!("{number}, {}: {at:?}", case.name), kernel, &bindings, &written);
        }
    }
}

fn add_multiply_adds(bench: &mut Bench) {
    for (invocations, turns) in [(1, 0), (70, 1), (200, 32)] {
        let result = bench.flat("result", invocations as usize);
        let kernel = MultiplyAdds { invocations, turns };
        let written = [(result, vec![0..invocations as usize])];
        bench.whole_launch(format!("{kernel:?}"), kernel, &[result], &written);
    }
}

/// All cases, or those with a number that is `of.0` modulo `of.1` where each costs a pipeline.
fn bench(lanes: u32, for_gpu: bool, of: (usize, usize)) -> Bench {
    let mut bench = Bench::new(lanes);
    let own = |number: &usize| number % of.1 == of.0;
    for (number, shape) in conv_shapes().into_iter().enumerate().filter(|(n, _)| own(n)) {
        add_conv(&mut bench, number, shape, for_gpu);
    }
    for (number, shape) in dense_shapes().into_iter().enumerate().filter(|(n, _)| own(n)) {
        add_dense(&mut bench, number, shape, for_gpu);
    }
    for (number, shape) in lstm_shapes().into_iter().enumerate().filter(|(n, _)| own(n)) {
        add_lstm(&mut bench, number, shape, for_gpu);
    }
    add_pools(&mut bench);
    add_analytic(&mut bench);
    add_random(&mut bench);
    add_annealing(&mut bench);
    add_draws(&mut bench);
    add_update(&mut bench);
    add_spectral(&mut bench);
    add_multiply_adds(&mut bench);
    add_halted(&mut bench);
    add_snapshots(&mut bench);
    add_guard(&mut bench);
    add_jets(&mut bench, own);
    bench
}

const LANES: [u32; 3] = [16, 32, 64];

fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn shaders_match_their_twins() {
    let of_lanes = |(i, lanes): (usize, u32)| bench(lanes, true, (i, LANES.len())).failures(gpu());
    assert_none(&LANES.into_iter().enumerate().flat_map(of_lanes).collect::<Vec<_>>());
}

#[test]
fn bodies_match_their_twins() {
    let mut failures = Vec::new();
    for (i, lanes) in [8].into_iter().chain(LANES).enumerate() {
        // All cases in the widths that plans for the CPU have; a third of them in the others.
        let bench = bench(lanes, false, if lanes <= 16 { (0, 1) } else { (i % 3, LANES.len()) });
        for isa in Isa::available().into_iter().filter(|isa| *isa != Isa::Reference) {
            failures.extend(bench.failures(&Device::Cpu(isa)));
        }
    }
    assert_none(&failures);
}

/// Kernels that fall into parts, large enough for threads, at sizes that parts do not divide: bit for bit what the twins
/// leave, as a program, whose launches run at the same time where none looks at another's results.
#[test]
fn parts_match_their_twins_bit_for_bit() {
    let n_parameters = 150_001;
    let mut bench = Bench::new(16);
    let lanes = bench.plan.lanes;
    let state = bench.state(State { step: 3, ..State::default() });
    let partials = bench.random_flat("partials", 3 * n_parameters);
    let gradient = bench.flat("gradient", n_parameters);
    let squares = bench.flat("squares", n_parameters.div_ceil(GROUP));
    let scale = bench.random_flat("scale", 1);
    let moments = ["first moment", "second moment"].map(|name| bench.random_flat(name, n_parameters));
    bench.contents[moments[1].0].iter_mut().for_each(|v| *v &= 0x7fff_ffff);
    let parameters = bench.random_flat("parameters", n_parameters);
    let average = bench.random_flat("average", n_parameters);
    let features = 1001;
    let x = bench.random_blocks("x", features, &(0..N_BLOCKS));
    let statistics = bench.flat("statistics", 4 * features);
    let adam = Adam {
        n_parameters,
        learning_rate: 0.3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        schedule: Schedule::default(),
        gradient_clip: 0.01,
        weight_decay: 0.1,
        retry_factor: 0.5,
    };
    let (batch, n_images) = (2 * lanes - 3, 5 * lanes);
    let launches: [(Kernel, &[BufferId]); 6] = [
        (ReducePartials { n_parameters, n_chunks: 3 }.into(), &[partials, gradient]),
        (WeightPenalty { n_parameters, weight: 0.3 }.into(), &[parameters, gradient]),
        (SumSquares { n_parameters }.into(), &[gradient, squares]),
        (adam.into(), &[state, gradient, scale, moments[0], moments[1], parameters]),
        (AverageWeights { n_parameters, decay: 0.99 }.into(), &[state, parameters, average]),
        (ImageStatistics { lanes, features, batch, n_images, bound: 0.4 }.into(), &[state, x, statistics]),
    ];
    for (kernel, bindings) in launches {
        bench.whole_launch(kernel.name().to_owned(), kernel, bindings, &[]);
    }
    // Tiles of which the last has fewer channels, and other tiles than those of the CPU.
    let shape = ConvShape { out_channels: 67, in_channels: 61, ..conv_shapes()[1] };
    for (tile, flattened) in [(4, 1), (8, 1), (3, 61)] {
        for packing in [Packing::forward(shape, tile), Packing::backward(shape, tile)] {
            let packing = Packing { flattened, ..packing };
            let packed = bench.flat("packed", 5 + packing.len() + 2);
            let kernel = PackWeights { packing, weight_offset: OFFSET, packed_offset: 5 };
            bench.whole_launch("pack_weights".to_owned(), kernel, &[parameters, packed], &[]);
        }
    }
    let run = async |isa| {
        let mut machine = bench.machine(&Device::Cpu(isa)).await;
        machine.run(ProgramId(0)).unwrap();
        machine
    };
    pollster::block_on(async {
        let reference = run(Isa::Reference).await;
        for isa in Isa::available() {
            let machine = run(isa).await;
            for (i, spec) in bench.plan.buffers.iter().enumerate() {
                let (words, right) =
                    (machine.read(BufferId(i)).await.unwrap(), reference.read(BufferId(i)).await.unwrap());
                let wrong = words.iter().zip(&right).position(|(word, right)| word != right);
                assert_eq!(wrong, None, "{isa}: the first wrong word of {} ({i})", spec.name);
            }
        }
    });
}

/// Activations over all magnitudes, on every instruction set and in the shader, against double precision.
#[test]
fn activations_are_right_everywhere() {
    let magnitudes = (-60..=12).map(|i| 2.0_f32.powf(0.5 * i as f32));
    let mut zs: Vec<f32> = magnitudes.flat_map(|z| [z, -z]).chain([0.0, -0.0, 1e5, -1e5]).collect();
    let lanes = 16;
    zs.resize(zs.len().next_multiple_of(lanes), 0.5);
    let n_blocks = (zs.len() / lanes) as u32;
    let shape = DenseShape { in_channels: 1, in_pixels: 1, units: 1 };
    let devices = Isa::available().into_iter().map(Device::Cpu).chain([gpu().clone()]);
    let mut failures = Vec::new();
    for device in devices {
        let tile_channels = if matches!(device, Device::Gpu(..)) { 4 } else { 1 };
        for activation in common::ACTIVATIONS {
            let mut plan =
                Plan { lanes: lanes as u32, n_blocks, buffers: Vec::new(), programs: vec![Vec::new()] };
            let mut add = |name: &str, layout| {
                plan.buffers.push(BufferSpec { name: name.to_owned(), layout, words: Words::Floats });
                BufferId(plan.buffers.len() - 1)
            };
            let weights = add("weights", Layout::Flat(tile_channels));
            let parameters = add("parameters", Layout::Flat(1));
            let [input, output, slope] =
                ["input", "output", "slope"].map(|name| add(name, Layout::PerBlock(1)));
            let kernel =
                DenseForward { lanes: lanes as u32, shape, tile_channels, bias_offset: 0, activation };
            plan.programs[0].push(Launch {
                kernel: kernel.into(),
                bindings: vec![input, weights, parameters, output, slope],
                blocks: 0..n_blocks,
                streams: 1,
                precision: Precision::F32,
            });
            let (output, slope) = pollster::block_on(async {
                let mut machine = Machine::new(&device, plan).await.unwrap();
                machine.write_floats(weights, &vec![1.0; tile_channels]);
                machine.write_floats(input, &zs);
                machine.run(ProgramId(0)).unwrap();
                (machine.read_floats(output).await.unwrap(), machine.read_floats(slope).await.unwrap())
            });
            for ((z, y), slope) in zs.iter().zip(output).zip(slope) {
                let want = activate(activation, f64::from(*z));
                // 2e-30: below -80 exponentials are 2e-35 or 0. The rounding of 60 is 4e-6 of its exponential.
                for (what, got, want, allowed) in
                    [("value", y, want.0, 2e-30 + 4e-6 * want.0.abs()), ("slope", slope, want.1, 1e-6)]
                {
                    let ok = (f64::from(got) - want).abs() <= allowed;
                    if !ok {
                        failures
                            .push(format!("{device}, {activation:?} at {z:e}: {what} {got:e}, not {want:e}"));
                    }
                }
            }
        }
    }
    assert_none(&failures);
}

#[test]
fn every_kernel_is_here() {
    let bench = bench(16, true, (0, 1));
    let names: std::collections::BTreeSet<_> = bench.plan.launches().map(|l| l.kernel.name()).collect();
    let folder = |path: &str| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let folders = folder(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")).filter(|path| !path.ends_with("lib"));
    let files: Vec<_> = folders.flat_map(|path| folder(path.to_str().unwrap())).collect();
    let mut missing = Vec::new();
    for file in files.into_iter().filter(|p| p.extension().is_some_and(|e| e == "wgsl")) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        // The fused chain has a file of its own: tests/chain.rs.
        if !names.contains(name.as_str()) && name != "chain" {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn the_comparator_notices() {
    let tolerance = Tolerance { absolute: 1e-30, relative: 0.0, of_largest: 1e-5 };
    let before = vec![GUARD; 40];
    let reference: Vec<u32> =
        (0..40).map(|i| if i < 30 { (0.1 * i as f32).to_bits() } else { GUARD }).collect();
    let judge = |words, value: &[u32]| differences(words, tolerance, value, &before, &reference);
    assert_eq!(judge(Words::Floats, &reference), Default::default());
    let spoilt = |i: usize, word: u32| {
        let mut value = reference.clone();
        value[i] = word;
        value
    };
    // The largest is 2.9: 2e-5 is within, 4e-5 is not; not even at the largest.
    assert_eq!(judge(Words::Floats, &spoilt(7, (0.7_f32 + 2e-5).to_bits())).first, None);
    assert_eq!(judge(Words::Floats, &spoilt(7, (0.7_f32 + 4e-5).to_bits())).first, Some(7));
    assert_eq!(judge(Words::Floats, &spoilt(29, (2.9_f32 + 4e-5).to_bits())).count, 1);
    for not_finite in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let found = judge(Words::Floats, &spoilt(7, not_finite.to_bits()));
        assert_eq!((found.first, found.error), (Some(7), f64::INFINITY), "{not_finite}");
    }
    assert_eq!(judge(Words::Floats, &spoilt(7, GUARD)).first, Some(7), "an element that was not written");
    assert_eq!(judge(Words::Floats, &spoilt(35, 0)).first, Some(35), "a guard word that was written");
    assert_eq!(judge(Words::Integers, &spoilt(7, reference[7] + 1)).first, Some(7));
    // An infinity of the reference must not make everything else right.
    let mut infinite = reference.clone();
    infinite[3] = f32::INFINITY.to_bits();
    let found = differences(Words::Floats, tolerance, &reference, &before, &infinite);
    assert_eq!((found.first, found.count), (Some(3), 1));
    let mut value = infinite.clone();
    value[7] = 0.701_f32.to_bits();
    assert_eq!(differences(Words::Floats, tolerance, &value, &before, &infinite).first, Some(7));
    // Zero allows zero, of either sign.
    let zeros = [0_u32; 4];
    let found = differences(Words::Floats, tolerance, &[0, 1 << 31, 0, 0], &zeros, &zeros);
    assert_eq!(found.first, None);
    let found = differences(Words::Floats, tolerance, &[0, 0, 1e-29_f32.to_bits(), 0], &zeros, &zeros);
    assert_eq!(found.first, Some(2));
}

/// Kernels with one thing wrong in each must part from the right ones.
#[test]
fn broken_kernels_are_caught() {
    type Break = fn(&mut Kernel);
    fn forward(kernel: &mut Kernel, change: impl Fn(&mut ConvForward)) {
        if let Kernel::ConvForward(k) = kernel {
            change(k);
        }
    }
    fn input_gradient(kernel: &mut Kernel, change: impl Fn(&mut ConvInputGradient)) {
        if let Kernel::ConvInputGradient(k) = kernel {
            change(k);
        }
    }
    fn weight_gradient(kernel: &mut Kernel, change: impl Fn(&mut ConvWeightGradient)) {
        if let Kernel::ConvWeightGradient(k) = kernel {
            change(k);
        }
    }
    let breaks: [(&str, usize, Break); 9] = [
        ("pad", 0, |k| forward(k, |k| k.shape.pad_left += 1)),
        ("activation", 0, |k| forward(k, |k| k.activation = Activation::Identity)),
        ("bias", 0, |k| forward(k, |k| k.bias_offset -= 1)),
        ("a row too few", 0, |k| forward(k, |k| k.shape.out_height -= 1)),
        ("pad", 1, |k| input_gradient(k, |k| k.shape.pad_top += 1)),
        ("slope", 1, |k| input_gradient(k, |k| k.slope = Slope::None)),
        ("pad", 2, |k| weight_gradient(k, |k| k.shape.pad_left += 1)),
        ("a block too few", 2, |k| weight_gradient(k, |k| k.chunks.n_blocks -= 1)),
        ("offset", 2, |k| weight_gradient(k, |k| k.weight_offset += 1)),
    ];
    let mut failures = Vec::new();
    for device in [gpu().clone(), Device::Cpu(Isa::best())] {
        let mut right = Bench::new(16);
        add_conv(&mut right, 0, conv_shapes()[1], matches!(device, Device::Gpu(..)));
        failures.extend(right.failures(&device));
        for (what, launch, change) in breaks {
            let mut plan = right.plan.clone();
            change(&mut plan.programs[0][launch].kernel);
            let report = pollster::block_on(async {
                let mut reference = right.machine(&Device::Cpu(Isa::Reference)).await;
                let mut machine = Machine::new(&device, plan).await.unwrap();
                for (i, words) in right.contents.iter().enumerate() {
                    machine.write(BufferId(i), 0, words);
                }
                compare_with(&mut machine, &mut reference, ProgramId(0)).await.unwrap()
            });
            // That launch parts, by name, and no other does, because each begins from the reference's results.
            let kernel = right.plan.programs[0][launch].kernel.name();
            let named = report.to_string().contains(&format!("Parted: launch {launch}, {kernel} "));
            let elsewhere = report.partings.iter().any(|p| p.launch != launch);
            if !named || elsewhere {
                failures.push(format!("{device}, {what}:\n{report}"));
            }
        }
    }
    assert_none(&failures);
}
