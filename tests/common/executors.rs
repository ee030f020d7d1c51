//! Executors that run a plan's launches through the twins: in f64, and as the engine's executors call them.

use super::pack;
use std::ops::Range;
use thalweg::kernels::jet_start::JetInputs;
use thalweg::kernels::score_direction::DirectionInputs;
use thalweg::kernels::{Access, Binding, Kernel};
use thalweg::plan::{BufferId, Launch, Layout, Plan};

/// Runs the network's launches of a plan in f64, through the twins. Buffers begin as NaN.
pub struct Executor64<'a> {
    plan: &'a Plan,
    pub buffers: Vec<Vec<f64>>,
}

impl<'a> Executor64<'a> {
    pub fn new(plan: &'a Plan) -> Self {
        let buffers = (0..plan.buffers.len()).map(|i| vec![f64::NAN; plan.len_of(BufferId(i))]).collect();
        Self { plan, buffers }
    }

    pub fn set(&mut self, buffer: BufferId, values: &[f64]) {
        self.buffers[buffer.0].copy_from_slice(values);
    }

    pub fn get(&self, buffer: BufferId) -> &[f64] {
        &self.buffers[buffer.0]
    }

    fn block(&self, buffer: BufferId, block: u32) -> Range<usize> {
        match self.plan.buffers[buffer.0].layout {
            Layout::Flat(len) => 0..len,
            Layout::PerBlock(features) => {
                let len = features * self.plan.lanes as usize;
                block as usize * len..(block as usize + 1) * len
            }
        }
    }

    pub fn run<'l>(&mut self, launches: impl IntoIterator<Item = &'l Launch>) {
        for launch in launches {
            let ids = &launch.bindings;
            if launch.kernel.is_per_block() {
                for block in launch.blocks.clone() {
                    for component in 0..launch.jet_components as usize {
                        let part = |id: &BufferId| {
                            let range = self.block(*id, block);
                            match self.plan.buffers[id.0].layout {
                                Layout::Flat(_) => range,
                                Layout::PerBlock(_) => {
                                    let len = range.len() / launch.jet_components as usize;
                                    range.start + component * len..range.start + (component + 1) * len
                                }
                            }
                        };
                        let parts: Vec<_> = ids.iter().map(part).collect();
                        let mut views: Vec<Vec<f64>> = ids
                            .iter()
                            .zip(&parts)
                            .map(|(id, at)| self.buffers[id.0][at.clone()].to_vec())
                            .collect();
                        run_block(&launch.kernel, block - launch.blocks.start, &mut views);
                        for ((id, at), (view, access)) in
                            ids.iter().zip(parts).zip(views.iter().zip(launch.kernel.access()))
                        {
                            if *access != Access::Read {
                                self.buffers[id.0][at].copy_from_slice(view);
                            }
                        }
                    }
                }
            } else {
                let mut views: Vec<Vec<f64>> = ids.iter().map(|id| self.buffers[id.0].clone()).collect();
                run_whole(&launch.kernel, &mut views);
                for (id, (view, access)) in ids.iter().zip(views.into_iter().zip(launch.kernel.access())) {
                    if *access != Access::Read {
                        self.buffers[id.0] = view;
                    }
                }
            }
        }
    }
}

fn run_block(kernel: &Kernel, index: u32, views: &mut [Vec<f64>]) {
    match (kernel, views) {
        (Kernel::ConvForward(k), [x, w, p, y, slope]) => k.reference(x, w, &p[k.bias_offset..], y, slope),
        (Kernel::DenseForward(k), [x, w, p, y, slope]) => k.reference(x, w, &p[k.bias_offset..], y, slope),
        (Kernel::ConvInputGradient(k), [g, w, slope, grad]) => k.reference(g, w, slope, grad),
        (Kernel::DenseInputGradient(k), [g, w, slope, grad]) => k.reference(g, w, slope, grad),
        (Kernel::AnalyticEnergy(k), [x, energy, gradient]) => k.reference(x, energy, gradient),
        (Kernel::PoolForward(k), [x, y, slope]) => k.reference(x, y, slope),
        (Kernel::PoolInputGradient(k), [g, slope, grad]) => k.reference(g, slope, grad),
        (Kernel::LstmForward(k), [x, w, p, trace, y]) => {
            k.reference(x, w, &p[k.cell.weight_offset..], trace, y);
        }
        (Kernel::LstmBackward(k), [g, w, slope, trace, carry, grad]) => {
            k.reference(g, w, slope, trace, carry, grad);
        }
        (Kernel::ActivationJet(k), [z, p, a]) => k.reference(z, &p[k.bias_offset..], a),
        (Kernel::ActivationJetBackward(k), [z, p, g]) => k.reference(z, &p[k.0.bias_offset..], g),
        (Kernel::Perturb(k), [level, noise, x, weight]) => {
            let level: Vec<f32> = level.iter().map(|level| *level as f32).collect();
            k.reference(&level, noise, x, weight);
        }
        (Kernel::JetStart(k), [x, gradient, probes, jet_components, residual]) => {
            k.reference(JetInputs { x, gradient, probes }, jet_components, residual);
        }
        (Kernel::ActivationSecond(k), [z, p, value, slope]) => {
            k.reference(z, &p[k.bias_offset..], value, slope);
        }
        (Kernel::ChainRule(k), [slope, value, second]) => k.reference(slope, value, second),
        (Kernel::AddValues(k), [value, sum]) => k.reference(value, sum),
        (Kernel::ScoreDirection(k), [state, gradient, target, weight, direction, residual]) => {
            let inputs = DirectionInputs { gradient, target, weight };
            k.reference((index, state[0] as u32), inputs, direction, residual);
        }
        // In the first training step.
        _ => panic!("{} has no twin in f64", kernel.name()),
    }
}

fn run_whole(kernel: &Kernel, views: &mut [Vec<f64>]) {
    match (kernel, views) {
        (Kernel::PackWeights(k), [parameters, packed]) => {
            let p = &k.packing;
            let n = p.out_channels * p.in_channels * p.kernel_height * p.kernel_width;
            *packed = pack(p, &parameters[k.weight_offset..][..n]);
        }
        (Kernel::LstmPack(k), [parameters, packed]) => {
            k.reference(&parameters[k.cell.weight_offset..][..k.cell.weight_len()], packed);
        }
        (Kernel::LstmWeightGradient(k), [x, trace, partials]) => {
            let (cell, lanes) = (&k.cell, k.lanes as usize);
            for (blocks, partial) in k.chunks.split(partials, k.n_parameters) {
                let of = |len: usize| blocks.start as usize * len * lanes..blocks.end as usize * len * lanes;
                let grad = &mut partial[cell.weight_offset..][..cell.weight_len()];
                k.reference(&x[of(cell.in_len())], &trace[of(cell.trace_len())], grad);
            }
        }
        (Kernel::ConvWeightGradient(k), [x, g, partials]) => {
            let (s, lanes) = (&k.shape, k.lanes as usize);
            for (blocks, partial) in k.chunks.split(partials, k.n_parameters) {
                let of = |len: usize| blocks.start as usize * len * lanes..blocks.end as usize * len * lanes;
                let grad = &mut partial[k.weight_offset..][..s.weight_len() + s.out_channels];
                k.reference(&x[of(s.in_len())], &g[of(s.out_len())], grad);
            }
        }
        (Kernel::DenseWeightGradient(k), [x, g, partials]) => {
            let (s, lanes) = (&k.shape, k.lanes as usize);
            for (blocks, partial) in k.chunks.split(partials, k.n_parameters) {
                let of = |len: usize| blocks.start as usize * len * lanes..blocks.end as usize * len * lanes;
                let grad = &mut partial[k.weight_offset..][..(s.in_len() + 1) * s.units];
                k.reference(&x[of(s.in_len())], &g[of(s.units)], grad);
            }
        }
        (Kernel::WeightPenalty(k), [parameters, grad]) => {
            for (grad, parameter) in grad.iter_mut().zip(parameters) {
                *grad += 2.0 * f64::from(k.weight) * *parameter;
            }
        }
        (Kernel::ReducePartials(k), [partials, grad]) => {
            let n = k.n_parameters;
            assert_eq!(partials.len(), n * k.n_chunks as usize);
            for (i, grad) in grad.iter_mut().enumerate() {
                *grad = partials.iter().skip(i).step_by(n).sum();
            }
        }
        _ => panic!("{} has no twin in f64", kernel.name()),
    }
}

/// Runs launches through the twins as the engine's executors call them: the reference's reference.
pub struct Executor32<'a> {
    plan: &'a Plan,
    pub buffers: Vec<Vec<u32>>,
}

impl<'a> Executor32<'a> {
    /// Buffers begin as zeros, as plans say.
    pub fn new(plan: &'a Plan) -> Self {
        let buffers = (0..plan.buffers.len()).map(|i| vec![0; plan.len_of(BufferId(i))]).collect();
        Self { plan, buffers }
    }

    pub fn floats(&self, buffer: BufferId) -> Vec<f64> {
        self.buffers[buffer.0].iter().map(|w| f64::from(f32::from_bits(*w))).collect()
    }

    pub fn set(&mut self, buffer: BufferId, values: &[f64]) {
        let words: Vec<u32> = values.iter().map(|v| (*v as f32).to_bits()).collect();
        self.buffers[buffer.0].copy_from_slice(&words);
    }

    pub fn run<'l>(&mut self, launches: impl IntoIterator<Item = &'l Launch>) {
        for launch in launches {
            let mut buffers: Vec<Vec<u32>> =
                launch.bindings.iter().map(|id| self.buffers[id.0].clone()).collect();
            run_twin(&launch.kernel, self.plan, launch, &mut buffers);
            for (id, (words, access)) in
                launch.bindings.iter().zip(buffers.into_iter().zip(launch.kernel.access()))
            {
                if *access != Access::Read {
                    self.buffers[id.0] = words;
                }
            }
        }
    }
}

fn run_twin(kernel: &Kernel, plan: &Plan, launch: &Launch, buffers: &mut [Vec<u32>]) {
    let layouts: Vec<Layout> = launch.bindings.iter().map(|id| plan.buffers[id.0].layout).collect();
    let runs = if kernel.is_per_block() { launch.blocks.clone() } else { 0..1 };
    let jet_components = if kernel.is_per_block() { launch.jet_components as usize } else { 1 };
    for (index, block) in runs.enumerate() {
        for component in 0..jet_components {
            let mut views: Vec<Binding> = buffers
                .iter_mut()
                .zip(&layouts)
                .zip(kernel.access())
                .map(|((words, layout), access)| {
                    let words = match layout {
                        Layout::PerBlock(features) if kernel.is_per_block() => {
                            let len = features * plan.lanes as usize / jet_components;
                            &mut words[(block as usize * jet_components + component) * len..][..len]
                        }
                        _ => &mut words[..],
                    };
                    if *access == Access::Read { Binding::Read(words) } else { Binding::Write(words) }
                })
                .collect();
            kernel.run(index as u32, &mut views);
        }
    }
}
