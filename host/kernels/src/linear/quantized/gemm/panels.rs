//! Quantized rows of `x` packed for GEMM: the lanes of registers are rows of `x`.

#[cfg(target_arch = "x86_64")]
use crate::linear::quantized::amx::{TILE_ROWS, TileInputs};
use crate::linear::quantized::bytes::FACTORS;
use crate::linear::quantized::formats::BlockSize;
use crate::linear::quantized::inputs::{QuantizedRow, QuantizedRows, STEP};
use crate::linear::quantized::level::IntegerLevel;
use crate::threads::share_chunks;

/// Rows of `x` in the lanes of one or two registers.
#[derive(Debug, Clone, Default)]
pub(in crate::linear::quantized) struct QuantizedPanel {
    /// The first row of `x`.
    pub(in crate::linear::quantized) first: usize,
    /// The number of rows of `x`.
    pub(in crate::linear::quantized) rows: usize,
    /// The number of rows that it has room for. Rows beyond `rows` are zero.
    pub(in crate::linear::quantized) width: usize,
    /// Pairs of codes, `[steps, STEP / 2, width]`.
    pub(in crate::linear::quantized) codes: Vec<[i16; 2]>,
    /// For levels with tiles, in place of `codes`: `[steps, width / TILE_ROWS, STEP / 4]`.
    #[cfg(target_arch = "x86_64")]
    pub(in crate::linear::quantized) tiles: Vec<TileInputs>,
    /// `[blocks, width]`.
    pub(in crate::linear::quantized) scales: Vec<f32>,
    /// For small blocks: `[blocks, width]`.
    pub(in crate::linear::quantized) sums: Vec<f32>,
    /// For large blocks: pairs of sums, `[steps, FACTORS / 2, width]`.
    pub(in crate::linear::quantized) code_sums: Vec<[i16; 2]>,
}

/// Packs rows for the registers of a level.
pub(in crate::linear::quantized) fn pack(x: &QuantizedRows, level: IntegerLevel) -> Vec<QuantizedPanel> {
    let lanes = level.lanes();
    let chunks: Vec<&[QuantizedRow]> = x.rows.chunks(2 * lanes).collect();
    let mut panels = vec![QuantizedPanel::default(); chunks.len()];
    share_chunks(&mut panels, 1, |at, panel| {
        if let ([panel], Some(rows)) = (panel, chunks.get(at)) {
            panel.first = at * 2 * lanes;
            panel.fill(rows, rows.len().div_ceil(lanes) * lanes, x.size);
            match level.has_tiles() {
                #[cfg(target_arch = "x86_64")]
                true => panel.fill_tiles(rows),
                _ => panel.fill_codes(rows),
            }
        }
    });
    panels
}

impl QuantizedPanel {
    fn fill(&mut self, rows: &[QuantizedRow], width: usize, size: BlockSize) {
        let steps = rows.first().map_or(0, Vec::len);
        let blocks = STEP / size.weights();
        (self.rows, self.width) = (rows.len(), width);
        self.scales = vec![0.0; steps * blocks * width];
        self.sums = vec![0.0; steps * blocks * width];
        let sums = if size == BlockSize::Large { steps * FACTORS / 2 * width } else { 0 };
        self.code_sums = vec![[0; 2]; sums];
        for step in 0..steps {
            let scales = &mut self.scales[step * blocks * width..(step + 1) * blocks * width];
            let sums = &mut self.sums[step * blocks * width..(step + 1) * blocks * width];
            for (lane, row) in rows.iter().enumerate() {
                put(&row[step].scales, lane, width, scales);
                put(&row[step].sums, lane, width, sums);
            }
            if size == BlockSize::Large {
                let sums = &mut self.code_sums[step * (FACTORS / 2) * width..(step + 1) * (FACTORS / 2) * width];
                for (lane, row) in rows.iter().enumerate() {
                    put(row[step].code_sums.as_chunks::<2>().0, lane, width, sums);
                }
            }
        }
    }
}

impl QuantizedPanel {
    fn fill_codes(&mut self, rows: &[QuantizedRow]) {
        let (width, steps) = (self.width, rows.first().map_or(0, Vec::len));
        self.codes = vec![[0; 2]; steps * STEP / 2 * width];
        // A few pairs of all rows at a time, which are whole cache lines of the panel.
        for (step, codes) in self.codes.chunks_exact_mut(STEP / 2 * width).enumerate() {
            for (at, out) in codes.chunks_mut(16 * width).enumerate() {
                for (lane, row) in rows.iter().enumerate() {
                    let pairs = row[step].codes.as_flattened().as_chunks::<2>().0;
                    let pairs: [[i16; 2]; 16] = std::array::from_fn(|pair| pairs[16 * at + pair].map(i16::from));
                    put(&pairs, lane, width, out);
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn fill_tiles(&mut self, rows: &[QuantizedRow]) {
        let steps = rows.first().map_or(0, Vec::len);
        self.tiles = vec![TileInputs([[0; 4]; TILE_ROWS]); steps * STEP / 4 * (self.width / TILE_ROWS)];
        let lanes = rows.chunks(TILE_ROWS).collect::<Vec<_>>();
        for (at, tile) in self.tiles.chunks_exact_mut(STEP / 4).enumerate() {
            let (step, rows) = (at / lanes.len(), lanes[at % lanes.len()]);
            for (lane, row) in rows.iter().enumerate() {
                let words = row[step].codes.as_flattened().as_chunks::<4>().0;
                tile.iter_mut().zip(words).for_each(|(tile, word)| tile.0[lane] = *word);
            }
        }
    }
}

fn put<T: Copy>(values: &[T], lane: usize, width: usize, out: &mut [T]) {
    out[lane..].iter_mut().step_by(width).zip(values).for_each(|(out, value)| *out = *value);
}
