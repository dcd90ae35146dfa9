//! One layer of a decoder: RMS norm, grouped-query attention over the cache, SwiGLU.

use burn::tensor::Tensor;

use crate::arch::batch::{Batch, Places};
use crate::arch::config::DecoderConfig;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::{Attention, HeadNorms, PageStore, PagedAttention, PagedRows, Sight, host_row};
use crate::linear::Linear;
use crate::norm::RmsNorm;

/// The norms over the heads of q and k.
#[derive(Debug)]
struct QkNorm {
    /// That of queries, then that of keys, `[2 * head_dim]`.
    weights: Tensor<1>,
    host: HeadNorms,
}

impl QkNorm {
    fn load(weights: &Weights<'_>, config: &DecoderConfig, layer: usize) -> Result<Self, ModelError> {
        let load =
            |part: &str| weights.vector(&format!("model.layers.{layer}.self_attn.{part}.weight"), config.head_dim);
        let (queries, keys) = (load("q_norm")?, load("k_norm")?);
        let host =
            HeadNorms { queries: host_row(&queries), keys: host_row(&keys), epsilon: config.norm_epsilon as f32 };
        Ok(Self { weights: Tensor::cat(vec![queries, keys], 0), host })
    }
}

/// A layer's weights.
#[derive(Debug)]
pub(super) struct Block {
    attention_norm: RmsNorm,
    qkv: Linear,
    head_norm: Option<QkNorm>,
    output: Linear,
    mlp_norm: RmsNorm,
    gate_up: Linear,
    down: Linear,
    heads: usize,
}

impl Block {
    pub(super) fn load(weights: &Weights<'_>, config: &DecoderConfig, layer: usize) -> Result<Self, ModelError> {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let norm = |part: &str| -> Result<RmsNorm, ModelError> {
            Ok(RmsNorm::new(weights.vector(&name(part), config.hidden)?, config.norm_epsilon))
        };
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let (wide, hidden) = (config.feed_forward, config.hidden);
        let qkv = [(name("self_attn.q_proj"), q), (name("self_attn.k_proj"), kv), (name("self_attn.v_proj"), kv)];
        let gate_up = [(name("mlp.gate_proj"), wide), (name("mlp.up_proj"), wide)];
        Ok(Self {
            attention_norm: norm("input_layernorm.weight")?,
            qkv: weights.linear(&qkv, hidden, config.biases.qkv)?,
            head_norm: config.head_norm.then(|| QkNorm::load(weights, config, layer)).transpose()?,
            output: weights.linear(&[(name("self_attn.o_proj"), hidden)], q, config.biases.output)?,
            mlp_norm: norm("post_attention_layernorm.weight")?,
            gate_up: weights.linear(&gate_up, hidden, config.biases.mlp)?,
            down: weights.linear(&[(name("mlp.down_proj"), hidden)], wide, config.biases.mlp)?,
            heads: config.heads,
        })
    }

    /// Attention onto `x`, `[rows, hidden]`; keys and values of its tokens are added to the caches' layer `layer`, whose
    /// attention has this window. `device` is the batch's rows where they are on a GPU, and its pages. `None` where a cache
    /// lacks the layer.
    pub(super) fn attend(
        &self,
        x: Tensor<2>,
        batch: &mut Batch,
        layer: usize,
        window: Option<usize>,
        device: Option<(&PagedRows, &PageStore)>,
    ) -> Option<Tensor<2>> {
        let qkv = self.qkv.forward_normed(x.clone(), &self.attention_norm);
        let mixed = match (&batch.places, device) {
            (Places::Host { cos, sin }, _) => {
                let norms = self.head_norm.as_ref().map(|norm| &norm.host);
                let attention = Attention { heads: self.heads, norms, cos, sin, sight: Sight::Before(window) };
                let runs: Option<Vec<_>> = batch.segments.iter_mut().map(|segment| segment.run(layer)).collect();
                attention.forward(qkv, &mut runs?)
            }
            (Places::Device, Some((rows, store))) => {
                let norms = self.head_norm.as_ref().map(|norm| (&norm.weights, norm.host.epsilon));
                PagedAttention { heads: self.heads, layer, norms, window }.forward(qkv, rows, store)
            }
            (Places::Device, None) => return None,
        };
        Some(self.output.forward_onto(mixed, x))
    }

    /// The feed-forward part onto `x`, `[rows, hidden]`.
    pub(super) fn feed_forward(&self, x: Tensor<2>) -> Tensor<2> {
        let wide = self.gate_up.gate_normed(x.clone(), &self.mlp_norm);
        self.down.forward_onto(wide, x)
    }
}
