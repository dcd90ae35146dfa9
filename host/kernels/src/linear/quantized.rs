//! `y = x Wᵀ` for weights in blocks: integer products of the blocks as they are stored and of `x`, which is quantized
//! once for all parts of a matrix.
//!
//! ```text
//! inputs    rows of x as integers            formats  one unpacker for each block type
//! gemv      a few rows of x; gemv/repacked has repacked weights
//! gemm      more rows; gemm/panels are rows of x and gemm/weights a step of unpacked weights
//! bytes     registers that unpack, and multiply in gemv     integers  those of gemm      level  their instructions
//! amx       tiles, for gemm/tiles
//! ```
//!
//! Sums of integers are exact, and both kernels add the blocks of a row one by one in the order of the columns. So the
//! result of a row of `x` is the same in every batch. It differs from a product in f32 by the rounding of `x`, which is
//! to 8 bits in blocks as large as those of the weights, and by that of the sum.

#[cfg(target_arch = "x86_64")]
mod amx;
mod bytes;
mod formats;
mod gemm;
mod gemv;
mod inputs;
mod integers;
mod level;
#[cfg(test)]
mod tests;

use super::gemm::OutputColumns;
use crate::weights::blocks::BlockType;
use crate::weights::repacked::{REPACKED_ROWS, restore_row};
#[cfg(target_arch = "x86_64")]
use amx::TILE_ROWS;
use formats::BlockSize;
use gemm::panels::{self, QuantizedPanel};
#[cfg(target_arch = "x86_64")]
use gemm::tiles::TileRows;
use gemm::weights::UnpackedStep;
use inputs::{QuantizedRow, QuantizedRows, STEP};
pub(super) use level::{IntegerKernel, IntegerLevel};

/// Rows of `x` up to which GEMV is faster than GEMM.
pub(super) const GEMV_ROWS_MAX: usize = 8;

/// Rows of `x` that go through GEMV together in place of a GEMM.
const NARROW_ROWS: usize = 64;

/// Rows of weights of one type.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightRows<'a> {
    pub(super) kernel: &'static IntegerKernel,
    pub(super) bytes: &'a [u8],
    pub(super) row_bytes: usize,
    /// The type of their blocks, if these are repacked.
    pub(super) repacked: Option<&'static BlockType>,
}

impl WeightRows<'_> {
    /// Whether the kernel of a few rows of `x` is the fastest with so many, too.
    fn is_narrow(&self, level: IntegerLevel, rows: usize) -> bool {
        let most = level.repacked_rows_max(self.kernel);
        self.repacked.is_some() && rows <= most && level.prefers_repacked(self.kernel)
    }
}

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

    /// The products of rows of weights and all rows of `x`. `out` is `[rows, m]`.
    pub(super) fn gemv(&self, level: IntegerLevel, weights: WeightRows<'_>, out: &mut [f32]) {
        let WeightRows { kernel, bytes, row_bytes, repacked } = weights;
        let Some(x) = self.rows(kernel.size).map(|x| x.rows.as_slice()) else { return };
        let Some(kind) = repacked else { return level.gemv(kernel, bytes, row_bytes, x, out) };
        if level.gemv_repacked(kernel, bytes, row_bytes, x, out).is_none() {
            let mut rows = vec![0; REPACKED_ROWS * row_bytes];
            let outs = out.chunks_exact_mut(REPACKED_ROWS * x.len());
            for (groups, out) in bytes.chunks_exact(REPACKED_ROWS * row_bytes).zip(outs) {
                restore(kind, groups, &mut rows);
                level.gemv(kernel, &rows, row_bytes, x, out);
            }
        }
    }

    /// Packs the rows for the GEMM of these weights.
    pub(super) fn pack<'a>(self, level: IntegerLevel, weights: impl Iterator<Item = WeightRows<'a>>) -> PackedInputs {
        let mut packed = PackedInputs { quantized: self, small: Vec::new(), large: Vec::new() };
        for weights in weights {
            let rows = packed.quantized.rows(weights.kernel.size);
            if weights.is_narrow(level, rows.map_or(0, |rows| rows.rows.len())) {
                continue;
            }
            let panels = || rows.map(|rows| panels::pack(rows, level)).unwrap_or_default();
            match weights.kernel.size {
                BlockSize::Small if packed.small.is_empty() => packed.small = panels(),
                BlockSize::Large if packed.large.is_empty() => packed.large = panels(),
                _ => {}
            }
        }
        packed
    }
}

/// As [`QuantizedInputs`], packed for GEMM.
#[derive(Debug)]
pub(super) struct PackedInputs {
    quantized: QuantizedInputs,
    small: Vec<QuantizedPanel>,
    large: Vec<QuantizedPanel>,
}

impl PackedInputs {
    /// Writes the product of some rows of weights of `columns` each and all of `x` to the columns of `out` from `column`.
    /// Threads that run this at the same time have different columns.
    pub(super) fn gemm(
        &self,
        level: IntegerLevel,
        weights: WeightRows<'_>,
        columns: usize,
        out: &OutputColumns<'_>,
        column: usize,
    ) {
        let x = self.quantized.rows(weights.kernel.size).map_or(&[][..], |x| &x.rows);
        if weights.is_narrow(level, x.len()) {
            return narrow(level, weights, x, out, column);
        }
        let WeightRows { kernel, bytes, row_bytes, repacked } = weights;
        let panels = match kernel.size {
            BlockSize::Small => &self.small,
            BlockSize::Large => &self.large,
        };
        let rows = bytes.len() / row_bytes;
        let width: usize = panels.iter().map(|panel| panel.width).sum();
        let mut products = Products::new(level, kernel, rows);
        let mut sums = vec![0.0; products.unpacked.len() * width];
        let step_bytes = STEP / kernel.size.weights() * kernel.bytes;
        let mut restored = vec![0; if repacked.is_some() { REPACKED_ROWS * step_bytes } else { 0 }];
        for step in 0..columns.div_ceil(STEP) {
            let part = step * step_bytes..row_bytes.min((step + 1) * step_bytes);
            if part.len() < step_bytes {
                products = Products::new(level, kernel, rows);
            }
            match repacked {
                None => {
                    for (row, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
                        products.unpack(row, &bytes[part.clone()]);
                    }
                }
                Some(kind) => {
                    for (at, groups) in bytes.chunks_exact(REPACKED_ROWS * row_bytes).enumerate() {
                        let groups = &groups[REPACKED_ROWS * part.start..REPACKED_ROWS * part.end];
                        let restored = &mut restored[..groups.len()];
                        restore(kind, groups, restored);
                        for (row, bytes) in restored.chunks_exact(part.len()).enumerate() {
                            products.unpack(REPACKED_ROWS * at + row, bytes);
                        }
                    }
                }
            }
            products.add(columns, step, panels, &mut sums);
        }
        put(&sums, panels, (rows, products.unpacked.len()), out, column);
    }
}

/// A step of rows of weights, and how a level multiplies it.
struct Products {
    level: IntegerLevel,
    kernel: &'static IntegerKernel,
    /// All rows, and with tiles more that are zero.
    unpacked: Vec<UnpackedStep>,
    #[cfg(target_arch = "x86_64")]
    bytes: TileRows,
}

impl Products {
    fn new(level: IntegerLevel, kernel: &'static IntegerKernel, rows: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        let (rows, in_tiles) = match level.has_tiles() {
            true => (rows.next_multiple_of(TILE_ROWS), rows.next_multiple_of(TILE_ROWS)),
            false => (rows, 0),
        };
        Self {
            level,
            kernel,
            unpacked: vec![UnpackedStep::default(); rows],
            #[cfg(target_arch = "x86_64")]
            bytes: TileRows::new(in_tiles, kernel.size),
        }
    }

    /// Unpacks at most a step of row `row`.
    fn unpack(&mut self, row: usize, blocks: &[u8]) {
        let Self { level, kernel, unpacked, .. } = self;
        #[cfg(target_arch = "x86_64")]
        if level.has_tiles() {
            return level::unpack_tiles(*level, kernel, blocks, &mut unpacked[row], self.bytes.row(row));
        }
        level.unpack(kernel, blocks, &mut unpacked[row]);
    }

    /// Adds the products of step `step` and all panels to `sums`, `[rows, width]` for one panel after another.
    fn add(&mut self, columns: usize, step: usize, panels: &[QuantizedPanel], mut sums: &mut [f32]) {
        let Self { level, kernel, unpacked, .. } = self;
        #[cfg(target_arch = "x86_64")]
        if level.has_tiles() {
            return level::gemm_tiles(*level, kernel, (unpacked, &self.bytes), step, panels, sums);
        }
        for panel in panels {
            let (own, later) = sums.split_at_mut(unpacked.len() * panel.width);
            sums = later;
            level.gemm(kernel, unpacked, columns, step, panel, own);
        }
    }
}

/// [`PackedInputs::gemm`] by GEMV of a few rows of `x` after another, which stay in the second-level cache with the weights.
fn narrow(level: IntegerLevel, weights: WeightRows<'_>, x: &[QuantizedRow], out: &OutputColumns<'_>, column: usize) {
    let WeightRows { kernel, bytes, row_bytes, .. } = weights;
    let rows = bytes.len() / row_bytes;
    let mut sums = vec![0.0; rows * NARROW_ROWS.min(x.len())];
    for (at, x) in x.chunks(NARROW_ROWS).enumerate() {
        let sums = &mut sums[..rows * x.len()];
        level.gemv_repacked(kernel, bytes, row_bytes, x, sums);
        for lane in 0..x.len() {
            // SAFETY: only this thread writes these columns, and no other part of them is alive.
            let out = unsafe { out.part(at * NARROW_ROWS + lane, column, rows) };
            out.iter_mut().zip(sums[lane..].iter().step_by(x.len())).for_each(|(out, sum)| _ = out.write(*sum));
        }
    }
}

/// Eight rows of blocks as they were before they were repacked.
fn restore(kind: &BlockType, groups: &[u8], rows: &mut [u8]) {
    for (row, out) in rows.chunks_exact_mut(groups.len() / REPACKED_ROWS).enumerate() {
        restore_row(kind, groups, row, out);
    }
}

/// Writes `sums`, `[all, width]` for one panel after another, to the columns of `out` from `column`: as many as `rows`.
fn put(sums: &[f32], panels: &[QuantizedPanel], (rows, all): (usize, usize), out: &OutputColumns<'_>, column: usize) {
    let mut rest = sums;
    for panel in panels {
        let (own, later) = rest.split_at(all * panel.width);
        rest = later;
        for lane in 0..panel.rows {
            // SAFETY: only this thread writes these columns, and no other part of them is alive.
            let out = unsafe { out.part(panel.first + lane, column, rows) };
            out.iter_mut().zip(own[lane..].iter().step_by(panel.width)).for_each(|(out, sum)| _ = out.write(*sum));
        }
    }
}
