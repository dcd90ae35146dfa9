//! Combines the results that several cubes have of one query, each for a part of the positions (split over keys and
//! values as in Flash-Decoding, Dao et al. 2023). A decode step has so few queries that without the split a long
//! sequence would leave most of a GPU idle.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use crate::kernel::gpu::argument;

/// Units of a cube, which is one query.
const UNITS: usize = 32;
/// Vectors of a part after the vectors of its sum: the sum of its weights and the greatest score, each in every lane.
pub(super) const PART_EXTRA: usize = 2;

/// `parts` is `[queries, splits, vectors + PART_EXTRA]` vectors of `lanes`, `out` is `[queries, vectors]`.
pub(super) fn launch(parts: &CubeTensor, out: &CubeTensor, queries: usize, splits: usize, lanes: usize, width: usize) {
    // SAFETY: each cube takes one query, parts and out have as many queries, and no index is past the end of a query's
    // parts.
    unsafe {
        combine_parts::launch_unchecked(
            &out.client,
            CubeCount::Static(queries as u32, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            lanes,
            argument(parts, lanes),
            argument(out, lanes),
            splits,
            width / lanes,
        );
    }
}

#[cube(launch_unchecked)]
fn combine_parts<N: Size>(
    parts: &[Vector<f32, N>],
    out: &mut [Vector<f32, N>],
    #[comptime] splits: usize,
    #[comptime] vectors: usize,
) {
    let size = comptime!(vectors + PART_EXTRA);
    let query = CUBE_POS_X as usize;
    let first = query * comptime!(splits * size);
    let mut most = parts[first + comptime!(vectors + 1)].extract(0usize);
    for split in 1..splits {
        most = f32::max(most, parts[first + split * size + comptime!(vectors + 1)].extract(0usize));
    }
    let mut total = 0.0f32;
    for split in 0..splits {
        let part = first + split * size;
        let share = (parts[part + comptime!(vectors + 1)].extract(0usize) - most).exp();
        total += parts[part + vectors].extract(0usize) * share;
    }
    let mut at = UNIT_POS as usize;
    while at < vectors {
        let mut sum = Vector::<f32, N>::new(0.0f32);
        for split in 0..splits {
            let part = first + split * size;
            let share = (parts[part + comptime!(vectors + 1)].extract(0usize) - most).exp();
            sum += parts[part + at] * Vector::<f32, N>::new(share);
        }
        out[query * vectors + at] = sum / Vector::<f32, N>::new(total);
        at += comptime!(UNITS);
    }
}
