//! The speed gate: ratios inside one run, never absolute times, so that it holds on any machine and under any load that
//! both sides feel.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use thalweg::bench::measure;
use thalweg::cpu::Isa;
use thalweg::device::Machine;
use thalweg::kernels::State;
use thalweg::network::preset;
use thalweg::plan::{SamplerNumbers, Target, sampler_plan};
use thalweg::{Config, Device};

/// Held while a test measures: no test is to feel another's load.
fn alone() -> MutexGuard<'static, ()> {
    static MEASURING: Mutex<()> = Mutex::new(());
    MEASURING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the CPU executor has to reach of the multiply-adds that the processor does on registers alone, counted over
/// the network's own arithmetic. Quiet machines reach 79 % (AVX2) and 93 % (AVX-512); the gate leaves room for noise.
const SHARE_OF_PEAK: f64 = 0.35;

#[test]
fn the_chain_runs_near_the_processors_peak() {
    let isa = Isa::best();
    if isa < Isa::Avx2 {
        return; // what the compiler makes of plain floats is not ours to promise
    }
    let _alone = alone();
    let mut config = Config::preset("mnist-small").unwrap();
    config.set("chain.steps=10").unwrap();
    // The best of three tries: other processes come and go.
    let shares = (0..3).map(|_| {
        let figures = pollster::block_on(measure(&Device::Cpu(isa), &config, Instant::now(), 5)).unwrap();
        println!("{isa}: {:.1} GFLOP/s, {:?} of peak", figures.gflops, figures.peak_share);
        figures.peak_share
    });
    let best = shares.fold(0.0, f64::max);
    assert!(best >= SHARE_OF_PEAK, "{:.0} % of the peak, not {:.0} %", 100.0 * best, 100.0 * SHARE_OF_PEAK);
}

/// By how much the path that chains take may be slower than the other one before the choice was wrong.
const PATH_SLACK: f64 = 1.5;

/// Chains of `mnist-small`, each in turns on a device with a target: the best seconds of each, as other processes come and go.
fn race<const N: usize>(batch: usize, steps: u32, ways: [(&Device, Target); N]) -> [f64; N] {
    let network = preset("mnist-small").unwrap();
    let numbers = SamplerNumbers { steps, ..SamplerNumbers::default() };
    let mut chains = ways.map(|(device, target)| {
        let plan = sampler_plan(&network, batch, &numbers, &[steps], target);
        let mut machine = pollster::block_on(Machine::new(device, plan.plan.clone())).unwrap();
        machine.write(plan.state, 0, bytemuck::cast_slice(&[State::default()]));
        machine.run(plan.start).unwrap();
        (plan, machine, f64::INFINITY)
    });
    let _alone = alone();
    // The first turn is to warm up.
    for turn in 0..6 {
        for (plan, machine, best) in &mut chains {
            let start = Instant::now();
            let done = machine.run_and_read(plan.chains[0].1, 1, plan.state, 0..1).unwrap();
            pollster::block_on(done.words()).unwrap();
            if turn > 0 {
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
    }
    chains.map(|(.., best)| best)
}

#[test]
fn chains_take_the_faster_path() {
    let (batch, steps, device) = (64, 8, common::gpu());
    let auto = device.chain_target(&preset("mnist-small").unwrap(), batch);
    let layers = Target { fused_steps: 0, ..auto };
    // What a software renderer bears in one dispatch; a GPU takes all steps at once, as it would by itself.
    let fused = Target { fused_steps: if auto.fused_steps > 0 { auto.fused_steps } else { steps }, ..auto };
    let [layers, fused] = race(batch, steps, [(&device, layers), (&device, fused)]);
    println!("{device}: {:.1} ms by layers, {:.1} ms fused", 1e3 * layers, 1e3 * fused);
    let (chosen, other) = if auto.fused_steps > 0 { (fused, layers) } else { (layers, fused) };
    assert!(chosen <= PATH_SLACK * other, "the path that is taken is {:.2} times the other", chosen / other);
}

/// How much faster chains of bfloat16 have to be than those of floats, or nobody needs them. A quiet Zen 4: 1.7 times.
const BF16_GAIN: f64 = 1.2;

#[test]
fn chains_of_bf16_are_faster() {
    if !Isa::Bf16.is_available() {
        return;
    }
    let (batch, devices) = (64, [Isa::Avx512, Isa::Bf16].map(Device::Cpu));
    let [floats, pairs] = race(batch, 50, devices.each_ref().map(|device| (device, device.target(batch))));
    println!("{:.1} ms by floats, {:.1} ms by bfloat16", 1e3 * floats, 1e3 * pairs);
    assert!(floats >= BF16_GAIN * pairs, "{:.2} times as fast", floats / pairs);
}
