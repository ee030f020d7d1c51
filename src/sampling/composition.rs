//! Several models as one: the weighted sum of their energies.

use crate::checkpoint::Model;
use crate::data::Shape;
use crate::data::standard::Standard;
use crate::kernels::dynamics::Form;
use crate::plan::{ChainConfig, Term};
use crate::{Error, Result};

/// The energy `sum_k w_k E_k(x)` of several models: the density is the product of theirs, each to the power of its weight
/// (Hinton 2002, "Training products of experts by minimizing contrastive divergence"; Du et al. 2020,
/// <https://arxiv.org/abs/2004.06030>). A negative weight says "not". docs/uses.md has the formulas.
///
/// Of models of noise levels ([`Form::Annealed`]) the sum `W` of the weights has to be above 0: the product's exponent at a
/// level, `W |x|^2/2 + sum_k w_k E_k(x)/sigma`, is no density otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Composition {
    terms: Vec<(Model, f32)>,
}

impl From<&Model> for Composition {
    /// The model's energy as it is.
    fn from(model: &Model) -> Self {
        Self { terms: vec![(model.clone(), 1.0)] }
    }
}

impl From<&Self> for Composition {
    fn from(composition: &Self) -> Self {
        composition.clone()
    }
}

impl Composition {
    /// Models with their weights.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no model, a weight is 0 or not finite, or the models take examples of different shapes, or
    /// such as are standardised by different numbers.
    pub fn new(terms: Vec<(Model, f32)>) -> Result<Self> {
        let Some((first, _)) = terms.first() else {
            return Err(Error::Usage("0 models are to be composed; name 1 or more".to_owned()));
        };
        let (input, standard) = (first.network.input, &first.network.standard);
        for (ix, (model, weight)) in terms.iter().enumerate() {
            let number = ix + 1;
            if !weight.is_finite() || *weight == 0.0 {
                let text = format!("the weight of model {number} is {weight}; give a number other than 0");
                return Err(Error::Usage(text));
            }
            if model.network.input != input {
                return Err(Error::Usage(format!(
                    "model 1 takes {input} (channels x height x width), but model {number} takes {}: only models of the same \
                     shape have a common energy; train them with presets of the same input",
                    model.network.input
                )));
            }
            if model.network.standard != *standard {
                return Err(Error::Usage(format!(
                    "model {number} brings its points to mean 0 and deviation 1 by other numbers than model 1, so that they mean \
                     different points: train all on data of the same means and deviations, or none standardised"
                )));
            }
        }
        Ok(Self { terms })
    }

    /// The models with their weights.
    pub fn terms(&self) -> &[(Model, f32)] {
        &self.terms
    }

    /// The shape of one example.
    pub fn input(&self) -> Shape {
        self.terms[0].0.network.input
    }

    /// How points are standardised, if they are.
    pub(crate) fn standard(&self) -> Option<&Standard> {
        self.terms[0].0.network.standard.as_ref()
    }

    /// The model, if it is one as it is.
    pub(crate) fn alone(&self) -> Option<&Model> {
        match &self.terms[..] {
            [(model, 1.0)] => Some(model),
            _ => None,
        }
    }

    /// The sum of the weights.
    pub(crate) fn weight_sum(&self) -> f64 {
        self.terms.iter().map(|(_, weight)| f64::from(*weight)).sum()
    }

    /// For a plan, gradients divided by `scale`.
    pub(crate) fn plan_terms(&self, scale: f64) -> Vec<Term<'_>> {
        let terms = self.terms.iter().map(|(model, weight)| Term {
            network: &model.network,
            weight: *weight,
            gradient_weight: (f64::from(*weight) / scale) as f32,
        });
        terms.collect()
    }

    /// The chains that sample it, and what gradients are divided by in them.
    ///
    /// With `W` the sum of the weights, the product's exponent at a noise level is
    /// `W |x|^2/2 + sum_k w_k E_k/sigma = W (|x|^2/2 + mean E/sigma)`, where `mean E = sum_k (w_k/W) E_k`: annealed chains of the
    /// weighted mean, at the temperature `T/W`, so that a step's estimate of the clean image is the weighted mean of the models'.
    ///
    /// # Errors
    /// [`Error::Usage`] if annealed chains have no density.
    pub(crate) fn chains(&self, chain_config: &ChainConfig) -> Result<(ChainConfig, f64)> {
        let sum = self.weight_sum();
        if chain_config.form != Form::Annealed || self.alone().is_some() {
            return Ok((*chain_config, 1.0));
        }
        if sum < 1e-3 {
            return Err(Error::Usage(format!(
                "the weights sum to {sum}, and `annealed` chains need a sum above 0: each model's density at a noise level has \
                 the factor exp(-|x|^2/2) to the power of its weight. Raise a positive weight, as in 2 and -1"
            )));
        }
        let temperature = (f64::from(chain_config.temperature) / sum) as f32;
        Ok((ChainConfig { temperature, ..*chain_config }, sum))
    }
}
