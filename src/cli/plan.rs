//! `thalweg plan`: the launches of a training step, in order.

use super::print_line;
use thalweg::data::toy::Toy;
use thalweg::plan::{ExampleStorage, Target, TrainingData, training_plan};
use thalweg::recipe::Settings;
use thalweg::{Recipe, Result};

/// Options of `thalweg plan`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The preset whose training step is listed [default: digits]
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// One setting of training; `thalweg train --set help` lists them all
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// List the step as the CPU runs it: with other block sizes, and chains by layers
    #[arg(long)]
    cpu: bool,
    /// List every program, and not the training step alone
    #[arg(long)]
    all: bool,
}

/// Runs the command. Needs no device and no data.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut settings = Settings::of(match &arguments.preset {
        Some(name) => Recipe::preset(name)?,
        None => Recipe::default(),
    });
    for setting in &arguments.set {
        settings.set(setting)?;
    }
    let recipe = settings.finish()?;
    let network = recipe.known_network()?;
    let storage = match network.input {
        shape if shape.is_image() => ExampleStorage::Bytes,
        shape if shape == thalweg::data::toy::POINT => ExampleStorage::Toy(Toy::FiveGaussians),
        _ => ExampleStorage::Floats,
    };
    let (batch, data) = (recipe.train.batch, TrainingData::new(storage, N_IMAGES, network.input));
    let target =
        if arguments.cpu { Target::CPU } else { Target { fused_steps: u32::MAX, ..Target::gpu(batch) } };
    let plan = training_plan(&network, &recipe, &data, target);
    if arguments.all {
        print_line(format_args!("{}", plan.plan.to_string().trim_end()));
    } else {
        let (blocks, lanes) = (plan.plan.n_blocks, plan.plan.lanes);
        let blocks = if blocks == 1 { "1 block".to_owned() } else { format!("{blocks} blocks") };
        for (first, program) in &plan.phases {
            let n = plan.plan.programs[program.0].len();
            let from = if plan.phases.len() > 1 { format!(" from step {first} on") } else { String::new() };
            print_line(format_args!(
                "Training step of `{}`{from}, batch {batch}: {n} launches over {blocks} of {lanes} images.\n{}",
                recipe.preset,
                plan.plan.list(*program).trim_end()
            ));
        }
    }
    Ok(())
}

/// Images of the data set that the step draws from, as of MNIST.
const N_IMAGES: u32 = 60_000;
