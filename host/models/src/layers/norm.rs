//! Root mean square norm (Zhang and Sennrich 2019).

use burn::tensor::Tensor;

use crate::kernel::{gpu_rms_norm, host_row, rms_norm};
use crate::load::is_cpu;

/// The weights of a norm, as the kernels of each device read them.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    weight: Tensor<2>,
    /// For the CPU.
    row: Vec<f32>,
    epsilon: f32,
}

impl RmsNorm {
    /// `weight` is `[width]`.
    pub(crate) fn new(weight: Tensor<1>, epsilon: f64) -> Self {
        Self { row: host_row(&weight), weight: weight.unsqueeze(), epsilon: epsilon as f32 }
    }

    /// `x` is `[rows, width]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        if is_cpu(&x.device()) {
            return rms_norm(x, &self.row, self.epsilon);
        }
        gpu_rms_norm(x, &self.weight, self.epsilon)
    }

    /// The weights, `[1, width]`, and epsilon, for products that norm their own input.
    pub(crate) fn on_device(&self) -> (&Tensor<2>, f32) {
        (&self.weight, self.epsilon)
    }
}
