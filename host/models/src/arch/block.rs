//! One layer of a decoder: RMS norm, grouped-query attention over the cache, SwiGLU.

use burn::tensor::{DType, Tensor, activation};

use crate::arch::batch::{Batch, Segment, View};
use crate::arch::cache::LayerCache;
use crate::arch::config::DecoderConfig;
use crate::arch::rotary::{Angles, Turns};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::{Attention, HeadNorms, Sight, host_row, matmul, rms_norm, swiglu};
use crate::linear::Linear;
use crate::load::is_cpu;

/// Root mean square norm (Zhang and Sennrich 2019).
#[derive(Debug)]
pub(super) struct RmsNorm {
    weight: Tensor<2>,
    /// The weight where the kernels of the CPU read it.
    row: Vec<f32>,
    epsilon: f64,
}

impl RmsNorm {
    pub(super) fn new(weight: Tensor<1>, epsilon: f64) -> Self {
        Self { row: host_row(&weight), weight: weight.unsqueeze(), epsilon }
    }

    /// `x` is `[rows, hidden]`.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        if is_cpu(&x.device()) {
            return rms_norm(x, &self.row, self.epsilon as f32);
        }
        normed(x, self.weight.clone(), self.epsilon)
    }
}

/// Along the last dimension; `weight` broadcasts.
fn normed<const D: usize>(x: Tensor<D>, weight: Tensor<D>, epsilon: f64) -> Tensor<D> {
    let scale = (x.clone().square().mean_dim(D - 1) + epsilon).sqrt().recip();
    x * scale * weight
}

/// The norms over the heads of q and k.
#[derive(Debug)]
struct QkNorm {
    /// Both in one row, `[1, heads + kv_heads, head_dim]`.
    weight: Tensor<3>,
    host: HeadNorms,
    epsilon: f64,
}

impl QkNorm {
    fn load(weights: &Weights<'_>, config: &DecoderConfig, layer: usize) -> Result<Self, ModelError> {
        let load =
            |part: &str| weights.vector(&format!("model.layers.{layer}.self_attn.{part}.weight"), config.head_dim);
        let (queries, keys) = (load("q_norm")?, load("k_norm")?);
        let host =
            HeadNorms { queries: host_row(&queries), keys: host_row(&keys), epsilon: config.norm_epsilon as f32 };
        let repeated = |weight: Tensor<1>, heads| weight.unsqueeze::<3>().repeat_dim(1, heads);
        let weight = Tensor::cat(vec![repeated(queries, config.heads), repeated(keys, config.kv_heads)], 1);
        Ok(Self { weight, host, epsilon: config.norm_epsilon })
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
    kv_heads: usize,
    head_dim: usize,
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
        let qkv = self.qkv.forward(x);
        let padding = batch.padding();
        let mixed = match &batch.angles {
            Angles::Host { cos, sin } => {
                let norms = self.head_norm.as_ref().map(|norm| &norm.host);
                let attention = Attention { heads: self.heads, norms, cos, sin, sight: Sight::Before(window) };
                let runs: Option<Vec<_>> = batch.segments.iter_mut().map(|segment| segment.run(layer)).collect();
                attention.forward(qkv, &mut runs?)
            }
            Angles::Device(turns) => {
                self.attend_on_device(qkv, turns, &mut batch.segments, padding, (layer, window))?
            }
        };
        Some(self.output.forward(mixed))
    }

    fn attend_on_device(
        &self,
        qkv: Tensor<2>,
        turns: &Turns,
        segments: &mut [Segment],
        padding: usize,
        (layer, window): (usize, Option<usize>),
    ) -> Option<Tensor<2>> {
        let [rows, _] = qkv.dims();
        let (rotated, width) = (self.heads + self.kv_heads, self.head_dim);
        let qkv = qkv.reshape([rows, rotated + self.kv_heads, width]);
        let mut qk = qkv.clone().narrow(1, 0, rotated);
        if let Some(norm) = &self.head_norm {
            qk = normed(qk, norm.weight.clone(), norm.epsilon);
        }
        let qk = turns.rotate(qk);
        let mut mixed = Vec::with_capacity(segments.len() + 1);
        for segment in segments {
            mixed.push(self.attend_segment(&qk, &qkv, segment, layer, window)?);
        }
        if padding > 0 {
            mixed.push(Tensor::zeros([padding, self.heads * width], (&qkv.device(), DType::F32)));
        }
        if mixed.len() == 1 { mixed.pop() } else { Some(Tensor::cat(mixed, 0)) }
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
        let view = segment.view_of(window)?.clone();
        let LayerCache::Device(cache) = segment.cache.layers.get_mut(layer)? else { return None };
        cache.write(start, keys, values);
        let seen = cache.read(view.from, view.to)?;
        Some(self.mix(queries, seen, &view))
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
        let mixed = matmul(activation::softmax(scores, 2), values);
        mixed.reshape([heads, rows, width]).swap_dims(0, 1).reshape([rows, heads * width])
    }
}
