//! GEMM with the tiles of AMX. Sums of integers come from tiles; they are scaled and added in AVX-512, as the other kernels do.
//!
//! Tiles multiply bytes. Weights of large blocks are codes times factors, of up to 16 bits: their low bytes and their high
//! ones are multiplied apart. While tiles multiply one part, the sums of the part before are scaled.

use crate::linear::quantized::amx::{STEP_BYTES, TILE_ROWS, TileInputs, TileSums, TileWeights, Tiles};
use crate::linear::quantized::bytes::{CODES, FACTORS};
use crate::linear::quantized::formats::BlockSize;
use crate::linear::quantized::gemm::panels::QuantizedPanel;
use crate::linear::quantized::gemm::weights::UnpackedStep;
use crate::linear::quantized::inputs::STEP;
use crate::linear::quantized::integers::{Integers, Integers512};
use crate::linear::vector::{Avx512, Vector};

/// Rows of tiles of one step of inputs.
const STEP_ROWS: usize = STEP_BYTES / 4;
/// Small blocks of a step that are multiplied at once, each in a tile of its own.
const BLOCKS: usize = 4;
const BLOCK: usize = 32;
/// Sums of tiles of one part: those that are scaled, and those that are computed meanwhile.
type Parts = [[TileSums; 4]; 2];

/// The bytes of one step of rows of weights, in whole tiles.
#[derive(Debug)]
pub(in crate::linear::quantized) struct TileRows {
    low: Vec<[TileWeights; TILE_ROWS]>,
    /// Of large blocks.
    high: Vec<[TileWeights; TILE_ROWS]>,
}

impl TileRows {
    /// `rows` is a multiple of `TILE_ROWS`.
    pub(in crate::linear::quantized) fn new(rows: usize, size: BlockSize) -> Self {
        let zeros = |rows: usize| vec![[TileWeights([0; STEP_BYTES]); TILE_ROWS]; rows / TILE_ROWS];
        Self { low: zeros(rows), high: zeros(if size == BlockSize::Large { rows } else { 0 }) }
    }

    /// The low and the high bytes of a row. Small blocks have no high ones.
    pub(in crate::linear::quantized) fn row(&mut self, row: usize) -> [&mut [[i8; CODES]]; 2] {
        [&mut self.low, &mut self.high].map(|tiles| match tiles.as_flattened_mut().get_mut(row) {
            Some(row) => row.0.as_chunks_mut().0,
            None => &mut [],
        })
    }
}

/// Adds the product of one step of rows of weights, from column `step * STEP`, and a panel to `sums`, `[rows, width]`. Rows
/// are whole tiles.
#[inline(always)]
pub(in crate::linear::quantized) fn run(
    tiles: &Tiles,
    (size, has_minima): (BlockSize, bool),
    (rows, bytes): (&[UnpackedStep], &TileRows),
    step: usize,
    x: &QuantizedPanel,
    sums: &mut [f32],
) {
    match (size, has_minima) {
        (BlockSize::Small, false) => small::<false>(tiles, rows, bytes, step, x, sums),
        (BlockSize::Small, true) => small::<true>(tiles, rows, bytes, step, x, sums),
        (BlockSize::Large, false) => large::<false>(tiles, rows, bytes, step, x, sums),
        (BlockSize::Large, true) => large::<true>(tiles, rows, bytes, step, x, sums),
    }
}

/// The rows of tiles of lanes `TILE_ROWS * n..` of a step.
#[inline(always)]
fn inputs(x: &QuantizedPanel, step: usize, n: usize) -> &[TileInputs; STEP_ROWS] {
    &x.tiles.as_chunks::<STEP_ROWS>().0[step * (x.width / TILE_ROWS) + n]
}

/// Small blocks: of each strip of rows and lanes of `x`, the two halves of a step are two parts.
#[inline(always)]
fn small<const MIN: bool>(
    tiles: &Tiles,
    rows: &[UnpackedStep],
    bytes: &TileRows,
    step: usize,
    x: &QuantizedPanel,
    sums: &mut [f32],
) {
    let lanes = x.width / TILE_ROWS;
    let count = bytes.low.len() * lanes * 2;
    let mut parts: Parts = [[TileSums::ZERO; 4]; 2];
    let multiply = |part: usize, out: &mut [TileSums; 4]| {
        let (strip, n) = (part / 2 / lanes, part / 2 % lanes);
        tiles.narrow_products(part % 2 * BLOCKS, &bytes.low[strip], inputs(x, step, n), out);
    };
    multiply(0, &mut parts[0]);
    for part in 0..count {
        if part + 1 < count {
            multiply(part + 1, &mut parts[(part + 1) % 2]);
        }
        let (strip, n, first) = (part / 2 / lanes, part / 2 % lanes, part % 2 * BLOCKS);
        let rows = &rows[strip * TILE_ROWS..(strip + 1) * TILE_ROWS];
        let at = (step * (STEP / BLOCK) + first) * x.width + n * TILE_ROWS;
        let sums = &mut sums[strip * TILE_ROWS * x.width + n * TILE_ROWS..];
        scale_small::<MIN>(rows, first, &parts[part % 2], (&x.scales[at..], &x.sums[at..]), x.width, sums);
    }
}

#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn scale_small<const MIN: bool>(
    rows: &[UnpackedStep],
    first: usize,
    products: &[TileSums; 4],
    (scales, totals): (&[f32], &[f32]),
    width: usize,
    sums: &mut [f32],
) {
    let mut x_scales = [Avx512::zero(); BLOCKS];
    let mut x_sums = [Avx512::zero(); BLOCKS];
    for block in 0..BLOCKS {
        x_scales[block] = Avx512::inputs(&scales[block * width..]);
        if MIN {
            x_sums[block] = Avx512::inputs(&totals[block * width..]);
        }
    }
    for (at, row) in rows.iter().enumerate() {
        let sums = &mut sums[at * width..];
        let mut sum = Avx512::inputs(sums);
        for block in 0..BLOCKS {
            let part = Integers512::of(&products[block].0[at]).floats().times(x_scales[block]);
            let own = Avx512::splat(row.scales[first + block]);
            let part = match MIN {
                true => Avx512::splat(row.least[first + block]).times(x_sums[block]).plus_product(own, part),
                false => part.times(own),
            };
            sum = sum.plus(part);
        }
        sum.put(sums);
    }
}

/// Large blocks: a strip of rows and all lanes of `x` is a part.
#[inline(always)]
fn large<const MIN: bool>(
    tiles: &Tiles,
    rows: &[UnpackedStep],
    bytes: &TileRows,
    step: usize,
    x: &QuantizedPanel,
    sums: &mut [f32],
) {
    let lanes = x.width / TILE_ROWS;
    // Of a narrow panel the same lanes go to both tiles.
    let inputs = [inputs(x, step, 0), inputs(x, step, lanes - 1)];
    let count = bytes.low.len();
    let mut parts: Parts = [[TileSums::ZERO; 4]; 2];
    let multiply = |part: usize, out: &mut [TileSums; 4]| {
        tiles.wide_products([&bytes.low[part], &bytes.high[part]], inputs, out);
    };
    multiply(0, &mut parts[0]);
    for part in 0..count {
        if part + 1 < count {
            multiply(part + 1, &mut parts[(part + 1) % 2]);
        }
        let [a, b, c, d] = &parts[part % 2];
        let rows = &rows[part * TILE_ROWS..(part + 1) * TILE_ROWS];
        for (n, products) in [[a, c], [b, d]].into_iter().enumerate().take(lanes) {
            let scale = Avx512::inputs(&x.scales[step * x.width + n * TILE_ROWS..]);
            let code_sums = x.code_sums.get(step * (FACTORS / 2) * x.width + n * TILE_ROWS..).unwrap_or_default();
            let sums = &mut sums[part * TILE_ROWS * x.width + n * TILE_ROWS..];
            scale_large::<MIN>(rows, products, scale, code_sums, x.width, sums);
        }
    }
}

#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn scale_large<const MIN: bool>(
    rows: &[UnpackedStep],
    [low, high]: [&TileSums; 2],
    scale: Avx512,
    code_sums: &[[i16; 2]],
    width: usize,
    sums: &mut [f32],
) {
    let mut pairs = [Integers512::zero(); FACTORS / 2];
    if MIN {
        for at in 0..FACTORS / 2 {
            pairs[at] = Integers512::load(&code_sums[at * width..]);
        }
    }
    for (at, row) in rows.iter().enumerate() {
        let sums = &mut sums[at * width..];
        let total = Integers512::of(&low.0[at]).plus_high(Integers512::of(&high.0[at]));
        let part = total.floats().times(scale);
        let own = Avx512::splat(row.scales[0]);
        let part = match MIN {
            true => {
                let minima = row.minima.as_chunks::<2>().0;
                let mut least = [Integers512::zero(); 2];
                for pair in 0..FACTORS / 2 {
                    least[pair % 2] = least[pair % 2].plus_pairs(Integers512::splat(minima[pair]), pairs[pair]);
                }
                let least = least[0].plus(least[1]).floats().times(scale);
                Avx512::splat(row.least[0]).times(least).plus_product(own, part)
            }
            false => part.times(own),
        };
        Avx512::inputs(sums).plus(part).put(sums);
    }
}
