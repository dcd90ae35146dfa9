//! Activation functions by the names that checkpoints give them.

use burn::tensor::{Tensor, activation};

use firebox_kernels::elements::Activation;

use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;
use crate::kernel::cpu_activation;
use crate::load::is_cpu;

/// The names that [`in_config`] knows, for error messages.
const IN_CONFIG: &str = "gelu, gelu_python, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, \
                                    gelu_python_tanh, quick_gelu, relu, sigmoid, silu, swish, tanh, linear";

/// The names that [`in_torch`] knows, for error messages.
pub(crate) const IN_TORCH: &str = "torch.nn. Identity, GELU, ReLU, Sigmoid, SiLU, Tanh";

/// Reads `key` of a model's config, `hidden_act` in most; `default` is the name that an absent key stands for.
///
/// # Errors
/// `Unsupported` for an unknown name, `Config` for a value that is not text.
pub(crate) fn read_key(file: &JsonFile, key: &'static str, default: &str) -> Result<Activation, ModelError> {
    let name = file.optional_text(key)?.unwrap_or(default);
    in_config(name).ok_or_else(|| ModelError::Unsupported {
        file: file.file.clone(),
        key,
        found: name.chars().take(40).collect(),
        supported: IN_CONFIG,
    })
}

/// The function that transformers has under this name (`hidden_act` of a config).
pub(crate) fn in_config(name: &str) -> Option<Activation> {
    Some(match name {
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" | "gelu_python_tanh" => Activation::GeluTanh,
        "quick_gelu" => Activation::GeluSigmoid,
        "relu" => Activation::Relu,
        "sigmoid" => Activation::Sigmoid,
        "silu" | "swish" => Activation::Silu,
        "tanh" => Activation::Tanh,
        "linear" => Activation::Identity,
        _ => return None,
    })
}

/// The function of torch's class of this name, with its module (`torch.nn.modules.activation.Tanh`, `torch.nn.Tanh`).
pub(crate) fn in_torch(class: &str) -> Option<Activation> {
    let class = class.strip_prefix("torch.nn.")?;
    let class = ["modules.activation.", "modules.linear."]
        .iter()
        .find_map(|module| class.strip_prefix(module))
        .unwrap_or(class);
    Some(match class {
        "Identity" => Activation::Identity,
        "GELU" => Activation::Gelu,
        "ReLU" => Activation::Relu,
        "Sigmoid" => Activation::Sigmoid,
        "SiLU" => Activation::Silu,
        "Tanh" => Activation::Tanh,
        _ => return None,
    })
}

/// Applies the function to each element of `x`.
pub(crate) fn apply(function: Activation, x: Tensor<2>) -> Tensor<2> {
    if is_cpu(&x.device()) {
        return cpu_activation(function, x);
    }
    match function {
        Activation::Identity => x,
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => {
            let cubed = x.clone() * x.clone() * x.clone();
            let inner = (x.clone() + cubed * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
            x * 0.5 * (activation::tanh(inner) + 1.0)
        }
        Activation::GeluSigmoid => x.clone() * activation::sigmoid(x * 1.702),
        Activation::Relu => activation::relu(x),
        Activation::Sigmoid => activation::sigmoid(x),
        Activation::Silu => activation::silu(x),
        Activation::Tanh => activation::tanh(x),
    }
}
