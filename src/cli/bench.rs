//! `thalweg bench`: what the engine reaches here, in numbers that anyone can reproduce.

use super::options::ChainDeviceOptions;
use super::paths::OutputFile;
use super::{calibrations, check_output, print_line, write_json};
use std::time::Instant;
use thalweg::bench::{BenchReport, calibrate, measure};
use thalweg::cpu::describe_bf16;
use thalweg::files::check_writable;
use thalweg::{Error, Recipe, Result};

/// Options of `thalweg bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    device: ChainDeviceOptions,
    /// Measure only the ways to run chains on a GPU, and keep the fastest: from then on `auto` takes that one for this
    /// adapter, driver and network. Results of later runs may differ from earlier ones by rounding
    #[arg(long, conflicts_with_all = ["chain_path", "json"])]
    calibrate: bool,
    /// The network and its recipe (`thalweg train --help` lists them)
    #[arg(long, default_value = "mnist-small", value_name = "NAME")]
    preset: String,
    /// Real images, and chains, in a training step [default: the preset's]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Langevin steps in a training step [default: the preset's]
    #[arg(long, value_name = "N")]
    chain: Option<usize>,
    /// Repetitions of each timing, of which the median counts
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Write all figures to a JSON file, too [default: none]
    #[arg(long, value_name = "FILE.json")]
    json: Option<OutputFile>,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, process_start: Instant) -> Result<()> {
    arguments.json.as_deref().map_or(Ok(()), |path| check_output("--json", path, &["json"]))?;
    let mut config = Recipe::preset(&arguments.preset)?;
    if let Some(batch) = arguments.batch {
        config.set(&format!("train.batch={batch}"))?;
        config.replay.capacity = config.replay.capacity.max(batch);
    }
    if let Some(steps) = arguments.chain {
        config.set(&format!("chain.steps={steps}"))?;
    }
    config.validate()?;
    if arguments.calibrate {
        let file = calibrations::file().ok_or_else(|| {
            Error::Usage(
                "--calibrate has nowhere to keep what it finds: set HOME or XDG_CACHE_HOME".to_owned(),
            )
        })?;
        let calibration = calibrate(&arguments.device.on.device, &config, arguments.runs as usize).await?;
        let found = calibration.to_string();
        calibration.save(&file)?;
        print_line(format_args!(
            "From now on chains of `{}` run {found}. Kept in {}.",
            config.preset,
            file.display()
        ));
        return Ok(());
    }
    arguments.json.as_deref().map_or(Ok(()), check_writable)?;
    let device = arguments.device.open().await?;
    let figures = measure(&device, &config, process_start, arguments.runs as usize).await?;
    print(&figures);
    if let Some(path) = &arguments.json {
        write_json(path, &figures)?;
    }
    Ok(())
}

fn print(f: &BenchReport) {
    print_line(format_args!(
        "{}, {}, batch {}, {} Langevin steps a training step",
        f.device, f.preset, f.batch, f.chain_steps
    ));
    print_line(format_args!("chains            {}", f.chain));
    let spread = |t: &thalweg::bench::Timing| format!("{:.3} to {:.3}, {} runs", t.min, t.max, t.runs);
    print_line(format_args!(
        "Langevin step     {:10.3} ms  ({})",
        f.langevin_step_ms,
        spread(&f.langevin_step)
    ));
    print_line(format_args!(
        "training step     {:10.3} ms  ({})",
        f.training_step_ms,
        spread(&f.training_step)
    ));
    print_line(format_args!("samples           {:10.1} /s  (500 Langevin steps each)", f.images_per_s));
    let share = 100.0 * f.peak_share;
    print_line(format_args!(
        "arithmetic        {:10.1} GFLOP/s of {:.1} on registers: {share:.0} %",
        f.gflops, f.peak_gflops
    ));
    if let Some(rate) = f.bf16_rate {
        print_line(format_args!("cpu:bf16          {}", describe_bf16(rate)));
    }
    if let Some(scaling) = f.thread_scaling {
        print_line(format_args!("threads           {:10} {scaling:.2}x as fast as one", f.threads));
    }
    print_line(format_args!(
        "cold start        {:10.3} s to the end of the first training step",
        f.cold_start_s
    ));
    if let Some(memory) = f.peak_memory_mb {
        print_line(format_args!("peak memory       {memory:10.1} MB"));
    }
    print_line(format_args!(
        "a training step   {:10.1} submissions, {} dispatches, {} bytes uploaded, {} waits",
        f.submissions_per_step, f.dispatches_per_step, f.uploaded_bytes_per_step, f.waits_per_step
    ));
    print_line(format_args!("\n{:24}{:>10}{:>12}{:>8}", "kernel, by itself", "launches", "ms", "share"));
    let total: f64 = f.kernels.values().map(|k| k.ms).sum();
    let mut kernels: Vec<_> = f.kernels.iter().collect();
    kernels.sort_by(|a, b| b.1.ms.total_cmp(&a.1.ms));
    for (name, kernel) in kernels {
        let share = 100.0 * kernel.ms / total;
        print_line(format_args!("{name:24}{:>10}{:>12.3}{share:>7.1}%", kernel.launches, kernel.ms));
    }
}
