//! Options that say how chains move, and what is said of them.

use super::ends::short;
use super::real;
use thalweg::kernels::dynamics::Form;
use thalweg::plan::ChainConfig;
use thalweg::recipe::{SampleForm, ScoreObjective, ScoreTarget};
use thalweg::{Error, Recipe, Result};

/// How chains move; what is not given is the model's recipe's.
#[derive(clap::Args)]
pub(crate) struct ChainOptions {
    /// Langevin steps; 0 shows where the chains start [default: the model's recipe]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000_000))]
    pub steps: Option<u32>,
    /// What a step is: `noise-first`, `noise-last`, or `theory` and `mala` (accepted or rejected, so that the
    /// density is exact), which have a temperature and no --noise; or `annealed`, for models of noise levels [default: the
    /// model's recipe]
    #[arg(long, value_name = "FORM", value_parser = form)]
    pub form: Option<Form>,
    /// What the energy's gradient is multiplied by in a step, in `theory` and `mala` half of it [default: the model's recipe]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(0.0, 1e6))]
    step_size: Option<f64>,
    /// Standard deviation of the Gaussian noise added in a step of `noise-first` and `noise-last`; the noise level that
    /// `annealed` chains start from [default: the model's recipe]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(0.0, 10.0))]
    pub noise: Option<f64>,
    /// Temperature T in `theory` and `mala`, whose chains tend to exp(-E/T); in `annealed` it scales the noise of each level
    /// [default: the model's recipe]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(1e-12, 1e6))]
    temperature: Option<f64>,
    /// Each element of the energy's gradient is clamped to +- this; 0 = off [default: the model's recipe]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(0.0, 1e6))]
    gradient_clip: Option<f64>,
    /// Each value of a sample is clamped to +- this; 0 = off [default: the model's recipe]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = real(0.0, 1e6))]
    clamp: Option<f64>,
}

/// Parses `--form`; the error names the nearest form.
fn form(name: &str) -> std::result::Result<Form, String> {
    let mut config = Recipe::default();
    config.set(&format!("chain.form={name}")).map_err(|error| error.to_string())?;
    Ok(config.chain.form)
}

impl ChainOptions {
    /// What does not go with what the model was trained for, and gives samples all the same.
    pub(crate) fn warnings(&self, recipe: &Recipe) -> Vec<String> {
        let levels = trained_levels(recipe);
        let own = recipe.sampling_chain().form;
        let is_annealed = self.form.unwrap_or(own) == Form::Annealed;
        let mut texts = Vec::new();
        match (is_annealed, levels) {
            (true, None) => texts.push(
                "`annealed` chains go through noise levels, and this model was not trained for any (score.target=velocity): \
                 take another --form"
                    .to_owned(),
            ),
            (true, Some([low, high])) => {
                let level = self.noise.unwrap_or(recipe.sample.noise);
                if level < low * 0.999 || level > high * 1.001 {
                    texts.push(format!(
                        "--noise {level}: the model was trained for noise levels from {low} to {high}, and beyond them its energy \
                         is whatever came out"
                    ));
                }
                if recipe.sample.noise_end > 0.0 && level < recipe.sample.noise_end {
                    texts.push(format!(
                        "--noise {level}: chains end at noise level {}, so that they gain noise on their way; start above it",
                        recipe.sample.noise_end
                    ));
                }
            }
            (false, Some([low, high])) => texts.push(format!(
                "this model's energy is of images at noise levels from {low} to {high}, which `annealed` chains go through; \
                 exp(-E) is no density of images, and chains of another form draw none"
            )),
            (false, None) => {}
        }
        texts
    }

    /// The recipe's numbers for sampling, but for those that options give.
    pub(crate) fn chain_config(&self, mut recipe: Recipe) -> Result<ChainConfig> {
        if let Some(form) = self.form {
            let was_annealed = recipe.sampling_chain().form == Form::Annealed;
            recipe.chain.form = form;
            recipe.sample.form = SampleForm::Chain;
            if was_annealed && recipe.chain.form != Form::Annealed {
                // These are noise levels, and no noise of a step.
                (recipe.sample.noise, recipe.sample.noise_end) = (recipe.chain.noise, 0.0);
            }
        }
        let (sample, chain) = (&mut recipe.sample, &mut recipe.chain);
        if let Some(steps) = self.steps {
            // The share of steps that stay at the last level is the recipe's.
            let steps = steps as usize;
            let stay = steps * sample.stay / (sample.steps + sample.stay);
            (sample.steps, sample.stay) = (steps - stay, stay);
        }
        for (option, setting) in [
            (self.step_size, &mut sample.step_size),
            (self.noise, &mut sample.noise),
            (self.temperature, &mut sample.temperature),
            (self.gradient_clip, &mut chain.gradient_clip),
            (self.clamp, &mut chain.clamp),
        ] {
            *setting = option.unwrap_or(*setting);
        }
        recipe.check_annealed()?;
        let given = [
            ("--noise", "sample.noise", self.noise.is_some()),
            ("--temperature", "sample.temperature", self.temperature.is_some()),
        ];
        for (option, setting, is_given) in given {
            if let Some(problem) = recipe.unused(setting).filter(|_| is_given) {
                return Err(Error::Usage(format!("{option}: {problem}")));
            }
        }
        let chain_config = recipe.sampling_chain();
        self.check_form(chain_config.form)?;
        Ok(chain_config)
    }

    /// Refuses options that have no part in the form.
    fn check_form(&self, form: Form) -> Result<()> {
        let wrong = match form {
            Form::Theory | Form::Mala if self.noise.is_some() => {
                "--noise has no part in `theory` and `mala`, whose noise goes by step size and temperature: set --temperature"
            }
            Form::NoiseFirst | Form::NoiseLast if self.temperature.is_some() => {
                "--temperature has no part in `noise-first` and `noise-last`: set --noise, or take --form theory"
            }
            _ => return Ok(()),
        };
        Err(Error::Usage(wrong.to_owned()))
    }
}

/// The lowest and highest noise level that a model was trained for, if it is one that annealed chains sample.
pub(crate) fn trained_levels(recipe: &Recipe) -> Option<[f64; 2]> {
    let chain = recipe.pool().map(|_| [recipe.chain.noise_end, recipe.chain.noise]);
    match recipe.score_objective() {
        None => chain,
        Some(ScoreObjective::Denoising { target: ScoreTarget::Velocity, levels, .. }) => {
            let highest = if levels > 1 { recipe.score.sigma_max } else { recipe.score.sigma };
            let [low, high] = chain.unwrap_or([recipe.score.sigma, highest]);
            Some([low.min(recipe.score.sigma), high.max(highest)])
        }
        _ => None,
    }
}

/// The numbers that chains go by, in one line.
pub(crate) fn described(chain_config: &ChainConfig) -> String {
    let n = chain_config;
    let limit = |value: f32| if value > 0.0 { format!("+-{}", short(value)) } else { "none".to_owned() };
    let noise = match n.form {
        Form::NoiseFirst | Form::NoiseLast => format!("noise {}", short(n.noise)),
        Form::Theory | Form::Mala => format!("temperature {}", short(n.temperature)),
        Form::Annealed if n.changes() && n.steps > n.levels => {
            let (stay, end) = (n.steps - n.levels, n.at_end());
            format!(
                "levels {} to {}, {stay} of the steps there, of {}",
                n.noise,
                end.noise,
                short(end.step_size)
            )
        }
        Form::Annealed if n.changes() => format!("levels {} to {}", n.noise, n.at_end().noise),
        Form::Annealed => format!("level {}", n.noise),
    };
    format!(
        "{}: step size {}, {noise}, clip {}, clamp {}",
        n.form.name(),
        short(n.step_size),
        limit(n.gradient_clip),
        limit(n.clamp)
    )
}
