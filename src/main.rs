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
    /// Measure speed and memory here
    Bench(cli::bench::Arguments),
}

fn main() -> ExitCode {
    let process_start = std::time::Instant::now();
    let arguments = Arguments::parse();
    let result = pollster::block_on(async {
        match arguments.command {
            Command::Train(arguments) => cli::train::run(arguments).await,
            Command::Bench(arguments) => cli::bench::run(arguments, process_start).await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
