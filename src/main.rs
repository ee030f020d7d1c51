//! The command line: parses, hands over to a command, prints an error, sets the exit code.

mod cli;

use clap::Parser;
use std::process::ExitCode;

/// Train and sample small energy-based models on any GPU, or on none.
///
/// A network gives every image an energy; low means likely. `thalweg train` learns one from handwritten digits that
/// ship inside this program, and leaves a checkpoint and pictures in the folder `run`.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Train a model; without options, on the digits that ship inside
    Train(cli::train::Arguments),
    /// Draw samples from a model, with their energies
    Sample(cli::sample::Arguments),
    /// Tell the energies of images, low = likely, and their gradients
    Energy(cli::energy::Arguments),
    /// Measure how good a model is
    Evaluate(cli::evaluate::Arguments),
    /// Draw a run's curves, and the landscape of a model of points in the plane
    Plot(cli::plot::Arguments),
    /// List what models can run on, and what `--device auto` takes
    Devices(cli::devices::Arguments),
    /// Measure speed and memory here
    Bench(cli::bench::Arguments),
    /// Debug a device: training steps launch by launch, next to the plain reference
    Compare(cli::compare::Arguments),
}

fn main() -> ExitCode {
    let process_start = std::time::Instant::now();
    hush_mesa();
    let arguments = Arguments::parse();
    let result = pollster::block_on(async {
        match arguments.command {
            Command::Train(arguments) => cli::train::run(arguments).await?,
            Command::Sample(arguments) => cli::sample::run(arguments).await?,
            Command::Energy(arguments) => cli::energy::run(arguments).await?,
            Command::Evaluate(arguments) => cli::evaluate::run(arguments).await?,
            Command::Plot(arguments) => cli::plot::run(arguments).await?,
            Command::Devices(arguments) => cli::devices::run(arguments).await?,
            Command::Bench(arguments) => cli::bench::run(arguments, process_start).await?,
            Command::Compare(arguments) => return cli::compare::run(arguments).await,
        }
        Ok(ExitCode::SUCCESS)
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Mesa's device-select layer asks Wayland which GPU it likes; with no session to ask, as on a server, libwayland
/// prints "error: XDG_RUNTIME_DIR is invalid" twice, which looks like ours. `auto` and `--device` need no such layer.
fn hush_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: main has started no other thread yet that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
