//! The sizes of an LSTM, and where its parameters lie.

use super::ParameterTensor;

/// All sizes of a stack of LSTM layers (Hochreiter and Schmidhuber 1997, with forget gates; the form and the names of
/// PyTorch's `nn.LSTM`). For each layer and direction, with `h` and `c` zero before the first step:
/// ```text
/// [i f g o] = W_ih x_t + b_ih + W_hh h + b_hh
/// c = sigmoid(f) c + sigmoid(i) tanh(g)
/// h = sigmoid(o) tanh(c)
/// ```
/// A layer's output at a time is `h` of its forward direction, then `h` of its reverse one. The stack's output is the
/// top layer's at the last time, PyTorch's `output[:, -1, :]`: its reverse direction has taken one step by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LstmShape {
    /// Values of the input at one time.
    pub in_channels: usize,
    /// Times.
    pub time: usize,
    /// Units of one layer and direction.
    pub hidden: usize,
    /// Layers, one upon the other.
    pub layers: usize,
    /// Whether each layer goes through time in both directions.
    pub bidirectional: bool,
}

impl LstmShape {
    /// 1 or 2.
    pub fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// Values of one image's output.
    pub fn out_len(&self) -> usize {
        self.directions() * self.hidden
    }

    /// The cells in the order in which they run; `offset` is where the parameters of the first begin. Those of the next
    /// follow.
    pub fn cells(&self, offset: usize) -> Vec<LstmCell> {
        let mut cells = Vec::new();
        let mut weight_offset = offset;
        for layer in 0..self.layers {
            let is_top = layer + 1 == self.layers;
            for direction in 0..self.directions() {
                let reverse = direction == 1;
                let cell = LstmCell {
                    layer,
                    reverse,
                    in_channels: if layer == 0 { self.in_channels } else { self.out_len() },
                    hidden: self.hidden,
                    time: self.time,
                    steps: if is_top && reverse { 1 } else { self.time },
                    out_time: if is_top { 1 } else { self.time },
                    out_channels: self.out_len(),
                    weight_offset,
                };
                weight_offset += cell.weight_len();
                cells.push(cell);
            }
        }
        cells
    }

    /// Weights and biases of all cells.
    pub fn weight_len(&self) -> usize {
        self.cells(0).last().map_or(0, |last| last.weight_offset + last.weight_len())
    }
}

/// One layer of an LSTM in one direction, with every size settled.
///
/// Its parameters are `weight_ih` `[4 hidden][in_channels]`, `bias_ih` `[4 hidden]`, `weight_hh` `[4 hidden][hidden]`,
/// `bias_hh` `[4 hidden]`, one after the other; rows are gates i, f, g, o of all units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LstmCell {
    /// From 0, at the input.
    pub layer: usize,
    /// Whether it goes from the last time to the first.
    pub reverse: bool,
    /// Values of its input at one time.
    pub in_channels: usize,
    /// Units.
    pub hidden: usize,
    /// Times of the input.
    pub time: usize,
    /// Times that it goes through: all, or the last alone, where nobody sees what the top layer's reverse direction
    /// makes of the others.
    pub steps: usize,
    /// Times that the layer's output holds: all, or the last alone.
    pub out_time: usize,
    /// Values of the layer's output at one time, both directions.
    pub out_channels: usize,
    /// Where its parameters begin in the flat parameter vector.
    pub weight_offset: usize,
}

impl LstmCell {
    /// Weights and biases.
    pub fn weight_len(&self) -> usize {
        4 * self.hidden * (self.in_channels + self.hidden + 2)
    }

    /// Values of one image's input.
    pub fn in_len(&self) -> usize {
        self.time * self.in_channels
    }

    /// Values of one image's output, of the whole layer.
    pub fn out_len(&self) -> usize {
        self.out_time * self.out_channels
    }

    /// The first of its channels in the layer's output.
    pub fn out_offset(&self) -> usize {
        if self.reverse { self.hidden } else { 0 }
    }

    /// Values that the cell keeps of one image and time for the way back: gates i, f, g, o, then c, then h.
    pub fn kept(&self) -> usize {
        6 * self.hidden
    }

    /// Values that the cell keeps of one image: `[step in the order of time][gate, c or h][unit]`.
    pub fn trace_len(&self) -> usize {
        self.steps * self.kept()
    }

    /// The time of step `step`, counted from its first.
    pub fn time_of(&self, step: usize) -> usize {
        if self.reverse { self.time - 1 - step } else { step }
    }

    /// The place of step `step` in what it keeps.
    pub fn place_of(&self, step: usize) -> usize {
        self.time_of(step) + self.steps - self.time
    }

    /// The time of the layer's output that step `step` writes, if it writes any.
    pub fn out_time_of(&self, step: usize) -> Option<usize> {
        if self.out_time == self.time {
            Some(self.time_of(step))
        } else {
            (step + 1 == self.steps).then_some(0)
        }
    }

    /// Multiply-adds of one image's forward pass.
    pub fn multiply_adds(&self) -> usize {
        // The first step has no h before it.
        4 * self.hidden * (self.steps * self.in_channels + (self.steps - 1) * self.hidden)
    }

    /// The tensors of its parameters, in order, as PyTorch names them.
    pub fn tensors(&self, layer_name: &str) -> Vec<ParameterTensor> {
        let (rows, suffix) = (4 * self.hidden, if self.reverse { "_reverse" } else { "" });
        let mut offset = self.weight_offset;
        let parts = [
            ("weight_ih", vec![rows, self.in_channels]),
            ("bias_ih", vec![rows]),
            ("weight_hh", vec![rows, self.hidden]),
            ("bias_hh", vec![rows]),
        ];
        let tensor = |(part, shape): (&str, Vec<usize>)| {
            let name = format!("{layer_name}.{part}_l{}{suffix}", self.layer);
            let tensor = ParameterTensor { name, shape, offset };
            offset = tensor.range().end;
            tensor
        };
        parts.map(tensor).to_vec()
    }
}
