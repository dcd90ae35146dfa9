//! The kernels of the crate `firebox-kernels` for tensors that are on the CPU.

use burn::tensor::{DType, Tensor, TensorData};
use firebox_kernels::attention::{Attention, SequenceRows};
use firebox_kernels::elements::{Activation, RowOperation, apply_to_rows};

use crate::kernel::gpu::gpu_gated;
use crate::load::is_cpu;

/// Attention of `qkv`, `[rows, (heads + 2 * kv_heads) * head_dim]`, which is on the CPU. The result is
/// `[rows, heads * head_dim]`, and zero in rows of no sequence. Keys and values are written to the caches.
pub(crate) fn attend(attention: &Attention<'_>, qkv: Tensor<2>, sequences: &mut [SequenceRows<'_>]) -> Tensor<2> {
    let ([rows, columns], device) = (qkv.dims(), qkv.device());
    let qkv = qkv.into_data().convert::<f32>();
    let out = attention.rows(qkv.as_slice().unwrap_or_default(), columns, sequences);
    let width = out.len() / rows.max(1);
    Tensor::from_data(TensorData::new(out, [rows, width]), (&device, DType::F32))
}

/// The gated linear unit `activation(gate) * up` (Shazeer 2020; SwiGLU with SiLU) of `[rows, gate and up]`. The result is
/// half as wide.
pub(crate) fn gated(activation: Activation, gate_up: Tensor<2>) -> Tensor<2> {
    let [rows, both] = gate_up.dims();
    if is_cpu(&gate_up.device()) {
        return on_cpu(RowOperation::Gated(activation), gate_up, [rows, both / 2]);
    }
    gpu_gated(activation, gate_up)
}

/// The function of each element of `x`, which is on the CPU.
pub(crate) fn cpu_activation(activation: Activation, x: Tensor<2>) -> Tensor<2> {
    let shape = x.dims();
    on_cpu(RowOperation::Map(activation), x, shape)
}

/// Root mean square norm (Zhang and Sennrich 2019) of the rows of `x`, which is on the CPU.
pub(crate) fn rms_norm(x: Tensor<2>, weight: &[f32], epsilon: f32) -> Tensor<2> {
    let shape = x.dims();
    on_cpu(RowOperation::RmsNorm(weight, epsilon), x, shape)
}

/// Layer norm (Ba et al. 2016) of the rows of `x`, which is on the CPU.
pub(crate) fn layer_norm(x: Tensor<2>, weight: &[f32], bias: &[f32], epsilon: f32) -> Tensor<2> {
    let shape = x.dims();
    on_cpu(RowOperation::LayerNorm(weight, bias, epsilon), x, shape)
}

/// Layer norm of `x + y`, which are on the CPU: `[rows, width]` each.
pub(crate) fn sum_layer_norm(x: Tensor<2>, y: Tensor<2>, weight: &[f32], bias: &[f32], epsilon: f32) -> Tensor<2> {
    let shape = x.dims();
    let y = y.into_data().convert::<f32>();
    on_cpu(RowOperation::SumLayerNorm(y.as_slice().unwrap_or_default(), weight, bias, epsilon), x, shape)
}

/// A vector as the kernels of the CPU read it. Empty if it is on another device.
pub(crate) fn host_row(vector: &Tensor<1>) -> Vec<f32> {
    match is_cpu(&vector.device()) {
        true => vector.to_data().convert::<f32>().try_into_vec().unwrap_or_default(),
        false => Vec::new(),
    }
}

/// `shape` is the shape of the result.
fn on_cpu(operation: RowOperation<'_>, x: Tensor<2>, shape: [usize; 2]) -> Tensor<2> {
    let (device, width) = (x.device(), x.dims()[1]);
    let x = x.into_data().convert::<f32>();
    let out = apply_to_rows(operation, x.as_slice().unwrap_or_default(), width, shape[1]);
    Tensor::from_data(TensorData::new(out, shape), (&device, DType::F32))
}
