//! `y = x Wᵀ + b` with the weight as checkpoints store it, `[out, in]`.

use burn::tensor::{DType, Tensor, TensorData};

use crate::kernel::{StoredMatrix, matmul};

/// A linear layer on a device.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor<2>>,
}

#[derive(Debug)]
enum Weight {
    /// On the device, f32.
    Dense(Box<Tensor<2>>),
    /// In the checkpoint's own memory, in its own type: the CPU reads it there.
    Stored(StoredMatrix),
}

impl Linear {
    /// `weight` is `[out, in]`, `bias` is `[out]`.
    pub(crate) fn dense(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self { weight: Weight::Dense(Box::new(weight)), bias: bias.map(|bias| bias.unsqueeze()) }
    }

    /// For the CPU.
    pub(crate) fn stored(weight: StoredMatrix, bias: Option<Tensor<1>>) -> Self {
        Self { weight: Weight::Stored(weight), bias: bias.map(|bias| bias.unsqueeze()) }
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = match &self.weight {
            // A transposed view: the products read the stored layout as it is.
            Weight::Dense(weight) => matmul(x, Tensor::clone(weight).transpose()),
            Weight::Stored(matrix) => stored_product(matrix, x),
        };
        match &self.bias {
            Some(bias) => y + bias.clone(),
            None => y,
        }
    }
}

fn stored_product(matrix: &StoredMatrix, x: Tensor<2>) -> Tensor<2> {
    let device = x.device();
    let [rows, _] = x.dims();
    // Not a copy: the CPU's data is f32 in memory order, and this is most often the last handle.
    let x = x.into_data().convert::<f32>();
    let y = matrix.product(x.as_slice().unwrap_or_default(), rows);
    Tensor::from_data(TensorData::new(y, [rows, matrix.rows()]), (&device, DType::F32))
}
