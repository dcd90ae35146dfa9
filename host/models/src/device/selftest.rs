//! The self test: a few kernels of models compared with plain loops on the host, then matrix products for a second.

use std::time::{Duration, Instant};

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use firebox_kernels::weights::{StoredTensor, StoredType};
use half::bf16;
use serde::{Deserialize, Serialize};

use super::{DeviceChoice, open_untested};
use crate::error::ModelError;
use crate::kernel;
use crate::layers::Linear;

/// Largest error relative to the largest expected value. A GPU that multiplies in TF32 (10 bits of mantissa) stays
/// below it. A broken driver does not.
const TOLERANCE: f32 = 4e-3;
/// The time for which products are measured.
const MEASURED: Duration = Duration::from_secs(1);
/// Odd on purpose: `[ROWS, INNER] x [INNER, COLUMNS]`.
const ROWS: usize = 65;
const INNER: usize = 127;
const COLUMNS: usize = 33;

/// The result of the self test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    /// Whether every kernel was correct.
    pub ok: bool,
    /// The largest error, relative to the largest expected value.
    pub max_difference: f32,
    /// The kernel that had it.
    pub worst: String,
    /// The time of the kernels, compilation included, in seconds.
    pub seconds: f64,
    /// Rate of square f32 matrix products.
    pub gflops: f64,
}

impl TestReport {
    /// The report, or the device's fault.
    pub(super) fn judged(self) -> Result<Self, String> {
        if self.ok {
            return Ok(self);
        }
        let Self { worst, max_difference, .. } = self;
        Err(format!(
            "computes wrongly: \"{worst}\" is off by {max_difference:.1e} of its scale, {TOLERANCE:.0e} is allowed"
        ))
    }
}

/// Tests a device in this process. A bad driver may end the process.
///
/// # Errors
/// `ModelError::DeviceMissing` if there is no device of that name, `ModelError::DeviceFailed` if it cannot be opened or
/// a kernel fails.
pub fn run_self_test(choice: &DeviceChoice) -> Result<TestReport, ModelError> {
    let opened = open_untested(choice)?;
    let failed = |reason: String| ModelError::DeviceFailed { asked: choice.to_string(), reason };
    let started = Instant::now();
    let mut report = TestReport { ok: true, max_difference: 0.0, worst: String::new(), seconds: 0.0, gflops: 0.0 };
    for (name, run) in KERNELS {
        let (computed, expected) =
            run(&opened.device).map_err(|error| failed(format!("\"{name}\" failed: {error}")))?;
        let difference = difference(&computed, &expected);
        let fine = difference <= TOLERANCE;
        if !fine || difference >= report.max_difference {
            report.max_difference = difference;
            report.worst = (*name).to_owned();
        }
        report.ok &= fine;
    }
    report.seconds = started.elapsed().as_secs_f64();
    report.gflops = products_rate(&opened.device).map_err(failed)?;
    Ok(report)
}

type Outcome = Result<(Vec<f32>, Vec<f32>), String>;

/// Runs a kernel, and returns its result and the expected one.
type Kernel = fn(&Device) -> Outcome;

const KERNELS: &[(&str, Kernel)] = &[
    ("matmul", matmul),
    ("product of few rows", |device| product(3, device)),
    ("product of many rows", |device| product(ROWS, device)),
    ("softmax", row_softmax),
    ("reduce", reduce),
    ("gather", gather),
];

fn matmul(device: &Device) -> Outcome {
    let (left, right) = (noise(ROWS * INNER, 1), noise(INNER * COLUMNS, 2));
    let product = kernel::matmul(upload(&left, [ROWS, INNER], device), upload(&right, [INNER, COLUMNS], device));
    let mut expected = vec![0.0; ROWS * COLUMNS];
    for (row, sums) in left.chunks_exact(INNER).zip(expected.chunks_exact_mut(COLUMNS)) {
        for (&factor, line) in row.iter().zip(right.chunks_exact(COLUMNS)) {
            sums.iter_mut().zip(line).for_each(|(sum, &value)| *sum += factor * value);
        }
    }
    Ok((download(product)?, expected))
}

/// A product like that of a model's layer: weights in BF16, `[COLUMNS, WIDTH]`, and shared memory.
fn product(rows: usize, device: &Device) -> Outcome {
    /// A multiple of the vector width.
    const WIDTH: usize = 128;
    let left = noise(rows * WIDTH, 7);
    let weights: Vec<bf16> = noise(COLUMNS * WIDTH, 8).into_iter().map(bf16::from_f32).collect();
    let bytes = weights.iter().flat_map(|value| value.to_le_bytes()).collect();
    let stored = StoredTensor::owned(bytes, StoredType::Bf16, vec![COLUMNS, WIDTH]);
    let computed = Linear::new(vec![stored], None, device).forward(upload(&left, [rows, WIDTH], device));
    let dot = |row: &[f32], line: &[bf16]| row.iter().zip(line).map(|(x, w)| x * w.to_f32()).sum::<f32>();
    let row = |row| weights.chunks_exact(WIDTH).map(move |line| dot(row, line));
    Ok((download(computed)?, left.chunks_exact(WIDTH).flat_map(row).collect()))
}

fn row_softmax(device: &Device) -> Outcome {
    let values = noise(ROWS * INNER, 3);
    let computed = softmax(upload(&values, [ROWS, INNER], device), 1);
    let mut expected = values;
    for row in expected.chunks_exact_mut(INNER) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|value| *value = (*value - most).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|value| *value /= sum);
    }
    Ok((download(computed)?, expected))
}

/// Sums and maxima of rows, `[ROWS, 1]` each, concatenated.
fn reduce(device: &Device) -> Outcome {
    let values = noise(ROWS * INNER, 4);
    let tensor = upload(&values, [ROWS, INNER], device);
    let mut computed = download(tensor.clone().sum_dim(1))?;
    computed.extend(download(tensor.max_dim(1))?);
    let rows = || values.chunks_exact(INNER);
    let sums = rows().map(|row| row.iter().sum::<f32>());
    let maxima = rows().map(|row| row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    Ok((computed, sums.chain(maxima).collect()))
}

/// One value of each row: `[ROWS, 1]`.
fn gather(device: &Device) -> Outcome {
    let values = noise(ROWS * INNER, 5);
    let row_indices: Vec<i32> = (0..ROWS).map(|row| i32::try_from(row * 37 % INNER).unwrap_or(0)).collect();
    let indices = Tensor::<2, Int>::from_data(TensorData::new(row_indices.clone(), [ROWS, 1]), device);
    let computed = upload(&values, [ROWS, INNER], device).gather(1, indices);
    let to_usize = |index: i32| usize::try_from(index).unwrap_or(0);
    let expected = values
        .chunks_exact(INNER)
        .zip(row_indices)
        .filter_map(|(row, index)| row.get(to_usize(index)).copied())
        .collect();
    Ok((download(computed)?, expected))
}

/// GFLOP/s of square f32 products. The size depends on the device: a software adapter would take too long for a large
/// product.
fn products_rate(device: &Device) -> Result<f64, String> {
    const SMALL: usize = 256;
    const LARGE: usize = 1_024;
    const SMALL_IS_QUICK: Duration = Duration::from_millis(5);
    square(SMALL, device)?;
    let started = Instant::now();
    square(SMALL, device)?;
    let size = if started.elapsed() < SMALL_IS_QUICK { LARGE } else { SMALL };
    let operand = upload(&noise(size * size, 6), [size, size], device);
    read_one(kernel::matmul(operand.clone(), operand.clone()))?;
    let started = Instant::now();
    let mut products = 0_u32;
    while started.elapsed() < MEASURED {
        // Reading back one value waits for the product without the cost of copying it.
        read_one(kernel::matmul(operand.clone(), operand.clone()))?;
        products += 1;
    }
    let operations = 2.0 * f64::from(u32::try_from(size).unwrap_or(0)).powi(3) * f64::from(products);
    Ok(operations / started.elapsed().as_secs_f64() / 1e9)
}

fn square(size: usize, device: &Device) -> Result<(), String> {
    let operand = upload(&noise(size * size, 6), [size, size], device);
    read_one(kernel::matmul(operand.clone(), operand))
}

fn read_one(product: Tensor<2>) -> Result<(), String> {
    download(product.slice([0..1, 0..1])).map(|_| ())
}

fn upload(values: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn download(tensor: Tensor<2>) -> Result<Vec<f32>, String> {
    tensor.try_into_vec_as::<f32>().map_err(|error| error.to_string())
}

/// `count` reproducible values in `[-1, 1)`: a linear congruential generator (Knuth's MMIX constants).
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(i16::from_ne_bytes([(state >> 56) as u8, (state >> 48) as u8])) / 32_768.0
    };
    (0..count).map(|_| next()).collect()
}

/// The largest error relative to the largest expected value. It is `f32::MAX`, which JSON can represent, if lengths
/// differ or a value is not a number.
fn difference(computed: &[f32], expected: &[f32]) -> f32 {
    if computed.len() != expected.len() || !computed.iter().all(|value| value.is_finite()) {
        return f32::MAX;
    }
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    computed.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_passes_its_own_test() {
        let report = run_self_test(&DeviceChoice::cpu()).expect("the CPU opens");
        assert!(report.ok, "{report:?}");
        assert!(report.max_difference < 1e-5, "{report:?}");
        assert!(report.gflops > 0.1, "{report:?}");
    }

    #[test]
    fn wrong_missing_and_nan_values_are_differences() {
        assert!(difference(&[1.0, 2.0], &[1.0, 2.0]) == 0.0);
        assert!(difference(&[1.0, 2.5], &[1.0, 2.0]) > TOLERANCE);
        assert!(difference(&[1.0], &[1.0, 2.0]) > TOLERANCE);
        assert!(difference(&[1.0, f32::NAN], &[1.0, 2.0]) > TOLERANCE);
    }
}
