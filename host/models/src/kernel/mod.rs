//! Operations of our own, where burn's do not serve on every device or are slow.

mod cpu_attention;
mod cpu_elements;
mod cpu_linear;
mod gpu;
mod gpu_attention;
mod gpu_elements;
mod gpu_linear;
mod gpu_replay;
mod matmul;
mod memory;
mod threads;

pub(crate) use cpu_attention::{Attention, HeadCache, HeadNorms, Layout, Run, Sight};
pub(crate) use cpu_elements::{gelu, host_row, layer_norm, rms_norm, swiglu};
pub(crate) use cpu_linear::StoredMatrix;
pub(crate) use gpu::{Gpu, Input};
pub(crate) use gpu_attention::{
    PAGE_TOKENS, PageShape, PageStore, PagedAttention, PagedRows, PagedRun, Pages, RowPlan,
};
pub(crate) use gpu_elements::gpu_rms_norm;
pub(crate) use gpu_linear::{Around, DeviceMatrix, GPU_KERNEL_SIZES};
pub(crate) use gpu_replay::Recording;
pub(crate) use matmul::matmul;
pub(crate) use threads::join_in;
