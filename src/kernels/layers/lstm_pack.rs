//! Rearranges the weights of an LSTM cell for [`crate::kernels::lstm_forward`] and [`crate::kernels::lstm_backward`],
//! once an update.

use crate::kernels::prelude::*;
use crate::network::LstmCell;

/// Floats of a packed tile's row in plans for a GPU: one vector.
pub const GPU_TILE: usize = 4;
/// And for the CPU: as many sums as hide a multiply-add's latency, without leaving the registers that AVX2 has.
pub const CPU_TILE: usize = 8;

/// The order of a cell's packed weights.
///
/// Forward, `[unit tile][input, filled up to fours; h, filled up to fours][unit in tile][gate]`: all that a few units
/// need. Then backward, `[tile of inputs][row][input in tile]`, and the same for h: all that goes back to a few of them.
/// Both tiles have `tile` floats a row; they are filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LstmPacking {
    /// Values of the input at one time.
    pub in_channels: usize,
    /// Units.
    pub hidden: usize,
    /// Floats of a tile's row: [`GPU_TILE`] or [`CPU_TILE`].
    pub tile: usize,
}

impl LstmPacking {
    /// Of a cell.
    pub fn new(cell: &LstmCell, tile: usize) -> Self {
        Self { in_channels: cell.in_channels, hidden: cell.hidden, tile }
    }

    /// Rows of a forward tile's first part.
    pub fn in_rows(&self) -> usize {
        self.in_channels.next_multiple_of(4)
    }

    /// Rows of a forward tile.
    pub fn rows(&self) -> usize {
        self.in_rows() + self.hidden.next_multiple_of(4)
    }

    /// Units of a forward tile.
    pub fn units(&self) -> usize {
        self.tile / 4
    }

    /// Where tile `tile` of the units begins.
    pub fn forward(&self, tile: usize) -> usize {
        tile * self.rows() * self.tile
    }

    /// Where tile `tile` of the inputs' backward weights begins.
    pub fn backward_in(&self, tile: usize) -> usize {
        self.forward(self.hidden.div_ceil(self.units())) + tile * 4 * self.hidden * self.tile
    }

    /// Where tile `tile` of h's backward weights begins.
    pub fn backward_hidden(&self, tile: usize) -> usize {
        self.backward_in(self.in_channels.div_ceil(self.tile) + tile)
    }

    /// Floats, zeros included.
    pub fn len(&self) -> usize {
        self.backward_hidden(self.hidden.div_ceil(self.tile))
    }

    /// True where there is nothing to pack.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the weight lies that `unit`'s gate `gate` has for input `k`, or for h's unit `k - in_channels`.
    pub fn forward_index(&self, unit: usize, gate: usize, k: usize) -> usize {
        let row = if k < self.in_channels { k } else { self.in_rows() + k - self.in_channels };
        self.forward(unit / self.units()) + row * self.tile + unit % self.units() * 4 + gate
    }

    /// Where the same weight lies for the way back.
    pub fn backward_index(&self, unit: usize, gate: usize, k: usize) -> usize {
        let (tile, k) = if k < self.in_channels {
            (self.backward_in(k / self.tile), k)
        } else {
            (self.backward_hidden((k - self.in_channels) / self.tile), k - self.in_channels)
        };
        tile + (gate * self.hidden + unit) * self.tile + k % self.tile
    }
}

/// Packs the weights of one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmPack {
    /// The cell.
    pub cell: LstmCell,
    /// See [`LstmPacking::tile`].
    pub tile: usize,
}

impl LstmPack {
    /// The order.
    pub fn packing(&self) -> LstmPacking {
        LstmPacking::new(&self.cell, self.tile)
    }

    /// The twin, in any precision; `parameters` are the cell's own.
    pub fn reference<R: Real>(&self, parameters: &[R], packed: &mut [R]) {
        let (p, hidden, in_channels) = (self.packing(), self.cell.hidden, self.cell.in_channels);
        let recurrent = &parameters[4 * hidden * (in_channels + 1)..];
        packed.fill(R::from_f64(0.0));
        for unit in 0..hidden {
            for gate in 0..4 {
                let row = gate * hidden + unit;
                for k in 0..in_channels + hidden {
                    let weight = if k < in_channels {
                        parameters[row * in_channels + k]
                    } else {
                        recurrent[row * hidden + k - in_channels]
                    };
                    packed[p.forward_index(unit, gate, k)] = weight;
                    packed[p.backward_index(unit, gate, k)] = weight;
                }
            }
        }
    }
}

impl KernelSpec for LstmPack {
    const SOURCE: &'static str = shader!["layers/lstm_pack"];
    block_params!();
    const PER_BLOCK: bool = false;
    /// Parameters; packed weights.
    const ACCESS: &'static [Access] = &[Read, Write];
    /// Copies.
    const TOLERANCE: Tolerance = Tolerance::EXACT;

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::AtLeast(self.cell.weight_offset + self.cell.weight_len()),
            Need::Flat(self.packing().len()),
        ]
    }

    fn overrides(&self) -> Overrides {
        overrides![
            WORKGROUP_SIZE, IN_CHANNELS: self.cell.in_channels, HIDDEN: self.cell.hidden, TILE: self.tile,
            WEIGHT_OFFSET: self.cell.weight_offset,
        ]
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        let p = self.packing();
        let floats = p.rows().max(4 * p.hidden) * p.tile;
        let tiles = p.hidden.div_ceil(p.units()) + p.in_channels.div_ceil(p.tile) + p.hidden.div_ceil(p.tile);
        [(floats as u32).div_ceil(WORKGROUP_SIZE), tiles as u32, 1]
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        let [parameters, packed] = bound(bindings);
        let parameters = &parameters.floats()[self.cell.weight_offset..][..self.cell.weight_len()];
        self.reference(parameters, packed.floats_mut());
    }

    #[cfg(test)]
    fn cases(bench: &mut Bench) {
        for (number, cell) in lstm_cells(bench) {
            let parameters = cell_parameters(bench, number, &cell);
            let kernel = Self { cell, tile: cell_tile(bench) };
            let len = kernel.packing().len();
            let packed = bench.flat("packed", len);
            bench.run_whole(kernel, &[parameters, packed], &[(packed, vec![0..len])]);
        }
    }
}
