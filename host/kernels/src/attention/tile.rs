//! One tile of attention: some rows of queries over the keys and values of their head. It computes scores, softmax and
//! sums.
//!
//! Scores and sums use the register tiles of GEMM (`linear::gemm`): the queries, and later their weights, are
//! broadcast, and a panel of keys or values is in the lanes. Every row has its own sums in the order of positions, so a
//! row's result depends neither on the other rows nor on how rows are cut into tiles.

use std::ops::Range;

use super::super::linear::Level;
use super::super::linear::gemm::OutputColumns;
#[cfg(target_arch = "aarch64")]
use super::super::linear::vector::Neon;
#[cfg(target_arch = "x86_64")]
use super::super::linear::vector::{Avx2, Avx512};
use super::super::linear::vector::{Plain, Vector};
use super::bias::RelativeBias;
use super::hadamard::transform;
use super::head_cache::HeadCache;
use super::stored::{Numbers, ScaledCodes, StoredForm};
use crate::attention::KvCacheType;
use crate::elements::functions::{exp, soft_cap};

/// Partial maxima and partial sums of a row.
const LANES: usize = 8;

/// Consecutive rows of queries that share a head of keys.
pub(super) struct AttentionTile<'a> {
    pub(super) cache: &'a HeadCache,
    pub(super) head: usize,
    /// `[rows, head_dim]`, scaled. The query heads of a token are one after another.
    pub(super) queries: &'a [f32],
    /// The positions that each row attends to, at least one.
    pub(super) seen: Vec<Range<usize>>,
    /// Query heads of a token that share the head of keys.
    pub(super) group: usize,
    /// The soft cap of scores.
    pub(super) cap: Option<f32>,
    /// The first row and the first column of the tile in the result.
    pub(super) row: usize,
    pub(super) column: usize,
    /// What is added to scores, and the position of the first row.
    pub(super) bias: Option<(&'a RelativeBias, usize)>,
}

impl AttentionTile<'_> {
    /// Writes the tile's rows and columns of `out`. Tiles that run at the same time have different ones.
    pub(super) fn run(&self, out: &OutputColumns<'_>) {
        match self.cache.layout.level {
            // SAFETY: the layout has this level only if the processor has AVX-512F and FMA.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { attend_avx512(self, out) },
            // SAFETY: the layout has this level only if the processor has AVX2, FMA and F16C.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { attend_avx2(self, out) },
            #[cfg(target_arch = "aarch64")]
            Level::Neon => attend::<Neon>(self, out),
            Level::Plain => attend::<Plain>(self, out),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn attend_avx512(task: &AttentionTile<'_>, out: &OutputColumns<'_>) {
    attend::<Avx512>(task, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,fma")]
fn attend_avx2(task: &AttentionTile<'_>, out: &OutputColumns<'_>) {
    attend::<Avx2>(task, out);
}

#[inline(always)]
fn attend<V: Vector>(task: &AttentionTile<'_>, out: &OutputColumns<'_>) {
    match task.cache.layout.kind {
        KvCacheType::F32 => attend_to::<V, Numbers<f32>>(task, out),
        KvCacheType::F16 => attend_to::<V, Numbers<u16>>(task, out),
        KvCacheType::Q8_0 => attend_to::<V, ScaledCodes>(task, out),
    }
}

/// Attends to keys and values in this form.
#[inline(always)]
fn attend_to<V: Vector, F: StoredForm>(task: &AttentionTile<'_>, out: &OutputColumns<'_>) {
    let (rows, width, head_dim) = (task.seen.len(), 2 * V::LANES, task.cache.layout.head_dim);
    let first = task.seen.iter().map(|seen| seen.start).min().unwrap_or(0);
    let last = task.seen.iter().map(|seen| seen.end).max().unwrap_or(0);
    let panels = first / width..last.div_ceil(width);
    // One panel after another, each `[rows, width]`.
    let (mut scores, mut spare) = (vec![0.0; panels.len() * rows * width], vec![0.0; rows * width]);
    for (panel, scores) in panels.clone().zip(scores.chunks_exact_mut(rows * width)) {
        F::add_scores::<V>(task.cache, (task.head, panel), task.queries, scores, &mut spare);
    }
    if let Some((bias, position)) = task.bias {
        for row in 0..rows {
            let own = bias.row(task.head * task.group + row % task.group, position + row / task.group);
            for (panel, scores) in panels.clone().zip(scores.chunks_exact_mut(rows * width)) {
                let keys = own.get(panel * width..).unwrap_or_default();
                scores[row * width..(row + 1) * width].iter_mut().zip(keys).for_each(|(score, bias)| *score += bias);
            }
        }
    }
    let (mut scales, mut sums) = (vec![0.0; rows], vec![0.0; rows * width]);
    for (row, (scale, seen)) in scales.iter_mut().zip(&task.seen).enumerate() {
        if let Some(cap) = task.cap {
            cap_row(&mut scores, rows, width, row, cap);
        }
        *scale = softmax_row(&mut scores, rows, width, row, seen, panels.start * width);
    }
    // Sums that are not written yet, `[rows, head_dim]`.
    let mut transformed = vec![0.0; if F::TRANSFORMED { rows * head_dim } else { 0 }];
    for (element, wide) in task.cache.layout.value_panels() {
        let sums = &mut sums[..rows * wide];
        sums.fill(0.0);
        for (panel, weights) in panels.clone().zip(scores.chunks_exact(rows * width)) {
            let positions = panel * width..last.min((panel + 1) * width);
            let values = ((element, wide), positions);
            F::add_values::<V>(task.cache, (task.head, panel), values, weights, sums, &mut spare);
        }
        for (row, (sums, scale)) in sums.chunks_exact(wide).zip(&scales).enumerate() {
            if F::TRANSFORMED {
                let out = &mut transformed[row * head_dim + element..(row + 1) * head_dim];
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * scale);
                continue;
            }
            let column = task.column + row % task.group * head_dim + element;
            // SAFETY: only this tile writes these rows and columns, and no other part of them is alive.
            let out = unsafe { out.part(task.row + row / task.group, column, wide.min(head_dim - element)) };
            for (out, sum) in out.iter_mut().zip(sums) {
                out.write(sum * scale);
            }
        }
    }
    for (row, sums) in transformed.chunks_exact_mut(head_dim).enumerate() {
        transform(sums);
        let column = task.column + row % task.group * head_dim;
        // SAFETY: only this tile writes these rows and columns, and no other part of them is alive.
        let out = unsafe { out.part(task.row + row / task.group, column, head_dim) };
        for (out, sum) in out.iter_mut().zip(sums) {
            out.write(*sum);
        }
    }
}

/// Caps the scores of one row.
#[inline(always)]
fn cap_row(scores: &mut [f32], rows: usize, width: usize, row: usize, cap: f32) {
    for scores in scores.chunks_exact_mut(rows * width) {
        for score in &mut scores[row * width..(row + 1) * width] {
            *score = soft_cap(*score, cap);
        }
    }
}

/// Turns the scores of one row into weights: `e` to the difference from the greatest score, and 0 for masked positions.
/// Returns the factor that makes the weights sum to 1. The scores begin with position `start`.
#[inline(always)]
fn softmax_row(scores: &mut [f32], rows: usize, width: usize, row: usize, seen: &Range<usize>, start: usize) -> f32 {
    let own = seen.start - start..seen.end - start;
    let mut most = [f32::NEG_INFINITY; LANES];
    for (panel, scores) in scores.chunks_exact_mut(rows * width).enumerate() {
        let scores = &mut scores[row * width..(row + 1) * width];
        let at = panel * width;
        // Positions before and after the row's own range are masked.
        let before = own.start.clamp(at, at + width) - at;
        let behind = own.end.clamp(at, at + width) - at;
        scores[..before].fill(f32::NEG_INFINITY);
        scores[behind.max(before)..].fill(f32::NEG_INFINITY);
        for scores in scores.as_chunks::<LANES>().0 {
            for (most, score) in most.iter_mut().zip(scores) {
                *most = if *score > *most { *score } else { *most };
            }
        }
    }
    let most = most.iter().fold(f32::NEG_INFINITY, |most, score| most.max(*score));
    let mut sums = [0.0_f32; LANES];
    for scores in scores.chunks_exact_mut(rows * width) {
        for scores in scores[row * width..(row + 1) * width].as_chunks_mut::<LANES>().0 {
            for (score, sum) in scores.iter_mut().zip(&mut sums) {
                *score = exp(*score - most);
                *sum += *score;
            }
        }
    }
    1.0 / sums.iter().sum::<f32>()
}
