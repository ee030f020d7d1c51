//! The table of settings: [`settings!`](settings) makes the structs, their defaults and the table from one item each.

use super::sections::SETTINGS;
use super::{PRESETS, Recipe};
use crate::error::nearest;

/// A setting as the table holds it.
pub(super) struct Spec {
    /// `section.key`.
    pub name: &'static str,
    /// The values that it can have.
    pub values: Values,
    /// Its doc comment.
    pub doc: &'static str,
    /// When it has an effect; `None` for always.
    pub usage: Option<Usage>,
    /// Reads it.
    pub get: fn(&Recipe) -> Value,
    /// Writes a value that [`Values::check`] accepts.
    pub put: fn(&mut Recipe, Value),
}

/// When a setting has an effect.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    /// Whether it has one in this configuration.
    pub applies: fn(&Recipe) -> bool,
    /// What uses it, as in "objective=pcd".
    pub by: &'static str,
    /// The settings that decide it.
    pub decided_by: &'static [&'static str],
}

/// [`Usage`] as the items in `sections.rs` give it.
pub(super) const fn when(
    applies: fn(&Recipe) -> bool,
    by: &'static str,
    decided_by: &'static [&'static str],
) -> Usage {
    Usage { applies, by, decided_by }
}

/// A setting's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
    Name(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(n) => write!(f, "{n}"),
            Self::Real(x) => f.write_str(&short(*x)),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The values that a setting can have. Both ends are allowed.
#[derive(Clone, Copy)]
pub(super) enum Values {
    Preset,
    Choice(&'static [&'static str]),
    Whole(u64, u64),
    Real(f64, f64),
}

impl std::fmt::Display for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Preset => write!(f, "the name of a preset ({})", PRESETS.join(", ")),
            Self::Choice(names) => write!(f, "one of {}", names.join(", ")),
            Self::Whole(min, max) => write!(f, "a whole number from {min} to {max}"),
            Self::Real(min, max) => write!(f, "a number from {} to {}", short(*min), short(*max)),
        }
    }
}

impl Values {
    /// The names to choose from; none for a number.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Preset => PRESETS,
            Self::Choice(names) => names,
            Self::Whole(..) | Self::Real(..) => &[],
        }
    }

    /// Reads a value as it stands on the command line.
    ///
    /// # Errors
    /// What is wrong, without the setting's name.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        let value = match self {
            Self::Preset | Self::Choice(_) => Some(Value::Name(text.to_owned())),
            Self::Whole(..) => text.parse().ok().map(Value::Whole),
            Self::Real(..) => text.parse().ok().map(Value::Real),
        };
        let value = value.ok_or_else(|| format!("must be {self}, not `{text}`"))?;
        self.check(&value, text)?;
        Ok(value)
    }

    /// Checks a value, which the error quotes as `text`.
    pub(super) fn check(self, value: &Value, text: &str) -> Result<(), String> {
        let fits = match (self, value) {
            (Self::Preset, Value::Name(name)) if !PRESETS.contains(&&**name) => {
                return Err(unknown_preset(name));
            }
            (Self::Preset, Value::Name(_)) => true,
            (Self::Choice(names), Value::Name(name)) if !names.contains(&&**name) => {
                let hint = nearest(name, names).map_or(String::new(), |hint| format!("; {hint}"));
                return Err(format!("must be {self}, not `{text}`{hint}"));
            }
            (Self::Choice(_), Value::Name(_)) => true,
            (Self::Whole(min, max), Value::Whole(n)) => (min..=max).contains(n),
            (Self::Real(min, max), Value::Real(x)) => (min..=max).contains(x),
            _ => false,
        };
        if !fits {
            return Err(format!("must be {self}, not `{text}`"));
        }
        // Devices flush subnormal numbers to 0, which disables many a setting.
        match value {
            Value::Real(x) if *x != 0.0 && x.abs() < f64::from(f32::MIN_POSITIVE) => {
                Err(format!("must be 0, or large enough for single precision (1.2e-38), not `{text}`"))
            }
            _ => Ok(()),
        }
    }
}

/// The setting of a name, or what is wrong with the name.
pub(super) fn find(name: &str) -> Result<&'static Spec, String> {
    SETTINGS.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let names: Vec<_> = SETTINGS.iter().map(|spec| spec.name).collect();
        let hint = nearest(name, &names).unwrap_or_else(|| format!("there are: {}", names.join(", ")));
        format!("there is no such setting; {hint}")
    })
}

pub(super) fn unknown_preset(name: &str) -> String {
    let names = PRESETS.join(", ");
    match nearest(name, PRESETS) {
        Some(hint) => format!("there is no preset `{name}`; {hint} The presets are: {names}"),
        None => format!("there is no preset `{name}`; the presets are: {names}"),
    }
}

/// `1e-12` rather than `0.000000000001`.
fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-4 { format!("{value:e}") } else { value.to_string() }
}

/// The type of a setting's field.
pub(super) trait Field {
    /// The names to choose from; none for a number.
    const NAMES: &'static [&'static str] = &[];

    fn get(&self) -> Value;

    /// Takes a value that [`Values::check`] accepts.
    fn put(&mut self, value: Value);
}

macro_rules! whole_fields {
    ($($type:ty),+) => {$(
        impl Field for $type {
            fn get(&self) -> Value {
                Value::Whole(*self as u64)
            }

            fn put(&mut self, value: Value) {
                if let Value::Whole(n) = value {
                    *self = n as Self;
                }
            }
        }
    )+};
}

whole_fields!(u32, u64, usize);

impl Field for f64 {
    fn get(&self) -> Value {
        Value::Real(*self)
    }

    fn put(&mut self, value: Value) {
        if let Value::Real(x) = value {
            *self = x;
        }
    }
}

impl Field for String {
    fn get(&self) -> Value {
        Value::Name(self.clone())
    }

    fn put(&mut self, value: Value) {
        if let Value::Name(name) = value {
            *self = name;
        }
    }
}

/// Makes enums of named choices from one item each: doc comment, variant and name. The first is the default.
macro_rules! choices {
    ($(
        $(#[doc = $about:literal])+
        $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $text:literal, )+ }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $( $(#[doc = $doc])+ #[serde(rename = $text)] $variant, )+ }

        impl $name {
            /// All choices.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
            /// Their names.
            pub const NAMES: &[&str] = &[$($text),+];
            /// What they are.
            pub const DOCS: &[&str] = &[$(concat!($($doc),+).trim_ascii()),+];

            /// The name.
            pub fn name(self) -> &'static str {
                Self::NAMES[self as usize]
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::NAMES.iter().position(|name| *name == text);
                found.map(|i| Self::ALL[i]).ok_or_else(|| format!("must be one of {}", Self::NAMES.join(", ")))
            }
        }

        impl $crate::recipe::table::Field for $name {
            const NAMES: &'static [&'static str] = Self::NAMES;

            fn get(&self) -> $crate::recipe::table::Value {
                $crate::recipe::table::Value::Name(self.name().to_owned())
            }

            fn put(&mut self, value: $crate::recipe::table::Value) {
                if let Ok(choice) = value.to_string().parse() {
                    *self = choice;
                }
            }
        }
    )+};
}

/// Makes [`Recipe`], its sections, their defaults and the table of settings.
///
/// A setting is one item: doc comment, `key: type = default`, the allowed values (`in ...`; a choice has those of its type),
/// and when it has an effect (`used by ...`; always, if not given).
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $config:ident { $(
            $(#[doc = $own_doc:literal])+
            $own:ident: $own_type:ty = $own_default:expr $(, in $own_values:expr)?;
        )+ }
        $(
            $(#[doc = $section_doc:literal])+
            $section:ident: $struct:ident { $(
                $(#[doc = $doc:literal])+
                $key:ident: $type:ty = $default:expr $(, in $values:expr)? $(, used by $usage:expr)?;
            )+ }
        )+
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default = "Recipe::base", deny_unknown_fields)]
        pub struct $config {
            $( $(#[doc = $own_doc])+ pub $own: $own_type, )+
            $( $(#[doc = $section_doc])+ pub $section: $struct, )+
            /// The network; `None` for the preset's.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub network: Option<NetworkSpec>,
        }

        impl $config {
            /// The defaults of all sections, which are those of the preset `mnist-small`.
            pub(crate) fn base() -> Self {
                Self { $( $own: $own_default, )+ $( $section: $struct::default(), )+ network: None }
            }
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(default, deny_unknown_fields)]
            pub struct $struct { $( $(#[doc = $doc])+ pub $key: $type, )+ }

            impl Default for $struct {
                fn default() -> Self {
                    Self { $( $key: $default, )+ }
                }
            }
        )+

        /// Every section's name and what it is about.
        pub const SECTIONS: &[(&str, &str)] =
            &[$( (stringify!($section), concat!($($section_doc),+).trim_ascii()), )+];

        pub(super) const SETTINGS: &[Spec] = &[
            $( Spec {
                name: stringify!($own),
                values: settings!(@values $own_type $(, $own_values)?),
                doc: concat!($($own_doc),+).trim_ascii(),
                usage: None,
                get: |c| Field::get(&c.$own),
                put: |c, value| Field::put(&mut c.$own, value),
            }, )+
            $($( Spec {
                name: concat!(stringify!($section), ".", stringify!($key)),
                values: settings!(@values $type $(, $values)?),
                doc: concat!($($doc),+).trim_ascii(),
                usage: settings!(@usage $($usage)?),
                get: |c| Field::get(&c.$section.$key),
                put: |c, value| Field::put(&mut c.$section.$key, value),
            }, )+)+
        ];
    };
    (@values $type:ty) => { Values::Choice(<$type as Field>::NAMES) };
    (@values $type:ty, $values:expr) => { $values };
    (@usage) => { None };
    (@usage $usage:expr) => { Some($usage) };
}

pub(super) use {choices, settings};
