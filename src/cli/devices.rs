//! `thalweg devices`: what is there, what of it matters, and what `auto` takes.

use super::paths::OutputFile;
use super::{check_output, print_line, write_json};
use thalweg::cpu::{Isa, bf16_rate, describe_bf16};
use thalweg::device::auto;
use thalweg::gpu::{Adapter, AdapterKind, adapters, hidden};
use thalweg::{Device, Result};

/// Options of `thalweg devices`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write the list to a JSON file, too [default: none]
    #[arg(long, value_name = "FILE.json")]
    json: Option<OutputFile>,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    arguments.json.as_deref().map_or(Ok(()), |path| check_output("--json", path, &["json"]))?;
    let adapters = adapters().await;
    if let Some(path) = arguments.json.as_deref() {
        let isas: Vec<_> = Isa::available().iter().map(Isa::to_string).collect();
        let list = serde_json::json!({
            "adapters": adapters,
            "cpu": { "name": Device::cpu().to_string(), "instructions": Isa::best().to_string(), "available": isas },
            "auto": auto(&adapters).map_or("cpu".to_owned(), Adapter::label),
        });
        write_json(path, &list)?;
    }
    print_line(
        "Each can be named after --device, by its number, a part of its name, or a backend and a name (dx12:radeon).\n",
    );
    let (calibrations, set_aside) = super::calibrations::read();
    if let Some(why) = set_aside {
        print_line(format_args!("Warning: {why}.\n"));
    }
    for (number, adapter) in adapters.iter().enumerate() {
        print_line(describe(number, adapter));
        for found in calibrations.iter().filter(|c| c.is_on(adapter)) {
            print_line(format_args!("   but chains of `{}` {found}\n", found.network.name));
        }
    }
    let best = Isa::best();
    let others: Vec<_> = Isa::available().iter().rev().skip(1).map(Isa::to_string).collect();
    print_line(format_args!("cpu: {}", Device::cpu()));
    print_line(format_args!("   instructions: {best} (there are also: {})", others.join(", ")));
    if let Some(rate) = bf16_rate() {
        print_line(format_args!(
            "   cpu:bf16: convolutions of more than 16 chains multiply bfloat16, which is not exact;\n   {}",
            describe_bf16(rate)
        ));
    }
    print_line("");
    print_line(choice(&adapters));
    Ok(())
}

fn describe(number: usize, adapter: &Adapter) -> String {
    let (mib, kib) = (|bytes: u64| bytes >> 20, adapter.workgroup_memory >> 10);
    let subgroups = match adapter.subgroup {
        (0, 0) => "not known".to_owned(),
        (min, max) if min == max => min.to_string(),
        (min, max) => format!("{min} to {max}"),
    };
    let chains = if adapter.is_gpu() {
        "runs chains fused, many Langevin steps a dispatch: launches and barriers between layers cost a GPU more \
         than they do (`bench --calibrate` finds out whether that holds here, --chain-path layers does without)"
    } else {
        "runs chains layer by layer: software is faster that way (--chain-path fused forces the other)"
    };
    let features = match adapter.features.as_slice() {
        [] => "none of those that matter".to_owned(),
        features => features.join(", "),
    };
    let compiler = match adapter.compiler {
        Some("FXC") => {
            "   shaders are compiled by FXC, which is slow: put dxcompiler.dll (DXC 1.8.2502 or newer) beside the program or on \
             the path, or take Vulkan\n"
        }
        Some("DXC") => "   shaders are compiled by DXC\n",
        _ => "",
    };
    format!(
        "{number}: {}\n   {}, {}; driver: {}\n{compiler}   {chains}\n   \
         binds up to {} MiB (needs 128), buffers up to {} MiB; workgroup memory {kib} KiB (needs 16); \
         subgroup sizes: {subgroups}\n   features: {features}\n",
        adapter.name,
        adapter.backend,
        adapter.kind,
        adapter.driver,
        mib(adapter.max_binding),
        mib(adapter.max_buffer),
    )
}

/// What `auto` takes, and why.
fn choice(adapters: &[Adapter]) -> String {
    let place = |chosen: &Adapter| adapters.iter().position(|a| std::ptr::eq(a, chosen)).unwrap_or(0);
    let software = adapters.iter().filter(|a| a.kind == AdapterKind::Software).map(|a| a.name.as_str());
    let software: Vec<_> = software.collect();
    let but = match software.as_slice() {
        [] => String::new(),
        names => format!(
            " Not {}: that is software, which does on the processor, and more slowly, what the CPU executor does; it is \
             taken only when named.",
            names.join(", ")
        ),
    };
    let hidden = hidden().map_or(String::new(), |text| format!(" {text}."));
    match auto(adapters) {
        Some(adapter) => format!(
            "`auto` takes {}: {}, the first GPU in the list (discrete before integrated before virtual), or the next one \
             that opens.{hidden}{but}",
            place(adapter),
            adapter.label()
        ),
        None if adapters.is_empty() && hidden.is_empty() => {
            "`auto` takes the CPU: no Vulkan, Metal or DX12 adapter was found. If there is a GPU, its driver is missing."
                .to_owned()
        }
        None if adapters.is_empty() => format!("`auto` takes the CPU: no adapter was found.{hidden}"),
        None => format!("`auto` takes the CPU: none of the adapters is a GPU.{hidden}{but}"),
    }
}
