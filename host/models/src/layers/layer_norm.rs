//! Layer norm (Ba et al. 2016).

use burn::tensor::{Tensor, module};

use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::{host_row, layer_norm, sum_layer_norm};
use crate::load::is_cpu;

/// The weights of a norm, as the kernels of each device read them.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    /// Weight and bias for the kernels of the CPU.
    rows: [Vec<f32>; 2],
    epsilon: f64,
}

impl LayerNorm {
    /// Loads `name.weight` and, unless the norm has none, `name.bias`, each `[width]`.
    ///
    /// # Errors
    /// The tensor that is missing or wrong.
    pub(crate) fn load(
        weights: &Weights<'_>,
        name: &str,
        width: usize,
        epsilon: f64,
        has_bias: bool,
    ) -> Result<Self, ModelError> {
        let weight = weights.vector(&format!("{name}.weight"), width)?;
        let bias = match has_bias {
            true => weights.vector(&format!("{name}.bias"), width)?,
            false => weight.zeros_like(),
        };
        Ok(Self { rows: [host_row(&weight), host_row(&bias)], weight, bias, epsilon })
    }

    /// The norm of `x + y`, `[rows, width]` each.
    pub(crate) fn forward_sum(&self, x: Tensor<2>, y: Tensor<2>) -> Tensor<2> {
        if is_cpu(&x.device()) {
            let [weight, bias] = &self.rows;
            return sum_layer_norm(x, y, weight, bias, self.epsilon as f32);
        }
        self.forward(x + y)
    }

    /// `x` is `[rows, width]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        if is_cpu(&x.device()) {
            let [weight, bias] = &self.rows;
            return layer_norm(x, weight, bias, self.epsilon as f32);
        }
        module::layer_norm(x, self.weight.clone(), Some(self.bias.clone()), self.epsilon)
    }
}
