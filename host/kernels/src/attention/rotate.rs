//! Norm (Qwen 3) and rotary embedding of heads of queries and keys before attention.

use super::super::elements::rms_row;
use super::super::linear::Level;
use super::hadamard::transform;
use super::head_cache::CachedHead;

/// RMS norms over each head of queries and of keys.
#[derive(Debug)]
pub struct HeadNorms {
    /// `[head_dim]`
    pub queries: Vec<f32>,
    /// `[head_dim]`
    pub keys: Vec<f32>,
    /// Added to the mean of the squares.
    pub epsilon: f32,
}

/// The rotation of some rows of a sequence for one head of keys: it writes the head's keys and values to the cache, and
/// its query heads to `queries`.
pub(super) struct HeadRotation<'a> {
    /// `[tokens, columns]`: all query heads, all key heads, all value heads.
    pub(super) qkv: &'a [f32],
    pub(super) columns: usize,
    pub(super) norms: Option<&'a HeadNorms>,
    /// `[tokens, pairs]`
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
    /// Pairs of elements of a head that are rotated.
    pub(super) pairs: usize,
    /// What queries are multiplied by.
    pub(super) scale: f32,
    /// Columns of the first query head, of the key and of the value.
    pub(super) at: [usize; 3],
    pub(super) group: usize,
    pub(super) head_dim: usize,
    /// Position of the first token.
    pub(super) start: usize,
    /// The destination of keys and values.
    pub(super) head: CachedHead<'a>,
    /// The destination of queries, `[tokens, group, head_dim]`, multiplied by the scale of scores.
    pub(super) queries: &'a mut [f32],
}

impl HeadRotation<'_> {
    pub(super) fn run(&mut self, level: Level) {
        match level {
            // SAFETY: the layout has this level only if the processor has AVX-512F.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { rotate_avx512(self) },
            // SAFETY: the layout has this level only if the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { rotate_avx2(self) },
            // The compiler uses NEON wherever a processor has it.
            #[cfg(target_arch = "aarch64")]
            Level::Neon => rotate(self),
            Level::Plain => rotate(self),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn rotate_avx512(rows: &mut HeadRotation<'_>) {
    rotate(rows);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rotate_avx2(rows: &mut HeadRotation<'_>) {
    rotate(rows);
}

#[inline(always)]
fn rotate(rows: &mut HeadRotation<'_>) {
    let (width, pairs, [query, key, value]) = (rows.head_dim, rows.pairs, rows.at);
    let (mut rotated, mut spread) = (vec![0.0; width], vec![0.0; width]);
    let in_codes = rows.head.is_in_codes();
    let queries = rows.queries.chunks_exact_mut((rows.group * width).max(1));
    for (at, (row, queries)) in rows.qkv.chunks_exact(rows.columns).zip(queries).enumerate() {
        let angles = (&rows.cos[at * pairs..(at + 1) * pairs], &rows.sin[at * pairs..(at + 1) * pairs]);
        let norm = |of: fn(&HeadNorms) -> &[f32]| rows.norms.map(|norms| (of(norms), norms.epsilon));
        rotate_head(&row[key..key + width], norm(|norms| &norms.keys), angles, &mut rotated);
        let mut value = &row[value..value + width];
        if in_codes {
            transform(&mut rotated);
            spread.copy_from_slice(value);
            transform(&mut spread);
            value = &spread;
        }
        rows.head.write(rows.start + at, &rotated, value);
        let heads = row[query..query + rows.group * width].chunks_exact(width);
        for (head, out) in heads.zip(queries.chunks_exact_mut(width)) {
            rotate_head(head, norm(|norms| &norms.queries), angles, out);
            if in_codes {
                transform(out);
            }
            out.iter_mut().for_each(|value| *value *= rows.scale);
        }
    }
}

/// Element `i` is paired with `i + pairs`, as in Hugging Face's checkpoints. Elements behind the pairs stay as they are.
#[inline(always)]
fn rotate_head(x: &[f32], norm: Option<(&[f32], f32)>, (cos, sin): (&[f32], &[f32]), out: &mut [f32]) {
    match norm {
        Some((weight, epsilon)) => rms_row(x, weight, epsilon, out),
        None => out.copy_from_slice(x),
    }
    let (low, high) = out.split_at_mut(cos.len());
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
    }
}
