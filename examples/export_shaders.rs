//! Writes every pipeline of the training plans of `mnist-small`, by layers and fused, and of `digits`, as the SPIR-V that wgpu would hand to a Vulkan driver,
//! for tools that look at shaders with no GPU (`benches/gpu_stats.sh`):
//!
//! ```sh
//! cargo run --release --example export_shaders -- FOLDER [LANES TILE_CHANNELS TILE_PIXELS]
//! ```
//!
//! `manifest.tsv` lists them: file, pipeline, storage buffers (bindings 1 to n; binding 0 is the uniform struct), size of
//! a workgroup, workgroups of one launch, launches of a training step.

use naga::back::pipeline_constants::process_overrides;
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use thalweg::data::ImageShape;
use thalweg::kernels::Kernel;
use thalweg::kernels::chain::Hidden;
use thalweg::network::preset;
use thalweg::plan::{
    GuardNumbers, SamplerNumbers, ScoreObjective, Source, Target, TrainingNumbers, training_plan,
};

const BATCH: u32 = 128;

/// A pipeline of a plan.
struct Pipeline {
    kernel: Kernel,
    workgroups: [u32; 3],
    launches: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let sizes = arguments.map(|a| a.parse()).collect::<Result<Vec<usize>, _>>()?;
    std::fs::create_dir_all(&folder)?;

    let mut target = Target::gpu(BATCH as usize);
    if let [lanes, tile_channels, tile_pixels] = sizes[..] {
        let tile_area = tile_channels * tile_pixels;
        target = Target { lanes: lanes as u32, tile_channels, tile_pixels, tile_area, ..target };
    }
    let mut pipelines: BTreeMap<String, Pipeline> = BTreeMap::new();
    // `digits` learns by denoising.
    let velocity =
        ScoreObjective::Denoising { sigma: 0.1, sigma_max: 5.0, levels: 64, velocity: true, from_noise: 0.0 };
    let fused = Target { fused_steps: u32::MAX, ..target };
    let plans = [
        ("mnist-small", None, target),
        ("mnist-small", None, fused),
        ("mnist-small", None, Target { fused_hidden: Hidden::Workgroup, ..fused }),
        ("digits", Some(velocity), target),
    ];
    for (name, score, target) in plans {
        for (key, pipeline) in pipelines_of(name, score, target)? {
            pipelines.entry(key).or_insert(pipeline);
        }
    }
    let mut manifest = String::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for Pipeline { kernel, workgroups, launches } in pipelines.values() {
        let count = counts.entry(kernel.name()).or_default();
        let file = format!("{}.{count}.spv", kernel.name());
        *count += 1;
        let (words, size) = spirv(kernel).map_err(|e| format!("{}: {e}", kernel.name()))?;
        std::fs::write(folder.join(&file), bytemuck::cast_slice::<u32, u8>(&words))?;
        let ([x, y, z], [gx, gy, gz]) = (size, workgroups);
        let (name, n) = (label(kernel), kernel.access().len());
        manifest += &format!("{file}\t{name}\t{n}\t{x}x{y}x{z}\t{gx}x{gy}x{gz}\t{launches}\n");
    }
    std::fs::write(folder.join("manifest.tsv"), &manifest)?;
    println!("{} pipelines in {}", pipelines.len(), folder.display());
    Ok(())
}

/// The different pipelines of a training step of a preset.
fn pipelines_of(
    name: &str,
    score: Option<ScoreObjective>,
    target: Target,
) -> Result<BTreeMap<String, Pipeline>, Box<dyn Error>> {
    let network = preset(name)?;
    let numbers = TrainingNumbers {
        batch: BATCH,
        source: Source::Bytes,
        n_images: 60_000,
        data_shape: ImageShape { channels: 1, height: 28, width: 28 },
        data_noise: 0.005,
        chain: SamplerNumbers::default(),
        ring_capacity: 8192,
        fresh: 0.05,
        alpha: 0.1,
        learning_rate: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-7,
        gradient_norm_clip: 0.0,
        guard: Some(GuardNumbers::default()),
        score,
        ..TrainingNumbers::default()
    };
    let plan = training_plan(&network, &numbers, target);
    let mut pipelines: BTreeMap<String, Pipeline> = BTreeMap::new();
    for launch in &plan.plan.programs[plan.step.0] {
        let kernel = &launch.kernel;
        let key = format!("{}{}{:?}", kernel.name(), kernel.source(), kernel.overrides());
        let workgroups = kernel.workgroups(&launch.flat_blocks());
        let new = || Pipeline { kernel: kernel.clone(), workgroups, launches: 0 };
        pipelines.entry(key).or_insert_with(new).launches += 1;
    }
    Ok(pipelines)
}

/// The kernel's name, and the sizes that tell its pipelines apart.
fn label(kernel: &Kernel) -> String {
    let overrides: BTreeMap<_, _> = kernel.overrides().into_iter().collect();
    let of = |name: &str| overrides.get(name).copied();
    let sizes = match (of("IN_CHANNELS"), of("OUT_CHANNELS"), of("FEATURES"), of("UNITS")) {
        (Some(i), Some(o), _, _) | (_, _, Some(i), Some(o)) => format!(" {i}->{o}"),
        _ => String::new(),
    };
    let memory = match kernel {
        Kernel::Chain(chain) if chain.hidden == Hidden::Workgroup => " in workgroup memory",
        _ => "",
    };
    kernel.name().to_owned() + &sizes + memory
}

/// What wgpu 30 makes of a kernel on a Vulkan 1.3 driver with `robustBufferAccess2`, and its workgroup's size.
fn spirv(kernel: &Kernel) -> Result<(Vec<u32>, [u32; 3]), Box<dyn Error>> {
    let module = naga::front::wgsl::parse_str(&kernel.source())?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module)?;
    let constants = kernel.overrides().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let entry = Some((naga::ShaderStage::Compute, "main"));
    let (module, info) = process_overrides(&module, &info, entry, &constants)?;
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::Native,
        force_loop_bounding: true,
        ..spv::Options::default()
    };
    let pipeline =
        spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: "main".to_owned() };
    let words = spv::write_vec(&module, &info, &options, Some(&pipeline))?;
    let size = module.entry_points[0].workgroup_size;
    Ok((words, size))
}
