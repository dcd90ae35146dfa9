//! Rows of `x` as 8-bit integers in blocks of 32 or 256, each with a scale, as llama.cpp quantizes them.

use super::bytes::{CODES, FACTORS, GROUP, in_turns};
use super::formats::BlockSize;
use super::level::IntegerLevel;
use crate::threads::share_chunks;

/// Below this a block is zero, since the inverse of its scale would be infinite.
const SMALLEST: f32 = 1e-30;
/// Weights of one step: a large block, or as many small ones. Rows are padded to a multiple.
pub(super) const STEP: usize = GROUP * CODES;
/// Elements of `x` up to which a second thread is not worth it.
const SERIAL_ELEMENTS: usize = 1 << 14;
/// The largest code: a product with a code of 8 bits and its neighbour's fit into 16 bits together.
pub(super) const CODE_MAX: f32 = 127.0;

/// Quantized rows of `x`, each padded with zeros to whole steps.
#[derive(Debug)]
pub(super) struct QuantizedRows {
    pub(super) size: BlockSize,
    pub(super) rows: Vec<QuantizedRow>,
}

/// A quantized row.
pub(super) type QuantizedRow = Vec<InputStep>;

/// `STEP` values.
#[derive(Debug, Clone)]
pub(super) struct InputStep {
    pub(super) codes: [[i8; CODES]; GROUP],
    /// One for each block.
    pub(super) scales: [f32; GROUP],
    /// For small blocks: the sum of each block's codes.
    pub(super) totals: [i32; GROUP],
    /// For small blocks: the sum of each block's values.
    pub(super) sums: [f32; GROUP],
    /// For a large block: the sums of each 16 codes, in the order of [`in_turns`].
    pub(super) code_sums: [i16; FACTORS],
}

impl Default for InputStep {
    fn default() -> Self {
        Self {
            codes: [[0; CODES]; GROUP],
            scales: [0.0; GROUP],
            totals: [0; GROUP],
            sums: [0.0; GROUP],
            code_sums: [0; FACTORS],
        }
    }
}

impl QuantizedRows {
    /// `x` is `[m, columns]`, row-major, and `columns` is a multiple of the block.
    pub(super) fn new(level: IntegerLevel, x: &[f32], columns: usize, size: BlockSize) -> Self {
        let mut rows = vec![QuantizedRow::default(); x.len() / columns.max(1)];
        let fill = |at: usize, row: &mut QuantizedRow| {
            *row = vec![InputStep::default(); columns.div_ceil(STEP)];
            level.quantize(size, &x[at * columns..(at + 1) * columns], row);
        };
        if x.len() <= SERIAL_ELEMENTS {
            rows.iter_mut().enumerate().for_each(|(at, row)| fill(at, row));
        } else {
            share_chunks(&mut rows, 1, |at, rows| rows.iter_mut().for_each(|row| fill(at, row)));
        }
        Self { size, rows }
    }
}

/// Quantizes a row, whose length is a multiple of the block.
#[inline(always)]
pub(super) fn quantize_row(size: BlockSize, x: &[f32], row: &mut [InputStep]) {
    for (step, x) in row.iter_mut().zip(x.chunks(STEP)) {
        step.fill(x, size);
    }
}

impl InputStep {
    /// `x` are at most `STEP` values in whole blocks.
    #[inline(always)]
    fn fill(&mut self, x: &[f32], size: BlockSize) {
        let codes = self.codes.as_flattened_mut();
        let each = x.chunks_exact(size.weights()).zip(codes.chunks_exact_mut(size.weights())).zip(&mut self.scales);
        for (((x, codes), scale), (total, sum)) in each.zip(self.totals.iter_mut().zip(&mut self.sums)) {
            *scale = quantize(x, codes);
            *total = codes.iter().map(|code| i32::from(*code)).sum();
            *sum = *scale * *total as f32;
        }
        if size == BlockSize::Large {
            for (at, codes) in codes.as_chunks::<{ STEP / FACTORS }>().0.iter().enumerate() {
                self.code_sums[in_turns(at)] = codes.iter().map(|code| i16::from(*code)).sum();
            }
        }
    }
}

/// Writes the codes of a block and returns its scale, which is not a number if a value is not finite.
#[inline(always)]
fn quantize(x: &[f32], codes: &mut [i8]) -> f32 {
    /// Added to a number below 2^22, it leaves the nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // As integers, sizes are in the same order, and what is not finite is the largest.
    let largest = x.iter().map(|value| value.to_bits() & 0x7FFF_FFFF).fold(0, u32::max);
    let largest = f32::from_bits(largest);
    if largest < SMALLEST {
        codes.fill(0);
        return 0.0;
    }
    if !largest.is_finite() {
        codes.fill(0);
        return f32::NAN;
    }
    let inverse = CODE_MAX / largest;
    for (value, code) in x.iter().zip(codes) {
        *code = ((value * inverse + ROUND).to_bits() as u8).cast_signed();
    }
    largest / CODE_MAX
}
