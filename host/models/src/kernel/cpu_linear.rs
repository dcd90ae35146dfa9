//! `y = x Wᵀ` on the CPU for few rows of `x`, straight from the weights as the checkpoint stores them.
//!
//! A step of decode reads every weight once and multiplies it a few times, so it is as fast as memory delivers weights:
//! BF16 is widened in registers and costs half of what F32 costs. The vector instructions are those the machine turns out
//! to have. Sums go lane by lane, so results differ from a plain sum
//! in rounding and are the same on every run.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as x86;
use std::sync::OnceLock;

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::checkpoint::tensors::{StoredTensor, StoredType};

/// Bytes of weights one task reads; smaller products run on the calling thread.
const TASK_BYTES: usize = 1 << 16;

/// A matrix `[rows, columns]` as it is stored, possibly in several parts stacked along the rows. F32 or BF16.
#[derive(Debug, Clone)]
pub(crate) struct StoredMatrix {
    parts: Vec<StoredTensor>,
    rows: usize,
    columns: usize,
}

impl StoredMatrix {
    /// `parts` are matrices with the same number of columns.
    pub(crate) fn new(parts: Vec<StoredTensor>) -> Self {
        // Half floats have no cheap way into registers on every machine; they are widened once, here.
        let parts: Vec<StoredTensor> = parts.iter().map(StoredTensor::without_f16).collect();
        let rows = parts.iter().filter_map(|part| part.shape.first()).sum();
        let columns = parts.first().and_then(|part| part.shape.get(1)).copied().unwrap_or(0);
        Self { parts, rows, columns }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes as stored.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes().len()).sum()
    }

    /// Rows `from..to` as f32, row-major.
    pub(crate) fn widened(&self, from: usize, to: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity((to - from) * self.columns);
        let mut first = 0;
        for part in &self.parts {
            let rows = part.shape.first().copied().unwrap_or(0);
            let (low, high) = (from.clamp(first, first + rows), to.clamp(first, first + rows));
            part.append_rows(low - first, high - first, &mut values);
            first += rows;
        }
        values
    }

    /// `x` is `[m, columns]`, row-major; the result is `[m, rows]`.
    pub(crate) fn product(&self, x: &[f32], m: usize) -> Vec<f32> {
        self.product_by(level(), x, m)
    }

    fn product_by(&self, level: Level, x: &[f32], m: usize) -> Vec<f32> {
        let x: Vec<&[f32]> = x.chunks_exact(self.columns.max(1)).take(m).collect();
        let mut turned = vec![0.0; m * self.rows];
        let mut rest = turned.as_mut_slice();
        for part in &self.parts {
            let rows = part.shape.first().copied().unwrap_or(0);
            let (own, later) = rest.split_at_mut(m * rows);
            part_product(level, part, &x, own);
            rest = later;
        }
        if m == 1 {
            return turned;
        }
        let mut out = vec![0.0; m * self.rows];
        for (row, sums) in turned.chunks_exact(m).enumerate() {
            for (at, sum) in sums.iter().enumerate() {
                out[at * self.rows + row] = *sum;
            }
        }
        out
    }
}

/// One part; `out` is `[rows, m]`.
fn part_product(level: Level, part: &StoredTensor, x: &[&[f32]], out: &mut [f32]) {
    let (m, columns) = (x.len(), x.first().map_or(0, |row| row.len()));
    let row_bytes = columns * part.dtype.size();
    if row_bytes == 0 || m == 0 {
        return;
    }
    let bytes = part.bytes();
    let task_rows = (TASK_BYTES / row_bytes).clamp(4, 4_096);
    let task = |index: usize, out: &mut [f32]| {
        let from = index * task_rows * row_bytes;
        let weights = bytes.get(from..from + out.len() / m * row_bytes).unwrap_or_default();
        level.run(part.dtype, weights, x, out);
    };
    if bytes.len() <= 2 * TASK_BYTES {
        out.chunks_mut(task_rows * m).enumerate().for_each(|(index, out)| task(index, out));
    } else {
        out.par_chunks_mut(task_rows * m).enumerate().for_each(|(index, out)| task(index, out));
    }
}

/// Which vector instructions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| levels().first().copied().unwrap_or(Level::Plain))
}

/// Those this machine has, the best first.
fn levels() -> Vec<Level> {
    let mut levels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("fma") {
            levels.push(Level::Avx512);
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            levels.push(Level::Avx2);
        }
    }
    levels.push(Level::Plain);
    levels
}

impl Level {
    /// Rows of weights, each as long as a row of `x`, times all of `x`, into `out`, `[rows, m]`.
    fn run(self, dtype: StoredType, weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
        match self {
            // SAFETY: `levels` gives this out only where the processor has AVX-512F and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { run_avx512(dtype, weights, x, out) },
            // SAFETY: `levels` gives this out only where the processor has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { run_avx2(dtype, weights, x, out) },
            Self::Plain => run::<Plain, 2>(dtype, weights, x, out),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn run_avx512(dtype: StoredType, weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
    run::<Avx512, 4>(dtype, weights, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2(dtype: StoredType, weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
    run::<Avx2, 4>(dtype, weights, x, out);
}

#[inline(always)]
fn run<V: Vector, const WIDE: usize>(dtype: StoredType, weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
    match dtype {
        StoredType::Bf16 => rows::<V, 2, WIDE>(weights, x, out),
        // `StoredMatrix::new` left no half floats.
        StoredType::F32 | StoredType::F16 => rows::<V, 4, WIDE>(weights, x, out),
    }
}

/// A vector register of f32. Only used below functions that enable its instructions.
trait Vector: Copy {
    const LANES: usize;
    fn zero() -> Self;
    /// `LANES` values of `SIZE` bytes each (4: F32, 2: BF16) from the start of `bytes`, which has as many.
    fn weights<const SIZE: usize>(bytes: &[u8]) -> Self;
    /// `LANES` values from the start of `values`, which has as many.
    fn inputs(values: &[f32]) -> Self;
    /// `a * b + self`.
    fn plus_product(self, a: Self, b: Self) -> Self;
    /// All lanes together.
    fn sum(self) -> f32;
}

fn widen<const SIZE: usize>(bytes: &[u8]) -> f32 {
    match (SIZE, bytes) {
        (2, [a, b, ..]) => f32::from_bits(u32::from(u16::from_le_bytes([*a, *b])) << 16),
        (4, [a, b, c, d, ..]) => f32::from_le_bytes([*a, *b, *c, *d]),
        _ => 0.0,
    }
}

/// Whatever the compiler makes of it.
#[derive(Clone, Copy)]
struct Plain([f32; 8]);

impl Vector for Plain {
    const LANES: usize = 8;

    #[inline(always)]
    fn zero() -> Self {
        Self([0.0; 8])
    }

    #[inline(always)]
    fn weights<const SIZE: usize>(bytes: &[u8]) -> Self {
        Self(std::array::from_fn(|lane| widen::<SIZE>(&bytes[lane * SIZE..])))
    }

    #[inline(always)]
    fn inputs(values: &[f32]) -> Self {
        Self(std::array::from_fn(|lane| values[lane]))
    }

    #[inline(always)]
    fn plus_product(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + a.0[lane] * b.0[lane]))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        self.0.iter().sum()
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Avx2(x86::__m256);

#[cfg(target_arch = "x86_64")]
impl Vector for Avx2 {
    const LANES: usize = 8;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: `run_avx2` enabled AVX2.
        Self(unsafe { x86::_mm256_setzero_ps() })
    }

    #[inline(always)]
    fn weights<const SIZE: usize>(bytes: &[u8]) -> Self {
        let bytes = &bytes[..8 * SIZE];
        // SAFETY: `run_avx2` enabled AVX2; the slice above has the 32 or 16 bytes that are read, at any alignment.
        Self(unsafe {
            match SIZE {
                4 => x86::_mm256_loadu_ps(bytes.as_ptr().cast()),
                _ => {
                    let wide = x86::_mm256_cvtepu16_epi32(x86::_mm_loadu_si128(bytes.as_ptr().cast()));
                    x86::_mm256_castsi256_ps(x86::_mm256_slli_epi32::<16>(wide))
                }
            }
        })
    }

    #[inline(always)]
    fn inputs(values: &[f32]) -> Self {
        let values = &values[..8];
        // SAFETY: `run_avx2` enabled AVX2; the slice above has the 8 values that are read.
        Self(unsafe { x86::_mm256_loadu_ps(values.as_ptr()) })
    }

    #[inline(always)]
    fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `run_avx2` enabled FMA.
        Self(unsafe { x86::_mm256_fmadd_ps(a.0, b.0, self.0) })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let mut lanes = [0.0_f32; 8];
        // SAFETY: `run_avx2` enabled AVX2; the array has room for the 8 values that are written.
        unsafe { x86::_mm256_storeu_ps(lanes.as_mut_ptr(), self.0) };
        lanes.iter().sum()
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Avx512(x86::__m512);

#[cfg(target_arch = "x86_64")]
impl Vector for Avx512 {
    const LANES: usize = 16;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: `run_avx512` enabled AVX-512F.
        Self(unsafe { x86::_mm512_setzero_ps() })
    }

    #[inline(always)]
    fn weights<const SIZE: usize>(bytes: &[u8]) -> Self {
        let bytes = &bytes[..16 * SIZE];
        // SAFETY: `run_avx512` enabled AVX-512F; the slice above has the 64 or 32 bytes that are read, at any alignment.
        Self(unsafe {
            match SIZE {
                4 => x86::_mm512_loadu_ps(bytes.as_ptr().cast()),
                _ => {
                    let wide = x86::_mm512_cvtepu16_epi32(x86::_mm256_loadu_si256(bytes.as_ptr().cast()));
                    x86::_mm512_castsi512_ps(x86::_mm512_slli_epi32::<16>(wide))
                }
            }
        })
    }

    #[inline(always)]
    fn inputs(values: &[f32]) -> Self {
        let values = &values[..16];
        // SAFETY: `run_avx512` enabled AVX-512F; the slice above has the 16 values that are read.
        Self(unsafe { x86::_mm512_loadu_ps(values.as_ptr()) })
    }

    #[inline(always)]
    fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `run_avx512` enabled AVX-512F.
        Self(unsafe { x86::_mm512_fmadd_ps(a.0, b.0, self.0) })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: `run_avx512` enabled AVX-512F.
        unsafe { x86::_mm512_reduce_add_ps(self.0) }
    }
}

/// All rows of weights, two at a time, times all of `x`, `WIDE` rows at a time: so many sums fit into registers.
#[inline(always)]
fn rows<V: Vector, const SIZE: usize, const WIDE: usize>(weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
    let (m, columns) = (x.len(), x.first().map_or(0, |row| row.len()));
    let row_bytes = columns * SIZE;
    if m == 1 {
        for (weights, out) in weights.chunks(4 * row_bytes).zip(out.chunks_mut(4)) {
            match four(weights, row_bytes) {
                Some(rows) => store(tile::<V, SIZE, 4, 1>(rows, [x[0]]), out, 1, 0),
                None => singles::<V, SIZE>(weights, row_bytes, x, out),
            }
        }
        return;
    }
    for (weights, out) in weights.chunks(2 * row_bytes).zip(out.chunks_mut(2 * m)) {
        if weights.len() < 2 * row_bytes {
            singles::<V, SIZE>(weights, row_bytes, x, out);
            continue;
        }
        let (one, two) = weights.split_at(row_bytes);
        let (whole, rest) = x.as_chunks::<WIDE>();
        for (index, x) in whole.iter().enumerate() {
            store(tile::<V, SIZE, 2, WIDE>([one, two], *x), out, m, index * WIDE);
        }
        for (index, x) in rest.iter().enumerate() {
            store(tile::<V, SIZE, 2, 1>([one, two], [x]), out, m, whole.len() * WIDE + index);
        }
    }
}

#[inline(always)]
fn four(weights: &[u8], row_bytes: usize) -> Option<[&[u8]; 4]> {
    let row = |index: usize| weights.get(index * row_bytes..(index + 1) * row_bytes);
    Some([row(0)?, row(1)?, row(2)?, row(3)?])
}

/// The last rows, where they do not fill a tile.
#[inline(always)]
fn singles<V: Vector, const SIZE: usize>(weights: &[u8], row_bytes: usize, x: &[&[f32]], out: &mut [f32]) {
    for (weights, out) in weights.chunks_exact(row_bytes).zip(out.chunks_exact_mut(x.len())) {
        for (x, out) in x.iter().zip(out) {
            *out = tile::<V, SIZE, 1, 1>([weights], [x])[0][0];
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, step: usize) -> Vec<f32> {
        // Short mantissas, so that BF16 holds them exactly.
        (0..count).map(|at| ((at * step) % 61) as f32 / 32.0 - 0.9375).collect()
    }

    fn stored(values: &[f32], dtype: StoredType, shape: [usize; 2]) -> StoredTensor {
        let bytes = match dtype {
            StoredType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            StoredType::F16 => values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect(),
            StoredType::Bf16 => values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect(),
        };
        StoredTensor::owned(bytes, dtype, shape.to_vec())
    }

    #[test]
    fn products_are_right_at_every_level_type_and_size() {
        for (rows, columns) in [(1, 1), (3, 16), (7, 33), (64, 160), (307, 48), (130, 1_030)] {
            let weights = values(rows * columns, 17);
            for dtype in [StoredType::F32, StoredType::F16, StoredType::Bf16] {
                let split = rows / 3 * columns;
                let parts = [&weights[..split], &weights[split..]];
                let parts = parts.iter().filter(|part| !part.is_empty());
                let parts = parts.map(|part| stored(part, dtype, [part.len() / columns, columns])).collect();
                let matrix = StoredMatrix::new(parts);
                assert_eq!(matrix.widened(0, rows), weights);
                for m in [1, 2, 3, 4, 5, 9, 16] {
                    let x = values(m * columns, 29);
                    let expected: Vec<f64> = x
                        .chunks_exact(columns)
                        .flat_map(|x| weights.chunks_exact(columns).map(|w| dot(x, w)).collect::<Vec<_>>())
                        .collect();
                    for level in levels() {
                        let got = matrix.product_by(level, &x, m);
                        assert_eq!(got.len(), expected.len());
                        for (got, expected) in got.iter().zip(&expected) {
                            let error = (f64::from(*got) - expected).abs();
                            assert!(error <= 1e-4, "{level:?} {dtype:?} {rows}x{columns} m={m}: {got} for {expected}");
                        }
                    }
                }
            }
        }
    }

    fn dot(x: &[f32], w: &[f32]) -> f64 {
        x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
    }

    #[test]
    fn part_of_a_matrix_is_read_across_its_parts() {
        let (top, low) = (values(6, 5), values(9, 7));
        let parts = vec![stored(&top, StoredType::F32, [2, 3]), stored(&low, StoredType::Bf16, [3, 3])];
        let matrix = StoredMatrix::new(parts);
        assert_eq!(matrix.rows(), 5);
        assert_eq!(matrix.widened(1, 4), [&top[3..], &low[..6]].concat());
        assert!(matrix.widened(2, 2).is_empty());
    }
}
