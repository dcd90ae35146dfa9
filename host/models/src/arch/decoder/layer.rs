//! One layer of a decoder: RMS norm, grouped-query attention over the KV cache, RMS norm, gated feed-forward part.

use burn::tensor::Tensor;

use crate::arch::decoder::batch::{Batch, RowPositions};
use crate::arch::decoder::config::DecoderConfig;
use crate::arch::decoder::tensors::DecoderTensors;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::{Attention, AttentionMask, HeadNorms, PageStore, PagedAttention, PagedRows, host_row};
use crate::layers::{Activation, Linear, RmsNorm};

/// The norms over the heads of queries and keys.
#[derive(Debug)]
struct QkNorm {
    /// The weights for queries, then those for keys: `[2 * head_dim]`.
    weights: Tensor<1>,
    host: HeadNorms,
}

impl QkNorm {
    fn load(weights: &Weights<'_>, names: [String; 2], config: &DecoderConfig) -> Result<Self, ModelError> {
        let load = |name: &str| weights.vector(&format!("{name}.weight"), config.head_dim);
        let (queries, keys) = (load(&names[0])?, load(&names[1])?);
        let host =
            HeadNorms { queries: host_row(&queries), keys: host_row(&keys), epsilon: config.norm_epsilon as f32 };
        Ok(Self { weights: Tensor::cat(vec![queries, keys], 0), host })
    }
}

/// The weights of a layer.
#[derive(Debug)]
pub(super) struct DecoderLayer {
    attention_norm: RmsNorm,
    qkv: Linear,
    head_norm: Option<QkNorm>,
    output: Linear,
    mlp_norm: RmsNorm,
    gate_up: Linear,
    activation: Activation,
    down: Linear,
    heads: usize,
}

impl DecoderLayer {
    pub(super) fn load(
        weights: &Weights<'_>,
        config: &DecoderConfig,
        names: &DecoderTensors,
        layer: usize,
    ) -> Result<Self, ModelError> {
        let name = |part: &str| names.in_layer(layer, part);
        let norm = |part: &str| -> Result<RmsNorm, ModelError> {
            let weight = weights.vector(&format!("{}.weight", name(part)), config.hidden)?;
            Ok(RmsNorm::new(weight, config.norm_epsilon))
        };
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let (wide, hidden) = (config.feed_forward, config.hidden);
        let qkv = names.projections(layer, &names.qkv, [q, kv, kv]);
        let gate_up = names.projections(layer, &names.gate_up, [wide, wide]);
        let head_norm = config.head_norm.then(|| QkNorm::load(weights, names.head_norms.map(name), config));
        Ok(Self {
            attention_norm: norm(names.attention_norm)?,
            qkv: weights.linear(&qkv, hidden, config.biases.qkv)?,
            head_norm: head_norm.transpose()?,
            output: weights.linear(&[(name(names.attention_output), hidden)], q, config.biases.output)?,
            mlp_norm: norm(names.mlp_norm)?,
            gate_up: weights.linear(&gate_up, hidden, config.biases.mlp)?,
            activation: config.activation,
            down: weights.linear(&[(name(names.down), hidden)], wide, config.biases.mlp)?,
            heads: config.heads,
        })
    }

    /// Adds the result of attention to `x`, `[rows, hidden]`, and the keys and values of the rows to layer `layer` of the
    /// KV caches. `window` is the layer's sliding window. `device` is the batch's rows and the page store if the model is
    /// on a GPU. `None` if a cache lacks the layer.
    pub(super) fn attend(
        &self,
        x: Tensor<2>,
        batch: &mut Batch,
        layer: usize,
        window: Option<usize>,
        device: Option<(&PagedRows, &PageStore)>,
    ) -> Option<Tensor<2>> {
        let qkv = self.qkv.forward_normed(x.clone(), &self.attention_norm);
        let attended = match (&batch.positions, device) {
            (RowPositions::Host { cos, sin }, _) => {
                let norms = self.head_norm.as_ref().map(|norm| &norm.host);
                let mask = AttentionMask::Causal(window);
                let attention = Attention { heads: self.heads, norms, cos, sin, mask, bias: None };
                let rows: Option<Vec<_>> = batch.segments.iter_mut().map(|segment| segment.rows(layer)).collect();
                attention.forward(qkv, &mut rows?)
            }
            (RowPositions::Device, Some((rows, store))) => {
                let norms = self.head_norm.as_ref().map(|norm| (&norm.weights, norm.host.epsilon));
                PagedAttention { heads: self.heads, layer, norms, window }.forward(qkv, rows, store)
            }
            (RowPositions::Device, None) => return None,
        };
        Some(self.output.forward_onto(attended, x))
    }

    /// Adds the result of the feed-forward part to `x`, `[rows, hidden]`.
    pub(super) fn feed_forward(&self, x: Tensor<2>) -> Tensor<2> {
        let wide = self.gate_up.forward_gated(x.clone(), &self.mlp_norm, self.activation);
        self.down.forward_onto(wide, x)
    }
}
