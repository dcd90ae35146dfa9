//! Layers that several architectures use: linear layers, norms and activation functions.

mod activation;
mod linear;
mod norm;

pub(crate) use activation::{Activation, IN_TORCH};
pub(crate) use linear::Linear;
pub(crate) use norm::RmsNorm;
