//! Attention on the CPU, from the rows of a layer's first product to those of its last: norms and rotary embedding of
//! heads, the caches, scores, softmax and sums.
//!
//! burn's operations take each of these steps by itself, and copy where the order of memory is another one. Here keys
//! and values stand in the order in which they are read ([`heads`]), the query heads that share a head of keys are rows
//! of one small product ([`mix`]), and what a row must not see is not computed, apart from the rest of a panel. Softmax
//! is taken in two passes over a row's own scores, of at most a task's rows at a time.

mod heads;
mod mix;
#[cfg(test)]
pub(super) mod tests;
mod turn;

use std::ops::Range;

use burn::tensor::{DType, Tensor, TensorData};

use super::cpu_linear::blocks::Columns;
use super::cpu_linear::level;
use super::threads::{share, share_chunks};
pub(crate) use heads::{HeadCache, Layout};
use mix::Task;
pub(crate) use turn::HeadNorms;
use turn::Turn;

/// Rows of queries that one task takes at most.
const TASK_ROWS: usize = 48;
/// Scores of one task: half of a second-level cache of 512 KiB.
const TASK_SCORES: usize = 1 << 16;
/// Multiply-adds up to which all of it runs on the calling thread.
const SERIAL_PRODUCTS: usize = 1 << 17;

impl Layout {
    /// That of this machine's vector registers.
    pub(crate) fn new(kv_heads: usize, head_dim: usize) -> Self {
        Self { level: level(), kv_heads, head_dim }
    }
}

/// What the layers of a pass have in common, but for `window` and `norms`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) heads: usize,
    pub(crate) norms: Option<&'a HeadNorms>,
    /// Of every row of the pass, `[rows, head_dim / 2]`; no elements where heads do not turn.
    pub(crate) cos: &'a [f32],
    pub(crate) sin: &'a [f32],
    /// What a row sees of the sequence.
    pub(crate) sight: Sight,
}

/// What a row sees of its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// All that was written (Devlin et al. 2019).
    All,
    /// Itself and what came before it, at most so many positions in all.
    Before(Option<usize>),
}

/// One sequence's rows of a pass.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// Its first row.
    pub(crate) first: usize,
    pub(crate) tokens: usize,
    /// Position of the first token.
    pub(crate) start: usize,
    /// Has room for them.
    pub(crate) cache: &'a mut HeadCache,
}

impl Attention<'_> {
    /// `qkv` is `[rows, (heads + 2 * kv_heads) * head_dim]`, on the CPU; the result is `[rows, heads * head_dim]`, zero
    /// in rows that are in no run. Keys and values are added to the caches, which are all of one layout.
    pub(crate) fn forward(&self, qkv: Tensor<2>, runs: &mut [Run<'_>]) -> Tensor<2> {
        let ([rows, columns], device) = (qkv.dims(), qkv.device());
        let qkv = qkv.into_data().convert::<f32>();
        let out = self.rows(qkv.as_slice().unwrap_or_default(), columns, runs);
        let width = out.len() / rows.max(1);
        Tensor::from_data(TensorData::new(out, [rows, width]), (&device, DType::F32))
    }

    fn rows(&self, qkv: &[f32], columns: usize, runs: &mut [Run<'_>]) -> Vec<f32> {
        let Some(layout) = runs.first().map(|run| run.cache.layout) else { return Vec::new() };
        let (rows, width) = (qkv.len() / columns, self.heads * layout.head_dim);
        let seen: usize = runs.iter().map(|run| run.tokens * (run.start + run.tokens)).sum();
        let serial = 2 * seen * width <= SERIAL_PRODUCTS;
        let mut queries: Vec<Vec<f32>> = runs.iter().map(|run| vec![0.0; run.tokens * width]).collect();
        let mut turns: Vec<Turn<'_>> = runs
            .iter_mut()
            .zip(&mut queries)
            .flat_map(|(run, queries)| self.turns(qkv, columns, run, queries))
            .collect();
        match serial {
            true => turns.iter_mut().for_each(|turn| turn.run(layout.level)),
            false => share_chunks(&mut turns, 1, |_, turns| turns.iter_mut().for_each(|turn| turn.run(layout.level))),
        }
        drop(turns);
        let mut out = vec![0.0; rows * width];
        let columns = Columns::new(&mut out, width);
        let tasks: Vec<Task<'_>> =
            runs.iter().zip(&queries).flat_map(|(run, queries)| self.tasks(run, queries)).collect();
        match serial {
            true => tasks.iter().for_each(|task| task.run(&columns)),
            false => share(tasks.len(), |index| tasks[index].run(&columns)),
        }
        out
    }

    /// A run's heads of keys, each with its rows. `queries` is `[kv_heads, tokens, group, head_dim]`.
    fn turns<'a>(
        &'a self,
        qkv: &'a [f32],
        columns: usize,
        run: &'a mut Run<'_>,
        queries: &'a mut [f32],
    ) -> impl Iterator<Item = Turn<'a>> {
        let Layout { kv_heads, head_dim, .. } = run.cache.layout;
        let (first, tokens, start) = (run.first, run.tokens, run.start);
        let (group, half) = (self.heads / kv_heads, if self.cos.is_empty() { 0 } else { head_dim / 2 });
        let queries = queries.chunks_exact_mut((tokens * group * head_dim).max(1));
        run.cache.heads().zip(queries).enumerate().map(move |(index, (head, queries))| Turn {
            qkv: &qkv[first * columns..(first + tokens) * columns],
            columns,
            norms: self.norms,
            cos: &self.cos[first * half..(first + tokens) * half],
            sin: &self.sin[first * half..(first + tokens) * half],
            at: [index * group, self.heads + index, self.heads + kv_heads + index].map(|head| head * head_dim),
            group,
            head_dim,
            start,
            head,
            queries,
        })
    }

    /// A run's rows in tasks.
    fn tasks<'a>(&'a self, run: &'a Run<'_>, queries: &'a [f32]) -> impl Iterator<Item = Task<'a>> {
        let Layout { kv_heads, head_dim, .. } = run.cache.layout;
        let group = self.heads / kv_heads;
        let most = (TASK_SCORES / (run.start + run.tokens).max(1)).clamp(1, TASK_ROWS);
        let tokens = (most / group).max(1);
        let queries = queries.chunks_exact((run.tokens * group * head_dim).max(1));
        queries.enumerate().flat_map(move |(head, queries)| {
            queries.chunks(tokens * group * head_dim).enumerate().map(move |(index, queries)| {
                let first = index * tokens;
                let rows = queries.len() / head_dim;
                Task {
                    cache: &*run.cache,
                    head,
                    queries,
                    seen: (0..rows).map(|row| self.sight.of(run, first + row / group)).collect(),
                    group,
                    row: run.first + first,
                    column: head * group * head_dim,
                }
            })
        })
    }
}

impl Sight {
    fn of(self, run: &Run<'_>, token: usize) -> Range<usize> {
        let own = run.start + token + 1;
        match self {
            Self::All => 0..run.start + run.tokens,
            Self::Before(None) => 0..own,
            Self::Before(Some(window)) => own.saturating_sub(window.max(1))..own,
        }
    }
}
