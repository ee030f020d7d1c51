//! Updates the parameters: Adam (Kingma and Ba 2015, <https://arxiv.org/abs/1412.6980>, algorithm 1), with PyTorch's
//! place for epsilon, and decoupled weight decay (Loshchilov and Hutter 2019, <https://arxiv.org/abs/1711.05101>).

use crate::kernels::prelude::*;

/// Retries that count; a factor of a half comes to 0 sooner.
const MOST_RETRIES: u32 = 1000;

/// How the learning rate goes on over training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// Times a factor after every epoch.
    Exponential {
        /// The factor.
        factor: f64,
        /// Training steps of an epoch.
        epoch: u32,
    },
    /// To 0 along half a cosine (Loshchilov and Hutter 2017, <https://arxiv.org/abs/1608.03983>, with no restart).
    Cosine {
        /// Training steps of the run.
        training_steps: u32,
    },
}

/// What the learning rate is multiplied by, as training goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LearningRateSchedule {
    /// How it decays.
    pub decay: Decay,
    /// Steps over which it rises from 0 at first, by a straight line.
    pub warm_up: u32,
}

impl LearningRateSchedule {
    /// The factor in training step `step`, counted from 0.
    pub fn factor(&self, step: u32) -> f64 {
        let decay = match self.decay {
            Decay::Constant => 1.0,
            Decay::Exponential { factor, epoch } => factor.powi((step / epoch.max(1)) as i32),
            Decay::Cosine { training_steps } => {
                let t = f64::from(step.min(training_steps)) / f64::from(training_steps.max(1));
                0.5 + 0.5 * (std::f64::consts::PI * t).cos()
            }
        };
        let rise = if step < self.warm_up { f64::from(step + 1) / f64::from(self.warm_up) } else { 1.0 };
        decay * rise
    }
}

/// Updates the parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// Length of the parameter vector.
    pub n_parameters: usize,
    /// Step length.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// What the step length is multiplied by.
    pub schedule: LearningRateSchedule,
    /// Largest magnitude of a gradient element, after the clip of the norm; infinite for no clip.
    pub gradient_clip: f32,
    /// Share of itself, times the step length, that each parameter loses in a step.
    pub weight_decay: f64,
    /// What the step length is multiplied by each time that training went back to a snapshot ([`State::retries`]).
    pub retry_factor: f64,
}

shader_struct! {
    /// `Params` of `shaders/optimizer/adam.wgsl`. Differences and logarithms are taken in f64, here.
    Params {
        learning_rate: f32,
        beta1: f32,
        beta2: f32,
        epsilon: f32,
        /// `1 - beta1`.
        one_minus_beta1: f32,
        /// `1 - beta2`.
        one_minus_beta2: f32,
        /// `ln beta1`.
        log_beta1: f32,
        /// `ln beta2`.
        log_beta2: f32,
        gradient_clip: f32,
        weight_decay: f32,
        decay: u32,
        /// `ln factor` of an exponential decay.
        log_factor: f32,
        /// Training steps of an exponential decay's epoch, or of a cosine's run.
        period: u32,
        warm_up: u32,
        retry_factor: f32,
        spare: u32,
    }
}

impl Adam {
    fn params(&self) -> Params {
        let log = |beta: f64| beta.ln().max(-1e30) as f32;
        let (decay, log_factor, period) = match self.schedule.decay {
            Decay::Constant => (0, 0.0, 1),
            Decay::Exponential { factor, epoch } => (1, log(factor), epoch.max(1)),
            Decay::Cosine { training_steps } => (2, 0.0, training_steps.max(1)),
        };
        Params {
            learning_rate: self.learning_rate as f32,
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            epsilon: self.epsilon as f32,
            one_minus_beta1: (1.0 - self.beta1) as f32,
            one_minus_beta2: (1.0 - self.beta2) as f32,
            log_beta1: log(self.beta1),
            log_beta2: log(self.beta2),
            gradient_clip: self.gradient_clip.min(f32::MAX),
            weight_decay: self.weight_decay as f32,
            decay,
            log_factor,
            period,
            warm_up: self.schedule.warm_up,
            retry_factor: self.retry_factor as f32,
            spare: 0,
        }
    }
}

impl KernelSpec for Adam {
    const SOURCE: &'static str = shader!["lib/state", "optimizer/adam"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; gradient; scale; first moment; second moment; parameters.
    const ACCESS: &'static [Access] = &[Read, Read, Read, ReadWrite, ReadWrite, ReadWrite];
    /// Four roundings; the moving mean and the parameter may cancel, by less than the largest.
    const TOLERANCE: Tolerance = Tolerance::new(1e-6, 3e-7);

    fn needs(&self) -> Vec<Need> {
        let parameters = Need::Flat(self.n_parameters);
        vec![Need::STATE, parameters, Need::Flat(1), parameters, parameters, parameters]
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, N_PARAMETERS: self.n_parameters]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        self.params()
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [(self.n_parameters as u32).div_ceil(WORKGROUP_SIZE), 1, 1]
    }

    fn parts(&self) -> Option<Parts> {
        Some(Parts::parameters(self.n_parameters, 10))
    }

    #[inline(always)]
    fn run_part(&self, first: usize, bindings: &mut [Binding]) {
        let [state, grad, scale, first_moment, second_moment, parameters] = bound(bindings);
        let p = self.params();
        let State { step, retries, halted, .. } = State::of(state.words());
        if halted != 0 {
            return;
        }
        let mut rate = p.learning_rate * self.schedule.factor(step) as f32;
        for _ in 0..retries.min(MOST_RETRIES) {
            rate *= p.retry_factor;
        }
        let kept = 1.0 - rate * p.weight_decay;
        let t = f64::from(step) + 1.0;
        let correction = |beta: f64| -(t * beta.ln()).exp_m1() as f32;
        let (correction1, correction2) = (correction(self.beta1), correction(self.beta2));
        let scale = scale.floats()[0];
        let moments = first_moment.floats_mut().iter_mut().zip(second_moment.floats_mut());
        let grads = &grad.floats()[first..];
        for ((parameter, grad), (m, v)) in parameters.floats_mut().iter_mut().zip(grads).zip(moments) {
            let g = (scale * grad).clamp(-p.gradient_clip, p.gradient_clip); // a NaN stays one, and is seen
            *m = p.beta1 * *m + p.one_minus_beta1 * g;
            *v = p.beta2 * *v + p.one_minus_beta2 * g * g;
            let (m_hat, v_hat) = (*m / correction1, *v / correction2);
            *parameter = kept * *parameter - rate * m_hat / (v_hat.sqrt() + p.epsilon);
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        // Steps: the first, where 1 - beta^t cancels most; some; and those where beta^t is 0 at last. A beta of 0,
        // too. Every schedule of the learning rate.
        let exponential = Decay::Exponential { factor: 0.97, epoch: 17 };
        let cosine = |training_steps| Decay::Cosine { training_steps };
        for n_parameters in LENGTHS {
            for (step, beta1, beta2, decay, warm_up, halted) in [
                (0, 0.9, 0.999, Decay::Constant, 0, 0),
                (1, 0.0, 0.999, exponential, 3, 0),
                (40, 0.9, 0.9999999, exponential, 3, 0),
                (40, 0.9, 0.999, cosine(55), 100, 0),
                (4_000_000, 0.9, 0.999, cosine(4_000_000), 0, 0),
                (4_000_000, 0.9, 0.999, Decay::Constant, 0, 0),
                (7, 0.9, 0.999, Decay::Constant, 0, 3),
            ] {
                let state = bench.state(State { step, halted, retries: step % 3, ..State::default() });
                let [gradient, first_moment, parameters] = ["gradient", "first moment", "parameters"]
                    .map(|name| bench.random_flat(name, n_parameters));
                let second_moment = bench.positive_flat("second moment", n_parameters);
                let scale = bench.random_flat("scale", 1);
                let kernel = Self {
                    n_parameters,
                    // A step as long as the parameters are large, so that nothing of it hides behind them; but a lone
                    // parameter that comes near 0 has no larger one to be measured by.
                    learning_rate: if n_parameters > 1 { 0.3 } else { 0.003 },
                    beta1,
                    beta2,
                    epsilon: 1e-7,
                    schedule: LearningRateSchedule { decay, warm_up },
                    gradient_clip: if step == 40 { 0.2 } else { f32::INFINITY },
                    weight_decay: f64::from(step % 3),
                    retry_factor: 0.7,
                };
                let all = if halted == 0 { vec![0..n_parameters] } else { vec![] };
                let written = [first_moment, second_moment, parameters].map(|id| (id, all.clone()));
                let bindings = [state, gradient, scale, first_moment, second_moment, parameters];
                bench.run_whole(kernel, &bindings, &written);
                bench.note(&format!("step {step}"));
            }
        }
    }
}
