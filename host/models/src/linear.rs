//! `y = x Wᵀ + b` with the weight as checkpoints store it, `[out, in]`.

use burn::tensor::{DType, Tensor, TensorData};

use crate::kernel::{StoredMatrix, matmul};

/// Rows of input up to which the CPU's own kernel is faster than widening the weights for burn's product.
const FEW_ROWS: usize = 24;
/// Rows of weights that are widened at a time for many rows of input.
const WIDENED_ROWS: usize = 512;

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

    /// Number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        match &self.weight {
            Weight::Dense(weight) => weight.dims()[0],
            Weight::Stored(matrix) => matrix.rows(),
        }
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
    let [rows, columns] = x.dims();
    let upload = |values: Vec<f32>, shape: [usize; 2]| {
        Tensor::<2>::from_data(TensorData::new(values, shape), (&device, DType::F32))
    };
    if rows <= FEW_ROWS {
        let data = x.clone().into_data();
        // The CPU's data is f32 in memory order; anything else would still be computed below.
        if let Ok(values) = data.as_slice::<f32>() {
            return upload(matrix.product(values, rows), [rows, matrix.rows()]);
        }
    }
    let starts = (0..matrix.rows()).step_by(WIDENED_ROWS);
    let pieces: Vec<Tensor<2>> = starts
        .map(|from| {
            let to = (from + WIDENED_ROWS).min(matrix.rows());
            matmul(x.clone(), upload(matrix.widened(from, to), [to - from, columns]).transpose())
        })
        .collect();
    Tensor::cat(pieces, 1)
}
