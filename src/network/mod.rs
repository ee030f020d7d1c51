//! What a network is: its layers, their shapes, and where each parameter lies in the flat parameter vector.
//!
//! A network maps one image to one number, its energy `E(x)`; low means likely.

mod analytic;
mod describe;
mod lstm;

use crate::data::Shape;
use crate::data::standard::Standard;
use crate::random::{MAX_FEATURES, Philox, Stream};
use crate::{Error, Result};
use rand::RngExt;

pub use analytic::{ANALYTIC, Analytic};
pub use describe::Builder;
pub(crate) use describe::{Fault, MAX_TOML};
pub use lstm::{LstmCell, LstmShape};

/// The non-linearity after a layer. Where one has a kink, its derivative there is PyTorch's: that of the left side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `y = z`
    Identity,
    /// `y = z * sigmoid(z)`, also called SiLU (Ramachandran et al. 2017, <https://arxiv.org/abs/1710.05941>).
    Swish,
    /// `y = z` above 0, and this slope times `z` from there down (Maas et al. 2013, "Rectifier Nonlinearities Improve
    /// Neural Network Acoustic Models").
    LeakyRelu(f32),
    /// `y = max(z, 0)`: [`Self::LeakyRelu`] of slope 0.
    Relu,
    /// `y = z` above 0, `exp(z) - 1` from there down: alpha is 1 (Clevert et al. 2015, <https://arxiv.org/abs/1511.07289>).
    Elu,
    /// `y = ln(1 + exp(z))`
    Softplus,
    /// `y = tanh(z)`
    Tanh,
}

impl Activation {
    /// The number that shaders know it by (`shaders/lib/activation.wgsl`).
    pub fn code(self) -> u32 {
        match self {
            Self::Identity => 0,
            Self::Swish => 1,
            Self::LeakyRelu(_) | Self::Relu => 2,
            Self::Elu => 3,
            Self::Softplus => 4,
            Self::Tanh => 5,
        }
    }

    /// The slope at and below 0 of those that are made of two straight lines; 0 for all others.
    pub fn leak(self) -> f32 {
        if let Self::LeakyRelu(slope) = self { slope } else { 0.0 }
    }
}

/// Rows and columns of zeros around the input of a convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

impl From<usize> for Padding {
    /// As many on all four sides.
    fn from(all: usize) -> Self {
        Self::from([all, all])
    }
}

impl From<[usize; 2]> for Padding {
    /// As many above as below, and left as right.
    fn from([y, x]: [usize; 2]) -> Self {
        Self { top: y, bottom: y, left: x, right: x }
    }
}

/// How parameters begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initialisation {
    /// Weights `U(-a, a)` with `a = sqrt(6 / (fan_in + fan_out))`, where a convolution's fans count its kernel's taps,
    /// and zero biases: Keras' default (Glorot and Bengio 2010, equation 16).
    #[default]
    Glorot,
    /// Weights and biases `U(-a, a)` with `a = 1 / sqrt(fan_in)`: PyTorch's default.
    Pytorch,
}

/// A network as a user describes it; in TOML and JSON:
/// `{ name = "mine", input = [1, 28, 28], layers = [{ conv = 16, kernel = 3, stride = 2, activation = "swish" }, "pool",
/// { dense = 1 }] }`.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSpec {
    /// What it is called.
    pub name: String,
    /// Shape of the input.
    pub input: Shape,
    /// How parameters begin.
    pub initialisation: Initialisation,
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
    /// What its input is standardised by, if it is.
    pub standard: Option<Standard>,
}

impl NetworkSpec {
    /// Settles every size.
    ///
    /// # Errors
    /// Those of [`Network::new`].
    pub fn build(&self) -> Result<Network> {
        let network = Network::new(&self.name, self.input, &self.layers)?;
        if let Some(Standard { mean, deviation }) = &self.standard
            && (mean.len() != self.input.channels || deviation.len() != self.input.channels)
        {
            let (name, n) = (&self.name, self.input.channels);
            return Err(Error::Network(format!(
                "`{name}`: `mean` and `deviation` have a number for each of the input's {n} channels"
            )));
        }
        Ok(Network { initialisation: self.initialisation, standard: self.standard.clone(), ..network })
    }
}

/// One layer as a user describes it. Input sizes follow from the layer before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerSpec {
    /// Cross-correlation, as every deep-learning library calls convolution.
    Conv {
        /// Output channels.
        channels: usize,
        /// Height and width of the kernel.
        kernel: [usize; 2],
        /// Rows and columns that the kernel moves by.
        stride: [usize; 2],
        /// Zeros around the input.
        padding: Padding,
        /// What follows.
        activation: Activation,
    },
    /// A fully connected layer; an input with height and width is flattened in the order channel, row, column.
    Dense {
        /// Outputs.
        units: usize,
        /// What follows.
        activation: Activation,
    },
    /// A stack of LSTM layers over a sequence: an input of height 1, whose width is time. Its output is the last time's,
    /// see [`LstmShape`].
    Lstm {
        /// Units of one layer and direction.
        hidden: usize,
        /// Layers, one upon the other.
        layers: usize,
        /// Whether each layer goes through time in both directions.
        bidirectional: bool,
    },
    /// Global average pool: each channel's mean over its pixels.
    Pool,
    /// An energy with a formula, of a point: it is a network by itself, with no parameters.
    Analytic(Analytic),
    /// Says that what follows takes all values, in the order channel, row, column. Dense layers do so by themselves.
    Flatten,
    /// Says of the layer before that training keeps the spectral norm of its weights at or below this: of a convolution,
    /// dense or LSTM layer. See [`Layer::spectral`].
    Spectral(f32),
}

/// All sizes of one convolution. Also describes a dense layer's input (`in_*`) when it has to be flattened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Input channels.
    pub in_channels: usize,
    /// Input rows.
    pub in_height: usize,
    /// Input columns.
    pub in_width: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Output rows.
    pub out_height: usize,
    /// Output columns.
    pub out_width: usize,
    /// Kernel rows.
    pub kernel_height: usize,
    /// Kernel columns.
    pub kernel_width: usize,
    /// Rows that the kernel moves by.
    pub stride_y: usize,
    /// Columns that the kernel moves by.
    pub stride_x: usize,
    /// Rows of zeros above the input. Those below follow from the output size.
    pub pad_top: usize,
    /// Columns of zeros to the left of the input.
    pub pad_left: usize,
}

impl ConvShape {
    /// Of a convolution over `input`; `kernel` and `stride` are rows and columns.
    ///
    /// # Panics
    /// Where a stride is 0, or the kernel larger than the padded input.
    pub fn new(
        input: Shape,
        out_channels: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: Padding,
    ) -> Self {
        let Padding { top, bottom, left, right } = padding;
        Self {
            in_channels: input.channels,
            in_height: input.height,
            in_width: input.width,
            out_channels,
            out_height: (input.height + top + bottom - kernel[0]) / stride[0] + 1,
            out_width: (input.width + left + right - kernel[1]) / stride[1] + 1,
            kernel_height: kernel[0],
            kernel_width: kernel[1],
            stride_y: stride[0],
            stride_x: stride[1],
            pad_top: top,
            pad_left: left,
        }
    }

    /// Values in one image's input.
    pub fn in_len(&self) -> usize {
        self.in_channels * self.in_height * self.in_width
    }

    /// Values in one image's output.
    pub fn out_len(&self) -> usize {
        self.out_channels * self.out_height * self.out_width
    }

    /// Weights: `[out, in, kernel_height, kernel_width]`.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.in_channels * self.kernel_height * self.kernel_width
    }
}

/// All sizes of one dense layer: `out[o] = sum over f of weight[o][f] * in[f] + bias[o]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DenseShape {
    /// Channels of the input; features lie as `[pixel][channel]` on the device, `[channel][pixel]` in files.
    pub in_channels: usize,
    /// Pixels of the input: height times width.
    pub in_pixels: usize,
    /// Outputs.
    pub units: usize,
}

impl DenseShape {
    /// Input features.
    pub fn in_len(&self) -> usize {
        self.in_channels * self.in_pixels
    }
}

/// All sizes of a global average pool: `out[c] = mean over pixels of in[c][pixel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Channels of input and output.
    pub channels: usize,
    /// Pixels of the input: height times width.
    pub pixels: usize,
}

/// What a layer computes, with every size settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// See [`LayerSpec::Conv`].
    Conv(ConvShape),
    /// See [`LayerSpec::Dense`].
    Dense(DenseShape),
    /// See [`LayerSpec::Lstm`].
    Lstm(LstmShape),
    /// See [`LayerSpec::Pool`].
    Pool(PoolShape),
    /// See [`LayerSpec::Analytic`].
    Analytic(Analytic),
}

/// One layer of a [`Network`].
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// `conv1`, `conv2`, ..., `dense1`, ..., `lstm1`, ..., `pool1` and `analytic1`: the prefix of its tensors in files.
    pub name: String,
    /// What it computes.
    pub operation: Operation,
    /// What follows.
    pub activation: Activation,
    /// Where its weights begin in the flat parameter vector; the biases follow them directly.
    pub weight_offset: usize,
    /// Number of weights; of an LSTM, which has many tensors, all parameters.
    pub weight_len: usize,
    /// Number of biases: the layer's output channels; 0 of an LSTM.
    pub bias_len: usize,
    /// Values that one image has at the layer's output.
    pub out_len: usize,
    /// What training keeps the spectral norm of its weights at or below: of the matrix of outputs by all else (a convolution's
    /// is `[out, in kernel_height kernel_width]`, as in Miyato et al. 2018), and of each of an LSTM's matrices.
    pub spectral: Option<f32>,
}

impl Layer {
    /// Where the biases begin in the flat parameter vector.
    pub fn bias_offset(&self) -> usize {
        self.weight_offset + self.weight_len
    }

    /// The tensors of its parameters, in order.
    pub fn tensors(&self) -> Vec<ParameterTensor> {
        let shape = match self.operation {
            Operation::Conv(s) => vec![s.out_channels, s.in_channels, s.kernel_height, s.kernel_width],
            Operation::Dense(s) => vec![s.units, s.in_len()],
            Operation::Lstm(s) => {
                let cells = s.cells(self.weight_offset);
                return cells.iter().flat_map(|cell| cell.tensors(&self.name)).collect();
            }
            Operation::Pool(_) | Operation::Analytic(_) => return Vec::new(),
        };
        let (weight, bias) = (format!("{}.weight", self.name), format!("{}.bias", self.name));
        vec![
            ParameterTensor { name: weight, shape, offset: self.weight_offset },
            ParameterTensor { name: bias, shape: vec![self.bias_len], offset: self.bias_offset() },
        ]
    }

    /// Multiply-adds for one image's forward pass, taps in the padding included.
    pub fn multiply_adds(&self) -> usize {
        match self.operation {
            Operation::Conv(s) => s.weight_len() * s.out_height * s.out_width,
            Operation::Dense(_) => self.weight_len,
            Operation::Lstm(s) => s.cells(0).iter().map(LstmCell::multiply_adds).sum(),
            Operation::Pool(_) | Operation::Analytic(_) => 0,
        }
    }
}

/// A tensor of parameters as files name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterTensor {
    /// PyTorch's name: `conv1.weight`, `dense1.bias`.
    pub name: String,
    /// PyTorch's shape: `[out, in, kh, kw]`, `[out, in]` or `[out]`.
    pub shape: Vec<usize>,
    /// Where it begins in the flat parameter vector.
    pub offset: usize,
}

impl ParameterTensor {
    /// Where it lies in the flat parameter vector.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.shape.iter().product::<usize>()
    }

    /// Rows and columns of the matrix of outputs by all else.
    pub fn matrix(&self) -> (usize, usize) {
        (self.shape[0], self.shape[1..].iter().product())
    }
}

/// Parameters a network, and values an image's layer, may have at most: what shaders count with 32 bits, with room for
/// an image's block.
pub const MAX_VALUES: usize = 1 << 28;

/// Rows and columns that a matrix with a bounded spectral norm may have at most: what one launch has workgroups for.
const MAX_ROWS: usize = 60_000;
const MAX_COLUMNS: usize = 1 << 21;

/// Layers that an LSTM may have at most.
pub const MAX_LSTM_LAYERS: usize = 16;

/// The product, if it is not more than [`MAX_VALUES`].
fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1_usize, |all, size| all.checked_mul(*size)).filter(|all| *all <= MAX_VALUES)
}

/// A network whose layers fit together and end in one number, the energy; or in more, see [`Network::with_outputs`].
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The preset's name, or the user's.
    pub name: String,
    /// Shape of the input.
    pub input: Shape,
    /// How parameters begin.
    pub initialisation: Initialisation,
    /// The layers as they were described.
    pub specs: Vec<LayerSpec>,
    /// The layers, first to last.
    pub layers: Vec<Layer>,
    /// Length of the flat parameter vector.
    pub n_parameters: usize,
    /// What points are standardised by before its layers take them, if they are; layers, plans and machines know nothing
    /// of it.
    pub standard: Option<Standard>,
}

impl Network {
    /// Settles every size of a network that ends in an energy.
    ///
    /// # Errors
    /// [`Error::Network`] names the layer and both shapes where two do not fit, an input too large for the random numbers'
    /// counters, and an end that is not one number.
    pub fn new(name: &str, input: Shape, specs: &[LayerSpec]) -> Result<Self> {
        let (network, shape) = Self::settle(name, input, specs)?;
        let fail = |text: String| Err(Error::Network(format!("`{name}`: {text}")));
        if shape.len() != 1 || network.layers.is_empty() {
            return fail(format!(
                "an energy is one number, but the last layer's output is {shape}: end with a dense layer of 1 unit"
            ));
        }
        if let Some(last) = network.layers.last().filter(|l| matches!(l.operation, Operation::Lstm(_))) {
            return fail(format!(
                "the energy can't be the output of {}: add a dense layer of 1 unit",
                last.name
            ));
        }
        if network.layers.last().is_some_and(|l| l.activation != Activation::Identity) {
            return fail("the last layer's output is the energy: it has no activation".to_owned());
        }
        Ok(network)
    }

    /// [`Self::new`] of a network that ends in any number of values, such as a classifier: it is no energy, but can be
    /// evaluated ([`crate::plan::features_plan`]).
    ///
    /// # Errors
    /// Those of [`Self::new`], but for the end.
    pub fn with_outputs(name: &str, input: Shape, specs: &[LayerSpec]) -> Result<Self> {
        let (network, _) = Self::settle(name, input, specs)?;
        if network.layers.is_empty() {
            return Err(Error::Network(format!("`{name}`: it has no layers")));
        }
        Ok(network)
    }

    /// Settles every size; gives the shape of the output, too.
    fn settle(name: &str, input: Shape, specs: &[LayerSpec]) -> Result<(Self, Shape)> {
        let fail = |text: String| Err(Error::Network(format!("`{name}`: {text}")));
        match product(&[input.channels, input.height, input.width]) {
            Some(0) => return fail(format!("the input {input} has no values")),
            Some(1..=MAX_FEATURES) => {}
            _ => return fail(format!("the input {input} has more than {MAX_FEATURES} values")),
        }
        let mut shape = input;
        let mut layers: Vec<Layer> = Vec::new();
        let (mut offset, mut flattened) = (0, false);
        for spec in specs {
            let (kind, activation) = match spec {
                LayerSpec::Spectral(bound) => {
                    match layers.last_mut().filter(|layer| layer.weight_len > 0) {
                        Some(layer) if layer.spectral.is_none() => layer.spectral = Some(*bound),
                        Some(layer) => {
                            return fail(format!(
                                "{}: it has a bound of its spectral norm already",
                                layer.name
                            ));
                        }
                        None => return fail("a spectral norm is of a layer with weights".to_owned()),
                    }
                    if !(*bound > 0.0 && bound.is_finite()) {
                        return fail(format!("a spectral norm's bound must be above 0, not {bound}"));
                    }
                    continue;
                }
                LayerSpec::Conv { activation, .. } => ("conv", *activation),
                LayerSpec::Dense { activation, .. } => ("dense", *activation),
                LayerSpec::Lstm { .. } => ("lstm", Activation::Identity),
                LayerSpec::Pool => ("pool", Activation::Identity),
                LayerSpec::Analytic(_) => ("analytic", Activation::Identity),
                LayerSpec::Flatten => {
                    flattened = true;
                    continue;
                }
            };
            if !activation.leak().is_finite() {
                return fail(format!("{kind}: an activation's slope must be a finite number"));
            }
            let number = 1 + layers.iter().filter(|l| l.name.starts_with(kind)).count();
            let layer_name = format!("{kind}{number}");
            if flattened && matches!(spec, LayerSpec::Conv { .. } | LayerSpec::Pool) {
                let n = shape.len();
                return fail(format!(
                    "{layer_name}: its input {shape} was flattened to {n} values before it"
                ));
            }
            let (operation, weight_len, out) = match *spec {
                LayerSpec::Flatten | LayerSpec::Spectral(_) => continue,
                LayerSpec::Pool => {
                    let pool = PoolShape { channels: shape.channels, pixels: shape.height * shape.width };
                    (Operation::Pool(pool), Some(0), Shape { height: 1, width: 1, ..shape })
                }
                LayerSpec::Analytic(energy) => {
                    let name = energy.name();
                    if specs.len() > 1 {
                        return fail(format!("{layer_name}: the energy {name} has to be the only layer"));
                    }
                    if [shape.height, shape.width] != [1, 1] || (energy.is_planar() && shape.channels != 2) {
                        let of = if energy.is_planar() { "2x1x1" } else { "Nx1x1" };
                        return fail(format!(
                            "{layer_name}: {name} is an energy of points, {of} (channels x height x width), but its \
                             input is {shape}"
                        ));
                    }
                    (Operation::Analytic(energy), Some(0), Shape { channels: 1, ..shape })
                }
                LayerSpec::Conv { channels, kernel, stride, padding, .. } => {
                    if channels == 0 || kernel.contains(&0) || stride.contains(&0) {
                        return fail(format!("{layer_name}: channels, kernel and stride must be at least 1"));
                    }
                    let Padding { top, bottom, left, right } = padding;
                    if [channels, kernel[0], kernel[1], stride[0], stride[1], top, bottom, left, right]
                        .iter()
                        .any(|size| *size > MAX_FEATURES)
                    {
                        return fail(format!("{layer_name}: no size may be larger than {MAX_FEATURES}"));
                    }
                    let padded = [
                        shape.height + padding.top + padding.bottom,
                        shape.width + padding.left + padding.right,
                    ];
                    if kernel[0] > padded[0] || kernel[1] > padded[1] {
                        return fail(format!(
                            "{layer_name}: its {}x{} kernel is larger than its input {shape}, padded to {}x{}; take a smaller kernel, \
                             more padding, or less stride before it",
                            kernel[0], kernel[1], padded[0], padded[1]
                        ));
                    }
                    let conv = ConvShape::new(shape, channels, kernel, stride, padding);
                    let out = Shape { channels, height: conv.out_height, width: conv.out_width };
                    let weights = product(&[channels, shape.channels, kernel[0], kernel[1]]);
                    (Operation::Conv(conv), weights, out)
                }
                LayerSpec::Dense { units, .. } => {
                    if units == 0 {
                        return fail(format!("{layer_name}: units must be at least 1"));
                    }
                    let dense = DenseShape {
                        in_channels: shape.channels,
                        in_pixels: shape.height * shape.width,
                        units,
                    };
                    let out = Shape { channels: units, height: 1, width: 1 };
                    (Operation::Dense(dense), product(&[dense.in_len(), units]), out)
                }
                LayerSpec::Lstm { hidden, layers, bidirectional } => {
                    if hidden == 0 || layers == 0 {
                        return fail(format!("{layer_name}: hidden and layers must be at least 1"));
                    }
                    if hidden > MAX_FEATURES || layers > MAX_LSTM_LAYERS {
                        return fail(format!(
                            "{layer_name}: hidden may be {MAX_FEATURES} and layers {MAX_LSTM_LAYERS} at most"
                        ));
                    }
                    if shape.height != 1 {
                        return fail(format!(
                            "{layer_name}: an LSTM goes through a sequence, channels x 1 x time, but its input {shape} \
                             has {} rows, as images have; convolutions and dense layers are for images, and sequences \
                             come from an .npy file [n, time, channels]",
                            shape.height
                        ));
                    }
                    let (in_channels, time) = (shape.channels, shape.width);
                    let lstm = LstmShape { in_channels, time, hidden, layers, bidirectional };
                    let out = Shape { channels: lstm.out_len(), height: 1, width: 1 };
                    // The largest cell's weights, and what a cell keeps of an image, before anything is added up.
                    let widest = in_channels.max(lstm.out_len());
                    let fits = product(&[4 * hidden, widest + hidden + 2, lstm.directions() * layers])
                        .and(product(&[6 * hidden, time]));
                    (Operation::Lstm(lstm), fits.map(|_| lstm.weight_len()), out)
                }
            };
            let out_len = product(&[out.channels, out.height, out.width]);
            let (Some(weight_len), Some(out_len)) = (weight_len, out_len) else {
                return fail(format!(
                    "{layer_name}: from {shape} to {out} is too large: at most {MAX_VALUES} weights and values"
                ));
            };
            let bias_len = match operation {
                Operation::Lstm(_) | Operation::Pool(_) | Operation::Analytic(_) => 0,
                _ => out.channels,
            };
            layers.push(Layer {
                name: layer_name,
                operation,
                activation,
                weight_offset: offset,
                weight_len,
                bias_len,
                out_len,
                spectral: None,
            });
            offset += weight_len + bias_len;
            if offset > MAX_VALUES {
                return fail(format!("{offset} parameters are too many: at most {MAX_VALUES}"));
            }
            shape = out;
        }
        for layer in layers.iter().filter(|layer| layer.spectral.is_some()) {
            for tensor in layer.tensors().iter().filter(|tensor| tensor.shape.len() > 1) {
                let (rows, columns) = tensor.matrix();
                if rows > MAX_ROWS || columns > MAX_COLUMNS {
                    return fail(format!(
                        "{}: a spectral norm is of {MAX_ROWS} rows by {MAX_COLUMNS} columns at most, not {rows} by {columns}",
                        tensor.name
                    ));
                }
            }
        }
        let is_analytic = matches!(specs, [LayerSpec::Analytic(_)]);
        if offset == 0 && !is_analytic && !layers.is_empty() {
            return fail("it has no parameters".to_owned());
        }
        let network = Self {
            name: name.to_owned(),
            input,
            initialisation: Initialisation::default(),
            specs: specs.to_vec(),
            layers,
            n_parameters: offset,
            standard: None,
        };
        Ok((network, shape))
    }

    /// The description that makes it.
    pub fn spec(&self) -> NetworkSpec {
        NetworkSpec {
            name: self.name.clone(),
            input: self.input,
            initialisation: self.initialisation,
            layers: self.specs.clone(),
            standard: self.standard.clone(),
        }
    }

    /// The tensors of the flat parameter vector, in order.
    pub fn tensors(&self) -> Vec<ParameterTensor> {
        self.layers.iter().flat_map(Layer::tensors).collect()
    }

    /// The weights whose spectral norm has a bound ([`Layer::spectral`]), with it, in order.
    pub fn bounded(&self) -> Vec<(ParameterTensor, f32)> {
        let of_layer = |layer: &Layer| {
            let weights = layer.tensors().into_iter().filter(|tensor| tensor.shape.len() > 1);
            layer.spectral.map(|bound| weights.map(|tensor| (tensor, bound)).collect::<Vec<_>>())
        };
        self.layers.iter().filter_map(of_layer).flatten().collect()
    }

    /// Random parameters, as [`Initialisation`] says. An LSTM's are PyTorch's in either case, `U(-a, a)` with
    /// `a = 1 / sqrt(hidden)`.
    pub fn initial_parameters(&self, seed: u64) -> Vec<f32> {
        let mut rng = Philox::new(seed, Stream::Parameters);
        let mut parameters = vec![0.0; self.n_parameters];
        for layer in &self.layers {
            let (fan_in, fan_out) = match layer.operation {
                Operation::Conv(s) => {
                    let taps = s.kernel_height * s.kernel_width;
                    (s.in_channels * taps, s.out_channels * taps)
                }
                Operation::Dense(s) => (s.in_len(), s.units),
                Operation::Lstm(s) => (s.hidden, 0),
                Operation::Pool(_) | Operation::Analytic(_) => continue,
            };
            let pytorch = self.initialisation == Initialisation::Pytorch;
            let (square, end) = if pytorch || matches!(layer.operation, Operation::Lstm(_)) {
                (1.0 / fan_in as f64, layer.bias_offset() + layer.bias_len)
            } else {
                (6.0 / (fan_in + fan_out) as f64, layer.bias_offset())
            };
            let bound = square.sqrt() as f32;
            for parameter in &mut parameters[layer.weight_offset..end] {
                *parameter = rng.random_range(-bound..bound);
            }
        }
        parameters
    }

    /// Floating-point operations (2 a multiply-add) of one image's forward pass and input gradient.
    pub fn langevin_flop(&self) -> usize {
        4 * self.layers.iter().map(Layer::multiply_adds).sum::<usize>()
    }
}
