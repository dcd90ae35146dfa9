//! `y = x Wᵀ + b`, with the weight in the layout of checkpoints, `[out, in]`.

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_kernels::elements::Activation;
use firebox_kernels::linear::{PackedMatrix, StoredMatrix};
use firebox_kernels::weights::StoredTensor;

use crate::kernel::{DeviceMatrix, Epilogue, gated, host_row};
use crate::layers::RmsNorm;
use crate::layers::activation::apply;
use crate::load::is_cpu;

/// A linear layer on a device.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor<2>>,
    /// The bias for the kernels of the CPU; empty without one.
    bias_row: Vec<f32>,
}

#[derive(Debug)]
enum Weight {
    /// On a GPU.
    Device(Box<DeviceMatrix>),
    /// In the checkpoint's memory and type: the CPU reads it there.
    Stored(StoredMatrix),
    /// A copy for the CPU.
    Packed(PackedMatrix),
}

impl Linear {
    /// `parts` are matrices `[.., in]`, stacked along their rows to `[out, in]`; `bias` is `[out]`.
    pub(crate) fn new(parts: Vec<StoredTensor>, bias: Option<Tensor<1>>, device: &Device) -> Self {
        let weight = match is_cpu(device) {
            true => Weight::Stored(StoredMatrix::new(parts)),
            false => Weight::Device(Box::new(DeviceMatrix::new(&parts, device))),
        };
        let bias_row = bias.as_ref().map(host_row).unwrap_or_default();
        Self { weight, bias: bias.map(|bias| bias.unsqueeze()), bias_row }
    }

    /// The same with a copy of the matrix that is faster for the CPU, if its type has one.
    pub(crate) fn packed(self) -> Self {
        let packed = if let Weight::Stored(matrix) = &self.weight { matrix.packed() } else { None };
        Self { weight: packed.map_or(self.weight, Weight::Packed), ..self }
    }

    /// Bytes of the matrix on its device.
    pub(crate) fn bytes(&self) -> usize {
        match &self.weight {
            Weight::Device(matrix) => matrix.bytes(),
            Weight::Stored(matrix) => matrix.bytes(),
            Weight::Packed(matrix) => matrix.bytes(),
        }
    }

    /// Columns of the input.
    pub(crate) fn inputs(&self) -> usize {
        match &self.weight {
            Weight::Device(matrix) => matrix.columns(),
            Weight::Stored(matrix) => matrix.columns(),
            Weight::Packed(matrix) => matrix.columns(),
        }
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.weight {
            Weight::Device(matrix) => matrix.product(x, self.epilogue()),
            Weight::Stored(_) | Weight::Packed(_) => self.host_product(x, Activation::Identity),
        }
    }

    /// As [`Linear::forward`], with a function of each output.
    pub(crate) fn forward_activated(&self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        match &self.weight {
            Weight::Device(_) => apply(activation, self.forward(x)),
            Weight::Stored(_) | Weight::Packed(_) => self.host_product(x, activation),
        }
    }

    /// As [`Linear::forward`], added to `base`, `[rows, out]`.
    pub(crate) fn forward_onto(&self, x: Tensor<2>, base: Tensor<2>) -> Tensor<2> {
        match &self.weight {
            Weight::Device(matrix) => matrix.product(x, Epilogue { base: Some(base), ..self.epilogue() }),
            Weight::Stored(_) | Weight::Packed(_) => base + self.host_product(x, Activation::Identity),
        }
    }

    /// As [`Linear::forward`], of the normed `x`.
    pub(crate) fn forward_normed(&self, x: Tensor<2>, norm: Option<&RmsNorm>) -> Tensor<2> {
        match &self.weight {
            Weight::Device(matrix) => {
                matrix.product(x, Epilogue { norm: norm.map(RmsNorm::on_device), ..self.epilogue() })
            }
            Weight::Stored(_) | Weight::Packed(_) => self.forward(normed(x, norm)),
        }
    }

    /// As [`Linear::forward_normed`], with a gated linear unit after it: the first half of the outputs are its gates.
    /// `[rows, in]` to `[rows, out / 2]`.
    pub(crate) fn forward_gated(&self, x: Tensor<2>, norm: Option<&RmsNorm>, gate: Activation) -> Tensor<2> {
        match &self.weight {
            Weight::Device(matrix) => {
                let norm = norm.map(RmsNorm::on_device);
                matrix.product(x, Epilogue { norm, gate: Some(gate), ..self.epilogue() })
            }
            Weight::Stored(_) | Weight::Packed(_) => gated(gate, self.forward(normed(x, norm))),
        }
    }

    /// As [`Linear::forward`], with a gated linear unit after it: the first half of the outputs are its gates.
    /// `[rows, in]` to `[rows, out / 2]`.
    pub(crate) fn forward_halves(&self, x: Tensor<2>, gate: Activation) -> Tensor<2> {
        let both = self.forward(x);
        if is_cpu(&both.device()) {
            return gated(gate, both);
        }
        let half = both.dims()[1] / 2;
        apply(gate, both.clone().narrow(1, 0, half)) * both.narrow(1, half, half)
    }

    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue { bias: self.bias.as_ref(), ..Epilogue::default() }
    }

    /// Of a matrix that the CPU reads.
    fn host_product(&self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        let device = x.device();
        let [rows, _] = x.dims();
        // This is usually not a copy: the CPU's data is f32 in memory order, and this is most often its last handle.
        let x = x.into_data().convert::<f32>();
        let x = x.as_slice().unwrap_or_default();
        let (y, outputs) = match &self.weight {
            Weight::Stored(matrix) => (matrix.finished_product(x, rows, &self.bias_row, activation), matrix.rows()),
            Weight::Packed(matrix) => (matrix.finished_product(x, rows, &self.bias_row, activation), matrix.rows()),
            Weight::Device(_) => (Vec::new(), 0),
        };
        Tensor::from_data(TensorData::new(y, [rows, outputs]), (&device, DType::F32))
    }
}

fn normed(x: Tensor<2>, norm: Option<&RmsNorm>) -> Tensor<2> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}
