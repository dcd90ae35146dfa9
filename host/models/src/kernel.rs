//! Compute kernels of our own, for devices and operations where burn's are missing or slow.
//!
//! ```text
//! cpu  AVX-512, AVX2 or portable code, chosen at run time; threads of our own
//! gpu  CubeCL kernels, compiled at run time for the device
//! ```

mod cpu;
mod gpu;

pub(crate) use cpu::{
    Attention, AttentionMask, HeadCache, HeadCacheLayout, HeadNorms, RelativeBias, ScoreScale, SequenceRows,
    StoredMatrix, cpu_activation, finish_rows, gated, host_row, join_pool, layer_norm, rms_norm, soft_cap,
    sum_layer_norm,
};
pub(crate) use gpu::{
    DeviceMatrix, Epilogue, GPU_KERNEL_SIZES, Gpu, Input, PAGE_TOKENS, PageShape, PageStore, PagedAttention, PagedRows,
    PagedSequenceRows, Pages, Recording, RowPlan, gpu_rms_norm, matmul,
};
