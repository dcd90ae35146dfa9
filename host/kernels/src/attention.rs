//! Attention on the CPU, from the product of a layer's first matrix to the input of its second: norms and rotary
//! embedding of heads, the KV cache, scores, softmax and sums.
//!
//! burn would compute each of these operations separately, and copy wherever the order of memory differs. Here keys and
//! values are stored in the order in which they are read ([`head_cache`]), the query heads that share a head of keys
//! are rows of one small product ([`tile`]), and masked positions are not computed, except for the rest of a panel.
//! Softmax takes two passes over the scores of a row, and a tile has a bounded number of rows.

mod bias;
mod blocks;
mod hadamard;
mod head_cache;
mod memory;
mod rotate;
mod stored;
#[cfg(test)]
pub(super) mod tests;
mod tile;

use std::mem::MaybeUninit;
use std::ops::Range;

use super::linear::gemm::{OutputColumns, filled};
use super::linear::level;
use super::threads::{share, share_chunks};
pub use bias::RelativeBias;
pub use head_cache::{HeadCache, HeadCacheLayout};
pub use rotate::HeadNorms;
use rotate::HeadRotation;
use tile::AttentionTile;

/// The type of keys and values in a KV cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvCacheType {
    /// Four bytes each.
    F32,
    /// IEEE halves: half the memory, and 11 bits of precision.
    #[default]
    F16,
    /// Codes of 8 bits with an IEEE half as the scale of up to 32 elements of a head: 34 bytes for 32 elements. Heads are
    /// rotated by a Hadamard transform first.
    Q8_0,
}

/// Maximum rows of queries in a tile.
const TASK_ROWS: usize = 48;
/// Scores of one tile: half of a second-level cache of 512 KiB.
const TASK_SCORES: usize = 1 << 16;
/// Multiply-adds up to which attention runs on the calling thread.
const SERIAL_PRODUCTS: usize = 1 << 17;

impl HeadCacheLayout {
    /// The layout for this machine's vector registers.
    pub fn new(kv_heads: usize, head_dim: usize, kind: KvCacheType) -> Self {
        Self { level: level(), kv_heads, head_dim, kind }
    }
}

/// The arguments of attention. The layers of a step share them, except for the norms and the window of the mask.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// Heads of queries.
    pub heads: usize,
    /// The norms of queries and keys, for models that have them.
    pub norms: Option<&'a HeadNorms>,
    /// Of every row of the step, `[rows, pairs]`; empty for models without rotary embedding. The first `2 * pairs`
    /// elements of a head are rotated.
    pub cos: &'a [f32],
    /// As `cos`.
    pub sin: &'a [f32],
    /// The positions that a row attends to.
    pub mask: AttentionMask,
    /// What is added to the scores of sequences that begin with their first token, for models with a relative bias.
    pub bias: Option<&'a RelativeBias>,
    /// What scores are before softmax.
    pub scores: ScoreScale,
}

/// What attention's scores are before softmax: `scale q·k`, or `cap tanh(scale q·k / cap)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreScale {
    /// The factor of the products.
    pub scale: f32,
    /// The soft cap.
    pub cap: Option<f32>,
}

impl ScoreScale {
    /// Divided by the square root of the width of a head (Vaswani et al. 2017).
    pub fn of(head_dim: usize) -> Self {
        Self { scale: 1.0 / (head_dim as f32).sqrt(), cap: None }
    }
}

/// The positions of its sequence that a row attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionMask {
    /// Every position (Devlin et al. 2019).
    Full,
    /// Those at most so far away, before it and behind it.
    Near(usize),
    /// Its own position and those before it: all of them, or a sliding window of so many.
    Causal(Option<usize>),
}

/// The rows of one sequence in a step.
#[derive(Debug)]
pub struct SequenceRows<'a> {
    /// The sequence's first row.
    pub first: usize,
    /// The number of its rows.
    pub tokens: usize,
    /// Position of the first token.
    pub start: usize,
    /// The sequence's KV cache of the layer. It has room for the rows.
    pub cache: &'a mut HeadCache,
}

impl Attention<'_> {
    /// `qkv` is `[rows, columns]`, where `columns` is `(heads + 2 * kv_heads) * head_dim`. The result is
    /// `[rows, heads * head_dim]`, and zero in rows of no sequence. Keys and values are written to the caches, which all have
    /// the same layout.
    pub fn rows(&self, qkv: &[f32], columns: usize, sequences: &mut [SequenceRows<'_>]) -> Vec<f32> {
        let Some(layout) = sequences.first().map(|sequence| sequence.cache.layout) else { return Vec::new() };
        let (rows, width) = (qkv.len() / columns, self.heads * layout.head_dim);
        let seen: usize = sequences.iter().map(|rows| rows.tokens * (rows.start + rows.tokens)).sum();
        let serial = 2 * seen * width <= SERIAL_PRODUCTS;
        let mut queries: Vec<Vec<f32>> = sequences.iter().map(|rows| vec![0.0; rows.tokens * width]).collect();
        let mut rotations: Vec<HeadRotation<'_>> = sequences
            .iter_mut()
            .zip(&mut queries)
            .flat_map(|(rows, queries)| self.rotations(qkv, columns, rows, queries))
            .collect();
        match serial {
            true => rotations.iter_mut().for_each(|rotation| rotation.run(layout.level)),
            false => share_chunks(&mut rotations, 1, |_, rotations| {
                rotations.iter_mut().for_each(|rotation| rotation.run(layout.level))
            }),
        }
        drop(rotations);
        let tiles: Vec<AttentionTile<'_>> =
            sequences.iter().zip(&queries).flat_map(|(rows, queries)| self.tiles(rows, queries)).collect();
        // The sequences follow one another and have all rows, and their heads have all columns.
        let end = sequences.iter().try_fold(0, |next, rows| (rows.first == next).then_some(next + rows.tokens));
        let is_whole = end == Some(rows) && self.heads.is_multiple_of(layout.kv_heads);
        let run = |out: &mut [MaybeUninit<f32>]| {
            if !is_whole {
                out.fill(MaybeUninit::new(0.0));
            }
            let columns = OutputColumns::new(out, width);
            match serial {
                true => tiles.iter().for_each(|tile| tile.run(&columns)),
                false => share(tiles.len(), |index| tiles[index].run(&columns)),
            }
        };
        // SAFETY: the tiles of a sequence write all columns of its rows, or all values were zeroed.
        unsafe { filled(rows * width, run) }
    }

    /// A task for each head of keys of a sequence. `queries` is `[kv_heads, tokens, group, head_dim]`.
    fn rotations<'a>(
        &'a self,
        qkv: &'a [f32],
        columns: usize,
        sequence: &'a mut SequenceRows<'_>,
        queries: &'a mut [f32],
    ) -> impl Iterator<Item = HeadRotation<'a>> {
        let HeadCacheLayout { kv_heads, head_dim, .. } = sequence.cache.layout;
        let (first, tokens, start) = (sequence.first, sequence.tokens, sequence.start);
        let (group, pairs) = (self.heads / kv_heads, self.cos.len() / (qkv.len() / columns).max(1));
        let queries = queries.chunks_exact_mut((tokens * group * head_dim).max(1));
        sequence.cache.heads().zip(queries).enumerate().map(move |(index, (head, queries))| HeadRotation {
            qkv: &qkv[first * columns..(first + tokens) * columns],
            columns,
            norms: self.norms,
            cos: &self.cos[first * pairs..(first + tokens) * pairs],
            sin: &self.sin[first * pairs..(first + tokens) * pairs],
            pairs,
            scale: self.scores.scale,
            at: [index * group, self.heads + index, self.heads + kv_heads + index].map(|head| head * head_dim),
            group,
            head_dim,
            start,
            head,
            queries,
        })
    }

    /// The tiles of a sequence's rows.
    fn tiles<'a>(
        &'a self,
        sequence: &'a SequenceRows<'_>,
        queries: &'a [f32],
    ) -> impl Iterator<Item = AttentionTile<'a>> {
        let HeadCacheLayout { kv_heads, head_dim, .. } = sequence.cache.layout;
        let group = self.heads / kv_heads;
        let most = (TASK_SCORES / (sequence.start + sequence.tokens).max(1)).clamp(1, TASK_ROWS);
        let tokens = (most / group).max(1);
        let queries = queries.chunks_exact((sequence.tokens * group * head_dim).max(1));
        queries.enumerate().flat_map(move |(head, queries)| {
            queries.chunks(tokens * group * head_dim).enumerate().map(move |(index, queries)| {
                let first = index * tokens;
                let rows = queries.len() / head_dim;
                AttentionTile {
                    cache: &*sequence.cache,
                    head,
                    queries,
                    seen: (0..rows).map(|row| self.mask.of(sequence, first + row / group)).collect(),
                    group,
                    cap: self.scores.cap,
                    row: sequence.first + first,
                    column: head * group * head_dim,
                    bias: self.bias.map(|bias| (bias, sequence.start + first)),
                }
            })
        })
    }
}

impl AttentionMask {
    fn of(self, sequence: &SequenceRows<'_>, token: usize) -> Range<usize> {
        let own = sequence.start + token + 1;
        match self {
            Self::Full => 0..sequence.start + sequence.tokens,
            Self::Near(distance) => {
                (own - 1).saturating_sub(distance)..own.saturating_add(distance).min(sequence.start + sequence.tokens)
            }
            Self::Causal(None) => 0..own,
            Self::Causal(Some(window)) => own.saturating_sub(window.max(1))..own,
        }
    }
}
