//! One layer of an encoder: attention and feed-forward part, each with a norm before it or after its sum.

use burn::tensor::Tensor;
use firebox_contract::limits;

use crate::arch::encoder::attention::TextRows;
use crate::arch::encoder::config::EncoderConfig;
use crate::arch::encoder::tensors::EncoderTensors;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::layers::{LayerNorm, Linear};

/// The weights of a layer.
#[derive(Debug)]
pub(super) struct EncoderLayer {
    qkv: Linear,
    attention: Linear,
    /// `None` in the first layer of a model whose norms come first: its input is normed already.
    attention_norm: Option<LayerNorm>,
    wide: Linear,
    narrow: Linear,
    norm: LayerNorm,
    /// The index of its kind of attention.
    kind: usize,
}

impl EncoderLayer {
    pub(super) fn load(
        weights: &Weights<'_>,
        names: &EncoderTensors,
        config: &EncoderConfig,
        layer: usize,
    ) -> Result<Self, ModelError> {
        let (hidden, biases) = (config.hidden, config.biases);
        let wide = if config.is_gated { 2 * config.feed_forward } else { config.feed_forward };
        let norm = |name: &str| {
            LayerNorm::load(weights, &names.in_layer(layer, name), hidden, config.norm_epsilon, biases.norms)
        };
        let packs = config.matrix_bytes() <= limits::ENCODER_PACKED_BYTES_MAX;
        let linear = |names: Vec<(String, usize)>, input, bias| {
            let linear = weights.linear(&names, input, bias)?;
            Ok::<_, ModelError>(if packs { linear.packed() } else { linear })
        };
        let one = |name: &str| vec![(names.in_layer(layer, name), hidden)];
        let has_norm = !config.norms_first || layer > 0;
        Ok(Self {
            qkv: linear(names.stacked(layer, names.qkv, 3 * hidden), hidden, biases.attention)?,
            attention: linear(one(names.attention_output), hidden, biases.attention)?,
            attention_norm: has_norm.then(|| norm(names.attention_norm)).transpose()?,
            wide: linear(names.stacked(layer, names.wide, wide), hidden, biases.feed_forward)?,
            narrow: linear(one(names.narrow), config.feed_forward, biases.feed_forward)?,
            norm: norm(names.output_norm)?,
            kind: config.kinds.get(layer).copied().unwrap_or(0),
        })
    }

    /// `x` is `[rows, hidden]`.
    pub(super) fn forward(&self, x: Tensor<2>, texts: &mut TextRows, config: &EncoderConfig) -> Tensor<2> {
        if config.norms_first {
            let normed = match &self.attention_norm {
                Some(norm) => norm.forward(x.clone()),
                None => x.clone(),
            };
            let x = x + self.attend(normed, texts, config);
            return x.clone() + self.feed_forward(self.norm.forward(x), config);
        }
        let attended = self.attend(x.clone(), texts, config);
        let x = match &self.attention_norm {
            Some(norm) => norm.forward_sum(x, attended),
            None => x + attended,
        };
        let wide = self.feed_forward(x.clone(), config);
        self.norm.forward_sum(x, wide)
    }

    fn attend(&self, x: Tensor<2>, texts: &mut TextRows, config: &EncoderConfig) -> Tensor<2> {
        self.attention.forward(texts.attend(self.qkv.forward(x), config, self.kind))
    }

    fn feed_forward(&self, x: Tensor<2>, config: &EncoderConfig) -> Tensor<2> {
        let wide = match config.is_gated {
            true => self.wide.forward_halves(x, config.activation),
            false => self.wide.forward_activated(x, config.activation),
        };
        self.narrow.forward(wide)
    }
}
