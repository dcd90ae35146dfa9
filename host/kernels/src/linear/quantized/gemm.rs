//! GEMM: weights of a few rows are unpacked a step of columns at a time into the first-level cache, and multiplied by
//! all panels of `x`. A tile of sums stays in registers for a block, and its f32 sums in the second-level cache.

pub(super) mod panels;
#[cfg(target_arch = "x86_64")]
pub(super) mod tiles;
pub(super) mod weights;

use super::bytes::FACTORS;
use super::formats::BlockSize;
use super::inputs::STEP;
use super::integers::Integers;
use crate::linear::vector::Vector;
use panels::QuantizedPanel;
use weights::UnpackedStep;

/// Rows of weights in a tile.
const TILE: usize = 6;

/// Adds the product of one step of rows of weights, from column `step * STEP`, and a panel to `sums`, `[rows, width]`.
#[inline(always)]
pub(super) fn run<I: Integers>(
    kind: (BlockSize, bool),
    rows: &[UnpackedStep],
    columns: usize,
    step: usize,
    x: &QuantizedPanel,
    sums: &mut [f32],
) {
    match kind {
        (BlockSize::Small, false) => registers::<I, 32, false>(rows, columns, step, x, sums),
        (BlockSize::Small, true) => registers::<I, 32, true>(rows, columns, step, x, sums),
        (BlockSize::Large, false) => registers::<I, 256, false>(rows, columns, step, x, sums),
        (BlockSize::Large, true) => registers::<I, 256, true>(rows, columns, step, x, sums),
    }
}

#[inline(always)]
fn registers<I: Integers, const B: usize, const MIN: bool>(
    rows: &[UnpackedStep],
    columns: usize,
    step: usize,
    x: &QuantizedPanel,
    sums: &mut [f32],
) {
    let width = x.width;
    let per_step = STEP / B;
    let panel = PanelStep {
        codes: &x.codes[step * (STEP / 2) * width..(step + 1) * (STEP / 2) * width],
        scales: &x.scales[step * per_step * width..(step + 1) * per_step * width],
        sums: x.sums.get(step * per_step * width..(step + 1) * per_step * width).unwrap_or_default(),
        code_sums: x
            .code_sums
            .get(step * (FACTORS / 2) * width..(step + 1) * (FACTORS / 2) * width)
            .unwrap_or_default(),
    };
    let blocks = (columns - step * STEP).min(STEP) / B;
    match width == I::Floats::LANES {
        true => strips::<I, B, MIN, 1>(rows, blocks, panel, sums),
        false => strips::<I, B, MIN, 2>(rows, blocks, panel, sums),
    }
}

/// One step of a panel.
#[derive(Clone, Copy)]
struct PanelStep<'a> {
    codes: &'a [[i16; 2]],
    scales: &'a [f32],
    sums: &'a [f32],
    code_sums: &'a [[i16; 2]],
}

#[inline(always)]
fn strips<I: Integers, const B: usize, const MIN: bool, const N: usize>(
    rows: &[UnpackedStep],
    blocks: usize,
    x: PanelStep<'_>,
    sums: &mut [f32],
) {
    let width = N * I::Floats::LANES;
    let (most, rest) = rows.as_chunks::<TILE>();
    let (own, last) = sums.split_at_mut(most.len() * TILE * width);
    for (rows, sums) in most.iter().zip(own.chunks_exact_mut(TILE * width)) {
        tile::<I, B, MIN, N, TILE>(rows, blocks, x, sums);
    }
    let (pairs, single) = rest.as_chunks::<2>();
    let (even, odd) = last.split_at_mut(pairs.len() * 2 * width);
    for (rows, sums) in pairs.iter().zip(even.chunks_exact_mut(2 * width)) {
        tile::<I, B, MIN, N, 2>(rows, blocks, x, sums);
    }
    for (row, sums) in single.iter().zip(odd.chunks_exact_mut(width)) {
        tile::<I, B, MIN, N, 1>(std::array::from_ref(row), blocks, x, sums);
    }
}

#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn tile<I: Integers, const B: usize, const MIN: bool, const N: usize, const R: usize>(
    rows: &[UnpackedStep; R],
    blocks: usize,
    x: PanelStep<'_>,
    sums: &mut [f32],
) {
    let lanes = I::Floats::LANES;
    let width = N * lanes;
    let sums = &mut sums[..R * width];
    for block in 0..blocks {
        let mut pairs: [&[[i16; 2]]; R] = [&[]; R];
        for r in 0..R {
            pairs[r] = &rows[r].codes.as_flattened().as_chunks::<2>().0[block * (B / 2)..(block + 1) * (B / 2)];
        }
        let tile = products::<I, N, R>(pairs, &x.codes[block * (B / 2) * width..(block + 1) * (B / 2) * width]);
        let mut minima = [[I::zero(); N]; R];
        if MIN && B == STEP {
            let mut pairs: [&[[i16; 2]]; R] = [&[]; R];
            for r in 0..R {
                pairs[r] = rows[r].minima.as_chunks::<2>().0;
            }
            minima = products::<I, N, R>(pairs, x.code_sums);
        }
        for n in 0..N {
            let at = block * width + n * lanes;
            let scale = I::Floats::inputs(&x.scales[at..]);
            for r in 0..R {
                let out = r * width + n * lanes;
                let part = tile[r][n].floats().times(scale);
                let own = I::Floats::splat(rows[r].scales[block]);
                let part = match MIN {
                    true => {
                        let of = if B == STEP {
                            minima[r][n].floats().times(scale)
                        } else {
                            I::Floats::inputs(&x.sums[at..])
                        };
                        I::Floats::splat(rows[r].least[block]).times(of).plus_product(own, part)
                    }
                    false => part.times(own),
                };
                I::Floats::inputs(&sums[out..]).plus(part).put(&mut sums[out..]);
            }
        }
    }
}

/// The sums of the products of pairs in `R` rows of weights and a panel as wide as `N` registers.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn products<I: Integers, const N: usize, const R: usize>(rows: [&[[i16; 2]]; R], x: &[[i16; 2]]) -> [[I; N]; R] {
    let lanes = I::Floats::LANES;
    let width = N * lanes;
    let count = x.len() / width;
    let mut tile = [[I::zero(); N]; R];
    let rows = rows.map(|row| &row[..count]);
    for (at, x) in (0..count).zip(x.chunks_exact(width)) {
        let mut inputs = [I::zero(); N];
        for n in 0..N {
            inputs[n] = I::load(&x[n * lanes..]);
        }
        for r in 0..R {
            let weights = I::splat(rows[r][at]);
            for n in 0..N {
                tile[r][n] = tile[r][n].plus_pairs(weights, inputs[n]);
            }
        }
    }
    tile
}
