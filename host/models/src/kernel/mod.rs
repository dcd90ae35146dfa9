//! Operations of our own, where burn's do not serve on every device.

mod matmul;

pub(crate) use matmul::matmul;
