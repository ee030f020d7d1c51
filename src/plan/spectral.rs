//! Bounds of spectral norms, by power iteration.

use super::{BufferId, Launch, Plan, ProgramId};
use crate::kernels::spectral_bound::SpectralBound;
use crate::kernels::spectral_input::{Matrix, SpectralInput};
use crate::kernels::spectral_output::SpectralOutput;
use crate::network::{Network, ParameterTensor};

/// How the spectral norms of weights are bounded.
#[derive(Clone, Debug)]
pub struct SpectralPlan {
    /// One power iteration on each matrix, and its projection: what every training step does after Adam. Run many times once
    /// after parameters were written and [`Self::vectors`] drawn, it brings them within their bounds.
    pub iterate: ProgramId,
    /// What the iterations keep: u of each matrix ([`Matrix::vector`]), which any vector may begin.
    pub vectors: BufferId,
    /// `[matrix]`: the norms that the last iteration found, before it bounded them.
    pub norms: BufferId,
    /// The matrices, as [`Network::bounded`] lists them, with their bounds.
    pub matrices: Vec<(Matrix, f32)>,
}

impl SpectralPlan {
    /// Adds what a network's bounds need to a plan; nothing where it has none.
    pub(super) fn new(
        plan: &mut Plan,
        network: &Network,
        state: BufferId,
        parameters: BufferId,
    ) -> Option<Self> {
        let mut vector_offset = 0;
        let of_tensor = |(tensor, bound): (ParameterTensor, f32)| {
            let (rows, columns) = tensor.matrix();
            let matrix = Matrix { rows, columns, weight_offset: tensor.offset, vector_offset };
            vector_offset = matrix.vector().end;
            (matrix, bound)
        };
        let matrices: Vec<_> = network.bounded().into_iter().map(of_tensor).collect();
        let rows = matrices.iter().map(|(matrix, _)| matrix.rows).max()?;
        let columns = matrices.iter().map(|(matrix, _)| matrix.columns).max()?;
        let vectors = plan.flat("spectral vectors", vector_offset);
        let norms = plan.flat("spectral norms", matrices.len());
        let [inputs, outputs] = [plan.flat("spectral inputs", columns), plan.flat("spectral outputs", rows)];
        let mut launches = Vec::new();
        for (number, &(matrix, bound)) in matrices.iter().enumerate() {
            launches.push(Launch::whole(SpectralInput { matrix }, &[parameters, vectors, inputs]));
            launches.push(Launch::whole(SpectralOutput { matrix }, &[parameters, inputs, outputs]));
            let bindings = [state, inputs, outputs, parameters, vectors, norms];
            launches.push(Launch::whole(SpectralBound { matrix, number, bound }, &bindings));
        }
        Some(Self { iterate: plan.program(launches), vectors, norms, matrices })
    }
}
