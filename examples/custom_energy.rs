//! The library's samplers over an energy of one's own, a ring around the origin, `E(x) = (|x| - 2)^2 / (2 sigma^2)`:
//!
//! ```sh
//! cargo run --release --example custom_energy -- [CHAINS] [STEPS]
//! ```

use thalweg::Images;
use thalweg::data::Shape;
use thalweg::sampling::{HostSampler, LangevinOptions, Rule, energy_fn};

const RADIUS: f32 = 2.0;
const SIGMA: f32 = 0.3;

fn main() -> thalweg::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|n| n.parse().ok());
    let mut number = |default| numbers.next().flatten().unwrap_or(default);
    let (chains, steps) = (number(500), number(500));
    pollster::block_on(sample(chains, steps as u32))
}

async fn sample(chains: usize, steps: u32) -> thalweg::Result<()> {
    // A point of the plane is an image of two channels and one pixel.
    let shape = Shape { channels: 2, height: 1, width: 1 };
    let ring = energy_fn(shape, |x, gradient| {
        let radius = x[0].hypot(x[1]);
        let pull = (radius - RADIUS) / (SIGMA * SIGMA);
        gradient[0] = pull * x[0] / radius;
        gradient[1] = pull * x[1] / radius;
        (radius - RADIUS).powi(2) / (2.0 * SIGMA * SIGMA)
    });
    let start = (0..chains).flat_map(|i| [0.5 + i as f32 / chains as f32, 0.1]).collect();
    let options = LangevinOptions { rule: Rule::Metropolis, step_size: 0.1, ..LangevinOptions::default() };
    let mut sampler = HostSampler::new(ring, Images { shape, values: start }, options).await?;
    sampler.run(steps).await?;

    let radii: Vec<f32> = sampler.images().values.chunks_exact(2).map(|x| x[0].hypot(x[1])).collect();
    println!("accepted {:.1} %", 100.0 * sampler.acceptance().unwrap_or(0.0));
    println!("mean radius {:.3}", radii.iter().sum::<f32>() / chains as f32);
    println!("mean energy {:.3}", sampler.energies().iter().sum::<f32>() / chains as f32);
    Ok(())
}
