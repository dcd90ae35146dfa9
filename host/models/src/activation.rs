//! Activation functions by the names that checkpoints have for them.

use burn::tensor::{Tensor, activation};

use crate::kernel::gelu;

/// A function of one number, applied to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Identity,
    /// GELU (Hendrycks and Gimpel 2016) with the error function.
    Gelu,
    /// GELU with the hyperbolic tangent.
    GeluTanh,
    /// GELU with the logistic function.
    GeluSigmoid,
    Relu,
    Sigmoid,
    Silu,
    Tanh,
}

/// The names of [`Activation::in_config`], for messages.
pub(crate) const IN_CONFIG: &str = "gelu, gelu_python, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, \
                                    gelu_python_tanh, quick_gelu, relu, sigmoid, silu, swish, tanh, linear";

/// The names of [`Activation::in_torch`], for messages.
pub(crate) const IN_TORCH: &str = "torch.nn. Identity, GELU, ReLU, Sigmoid, SiLU, Tanh";

impl Activation {
    /// As transformers names it (`hidden_act` of a config).
    pub(crate) fn in_config(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" | "gelu_python_tanh" => Self::GeluTanh,
            "quick_gelu" => Self::GeluSigmoid,
            "relu" => Self::Relu,
            "sigmoid" => Self::Sigmoid,
            "silu" | "swish" => Self::Silu,
            "tanh" => Self::Tanh,
            "linear" => Self::Identity,
            _ => return None,
        })
    }

    /// As torch names its class, with its module (`torch.nn.modules.activation.Tanh`, `torch.nn.Tanh`).
    pub(crate) fn in_torch(class: &str) -> Option<Self> {
        let class = class.strip_prefix("torch.nn.")?;
        let class =
            ["modules.activation.", "modules.linear."].iter().find_map(|at| class.strip_prefix(at)).unwrap_or(class);
        Some(match class {
            "Identity" => Self::Identity,
            "GELU" => Self::Gelu,
            "ReLU" => Self::Relu,
            "Sigmoid" => Self::Sigmoid,
            "SiLU" => Self::Silu,
            "Tanh" => Self::Tanh,
            _ => return None,
        })
    }

    pub(crate) fn apply(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Identity => x,
            Self::Gelu => gelu(x),
            Self::GeluTanh => {
                let cubed = x.clone() * x.clone() * x.clone();
                let inner = (x.clone() + cubed * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
                x * 0.5 * (activation::tanh(inner) + 1.0)
            }
            Self::GeluSigmoid => x.clone() * activation::sigmoid(x * 1.702),
            Self::Relu => activation::relu(x),
            Self::Sigmoid => activation::sigmoid(x),
            Self::Silu => activation::silu(x),
            Self::Tanh => activation::tanh(x),
        }
    }
}
