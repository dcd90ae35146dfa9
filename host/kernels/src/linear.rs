//! `y = x Wᵀ` on the CPU, straight from the weights as the checkpoint stores them.
//!
//! ```text
//! gemv    few rows of x: a decode step reads each weight once, at the speed of memory
//! gemm    more rows: a batch of sequences, a prefill, a batch of texts; panels has its packed x
//! packed  the same of matrices that were copied into panels
//! vector  registers of f32      level  the instruction set of the machine
//! quantized  the same in integers, for weights in blocks
//! ```
//!
//! Results differ from a plain sum in rounding. They are the same in every run and with any number of threads.

pub(super) mod gemm;
mod gemv;
mod level;
mod packed;
mod panels;
mod prefetch;
mod quantized;
pub(super) mod vector;

#[cfg(test)]
pub(super) mod tests;

use std::mem::MaybeUninit;

use super::threads::{share, share_chunks, width};
use crate::elements::{Activation, finish, finish_rows};
use crate::weights::blocks::BlockType;
use crate::weights::repacked::{REPACKED_ROWS, can_repack};
use crate::weights::{StoredTensor, StoredType};
use gemm::{OutputColumns, filled};
#[cfg(test)]
pub(super) use level::levels;
pub(super) use level::{Level, level};
pub use packed::PackedMatrix;
use panels::Panels;
use quantized::{IntegerKernel, PackedInputs, QuantizedInputs, WeightRows};

/// Minimum bytes of weights of one GEMV task. Products of fewer than two run on the calling thread.
const TASK_BYTES: usize = 1 << 15;
/// Tasks per thread of a larger GEMV. Few, since each task is one stream of memory that the processor has to detect
/// first. More than one, since a thread may be delayed.
const TASKS_PER_THREAD: usize = 4;
/// Rows of `x` up to which GEMV is faster than GEMM.
const GEMV_ROWS_MAX: usize = 2;
/// Rows of `x` that are packed at a time. It bounds the memory of a product beyond its result.
const PACKED_ROWS: usize = 256;
/// As `PACKED_ROWS`, for a matrix whose weights are all in blocks.
const PACKED_INTEGER_ROWS: usize = 512;
/// Maximum rows of weights in a block: whole groups of repacked ones. Their part of a step fits into a second-level cache.
const BLOCK_ROWS: usize = 48;
/// Rows of quantized weights that are unpacked at a time for few rows of `x`: they stay in the first-level cache.
const UNPACKED_ROWS: usize = 2;
/// Multiply-adds up to which a product runs on the calling thread.
const SERIAL_PRODUCTS: usize = 1 << 16;

/// A matrix `[rows, columns]` as it is stored, possibly in several parts stacked along the rows.
#[derive(Debug, Clone)]
pub struct StoredMatrix {
    parts: Vec<StoredTensor>,
    rows: usize,
    columns: usize,
}

impl StoredMatrix {
    /// `parts` are matrices with the same number of columns.
    pub fn new(parts: Vec<StoredTensor>) -> Self {
        let rows = parts.iter().filter_map(|part| part.shape.first()).sum();
        let columns = parts.first().and_then(|part| part.shape.get(1)).copied().unwrap_or(0);
        Self { parts, rows, columns }
    }

    /// A packed copy, if the weights are F32. The memory of the stored ones goes back to the system.
    pub fn packed(&self) -> Option<PackedMatrix> {
        let packed = PackedMatrix::new(&self.parts)?;
        self.parts.iter().for_each(StoredTensor::release);
        Some(packed)
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes as stored.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes().len()).sum()
    }

    /// `x` is `[m, columns]`, row-major; the result is `[m, rows]`.
    ///
    /// # Panics
    /// When `x` has another size, as burn's products do.
    pub fn product(&self, x: &[f32], m: usize) -> Vec<f32> {
        self.finished_product(x, m, &[], Activation::Identity)
    }

    /// The function of each element of the product and `bias`, which has an element for each row of weights, or none.
    ///
    /// # Panics
    /// As [`Self::product`].
    pub fn finished_product(&self, x: &[f32], m: usize, bias: &[f32], activation: Activation) -> Vec<f32> {
        assert_eq!(x.len(), m * self.columns, "the input of a product is not {m} rows of {}", self.columns);
        let rows_max = if self.is_integer() { quantized::GEMV_ROWS_MAX } else { GEMV_ROWS_MAX };
        match m <= rows_max {
            true => {
                let mut y = self.gemv(level(), x, m);
                finish_rows(&mut y, self.rows, bias, activation);
                y
            }
            false => self.gemm(level(), x, m, (bias, activation)),
        }
    }

    /// The kernels of the parts that have one.
    fn kernels(&self) -> impl Iterator<Item = &'static IntegerKernel> {
        self.parts.iter().filter_map(|part| kernel_of(part.dtype))
    }

    /// Whether all parts have integer kernels.
    fn is_integer(&self) -> bool {
        self.kernels().count() == self.parts.len()
    }

    fn gemv(&self, level: Level, x: &[f32], m: usize) -> Vec<f32> {
        let inputs = QuantizedInputs::new(level.integers(), x, self.columns, self.kernels());
        let x: Vec<&[f32]> = x.chunks_exact(self.columns.max(1)).take(m).collect();
        let mut transposed = vec![0.0; m * self.rows];
        let mut tasks = gemv_tasks(&self.parts, m, &mut transposed);
        let run = |task: &mut GemvTask<'_>| gemv_task(level, task, &x, &inputs);
        match self.bytes() <= 2 * TASK_BYTES {
            true => tasks.iter_mut().for_each(run),
            false => share_chunks(&mut tasks, 1, |_, tasks| tasks.iter_mut().for_each(run)),
        }
        if m <= 1 {
            return transposed;
        }
        let mut out = vec![0.0; m * self.rows];
        for (row, sums) in transposed.chunks_exact(m).enumerate() {
            for (at, sum) in sums.iter().enumerate() {
                out[at * self.rows + row] = *sum;
            }
        }
        out
    }

    /// `finish` is a bias and the function of each result.
    fn gemm(&self, level: Level, x: &[f32], m: usize, finish: (&[f32], Activation)) -> Vec<f32> {
        let level = level.for_rows(m);
        if self.columns == 0 || self.rows == 0 {
            let mut y = vec![0.0; m * self.rows];
            finish_rows(&mut y, self.rows, finish.0, finish.1);
            return y;
        }
        // SAFETY: the blocks are all rows of weights, and the chunks all rows of `x`: each block writes its columns of each.
        unsafe { filled(m * self.rows, |out| self.gemm_to(level, x, m, finish, out)) }
    }

    /// Writes all of `out`, `[m, rows]`.
    fn gemm_to(
        &self,
        level: Level,
        x: &[f32],
        m: usize,
        (bias, activation): (&[f32], Activation),
        out: &mut [MaybeUninit<f32>],
    ) {
        let blocks = self.blocks();
        let packed = if self.is_integer() { PACKED_INTEGER_ROWS } else { PACKED_ROWS };
        for (x, out) in x.chunks(packed * self.columns).zip(out.chunks_mut(packed * self.rows)) {
            let x_rows = x.len() / self.columns;
            let parts = self.parts.iter().filter_map(|part| integer_rows(part.dtype, part.bytes(), part.row_bytes()));
            let inputs = QuantizedInputs::new(level.integers(), x, self.columns, self.kernels());
            let inputs = inputs.pack(level.integers(), parts);
            let x = if self.is_integer() { None } else { Some(Panels::new(x, self.columns, level.lanes())) };
            let out = OutputColumns::new(out, self.rows);
            let run = |block: &WeightBlock<'_>| {
                gemm_block(level, block, self.columns, (&inputs, x.as_ref()), &out);
                if !bias.is_empty() || activation != Activation::Identity {
                    finish_block(level, block, x_rows, (bias, activation), &out);
                }
            };
            match m * self.rows * self.columns <= SERIAL_PRODUCTS {
                true => blocks.iter().for_each(run),
                false => share(blocks.len(), |index| run(&blocks[index])),
            }
        }
    }

    /// All rows, in blocks of at most `BLOCK_ROWS`. Each is a task.
    fn blocks(&self) -> Vec<WeightBlock<'_>> {
        let (mut blocks, mut column) = (Vec::new(), 0);
        for part in &self.parts {
            let row_bytes = part.row_bytes();
            for weights in part.bytes().chunks(BLOCK_ROWS * row_bytes) {
                blocks.push(WeightBlock { dtype: part.dtype, weights, row_bytes, column });
                column += weights.len() / row_bytes;
            }
        }
        blocks
    }
}

/// Quantized weights as F32, in the form in which kernels read stored ones.
fn unpack<'a>(kind: &BlockType, weights: &[u8], values: &'a mut Vec<f32>) -> &'a [u8] {
    values.resize(weights.len() / kind.bytes * kind.weights, 0.0);
    (kind.unpack)(weights, values);
    gemm::stored(values)
}

/// Some rows of weights.
struct WeightBlock<'a> {
    dtype: StoredType,
    weights: &'a [u8],
    row_bytes: usize,
    /// The first of the rows, which is also their first column of the result.
    column: usize,
}

/// The integer kernel for weights of this type.
fn kernel_of(dtype: StoredType) -> Option<&'static IntegerKernel> {
    match dtype {
        StoredType::Blocks(kind) | StoredType::Repacked(kind) => IntegerKernel::find(kind.number),
        StoredType::F32 | StoredType::F16 | StoredType::Bf16 => None,
    }
}

/// Whether a matrix of so many rows is faster on this machine when it is repacked.
pub fn repacking_pays(dtype: StoredType, rows: usize) -> bool {
    let StoredType::Blocks(kind) = dtype else { return false };
    let level = level().integers();
    can_repack(kind, rows) && kernel_of(dtype).is_some_and(|kernel| level.prefers_repacked(kernel))
}

/// The rows as the integer kernels read them, if these know their type.
fn integer_rows(dtype: StoredType, bytes: &[u8], row_bytes: usize) -> Option<WeightRows<'_>> {
    let repacked = if let StoredType::Repacked(kind) = dtype { Some(kind) } else { None };
    kernel_of(dtype).map(|kernel| WeightRows { kernel, bytes, row_bytes, repacked })
}

/// GEMM of one block. `x` is packed in the forms that the matrix needs.
fn gemm_block(
    level: Level,
    block: &WeightBlock<'_>,
    columns: usize,
    (inputs, x): (&PackedInputs, Option<&Panels>),
    out: &OutputColumns<'_>,
) {
    match (block.dtype, integer_rows(block.dtype, block.weights, block.row_bytes), x) {
        (_, Some(weights), _) => inputs.gemm(level.integers(), weights, columns, out, block.column),
        (StoredType::Blocks(kind), None, Some(x)) => {
            let mut values = Vec::new();
            level.gemm(StoredType::F32, unpack(kind, block.weights, &mut values), x, out, block.column);
        }
        (dtype, None, Some(x)) => level.gemm(dtype, block.weights, x, out, block.column),
        (_, None, None) => unreachable!("a matrix with a part that is not integer has panels"),
    }
}

/// Adds the bias to the results of a block and applies the function, while they are in the caches.
fn finish_block(
    level: Level,
    block: &WeightBlock<'_>,
    x_rows: usize,
    (bias, activation): (&[f32], Activation),
    out: &OutputColumns<'_>,
) {
    let rows = block.weights.len() / block.row_bytes;
    let bias = bias.get(block.column..block.column + rows).unwrap_or_default();
    for at in 0..x_rows {
        // SAFETY: the product of this block has written these columns, and only this thread uses them.
        let row = unsafe { out.part(at, block.column, rows).assume_init_mut() };
        finish(level, row, rows, bias, activation);
    }
}

/// Some rows of a part, and their products: `[rows, m]`.
struct GemvTask<'a> {
    dtype: StoredType,
    weights: &'a [u8],
    row_bytes: usize,
    out: &'a mut [f32],
}

/// The tasks of all parts, which are as large as they can be for all threads. `out` is `[rows, m]`.
fn gemv_tasks<'a>(parts: &'a [StoredTensor], m: usize, mut out: &'a mut [f32]) -> Vec<GemvTask<'a>> {
    let all: usize = parts.iter().map(|part| part.bytes().len()).sum();
    let task_bytes = (all / (TASKS_PER_THREAD * width())).max(TASK_BYTES);
    let mut tasks = Vec::new();
    for part in parts {
        let (dtype, row_bytes) = (part.dtype, part.row_bytes());
        if row_bytes == 0 || m == 0 {
            continue;
        }
        // Repacked rows are in whole groups.
        let rows = (task_bytes / row_bytes).next_multiple_of(REPACKED_ROWS).max(REPACKED_ROWS);
        for weights in part.bytes().chunks(rows * row_bytes) {
            let (own, later) = out.split_at_mut(weights.len() / row_bytes * m);
            out = later;
            tasks.push(GemvTask { dtype, weights, row_bytes, out: own });
        }
    }
    tasks
}

fn gemv_task(level: Level, task: &mut GemvTask<'_>, x: &[&[f32]], inputs: &QuantizedInputs) {
    let GemvTask { dtype, weights, row_bytes, out } = task;
    let (row_bytes, m) = (*row_bytes, x.len());
    match (*dtype, integer_rows(*dtype, weights, row_bytes)) {
        (_, Some(weights)) => inputs.gemv(level.integers(), weights, out),
        (StoredType::Blocks(kind), None) => {
            let mut values = Vec::new();
            for (weights, out) in weights.chunks(UNPACKED_ROWS * row_bytes).zip(out.chunks_mut(UNPACKED_ROWS * m)) {
                level.gemv(StoredType::F32, unpack(kind, weights, &mut values), x, out);
            }
        }
        (dtype, None) => level.gemv(dtype, weights, x, out),
    }
}
