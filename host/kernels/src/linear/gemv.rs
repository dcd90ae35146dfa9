//! GEMV for few rows of `x`: a row of weights and a row of `x` go through the registers together, lane by lane.
//!
//! Every weight is read once and multiplied once or twice, so the speed is the bandwidth of memory: BF16 and F16
//! are widened in registers and cost half as much as F32. Each sum is a sum of lanes. Rows of weights are read one after another,
//! which is one stream of memory. Four rows at a time were half as fast on machines with fast memory, since the
//! processor prefetches along a stream and each row is a short one.

use super::prefetch;
use super::vector::{Bf16, F16, F32, StoredValue, Vector};
use crate::weights::StoredType;

/// Partial sums of one row that are added in parallel, so that no addition waits for the one before.
const CHAINS: usize = 4;

/// The products of rows of weights, each as long as a row of `x`, and all of `x`. `out` is `[rows, m]`.
#[inline(always)]
pub(super) fn run<V: Vector>(dtype: StoredType, weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
    match dtype {
        StoredType::Bf16 => rows::<V, Bf16>(weights, x, out),
        StoredType::F16 => rows::<V, F16>(weights, x, out),
        // `StoredMatrix` has unpacked blocks.
        StoredType::F32 | StoredType::Blocks(_) | StoredType::Repacked(_) => rows::<V, F32>(weights, x, out),
    }
}

#[inline(always)]
fn rows<V: Vector, T: StoredValue>(weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
    let row_bytes = x.first().map_or(0, |row| row.len()) * T::BYTES;
    let (pairs, last) = x.as_chunks::<2>();
    for (weights, out) in weights.chunks_exact(row_bytes).zip(out.chunks_exact_mut(x.len())) {
        for (pair, out) in pairs.iter().zip(out.as_chunks_mut::<2>().0) {
            *out = row::<V, T, 2>(weights, *pair);
        }
        if let ([one], Some(out)) = (last, out.last_mut()) {
            [*out] = row::<V, T, 1>(weights, [one]);
        }
    }
}

/// The products of one row of weights and `C` rows of `x`, in one pass.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn row<V: Vector, T: StoredValue, const C: usize>(weights: &[u8], x: [&[f32]; C]) -> [f32; C] {
    let columns = x.iter().map(|row| row.len()).min().unwrap_or(0);
    let mut sums = [[V::zero(); C]; CHAINS];
    let mut at = 0;
    for weights in weights.chunks_exact(CHAINS * V::LANES * T::BYTES) {
        prefetch::ahead(weights, CHAINS * V::LANES * T::BYTES);
        for chain in 0..CHAINS {
            let lanes = T::lanes::<V>(&weights[chain * V::LANES * T::BYTES..]);
            for c in 0..C {
                let inputs = V::inputs(&x[c][at + chain * V::LANES..]);
                sums[chain][c] = sums[chain][c].plus_product(lanes, inputs);
            }
        }
        at += CHAINS * V::LANES;
    }
    while at + V::LANES <= columns {
        let lanes = T::lanes::<V>(&weights[at * T::BYTES..]);
        for c in 0..C {
            sums[0][c] = sums[0][c].plus_product(lanes, V::inputs(&x[c][at..]));
        }
        at += V::LANES;
    }
    let mut out = [0.0; C];
    for c in 0..C {
        let mut sum = sums[0][c];
        for chain in 1..CHAINS {
            sum = sum.plus_product(sums[chain][c], V::splat(1.0));
        }
        out[c] = sum.sum();
        for column in at..columns {
            out[c] += T::one(&weights[column * T::BYTES..]) * x[c][column];
        }
    }
    out
}
