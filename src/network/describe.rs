//! Networks as users describe them, in TOML or JSON:
//!
//! ```toml
//! name = "mine"
//! input = [1, 28, 28]      # channels, height, width; [2] for points of two coordinates
//! initialisation = "glorot"
//! layers = [
//!     { conv = 16, kernel = 5, stride = 2, padding = 4, activation = "swish" },
//!     "pool",              # global average pool
//!     { dense = 64, activation = { leaky-relu = 0.2 } },
//!     { dense = 1 },
//! ]
//! ```
//!
//! `kernel` and `stride` are one number or `[height, width]`, `padding` is one number, `[height, width]` or
//! `[top, bottom, left, right]`. A stack of LSTM layers over a sequence, whose input is `[channels, 1, time]`, is
//! `{ lstm = 128, layers = 2, bidirectional = true }`. With `spectral = true` or a number a layer of any of these three kinds
//! keeps the spectral norm of its weights at or below 1 or that number. `{ analytic = "double-well" }` is an energy with a formula
//! ([`Analytic`]), and the only layer then. `mean` and `deviation`, a list each with a number for every channel, say what
//! points are standardised by before the first layer.

use super::{ANALYTIC, Activation, Analytic, Initialisation, LayerSpec, Network, NetworkSpec, Padding};
use crate::data::Shape;
use crate::data::standard::Standard;
use crate::error::nearest;
use crate::source::read_text;
use crate::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What is wrong in a description, and in which layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    /// The layer's place in the list, from 0; None where it is not a layer's.
    pub layer: Option<usize>,
    pub problem: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(layer) = self.layer {
            write!(f, "layer {}: ", layer + 1)?;
        }
        f.write_str(&self.problem)
    }
}

impl From<String> for Fault {
    fn from(problem: String) -> Self {
        Self { layer: None, problem }
    }
}

/// The most bytes of a TOML file: a description of as many layers as there may be takes a tenth.
pub(crate) const MAX_TOML: u64 = 256 << 10;
/// Layers that a description may have.
const MAX_LAYERS: usize = 256;
const KEYS: [&str; 6] = ["name", "input", "initialisation", "layers", "mean", "deviation"];
const LAYERS: [&str; 6] = ["conv", "dense", "lstm", "pool", "flatten", "analytic"];
const CONV_KEYS: [&str; 6] = ["conv", "kernel", "stride", "padding", "activation", "spectral"];
const DENSE_KEYS: [&str; 3] = ["dense", "activation", "spectral"];
const LSTM_KEYS: [&str; 4] = ["lstm", "layers", "bidirectional", "spectral"];
const ANALYTIC_KEYS: [&str; 1] = ["analytic"];
const ACTIVATIONS: [&str; 8] = ["identity", "swish", "silu", "leaky-relu", "relu", "elu", "softplus", "tanh"];
const INITIALISATIONS: [&str; 2] = ["glorot", "pytorch"];

type Parsed<T> = std::result::Result<T, String>;

/// "there is no WHAT `word`; did you mean ...? There are: ..."
fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let hint = nearest(word, known).map_or(String::new(), |hint| format!(" {hint}"));
    format!("there is no {what} `{word}`;{hint} There are: {}", known.join(", "))
}

/// One to `N` whole numbers; a single number may stand alone.
fn numbers(key: &str, value: &Value, lengths: &[usize], form: &str) -> Parsed<Vec<usize>> {
    let items = value.as_array().map_or_else(|| vec![value], |items| items.iter().collect());
    let numbers: Option<Vec<usize>> =
        items.iter().map(|item| item.as_u64().and_then(|n| usize::try_from(n).ok())).collect();
    numbers
        .filter(|numbers| lengths.contains(&numbers.len()))
        .ok_or_else(|| format!("`{key}` must be {form}, not {value}"))
}

fn activation(value: &Value) -> Parsed<Activation> {
    if let Some(object) = value.as_object() {
        return match object.iter().next() {
            Some((name, slope)) if object.len() == 1 && name == "leaky-relu" => match slope.as_f64() {
                Some(slope) => Ok(Activation::LeakyRelu(slope as f32)),
                None => Err(format!("the slope of leaky-relu must be a number, not {slope}")),
            },
            _ => Err(format!("only leaky-relu has a number, as in {{ leaky-relu = 0.2 }}: not {value}")),
        };
    }
    let Some(name) = value.as_str() else {
        return Err(format!("`activation` must be a name or {{ leaky-relu = SLOPE }}, not {value}"));
    };
    Ok(match name {
        "identity" => Activation::Identity,
        "swish" | "silu" => Activation::Swish,
        "relu" => Activation::Relu,
        "elu" => Activation::Elu,
        "softplus" => Activation::Softplus,
        "tanh" => Activation::Tanh,
        "leaky-relu" => return Err("leaky-relu needs its slope: { leaky-relu = 0.2 }".to_owned()),
        _ => return Err(unknown("activation", name, &ACTIVATIONS)),
    })
}

impl Analytic {
    /// The energy of a name; the error names the nearest one.
    pub(crate) fn parse(name: &str) -> Parsed<Self> {
        let names = ANALYTIC.map(Self::name);
        Self::named(name).ok_or_else(|| unknown("analytic energy", name, &names))
    }
}

fn layer(value: &Value) -> Parsed<LayerSpec> {
    if let Some(name) = value.as_str() {
        return match name {
            "pool" => Ok(LayerSpec::Pool),
            "flatten" => Ok(LayerSpec::Flatten),
            "conv" | "dense" | "lstm" => Err(format!("{name} needs its size: {{ {name} = 16, ... }}")),
            "analytic" => Err("analytic needs its name: { analytic = \"gaussian\" }".to_owned()),
            _ => Err(unknown("layer", name, &LAYERS)),
        };
    }
    let Some(keys) = value.as_object() else {
        return Err(format!(
            "a layer is a table such as {{ dense = 64 }}, \"pool\" or \"flatten\": not {value}"
        ));
    };
    let kinds = [
        ("conv", &CONV_KEYS[..]),
        ("dense", &DENSE_KEYS),
        ("lstm", &LSTM_KEYS),
        ("analytic", &ANALYTIC_KEYS),
    ];
    let mut named = kinds.iter().filter(|(kind, _)| keys.contains_key(*kind));
    let (kind, known) = match (named.next(), named.next()) {
        (Some(one), None) => *one,
        (Some((a, _)), Some((b, _))) => {
            return Err(format!("it is `{a}` and `{b}` at once: make it two layers"));
        }
        (None, _) => {
            let other = keys.keys().find(|key| !kinds.iter().any(|(_, known)| known.contains(&key.as_str())));
            return Err(other.map_or_else(
                || "it says of no layer: name one, as in { conv = 16, kernel = 3 }".to_owned(),
                |word| unknown("layer", word, &LAYERS),
            ));
        }
    };
    if let Some(word) = keys.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("{kind}: {}", unknown("key", word, known)));
    }
    if kind == "analytic" {
        return match keys[kind].as_str() {
            Some(name) => Analytic::parse(name).map(LayerSpec::Analytic),
            None => Err(format!("`analytic` must be a name such as \"gaussian\", not {}", keys[kind])),
        };
    }
    if kind == "lstm" {
        let bidirectional = match keys.get("bidirectional") {
            None => false,
            Some(value) => {
                value.as_bool().ok_or_else(|| format!("`bidirectional` is true or false, not {value}"))?
            }
        };
        let layers =
            keys.get("layers").map_or(Ok(vec![1]), |n| numbers("layers", n, &[1], "a whole number"))?;
        let hidden = numbers(kind, &keys[kind], &[1], "a whole number")?[0];
        return Ok(LayerSpec::Lstm { hidden, layers: layers[0], bidirectional });
    }
    let activation = keys.get("activation").map_or(Ok(Activation::Identity), activation)?;
    let size = numbers(kind, &keys[kind], &[1], "a whole number")?[0];
    if kind == "dense" {
        return Ok(LayerSpec::Dense { units: size, activation });
    }
    let pair = |key: &str| match keys.get(key) {
        None => Ok::<_, String>(None),
        Some(value) => {
            let numbers = numbers(key, value, &[1, 2], "a whole number or [height, width]")?;
            Ok(Some([numbers[0], *numbers.last().unwrap_or(&0)]))
        }
    };
    let kernel = pair("kernel")?.ok_or("conv: its `kernel` is missing, as in { conv = 16, kernel = 3 }")?;
    let stride = pair("stride")?.unwrap_or([1, 1]);
    let form = "a whole number, [height, width] or [top, bottom, left, right]";
    let padding = match keys.get("padding") {
        None => Padding::default(),
        Some(value) => match numbers("padding", value, &[1, 2, 4], form)?[..] {
            [all] => Padding::from(all),
            [y, x] => Padding::from([y, x]),
            ref four => Padding { top: four[0], bottom: four[1], left: four[2], right: four[3] },
        },
    };
    Ok(LayerSpec::Conv { channels: size, kernel, stride, padding, activation })
}

/// What a layer's `spectral` asks for.
fn spectral(layer: &Value) -> Parsed<Option<LayerSpec>> {
    match layer.get("spectral") {
        None | Some(Value::Bool(false)) => Ok(None),
        Some(Value::Bool(true)) => Ok(Some(LayerSpec::Spectral(1.0))),
        Some(value) => match value.as_f64().map(|bound| bound as f32) {
            Some(bound) if bound > 0.0 && bound.is_finite() => Ok(Some(LayerSpec::Spectral(bound))),
            _ => Err(format!("`spectral` must be true, false or a number above 0, not {value}")),
        },
    }
}

/// The shortest decimal that is this number, so that 0.2 stays 0.2.
fn decimal(value: f32) -> Value {
    json!(value.to_string().parse::<f64>().unwrap_or(0.0))
}

/// One number where all are equal.
fn short(numbers: &[usize]) -> Value {
    if numbers.iter().all(|n| *n == numbers[0]) { json!(numbers[0]) } else { json!(numbers) }
}

/// A layer's keys; what [`LayerSpec::Spectral`] says belongs to the layer before.
fn layer_value(layer: &LayerSpec) -> Value {
    let (mut keys, activation) = match *layer {
        LayerSpec::Spectral(bound) => return json!({ "spectral": decimal(bound) }),
        LayerSpec::Pool => return json!("pool"),
        LayerSpec::Flatten => return json!("flatten"),
        LayerSpec::Analytic(energy) => return json!({ "analytic": energy.name() }),
        LayerSpec::Lstm { hidden, layers, bidirectional } => {
            return json!({ "lstm": hidden, "layers": layers, "bidirectional": bidirectional });
        }
        LayerSpec::Dense { units, activation } => (json!({ "dense": units }), activation),
        LayerSpec::Conv { channels, kernel, stride, padding, activation } => {
            let Padding { top, bottom, left, right } = padding;
            let keys = json!({
                "conv": channels,
                "kernel": short(&kernel),
                "stride": short(&stride),
                "padding": short(&[top, bottom, left, right]),
            });
            (keys, activation)
        }
    };
    let activation = match activation {
        Activation::Identity => return keys,
        Activation::Swish => json!("swish"),
        Activation::LeakyRelu(slope) => json!({ "leaky-relu": decimal(slope) }),
        Activation::Relu => json!("relu"),
        Activation::Elu => json!("elu"),
        Activation::Softplus => json!("softplus"),
        Activation::Tanh => json!("tanh"),
    };
    keys["activation"] = activation;
    keys
}

impl NetworkSpec {
    /// Reads a description; see the module's text.
    pub(crate) fn from_value(value: &Value) -> std::result::Result<Self, Fault> {
        let Some(keys) = value.as_object() else {
            return Err(format!("a network is a table with `input` and `layers`, not {value}").into());
        };
        if let Some(word) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(unknown("key", word, &KEYS).into());
        }
        let text = |key: &str, default: &str| match keys.get(key) {
            None => Ok(default.to_owned()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(format!("`{key}` must be a text, not {other}")),
        };
        let initialisation = match text("initialisation", "glorot")?.as_str() {
            "glorot" => Initialisation::Glorot,
            "pytorch" => Initialisation::Pytorch,
            word => return Err(unknown("initialisation", word, &INITIALISATIONS).into()),
        };
        let form = "[channels, height, width], or [coordinates] for points";
        let value = keys.get("input").ok_or_else(|| format!("its `input` is missing: {form}"))?;
        let input = match numbers("input", value, &[1, 3], form)?[..] {
            [channels, height, width] => Shape { channels, height, width },
            ref one => Shape { channels: one[0], height: 1, width: 1 },
        };
        let Some(list) = keys.get("layers").and_then(Value::as_array) else {
            return Err("its `layers` are missing: a list such as [{ dense = 64 }, { dense = 1 }]"
                .to_owned()
                .into());
        };
        if list.len() > MAX_LAYERS {
            return Err(format!("{} layers are too many: at most {MAX_LAYERS}", list.len()).into());
        }
        let mut layers = Vec::new();
        for (i, value) in list.iter().enumerate() {
            let fault = |problem| Fault { layer: Some(i), problem };
            layers.push(layer(value).map_err(fault)?);
            layers.extend(spectral(value).map_err(fault)?);
        }
        let column_numbers = |key: &str| {
            let value = keys.get(key)?;
            let numbers = value
                .as_array()
                .and_then(|items| items.iter().map(Value::as_f64).collect::<Option<Vec<_>>>());
            let good = |number: &f64| number.is_finite() && (key == "mean" || *number > 0.0);
            let numbers =
                numbers.filter(|numbers| numbers.len() == input.channels && numbers.iter().all(good));
            Some(numbers.ok_or_else(|| {
                let n = input.channels;
                let bound = if key == "mean" { "" } else { " above 0" };
                format!("`{key}` must be a list of {n} numbers{bound}, one for each of the input's channels")
            }))
        };
        let standard = match (column_numbers("mean").transpose()?, column_numbers("deviation").transpose()?) {
            (Some(mean), Some(deviation)) => Some(Standard { mean, deviation }),
            (None, None) => None,
            _ => {
                return Err("`mean` and `deviation` belong together: give both, or neither"
                    .to_owned()
                    .into());
            }
        };
        Ok(Self { name: text("name", "custom")?, input, initialisation, layers, standard })
    }

    fn to_value(&self) -> Value {
        let Shape { channels, height, width } = self.input;
        let initialisation = match self.initialisation {
            Initialisation::Glorot => "glorot",
            Initialisation::Pytorch => "pytorch",
        };
        let mut layers: Vec<Value> = Vec::new();
        for layer in &self.layers {
            match (layer_value(layer), layers.last_mut()) {
                (bound, Some(Value::Object(keys))) if matches!(layer, LayerSpec::Spectral(_)) => {
                    keys.insert("spectral".to_owned(), bound["spectral"].clone());
                }
                (keys, _) => layers.push(keys),
            }
        }
        let mut value = json!({
            "name": self.name,
            "input": [channels, height, width],
            "initialisation": initialisation,
            "layers": layers,
        });
        if let Some(Standard { mean, deviation }) = &self.standard {
            (value["mean"], value["deviation"]) = (json!(mean), json!(deviation));
        }
        value
    }

    /// Reads a TOML file that is a description, or has one in its section `[network]`.
    ///
    /// # Errors
    /// A file that can't be read, or whose text is no description.
    pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = read_text(path, MAX_TOML, "a TOML file that describes a network")?;
        let mut keys: Map<String, Value> = toml::from_str(&text)
            .map_err(|e| Error::file(path, e.to_string().trim_end().replace('\n', "; ")))?;
        let value = keys.remove("network").unwrap_or(Value::Object(keys));
        Self::from_value(&value).map_err(|fault| Error::file(path, format!("network: {fault}")))
    }
}

impl Serialize for NetworkSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NetworkSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Puts a network together, layer by layer; see [`Network::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    spec: NetworkSpec,
    fault: Option<String>, // the first
}

impl Network {
    /// Begins a network for inputs of `[channels, height, width]`.
    ///
    /// ```
    /// use thalweg::network::{Activation, Network};
    /// let network = Network::builder("mine", [1, 28, 28])
    ///     .conv(16, 5).stride(2).padding(4).activation(Activation::Swish)
    ///     .pool()
    ///     .dense(64).activation(Activation::LeakyRelu(0.2))
    ///     .dense(1)
    ///     .build()?;
    /// assert_eq!(network.layers[1].name, "pool1");
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn builder(name: &str, [channels, height, width]: [usize; 3]) -> Builder {
        let input = Shape { channels, height, width };
        let spec = NetworkSpec {
            name: name.to_owned(),
            input,
            initialisation: Initialisation::Glorot,
            layers: Vec::new(),
            standard: None,
        };
        Builder { spec, fault: None }
    }
}

impl Builder {
    fn layer(mut self, layer: LayerSpec) -> Self {
        self.spec.layers.push(layer);
        self
    }

    fn change(mut self, what: &str, change: impl FnOnce(&mut LayerSpec) -> bool) -> Self {
        let layers = self.spec.layers.iter_mut();
        let mut layers = layers.rev().skip_while(|layer| matches!(layer, LayerSpec::Spectral(_)));
        if !layers.next().is_some_and(change) {
            let text = format!("`{}`: no layer before `{what}` has one", self.spec.name);
            self.fault.get_or_insert(text);
        }
        self
    }

    /// A convolution with a square kernel, stride 1 and no padding.
    pub fn conv(self, channels: usize, kernel: usize) -> Self {
        let (kernel, stride, padding) = ([kernel; 2], [1; 2], Padding::default());
        self.layer(LayerSpec::Conv { channels, kernel, stride, padding, activation: Activation::Identity })
    }

    /// A fully connected layer.
    pub fn dense(self, units: usize) -> Self {
        self.layer(LayerSpec::Dense { units, activation: Activation::Identity })
    }

    /// A stack of LSTM layers over a sequence; both ways through time if it is bidirectional.
    pub fn lstm(self, hidden: usize, layers: usize, bidirectional: bool) -> Self {
        self.layer(LayerSpec::Lstm { hidden, layers, bidirectional })
    }

    /// An energy with a formula, which is the only layer.
    pub fn analytic(self, energy: Analytic) -> Self {
        self.layer(LayerSpec::Analytic(energy))
    }

    /// A global average pool.
    pub fn pool(self) -> Self {
        self.layer(LayerSpec::Pool)
    }

    /// The stride of the convolution before, both ways.
    pub fn stride(self, both: usize) -> Self {
        self.change("stride", |layer| match layer {
            LayerSpec::Conv { stride, .. } => {
                *stride = [both; 2];
                true
            }
            _ => false,
        })
    }

    /// The padding of the convolution before: a number, `[height, width]`, or a [`Padding`].
    pub fn padding(self, zeros: impl Into<Padding>) -> Self {
        self.change("padding", |layer| match layer {
            LayerSpec::Conv { padding, .. } => {
                *padding = zeros.into();
                true
            }
            _ => false,
        })
    }

    /// The activation of the layer before.
    pub fn activation(self, after: Activation) -> Self {
        self.change("activation", |layer| match layer {
            LayerSpec::Conv { activation, .. } | LayerSpec::Dense { activation, .. } => {
                *activation = after;
                true
            }
            _ => false,
        })
    }

    /// What training keeps the spectral norm of the weights of the layer before at or below; see [`Layer::spectral`].
    ///
    /// [`Layer::spectral`]: super::Layer::spectral
    pub fn spectral(self, bound: f32) -> Self {
        self.layer(LayerSpec::Spectral(bound))
    }

    /// How parameters begin; Glorot's way unless this says otherwise.
    pub fn initialisation(mut self, initialisation: Initialisation) -> Self {
        self.spec.initialisation = initialisation;
        self
    }

    /// Settles every size.
    ///
    /// # Errors
    /// Those of [`Network::new`], and a stride, padding or activation where no layer can have one.
    pub fn build(self) -> Result<Network> {
        match self.fault {
            Some(fault) => Err(Error::Network(fault)),
            None => self.spec.build(),
        }
    }

    /// [`Self::build`] of a network that ends in any number of values: see [`Network::with_outputs`].
    ///
    /// # Errors
    /// Those of [`Self::build`], but for the end.
    pub fn build_with_outputs(self) -> Result<Network> {
        match self.fault {
            Some(fault) => Err(Error::Network(fault)),
            None => Network::with_outputs(&self.spec.name, self.spec.input, &self.spec.layers),
        }
    }
}
