//! Stored tensors: their bytes in a file's memory, their type and their shape.

use std::ops::Range;

use half::{bf16, f16};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use crate::weights::blob::Blob;
use crate::weights::blocks::BlockType;
use crate::weights::repacked::{self, REPACKED_ROWS};

/// A type of weights that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
    /// Quantized in blocks, as GGUF stores them.
    Blocks(&'static BlockType),
    /// The same repacked: matrices of a whole number of [`REPACKED_ROWS`] only, which [`repacked::can_repack`].
    Repacked(&'static BlockType),
}

impl StoredType {
    /// The name of the type, as files and messages have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Blocks(kind) | Self::Repacked(kind) => kind.name,
        }
    }

    /// Weights and bytes of the smallest part that can be read by itself.
    pub fn unit(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Blocks(kind) | Self::Repacked(kind) => (kind.weights, kind.bytes),
        }
    }

    /// Bytes of a row of so many weights, at most `usize::MAX`. `None` where they are no whole number of blocks.
    pub fn row_bytes(self, weights: usize) -> Option<usize> {
        let (unit, bytes) = self.unit();
        if weights.is_multiple_of(unit) { Some((weights / unit).saturating_mul(bytes)) } else { None }
    }
}

/// One tensor's bytes, row-major, checked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    blob: Blob,
    range: Range<usize>,
    /// The type of its elements.
    pub dtype: StoredType,
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
}

impl StoredTensor {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // Whoever makes a tensor has checked its range.
        self.blob.bytes().get(self.range.clone()).unwrap_or_default()
    }

    /// Gives the memory of its bytes back to the system until they are read again.
    pub(crate) fn release(&self) {
        self.blob.release(self.range.clone());
    }

    /// A tensor whose bytes are a range of `blob`. The range must match type and shape.
    pub fn new(blob: Blob, range: Range<usize>, dtype: StoredType, shape: Vec<usize>) -> Self {
        Self { blob, range, dtype, shape }
    }

    /// A tensor in its own memory. `bytes` must match type and shape.
    pub fn owned(bytes: Vec<u8>, dtype: StoredType, shape: Vec<usize>) -> Self {
        Self { range: 0..bytes.len(), blob: Blob::Owned(bytes.into()), dtype, shape }
    }

    /// This tensor in F32: a copy if it has another type.
    pub fn widened(&self) -> Self {
        if self.dtype == StoredType::F32 {
            return self.clone();
        }
        let mut values = Vec::with_capacity(self.elements());
        self.append_to(&mut values);
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::owned(bytes, StoredType::F32, self.shape.clone())
    }

    /// The same with the rows of each head ordered as halves: from `[heads, half, 2]` to `[heads, 2, half]`. `None` where the
    /// rows are not so many, or repacked.
    pub fn halves_apart(&self, heads: usize) -> Option<Self> {
        let rows = *self.shape.first()?;
        let half = rows.checked_div(heads)? / 2;
        if half == 0 || heads * half * 2 != rows || matches!(self.dtype, StoredType::Repacked(_)) {
            return None;
        }
        let row = self.bytes().len() / rows;
        let mut bytes = Vec::with_capacity(self.bytes().len());
        for head in self.bytes().chunks_exact(2 * half * row) {
            for first in 0..2 {
                for pair in head.chunks_exact(2 * row) {
                    bytes.extend_from_slice(&pair[first * row..(first + 1) * row]);
                }
            }
        }
        Some(Self::owned(bytes, self.dtype, self.shape.clone()))
    }

    /// The matrices of a tensor of three dimensions, which share its memory.
    pub fn matrices(&self) -> Vec<Self> {
        let (count, shape) = (self.shape.first().copied().unwrap_or(0), self.shape.get(1..).unwrap_or_default());
        let bytes = self.range.len() / count.max(1);
        let part = |index: usize| {
            let start = self.range.start + index * bytes;
            Self { blob: self.blob.clone(), range: start..start + bytes, dtype: self.dtype, shape: shape.to_vec() }
        };
        (0..count).map(part).collect()
    }

    /// The opposite of [`StoredTensor::halves_apart`].
    pub fn interleaved(&self, heads: usize) -> Option<Self> {
        let rows = *self.shape.first()?;
        let half = rows.checked_div(heads)? / 2;
        if half == 0 || heads * half * 2 != rows || matches!(self.dtype, StoredType::Repacked(_)) {
            return None;
        }
        let row = self.bytes().len() / rows;
        let mut bytes = Vec::with_capacity(self.bytes().len());
        for head in self.bytes().chunks_exact(2 * half * row) {
            let (first, second) = head.split_at(half * row);
            for (first, second) in first.chunks_exact(row).zip(second.chunks_exact(row)) {
                bytes.extend_from_slice(first);
                bytes.extend_from_slice(second);
            }
        }
        Some(Self::owned(bytes, self.dtype, self.shape.clone()))
    }

    /// Bytes of one row along the last dimension.
    pub fn row_bytes(&self) -> usize {
        self.shape.last().and_then(|weights| self.dtype.row_bytes(*weights)).unwrap_or(0)
    }

    /// The first value that is infinite or not a number, if there is one.
    pub fn first_odd_value(&self) -> Option<f32> {
        let (_, size) = self.dtype.unit();
        let parts = self.bytes().par_chunks(CONVERTED_AT_ONCE * size);
        match self.dtype {
            StoredType::Blocks(kind) => return parts.find_map_first(|blocks| kind.first_odd_scale(blocks)),
            StoredType::Repacked(kind) => {
                return parts.find_map_first(|groups| repacked::first_odd_scale(kind, groups));
            }
            StoredType::F32 | StoredType::F16 | StoredType::Bf16 => {}
        }
        let odd =
            self.bytes().par_chunks(CONVERTED_AT_ONCE * size).find_first(|bytes| has_odd_value(bytes, self.dtype))?;
        let mut values = vec![0.0; odd.len() / size];
        convert(odd, self.dtype, &mut values);
        values.into_iter().find(|value| !value.is_finite())
    }

    /// The number of its elements.
    pub fn elements(&self) -> usize {
        let (weights, bytes) = self.dtype.unit();
        self.bytes().len() / bytes * weights
    }

    /// Appends all elements to `out`, converted.
    pub fn append_to(&self, out: &mut Vec<f32>) {
        match self.dtype {
            StoredType::Repacked(kind) => {
                let row_bytes = self.row_bytes();
                for groups in self.bytes().chunks_exact((REPACKED_ROWS * row_bytes).max(1)) {
                    (0..REPACKED_ROWS).for_each(|row| append_repacked(kind, groups, row, out));
                }
            }
            dtype => append_f32(self.bytes(), dtype, out),
        }
    }

    /// Appends row `index` (along the first dimension) to `out`. Returns false if there is no such row.
    pub fn append_row(&self, index: usize, out: &mut Vec<f32>) -> bool {
        if let StoredType::Repacked(kind) = self.dtype {
            let bytes = REPACKED_ROWS * self.row_bytes();
            let start = (index / REPACKED_ROWS).checked_mul(bytes).filter(|_| self.shape.len() == 2);
            let Some(groups) = start.and_then(|start| self.bytes().get(start..start + bytes)) else { return false };
            append_repacked(kind, groups, index % REPACKED_ROWS, out);
            return true;
        }
        let row = self.shape.iter().skip(1).rev().skip(1).product::<usize>() * self.row_bytes();
        let Some(start) = index.checked_mul(row) else { return false };
        match self.bytes().get(start..start + row) {
            Some(bytes) => append_f32(bytes, self.dtype, out),
            None => return false,
        }
        true
    }
}

/// Appends row `row` of a row of groups.
fn append_repacked(kind: &'static BlockType, groups: &[u8], row: usize, out: &mut Vec<f32>) {
    let mut blocks = vec![0; groups.len() / REPACKED_ROWS];
    repacked::restore_row(kind, groups, row, &mut blocks);
    append_f32(&blocks, StoredType::Blocks(kind), out);
}

/// Elements that one thread converts at a time.
const CONVERTED_AT_ONCE: usize = 1 << 16;

/// Converts with all threads, since loading is limited by conversion and by the disk. Of repacked
/// weights the blocks of each group come one after another.
pub fn append_f32(bytes: &[u8], dtype: StoredType, out: &mut Vec<f32>) {
    let (start, (weights, size)) = (out.len(), dtype.unit());
    out.resize(start + bytes.len() / size * weights, 0.0);
    let Some(fresh) = out.get_mut(start..) else { return };
    let units = (CONVERTED_AT_ONCE / weights).next_multiple_of(REPACKED_ROWS);
    let parts = fresh.par_chunks_mut(units * weights).zip(bytes.par_chunks(units * size));
    parts.for_each(|(out, bytes)| convert(bytes, dtype, out));
}

/// Whether any exponent is all ones. The loop has no branch, so that it runs at the speed of memory.
pub fn has_odd_value(bytes: &[u8], dtype: StoredType) -> bool {
    let any = |odd: bool, next: bool| odd | next;
    match dtype {
        StoredType::F32 => bytes.chunks_exact(4).map(|b| b[3] & 0x7F == 0x7F && b[2] & 0x80 == 0x80).fold(false, any),
        StoredType::F16 => bytes.chunks_exact(2).map(|b| b[1] & 0x7C == 0x7C).fold(false, any),
        StoredType::Bf16 => bytes.chunks_exact(2).map(|b| b[1] & 0x7F == 0x7F && b[0] & 0x80 == 0x80).fold(false, any),
        StoredType::Blocks(kind) => kind.first_odd_scale(bytes).is_some(),
        StoredType::Repacked(kind) => repacked::first_odd_scale(kind, bytes).is_some(),
    }
}

fn convert(bytes: &[u8], dtype: StoredType, out: &mut [f32]) {
    let (_, size) = dtype.unit();
    let pairs = out.iter_mut().zip(bytes.chunks_exact(size));
    match dtype {
        StoredType::F32 => pairs.for_each(|(out, b)| *out = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        StoredType::F16 => pairs.for_each(|(out, b)| *out = f16::from_le_bytes([b[0], b[1]]).to_f32()),
        StoredType::Bf16 => pairs.for_each(|(out, b)| *out = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        StoredType::Blocks(kind) => (kind.unpack)(bytes, out),
        StoredType::Repacked(kind) => {
            let mut block = vec![0; kind.bytes];
            let groups = bytes.chunks_exact(REPACKED_ROWS * kind.bytes);
            for (group, out) in groups.zip(out.chunks_exact_mut(REPACKED_ROWS * kind.weights)) {
                for (row, out) in out.chunks_exact_mut(kind.weights).enumerate() {
                    repacked::restore_row(kind, group, row, &mut block);
                    (kind.unpack)(&block, out);
                }
            }
        }
    }
}
