//! `thalweg compare`: whole training steps launch by launch, on a device and on the reference, and where they part.

use super::options::ChainDeviceOptions;
use super::paths::OutputFile;
use super::{check_output, print_line, write_json};
use std::process::ExitCode;
use thalweg::cpu::Isa;
use thalweg::device::compare::Report;
use thalweg::recipe::Settings;
use thalweg::{Dataset, Device, Recipe, Result, Trainer};

/// What `--device` means here.
const DEVICE: &str = "What to compare with the reference: `auto` (the first GPU, else the CPU), `cpu` (each instruction set of \
                      this processor), `cpu:bf16`, an adapter's number or a part of its name (see `thalweg devices`)";

/// Options of `thalweg compare`.
#[derive(clap::Args)]
#[command(mut_arg("device", |device| device.help(DEVICE)))]
pub(crate) struct Arguments {
    #[command(flatten)]
    device: ChainDeviceOptions,
    /// Training steps
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// One setting of training, on top of train.batch=32 and chain.steps=3; `thalweg train --set help` lists them all
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write what was found to a JSON file, too: for each device the errors of each kernel, and all partings [default: none]
    #[arg(long, value_name = "FILE.json")]
    json: Option<OutputFile>,
}

/// Runs the command: code 0 if nothing parts, 1 if something does.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let json = arguments.json.as_deref();
    json.map_or(Ok(()), |path| check_output("--json", path, &["json"]))?;
    let mut config = Recipe::preset("mnist-small")?;
    for setting in ["train.batch=32", "chain.steps=3"] {
        config.set(setting)?;
    }
    let mut settings = Settings::of(config);
    for setting in &arguments.set {
        settings.set(setting)?;
    }
    let config = settings.finish()?;
    let dataset = Dataset::open("digits")?;
    let devices = match arguments.device.open().await? {
        Device::Cpu(isa) if isa != Isa::Bf16 => {
            Isa::available().into_iter().filter(|isa| *isa != Isa::Reference).map(Device::Cpu).collect()
        }
        device => vec![device],
    };
    let (mut differs, mut found) = (false, Vec::new());
    for device in devices {
        let mut trainer = Trainer::new(&device, &config, &dataset).await?;
        let mut report = Report::default();
        for _ in 0..arguments.steps {
            report.add(trainer.compare_step().await?);
        }
        print_line(format_args!(
            "{device} against the reference, batch {}, {} steps:\n{report}\n",
            config.train.batch, arguments.steps
        ));
        differs |= report.first_mismatch().is_some();
        if json.is_some() {
            let batch = config.train.batch;
            found.push(serde_json::json!({ "device": device.to_string(), "batch": batch, "steps": arguments.steps, "report": report }));
        }
    }
    json.map_or(Ok(()), |path| write_json(path, &found))?;
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
