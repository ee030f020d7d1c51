//! A sampler of one's own over a trained energy: Hamiltonian Monte Carlo, in 30 lines.
//!
//! ```sh
//! cargo run --release --example custom_sampler -- MODEL [CHAINS] [STEPS] [STEP_SIZE]
//! ```
//!
//! MODEL is a checkpoint, or an energy with a formula such as `analytic:double-well`.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::f32::consts::TAU;
use thalweg::sampling::Energy;
use thalweg::{Device, EnergyModel, Error, Images, Model, Result};

const LEAPFROGS: usize = 10;

/// One step of every chain. Returns how many of them moved.
async fn step(energy: &mut impl Energy, x: &mut Images, size: f32, rng: &mut StdRng) -> Result<usize> {
    let mut normal = || (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt() * (TAU * rng.random::<f32>()).cos();
    let mut momentum: Vec<f32> = x.values.iter().map(|_| normal()).collect();
    let d = x.shape.len();
    let total = |energies: &[f32], momentum: &[f32]| -> Vec<f32> {
        let kinetic = momentum.chunks_exact(d).map(|p| p.iter().map(|p| p * p).sum::<f32>() / 2.0);
        energies.iter().zip(kinetic).map(|(potential, kinetic)| potential + kinetic).collect()
    };
    let mut y = x.clone();
    let (energies, mut gradients) = energy.energies_and_gradients(&y).await?;
    let before = total(&energies, &momentum);
    let mut after = Vec::new();
    for _ in 0..LEAPFROGS {
        momentum.iter_mut().zip(&gradients.values).for_each(|(p, g)| *p -= size / 2.0 * g);
        y.values.iter_mut().zip(&momentum).for_each(|(y, p)| *y += size * p);
        let there = energy.energies_and_gradients(&y).await?;
        gradients = there.1;
        momentum.iter_mut().zip(&gradients.values).for_each(|(p, g)| *p -= size / 2.0 * g);
        after = total(&there.0, &momentum);
    }
    let mut moved = 0;
    for (chain, (before, after)) in before.iter().zip(&after).enumerate() {
        if rng.random::<f32>() < (before - after).exp() {
            let range = chain * d..(chain + 1) * d;
            x.values[range.clone()].copy_from_slice(&y.values[range]);
            moved += 1;
        }
    }
    Ok(moved)
}

fn main() -> Result<()> {
    pollster::block_on(sample(&std::env::args().skip(1).collect::<Vec<_>>()))
}

async fn sample(arguments: &[String]) -> Result<()> {
    let Some(name) = arguments.first() else {
        return Err(Error::Usage("usage: custom_sampler MODEL [CHAINS] [STEPS] [STEP_SIZE]".to_owned()));
    };
    let number = |i: usize, default: f32| arguments.get(i).and_then(|n| n.parse().ok()).unwrap_or(default);
    let (chains, steps, size) = (number(1, 64.0) as usize, number(2, 100.0) as usize, number(3, 0.1));
    let model =
        if name.starts_with("analytic:") { Model::analytic(name)?.0 } else { Model::load(name, None)? };
    let mut energy = EnergyModel::new(&Device::open("auto").await?, &model).await?;
    let mut rng = StdRng::seed_from_u64(0);
    let shape = model.network.input;
    let values = (0..chains * shape.len()).map(|_| rng.random_range(-1.0_f32..1.0)).collect();
    let mut x = Images { shape, values };
    let mut moved = 0;
    for _ in 0..steps {
        moved += step(&mut energy, &mut x, size, &mut rng).await?;
    }
    let energies = energy.energies(&x).await?;
    println!("accepted {:.1} %", 100.0 * moved as f32 / (chains * steps) as f32);
    println!("mean energy {:.4}", energies.iter().sum::<f32>() / chains as f32);
    Ok(())
}
