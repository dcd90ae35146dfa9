//! `y = x Wᵀ + b` with the weight as checkpoints store it, `[out, in]`.

use burn::tensor::Tensor;

use crate::kernel::matmul;

/// A linear layer on a device.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor<2>,
    bias: Option<Tensor<2>>,
}

impl Linear {
    /// `weight` is `[out, in]`, `bias` is `[out]`.
    pub(crate) fn dense(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self { weight, bias: bias.map(|bias| bias.unsqueeze()) }
    }

    /// Number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.weight.dims()[0]
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        // A transposed view: the products read the stored layout as it is.
        let y = matmul(x, self.weight.clone().transpose());
        match &self.bias {
            Some(bias) => y + bias.clone(),
            None => y,
        }
    }
}
