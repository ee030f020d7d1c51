//! Settings as text: TOML files, whose faults are reported with their lines, and `KEY=VALUE`.

use super::table::{Values, find, unknown_preset};
use super::{Recipe, SECTIONS};
use crate::network::{Fault, MAX_TOML, NetworkSpec};
use crate::source::read_text;
use crate::{Error, Result};
use std::path::Path;
use toml::de::{DeTable, DeValue};

impl Recipe {
    /// Reads a TOML file on top of `base`; the file names only the settings that it changes. A section `[network]`
    /// describes a network that replaces the preset's (see [`NetworkSpec`]). A `preset` in the file that is not the base's
    /// replaces the base. Values are checked one by one, so call [`validate`](Self::validate) at the end.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::File`] with the line.
    pub fn from_toml_file(path: impl AsRef<Path>, base: Self) -> Result<Self> {
        Ok(Self::read_toml(path.as_ref(), base)?.0)
    }

    /// The same, with the names of the settings in the file and their lines.
    pub(super) fn read_toml(path: &Path, base: Self) -> Result<(Self, Vec<(String, usize)>)> {
        let text = read_text(path, MAX_TOML, "a TOML file of settings")?;
        let line = |offset: usize| text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1;
        let fault =
            |offset: usize, problem: String| Error::file(path, format!("line {}: {problem}", line(offset)));
        let table = DeTable::parse(&text)
            .map_err(|e| fault(e.span().map_or(0, |span| span.start), e.message().replace('\n', ", ")))?;
        let network = described_network(&text, table.get_ref())
            .map_err(|(offset, problem)| fault(offset, format!("network: {problem}")))?;
        let mut entries = Vec::new();
        flatten("", table.get_ref(), &mut entries);
        entries.retain(|(name, ..)| name != "network" && !name.starts_with("network."));
        entries.sort_by_key(|(name, offset, _)| (name != "preset", *offset));
        let (mut config, mut lines) = (base, Vec::new());
        for (name, offset, value) in entries {
            let result = match value {
                DeValue::String(preset) if name == "preset" && *preset != *config.preset => {
                    Self::preset(preset).map(|c| config = c).map_err(|_| unknown_preset(preset))
                }
                _ => toml_text(&name, value).and_then(|text| config.assign(&name, &text)),
            };
            result.map_err(|problem| fault(offset, format!("setting `{name}`: {problem}")))?;
            lines.push((name, line(offset)));
        }
        config.network = network.or(config.network);
        Ok((config, lines))
    }

    /// The whole configuration as TOML, readable by [`from_toml_file`](Self::from_toml_file).
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("plain fields")
    }

    /// Changes one setting, given as on the command line: `chain.steps=60`.
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown name and for a value that the setting can't have.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(Error::setting(assignment, "has no value; write it as in `chain.steps=60`"));
        };
        let name = name.trim();
        self.assign(name, value.trim()).map_err(|problem| Error::setting(name, problem))
    }

    /// Gives one setting a value; the error says what is wrong without the setting's name.
    fn assign(&mut self, name: &str, text: &str) -> std::result::Result<(), String> {
        let spec = find(name)?;
        let value = spec.values.read(text)?;
        if matches!(spec.values, Values::Preset) && text != self.preset {
            return Err("is chosen before all others, as it decides their defaults".into());
        }
        let before = self.clone();
        (spec.put)(self, value);
        if self.objective != before.objective {
            let objective = self.objective;
            *self = before;
            self.choose_objective(objective);
        }
        Ok(())
    }
}

/// Every `section.key = value` of a TOML file, with the offset of its key.
fn flatten<'a>(prefix: &str, table: &'a DeTable<'_>, entries: &mut Vec<(String, usize, &'a DeValue<'a>)>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        let is_section = || SECTIONS.iter().any(|(section, _)| *section == name);
        match value.get_ref() {
            DeValue::Table(inner) if prefix.is_empty() && (!inner.is_empty() || is_section()) => {
                flatten(&format!("{name}."), inner, entries);
            }
            other => entries.push((name, key.span().start, other)),
        }
    }
}

/// The section `[network]` of a TOML file, or the offset and the description of what is wrong in it.
fn described_network(
    text: &str,
    table: &DeTable<'_>,
) -> std::result::Result<Option<NetworkSpec>, (usize, String)> {
    let Some((key, section)) = table.get_key_value("network") else { return Ok(None) };
    let at_key = |problem: String| (key.span().start, problem);
    let mut values: serde_json::Map<String, serde_json::Value> =
        toml::from_str(text).map_err(|e| at_key(e.message().to_owned()))?;
    let value = values.remove("network").unwrap_or_default();
    NetworkSpec::from_value(&value).map(Some).map_err(|fault: Fault| {
        let layers = section.get_ref().get("layers").and_then(|layers| layers.get_ref().as_array());
        let layer = fault.layer.and_then(|layer| layers?.get(layer));
        layer.map_or(at_key(fault.to_string()), |layer| (layer.span().start, fault.to_string()))
    })
}

/// A TOML value as it would stand on the command line, if it is of the setting's type.
fn toml_text(name: &str, value: &DeValue<'_>) -> std::result::Result<String, String> {
    match (find(name)?.values, value) {
        (Values::Preset | Values::Choice(_), DeValue::String(text)) => Ok(text.to_string()),
        (Values::Whole(..) | Values::Real(..), DeValue::Integer(n)) => {
            match i128::from_str_radix(n.as_str(), n.radix()) {
                Ok(n) => Ok(n.to_string()),
                Err(_) => Ok(n.as_str().to_owned()),
            }
        }
        (Values::Whole(..) | Values::Real(..), DeValue::Float(x)) => Ok(x.as_str().to_owned()),
        (values, other) => Err(format!("must be {values}, not a TOML {}", other.type_str())),
    }
}
