//! Small products with known results. They tell whether a driver computes rightly: some do not, without an error.

use burn::tensor::{Device, Tensor as BurnTensor, TensorData};

/// Largest error relative to the largest value. A GPU that multiplies in TF32 or F16 stays below it.
const TOLERANCE: f32 = 4e-3;

/// A product `[m, k] x [k, n]`. The right operand is stored like weights, `[n, k]`.
pub(super) struct Probe {
    m: usize,
    k: usize,
    left: Vec<f32>,
    /// BF16 and F16 hold these values exactly.
    pub(super) right: Vec<f32>,
}

impl Probe {
    pub(super) fn new((m, k, n): (usize, usize, usize)) -> Self {
        Self { m, k, left: pattern(m * k, 7), right: pattern(n * k, 11) }
    }

    /// `[m, k]`
    pub(super) fn left(&self, device: &Device) -> BurnTensor<2> {
        BurnTensor::from_data(TensorData::new(self.left.clone(), [self.m, self.k]), device)
    }

    /// Whether `computed` is the product.
    pub(super) fn has_result(&self, computed: &[f32]) -> bool {
        let dot = |row: &[f32], line: &[f32]| row.iter().zip(line).map(|(a, b)| a * b).sum::<f32>();
        let lines = || self.right.chunks_exact(self.k);
        let expected: Vec<f32> =
            self.left.chunks_exact(self.k).flat_map(|row| lines().map(move |line| dot(row, line))).collect();
        let scale = expected.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
        let close = |(a, b): (&f32, &f32)| a.is_finite() && (a - b).abs() <= TOLERANCE * scale;
        computed.len() == expected.len() && computed.iter().zip(&expected).all(close)
    }
}

/// Values in `[-1, 1)` that repeat with no period of two.
pub(super) fn pattern(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * step) % 31) as f32 / 16.0 - 1.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_with_a_wrong_or_missing_element_is_not_the_result() {
        let probe = Probe::new((2, 3, 2));
        let dot = |row: usize, line: usize| -> f32 {
            (0..3).map(|at| probe.left[row * 3 + at] * probe.right[line * 3 + at]).sum()
        };
        let mut product = vec![dot(0, 0), dot(0, 1), dot(1, 0), dot(1, 1)];
        assert!(probe.has_result(&product));
        assert!(!probe.has_result(&product[..3]));
        product[3] = f32::NAN;
        assert!(!probe.has_result(&product));
        product[3] = dot(1, 1) + 0.1;
        assert!(!probe.has_result(&product));
    }
}
