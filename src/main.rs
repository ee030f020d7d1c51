//! The command line: parses, hands over to a command, prints an error, sets the exit code.

mod cli;

use clap::{CommandFactory, FromArgMatches, Parser};
use cli::screen;
use std::process::ExitCode;

/// Train and sample small energy-based models on any GPU, or on none.
///
/// A network gives every image an energy; low means likely. `thalweg train` learns one from handwritten digits that
/// ship inside this program, and leaves a checkpoint and pictures in the folder `run`.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
#[command(after_help = screen::EXIT_CODES, after_long_help = format!("{}\n\n{}", screen::choices(), screen::EXIT_CODES))]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    verbosity: screen::VerbosityOptions,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Train a model; without options, on handwritten digits that ship inside
    #[command(after_long_help = screen::choices())]
    Train(cli::train::Arguments),
    /// Draw samples from a model, with their energies
    Sample(cli::sample::Arguments),
    /// Complete images of which a part is known
    Inpaint(cli::inpaint::Arguments),
    /// Draw the images under noisy ones
    Denoise(cli::denoise::Arguments),
    /// Compute energies of images or points (low = likely), and their gradients
    Energy(cli::energy::Arguments),
    /// Measure how good a model is
    Evaluate(cli::evaluate::Arguments),
    /// Draw a run's curves again; for points in the plane, the energy landscape, too
    Plot(cli::plot::Arguments),
    /// Write a model's weights to a safetensors file that PyTorch loads
    Export(cli::export::Arguments),
    /// List the devices of this machine, and which one `--device auto` takes
    Devices(cli::devices::Arguments),
    /// Measure speed and memory on this machine
    Bench(cli::bench::Arguments),
    /// Check a device: run training steps on it and on the plain reference, and compare every result
    Compare(cli::compare::Arguments),
    /// List the launches of a training step, with their buffers and shapes
    Plan(cli::plan::Arguments),
}

fn main() -> ExitCode {
    let process_start = std::time::Instant::now();
    silence_mesa();
    cli::signals::no_size_signal();
    lose_device();
    let mut matches = Arguments::command().term_width(screen::help_width()).get_matches();
    let checked = check_paths(&matches);
    let arguments = Arguments::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit());
    use Command::{Bench, Compare, Devices, Evaluate, Plan};
    let prints_results =
        matches!(arguments.command, Devices(_) | Bench(_) | Compare(_) | Evaluate(_) | Plan(_));
    arguments.verbosity.apply(prints_results);
    let result = pollster::block_on(async {
        checked?;
        match arguments.command {
            Command::Train(arguments) => return cli::train::run(arguments).await,
            Command::Sample(arguments) => cli::sample::run(arguments).await?,
            Command::Inpaint(arguments) => cli::inpaint::run(arguments).await?,
            Command::Denoise(arguments) => cli::denoise::run(arguments).await?,
            Command::Energy(arguments) => cli::energy::run(arguments).await?,
            Command::Evaluate(arguments) => cli::evaluate::run(arguments).await?,
            Command::Plot(arguments) => cli::plot::run(arguments).await?,
            Command::Export(arguments) => cli::export::run(arguments)?,
            Command::Devices(arguments) => cli::devices::run(arguments).await?,
            Command::Bench(arguments) => cli::bench::run(arguments, process_start).await?,
            Command::Compare(arguments) => return cli::compare::run(arguments).await,
            Command::Plan(arguments) => cli::plan::run(&arguments)?,
        }
        Ok(ExitCode::SUCCESS)
    });
    match result {
        Ok(code) => {
            screen::finish();
            code
        }
        Err(error) => {
            screen::error(error);
            ExitCode::from(2)
        }
    }
}

/// Whatever the command: nothing that it reads is written over.
fn check_paths(matches: &clap::ArgMatches) -> thalweg::Result<()> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    let mut command = Arguments::command();
    command.build();
    command.find_subcommand(name).map_or(Ok(()), |command| cli::paths::check(command, matches))
}

/// Loses the device after so many calls to it, for tests of what a run leaves then. docs/architecture.md names the variable.
fn lose_device() {
    const NAME: &str = "THALWEG_TEST_LOSE_DEVICE_AFTER";
    let Ok(value) = std::env::var(NAME) else { return };
    match value.parse() {
        Ok(calls) => {
            screen::warn(format_args!(
                "{NAME} is set: the device will be lost after {calls} calls, as if its driver had crashed."
            ));
            thalweg::device::fault::lose_after(Some(calls));
        }
        Err(_) => screen::warn(format_args!(
            "{NAME} is set, but `{value}` is no number of calls: nothing comes of it."
        )),
    }
}

/// Mesa's device-select layer asks Wayland which GPU it likes; with no session to ask, as on a server, libwayland
/// prints "error: XDG_RUNTIME_DIR is invalid" twice, which looks like ours. `auto` and `--device` need no such layer.
fn silence_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: main has started no other thread yet that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
