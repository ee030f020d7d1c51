//! A kernel of one's own in a plan: gradient descent with momentum on the energy of a model, as a shader and as its twin.
//!
//! ```sh
//! cargo run --release --example custom_kernel -- [DEVICE]     # runs on the CPU, too
//! ```

use std::ops::Range;
use thalweg::custom::{Access, Binding, CustomKernel, Launch, Need, energy_plan};
use thalweg::device::{Device, Executor, compare::compare};
use thalweg::{Model, Result};

/// Polyak's heavy ball: `v = 0.9 v - 0.01 dE/dx`, `x = x + v`, for every value of every image.
#[derive(Debug)]
struct HeavyBall {
    features: usize,
    block: u32, // values
}

impl CustomKernel for HeavyBall {
    fn name(&self) -> &'static str {
        "heavy_ball"
    }
    fn source(&self) -> String {
        include_str!("custom_kernel.wgsl").to_owned()
    }
    fn bindings(&self) -> Vec<(Access, Need)> {
        [Access::Read, Access::ReadWrite, Access::ReadWrite]
            .map(|a| (a, Need::PerBlock(self.features)))
            .into()
    }
    fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
        [blocks.start, blocks.end].map(|block| (block * self.block).to_ne_bytes()).concat()
    }
    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [(blocks.len() as u32 * self.block).div_ceil(64), 1, 1]
    }
    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [gradient, velocity, x] = bindings else { panic!("three buffers") };
        for ((v, x), g) in velocity.floats_mut().iter_mut().zip(x.floats_mut()).zip(gradient.floats()) {
            *v = 0.9 * *v - 0.01 * g;
            *x += *v;
        }
    }
}

async fn descend(device: &Device, model: &Model) -> Result<()> {
    let (count, features, target) = (100, model.network.input.len(), device.target(100));
    let mut plan = energy_plan(&model.network, count, target);
    let velocity = plan.plan.per_block("velocity", features);
    let ball = HeavyBall { features, block: target.lanes * features as u32 };
    let mut launches = plan.plan.programs[plan.gradients.0].clone(); // energies and gradients; then the ball
    let (buffers, blocks) = ([plan.pass.input_gradient, velocity, plan.pass.x], 0..plan.plan.n_blocks);
    launches.push(Launch::per_block(ball, &blocks, &buffers));
    let step = plan.plan.add_program(launches)?;

    let mut executor = Executor::new(device, plan.plan.clone()).await?;
    executor.write_floats(plan.pass.parameters, &model.parameters);
    let x: Vec<f32> = (0..count * features).map(|i| (i as f32).sin()).collect();
    executor.write_floats(plan.pass.x, &plan.plan.to_blocks(&x, features, 1));
    executor.run(plan.start)?;
    for n in [0, 50] {
        (0..n).try_for_each(|_| executor.run(step))?;
        executor.run(plan.energies)?;
        let energies = &executor.read_floats(plan.pass.energies).await?[..count];
        println!("{device}, {n} steps: mean energy {:.4}", energies.iter().sum::<f32>() / count as f32);
    }
    println!("{}", compare(&mut executor, step).await?); // one more step, each launch against its twin
    Ok(())
}

fn main() -> Result<()> {
    let (model, _) = Model::analytic("analytic:double-well")?;
    let device = std::env::args().nth(1).unwrap_or_else(|| "auto".to_owned());
    pollster::block_on(async {
        descend(&Device::cpu(), &model).await?;
        descend(&Device::open(&device).await?, &model).await
    })
}
