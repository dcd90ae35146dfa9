use std::ops::Range;

use super::*;
use crate::linear::vector::PanelValue;
use crate::linear::{Level, levels};
use crate::test_cases::{AttentionCase, attention_cases};

impl AttentionCase {
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
}

#[test]
fn attention_is_right_at_every_level_shape_and_window() {
    assert_eq!(attention_cases().len(), 11);
    for case in attention_cases() {
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
    assert_eq!(attention_cases().len(), 11);
    for case in attention_cases().into_iter().map(AttentionCase::in_halves) {
        let expected = case.expected();
        for level in levels() {
            let (worst, mean) = differences(&case.at_once(level), &expected);
            let what = format!("{level:?} {} {} {}", case.heads, case.head_dim, case.tokens);
            assert!(worst <= 1e-3 && mean <= 1e-5, "{what}: {worst:e} at most, {mean:e} in the mean");
        }
    }
}

/// Against keys and values as blocks have them. A number between two codes may go to the other one in f64.
#[test]
fn keys_and_values_in_blocks_are_the_nearest() {
    assert_eq!(attention_cases().len(), 11);
    for case in attention_cases().into_iter().map(AttentionCase::in_blocks) {
        let expected = case.expected();
        for level in levels() {
            let (worst, mean) = differences(&case.at_once(level), &expected);
            let what = format!("{level:?} {} {} {}", case.heads, case.head_dim, case.tokens);
            assert!(worst <= 1e-2 && mean <= 2e-4, "{what}: {worst:e} at most, {mean:e} in the mean");
        }
    }
}

/// Values are at most 1 in size, so that a step of their codes is 1/127. Keys are up to 5 times as large, and a change of a
/// score moves weight between values.
#[test]
fn blocks_change_the_result_of_f32_little() {
    assert_eq!(attention_cases().len(), 11);
    for case in attention_cases() {
        let expected = case.expected();
        let case = case.in_blocks();
        for level in levels() {
            let (worst, mean) = differences(&case.at_once(level), &expected);
            let what = format!("{level:?} {} {} {}", case.heads, case.head_dim, case.tokens);
            assert!(worst <= 5e-2 && mean <= 4e-3, "{what}: {worst:e} at most, {mean:e} in the mean");
            assert!(worst > 0.0, "{what}: the cache was in f32");
        }
    }
}

/// The largest and the mean difference.
fn differences(got: &[f32], expected: &[f64]) -> (f64, f64) {
    assert_eq!(got.len(), expected.len());
    let errors: Vec<f64> = got.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).collect();
    (errors.iter().copied().fold(0.0, f64::max), errors.iter().sum::<f64>() / errors.len() as f64)
}

/// The cases with keys and values of every type.
fn cases_of_all_types() -> Vec<AttentionCase> {
    let of = |change: fn(AttentionCase) -> AttentionCase| attention_cases().into_iter().map(change);
    of(|case| case).chain(of(AttentionCase::in_halves)).chain(of(AttentionCase::in_blocks)).collect()
}

#[test]
fn results_are_equal_for_registers_of_any_width() {
    assert_eq!(cases_of_all_types().len(), 33);
    for case in cases_of_all_types() {
        let results: Vec<Vec<f32>> =
            levels().into_iter().filter(|level| *level != Level::Plain).map(|level| case.at_once(level)).collect();
        assert!(results.windows(2).all(|two| two[0] == two[1]), "{} tokens of {}", case.tokens, case.head_dim);
    }
}

#[test]
fn in_parts_is_as_at_once() {
    assert_eq!(cases_of_all_types().len(), 33);
    for case in cases_of_all_types().into_iter().filter(|case| case.mask != AttentionMask::Full) {
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
    let case = AttentionCase::new([4, 2, 32], 60, None, true);
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

const TYPES: [KvCacheType; 3] = [KvCacheType::F32, KvCacheType::F16, KvCacheType::Q8_0];

#[test]
fn a_cache_has_the_reported_size() {
    for level in levels() {
        for (head_dim, kind) in [2, 18, 64, 80].into_iter().flat_map(|dim| TYPES.map(|kind| (dim, kind))) {
            let layout = HeadCacheLayout { level, kv_heads: 3, head_dim, kind };
            let cache = HeadCache::new(layout, 70);
            let bytes = match kind {
                KvCacheType::F32 => size_of::<f32>() * elements::<f32>(&cache, 70),
                KvCacheType::F16 => size_of::<u16>() * elements::<u16>(&cache, 70),
                KvCacheType::Q8_0 => {
                    let scales = (0..70_usize.div_ceil(layout.panel())).map(|panel| cache.scales(2, panel));
                    let scales: usize = scales.map(|(keys, values)| size_of_val(keys) + size_of_val(values)).sum();
                    elements::<i8>(&cache, 70) + 3 * scales
                }
            };
            assert_eq!(bytes, layout.bytes(70), "{level:?} {head_dim} {kind:?}");
            let of_head = match kind {
                KvCacheType::F32 => 4 * head_dim,
                KvCacheType::F16 => 2 * head_dim,
                KvCacheType::Q8_0 => head_dim + 2 * head_dim.div_ceil(32),
            };
            assert!(head_dim % level.lanes() > 0 || layout.bytes(64) == 64 * 2 * 3 * of_head);
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
            let mut case = AttentionCase::new([4, 4, 8], 70, None, false);
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
        let case = AttentionCase::new([2, 2, 8], 40, None, false);
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
