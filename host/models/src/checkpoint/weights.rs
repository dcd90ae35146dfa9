//! From stored tensors to weights on a device, one tensor at a time: a load needs the weights once, plus one tensor.

use std::cell::Cell;

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_contract::limits;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::tensors::StoredTensor;
use crate::error::ModelError;
use crate::linear::Linear;

/// Hands out a checkpoint's weights and counts what it handed out.
pub(crate) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    prefix: &'static str,
    parameters: Cell<u64>,
    device_bytes: Cell<u64>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, device: &'a Device) -> Self {
        Self { checkpoint, device, prefix: "", parameters: Cell::new(0), device_bytes: Cell::new(0) }
    }

    /// Looks every name up behind `prefix`, if the checkpoint's names have it (`bert.embeddings…`).
    pub(crate) fn with_optional_prefix(mut self, prefix: &'static str, probe: &str) -> Self {
        if self.checkpoint.tensors.contains(&format!("{prefix}{probe}")) {
            self.prefix = prefix;
        }
        self
    }

    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    /// Weights handed out so far.
    pub(crate) fn parameters(&self) -> u64 {
        self.parameters.get()
    }

    /// Bytes of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.device_bytes.get()
    }

    /// The tensor as stored, of exactly this shape.
    pub(crate) fn stored(&self, name: &str, shape: &[usize]) -> Result<StoredTensor, ModelError> {
        let name = format!("{}{name}", self.prefix);
        let tensor = self.checkpoint.tensors.get(&name, shape, &self.checkpoint.source.label())?;
        self.parameters.set(self.parameters.get() + tensor.elements() as u64);
        Ok(tensor)
    }

    /// A vector of `len` elements on the device.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Tensor<1>, ModelError> {
        Ok(self.upload(&[self.stored(name, &[len])?], [len]))
    }

    /// Several vectors, one after the other.
    pub(crate) fn stacked_vector(&self, parts: &[(String, usize)]) -> Result<Tensor<1>, ModelError> {
        let stored = parts.iter().map(|(name, len)| self.stored(name, &[*len])).collect::<Result<Vec<_>, _>>()?;
        Ok(self.upload(&stored, [parts.iter().map(|part| part.1).sum()]))
    }

    /// One linear layer out of several with the same input, stacked along their outputs: one product instead of
    /// many. `parts` are `(name without .weight, outputs)`.
    pub(crate) fn linear(&self, parts: &[(String, usize)], input: usize, bias: bool) -> Result<Linear, ModelError> {
        let stored = parts
            .iter()
            .map(|(name, output)| self.stored(&format!("{name}.weight"), &[*output, input]))
            .collect::<Result<Vec<_>, _>>()?;
        let bias = match bias {
            true => {
                let names: Vec<_> = parts.iter().map(|(name, output)| (format!("{name}.bias"), *output)).collect();
                Some(self.stacked_vector(&names)?)
            }
            false => None,
        };
        self.linear_from(stored, bias)
    }

    /// A linear layer of stored matrices `[out, in]`, which may be shared (tied embeddings).
    pub(crate) fn linear_from(&self, stored: Vec<StoredTensor>, bias: Option<Tensor<1>>) -> Result<Linear, ModelError> {
        let outputs: usize = stored.iter().filter_map(|part| part.shape.first()).sum();
        let input = stored.first().and_then(|part| part.shape.get(1)).copied().unwrap_or(0);
        let bytes = (outputs as u64).saturating_mul(input as u64).saturating_mul(size_of::<f32>() as u64);
        if bytes > limits::TENSOR_BYTES_MAX {
            let limit = limits::TENSOR_BYTES_MAX;
            return Err(ModelError::Exceeds(format!(
                "a matrix of {outputs} x {input} needs {bytes} bytes on the device, at most {limit} are allowed"
            )));
        }
        let linear = Linear::new(stored, bias, self.device);
        self.device_bytes.set(self.device_bytes.get() + linear.bytes() as u64);
        Ok(linear)
    }

    fn upload<const D: usize>(&self, parts: &[StoredTensor], shape: [usize; D]) -> Tensor<D> {
        let mut values = Vec::with_capacity(shape.iter().product());
        for part in parts {
            part.append_to(&mut values);
        }
        self.device_bytes.set(self.device_bytes.get() + (values.len() * size_of::<f32>()) as u64);
        Tensor::from_data(TensorData::new(values, shape), (self.device, DType::F32))
    }
}
