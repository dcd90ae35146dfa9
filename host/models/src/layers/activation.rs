//! Activation functions by the names that checkpoints give them.

use burn::tensor::{Tensor, activation};

use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;
use crate::kernel::cpu_activation;
use crate::load::is_cpu;

/// A function of one number, applied to each element. The kernels of the CPU and of GPUs are compiled for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Activation {
    Identity,
    /// GELU (Hendrycks and Gimpel 2016) with the error function.
    Gelu,
    /// GELU with the hyperbolic tangent.
    GeluTanh,
    /// GELU with the logistic function: `x * sigmoid(1.702 x)`.
    GeluSigmoid,
    Relu,
    Sigmoid,
    /// `x * sigmoid(x)`.
    Silu,
    Tanh,
}

/// The names that [`Activation::in_config`] knows, for error messages.
const IN_CONFIG: &str = "gelu, gelu_python, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, \
                                    gelu_python_tanh, quick_gelu, relu, sigmoid, silu, swish, tanh, linear";

/// The names that [`Activation::in_torch`] knows, for error messages.
pub(crate) const IN_TORCH: &str = "torch.nn. Identity, GELU, ReLU, Sigmoid, SiLU, Tanh";

impl Activation {
    /// Every function.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 8] = [
        Self::Identity,
        Self::Gelu,
        Self::GeluTanh,
        Self::GeluSigmoid,
        Self::Relu,
        Self::Sigmoid,
        Self::Silu,
        Self::Tanh,
    ];

    /// Reads `key` of a model's config, `hidden_act` in most; `default` is the name that an absent key stands for.
    ///
    /// # Errors
    /// `Unsupported` for an unknown name, `Config` for a value that is not text.
    pub(crate) fn read_key(file: &JsonFile, key: &'static str, default: &str) -> Result<Self, ModelError> {
        let name = file.optional_text(key)?.unwrap_or(default);
        Self::in_config(name).ok_or_else(|| ModelError::Unsupported {
            file: file.file.clone(),
            key,
            found: name.chars().take(40).collect(),
            supported: IN_CONFIG,
        })
    }

    /// The function that transformers has under this name (`hidden_act` of a config).
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

    /// The function of torch's class of this name, with its module (`torch.nn.modules.activation.Tanh`, `torch.nn.Tanh`).
    pub(crate) fn in_torch(class: &str) -> Option<Self> {
        let class = class.strip_prefix("torch.nn.")?;
        let class = ["modules.activation.", "modules.linear."]
            .iter()
            .find_map(|module| class.strip_prefix(module))
            .unwrap_or(class);
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

    /// Applies the function to each element of `x`.
    pub(crate) fn apply(self, x: Tensor<2>) -> Tensor<2> {
        if is_cpu(&x.device()) {
            return cpu_activation(self, x);
        }
        match self {
            Self::Identity => x,
            Self::Gelu => activation::gelu(x),
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
