//! Few rows of `x`: a row of weights and a row of `x` go through the registers together, lane by lane.
//!
//! Every weight is read once and multiplied once or twice, so this is as fast as memory delivers weights: BF16 is widened
//! in registers and costs half of what F32 costs. A sum is one of lanes.

use super::vector::{Vector, widen};
use crate::checkpoint::tensors::StoredType;

/// Rows of weights that go through the registers together.
const TOGETHER: usize = 4;

/// Rows of weights, each as long as a row of `x`, times all of `x`, into `out`, `[rows, m]`.
#[inline(always)]
pub(super) fn run<V: Vector>(dtype: StoredType, weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
    match dtype {
        StoredType::Bf16 => rows::<V, 2>(weights, x, out),
        // `StoredMatrix::new` left no half floats.
        StoredType::F32 | StoredType::F16 => rows::<V, 4>(weights, x, out),
    }
}

#[inline(always)]
fn rows<V: Vector, const SIZE: usize>(weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
    let row_bytes = x.first().map_or(0, |row| row.len()) * SIZE;
    for (weights, out) in weights.chunks(TOGETHER * row_bytes).zip(out.chunks_mut(TOGETHER * x.len())) {
        let (pairs, last) = x.as_chunks::<2>();
        for (index, pair) in pairs.iter().enumerate() {
            columns::<V, SIZE, 2>(weights, row_bytes, *pair, out, x.len(), 2 * index);
        }
        if let [one] = last {
            columns::<V, SIZE, 1>(weights, row_bytes, [one], out, x.len(), 2 * pairs.len());
        }
    }
}

/// At most `TOGETHER` rows of weights times `C` rows of `x`, into rows of `out`, each `m` long, from column `at`.
#[inline(always)]
fn columns<V: Vector, const SIZE: usize, const C: usize>(
    weights: &[u8],
    row_bytes: usize,
    x: [&[f32]; C],
    out: &mut [f32],
    m: usize,
    at: usize,
) {
    if let Some(rows) = four(weights, row_bytes) {
        return store(tile::<V, SIZE, TOGETHER, C>(rows, x), out, m, at);
    }
    for (weights, out) in weights.chunks_exact(row_bytes).zip(out.chunks_exact_mut(m)) {
        store(tile::<V, SIZE, 1, C>([weights], x), out, m, at);
    }
}

#[inline(always)]
fn four(weights: &[u8], row_bytes: usize) -> Option<[&[u8]; TOGETHER]> {
    let row = |index: usize| weights.get(index * row_bytes..(index + 1) * row_bytes);
    Some([row(0)?, row(1)?, row(2)?, row(3)?])
}

/// Puts a tile of sums into rows of `out`, each `m` long, from column `at`.
#[inline(always)]
fn store<const R: usize, const C: usize>(sums: [[f32; C]; R], out: &mut [f32], m: usize, at: usize) {
    for (sums, out) in sums.iter().zip(out.chunks_exact_mut(m)) {
        if let Some(out) = out.get_mut(at..at + C) {
            out.copy_from_slice(sums);
        }
    }
}

/// `R` rows of weights times `C` rows of `x`, in one pass over both.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn tile<V: Vector, const SIZE: usize, const R: usize, const C: usize>(
    weights: [&[u8]; R],
    x: [&[f32]; C],
) -> [[f32; C]; R] {
    let columns = x.iter().map(|row| row.len()).min().unwrap_or(0);
    let whole = columns - columns % V::LANES;
    let mut sums = [[V::zero(); C]; R];
    let mut at = 0;
    while at < whole {
        let mut inputs = [V::zero(); C];
        for c in 0..C {
            inputs[c] = V::inputs(&x[c][at..]);
        }
        for r in 0..R {
            let lanes = V::weights::<SIZE>(&weights[r][at * SIZE..]);
            for c in 0..C {
                sums[r][c] = sums[r][c].plus_product(lanes, inputs[c]);
            }
        }
        at += V::LANES;
    }
    let mut out = sums.map(|sums| sums.map(V::sum));
    for (row, out) in weights.iter().zip(&mut out) {
        for (x, out) in x.iter().zip(out) {
            for at in whole..columns {
                *out += widen::<SIZE>(&row[at * SIZE..]) * x[at];
            }
        }
    }
    out
}
