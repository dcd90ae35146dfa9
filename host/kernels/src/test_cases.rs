//! Inputs and references for the tests of kernels, here and on other devices.

use half::f16;

use crate::attention::{AttentionMask, HeadNorms, KvCacheType, ScoreScale};
use crate::elements::Activation;
use crate::weights::{StoredTensor, StoredType};

/// Values whose short mantissas BF16 holds exactly.
pub fn values(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * step) % 61) as f32 / 32.0 - 0.9375).collect()
}

/// Values as a tensor of this type.
///
/// # Panics
/// For block types, which are not made of single values.
pub fn stored(values: &[f32], dtype: StoredType, shape: [usize; 2]) -> StoredTensor {
    let bytes = match dtype {
        StoredType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        StoredType::F16 => values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect(),
        StoredType::Bf16 => values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect(),
        StoredType::Blocks(kind) | StoredType::Repacked(kind) => panic!("{kind:?} is made of blocks and not of values"),
    };
    StoredTensor::owned(bytes, dtype, shape.to_vec())
}

/// The product of two rows, in f64.
pub fn dot(x: &[f32], w: &[f32]) -> f64 {
    x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
}

/// The function as it is defined, in f64.
pub fn in_f64(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Identity => x,
        Activation::Gelu => 0.5 * x * (1.0 + erf_by_series(x / 2.0_f64.sqrt())),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::GeluSigmoid => x * sigmoid(1.702 * x),
        Activation::Relu => x.max(0.0),
        Activation::Sigmoid => sigmoid(x),
        Activation::Silu => x * sigmoid(x),
        Activation::Tanh => x.tanh(),
    }
}

/// The error function by its Taylor series, which f64 can sum up to 4. Beyond 4 it is 1 to 2e-8.
fn erf_by_series(x: f64) -> f64 {
    if x.abs() > 4.0 {
        return x.signum();
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..120 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn fractions(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * step) % 1_009) as f32 / 504.0 - 1.0).collect()
}

/// The attention of one sequence, and its inputs.
pub struct AttentionCase {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and of values.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Tokens of the sequence.
    pub tokens: usize,
    /// The positions that a token attends to.
    pub mask: AttentionMask,
    /// The norms of queries and keys.
    pub norms: Option<HeadNorms>,
    /// What scores are before softmax.
    pub scores: ScoreScale,
    /// Pairs of elements that are rotated.
    pub pairs: usize,
    /// Cosines of the angles, `[tokens, pairs]`.
    pub cos: Vec<f32>,
    /// Sines of the angles.
    pub sin: Vec<f32>,
    /// `[tokens, columns]`.
    pub qkv: Vec<f32>,
    /// The type of keys and values in the CPU's cache.
    pub kind: KvCacheType,
}

impl AttentionCase {
    /// Inputs like Qwen 3's if `decoder`, else like BERT's.
    pub fn new([heads, kv_heads, head_dim]: [usize; 3], tokens: usize, window: Option<usize>, decoder: bool) -> Self {
        let positive = |step| fractions(head_dim, step).iter().map(|value| value + 1.5).collect();
        let norms = HeadNorms { queries: positive(31), keys: positive(57), epsilon: 1e-6 };
        let angles = |of: fn(f32) -> f32| (0..tokens * head_dim / 2).map(|at| of(at as f32 * 0.37)).collect();
        Self {
            heads,
            kv_heads,
            head_dim,
            tokens,
            mask: if decoder { AttentionMask::Causal(window) } else { AttentionMask::Full },
            norms: decoder.then_some(norms),
            scores: ScoreScale::of(head_dim),
            pairs: if decoder { head_dim / 2 } else { 0 },
            cos: if decoder { angles(f32::cos) } else { Vec::new() },
            sin: if decoder { angles(f32::sin) } else { Vec::new() },
            qkv: fractions(tokens * (heads + 2 * kv_heads) * head_dim, 613),
            kind: KvCacheType::F32,
        }
    }

    /// The same with keys and values in halves.
    pub fn in_halves(self) -> Self {
        Self { kind: KvCacheType::F16, ..self }
    }

    /// The same with keys and values in blocks of codes of 8 bits.
    pub fn in_blocks(self) -> Self {
        Self { kind: KvCacheType::Q8_0, ..self }
    }

    /// The same with so many rotated pairs, this scale of scores and this soft cap.
    fn with(mut self, pairs: usize, scale: f32, cap: Option<f32>) -> Self {
        self.cos.truncate(self.tokens * pairs);
        self.sin.truncate(self.tokens * pairs);
        Self { pairs, scores: ScoreScale { scale, cap }, ..self }
    }

    /// Columns of `qkv`.
    pub fn columns(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// A head of a token, normed and rotated, in f64. Heads of queries come first, then those of keys, then those of
    /// values.
    pub fn head(&self, token: usize, head: usize) -> Vec<f64> {
        let from = token * self.columns() + head * self.head_dim;
        let x: Vec<f64> = self.qkv[from..from + self.head_dim].iter().map(|x| f64::from(*x)).collect();
        if head >= self.heads + self.kv_heads {
            return self.stored(x);
        }
        let x = match &self.norms {
            Some(norms) => {
                let weight = if head < self.heads { &norms.queries } else { &norms.keys };
                let square = x.iter().map(|x| x * x).sum::<f64>() / self.head_dim as f64;
                let scale = 1.0 / (square + f64::from(norms.epsilon)).sqrt();
                x.iter().zip(weight).map(|(x, weight)| x * scale * f64::from(*weight)).collect()
            }
            None => x,
        };
        let pairs = self.pairs;
        let angle = |of: &[f32], at: usize| f64::from(of[token * pairs + at % pairs]);
        let rotated = |at: usize| match at {
            _ if at >= 2 * pairs => x[at],
            _ if at < pairs => x[at] * angle(&self.cos, at) - x[at + pairs] * angle(&self.sin, at),
            _ => x[at] * angle(&self.cos, at) + x[at - pairs] * angle(&self.sin, at),
        };
        let rotated = (0..self.head_dim).map(rotated).collect();
        if head < self.heads { rotated } else { self.stored(rotated) }
    }

    /// A key or value as the cache has it.
    fn stored(&self, x: Vec<f64>) -> Vec<f64> {
        match self.kind {
            KvCacheType::F32 => x,
            KvCacheType::F16 => x.into_iter().map(|x| f16::from_f64(x).to_f64()).collect(),
            KvCacheType::Q8_0 => hadamard(&hadamard(&x).chunks(32).flat_map(as_block).collect::<Vec<_>>()),
        }
    }

    /// One head and one position after another, by the definition (Vaswani et al. 2017).
    pub fn expected(&self) -> Vec<f64> {
        let mut out = Vec::new();
        for token in 0..self.tokens {
            let seen = match self.mask {
                AttentionMask::Full => 0..self.tokens,
                AttentionMask::Near(distance) => {
                    token.saturating_sub(distance)..(token + distance + 1).min(self.tokens)
                }
                AttentionMask::Causal(window) => {
                    window.map_or(0, |window| (token + 1).saturating_sub(window))..token + 1
                }
            };
            for head in 0..self.heads {
                let shared = head / (self.heads / self.kv_heads);
                let query = self.head(token, head);
                let score = |at: usize| {
                    let key = self.head(at, self.heads + shared);
                    let product = query.iter().zip(&key).map(|(q, k)| q * k).sum::<f64>();
                    let score = product * f64::from(self.scores.scale);
                    self.scores.cap.map(f64::from).map_or(score, |cap| cap * (score / cap).tanh())
                };
                let weights: Vec<f64> = seen.clone().map(|at| score(at).exp()).collect();
                let mut sums = vec![0.0; self.head_dim];
                for (at, weight) in seen.clone().zip(&weights) {
                    let value = self.head(at, self.heads + self.kv_heads + shared);
                    sums.iter_mut().zip(value).for_each(|(sum, value)| *sum += weight * value);
                }
                let all: f64 = weights.iter().sum();
                out.extend(sums.iter().map(|sum| sum / all));
            }
        }
        out
    }
}

/// Each part of a head, as long as the largest power of two that divides its width, multiplied with the Hadamard matrix.
fn hadamard(x: &[f64]) -> Vec<f64> {
    let part = 1 << x.len().trailing_zeros();
    let sign = |row: usize, column: usize| if (row & column).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
    let element = |part: &[f64], row| part.iter().enumerate().map(|(column, x)| sign(row, column) * x).sum::<f64>();
    x.chunks_exact(part).flat_map(|x| (0..part).map(move |row| element(x, row) / (part as f64).sqrt())).collect()
}

/// Elements as a block of codes of 8 bits with an IEEE half as its scale has them.
fn as_block(x: &[f64]) -> Vec<f64> {
    let scale = f16::from_f64(x.iter().fold(0.0, |most: f64, x| most.max(x.abs())) / 127.0).to_f64();
    x.iter().map(|x| if scale > 0.0 { (x / scale).round().clamp(-127.0, 127.0) * scale } else { 0.0 }).collect()
}

/// Heads that share keys and heads that do not, narrow and odd widths, windows, and more rows than a tile has.
pub fn attention_cases() -> Vec<AttentionCase> {
    vec![
        AttentionCase::new([1, 1, 2], 1, None, true),
        AttentionCase::new([4, 2, 32], 40, None, true),
        AttentionCase::new([6, 2, 18], 70, None, true),
        AttentionCase::new([7, 1, 64], 33, Some(9), true),
        AttentionCase::new([2, 2, 80], 101, Some(64), true),
        AttentionCase::new([8, 1, 8], 66, Some(1), true),
        AttentionCase::new([3, 3, 32], 65, None, false),
        AttentionCase::new([2, 2, 24], 1, None, false),
        AttentionCase::new([4, 2, 32], 60, None, true).with(12, 0.3, None),
        AttentionCase::new([4, 2, 80], 70, Some(33), true).with(25, 0.1, Some(2.0)),
        AttentionCase::new([2, 1, 256], 40, Some(16), true).with(128, 0.2, Some(0.7)),
    ]
}
