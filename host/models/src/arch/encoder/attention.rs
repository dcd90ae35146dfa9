//! Attention over the texts of a forward pass.

use burn::tensor::{DType, Device, Tensor, TensorData, activation};
use firebox_kernels::attention::KvCacheType;
use firebox_kernels::attention::{
    Attention, AttentionMask, HeadCache, HeadCacheLayout, RelativeBias, ScoreScale, SequenceRows,
};

use crate::arch::encoder::config::{AttentionKind, EncoderConfig};
use crate::arch::encoder::relative::BucketBias;
use crate::kernel::{attend, matmul};
use crate::load::is_cpu;

/// Added to the score of a token that is not attended to.
const MASKED: f32 = -1e30;

/// The rows of the texts of a forward pass, for attention.
pub(super) enum TextRows {
    /// On the CPU a text has as many rows as tokens.
    Host(HostRows),
    /// On a GPU all texts are padded to the same number of tokens. An entry for each kind of attention.
    Device(Vec<DeviceKind>),
}

/// The rows on the CPU.
pub(super) struct HostRows {
    /// Tokens of each text, and a cache for the keys and values of the current layer.
    texts: Vec<(usize, HeadCache)>,
    /// Cosines and sines of all rows, for each kind of attention.
    angles: Vec<(Vec<f32>, Vec<f32>)>,
    bias: Option<RelativeBias>,
}

/// A kind of attention on a GPU.
pub(super) struct DeviceKind {
    texts: usize,
    tokens: usize,
    /// Added to the scores: `[texts, 1 or heads, 1 or tokens, tokens]`.
    mask: Tensor<4>,
    /// Cosines and sines, each `[1, 1, tokens, head size]`.
    angles: Option<[Tensor<4>; 2]>,
}

impl TextRows {
    /// The rows of texts of these lengths. On a GPU they are padded to `tokens`.
    pub(super) fn new(
        config: &EncoderConfig,
        bias: Option<&BucketBias>,
        lengths: &[usize],
        tokens: usize,
        device: &Device,
    ) -> Self {
        if !is_cpu(device) {
            let kinds =
                config.attention.iter().map(|kind| DeviceKind::new(config, kind, bias, lengths, tokens, device));
            return Self::Device(kinds.collect());
        }
        let layout = HeadCacheLayout::new(config.heads, config.hidden / config.heads, KvCacheType::F32);
        let positions: Vec<usize> = lengths.iter().flat_map(|length| 0..*length).collect();
        let angles = |kind: &AttentionKind| {
            kind.rotary.as_ref().map_or_else(Default::default, |rotary| rotary.angles(&positions))
        };
        let longest = lengths.iter().copied().max().unwrap_or(0);
        Self::Host(HostRows {
            texts: lengths.iter().map(|length| (*length, HeadCache::new(layout, *length))).collect(),
            angles: config.attention.iter().map(angles).collect(),
            bias: bias.map(|bias| RelativeBias::new(config.heads, longest, |head, distance| bias.of(head, distance))),
        })
    }

    /// Attention of each text over itself, in a layer of kind `kind`: `[rows, 3 * hidden]` to `[rows, hidden]`.
    pub(super) fn attend(&mut self, qkv: Tensor<2>, config: &EncoderConfig, kind: usize) -> Tensor<2> {
        match self {
            Self::Host(rows) => rows.attend(qkv, config, kind),
            Self::Device(kinds) => match kinds.get(kind) {
                Some(kind) => kind.attend(qkv, config.heads),
                None => qkv,
            },
        }
    }
}

impl HostRows {
    fn attend(&mut self, qkv: Tensor<2>, config: &EncoderConfig, kind: usize) -> Tensor<2> {
        let mut first = 0;
        let mut rows = Vec::with_capacity(self.texts.len());
        for (tokens, cache) in &mut self.texts {
            rows.push(SequenceRows { first, tokens: *tokens, start: 0, cache });
            first += *tokens;
        }
        let distance = config.attention.get(kind).and_then(|kind| kind.distance);
        let mask = distance.map_or(AttentionMask::Full, AttentionMask::Near);
        let (cos, sin) = self.angles.get(kind).map_or((&[][..], &[][..]), |(cos, sin)| (cos, sin));
        let (bias, scores) = (self.bias.as_ref(), ScoreScale::of(config.hidden / config.heads));
        let attention = Attention { heads: config.heads, norms: None, cos, sin, mask, scores, bias };
        attend(&attention, qkv, &mut rows)
    }
}

impl DeviceKind {
    fn new(
        config: &EncoderConfig,
        kind: &AttentionKind,
        bias: Option<&BucketBias>,
        lengths: &[usize],
        tokens: usize,
        device: &Device,
    ) -> Self {
        let texts = lengths.len();
        let padding =
            |length: &usize| (0..tokens).map(|at| if at < *length { 0.0 } else { MASKED }).collect::<Vec<f32>>();
        let padding: Vec<f32> = lengths.iter().flat_map(padding).collect();
        let mut mask = upload(padding, [texts, 1, 1, tokens], device);
        let pairs = || (0..tokens).flat_map(|query| (0..tokens).map(move |key| (query, key)));
        if let Some(distance) = kind.distance {
            let near =
                pairs().map(|(query, key): (usize, usize)| if query.abs_diff(key) <= distance { 0.0 } else { MASKED });
            mask = mask + upload(near.collect(), [1, 1, tokens, tokens], device);
        }
        if let Some(bias) = bias {
            let of = |head| pairs().map(move |(query, key)| bias.of(head, key as isize - query as isize));
            let values: Vec<f32> = (0..config.heads).flat_map(of).collect();
            mask = mask + upload(values, [1, config.heads, tokens, tokens], device);
        }
        let angles = kind.rotary.as_ref().map(|rotary| {
            let positions: Vec<usize> = (0..tokens).collect();
            let (cos, sin) = rotary.angles(&positions);
            let half = cos.len() / tokens.max(1);
            [cos, sin].map(|values| {
                let values = upload(values, [1, 1, tokens, half], device);
                Tensor::cat(vec![values.clone(), values], 3)
            })
        });
        Self { texts, tokens, mask, angles }
    }

    fn attend(&self, qkv: Tensor<2>, heads: usize) -> Tensor<2> {
        let [rows, columns] = qkv.dims();
        let width = columns / (3 * heads);
        let qkv = qkv.reshape([self.texts, self.tokens, 3 * heads, width]).swap_dims(1, 2);
        let part = |index: usize| qkv.clone().narrow(1, index * heads, heads);
        let queries = self.rotated(part(0)) * (1.0 / (width as f64).sqrt());
        let scores = matmul(queries, self.rotated(part(1)).swap_dims(2, 3)) + self.mask.clone();
        let attended = matmul(activation::softmax(scores, 3), part(2));
        attended.swap_dims(1, 2).reshape([rows, heads * width])
    }

    /// Pairs of elements that lie half a head apart are rotated by the angle of their position.
    fn rotated(&self, x: Tensor<4>) -> Tensor<4> {
        let Some([cos, sin]) = &self.angles else { return x };
        let half = x.dims()[3] / 2;
        let turned = Tensor::cat(vec![x.clone().narrow(3, half, half).neg(), x.clone().narrow(3, 0, half)], 3);
        x * cos.clone() + turned * sin.clone()
    }
}

fn upload<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}
