//! From stored tensors to weights on a device, one tensor at a time: a load needs the weights once, plus one tensor.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_contract::limits;
use firebox_kernels::weights::StoredTensor;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::layers::Linear;
use crate::load::{LoadProgress, LoadState, is_cpu};

/// Hands out a checkpoint's weights and records which were used.
pub(crate) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    base: &'static str,
    unused: &'static [&'static str],
    parameters: Cell<u64>,
    device_bytes: Cell<u64>,
    used: RefCell<HashSet<String>>,
    progress: LoadProgress,
    /// Bytes handed out so far, as stored.
    stored_bytes: Cell<u64>,
    /// Bytes of the whole checkpoint, as stored.
    total_bytes: u64,
}

impl<'a> Weights<'a> {
    /// `base` is the beginning of names that transformers gives to the model without its heads (`model.`, `bert.`).
    /// Checkpoints of that part alone leave it out, and each name is found with and without it. Tensors whose names begin
    /// with one of `unused` are not needed.
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        device: &'a Device,
        base: &'static str,
        unused: &'static [&'static str],
    ) -> Self {
        Self {
            checkpoint,
            device,
            base,
            unused,
            parameters: Cell::new(0),
            device_bytes: Cell::new(0),
            used: RefCell::default(),
            progress: LoadProgress::default(),
            stored_bytes: Cell::new(0),
            total_bytes: checkpoint.stored_bytes(),
        }
    }

    /// The same, and `progress` receives the state of the load.
    pub(crate) fn with_progress(self, progress: LoadProgress) -> Self {
        Self { progress, ..self }
    }

    /// Reports that the load has ended.
    pub(crate) fn report_end(&self) {
        self.report(true);
    }

    fn report(&self, ended: bool) {
        let (done_bytes, total_bytes) = (self.stored_bytes.get(), self.total_bytes);
        self.progress.report(LoadState { done_bytes, total_bytes, uploads: !is_cpu(self.device), ended });
    }

    /// The checkpoint's name of the tensor `name`, or `name` itself if the checkpoint does not have it.
    fn name_of(&self, name: &str) -> String {
        let has = |name: &String| self.checkpoint.tensors.contains(name);
        let bare = name.strip_prefix(self.base).unwrap_or(name);
        // Names in BERT checkpoints that were converted from TensorFlow.
        let older = bare.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        let names = [name, bare, older.as_str()];
        let names = names.into_iter().flat_map(|name| [name.to_owned(), format!("{}{name}", self.base)]);
        // Those of the part for text of a model for text and images.
        let mut names = names.chain([format!("language_model.{name}"), format!("{}language_model.{bare}", self.base)]);
        names.find(has).unwrap_or_else(|| name.to_owned())
    }

    /// Whether the checkpoint has the tensor `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.checkpoint.tensors.contains(&self.name_of(name))
    }

    /// Whether both tensors exist and are equal.
    pub(crate) fn has_same(&self, a: &str, b: &str) -> bool {
        let tensors = &self.checkpoint.tensors;
        let entry = |name: &str| tensors.entries.get(&self.name_of(name));
        entry(a).zip(entry(b)).is_some_and(|(a, b)| tensors.same(a, b))
    }

    /// Marks the tensor `name` as used, so that [`Weights::warn_unused`] does not name it.
    pub(crate) fn note_used(&self, name: &str) {
        self.used.borrow_mut().insert(self.name_of(name));
    }

    /// Warns about tensors of the checkpoint that were not handed out.
    pub(crate) fn warn_unused(&self) {
        let used = self.used.borrow();
        let names = self.checkpoint.tensors.entries.keys();
        let mut unused: Vec<String> =
            names.filter(|name| !used.contains(*name) && !self.is_known_unused(name)).cloned().collect();
        unused.sort();
        let text = format!("\"{}\": {} tensors are not used", self.checkpoint.source.label(), unused.len());
        self.checkpoint.warnings().add_names(&text, &unused);
    }

    pub(crate) fn warn(&self, warning: &str) {
        self.checkpoint.warnings().add(format!("\"{}\": {warning}", self.checkpoint.source.label()));
    }

    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    /// Numbers of the weights handed out so far.
    pub(crate) fn parameters(&self) -> u64 {
        self.parameters.get()
    }

    /// Bytes of the weights handed out so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.device_bytes.get()
    }

    /// The tensor as stored, of exactly this shape.
    pub(crate) fn stored(&self, name: &str, shape: &[usize]) -> Result<StoredTensor, ModelError> {
        let name = self.name_of(name);
        let tensor = self.checkpoint.tensors.get(&name, shape, &self.checkpoint.source.label())?;
        self.parameters.set(self.parameters.get() + tensor.elements() as u64);
        self.used.borrow_mut().insert(name);
        self.stored_bytes.set(self.stored_bytes.get() + tensor.bytes().len() as u64);
        self.report(false);
        Ok(tensor)
    }

    /// A vector of `len` elements on the device.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Tensor<1>, ModelError> {
        Ok(self.upload(&[self.stored(name, &[len])?], [len]))
    }

    /// Several vectors, concatenated.
    pub(crate) fn stacked_vector(&self, parts: &[(String, usize)]) -> Result<Tensor<1>, ModelError> {
        let stored = parts.iter().map(|(name, len)| self.stored(name, &[*len])).collect::<Result<Vec<_>, _>>()?;
        Ok(self.upload(&stored, [parts.iter().map(|part| part.1).sum()]))
    }

    /// One linear layer of several with the same input, stacked along their outputs, so that they are one product.
    /// `parts` are `(name without .weight, outputs)`.
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
        // On the CPU it stays where it is stored.
        if !is_cpu(self.device) && bytes > limits::TENSOR_BYTES_MAX {
            let limit = limits::TENSOR_BYTES_MAX;
            return Err(ModelError::Exceeds(format!(
                "a matrix of {outputs} x {input} needs {bytes} bytes on the device, at most {limit} are allowed"
            )));
        }
        let linear = Linear::new(stored, bias, self.device);
        self.device_bytes.set(self.device_bytes.get() + linear.bytes() as u64);
        Ok(linear)
    }

    /// Whether a tensor is known to be unused: a buffer that older versions of transformers saved although it can be
    /// computed, or a head.
    fn is_known_unused(&self, name: &str) -> bool {
        let buffers = ["rotary_emb.inv_freq", "embeddings.position_ids", "attn.masked_bias"];
        let bare = name.strip_prefix(self.base).unwrap_or(name);
        buffers.iter().any(|end| name.ends_with(end)) || self.unused.iter().any(|start| bare.starts_with(start))
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
