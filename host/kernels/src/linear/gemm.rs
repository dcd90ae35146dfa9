//! GEMM for many rows of `x`: a matrix product in blocks that stay in the caches, in the order of Goto and van de Geijn
//! (2008) and BLIS (Van Zee and van de Geijn 2015).
//!
//! Weights are stored row after row along the columns that are summed over, so weights are broadcast, and the lanes of
//! a register are rows of `x`. A part of a packed panel stays in the first-level cache while a block of weights in the
//! second-level cache streams past it, and a tile of sums stays in registers. Every sum adds its products one by one in
//! the order of the columns, whatever the blocks, so a row's result does not depend on the other rows.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::panels::{Panel, Panels};
use super::vector::{Bf16, F16, PanelValue, StoredValue, Vector, widen};
use crate::weights::StoredType;

/// Columns of F16 that are widened at a time. Few, since a block of rows in F32 must fit into a second-level cache.
const HALF_COLUMNS: usize = 512;

/// A matrix `[.., rows]` whose columns are written by several threads. It need not have values before.
#[derive(Debug)]
pub(crate) struct OutputColumns<'a> {
    start: *mut MaybeUninit<f32>,
    length: usize,
    rows: usize,
    borrowed: PhantomData<&'a mut [MaybeUninit<f32>]>,
}

// SAFETY: it is a mutable borrow of plain numbers, and each caller of `part` guarantees that its part is used by no
// other thread.
unsafe impl Send for OutputColumns<'_> {}
// SAFETY: as above.
unsafe impl Sync for OutputColumns<'_> {}

impl<'a> OutputColumns<'a> {
    pub(crate) fn new(out: &'a mut [MaybeUninit<f32>], rows: usize) -> Self {
        Self { start: out.as_mut_ptr(), length: out.len(), rows, borrowed: PhantomData }
    }

    /// `count` values of row `at` from `column`.
    ///
    /// # Safety
    /// No other live part has a value in common with this one.
    #[allow(clippy::mut_from_ref, reason = "parts are disjoint, which is the caller's promise")]
    // SAFETY: the promise makes two parts two separate borrows.
    pub(crate) unsafe fn part(&self, at: usize, column: usize, count: usize) -> &mut [MaybeUninit<f32>] {
        let from = at * self.rows + column;
        assert!(column + count <= self.rows && from + count <= self.length, "a part outside of the result");
        // SAFETY: the range is in the borrowed slice, and the caller guarantees that no other live part overlaps it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), count) }
    }
}

/// A row-major matrix of `count` values that `fill` writes, all of them. They are not zeroed before, which would be a pass over
/// memory by one thread.
///
/// # Safety
/// `fill` writes every value.
// SAFETY: the promise is the only requirement.
pub(crate) unsafe fn filled(count: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut out = Vec::with_capacity(count);
    fill(&mut out.spare_capacity_mut()[..count]);
    // SAFETY: the caller's promise, and the capacity is at least `count`.
    unsafe { out.set_len(count) };
    out
}

/// Writes the product of some rows of weights, each as long as a row of `x`, and all of `x` to the columns of `out`
/// from `column`. Threads that run this at the same time have different columns.
#[inline(always)]
pub(super) fn run<V: Vector>(dtype: StoredType, weights: &[u8], x: &Panels, out: &OutputColumns<'_>, column: usize) {
    let row_bytes = dtype.row_bytes(x.columns()).unwrap_or(1);
    let rows = weights.len() / row_bytes;
    let step = if dtype == StoredType::F16 { x.step().min(HALF_COLUMNS) } else { x.step() };
    let mut sums = vec![0.0; rows * x.width()];
    let mut widened = vec![0; if step < x.columns() { rows * step * size_of::<f32>() } else { 0 }];
    for from in (0..x.columns()).step_by(step) {
        let to = (from + step).min(x.columns());
        if dtype == StoredType::Bf16 && step >= x.columns() {
            panels::<V, 4>(weights, row_bytes, from * 2, x.part(from, to), &mut sums);
            continue;
        }
        if dtype == StoredType::F32 && step >= x.columns() {
            panels::<V, 8>(weights, row_bytes, from * 4, x.part(from, to), &mut sums);
            continue;
        }
        // There are many panels: weights are widened once for all of them. F32 is copied, since rows that are far apart
        // share the same few lines of a first-level cache.
        let row = (to - from) * size_of::<f32>();
        widened.resize(rows * row, 0);
        for (weights, out) in weights.chunks_exact(row_bytes).zip(widened.chunks_exact_mut(row)) {
            match dtype {
                StoredType::Bf16 => widen_row::<V, Bf16>(&weights[from * 2..to * 2], out),
                StoredType::F16 => widen_row::<V, F16>(&weights[from * 2..to * 2], out),
                // `StoredMatrix` has unpacked blocks.
                StoredType::F32 | StoredType::Blocks(_) | StoredType::Repacked(_) => {
                    out.copy_from_slice(&weights[from * 4..to * 4])
                }
            }
        }
        panels::<V, 8>(&widened, row, 0, x.part(from, to), &mut sums);
    }
    let mut rest = sums.as_slice();
    for panel in x.part(0, 0) {
        let (own, later) = rest.split_at(rows * panel.width);
        rest = later;
        for lane in 0..panel.rows {
            // SAFETY: only this thread writes these columns, and no other part of them is alive.
            let out = unsafe { out.part(panel.first + lane, column, rows) };
            out.iter_mut().zip(own[lane..].iter().step_by(panel.width)).for_each(|(out, sum)| _ = out.write(*sum));
        }
    }
}

/// Widens weights of two bytes to stored F32.
#[inline(always)]
fn widen_row<V: Vector, T: StoredValue>(weights: &[u8], out: &mut [u8]) {
    let whole = weights.len() - weights.len() % (2 * V::LANES);
    let (most, rest) = weights.split_at(whole);
    let (out, last) = out.split_at_mut(2 * whole);
    for (weights, out) in most.chunks_exact(2 * V::LANES).zip(out.chunks_exact_mut(4 * V::LANES)) {
        T::lanes::<V>(weights).put_stored(out);
    }
    for (weight, out) in rest.chunks_exact(2).zip(last.chunks_exact_mut(4)) {
        out.copy_from_slice(&T::one(weight).to_le_bytes());
    }
}

/// Adds the product of a block of weights, some columns of it from byte `from` of each row, and all panels to `sums`.
/// `sums` are `[rows, width]` for one panel after another.
#[inline(always)]
fn panels<'a, V: Vector, const PAIR: usize>(
    weights: &[u8],
    row_bytes: usize,
    from: usize,
    x: impl Iterator<Item = Panel<'a>>,
    sums: &mut [f32],
) {
    let rows = weights.len() / row_bytes;
    let mut rest = sums;
    for panel in x {
        let (own, later) = rest.split_at_mut(rows * panel.width);
        rest = later;
        match (panel.width == V::LANES, PAIR) {
            (true, _) => strips::<V, PAIR, 1, 6>(weights, row_bytes, from, panel.values, own),
            // Widening needs registers.
            (false, 4) => strips::<V, PAIR, 2, 4>(weights, row_bytes, from, panel.values, own),
            (false, _) => strips::<V, PAIR, 2, 6>(weights, row_bytes, from, panel.values, own),
        }
    }
}

/// Adds the product of a block of weights from byte `from` of each row, `R` rows at a time, and a panel as wide as `N`
/// vectors, `[columns, N * LANES]`, to `sums`, `[rows, N * LANES]`.
#[inline(always)]
pub(crate) fn strips<V: Vector, const PAIR: usize, const N: usize, const R: usize>(
    weights: &[u8],
    row_bytes: usize,
    from: usize,
    x: &[impl PanelValue],
    sums: &mut [f32],
) {
    let width = N * V::LANES;
    let to = from + x.len() / width * (PAIR / 2);
    let strips = weights.chunks_exact(R * row_bytes);
    let pairs = strips.remainder().chunks_exact(2 * row_bytes);
    let (most, last) = sums.split_at_mut(strips.len() * R * width);
    let (even, odd) = last.split_at_mut(pairs.len() * 2 * width);
    let single = pairs.remainder();
    for (weights, sums) in strips.zip(most.chunks_exact_mut(R * width)) {
        tile::<V, PAIR, N, R>(rows(weights, row_bytes, from..to), x, sums);
    }
    for (weights, sums) in pairs.zip(even.chunks_exact_mut(2 * width)) {
        tile::<V, PAIR, N, 2>(rows(weights, row_bytes, from..to), x, sums);
    }
    for (weights, sums) in single.chunks_exact(row_bytes).zip(odd.chunks_exact_mut(width)) {
        tile::<V, PAIR, N, 1>(rows(weights, row_bytes, from..to), x, sums);
    }
}

/// The same range of bytes of each of `R` rows.
#[inline(always)]
fn rows<const R: usize>(weights: &[u8], row_bytes: usize, bytes: Range<usize>) -> [&[u8]; R] {
    let mut rows: [&[u8]; R] = [&[]; R];
    for (row, weights) in rows.iter_mut().zip(weights.chunks_exact(row_bytes)) {
        *row = &weights[bytes.clone()];
    }
    rows
}

/// Numbers as stored weights.
pub(crate) fn stored(values: &[f32]) -> &[u8] {
    // SAFETY: it is the same memory, all of its bytes are initialised, and bytes have no alignment.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// Adds the product of `R` rows of weights and a panel as wide as `N` vectors to `sums`, `[R, width]`.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn tile<V: Vector, const PAIR: usize, const N: usize, const R: usize>(
    rows: [&[u8]; R],
    x: &[impl PanelValue],
    sums: &mut [f32],
) {
    let width = N * V::LANES;
    let count = x.len() / (2 * width);
    let sums = &mut sums[..R * width];
    let mut pairs: [&[[u8; PAIR]]; R] = [&[]; R];
    let mut tile = [[V::zero(); N]; R];
    for r in 0..R {
        pairs[r] = &rows[r].as_chunks().0[..count];
        for n in 0..N {
            tile[r][n] = V::inputs(&sums[r * width + n * V::LANES..]);
        }
    }
    let mut columns = x.chunks_exact(2 * width);
    for (at, x) in (0..count).zip(columns.by_ref()) {
        let mut inputs = [[V::zero(); N]; 2];
        for n in 0..N {
            inputs[0][n] = PanelValue::lanes(&x[n * V::LANES..]);
            inputs[1][n] = PanelValue::lanes(&x[width + n * V::LANES..]);
        }
        for r in 0..R {
            let [one, two] = V::pair(&pairs[r][at]);
            for n in 0..N {
                tile[r][n] = tile[r][n].plus_product(one, inputs[0][n]);
            }
            for n in 0..N {
                tile[r][n] = tile[r][n].plus_product(two, inputs[1][n]);
            }
        }
    }
    // The last column if their number is odd.
    for x in columns.remainder().chunks_exact(width) {
        for r in 0..R {
            let rest = rows[r].as_chunks::<PAIR>().1;
            let weight = V::splat(if PAIR == 4 { widen::<2>(rest) } else { widen::<4>(rest) });
            for n in 0..N {
                tile[r][n] = tile[r][n].plus_product(weight, PanelValue::lanes(&x[n * V::LANES..]));
            }
        }
    }
    for r in 0..R {
        for n in 0..N {
            tile[r][n].put(&mut sums[r * width + n * V::LANES..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_stored_weights_are_read_back() {
        let values = [1.5_f32, -0.0, f32::MIN_POSITIVE];
        let read: Vec<f32> = stored(&values).chunks_exact(4).map(widen::<4>).collect();
        assert_eq!(read.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), values.map(f32::to_bits));
        assert!(stored(&[]).is_empty());
    }

    #[test]
    #[should_panic(expected = "outside of the result")]
    fn a_part_outside_of_the_result_is_refused() {
        let mut out = [MaybeUninit::new(0.0); 6];
        let out = OutputColumns::new(&mut out, 3);
        // SAFETY: it is the only part.
        let _ = unsafe { out.part(1, 1, 3) };
    }
}
