//! How a tile reads keys and values: as numbers, or as codes of 8 bits with scales.

use std::marker::PhantomData;
use std::ops::Range;

use super::super::linear::gemm::{stored, strips};
use super::super::linear::vector::{PanelValue, Vector};
use super::blocks::BLOCK;
use super::head_cache::HeadCache;

/// A form in which keys and values are stored.
pub(super) trait StoredForm {
    /// Whether values are transformed (`hadamard`), so that their sums have to be transformed back.
    const TRANSFORMED: bool;

    /// Adds the products of `queries`, `[rows, head_dim]`, and a panel of keys to `scores`, `[rows, panel]`. `spare` is as
    /// large as `scores`.
    fn add_scores<V: Vector>(
        cache: &HeadCache,
        panel: (usize, usize),
        queries: &[f32],
        scores: &mut [f32],
        spare: &mut [f32],
    );

    /// Adds the sums of values to `sums`, `[rows, wide]`: elements of a panel that begins with element `first` and is `wide`,
    /// and positions of a panel. `weights` is `[rows, panel]`, and `spare` is as large.
    fn add_values<V: Vector>(
        cache: &HeadCache,
        panel: (usize, usize),
        values: ((usize, usize), Range<usize>),
        weights: &[f32],
        sums: &mut [f32],
        spare: &mut [f32],
    );
}

/// Numbers of type `T`.
pub(super) struct Numbers<T>(PhantomData<T>);

impl<T: PanelValue> StoredForm for Numbers<T> {
    const TRANSFORMED: bool = false;

    #[inline(always)]
    fn add_scores<V: Vector>(
        cache: &HeadCache,
        (head, panel): (usize, usize),
        queries: &[f32],
        scores: &mut [f32],
        _: &mut [f32],
    ) {
        let row = cache.layout.head_dim * size_of::<f32>();
        strips::<V, 8, 2, 6>(stored(queries), row, 0, cache.keys::<T>(head, panel), scores);
    }

    #[inline(always)]
    fn add_values<V: Vector>(
        cache: &HeadCache,
        (head, _): (usize, usize),
        (elements, positions): ((usize, usize), Range<usize>),
        weights: &[f32],
        sums: &mut [f32],
        _: &mut [f32],
    ) {
        weighted::<V, T>(weights, cache.values(head, elements, positions), elements.1, sums);
    }
}

/// Codes of 8 bits with a scale for each block. The products of a block of keys are multiplied by the scales of their
/// positions; the weights of values are multiplied before.
pub(super) struct ScaledCodes;

impl StoredForm for ScaledCodes {
    const TRANSFORMED: bool = true;

    #[inline(always)]
    fn add_scores<V: Vector>(
        cache: &HeadCache,
        (head, panel): (usize, usize),
        queries: &[f32],
        scores: &mut [f32],
        spare: &mut [f32],
    ) {
        let (width, row) = (2 * V::LANES, cache.layout.head_dim * size_of::<f32>());
        let (scales, _) = cache.scales(head, panel);
        let blocks = cache.keys::<i8>(head, panel).chunks(BLOCK * width).zip(scales.chunks_exact(width));
        for (block, (keys, scales)) in blocks.enumerate() {
            spare.fill(0.0);
            strips::<V, 8, 2, 6>(stored(queries), row, block * BLOCK * size_of::<f32>(), keys, spare);
            let scales: [V; 2] = [u16::lanes(scales), u16::lanes(&scales[V::LANES..])];
            for (scores, sums) in scores.chunks_exact_mut(width).zip(spare.chunks_exact(width)) {
                for (half, scale) in scales.into_iter().enumerate() {
                    let at = half * V::LANES;
                    V::inputs(&scores[at..]).plus_product(V::inputs(&sums[at..]), scale).put(&mut scores[at..]);
                }
            }
        }
    }

    #[inline(always)]
    fn add_values<V: Vector>(
        cache: &HeadCache,
        (head, panel): (usize, usize),
        (elements, positions): ((usize, usize), Range<usize>),
        weights: &[f32],
        sums: &mut [f32],
        spare: &mut [f32],
    ) {
        let width = 2 * V::LANES;
        let (_, scales) = cache.scales(head, panel);
        let scales = &scales[elements.0 / BLOCK * width..];
        let scales: [V; 2] = [u16::lanes(scales), u16::lanes(&scales[V::LANES..])];
        for (scaled, weights) in spare.chunks_exact_mut(width).zip(weights.chunks_exact(width)) {
            for (half, scale) in scales.into_iter().enumerate() {
                let at = half * V::LANES;
                V::inputs(&weights[at..]).times(scale).put(&mut scaled[at..]);
            }
        }
        weighted::<V, i8>(spare, cache.values(head, elements, positions), elements.1, sums);
    }
}

/// Adds the products of `weights`, `[rows, panel]`, and values, `[positions, wide]`, to `sums`. A panel is as wide as two
/// registers, or `wide` is one.
#[inline(always)]
fn weighted<V: Vector, T: PanelValue>(weights: &[f32], values: &[T], wide: usize, sums: &mut [f32]) {
    let width = 2 * V::LANES;
    match wide == width {
        true => strips::<V, 8, 2, 6>(stored(weights), width * size_of::<f32>(), 0, values, sums),
        false => strips::<V, 8, 1, 6>(stored(weights), width * size_of::<f32>(), 0, values, sums),
    }
}
