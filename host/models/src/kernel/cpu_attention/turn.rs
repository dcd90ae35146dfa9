//! What becomes of one head of queries or keys before it is used: its norm (Qwen3), its place in the text.

use super::super::cpu_elements::rms_row;
#[cfg(target_arch = "x86_64")]
use super::super::cpu_linear::Level;
use super::heads::Head;

/// RMS norms over each head of queries and of keys.
#[derive(Debug)]
pub(crate) struct HeadNorms {
    /// `[head_dim]`
    pub(crate) queries: Vec<f32>,
    /// `[head_dim]`
    pub(crate) keys: Vec<f32>,
    pub(crate) epsilon: f32,
}

/// Some rows of a sequence on their way to one head of keys.
pub(super) struct Turn<'a> {
    /// `[tokens, columns]`: all query heads, all key heads, all value heads.
    pub(super) qkv: &'a [f32],
    pub(super) columns: usize,
    pub(super) norms: Option<&'a HeadNorms>,
    /// `[tokens, head_dim / 2]`; without elements where heads do not turn.
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
    /// Columns of the first query head, of the key and of the value.
    pub(super) at: [usize; 3],
    pub(super) group: usize,
    pub(super) head_dim: usize,
    /// Position of the first token.
    pub(super) start: usize,
    /// Where keys and values go.
    pub(super) head: Head<'a>,
    /// Where queries go, `[tokens, group, head_dim]`, scaled by the root of the head's width.
    pub(super) queries: &'a mut [f32],
}

impl Turn<'_> {
    pub(super) fn run(&mut self, level: Level) {
        match level {
            // SAFETY: levels are given out only where the processor has AVX-512F.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { turn_avx512(self) },
            // SAFETY: levels are given out only where the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { turn_avx2(self) },
            Level::Plain => turn(self),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn turn_avx512(rows: &mut Turn<'_>) {
    turn(rows);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn turn_avx2(rows: &mut Turn<'_>) {
    turn(rows);
}

#[inline(always)]
fn turn(rows: &mut Turn<'_>) {
    let (width, [query, key, value]) = (rows.head_dim, rows.at);
    let half = if rows.cos.is_empty() { 0 } else { width / 2 };
    let scale = 1.0 / (width as f32).sqrt();
    let mut turned = vec![0.0; width];
    let queries = rows.queries.chunks_exact_mut((rows.group * width).max(1));
    for (at, (row, queries)) in rows.qkv.chunks_exact(rows.columns).zip(queries).enumerate() {
        let angles = (&rows.cos[at * half..(at + 1) * half], &rows.sin[at * half..(at + 1) * half]);
        let norm = |of: fn(&HeadNorms) -> &[f32]| rows.norms.map(|norms| (of(norms), norms.epsilon));
        turn_head(&row[key..key + width], norm(|norms| &norms.keys), angles, &mut turned);
        rows.head.put(rows.start + at, &turned, &row[value..value + width]);
        let heads = row[query..query + rows.group * width].chunks_exact(width);
        for (head, out) in heads.zip(queries.chunks_exact_mut(width)) {
            turn_head(head, norm(|norms| &norms.queries), angles, out);
            out.iter_mut().for_each(|value| *value *= scale);
        }
    }
}

/// Element `i` pairs with `i + head_dim / 2`, as Hugging Face has it.
#[inline(always)]
fn turn_head(x: &[f32], norm: Option<(&[f32], f32)>, (cos, sin): (&[f32], &[f32]), out: &mut [f32]) {
    match norm {
        Some((weight, epsilon)) => rms_row(x, weight, epsilon, out),
        None => out.copy_from_slice(x),
    }
    let (low, high) = out.split_at_mut(x.len() / 2);
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
    }
}
