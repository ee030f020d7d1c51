//! Every pipeline of every plan, with no device: naga validates it against base WebGPU, writes it for Vulkan, Metal and
//! DX12, and the host's view of its bindings, overrides, uniform and resident structs is held against the shader's.

use crate::all_plans;
use crate::common;
use crate::uniformity;

use all_plans::{all_plans, first_plans, kernels, lone_kernels, plans, preset_plans};
use common::{Failures, rows};
use naga::back::{hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ResourceBinding, ShaderStage, StorageAccess, TypeInner};
use std::collections::{BTreeMap, BTreeSet};
use thalweg::kernels::contrastive_loss::METRICS;
use thalweg::kernels::{Access, Kernel, ShaderStruct, State, anneal_propose, chain, dynamics, guard};
use thalweg::plan::{ExampleStorage, Plan, Target};
use thalweg::random::Stream;
use thalweg::recipe::presets::preset;
use uniformity::barriers_are_uniform;

/// What the host says of a pipeline.
#[derive(Clone)]
struct Pipeline {
    name: String,
    source: String,
    access: Vec<Access>,
    overrides: Vec<(&'static str, f64)>,
    uniform_len: usize,
    uniform_fields: &'static [(&'static str, usize)],
    workgroup_bytes: u32, // that the host counts on
}

impl Pipeline {
    fn of(kernel: &Kernel) -> Self {
        Self {
            name: kernel.name().to_owned(),
            source: kernel.source(),
            access: kernel.access().to_vec(),
            overrides: kernel.overrides(),
            uniform_len: kernel.uniform(&(0..1)).len(),
            uniform_fields: kernel.uniform_fields(),
            workgroup_bytes: match kernel {
                Kernel::Chain(k) => chain::workgroup_memory(&k.layers, k.hidden) as u32,
                _ => MAX_WORKGROUP_BYTES,
            },
        }
    }
}

/// Base WebGPU.
const MAX_INVOCATIONS: u32 = 256;
const MAX_WORKGROUP_BYTES: u32 = 16 * 1024;
const MAX_STORAGE_BUFFERS: usize = 8;
const MAX_WORKGROUPS: u32 = 65_535;

/// Everything that is wrong with a pipeline.
fn problems(pipeline: &Pipeline) -> Vec<String> {
    let mut problems = Vec::new();
    let module = match naga::front::wgsl::parse_str(&pipeline.source) {
        Ok(module) => module,
        Err(error) => return vec![format!("parse: {}", error.emit_to_string(&pipeline.source))],
    };
    let info = match Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module) {
        Ok(info) => info,
        Err(error) => return vec![format!("validate: {}", error.emit_to_string(&pipeline.source))],
    };
    let entries: Vec<_> = module.entry_points.iter().map(|e| (e.stage, e.name.as_str())).collect();
    if entries != [(ShaderStage::Compute, "main")] {
        return vec![format!("entry points {entries:?}, not one compute `main`")];
    }
    host_side(pipeline, &module, &info, &mut problems);

    let constants = pipeline.overrides.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let entry = Some((ShaderStage::Compute, "main"));
    let (module, info) = match process_overrides(&module, &info, entry, &constants) {
        Ok(processed) => processed,
        Err(error) => {
            problems.push(format!("overrides: {error}"));
            return problems;
        }
    };
    limits(&module, pipeline.workgroup_bytes, &mut problems);
    if !barriers_are_uniform(&module) {
        problems.push("a barrier that not every invocation reaches".to_owned());
    }
    back_ends(&module, &info, &mut problems);
    problems
}

/// Overrides, bindings and structs: host against shader.
fn host_side(pipeline: &Pipeline, module: &Module, info: &ModuleInfo, problems: &mut Vec<String>) {
    let in_shader: BTreeSet<_> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
    let in_host: BTreeSet<_> = pipeline.overrides.iter().map(|(name, _)| *name).collect();
    if in_shader != in_host || in_host.len() != pipeline.overrides.len() {
        problems.push(format!("overrides {in_shader:?} in the shader, {in_host:?} in the host"));
    }

    let mut bindings = BTreeMap::new();
    for (handle, global) in module.global_variables.iter() {
        if let Some(ResourceBinding { group, binding }) = global.binding {
            let is_new = group == 0 && bindings.insert(binding, (handle, global)).is_none();
            if !is_new {
                problems.push(format!("binding {group}.{binding} is doubled, or not in group 0"));
            }
        }
    }
    if !bindings.keys().copied().eq(0..=pipeline.access.len() as u32) {
        problems.push(format!("bindings {:?}, not 0 to {}", bindings.keys(), pipeline.access.len()));
        return;
    }
    let (_, uniform) = bindings[&0];
    if uniform.space != AddressSpace::Uniform {
        problems.push(format!("binding 0 is {:?}, not uniform", uniform.space));
    }
    layout("Params", module, uniform.ty, pipeline.uniform_fields, pipeline.uniform_len, problems);
    let uses = info.get_entry_point(0);
    for (i, access) in pipeline.access.iter().enumerate() {
        let (handle, global) = bindings[&(i as u32 + 1)];
        let (space, used) = match access {
            Access::Read => (StorageAccess::LOAD, GlobalUse::READ),
            Access::Write => (StorageAccess::LOAD | StorageAccess::STORE, GlobalUse::WRITE),
            Access::ReadWrite | Access::Scratch => {
                (StorageAccess::LOAD | StorageAccess::STORE, GlobalUse::READ | GlobalUse::WRITE)
            }
        };
        let name = global.name.as_deref().unwrap_or("?");
        if global.space != (AddressSpace::Storage { access: space }) {
            problems.push(format!("binding {} `{name}` is {:?}, not {access:?}", i + 1, global.space));
        }
        let really = uses[handle] & (GlobalUse::READ | GlobalUse::WRITE);
        if really != used {
            problems.push(format!("binding {} `{name}` is {access:?}, but used as {really:?}", i + 1));
        }
    }

    fn shared<T: ShaderStruct>(
        name: &'static str,
    ) -> (&'static str, &'static [(&'static str, usize)], usize) {
        (name, T::FIELDS, size_of::<T>())
    }
    for (name, fields, len) in [
        shared::<State>("State"),
        shared::<guard::Memory>("Memory"),
        shared::<dynamics::DynamicsParams>("Dynamics"),
        shared::<chain::LayerParams>("Layer"),
        shared::<anneal_propose::AnnealParams>("Anneal"),
        shared::<anneal_propose::BaseFeature>("Base"),
    ] {
        for (handle, _) in module.types.iter().filter(|(_, ty)| ty.name.as_deref() == Some(name)) {
            layout(name, module, handle, fields, len, problems);
        }
    }

    for (name, stream) in [
        ("FRESH_START", Stream::FreshStart),
        ("START_CHOICE", Stream::StartChoice),
        ("LANGEVIN", Stream::Langevin),
        ("DATA_NOISE", Stream::DataNoise),
        ("PERMUTATION", Stream::Permutation),
        ("ACCEPT", Stream::Accept),
        ("SUBSETS", Stream::Subsets),
        ("COPY_NOISE", Stream::CopyNoise),
        ("AUGMENT", Stream::Augment),
        ("MOMENTUM", Stream::Momentum),
        ("ANNEAL_ACCEPT", Stream::AnnealAccept),
        ("KNOWN", Stream::Known),
    ] {
        for (_, constant) in module.constants.iter().filter(|(_, c)| c.name.as_deref() == Some(name)) {
            let want = naga::Expression::Literal(naga::Literal::U32(stream as u32));
            if module.global_expressions[constant.init] != want {
                problems.push(format!("{name} is not the host's {stream:?}"));
            }
        }
    }
}

fn layout(
    name: &str,
    module: &Module,
    ty: naga::Handle<naga::Type>,
    fields: &[(&str, usize)],
    len: usize,
    problems: &mut Vec<String>,
) {
    let TypeInner::Struct { members, span } = &module.types[ty].inner else {
        problems.push(format!("{name} is no struct"));
        return;
    };
    let in_shader: Vec<_> =
        members.iter().map(|m| (m.name.as_deref().unwrap_or("?"), m.offset as usize)).collect();
    if in_shader != fields {
        problems.push(format!("{name}: {in_shader:?} in the shader, {fields:?} in the host"));
    }
    if *span as usize != len {
        problems.push(format!("{name}: {span} bytes in the shader, {len} in the host"));
    }
}

fn limits(module: &Module, workgroup_bytes: u32, problems: &mut Vec<String>) {
    let entry = &module.entry_points[0];
    let invocations: u32 = entry.workgroup_size.iter().product();
    if entry.workgroup_size_overrides.is_some() || !(1..=MAX_INVOCATIONS).contains(&invocations) {
        problems.push(format!("{invocations} invocations in a workgroup"));
    }
    // As the WebGPU specification counts: each variable rounded up to 16 bytes.
    let bytes: u32 = module
        .global_variables
        .iter()
        .filter(|(_, g)| g.space == AddressSpace::WorkGroup)
        .map(|(_, g)| module.types[g.ty].inner.size(module.to_ctx()).next_multiple_of(16))
        .sum();
    if bytes > workgroup_bytes {
        problems.push(format!("{bytes} bytes of workgroup memory, not {workgroup_bytes}"));
    }
    let is_storage = |g: &naga::GlobalVariable| matches!(g.space, AddressSpace::Storage { .. });
    let n_storage = module.global_variables.iter().filter(|(_, g)| is_storage(g)).count();
    if n_storage > MAX_STORAGE_BUFFERS {
        problems.push(format!("{n_storage} storage buffers"));
    }
}

/// Writes the entry point for each back end, with the bindings mapped as an executor would: nothing is made up.
fn back_ends(module: &Module, info: &ModuleInfo, problems: &mut Vec<String>) {
    let bindings: Vec<_> = module.global_variables.iter().filter_map(|(_, g)| g.binding).collect();
    let entry = (ShaderStage::Compute, "main".to_owned());

    let options = spv::Options {
        lang_version: (1, 3),
        fake_missing_bindings: false,
        binding_map: bindings
            .iter()
            .map(|b| {
                let info =
                    spv::BindingInfo { descriptor_set: 0, binding: b.binding, binding_array_size: None };
                (*b, info)
            })
            .collect(),
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: entry.0, entry_point: entry.1.clone() };
    match spv::write_vec(module, info, &options, Some(&pipeline)) {
        Ok(words) if words.len() > 20 && words[0] == 0x0723_0203 => {}
        Ok(words) => problems.push(format!("SPIR-V: {} words", words.len())),
        Err(error) => problems.push(format!("SPIR-V: {error}")),
    }

    let resources = msl::EntryPointResources {
        resources: bindings
            .iter()
            .map(|b| {
                let buffer = Some(b.binding as u8);
                (*b, msl::BindTarget { buffer, mutable: true, ..Default::default() })
            })
            .collect(),
        immediates_buffer: None,
        sizes_buffer: Some(20),
    };
    let options = msl::Options {
        lang_version: (2, 0),
        per_entry_point_map: [(entry.1.clone(), resources)].into(),
        fake_missing_bindings: false,
        ..Default::default()
    };
    let pipeline = msl::PipelineOptions { entry_point: Some(entry.clone()), ..Default::default() };
    match msl::write_string(module, info, &options, &pipeline) {
        Ok((text, translation)) => entry_names("MSL", &text, &translation.entry_point_names, problems),
        Err(error) => problems.push(format!("MSL: {error}")),
    }

    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V5_1,
        binding_map: bindings
            .iter()
            .map(|b| (*b, hlsl::BindTarget { register: b.binding, ..Default::default() }))
            .collect(),
        fake_missing_bindings: false,
        ..Default::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some(entry) };
    let mut text = String::new();
    match hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None) {
        Ok(reflection) => entry_names("HLSL", &text, &reflection.entry_point_names, problems),
        Err(error) => problems.push(format!("HLSL: {error}")),
    }
}

/// Each entry point's own result: the back end's overall `Ok` can hide one that failed.
fn entry_names<E: std::fmt::Display>(
    language: &str,
    text: &str,
    names: &[Result<String, E>],
    problems: &mut Vec<String>,
) {
    match names {
        [Ok(name)] if text.contains(name.as_str()) => {}
        [Ok(name)] => problems.push(format!("{language}: no `{name}` in the text")),
        [Err(error)] => problems.push(format!("{language}: {error}")),
        _ => problems.push(format!("{language}: {} entry points", names.len())),
    }
}

// ---- what is checked

#[test]
fn every_pipeline_of_every_plan_is_portable() {
    let (mut failures, mut n, mut names) = (Failures::default(), 0, BTreeSet::new());
    let plans = [all_plans(), preset_plans(), first_plans(&[])].concat();
    let lone = lone_kernels();
    for (plan, kernel) in kernels(&plans).into_iter().chain(lone.iter().map(|kernel| ("alone", kernel))) {
        let pipeline = Pipeline::of(kernel);
        names.insert(pipeline.name.clone());
        n += 1;
        for problem in problems(&pipeline) {
            failures.check(false, || format!("{plan}: {}: {problem}", pipeline.name));
        }
    }
    let folder = |path: &str| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<String> = folder(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders"))
        .filter(|path| !path.ends_with("lib"))
        .flat_map(|path| folder(path.to_str().unwrap()))
        .filter_map(|path| path.file_name()?.to_str()?.strip_suffix(".wgsl").map(str::to_owned))
        .collect();
    failures.check(names == files, || format!("checked {names:?}, but there are {files:?}"));
    println!("{n} pipelines of {} shaders", names.len());
    failures.assert_none();
}

#[test]
fn dispatches_fit_base_webgpu() {
    let mut failures = Failures::default();
    for (name, plan) in all_plans() {
        for launch in plan.launches() {
            let groups = launch.kernel.workgroups(&launch.flat_blocks());
            let ok = groups.iter().all(|n| (1..=MAX_WORKGROUPS).contains(n));
            failures.check(ok, || format!("{name}: {}: {groups:?} workgroups", launch.kernel.name()));
        }
    }
    failures.assert_none();
}

/// `contrastive_loss.wgsl` and `clip_scale.wgsl` write rows of eight, and `guard.wgsl` reads them.
#[test]
fn metric_rows_are_as_long_as_the_shaders_think() {
    assert_eq!(METRICS, 8);
}

// ---- negative controls: what is broken is found, by the same function, and for the right reason

fn a_pipeline(name: &str) -> Pipeline {
    let network = preset("mnist-small").unwrap();
    let plans = plans(&network, ExampleStorage::Bytes, Target::gpu(16));
    let launch = plans.iter().flat_map(Plan::launches).find(|l| l.kernel.name() == name);
    let pipeline = Pipeline::of(&launch.unwrap().kernel);
    assert_eq!(problems(&pipeline), [""; 0], "{name} is to be broken, so it must be whole");
    pipeline
}

#[track_caller]
fn assert_found(pipeline: &Pipeline, part: &str) {
    let found = problems(pipeline);
    assert!(found.iter().any(|problem| problem.contains(part)), "`{part}` is not in {found:?}");
}

#[track_caller]
fn replaced(pipeline: &Pipeline, from: &str, to: &str) -> Pipeline {
    assert!(pipeline.source.contains(from), "no `{from}` to break");
    Pipeline { source: pipeline.source.replace(from, to), ..pipeline.clone() }
}

#[test]
fn broken_text_is_found() {
    let whole = a_pipeline("reduce_partials");
    assert_found(&replaced(&whole, "var sum = 0.0;", "var sum = 0;"), "parse");
    assert_found(&replaced(&whole, "var sum = 0.0;", "var sum = 0.0; var from = 1u;"), "reserved");
    assert_found(&replaced(&whole, "fn main", "fn other"), "entry points");
    assert_found(&replaced(&whole, "@group(0) @binding(2) ", ""), "validate");
    let below = "if (id.x == 7u) { workgroupBarrier(); } var sum = 0.0;";
    assert_found(&replaced(&whole, "var sum = 0.0;", below), "barrier");
    assert_found(&replaced(&whole, "var sum = 0.0;", "workgroupBarrier(); var sum = 0.0;"), "barrier");
    let two = format!("{}\n@compute @workgroup_size(1) fn second() {{}}", whole.source);
    assert_found(&Pipeline { source: two, ..whole }, "entry points");
}

#[test]
fn barriers_that_some_invocations_miss_are_found() {
    let mut failures = Failures::default();
    for row in rows("barriers.txt", "barriers", &[]) {
        let text = &row.case;
        let source = format!(
            "override N: u32 = 4u;
            struct Params {{ rows: array<vec4u, 9>, count: u32 }}
            @group(0) @binding(0) var<uniform> params: Params;
            @group(0) @binding(1) var<storage, read_write> data: array<u32>;
            var<workgroup> shared_word: u32;
            fn meet(a: u32) {{ if (a > 2u) {{ workgroupBarrier(); }} }}
            fn meet_again(a: u32) {{ var b = a; b *= 3u; meet(b + N); }}
            fn twice(a: u32) -> u32 {{ return 2u * a; }}
            fn either(a: u32) -> u32 {{ if (a > 2u) {{ return 1u; }} return 0u; }}
            fn leave(a: u32) {{ if (a > 2u) {{ return; }} data[0] = a; }}
            fn data_word() -> u32 {{ return data[0]; }}
            fn put(a: ptr<function, u32>, b: u32) {{ *a = b; }}
            @compute @workgroup_size(64)
            fn main(@builtin(local_invocation_index) index: u32, @builtin(global_invocation_id) id: vec3u,
                @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) count: vec3u) {{ {text} }}"
        );
        let module = naga::front::wgsl::parse_str(&source).expect(text);
        let found = if barriers_are_uniform(&module) { "met by all" } else { "missed by some" };
        failures.check(row.words == [found], || format!("{} is {found}", row.place));
    }
    failures.assert_none();
}

#[test]
fn broken_bindings_are_found() {
    let whole = a_pipeline("reduce_partials");
    assert_found(&replaced(&whole, "@binding(2)", "@binding(7)"), "bindings");
    assert_found(&replaced(&whole, "@binding(2)", "@binding(1)"), "");
    assert_found(
        &replaced(&whole, "var<storage, read> partials", "var<storage, read_write> partials"),
        "not Read",
    );
    let mut wrong = whole.clone();
    wrong.access.swap(0, 1);
    assert_found(&wrong, "not Write");
    assert_found(&replaced(&whole, "grad[id.x] = sum;", "grad[id.x] += sum;"), "but used as");
    assert_found(&replaced(&whole, "grad[id.x] = sum;", ""), "but used as");
}

#[test]
fn broken_overrides_are_found() {
    let mut missing = a_pipeline("reduce_partials");
    missing.overrides.pop();
    assert_found(&missing, "in the shader");
    let mut unknown = a_pipeline("reduce_partials");
    unknown.overrides.push(("N_CHUNK", 1.0));
    assert_found(&unknown, "overrides: ");
    let mut negative = a_pipeline("reduce_partials");
    negative.overrides[0].1 = -1.0;
    assert_found(&negative, "overrides: ");
}

#[test]
fn drifted_structs_are_found() {
    let whole = a_pipeline("langevin");
    let mut renamed = whole.clone();
    renamed.uniform_fields = &[("dynamics", 0), ("moves", 48), ("first_block", 52)];
    assert_found(&renamed, "Params: ");
    assert_found(&replaced(&whole, "    moves: u32,\n", ""), "parse");
    assert_found(
        &replaced(&whole, "    chain_step: u32,", "    extra: u32,\n    chain_step: u32,"),
        "Params: 68 bytes",
    );
    assert_found(&replaced(&whole, "    replay_length: u32,\n", ""), "State: ");
    assert_found(&replaced(&whole, "LANGEVIN: u32 = 4u", "LANGEVIN: u32 = 5u"), "LANGEVIN");
}

#[test]
fn broken_limits_are_found() {
    // Invocations, and as many mat4x4f of workgroup memory.
    let wide = replaced(&a_pipeline("conv_weight_gradient"), "const LANES = 16u", "const LANES = 2048u");
    assert_found(&wide, "2048 invocations");
    assert_found(&wide, "131072 bytes of workgroup memory");
    let whole = a_pipeline("reduce_partials");
    let extra: String =
        (3..11).map(|i| format!("@group(0) @binding({i}) var<storage, read> b{i}: array<f32>;\n")).collect();
    let uses: String = (3..11).map(|i| format!(" + b{i}[0]")).collect();
    let many = replaced(&whole, "var sum = 0.0;", &format!("var sum = 0.0{uses};"));
    assert_found(&Pipeline { source: extra + &many.source, ..many }, "10 storage buffers");
}
