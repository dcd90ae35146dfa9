//! Steps between the products of a layer, on the CPU in one pass by all threads; elsewhere they are burn's.
//!
//! burn's CPU takes such a step as several, each a pass over memory by one thread with a call of libm an element. Here an
//! exponential is a polynomial without branches (the reduction and coefficients of Cephes' `expf`, Moshier 1992; 1e-7 of
//! the result), which compilers turn into vector instructions. It rounds alike at every level.

use burn::tensor::{DType, Tensor, TensorData, activation};

use super::cpu_linear::{Level, level};
use super::gpu_elements::gpu_swiglu;
use super::threads::share_chunks;
use crate::load::is_cpu;

/// Elements of input one task takes; smaller steps run on the calling thread.
const TASK_ELEMENTS: usize = 1 << 14;
/// Sums and greatest values of a row are taken in so many lanes.
const LANES: usize = 16;

/// From one row to another.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step<'a> {
    SwiGlu,
    Gelu,
    RmsNorm(&'a [f32], f32),
    LayerNorm(&'a [f32], &'a [f32], f32),
}

/// `silu(gate) * up` (Shazeer 2020) of `[rows, gate and up]`, to `[rows, half of that]`.
pub(crate) fn swiglu(gate_up: Tensor<2>) -> Tensor<2> {
    let [rows, both] = gate_up.dims();
    let wide = both / 2;
    if is_cpu(&gate_up.device()) {
        return on_cpu(Step::SwiGlu, gate_up, [rows, wide]);
    }
    gpu_swiglu(gate_up)
}

/// GELU (Hendrycks and Gimpel 2016) with the error function, not the tangent.
pub(crate) fn gelu(x: Tensor<2>) -> Tensor<2> {
    if is_cpu(&x.device()) {
        let shape = x.dims();
        return on_cpu(Step::Gelu, x, shape);
    }
    activation::gelu(x)
}

/// Root mean square norm (Zhang and Sennrich 2019) of the rows of `x`, which is on the CPU.
pub(crate) fn rms_norm(x: Tensor<2>, weight: &[f32], epsilon: f32) -> Tensor<2> {
    let shape = x.dims();
    on_cpu(Step::RmsNorm(weight, epsilon), x, shape)
}

/// Layer norm (Ba et al. 2016) of the rows of `x`, which is on the CPU.
pub(crate) fn layer_norm(x: Tensor<2>, weight: &[f32], bias: &[f32], epsilon: f32) -> Tensor<2> {
    let shape = x.dims();
    on_cpu(Step::LayerNorm(weight, bias, epsilon), x, shape)
}

/// What the kernels of the CPU read of a vector; nothing where it is on another device.
pub(crate) fn host_row(vector: &Tensor<1>) -> Vec<f32> {
    match is_cpu(&vector.device()) {
        true => vector.to_data().convert::<f32>().try_into_vec().unwrap_or_default(),
        false => Vec::new(),
    }
}

/// `shape` is that of the result.
fn on_cpu(step: Step<'_>, x: Tensor<2>, shape: [usize; 2]) -> Tensor<2> {
    let (device, width) = (x.device(), x.dims()[1]);
    let x = x.into_data().convert::<f32>();
    let out = apply(level(), step, x.as_slice().unwrap_or_default(), width, shape[1]);
    Tensor::from_data(TensorData::new(out, shape), (&device, DType::F32))
}

/// `x` has rows of `width` elements, the result of `out_width`.
fn apply(level: Level, step: Step<'_>, x: &[f32], width: usize, out_width: usize) -> Vec<f32> {
    let rows = x.len() / width.max(1);
    let mut out = vec![0.0; rows * out_width];
    if out.is_empty() {
        return out;
    }
    let task_rows = (TASK_ELEMENTS / width).max(1);
    if rows <= task_rows {
        run(level, step, x, width, &mut out, out_width);
    } else {
        share_chunks(&mut out, task_rows * out_width, |index, out| {
            let from = index * task_rows * width;
            run(level, step, &x[from..from + out.len() / out_width * width], width, out, out_width);
        });
    }
    out
}

fn run(level: Level, step: Step<'_>, x: &[f32], width: usize, out: &mut [f32], out_width: usize) {
    match level {
        // SAFETY: levels are given out only where the processor has AVX-512F.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { rows_avx512(step, x, width, out, out_width) },
        // SAFETY: levels are given out only where the processor has AVX2.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { rows_avx2(step, x, width, out, out_width) },
        Level::Plain => rows(step, x, width, out, out_width),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn rows_avx512(step: Step<'_>, x: &[f32], width: usize, out: &mut [f32], out_width: usize) {
    rows(step, x, width, out, out_width);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rows_avx2(step: Step<'_>, x: &[f32], width: usize, out: &mut [f32], out_width: usize) {
    rows(step, x, width, out, out_width);
}

#[inline(always)]
fn rows(step: Step<'_>, x: &[f32], width: usize, out: &mut [f32], out_width: usize) {
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(out_width)) {
        match step {
            Step::SwiGlu => swiglu_row(x, out),
            Step::Gelu => gelu_row(x, out),
            Step::RmsNorm(weight, epsilon) => rms_row(x, weight, epsilon, out),
            Step::LayerNorm(weight, bias, epsilon) => layer_row(x, weight, bias, epsilon, out),
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
fn swiglu_row(x: &[f32], out: &mut [f32]) {
    let (gate, up) = x.split_at(out.len());
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate * up / (1.0 + exp(-gate));
    }
}

#[inline(always)]
fn gelu_row(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// `e^x` to 1e-7 of it; 0 below -87 and `e^88` above 88.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Added to a number below 2^22, this leaves its nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// The logarithm of 2 in two parts, so that multiples of the first are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let near = x.clamp(-87.0, 88.0);
    let shifted = near * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    let rest = near - power * LN_2[0] - power * LN_2[1];
    let mut sum = 1.987_569_1e-4_f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * rest + coefficient;
    }
    let sum = sum * rest * rest + rest + 1.0;
    // Times 2 to that power: the shift leaves its lowest bits where the exponent is.
    let scaled = f32::from_bits(sum.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < -87.0 { 0.0 } else { scaled }
}

/// The error function to 2e-7 (Abramowitz and Stegun 1964, 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let mut sum = 1.061_405_4_f32;
    for coefficient in [-1.453_152_1, 1.421_413_8, -0.284_496_74, 0.254_829_6] {
        sum = sum * t + coefficient;
    }
    (1.0 - sum * t * exp(-size * size)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::super::cpu_linear::levels;
    use super::*;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7_919) % 10_007) as f32 / 500.0 - 10.0).collect()
    }

    /// What a step should give, computed in f64.
    fn expected(step: Step<'_>, x: &[f32]) -> Vec<f64> {
        let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        match step {
            Step::SwiGlu => {
                let (gate, up) = x.split_at(x.len() / 2);
                gate.iter().zip(up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect()
            }
            Step::Gelu => x.iter().map(|x| 0.5 * x * (1.0 + erf_by_series(x / 2.0_f64.sqrt()))).collect(),
            Step::RmsNorm(weight, epsilon) => normed(&x, 0.0, weight, None, epsilon),
            Step::LayerNorm(weight, bias, epsilon) => {
                normed(&x, x.iter().sum::<f64>() / x.len() as f64, weight, Some(bias), epsilon)
            }
        }
    }

    fn normed(x: &[f64], mean: f64, weight: &[f32], bias: Option<&[f32]>, epsilon: f32) -> Vec<f64> {
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
        let bias = |at: usize| bias.map_or(0.0, |bias| f64::from(bias[at]));
        x.iter().zip(weight).enumerate().map(|(at, (x, w))| (x - mean) * scale * f64::from(*w) + bias(at)).collect()
    }

    /// Its Taylor series, which f64 can sum up to 4; beyond it is 1 to 2e-8.
    fn erf_by_series(x: f64) -> f64 {
        if x.abs() > 4.0 {
            return x.signum();
        }
        let mut term = x;
        let mut sum = x;
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn steps_are_right_at_every_level_and_width() {
        let small = |count| values(count).iter().map(|value| value / 8.0).collect::<Vec<f32>>();
        let (weight, bias) = (small(515), small(600));
        let norms = [Step::RmsNorm(&weight, 1e-6), Step::LayerNorm(&weight, &bias[7..], 1e-12)];
        for step in [Step::SwiGlu, Step::Gelu].into_iter().chain(norms) {
            // The last is more than one task.
            for (rows, width) in [(1, 1), (3, 2), (5, 34), (2, 515), (70, 512)] {
                let width = if step == Step::SwiGlu { 2 * width } else { width };
                let out_width = if step == Step::SwiGlu { width / 2 } else { width };
                let x = values(rows * width);
                let expected: Vec<f64> = x.chunks(width).flat_map(|x| expected(step, x)).collect();
                for level in levels() {
                    let got = apply(level, step, &x, width, out_width);
                    assert_eq!(got.len(), expected.len());
                    for (got, expected) in got.iter().zip(&expected) {
                        let error = (f64::from(*got) - expected).abs();
                        let what = format!("{step:?} {level:?} {rows}x{width}");
                        assert!(error <= 2e-6 * expected.abs().max(1.0), "{what}: {got} for {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn exponentials_are_right_to_the_last_bits() {
        let steps = (-87_000..88_000).map(|step| step as f32 / 1_000.0);
        for x in steps {
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) - expected).abs() <= 2e-7 * expected, "e^{x} is {}", exp(x));
        }
        assert_eq!((exp(0.0), exp(-1e30), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan() && exp(1e30).is_finite());
    }

    #[test]
    fn no_rows_are_no_rows() {
        assert!(apply(level(), Step::Gelu, &[], 4, 4).is_empty());
    }
}
