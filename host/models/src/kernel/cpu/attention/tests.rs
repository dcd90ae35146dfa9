use std::ops::Range;

use half::f16;

use super::super::linear::vector::PanelValue;
use super::super::linear::{Level, levels};
use super::*;

/// The attention of one sequence, and its inputs.
pub(in crate::kernel) struct Case {
    pub(in crate::kernel) heads: usize,
    pub(in crate::kernel) kv_heads: usize,
    pub(in crate::kernel) head_dim: usize,
    pub(in crate::kernel) tokens: usize,
    pub(in crate::kernel) mask: AttentionMask,
    pub(in crate::kernel) norms: Option<HeadNorms>,
    pub(in crate::kernel) scores: ScoreScale,
    /// Pairs of elements that are rotated.
    pub(in crate::kernel) pairs: usize,
    pub(in crate::kernel) cos: Vec<f32>,
    pub(in crate::kernel) sin: Vec<f32>,
    pub(in crate::kernel) qkv: Vec<f32>,
    /// The type of keys and values in the CPU's cache.
    kind: KvCacheType,
}

fn values(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * step) % 1_009) as f32 / 504.0 - 1.0).collect()
}

impl Case {
    /// Inputs like Qwen 3's if `decoder`, else like BERT's.
    pub(in crate::kernel) fn new(
        [heads, kv_heads, head_dim]: [usize; 3],
        tokens: usize,
        window: Option<usize>,
        decoder: bool,
    ) -> Self {
        let positive = |step| values(head_dim, step).iter().map(|value| value + 1.5).collect();
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
            qkv: values(tokens * (heads + 2 * kv_heads) * head_dim, 613),
            kind: KvCacheType::F32,
        }
    }

    fn in_halves(self) -> Self {
        Self { kind: KvCacheType::F16, ..self }
    }

    /// The same with so many rotated pairs, this scale of scores and this soft cap.
    fn with(mut self, pairs: usize, scale: f32, cap: Option<f32>) -> Self {
        self.cos.truncate(self.tokens * pairs);
        self.sin.truncate(self.tokens * pairs);
        Self { pairs, scores: ScoreScale { scale, cap }, ..self }
    }

    pub(in crate::kernel) fn columns(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    fn layout(&self, level: Level) -> HeadCacheLayout {
        HeadCacheLayout { level, kv_heads: self.kv_heads, head_dim: self.head_dim, kind: self.kind }
    }

    /// Attention of some tokens of the sequence. The earlier tokens are in `cache`.
    fn part(&self, cache: &mut HeadCache, tokens: Range<usize>) -> Vec<f32> {
        let (columns, pairs) = (self.columns(), self.pairs);
        let attention = Attention {
            heads: self.heads,
            norms: self.norms.as_ref(),
            cos: &self.cos[tokens.start * pairs..tokens.end * pairs],
            sin: &self.sin[tokens.start * pairs..tokens.end * pairs],
            mask: self.mask,
            bias: None,
            scores: self.scores,
        };
        let run = SequenceRows { first: 0, tokens: tokens.len(), start: tokens.start, cache };
        attention.rows(&self.qkv[tokens.start * columns..tokens.end * columns], columns, &mut [run])
    }

    fn at_once(&self, level: Level) -> Vec<f32> {
        self.part(&mut HeadCache::new(self.layout(level), self.tokens), 0..self.tokens)
    }

    /// A head of a token, normed and rotated, in f64. Heads of queries come first, then those of keys, then those of
    /// values.
    fn head(&self, token: usize, head: usize) -> Vec<f64> {
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
        }
    }

    /// One head and one position after another, by the definition (Vaswani et al. 2017).
    pub(in crate::kernel) fn expected(&self) -> Vec<f64> {
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

/// Heads that share keys and heads that do not, narrow and odd widths, windows, and more rows than a tile has.
pub(in crate::kernel) fn cases() -> Vec<Case> {
    vec![
        Case::new([1, 1, 2], 1, None, true),
        Case::new([4, 2, 32], 40, None, true),
        Case::new([6, 2, 18], 70, None, true),
        Case::new([7, 1, 64], 33, Some(9), true),
        Case::new([2, 2, 80], 101, Some(64), true),
        Case::new([8, 1, 8], 66, Some(1), true),
        Case::new([3, 3, 32], 65, None, false),
        Case::new([2, 2, 24], 1, None, false),
        Case::new([4, 2, 32], 60, None, true).with(12, 0.3, None),
        Case::new([4, 2, 80], 70, Some(33), true).with(25, 0.1, Some(2.0)),
        Case::new([2, 1, 256], 40, Some(16), true).with(128, 0.2, Some(0.7)),
    ]
}

#[test]
fn attention_is_right_at_every_level_shape_and_window() {
    for case in cases() {
        let expected = case.expected();
        for level in levels() {
            let got = case.at_once(level);
            assert_eq!(got.len(), expected.len());
            for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let what = format!("{level:?} {} {} {} at {at}", case.heads, case.head_dim, case.tokens);
                assert!((f64::from(*got) - expected).abs() <= 1e-5, "{what}: {got} for {expected}");
            }
        }
    }
}

/// Against keys and values in halves. A number between two halves may go to the other one in f64.
#[test]
fn keys_and_values_in_halves_are_the_nearest() {
    for case in cases().into_iter().map(Case::in_halves) {
        let expected = case.expected();
        for level in levels() {
            let errors: Vec<f64> =
                case.at_once(level).iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).collect();
            let (worst, mean) =
                (errors.iter().copied().fold(0.0, f64::max), errors.iter().sum::<f64>() / errors.len() as f64);
            let what = format!("{level:?} {} {} {}", case.heads, case.head_dim, case.tokens);
            assert!(worst <= 1e-3 && mean <= 1e-5, "{what}: {worst:e} at most, {mean:e} in the mean");
        }
    }
}

#[test]
fn results_are_equal_for_registers_of_any_width() {
    for case in cases().into_iter().chain(cases().into_iter().map(Case::in_halves)) {
        let results: Vec<Vec<f32>> =
            levels().into_iter().filter(|level| *level != Level::Plain).map(|level| case.at_once(level)).collect();
        assert!(results.windows(2).all(|two| two[0] == two[1]), "{} tokens of {}", case.tokens, case.head_dim);
    }
}

#[test]
fn in_parts_is_as_at_once() {
    let cases = cases().into_iter().chain(cases().into_iter().map(Case::in_halves));
    for case in cases.filter(|case| case.mask != AttentionMask::Full) {
        for level in levels() {
            let at_once = case.at_once(level);
            for size in [1, 7, 50] {
                // The cache grows with its sequence, and its capacities differ from those at once.
                let mut cache = HeadCache::new(case.layout(level), 0);
                let mut parts = Vec::new();
                for start in (0..case.tokens).step_by(size) {
                    let end = case.tokens.min(start + size);
                    cache = cache.resized(start, end + 5);
                    parts.extend(case.part(&mut cache, start..end));
                }
                assert!(parts == at_once, "{level:?} {size} of {}", case.tokens);
            }
        }
    }
}

#[test]
fn sequences_of_one_step_do_not_attend_to_each_other() {
    let case = Case::new([4, 2, 32], 60, None, true);
    let (columns, pairs, lengths) = (case.columns(), case.pairs, [3, 50, 1]);
    for level in levels() {
        let mut caches: Vec<HeadCache> = lengths.map(|_| HeadCache::new(case.layout(level), 60)).into();
        let mut alone = Vec::new();
        for (length, cache) in lengths.iter().zip(&mut caches) {
            alone.extend(case.part(cache, 0..*length));
        }
        // The same rows one after another, and two rows of no sequence.
        let repeat = |of: &[f32], width: usize| lengths.map(|length| of[..length * width].to_vec()).concat();
        let mut qkv = repeat(&case.qkv, columns);
        qkv.extend(vec![1.0; 2 * columns]);
        // The rows of no sequence have angles too.
        let angles = |of: &[f32]| [repeat(of, pairs), vec![1.0; 2 * pairs]].concat();
        let (cos, sin) = (angles(&case.cos), angles(&case.sin));
        let (norms, scores) = (case.norms.as_ref(), case.scores);
        let attention = Attention { heads: 4, norms, cos: &cos, sin: &sin, mask: case.mask, scores, bias: None };
        let mut first = 0;
        let mut runs = Vec::new();
        for (length, cache) in lengths.iter().zip(&mut caches) {
            runs.push(SequenceRows { first, tokens: *length, start: 0, cache });
            first += length;
        }
        let together = attention.rows(&qkv, columns, &mut runs);
        let (own, nobody) = together.split_at(alone.len());
        assert!(own == alone, "{level:?}");
        assert_eq!(nobody, vec![0.0; 2 * 4 * 32]);
    }
}

#[test]
fn a_cache_has_the_reported_size() {
    for level in levels() {
        for (head_dim, kind) in
            [2, 18, 64, 80].into_iter().flat_map(|dim| [(dim, KvCacheType::F32), (dim, KvCacheType::F16)])
        {
            let layout = HeadCacheLayout { level, kv_heads: 3, head_dim, kind };
            let cache = HeadCache::new(layout, 70);
            let bytes = match kind {
                KvCacheType::F32 => size_of::<f32>() * elements::<f32>(&cache, 70),
                KvCacheType::F16 => size_of::<u16>() * elements::<u16>(&cache, 70),
            };
            assert_eq!(bytes, layout.bytes(70), "{level:?} {head_dim} {kind:?}");
            let size = if kind == KvCacheType::F32 { 4 } else { 2 };
            assert!(head_dim % level.lanes() > 0 || layout.bytes(64) == 64 * 2 * 3 * head_dim * size);
        }
    }
}

/// The elements of all heads of a cache of `positions`.
fn elements<T: PanelValue>(cache: &HeadCache, positions: usize) -> usize {
    let layout = cache.layout;
    (0..layout.kv_heads)
        .map(|head| {
            let panels = positions.div_ceil(layout.panel());
            let keys: usize = (0..panels).map(|panel| cache.keys::<T>(head, panel).len()).sum();
            let all = 0..panels * layout.panel();
            keys + layout.value_panels().map(|panel| cache.values::<T>(head, panel, all.clone()).len()).sum::<usize>()
        })
        .sum()
}

#[test]
fn tokens_attend_to_near_ones_on_both_sides() {
    for level in levels() {
        for distance in [0, 1, 5, 100] {
            let mut case = Case::new([4, 4, 8], 70, None, false);
            case.mask = AttentionMask::Near(distance);
            let expected = case.expected();
            let worst =
                case.at_once(level).iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-5, "{worst:e} at a distance of {distance} on {level:?}");
        }
    }
}

/// A bias of scores that excludes all keys but one leaves the value of that key.
#[test]
fn a_bias_is_added_to_the_score_of_each_distance() {
    for level in levels() {
        let case = Case::new([2, 2, 8], 40, None, false);
        let bias = RelativeBias::new(2, 40, |head, distance| if distance == head as isize { 0.0 } else { -1e9 });
        let mut cache = HeadCache::new(case.layout(level), case.tokens);
        let (mask, scores) = (AttentionMask::Full, case.scores);
        let attention = Attention { heads: 2, norms: None, cos: &[], sin: &[], mask, scores, bias: Some(&bias) };
        let run = SequenceRows { first: 0, tokens: 40, start: 0, cache: &mut cache };
        let out = attention.rows(&case.qkv, case.columns(), &mut [run]);
        for token in 0..39 {
            for head in 0..2 {
                let value = case.head(token + head, 4 + head);
                let got = &out[token * 16 + head * 8..token * 16 + (head + 1) * 8];
                let worst = got.iter().zip(&value).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-6, "{worst:e} for token {token} and head {head} on {level:?}");
            }
        }
    }
}
