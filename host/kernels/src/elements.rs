//! Element-wise operations between the matrix products of a layer, on the CPU: activation functions, gated linear units
//! and norms. Each is one pass over memory by all threads.
//!
//! burn's CPU backend computes such an operation as several passes by one thread, with a call of libm for each element.
//! Here an exponential is a polynomial without branches (the reduction and coefficients of Cephes' `expf`, Moshier 1992;
//! relative error 1e-7), which the compiler turns into vector instructions. It rounds alike at every [`Level`].

mod activation;
pub(crate) mod functions;

use crate::linear::{Level, level};
use crate::threads::share_chunks;
pub use activation::Activation;
pub use functions::soft_cap;
use functions::{Function, with_function};

/// Input elements of one task. Operations on fewer elements run on the calling thread.
const TASK_ELEMENTS: usize = 1 << 14;
/// Partial sums of a row.
const LANES: usize = 16;

/// An operation that makes one output row of one input row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RowOperation<'a> {
    /// The function of each element of the row.
    Map(Activation),
    /// A gated linear unit: the function of the first half of the row, times the second half.
    Gated(Activation),
    /// Weight and epsilon.
    RmsNorm(&'a [f32], f32),
    /// Weight, bias and epsilon.
    LayerNorm(&'a [f32], &'a [f32], f32),
    /// The same of the sum with the rows of another matrix, which come first.
    SumLayerNorm(&'a [f32], &'a [f32], &'a [f32], f32),
}

impl RowOperation<'_> {
    /// The operation on the rows from `first` on, of `width` elements.
    fn skip_rows(self, first: usize, width: usize) -> Self {
        match self {
            Self::SumLayerNorm(other, weight, bias, epsilon) => {
                Self::SumLayerNorm(other.get(first * width..).unwrap_or_default(), weight, bias, epsilon)
            }
            operation => operation,
        }
    }
}

/// Replaces each row of `y` by the function of its sum with `bias`. An empty bias stands for none.
pub fn finish_rows(y: &mut [f32], width: usize, bias: &[f32], activation: Activation) {
    let level = level();
    if width == 0 || (bias.is_empty() && activation == Activation::Identity) {
        return;
    }
    let task = (TASK_ELEMENTS / width).max(1) * width;
    if y.len() <= task {
        finish(level, y, width, bias, activation);
    } else {
        share_chunks(y, task, |_, y| finish(level, y, width, bias, activation));
    }
}

/// Rows of `width` elements, as [`finish_rows`].
pub(crate) fn finish(level: Level, y: &mut [f32], width: usize, bias: &[f32], activation: Activation) {
    match level {
        // SAFETY: `level` returns this level only if the processor has AVX-512F.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { finish_avx512(y, width, bias, activation) },
        // SAFETY: `level` returns this level only if the processor has AVX2.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { finish_avx2(y, width, bias, activation) },
        // The compiler uses NEON wherever a processor has it.
        #[cfg(target_arch = "aarch64")]
        Level::Neon => finish_plain(y, width, bias, activation),
        Level::Plain => finish_plain(y, width, bias, activation),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn finish_avx512(y: &mut [f32], width: usize, bias: &[f32], activation: Activation) {
    finish_plain(y, width, bias, activation);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn finish_avx2(y: &mut [f32], width: usize, bias: &[f32], activation: Activation) {
    finish_plain(y, width, bias, activation);
}

#[inline(always)]
fn finish_plain(y: &mut [f32], width: usize, bias: &[f32], activation: Activation) {
    for row in y.chunks_exact_mut(width) {
        row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        with_function!(activation, map_in_place(row));
    }
}

/// Applies an operation to each row of `x`, `[rows, width]`. The result is `[rows, out_width]`; a gated linear unit halves
/// the width, and the other operations keep it.
pub fn apply_to_rows(operation: RowOperation<'_>, x: &[f32], width: usize, out_width: usize) -> Vec<f32> {
    apply(level(), operation, x, width, out_width)
}

fn apply(level: Level, operation: RowOperation<'_>, x: &[f32], width: usize, out_width: usize) -> Vec<f32> {
    let rows = x.len() / width.max(1);
    let mut out = vec![0.0; rows * out_width];
    if out.is_empty() {
        return out;
    }
    let task_rows = (TASK_ELEMENTS / width).max(1);
    if rows <= task_rows {
        run(level, operation, x, width, &mut out, out_width);
    } else {
        share_chunks(&mut out, task_rows * out_width, |index, out| {
            let from = index * task_rows * width;
            let operation = operation.skip_rows(index * task_rows, width);
            run(level, operation, &x[from..from + out.len() / out_width * width], width, out, out_width);
        });
    }
    out
}

fn run(level: Level, operation: RowOperation<'_>, x: &[f32], width: usize, out: &mut [f32], out_width: usize) {
    match level {
        // SAFETY: `level` returns this level only if the processor has AVX-512F.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { rows_avx512(operation, x, width, out, out_width) },
        // SAFETY: `level` returns this level only if the processor has AVX2.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { rows_avx2(operation, x, width, out, out_width) },
        #[cfg(target_arch = "aarch64")]
        Level::Neon => rows(operation, x, width, out, out_width),
        Level::Plain => rows(operation, x, width, out, out_width),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn rows_avx512(operation: RowOperation<'_>, x: &[f32], width: usize, out: &mut [f32], out_width: usize) {
    rows(operation, x, width, out, out_width);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rows_avx2(operation: RowOperation<'_>, x: &[f32], width: usize, out: &mut [f32], out_width: usize) {
    rows(operation, x, width, out, out_width);
}

#[inline(always)]
fn rows(operation: RowOperation<'_>, x: &[f32], width: usize, out: &mut [f32], out_width: usize) {
    for (index, (x, out)) in x.chunks_exact(width).zip(out.chunks_exact_mut(out_width)).enumerate() {
        match operation {
            RowOperation::Map(activation) => with_function!(activation, map_row(x, out)),
            RowOperation::Gated(activation) => with_function!(activation, gated_row(x, out)),
            RowOperation::RmsNorm(weight, epsilon) => rms_row(x, weight, epsilon, out),
            RowOperation::LayerNorm(weight, bias, epsilon) => layer_row(x, weight, bias, epsilon, out),
            RowOperation::SumLayerNorm(other, weight, bias, epsilon) => {
                sum_row(x, &other[index * width..(index + 1) * width], weight, bias, epsilon, out);
            }
        }
    }
}

#[inline(always)]
pub(super) fn rms_row(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let scale = 1.0 / (squares(x, 0.0) / x.len() as f32 + epsilon).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * weight;
    }
}

#[inline(always)]
fn layer_row(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    let count = x.len() as f32;
    let mean = sum(x) / count;
    let scale = 1.0 / (squares(x, mean) / count + epsilon).sqrt();
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = (x - mean) * scale * weight + bias;
    }
}

#[inline(always)]
fn sum_row(x: &[f32], other: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    for ((out, x), other) in out.iter_mut().zip(x).zip(other) {
        *out = x + other;
    }
    let count = out.len() as f32;
    let mean = sum(out) / count;
    let scale = 1.0 / (squares(out, mean) / count + epsilon).sqrt();
    for ((out, weight), bias) in out.iter_mut().zip(weight).zip(bias) {
        *out = (*out - mean) * scale * weight + bias;
    }
}

#[inline(always)]
fn map_in_place<F: Function>(row: &mut [f32]) {
    for value in row {
        *value = F::of(*value);
    }
}

#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += x;
        }
    }
    sums.iter().chain(rest).sum()
}

/// The sum of `(x - mean)²`.
#[inline(always)]
fn squares(x: &[f32], mean: f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += (x - mean) * (x - mean);
        }
    }
    let mut all: f32 = sums.iter().sum();
    for x in rest {
        all += (x - mean) * (x - mean);
    }
    all
}

#[inline(always)]
fn map_row<F: Function>(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = F::of(*x);
    }
}

#[inline(always)]
fn gated_row<F: Function>(x: &[f32], out: &mut [f32]) {
    let (gate, up) = x.split_at(out.len());
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = F::gate(*gate, *up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::levels;
    use crate::test_cases::in_f64;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7_919) % 10_007) as f32 / 500.0 - 10.0).collect()
    }

    /// The expected row, computed in f64.
    fn expected(operation: RowOperation<'_>, x: &[f32]) -> Vec<f64> {
        let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        match operation {
            RowOperation::Map(activation) => x.iter().map(|x| in_f64(activation, *x)).collect(),
            RowOperation::Gated(activation) => {
                let (gate, up) = x.split_at(x.len() / 2);
                gate.iter().zip(up).map(|(gate, up)| in_f64(activation, *gate) * up).collect()
            }
            RowOperation::RmsNorm(weight, epsilon) => normed(&x, 0.0, weight, None, epsilon),
            RowOperation::LayerNorm(weight, bias, epsilon) => {
                normed(&x, x.iter().sum::<f64>() / x.len() as f64, weight, Some(bias), epsilon)
            }
            RowOperation::SumLayerNorm(..) => unreachable!("it has a test of its own"),
        }
    }

    fn normed(x: &[f64], mean: f64, weight: &[f32], bias: Option<&[f32]>, epsilon: f32) -> Vec<f64> {
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
        let bias = |at: usize| bias.map_or(0.0, |bias| f64::from(bias[at]));
        x.iter().zip(weight).enumerate().map(|(at, (x, w))| (x - mean) * scale * f64::from(*w) + bias(at)).collect()
    }

    #[test]
    fn operations_are_right_at_every_level_and_width() {
        let small = |count| values(count).iter().map(|value| value / 8.0).collect::<Vec<f32>>();
        let (weight, bias) = (small(515), small(600));
        let norms = [RowOperation::RmsNorm(&weight, 1e-6), RowOperation::LayerNorm(&weight, &bias[7..], 1e-12)];
        let functions = Activation::ALL.map(|function| [RowOperation::Map(function), RowOperation::Gated(function)]);
        let operations: Vec<RowOperation<'_>> = functions.into_iter().flatten().chain(norms).collect();
        assert_eq!(operations.len(), 2 * Activation::ALL.len() + 2);
        for operation in operations {
            let is_gated = matches!(operation, RowOperation::Gated(_));
            // The last shape is more than one task.
            for (rows, width) in [(1, 1), (3, 2), (5, 34), (2, 515), (70, 512)] {
                let (width, out_width) = if is_gated { (2 * width, width) } else { (width, width) };
                let x = values(rows * width);
                let expected: Vec<f64> = x.chunks(width).flat_map(|x| expected(operation, x)).collect();
                for level in levels() {
                    let got = apply(level, operation, &x, width, out_width);
                    assert_eq!(got.len(), expected.len());
                    for (got, expected) in got.iter().zip(&expected) {
                        let error = (f64::from(*got) - expected).abs();
                        let what = format!("{operation:?} {level:?} {rows}x{width}");
                        // A gate is multiplied by a number of up to 10.
                        let scale = if is_gated { 10.0 } else { 1.0 };
                        assert!(error <= 2e-6 * expected.abs().max(scale), "{what}: {got} for {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_norm_of_a_sum_is_that_of_the_rows_added_before() {
        for (rows, width) in [(1, 5), (3, 34), (70, 512)] {
            let (x, weight, bias) = (values(rows * width), values(width), values(width + 3));
            let other: Vec<f32> = x.iter().rev().map(|value| value / 3.0).collect();
            let summed: Vec<f32> = x.iter().zip(&other).map(|(x, y)| x + y).collect();
            for level in levels() {
                let sum = RowOperation::SumLayerNorm(&other, &weight, &bias[3..], 1e-5);
                let plain = RowOperation::LayerNorm(&weight, &bias[3..], 1e-5);
                let (got, expected) = (apply(level, sum, &x, width, width), apply(level, plain, &summed, width, width));
                assert!(
                    got.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1.0)),
                    "{rows}x{width}"
                );
            }
        }
    }

    #[test]
    fn bias_and_function_are_applied_in_place() {
        let bias = values(33);
        for (rows, activation) in [(1, Activation::Identity), (2, Activation::Gelu), (700, Activation::Silu)] {
            let x = values(rows * 33);
            let mut y = x.clone();
            finish_rows(&mut y, 33, &bias, activation);
            for (at, (y, x)) in y.iter().zip(&x).enumerate() {
                let expected = in_f64(activation, f64::from(x + bias[at % 33]));
                assert!((f64::from(*y) - expected).abs() <= 2e-6 * expected.abs().max(10.0), "{activation:?} at {at}");
            }
            let mut same = x.clone();
            finish_rows(&mut same, 33, &[], Activation::Identity);
            assert_eq!(same, x);
        }
    }

    #[test]
    fn no_input_rows_give_no_output_rows() {
        assert!(apply(level(), RowOperation::Map(Activation::Gelu), &[], 4, 4).is_empty());
    }
}
