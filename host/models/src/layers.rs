//! Layers that several architectures use: linear layers, norms and activation functions.

pub(crate) mod activation;
mod layer_norm;
mod linear;
mod norm;

pub(crate) use activation::IN_TORCH;
pub(crate) use layer_norm::LayerNorm;
pub(crate) use linear::Linear;
pub(crate) use norm::RmsNorm;
