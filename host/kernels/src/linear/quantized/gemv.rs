//! GEMV: a row of weights and a few rows of `x` go through the registers together. Each block is unpacked once for all
//! of them.

#[cfg(target_arch = "x86_64")]
pub(super) mod repacked;

use super::bytes::{CodeBytes, GROUP};
use super::formats::{BlockSize, CodeFormat, Sink};
use super::inputs::{InputStep, QuantizedRow};
use crate::linear::prefetch;
use crate::linear::vector::Vector;

/// Rows of weights whose blocks are added together: a sum waits for the one before, and others are made meanwhile.
const ROWS: usize = 4;
/// Large blocks whose sums are made together, each with a second sum.
const LARGE: usize = GROUP / 2;

/// The products of rows of weights and all rows of `x`. `out` is `[rows, m]`.
#[inline(always)]
pub(super) fn run<F: CodeFormat, B: CodeBytes, V: Vector>(
    weights: &[u8],
    row_bytes: usize,
    x: &[QuantizedRow],
    out: &mut [f32],
) {
    let (eights, rest) = if B::WIDE { x.as_chunks::<8>() } else { (&[][..], x) };
    let (fours, rest) = rest.as_chunks::<4>();
    let (twos, ones) = rest.as_chunks::<2>();
    let mut parts = vec![[0.0; GROUP]; 8 * ROWS * x.first().map_or(0, Vec::len)];
    let m = x.len();
    let (from_fours, from_twos) = (8 * eights.len(), 8 * eights.len() + 4 * fours.len());
    for (weights, out) in weights.chunks(ROWS * row_bytes).zip(out.chunks_mut(ROWS * m)) {
        for (at, [a, b, c, d, e, f, g, h]) in eights.iter().enumerate() {
            let x: [&[InputStep]; 8] = [a, b, c, d, e, f, g, h];
            columns::<F, B, V, 8>(weights, row_bytes, x, &mut parts, &mut out[8 * at..], m);
        }
        for (at, x) in fours.iter().enumerate() {
            let [a, b, c, d] = x;
            columns::<F, B, V, 4>(weights, row_bytes, [a, b, c, d], &mut parts, &mut out[from_fours + 4 * at..], m);
        }
        for (at, [a, b]) in twos.iter().enumerate() {
            columns::<F, B, V, 2>(weights, row_bytes, [a, b], &mut parts, &mut out[from_twos + 2 * at..], m);
        }
        for x in ones {
            columns::<F, B, V, 1>(weights, row_bytes, [x], &mut parts, &mut out[m - 1..], m);
        }
    }
}

/// The products of at most `ROWS` rows and `C` rows of `x`, in every `m`th place of `out`. The sums are those of GEMM,
/// which adds one block after another, too.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn columns<F: CodeFormat, B: CodeBytes, V: Vector, const C: usize>(
    weights: &[u8],
    row_bytes: usize,
    x: [&[InputStep]; C],
    parts: &mut [[f32; GROUP]],
    out: &mut [f32],
    m: usize,
) {
    if F::SIZE == BlockSize::Large {
        for row in 0..weights.len() / row_bytes {
            let sums = large::<F, B, V, C>(&weights[row * row_bytes..(row + 1) * row_bytes], x);
            out[row * m..row * m + C].copy_from_slice(&sums);
        }
        return;
    }
    let steps = (row_bytes / F::BYTES).div_ceil(GROUP);
    let rows = weights.len() / row_bytes;
    for row in 0..rows {
        let weights = &weights[row * row_bytes..(row + 1) * row_bytes];
        small::<F, B, V, C>(weights, x, &mut parts[row * C * steps..(row + 1) * C * steps]);
    }
    for c in 0..C {
        let of = |row: usize, step: usize| &parts[(row * steps + step) * C + c];
        if rows == ROWS {
            let mut sums = [0.0; ROWS];
            for step in 0..steps {
                let mut parts = [of(0, step); ROWS];
                for row in 1..ROWS {
                    parts[row] = of(row, step);
                }
                for at in 0..GROUP {
                    for row in 0..ROWS {
                        sums[row] += parts[row][at];
                    }
                }
            }
            for row in 0..ROWS {
                out[row * m + c] = sums[row];
            }
        } else {
            for row in 0..rows {
                let mut sum = 0.0;
                for part in (0..steps).flat_map(|step| of(row, step)) {
                    sum += part;
                }
                out[row * m + c] = sum;
            }
        }
    }
}

/// Writes the products of the blocks of a row to `parts`, `[steps, C]`.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "several slices have the index")]
fn small<F: CodeFormat, B: CodeBytes, V: Vector, const C: usize>(
    weights: &[u8],
    x: [&[InputStep]; C],
    parts: &mut [[f32; GROUP]],
) {
    let blocks = weights.len() / F::BYTES;
    let whole = blocks / GROUP;
    let parts = &mut parts.as_chunks_mut::<C>().0[..blocks.div_ceil(GROUP)];
    for step in 0..whole {
        let weights = &weights[step * GROUP * F::BYTES..(step + 1) * GROUP * F::BYTES];
        small_step::<F, B, V, C>(weights, GROUP, steps_at(x, step), &mut parts[step]);
    }
    if whole < parts.len() {
        let weights = &weights[whole * GROUP * F::BYTES..];
        small_step::<F, B, V, C>(weights, blocks - whole * GROUP, steps_at(x, whole), &mut parts[whole]);
    }
}

/// Writes the products of at most `GROUP` blocks.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn small_step<F: CodeFormat, B: CodeBytes, V: Vector, const C: usize>(
    weights: &[u8],
    blocks: usize,
    x: [&InputStep; C],
    parts: &mut [[f32; GROUP]; C],
) {
    prefetch::ahead(weights, GROUP * F::BYTES);
    let mut sums = [[B::none(); GROUP]; C];
    let (mut scales, mut least) = ([0.0; GROUP], [0.0; GROUP]);
    for at in 0..blocks {
        let block = &weights[at * F::BYTES..(at + 1) * F::BYTES];
        scales[at] = F::scale::<B>(block);
        least[at] = F::least::<B>(block);
        let mut products = Products { is_signed: F::IS_SIGNED, inputs: x, place: at, sums: [B::none(); C] };
        F::unpack::<B>(block, &mut products);
        for c in 0..C {
            sums[c][at] = products.sums[c];
        }
    }
    for c in 0..C {
        let totals = B::totals(&sums[c]);
        for at in 0..GROUP {
            let total = totals[at] - F::OFFSET * x[c].totals[at];
            let part = total as f32 * x[c].scales[at];
            parts[c][at] = match F::HAS_MINIMA {
                true => V::fused(scales[at], part, least[at] * x[c].sums[at]),
                false => part * scales[at],
            };
        }
    }
}

/// The products of a row of large blocks.
#[inline(always)]
fn large<F: CodeFormat, B: CodeBytes, V: Vector, const C: usize>(weights: &[u8], x: [&[InputStep]; C]) -> [f32; C] {
    let mut out = [0.0; C];
    for (steps, weights) in weights.chunks(LARGE * F::BYTES).enumerate() {
        large_steps::<F, B, V, C>(weights, x, LARGE * steps, &mut out);
    }
    out
}

/// Adds the products of at most `LARGE` blocks, with the inputs from step `first`.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn large_steps<F: CodeFormat, B: CodeBytes, V: Vector, const C: usize>(
    weights: &[u8],
    x: [&[InputStep]; C],
    first: usize,
    out: &mut [f32; C],
) {
    let blocks = weights.len() / F::BYTES;
    // The sums of the codes, and those of the minima or of the offset.
    let mut sums = [[B::none(); GROUP]; C];
    let (mut scales, mut least) = ([0.0; LARGE], [0.0; LARGE]);
    for at in 0..blocks {
        let block = &weights[at * F::BYTES..(at + 1) * F::BYTES];
        prefetch::ahead(block, F::BYTES);
        (scales[at], least[at]) = (F::scale::<B>(block), F::least::<B>(block));
        let (factors, minima) = (F::factors::<B>(block), F::minima::<B>(block));
        let inputs = steps_at(x, first + at);
        let mut products = ScaledProducts { is_signed: F::IS_SIGNED, inputs, factors, sums: [[B::none(); 2]; C] };
        F::unpack::<B>(block, &mut products);
        for c in 0..C {
            sums[c][at] = B::joined(products.sums[c][0], products.sums[c][1]);
            if F::HAS_MINIMA {
                sums[c][LARGE + at] = B::factor_products(minima, &inputs[c].code_sums);
            } else if F::OFFSET != 0 {
                sums[c][LARGE + at] = B::factor_products(factors, &inputs[c].code_sums);
            }
        }
    }
    for c in 0..C {
        let totals = B::totals(&sums[c]);
        for at in 0..blocks {
            let input_scale = x[c][first + at].scales[0];
            // Without the offset the parts may be larger than 32 bits, and their difference is not.
            let total = match F::HAS_MINIMA {
                true => totals[at],
                false => totals[at].wrapping_sub(F::OFFSET.wrapping_mul(totals[LARGE + at])),
            };
            let part = total as f32 * input_scale;
            out[c] += match F::HAS_MINIMA {
                true => V::fused(scales[at], part, least[at] * (totals[LARGE + at] as f32 * input_scale)),
                false => part * scales[at],
            };
        }
    }
}

/// A step of each row. (A loop, and no `map`: a closure may stay a function of its own, which has no vector instructions.)
#[inline(always)]
fn steps_at<const C: usize>(x: [&[InputStep]; C], step: usize) -> [&InputStep; C] {
    let mut steps = [&x[0][step]; C];
    for c in 1..C {
        steps[c] = &x[c][step];
    }
    steps
}

/// Sums of the products of a small block and `C` rows of inputs.
struct Products<'a, B: CodeBytes, const C: usize> {
    is_signed: bool,
    inputs: [&'a InputStep; C],
    /// The place of the block in the inputs.
    place: usize,
    sums: [B::Sums; C],
}

impl<B: CodeBytes, const C: usize> Sink<B> for Products<'_, B, C> {
    #[inline(always)]
    fn take(&mut self, _group: usize, codes: B) {
        for c in 0..C {
            self.sums[c] = codes.products(self.is_signed, &self.inputs[c].codes[self.place]);
        }
    }
}

/// Sums of the scaled products of a large block and `C` rows of inputs, in two parts that are added in parallel.
struct ScaledProducts<'a, B: CodeBytes, const C: usize> {
    is_signed: bool,
    inputs: [&'a InputStep; C],
    factors: B::Factors,
    sums: [[B::Sums; 2]; C],
}

impl<B: CodeBytes, const C: usize> Sink<B> for ScaledProducts<'_, B, C> {
    #[inline(always)]
    fn take(&mut self, group: usize, codes: B) {
        for c in 0..C {
            let sums = &mut self.sums[c][group % 2];
            *sums = codes.plus_scaled(self.is_signed, &self.inputs[c].codes[group], self.factors, group, *sums);
        }
    }
}
