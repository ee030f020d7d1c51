//! Settings as a user gives them, in files and on the command line, and which of them have an effect.
//!
//! A preset has a value for every setting, and its objective uses only some. A setting that a user gives without effect is
//! refused, with a message that says what would use it.

use super::Recipe;
use super::sections::SETTINGS;
use super::table::find;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A setting with its value in a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// `section.key`.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Its allowed values, as in "a whole number from 1 to 64".
    pub allowed: String,
    /// The names to choose from, where it is chosen by name.
    pub choices: &'static [&'static str],
    /// Description.
    pub doc: &'static str,
    /// What uses it, as in "objective=pcd"; `None` if it always has an effect.
    pub used_by: Option<&'static str>,
    /// Whether this configuration uses it.
    pub is_used: bool,
}

/// A preset's configuration, with a user's changes.
#[derive(Clone, Debug)]
pub struct Settings {
    base: Recipe,
    config: Recipe,
    given: Vec<Given>,
}

/// A setting that a user gave.
#[derive(Clone, Debug)]
struct Given {
    name: String,
    file: Option<(PathBuf, usize)>, // and line
}

impl Settings {
    /// Starts from a configuration that no user gave.
    pub fn of(base: Recipe) -> Self {
        Self { config: base.clone(), base, given: Vec::new() }
    }

    /// Adds those of a TOML file, as [`Recipe::from_toml_file`] reads it.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`], which names the line.
    pub fn read(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (config, lines) = Recipe::read_toml(path, self.config.clone())?;
        if config.preset != self.base.preset {
            self.base = Recipe::preset(&config.preset)?;
            self.given.clear();
        }
        self.config = config;
        let of_file = |(name, line)| Given { name, file: Some((path.to_owned(), line)) };
        self.given.extend(lines.into_iter().map(of_file));
        Ok(())
    }

    /// Adds one, given as on the command line: `chain.steps=60`.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        self.config.set(assignment)?;
        let name = assignment.split('=').next().unwrap_or_default().trim().to_owned();
        self.given.push(Given { name, file: None });
        Ok(())
    }

    /// The configuration so far.
    pub fn config(&self) -> &Recipe {
        &self.config
    }

    /// The same, for options that change settings.
    pub fn config_mut(&mut self) -> &mut Recipe {
        &mut self.config
    }

    /// Returns the configuration, if it is valid and uses all given settings, whose order does not matter. A file may hold
    /// settings without effect at the preset's values, as files that a run wrote do.
    ///
    /// # Errors
    /// Those of [`Recipe::validate`]; [`Error::Setting`], or [`Error::File`] with the line, for a setting without effect.
    pub fn finish(self) -> Result<Recipe> {
        self.config.validate()?;
        for Given { name, file } in &self.given {
            let Some(problem) = self.config.unused(name) else { continue };
            match file {
                Some(_) if self.config.value(name) == self.base.value(name) => {}
                Some((path, line)) => {
                    return Err(Error::file(path, format!("line {line}: setting `{name}`: {problem}")));
                }
                None => return Err(Error::setting(name, problem)),
            }
        }
        Ok(self.config)
    }
}

impl Recipe {
    /// A setting's value as it would stand on the command line; empty for an unknown name.
    pub fn value(&self, name: &str) -> String {
        find(name).map_or(String::new(), |spec| (spec.get)(self).to_string())
    }

    /// Why a setting has no effect in this configuration, neither in training nor in sampling, if so: what would use it,
    /// and what decides that.
    pub fn unused(&self, name: &str) -> Option<String> {
        let usage = find(name).ok()?.usage.filter(|usage| !(usage.applies)(self))?;
        let now: Vec<_> =
            usage.decided_by.iter().map(|name| format!("{name}={}", self.value(name))).collect();
        Some(format!(
            "has no effect here ({}); it is used by {}: leave it out, or choose that",
            now.join(", "),
            usage.by
        ))
    }

    /// Every setting.
    pub fn settings(&self) -> Vec<Setting> {
        let of_spec = |spec: &super::table::Spec| Setting {
            name: spec.name,
            value: (spec.get)(self).to_string(),
            allowed: spec.values.to_string(),
            choices: spec.values.names(),
            doc: spec.doc,
            used_by: spec.usage.map(|usage| usage.by),
            is_used: spec.usage.is_none_or(|usage| (usage.applies)(self)),
        };
        SETTINGS.iter().map(of_spec).collect()
    }
}
