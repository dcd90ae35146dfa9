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
    let (eights, rest) = if B::WIDE { x.as_chunks::<8>() } else { (&[][..], x) };
    let (fours, rest) = rest.as_chunks::<4>();
    let (twos, ones) = rest.as_chunks::<2>();
    let m = x.len();
    let (from_fours, from_twos) = (8 * eights.len(), 8 * eights.len() + 4 * fours.len());
    let rows = weights.chunks_exact(REPACKED_ROWS * row_bytes).zip(out.chunks_exact_mut(REPACKED_ROWS * m));
    for (weights, out) in rows {
        for (at, x) in eights.iter().enumerate() {
            let [a, b, c, d, e, f, g, h] = x;
            columns::<F, B, 8>(weights, [a, b, c, d, e, f, g, h], &mut out[8 * at..], m);
        }
        for (at, x) in fours.iter().enumerate() {
            let [a, b, c, d] = x;
            columns::<F, B, 4>(weights, [a, b, c, d], &mut out[from_fours + 4 * at..], m);
        }
        for (at, [a, b]) in twos.iter().enumerate() {
            columns::<F, B, 2>(weights, [a, b], &mut out[from_twos + 2 * at..], m);
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
            let totals = group::<F, B, C>(block, (0, 0), at, x, None, [B::no_totals(); C]);
            let scale = B::Floats::halves(&block[..2 * REPACKED_ROWS]);
            for c in 0..C {
                let x = x[c];
                let offset = F::OFFSET + if F::IS_SIGNED { B::SIGNED_OFFSET } else { 0 };
                let total = if offset == 0 { totals[c] } else { B::minus(totals[c], offset * x.totals[at]) };
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

/// Large blocks, which have minima or an offset.
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
        let scale = B::Floats::halves(&block[..2 * REPACKED_ROWS]);
        // The sums of the minima or of the offset.
        let mut others = [B::no_totals(); C];
        let of_others = if F::HAS_MINIMA { minimum_factors::<F, B>(block) } else { factors };
        for pair in 0..GROUP / 2 * if F::HAS_FINE_FACTORS { 2 } else { 1 } {
            let factors = of_others[pair / 2].factor_pair(pair % 2);
            for c in 0..C {
                others[c] = B::plus_pair_products(others[c], factors, code_sums::<F>(x[c], pair));
            }
        }
        for c in 0..C {
            let input = B::Floats::splat(x[c].scales[0]);
            let part = match F::HAS_MINIMA {
                true => {
                    let minimum_scale = B::Floats::halves(&block[2 * REPACKED_ROWS..4 * REPACKED_ROWS]);
                    let least = minimum_scale.times(B::Floats::splat(-1.0)).times(B::floats(others[c]).times(input));
                    least.plus_product(scale, B::floats(totals[c]).times(input))
                }
                false => {
                    let total = B::minus_product(totals[c], others[c], F::OFFSET);
                    B::floats(total).times(input).times(scale)
                }
            };
            out[c] = out[c].plus(part);
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
    factors: &[B; 4],
    totals: [B::RowTotals; C],
) -> [B::RowTotals; C] {
    let number = first + own;
    prefetch::far_ahead(&block[number * F::BYTES..], F::BYTES);
    let [even, odd] = if F::HAS_FINE_FACTORS { [2 * number, 2 * number + 1] } else { [number; 2] };
    let factors = [factors[even / WORD].factor(even % WORD), factors[odd / WORD].factor(odd % WORD)];
    group::<F, B, C>(block, (first, own), number, x, Some(factors), totals)
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
    factors: Option<[B::RowFactors; 2]>,
    mut totals: [B::RowTotals; C],
) -> [B::RowTotals; C] {
    let mut pairs = [B::no_pairs(); C];
    for word in 0..WORDS {
        let codes: B = F::word(block, first, own, word);
        for c in 0..C {
            let inputs = x[c].codes[place].as_chunks::<WORD>().0[word];
            pairs[c] = codes.plus_products(F::IS_SIGNED, inputs, pairs[c]);
        }
        let words = match (B::WIDE, F::HAS_FINE_FACTORS) {
            (true, false) => WORDS,
            (true, true) => WORDS / 2,
            (false, _) => F::WORDS_IN_16_BITS,
        };
        if (word + 1).is_multiple_of(words) {
            for c in 0..C {
                totals[c] = match factors {
                    Some(factors) => B::plus_scaled_pairs(totals[c], pairs[c], factors[2 * word / WORDS]),
                    None => B::plus_unscaled(totals[c], pairs[c]),
                };
                pairs[c] = B::no_pairs();
            }
        }
    }
    totals
}

/// The minima of a large block as factors.
#[inline(always)]
fn minimum_factors<F: RepackedFormat, B: RowRegister>(block: &[u8]) -> [B; 4] {
    let [low, high] = F::minimum_words::<B>(block);
    [low, high, low, high]
}

/// The sums of the codes of pair `pair` of neighbouring factors.
#[inline(always)]
fn code_sums<F: RepackedFormat>(x: &InputStep, pair: usize) -> [i16; 2] {
    // Those of the first halves come first (`in_turns`).
    let (first, last) = x.code_sums.split_at(GROUP);
    match F::HAS_FINE_FACTORS {
        true => [first[pair], last[pair]],
        false => [first[2 * pair] + last[2 * pair], first[2 * pair + 1] + last[2 * pair + 1]],
    }
}
