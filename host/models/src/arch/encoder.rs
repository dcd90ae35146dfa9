//! The transformer encoder that all architectures of `encoders/` configure: embeddings, layers in which all tokens of a text
//! attend to each other (Devlin et al. 2019), then one vector per text.

mod attention;
pub(crate) mod classifier;
pub(crate) mod config;
mod layer;
pub(crate) mod relative;
pub(crate) mod tensors;

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_kernels::weights::StoredTensor;

use crate::arch::encoder::attention::TextRows;
use crate::arch::encoder::config::EncoderConfig;
use crate::arch::encoder::layer::EncoderLayer;
use crate::arch::encoder::relative::BucketBias;
use crate::arch::encoder::tensors::EncoderTensors;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::layers::LayerNorm;
use crate::load::is_cpu;
use crate::sentence::{Pooling, Rows};

/// The tokens of a text, or of a pair of texts, in a forward pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TextTokens {
    pub(crate) ids: Vec<u32>,
    /// The type of each token: 1 for the second text of a pair.
    pub(crate) types: Vec<u32>,
    /// Tokens at the beginning that belong to a prompt and are not pooled.
    pub(crate) left_out: usize,
}

/// A loaded text encoder.
pub(crate) trait EncoderModel: Send {
    /// Numbers in the vector of a token.
    fn hidden(&self) -> usize;

    /// Tokens that the model has embeddings for.
    fn vocabulary(&self) -> usize;

    /// Tokens of a text at most.
    fn positions(&self) -> usize;

    fn device(&self) -> &Device;

    /// One vector per text, `[texts, pooling's width]`. On a GPU the texts are padded to `tokens` each.
    ///
    /// # Errors
    /// `Broken` when the tokenizer makes ids that have no embedding.
    fn forward(&mut self, texts: &[TextTokens], tokens: usize, pooling: &Pooling) -> Result<Tensor<2>, ModelError>;
}

/// A loaded encoder.
#[derive(Debug)]
pub(crate) struct TransformerEncoder {
    config: EncoderConfig,
    device: Device,
    words: StoredTensor,
    positions: Option<StoredTensor>,
    types: Option<StoredTensor>,
    norm: LayerNorm,
    layers: Vec<EncoderLayer>,
    final_norm: Option<LayerNorm>,
    bias: Option<BucketBias>,
}

impl TransformerEncoder {
    /// Loads the weights of an architecture.
    ///
    /// # Errors
    /// The first tensor that is missing or wrong.
    pub(crate) fn load(
        weights: &Weights<'_>,
        names: &EncoderTensors,
        config: EncoderConfig,
    ) -> Result<Self, ModelError> {
        let hidden = config.hidden;
        let norm = |name: &str| LayerNorm::load(weights, name, hidden, config.norm_epsilon, config.biases.norms);
        let table = |name: &str, rows: Option<usize>| {
            rows.map(|rows| weights.stored(&format!("{name}.weight"), &[rows, hidden])).transpose()
        };
        let layers = (0..config.layers).map(|layer| EncoderLayer::load(weights, names, &config, layer));
        Ok(Self {
            device: weights.device().clone(),
            types: table(names.types, Some(config.token_types).filter(|types| *types > 0))?,
            words: weights.stored(&format!("{}.weight", names.words), &[config.vocabulary, hidden])?,
            positions: table(names.positions, config.first_position.map(|_| config.positions))?,
            norm: norm(names.norm)?,
            layers: layers.collect::<Result<_, _>>()?,
            final_norm: if names.final_norm.is_empty() { None } else { Some(norm(names.final_norm)?) },
            bias: BucketBias::load(weights, names.relative_bias, &config)?,
            config,
        })
    }

    /// Appends the sums of word, position and type embeddings of one text, then zeros up to `tokens`.
    fn embed(&self, text: &TextTokens, tokens: usize, values: &mut Vec<f32>) -> Result<(), ModelError> {
        let hidden = self.config.hidden;
        let start = values.len();
        for id in &text.ids {
            self.words
                .append_row(*id as usize, values)
                .then_some(())
                .ok_or_else(|| broken(format!("token {id} is outside the {} of the model", self.config.vocabulary)))?;
        }
        let mut added = Vec::with_capacity(text.ids.len() * hidden);
        if let Some((table, first)) = self.positions.as_ref().zip(self.config.first_position) {
            for position in first.positions(&text.ids) {
                table.append_row(position, &mut added).then_some(()).ok_or_else(|| {
                    broken(format!("position {position} is outside the {} of the model", self.config.positions))
                })?;
            }
            add(values, start, &added);
        }
        if let Some(table) = &self.types {
            added.clear();
            for at in 0..text.ids.len() {
                let kind = text.types.get(at).copied().filter(|_| self.config.reads_types).unwrap_or(0);
                table.append_row(kind as usize, &mut added).then_some(()).ok_or_else(|| {
                    broken(format!("token type {kind} is outside the {} of the model", self.config.token_types))
                })?;
            }
            add(values, start, &added);
        }
        values.resize(start + tokens * hidden, 0.0);
        Ok(())
    }

    fn upload<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), (&self.device, DType::F32))
    }
}

fn add(values: &mut [f32], start: usize, added: &[f32]) {
    values.iter_mut().skip(start).zip(added).for_each(|(value, added)| *value += added);
}

fn broken(reason: String) -> ModelError {
    ModelError::Broken { file: "tokenizer.json".to_owned(), reason }
}

impl EncoderModel for TransformerEncoder {
    fn hidden(&self) -> usize {
        self.config.hidden
    }

    fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    fn positions(&self) -> usize {
        self.config.positions - self.config.first_position.map_or(0, |first| first.skipped())
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn forward(&mut self, texts: &[TextTokens], tokens: usize, pooling: &Pooling) -> Result<Tensor<2>, ModelError> {
        let (host, hidden) = (is_cpu(&self.device), self.config.hidden);
        let rows: Vec<Rows> =
            texts.iter().map(|text| Rows { tokens: text.ids.len(), left_out: text.left_out }).collect();
        let mut values = Vec::new();
        for text in texts {
            self.embed(text, if host { text.ids.len() } else { tokens }, &mut values)?;
        }
        let count = values.len() / hidden;
        let mut x = self.norm.forward(self.upload(values, [count, hidden]));
        let lengths: Vec<usize> = rows.iter().map(|rows| rows.tokens).collect();
        let mut attended = TextRows::new(&self.config, self.bias.as_ref(), &lengths, tokens, &self.device);
        for layer in &self.layers {
            x = layer.forward(x, &mut attended, &self.config);
        }
        if let Some(norm) = &self.final_norm {
            x = norm.forward(x);
        }
        if host {
            let x = x.into_data().convert::<f32>();
            let pooled = pooling.pool_rows(x.as_slice().unwrap_or_default(), hidden, &rows);
            return Ok(self.upload(pooled, [texts.len(), pooling.width(hidden)]));
        }
        Ok(pooling.pool(&x.reshape([texts.len(), tokens, hidden]), &rows))
    }
}
