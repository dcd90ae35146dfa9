//! One layer of a decoder: RMS norm, grouped-query attention over the cache, SwiGLU.

use burn::tensor::{DType, Tensor};

use crate::arch::batch::{Batch, Segment, View};
use crate::arch::config::DecoderConfig;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::{matmul, softmax, swiglu};
use crate::linear::Linear;

/// Root mean square norm (Zhang and Sennrich 2019) with its weight as a row.
#[derive(Debug)]
pub(super) struct RmsNorm<const D: usize> {
    weight: Tensor<D>,
    epsilon: f64,
}

impl<const D: usize> RmsNorm<D> {
    /// `weight` broadcasts over what is normed along its last dimension.
    pub(super) fn new(weight: Tensor<D>, epsilon: f64) -> Self {
        Self { weight, epsilon }
    }

    pub(super) fn forward(&self, x: Tensor<D>) -> Tensor<D> {
        let scale = (x.clone().square().mean_dim(D - 1) + self.epsilon).sqrt().recip();
        x * scale * self.weight.clone()
    }
}

/// A layer's weights.
#[derive(Debug)]
pub(super) struct Block {
    attention_norm: RmsNorm<2>,
    qkv: Linear,
    head_norm: Option<RmsNorm<3>>,
    output: Linear,
    mlp_norm: RmsNorm<2>,
    gate_up: Linear,
    down: Linear,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Block {
    pub(super) fn load(weights: &Weights<'_>, config: &DecoderConfig, layer: usize) -> Result<Self, ModelError> {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let norm = |part: &str| -> Result<RmsNorm<2>, ModelError> {
            let weight = weights.vector(&name(part), config.hidden)?;
            Ok(RmsNorm::new(weight.unsqueeze(), config.norm_epsilon))
        };
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let (wide, hidden) = (config.feed_forward, config.hidden);
        let qkv = [(name("self_attn.q_proj"), q), (name("self_attn.k_proj"), kv), (name("self_attn.v_proj"), kv)];
        let gate_up = [(name("mlp.gate_proj"), wide), (name("mlp.up_proj"), wide)];
        Ok(Self {
            attention_norm: norm("input_layernorm.weight")?,
            qkv: weights.linear(&qkv, hidden, config.biases.qkv)?,
            head_norm: config.head_norm.then(|| load_head_norm(weights, config, layer)).transpose()?,
            output: weights.linear(&[(name("self_attn.o_proj"), hidden)], q, config.biases.output)?,
            mlp_norm: norm("post_attention_layernorm.weight")?,
            gate_up: weights.linear(&gate_up, hidden, config.biases.mlp)?,
            down: weights.linear(&[(name("mlp.down_proj"), hidden)], wide, config.biases.mlp)?,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        })
    }

    /// `x` is `[rows, hidden]`; keys and values of its tokens are added to the caches' layer `layer`, whose attention
    /// has this window. `None` where a cache lacks the layer.
    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        batch: &mut Batch,
        layer: usize,
        window: Option<usize>,
    ) -> Option<Tensor<2>> {
        let attended = self.attend(self.attention_norm.forward(x.clone()), batch, layer, window)?;
        let x = x + attended;
        let gate_up = self.gate_up.forward(self.mlp_norm.forward(x.clone()));
        Some(x + self.down.forward(swiglu(gate_up)))
    }

    fn attend(&self, x: Tensor<2>, batch: &mut Batch, layer: usize, window: Option<usize>) -> Option<Tensor<2>> {
        let [rows, _] = x.dims();
        let (rotated, width) = (self.heads + self.kv_heads, self.head_dim);
        let qkv = self.qkv.forward(x).reshape([rows, rotated + self.kv_heads, width]);
        let mut qk = qkv.clone().narrow(1, 0, rotated);
        if let Some(norm) = &self.head_norm {
            qk = norm.forward(qk);
        }
        let qk = batch.angles.rotate(qk);
        let padding = batch.padding();
        let mut mixed = Vec::with_capacity(batch.segments.len() + 1);
        for segment in &mut batch.segments {
            mixed.push(self.attend_segment(&qk, &qkv, segment, layer, window)?);
        }
        if padding > 0 {
            let width = self.heads * width;
            mixed.push(Tensor::zeros([padding, width], (&qkv.device(), DType::F32)));
        }
        let mixed = if mixed.len() == 1 { mixed.pop()? } else { Tensor::cat(mixed, 0) };
        Some(self.output.forward(mixed))
    }

    /// The rows of one sequence over its own cache, `[rows, heads * head_dim]`.
    fn attend_segment(
        &self,
        qk: &Tensor<3>,
        qkv: &Tensor<3>,
        segment: &mut Segment,
        layer: usize,
        window: Option<usize>,
    ) -> Option<Tensor<2>> {
        let rotated = self.heads + self.kv_heads;
        let own = |all: &Tensor<3>, rows| all.clone().narrow(0, segment.first, rows);
        let keys = own(qk, segment.tokens).narrow(1, self.heads, self.kv_heads);
        let values = own(qkv, segment.tokens).narrow(1, rotated, self.kv_heads);
        let queries = own(qk, segment.rows).narrow(1, 0, self.heads) * (1.0 / (self.head_dim as f64).sqrt());
        let start = segment.start;
        segment.cache.layers.get_mut(layer)?.write(start, keys, values);
        let view = segment.view_of(window)?;
        let seen = segment.cache.layers.get(layer)?.read(view.from, view.to)?;
        Some(self.mix(queries, seen, view))
    }

    /// Softmax attention of `queries`, `[rows, heads, head_dim]`, over a view of the cache. The query heads that
    /// share a key head are folded into rows, so that the cache is never repeated.
    fn mix(&self, queries: Tensor<3>, (keys, values): (Tensor<3>, Tensor<3>), view: &View) -> Tensor<2> {
        let [rows, heads, width] = queries.dims();
        let (group, seen) = (heads / self.kv_heads, view.to - view.from);
        let folded = queries.swap_dims(0, 1).reshape([self.kv_heads, group * rows, width]);
        let mut scores = matmul(folded, keys.swap_dims(1, 2));
        if let Some(mask) = &view.mask {
            scores = (scores.reshape([heads, rows, seen]) + mask.clone()).reshape([self.kv_heads, group * rows, seen]);
        }
        let mixed = matmul(softmax(scores), values);
        mixed.reshape([heads, rows, width]).swap_dims(0, 1).reshape([rows, heads * width])
    }
}

/// The norms over the heads of q and k as one over both, `[1, heads + kv_heads, head_dim]`.
fn load_head_norm(weights: &Weights<'_>, config: &DecoderConfig, layer: usize) -> Result<RmsNorm<3>, ModelError> {
    let load = |part: &str, heads: usize| -> Result<Tensor<3>, ModelError> {
        let weight = weights.vector(&format!("model.layers.{layer}.self_attn.{part}.weight"), config.head_dim)?;
        Ok(weight.unsqueeze::<3>().repeat_dim(1, heads))
    };
    let both = Tensor::cat(vec![load("q_norm", config.heads)?, load("k_norm", config.kv_heads)?], 1);
    Ok(RmsNorm::new(both, config.norm_epsilon))
}
