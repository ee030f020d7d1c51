//! What readers of arrays and tables are told about the network that their examples are for, and what they found.

use super::{Examples, Shape};
use crate::network::NetworkSpec;
use crate::recipe::{Range, Recipe, presets};

/// How far outside [-1, 1], or whatever an image's range is, a float may lie, for the sake of others' rounding.
const SLACK: f64 = 1e-3;

/// What a network takes, as far as its input does not follow from the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Takes {
    /// Nobody knows: in an array of three dimensions, integers are images and floats are sequences.
    #[default]
    Anything,
    /// Images: arrays `[n, height, width]` are grey ones.
    Images,
    /// Sequences: arrays `[n, time, d]`.
    Sequences,
    /// Points: arrays `[n, d]`.
    Points,
}

/// What a reader has to know to understand a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What the network takes.
    pub takes: Takes,
    /// The network's input, where it doesn't follow the data.
    pub input: Option<Shape>,
    /// What float images hold.
    pub range: Range,
    /// The bound of the recipe's chains (`chain.clamp`), beyond which a sample can't be; 0 = none.
    pub clamp: f64,
    /// Whether it is for training, where images that leave [-1, 1] are worth a word.
    pub trains: bool,
    /// How notes and errors name the setting `data.range`, with the value to follow: an option of a command line, for example.
    pub range_option: &'static str,
    /// The most examples that are wanted, the first ones; `None` for all.
    pub most: Option<usize>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            takes: Takes::Anything,
            input: None,
            range: Range::Auto,
            clamp: 1.0,
            trains: false,
            range_option: "data.range=",
            most: None,
        }
    }
}

impl Reading {
    /// For a network with this input, sampled by this recipe.
    pub fn for_network(input: Shape, recipe: &Recipe) -> Self {
        let takes = match input {
            shape if shape.is_sequence() => Takes::Sequences,
            shape if shape.is_points() => Takes::Points,
            _ => Takes::Images,
        };
        let (range, clamp) = (recipe.data.range, recipe.chain.clamp);
        Self { takes, input: Some(input), range, clamp, ..Self::default() }
    }

    /// For training by this recipe.
    pub fn for_training(recipe: &Recipe) -> Self {
        let described = recipe.network.as_ref().map(|spec: &NetworkSpec| spec.input);
        let reading = match described {
            Some(input) => Self::for_network(input, recipe),
            None => Self {
                takes: presets::find(&recipe.preset).map_or(Takes::Images, |preset| preset.takes),
                range: recipe.data.range,
                clamp: recipe.chain.clamp,
                ..Self::default()
            },
        };
        Self { trains: true, ..reading }
    }

    /// Brings the values of float images to [-1, 1], if they are not. Gives a note for the user, if there is something to
    /// say.
    ///
    /// # Errors
    /// What is wrong: values outside the range that they should have.
    pub(super) fn scale(
        &self,
        values: &mut [f32],
        lowest: f64,
        highest: f64,
    ) -> std::result::Result<Option<String>, String> {
        let fits = |low: f64, high: f64| low - SLACK <= lowest && highest <= high + SLACK;
        let is_unit = lowest >= 0.0 && highest > 0.0 && fits(0.0, 1.0);
        let is_bytes = lowest >= 0.0 && highest >= 2.0 && fits(0.0, 255.0);
        let range = match self.range {
            // A file that a model wrote is read by the same recipe as the one that it was trained on.
            Range::Unit if !self.trains && !fits(0.0, 1.0) => Range::Auto,
            Range::Bytes if !self.trains && !fits(0.0, 255.0) => Range::Auto,
            range => range,
        };
        let say = |what: &str, how: &str| {
            format!(
                "no value is below 0 and the largest is {}, so {what} was understood and scaled to [-1, 1] ({how}). If \
                 the values are meant as they are, say so: {}",
                short(highest),
                self.option("signed")
            )
        };
        match range {
            Range::Auto if is_unit => {
                values.iter_mut().for_each(|value| *value = 2.0 * *value - 1.0);
                Ok(Some(say("[0, 1]", "2 v - 1")))
            }
            Range::Auto if is_bytes => {
                values.iter_mut().for_each(|value| *value = (*value - 127.5) / 127.5);
                Ok(Some(say("[0, 255]", "(v - 127.5) / 127.5")))
            }
            Range::Unit if fits(0.0, 1.0) => {
                values.iter_mut().for_each(|value| *value = 2.0 * *value - 1.0);
                Ok(None)
            }
            Range::Bytes if fits(0.0, 255.0) => {
                values.iter_mut().for_each(|value| *value = (*value - 127.5) / 127.5);
                Ok(None)
            }
            Range::Unit | Range::Bytes => {
                let name = if range == Range::Unit { "unit: 0 to 1" } else { "bytes: 0 to 255" };
                Err(format!(
                    "its values go from {} to {}, but {name} was asked for (data.range)",
                    short(lowest),
                    short(highest)
                ))
            }
            Range::Auto | Range::Signed => self.check_bound(lowest, highest),
        }
    }

    fn check_bound(&self, lowest: f64, highest: f64) -> std::result::Result<Option<String>, String> {
        let bound = if self.clamp > 0.0 { self.clamp.max(1.0) } else { f64::INFINITY };
        let worst = if highest.abs() >= lowest.abs() { highest } else { lowest };
        if worst.abs() > bound + SLACK {
            return Err(format!(
                "is outside [-{bound}, {bound}]: images are floats from -1 (black) to 1 (white), or bytes. Scale them, as \
                 in 2 * (x - x.min()) / (x.max() - x.min()) - 1"
            ));
        }
        if self.trains && worst.abs() > 1.0 + SLACK {
            return Ok(Some(format!(
                "its values go from {} to {}; they are taken as they are, since this recipe bounds no chain (chain.clamp=0), \
                 but black is -1 and white is 1 in all pictures. Images whose mean was subtracted are better scaled to \
                 [-1, 1]",
                short(lowest),
                short(highest)
            )));
        }
        Ok(None)
    }

    /// What says what float images hold, for a message.
    fn option(&self, name: &str) -> String {
        format!("{}{name}", self.range_option)
    }
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The examples.
    pub examples: Examples,
    /// Names of a table's columns, as many as a point has numbers; or none.
    pub columns: Vec<String>,
    /// What a user should know about how the file was understood, a sentence or two each.
    pub notes: Vec<String>,
}

impl Found {
    /// With nothing to say.
    pub fn new(examples: Examples) -> Self {
        Self { examples, columns: Vec::new(), notes: Vec::new() }
    }
}

/// A number with as many digits as help.
pub fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&value.abs()) {
        return format!("{value:e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
