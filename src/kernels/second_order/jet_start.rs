//! What a jet begins with at the network's input: the images, their directions, and a zero second derivative.
//!
//! A direction of first order, if there is one, is the energy's gradient `g`, taken as a constant. The parameter
//! gradient of the first derivative along it is then that of `|g|^2 / 2`. Other directions are given, or the axes.

use crate::kernels::activation_jet::Jet;
use crate::kernels::prelude::*;

/// Directions of second order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Probes {
    /// One for each axis.
    Axes,
    /// Given.
    Given,
}

/// What a jet begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct JetStart {
    /// Images in a block.
    pub lanes: u32,
    /// Values of one image.
    pub features: usize,
    /// The components: of its directions one at most is of first order only.
    pub jet: Jet,
    /// The other directions.
    pub probes: Probes,
}

/// What [`JetStart::reference`] reads, `[feature][lane]` of one block but for the probes `[probe][feature][lane]`.
/// What it does not need may be empty.
#[derive(Clone, Copy, Debug)]
pub struct JetInputs<'a, R> {
    /// The images.
    pub x: &'a [R],
    /// The energy's gradient there.
    pub gradient: &'a [R],
    /// Directions of second order.
    pub probes: &'a [R],
}

impl JetStart {
    /// The twin, in any precision, for one block: `components` `[component][feature][lane]`, and `residual` `[lane]`, which is
    /// `|g|^2`, 0 without a direction of first order.
    pub fn reference<R: Real>(&self, inputs: JetInputs<R>, components: &mut [R], residual: &mut [R]) {
        let (zero, one) = (R::from_f64(0.0), R::from_f64(1.0));
        let (lanes, len) = (self.lanes as usize, self.features * self.lanes as usize);
        let Jet { directions, first_order } = self.jet;
        components.fill(zero);
        residual.fill(zero);
        components[..len].copy_from_slice(&inputs.x[..len]);
        for d in 0..directions {
            for i in 0..len {
                let (feature, lane) = (i / lanes, i % lanes);
                components[(1 + d) * len + i] = if d >= first_order {
                    match self.probes {
                        Probes::Given => inputs.probes[(d - first_order) * len + i],
                        Probes::Axes if d - first_order == feature => one,
                        Probes::Axes => zero,
                    }
                } else {
                    residual[lane] += inputs.gradient[i] * inputs.gradient[i];
                    inputs.gradient[i]
                };
            }
        }
    }
}

impl KernelSpec for JetStart {
    const SOURCE: &'static str = shader!["second_order/jet_start"];
    block_params!();
    const PER_BLOCK: bool = true;
    /// x; its energy's gradient; probes (anything for what is not needed); components; residuals.
    const ACCESS: &'static [Access] = &[Read, Read, Read, Write, Write];
    /// Copies; the residual is a sum of squares over an image.
    const TOLERANCE: Tolerance = Tolerance::of_largest(1e-5);

    fn needs(&self) -> Vec<Need> {
        let image = Need::PerBlock(self.features);
        // Anything of an image's size is bound if no probes are given.
        let n_probes = if self.reads(2) { self.jet.directions - self.jet.first_order } else { 1 };
        vec![
            image,
            image,
            Need::PerBlock(n_probes * self.features),
            Need::PerBlock(self.jet.components() * self.features),
            Need::PerBlock(1),
        ]
    }

    /// Only the directions that there are.
    fn reads(&self, binding: usize) -> bool {
        match binding {
            1 => self.jet.first_order > 0,
            2 => self.probes == Probes::Given && self.jet.has_second(),
            _ => true,
        }
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = overrides![
            WORKGROUP_SIZE, LANES: self.lanes, FEATURES: self.features, AXES: self.probes == Probes::Axes,
        ];
        overrides.extend(self.jet.overrides());
        overrides
    }

    fn workgroups(&self, blocks: &Range<u32>) -> [u32; 3] {
        [self.lanes.div_ceil(WORKGROUP_SIZE), self.jet.components() as u32, blocks.len() as u32]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [x, gradient, probes, components, residual] = bound(bindings);
        let inputs = JetInputs { x: x.floats(), gradient: gradient.floats(), probes: probes.floats() };
        self.reference(inputs, components.floats_mut(), residual.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        let lanes = bench.plan.lanes;
        for (i, features) in [1, 17, 63, 65, 257].into_iter().enumerate() {
            for (_, jet) in
                Jet::cases().into_iter().enumerate().filter(|(j, _)| bench.is_own(i + j)).collect::<Vec<_>>()
            {
                let n_probes = jet.directions - jet.first_order;
                for probes in [Probes::Axes, Probes::Given] {
                    if probes == Probes::Given && n_probes == 0 {
                        continue;
                    }
                    let drawn = if probes == Probes::Given { n_probes } else { 1 };
                    let [x, gradient, drawn] =
                        [("x", features), ("gradient", features), ("probes", drawn * features)]
                            .map(|(name, features)| bench.images(name, features));
                    let [components, residual] =
                        [("components", jet.components() * features), ("residual", 1)]
                            .map(|(name, features)| bench.per_block(name, features));
                    bench.run(
                        Self { lanes, features, jet, probes },
                        &[x, gradient, drawn, components, residual],
                    );
                }
            }
        }
    }
}
