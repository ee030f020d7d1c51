//! The speed gate: ratios inside one run, never absolute times, so that it holds on any machine and under any load that
//! both sides feel.

mod common;

use std::time::Instant;
use thalweg::bench::measure;
use thalweg::cpu::Isa;
use thalweg::device::Machine;
use thalweg::kernels::State;
use thalweg::network::preset;
use thalweg::plan::{SamplerNumbers, Target, sampler_plan};
use thalweg::{Config, Device};

/// What the CPU executor has to reach of the multiply-adds that the processor does on registers alone, counted over
/// the network's own arithmetic. Quiet machines reach 79 % (AVX2) and 93 % (AVX-512); the gate leaves room for noise.
const SHARE_OF_PEAK: f64 = 0.35;

#[test]
fn the_chain_runs_near_the_processors_peak() {
    let isa = Isa::best();
    if isa < Isa::Avx2 {
        return; // what the compiler makes of plain floats is not ours to promise
    }
    let mut config = Config::default();
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

#[test]
fn chains_take_the_faster_path() {
    let network = preset("mnist-small").unwrap();
    let (batch, steps, device) = (64, 8, common::gpu());
    let numbers = SamplerNumbers { steps, ..SamplerNumbers::default() };
    let auto = device.chain_target(&network, batch);
    let layers = Target { fused_steps: 0, ..auto };
    // What a software renderer bears in one dispatch; a GPU takes all steps at once, as it would by itself.
    let fused = Target { fused_steps: if auto.fused_steps > 0 { auto.fused_steps } else { steps }, ..auto };
    let mut paths = [layers, fused].map(|target| {
        let plan = sampler_plan(&network, batch, &numbers, &[steps], target);
        let mut machine = pollster::block_on(Machine::new(&device, plan.plan.clone())).unwrap();
        machine.write(plan.state, 0, bytemuck::cast_slice(&[State::default()]));
        machine.run(plan.start).unwrap();
        (plan, machine, f64::INFINITY)
    });
    // In turns, the first to warm up; the best of each, as other processes come and go.
    for turn in 0..4 {
        for (plan, machine, best) in &mut paths {
            let start = Instant::now();
            let done = machine.run_and_read(plan.chains[0].1, 1, plan.state, 0..1).unwrap();
            pollster::block_on(done.words()).unwrap();
            if turn > 0 {
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
    }
    let [layers, fused] = paths.map(|(.., best)| best);
    println!("{device}: {:.1} ms by layers, {:.1} ms fused", 1e3 * layers, 1e3 * fused);
    let (chosen, other) = if auto.fused_steps > 0 { (fused, layers) } else { (layers, fused) };
    assert!(chosen <= PATH_SLACK * other, "the path that is taken is {:.2} times the other", chosen / other);
}
