//! One layer of a decoder: grouped-query attention over the KV cache, then a gated feed-forward part or a mixture of
//! experts, each with RMS norms around it.

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_kernels::attention::{Attention, AttentionMask, ScoreScale};
use firebox_kernels::elements::Activation;

use crate::arch::decoder::batch::{Batch, RowPositions};
use crate::arch::decoder::config::{DecoderConfig, LayerConfig};
use crate::arch::decoder::experts::Experts;
use crate::arch::decoder::qk_norm::QkNorm;
use crate::arch::decoder::tensors::{Around, DecoderTensors};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::{PageStore, PagedAttention, PagedRows, attend};
use crate::layers::{Linear, RmsNorm};

/// The weights of a layer.
#[derive(Debug)]
pub(super) struct DecoderLayer {
    config: LayerConfig,
    attention_norms: Around<RmsNorm>,
    qkv: Linear,
    qk_norm: Option<QkNorm>,
    output: Linear,
    mlp_norms: Around<RmsNorm>,
    feed_forward: FeedForward,
    residual: f32,
    scores: ScoreScale,
    heads: usize,
}

/// The part of a layer that treats each token by itself.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a layer has one")]
enum FeedForward {
    Gated { gate_up: Linear, activation: Activation, down: Linear },
    Experts(Experts),
}

impl FeedForward {
    fn load(
        weights: &Weights<'_>,
        config: &DecoderConfig,
        names: &DecoderTensors,
        layer: usize,
    ) -> Result<Self, ModelError> {
        let has_experts = config.layers.get(layer).is_some_and(|layer| layer.has_experts);
        if let Some(experts) = config.experts.filter(|_| has_experts) {
            return Experts::load(weights, config, experts, names, layer).map(Self::Experts);
        }
        let (wide, hidden) = (config.feed_forward, config.hidden);
        let gate_up = names.projections(layer, &names.gate_up, [wide, wide]);
        Ok(Self::Gated {
            gate_up: weights.linear(&gate_up, hidden, config.biases.mlp)?,
            activation: config.activation,
            down: weights.linear(&[(names.in_layer(layer, names.down), hidden)], wide, config.biases.mlp)?,
        })
    }
}

impl DecoderLayer {
    pub(super) fn load(
        weights: &Weights<'_>,
        config: &DecoderConfig,
        names: &DecoderTensors,
        layer: usize,
    ) -> Result<Self, ModelError> {
        let name = |part: &str| names.in_layer(layer, part);
        let norm = |part: Option<&'static str>| -> Result<Option<RmsNorm>, ModelError> {
            part.map(|part| config.norm(weights, &name(part), config.hidden)).transpose()
        };
        let norms = |around: Around<&'static str>| -> Result<Around<RmsNorm>, ModelError> {
            Ok(Around { before: norm(around.before)?, after: norm(around.after)? })
        };
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let qkv = names.projections(layer, &names.qkv, [q, kv, kv]);
        Ok(Self {
            config: config.layers.get(layer).copied().unwrap_or_default(),
            attention_norms: norms(names.attention_norms)?,
            qkv: weights.linear(&qkv, config.hidden, config.biases.qkv)?,
            qk_norm: QkNorm::load(weights, names.qk_norms.map(name), config)?,
            output: weights.linear(&[(name(names.attention_output), config.hidden)], q, config.biases.output)?,
            mlp_norms: norms(names.mlp_norms)?,
            feed_forward: FeedForward::load(weights, config, names, layer)?,
            residual: config.multipliers.residual,
            scores: config.scores,
            heads: config.heads,
        })
    }

    /// Adds the result of attention to `x`, `[rows, hidden]`, and the keys and values of the rows to layer `layer` of the
    /// KV caches. `device` is the batch's rows and the page store if the model is on a GPU. `None` if a cache lacks the
    /// layer.
    pub(super) fn attend(
        &self,
        x: Tensor<2>,
        batch: &mut Batch,
        layer: usize,
        device: Option<(&PagedRows, &PageStore)>,
    ) -> Option<Tensor<2>> {
        let qkv = self.qkv.forward_normed(x.clone(), self.attention_norms.before.as_ref());
        let qkv = match &self.qk_norm {
            Some(norm) => norm.of_all_heads(qkv),
            None => qkv,
        };
        let qkv = match &batch.query_factors {
            Some(factors) => self.with_query_factors(qkv, factors),
            None => qkv,
        };
        let LayerConfig { window, rotary, .. } = self.config;
        let norms = self.qk_norm.as_ref().and_then(QkNorm::of_each_head);
        let attended = match (&batch.positions, device) {
            (RowPositions::Host(angles), _) => {
                let ((cos, sin), norms) = (angles.get(rotary)?, norms.map(|(_, host)| host));
                let (mask, scores) = (AttentionMask::Causal(window), self.scores);
                let attention = Attention { heads: self.heads, norms, cos, sin, mask, scores, bias: None };
                let rows: Option<Vec<_>> = batch.segments.iter_mut().map(|segment| segment.rows(layer)).collect();
                attend(&attention, qkv, &mut rows?)
            }
            (RowPositions::Device, Some((rows, store))) => {
                let norms = norms.map(|(weights, host)| (weights, host.epsilon));
                let (heads, scores) = (self.heads, self.scores);
                PagedAttention { heads, layer, norms, window, rotary, scores }.forward(qkv, rows, store)
            }
            (RowPositions::Device, None) => return None,
        };
        Some(self.add_product(x, attended, &self.output, &self.attention_norms))
    }

    /// Multiplies the queries of each row by its factor.
    fn with_query_factors(&self, qkv: Tensor<2>, factors: &[f32]) -> Tensor<2> {
        let (columns, queries) = (qkv.dims()[1], self.output.inputs());
        let factors = column(factors, &qkv.device());
        let grown = qkv.clone().narrow(1, 0, queries) * factors;
        Tensor::cat(vec![grown, qkv.narrow(1, queries, columns - queries)], 1)
    }

    /// Adds the result of the feed-forward part to `x`, `[rows, hidden]`.
    ///
    /// # Errors
    /// If the device does not answer.
    pub(super) fn feed_forward(&self, x: Tensor<2>) -> Result<Tensor<2>, String> {
        let before = self.mlp_norms.before.as_ref();
        match &self.feed_forward {
            FeedForward::Gated { gate_up, activation, down } => {
                let wide = gate_up.forward_gated(x.clone(), before, *activation);
                Ok(self.add_product(x, wide, down, &self.mlp_norms))
            }
            FeedForward::Experts(experts) => {
                let normed = before.map_or_else(|| x.clone(), |norm| norm.forward(x.clone()));
                Ok(self.add(x, experts.forward(normed)?, &self.mlp_norms))
            }
        }
    }

    /// Adds the product of `input` with the last matrix of a part to `x`, as [`Self::add`] does.
    fn add_product(&self, x: Tensor<2>, input: Tensor<2>, last: &Linear, norms: &Around<RmsNorm>) -> Tensor<2> {
        match norms.after.is_none() && self.residual == 1.0 {
            true => last.forward_onto(input, x),
            false => self.add(x, last.forward(input), norms),
        }
    }

    /// Adds the result of a part to `x`, normed and multiplied.
    fn add(&self, x: Tensor<2>, result: Tensor<2>, norms: &Around<RmsNorm>) -> Tensor<2> {
        let result = match &norms.after {
            Some(norm) => norm.forward(result),
            None => result,
        };
        if self.residual == 1.0 { x + result } else { x + result * self.residual }
    }
}

/// A number for each row, `[rows, 1]`.
pub(super) fn column(values: &[f32], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), (device, DType::F32))
}
