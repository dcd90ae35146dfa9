//! `y = x Wᵀ` for weights in blocks: integer products of the blocks as they are stored and of `x`, which is quantized
//! once for all parts of a matrix.
//!
//! ```text
//! inputs    rows of x as integers     panels   the same packed for GEMM
//! formats   one unpacker for each block type   weights  a step of unpacked weights
//! gemv      a few rows of x           gemm     more rows
//! bytes     registers that unpack, and multiply in gemv     integers  those of gemm      level  their instructions
//! ```
//!
//! Sums of integers are exact, and both kernels add the blocks of a row one by one in the order of the columns. So the
//! result of a row of `x` is the same in every batch. It differs from a product in f32 by the rounding of `x`, which is
//! to 8 bits in blocks as large as those of the weights, and by that of the sum.

mod bytes;
mod formats;
mod gemm;
mod gemv;
mod inputs;
mod integers;
mod level;
mod panels;
#[cfg(test)]
mod tests;
mod weights;

use super::gemm::OutputColumns;
use formats::BlockSize;
use inputs::{QuantizedRows, STEP};
pub(super) use level::{IntegerKernel, IntegerLevel};
use panels::QuantizedPanel;
use weights::UnpackedStep;

/// Rows of `x` up to which GEMV is faster than GEMM.
pub(super) const GEMV_ROWS_MAX: usize = 8;

/// `x` for each size of block that a matrix has.
#[derive(Debug, Default)]
pub(super) struct QuantizedInputs {
    small: Option<QuantizedRows>,
    large: Option<QuantizedRows>,
}

impl QuantizedInputs {
    /// `x` is `[m, columns]`, row-major.
    pub(super) fn new<'a>(
        level: IntegerLevel,
        x: &[f32],
        columns: usize,
        kernels: impl Iterator<Item = &'a IntegerKernel>,
    ) -> Self {
        let mut inputs = Self::default();
        for kernel in kernels {
            let rows = match kernel.size {
                BlockSize::Small => &mut inputs.small,
                BlockSize::Large => &mut inputs.large,
            };
            rows.get_or_insert_with(|| QuantizedRows::new(level, x, columns, kernel.size));
        }
        inputs
    }

    fn rows(&self, size: BlockSize) -> Option<&QuantizedRows> {
        match size {
            BlockSize::Small => self.small.as_ref(),
            BlockSize::Large => self.large.as_ref(),
        }
    }

    /// The products of rows of weights, each of `row_bytes`, and all rows of `x`. `out` is `[rows, m]`.
    pub(super) fn gemv(
        &self,
        level: IntegerLevel,
        kernel: &IntegerKernel,
        weights: &[u8],
        row_bytes: usize,
        out: &mut [f32],
    ) {
        if let Some(x) = self.rows(kernel.size) {
            level.gemv(kernel, weights, row_bytes, &x.rows, out);
        }
    }

    /// Packs the rows for GEMM.
    pub(super) fn pack(&self, level: IntegerLevel) -> PackedInputs {
        let pack =
            |rows: Option<&QuantizedRows>| rows.map(|rows| panels::pack(rows, level.lanes())).unwrap_or_default();
        PackedInputs { small: pack(self.small.as_ref()), large: pack(self.large.as_ref()) }
    }
}

/// As [`QuantizedInputs`], packed for GEMM.
#[derive(Debug)]
pub(super) struct PackedInputs {
    small: Vec<QuantizedPanel>,
    large: Vec<QuantizedPanel>,
}

impl PackedInputs {
    /// Writes the product of some rows of weights, each of `row_bytes` and `columns`, and all of `x` to the columns of
    /// `out` from `column`. Threads that run this at the same time have different columns.
    pub(super) fn gemm(
        &self,
        level: IntegerLevel,
        kernel: &IntegerKernel,
        (weights, row_bytes, columns): (&[u8], usize, usize),
        out: &OutputColumns<'_>,
        column: usize,
    ) {
        let panels = match kernel.size {
            BlockSize::Small => &self.small,
            BlockSize::Large => &self.large,
        };
        let rows = weights.len() / row_bytes;
        let width: usize = panels.iter().map(|panel| panel.width).sum();
        let mut sums = vec![0.0; rows * width];
        let mut unpacked = vec![UnpackedStep::default(); rows];
        let step_bytes = STEP / kernel.size.weights() * kernel.bytes;
        for step in 0..columns.div_ceil(STEP) {
            for (weights, unpacked) in weights.chunks_exact(row_bytes).zip(&mut unpacked) {
                let bytes = &weights[step * step_bytes..row_bytes.min((step + 1) * step_bytes)];
                level.unpack(kernel, bytes, unpacked);
            }
            let mut rest = sums.as_mut_slice();
            for panel in panels {
                let (own, later) = rest.split_at_mut(rows * panel.width);
                rest = later;
                level.gemm(kernel, &unpacked, columns, step, panel, own);
            }
        }
        put(&sums, panels, rows, out, column);
    }
}

/// Writes `sums`, `[rows, width]` for one panel after another, to the columns of `out` from `column`.
fn put(sums: &[f32], panels: &[QuantizedPanel], rows: usize, out: &OutputColumns<'_>, column: usize) {
    let mut rest = sums;
    for panel in panels {
        let (own, later) = rest.split_at(rows * panel.width);
        rest = later;
        for lane in 0..panel.rows {
            // SAFETY: only this thread writes these columns, and no other part of them is alive.
            let out = unsafe { out.part(panel.first + lane, column, rows) };
            out.iter_mut().zip(own[lane..].iter().step_by(panel.width)).for_each(|(out, sum)| _ = out.write(*sum));
        }
    }
}
