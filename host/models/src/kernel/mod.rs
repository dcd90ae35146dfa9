//! Operations of our own, where burn's do not serve on every device.

mod cpu_attention;
mod cpu_elements;
mod cpu_linear;
mod matmul;
mod memory;
mod threads;

pub(crate) use cpu_attention::{Attention, HeadCache, HeadNorms, Layout, Run, Sight};
pub(crate) use cpu_elements::{gelu, host_row, layer_norm, rms_norm, swiglu};
pub(crate) use cpu_linear::StoredMatrix;
pub(crate) use matmul::matmul;
pub(crate) use threads::join_in;
