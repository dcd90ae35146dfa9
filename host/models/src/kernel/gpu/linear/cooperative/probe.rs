//! A product with a known result on a device's cooperative matrices.

use burn::tensor::Device;
use half::bf16;

use super::Fragment;
use crate::kernel::gpu::linear::{DeviceMatrix, Epilogue};
use crate::kernel::gpu::probe::Probe;
use firebox_kernels::weights::{StoredTensor, StoredType};

/// Rows of `x`, columns, and rows of weights: parts of a second tile in each direction, and several steps.
const SHAPE: (usize, usize, usize) = (65, 136, 70);

/// Whether the kernel's result is right on this device.
pub(in super::super) fn is_right(fragment: Fragment, device: &Device) -> bool {
    let probe = Probe::new(SHAPE);
    let bytes = probe.right.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
    let stored = StoredTensor::owned(bytes, StoredType::Bf16, vec![SHAPE.2, SHAPE.1]);
    let mut matrix = DeviceMatrix::uploaded(&[stored], device);
    matrix.fragment = Some(fragment);
    let product = matrix.product(probe.left(device), Epilogue::default());
    product.try_into_vec_as::<f32>().is_ok_and(|computed| probe.has_result(&computed))
}
