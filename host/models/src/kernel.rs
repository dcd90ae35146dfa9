//! Compute kernels of our own, for devices and operations where burn's are missing or slow.
//!
//! ```text
//! cpu  the crate `firebox-kernels` for tensors on the CPU
//! gpu  CubeCL kernels, compiled at run time for the device
//! ```

mod cpu;
mod gpu;

pub(crate) use cpu::{attend, cpu_activation, gated, host_row, layer_norm, rms_norm, sum_layer_norm};
pub(crate) use gpu::{
    DeviceMatrix, Epilogue, GPU_KERNEL_SIZES, Gpu, Input, PAGE_TOKENS, PageShape, PageStore, PagedAttention, PagedRows,
    PagedSequenceRows, Pages, Recording, RowPlan, gpu_rms_norm, matmul,
};
