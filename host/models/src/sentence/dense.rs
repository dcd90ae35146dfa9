//! A linear layer after the pooling, with weights in a folder of its own.

use burn::tensor::{Device, Tensor};
use firebox_contract::limits;
use firebox_kernels::elements::Activation;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::JsonFile;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::layers::Linear;
use crate::layers::{IN_TORCH, activation};

/// `activation(x Wᵀ + b)`, plus a residual if there is one: `x` or a product of it.
#[derive(Debug)]
pub(crate) struct Dense {
    linear: Linear,
    activation: Activation,
    residual: Residual,
    /// Numbers of an output vector.
    pub(crate) width: usize,
}

#[derive(Debug)]
enum Residual {
    None,
    Input,
    Linear(Box<Linear>),
}

impl Dense {
    /// A layer without a residual. `linear` makes `width` numbers.
    pub(crate) fn new(linear: Linear, activation: Activation, width: usize) -> Self {
        Self { linear, activation, residual: Residual::None, width }
    }

    /// Reads the layer. `inputs` is the length of an input vector.
    ///
    /// # Errors
    /// Names the key or the tensor that is not right.
    pub(crate) fn read(
        folder: &Checkpoint,
        config: &JsonFile,
        inputs: usize,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let given = config.number("in_features", 1..=limits::MODEL_HIDDEN_MAX)?;
        if given != inputs {
            return Err(config.wrong("in_features", format!("is {given}, but {inputs} numbers come in")));
        }
        let width = config.number("out_features", 1..=limits::MODEL_HIDDEN_MAX)?;
        let weights = Weights::new(folder, device, "", &[]);
        let matrix = |name: &str, bias| weights.linear(&[(name.to_owned(), width)], inputs, bias);
        let residual = match config.flag("use_residual", false)? {
            false => Residual::None,
            true if inputs == width => Residual::Input,
            true => Residual::Linear(Box::new(matrix("residual", false)?)),
        };
        let linear = matrix("linear", config.flag("bias", true)?)?;
        weights.warn_unused();
        Ok(Self { linear, activation: activation(config)?, residual, width })
    }

    /// `[texts, inputs]` to `[texts, width]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = self.linear.forward_activated(x.clone(), self.activation);
        match &self.residual {
            Residual::None => y,
            Residual::Input => y + x,
            Residual::Linear(linear) => y + linear.forward(x),
        }
    }
}

fn activation(config: &JsonFile) -> Result<Activation, ModelError> {
    let Some(class) = config.optional_text("activation_function")? else { return Ok(Activation::Tanh) };
    activation::in_torch(class).ok_or_else(|| ModelError::Unsupported {
        file: config.file.clone(),
        key: "activation_function",
        found: class.chars().take(80).collect(),
        supported: IN_TORCH,
    })
}
