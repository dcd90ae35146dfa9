//! F32 matrices packed once for all products, for models whose products have from a few rows to a few hundred.
//!
//! GEMM straight from stored weights (`super::gemm`) has rows of `x` in the lanes of a register, so 20 rows fill 32 lanes,
//! and it packs `x` and turns the result around for each product. Here the lanes are rows of weights: `x` is read and the
//! result is written as they are, and a tile has as many rows as there are. Every sum adds its products one by one in the
//! order of the columns, as there, so both give the same bits.

use std::mem::MaybeUninit;

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::gemm::{OutputColumns, filled};
use super::panels;
use super::vector::Vector;
use super::{Level, SERIAL_PRODUCTS, level};
use crate::elements::{Activation, finish, finish_rows};
use crate::threads::{share, width};
use crate::weights::{StoredTensor, StoredType};

/// Maximum rows of `x` in a tile. With the registers of a panel that is as many sums as a processor has room for.
const TILE_ROWS: usize = 6;
/// Columns of a panel in one pass over the rows of a task: 32 KiB of the widest panel.
const STEP_COLUMNS: usize = 128;
/// Rows of `x` in a task: a step of them stays in a second-level cache, and tasks are many enough for all threads.
const TASK_ROWS: usize = 96;
/// Tasks per thread below which tasks have fewer rows, but at least `TASK_ROWS_MIN`.
const TASKS_PER_THREAD: usize = 4;
const TASK_ROWS_MIN: usize = 4 * TILE_ROWS;
const LINE_FLOATS: usize = 16;

/// A matrix `[rows, columns]`: panels of as many rows as several registers have lanes, column after column.
#[derive(Debug)]
pub struct PackedMatrix {
    values: Vec<f32>,
    /// Values before the first cache line.
    skipped: usize,
    rows: usize,
    columns: usize,
    level: Level,
}

impl PackedMatrix {
    /// A copy of matrices of F32 with the same number of columns, stacked along the rows. `None` if they have another type.
    pub fn new(parts: &[StoredTensor]) -> Option<Self> {
        Self::for_level(level(), parts)
    }

    fn for_level(level: Level, parts: &[StoredTensor]) -> Option<Self> {
        if parts.iter().any(|part| part.dtype != StoredType::F32 || part.shape.len() != 2) {
            return None;
        }
        let columns = parts.first().map_or(0, |part| part.shape[1]);
        let of_row: Vec<(&StoredTensor, usize)> =
            parts.iter().flat_map(|part| (0..part.shape[0]).map(move |row| (part, row))).collect();
        let (rows, panel) = (of_row.len(), level.packed_rows());
        let mut values = vec![0.0; rows.next_multiple_of(panel) * columns + LINE_FLOATS];
        let skipped = values.as_ptr().align_offset(LINE_FLOATS * size_of::<f32>()).min(LINE_FLOATS);
        let packed = &mut values[skipped..skipped + rows.next_multiple_of(panel) * columns];
        packed.par_chunks_mut((panel * columns).max(1)).zip(of_row.par_chunks(panel)).for_each(|(out, of_row)| {
            let mut rows = Vec::with_capacity(panel * columns);
            of_row.iter().for_each(|(part, row)| _ = part.append_row(*row, &mut rows));
            panels::pack(&rows, columns, out);
        });
        Some(Self { values, skipped, rows, columns, level })
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of the copy.
    pub fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }

    /// As [`StoredMatrix::finished_product`](super::StoredMatrix::finished_product).
    ///
    /// # Panics
    /// When `x` has another size than `m` rows.
    pub fn finished_product(&self, x: &[f32], m: usize, bias: &[f32], activation: Activation) -> Vec<f32> {
        assert_eq!(x.len(), m * self.columns, "the input of a product is not {m} rows of {}", self.columns);
        if self.columns == 0 || x.is_empty() {
            let mut y = vec![0.0; m * self.rows];
            finish_rows(&mut y, self.rows, bias, activation);
            return y;
        }
        // SAFETY: the tasks are all panels of weights times all rows of `x`, and each writes its part of the result.
        unsafe { filled(m * self.rows, |out| self.product_to(x, m, (bias, activation), out)) }
    }

    /// Writes all of `out`, `[m, rows]`.
    fn product_to(&self, x: &[f32], m: usize, finish: (&[f32], Activation), out: &mut [MaybeUninit<f32>]) {
        let panel = self.level.packed_rows();
        let panels = self.rows.div_ceil(panel);
        let group = task_rows(m, panels);
        let groups = m.div_ceil(group);
        let out = OutputColumns::new(out, self.rows);
        let run = |index: usize| {
            let (first, column) = (index % groups * group, index / groups * panel);
            let start = self.skipped + column * self.columns;
            let end = m.min(first + group);
            let task = PackedTask {
                weights: &self.values[start..start + panel * self.columns],
                x: &x[first * self.columns..end * self.columns],
                columns: self.columns,
                first,
                column,
                outputs: panel.min(self.rows - column),
            };
            self.level.packed(&task, finish, &out);
        };
        match m * self.rows * self.columns <= SERIAL_PRODUCTS {
            true => (0..panels * groups).for_each(run),
            false => share(panels * groups, run),
        }
    }
}

/// Rows of `x` of each task, if a row of tasks has this many panels.
fn task_rows(m: usize, panels: usize) -> usize {
    let enough = (TASKS_PER_THREAD * width()).div_ceil(panels);
    let most = m.div_ceil(enough).clamp(TASK_ROWS_MIN, TASK_ROWS);
    // As even as possible, in whole tiles.
    m.div_ceil(m.div_ceil(most)).next_multiple_of(TILE_ROWS)
}

/// The product of a panel and some rows of `x`.
pub(super) struct PackedTask<'a> {
    /// `[columns, width of a panel]`
    weights: &'a [f32],
    /// `[rows, columns]`
    x: &'a [f32],
    columns: usize,
    /// The first row and column in the result.
    first: usize,
    column: usize,
    /// The rows of weights in the panel, which are columns of the result. The others are zero.
    outputs: usize,
}

/// Writes a task's part of the result. A panel is as wide as `N` vectors.
#[inline(always)]
pub(super) fn run<V: Vector, const N: usize>(
    level: Level,
    task: &PackedTask<'_>,
    (bias, activation): (&[f32], Activation),
    out: &OutputColumns<'_>,
) {
    let (width, columns) = (N * V::LANES, task.columns);
    let mut sums = vec![0.0; task.x.len() / columns * width];
    for from in (0..columns).step_by(STEP_COLUMNS) {
        let to = columns.min(from + STEP_COLUMNS);
        rows::<V, N>(&task.weights[from * width..to * width], task.x, columns, from, &mut sums);
    }
    let bias = bias.get(task.column..task.column + task.outputs).unwrap_or_default();
    if !bias.is_empty() || activation != Activation::Identity {
        finish(level, &mut sums, width, bias, activation);
    }
    for (at, sums) in sums.chunks_exact(width).enumerate() {
        // SAFETY: only this task writes these rows and columns, and no other part of them is alive.
        let out = unsafe { out.part(task.first + at, task.column, task.outputs) };
        out.write_copy_of_slice(&sums[..task.outputs]);
    }
}

/// Adds the products of some columns of a panel and those columns of all rows of `x`, from `from` on, to `sums`.
#[inline(always)]
fn rows<V: Vector, const N: usize>(weights: &[f32], x: &[f32], columns: usize, from: usize, sums: &mut [f32]) {
    let width = N * V::LANES;
    let (mut x, mut sums) = (x, sums);
    // Tiles are as even as possible: one of 6 rows and one of 1 would take longer than one of 4 and one of 3.
    for tiles in (1..=(x.len() / columns).div_ceil(TILE_ROWS)).rev() {
        let count = (x.len() / columns).div_ceil(tiles);
        let (own, later) = x.split_at(count * columns);
        let (own_sums, later_sums) = sums.split_at_mut(count * width);
        (x, sums) = (later, later_sums);
        match count {
            1 => tile::<V, N, 1>(weights, own, columns, from, own_sums),
            2 => tile::<V, N, 2>(weights, own, columns, from, own_sums),
            3 => tile::<V, N, 3>(weights, own, columns, from, own_sums),
            4 => tile::<V, N, 4>(weights, own, columns, from, own_sums),
            5 => tile::<V, N, 5>(weights, own, columns, from, own_sums),
            _ => tile::<V, N, TILE_ROWS>(weights, own, columns, from, own_sums),
        }
    }
}

/// The same of `R` rows of `x`, whose sums stay in registers.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn tile<V: Vector, const N: usize, const R: usize>(
    weights: &[f32],
    x: &[f32],
    columns: usize,
    from: usize,
    sums: &mut [f32],
) {
    let width = N * V::LANES;
    let count = weights.len() / width;
    let sums = &mut sums[..R * width];
    let mut inputs: [&[f32]; R] = [&[]; R];
    let mut tile = [[V::zero(); N]; R];
    for r in 0..R {
        inputs[r] = &x[r * columns + from..][..count];
        for n in 0..N {
            tile[r][n] = V::inputs(&sums[r * width + n * V::LANES..]);
        }
    }
    for (at, weights) in (0..count).zip(weights.chunks_exact(width)) {
        let mut lanes = [V::zero(); N];
        for n in 0..N {
            lanes[n] = V::inputs(&weights[n * V::LANES..]);
        }
        for r in 0..R {
            let input = V::splat(inputs[r][at]);
            for n in 0..N {
                tile[r][n] = tile[r][n].plus_product(lanes[n], input);
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
    use crate::linear::{StoredMatrix, levels};
    use crate::test_cases::{stored, values};
    use crate::threads::join_pool;

    /// A matrix of two parts of different height, of values whose sums are rounded.
    fn parts(rows: usize, columns: usize) -> Vec<StoredTensor> {
        let weights: Vec<f32> = values(rows * columns, 17).iter().map(|value| value * 0.3).collect();
        let (one, two) = weights.split_at(rows / 3 * columns);
        let parts = [one, two].into_iter().filter(|part| !part.is_empty());
        parts.map(|part| stored(part, StoredType::F32, [part.len() / columns, columns])).collect()
    }

    #[test]
    fn packed_products_have_the_bits_of_stored_ones_at_every_level_and_size() {
        join_pool(3);
        for (rows, columns) in [(1, 1), (3, 16), (64, 160), (131, 48), (65, 1_030), (13, 301)] {
            let parts = parts(rows, columns);
            let matrix = StoredMatrix::new(parts.clone());
            let bias = values(rows, 7);
            for m in [1, 2, 3, 4, 5, 6, 7, 13, 29, 97, 200] {
                let x: Vec<f32> = values(m * columns, 29).iter().map(|value| value * 0.7).collect();
                for level in levels() {
                    let packed = PackedMatrix::for_level(level, &parts).expect("of F32");
                    for finish in [(&[][..], Activation::Identity), (&bias[..], Activation::Gelu)] {
                        let got = packed.finished_product(&x, m, finish.0, finish.1);
                        assert!(got == matrix.gemm(level, &x, m, finish), "{level:?} {rows}x{columns} m={m}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_other_rows() {
        let (rows, columns, many) = (70, 259, 40);
        let packed = PackedMatrix::new(&parts(rows, columns)).expect("of F32");
        let x: Vec<f32> = values(many * columns, 29).iter().map(|value| value * 0.7).collect();
        let all = packed.finished_product(&x, many, &[], Activation::Identity);
        for (first, m) in [(0, 1), (3, 2), (7, 6), (11, 23), (0, 39)] {
            let some =
                packed.finished_product(&x[first * columns..(first + m) * columns], m, &[], Activation::Identity);
            assert!(some == all[first * rows..(first + m) * rows], "{m} rows from {first}");
        }
    }

    #[test]
    fn only_matrices_of_f32_are_packed_and_empty_ones_have_empty_products() {
        for dtype in [StoredType::F16, StoredType::Bf16] {
            assert!(PackedMatrix::new(&[stored(&values(12, 5), dtype, [3, 4])]).is_none());
        }
        let none = PackedMatrix::new(&[]).expect("nothing");
        assert!(none.finished_product(&[], 0, &[], Activation::Gelu).is_empty());
        let packed = PackedMatrix::new(&parts(3, 4)).expect("of F32");
        assert_eq!((packed.rows(), packed.columns()), (3, 4));
        assert!(packed.finished_product(&[], 0, &values(3, 7), Activation::Gelu).is_empty());
    }
}
