//! Accepts or rejects MALA's proposals (Roberts and Tweedie 1996, <https://doi.org/10.2307/3318418>):
//! see `shaders/sampling/mala_accept.wgsl`.

use crate::kernels::dynamics::{Dynamics, DynamicsParams};
use crate::kernels::prelude::*;
use crate::random::{Stream, counter, log_unit, philox};

/// Accepts or rejects proposals.
#[derive(Clone, Debug, PartialEq)]
pub struct MalaAccept {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// The step whose proposal it is; `None` where a chain begins: it goes where its first image is.
    pub step: Option<u32>,
    /// Whether a chain that begins counts its accepted proposals anew.
    pub resets: bool,
    /// How proposals were made.
    pub dynamics: Dynamics,
}

shader_struct! {
    /// `Params` of `shaders/sampling/mala_accept.wgsl`.
    Params {
        dynamics: DynamicsParams,
        first_block: u32,
        /// 1 where a chain begins.
        begins: u32,
        resets: u32,
        /// The step.
        chain_step: u32,
    }
}

impl KernelSpec for MalaAccept {
    const SOURCE: &'static str = shader!["lib/state", "lib/random", "lib/dynamics", "sampling/mala_accept"];
    type Params = Params;
    const PER_BLOCK: bool = true;
    /// State; energies and gradient at y; y; x; gradient and energies at x; decisions.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Read, Read, Read, ReadWrite, ReadWrite];
    /// Decisions and counts are whole numbers, and energies are copied.
    const TOLERANCE: Tolerance = Tolerance::EXACT;

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        vec![Need::STATE, Need::PerBlock(1), image, image, image, image, Need::PerBlock(1), Need::PerBlock(2)]
    }

    /// Where a chain begins, only energies are read.
    fn reads(&self, binding: usize) -> bool {
        self.step.is_some() || binding == 1
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features]
    }

    fn params(&self, blocks: &Range<u32>) -> Params {
        Params {
            dynamics: self.dynamics.params(),
            first_block: blocks.start,
            begins: self.step.is_none().into(),
            resets: self.resets.into(),
            chain_step: self.step.unwrap_or(0),
        }
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [groups(1, self.lanes), 1, blocks.len() as u32]
    }

    fn run(&self, index: u32, bindings: &mut [Binding]) {
        let [state, energies, gradient, y, x, x_gradient, x_energies, decisions] = bound(bindings);
        let (state, lanes) = (State::of(state.words()), self.lanes as usize);
        let (energies, gradient, y) = (energies.floats(), gradient.floats(), y.floats());
        let (x, x_gradient) = (x.floats(), x_gradient.floats());
        let (x_energies, decisions) = (x_energies.floats_mut(), decisions.floats_mut());
        let Some(step) = self.step else {
            x_energies.copy_from_slice(energies);
            decisions[..lanes].fill(1.0);
            if self.resets {
                decisions[lanes..].fill(0.0);
            }
            return;
        };
        let clip = f64::from(self.dynamics.gradient_clip);
        let drift = f64::from(self.dynamics.at(state.step).drift);
        for lane in 0..lanes {
            let (mut sum, mut inside) = (0.0_f64, true);
            for i in (lane..self.features * lanes).step_by(lanes) {
                let gx = f64::from(x_gradient[i]).clamp(-clip, clip);
                let gy = f64::from(gradient[i]).clamp(-clip, clip);
                sum += (gx + gy) * (2.0 * (f64::from(x[i]) - f64::from(y[i])) + drift * (gy - gx));
                inside &= y[i].abs() <= self.dynamics.bound;
            }
            let fall = f64::from(x_energies[lane]) - f64::from(energies[lane]);
            let log_ratio = (fall - 0.25 * sum) / f64::from(self.dynamics.temperature);
            let image = state.first_image + index * self.lanes + lane as u32;
            let at = counter(Stream::Accept, 0, image, state.chain_base + step, state.step);
            let u = ((philox(at, state.key())[0] >> 8) + 1) as f32 * (1.0 / 16_777_216.0);
            let accepted = inside && f64::from(log_unit(u)) <= log_ratio;
            if accepted {
                x_energies[lane] = energies[lane];
                decisions[lanes + lane] += 1.0;
            }
            decisions[lane] = if accepted { 1.0 } else { 0.0 };
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        // Where a chain begins, goes on, and ends; with steps so long that some proposals are rejected.
        let lanes = bench.plan.lanes;
        for (i, features) in [1, 3, 4, 17, 65].into_iter().enumerate() {
            let state =
                bench.state(State { step: 1000 * i as u32, chain_base: i as u32, ..State::default() });
            for (step, resets, dynamics) in Dynamics::mala_cases() {
                let bindings = [
                    ("energies", 1),
                    ("gradient", features),
                    ("y", features),
                    ("x", features),
                    ("x gradient", features),
                    ("x energies", 1),
                    ("decisions", 2),
                ]
                .map(|(name, features)| bench.images(name, features));
                let bindings = [&[state][..], &bindings].concat();
                bench.run(Self { lanes, features, step, resets, dynamics }, &bindings);
            }
        }
    }
}

#[cfg(test)]
impl Dynamics {
    /// Steps of MALA, whether they reset, and their numbers.
    pub(crate) fn mala_cases() -> [(Option<u32>, bool, Self); 4] {
        use super::dynamics::{Form, Interpolation};
        [(None, true, 0.3), (None, false, 0.3), (Some(3), true, f32::INFINITY), (Some(4), false, 0.3)].map(
            |(step, resets, gradient_clip)| {
                let dynamics = Self {
                    form: Form::Mala,
                    step_size: 0.5,
                    step_size_end: 0.4,
                    noise: 0.0,
                    noise_end: 0.0,
                    interpolation: Interpolation::Linear,
                    levels: 5000,
                    stay_step_size: 0.0,
                    final_step: u32::MAX,
                    temperature: 0.7,
                    gradient_clip,
                    bound: if resets { f32::INFINITY } else { 0.97 },
                };
                (step, resets, dynamics)
            },
        )
    }
}
