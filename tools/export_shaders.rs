//! Writes every pipeline of some plans in the forms that wgpu hands to drivers, for compilers that need no GPU
//! (`benches/gpu_stats.sh`, `tools/check_compilers.sh`):
//!
//! ```sh
//! cargo run --release --example export_shaders -- FOLDER first|all [LANES TILE_CHANNELS TILE_PIXELS]
//! ```
//!
//! `first` is what a first run takes on a GPU, `all` every pipeline of the tests and of every preset in full size. A
//! pipeline is NAME.wgsl, NAME.spv (Vulkan 1.3), NAME.vulkan1.spv (Vulkan 1.1), NAME.fxc.hlsl (shader model 5.1) and
//! NAME.dxc.hlsl (6.6); NAME.metal is written for people to read. `manifest.json` is a list of them:
//! * `file`: NAME;
//! * `kernel`: the kernel's name, with the sizes that tell its pipelines apart;
//! * `plan`: a plan that has it;
//! * `workgroup`: invocations in each dimension; `workgroup_bytes`: workgroup memory;
//! * `access`: how it uses the storage buffers, bindings 1 to n (binding 0 is the uniform struct);
//! * `overrides`: the values of the text's overrides;
//! * `int64`: whether it takes 64-bit integers, which only software renderers are given.

#![allow(unreachable_pub, reason = "as in tests/main.rs")]

#[path = "../tests/all_plans/mod.rs"]
#[allow(dead_code, reason = "tests use all of it")]
mod all_plans;
#[path = "../tests/common/mod.rs"]
#[allow(dead_code, reason = "tests use all of it")]
mod common;

use naga::back::pipeline_constants::process_overrides;
use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ResourceBinding, ShaderStage, StorageAccess};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use thalweg::kernels::Kernel;
use thalweg::kernels::chain::Hidden;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let set = arguments.next().unwrap_or_default();
    let tile = arguments.map(|a| a.parse()).collect::<std::result::Result<Vec<usize>, _>>()?;
    let plans = match set.as_str() {
        "first" => all_plans::first_plans(&tile),
        "all" => [all_plans::all_plans(), all_plans::preset_plans()].concat(),
        _ => return Err(format!("`{set}` is neither first nor all").into()),
    };
    let lone = all_plans::lone_kernels();
    let mut kernels = all_plans::kernels(&plans);
    if set == "all" {
        kernels.extend(lone.iter().map(|kernel| ("alone", kernel)));
    }
    std::fs::create_dir_all(&folder)?;
    let manifest: Result<Vec<Value>> = kernels
        .par_iter()
        .enumerate()
        .map(|(i, (plan, kernel))| {
            let file = format!("{i:04}.{}", kernel.name());
            let written = write(&folder.join(&file), kernel).map_err(|e| format!("{file} of {plan}: {e}"))?;
            let mut entry = json!({ "file": file, "kernel": label(kernel), "plan": plan });
            entry.as_object_mut().ok_or("no object")?.extend(written);
            Ok(entry)
        })
        .collect();
    std::fs::write(folder.join("manifest.json"), serde_json::to_string_pretty(&manifest?)?)?;
    println!("{} pipelines in {}", kernels.len(), folder.display());
    Ok(())
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

/// Writes a pipeline in all its forms; what its entry in the manifest says of it.
fn write(base: &Path, kernel: &Kernel) -> Result<serde_json::Map<String, Value>> {
    let source = kernel.source();
    let int64 = source.contains("u64");
    let module = naga::front::wgsl::parse_str(&source)?;
    let capabilities = if int64 { Capabilities::SHADER_INT64 } else { Capabilities::empty() };
    let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module)?;
    let constants = kernel.overrides().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let (module, info) = process_overrides(&module, &info, Some((ShaderStage::Compute, "main")), &constants)?;

    let file = |form: &str| PathBuf::from(format!("{}.{form}", base.display()));
    std::fs::write(file("wgsl"), &source)?;
    std::fs::write(file("spv"), spirv(&module, &info, (1, 6), BoundsCheckPolicy::Unchecked)?)?;
    std::fs::write(file("vulkan1.spv"), spirv(&module, &info, (1, 3), BoundsCheckPolicy::Restrict)?)?;
    std::fs::write(file("fxc.hlsl"), hlsl(&module, &info, hlsl::ShaderModel::V5_1)?)?;
    std::fs::write(file("dxc.hlsl"), hlsl(&module, &info, hlsl::ShaderModel::V6_6)?)?;
    std::fs::write(file("metal"), metal(&module, &info)?)?;

    let of_workgroup = module.global_variables.iter().filter(|(_, g)| g.space == AddressSpace::WorkGroup);
    let workgroup_bytes: u32 =
        of_workgroup.map(|(_, g)| module.types[g.ty].inner.size(module.to_ctx()).next_multiple_of(16)).sum();
    let access: Vec<_> = kernel.access().iter().map(|a| format!("{a:?}")).collect();
    let overrides: serde_json::Map<_, _> =
        kernel.overrides().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let entry = json!({
        "workgroup": module.entry_points[0].workgroup_size,
        "workgroup_bytes": workgroup_bytes,
        "access": access,
        "overrides": overrides,
        "int64": int64,
    });
    match entry {
        Value::Object(entry) => Ok(entry),
        _ => unreachable!("it is an object"),
    }
}

/// The bindings of a module, each with its address space.
fn bindings(module: &Module) -> impl Iterator<Item = (ResourceBinding, AddressSpace)> {
    module.global_variables.iter().filter_map(|(_, g)| Some((g.binding?, g.space)))
}

fn is_written(space: AddressSpace) -> bool {
    matches!(space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE))
}

fn checks(buffer: BoundsCheckPolicy) -> BoundsCheckPolicies {
    BoundsCheckPolicies {
        index: BoundsCheckPolicy::Restrict,
        buffer,
        image_load: buffer,
        binding_array: BoundsCheckPolicy::Unchecked,
    }
}

/// What wgpu makes of it on a Vulkan driver: `buffer` is `Unchecked` where the driver has `robustBufferAccess2`.
fn spirv(
    module: &Module,
    info: &ModuleInfo,
    version: (u8, u8),
    buffer: BoundsCheckPolicy,
) -> Result<Vec<u8>> {
    let binding_info = |b: ResourceBinding| spv::BindingInfo {
        descriptor_set: b.group,
        binding: b.binding,
        binding_array_size: None,
    };
    let options = spv::Options {
        lang_version: version,
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: checks(buffer),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: true,
        fake_missing_bindings: false,
        binding_map: bindings(module).map(|(b, _)| (b, binding_info(b))).collect(),
        ..spv::Options::default()
    };
    let pipeline =
        spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".to_owned() };
    let words = spv::write_vec(module, info, &options, Some(&pipeline))?;
    Ok(bytemuck::cast_slice(&words).to_vec())
}

/// What wgpu makes of it on DX12.
fn hlsl(module: &Module, info: &ModuleInfo, shader_model: hlsl::ShaderModel) -> Result<String> {
    let (mut constants, mut reads, mut writes) = (0, 0, 0);
    let register = |(b, space)| {
        let next = match space {
            AddressSpace::Uniform => &mut constants,
            space if is_written(space) => &mut writes,
            _ => &mut reads,
        };
        let register = *next;
        *next += 1;
        let restrict_indexing = space == AddressSpace::Uniform;
        (b, hlsl::BindTarget { register, restrict_indexing, ..Default::default() })
    };
    let options = hlsl::Options {
        shader_model,
        binding_map: bindings(module).map(register).collect(),
        fake_missing_bindings: false,
        special_constants_binding: Some(hlsl::BindTarget { register: 1, ..Default::default() }),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: true,
        force_loop_bounding: true,
        ..hlsl::Options::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".to_owned())) };
    let mut text = String::new();
    let reflection = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None)?;
    match reflection.entry_point_names.as_slice() {
        [Ok(_)] => Ok(text),
        names => Err(format!("no entry point in HLSL: {names:?}").into()),
    }
}

/// What wgpu makes of it on Metal.
fn metal(module: &Module, info: &ModuleInfo) -> Result<String> {
    let target = |(b, space): (ResourceBinding, _)| {
        let buffer = Some(b.binding as u8);
        (b, msl::BindTarget { buffer, mutable: is_written(space), ..Default::default() })
    };
    let resources = msl::EntryPointResources {
        resources: bindings(module).map(target).collect(),
        immediates_buffer: None,
        sizes_buffer: Some(20),
    };
    let options = msl::Options {
        lang_version: (3, 0),
        per_entry_point_map: [("main".to_owned(), resources)].into(),
        fake_missing_bindings: false,
        bounds_check_policies: checks(BoundsCheckPolicy::Restrict),
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: true,
        ..msl::Options::default()
    };
    let entry_point = Some((ShaderStage::Compute, "main".to_owned()));
    let pipeline = msl::PipelineOptions { entry_point, ..Default::default() };
    Ok(msl::write_string(module, info, &options, &pipeline)?.0)
}
