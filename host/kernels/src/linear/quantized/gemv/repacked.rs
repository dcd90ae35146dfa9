//! GEMV of repacked weights: each lane of a register is a row of weights, and four columns of `x` go to all lanes. Nothing is
//! added across lanes, and eight rows are scaled at once.
//!
//! Sums of integers are exact, and the rest is computed in the order of the other kernels, so results are theirs.

use crate::linear::prefetch;
use crate::linear::quantized::bytes::{CODES, GROUP, RowRegister};
use crate::linear::quantized::formats::{BlockSize, RepackedFormat};
use crate::linear::quantized::gemv::steps_at;
use crate::linear::quantized::inputs::{InputStep, QuantizedRow};
use crate::linear::vector::Vector;
use crate::weights::repacked::REPACKED_ROWS;

/// Columns in a lane.
const WORD: usize = 4;
const WORDS: usize = CODES / WORD;

/// The products of rows of groups, each of `REPACKED_ROWS * row_bytes`, and all rows of `x`. `out` is `[rows, m]`.
#[inline(always)]
pub(in crate::linear::quantized) fn run<F: RepackedFormat, B: RowRegister>(
    weights: &[u8],
    row_bytes: usize,
    x: &[QuantizedRow],
    out: &mut [f32],
) {
    let (fours, rest) = x.as_chunks::<4>();
    let (twos, ones) = rest.as_chunks::<2>();
    let m = x.len();
    let rows = weights.chunks_exact(REPACKED_ROWS * row_bytes).zip(out.chunks_exact_mut(REPACKED_ROWS * m));
    for (weights, out) in rows {
        for (at, x) in fours.iter().enumerate() {
            let [a, b, c, d] = x;
            columns::<F, B, 4>(weights, [a, b, c, d], &mut out[4 * at..], m);
        }
        for (at, [a, b]) in twos.iter().enumerate() {
            columns::<F, B, 2>(weights, [a, b], &mut out[4 * fours.len() + 2 * at..], m);
        }
        for x in ones {
            columns::<F, B, 1>(weights, [x], &mut out[m - 1..], m);
        }
    }
}

/// The products of eight rows and `C` rows of `x`, in every `m`th place of `out`.
#[inline(always)]
fn columns<F: RepackedFormat, B: RowRegister, const C: usize>(
    weights: &[u8],
    x: [&[InputStep]; C],
    out: &mut [f32],
    m: usize,
) {
    let sums = match F::SIZE {
        BlockSize::Small => small::<F, B, C>(weights, x),
        BlockSize::Large => large::<F, B, C>(weights, x),
    };
    for (c, sums) in sums.into_iter().enumerate() {
        let mut lanes = [0.0; REPACKED_ROWS];
        sums.put(&mut lanes);
        for (out, sum) in out[c..].iter_mut().step_by(m).zip(lanes) {
            *out = sum;
        }
    }
}

#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn small<F: RepackedFormat, B: RowRegister, const C: usize>(weights: &[u8], x: [&[InputStep]; C]) -> [B::Floats; C] {
    let mut out = [B::Floats::zero(); C];
    for (step, blocks) in weights.chunks(GROUP * REPACKED_ROWS * F::BYTES).enumerate() {
        let x = steps_at(x, step);
        for (at, block) in blocks.chunks_exact(REPACKED_ROWS * F::BYTES).take(GROUP).enumerate() {
            prefetch::far_ahead(block, REPACKED_ROWS * F::BYTES);
            let totals = group::<F, B, C>(block, (0, 0), at, x, B::ones(), [B::no_totals(); C]);
            let scale = B::Floats::halves(&block[..2 * REPACKED_ROWS]);
            for c in 0..C {
                let x = x[c];
                let total = if F::OFFSET == 0 { totals[c] } else { B::minus(totals[c], F::OFFSET * x.totals[at]) };
                let part = B::floats(total).times(B::Floats::splat(x.scales[at]));
                let part = match F::HAS_MINIMA {
                    true => {
                        let least = B::Floats::halves(&block[2 * REPACKED_ROWS..4 * REPACKED_ROWS]);
                        least.times(B::Floats::splat(x.sums[at])).plus_product(scale, part)
                    }
                    false => part.times(scale),
                };
                out[c] = out[c].plus(part);
            }
        }
    }
    out
}

/// Large blocks, all of which have minima.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn large<F: RepackedFormat, B: RowRegister, const C: usize>(weights: &[u8], x: [&[InputStep]; C]) -> [B::Floats; C] {
    let mut out = [B::Floats::zero(); C];
    for (at, block) in weights.chunks_exact(REPACKED_ROWS * F::BYTES).enumerate() {
        let x = steps_at(x, at);
        let factors = F::factor_words::<B>(block);
        let mut totals = [B::no_totals(); C];
        for first in (0..GROUP).step_by(F::PERIOD) {
            // One by one, so that the shifts of each are constants.
            totals = scaled_group::<F, B, C>(block, (first, 0), x, &factors, totals);
            totals = scaled_group::<F, B, C>(block, (first, 1), x, &factors, totals);
            if F::PERIOD > 2 {
                totals = scaled_group::<F, B, C>(block, (first, 2), x, &factors, totals);
                totals = scaled_group::<F, B, C>(block, (first, 3), x, &factors, totals);
                totals = scaled_group::<F, B, C>(block, (first, 4), x, &factors, totals);
                totals = scaled_group::<F, B, C>(block, (first, 5), x, &factors, totals);
                totals = scaled_group::<F, B, C>(block, (first, 6), x, &factors, totals);
                totals = scaled_group::<F, B, C>(block, (first, 7), x, &factors, totals);
            }
        }
        let minima = F::minimum_words::<B>(block);
        let mut least = [B::no_totals(); C];
        for pair in 0..GROUP / 2 {
            let factors = minima[pair / 2].factor_pair(pair % 2);
            for c in 0..C {
                least[c] = B::plus_pair_products(least[c], factors, code_sums(x[c], pair));
            }
        }
        let scale = B::Floats::halves(&block[..2 * REPACKED_ROWS]);
        let minimum_scale =
            B::Floats::halves(&block[2 * REPACKED_ROWS..4 * REPACKED_ROWS]).times(B::Floats::splat(-1.0));
        for c in 0..C {
            let input = B::Floats::splat(x[c].scales[0]);
            let least = minimum_scale.times(B::floats(least[c]).times(input));
            out[c] = out[c].plus(least.plus_product(scale, B::floats(totals[c]).times(input)));
        }
    }
    out
}

/// Adds the products of group `first + own` of a large block, times its factors.
#[inline(always)]
fn scaled_group<F: RepackedFormat, B: RowRegister, const C: usize>(
    block: &[u8],
    (first, own): (usize, usize),
    x: [&InputStep; C],
    factors: &[B; 2],
    totals: [B::RowTotals; C],
) -> [B::RowTotals; C] {
    let number = first + own;
    prefetch::far_ahead(&block[number * F::BYTES..], F::BYTES);
    let factor = factors[number / WORD].factor(number % WORD);
    group::<F, B, C>(block, (first, own), number, x, factor, totals)
}

/// Adds the products of a group of 32 columns to `totals`: group `first + own` of the block, and group `place` of the inputs.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn group<F: RepackedFormat, B: RowRegister, const C: usize>(
    block: &[u8],
    (first, own): (usize, usize),
    place: usize,
    x: [&InputStep; C],
    factors: B::RowFactors,
    mut totals: [B::RowTotals; C],
) -> [B::RowTotals; C] {
    let mut pairs = [B::no_pairs(); C];
    for word in 0..WORDS {
        let codes: B = F::word(block, first, own, word);
        for c in 0..C {
            let inputs = x[c].codes[place].as_chunks::<WORD>().0[word];
            pairs[c] = codes.plus_products(F::IS_SIGNED, inputs, pairs[c]);
        }
        if (word + 1).is_multiple_of(F::WORDS_IN_16_BITS) {
            for c in 0..C {
                totals[c] = B::plus_scaled_pairs(totals[c], pairs[c], factors);
                pairs[c] = B::no_pairs();
            }
        }
    }
    totals
}

/// The sums of the codes of two neighbouring groups.
#[inline(always)]
fn code_sums(x: &InputStep, pair: usize) -> [i16; 2] {
    let sums = &x.code_sums;
    // Those of the first halves come first (`in_turns`).
    [sums[2 * pair] + sums[GROUP + 2 * pair], sums[2 * pair + 1] + sums[GROUP + 2 * pair + 1]]
}
