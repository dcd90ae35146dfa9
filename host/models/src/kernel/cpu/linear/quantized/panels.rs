//! Quantized rows of `x` packed for GEMM: the lanes of registers are rows of `x`.

use super::formats::{BlockSize, MINIMA};
use super::inputs::{QuantizedRow, QuantizedRows, STEP};
use crate::kernel::cpu::threads::share_chunks;

/// Rows of `x` in the lanes of one or two registers.
#[derive(Debug, Clone, Default)]
pub(super) struct QuantizedPanel {
    /// The first row of `x`.
    pub(super) first: usize,
    /// The number of rows of `x`.
    pub(super) rows: usize,
    /// The number of rows that it has room for. Rows beyond `rows` are zero.
    pub(super) width: usize,
    /// Pairs of codes, `[steps, STEP / 2, width]`.
    pub(super) codes: Vec<[i16; 2]>,
    /// `[blocks, width]`.
    pub(super) scales: Vec<f32>,
    /// For small blocks: `[blocks, width]`.
    pub(super) sums: Vec<f32>,
    /// For large blocks: pairs of sums, `[steps, MINIMA / 2, width]`.
    pub(super) code_sums: Vec<[i16; 2]>,
}

/// Packs rows for registers of so many lanes.
pub(super) fn pack(x: &QuantizedRows, lanes: usize) -> Vec<QuantizedPanel> {
    let chunks: Vec<&[QuantizedRow]> = x.rows.chunks(2 * lanes).collect();
    let mut panels = vec![QuantizedPanel::default(); chunks.len()];
    share_chunks(&mut panels, 1, |at, panel| {
        if let ([panel], Some(rows)) = (panel, chunks.get(at)) {
            panel.first = at * 2 * lanes;
            panel.fill(rows, rows.len().div_ceil(lanes) * lanes, x.size);
        }
    });
    panels
}

impl QuantizedPanel {
    fn fill(&mut self, rows: &[QuantizedRow], width: usize, size: BlockSize) {
        let steps = rows.first().map_or(0, |row| row.codes.len());
        let blocks = steps * STEP / size.weights();
        (self.rows, self.width) = (rows.len(), width);
        self.codes = vec![[0; 2]; steps * STEP / 2 * width];
        self.scales = vec![0.0; blocks * width];
        for (lane, row) in rows.iter().enumerate() {
            put(&row.scales, lane, width, &mut self.scales);
        }
        // A few pairs of all rows at a time, which are whole cache lines of the panel.
        for (at, out) in self.codes.chunks_mut(16 * width).enumerate() {
            for (lane, row) in rows.iter().enumerate() {
                let pairs = row.codes.as_flattened().as_flattened().as_chunks::<2>().0;
                put(&pairs[16 * at..16 * at + 16], lane, width, out);
            }
        }
        match size {
            BlockSize::Small => {
                self.sums = vec![0.0; blocks * width];
                rows.iter().enumerate().for_each(|(lane, row)| put(&row.sums, lane, width, &mut self.sums));
            }
            BlockSize::Large => {
                self.code_sums = vec![[0; 2]; steps * MINIMA / 2 * width];
                for (lane, row) in rows.iter().enumerate() {
                    put(row.code_sums.as_flattened().as_chunks::<2>().0, lane, width, &mut self.code_sums);
                }
            }
        }
    }
}

fn put<T: Copy>(values: &[T], lane: usize, width: usize, out: &mut [T]) {
    out[lane..].iter_mut().step_by(width).zip(values).for_each(|(out, value)| *out = *value);
}
