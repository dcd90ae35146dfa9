//! GEMV: a row of weights and a few rows of `x` go through the registers together. Each block is unpacked once for all
//! of them.

use super::formats::{BlockSize, CodeFormat, Sink};
use super::inputs::{InputStep, QuantizedRow, STEP};
use super::shorts::{GROUP, Shorts};
use crate::kernel::cpu::linear::prefetch;
use crate::kernel::cpu::linear::vector::Vector;

const _: () = assert!(STEP == GROUP * BlockSize::Small.weights());

/// Rows of weights whose blocks are added together: a sum waits for the one before, and others are made meanwhile.
const ROWS: usize = 4;

/// The products of rows of weights and all rows of `x`. `out` is `[rows, m]`.
#[inline(always)]
pub(super) fn run<F: CodeFormat, S: Shorts, V: Vector>(
    weights: &[u8],
    row_bytes: usize,
    x: &[QuantizedRow],
    out: &mut [f32],
) {
    let (twos, ones) = x.as_chunks::<2>();
    let mut parts = vec![[0.0; GROUP]; 2 * ROWS * x.first().map_or(0, Vec::len)];
    let m = x.len();
    for (weights, out) in weights.chunks(ROWS * row_bytes).zip(out.chunks_mut(ROWS * m)) {
        for (at, [a, b]) in twos.iter().enumerate() {
            columns::<F, S, V, 2>(weights, row_bytes, [a, b], &mut parts, &mut out[2 * at..], m);
        }
        for x in ones {
            columns::<F, S, V, 1>(weights, row_bytes, [x], &mut parts, &mut out[m - 1..], m);
        }
    }
}

/// The products of at most `ROWS` rows and `C` rows of `x`, in every `m`th place of `out`. The sums are those of GEMM,
/// which adds one block after another, too.
#[inline(always)]
fn columns<F: CodeFormat, S: Shorts, V: Vector, const C: usize>(
    weights: &[u8],
    row_bytes: usize,
    x: [&[InputStep]; C],
    parts: &mut [[f32; GROUP]],
    out: &mut [f32],
    m: usize,
) {
    if F::SIZE == BlockSize::Large {
        for (weights, out) in weights.chunks_exact(row_bytes).zip(out.chunks_mut(m)) {
            out[..C].copy_from_slice(&large::<F, S, V, C>(weights, x));
        }
        return;
    }
    let steps = (row_bytes / F::BYTES).div_ceil(GROUP);
    for (weights, parts) in weights.chunks_exact(row_bytes).zip(parts.chunks_exact_mut(C * steps)) {
        small::<F, S, V, C>(weights, x, parts);
    }
    let rows = weights.len() / row_bytes;
    for c in 0..C {
        let of = |row: usize, step: usize| &parts[(row * steps + step) * C + c];
        if rows == ROWS {
            let mut sums = [0.0; ROWS];
            for step in 0..steps {
                let parts: [_; ROWS] = std::array::from_fn(|row| of(row, step));
                #[allow(clippy::needless_range_loop, reason = "two indices, of rows and of places")]
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
                let parts = (0..steps).flat_map(|step| of(row, step));
                out[row * m + c] = parts.fold(0.0, |sum, part| sum + part);
            }
        }
    }
}

/// Writes the products of the blocks of a row to `parts`, `[steps, C]`.
#[inline(always)]
fn small<F: CodeFormat, S: Shorts, V: Vector, const C: usize>(
    weights: &[u8],
    x: [&[InputStep]; C],
    parts: &mut [[f32; GROUP]],
) {
    let steps = weights.chunks_exact(GROUP * F::BYTES);
    let (rest, whole) = (steps.remainder(), steps.len());
    let (first, last) = parts.split_at_mut(C * whole);
    for ((step, weights), parts) in steps.enumerate().zip(first.as_chunks_mut::<C>().0) {
        small_step::<F, S, V, C>(weights, GROUP, x.map(|x| &x[step]), parts);
    }
    if let (false, Some(parts)) = (rest.is_empty(), last.first_chunk_mut::<C>()) {
        small_step::<F, S, V, C>(rest, rest.len() / F::BYTES, x.map(|x| &x[whole]), parts);
    }
}

/// Writes the products of at most `GROUP` blocks.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn small_step<F: CodeFormat, S: Shorts, V: Vector, const C: usize>(
    weights: &[u8],
    blocks: usize,
    x: [&InputStep; C],
    parts: &mut [[f32; GROUP]; C],
) {
    prefetch::ahead(weights, GROUP * F::BYTES);
    let mut sums = [[S::none(); GROUP]; C];
    let (mut scales, mut least) = ([0.0; GROUP], [0.0; GROUP]);
    for at in 0..blocks {
        let block = &weights[at * F::BYTES..(at + 1) * F::BYTES];
        scales[at] = F::scale::<S>(block);
        least[at] = F::least::<S>(block);
        let mut products = Products { inputs: x, first: 2 * at, sums: [[S::none(); 1]; C] };
        F::unpack::<S>(block, &mut products);
        for c in 0..C {
            sums[c][at] = products.sums[c][0];
        }
    }
    for c in 0..C {
        let totals = S::totals(&sums[c]);
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

#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn large<F: CodeFormat, S: Shorts, V: Vector, const C: usize>(weights: &[u8], x: [&[InputStep]; C]) -> [f32; C] {
    let mut out = [0.0; C];
    for (step, block) in weights.chunks_exact(F::BYTES).enumerate() {
        prefetch::ahead(block, F::BYTES);
        let inputs = x.map(|x| &x[step]);
        let mut products = Products { inputs, first: 0, sums: [[S::none(); 2]; C] };
        F::unpack::<S>(block, &mut products);
        let (scale, least, minima) = (F::scale::<S>(block), F::least::<S>(block), F::minima::<S>(block));
        for c in 0..C {
            let input_scale = inputs[c].scales[0];
            let [even, odd] = products.sums[c];
            let part = S::total(S::joined(even, odd)) as f32 * input_scale;
            out[c] += match F::HAS_MINIMA {
                true => {
                    let minima = S::total(minima.plus_products(&inputs[c].code_sums, S::none()));
                    V::fused(scale, part, least * (minima as f32 * input_scale))
                }
                false => part * scale,
            };
        }
    }
    out
}

/// Sums of the products of codes and `C` rows of inputs, in `CHAINS` parts that are added in parallel.
struct Products<'a, S: Shorts, const C: usize, const CHAINS: usize> {
    inputs: [&'a InputStep; C],
    /// The place of the first codes in the inputs.
    first: usize,
    sums: [[S::Sums; CHAINS]; C],
}

impl<S: Shorts, const C: usize, const CHAINS: usize> Sink<S> for Products<'_, S, C, CHAINS> {
    #[inline(always)]
    fn take(&mut self, part: usize, codes: S) {
        for c in 0..C {
            let sums = &mut self.sums[c][part % CHAINS];
            *sums = codes.plus_products(&self.inputs[c].codes[self.first + part], *sums);
        }
    }
}
