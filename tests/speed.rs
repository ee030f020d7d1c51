//! The speed gate, `benches/speed_gate.sh`: ratios inside one run, each held to what this processor's own units can do. Tests
//! that measure time are ignored by `cargo test`: other processes must not be able to fail it.

use crate::common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use thalweg::bench::measure;
use thalweg::cpu::{Isa, bf16_rate};
use thalweg::device::Executor;
use thalweg::kernels::State;
use thalweg::plan::{ChainConfig, Target, sampler_plan};
use thalweg::recipe::presets::preset;
use thalweg::{Dataset, Device, Recipe};

/// Held while a test measures: no test is to feel another's load.
fn alone() -> MutexGuard<'static, ()> {
    static MEASURING: Mutex<()> = Mutex::new(());
    MEASURING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the CPU executor has to reach of the multiply-adds that the processor does on registers alone, counted over
/// the network's own arithmetic, by each instruction set's own units. Quiet machines reach 79 % (AVX2) and 93 % (AVX-512); the
/// gate leaves room for noise.
const SHARE_OF_PEAK: f64 = 0.35;

#[test]
#[ignore = "measures time: benches/speed_gate.sh"]
fn chains_run_near_the_processors_peak() {
    // What the compiler makes of plain floats is not ours to promise.
    let sets = [Isa::Avx2, Isa::Avx512, Isa::Bf16].into_iter().filter(|isa| isa.is_available());
    let _alone = alone();
    for isa in sets {
        let mut config = Recipe::preset("mnist-small").unwrap();
        config.set("chain.steps=10").unwrap();
        // The best of three tries: other processes come and go.
        let shares = (0..3).map(|_| {
            let device = Device::Cpu(isa);
            let figures = pollster::block_on(measure(&device, &config, Instant::now(), 5)).unwrap();
            println!("{isa}: {:.1} GFLOP/s of {:.1}", figures.gflops, figures.peak_gflops);
            figures.peak_share
        });
        let best = shares.fold(0.0, f64::max);
        assert!(best >= SHARE_OF_PEAK, "{isa}: {:.0} % of its peak", 100.0 * best);
    }
}

/// By how much the path that chains take may be slower than the other one before the choice was wrong.
const PATH_SLACK: f64 = 1.5;

/// Chains of `mnist-small`, each in turns on a device with a target: the best seconds of each, as other processes come and go.
fn race<const N: usize>(batch: usize, steps: u32, ways: [(&Device, Target); N]) -> [f64; N] {
    let network = preset("mnist-small").unwrap();
    let chain_config = ChainConfig { steps, ..ChainConfig::default() };
    let mut chains = ways.map(|(device, target)| {
        let plan = sampler_plan(&network, batch, &chain_config, &[steps], target);
        let mut executor = pollster::block_on(Executor::new(device, plan.plan.clone())).unwrap();
        executor.write(plan.state, 0, bytemuck::cast_slice(&[State::default()]));
        executor.run(plan.start).unwrap();
        (plan, executor, f64::INFINITY)
    });
    let _alone = alone();
    // The first turn is to warm up.
    for turn in 0..6 {
        for (plan, executor, best) in &mut chains {
            let start = Instant::now();
            let done = executor.run_and_read(plan.chains[0].1, 1, plan.state, 0..1).unwrap();
            pollster::block_on(done.words()).unwrap();
            if turn > 0 {
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
    }
    chains.map(|(.., best)| best)
}

#[test]
#[ignore = "measures time: benches/speed_gate.sh"]
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

/// What chains of bfloat16 have to gain over those of floats, as a share of what their units gain on registers. A quiet Zen 4:
/// 1.7 times of 2.
const BF16_GAIN: f64 = 0.6;

#[test]
#[ignore = "measures time: benches/speed_gate.sh"]
fn chains_of_bf16_gain_what_their_units_allow() {
    let Some(rate) = bf16_rate() else { return };
    let (batch, devices) = (64, [Isa::Avx512, Isa::Bf16].map(Device::Cpu));
    let [floats, pairs] = race(batch, 50, devices.each_ref().map(|device| (device, device.target(batch))));
    let gain = floats / pairs;
    println!(
        "{:.1} ms by floats, {:.1} ms by bfloat16: {gain:.2} times, units {rate:.2}",
        1e3 * floats,
        1e3 * pairs
    );
    assert!(gain >= BF16_GAIN * rate, "{gain:.2} times as fast, and its units {rate:.2}");
}

#[test]
#[ignore = "measures time: benches/speed_gate.sh"]
fn the_digits_open_at_once() {
    let times = [(); 5].map(|()| {
        let start = Instant::now();
        Dataset::open("digits").unwrap();
        start.elapsed().as_millis()
    });
    println!("digits opened in {times:?} ms");
    assert!(times.iter().any(|&ms| ms < 100), "took {times:?} ms");
}
