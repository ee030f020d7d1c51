//! Times every launch of a training step by itself, and sums up those of the same kernel on the same buffers.
//!
//! ```sh
//! cargo bench --bench kernels -- [DEVICE] [PRESET] [KERNEL]
//! ```
//!
//! DEVICE is `cpu` by default, PRESET `digits`; KERNEL keeps those whose name contains it. A GPU with timestamps times itself;
//! elsewhere the host does, and a launch on a GPU then includes the way there and back. Run it on a quiet machine.

use std::collections::BTreeMap;
use thalweg::recipe::Recipe;
use thalweg::{Dataset, Device, Result, Trainer};

/// Training steps that are timed, after one that is not.
const STEPS: usize = 9;

/// Launches of one kernel on the same buffers.
#[derive(Default)]
struct Group {
    launches: usize,
    flop: usize,
    ms: Vec<f64>, // all of them, in each training step
}

fn main() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let argument = |i: usize, default| arguments.get(i).map_or(default, String::as_str);
    pollster::block_on(measure(argument(0, "cpu"), argument(1, "digits"), argument(2, "")))
}

async fn measure(device: &str, preset: &str, wanted: &str) -> Result<()> {
    let (device, recipe) = (Device::open(device).await?, Recipe::preset(preset)?);
    let dataset = Dataset::open(recipe.default_data())?;
    let mut trainer = Trainer::new(&device, &recipe, &dataset).await?;
    trainer.submit(1)?.metrics().await?;

    let plan = trainer.plan().plan.clone();
    let launches = plan.programs[trainer.plan().step.0].clone();
    let mut groups: BTreeMap<(&str, Vec<&str>), Group> = BTreeMap::new();
    for step in 0..STEPS {
        for (launch, (_, seconds)) in launches.iter().zip(trainer.time_step().await?) {
            let buffers = launch.bindings.iter().map(|id| plan.buffers[id.0].name.as_str()).collect();
            let group = groups.entry((launch.kernel.name(), buffers)).or_default();
            group.ms.resize(step + 1, 0.0);
            group.ms[step] += 1e3 * seconds;
            if step == 0 {
                group.launches += 1;
                group.flop += launch.flop(plan.lanes);
            }
        }
    }

    println!("{preset} on {device}: median of {STEPS} training steps of {} launches", launches.len());
    println!("{:>10} {:>10} {:>8}  kernel and buffers", "ms a step", "launches", "GFLOP/s");
    let mut rows: Vec<_> = groups.into_iter().filter(|((name, _), _)| name.contains(wanted)).collect();
    for (_, group) in &mut rows {
        group.ms.sort_by(f64::total_cmp);
    }
    rows.sort_by(|(_, a), (_, b)| b.ms[STEPS / 2].total_cmp(&a.ms[STEPS / 2]));
    for ((name, buffers), Group { launches, flop, ms }) in rows {
        let ms = ms[STEPS / 2];
        let rate = if flop > 0 { format!("{:.1}", flop as f64 / ms * 1e-6) } else { String::new() };
        println!("{ms:>10.4} {launches:>10} {rate:>8}  {name}: {}", buffers.join(", "));
    }
    Ok(())
}
