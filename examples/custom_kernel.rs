//! A kernel of one's own in a plan: gradient descent with momentum, as a shader and as its twin on the CPU.
//!
//! ```sh
//! cargo run --release --example custom_kernel -- [MODEL] [DEVICE]
//! ```
//!
//! MODEL is a checkpoint, or an energy with a formula, by default `analytic:double-well`. It runs on the CPU and on DEVICE, by
//! default the first GPU.

use std::ops::Range;
use thalweg::custom::{Access, Binding, CustomKernel, Launch, Need, energy_plan};
use thalweg::device::{Device, Machine, compare::compare};
use thalweg::{Model, Result};

const COUNT: usize = 100;
const STEPS: usize = 50;

/// Polyak's heavy ball: `v = momentum v - step dE/dx`, `x = x + v`, for every value of every image.
#[derive(Debug)]
struct HeavyBall {
    lanes: u32,
    features: usize,
    step: f32,
    momentum: f32,
}

impl CustomKernel for HeavyBall {
    fn name(&self) -> &'static str {
        "heavy_ball"
    }

    fn source(&self) -> String {
        include_str!("custom_kernel.wgsl").to_owned()
    }

    fn bindings(&self) -> Vec<(Access, Need)> {
        let values = Need::PerBlock(self.features);
        vec![(Access::Read, values), (Access::ReadWrite, values), (Access::ReadWrite, values)]
    }

    fn uniform(&self, blocks: &Range<u32>) -> Vec<u8> {
        let block = self.lanes * self.features as u32;
        let words = [blocks.start * block, blocks.end * block, self.step.to_bits(), self.momentum.to_bits()];
        words.map(u32::to_ne_bytes).concat()
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [(blocks.len() as u32 * self.lanes * self.features as u32).div_ceil(64), 1, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [gradient, velocity, x] = bindings else { panic!("three buffers") };
        let values = velocity.floats_mut().iter_mut().zip(x.floats_mut());
        for ((v, x), g) in values.zip(gradient.floats()) {
            *v = self.momentum * *v - self.step * g;
            *x += *v;
        }
    }
}

async fn descend(device: &Device, model: &Model) -> Result<()> {
    let (input, target) = (model.network.input, device.target(COUNT));
    let mut plan = energy_plan(&model.network, COUNT, target);
    let velocity = plan.plan.per_block("velocity", input.len());
    let ball = HeavyBall { lanes: target.lanes, features: input.len(), step: 0.01, momentum: 0.9 };
    let mut launches = plan.plan.programs[plan.gradients.0].clone(); // energies and gradients, then the ball
    let buffers = [plan.pass.input_gradient, velocity, plan.pass.x];
    launches.push(Launch::per_block(ball, &(0..plan.plan.n_blocks), &buffers));
    let step = plan.plan.add_program(launches)?;

    let mut machine = Machine::new(device, plan.plan.clone()).await?;
    machine.write_floats(plan.pass.parameters, &model.parameters);
    let x: Vec<f32> = (0..COUNT * input.len()).map(|i| (i as f32).sin()).collect();
    machine.write_floats(plan.pass.x, &plan.plan.to_blocks(&x, input.channels, input.height * input.width));
    machine.run(plan.start)?;
    for n in [0, STEPS] {
        (0..n).try_for_each(|_| machine.run(step))?;
        machine.run(plan.energies)?;
        let energies = &machine.read_floats(plan.pass.energies).await?[..COUNT];
        println!("{device}: mean energy {:.4} after {n} steps", energies.iter().sum::<f32>() / COUNT as f32);
    }
    println!("{}", compare(&mut machine, step).await?); // the next step, launch by launch, against the twins
    Ok(())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "analytic:double-well".to_owned());
    let device = arguments.next().unwrap_or_else(|| "auto".to_owned());
    let model =
        if name.starts_with("analytic:") { Model::analytic(&name)?.0 } else { Model::load(name, None)? };
    pollster::block_on(async {
        descend(&Device::cpu(), &model).await?;
        descend(&Device::open(&device).await?, &model).await
    })
}
