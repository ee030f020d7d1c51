//! The exponential moving average of the parameters.

use crate::kernels::prelude::*;

/// Moves the average on: `average = kept average + (1 - kept) parameter`, where `kept = min(decay, (1 + t) / (10 +
/// t))` in training step `t`, counted from 0: TensorFlow's rule for averages that begin early
/// (`tf.train.ExponentialMovingAverage` with `num_updates`,
/// <https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage>). Until `decay` is the smaller, the
/// average is of about the last tenth of all steps, and of the initial weights next to nothing is left.
#[derive(Clone, Debug, PartialEq)]
pub struct AverageWeights {
    /// Length of the parameter vector.
    pub n_parameters: usize,
    /// Share of itself that the average keeps, at most.
    pub decay: f64,
}

impl AverageWeights {
    /// The shares of average and parameter in training step `step`, counted from 0.
    pub fn shares(&self, step: u32) -> [f32; 2] {
        let t = step as f32;
        [(self.decay as f32).min((1.0 + t) / (10.0 + t)), ((1.0 - self.decay) as f32).max(9.0 / (10.0 + t))]
    }
}

shader_struct! {
    /// `Params` of `shaders/optimizer/average_weights.wgsl`.
    Params {
        decay: f32,
        /// `1 - decay`.
        one_minus_decay: f32,
    }
}

impl KernelSpec for AverageWeights {
    const SOURCE: &'static str = shader!["lib/state", "optimizer/average_weights"];
    type Params = Params;
    const PER_BLOCK: bool = false;
    /// State; parameters; average.
    const ACCESS: &'static [Access] = &[Read, Read, ReadWrite];
    /// Two roundings; the terms may cancel.
    const TOLERANCE: Tolerance = Tolerance::new(3e-7, 3e-7);

    fn needs(&self) -> Vec<Need> {
        let parameters = Need::Flat(self.n_parameters);
        vec![Need::STATE, parameters, parameters]
    }

    fn overrides(&self) -> Overrides {
        overrides![WORKGROUP_SIZE, N_PARAMETERS: self.n_parameters]
    }

    fn params(&self, _: &Range<u32>) -> Params {
        Params { decay: self.decay as f32, one_minus_decay: (1.0 - self.decay) as f32 }
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [(self.n_parameters as u32).div_ceil(WORKGROUP_SIZE), 1, 1]
    }

    fn parts(&self) -> Option<Parts> {
        Some(Parts::parameters(self.n_parameters, 3))
    }

    #[inline(always)]
    fn run_part(&self, first: usize, bindings: &mut [Binding]) {
        let [state, parameters, average] = bound(bindings);
        let State { step, halted, .. } = State::of(state.words());
        if halted != 0 {
            return;
        }
        let [kept, share] = self.shares(step);
        for (average, parameter) in average.floats_mut().iter_mut().zip(&parameters.floats()[first..]) {
            *average = kept * *average + share * parameter;
        }
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        // At the first step, while the average warms up, and once its decay is what it keeps.
        for (i, n_parameters) in LENGTHS.into_iter().enumerate() {
            let [parameters, average] =
                ["parameters", "average"].map(|name| bench.random_flat(name, n_parameters));
            let state = bench.at_step([0, 17, 100_000][i % 3]);
            let written = [(average, vec![0..n_parameters])];
            bench.run_whole(Self { n_parameters, decay: 0.99 }, &[state, parameters, average], &written);
        }
        let [parameters, average] = ["parameters", "average"].map(|name| bench.random_flat(name, 70));
        let state = bench.state(State::HALTED);
        bench.run_whole(
            Self { n_parameters: 70, decay: 0.9 },
            &[state, parameters, average],
            &[(average, vec![])],
        );
    }
}
